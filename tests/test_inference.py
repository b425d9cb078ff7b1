"""From seeds to samples: sample i depends on the seed and i; interpolation stays on the great circle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import DCGAN, POINTS, SMALL, experiment, raises_user_error, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan import inference
from jaxgan.adversarial.conditioning import latent_code
from jaxgan.algorithms import gan
from jaxgan.config import build
from jaxgan.core import devices, rng
from jaxgan.core.latents import sample_latents, slerp
from jaxgan.core.state import Variables
from jaxgan.errors import UserError

LATENT = 4
CLASSES = 3
CBN = {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"}
INFOGAN = {"conditioning__generator": "concat", "conditioning__discriminator": "infogan"}


def gan_of(classes: int = CLASSES, **settings):
    return build(tiny_config(**SMALL | settings), classes)


def inputs_of(exp, seed: int, count: int, labels=None):
    """The latents and conditions that the generator is given."""
    inputs = {name: jnp.asarray(array) for name, array in inference.seed_inputs(seed, count, labels).items()}
    return gan.sample_inputs(exp, inputs["seed"], inputs)


# Images and points


@pytest.fixture(scope="module")
def images():
    """A generator whose images differ."""
    tiny = experiment(**DCGAN)
    return tiny.exp, {"generator": tiny.state.networks["generator"]}


@pytest.mark.parametrize("count", [1, 5, 7, 64, 65])
def test_image_i_is_the_same_however_many_are_made(images, count):
    """Also beyond one batch, to the bit."""
    whole = inference.sample(*images, 0, 70, None)
    assert (whole.shape, whole.dtype) == ((70, 16, 16, 1), np.uint8)
    assert len(np.unique(whole.reshape(70, -1), axis=0)) == 70
    assert whole.std(0).mean() > 10
    np.testing.assert_array_equal(inference.sample(*images, 0, count, None), whole[:count])


def test_pixels_are_the_networks_output_rounded(images):
    exp, variables = images
    latents, condition = inputs_of(exp, 3, 5)
    assert condition is None
    made = exp.networks["generator"].apply(variables["generator"].collections(), latents, None, train=False)
    expected = 127.5 * (np.float64(made) + 1)
    np.testing.assert_allclose(inference.sample(*images, 3, 5, None), expected, atol=0.51)


@pytest.mark.parametrize("count", [3, 65])
def test_points_are_floats_that_nothing_clips(count):
    tiny = experiment(**POINTS)
    variables = tiny.state.networks["generator"]
    far = variables.replace(params=jax.tree.map(lambda leaf: 10 * leaf, variables.params))
    made = inference.sample(tiny.exp, {"generator": far}, 0, count, None)
    assert (made.shape, made.dtype) == ((count, 2), np.float32)
    assert np.abs(made).max() > 10
    latents, _ = inputs_of(tiny.exp, 0, count)
    expected = tiny.exp.networks["generator"].apply(far.collections(), latents, None, train=False)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)
    assert len(np.unique(made % 1)) > count  # and are not rounded


def test_no_examples_are_no_outputs(images):
    assert inference.run_task(images[0], "sample", images[1], inference.seed_inputs(0, 0)) == {}


# Tasks


def test_moving_averages_take_the_place_of_networks_unless_raw_ones_are_asked_for():
    tiny = experiment(**SMALL)
    state, _ = tiny.run(1)
    found = inference.variables_of(state)
    assert found == {"generator": state.ema["generator"], "discriminator": state.networks["discriminator"]}
    assert inference.variables_of(state, average=False) == state.networks


def test_an_unknown_or_impossible_task_is_an_error():
    with raises_user_error(UserError, match="--task=translate .* algorithm=gan .* sample, probability_real"):
        inference.task_of(gan_of(), "translate")
    with raises_user_error(
        UserError, match=r"--task=reconstruct .* \(algorithm=vae or vaegan can\): choose from sample"
    ):
        inference.task_of(gan_of(), "reconstruct")
    assert inference.task_of(gan_of(), "probability_real").unavailable(gan_of()) is None
    with raises_user_error(UserError, match="--task=probability_real: the discriminator gives no probabilities"):
        inference.task_of(gan_of(loss="hinge"), "probability_real")


def test_more_samples_than_memory_holds_are_an_error(monkeypatch):
    monkeypatch.setattr(devices, "device_memory", lambda: 2**20)
    inference.check_count(gan_of(), 1000)
    with raises_user_error(UserError, match=r"--num=10000 must be at most \d+, which memory could hold"):
        inference.check_count(gan_of(), 10_000)


# Conditions


def test_a_generator_is_asked_for_classes_or_categories_or_nothing():
    """Labels that it does not know do not count; a code without categories leaves nothing to ask for."""
    choices = lambda exp: exp.algorithm.choices(exp)  # noqa: E731
    assert choices(gan_of()) == 0
    assert choices(gan_of(**CBN)) == CLASSES
    assert choices(gan_of(**INFOGAN)) == 10
    assert choices(gan_of(**INFOGAN, conditioning__categories=4)) == 4
    assert choices(gan_of(**INFOGAN, conditioning__categories=0)) == 0
    assert [exp.algorithm.draws_classes(exp) for exp in (gan_of(), gan_of(**CBN), gan_of(**INFOGAN))] == [
        False,
        True,
        False,
    ]


def test_labels_that_are_not_given_take_turns():
    assert inference.mixed_labels(gan_of(), 5) is None
    labels = inference.mixed_labels(gan_of(**CBN), 7)
    assert (labels.tolist(), labels.dtype) == ([0, 1, 2, 0, 1, 2, 0], np.int32)
    assert inference.mixed_labels(gan_of(**INFOGAN, conditioning__categories=2), 3).tolist() == [0, 1, 0]
    assert inference.mixed_labels(gan_of(**INFOGAN, conditioning__categories=0), 3) is None


def test_a_condition_is_the_label_or_a_code_or_nothing():
    labels = np.int32([2, 0, 1, 1])
    assert inputs_of(gan_of(), 0, 4)[1] is None
    np.testing.assert_array_equal(inputs_of(gan_of(**CBN), 0, 4, labels)[1], np.eye(CLASSES)[labels])
    _, found = inputs_of(gan_of(**INFOGAN, conditioning__categories=CLASSES), 5, 4, labels)
    assert found.shape == (4, CLASSES + 2)
    np.testing.assert_array_equal(found[:, :CLASSES], np.eye(CLASSES)[labels])
    own = rng.example_keys(rng.stream_key(5, 0, "sample codes"), jnp.arange(4))
    np.testing.assert_array_equal(found[2], latent_code(own[2], CLASSES, 2, jnp.int32(1)))


@pytest.mark.parametrize("categories", [0, CLASSES])
def test_the_numbers_of_a_code_belong_to_the_seed_and_the_index(categories):
    exp = gan_of(**INFOGAN, conditioning__categories=categories)
    labels = np.arange(8, dtype=np.int32) % CLASSES if categories else None
    whole = np.asarray(inputs_of(exp, 3, 8, labels)[1])[:, categories:]
    assert whole.shape == (8, 2)
    assert len(np.unique(whole)) == whole.size
    _, part = inputs_of(exp, 3, 5, labels if labels is None else 2 - labels[:5])
    np.testing.assert_array_equal(part[:, categories:], whole[:5])
    assert not np.isin(inputs_of(exp, 4, 8, labels)[1][:, categories:], whole).any()


@pytest.fixture(scope="module")
def conditional():
    """A conditional generator, its scales and shifts moved off their start."""
    exp = build(tiny_config(**CBN), CLASSES)
    generator, inputs = exp.networks["generator"], exp.algorithm.inputs(exp)["generator"]
    tree = dict(jax.jit(lambda key: generator.init(key, *inputs, True))(jax.random.key(0)))
    params = tree.pop("params")
    noise = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + noise.normal(size=leaf.shape).astype(np.float32), params)
    return exp, {"generator": Variables(params, tree)}


@pytest.mark.parametrize("count", [1, 5, 64, 65])
def test_image_i_with_its_label_is_the_same_however_many_are_made(conditional, count):
    labels = inference.mixed_labels(conditional[0], 70)
    whole = inference.sample(*conditional, 0, 70, labels)
    np.testing.assert_array_equal(inference.sample(*conditional, 0, count, labels[:count]), whole[:count])
    others = inference.sample(*conditional, 0, count, (labels[:count] + 1) % CLASSES)
    assert (others != whole[:count]).any((1, 2, 3)).all()


# Latents


def latents(seed: int, count: int, truncation: float | None = None):
    return np.asarray(sample_latents(rng.stream_key(seed, 0, "sample"), jnp.arange(count), LATENT, truncation))


def test_latents_belong_to_the_seed_and_the_index():
    whole = latents(3, 12)
    for count in (1, 5):
        np.testing.assert_array_equal(latents(3, count), whole[:count])
    assert not np.isin(latents(4, 12), whole).any()
    assert len(np.unique(whole)) == whole.size


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_the_sample_task_takes_these_latents(truncation):
    """Also truncated ones; each example may have its own seed."""
    exp = gan_of()
    inputs = {"seed": jnp.uint32([3, 3, 4]), "index": jnp.int32([0, 1, 2])}
    if truncation:
        inputs["truncation"] = jnp.full(3, truncation)
    found, _ = gan.sample_inputs(exp, inputs["seed"], inputs)
    three, four = latents(3, 3, truncation), latents(4, 3, truncation)
    np.testing.assert_allclose(found, [three[0], three[1], four[2]], rtol=1e-6)


def test_without_truncation_latents_are_standard_normal():
    rows = latents(0, 20_000)
    error = 1 / np.sqrt(rows.size)
    assert abs(rows.mean()) < 4 * error
    assert abs(rows.var() - 1) < 4 * np.sqrt(2) * error
    assert np.abs(rows).max() > 3


@pytest.mark.parametrize("truncation", [0.1, 1.0])
def test_truncation_bounds_latents(truncation):
    rows = latents(0, 2_000, truncation)
    assert 0.99 * truncation < np.abs(rows).max() <= truncation
    np.testing.assert_array_equal(latents(0, 5, truncation), rows[:5])


# Interpolation


def pair(seed):
    start, end = np.random.default_rng(seed).normal(size=(2, 6, LATENT)).astype(np.float32)
    return jnp.asarray(start), jnp.asarray(end)


interpolate = jax.jit(slerp)
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
def test_between_points_of_one_norm_the_norm_stays_and_the_angle_grows_evenly(seed, fraction):
    start, end = (rows / jnp.linalg.norm(rows, axis=1, keepdims=True) * 3 for rows in pair(seed))
    middle = np.float64(interpolate(start, end, jnp.full(6, fraction)))
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), np.full(6, 3), rtol=1e-3)
    angle = lambda one, other: np.arccos(np.clip((np.float64(one) * np.float64(other)).sum(1) / 9, -1, 1))  # noqa: E731
    np.testing.assert_allclose(angle(start, middle), fraction * angle(start, end), atol=2e-3)


@law
@given(SEEDS, st.floats(0, 1, width=32))
def test_the_way_back_is_the_way_there(seed, fraction):
    start, end = pair(seed)
    there, back = interpolate(start, end, jnp.full(6, fraction)), interpolate(end, start, jnp.full(6, 1 - fraction))
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


def test_each_row_has_its_own_fraction():
    start, end = pair(0)
    fractions = jnp.linspace(0, 1, 6)
    rows = interpolate(start, end, fractions)
    for i in range(6):
        one = interpolate(start, end, jnp.full(6, fractions[i]))
        np.testing.assert_allclose(rows[i], one[i], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(slerp(start, end, 0.25), slerp(start, end, jnp.full(6, 0.25)))


def test_the_sample_task_walks_from_seed_to_seed_by_slerp():
    """Latents on the great circle, conditions on the straight line; at the ends the samples of both seeds."""
    tiny = experiment(**POINTS | INFOGAN)
    variables = {"generator": tiny.state.networks["generator"]}
    count, labels = 5, np.zeros(5, np.int32)
    fraction = np.linspace(0, 1, count, dtype=np.float32)
    inputs = inference.seed_inputs(3, count, labels, fraction=fraction, end_seed=np.full(count, 4, np.uint32))
    inputs["index"] = np.zeros(count, np.int32)
    (walk,) = inference.run_task(tiny.exp, "sample", variables, inputs).values()
    ends = [inference.sample(tiny.exp, variables, seed, 1, labels[:1])[0] for seed in (3, 4)]
    np.testing.assert_allclose(walk[[0, -1]], ends, rtol=1e-4, atol=1e-5)
    (start, one), (end, other) = (inputs_of(tiny.exp, seed, 1, labels[:1]) for seed in (3, 4))
    middle = slerp(start, end, 0.5), (one + other) / 2
    expected = tiny.exp.networks["generator"].apply(variables["generator"].collections(), *middle, train=False)
    np.testing.assert_allclose(walk[2], expected[0], rtol=1e-4, atol=1e-5)
