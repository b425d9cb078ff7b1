"""CycleGAN's translator: two halvings, residual blocks, two doublings; and PatchGAN beside it.

References:
    Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017, section 7.2.
    https://arxiv.org/abs/1703.10593
    Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, 2016.
    https://arxiv.org/abs/1603.08155
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings
from jaxgan.models.ops import layers
from jaxgan.models.patchgan import NORM_SETTINGS, NORMS

LEAST = 8  # pixels: reflections of a quarter of the size need two pixels, and PatchGAN of three halvings needs more


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "cyclegan translates images"
    fits = all(side % 4 == 0 and side >= LEAST for side in shape[:2])
    return None if fits else f"cyclegan translates multiples of 4 from {LEAST} on"


class Translator(nn.Module):
    """An image of one domain to an image of the other, of the same height and width.

    Attributes:
        shape: of an image that comes out, (height, width, channels); any other size works as well, if 4 divides it.
        base_channels: channels at full size; there are twice as many at half the size, and four times at a quarter.
        blocks: residual blocks at a quarter of the size; the paper has 6 for 128x128 and 9 for 256x256 pixels.
        norm: a name of `patchgan.NORMS`, after each convolution but the last.
        spectral_norm: whether the kernels are divided by their largest singular value.
        dropout: share of the features that are dropped within each block while training.
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
    dropout: float = 0.0
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> layers.Images:
        layout, width = {"batch_last": self.batch_last}, self.base_channels
        options = {"kernel_init": layers.INITIALIZERS[self.initializer](self.init_stddev), **layout}
        hidden_options = {"use_bias": self.norm != "batch", **options}

        def apply_layer(layer: nn.Module, hidden: Array) -> Array:
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        def normalised(layer: nn.Module, hidden: Array) -> Array:
            return NORMS[self.norm](apply_layer(layer, hidden), None, train, self.axis_name, **layout)

        def valid(features: int, size: int, options: dict, **where: Any) -> nn.Module:
            return layers.Conv(features, size, stride=1, padding=(0, 0), **options, **where)

        def block(hidden: Array, first: nn.Module, second: nn.Module) -> Array:
            inner = nn.relu(normalised(first, layers.reflect_pad(hidden, 1)))
            if train and self.dropout and not self.is_initializing():
                inner = layers.dropout(inner, self.make_rng("dropout"), self.dropout, self.axis_name, **layout)
            return hidden + normalised(second, layers.reflect_pad(inner, 1))

        def block_of(hidden: Array, params: tuple[PyTree, PyTree]) -> tuple[Array, None]:
            pair = (valid(4 * width, 3, hidden_options, parent=None).bind({"params": own}) for own in params)
            return block(hidden, *pair), None

        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        hidden = nn.relu(normalised(valid(width, 7, hidden_options), layers.reflect_pad(hidden, 3)))
        for features in (2 * width, 4 * width):
            hidden = nn.relu(normalised(layers.Conv(features, 3, **hidden_options), hidden))
        names = [f"Conv_{3 + number}" for number in range(2 * self.blocks)]
        if self.is_initializing() or self.norm == "batch" or self.spectral_norm or self.dropout:
            for pair in zip(names[::2], names[1::2], strict=True):
                hidden = block(hidden, *(valid(4 * width, 3, hidden_options, name=name) for name in pair))
        elif names:  # they have parameters alone, so one compiled block serves all
            params = [self.variables["params"][name] for name in names]
            stacked = (jax.tree.map(lambda *own: jnp.stack(own), *params[place::2]) for place in range(2))
            hidden, _ = lax.scan(block_of, hidden, tuple(stacked))
        for features in (2 * width, width):
            hidden = nn.relu(normalised(layers.ConvTranspose(features, 3, padding=1, **hidden_options), hidden))
        last = valid(self.shape[-1], 7, options, name=f"Conv_{3 + 2 * self.blocks}")
        images = apply_layer(last, layers.reflect_pad(hidden, 3))
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at full size"),
    "blocks": Setting(9, "residual blocks at a quarter of the size", NOT_NEGATIVE),
    **NORM_SETTINGS,
    **layers.DROPOUT_SETTINGS,
}
