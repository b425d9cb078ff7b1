"""SPADE's translator: residual blocks whose normalisations are modulated by the label map at every place.

References:
    Park et al., Semantic Image Synthesis with Spatially-Adaptive Normalization, 2019. https://arxiv.org/abs/1903.07291
    The authors' PyTorch code: https://github.com/NVlabs/SPADE
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxgan.core.settings import NOT_NEGATIVE, Choice, Setting, Settings, names_of
from jaxgan.core.types import Sides
from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.pix2pix import halvings

MOST_WIDTHS = 16
MOST_DEPTH = 5


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "spade translates images"
    return None if halvings(*shape[:2]) >= 2 else "spade translates multiples of 4"


def batch_norm(
    features: Features, modulation: layers.Modulation, train: bool, axis_name: str | None, batch_last: bool
) -> Features:
    """`layers.batch_norm` without scales and shifts of its own."""
    del modulation
    options = {"use_scale": False, "use_bias": False, "axis_name": axis_name, "dtype": features.dtype}
    return nn.BatchNorm(not train, axis=0 if batch_last else -1, momentum=0.9, **options)(features)


NORMS = {"batch": batch_norm, "instance": layers.instance_norm, "none": layers.no_norm}


class Modulated(nn.Module):
    """Features normalised, times 1 + scales and plus shifts, which two layers of convolutions make of the label map.

    Attributes:
        norm: a name of `NORMS`.
        hidden_channels: of the layer between the label map and the scales and shifts.
        kernel_init, axis_name, batch_last: as in `layers`.
    """

    norm: str
    hidden_channels: int
    kernel_init: Callable
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, features: Features, labels: layers.Images, train: bool) -> Features:
        axis = 0 if self.batch_last else -1
        standardised = NORMS[self.norm](features, None, train, self.axis_name, self.batch_last)
        options = {"size": 3, "stride": 1, "kernel_init": self.kernel_init, "batch_last": self.batch_last}
        stride = labels.shape[1] // features.shape[1]
        nearest = layers.to_layout(labels[:, ::stride, ::stride], self.batch_last)
        hidden = nn.relu(layers.Conv(self.hidden_channels, **options)(nearest))
        scales, shifts = jnp.split(layers.Conv(2 * features.shape[axis], **options)(hidden), 2, axis)
        return standardised * (1 + scales) + shifts


class Block(nn.Module):
    """Two convolutions, each after a modulated normalisation; a third one where the number of channels changes.

    Attributes:
        features: channels out.
        modulated: a `Modulated` that is not bound yet, from no arguments.
        spectral_norm: whether the kernels are divided by their largest singular value.
        kernel_init, batch_last: as in `layers`.
    """

    features: int
    modulated: Callable[[], Modulated]
    spectral_norm: bool
    kernel_init: Callable
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features, labels: layers.Images, train: bool) -> Features:
        def convolve(hidden: Features, features: int, size: int, **options) -> Features:
            options |= {"kernel_init": self.kernel_init, "batch_last": self.batch_last}
            layer = layers.Conv(features, size, stride=1, padding=(size // 2, size // 2), **options)
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        count = inputs.shape[0 if self.batch_last else -1]
        hidden = inputs
        for features in (min(count, self.features), self.features):
            hidden = convolve(nn.leaky_relu(self.modulated()(hidden, labels, train), 0.2), features, 3)
        if count != self.features:
            inputs = convolve(self.modulated()(inputs, labels, train), self.features, 1, use_bias=False)
        return inputs + hidden


class Translator(nn.Module):
    """A label map, as an image, to an image of the same height and width.

    Attributes:
        shape: of an image that comes out, (height, width, channels); any other size works as well that can be halved as
            often.
        base_channels: channels at full size; they double with every halving, up to 16 widths.
        depth: doublings from the first block on; 0: as many as the sides allow, 5 at most.
        norm: a name of `NORMS`, modulated by the label map.
        hidden_channels: between a label map and the scales and shifts that it gives.
        spectral_norm: whether the kernels of blocks are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and images are float32.
    """

    shape: tuple[int, int, int]
    base_channels: int = 64
    depth: int = 0
    norm: str = "batch"
    hidden_channels: int = 128
    spectral_norm: bool = True
    initializer: str = "xavier"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def doublings(self) -> int:
        """How often features are doubled from the first block on."""
        return self.depth or min(MOST_DEPTH, halvings(*self.shape[:2]))

    @property
    def sides(self) -> Sides:
        """The heights and widths of images that it translates."""
        return Sides(2**self.doublings, 2**self.doublings)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> layers.Images:
        labels, depth = images.astype(self.dtype), self.doublings
        shared = {"kernel_init": layers.INITIALIZERS[self.initializer](self.init_stddev), "batch_last": self.batch_last}

        def modulated() -> Modulated:
            return Modulated(self.norm, self.hidden_channels, axis_name=self.axis_name, **shared)

        def block(hidden: Features, level: int) -> Features:
            features = self.base_channels * min(2**level, MOST_WIDTHS)
            return Block(features, modulated, self.spectral_norm, **shared)(hidden, labels, train)

        smallest = layers.to_layout(labels[:, :: 2**depth, :: 2**depth], self.batch_last)
        first = self.base_channels * min(2**depth, MOST_WIDTHS)
        hidden = block(layers.Conv(first, 3, stride=1, **shared)(smallest), depth)
        for level in reversed(range(depth)):
            hidden = block(hidden.repeat(2, 1).repeat(2, 2), level)
            if level == depth - 1:
                hidden = block(hidden, level)
        images = layers.Conv(self.shape[-1], 3, stride=1, **shared)(nn.leaky_relu(hidden, 0.2))
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at full size"),
    "depth": Setting(0, "doublings from the first block on; 0: as many as the size allows, 5 at most", NOT_NEGATIVE),
    "norm": Choice("batch", "normalisation that the label map modulates", names_of(NORMS)),
    "hidden_channels": layers.width(128, "channels between a label map and its scales and shifts"),
    "spectral_norm": Setting(True, layers.NORM_SETTINGS["spectral_norm"].help),
}
