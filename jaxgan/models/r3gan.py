"""R3GAN: residual blocks of grouped convolutions without normalisation, doubled and halved by fixed filters.

References:
    Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024. https://arxiv.org/abs/2501.05441
    The authors' PyTorch code: https://github.com/brownvc/R3GAN
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import NOT_NEGATIVE, POSITIVE, Setting, Settings
from jaxgan.models.ops import layers, resampling
from jaxgan.models.ops.convolutions import Features, Size
from jaxgan.models.ops.pyramid import LEAST, NUMBERS, halvings, smallest_size, spread

SLOPE = 0.2  # of LeakyReLU


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "an r3gan makes images; toy_mlp makes points"
    if LEAST <= min(smallest_size(shape)) < 2 * LEAST:
        return None
    return "an r3gan makes images whose shorter side is 4 to 7 times a power of two that divides the other side as well"


class Stage(NamedTuple):
    """The residual blocks of one size of images.

    Attributes:
        width: channels between blocks.
        cardinality: groups of channels within them.
        blocks: how many there are.
        dtype: of the features.
    """

    width: int
    cardinality: int
    blocks: int
    dtype: DTypeLike


def stages(network: "Generator | Discriminator", shape: tuple[int, ...]) -> list[Stage]:
    """Those of a network for images of a shape, from the smallest size on."""
    count = 1 + halvings(*shape[:2])
    columns = (spread(values, count) for values in (network.widths, network.cardinality, network.blocks))
    half = count - network.bfloat16_stages
    rows = enumerate(zip(*columns, strict=True))
    return [Stage(*numbers, network.dtype if size < half else jnp.bfloat16) for size, numbers in rows]


def check_settings(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """What is wrong with a network's settings for images of a shape, and what would be right."""
    rows, columns = smallest_size(shape)
    sizes = [f"{rows << i}x{columns << i}" for i in range(1 + halvings(*shape[:2]))]
    for name in ("widths", "cardinality", "blocks"):
        if len(settings[name]) > len(sizes):
            return f"{name}={settings[name]} must have at most {len(sizes)} numbers, one for each of {', '.join(sizes)}"
    if settings["bfloat16_stages"] > len(sizes):
        return f"bfloat16_stages={settings['bfloat16_stages']} must be at most {len(sizes)}, for {', '.join(sizes)}"
    both = (spread(settings[name], len(sizes)) for name in ("widths", "cardinality"))
    for width, groups in zip(*both, strict=True):
        if width * settings["expansion"] % groups:
            expanded = f"{width} x {settings['expansion']}"
            return f"cardinality={settings['cardinality']} must divide width x expansion: {groups} and {expanded}"
    return None


def normal(gain: float = 1.0) -> Callable:
    """Normal kernels whose standard deviation is the gain over the root of the numbers that each output is a sum of."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal") if gain else nn.initializers.zeros


def pointwise(features: int, batch_last: bool, gain: float = 1.0) -> layers.Conv:
    """A convolution of single pixels without biases."""
    options = {"use_bias": False, "kernel_init": normal(gain), "batch_last": batch_last}
    return layers.Conv(features, 1, stride=1, padding=(0, 0), **options)


class Block(nn.Module):
    """A residual block: channels are expanded, convolved in groups, and joined to what is added to the input.

    Attributes:
        width: channels in and out.
        cardinality: groups of channels within the block.
        expansion: channels within the block, as a multiple of the width.
        gain: of the first two kernels; the last one begins at 0.
        batch_last: as in `layers`.
    """

    width: int
    cardinality: int
    expansion: int
    gain: float
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        hidden = inputs
        for size, groups in ((1, 1), (3, self.cardinality)):
            options = {"stride": 1, "padding": (size // 2, size // 2), "groups": groups, "batch_last": self.batch_last}
            layer = layers.Conv(self.width * self.expansion, size, kernel_init=normal(self.gain), **options)
            hidden = nn.leaky_relu(layer(hidden), SLOPE)
        return inputs + pointwise(self.width, self.batch_last, gain=0.0)(hidden)


def refined(network: "Generator | Discriminator", hidden: Features, stage: Stage, depth: int) -> Features:
    """Features of a stage's size and width after its blocks; `depth` counts the blocks of the network."""
    gain = math.sqrt(2 / (1 + SLOPE**2)) * depth ** (-1 / 4)
    for _ in range(stage.blocks):
        hidden = Block(stage.width, stage.cardinality, network.expansion, gain, network.batch_last)(hidden)
    return hidden


