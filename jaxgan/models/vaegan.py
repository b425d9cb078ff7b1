"""The networks of VAE/GAN: 5x5 kernels, three halvings in encoder and discriminator, three doublings in the decoder.

The widths are those of the authors' 64x64 networks, for every size.

References:
    Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016, table 4.
    https://arxiv.org/abs/1512.09300
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import Settings
from jaxgan.models.ops import layers

HALVES, KEEPS = (1, 2), (2, 2)  # paddings of a kernel of 5, with a stride of 2 and of 1


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "a vaegan makes images; toy_mlp makes points"
    fits = all(side % 8 == 0 and side >= 16 for side in shape[:2])
    return None if fits else "a vaegan makes multiples of 8 from 16 on"


class _Network(nn.Module):
    """What the three networks share.

    Attributes:
        base_channels: channels of the encoder's first convolution; all other widths are multiples or halves of it.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and what comes out are float32.
    """

    base_channels: int = 64
    norm: str = "batch"
    spectral_norm: bool = False
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    def linear(self, layer: type[nn.Module], features: int, hidden: Array, train: bool, **options) -> Array:
        """A dense layer or a convolution."""
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        module = layer(features, kernel_init=kernel_init, batch_last=self.batch_last, **options)
        return layers.maybe_spectral_norm(module, hidden, self.spectral_norm, train)

    def activate(self, hidden: Array, train: bool, modulation: layers.Modulation = None) -> Array:
        """Normalisation and ReLU."""
        norm = layers.NORMS[self.norm]
        return nn.relu(norm(hidden, modulation, train, self.axis_name, batch_last=self.batch_last))

    @property
    def unbiased(self) -> dict[str, bool]:
        """The option of a layer that a normalisation follows."""
        return {"use_bias": self.norm == "none"}

    @property
    def half(self) -> int:
        """Channels at full size."""
        return max(self.base_channels // 2, 1)

    def vector(self, hidden: Array, features: int, train: bool) -> Float[Array, "batch features"]:
        """A dense layer behind convolutions, normalised, ReLU."""
        flat = layers.to_flat(hidden, self.batch_last)
        out = self.activate(self.linear(layers.Dense, features, flat, train, **self.unbiased), train)
        return layers.to_layout(out, self.batch_last).astype(jnp.float32)


class Encoder(_Network):
    """The image halved three times, then a dense layer: its features. BatchNorm and ReLU after each."""

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        for factor in (1, 2, 4):
            options = {"size": 5, "padding": HALVES, **self.unbiased}
            hidden = self.activate(
                self.linear(layers.Conv, factor * self.base_channels, hidden, train, **options), train
            )
        return self.vector(hidden, 16 * self.base_channels, train)


class Generator(_Network):
    """Latents to an eighth of the height and width, doubled three times, and a convolution to the channels; tanh.

    Attributes:
        shape: of an image, (height, width, channels).
        activation: a name of `layers.ACTIVATIONS`: tanh for images, linear for what a decoder gives.
        the others: as in `_Network`.
    """

    shape: tuple[int, int, int] = (64, 64, 3)
    activation: str = "tanh"

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        *size, channels = self.shape
        base, deepest = tuple(side // 8 for side in size), 4 * self.base_channels
        hidden = layers.to_layout(latents.astype(self.dtype), self.batch_last)
        hidden = self.linear(layers.Dense, math.prod(base) * deepest, hidden, train, **self.unbiased)
        hidden = layers.to_spatial(self.activate(hidden, train, modulation), base, self.batch_last)
        for features in (deepest, 2 * self.base_channels, self.half):
            hidden = self.linear(layers.ConvTranspose, features, hidden, train, size=5, **self.unbiased)
            hidden = self.activate(hidden, train, modulation)
        images = self.linear(layers.Conv, channels, hidden, train, size=5, stride=1, padding=KEEPS)
        return layers.ACTIVATIONS[self.activation](layers.to_layout(images, self.batch_last).astype(jnp.float32))


class Discriminator(_Network):
    """A convolution at full size, three halvings, then a dense layer: its features.

    The output of the fourth convolution, before its normalisation, is kept under the name `similarity`: the paper
    compares images by it.
    """

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return self.norm == "none" and not self.spectral_norm

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        hidden = nn.relu(self.linear(layers.Conv, self.half, hidden, train, size=5, stride=1, padding=KEEPS))
        for factor in (2, 4, 4):
            options = {"size": 5, "padding": HALVES, **self.unbiased}
            halved = self.linear(layers.Conv, factor * self.base_channels, hidden, train, **options)
            hidden = self.activate(halved, train)
        self.sow("intermediates", "similarity", layers.to_layout(halved, self.batch_last).astype(jnp.float32))
        return self.vector(hidden, 8 * self.base_channels, train)


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels of the encoder's first convolution; all others follow"),
    **layers.NORM_SETTINGS,
}
