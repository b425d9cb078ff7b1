"""Layers with equalised learning rates: weights start as standard normal numbers and are scaled where they are used.

So Adam's steps are equally large a share of every weight, whatever the number of inputs.

References:
    Karras et al., Progressive Growing of GANs, 2018, section 4.1. https://arxiv.org/abs/1710.10196
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020. https://arxiv.org/abs/1912.04958
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.models.ops import convolutions, layers, resampling
from jaxgan.models.ops.convolutions import Features

SLOPE = 0.2  # of LeakyReLU
GAIN = math.sqrt(2)  # keeps the mean square of normal numbers through LeakyReLU, nearly


def activate(features: Array, clamp: float = 0.0, gain: float = 1.0) -> Array:
    """LeakyReLU times sqrt(2) and a further gain, cut off at `clamp` times that gain; 0: not cut off."""
    return cut_off(nn.leaky_relu(features, SLOPE) * (GAIN * gain), clamp * gain)


def cut_off(features: Array, clamp: float) -> Array:
    """The features between -clamp and clamp; as they are where that is 0."""
    return jnp.clip(features, -clamp, clamp) if clamp else features


def over_places(numbers: Float[Array, "*batch features"], batch_last: bool) -> Features:
    """A number for each feature, or for each example's, to be broadcast over rows and columns."""
    return layers.to_layout(numbers.reshape(-1, 1, 1, numbers.shape[-1]), batch_last)


class Dense(nn.Module):
    """A fully connected layer.

    Attributes:
        features: numbers out.
        lr_multiplier: by which weights and bias are multiplied where they are used, so that they move as much slower.
        bias_init: what the bias starts as.
        activated: whether LeakyReLU follows.
    """

    features: int
    lr_multiplier: float = 1.0
    bias_init: float = 0.0
    activated: bool = False

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch in"]) -> Float[Array, "batch out"]:
        count = inputs.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1 / self.lr_multiplier), (count, self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,))
        out = inputs @ (kernel * (self.lr_multiplier / math.sqrt(count))) + bias * self.lr_multiplier
        return activate(out) if self.activated else out


class Conv(nn.Module):
    """A convolution between zeros, of as many rows and columns as come in, or of half as many.

    Attributes:
        features: channels out.
        size: of the window, an odd number.
        halves: whether rows and columns are halved, behind a blur.
        use_bias: off for a shortcut.
        activated: whether LeakyReLU follows.
        gain: by which the output is multiplied.
        clamp: times the gain, the largest number that comes out of LeakyReLU; 0: any.
        batch_last: the layout of what comes in and goes out.
    """

    features: int
    size: int = 3
    halves: bool = False
    use_bias: bool = True
    activated: bool = True
    gain: float = 1.0
    clamp: float = 0.0
    batch_last: bool = False

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        shape = (self.size, self.size, inputs.shape[0 if self.batch_last else -1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape) / math.sqrt(math.prod(shape[:3]))
        out = self._convolved(inputs, kernel if self.activated else kernel * self.gain)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            out = out + over_places(bias, self.batch_last)  # in float32, so that its gradient is added up in it
        return (activate(out, self.clamp, self.gain) if self.activated else out).astype(inputs.dtype)

    def _convolved(self, inputs: Features, kernel: convolutions.Kernel) -> Features:
        convolve = convolutions.conv if self.batch_last else convolutions.stock_conv
        margin = self.size // 2
        if not self.halves:
            return convolve(inputs, kernel, 1, (margin, margin))
        if self.size == 1:
            return convolve(resampling.downsample(inputs), kernel, 1, (0, 0))
        return convolve(resampling.blur(inputs, (margin + 1, margin + 1)), kernel, 2, (0, 0))
