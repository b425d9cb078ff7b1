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
    BATCH_NORM_FORBIDDEN,
    GENERATOR_PENALTIES,
    PENALTIES,
    Context,
    GeneratorContext,
    consistency,
    dragan,
    gradient_norm,
    interpolate,
    latent_diversity,
    lecam,
    lipschitz,
    max_gradient,
    orthogonality,
    r1,
    r2,
    squared_gradient_norm,
    wgan_gp,
    zero_gp,
)

SHAPE = (4, 3, 3, 2)
REAL, FAKE, NEARBY, WEIGHT = (
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
    """The points at which the penalty of that name in the table looks."""
    return interpolate(REAL, FAKE, penalties.keys_for(KEYS, name))


def transform(examples, keys):
    """A random shift of each example's numbers."""
    return examples + jax.vmap(jax.random.normal)(keys).reshape(-1, 1, 1, 1)


def context(critic=quadratic, part=slice(None), **changes):
    """What a step hands to the penalties, or one device's part of it."""
    whole = Context(
        critic=critic,
        real=REAL[part],
        fake=FAKE[part],
        real_logits=critic(REAL)[part],
        fake_logits=critic(FAKE)[part],
        keys=KEYS[part],
        transform=transform,
        nearby=lambda: NEARBY[part],
        params={"params": {"Dense_0": {"kernel": KERNEL, "bias": jnp.ones(2)}}},
        memory={"lecam_real": jnp.asarray(0.5), "lecam_fake": jnp.asarray(-0.25)},
        average=lambda tree: tree,
        largest=lambda value: value,
    )
    return whole._replace(**changes)


def shifts(name, examples):
    """The examples after `transform`, with the keys of that use."""
    return transform(examples, penalties.keys_for(KEYS, name))


def squares(changed, examples):
    return np.float64(quadratic(changed) - quadratic(examples)) ** 2


def at_noise(name):
    keys = penalties.keys_for(KEYS, name)
    noise = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, SHAPE[1:]))(keys), np.float64)
    return REAL + 0.5 * np.std(np.float64(REAL)) * noise


# What each penalty is for the quadratic critic, in float64.
EXPECTED = {
    "r1": lambda: slopes(REAL) ** 2 / 2,
    "r2": lambda: slopes(FAKE) ** 2 / 2,
    "wgan_gp": lambda: (slopes(mix("wgan_gp")) - 1) ** 2,
    "lipschitz": lambda: np.maximum(0, slopes(mix("lipschitz")) - 1) ** 2,
    "zero_gp": lambda: slopes(mix("zero_gp")) ** 2,
    "dragan": lambda: (slopes(at_noise("dragan")) - 1) ** 2,
    "max_gradient": lambda: 4 * (norms := slopes(mix("max_gradient"))) ** 2 * (norms == norms.max()),
    "lecam": lambda: (np.float64(quadratic(REAL)) + 0.25) ** 2 + (np.float64(quadratic(FAKE)) - 0.5) ** 2,
    "cr": lambda: squares(shifts("cr", REAL), REAL),
    "bcr": lambda: squares(shifts("bcr real", REAL), REAL) + squares(shifts("bcr fake", FAKE), FAKE),
    "zcr": lambda: squares(NEARBY, FAKE),
    "orthogonal": lambda: 2 * (1 * 2 + 3 * 4) ** 2,
}
PER_EXAMPLE = [name for name in PENALTIES if name not in ("orthogonal", "max_gradient", "dragan")]


def test_every_penalty_has_an_expectation_here():
    assert PENALTIES.keys() == EXPECTED.keys()
    assert set(BATCH_NORM_FORBIDDEN) < PENALTIES.keys()


@pytest.mark.parametrize("name", PENALTIES)
def test_of_a_quadratic_critic(name):
    values = jax.jit(lambda: PENALTIES[name](context()))()
    assert values.shape == (() if name == "orthogonal" else (4,))
    np.testing.assert_allclose(values, EXPECTED[name](), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["r1", "r2", "wgan_gp", "lipschitz", "zero_gp", "dragan", "max_gradient"])
def test_of_a_linear_critic_the_weight_alone_decides(name):
    norm = np.sqrt(np.sum(np.float64(WEIGHT) ** 2))
    expected = {"r1": norm**2 / 2, "r2": norm**2 / 2, "zero_gp": norm**2, "max_gradient": norm**2}
    values = jax.jit(lambda: PENALTIES[name](context(linear(WEIGHT))))()
    np.testing.assert_allclose(values, np.full(4, expected.get(name, (norm - 1) ** 2)), rtol=1e-5)


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_an_example_has_its_value_in_any_company(name):
    alone = jax.jit(lambda: PENALTIES[name](context(part=slice(2, 3))))()
    np.testing.assert_allclose(alone, EXPECTED[name]()[2:3], rtol=2e-4, atol=1e-5)


