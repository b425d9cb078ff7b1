"""Convolutions: the definition, and batch last the stock ones' values and derivatives by each algorithm."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from benchmarks import flops
from jaxgan.models.ops import convolutions, fast_conv_matrices
from jaxgan.models.ops.layers import to_layout

FEW, MANY = (2, 3), (16, 17)  # features in and out, on either side of where fast algorithms start to pay


def arrays(
    size: int | tuple[int, int], kernel: int, features: tuple[int, int] = FEW, batch: int = 2
) -> tuple[jax.Array, jax.Array]:
    """Images [batch, rows, columns, in] of a side, or of rows and columns, and a kernel that keeps their variance."""
    rows, columns = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(rows * 10 + kernel)
    images, weights = rng.normal(size=(batch, rows, columns, features[0])), rng.normal(size=(kernel, kernel, *features))
    return jnp.asarray(images, jnp.float32), jnp.asarray(weights / kernel / math.sqrt(features[0]), jnp.float32)


def both(name: str, *options):
    """A convolution by name: ours, batch last, with inputs and outputs in the stock layout; and the stock one."""
    one, other = getattr(convolutions, name), getattr(convolutions, f"stock_{name}")
    return (
        lambda images, kernel: to_layout(one(to_layout(images, True), kernel, *options), True),
        lambda images, kernel: other(images, kernel, *options),
    )


def derivatives(function):
    """The value, its gradients, and the gradients of those, each with fixed random numbers in front."""

    def slopes(images, kernel, weights):
        value, pull = jax.vjp(function, images, kernel)
        return value, *pull(weights)

    def everything(images, kernel):
        rng = np.random.default_rng(0)
        random = lambda like: jnp.asarray(rng.normal(size=like.shape), like.dtype)  # noqa: E731
        weights = random(jax.eval_shape(function, images, kernel))
        first, pull = jax.vjp(slopes, images, kernel, weights)
        return first, pull(jax.tree.map(random, first))

    return everything


def assert_equal(functions, *args, rtol: float = 1e-4):
    actual, expected = quick_jit(lambda *args: [function(*args) for function in functions])(*args)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("batch_last", [False, True])
def test_a_convolution_is_the_sum_over_its_window(batch_last):
    """The definition, written out: the convention that all forms share."""
    images, kernel = (np.float64(array) for array in arrays(6, 4))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 3, 3, 3))
    for row in range(3):
        for column in range(3):
            window = padded[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            expected[:, row, column] = np.einsum("bijc,ijco->bo", window, kernel)
    function = both("conv", 2, (1, 1))[0 if batch_last else 1]
    np.testing.assert_allclose(function(*arrays(6, 4)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_last", [False, True])
def test_a_transposed_convolution_adds_its_kernel_at_each_pixel(batch_last):
    """The definition; what is added beyond the edges is cut off."""
    images, kernel = (np.float64(array) for array in arrays(3, 4))
    added = np.zeros((2, 8, 8, 3))
    for row in range(3):
        for column in range(3):
            # The kernel is that of a convolution, so the patch is the kernel rotated by 180 degrees.
            patch = np.einsum("bc,ijco->bijo", images[:, row, column], kernel[::-1, ::-1])
            added[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += patch
    function = both("conv_transpose", 2)[0 if batch_last else 1]
    np.testing.assert_allclose(function(*arrays(3, 4)), added[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)


def sizes(least: int, most: int):
    """Rows and columns."""
    return st.tuples(st.integers(least, most), st.integers(least, most))


WINDOWS = {"kernel": st.integers(1, 6), "stride": st.integers(1, 3), "size": sizes(4, 9)}


@settings(deadline=None, max_examples=8, derandomize=True)
@given(**WINDOWS, before=st.integers(0, 2), after=st.integers(0, 2), features=st.sampled_from([FEW, MANY]))
def test_a_convolution_has_the_values_of_the_stock_one(kernel, stride, size, before, after, features):
    size = tuple(max(side, kernel) for side in size)
    assert_equal(both("conv", stride, (before, after)), *arrays(size, kernel, features))


@settings(deadline=None, max_examples=8, derandomize=True)
@given(**WINDOWS, features=st.sampled_from([FEW, MANY]))
def test_a_transposed_convolution_has_the_values_of_the_stock_one(kernel, stride, size, features):
    functions = both("conv_transpose", stride)
    images, weights = arrays(size, kernel, features)
    assert_equal(functions, images, weights)
    shape = jax.eval_shape(functions[0], images, weights).shape
    assert shape == (2, size[0] * stride, size[1] * stride, features[1])


HALVING, POOLED, POINTWISE = ("conv", 4, 2, (1, 1)), ("conv", 3, 1, (1, 1)), ("conv", 1, 1, (0, 0))
TF_HALVING = ("conv", 5, 2, (1, 2))
DOUBLING, TF_SAME, TF_DOUBLING = (("conv_transpose", *pair) for pair in ((4, 2), (5, 1), (5, 2)))
VALID, PATCHES, LARGE = ("conv", 3, 1, (0, 0)), ("conv", 4, 1, (1, 1)), ("conv", 7, 1, (0, 0))
NARROW_HALVING, NARROW_DOUBLING = ("conv", 3, 2, (1, 1)), ("conv_transpose", 3, 2, 1)
# The convolutions of the models, at their sizes: the smallest squares, odd sizes, and several tiles in a row. Batches
# are small, or large enough for Fourier's transform.
USED = [
    (HALVING, 8, FEW, 2),
    (HALVING, 16, MANY, 2),
    (POOLED, 8, MANY, 2),
    (POINTWISE, 4, MANY, 2),
    (TF_HALVING, 14, MANY, 2),
    (TF_HALVING, 14, MANY, 32),
    (DOUBLING, 4, FEW, 2),
    (DOUBLING, 7, MANY, 2),
    (TF_SAME, 7, MANY, 2),
    (TF_DOUBLING, 7, FEW, 2),
    (TF_DOUBLING, 7, MANY, 2),
    (TF_DOUBLING, 7, MANY, 32),
    (VALID, 10, MANY, 2),
    (PATCHES, 8, MANY, 2),
    (LARGE, 10, (3, 17), 2),
    (LARGE, 10, (17, 3), 2),
    (NARROW_HALVING, 8, MANY, 2),
    (NARROW_DOUBLING, 4, MANY, 2),
]
# Rectangles, high and wide, by all algorithms; the last one's rows and columns end at other places of a stride.
RECTANGLES = [
    (HALVING, (8, 12), FEW, 2),
    (HALVING, (16, 10), MANY, 2),
    (TF_HALVING, (6, 14), MANY, 32),
    (DOUBLING, (6, 4), FEW, 2),
    (DOUBLING, (4, 7), MANY, 2),
    (TF_SAME, (7, 4), MANY, 2),
    (TF_DOUBLING, (7, 4), FEW, 2),
    (TF_DOUBLING, (3, 7), MANY, 32),
    (("conv", 4, 3, (0, 2)), (7, 8), (17, 3), 2),
    (VALID, (7, 9), MANY, 2),
    (PATCHES, (9, 6), MANY, 2),
    (LARGE, (10, 14), (3, 17), 2),
    (LARGE, (9, 10), (17, 3), 2),
]


@pytest.mark.parametrize("size", [17, pytest.param((9, 17), marks=pytest.mark.slow)])
def test_five_taps_in_large_tiles_have_the_gradients_of_the_stock_one(size):
    """Images too large for Fourier's transform; it takes seconds to compile so many points."""
    name, kernel, *options = TF_SAME

    def gradients(function):
        def pulled(*args):
            value, pull = jax.vjp(function, *args)
            return value, pull(value)

        return pulled

    assert_equal(map(gradients, both(name, *options)), *arrays(size, kernel, MANY))


