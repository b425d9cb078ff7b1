"""Snapshots of a run: which latents make which image of the grid, and the exact scores of a mixture of Gaussians."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, SMALL, quick_jit, tiny_config

from jaxgan import inference
from jaxgan.config import build
from jaxgan.core import population
from jaxgan.core.types import Field
from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.metrics import mixtures
from jaxgan.metrics.exact import format_scores, mixture_scores
from jaxgan.viz import grid, mixture, snapshot

LINE = POINTS | {"data__source": "world:gaussian1d"}
CONDITIONAL = {"conditioning__generator": "concat", "conditioning__discriminator": "concat"}


@functools.cache
def made(classes: int = 0, **settings):
    """An experiment and its first state."""
    exp = build(tiny_config(**settings), classes)
    return exp, quick_jit(lambda: population.init_state(exp))()


def of_seed(exp, variables, seed: int, count: int, labels=None) -> np.ndarray:
    """The generator's first samples of a seed."""
    return inference.sample(exp, {"generator": variables}, seed, count, labels)


# Grids


def test_a_grid_has_the_first_samples_of_the_seed():
    exp, state = made(sample_grid=6, seed=3)
    picture, scores = snapshot.draw(exp, state, 0)
    np.testing.assert_array_equal(picture, grid.image_grid(of_seed(exp, state.ema["generator"], 3, 6)))
    assert scores == {}


@pytest.mark.parametrize(("count", "columns"), [(7, 3), (3, 3), (2, None)])
def test_few_classes_have_a_column_each(count, columns):
    exp, state = made(classes=3, sample_grid=count, **CONDITIONAL)
    labels = np.arange(count, dtype=np.int32) % 3
    expected = grid.image_grid(of_seed(exp, state.ema["generator"], 0, count, labels), columns)
    np.testing.assert_array_equal(snapshot.draw(exp, state, 0)[0], expected)


def test_many_classes_make_a_square():
    exp, state = made(classes=snapshot.MAX_COLUMNS + 1, sample_grid=20, **CONDITIONAL)
    labels = np.arange(20, dtype=np.int32) % 17
    expected = grid.image_grid(of_seed(exp, state.ema["generator"], 0, 20, labels))
    np.testing.assert_array_equal(snapshot.draw(exp, state, 0)[0], expected)


@pytest.mark.parametrize(("images", "each"), [(7, 3), (1, 1)])
def test_each_member_of_a_population_has_a_row(images, each):
    exp, state = made(sample_grid=images, population=2, seed=3)
    rows = [
        of_seed(exp, member.ema["generator"], seed, each)
        for member, seed in zip(population.members(exp, state), (3, 4), strict=True)
    ]
    picture, _ = snapshot.draw(exp, state, 0)
    np.testing.assert_array_equal(picture, grid.image_grid(np.concatenate(rows), each))


def test_a_member_of_a_population_is_drawn_as_it_would_be_alone():
    exp, state = made(sample_grid=6, population=2, seed=3)
    together = snapshot.draw(exp, state, 0)[0]
    for index, member in enumerate(population.members(exp, state)):
        alone, _ = made(sample_grid=3, seed=3 + index)
        row = grid.image_grid(of_seed(alone, member.ema["generator"], 3 + index, 3), 3)
        top = index * (row.shape[0] - 2)
        np.testing.assert_array_equal(together[top : top + row.shape[0]], row)


def test_given_images_have_their_outputs_below_them():
    exp, state = made()
    given, out = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 1), np.uint8)
    picture = snapshot.draw_images(exp, [state], {"images": given}, [{"images": out}], 0)
    np.testing.assert_array_equal(picture, grid.image_grid(np.concatenate([given, out]), 3))


def test_networks_are_given_the_middle_of_stored_images_and_the_grid_shows_that():
    exp, state = made(data__size="8x12")
    stored = np.random.default_rng(0).integers(0, 256, (3, 13, 16, 1), np.uint8)
    middle = stored[:, 2:10, 2:14]
    np.testing.assert_allclose(snapshot.as_inputs(exp, {"images": stored})["images"], middle / 127.5 - 1, atol=1e-6)
    picture = snapshot.draw_images(exp, [state], {"images": stored}, [{"images": middle}], 0)
    np.testing.assert_array_equal(picture, grid.image_grid(np.concatenate([middle, middle]), 3))


def test_real_images_make_a_grid_with_a_row_for_each_field():
    exp, _ = made()
    a, b = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 8, 1), np.uint8)
    picture = snapshot.of_examples(exp, {"images": a, "labels": np.zeros(5, np.int32)})
    np.testing.assert_array_equal(picture, grid.image_grid(a))
    fields = tuple(Field(name, (8, 8, 1), "pixels") for name in "ab")
    paired = snapshot.of_examples(dataclasses.replace(exp, fields=fields), {"a": a, "b": b})
    np.testing.assert_array_equal(paired, grid.image_grid(np.concatenate([a, b]), 5, ["a", "b"]))


# Mixtures of Gaussians