def test_dragan_has_its_company_in_the_deviation_alone():
    deviation = jnp.std(REAL)
    alone = dragan(quadratic, REAL[2:3], penalties.keys_for(KEYS[2:3], "dragan"), deviation)
    np.testing.assert_allclose(alone, EXPECTED["dragan"]()[2:3], rtol=2e-4)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_reach_the_weights_and_stay_finite(name):
    """For a gradient penalty that takes second derivatives; at weight 0 the critic is constant and its slope 0."""

    def loss(weight):
        one = context(linear(weight), params={"Dense_0": {"kernel": weight.reshape(-1, 2)}})
        return PENALTIES[name](one).mean()

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


def test_r1_looks_at_real_examples_alone_and_r2_at_fakes():
    np.testing.assert_array_equal(r1(quadratic, REAL), r2(quadratic, REAL))
    np.testing.assert_array_equal(PENALTIES["r1"](context()), PENALTIES["r1"](context(fake=7 * FAKE)))
    np.testing.assert_array_equal(PENALTIES["r2"](context()), PENALTIES["r2"](context(real=7 * REAL)))
    assert not np.allclose(PENALTIES["r1"](context()), PENALTIES["r2"](context()))


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
    np.testing.assert_array_equal(lipschitz(constant, REAL, FAKE, KEYS), np.zeros(4))


def test_points_are_examples_too():
    points, others = jnp.asarray([[3.0, 4.0], [0.0, 1.0]]), jnp.asarray([[6.0, 8.0], [0.0, 2.0]])
    critic = lambda examples: 0.5 * (examples**2).sum(1)  # noqa: E731
    np.testing.assert_allclose(gradient_norm(critic, points), [5, 1], rtol=1e-6)
    np.testing.assert_allclose(r1(critic, points), [12.5, 0.5], rtol=1e-6)
    # On the segment from x to 2 x slopes lie between |x| and 2 |x|.
    values = np.asarray(zero_gp(critic, points, others, KEYS[:2]))
    assert ((values > [25, 1]) & (values < [100, 4])).all()
    np.testing.assert_allclose(latent_diversity(points, others), [-12.5, -0.5])


# Interpolation and what looks there.


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.integers(0, 2**31 - 1))
def test_interpolates_lie_on_their_segments(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    mixed = interpolate(REAL, FAKE, keys)
    shares = np.float64(mixed - FAKE) / np.float64(REAL - FAKE)
    # One share for the whole example, and another one for each.
    share = np.median(shares.reshape(4, -1), axis=1)
    np.testing.assert_allclose(mixed, share[:, None, None, None] * (REAL - FAKE) + FAKE, atol=1e-5)
    assert ((share >= 0) & (share < 1)).all()
    assert len(set(share)) == 4
    np.testing.assert_array_equal(interpolate(REAL[1:2], FAKE[1:2], keys[1:2])[0], mixed[1])


def test_shares_are_uniform():
    """Mean 1/2, variance 1/12, within four standard errors of 4096 draws."""
    shares = interpolate(jnp.ones((4096, 1)), jnp.zeros((4096, 1)), jax.random.split(jax.random.key(0), 4096))
    assert abs(shares.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / 4096)
    assert abs(shares.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / 4096)


def test_each_penalty_draws_its_own_numbers():
    uses = ["wgan_gp", "lipschitz", "zero_gp", "max_gradient", "dragan", "cr", "bcr real", "bcr fake"]
    draws = jnp.concatenate([jax.vmap(jax.random.uniform)(penalties.keys_for(KEYS, use)) for use in uses])
    assert len(set(draws.tolist())) == 4 * len(uses)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.floats(0, 3, width=32))
