"""CycleGAN's translator: two halvings, residual blocks, two doublings; and PatchGAN beside it.

References:
    Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017, section 7.2.
    https://arxiv.org/abs/1703.10593
    Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, 2016.
    https://arxiv.org/abs/1603.08155
    Park et al., Contrastive Learning for Unpaired Image-to-Image Translation, 2020 (antialiased, and its features).
    https://arxiv.org/abs/2007.15651
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings
from jaxgan.core.types import Sides
from jaxgan.models.ops import antialias, layers
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.patchgan import NORM_SETTINGS, NORMS

LAST_ENCODED = 5  # the residual block whose features are CUT's last ones; the last block where there are fewer
LEAST = 8  # pixels: reflections of a quarter of the size need two pixels, and PatchGAN of three halvings needs more


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "cyclegan translates images"
    fits = all(side % 4 == 0 and side >= LEAST for side in shape[:2])
    return None if fits else f"cyclegan translates multiples of 4 from {LEAST} on"


class Block(nn.Module):
    """Two convolutions between mirrored borders, each with its norm, whose result is added to what comes in.

    Attributes:
        features: channels in and out.
        norm, spectral_norm, dropout, axis_name, batch_last: as in `Translator`.
        kernel_init: the kernels' initialiser.
    """

    features: int
    norm: str
    spectral_norm: bool
    dropout: float
    kernel_init: Callable
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, hidden: Features, train: bool) -> Features:
        def convolve(hidden: Features) -> Features:
            options = layers.bias_options(self.norm) | {"kernel_init": self.kernel_init, "batch_last": self.batch_last}
            layer = layers.Conv(self.features, 3, stride=1, padding=(0, 0), **options)
            hidden = layers.maybe_spectral_norm(layer, layers.reflect_pad(hidden, 1), self.spectral_norm, train)
            return NORMS[self.norm](hidden, None, train, self.axis_name, batch_last=self.batch_last)

        inner = nn.relu(convolve(hidden))
        if train and self.dropout and not self.is_initializing():
            key = self.make_rng("dropout")
            inner = layers.dropout(inner, key, self.dropout, self.axis_name, batch_last=self.batch_last)
        return hidden + convolve(inner)


class Translator(nn.Module):
    """An image of one domain to an image of the other, of the same height and width.

    Attributes:
        shape: of an image that comes out, (height, width, channels); any other size works as well, if 4 divides it.
        base_channels: channels at full size; there are twice as many at half the size, and four times at a quarter.
        blocks: residual blocks at a quarter of the size; the paper has 6 for 128x128 and 9 for 256x256 pixels.
        norm: a name of `patchgan.NORMS`, after each convolution but the last.
        spectral_norm: whether the kernels are divided by their largest singular value.
        antialias: whether fixed blurs halve and double, beside convolutions of stride 1.
        dropout: share of the features that are dropped within each block while training.
        encode_only: whether features of the encoder come out in the place of images, laid out as `batch_last` says: the
            padded image, both halving convolutions before their norm, the first block and the `LAST_ENCODED`-th.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and images are float32.
    """

    shape: tuple[int, int, int]
    base_channels: int = 64
    blocks: int = 9
    norm: str = "instance"
    spectral_norm: bool = False
    antialias: bool = False
    dropout: float = 0.0
    encode_only: bool = False
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def sides(self) -> Sides:
        """The heights and widths of images that it translates."""
        return Sides(4, LEAST)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> layers.Images | tuple[Features, ...]:
        layout, width = {"batch_last": self.batch_last}, self.base_channels
        options = {"kernel_init": layers.INITIALIZERS[self.initializer](self.init_stddev), **layout}
        hidden_options = layers.bias_options(self.norm) | options
        shared = {name: getattr(self, name) for name in ("norm", "spectral_norm", "dropout", "axis_name")} | options

        def apply_layer(layer: nn.Module, hidden: Array) -> Array:
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        def apply_norm(hidden: Array) -> Array:
            return NORMS[self.norm](hidden, None, train, self.axis_name, **layout)

        def doubled(hidden: Array, features: int) -> Array:
            if not self.antialias:
                return apply_layer(layers.ConvTranspose(features, 3, padding=1, **hidden_options), hidden)
            return apply_layer(layers.Conv(features, 3, stride=1, **hidden_options), antialias.blur_upsample(hidden))

        seen = [layers.reflect_pad(layers.to_layout(images.astype(self.dtype), self.batch_last), 3)]
        first = layers.Conv(width, 7, stride=1, padding=(0, 0), **hidden_options)
        hidden = nn.relu(apply_norm(apply_layer(first, seen[0])))
        for features in (2 * width, 4 * width):
            shown = {"constant_bias": False} if self.encode_only else {}  # before its norm
            layer = layers.Conv(features, 3, stride=1 if self.antialias else 2, **hidden_options | shown)
            seen.append(apply_layer(layer, hidden))
            hidden = nn.relu(apply_norm(seen[-1]))
            hidden = antialias.blur_pool(hidden) if self.antialias else hidden
        count = min(LAST_ENCODED, self.blocks) if self.encode_only else self.blocks
        if self.is_initializing() or self.norm == "batch" or self.spectral_norm or self.dropout:
            after = [hidden := Block(4 * width, **shared)(hidden, train) for _ in range(count)]
        elif count:  # blocks have parameters alone, so one compiled block serves all
            own = [self.variables["params"][f"Block_{number}"] for number in range(count)]
            hidden, after = self._scanned(Block(4 * width, **shared, parent=None), hidden, own, train)
        if self.encode_only:
            return (*seen, *(after[place] for place in sorted({0, count - 1}) if count))
        for features in (2 * width, width):
            hidden = nn.relu(apply_norm(doubled(hidden, features)))
        last = layers.Conv(self.shape[-1], 7, stride=1, padding=(0, 0), **options)
        images = apply_layer(last, layers.reflect_pad(hidden, 3))
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))

    def _scanned(
        self, block: "Block", hidden: Features, params: list[PyTree], train: bool
    ) -> tuple[Features, Float[Array, "blocks _ _ _ _"] | None]:
        """What comes out of the last block, and of each of them where the features are wanted."""

        def one(hidden: Features, own: PyTree) -> tuple[Features, Features | None]:
            out = block.apply({"params": own}, hidden, train)
            return out, out if self.encode_only else None

        return lax.scan(one, hidden, jax.tree.map(lambda *own: jnp.stack(own), *params))


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at full size"),
    "blocks": Setting(9, "residual blocks at a quarter of the size", NOT_NEGATIVE),
    **NORM_SETTINGS,
    **antialias.SETTINGS,
    **layers.DROPOUT_SETTINGS,
}