def widened(hidden: Features, width: int, batch_last: bool) -> Features:
    """Features of a number of channels."""
    return hidden if hidden.shape[0 if batch_last else -1] == width else pointwise(width, batch_last)(hidden)


class Basis(nn.Module):
    """The product with features of a size, which are learned.

    Attributes:
        size: rows and columns.
        stddev: of their initial values.
        batch_last: as in `layers`.
    """

    size: Size
    stddev: float
    batch_last: bool

    @nn.compact
    def __call__(self, hidden: Features) -> Features:
        channels = hidden.shape[0 if self.batch_last else -1]
        basis = self.param("basis", nn.initializers.normal(self.stddev), (*self.size, channels))
        return layers.to_layout(basis[None].astype(hidden.dtype), self.batch_last) * hidden


class Generator(nn.Module):
    """Latents to coefficients of a basis, refined by residual blocks and doubled up to the image, which has no bound.

    Attributes:
        shape: of an image, (height, width, channels).
        widths: channels of each size of images, from the smallest on. The last number counts for all further sizes, and
            so do those of `cardinality` and `blocks`.
        cardinality: groups of channels within the blocks of each size.
        blocks: of each size.
        expansion: channels within a block, as a multiple of those between blocks.
        bfloat16_stages: of the largest sizes, whose features are of half precision.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the other features; parameters and images are float32.
    """

    shape: tuple[int, int, int]
    widths: tuple[int, ...] = (768,)
    cardinality: tuple[int, ...] = (96,)
    blocks: tuple[int, ...] = (2,)
    expansion: int = 2
    bfloat16_stages: int = 0
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        del modulation, train
        first, *others = stages(self, self.shape)
        depth, layout = sum(stage.blocks for stage in (first, *others)), {"batch_last": self.batch_last}
        hidden = layers.to_layout(latents.astype(first.dtype), self.batch_last)
        hidden = layers.Dense(first.width, use_bias=False, kernel_init=normal(), **layout)(hidden)
        hidden = layers.to_spatial(hidden, (1, 1), self.batch_last)
        hidden = Basis(smallest_size(self.shape), 1.0, **layout)(hidden)
        hidden = refined(self, hidden, first, depth)
        for stage in others:
            hidden = resampling.upsample(widened(hidden.astype(stage.dtype), stage.width, **layout))
            hidden = refined(self, hidden, stage, depth)
        images = pointwise(self.shape[-1], **layout)(hidden)
        return layers.to_layout(images, self.batch_last).astype(jnp.float32)


class Discriminator(nn.Module):
    """Images refined by residual blocks and halved down to the size of a basis, whose products with them are added up.

    Attributes:
        widths, cardinality, blocks: as in `Generator`, from the smallest size on.
        expansion, bfloat16_stages, batch_last: as in `Generator`.
        dtype: of the features at the other sizes; parameters and what comes out are float32.
    """

    widths: tuple[int, ...] = (768,)
    cardinality: tuple[int, ...] = (96,)
    blocks: tuple[int, ...] = (2,)
    expansion: int = 2
    bfloat16_stages: int = 0
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return True

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        del train
        shape, layout = images.shape[1:], {"batch_last": self.batch_last}
        first, *others = reversed(stages(self, shape))
        depth, size = sum(stage.blocks for stage in (first, *others)), smallest_size(shape)
        hidden = layers.to_layout(images.astype(first.dtype), self.batch_last)
        hidden = refined(self, pointwise(first.width, **layout)(hidden), first, depth)
        for stage in others:
            hidden = widened(resampling.downsample(hidden), stage.width, **layout).astype(stage.dtype)
            hidden = refined(self, hidden, stage, depth)
        products = Basis(size, math.prod(size) ** -0.5, **layout)(hidden)
        return layers.to_layout(products.astype(jnp.float32).sum((1, 2)), self.batch_last)


SETTINGS: Settings = {
    "widths": Setting((768,), "channels at each size, the smallest first; the last number serves the rest", NUMBERS),
    "cardinality": Setting((96,), "groups of channels within the blocks of each size, given in the same way", NUMBERS),
    "blocks": Setting((2,), "residual blocks of each size, given in the same way", NUMBERS),
    "expansion": Setting(2, "channels within a block for each one between blocks", POSITIVE),
    "bfloat16_stages": Setting(0, "sizes of images, the largest ones, that are computed in bfloat16", NOT_NEGATIVE),
}
