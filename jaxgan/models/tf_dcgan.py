"""The DCGAN of TensorFlow's tutorial, which many learned GANs from: 5x5 kernels, and dropout in the discriminator.

References:
    TensorFlow, Deep Convolutional Generative Adversarial Network. https://www.tensorflow.org/tutorials/generative/dcgan
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import Settings
from jaxgan.models.ops import layers

PADDING = (1, 2)  # with a kernel of 5 and a stride of 2 it halves, as "SAME" does
LEAK = 0.3


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "tf_dcgan makes images; toy_mlp makes points"
    return None if all(side % 4 == 0 for side in shape[:2]) else "a tf_dcgan makes multiples of 4"


class Generator(nn.Module):
    """Latents to a quarter of the height and width, one convolution there, doubled twice; tanh at the end.

    Attributes:
        shape: of an image, (height, width, channels).
        base_channels: channels at half the height and width; there are twice and four times as many before.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and what comes out are float32.
    """

    shape: tuple[int, int, int]
    base_channels: int = 64
    norm: str = "batch"
    spectral_norm: bool = False
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        layout = {"batch_last": self.batch_last}
        options = {"use_bias": False, "kernel_init": layers.INITIALIZERS[self.initializer](self.init_stddev), **layout}

        def apply_layer(layer: nn.Module, hidden: Array) -> Array:
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        def activate(hidden: Array) -> Array:
            return nn.leaky_relu(layers.NORMS[self.norm](hidden, modulation, train, self.axis_name, **layout), LEAK)

        *size, channels = self.shape
        base = tuple(side // 4 for side in size)
        hidden = layers.to_layout(latents.astype(self.dtype), self.batch_last)
        hidden = activate(apply_layer(layers.Dense(math.prod(base) * 4 * self.base_channels, **options), hidden))
        hidden = layers.to_spatial(hidden, base, self.batch_last)
        for features, stride in ((2 * self.base_channels, 1), (self.base_channels, 2)):
            layer = layers.ConvTranspose(features, size=5, stride=stride, **options)
            hidden = activate(apply_layer(layer, hidden))
        images = apply_layer(layers.ConvTranspose(channels, size=5, **options), hidden)
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))


class Discriminator(nn.Module):
    """The image halved twice, LeakyReLU and dropout after each halving: the features of the last one.

    Attributes:
        base_channels: channels after the first halving; twice as many after the second.
        dropout: share of the features that are dropped while training.
        negative_slope: the slope of LeakyReLU for negative numbers.
        the others: as in `Generator`.
    """

    base_channels: int = 64
    norm: str = "none"
    spectral_norm: bool = False
    dropout: float = 0.0
    negative_slope: float = LEAK
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return self.norm == "none" and not (self.spectral_norm or self.dropout)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        layout = {"batch_last": self.batch_last}
        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        for stage in range(2):
            norm = self.norm if stage else "none"
            layer = layers.Conv(
                self.base_channels << stage,
                5,
                padding=PADDING,
                use_bias=norm == "none",
                kernel_init=kernel_init,
                **layout,
            )
            hidden = layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)
            hidden = nn.leaky_relu(
                layers.NORMS[norm](hidden, None, train, self.axis_name, **layout), self.negative_slope
            )
            if train and self.dropout and not self.is_initializing():
                hidden = layers.dropout(hidden, self.make_rng("dropout"), self.dropout, self.axis_name, **layout)
        return layers.to_layout(layers.to_flat(hidden, self.batch_last), self.batch_last).astype(jnp.float32)


SETTINGS: Settings = {"base_channels": layers.width(64, "channels at half the image's size"), **layers.NORM_SETTINGS}
DISCRIMINATOR_SETTINGS: Settings = SETTINGS | layers.ACTIVATION_SETTINGS | layers.DROPOUT_SETTINGS
