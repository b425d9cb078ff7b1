"""PatchGAN: a discriminator of overlapping patches, each of which has a logit.

References:
    Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, section 6.1.2.
    https://arxiv.org/abs/1611.07004
    The authors' PyTorch code, whose padding gives 30x30 logits for 256x256 pixels:
    https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import POSITIVE, Choice, Setting, Settings, names_of
from jaxgan.models.ops import layers

MOST_WIDTHS = 8
NORMS = {"instance": layers.instance_norm, "batch": layers.batch_norm, "none": layers.no_norm}


class Discriminator(nn.Module):
    """Images halved `depth` times, two more convolutions of stride 1, and a logit at each place.

    Attributes:
        base_channels: channels after the first halving; they double with every further layer, up to 8 widths.
        depth: halvings; 3 make patches of 70x70 pixels.
        norm: a name of `NORMS`, before every activation but the first.
        spectral_norm: whether the kernels are divided by their largest singular value.
        negative_slope: the slope of LeakyReLU for negative numbers.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and logits are float32.
    """

    base_channels: int = 64
    depth: int = 3
    norm: str = "instance"
    spectral_norm: bool = False
    negative_slope: float = 0.2
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch rows columns"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)

        def convolve(hidden: Array, features: int, stride: int, norm: str) -> Array:
            options = {"use_bias": norm != "batch", "kernel_init": kernel_init, "batch_last": self.batch_last}
            layer = layers.Conv(features, stride=stride, **options)
            hidden = layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)
            return NORMS[norm](hidden, None, train, self.axis_name, batch_last=self.batch_last)

        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        for layer in range(self.depth + 1):
            features = self.base_channels * min(2**layer, MOST_WIDTHS)
            stride, norm = 2 if layer < self.depth else 1, self.norm if layer else "none"
            hidden = nn.leaky_relu(convolve(hidden, features, stride, norm), self.negative_slope)
        logits = convolve(hidden, 1, 1, "none")
        return layers.to_layout(logits, self.batch_last)[..., 0].astype(jnp.float32)


NORM_SETTINGS: Settings = {
    "norm": Choice("instance", "normalisation of the hidden layers", names_of(NORMS)),
    "spectral_norm": layers.NORM_SETTINGS["spectral_norm"],
}
SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at half the image's size"),
    "depth": Setting(3, "halvings of the image; 3 make patches of 70x70 pixels", POSITIVE),
    **NORM_SETTINGS,
    **layers.ACTIVATION_SETTINGS,
}
