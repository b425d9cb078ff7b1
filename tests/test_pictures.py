"""What a run shows of its generator: which latents make which image of the grid, and the exact scores of a world."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, quick_jit, tiny_config

from jaxgan import sampling
from jaxgan.core import experiment, population
from jaxgan.core import settings as configuration
from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.metrics import mixtures
from jaxgan.viz import grid, mixture, snapshot

LINE = POINTS | {"data__source": "world:gaussian1d"}
TOLD = {"conditioning__generator": "concat", "conditioning__discriminator": "concat"}


@functools.cache
def made(classes: int = 0, **settings):
    """An experiment and its first state."""
    exp = experiment.build(tiny_config(**settings), classes)
    return exp, quick_jit(lambda: population.create(exp))()


def of_seed(exp, variables, seed: int, count: int, labels=None) -> np.ndarray:
    """What the generator makes of a seed's first latents."""
    latents = sampling.latents(seed, count, exp.config.latent_dim)
    return sampling.generate(
        exp.networks["generator"], variables, latents, sampling.conditions(exp, seed, count, labels)
    )


# Grids


def test_a_grid_is_of_the_seed_s_first_latents():
    exp, state = made(sample_grid=6, seed=3)
    picture, scores = snapshot.draw(exp, state, 0)
    np.testing.assert_array_equal(picture, grid.image_grid(of_seed(exp, state.ema["generator"], 3, 6)))
    assert scores == {}


@pytest.mark.parametrize(("count", "columns"), [(7, 3), (3, 3), (2, None)])
def test_few_classes_have_a_column_each(count, columns):
    exp, state = made(classes=3, sample_grid=count, **TOLD)
    labels = np.arange(count, dtype=np.int32) % 3
    expected = grid.image_grid(of_seed(exp, state.ema["generator"], 0, count, labels), columns)
    np.testing.assert_array_equal(snapshot.draw(exp, state, 0)[0], expected)


def test_many_classes_make_a_square():
    exp, state = made(classes=snapshot.MOST_COLUMNS + 1, sample_grid=20, **TOLD)
    labels = np.arange(20, dtype=np.int32) % 17
    expected = grid.image_grid(of_seed(exp, state.ema["generator"], 0, 20, labels))
    np.testing.assert_array_equal(snapshot.draw(exp, state, 0)[0], expected)


@pytest.mark.parametrize(("grid", "each"), [(7, 3), (1, 1)])
def test_each_member_of_a_population_has_a_row(grid, each):
    exp, state = made(sample_grid=grid, population=2, seed=3)
    rows = [
        of_seed(exp, member.ema["generator"], seed, each)
        for member, seed in zip(population.members(exp, state), (3, 4), strict=True)
    ]
    picture, _ = snapshot.draw(exp, state, 0)
    np.testing.assert_array_equal(picture, grid.image_grid(np.concatenate(rows), each))


# Worlds


def test_a_world_is_drawn_and_scored_by_the_same_samples():
    exp, state = made(sample_grid=40, **POINTS)
    points, world = of_seed(exp, state.ema["generator"], 0, 40), MIXTURES["ring"]
    picture, scores = snapshot.draw(exp, state, 1234)
    np.testing.assert_array_equal(picture, mixture.scatter(world, points, "ring, step 1,234"))
    assert scores == snapshot.scores(world, points[None])


def test_each_member_is_scored_by_all_samples():
    exp, state = made(sample_grid=40, population=2, seed=3, **POINTS)
    points = np.stack(
        [of_seed(exp, own.ema["generator"], 3 + i, 40) for i, own in enumerate(population.members(exp, state))]
    )
    picture, scores = snapshot.draw(exp, state, 7)
    np.testing.assert_array_equal(picture, mixture.population(MIXTURES["ring"], points, "ring, step 7"))
    assert scores == snapshot.scores(MIXTURES["ring"], points)


