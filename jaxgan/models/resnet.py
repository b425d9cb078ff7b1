"""Residual networks: SNGAN with projection, SAGAN, BigGAN and BigGAN-deep, by their settings.

References:
    Miyato et al., Spectral Normalization for GANs, 2018. https://arxiv.org/abs/1802.05957
    Miyato and Koyama, cGANs with Projection Discriminator, 2018. https://arxiv.org/abs/1802.05637
    Zhang et al., Self-Attention Generative Adversarial Networks, 2019. https://arxiv.org/abs/1805.08318
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.
    https://arxiv.org/abs/1809.11096
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import ABOVE_ZERO, DIMENSIONS, NOT_NEGATIVE, POSITIVE, Choice, Setting, Settings, names_of
from jaxgan.models.ops import layers
from jaxgan.models.ops.attention import SelfAttention
from jaxgan.models.ops.modulated_norm import ModulatedNorm
from jaxgan.models.ops.pyramid import LEAST, NUMBERS, halvings, max_halvings, smallest_size, spread
from jaxgan.models.ops.residual import (
    UPSAMPLINGS,
    ConvOptions,
    DiscriminatorBlock,
    DiscriminatorBottleneck,
    GeneratorBlock,
    GeneratorBottleneck,
    conv,
)

Latents = Float[Array, "batch latent"]
BLOCKS = ("basic", "bottleneck")
SKIPS = ("none", "split", "full")


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "a resnet makes images; toy_mlp makes points"
    if halvings(*shape[:2]) and min(smallest_size(shape)) < 2 * LEAST:
        return None
    return "a resnet makes images whose shorter side is 4 to 7 times 2, 4, 8, ..., which divides the other side as well"


class Stage(NamedTuple):
    """The residual blocks of one size of features.

    Attributes:
        width: channels that come out.
        side: rows or columns that come out, whichever are fewer.
        resamples: whether rows and columns are doubled, or halved.
        attends: whether attention stands behind the blocks.
    """

    width: int
    side: int
    resamples: bool
    attends: bool


def generator_stages(
    shape: tuple[int, ...], base: int, multipliers: tuple[int, ...], attention: tuple[int, ...]
) -> tuple[int, list[Stage]]:
    """The channels of the first layer, and the stages behind it, each of which doubles."""
    first, *others = (base * each for each in spread(multipliers, 1 + halvings(*shape[:2])))
    side = min(smallest_size(shape))
    return first, [Stage(width, side << i, True, side << i in attention) for i, width in enumerate(others, 1)]


def discriminator_stages(
    shape: tuple[int, ...], base: int, multipliers: tuple[int, ...], attention: tuple[int, ...], downsamples: int
) -> list[Stage]:
    """The stages, the first of which halve: `downsamples` of them, or, if 0, as many as leave 4 rows or more."""
    count = downsamples or halvings(*shape[:2])
    stages, side = [], min(shape[:2])
    for i, each in enumerate(spread(multipliers, count)):
        side = side // 2 if i < count else side
        stages.append(Stage(base * each, side, i < count, i < count and side in attention))
    return stages


class ModulationInputs(NamedTuple):
    """What a generator makes of latents and labels.

    Attributes:
        first: what the first layer is given.
        stages: what the norms of each stage are modulated by; None where they are not.
    """

    first: Latents
    stages: list[layers.Modulation]


def modulation_inputs(latents: Latents, labels: layers.Modulation, skip_z: str, stages: int) -> ModulationInputs:
    """The latents' ways into a generator.

    Args:
        latents: [batch, latent_dim].
        labels: of each example, one-hot or embedded; None if there are none.
        skip_z: "none" gives latents to the first layer alone. "split" gives equal parts to the first layer and to each
            stage, behind the labels. "full" gives labels and all latents to the first layer and to all stages.
        stages: how many there are.
    """

    def behind_labels(part: Latents) -> Array:
        return part if labels is None else jnp.concatenate([labels, part], axis=-1)

    if skip_z == "split":
        first, *parts = jnp.split(latents, 1 + stages, axis=-1)
        return ModulationInputs(first, [behind_labels(part) for part in parts])
    if skip_z == "full":
        return ModulationInputs(behind_labels(latents), [behind_labels(latents)] * stages)
    return ModulationInputs(latents, [labels] * stages)


class Generator(nn.Module):
    """Latents to features of a few pixels, doubled up to the image by residual blocks; tanh at the end.

    Attributes:
        shape: of an image, (height, width, channels).
        block: of `BLOCKS`.
        base_channels: by which `multipliers` are multiplied.
        multipliers: channels of the first layer and of each stage. The last number counts for all further stages.
        depth: blocks of a stage. All but the last one keep channels, rows and columns.
        attention: the sides of features, the shorter ones, behind whose stages attention stands.
        upsampling: a name of `UPSAMPLINGS`.
        skip_z: of `SKIPS`, as in `modulation_inputs`.
        embedding: features that labels are embedded in before they modulate norms; 0 gives each class its own scales.
        norm: a name of `layers.NORMS`.
        norm_epsilon: that is added to variances.
        spectral_norm: whether kernels are divided by their largest singular value, but for embeddings of labels.
        block_gain: by which the initial kernels of 3 x 3 in blocks are multiplied.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and images are float32.
    """

    shape: tuple[int, int, int]
    block: str = "basic"
    base_channels: int = 64
    multipliers: tuple[int, ...] = (4,)
    depth: int = 1
    attention: tuple[int, ...] = ()
    upsampling: str = "nearest"
    skip_z: str = "none"
    embedding: int = 0
    norm: str = "batch"
    norm_epsilon: float = 1e-5
    spectral_norm: bool = False
    block_gain: float = 1.0
    initializer: str = "orthogonal"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Latents, modulation: layers.Modulation, train: bool) -> layers.Images:
        kernel_init, layout = layers.INITIALIZERS[self.initializer](self.init_stddev), {"batch_last": self.batch_last}
        options = ConvOptions(kernel_init, self.block_gain, self.spectral_norm, **layout)
        width, stages = generator_stages(self.shape, self.base_channels, self.multipliers, self.attention)
        labels = modulation
        if labels is not None and self.embedding:
            labels = nn.Dense(self.embedding, use_bias=False, kernel_init=kernel_init, name="embedding")(labels)
        inputs = modulation_inputs(latents, labels, self.skip_z, len(stages))

        shared = {"norm": self.norm, "epsilon": self.norm_epsilon, "axis_name": self.axis_name, **layout}
        by_class = not self.embedding and self.skip_z == "none"  # then kernels are the scales and shifts of classes
        shared["spectral_norm"] = self.spectral_norm and not by_class
        shared["kernel_init"] = nn.initializers.zeros if by_class else kernel_init
        norm = functools.partial(ModulatedNorm, **shared)
        kinds = {"basic": GeneratorBlock, "bottleneck": GeneratorBottleneck}

        size = smallest_size(self.shape)
        dense = layers.Dense(math.prod(size) * width, kernel_init=kernel_init, name="dense", **layout)
        hidden = layers.to_layout(inputs.first.astype(self.dtype), self.batch_last)
        hidden = layers.maybe_spectral_norm(dense, hidden, self.spectral_norm, train)
        hidden = layers.to_spatial(hidden, size, self.batch_last)
        for i, stage in enumerate(stages):
            for j in range(self.depth):
                last = j == self.depth - 1
                block = kinds[self.block](
                    stage.width if last else width, last, self.upsampling, options, norm, name=f"stage{i}_block{j}"
                )
                hidden = block(hidden, inputs.stages[i], train)
            width = stage.width
            if stage.attends:
                hidden = attend(options, f"stage{i}_attention", hidden, train)
        hidden = nn.relu(norm(name="norm")(hidden, None, train))
        images = conv(options._replace(gain=1.0), "to_image", self.shape[-1], hidden, train)
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))


class Discriminator(nn.Module):
    """Images halved down to features of a few pixels by residual blocks, and summed over these.

    Attributes:
        multipliers: channels of each stage, of a bottleneck's first convolution before. The last number counts for all
            further stages.
        downsamples: how many stages, the first ones, halve rows and columns; 0: as many as leave 4 or more.
        wide: whether the first convolution of a basic block has as many channels as come out, and not as come in.
        rectified_shortcuts: whether the shortcuts of blocks begin behind the first ReLU, as in mimicry.
        block, base_channels, depth, attention, spectral_norm, block_gain: as in `Generator`. The first block of a stage
            changes channels, rows and columns.
        initializer, init_stddev, batch_last, dtype: as in `Generator`.
    """

    block: str = "basic"
    base_channels: int = 64
    multipliers: tuple[int, ...] = (4,)
    downsamples: int = 0
    depth: int = 1
    wide: bool = True
    rectified_shortcuts: bool = False
    attention: tuple[int, ...] = ()
    spectral_norm: bool = True
    block_gain: float = 1.0
    initializer: str = "orthogonal"
    init_stddev: float = 0.02
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return not (self.spectral_norm or self.attention)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        options = ConvOptions(kernel_init, self.block_gain, self.spectral_norm, self.batch_last)
        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        multipliers, bottleneck = self.multipliers, self.block == "bottleneck"
        if bottleneck:
            stem = self.base_channels * multipliers[0]
            hidden = conv(options._replace(gain=1.0), "from_image", stem, hidden, train)
            multipliers = multipliers[1:] or multipliers
        stages = discriminator_stages(
            images.shape[1:], self.base_channels, multipliers, self.attention, self.downsamples
        )
        for i, stage in enumerate(stages):
            for j in range(self.depth):
                halves, shared = stage.resamples and j == 0, {"options": options, "name": f"stage{i}_block{j}"}
                shared["rectified_shortcut"] = self.rectified_shortcuts
                if bottleneck:
                    block = DiscriminatorBottleneck(stage.width, halves, **shared)
                else:
                    block = DiscriminatorBlock(stage.width, halves, self.wide, first=i == j == 0, **shared)
                hidden = block(hidden, train)
            if stage.attends:
                hidden = attend(options, f"stage{i}_attention", hidden, train)
        features = nn.relu(hidden).astype(jnp.float32).sum((1, 2))
        return layers.to_layout(features, self.batch_last)


def attend(options: ConvOptions, name: str, hidden: Array, train: bool) -> Array:
    """Features behind an attention layer of the module that calls this function."""
    layer = SelfAttention(options.spectral_norm, options.kernel_init, options.batch_last, name=name)
    return layer(hidden, train)


def check_generator(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """What is wrong with a generator's settings for images of a shape, and what would be right."""
    multipliers, count = settings["multipliers"], halvings(*shape[:2])
    if len(multipliers) > 1 + count:
        sizes = ", ".join(str(min(smallest_size(shape)) << i) for i in range(1 + count))
        return f"multipliers={multipliers} must have at most {1 + count} numbers, one for each of the sides {sizes}"
    if settings["block"] == "bottleneck" and list(multipliers) != sorted(multipliers, reverse=True):
        return f"multipliers={multipliers} must not grow with block=bottleneck, whose shortcuts drop channels"
    _, stages = generator_stages(shape, settings["base_channels"], multipliers, settings["attention"])
    if settings["skip_z"] == "split" and settings["latent_dim"] % (1 + count):
        return (
            f"skip_z=split gives equal parts of the latents to the first layer and to {count} stages: "
            f"config.latent_dim={settings['latent_dim']} must be a multiple of {1 + count}"
        )
    return check_attention(settings["attention"], stages)


