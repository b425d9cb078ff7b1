"""DCGAN: transposed convolutions up, stride-2 convolutions down.

References:
    Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, 2016.
    https://arxiv.org/abs/1511.06434
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import DIMENSIONS, Range, Setting, Settings
from jaxgan.models.ops import layers

LEAST = 4  # pixels of the shorter side of the smallest features
MOST_PIXELS = 1024  # of the smallest features, all of which a dense layer makes
MOST_WIDTHS = 8  # channels stop growing at 8 widths, as in the paper's 64x64 networks
KERNEL = 4  # rows and columns; the authors' Theano code has 5
KERNEL_SIZES = Range(lambda value: value >= 2, "at least 2")


def stages(height: int, width: int) -> int:
    """How often both sides can be halved while the shorter one stays at least `LEAST`; 0 if that makes no DCGAN.

    A DCGAN halves at least twice, or once down to fewer than twice `LEAST`, and to no more than `MOST_PIXELS`.
    """
    count = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * LEAST:
        height, width, count = height // 2, width // 2, count + 1
    deep = count > 1 or min(height, width) < 2 * LEAST
    return count if deep and height * width <= MOST_PIXELS else 0


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "a dcgan makes images; toy_mlp makes points"
    if stages(*shape[:2]):
        return None
    return "a dcgan makes 8, 10, 12, 14, and multiples of 4 up to 128, of 8 up to 256, of 16 up to 512, ..."


def check_settings(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """What is wrong with a network's settings, and what would be right."""
    del shape
    size, downsampling = settings["kernel_size"], settings.get("downsampling", "stride")
    if size != KERNEL and downsampling != "stride":
        return f"kernel_size={size} must be {KERNEL} with downsampling={downsampling}, whose kernels have a size of 3"
    if settings.get("unit_norm") and settings["norm"] == "none":
        return "unit_norm=True must be False with norm=none"
    return None


