"""The layers: sizes, both layouts, normalisation, dropout, initialisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import assert_same_bits, quick_jit, same
from made_up import numbers

from jaxgan.models.ops import convolutions, layers
from jaxgan.models.ops.spectral_norm import SpectralNorm, largest_singular_value


def arrays(size: int) -> jax.Array:
    """Images [batch, rows, columns, features]."""
    return jnp.asarray(np.random.default_rng(size).normal(size=(2, size, size, 2)), jnp.float32)


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
    images = arrays(4)
    variables = layer(3).init(jax.random.key(0), images)
    biased = {"params": variables["params"] | {"bias": jnp.asarray([1.0, 2.0, 3.0])}}
    shift = layer(3).apply(biased, images) - layer(3).apply(variables, images)
    np.testing.assert_allclose(shift, np.broadcast_to([1, 2, 3], shift.shape), atol=1e-5)
    assert set(layer(3, use_bias=False).init(jax.random.key(0), images)["params"]) == {"kernel"}


class Downsampled(layers.nn.Module):
    name_of: str

    @layers.nn.compact
    def __call__(self, images):
        layer, shrink = layers.DOWNSAMPLINGS[self.name_of](5, use_bias=True)
        return shrink(layer(images))


@pytest.mark.parametrize("size", [8, 14])
@pytest.mark.parametrize("name", layers.DOWNSAMPLINGS)
def test_every_downsampling_halves(name, size):
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    out = jax.eval_shape(lambda x: Downsampled(name).init_with_output(jax.random.key(0), x)[0], images)
    assert out.shape == (2, size // 2, size // 2, 5)


@pytest.mark.parametrize(("name", "reduce"), [("average_pool", np.mean), ("max_pool", np.max)])
def test_pooling_takes_the_mean_or_the_greatest_of_four(name, reduce):
    images = arrays(4)
    out, variables = Downsampled(name).init_with_output(jax.random.key(0), images)
    kernel = variables["params"]["Conv_0"]["kernel"]
    whole = np.asarray(convolutions.stock_conv(images, kernel, 1, (1, 1)))
    expected = reduce(whole.reshape(2, 2, 2, 2, 2, 5), axis=(2, 4))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


class Normed(layers.nn.Module):
    norm: str

    @layers.nn.compact
    def __call__(self, features, modulation=None, train=True):
        return layers.NORMS[self.norm](features, modulation, train, None)


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


def test_batch_norm_uses_its_running_moments_while_not_training():
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


@pytest.mark.parametrize("modulation", [None, jnp.ones((8, 2))])
def test_no_norm_ignores_a_modulation(modulation):
    features = jnp.ones((8, 3))
    np.testing.assert_array_equal(Normed("none").apply({}, features, modulation), features)


# A modulated norm

CLASSES, COUNT = 3, 4  # and features
LABELS = jnp.asarray([0, 2, 1, 2, 2, 0])
ONE_HOT = jax.nn.one_hot(LABELS, CLASSES)
PLACES = [(len(LABELS), COUNT), (len(LABELS), 3, 2, COUNT)]


def initial(shape, modulation=None):
    return Normed("batch").init(jax.random.key(1), jnp.zeros(shape), modulation)


@functools.cache
def modulated(shape):
    """Features, and the variables of a modulated BatchNorm whose rows of scales and shifts are all different."""
    features = 3 * jax.random.normal(jax.random.key(0), shape) + 7
    variables = initial(shape, ONE_HOT)
    rows = np.random.default_rng(0).normal(size=(2, CLASSES, COUNT)).astype(np.float32)
    params = {f"Dense_{i}": {"kernel": jnp.asarray(rows[i])} for i in range(2)}
    return features, variables, variables | {"params": params}


@functools.partial(quick_jit, static_argnums=3)
def normed(variables, features, modulation=None, train=True):
    """What the norm makes of features, and its new statistics."""
    out, new = Normed("batch").apply(variables, features, modulation, train, mutable=["batch_stats"])
    return out, new["batch_stats"]


@pytest.mark.parametrize("shape", PLACES)
def test_an_initial_modulated_norm_is_a_plain_norm(shape):
    features, variables, _ = modulated(shape)
    plain = initial(shape)
    assert set(plain["params"]) == {"BatchNorm_0"}
    assert set(variables["params"]) == {"Dense_0", "Dense_1"}  # and no scale or bias of all classes
    assert_same_bits(normed(variables, features, ONE_HOT), normed(plain, features))
    np.testing.assert_array_equal(variables["params"]["Dense_0"]["kernel"], np.ones((CLASSES, COUNT)))
    np.testing.assert_array_equal(variables["params"]["Dense_1"]["kernel"], np.zeros((CLASSES, COUNT)))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", PLACES)
def test_each_example_is_scaled_and_shifted_by_the_row_of_its_class(shape, train):
    features, _, variables = modulated(shape)
    axes = tuple(range(len(shape) - 1))
    x = np.float64(features)
    mean, variance = (x.mean(axes), x.var(axes)) if train else (0, 1)  # running moments as they start
    scales, shifts = (np.float64(variables["params"][f"Dense_{i}"]["kernel"])[LABELS] for i in range(2))
    wide = (len(LABELS), *[1] * (len(shape) - 2), COUNT)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * scales.reshape(wide) + shifts.reshape(wide)
    out, stats = normed(variables, features, ONE_HOT, train)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    # The statistics do not depend on classes.
    assert_same_bits(stats, normed(initial(shape), features, None, train)[1])


def test_the_row_of_a_class_changes_examples_of_that_class_alone():
    features, _, variables = modulated(PLACES[1])
    before = normed(variables, features, ONE_HOT)[0]
    for layer in ("Dense_0", "Dense_1"):
        kernel = variables["params"][layer]["kernel"].at[2].add(1.0)
        changed = variables | {"params": variables["params"] | {layer: {"kernel": kernel}}}
        after = normed(changed, features, ONE_HOT)[0]
        of_class = np.asarray(LABELS == 2)
        np.testing.assert_array_equal(after[~of_class], before[~of_class])
        assert (after[of_class] != before[of_class]).all()


def test_a_mixed_modulation_lies_between_the_rows():
    """Scales and shifts are linear in it."""
    features, _, variables = modulated(PLACES[0])
    one, other = (normed(variables, features, jnp.eye(CLASSES)[jnp.full(6, row)])[0] for row in (0, 1))
    middle = normed(variables, features, jnp.tile(jnp.asarray([0.25, 0.75, 0.0]), (6, 1)))[0]
    np.testing.assert_allclose(middle, 0.25 * one + 0.75 * other, rtol=1e-4, atol=1e-5)


# Dropout

RATE = 0.3
DROPPED = jax.random.normal(jax.random.key(0), (32, 8, 8, 16))


@functools.partial(quick_jit, static_argnums=(2, 3))
def dropped(features, seed, rate=RATE, batch_last=False):
    """With every layout, [batch, rows, columns, features] comes in and goes out."""
    out = layers.dropout(layers.to_layout(features, batch_last), jax.random.key(seed), rate, None, batch_last)
    return layers.to_layout(out, batch_last)


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("rate", [0.1, RATE, 0.5, 0.9])
def test_dropout_drops_a_share_of_the_features_and_scales_the_others(rate, batch_last):
    out = np.asarray(dropped(DROPPED, 0, rate, batch_last))
    kept = out != 0
    np.testing.assert_allclose(out[kept], np.asarray(DROPPED)[kept] / (1 - rate), rtol=1e-6)
    # The law of large numbers, 5 standard deviations wide.
    assert abs((~kept).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size)


@pytest.mark.parametrize("batch_last", [False, True])
def test_a_rate_of_0_drops_no_features_and_the_highest_rate_nearly_all(batch_last):
    np.testing.assert_array_equal(dropped(DROPPED, 0, 0.0, batch_last), DROPPED)
    assert np.count_nonzero(dropped(DROPPED, 0, 1 - 2**-40, batch_last)) <= 1  # of 2^15


def test_the_expectation_of_dropout_is_its_input():
    features = DROPPED[:2]
    samples = np.stack([np.float64(dropped(features, seed)) for seed in range(200)])
    # The deviation of one feature is |x| sqrt(rate / (1 - rate)); all 2,048 means are within 5 of their deviations.
    bound = 5 * np.abs(features) * np.sqrt(RATE / (1 - RATE) / len(samples))
    assert (np.abs(samples.mean(axis=0) - features) <= bound).all()


def test_dropout_masks_are_independent():
    """Correlations of neighbours along keys and each axis are below 5 standard deviations of chance."""
    masks = np.stack([np.asarray(dropped(jnp.ones_like(DROPPED), seed)) != 0 for seed in (0, 1)]) - (1 - RATE)
    for axis in range(masks.ndim):
        one, other = (np.delete(masks, end, axis) for end in (-1, 0))
        assert abs((one * other).mean()) < 5 * RATE * (1 - RATE) / np.sqrt(one.size)
    # No example, place or feature is dropped more often than the others.
    for axis in range(1, masks.ndim):
        others = tuple(other for other in range(masks.ndim) if other != axis)
        count = masks.size / masks.shape[axis]
        assert np.abs(masks.mean(others)).max() < 5 * np.sqrt(RATE * (1 - RATE) / count)


def test_both_layouts_drop_the_same_features():
    np.testing.assert_array_equal(dropped(DROPPED, 0, RATE, True), dropped(DROPPED, 0, RATE, False))


@pytest.mark.parametrize("batch_last", [False, True])
def test_a_dropout_mask_depends_on_the_index_in_the_global_batch(batch_last):
    shards = jnp.stack([layers.to_layout(half, batch_last) for half in jnp.split(DROPPED, 2)])
    one = lambda shard: layers.dropout(shard, jax.random.key(3), RATE, "devices", batch_last)  # noqa: E731
    out = quick_jit(jax.vmap(one, axis_name="devices"))(shards)
    whole = jnp.concatenate([layers.to_layout(half, batch_last) for half in out])
    np.testing.assert_array_equal(whole, dropped(DROPPED, 3, RATE, batch_last))


def test_dropout_keeps_the_type():
    assert dropped(DROPPED.astype(jnp.bfloat16), 0).dtype == jnp.bfloat16


# The spread of a group


stddev = quick_jit(layers.minibatch_stddev, static_argnums=1)


def spreads(features, group):
    return np.asarray(stddev(features, group))


@pytest.mark.parametrize(("shape", "group"), [((6, 5), 3), ((6, 3, 2, 5), 1), ((6, 3, 2, 5), 2), ((6, 3, 2, 5), 6)])
def test_the_last_feature_is_the_spread_of_the_group(shape, group):
    features = jax.random.normal(jax.random.key(0), shape)
    out = spreads(features, group)
    assert out.shape == (*shape[:-1], 6)
    np.testing.assert_array_equal(out[..., :5], features)
    for i in range(6):
        first = i // group * group
        spread = np.float64(features)[first : first + group].std(axis=0).mean()
        np.testing.assert_allclose(out[i, ..., 5], np.full(shape[1:-1], spread), rtol=1e-4, atol=1.1e-4)


def test_the_spread_depends_on_neither_the_order_in_a_group_nor_other_groups():
    features = jax.random.normal(jax.random.key(0), (6, 4))
    before = spreads(features, 3)
    np.testing.assert_allclose(spreads(features[jnp.asarray([2, 0, 1, 3, 4, 5])], 3)[:, 4], before[:, 4], rtol=1e-5)
    changed = spreads(features.at[4].add(10.0), 3)[:, 4]
    np.testing.assert_array_equal(changed[:3], before[:3, 4])
    assert (changed[3:] > before[3:, 4] + 1).all()


def test_the_gradient_of_the_spread_of_equal_examples_is_finite():
    features = jnp.ones((4, 3))
    assert spreads(features, 4)[:, 3].max() < 1e-3
    slope = quick_jit(jax.grad(lambda x: layers.minibatch_stddev(x, 4)[:, 3].sum()))(features)
    np.testing.assert_array_equal(slope, np.zeros((4, 3)))


# Spectral normalisation

WIDE = {"nn.Dense": (5, 7), "Conv": (4, 4, 2, 7), "ConvTranspose": (4, 4, 2, 7)}


class Spectral(layers.nn.Module):
    """A layer whose kernel is divided by its largest singular value, if that is asked for."""

    kind: str
    asked: bool = True

    @layers.nn.compact
    def __call__(self, inputs, train):
        layer = layers.nn.Dense(7, use_bias=False) if self.kind == "nn.Dense" else getattr(layers, self.kind)(7)
        return layers.maybe_spectral_norm(layer, inputs, self.asked, train)


@functools.partial(quick_jit, static_argnums=(0, 1, 4))
def applied(kind: str, asked: bool, variables, inputs, train: bool = False):
    """The output, and the collections that may change."""
    return Spectral(kind, asked).apply(variables, inputs, train, mutable=["spectral"])


@functools.cache
def spectral(kind: str, scale: float = 1.0):
    """(output, variables, effective kernel reshaped to a matrix) after many steps of power iteration on a kernel."""
    shape = WIDE[kind]
    inputs = jax.random.normal(jax.random.key(0), (3, 5) if len(shape) == 2 else (3, 4, 4, 2))
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.float32(scale)
    variables = Spectral(kind).init(jax.random.key(1), inputs, train=True)
    name = f"{kind.removeprefix('nn.')}_0"
    variables = {**variables, "params": {name: variables["params"][name] | {"kernel": jnp.asarray(kernel)}}}
    for _ in range(100):
        variables = {**variables, **applied(kind, True, variables, inputs, True)[1]}
    return inputs, variables, kernel.reshape(-1, 7)


@pytest.mark.parametrize("kind", WIDE)
def test_a_normalised_kernel_has_a_largest_singular_value_of_1(kind):
    """The output is that of the kernel divided by numpy's singular value, with all axes but the last one joined."""
    inputs, variables, matrix = spectral(kind)
    (name, params), *_ = variables["params"].items()
    largest = np.linalg.svd(np.float64(matrix), compute_uv=False)[0]
    assert largest > 3
    divided = {"params": {name: params | {"kernel": params["kernel"] / np.float32(largest)}}}
    expected = applied(kind, False, divided, inputs)[0]
    for train in (True, False):
        out = applied(kind, True, variables, inputs, train)[0]
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    # A normalised kernel does not change.
    out = applied(kind, True, variables | divided, inputs)[0]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_one_step_of_power_iteration_by_hand():
    """Miyato et al., 2018, algorithm 1; their W is flax's kernel transposed, so their v is the vector kept here."""
    inputs, variables, matrix = spectral("nn.Dense")
    first = Spectral("nn.Dense").init(jax.random.key(2), inputs, train=False)
    variables = {**variables, "spectral": first["spectral"]}
    (start,) = map(np.float64, jax.tree.leaves(variables["spectral"]))
    unit = lambda vector: vector / np.linalg.norm(vector)  # noqa: E731
    left = unit(matrix @ start)
    right = unit(matrix.T @ left)
    out, new = applied("nn.Dense", True, variables, inputs, True)
    np.testing.assert_allclose(out, inputs @ matrix / (left @ matrix @ right), rtol=1e-4, atol=1e-5)
    (kept,) = jax.tree.leaves(new)
    np.testing.assert_allclose(kept, right, rtol=1e-4, atol=1e-6)