@pytest.mark.parametrize(("used", "size", "features", "batch"), USED + RECTANGLES)
def test_all_derivatives_are_those_of_the_stock_convolution(used, size, features, batch):
    name, kernel, *options = used
    assert_equal(map(derivatives, both(name, *options)), *arrays(size, kernel, features, batch))


def group_by_group(groups):
    """The stock convolution of each group by itself."""

    def convolve(images, kernel):
        parts = zip(jnp.split(images, groups, axis=3), jnp.split(kernel, groups, axis=3), strict=True)
        return jnp.concatenate([convolutions.stock_conv(*part, 1, (1, 1)) for part in parts], axis=3)

    return convolve


GROUPED = [(4, 3, FEW, 8), (6, 2, FEW, (4, 6)), (2, 16, (16, 16), 8)]  # groups, batch, features of each, size


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize(("groups", "batch", "features", "size"), GROUPED)
def test_groups_have_all_derivatives_of_a_convolution_of_each(groups, batch, features, size, batch_last):
    inputs, outputs = features
    images, _ = arrays(size, 3, (groups * inputs, 1), batch)
    _, kernel = arrays(size, 3, (inputs, groups * outputs))
    grouped = both("conv", 1, (1, 1), groups)[0 if batch_last else 1]
    assert_equal(map(derivatives, (grouped, group_by_group(groups))), images, kernel)