def test_a_mixture_is_drawn_and_scored_by_the_same_samples():
    exp, state = made(sample_grid=40, **SMALL)
    points, known = of_seed(exp, state.ema["generator"], 0, 40), MIXTURES["ring"]
    picture, scores = snapshot.draw(exp, state, 1234)
    np.testing.assert_array_equal(picture, mixture.scatter(known, points, "ring, step 1,234"))
    assert scores == mixture_scores(known, points[None])
    assert list(scores) == snapshot.score_names(exp)


def test_each_member_is_scored_by_all_samples():
    exp, state = made(sample_grid=40, population=2, seed=3, **SMALL)
    points = np.stack(
        [of_seed(exp, own.ema["generator"], 3 + i, 40) for i, own in enumerate(population.members(exp, state))]
    )
    picture, scores = snapshot.draw(exp, state, 7)
    np.testing.assert_array_equal(picture, mixture.population(MIXTURES["ring"], points, "ring, step 7"))
    assert scores == mixture_scores(MIXTURES["ring"], points)
    assert list(scores) == snapshot.score_names(exp)


def test_a_line_is_drawn_with_the_discriminator_s_probabilities():
    exp, state = made(sample_grid=40, **LINE)
    known = MIXTURES["gaussian1d"]
    variables = state.networks["discriminator"].collections()
    line = jnp.asarray(mixture.grid(known))
    logits = exp.networks["discriminator"].apply(variables, line, None, train=False).logits
    outputs = snapshot.probability_curve(exp, state)
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-np.float64(logits))), rtol=1e-5)
    points = of_seed(exp, state.ema["generator"], 0, 40)
    np.testing.assert_array_equal(
        snapshot.draw(exp, state, 0)[0], mixture.densities(known, points, outputs, "gaussian1d, step 0")
    )


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"loss": "minimax"}, True),
        ({"loss": "non_saturating"}, True),
        ({"loss": "hinge"}, False),
        ({"loss": "relativistic"}, False),
        ({"packing": 2}, False),
        ({"model__discriminator__minibatch_stddev": 2}, False),
        (CONDITIONAL, False),
    ],
)
def test_a_discriminator_is_drawn_where_it_gives_probabilities_of_points(settings, shown):
    exp, state = made(classes=1, **LINE | settings)
    assert (snapshot.probability_curve(exp, state) is not None) == shown


def test_real_points_are_drawn_as_the_generated_are():
    for name, settings in (("ring", POINTS), ("gaussian1d", LINE)):
        known = MIXTURES[name]
        points, labels = known.sample(0, 30)
        found = snapshot.of_examples(made(**settings)[0], {"points": points, "labels": labels})
        expected = (
            mixture.scatter(known, points, "real") if known.dim == 2 else mixture.densities(known, points, None, "real")
        )
        np.testing.assert_array_equal(found, expected)


# Scores


@pytest.mark.parametrize("name", MIXTURES)
def test_scores_of_one_run_are_those_of_its_samples(name):
    known = MIXTURES[name]
    samples = known.sample(3, 200)[0]
    found = mixture_scores(known, samples[None])
    expected = {}
    if known.dim == 1:
        quantiles = known.quantiles(200)
        expected["wasserstein"] = float(mixtures.wasserstein(samples[:, 0], quantiles))
        expected["wasserstein_ideal"] = mixtures.perfect_wasserstein(quantiles)
    if known.modes > 1:
        scores = mixtures.mode_scores(samples, known.means, known.stddev)
        expected |= {score: float(value) for score, value in scores.items()}
        ideal = mixtures.perfect_scores(known.modes, known.dim, 200)
        expected |= {f"{score}_ideal": value for score, value in ideal.items()}
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["ring", "gaussian1d", "mixture1d"])
def test_scores_of_a_population_are_means_with_standard_errors(name):
    known = MIXTURES[name]
    samples = np.stack([(1 + seed / 50) * known.sample(seed, 100)[0] for seed in range(3)])
    own = [mixture_scores(known, samples[i : i + 1]) for i in range(3)]
    found = mixture_scores(known, samples)
    names = [score for score in own[0] if not score.endswith("_ideal")]
    assert found.keys() == own[0].keys() | {f"{score}_stderr" for score in names}
    for score in names:
        values = np.float64([scores[score] for scores in own])
        assert found[score] == pytest.approx(values.mean(), rel=1e-5)
        assert found[f"{score}_stderr"] == pytest.approx(values.std(ddof=1) / 3**0.5, rel=1e-4, abs=1e-6)
        assert found[f"{score}_ideal"] == own[0][f"{score}_ideal"]


def test_samples_that_are_not_finite_have_no_scores():
    known = MIXTURES["gaussian1d"]
    samples = known.sample(0, 50)[0]
    samples[7] = np.nan
    assert mixture_scores(known, samples[None]) == {}
    assert mixture_scores(known, np.stack([samples, known.sample(1, 50)[0]])) == {}
    assert format_scores({}) == ""


def test_scores_as_a_line_of_text():
    values = {
        "modes": 7.5,
        "modes_stderr": 0.25,
        "modes_ideal": 8.0,
        "high_quality": 0.98765,
        "high_quality_ideal": 1.0,
    }
    assert format_scores(values) == "modes 7.5 ± 0.25 (ideal 8), high_quality 0.9877 (ideal 1)"
