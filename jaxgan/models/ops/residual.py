"""Residual blocks of generators and discriminators: basic ones of two convolutions, and bottlenecks of four.

References:
    Miyato et al., Spectral Normalization for GANs, 2018, appendix B.4. https://arxiv.org/abs/1802.05957
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019, appendix B.
    https://arxiv.org/abs/1809.11096
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.models.ops import layers, resampling
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.modulated_norm import ModulatedNorm
from jaxgan.models.ops.resampled_conv import ResampledConv

SHARE = 4  # of a bottleneck's features, one in four is convolved by 3 x 3
UPSAMPLINGS: dict[str, Callable[[Features], Features]] = {
    "nearest": resampling.repeat,
    "bilinear": functools.partial(resampling.upsample, border="edge"),
}


class ConvOptions(NamedTuple):
    """What the convolutions of a network have in common.

    Attributes:
        kernel_init: initialiser of kernels.
        gain: by which initial kernels of 3 x 3 are multiplied.
        spectral_norm: whether kernels are divided by their largest singular value.
        batch_last: the layout of features, as in `layers`.
    """

    kernel_init: Callable
    gain: float
    spectral_norm: bool
    batch_last: bool

    def initializer(self, size: int) -> Callable:
        """Of kernels of a size."""
        if size == 1 or self.gain == 1:
            return self.kernel_init
        return lambda *args: self.gain * self.kernel_init(*args)

    def channels(self, features: Features) -> int:
        """The number of channels."""
        return features.shape[0 if self.batch_last else -1]

    def first(self, features: Features, count: int) -> Features:
        """The first `count` channels."""
        return features[:count] if self.batch_last else features[..., :count]

    def joined(self, *features: Features) -> Features:
        """Channels behind each other."""
        return jnp.concatenate(features, axis=0 if self.batch_last else -1)


def conv(
    options: ConvOptions,
    name: str,
    features: int,
    hidden: Features,
    train: bool,
    *,
    size: int = 3,
    doubles: bool | None = None,
    constant_bias: bool = False,
) -> Features:
    """A convolution between zeros, a layer of the module that calls this function.

    Args:
        options: of the network.
        name: of the layer.
        features: channels out.
        hidden: what comes in.
        train: whether spectral norm's estimate moves.
        size: of the window.
        doubles: whether pixels are repeated before it (True), or squares of 2 x 2 averaged behind it (False).
        constant_bias: as in `layers.Conv`.
    """
    common = {"kernel_init": options.initializer(size), "batch_last": options.batch_last, "name": name}
    common["constant_bias"] = constant_bias
    if doubles is None:
        layer = layers.Conv(features, size, stride=1, padding=(size // 2, size // 2), **common)
    else:
        layer = ResampledConv(features, doubles, **common)
    return layers.maybe_spectral_norm(layer, hidden, options.spectral_norm, train)


class GeneratorBlock(nn.Module):
    """Norm, ReLU and convolution, twice, beside a shortcut.

    Attributes:
        features: channels out.
        doubles: whether rows and columns are doubled, before the first convolution by 3 x 3.
        upsampling: a name of `UPSAMPLINGS`.
        options: of the convolutions.
        norm: () -> a `ModulatedNorm`, given its name.
    """

    features: int
    doubles: bool
    upsampling: str
    options: ConvOptions
    norm: Callable[..., ModulatedNorm]

    @nn.compact
    def __call__(self, inputs: Features, modulation: layers.Modulation, train: bool) -> Features:
        first, second = (self.norm(name=f"norm{i}") for i in (1, 2))
        hidden = nn.relu(first(inputs, modulation, train))
        hidden = upsampled_conv(self, "conv1", self.features, hidden, train, normalized(second))
        hidden = conv(self.options, "conv2", self.features, nn.relu(second(hidden, modulation, train)), train)
        if not self.doubles and self.options.channels(inputs) == self.features:
            return hidden + inputs
        # A convolution of single pixels may as well stand before the doubling, where there are fewer of them.
        shortcut = conv(self.options, "shortcut", self.features, inputs, train, size=1)
        return hidden + (UPSAMPLINGS[self.upsampling](shortcut) if self.doubles else shortcut)


class GeneratorBottleneck(nn.Module):
    """Norm, ReLU and convolution, four times, beside a shortcut that drops channels.

    Attributes: as in `GeneratorBlock`; `features` are at most those that come in.
    """

    features: int
    doubles: bool
    upsampling: str
    options: ConvOptions
    norm: Callable[..., ModulatedNorm]

    @nn.compact
    def __call__(self, inputs: Features, modulation: layers.Modulation, train: bool) -> Features:
        norms = [self.norm(name=f"norm{i}") for i in range(1, 5)]
        narrow = max(self.options.channels(inputs) // SHARE, 1)

        def activate(index: int, hidden: Features) -> Features:
            return nn.relu(norms[index](hidden, modulation, train))

        before = {"constant_bias": normalized(norms[0])}
        hidden = conv(self.options, "conv1", narrow, activate(0, inputs), train, size=1, **before)
        hidden = upsampled_conv(self, "conv2", narrow, activate(1, hidden), train, **before)
        hidden = conv(self.options, "conv3", narrow, activate(2, hidden), train, **before)
        hidden = conv(self.options, "conv4", self.features, activate(3, hidden), train, size=1)
        shortcut = self.options.first(inputs, self.features)
        return hidden + (UPSAMPLINGS[self.upsampling](shortcut) if self.doubles else shortcut)


def normalized(norm: ModulatedNorm) -> bool:
    """Whether a norm takes away the bias of the convolution before it."""
    return norm.norm == "batch"


def upsampled_conv(
    block: GeneratorBlock | GeneratorBottleneck,
    name: str,
    features: int,
    hidden: Features,
    train: bool,
    constant_bias: bool,
) -> Features:
    """A block's convolution by 3 x 3, behind the doubling if the block doubles."""
    fused = block.doubles and block.upsampling == "nearest"
    if block.doubles and not fused:
        hidden = UPSAMPLINGS[block.upsampling](hidden)
    options = {"doubles": True if fused else None, "constant_bias": constant_bias}
    return conv(block.options, name, features, hidden, train, **options)