def test_the_vector_of_an_embedding_has_a_number_for_each_row():
    """Its power iteration is that of the transposed kernel, whose largest singular value is the same."""
    matrix, vector = jnp.asarray(numbers("kernel", (5, 7))), jnp.asarray(numbers("vector", (5,)))
    network = SpectralNorm(layers.nn.Dense(7, use_bias=False, name="dense"), per_row=True)
    variables = network.init(jax.random.key(0), jnp.eye(5), False)
    assert jax.tree.map(jnp.shape, variables["spectral"]) == {"u": (5,)}
    (params,) = variables["params"].values()
    assert params["kernel"].shape == (5, 7)
    state = {"params": jax.tree.map(lambda _: matrix, variables["params"]), "spectral": {"u": vector}}
    for _ in range(100):
        out, new = network.apply(state, jnp.eye(5), True, mutable=["spectral"])
        state |= new
    np.testing.assert_allclose(out, matrix / np.linalg.svd(np.float64(matrix), compute_uv=False)[0], rtol=1e-4)
    sigma, moved = largest_singular_value(matrix.T, vector)
    left = np.float64(matrix).T @ vector / np.linalg.norm(np.float64(matrix).T @ vector)
    np.testing.assert_allclose(sigma, np.linalg.norm(matrix @ left), rtol=1e-5)
    np.testing.assert_allclose(moved, matrix @ left / np.linalg.norm(matrix @ left), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", WIDE)
def test_spectral_norm_does_not_depend_on_the_scale_of_a_kernel(kind):
    (inputs, one, _), (_, other, _) = spectral(kind), spectral(kind, scale=10.0)
    expected, out = (applied(kind, True, variables, inputs)[0] for variables in (one, other))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_the_estimate_of_the_singular_value_changes_in_training_alone():
    inputs, _, _ = spectral("Conv")
    variables = Spectral("Conv").init(jax.random.key(3), inputs, train=False)
    for train in (True, False):
        new = applied("Conv", True, variables, inputs, train)[1]
        assert same(new["spectral"], variables["spectral"]) != train
    # The first kernel is that of the initialiser.
    plain = Spectral("Conv", asked=False).init(jax.random.key(3), inputs, train=False)
    assert set(plain) == {"params"}
    assert same(plain["params"], variables["params"])


# Initialisation


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (4, 4, 3, 8), (1, 1, 3, 8)])
def test_an_orthogonal_kernel_keeps_lengths(shape):
    """Saxe et al., 2014: its columns, or if it is wider than high its rows, are orthonormal."""
    kernel = np.asarray(layers.INITIALIZERS["orthogonal"](0.02)(jax.random.key(0), shape, jnp.float32))
    assert kernel.shape == shape
    matrix = np.float64(kernel.reshape(-1, shape[-1]))
    small = matrix.T @ matrix if len(matrix) >= shape[-1] else matrix @ matrix.T
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize(("shape", "fans"), [((300, 200), 500), ((4, 4, 30, 40), 16 * 70)])
def test_the_xavier_initializer_is_uniform_within_its_bounds(shape, fans):
    """Glorot and Bengio, 2010, equation 16: U[-sqrt(6 / (fan in + fan out)), ...]."""
    kernel = np.asarray(layers.INITIALIZERS["xavier"](0.02)(jax.random.key(0), shape, jnp.float32))
    bound = np.sqrt(6 / fans)
    assert 0.999 * bound < kernel.max() <= bound
    assert -0.999 * bound > kernel.min() >= -bound
    np.testing.assert_allclose(kernel.var(), bound**2 / 3, rtol=0.03)