@pytest.mark.parametrize("batch_last", [False, True])
def test_a_group_does_not_depend_on_the_features_of_another(batch_last):
    images, _ = arrays(4, 3, (8, 1))
    _, kernel = arrays(4, 3, (2, 12))
    grouped = both("conv", 1, (1, 1), 4)[0 if batch_last else 1]
    change = grouped(images.at[..., 2].add(1.0), kernel) - grouped(images, kernel)  # of the second of four groups
    assert [bool(np.abs(part).max() > 1e-3) for part in jnp.split(change, 4, axis=3)] == [False, True, False, False]


POPULATION = 3


def of_members(function):
    """Values and gradients of a population, whose members share the images."""
    loss = lambda images, kernel: jnp.sin(function(images, kernel)).sum()  # noqa: E731
    return jax.vmap(jax.value_and_grad(loss, (0, 1)), in_axes=(None, 0))


def descending(function):
    """The kernel after steps of gradient descent in a loop, and the losses on the way."""
    loss = lambda kernel, images: (function(images, kernel) ** 2).mean()  # noqa: E731

    def step(kernel, images):
        value, slope = jax.value_and_grad(loss)(kernel, images)
        return kernel - 0.1 * slope, value

    return lambda images, kernel: lax.scan(step, kernel, images)


@pytest.mark.parametrize(("used", "features"), [(HALVING, FEW), (DOUBLING, MANY), (TF_SAME, MANY)])
def test_a_population_of_kernels_is_convolved_as_each_kernel_alone(used, features):
    name, kernel, *options = used
    images, weights = arrays(8, kernel, features)
    assert_equal(map(of_members, both(name, *options)), images, jnp.stack([weights * i for i in range(POPULATION)]))


@pytest.mark.parametrize(("used", "features"), [(HALVING, MANY), (DOUBLING, FEW)])
def test_a_loop_over_steps_learns_the_same_kernel(used, features):
    name, kernel, *options = used
    images, weights = arrays(8, kernel, features)
    assert_equal(map(descending, both(name, *options)), jnp.stack([images, 2 * images, images - 1]), weights)


def of_half_precision(used, size, features, batch=2):
    """kernel -> results and gradients in bfloat16 and in float32, of numbers that bfloat16 has; and such a kernel."""
    name, kernel, *options = used
    images, weights = arrays(size, kernel, features, batch)
    short, long = both(name, *options)
    shape = jax.eval_shape(long, images, weights).shape
    slopes = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.bfloat16)
    images, rounded = images.astype(jnp.bfloat16), weights.astype(jnp.bfloat16).astype(jnp.float32)

    @quick_jit
    def run(images, weights, slopes):
        value, pull = jax.vjp(short, images, weights)
        wide = images.astype(jnp.float32)
        expected, expected_pull = jax.vjp(long, wide, weights)
        return (value, *pull(slopes)), (expected, *expected_pull(slopes.astype(jnp.float32)))

    return lambda kernel: run(images, kernel, slopes), rounded


@pytest.mark.parametrize(("used", "size"), [(HALVING, 8), (POOLED, 4), (TF_HALVING, 8), (DOUBLING, 7), (TF_SAME, 7)])
def test_half_precision_rounds_each_result_once(used, size):
    """All products and sums are float32's; a kernel's gradient is not rounded at all."""
    run, rounded = of_half_precision(used, size, FEW)
    actual, expected = run(rounded)
    assert [array.dtype for array in actual] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]
    for array, other, digits in zip(actual, expected, (8, 8, 16), strict=True):
        atol = 1e-4 * np.abs(other).max()  # where terms cancel, float32's own rounding is more than that
        np.testing.assert_allclose(np.float32(array), other, rtol=2.0**-digits, atol=atol)
    # Another kernel is rounded to bfloat16 first.
    nearby = rounded * (1 + 2.0**-12)
    np.testing.assert_array_equal(nearby.astype(jnp.bfloat16), rounded.astype(jnp.bfloat16))
    assert (np.asarray(nearby) != np.asarray(rounded)).any()
    np.testing.assert_array_equal(np.float32(run(nearby)[0][0]), np.float32(actual[0]))