class DiscriminatorBlock(nn.Module):
    """ReLU and convolution, twice, beside a shortcut.

    Attributes:
        features: channels out.
        halves: whether rows and columns are halved, at the end.
        wide: whether the first convolution has as many channels as come out, and not as many as come in.
        first: whether images come in: then no ReLU stands before the first convolution, which is wide.
        rectified_shortcut: whether the shortcut begins behind the first ReLU.
        options: as in `GeneratorBlock`.
    """

    features: int
    halves: bool
    wide: bool
    first: bool
    rectified_shortcut: bool
    options: ConvOptions

    @nn.compact
    def __call__(self, inputs: Features, train: bool) -> Features:
        count = self.options.channels(inputs)
        inner = self.features if self.wide or self.first else count
        rectified = inputs if self.first else nn.relu(inputs)
        hidden = conv(self.options, "conv1", inner, rectified, train)
        doubles = False if self.halves else None
        hidden = conv(self.options, "conv2", self.features, nn.relu(hidden), train, doubles=doubles)
        shortcut = rectified if self.rectified_shortcut else inputs
        if not self.halves and count == self.features:
            return hidden + shortcut
        # Of all blocks, since a mean and a convolution of single pixels may change places.
        shortcut = resampling.average_pool(shortcut) if self.halves else shortcut
        return hidden + conv(self.options, "shortcut", self.features, shortcut, train, size=1)


class DiscriminatorBottleneck(nn.Module):
    """ReLU and convolution, four times, beside a shortcut to which a convolution adds the channels that are missing.

    Attributes: as in `DiscriminatorBlock`; `features` are at least those that come in.
    """

    features: int
    halves: bool
    rectified_shortcut: bool
    options: ConvOptions

    @nn.compact
    def __call__(self, inputs: Features, train: bool) -> Features:
        count, narrow = self.options.channels(inputs), max(self.features // SHARE, 1)
        rectified = nn.relu(inputs)
        hidden = conv(self.options, "conv1", narrow, rectified, train, size=1)
        inputs = rectified if self.rectified_shortcut else inputs
        hidden = conv(self.options, "conv2", narrow, nn.relu(hidden), train)
        hidden = nn.relu(conv(self.options, "conv3", narrow, nn.relu(hidden), train))
        if self.halves:
            hidden, inputs = resampling.average_pool(hidden), resampling.average_pool(inputs)
        hidden = conv(self.options, "conv4", self.features, hidden, train, size=1)
        if count == self.features:
            return hidden + inputs
        added = conv(self.options, "shortcut", self.features - count, inputs, train, size=1)
        return hidden + self.options.joined(inputs, added)
