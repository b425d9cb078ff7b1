"""The penalties against closed forms, laws, and each other."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.adversarial import penalties
from jaxgan.adversarial.penalties import (
    GENERATOR_PENALTIES,
    PENALTIES,
    GeneratorPenaltyInputs,
    PenaltyInputs,
    consistency,
    dragan,
    gradient_norm,
    interpolate,
    latent_diversity,
    lecam,
    max_gp,
    orthogonality,
    r1,
    r2,
    squared_gradient_norm,
    wgan_gp,
    wgan_lp,
    zero_gp,
)

SHAPE = (4, 3, 3, 2)
REAL, FAKE, PERTURBED, WEIGHT = (
    jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
    for seed, shape in enumerate([SHAPE, SHAPE, SHAPE, SHAPE[1:]])
)
KEYS = jax.random.split(jax.random.key(5), 4)
KERNEL = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])


def axes(examples):
    return tuple(range(1, examples.ndim))


def linear(weight):
    """A critic whose slope is the weight, everywhere."""
    return lambda examples: (examples * weight).sum(axes(examples)) + 3


def quadratic(examples):
    """A critic whose gradient at x is WEIGHT x, example by example."""
    return 0.5 * (WEIGHT * examples**2).sum(axes(examples))


def constant(examples):
    return 0 * examples.sum(axes(examples)) + 1


def slopes(examples):
    """The gradient norms of `quadratic`, in float64."""
    return np.sqrt(np.sum((np.float64(WEIGHT) * np.float64(examples)) ** 2, axis=axes(examples)))


def mix(name):
    """The points at which the penalty with that stream of random numbers looks."""
    return interpolate(REAL, FAKE, penalties.fold_in_name(KEYS, name))


def transform(examples, keys):
    """A random shift of each example's numbers."""
    return examples + jax.vmap(jax.random.normal)(keys).reshape(-1, 1, 1, 1)


def inputs_of(critic=quadratic, part=slice(None), **changes):
    """What a step gives to the penalties, or one device's part of it. Augmented examples are three times as large."""
    whole = PenaltyInputs(
        critic=critic,
        augmented_critic=lambda examples, kind: critic(3 * examples),
        real=REAL[part],
        fake=FAKE[part],
        raw_real=REAL[part],
        raw_fake=FAKE[part],
        real_logits=critic(REAL)[part],
        fake_logits=critic(FAKE)[part],
        keys=KEYS[part],
        transform=transform,
        perturbed=lambda: PERTURBED[part],
        params={"params": {"Dense_0": {"kernel": KERNEL, "bias": jnp.ones(2)}}},
        extra={"real": jnp.asarray(0.5), "fake": jnp.asarray(-0.25)},
        hparam={"lecam_decay": 0.75, "through_augmentation": False}.__getitem__,
        pmean=lambda tree: tree,
        pmax=lambda value: value,
    )
    return whole._replace(**changes)


def value_of(name, *args, **changes):
    """The values of a penalty of the table."""
    return PENALTIES[name].value(inputs_of(*args, **changes))


def shifts(name, examples):
    """The examples after `transform`, with the keys of that use."""
    return transform(examples, penalties.fold_in_name(KEYS, name))


def squares(changed, examples):
    return np.float64(quadratic(changed) - quadratic(examples)) ** 2


def at_noise(name):
    keys = penalties.fold_in_name(KEYS, name)
    noise = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, SHAPE[1:]))(keys), np.float64)
    return REAL + 0.5 * np.std(np.float64(REAL)) * noise


