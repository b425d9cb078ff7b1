"""Layers that the model families share: convolutions with a stride, normalisation, initialisation.

What convolutions make of images is laid out [batch, rows, columns, features], or, where `batch_last`, [features, rows,
columns, batch], which is what a CPU multiplies fast. Parameters and results do not depend on it.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, UInt32

from jaxgan.core import rng
from jaxgan.core.settings import BELOW_ONE, NOT_NEGATIVE, POSITIVE, Choice, Setting, Settings, names_of
from jaxgan.models.ops import convolutions
from jaxgan.models.ops.convolutions import Features, Size
from jaxgan.models.ops.spectral_norm import SpectralNorm

Images = Float[Array, "batch height width channel"]
Modulation = Float[Array, "batch condition"] | None

BATCH_NORM_MOMENTUM = 0.9  # of the running moments, at each batch

INITIALIZERS = {
    "gaussian": nn.initializers.normal,
    "he": lambda stddev: nn.initializers.he_normal(),
    "xavier": lambda stddev: nn.initializers.glorot_uniform(),
    "xavier_normal": lambda gain: nn.initializers.variance_scaling(gain**2, "fan_avg", "normal"),
    "orthogonal": lambda stddev: nn.initializers.orthogonal(),
}


class Dense(nn.Module):
    """A fully connected layer.

    Attributes:
        features: numbers out.
        use_bias: off where a normalisation follows.
        kernel_init: the kernel's initialiser.
        batch_last: whether [in, batch] comes in and [out, batch] goes out.
        dtype: of what is multiplied; that of the inputs if None. Out comes the type of the inputs.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    batch_last: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, inputs: Float[Array, "..."]) -> Float[Array, "..."]:
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[0 if self.batch_last else -1], self.features))
        dtype = jnp.dtype(inputs.dtype if self.dtype is None else self.dtype)
        if dtype == jnp.float32:
            out = kernel.T @ inputs if self.batch_last else inputs @ kernel
        else:
            out = product(*((_stored(kernel.T), inputs) if self.batch_last else (inputs, kernel)), dtype)
        return add_bias(self, out.astype(inputs.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def product(
    left: Float[Array, "rows inner"], right: Float[Array, "..."], dtype: DTypeLike, transposed: bool = False
) -> Float[Array, "rows columns"]:
    """The product of two matrices rounded to a type of half precision, added up in float32.

    Its derivatives are such products again. Those that JAX would derive multiply in float32, since one of their sides
    is.

    Args:
        left: of any type, as is `right`.
        right: [inner, columns], or [columns, inner] if `transposed`.
        dtype: of what is multiplied.
        transposed: whether to multiply with the transpose of `right`.
    """
    numbers = (((1,), (1 if transposed else 0,)), ((), ()))
    out = lax.dot_general(left.astype(dtype), right.astype(dtype), numbers, preferred_element_type=jnp.float32)
    # Without the barrier XLA turns the transpose of a product into another product, for which it has no code.
    return lax.optimization_barrier(out)


def _product_forward(
    left: Array, right: Array, dtype: DTypeLike, transposed: bool
) -> tuple[Array, tuple[Array, Array]]:
    return product(left, right, dtype, transposed), (left, right)


def _product_backward(
    dtype: DTypeLike, transposed: bool, sides: tuple[Array, Array], change: Array
) -> tuple[Array, Array]:
    left, right = sides
    change = change.astype(dtype)
    first, second = (change, left) if transposed else (left, change)
    by_right = product(_stored(first.astype(dtype).T), second, dtype)
    return product(change, right, dtype, not transposed).astype(left.dtype), by_right.astype(right.dtype)


product.defvjp(_product_forward, _product_backward)


def _stored(matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """The matrix, in memory row by row: XLA's CPU code multiplies half-precision numbers fast if the left side is."""
    if jax.default_backend() != "cpu":
        return matrix
    return lax.optimization_barrier(matrix.reshape(-1)).reshape(matrix.shape)


class Conv(nn.Module):
    """A convolution; with kernel 4, stride 2 and padding (1, 1) it halves height and width.

    Attributes:
        features: channels out.
        size, stride, padding: of the window, the same for rows and columns.
        groups: of features in and out, each of which is convolved by itself.
        use_bias: off where a normalisation follows.
        constant_bias: whether no gradient reaches the bias; on where a normalisation takes it away again, so that its
            gradient is rounding errors alone, which Adam would make steps of full length of.
        kernel_init: the kernel's initialiser.
        batch_last: the layout of what comes in and goes out.
    """

    features: int
    size: int = 4
    stride: int = 2
    padding: tuple[int, int] = (1, 1)
    groups: int = 1
    use_bias: bool = True
    constant_bias: bool = False
    kernel_init: Callable = nn.initializers.lecun_normal()
    batch_last: bool = False

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        shape = (self.size, self.size, inputs.shape[0 if self.batch_last else -1] // self.groups, self.features)
        convolve = convolutions.conv if self.batch_last else convolutions.stock_conv
        kernel = self.param("kernel", self.kernel_init, shape)
        out = convolve(inputs, kernel, self.stride, self.padding, self.groups)
        return add_bias(self, out, self.constant_bias)


class ConvTranspose(nn.Module):
    """A transposed convolution that multiplies height and width by the stride; attributes as in `Conv`.

    Attributes:
        padding: as in PyTorch, whose `output_padding` follows; None: as "SAME" has it.
    """

    features: int
    size: int = 4
    stride: int = 2
    padding: int | None = None
    use_bias: bool = True
    constant_bias: bool = False
    kernel_init: Callable = nn.initializers.lecun_normal()
    batch_last: bool = False

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        shape = (self.size, self.size, inputs.shape[0 if self.batch_last else -1], self.features)
        convolve = convolutions.conv_transpose if self.batch_last else convolutions.stock_conv_transpose
        kernel = self.param("kernel", self.kernel_init, shape)
        return add_bias(self, convolve(inputs, kernel, self.stride, self.padding), self.constant_bias)


def add_bias(layer: nn.Module, out: Array, constant: bool = False) -> Array:
    """A layer's output plus the layer's parameter "bias", if it has `use_bias`; `constant` as `Conv.constant_bias`."""
    if not layer.use_bias:
        return out
    bias = layer.param("bias", nn.initializers.zeros, (layer.features,))
    bias = lax.stop_gradient(bias) if constant else bias
    # In float32, so that its gradient is added up in it.
    return (out + (bias.reshape(-1, *[1] * (out.ndim - 1)) if layer.batch_last else bias)).astype(out.dtype)


def reflect_pad(features: Features, amount: int) -> Features:
    """Rows and columns grown by their mirror images, without the border itself, in either layout."""
    return jnp.pad(features, ((0, 0), (amount, amount), (amount, amount), (0, 0)), mode="reflect")


def block_mean(features: Features, blocks: Size) -> Features:
    """Means over blocks of `blocks` rows and columns, in either layout."""
    (rows, columns), (first, height, width, last) = blocks, features.shape
    return features.reshape(first, height // rows, rows, width // columns, columns, last).mean((2, 4))


def gated_linear_unit(features: Array, batch_last: bool) -> Array:
    """GLU: the first half of the features, each times the sigmoid of its partner in the second half.

    References:
        Dauphin et al., Language Modeling with Gated Convolutional Networks, 2017. https://arxiv.org/abs/1612.08083
    """
    values, gates = jnp.split(features, 2, axis=0 if batch_last else -1)
    return values * nn.sigmoid(gates)


def to_layout(features: Array, batch_last: bool) -> Array:
    """[batch, ..., features] laid out batch last, or the other way round; as it is unless `batch_last`."""
    return jnp.swapaxes(features, 0, -1) if batch_last else features


def to_spatial(features: Array, size: tuple[int, ...], batch_last: bool) -> Array:
    """[batch, rows * columns * features] as [batch, rows, columns, features], both of them batch last or not.

    A size of three numbers is that of grids.
    """
    if not batch_last:
        return features.reshape(len(features), *size, -1)
    return jnp.moveaxis(features.reshape(*size, -1, features.shape[-1]), -2, 0)


def to_flat(features: Array, batch_last: bool) -> Array:
    """The other way round."""
    if not batch_last:
        return features.reshape(len(features), -1)
    return jnp.moveaxis(features, 0, -2).reshape(-1, features.shape[-1])


def batch_norm(
    features: Array, modulation: Modulation, train: bool, axis_name: str | None, batch_last: bool = False
) -> Array:
    """BatchNorm over the global batch: with an axis name, its statistics are averaged over that axis's devices.

    With a modulation its scales and shifts are linear in that: of a one-hot one, each class has its own.

    References:
        Ioffe and Szegedy, Batch Normalization, 2015. https://arxiv.org/abs/1502.03167
        de Vries et al., Modulating early visual processing by language, 2017, equation 6. https://arxiv.org/abs/1707.00683
    """
    features = plain_batch_norm(features, modulation is None, train, axis_name, batch_last)
    if modulation is None:
        return features
    count = features.shape[0 if batch_last else -1]

    def of_each(kernel_init: Callable) -> Array:
        values = nn.Dense(count, use_bias=False, kernel_init=kernel_init)(modulation)
        wide = values.reshape(len(values), *[1] * (features.ndim - 2), count)
        return to_layout(wide, batch_last).astype(features.dtype)

    return features * of_each(nn.initializers.ones) + of_each(nn.initializers.zeros)


def plain_batch_norm(
    features: Array, affine: bool, train: bool, axis_name: str | None, batch_last: bool = False, epsilon: float = 1e-5
) -> Array:
    """BatchNorm with scales and shifts of its own if `affine`, else without any; `epsilon` is added to variances."""
    options = {"use_scale": affine, "use_bias": affine, "axis_name": axis_name, "dtype": features.dtype}
    options |= {"momentum": BATCH_NORM_MOMENTUM, "epsilon": epsilon, "axis": 0 if batch_last else -1}
    return nn.BatchNorm(use_running_average=not train, **options)(features)


def instance_norm(
    features: Features, modulation: Modulation, train: bool, axis_name: str | None, batch_last: bool = False
) -> Features:
    """Each example's features minus their mean over all places, by their standard deviation; without parameters.

    References:
        Ulyanov et al., Instance Normalization: The Missing Ingredient for Fast Stylization, 2016.
        https://arxiv.org/abs/1607.08022
    """
    del modulation, train, axis_name, batch_last  # rows and columns are axes 1 and 2 in both layouts
    return _standardized(features.astype(jnp.float32)).astype(features.dtype)


@jax.custom_vjp
def _standardized(features: Features) -> Features:
    """Instance normalisation; its own derivative keeps one array and takes two sums, where JAX's takes more of both."""
    return _standardized_forward(features)[0]


def _standardized_forward(features: Features) -> tuple[Features, tuple[Features, Features]]:
    centred = features - _place_mean(features)
    scale = lax.rsqrt(_place_mean(centred**2) + 1e-5)
    return centred * scale, (centred * scale, scale)


def _standardized_backward(saved: tuple[Features, Features], change: Features) -> tuple[Features]:
    out, scale = saved
    return (scale * (change - _place_mean(change) - out * _place_mean(out * change)),)


_standardized.defvjp(_standardized_forward, _standardized_backward)


def _place_mean(features: Features) -> Features:
    """Over rows, then over columns: batch last a CPU adds up whole rows of memory in half the time."""
    rows = features.mean(1, keepdims=True)
    # Without the barrier XLA makes one sum of both.
    return (lax.optimization_barrier(rows) if jax.default_backend() == "cpu" else rows).mean(2, keepdims=True)


def no_norm(
    features: Array, modulation: Modulation, train: bool, axis_name: str | None, batch_last: bool = False
) -> Array:
    """The identity."""
    del modulation, train, axis_name, batch_last
    return features


def dropout(features: Array, key: Key[Array, ""], rate: float, axis_name: str | None, batch_last: bool) -> Array:
    """The features of [batch, rows, columns, features], or batch last, of which a share is 0 and the others grow.

    Which ones are dropped belongs to the example's index in the global batch.

    References:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    axis = features.ndim - 1 if batch_last else 0
    own = rng.example_keys(key, rng.global_indices(features.shape[axis], axis_name))
    first, second = jax.random.key_data(own).T.reshape(2, -1, 1, 1, 1)
    rows, columns = features.shape[1:3]
    channels = features.shape[0 if batch_last else 3]
    places = jnp.arange(rows * columns * channels, dtype=jnp.uint32).reshape(1, rows, columns, channels)
    first, second, places = (to_layout(array, batch_last) for array in (first, second, places))  # while they are small
    bits = _scrambled(_scrambled(places + first) ^ second)
    threshold = jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
    return jnp.where(bits >= threshold, features / (1 - rate), 0).astype(features.dtype)


def _scrambled(bits: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """MurmurHash3's final mix: good enough for masks, and a tenth of the work of the generator behind the keys."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def bias_options(norm: str) -> dict[str, bool]:
    """Of a convolution before a norm: "batch" brings its own bias, and "instance" takes away any."""
    return {"use_bias": norm != "batch", "constant_bias": norm == "instance"}


NORMS = {"batch": batch_norm, "none": no_norm}
ACTIVATIONS = {"tanh": nn.tanh, "linear": lambda features: features}  # of what a generator or a decoder gives


def maybe_spectral_norm(
    layer: nn.Module, inputs: Array, spectral_norm: bool, train: bool, per_row: bool = False
) -> Array:
    """A layer's output, with its kernel divided by its largest singular value if that is asked for; `SpectralNorm`."""
    if not spectral_norm:
        return layer(inputs)
    return SpectralNorm(layer, per_row, name=f"{layer.name}_spectral")(inputs, update=train)


def minibatch_stddev(features: Array, group: int) -> Array:
    """One more feature for each example: the standard deviation of its group, averaged over all places and features.

    Args:
        features: [batch, ..., features].
        group: examples that follow each other and make up a group; it divides the batch.

    References:
        Karras et al., Progressive Growing of GANs, 2018, section 3. https://arxiv.org/abs/1710.10196
    """
    groups = features.reshape(-1, group, *features.shape[1:])
    # The small number keeps the gradient of the root finite where a group's examples are all alike.
    stddev = jnp.sqrt(groups.var(axis=1) + 1e-8).mean(axis=range(1, features.ndim))
    column = jnp.broadcast_to(stddev.repeat(group).reshape(-1, *[1] * (features.ndim - 1)), (*features.shape[:-1], 1))
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

# Settings that several families have.
NORM_SETTINGS: Settings = {
    "norm": Choice("batch", "normalisation of the hidden layers", names_of(NORMS)),
    "spectral_norm": Setting(False, "divide kernels by an estimate of their largest singular value"),
}
ACTIVATION_SETTINGS: Settings = {"negative_slope": Setting(0.2, "of LeakyReLU", NOT_NEGATIVE)}
STDDEV_SETTINGS: Settings = {
    "minibatch_stddev": Setting(
        0, "examples in a group whose standard deviation is one more feature; 0: none", NOT_NEGATIVE
    )
}
DROPOUT_SETTINGS: Settings = {"dropout": Setting(0.0, "share of the features that is dropped in each stage", BELOW_ONE)}
DOWNSAMPLING_SETTINGS: Settings = {"downsampling": Choice("stride", "strides or pooling", names_of(DOWNSAMPLINGS))}


def width(default: int, text: str) -> Setting:
    """The setting of a network's width."""
    return Setting(default, text, POSITIVE)
