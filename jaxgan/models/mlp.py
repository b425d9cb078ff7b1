"""The introductory GAN: fully connected networks for small grey images."""

import math

import flax.linen as nn
from jaxtyping import Array, Float

from jaxgan.models import layers


def check_size(size: int) -> str | None:
    """None: every size can be made."""
    del size
    return None


class Generator(nn.Module):
    """Four hidden layers of width, 2, 4 and 8 widths, each dense, normalised, ReLU; then the pixels by tanh.

    Attributes:
        size, channels: of the images.
        width: of the first hidden layer.
        norm: a name of `layers.NORMS`.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is spread.
    """

    size: int
    channels: int
    width: int = 128
    norm: str = "batch"
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], train: bool) -> layers.Images:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        hidden = latents
        for factor in (1, 2, 4, 8):
            hidden = nn.Dense(self.width * factor, use_bias=self.norm == "none", kernel_init=kernel_init)(hidden)
            hidden = nn.relu(layers.NORMS[self.norm](hidden, train, self.axis_name))
        shape = (self.size, self.size, self.channels)
        pixels = nn.Dense(math.prod(shape), kernel_init=kernel_init)(hidden)
        return nn.tanh(pixels).reshape(-1, *shape)


class Discriminator(nn.Module):
    """Three hidden layers of 4, 2 and one widths, each dense, normalised, LeakyReLU; then one logit.

    Attributes:
        width: of the last hidden layer.
        norm: a name of `layers.NORMS`.
        leak: the slope of LeakyReLU for negative numbers.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is spread.
    """

    width: int = 128
    norm: str = "none"
    leak: float = 0.2
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, " batch"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        hidden = images.reshape(images.shape[0], -1)
        for factor in (4, 2, 1):
            hidden = nn.Dense(self.width * factor, use_bias=self.norm == "none", kernel_init=kernel_init)(hidden)
            hidden = nn.leaky_relu(layers.NORMS[self.norm](hidden, train, self.axis_name), self.leak)
        return nn.Dense(1, kernel_init=kernel_init)(hidden)[:, 0]