# What each penalty is for the quadratic critic, in float64.
EXPECTED = {
    "r1": lambda: slopes(REAL) ** 2 / 2,
    "r2": lambda: slopes(FAKE) ** 2 / 2,
    "wgan_gp": lambda: (slopes(mix("wgan_gp")) - 1) ** 2,
    "wgan_lp": lambda: np.maximum(0, slopes(mix("lipschitz")) - 1) ** 2,
    "zero_gp": lambda: slopes(mix("zero_gp")) ** 2,
    "dragan": lambda: (slopes(at_noise("dragan")) - 1) ** 2,
    "max_gp": lambda: 4 * (norms := slopes(mix("max_gradient"))) ** 2 * (norms == norms.max()),
    "lecam": lambda: (np.float64(quadratic(REAL)) + 0.25) ** 2 + (np.float64(quadratic(FAKE)) - 0.5) ** 2,
    "cr": lambda: squares(shifts("cr", REAL), REAL),
    "bcr": lambda: squares(shifts("bcr real", REAL), REAL) + squares(shifts("bcr fake", FAKE), FAKE),
    "zcr": lambda: squares(PERTURBED, FAKE),
    "orthogonal": lambda: 2 * (1 * 2 + 3 * 4) ** 2,
}
PER_EXAMPLE = [name for name in PENALTIES if name not in ("orthogonal", "max_gp", "dragan")]


def test_every_penalty_has_an_expectation_here():
    assert PENALTIES.keys() == EXPECTED.keys()


def test_penalties_between_real_and_fake_need_independent_logits():
    """BatchNorm makes a logit depend on the whole batch."""
    found = {name for name, entry in PENALTIES.items() if entry.needs_independent_logits}
    assert found == {"wgan_gp", "wgan_lp", "zero_gp", "max_gp"}


@pytest.mark.parametrize("name", PENALTIES)
def test_values_of_a_quadratic_critic(name):
    values = jax.jit(lambda: value_of(name))()
    assert values.shape == (() if name == "orthogonal" else (4,))
    np.testing.assert_allclose(values, EXPECTED[name](), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["r1", "r2", "wgan_gp", "wgan_lp", "zero_gp", "dragan", "max_gp"])
def test_values_of_a_linear_critic_depend_on_its_weight_alone(name):
    norm = np.sqrt(np.sum(np.float64(WEIGHT) ** 2))
    expected = {"r1": norm**2 / 2, "r2": norm**2 / 2, "zero_gp": norm**2, "max_gp": norm**2}
    values = jax.jit(lambda: value_of(name, linear(WEIGHT)))()
    np.testing.assert_allclose(values, np.full(4, expected.get(name, (norm - 1) ** 2)), rtol=1e-5)


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_the_value_of_an_example_does_not_depend_on_the_batch(name):
    alone = jax.jit(lambda: value_of(name, part=slice(2, 3)))()
    np.testing.assert_allclose(alone, EXPECTED[name]()[2:3], rtol=2e-4, atol=1e-5)


def test_dragan_depends_on_the_batch_through_its_deviation_alone():
    deviation = jnp.std(REAL)
    alone = dragan(quadratic, REAL[2:3], penalties.fold_in_name(KEYS[2:3], "dragan"), deviation)
    np.testing.assert_allclose(alone, EXPECTED["dragan"]()[2:3], rtol=2e-4)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_reach_the_weights_and_stay_finite(name):
    """Gradient penalties need second derivatives for it; at weight 0 the critic is constant and its slope is 0."""

    def loss(weight):
        one = inputs_of(linear(weight), params={"Dense_0": {"kernel": weight.reshape(-1, 2)}})
        return PENALTIES[name].value(one).mean()

    at_weight, at_zero = jax.jit(jax.vmap(jax.grad(loss)))(jnp.stack([WEIGHT, 0 * WEIGHT]))
    assert np.isfinite(at_weight).all()
    assert np.isfinite(at_zero).all()
    assert (at_weight != 0).all()


def test_r1_of_a_linear_critic_has_the_weight_for_its_gradient():
    """d/dw of |w|^2 / 2 is w."""
    gradient = jax.grad(lambda weight: r1(linear(weight), REAL).mean())(WEIGHT)
    np.testing.assert_allclose(gradient, WEIGHT, rtol=1e-5)