@pytest.mark.parametrize(("used", "size", "features", "batch"), [case for case in USED + RECTANGLES if case[2] == MANY])
def test_errors_of_fast_algorithms_in_half_precision_are_a_few_roundings(used, size, features, batch):
    """The root mean square of errors is below 2^-7 of the numbers' own; one rounding is 2^-9 at most."""
    run, rounded = of_half_precision(used, size, features, batch)
    for array, other in zip(*run(rounded), strict=True):
        error = np.float32(array) - np.float32(other)
        assert np.sqrt((error**2).mean()) < 2.0**-7 * np.sqrt((np.float32(other) ** 2).mean())


TILES = [(outputs, taps) for outputs in range(2, 5) for taps in range(2, 6)]
TILES = [tile for tile in TILES if sum(tile) - 2 <= len(fast_conv_matrices.POINTS)]


@pytest.mark.parametrize(("outputs", "taps"), TILES)
def test_a_tile_is_a_correlation_of_fewer_products(outputs, taps):
    """Lavin and Gray, 2016, equation 5: F(m, r) multiplies m + r - 1 times, where the definition does m r times."""
    images, kernel, results = tile = fast_conv_matrices.tile(outputs, taps)
    assert {matrix.dtype for matrix in tile} == {np.dtype(np.float64)}
    rng = np.random.default_rng(0)
    windows, weights = rng.normal(size=(20, outputs + taps - 1)), rng.normal(size=(20, taps))
    points = (weights @ kernel.T) * (windows @ images.T)
    assert points.shape[1] == outputs + taps - 1
    expected = [np.correlate(row, taps) for row, taps in zip(windows, weights, strict=True)]
    np.testing.assert_allclose(points @ results.T, expected, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 4), sizes(1, 9), sizes(1, 9))
def test_products_of_waves_are_a_correlation(size, stride, before, pixels, outputs):
    """The convolution theorem, for any window at any place of any plane, also in the padding alone."""
    matrices = fast_conv_matrices.fourier(size, stride, before, pixels, outputs)
    rng = np.random.default_rng(0)
    images, taps = rng.normal(size=pixels), rng.normal(size=(size, size))
    rows, columns = (-(-count // stride) for count in pixels)
    grown = np.pad(images, [(0, -count % stride) for count in pixels])
    phases = grown.reshape(rows, stride, columns, stride).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    products = (matrices.images @ phases) * (matrices.kernel @ taps.ravel())
    actual = (matrices.outputs @ products.sum(axis=1)).reshape(outputs)
    padded = np.pad(images, [(before, count * stride + size) for count in outputs])
    places = [range(0, count * stride, stride) for count in outputs]
    expected = [[(padded[i : i + size, j : j + size] * taps).sum() for j in places[1]] for i in places[0]]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("length", "points"), [(1, 1), (2, 4), (3, 13), (8, 94), (9, 121)])
def test_pairs_of_conjugate_waves_take_three_products(length, points):
    """One wave in an odd length and four in an even one are their own conjugates and take one product each."""
    matrices = fast_conv_matrices.fourier(1, 1, 0, (length, length), (length, length))
    assert len(matrices.images) == points
    weighted = matrices.kernel[:, 0] * matrices.images
    np.testing.assert_allclose(matrices.outputs @ weighted, np.eye(length**2), atol=1e-12)


@pytest.mark.parametrize(
    ("used", "size", "features", "dtype", "low", "high"),
    [
        (HALVING, 16, (128, 128), jnp.float32, 9 / 16, 0.7),
        (DOUBLING, 8, (128, 128), jnp.float32, 9 / 16, 0.7),
        (HALVING, 16, (128, 128), jnp.bfloat16, 9 / 16, 0.7),
        (DOUBLING, 8, (128, 128), jnp.bfloat16, 9 / 16, 0.7),
        (HALVING, 16, (128, 8), jnp.float32, 0.95, 1.4),
        (TF_SAME, 7, (128, 128), jnp.float32, 121 / 29**2, 0.35),
    ],
)
def test_many_features_take_less_arithmetic(used, size, features, dtype, low, high):
    """9 products in the place of 16, and some sums; the stock ones do not multiply padding.

    With 2 zeros on either side, 29 x 29 taps meet 7 x 7 pixels; Fourier's transform of 9 x 9 makes 121 products.
    """
    name, kernel, *options = used
    images = jax.ShapeDtypeStruct((64, size, size, features[0]), dtype)
    weights = jax.ShapeDtypeStruct((kernel, kernel, *features), jnp.float32)

    def slopes(function):
        return jax.value_and_grad(lambda *args: function(*args).sum(dtype=jnp.float32), (0, 1))

    own, stock = (flops.count(slopes(function), images, weights) for function in both(name, *options))
    assert low < own / stock < high
