"""The fully connected networks of the importance weighted autoencoder: tanh layers of any widths.

References:
    Burda et al., Importance Weighted Autoencoders, 2016, section 5.1. https://arxiv.org/abs/1509.00519
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import DIMENSIONS, Setting, Settings
from jaxgan.models.ops import layers


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    return None if len(shape) == 3 else "an iwae_mlp makes images; toy_mlp makes points"


class Encoder(nn.Module):
    """The image, flattened, through tanh layers: the features of the last one.

    Attributes:
        hidden_dims: units of the hidden layers; none: the image as it is.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        dtype: of what is multiplied; all else is float32.
    """

    hidden_dims: tuple[int, ...] = (200, 200)
    initializer: str = "xavier"
    init_stddev: float = 0.02
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, examples: Array, train: bool) -> Float[Array, "batch features"]:
        del train
        hidden, kernel_init = examples.reshape(len(examples), -1), layers.INITIALIZERS[self.initializer]
        for width in self.hidden_dims:
            layer = layers.Dense(width, kernel_init=kernel_init(self.init_stddev), dtype=self.dtype)
            hidden = jnp.tanh(layer(hidden))
        return hidden


class Decoder(nn.Module):
    """Tanh layers, then a number for each pixel and channel, which nothing bounds.

    Attributes:
        shape: of an image, (height, width, channels).
        hidden_dims, initializer, init_stddev, dtype: as in `Encoder`.
    """

    shape: tuple[int, int, int]
    hidden_dims: tuple[int, ...] = (200, 200)
    initializer: str = "xavier"
    init_stddev: float = 0.02
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        del modulation
        options = {"initializer": self.initializer, "init_stddev": self.init_stddev, "dtype": self.dtype}
        hidden = Encoder(self.hidden_dims, **options, name="hidden")(latents, train)
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        pixels = layers.Dense(math.prod(self.shape), kernel_init=kernel_init, dtype=self.dtype)
        return pixels(hidden).reshape(-1, *self.shape)


SETTINGS: Settings = {"hidden_dims": Setting((200, 200), "units of the hidden layers", DIMENSIONS)}