def test_wgan_gp_of_a_linear_critic_pulls_the_weight_to_length_one():
    """d/dw of (|w| - 1)^2 is 2 (|w| - 1) w / |w|."""
    gradient = jax.grad(lambda weight: wgan_gp(linear(weight), REAL, FAKE, KEYS).mean())(WEIGHT)
    norm = np.sqrt(np.sum(np.float64(WEIGHT) ** 2))
    np.testing.assert_allclose(gradient, 2 * (norm - 1) * WEIGHT / norm, rtol=1e-5)


def test_r1_depends_on_real_examples_alone_and_r2_on_fakes():
    np.testing.assert_array_equal(r1(quadratic, REAL), r2(quadratic, REAL))
    np.testing.assert_array_equal(value_of("r1"), value_of("r1", fake=7 * FAKE))
    np.testing.assert_array_equal(value_of("r2"), value_of("r2", real=7 * REAL))
    assert not np.allclose(value_of("r1"), value_of("r2"))


def test_the_gradient_norm_against_finite_differences():
    critic = lambda examples: jnp.sin(examples * WEIGHT).sum((1, 2, 3))  # noqa: E731
    examples, weight, step = np.float64(REAL), np.float64(WEIGHT), 1e-6
    differences = (np.sin((examples + step) * weight) - np.sin((examples - step) * weight)) / (2 * step)
    expected = (differences**2).sum((1, 2, 3))
    np.testing.assert_allclose(squared_gradient_norm(critic, REAL), expected, rtol=1e-4)
    np.testing.assert_allclose(gradient_norm(critic, REAL), np.sqrt(expected), rtol=1e-4)


def test_at_a_constant_critic_the_norm_is_zero_and_so_is_its_gradient():
    norm = lambda weight: gradient_norm(lambda examples: weight * constant(examples), REAL)  # noqa: E731
    np.testing.assert_array_equal(norm(jnp.asarray(2.0)), np.zeros(4))
    assert jax.grad(lambda weight: norm(weight).sum())(jnp.asarray(2.0)) == 0
    np.testing.assert_array_equal(wgan_gp(constant, REAL, FAKE, KEYS), np.ones(4))
    np.testing.assert_array_equal(wgan_lp(constant, REAL, FAKE, KEYS), np.zeros(4))


def test_points_are_examples_too():
    points, others = jnp.asarray([[3.0, 4.0], [0.0, 1.0]]), jnp.asarray([[6.0, 8.0], [0.0, 2.0]])
    critic = lambda examples: 0.5 * (examples**2).sum(1)  # noqa: E731
    np.testing.assert_allclose(gradient_norm(critic, points), [5, 1], rtol=1e-6)
    np.testing.assert_allclose(r1(critic, points), [12.5, 0.5], rtol=1e-6)
    # On the segment from x to 2 x slopes lie between |x| and 2 |x|.
    values = np.asarray(zero_gp(critic, points, others, KEYS[:2]))
    assert ((values > [25, 1]) & (values < [100, 4])).all()
    np.testing.assert_allclose(latent_diversity(points, others), [-12.5, -0.5])


