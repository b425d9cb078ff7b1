"""pix2pix's translator, a U-Net: halvings down to few pixels, doublings back, and what was seen on the way joined in.

References:
    Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, section 6.1.1.
    https://arxiv.org/abs/1611.07004
    The authors' PyTorch code, where dropout begins at the second doubling:
    https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from jaxgan.core.settings import BELOW_ONE, NOT_NEGATIVE, Setting, Settings
from jaxgan.core.types import Sides
from jaxgan.models.ops import layers
from jaxgan.models.patchgan import NORM_SETTINGS, NORMS

MOST_WIDTHS = 8
MOST_HALVINGS = 8
WITHOUT_DROPOUT = 3  # doublings before the last one; fewer in a small network, so that one has dropout


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved, 8 times at most."""
    count = 0
    while count < MOST_HALVINGS and height % 2 == 0 and width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return count


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "pix2pix translates images"
    return None if halvings(*shape[:2]) >= 3 else "pix2pix translates multiples of 8"


class Translator(nn.Module):
    """An image to an image of the same height and width.

    Attributes:
        shape: of an image that comes out, (height, width, channels); any other size works as well that can be halved as
            often.
        base_channels: channels after the first halving; they double with every further one, up to 8 widths.
        depth: halvings; 0: as many as the sides allow, 8 at most.
        norm: a name of `patchgan.NORMS`, after each convolution but the first, the innermost and the last.
        spectral_norm: whether the kernels are divided by their largest singular value.
        dropout: share of the features that are dropped in the decoder's layers behind the innermost one: in three of
            them for 256 pixels, and in one at least.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and images are float32.
    """

    shape: tuple[int, int, int]
    base_channels: int = 64
    depth: int = 0
    norm: str = "batch"
    spectral_norm: bool = False
    dropout: float = 0.5
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def halvings(self) -> int:
        """How often images are halved."""
        return self.depth or halvings(*self.shape[:2])

    @property
    def sides(self) -> Sides:
        """The heights and widths of images that it translates."""
        return Sides(2**self.halvings, 2**self.halvings)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> layers.Images:
        layout, count = {"batch_last": self.batch_last}, self.halvings
        options = {"kernel_init": layers.INITIALIZERS[self.initializer](self.init_stddev), **layout}
        bias = layers.bias_options(self.norm)
        widths = [self.base_channels * min(2**level, MOST_WIDTHS) for level in range(count)]

        def apply_layer(layer: nn.Module, hidden: Array) -> Array:
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        def apply_norm(hidden: Array) -> Array:
            return NORMS[self.norm](hidden, None, train, self.axis_name, **layout)

        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        hidden = apply_layer(layers.Conv(widths[0], use_bias=bias["use_bias"], **options), hidden)
        seen = []
        for level in range(1, count):
            seen.append(hidden)
            is_last = level == count - 1
            own = {"use_bias": bias["use_bias"]} if is_last else bias
            hidden = apply_layer(layers.Conv(widths[level], **own, **options), nn.leaky_relu(hidden, 0.2))
            hidden = hidden if is_last else apply_norm(hidden)
        dropped = range(min(WITHOUT_DROPOUT, count - 3), count - 2)
        for level in reversed(range(count - 1)):
            layer = layers.ConvTranspose(widths[level], padding=1, **bias, **options)
            hidden = apply_norm(apply_layer(layer, nn.relu(hidden)))
            if self.dropout and train and not self.is_initializing() and level in dropped:
                hidden = layers.dropout(hidden, self.make_rng("dropout"), self.dropout, self.axis_name, **layout)
            hidden = jnp.concatenate([seen.pop(), hidden], axis=0 if self.batch_last else -1)
        images = apply_layer(layers.ConvTranspose(self.shape[-1], padding=1, **options), nn.relu(hidden))
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at half the image's size"),
    "depth": Setting(0, "halvings; 0: as many as the sides allow, 8 at most", NOT_NEGATIVE),
    **NORM_SETTINGS,
    "dropout": Setting(0.5, "share of the features that is dropped in the inner layers of the decoder", BELOW_ONE),
}
