"""Mixtures of Gaussians: where their modes lie, and that points, density and quantiles are of one distribution."""

import dataclasses
import pickle

import numpy as np
import pytest
from scipy import integrate, stats

from jaxgan.data.gaussian_mixtures import MIXTURES, TRAIN_EXAMPLES, TRAIN_SEED, GaussianMixture

NAMES = sorted(MIXTURES)
LINES = [name for name in NAMES if MIXTURES[name].dim == 1]
PLANES = [name for name in NAMES if MIXTURES[name].dim == 2]
SEVERAL = [name for name in NAMES if MIXTURES[name].modes > 1]
COUNT = 20_000


def distances(mixture):
    """Between each two modes, infinite to itself: [modes, modes]."""
    apart = np.linalg.norm(mixture.means[:, None] - mixture.means, axis=-1)
    return apart + np.where(np.eye(mixture.modes, dtype=bool), np.inf, 0)


@pytest.mark.parametrize(
    ("name", "modes", "dim", "stddev"),
    [("ring", 8, 2, 0.01), ("grid", 25, 2, 0.05), ("gaussian1d", 1, 1, 0.5), ("mixture1d", 2, 1, 0.5)],
)
def test_the_mixtures_are_those_of_the_papers(name, modes, dim, stddev):
    mixture = MIXTURES[name]
    assert (mixture.modes, mixture.dim, mixture.stddev) == (modes, dim, stddev)
    assert mixture.means.shape == (modes, dim)
    assert len(set(mixture.names)) == modes


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
def test_a_mixture_is_compared_and_hashed_by_value_and_is_fixed(name):
    mixture = MIXTURES[name]
    copy = pickle.loads(pickle.dumps(mixture))
    assert copy == mixture
    assert hash(copy) == hash(mixture)
    assert dataclasses.replace(mixture, stddev=2 * mixture.stddev) != mixture
    with pytest.raises(ValueError, match="read-only"):
        mixture.means[0] = 7


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


@pytest.mark.parametrize("name", SEVERAL)
def test_every_mode_is_equally_likely(name):
    mixture = MIXTURES[name]
    counts = np.bincount(mixture.sample(0, COUNT)[1], minlength=mixture.modes)
    assert counts.shape == (mixture.modes,)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_points_deviate_from_their_mode_normally_and_alike_along_each_axis(name):
    mixture = MIXTURES[name]
    points, labels = mixture.sample(1, COUNT)
    deviations = (points - mixture.means[labels]) / mixture.stddev
    for axis in range(mixture.dim):
        assert stats.kstest(deviations[:, axis], "norm").pvalue > 1e-3
    assert stats.kstest((deviations**2).sum(1), stats.chi2(mixture.dim).cdf).pvalue > 1e-3  # axes are independent
    for mode in range(mixture.modes):  # and deviations do not depend on the mode
        of_mode = deviations[labels == mode]
        assert (abs(of_mode.mean(0)) < 5 / np.sqrt(len(of_mode))).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_density_is_scipys(name):
    mixture = MIXTURES[name]
    points = mixture.sample(2, 200)[0]
    points[::2] += np.random.default_rng(0).normal(0, 3 * mixture.stddev, points[::2].shape).astype(np.float32)
    each = [
        stats.multivariate_normal(mean, mixture.stddev**2 * np.eye(mixture.dim)).pdf(points) for mean in mixture.means
    ]
    np.testing.assert_allclose(mixture.density(points), np.mean(each, axis=0), rtol=1e-9)


@pytest.mark.parametrize("name", LINES)
def test_the_density_of_a_line_integrates_to_the_fraction_below(name):
    mixture = MIXTURES[name]
    points = np.linspace(-10, 10, 4001)
    below = integrate.cumulative_simpson(mixture.density(points[:, None]), x=points, initial=0)
    np.testing.assert_allclose(below, mixture.cdf(points), atol=1e-6)
    assert below[-1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", PLANES)
def test_the_density_of_a_plane_integrates_to_one(name):
    mixture = MIXTURES[name]
    offsets = np.linspace(-8, 8, 65) * mixture.stddev  # which no two modes share
    assert 16 * np.sqrt(2) * mixture.stddev < distances(mixture).min()
    square = np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2)
    total = sum(mixture.density(mean + square).sum() for mean in mixture.means) * (offsets[1] - offsets[0]) ** 2
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_far_away_the_logarithm_is_of_the_nearest_modes(name):
    mixture = MIXTURES[name]
    point = 1000 * np.ones((1, mixture.dim))
    square = ((point - mixture.means) ** 2).sum(1).min() / mixture.stddev**2
    assert mixture.density(point) == 0
    assert mixture.log_density(point) == pytest.approx(-square / 2, rel=1e-6)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_a_quantile_has_its_fraction_below(name, count):
    quantiles = MIXTURES[name].quantiles(count)
    assert quantiles.shape == (count,)
    np.testing.assert_allclose(MIXTURES[name].cdf(quantiles), (np.arange(count) + 0.5) / count, rtol=1e-9)
    centre = MIXTURES[name].means.mean()
    np.testing.assert_allclose(quantiles - centre, centre - quantiles[::-1], atol=1e-7)


@pytest.mark.parametrize("name", LINES)
def test_points_of_a_line_have_its_fractions_below(name):
    assert stats.kstest(MIXTURES[name].sample(5, COUNT)[0][:, 0], MIXTURES[name].cdf).pvalue > 1e-3


def test_a_plane_has_no_quantiles():
    for ask in (lambda mixture: mixture.quantiles(3), lambda mixture: mixture.cdf(np.zeros(3))):
        with pytest.raises(ValueError, match="not one of 2 dimensions"):
            ask(MIXTURES["ring"])


def test_other_mixtures_can_be_made():
    mixture = GaussianMixture(((0.0, 0.0, 0.0), (3.0, 0.0, 4.0)), 2.0, ("here", "there"))
    assert (mixture.modes, mixture.dim) == (2, 3)
    assert mixture.density(np.zeros((1, 3)))[0] == pytest.approx(
        (1 + np.exp(-25 / 8)) / 2 / (2 * np.pi * 4) ** 1.5, rel=1e-12
    )