# Interpolation, and penalties at interpolates


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.integers(0, 2**31 - 1))
def test_interpolates_lie_on_the_segments_between_real_and_fake(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    mixed = interpolate(REAL, FAKE, keys)
    shares = np.float64(mixed - FAKE) / np.float64(REAL - FAKE)
    # An example has one share, and each example another one.
    share = np.median(shares.reshape(4, -1), axis=1)
    np.testing.assert_allclose(mixed, share[:, None, None, None] * (REAL - FAKE) + FAKE, atol=1e-5)
    assert ((share >= 0) & (share < 1)).all()
    assert len(set(share)) == 4
    np.testing.assert_array_equal(interpolate(REAL[1:2], FAKE[1:2], keys[1:2])[0], mixed[1])


def test_shares_are_uniform():
    """Mean 1/2, variance 1/12, within four standard errors of 4096 samples."""
    shares = interpolate(jnp.ones((4096, 1)), jnp.zeros((4096, 1)), jax.random.split(jax.random.key(0), 4096))
    assert abs(shares.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / 4096)
    assert abs(shares.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / 4096)


def test_each_penalty_has_its_own_random_numbers():
    streams = ["wgan_gp", "lipschitz", "zero_gp", "max_gradient", "dragan", "cr", "bcr real", "bcr fake"]
    found = jnp.concatenate([jax.vmap(jax.random.uniform)(penalties.fold_in_name(KEYS, stream)) for stream in streams])
    assert len(set(found.tolist())) == 4 * len(streams)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.floats(0, 3, width=32))
