"""The toy worlds: where their modes lie, and that points, density and quantiles are of one distribution."""

import dataclasses
import pickle

import numpy as np
import pytest
from scipy import integrate, stats

from jaxgan.data.gaussian_mixtures import MIXTURES, TRAIN_EXAMPLES, TRAIN_SEED, GaussianMixture

NAMES = sorted(MIXTURES)
LINES = [name for name in NAMES if MIXTURES[name].dim == 1]
PLANES = [name for name in NAMES if MIXTURES[name].dim == 2]
MIXTURES = [name for name in NAMES if MIXTURES[name].modes > 1]
COUNT = 20_000


def distances(world):
    """Between each two modes, infinite to itself: [modes, modes]."""
    apart = np.linalg.norm(world.means[:, None] - world.means, axis=-1)
    return apart + np.where(np.eye(world.modes, dtype=bool), np.inf, 0)


@pytest.mark.parametrize(
    ("name", "modes", "dim", "stddev"),
    [("ring", 8, 2, 0.01), ("grid", 25, 2, 0.05), ("gaussian1d", 1, 1, 0.5), ("mixture1d", 2, 1, 0.5)],
)
def test_the_worlds_are_those_of_the_papers(name, modes, dim, stddev):
    world = MIXTURES[name]
    assert (world.modes, world.dim, world.stddev) == (modes, dim, stddev)
    assert world.means.shape == (modes, dim)
    assert len(set(world.names)) == modes


def test_every_mode_of_the_ring_is_on_the_circle_and_next_to_two():
    ring = MIXTURES["ring"]
    np.testing.assert_allclose(np.linalg.norm(ring.means, axis=1), 1)
    nearest = np.sort(distances(ring), axis=1)
    np.testing.assert_allclose(nearest[:, :2], 2 * np.sin(np.pi / 8))  # of two equal ones it would be 0
    assert (nearest[:, 2] > 1).all()


def test_the_modes_of_the_grid_are_all_pairs_of_even_numbers():
    grid = MIXTURES["grid"]
    assert set(grid.centres) == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert grid.names[grid.centres.index((-4.0, 2.0))] == "-4 2"


def test_the_modes_on_a_line():
    assert MIXTURES["gaussian1d"].centres == ((1,),)
    assert MIXTURES["mixture1d"].centres == ((-2,), (2,))


@pytest.mark.parametrize("name", NAMES)
def test_a_world_is_compared_and_hashed_by_value_and_is_fixed(name):
    world = MIXTURES[name]
    copy = pickle.loads(pickle.dumps(world))
    assert copy == world
    assert hash(copy) == hash(world)
    assert dataclasses.replace(world, stddev=2 * world.stddev) != world
    with pytest.raises(ValueError, match="read-only"):
        world.means[0] = 7


@pytest.mark.parametrize("name", NAMES)
def test_a_point_depends_on_the_seed_and_its_index_alone(name):
    points, labels = MIXTURES[name].sample(3, 1000)
    assert points.shape == (1000, MIXTURES[name].dim)
    assert (points.dtype, labels.dtype) == (np.float32, np.int32)
    for count in (1, 17, 999):
        some, targets = MIXTURES[name].sample(3, count)
        np.testing.assert_array_equal(some, points[:count])
        np.testing.assert_array_equal(targets, labels[:count])
    assert (MIXTURES[name].sample(4, 1000)[0] != points).any(1).all()


def test_the_training_set_stays_what_it_is():
    points, labels = MIXTURES["grid"].sample(TRAIN_SEED, TRAIN_EXAMPLES)
    assert points.shape == (100_000, 2)
    np.testing.assert_array_equal(labels[:8], [20, 23, 0, 7, 18, 18, 5, 3])
    np.testing.assert_allclose(points[[0, -1]], [[4.0402546, -4.0956030], [3.9500740, -1.9584938]], atol=1e-6)


