"""The layers: both forms of each convolution agree to the second derivative; sizes, normalisation, initialisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.models import layers


def arrays(size: int, kernel: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(size * 10 + kernel)
    images, weights = rng.normal(size=(2, size, size + 1, 2)), rng.normal(size=(kernel, kernel, 2, 3))
    return jnp.asarray(images, jnp.float32), jnp.asarray(weights, jnp.float32)


def derivatives(function):
    """The value, both gradients of a curved function of it, and both gradients of a penalty on those gradients."""
    curved = lambda images, kernel: jnp.sin(function(images, kernel)).sum()  # noqa: E731
    slopes = jax.grad(curved, (0, 1))
    penalty = lambda *args: sum((slope**2).sum() for slope in slopes(*args))  # noqa: E731
    return lambda *args: (function(*args), slopes(*args), jax.grad(penalty, (0, 1))(*args))


def assert_equal(one, other, *args, order: int = 2):
    functions = [one, other] if order == 0 else [derivatives(one), derivatives(other)]
    actual, expected = quick_jit(lambda *args: [function(*args) for function in functions])(*args)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * (1 + np.abs(b).max()))


CONVS = {"size": st.integers(5, 8), "kernel": st.integers(1, 6), "stride": st.integers(1, 3)}
PADDINGS = st.sampled_from([(0, 0), (1, 1), (0, 1), (2, 1)])


@settings(deadline=None, max_examples=12, derandomize=True)
@given(**CONVS, padding=PADDINGS)
def test_the_product_form_of_a_convolution_has_its_values(size, kernel, stride, padding):
    size = max(size, kernel)
    options = {"stride": stride, "padding": padding}
    one, other = (functools.partial(form, **options) for form in (layers.product_conv, layers.stock_conv))
    assert_equal(one, other, *arrays(size, kernel), order=0)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6])
def test_the_product_form_of_a_transposed_convolution_has_its_values(kernel, stride):
    one, other = (
        functools.partial(form, stride=stride) for form in (layers.product_conv_transpose, layers.stock_conv_transpose)
    )
    size = 3 + (kernel + stride) % 3
    assert_equal(one, other, *arrays(size, kernel), order=0)
    images, weights = arrays(size, kernel)
    assert one(images, weights).shape == (2, size * stride, (size + 1) * stride, 3)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 1, (0, 0)), (3, 1, (1, 1)), (4, 2, (1, 1)), (5, 3, (2, 1))]
)
def test_the_product_form_of_a_convolution_has_its_derivatives(kernel, stride, padding):
    options = {"stride": stride, "padding": padding}
    one, other = (functools.partial(form, **options) for form in (layers.product_conv, layers.stock_conv))
    assert_equal(one, other, *arrays(6, kernel))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 1), (4, 2), (5, 2), (6, 3)])
def test_the_product_form_of_a_transposed_convolution_has_its_derivatives(kernel, stride):
    one, other = (
        functools.partial(form, stride=stride) for form in (layers.product_conv_transpose, layers.stock_conv_transpose)
    )
    assert_equal(one, other, *arrays(3, kernel))


def test_the_platform_has_one_of_the_forms():
    form = "product" if jax.default_backend() == "cpu" else "stock"
    images, kernel = arrays(6, 4)
    actual = jax.jit(lambda *args: layers.conv(*args, 2, (1, 1)))(images, kernel)
    expected = jax.jit(lambda *args: getattr(layers, f"{form}_conv")(*args, 2, (1, 1)))(images, kernel)
    np.testing.assert_array_equal(actual, expected)
    actual = jax.jit(lambda *args: layers.conv_transpose(*args, 2))(images, kernel)
    expected = jax.jit(lambda *args: getattr(layers, f"{form}_conv_transpose")(*args, 2))(images, kernel)
    np.testing.assert_array_equal(actual, expected)


def test_a_convolution_is_the_sum_over_its_window():
    """The definition, written out; flax and both forms share conventions that only this pins down."""
    images, kernel = (np.float64(array) for array in arrays(6, 4))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 3, 3, 3))
    for row in range(3):
        for column in range(3):
            window = padded[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            expected[:, row, column] = np.einsum("bijc,ijco->bo", window, kernel)
    np.testing.assert_allclose(layers.conv(*arrays(6, 4), 2, (1, 1)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [4, 6, 8, 14])
def test_kernel_4_with_stride_2_halves_and_doubles(size):
    images = jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32)
    key = jax.random.key(0)
    half = jax.eval_shape(lambda x: layers.Conv(3).init_with_output(key, x)[0], images)
    double = jax.eval_shape(lambda x: layers.ConvTranspose(3).init_with_output(key, x)[0], images)
    assert half.shape == (2, size // 2, size // 2, 3)
    assert double.shape == (2, size * 2, size * 2, 3)


@pytest.mark.parametrize("layer", [layers.Conv, layers.ConvTranspose])
def test_a_bias_is_added_to_every_pixel(layer):
    images = arrays(4, 4)[0]
    variables = layer(3).init(jax.random.key(0), images)
    biased = {"params": variables["params"] | {"bias": jnp.asarray([1.0, 2.0, 3.0])}}
    shift = layer(3).apply(biased, images) - layer(3).apply(variables, images)
    np.testing.assert_allclose(shift, np.broadcast_to([1, 2, 3], shift.shape), atol=1e-5)
    assert set(layer(3, use_bias=False).init(jax.random.key(0), images)["params"]) == {"kernel"}


class Downsampled(layers.nn.Module):
    name_of: str

    @layers.nn.compact
    def __call__(self, images):
        return layers.DOWNSAMPLINGS[self.name_of](images, 5, use_bias=True)


@pytest.mark.parametrize("size", [8, 14])
@pytest.mark.parametrize("name", layers.DOWNSAMPLINGS)
def test_every_downsampling_halves(name, size):
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    out = jax.eval_shape(lambda x: Downsampled(name).init_with_output(jax.random.key(0), x)[0], images)
    assert out.shape == (2, size // 2, size // 2, 5)


@pytest.mark.parametrize(("name", "reduce"), [("average_pool", np.mean), ("max_pool", np.max)])
def test_pooling_takes_the_mean_or_the_greatest_of_four(name, reduce):
    images = arrays(5, 4)[0][:, :4, :4]
    out, variables = Downsampled(name).init_with_output(jax.random.key(0), images)
    kernel = variables["params"]["Conv_0"]["kernel"]
    whole = np.asarray(layers.stock_conv(images, kernel, 1, (1, 1)))
    expected = reduce(whole.reshape(2, 2, 2, 2, 2, 5), axis=(2, 4))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


class Normed(layers.nn.Module):
    norm: str

    @layers.nn.compact
    def __call__(self, features, train):
        return layers.NORMS[self.norm](features, train, None)


@pytest.mark.parametrize("shape", [(64, 5), (16, 3, 3, 5)])
def test_batch_norm_gives_mean_0_and_variance_1_while_training(shape):
    features = 3 * jax.random.normal(jax.random.key(0), shape) + 7
    variables = Normed("batch").init(jax.random.key(1), features, train=True)
    out, new = Normed("batch").apply(variables, features, train=True, mutable=["batch_stats"])
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(out.mean(axes), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(out.var(axes), np.ones(5), rtol=1e-4)
    # The running moments move a tenth of the way from 0 and 1.
    running = new["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(running["mean"], 0.1 * features.mean(axes), rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * features.var(axes), rtol=1e-4)


def test_batch_norm_uses_its_running_moments_otherwise():
    features = 3 * jax.random.normal(jax.random.key(0), (8, 2)) + 7
    variables = Normed("batch").init(jax.random.key(1), features, train=True)
    moments = {"mean": jnp.asarray([7.0, 1.0]), "var": jnp.asarray([9.0, 4.0])}
    variables = {"params": variables["params"], "batch_stats": {"BatchNorm_0": moments}}
    expected = (features - moments["mean"]) / np.sqrt(moments["var"] + 1e-5)
    np.testing.assert_allclose(Normed("batch").apply(variables, features, train=False), expected, rtol=1e-4, atol=1e-5)


def test_no_norm_is_the_identity():
    features = jax.random.normal(jax.random.key(0), (8, 3, 3, 2))
    out, variables = Normed("none").init_with_output(jax.random.key(1), features, train=True)
    np.testing.assert_array_equal(out, features)
    assert jax.tree.leaves(variables) == []


def test_the_gaussian_initializer_is_the_papers():
    """Radford et al., 2016, section 4: zero-centred normal with standard deviation 0.02."""
    kernel = np.asarray(layers.INITIALIZERS["gaussian"](0.02)(jax.random.key(0), (4, 4, 64, 128), jnp.float32))
    error = 0.02 / np.sqrt(kernel.size)
    assert abs(kernel.mean()) < 4 * error
    assert abs(kernel.std() - 0.02) < 4 * error
    # A normal has a kurtosis of 3, a truncated or uniform one less.
    assert abs((kernel**4).mean() / 0.02**4 - 3) < 0.1


def test_the_he_initializer_keeps_the_variance_of_relu_networks():
    kernel = np.asarray(layers.INITIALIZERS["he"](0.02)(jax.random.key(0), (4, 4, 64, 128), jnp.float32))
    np.testing.assert_allclose(kernel.var(), 2 / (4 * 4 * 64), rtol=0.02)