@pytest.mark.parametrize("name", layers.INITIALIZERS)
def test_only_initializers_with_a_scale_depend_on_it(name):
    shape = (4, 4, 2, 3)
    one, other = (layers.INITIALIZERS[name](stddev)(jax.random.key(0), shape, jnp.float32) for stddev in (0.02, 0.04))
    assert (one.shape, one.dtype) == (shape, jnp.float32)
    np.testing.assert_allclose(other, 2 * one if name in ("gaussian", "xavier_normal") else one, rtol=1e-5)
    assert float(jnp.abs(one).min()) > 0


def test_the_gaussian_initializer_is_that_of_the_dcgan_paper():
    """Radford et al., 2016, section 4: zero-centred normal with standard deviation 0.02."""
    kernel = np.asarray(layers.INITIALIZERS["gaussian"](0.02)(jax.random.key(0), (4, 4, 64, 128), jnp.float32))
    error = 0.02 / np.sqrt(kernel.size)
    assert abs(kernel.mean()) < 4 * error
    assert abs(kernel.std() - 0.02) < 4 * error
    # A normal has a kurtosis of 3, a truncated or uniform one less.
    assert abs((kernel**4).mean() / 0.02**4 - 3) < 0.1


def test_features_are_rows_of_columns_in_both_layouts():
    """Numbers of one example in order: pixel by pixel along a row, row by row."""
    flat = jnp.arange(2 * 3 * 5 * 4.0).reshape(2, -1)
    images = np.asarray(flat).reshape(2, 3, 5, 4)
    for batch_last in (False, True):
        spatial = layers.to_spatial(layers.to_layout(flat, batch_last), (3, 5), batch_last)
        np.testing.assert_array_equal(layers.to_layout(spatial, batch_last), images)
        np.testing.assert_array_equal(layers.to_layout(layers.to_flat(spatial, batch_last), batch_last), flat)


