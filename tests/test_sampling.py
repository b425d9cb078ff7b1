"""From seeds to images: image i is a matter of the seed and i; interpolation stays on the great circle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import DCGAN, POINTS, experiment, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan import sampling
from jaxgan.adversarial.conditioning import code
from jaxgan.core import experiment as experiments
from jaxgan.core import rng
from jaxgan.core.state import Variables

LATENT = 4


@pytest.fixture(scope="module")
def trained():
    """A generator whose images differ, and its variables."""
    tiny = experiment(**DCGAN)
    variables = tiny.state.networks["generator"].variables
    return tiny.exp.networks["generator"], variables


@pytest.mark.parametrize("count", [1, 5, 7, 64, 65])
def test_image_i_is_the_same_however_many_are_made(trained, count):
    """Also beyond one batch, to the bit."""
    whole = sampling.generate(*trained, sampling.latents(0, 70, LATENT))
    assert (whole.shape, whole.dtype) == ((70, 16, 16, 1), np.uint8)
    assert len(np.unique(whole.reshape(70, -1), axis=0)) == 70
    assert whole.std(0).mean() > 10
    np.testing.assert_array_equal(sampling.generate(*trained, sampling.latents(0, count, LATENT)), whole[:count])


# Conditions

CLASSES = 3
CBN = {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"}
INFOGAN = {"conditioning__generator": "concat", "conditioning__discriminator": "infogan"}


def gan_of(classes: int = CLASSES, **settings):
    return experiments.build(tiny_config(**settings), classes)


def test_a_generator_is_asked_for_classes_or_categories_or_nothing():
    """Labels that it does not know do not count; a code without categories leaves nothing to ask for."""
    assert sampling.choices(gan_of()) == 0
    assert sampling.choices(gan_of(**CBN)) == CLASSES
    assert sampling.choices(gan_of(**INFOGAN)) == 10
    assert sampling.choices(gan_of(**INFOGAN, conditioning__categories=4)) == 4
    assert sampling.choices(gan_of(**INFOGAN, conditioning__categories=0)) == 0


def test_unasked_labels_take_turns():
    assert sampling.mixed_labels(gan_of(), 5) is None
    labels = sampling.mixed_labels(gan_of(**CBN), 7)
    assert (labels.tolist(), labels.dtype) == ([0, 1, 2, 0, 1, 2, 0], np.int32)
    assert sampling.mixed_labels(gan_of(**INFOGAN, conditioning__categories=2), 3).tolist() == [0, 1, 0]
    assert sampling.mixed_labels(gan_of(**INFOGAN, conditioning__categories=0), 3) is None


def test_a_condition_is_the_label_or_a_code_or_nothing():
    labels = np.int32([2, 0, 1, 1])
    assert sampling.conditions(gan_of(), 0, 4, None) is None
    np.testing.assert_array_equal(sampling.conditions(gan_of(**CBN), 0, 4, labels), np.eye(CLASSES)[labels])
    exp = gan_of(**INFOGAN, conditioning__categories=CLASSES)
    found = sampling.conditions(exp, 5, 4, labels)
    assert found.shape == (4, CLASSES + 2)
    np.testing.assert_array_equal(found[:, :CLASSES], np.eye(CLASSES)[labels])
    own = rng.example_keys(rng.stream_key(5, 0, "sample codes"), jnp.arange(4))
    np.testing.assert_array_equal(found[2], code(own[2], CLASSES, 2, jnp.int32(1)))


@pytest.mark.parametrize("categories", [0, CLASSES])
def test_the_numbers_of_a_code_belong_to_the_seed_and_the_index(categories):
    exp = gan_of(**INFOGAN, conditioning__categories=categories)
    labels = np.arange(8, dtype=np.int32) % CLASSES if categories else None
    whole = np.asarray(sampling.conditions(exp, 3, 8, labels))[:, categories:]
    assert whole.shape == (8, 2)
    assert len(np.unique(whole)) == whole.size
    part = sampling.conditions(exp, 3, 5, labels if labels is None else 2 - labels[:5])
    np.testing.assert_array_equal(part[:, categories:], whole[:5])
    assert not np.isin(sampling.conditions(exp, 4, 8, labels)[:, categories:], whole).any()


@pytest.fixture(scope="module")
def told():
    """A generator that is told what to draw, its scales and shifts moved off their start, and its variables."""
    exp = gan_of(**CBN)
    generator, inputs = exp.networks["generator"], experiments.example_inputs(exp)["generator"]
    tree = dict(jax.jit(lambda key: generator.init(key, *inputs, True))(jax.random.key(0)))
    params = tree.pop("params")
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), params)
    return exp, generator, Variables(params, tree)


@pytest.mark.parametrize("count", [1, 5, 64, 65])
def test_image_i_with_its_label_is_the_same_however_many_are_made(told, count):
    exp, generator, variables = told
    labels = sampling.mixed_labels(exp, 70)

    def images(count, labels):
        points = sampling.latents(0, count, LATENT)
        return sampling.generate(generator, variables, points, sampling.conditions(exp, 0, count, labels))

    whole = images(70, labels)
    np.testing.assert_array_equal(images(count, labels[:count]), whole[:count])
    others = images(count, (labels[:count] + 1) % CLASSES)
    assert (others != whole[:count]).any((1, 2, 3)).all()


@pytest.mark.parametrize("count", [3, 65])
def test_points_of_a_world_are_floats_that_nothing_clips(count):
    tiny = experiment(**POINTS)
    network, variables = tiny.exp.networks["generator"], tiny.state.networks["generator"].variables
    far = variables.replace(params=jax.tree.map(lambda leaf: 10 * leaf, variables.params))
    rows = sampling.latents(0, count, LATENT)
    made = sampling.generate(network, far, rows)
    assert (made.shape, made.dtype) == ((count, 2), np.float32)
    assert np.abs(made).max() > 10
    expected = network.apply(far.collections(), rows, None, train=False)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)
    assert len(np.unique(made % 1)) > count  # and are not rounded


# Latents


def test_latents_belong_to_the_seed_and_the_index():
    whole = np.asarray(sampling.latents(3, 12, LATENT))
    for count in (1, 5):
        np.testing.assert_array_equal(sampling.latents(3, count, LATENT), whole[:count])
    assert not np.isin(sampling.latents(4, 12, LATENT), whole).any()
    assert len(np.unique(whole)) == whole.size


def test_without_truncation_latents_are_standard_normal():
    rows = np.asarray(sampling.latents(0, 20_000, LATENT))
    error = 1 / np.sqrt(rows.size)
    assert abs(rows.mean()) < 4 * error
    assert abs(rows.var() - 1) < 4 * np.sqrt(2) * error
    assert np.abs(rows).max() > 3


@pytest.mark.parametrize("truncation", [0.1, 1.0])
def test_truncation_bounds_latents(truncation):
    rows = np.asarray(sampling.latents(0, 2_000, LATENT, truncation))
    assert 0.99 * truncation < np.abs(rows).max() <= truncation
    np.testing.assert_array_equal(sampling.latents(0, 5, LATENT, truncation), rows[:5])


def pair(seed):
    start, end = np.random.default_rng(seed).normal(size=(2, 6, LATENT)).astype(np.float32)
    return jnp.asarray(start), jnp.asarray(end)


interpolate = jax.jit(sampling.interpolate)
law = settings(deadline=None, max_examples=20, derandomize=True)
SEEDS = st.integers(0, 1000)


@law
@given(SEEDS)
def test_the_way_begins_and_ends_at_the_given_points(seed):
    start, end = pair(seed)
    np.testing.assert_allclose(interpolate(start, end, jnp.zeros(6)), start, atol=1e-5)
    np.testing.assert_allclose(interpolate(start, end, jnp.ones(6)), end, atol=1e-5)


@law
@given(SEEDS, st.floats(0, 1, width=32))
def test_between_points_of_one_norm_the_norm_stays_and_the_angle_grows_evenly(seed, share):
    start, end = (rows / jnp.linalg.norm(rows, axis=1, keepdims=True) * 3 for rows in pair(seed))
    middle = np.float64(interpolate(start, end, jnp.full(6, share)))
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), np.full(6, 3), rtol=1e-3)
    angle = lambda one, other: np.arccos(np.clip((np.float64(one) * np.float64(other)).sum(1) / 9, -1, 1))  # noqa: E731
    np.testing.assert_allclose(angle(start, middle), share * angle(start, end), atol=2e-3)


@law
@given(SEEDS, st.floats(0, 1, width=32))
def test_the_way_back_is_the_way_there(seed, share):
    start, end = pair(seed)
    there, back = interpolate(start, end, jnp.full(6, share)), interpolate(end, start, jnp.full(6, 1 - share))
    np.testing.assert_allclose(there, back, rtol=1e-3, atol=1e-4)


def test_a_right_angle():
    start, end = jnp.asarray([[2.0, 0.0]]), jnp.asarray([[0.0, 2.0]])
    np.testing.assert_allclose(interpolate(start, end, jnp.full(1, 0.5)), [[np.sqrt(2), np.sqrt(2)]], rtol=1e-5)
    np.testing.assert_allclose(interpolate(start, end, jnp.full(1, 1 / 3)), [[np.sqrt(3), 1]], rtol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0])
def test_parallel_points_are_joined_by_a_straight_line(factor):
    start, _ = pair(0)
    middle = interpolate(start, factor * start, jnp.full(6, 0.25))
    np.testing.assert_allclose(middle, (0.75 + 0.25 * factor) * start, rtol=1e-3, atol=1e-3)


def test_each_row_has_its_own_share():
    start, end = pair(0)
    shares = jnp.linspace(0, 1, 6)
    rows = interpolate(start, end, shares)
    for i in range(6):
        np.testing.assert_allclose(rows[i], interpolate(start, end, jnp.full(6, shares[i]))[i], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        sampling.interpolate(start, end, 0.25), sampling.interpolate(start, end, jnp.full(6, 0.25))
    )