def check_discriminator(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """What is wrong with a discriminator's settings for images of a shape, and what would be right."""
    multipliers, downsamples = settings["multipliers"], settings["downsamples"]
    most = max_halvings(shape)
    if downsamples > most:
        return f"downsamples={downsamples} must be at most {most}: {shape[0]}x{shape[1]} cannot be halved as often"
    if settings["block"] == "bottleneck":
        if list(multipliers) != sorted(multipliers):
            return f"multipliers={multipliers} must not shrink with block=bottleneck, whose shortcuts add channels"
        multipliers = multipliers[1:] or multipliers
    own = settings["base_channels"], multipliers, settings["attention"], downsamples
    return check_attention(settings["attention"], discriminator_stages(shape, *own))


def check_attention(attention: tuple[int, ...], stages: list[Stage]) -> str | None:
    """Which side of `attention` no stage's features have."""
    sides = {stage.side for stage in stages if stage.resamples and stage.side > 1}
    wrong = [side for side in attention if side not in sides]
    listed = ", ".join(map(str, sorted(sides)))
    return f"attention={attention}: {wrong[0]} must be one of the sides {listed} of features" if wrong else None


BOTH: Settings = {
    "block": Choice("basic", "of two convolutions, or bottlenecks of four", names_of(dict.fromkeys(BLOCKS))),
    "base_channels": layers.width(64, "channels that multipliers multiply"),
    "multipliers": Setting((4,), "of the channels of each stage; the last number serves the rest", NUMBERS),
    "depth": Setting(1, "residual blocks of each stage", POSITIVE),
    "attention": Setting((), "the shorter sides of features behind whose stages attention stands", DIMENSIONS),
    "block_gain": Setting(1.0, "of the initial kernels of 3 x 3 in blocks", ABOVE_ZERO),
}
SETTINGS: Settings = BOTH | {
    **layers.NORM_SETTINGS,
    "norm_epsilon": Setting(1e-5, "added to variances", ABOVE_ZERO),
    "upsampling": Choice("nearest", "of rows and columns", names_of(UPSAMPLINGS)),
    "skip_z": Choice(
        "none",
        "latents for norms: split gives each stage its own part, full gives all of them to all stages",
        names_of(dict.fromkeys(SKIPS)),
    ),
    "embedding": Setting(
        0, "features that labels are embedded in, which norms share; 0: scales and shifts of each class", NOT_NEGATIVE
    ),
}
DISCRIMINATOR_SETTINGS: Settings = BOTH | {
    "spectral_norm": layers.NORM_SETTINGS["spectral_norm"]._replace(default=True),
    "downsamples": Setting(0, "stages that halve rows and columns; 0: as many as leave 4 or more", NOT_NEGATIVE),
    "wide": Setting(True, "a block's first convolution has the channels that come out, not those that come in"),
    "rectified_shortcuts": Setting(False, "the shortcuts of blocks begin behind the first ReLU"),
}
