"""PatchGAN: a discriminator of overlapping patches, each of which has a logit.

References:
    Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, section 6.1.2.
    https://arxiv.org/abs/1611.07004
    The authors' PyTorch code, whose padding gives 30x30 logits for 256x256 pixels:
    https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import POSITIVE, Choice, Setting, Settings, names_of
from jaxgan.models.ops import antialias, layers
from jaxgan.models.ops.convolutions import Features

MOST_WIDTHS = 8
NORMS = {"instance": layers.instance_norm, "batch": layers.batch_norm, "none": layers.no_norm}


class PatchOutput(NamedTuple):
    """What a patch discriminator makes of a batch, for each scale.

    Attributes:
        logits: [batch, rows, columns]; positive for real.
        features: of the hidden layers, [batch, rows, columns, features] or batch last.
    """

    logits: tuple[Float[Array, "batch _ _"], ...]
    features: tuple[tuple[Features, ...], ...]


class Patches(nn.Module):
    """Images halved `depth` times, two more convolutions of stride 1, and a logit at each place.

    Attributes: as in `Discriminator`.
    """

    base_channels: int
    depth: int
    norm: str
    spectral_norm: bool
    antialias: bool
    negative_slope: float
    kernel_init: Callable
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, hidden: Features, train: bool) -> tuple[Features, tuple[Features, ...]]:
        def convolve(hidden: Array, features: int, stride: int, norm: str) -> Array:
            options = layers.bias_options(norm) | {"kernel_init": self.kernel_init, "batch_last": self.batch_last}
            layer = layers.Conv(features, stride=stride, **options)
            hidden = layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)
            return NORMS[norm](hidden, None, train, self.axis_name, batch_last=self.batch_last)

        seen = []
        for layer in range(self.depth + 1):
            features = self.base_channels * min(2**layer, MOST_WIDTHS)
            halves, norm = layer < self.depth, self.norm if layer else "none"
            stride = 2 if halves and not self.antialias else 1
            hidden = nn.leaky_relu(convolve(hidden, features, stride, norm), self.negative_slope)
            hidden = antialias.blur_pool(hidden) if halves and self.antialias else hidden
            seen.append(hidden)
        return convolve(hidden, 1, 1, "none"), tuple(seen)


class Discriminator(nn.Module):
    """`Patches` of the images and, with more than one scale, of the images reduced by 2, 4, ...

    Attributes:
        base_channels: channels after the first halving; they double with every further layer, up to 8 widths.
        depth: halvings; 3 make patches of 70x70 pixels.
        scales: networks, each with parameters of its own.
        norm: a name of `NORMS`, before every activation but the first.
        spectral_norm: whether the kernels are divided by their largest singular value.
        antialias: whether fixed blurs halve, after convolutions of stride 1.
        negative_slope: the slope of LeakyReLU for negative numbers.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and logits are float32.

    References:
        Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (pix2pixHD), 2018,
        section 3.2 (scales). https://arxiv.org/abs/1711.11585
    """

    base_channels: int = 64
    depth: int = 3
    scales: int = 1
    norm: str = "instance"
    spectral_norm: bool = False
    antialias: bool = False
    negative_slope: float = 0.2
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> PatchOutput:
        shared = {name: getattr(self, name) for name in ("base_channels", "depth", "norm", "spectral_norm")}
        shared |= {name: getattr(self, name) for name in ("antialias", "negative_slope", "axis_name", "batch_last")}
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        images, logits, features = images.astype(self.dtype), [], []
        for scale in range(self.scales):
            hidden = layers.to_layout(images, self.batch_last)
            out, seen = Patches(**shared, kernel_init=kernel_init)(hidden, train)
            logits.append(layers.to_layout(out, self.batch_last)[..., 0].astype(jnp.float32))
            features.append(seen)
            if scale + 1 < self.scales:
                images = halved(images)
        return PatchOutput(tuple(logits), tuple(features))


def halved(images: layers.Images) -> layers.Images:
    """Means of 3x3 pixels at every second place; those at the border are means of what lies inside."""
    options = {"strides": (2, 2), "padding": ((1, 1), (1, 1)), "count_include_pad": False}
    return nn.avg_pool(images, (3, 3), **options)


def least_size(depth: int, scales: int) -> int:
    """The smallest height and width of which each scale makes a logit."""
    return (3 << depth) << (scales - 1)


NORM_SETTINGS: Settings = {
    "norm": Choice("instance", "normalisation of the hidden layers", names_of(NORMS)),
    "spectral_norm": layers.NORM_SETTINGS["spectral_norm"],
}
SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at half the image's size"),
    "depth": Setting(3, "halvings of the image; 3 make patches of 70x70 pixels", POSITIVE),
    "scales": Setting(1, "discriminators, each of images half as large as the one before", POSITIVE),
    **NORM_SETTINGS,
    **antialias.SETTINGS,
    **layers.ACTIVATION_SETTINGS,
}