def window(size: int) -> dict[str, int]:
    """Of a transposed convolution that doubles rows and columns; zeros are as in PyTorch."""
    return {"size": size, "padding": (size - 1) // 2}


def features(width: int, stage: int) -> int:
    """Channels after `stage` + 1 halvings."""
    return width * min(2**stage, MOST_WIDTHS)


class Generator(nn.Module):
    """Latents to a few pixels of many channels, doubled up to the image; BatchNorm and ReLU between, tanh at the end.

    Attributes:
        shape: of an image, (height, width, channels).
        base_channels: channels at half the height and width; they double with every halving, up to 8 widths.
        hidden_dims: features of dense layers in front of the convolutions; the paper has none, yet convolutions alone
            have to spread a normal distribution over shapes that look nothing alike.
        kernel_size: rows and columns of the kernels.
        unit_norm: whether each number of the last dense layer is normalised by itself, as in the authors' Theano code;
            else each of its channels is, over all places.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        activation: a name of `layers.ACTIVATIONS`: tanh for images, linear for what a decoder gives.
        dtype: of the features; parameters, statistics and what comes out are float32.
    """

    shape: tuple[int, int, int]
    base_channels: int = 64
    hidden_dims: tuple[int, ...] = ()
    kernel_size: int = KERNEL
    unit_norm: bool = False
    norm: str = "batch"
    spectral_norm: bool = False
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    activation: str = "tanh"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        layout = {"batch_last": self.batch_last}
        options = {"use_bias": self.norm == "none", "kernel_init": kernel_init, **layout}
        *size, channels = self.shape
        count = stages(*size)
        base, deepest = tuple(side >> count for side in size), features(self.base_channels, count - 1)

        def apply_layer(layer: nn.Module, hidden: Array) -> Array:
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        def activate(hidden: Array) -> Array:
            return nn.relu(layers.NORMS[self.norm](hidden, modulation, train, self.axis_name, **layout))

        hidden = layers.to_layout(latents.astype(self.dtype), self.batch_last)
        for width in self.hidden_dims:
            hidden = activate(apply_layer(layers.Dense(width, **options), hidden))
        hidden = apply_layer(layers.Dense(math.prod(base) * deepest, **options), hidden)
        if self.unit_norm:
            hidden = layers.to_spatial(activate(hidden), base, self.batch_last)
        else:
            hidden = activate(layers.to_spatial(hidden, base, self.batch_last))
        options |= window(self.kernel_size)
        for stage in reversed(range(count - 1)):
            hidden = activate(apply_layer(layers.ConvTranspose(features(self.base_channels, stage), **options), hidden))
        images = apply_layer(layers.ConvTranspose(channels, **options | {"use_bias": True}), hidden)
        return layers.ACTIVATIONS[self.activation](layers.to_layout(images, self.batch_last).astype(jnp.float32))


class Discriminator(nn.Module):
    """The image halved down to a few pixels, LeakyReLU after each halving: the features of the last layer.

    Attributes:
        base_channels: channels after the first halving; they double with every further one, up to 8 widths.
        hidden_dims: features of fully connected layers behind the convolutions; the paper has none.
        kernel_size: rows and columns of the kernels, where strides halve.
        norm: a name of `layers.NORMS`, before every activation but the first.
        spectral_norm: whether the kernels are divided by their largest singular value.
        minibatch_stddev: size of the groups whose standard deviation is one more feature; 0 for none.
        dropout: share of the features that are dropped behind each halving while training.
        negative_slope: the slope of LeakyReLU for negative numbers.
        downsampling: a name of `layers.DOWNSAMPLINGS`.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and what comes out are float32.
    """

    base_channels: int = 64
    hidden_dims: tuple[int, ...] = ()
    kernel_size: int = KERNEL
    norm: str = "batch"
    spectral_norm: bool = False
    minibatch_stddev: int = 0
    dropout: float = 0.0
    negative_slope: float = 0.2
    downsampling: str = "stride"
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return self.norm == "none" and not (self.spectral_norm or self.minibatch_stddev or self.dropout)

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, "batch features"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)

        def apply_layer(layer: nn.Module, hidden: Array) -> Array:
            return layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)

        layout = {"batch_last": self.batch_last}

        def activate(hidden: Array, norm: str) -> Array:
            return nn.leaky_relu(layers.NORMS[norm](hidden, None, train, self.axis_name, **layout), self.negative_slope)

        hidden = layers.to_layout(images.astype(self.dtype), self.batch_last)
        for stage in range(stages(*images.shape[1:3])):
            norm = self.norm if stage else "none"
            options = {"use_bias": norm == "none", "kernel_init": kernel_init, **layout}
            if self.downsampling == "stride":
                zeros = window(self.kernel_size)["padding"]
                options |= {"size": self.kernel_size, "padding": (zeros, zeros)}
            layer, shrink = layers.DOWNSAMPLINGS[self.downsampling](features(self.base_channels, stage), **options)
            hidden = activate(shrink(apply_layer(layer, hidden)), norm)
            if train and self.dropout and not self.is_initializing():
                hidden = layers.dropout(hidden, self.make_rng("dropout"), self.dropout, self.axis_name, **layout)
        if self.minibatch_stddev:
            hidden = layers.minibatch_stddev(layers.to_layout(hidden, self.batch_last), self.minibatch_stddev)
            hidden = layers.to_layout(hidden, self.batch_last)
        hidden = layers.to_flat(hidden, self.batch_last)
        for width in self.hidden_dims:
            layer = layers.Dense(width, use_bias=self.norm == "none", kernel_init=kernel_init, **layout)
            hidden = activate(apply_layer(layer, hidden), self.norm)
        return layers.to_layout(hidden, self.batch_last).astype(jnp.float32)


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at half the image's size"),
    "hidden_dims": Setting((), "features of dense layers between the convolutions and the vector", DIMENSIONS),
    "kernel_size": Setting(KERNEL, "rows and columns of the kernels", KERNEL_SIZES),
    **layers.NORM_SETTINGS,
}
GENERATOR_SETTINGS: Settings = SETTINGS | {
    "unit_norm": Setting(False, "normalise each number of the last dense layer by itself, and not each channel")
}
DISCRIMINATOR_SETTINGS: Settings = (
    SETTINGS
    | layers.ACTIVATION_SETTINGS
    | layers.STDDEV_SETTINGS
    | layers.DROPOUT_SETTINGS
    | layers.DOWNSAMPLING_SETTINGS
)