@pytest.mark.parametrize("name", MIXTURES)
def test_every_mode_is_as_likely(name):
    world = MIXTURES[name]
    counts = np.bincount(world.sample(0, COUNT)[1], minlength=world.modes)
    assert counts.shape == (world.modes,)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_points_deviate_from_their_mode_normally_and_alike_along_each_axis(name):
    world = MIXTURES[name]
    points, labels = world.sample(1, COUNT)
    deviations = (points - world.means[labels]) / world.stddev
    for axis in range(world.dim):
        assert stats.kstest(deviations[:, axis], "norm").pvalue > 1e-3
    assert stats.kstest((deviations**2).sum(1), stats.chi2(world.dim).cdf).pvalue > 1e-3  # no axis knows of another
    for mode in range(world.modes):  # and no mode of another
        of_mode = deviations[labels == mode]
        assert (abs(of_mode.mean(0)) < 5 / np.sqrt(len(of_mode))).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_density_is_scipys(name):
    world = MIXTURES[name]
    points = world.sample(2, 200)[0]
    points[::2] += np.random.default_rng(0).normal(0, 3 * world.stddev, points[::2].shape).astype(np.float32)
    each = [stats.multivariate_normal(mean, world.stddev**2 * np.eye(world.dim)).pdf(points) for mean in world.means]
    np.testing.assert_allclose(world.density(points), np.mean(each, axis=0), rtol=1e-9)


@pytest.mark.parametrize("name", LINES)
def test_the_density_of_a_line_integrates_to_the_share_below(name):
    world = MIXTURES[name]
    points = np.linspace(-10, 10, 4001)
    below = integrate.cumulative_simpson(world.density(points[:, None]), x=points, initial=0)
    np.testing.assert_allclose(below, world.cdf(points), atol=1e-6)
    assert below[-1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", PLANES)
def test_the_density_of_a_plane_integrates_to_one(name):
    world = MIXTURES[name]
    offsets = np.linspace(-8, 8, 65) * world.stddev  # which no two modes share
    assert 16 * np.sqrt(2) * world.stddev < distances(world).min()
    square = np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2)
    total = sum(world.density(mean + square).sum() for mean in world.means) * (offsets[1] - offsets[0]) ** 2
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_far_away_the_logarithm_is_of_the_nearest_modes(name):
    world = MIXTURES[name]
    point = 1000 * np.ones((1, world.dim))
    square = ((point - world.means) ** 2).sum(1).min() / world.stddev**2
    assert world.density(point) == 0
    assert world.log_density(point) == pytest.approx(-square / 2, rel=1e-6)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_a_quantile_has_its_share_below(name, count):
    quantiles = MIXTURES[name].quantiles(count)
    assert quantiles.shape == (count,)
    np.testing.assert_allclose(MIXTURES[name].cdf(quantiles), (np.arange(count) + 0.5) / count, rtol=1e-9)
    centre = MIXTURES[name].means.mean()
    np.testing.assert_allclose(quantiles - centre, centre - quantiles[::-1], atol=1e-7)


@pytest.mark.parametrize("name", LINES)
def test_points_of_a_line_have_its_shares_below(name):
    assert stats.kstest(MIXTURES[name].sample(5, COUNT)[0][:, 0], MIXTURES[name].cdf).pvalue > 1e-3


def test_a_plane_has_no_quantiles():
    for ask in (lambda world: world.quantiles(3), lambda world: world.cdf(np.zeros(3))):
        with pytest.raises(ValueError, match="not one of 2 dimensions"):
            ask(MIXTURES["ring"])


def test_other_worlds_can_be_made():
    world = GaussianMixture(((0.0, 0.0, 0.0), (3.0, 0.0, 4.0)), 2.0, ("here", "there"))
    assert (world.modes, world.dim) == (2, 3)
    assert world.density(np.zeros((1, 3)))[0] == pytest.approx(
        (1 + np.exp(-25 / 8)) / 2 / (2 * np.pi * 4) ** 1.5, rel=1e-12
    )
