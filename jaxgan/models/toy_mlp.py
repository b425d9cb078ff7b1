"""Fully connected networks for points of toy worlds, as in PacGAN's experiments on mixtures of Gaussians.

References:
    Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018, section 4.1.
    https://arxiv.org/abs/1712.04086
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import NOT_NEGATIVE, POSITIVE, Setting, Settings
from jaxgan.models.ops import layers

Points = Float[Array, "batch dim"]


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    return None if len(shape) == 1 else "toy_mlp makes points; dcgan and mlp make images"


class Generator(nn.Module):
    """Hidden layers of one width, each dense, normalised, ReLU; then the coordinates, which nothing bounds.

    Attributes:
        dim: of the points.
        width, depth: units of a hidden layer, and how many of those there are.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        dtype: of what is multiplied; all else is float32.
    """

    dim: int
    width: int = 400
    depth: int = 4
    norm: str = "batch"
    spectral_norm: bool = False
    initializer: str = "xavier"
    init_stddev: float = 0.02
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool) -> Points:
        def dense(features: int, inputs: Array, use_bias: bool) -> Array:
            kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
            layer = layers.Dense(features, use_bias=use_bias, kernel_init=kernel_init, dtype=self.dtype)
            return layers.maybe_spectral_norm(layer, inputs, self.spectral_norm, train)

        hidden = latents
        for _ in range(self.depth):
            hidden = dense(self.width, hidden, use_bias=self.norm == "none")
            hidden = nn.relu(layers.NORMS[self.norm](hidden, modulation, train, self.axis_name))
        return dense(self.dim, hidden, use_bias=True)


class Discriminator(nn.Module):
    """Hidden layers of one width, each dense, normalised, then maxout or LeakyReLU: the features of the last one.

    Attributes:
        width, depth: units of a hidden layer, and how many of those there are.
        maxout: dense units of which each unit is the largest; 1 stands for LeakyReLU.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        minibatch_stddev: size of the groups whose standard deviation is one more feature; 0 for none.
        negative_slope: the slope of LeakyReLU for negative numbers.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        dtype: of what is multiplied; all else is float32.

    References:
        Goodfellow et al., Maxout Networks, 2013. https://arxiv.org/abs/1302.4389
    """

    width: int = 200
    depth: int = 3
    maxout: int = 5
    norm: str = "none"
    spectral_norm: bool = False
    minibatch_stddev: int = 0
    negative_slope: float = 0.2
    initializer: str = "xavier"
    init_stddev: float = 0.02
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return self.norm == "none" and not (self.spectral_norm or self.minibatch_stddev)

    @nn.compact
    def __call__(self, points: Points, train: bool) -> Float[Array, "batch features"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        hidden = points
        for index in range(self.depth):
            if index == self.depth - 1 and self.minibatch_stddev:
                hidden = layers.minibatch_stddev(hidden, self.minibatch_stddev)
            options = {"use_bias": self.norm == "none", "kernel_init": kernel_init, "dtype": self.dtype}
            layer = layers.Dense(self.width * self.maxout, **options)
            hidden = layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)
            hidden = layers.NORMS[self.norm](hidden, None, train, self.axis_name)
            if self.maxout > 1:
                hidden = functools.reduce(_larger, jnp.split(hidden, self.maxout, axis=1))
            else:
                hidden = nn.leaky_relu(hidden, self.negative_slope)
        return hidden


def _larger(one: Array, other: Array) -> Array:
    """The larger of each two numbers, or what is no number. Of equals, which are rare, the first has all the gradient.

    That of `jnp.maximum` would share it, in twice the time.
    """
    return jnp.where((one >= other) | jnp.isnan(one), one, other)


SETTINGS: Settings = {"width": layers.width(64, "units of a hidden layer"), **layers.NORM_SETTINGS}
GENERATOR_SETTINGS: Settings = SETTINGS | {"depth": Setting(4, "hidden layers; 0 makes it linear", NOT_NEGATIVE)}
DISCRIMINATOR_SETTINGS: Settings = (
    SETTINGS
    | {
        "depth": Setting(3, "hidden layers; 0 makes it linear", NOT_NEGATIVE),
        "maxout": Setting(1, "units of which each unit is the largest; 1: LeakyReLU", POSITIVE),
    }
    | layers.ACTIVATION_SETTINGS
    | layers.STDDEV_SETTINGS
)