def test_the_he_initializer_keeps_the_variance_of_relu_networks():
    kernel = np.asarray(layers.INITIALIZERS["he"](0.02)(jax.random.key(0), (4, 4, 64, 128), jnp.float32))
    np.testing.assert_allclose(kernel.var(), 2 / (4 * 4 * 64), rtol=0.02)


# Products in half precision


MATRICES = [jnp.asarray(np.random.default_rng(5).normal(size=shape), jnp.float32) for shape in ((6, 33), (33, 9))]


def rounded(left, right):
    """The plain product, in float32, of numbers that were rounded to bfloat16."""
    left, right = (side.astype(jnp.bfloat16).astype(jnp.float32) for side in (left, right))
    return jnp.matmul(left, right, precision="highest")


def first_and_second_order(multiply):
    """The product, its gradients, and the gradients of a number that depends on those."""

    def slopes(*sides):
        return jax.grad(lambda *sides: (multiply(*sides) ** 2).sum(), argnums=(0, 1))(*sides)

    squares = lambda *sides: sum((slope**2).sum() for slope in slopes(*sides))  # noqa: E731
    run = quick_jit(lambda *sides: (multiply(*sides), slopes(*sides), jax.grad(squares, argnums=(0, 1))(*sides)))
    return jax.tree.leaves(run(*MATRICES))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_and_its_derivatives_of_two_orders_are_those_of_rounded_numbers(transposed):
    half = lambda one, other: layers.product(one, other.T if transposed else other, jnp.bfloat16, transposed)  # noqa: E731
    value, *slopes = first_and_second_order(half)
    expected, *expected_slopes = first_and_second_order(rounded)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)  # sums in another order
    for actual, wanted in zip(slopes, expected_slopes, strict=True):
        assert actual.dtype == jnp.float32
        assert jnp.linalg.norm(actual - wanted) < 2**-6 * jnp.linalg.norm(wanted)  # some roundings to 2^-9


@pytest.mark.parametrize("batch_last", [False, True])
def test_the_gradient_by_the_kernel_of_a_half_precision_layer_is_not_rounded(batch_last):
    inputs = layers.to_layout(MATRICES[0].astype(jnp.bfloat16), batch_last)
    layer = layers.Dense(9, batch_last=batch_last)
    variables = layer.init(jax.random.key(0), inputs)
    out, pull = jax.vjp(layer.apply, variables, inputs)
    by_variables, by_inputs = pull(jnp.ones_like(out))
    slope = by_variables["params"]["kernel"]
    assert out.dtype == by_inputs.dtype == jnp.bfloat16
    sums = np.asarray(layers.to_layout(inputs, batch_last), np.float64).sum(axis=0)
    np.testing.assert_allclose(slope, np.broadcast_to(sums[:, None], slope.shape), rtol=1e-5, atol=1e-6)


def test_a_layer_that_multiplies_in_half_precision_returns_float32():
    layer = layers.Dense(9, use_bias=False, dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), MATRICES[0])
    out = layer.apply(variables, MATRICES[0])
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, rounded(MATRICES[0], variables["params"]["kernel"]), rtol=1e-5, atol=1e-5)