def test_wgan_lp_is_wgan_gp_for_slopes_above_one_and_zero_below(slope):
    weight = slope * WEIGHT / jnp.sqrt((WEIGHT**2).sum())
    both = wgan_gp(linear(weight), REAL, FAKE, KEYS)
    upper = wgan_lp(linear(weight), REAL, FAKE, KEYS)
    np.testing.assert_allclose(both, np.full(4, (slope - 1) ** 2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(upper, both if slope > 1 else np.zeros(4), atol=1e-9)


def test_wgan_gp_of_a_critic_of_slope_one_is_zero_and_has_a_finite_gradient():
    weight = WEIGHT / jnp.sqrt((WEIGHT**2).sum())
    loss = lambda weight: wgan_gp(linear(weight), REAL, FAKE, KEYS).mean()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(weight)
    np.testing.assert_allclose(value, 0, atol=1e-12)
    np.testing.assert_allclose(gradient, np.zeros_like(weight), atol=1e-6)


def test_zero_gp_is_twice_r1_at_the_interpolates():
    mixed = interpolate(REAL, FAKE, KEYS)
    np.testing.assert_allclose(zero_gp(quadratic, REAL, FAKE, KEYS), 2 * r1(quadratic, mixed), rtol=1e-6)
    np.testing.assert_allclose(zero_gp(quadratic, REAL, REAL, KEYS), 2 * r1(quadratic, REAL), rtol=1e-5)


def test_dragan_without_a_deviation_is_wgan_gp_of_real_examples():
    still = dragan(quadratic, REAL, KEYS, jnp.asarray(0.0))
    np.testing.assert_allclose(still, wgan_gp(quadratic, REAL, REAL, KEYS), rtol=1e-4)


def test_dragan_adds_up_to_half_a_deviation_to_each_number():
    """For D(x) = |x|^2 / 2 the slope is |x|: at x = 0 and deviation 2 it is the noise."""
    critic = lambda examples: 0.5 * (examples**2).sum(1)  # noqa: E731
    keys = jax.random.split(jax.random.key(1), 512)
    values = dragan(critic, jnp.zeros((512, 1)), keys, jnp.asarray(2.0))
    noise = 1 - np.sqrt(values)
    assert 0 <= noise.min() < 0.02
    assert 0.98 < noise.max() <= 1


def test_the_deviation_is_that_of_the_global_batch():
    average = lambda tree: jax.lax.pmean(tree, "devices")  # noqa: E731
    deviation = lambda examples: penalties.global_deviation(examples, average)  # noqa: E731
    examples = REAL + jnp.arange(4.0)[:, None, None, None]  # so that the devices' means differ
    both = jax.vmap(deviation, axis_name="devices")(examples.reshape(2, 2, *SHAPE[1:]))
    np.testing.assert_allclose(both, [np.std(np.float64(examples))] * 2, rtol=1e-6)


# The steepest example


def test_max_gp_averages_to_the_largest_squared_slope():
    values = max_gp(quadratic, REAL, FAKE, KEYS)
    norms = slopes(interpolate(REAL, FAKE, KEYS))
    np.testing.assert_allclose(values.mean(), norms.max() ** 2, rtol=1e-5)
    assert np.flatnonzero(values).tolist() == [norms.argmax()]


def test_the_gradient_of_max_gp_is_that_of_the_steepest_example_alone():
    critic = lambda weight: lambda examples: 0.5 * (weight * examples**2).sum((1, 2, 3))  # noqa: E731
    gradient = jax.grad(lambda weight: max_gp(critic(weight), REAL, FAKE, KEYS).mean())(WEIGHT)
    mixed = np.float64(interpolate(REAL, FAKE, KEYS))
    steepest = mixed[slopes(mixed).argmax()]
    np.testing.assert_allclose(gradient, 2 * np.float64(WEIGHT) * steepest**2, rtol=1e-4)


@pytest.mark.parametrize("equals", [1, 2, 4])
def test_equally_steep_examples_share_the_penalty(equals):
    examples = jnp.where((jnp.arange(4) < equals)[:, None], 2.0, 1.0)
    values = max_gp(lambda x: 0.5 * (x**2).sum(1), examples, examples, KEYS)
    np.testing.assert_allclose(values, np.where(np.arange(4) < equals, 4 * 4 / equals, 0), rtol=1e-5)


def test_two_devices_find_the_steepest_example_of_one():
    """Values and gradients."""
    critic = lambda weight: lambda examples: 0.5 * (weight * examples**2).sum((1, 2, 3))  # noqa: E731

    def loss(weight, one):
        values = PENALTIES["max_gp"].value(one._replace(critic=critic(weight)))
        return values.mean(), values

    def on_device(real, fake, keys):
        part = {"pmean": lambda tree: jax.lax.pmean(tree, "devices")}
        part |= {"pmax": lambda value: jax.lax.pmax(value, "devices")}
        gradient, values = jax.grad(loss, has_aux=True)(WEIGHT, inputs_of(real=real, fake=fake, keys=keys, **part))
        return jax.lax.pmean(gradient, "devices"), values

    parts = [array.reshape(2, 2, *array.shape[1:]) for array in (REAL, FAKE, KEYS)]
    gradients, values = jax.jit(jax.vmap(on_device, axis_name="devices"))(*parts)
    gradient, expected = jax.jit(lambda: jax.grad(loss, has_aux=True)(WEIGHT, inputs_of()))()
    np.testing.assert_allclose(values.ravel(), expected, rtol=1e-5)
    np.testing.assert_allclose(gradients, [gradient, gradient], rtol=1e-4, atol=1e-6)


# Penalties on logits, pairs and weights


def test_lecam_by_hand():
    values = lecam(jnp.asarray([1.0, -2.0]), jnp.asarray([0.0, 3.0]), jnp.asarray(0.5), jnp.asarray(-1.0))
    np.testing.assert_allclose(values, [2**2 + 0.5**2, 1**2 + 2.5**2])


def test_lecam_is_zero_where_each_kind_is_at_the_anchor_of_the_other():
    real, fake = jnp.asarray(0.75), jnp.asarray(-0.5)
    gradients = jax.grad(lambda r, f: lecam(r, f, real, fake).sum(), (0, 1))(fake[None], real[None])
    np.testing.assert_array_equal(lecam(fake[None], real[None], real, fake), [0])
    np.testing.assert_array_equal(gradients, np.zeros((2, 1)))


def test_the_anchors_of_lecam_move_a_share_of_the_way_to_the_mean_logits():
    """With a decay of 3/4, a quarter of it."""
    entry = PENALTIES["lecam"]
    moved = entry.update(inputs_of(), jnp.asarray(0.0), True)
    assert moved.keys() == entry.extra.keys()
    np.testing.assert_allclose(moved["real"], 0.75 * 0.5 + 0.25 * np.float64(quadratic(REAL)).mean(), rtol=1e-5)
    np.testing.assert_allclose(moved["fake"], 0.75 * -0.25 + 0.25 * np.float64(quadratic(FAKE)).mean(), rtol=1e-5)


def test_consistency_is_symmetric_and_nothing_for_the_same_examples():
    np.testing.assert_array_equal(consistency(quadratic, REAL, REAL), np.zeros(4))
    np.testing.assert_array_equal(consistency(quadratic, REAL, FAKE), consistency(quadratic, FAKE, REAL))


def test_bcr_is_cr_where_fakes_do_not_change():
    """Fakes of value 0 stay as they are under this transformation, so the second half of the penalty vanishes."""
    changes = {"fake": 0 * FAKE, "transform": lambda examples, keys: 2 * examples}
    np.testing.assert_allclose(value_of("bcr", **changes), value_of("cr", **changes), rtol=1e-6)


def test_latent_diversity_by_hand():
    values = latent_diversity(jnp.asarray([[1.0, 2.0], [0.0, 0.0]]), jnp.asarray([[1.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(values, [-2, 0])


def test_the_penalties_of_the_generator():
    assert set(GENERATOR_PENALTIES) == {"zcr", "orthogonal", "path_length"}
    one = GeneratorPenaltyInputs(
        fake=FAKE,
        perturbed=lambda: PERTURBED,
        styles=jnp.zeros((len(FAKE), 2)),
        synthesize=lambda styles, rows: FAKE[rows],
        keys=KEYS,
        params={"params": {"kernel": KERNEL}},
        extra={},
        hparam={}.__getitem__,
        pmean=lambda tree: tree,
    )
    expected = -np.mean((np.float64(FAKE) - np.float64(PERTURBED)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(GENERATOR_PENALTIES["zcr"].value(one), expected, rtol=1e-5)
    np.testing.assert_allclose(GENERATOR_PENALTIES["orthogonal"].value(one), 392)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.sampled_from([1, 5]), st.integers(0, 100))
def test_orthogonality_of_orthogonal_columns_of_any_length_is_zero(size, seed):
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :size] * rng.uniform(0.1, 2, size)
    # A convolution's kernel [height, width, in, out] is the matrix [-1, out].
    for kernel in (matrix, matrix.reshape(1, 2, 3, size)):
        params = {"kernel": jnp.asarray(kernel, jnp.float32)}
        np.testing.assert_allclose(jax.jit(orthogonality)(params), 0, atol=1e-10)


def test_orthogonality_by_hand():
    """W^T W = [[10, 14], [14, 20]]."""
    np.testing.assert_allclose(orthogonality({"kernel": KERNEL}), 2 * 14**2)
    layers = {"a": {"kernel": KERNEL, "bias": jnp.ones(2)}, "b": [{"kernel": KERNEL.reshape(1, 1, 2, 2)}]}
    np.testing.assert_allclose(orthogonality(layers), 2 * 2 * 14**2)
    # d/dW of it is 4 W (W^T W off its diagonal).
    np.testing.assert_allclose(
        jax.grad(orthogonality)({"kernel": KERNEL})["kernel"], 4 * 14 * KERNEL[:, ::-1], rtol=1e-6
    )


@pytest.mark.parametrize(
    "params", [{}, {"scale": jnp.ones((3, 3))}, {"kernel": jnp.ones(3)}, {"kernel": {"w": KERNEL}}]
)
def test_only_kernels_of_two_or_more_dimensions_count(params):
    assert orthogonality(params) == 0


def test_mismatched_batches_raise():
    with pytest.raises(jaxtyping.TypeCheckError):
        interpolate(REAL, FAKE[:3], KEYS)
    with pytest.raises(jaxtyping.TypeCheckError):
        zero_gp(quadratic, REAL, FAKE, KEYS[:3])
    with pytest.raises(jaxtyping.TypeCheckError):
        latent_diversity(FAKE, PERTURBED[:, :2])