def test_a_line_is_drawn_with_what_the_discriminator_makes_of_it():
    exp, state = made(sample_grid=40, **LINE)
    world = MIXTURES["gaussian1d"]
    judged = state.networks["discriminator"].variables.collections()
    line = jnp.asarray(mixture.grid(world))
    logits = exp.networks["discriminator"].apply(judged, line, None, train=False).logits
    outputs = snapshot.discriminator_outputs(exp, state, world)
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-np.float64(logits))), rtol=1e-5)
    points = of_seed(exp, state.ema["generator"], 0, 40)
    np.testing.assert_array_equal(
        snapshot.draw(exp, state, 0)[0], mixture.densities(world, points, outputs, "gaussian1d, step 0")
    )


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"loss": "minimax"}, True),
        ({"loss": "hinge"}, False),
        ({"loss": "relativistic"}, False),
        ({"packing": 2}, False),
        ({"model__discriminator__minibatch_stddev": 2}, False),
        (TOLD, False),
    ],
)
def test_a_discriminator_is_shown_where_it_gives_probabilities_of_points(settings, shown):
    exp, state = made(classes=1, **LINE | settings)
    assert (snapshot.discriminator_outputs(exp, state, MIXTURES["gaussian1d"]) is not None) == shown


def test_real_points_are_drawn_as_the_generated_are():
    for name, settings in (("ring", POINTS), ("gaussian1d", LINE)):
        world = MIXTURES[name]
        points, _ = world.sample(0, 30)
        drawn = snapshot.of_examples(made(**settings)[0], points)
        whole = (
            mixture.scatter(world, points, "real") if world.dim == 2 else mixture.densities(world, points, None, "real")
        )
        np.testing.assert_array_equal(drawn, whole)


# Scores


@pytest.mark.parametrize("name", MIXTURES)
def test_scores_of_one_run_are_those_of_its_samples(name):
    world = MIXTURES[name]
    samples = world.sample(3, 200)[0]
    found = snapshot.scores(world, samples[None])
    expected = {}
    if world.dim == 1:
        quantiles = world.quantiles(200)
        expected["wasserstein"] = float(mixtures.wasserstein(samples[:, 0], quantiles))
        expected["wasserstein_perfect"] = mixtures.perfect_wasserstein(quantiles)
    if world.modes > 1:
        scores = mixtures.mode_scores(samples, world.means, world.stddev)
        expected |= {score: float(value) for score, value in scores.items()}
        perfect = mixtures.perfect_scores(world.modes, world.dim, 200)
        expected |= {f"{score}_perfect": value for score, value in perfect.items()}
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["ring", "gaussian1d", "mixture1d"])
def test_scores_of_a_population_are_means_with_standard_errors(name):
    world = MIXTURES[name]
    samples = np.stack([(1 + seed / 50) * world.sample(seed, 100)[0] for seed in range(3)])
    own = [snapshot.scores(world, samples[i : i + 1]) for i in range(3)]
    found = snapshot.scores(world, samples)
    names = [score for score in own[0] if not score.endswith("_perfect")]
    assert found.keys() == own[0].keys() | {f"{score}_se" for score in names}
    for score in names:
        values = np.float64([scores[score] for scores in own])
        assert found[score] == pytest.approx(values.mean(), rel=1e-5)
        assert found[f"{score}_se"] == pytest.approx(values.std(ddof=1) / 3**0.5, rel=1e-4, abs=1e-6)
        assert found[f"{score}_perfect"] == own[0][f"{score}_perfect"]


def test_samples_that_are_not_finite_leave_nothing_to_tell():
    world = MIXTURES["gaussian1d"]
    samples = world.sample(0, 50)[0]
    samples[7] = np.nan
    assert snapshot.scores(world, samples[None]) == {}
    assert snapshot.scores(world, np.stack([samples, world.sample(1, 50)[0]])) == {}
    assert snapshot.format_scores({}) == ""


def test_scores_as_a_line_of_text():
    values = {
        "modes": 7.5,
        "modes_se": 0.25,
        "modes_perfect": 8.0,
        "high_quality": 0.98765,
        "high_quality_perfect": 1.0,
    }
    assert snapshot.format_scores(values) == "modes 7.5 ± 0.25 (perfect 8), high_quality 0.9877 (perfect 1)"


def test_a_member_of_a_population_is_drawn_as_it_would_be_alone():
    config = tiny_config(sample_grid=6, population=2, seed=3)
    exp = experiment.build(config)
    state = quick_jit(lambda: population.create(exp))()
    together = snapshot.draw(exp, state, 0)[0]
    for index, (own, member) in enumerate(
        zip(configuration.members(config), population.members(exp, state), strict=True)
    ):
        own.sample_grid = 3
        alone = experiment.build(own)
        row = grid.image_grid(of_seed(alone, member.ema["generator"], own.seed, 3), 3)
        top = index * (row.shape[0] - 2)
        np.testing.assert_array_equal(together[top : top + row.shape[0]], row)