def test_slopes_of_one_are_the_border(slope):
    weight = slope * WEIGHT / jnp.sqrt((WEIGHT**2).sum())
    both = wgan_gp(linear(weight), REAL, FAKE, KEYS)
    upper = lipschitz(linear(weight), REAL, FAKE, KEYS)
    np.testing.assert_allclose(both, np.full(4, (slope - 1) ** 2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(upper, both if slope > 1 else np.zeros(4), atol=1e-9)


def test_a_critic_of_slope_one_pays_nothing_and_has_a_finite_gradient():
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


def test_dragan_looks_up_to_half_a_deviation_above_each_number():
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


# The steepest example.


def test_max_gradient_averages_to_the_largest_squared_slope():
    values = max_gradient(quadratic, REAL, FAKE, KEYS)
    norms = slopes(interpolate(REAL, FAKE, KEYS))
    np.testing.assert_allclose(values.mean(), norms.max() ** 2, rtol=1e-5)
    assert np.flatnonzero(values).tolist() == [norms.argmax()]


def test_the_gradient_of_max_gradient_is_that_of_the_steepest_example_alone():
    critic = lambda weight: lambda examples: 0.5 * (weight * examples**2).sum((1, 2, 3))  # noqa: E731
    gradient = jax.grad(lambda weight: max_gradient(critic(weight), REAL, FAKE, KEYS).mean())(WEIGHT)
    mixed = np.float64(interpolate(REAL, FAKE, KEYS))
    steepest = mixed[slopes(mixed).argmax()]
    np.testing.assert_allclose(gradient, 2 * np.float64(WEIGHT) * steepest**2, rtol=1e-4)


@pytest.mark.parametrize("equals", [1, 2, 4])
def test_equally_steep_examples_share(equals):
    examples = jnp.where((jnp.arange(4) < equals)[:, None], 2.0, 1.0)
    values = max_gradient(lambda x: 0.5 * (x**2).sum(1), examples, examples, KEYS)
    np.testing.assert_allclose(values, np.where(np.arange(4) < equals, 4 * 4 / equals, 0), rtol=1e-5)


def test_two_devices_find_the_steepest_example_of_one():
    """Values and gradients."""
    critic = lambda weight: lambda examples: 0.5 * (weight * examples**2).sum((1, 2, 3))  # noqa: E731

    def loss(weight, one):
        values = PENALTIES["max_gradient"](one._replace(critic=critic(weight)))
        return values.mean(), values

    def on_device(real, fake, keys):
        part = {"average": lambda tree: jax.lax.pmean(tree, "devices")}
        part |= {"largest": lambda value: jax.lax.pmax(value, "devices")}
        gradient, values = jax.grad(loss, has_aux=True)(WEIGHT, context(real=real, fake=fake, keys=keys, **part))
        return jax.lax.pmean(gradient, "devices"), values

    parts = [array.reshape(2, 2, *array.shape[1:]) for array in (REAL, FAKE, KEYS)]
    gradients, values = jax.jit(jax.vmap(on_device, axis_name="devices"))(*parts)
    gradient, expected = jax.jit(lambda: jax.grad(loss, has_aux=True)(WEIGHT, context()))()
    np.testing.assert_allclose(values.ravel(), expected, rtol=1e-5)
    np.testing.assert_allclose(gradients, [gradient, gradient], rtol=1e-4, atol=1e-6)


# What looks at logits, pairs and weights.


def test_lecam_by_hand():
    values = lecam(jnp.asarray([1.0, -2.0]), jnp.asarray([0.0, 3.0]), jnp.asarray(0.5), jnp.asarray(-1.0))
    np.testing.assert_allclose(values, [2**2 + 0.5**2, 1**2 + 2.5**2])


def test_lecam_is_content_where_each_kind_is_at_the_others_anchor():
    real, fake = jnp.asarray(0.75), jnp.asarray(-0.5)
    gradients = jax.grad(lambda r, f: lecam(r, f, real, fake).sum(), (0, 1))(fake[None], real[None])
    np.testing.assert_array_equal(lecam(fake[None], real[None], real, fake), [0])
    np.testing.assert_array_equal(gradients, np.zeros((2, 1)))


def test_consistency_is_symmetric_and_nothing_for_the_same_examples():
    np.testing.assert_array_equal(consistency(quadratic, REAL, REAL), np.zeros(4))
    np.testing.assert_array_equal(consistency(quadratic, REAL, FAKE), consistency(quadratic, FAKE, REAL))


def test_bcr_of_real_examples_alone_would_be_cr():
    """Fakes of value 0 stay as they are under this transformation, so the second half of the penalty vanishes."""
    scale = context(fake=0 * FAKE, transform=lambda examples, keys: 2 * examples)
    np.testing.assert_allclose(PENALTIES["bcr"](scale), PENALTIES["cr"](scale), rtol=1e-6)


def test_latent_diversity_by_hand():
    values = latent_diversity(jnp.asarray([[1.0, 2.0], [0.0, 0.0]]), jnp.asarray([[1.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(values, [-2, 0])


def test_the_generators_table():
    assert set(GENERATOR_PENALTIES) == {"zcr", "orthogonal"}
    one = GeneratorContext(FAKE, lambda: NEARBY, {"params": {"kernel": KERNEL}})
    expected = -np.mean((np.float64(FAKE) - np.float64(NEARBY)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(GENERATOR_PENALTIES["zcr"](one), expected, rtol=1e-5)
    np.testing.assert_allclose(GENERATOR_PENALTIES["orthogonal"](one), 392)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.sampled_from([1, 5]), st.integers(0, 100))
def test_orthogonal_kernels_cost_nothing_whatever_their_columns_lengths(size, seed):
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
        latent_diversity(FAKE, NEARBY[:, :2])
