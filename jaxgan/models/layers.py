"""Layers that the model families share: convolutions with a stride, normalisation, initialisation."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channel"]
Features = Float[Array, "batch rows columns features"]  # what convolutions make of images
Kernel = Float[Array, "kernel kernel in out"]
Modulation = Float[Array, "batch condition"] | None

INITIALIZERS = {
    "gaussian": nn.initializers.normal,
    "he": lambda stddev: nn.initializers.he_normal(),
    "xavier": lambda stddev: nn.initializers.glorot_uniform(),
    "orthogonal": lambda stddev: nn.initializers.orthogonal(),
}


def stock_conv(images: Images, kernel: Kernel, stride: int, padding: tuple[int, int]) -> Features:
    """A convolution with the same stride and padding in both directions: (n + sum(padding) - kernel) // stride + 1."""
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def stock_conv_transpose(images: Images, kernel: Kernel, stride: int) -> Features:
    """A transposed convolution that multiplies height and width by the stride."""
    return lax.conv_transpose(images, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def patches(images: Images, size: int, stride: int, padding: tuple[int, int]) -> Features:
    """The windows that a convolution sees, laid along the channels as (row, column, channel)."""
    images = jnp.pad(images, ((0, 0), padding, padding, (0, 0)))
    rows, columns = ((n - size) // stride + 1 for n in images.shape[1:3])
    taps = [
        images[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(taps, axis=-1)


def product_conv(images: Images, kernel: Kernel, stride: int, padding: tuple[int, int]) -> Features:
    """`stock_conv` as one matrix product over patches, so that its derivatives of any order are matrix products too."""
    size = kernel.shape[0]
    return patches(images, size, stride, padding) @ kernel.reshape(-1, kernel.shape[-1])


def product_conv_transpose(images: Images, kernel: Kernel, stride: int) -> Features:
    """`stock_conv_transpose` as one matrix product at the input's resolution.

    An output pixel meets only every `stride`-th tap of the kernel, and pixels of one phase (row and column modulo the
    stride) all meet the same ones. So the kernel splits into one small kernel per phase, their outputs are computed
    side by side as channels, and interleaved.
    """
    size, _, inputs, outputs = kernel.shape
    batch, height, width, _ = images.shape
    # "SAME" puts `before` zeros in front of the dilated input: output y meets input q at tap q * stride - y + before.
    # Starting `crop` pixels early, phase p at position i meets input i + j - margin at tap j * stride + stride - 1 - p.
    before = size - 1 if stride > size - 1 else (size + stride - 1) // 2
    crop = (stride - 1 - before) % stride
    margin = (before + crop) // stride
    taps = -(-size // stride)
    grow = taps * stride - size
    kernel = jnp.pad(kernel, ((0, grow), (0, grow), (0, 0), (0, 0)))
    kernel = kernel.reshape(taps, stride, taps, stride, inputs, outputs)[:, ::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(taps**2 * inputs, stride**2 * outputs)
    phases = patches(images, taps, 1, (margin, taps - 1 - margin + (crop > 0))) @ kernel
    rows, columns = phases.shape[1:3]
    pixels = phases.reshape(batch, rows, columns, stride, stride, outputs).transpose(0, 1, 3, 2, 4, 5)
    pixels = pixels.reshape(batch, rows * stride, columns * stride, outputs)
    return pixels[:, crop : crop + height * stride, crop : crop + width * stride]


def conv(images: Images, kernel: Kernel, stride: int, padding: tuple[int, int]) -> Features:
    """A convolution in the form that is fastest on the platform it is compiled for."""
    return lax.platform_dependent(
        images,
        kernel,
        cpu=lambda x, k: product_conv(x, k, stride, padding),
        default=lambda x, k: stock_conv(x, k, stride, padding),
    )


def conv_transpose(images: Images, kernel: Kernel, stride: int) -> Features:
    """A transposed convolution in the form that is fastest on the platform it is compiled for."""
    return lax.platform_dependent(
        images,
        kernel,
        cpu=lambda x, k: product_conv_transpose(x, k, stride),
        default=lambda x, k: stock_conv_transpose(x, k, stride),
    )


class Conv(nn.Module):
    """A convolution; with kernel 4, stride 2 and padding (1, 1) it halves height and width.

    Attributes:
        features: channels out.
        size, stride, padding: of the window, the same for rows and columns.
        use_bias: off where a normalisation follows.
        kernel_init: the kernel's initialiser.
    """

    features: int
    size: int = 4
    stride: int = 2
    padding: tuple[int, int] = (1, 1)
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, images: Images) -> Features:
        shape = (self.size, self.size, images.shape[-1], self.features)
        out = conv(images, self.param("kernel", self.kernel_init, shape), self.stride, self.padding)
        return out + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else out


class ConvTranspose(nn.Module):
    """A transposed convolution that multiplies height and width by the stride; attributes as in `Conv`."""

    features: int
    size: int = 4
    stride: int = 2
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, images: Images) -> Features:
        shape = (self.size, self.size, images.shape[-1], self.features)
        out = conv_transpose(images, self.param("kernel", self.kernel_init, shape), self.stride)
        return out + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else out


def batch_norm(features: Array, modulation: Modulation, train: bool, axis_name: str | None) -> Array:
    """BatchNorm over the global batch: with an axis name, its statistics are averaged over that axis's devices.

    With a modulation its scales and shifts are linear in that: of a one-hot one, each class has its own.

    References:
        Ioffe and Szegedy, Batch Normalization, 2015. https://arxiv.org/abs/1502.03167
        de Vries et al., Modulating early visual processing by language, 2017, equation 6. https://arxiv.org/abs/1707.00683
    """
    own = modulation is None
    options = {"momentum": 0.9, "use_scale": own, "use_bias": own, "axis_name": axis_name}
    features = nn.BatchNorm(use_running_average=not train, **options)(features)
    if own:
        return features
    count = features.shape[-1]
    wide = (len(features), *[1] * (features.ndim - 2), count)
    scale = nn.Dense(count, use_bias=False, kernel_init=nn.initializers.ones)(modulation).reshape(wide)
    shift = nn.Dense(count, use_bias=False, kernel_init=nn.initializers.zeros)(modulation).reshape(wide)
    return features * scale + shift


def no_norm(features: Array, modulation: Modulation, train: bool, axis_name: str | None) -> Array:
    """The identity."""
    del modulation, train, axis_name
    return features


NORMS = {"batch": batch_norm, "none": no_norm}


def normalised(layer: nn.Module, inputs: Array, spectral_norm: bool, train: bool) -> Array:
    """A layer's output, with its kernel divided by an estimate of its largest singular value if that is asked for.

    The estimate is one step of power iteration, on a kernel with all axes but the last one joined. Its vector is kept
    with BatchNorm's statistics, so whoever drops those leaves it as it is.

    References:
        Miyato et al., Spectral Normalization for GANs, 2018, algorithm 1. https://arxiv.org/abs/1802.05957
    """
    return nn.SpectralNorm(layer)(inputs, update_stats=train) if spectral_norm else layer(inputs)


def minibatch_stddev(features: Array, group: int) -> Array:
    """One more feature for each example: the spread of its group, averaged over all places and features.

    Args:
        features: [batch, ..., features].
        group: examples that follow each other and make up a group; it divides the batch.

    References:
        Karras et al., Progressive Growing of GANs, 2018, section 3. https://arxiv.org/abs/1710.10196
    """
    groups = features.reshape(-1, group, *features.shape[1:])
    # The small number keeps the gradient of the root finite where a group's examples are all alike.
    spread = jnp.sqrt(groups.var(axis=1) + 1e-8).mean(axis=range(1, features.ndim))
    column = jnp.broadcast_to(spread.repeat(group).reshape(-1, *[1] * (features.ndim - 1)), (*features.shape[:-1], 1))
    return jnp.concatenate([features, column], axis=-1)


def pooled_conv(pool: Callable) -> Callable[..., tuple]:
    """Halving as classifiers do it, a convolution of stride 1 and then a pooling."""

    def downsample(features: int, **options) -> tuple[nn.Module, Callable[[Features], Features]]:
        return Conv(features, size=3, stride=1, **options), lambda images: pool(images, (2, 2), (2, 2))

    return downsample


def strided_conv(features: int, **options) -> tuple[nn.Module, Callable[[Features], Features]]:
    """Halving by a convolution of stride 2, which learns its own downsampling.

    References:
        Radford et al., Unsupervised Representation Learning with DCGANs, 2016, section 3. https://arxiv.org/abs/1511.06434
    """
    return Conv(features, **options), lambda images: images


DOWNSAMPLINGS = {  # (features, options of `Conv`) -> a layer, and what follows it
    "stride": strided_conv,
    "average_pool": pooled_conv(nn.avg_pool),
    "max_pool": pooled_conv(nn.max_pool),
}
