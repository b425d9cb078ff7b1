"""The introductory GAN: fully connected networks for small grey images."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import Settings
from jaxgan.models.ops import layers


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    return None if len(shape) == 3 else "an mlp makes images; toy_mlp makes points"


class Generator(nn.Module):
    """Four hidden layers of width, 2, 4 and 8 widths, each dense, normalised, ReLU; then the pixels by tanh.

    Attributes:
        shape: of an image, (height, width, channels).
        width: of the first hidden layer.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        activation: a name of `layers.ACTIVATIONS`: tanh for images, linear for what a decoder gives.
        dtype: of what is multiplied; all else is float32.
    """

    shape: tuple[int, int, int]
    width: int = 128
    norm: str = "batch"
    spectral_norm: bool = False
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    activation: str = "tanh"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        def dense(features: int, inputs: Array, use_bias: bool) -> Array:
            kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
            layer = layers.Dense(features, use_bias=use_bias, kernel_init=kernel_init, dtype=self.dtype)
            return layers.maybe_spectral_norm(layer, inputs, self.spectral_norm, train)

        hidden = latents
        for factor in (1, 2, 4, 8):
            hidden = dense(self.width * factor, hidden, use_bias=self.norm == "none")
            hidden = nn.relu(layers.NORMS[self.norm](hidden, modulation, train, self.axis_name))
        pixels = dense(math.prod(self.shape), hidden, use_bias=True)
        return layers.ACTIVATIONS[self.activation](pixels).reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """Three hidden layers of 4, 2 and one widths, each dense, normalised, LeakyReLU: the features of the last one.

    Attributes:
        width: of the last hidden layer.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        minibatch_stddev: size of the groups whose standard deviation is one more feature; 0 for none.
        negative_slope: the slope of LeakyReLU for negative numbers.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        dtype: of what is multiplied; all else is float32.
    """

    width: int = 128
    norm: str = "none"
    spectral_norm: bool = False
    minibatch_stddev: int = 0
    negative_slope: float = 0.2
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return self.norm == "none" and not (self.spectral_norm or self.minibatch_stddev)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        hidden = images.reshape(images.shape[0], -1)
        for factor in (4, 2, 1):
            if factor == 1 and self.minibatch_stddev:
                hidden = layers.minibatch_stddev(hidden, self.minibatch_stddev)
            kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
            options = {"use_bias": self.norm == "none", "kernel_init": kernel_init, "dtype": self.dtype}
            layer = layers.Dense(self.width * factor, **options)
            hidden = layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)
            hidden = nn.leaky_relu(layers.NORMS[self.norm](hidden, None, train, self.axis_name), self.negative_slope)
        return hidden


SETTINGS: Settings = {"width": layers.width(64, "units of the narrowest hidden layer"), **layers.NORM_SETTINGS}
DISCRIMINATOR_SETTINGS: Settings = SETTINGS | layers.ACTIVATION_SETTINGS | layers.STDDEV_SETTINGS
