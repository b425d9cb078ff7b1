"""Scores by nearest neighbours: the definitions in float64, known limits, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from jaxgan.errors import UserError
from jaxgan.metrics.prdc import authenticity, manifold_scores, nearest, perfect_coverage

COUNT, WIDTH = 40, 6  # one shape, compiled once


def radii(samples, k):
    return np.sort(cdist(samples, samples))[:, k]


def slow_scores(fakes, reals):
    """The definitions, from the whole table in float64."""
    table = cdist(fakes, reals)
    return (
        (table <= radii(reals, 3)).any(1).mean(),
        (radii(fakes, 3) >= table.T).any(1).mean(),
        (table <= radii(reals, 5)).sum(1).mean() / 5,
        (table.min(0) <= radii(reals, 5)).mean(),
    )


def values(scores):
    return tuple(score.value for score in scores)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), mean=st.sampled_from([0.0, 1000.0]), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_they_follow_the_definitions_in_any_place_and_size_and_turn(seed, mean, scale):
    generator = np.random.default_rng(seed)
    fakes, reals = generator.normal(0.3, 0.8, (COUNT, WIDTH)), generator.normal(size=(COUNT, WIDTH))
    axes = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]
    found = manifold_scores(scale * (fakes @ axes + mean), scale * (reals @ axes + mean))
    assert values(found) == pytest.approx(slow_scores(fakes, reals), rel=1e-6)


@pytest.mark.parametrize("width", [2, 32])
def test_of_one_distribution_density_is_1_and_coverage_its_limit(width):
    generator = np.random.default_rng(width)
    found = [manifold_scores(*generator.normal(size=(2, 300, width))) for _ in range(12)]
    found = np.array([values(scores) for scores in found])
    errors = 4 * found.std(0) / np.sqrt(12)
    assert found[:, 2].mean() == pytest.approx(1, abs=errors[2])
    assert found[:, 3].mean() == pytest.approx(perfect_coverage(300, 300), abs=errors[3])
    assert found[:, 0].mean() == pytest.approx(found[:, 1].mean(), abs=errors[0] + errors[1])


@pytest.mark.parametrize(("fakes", "reals"), [(30, 30), (25, 60), (60, 25)])
def test_coverage_of_one_distribution_does_not_depend_on_it(fakes, reals):
    """Numbers in random order: a real one is covered if among the five nearest others, as a whole, one is a fake."""
    generator = np.random.default_rng(fakes)
    covered = [generator.permutation(fakes + reals - 1)[:5].min() < fakes for _ in range(20_000)]
    assert np.mean(covered) == pytest.approx(perfect_coverage(fakes, reals), abs=4 * 0.5 / np.sqrt(20_000))
    assert perfect_coverage(10**9, 10**9) == pytest.approx(1 - 2**-5)


def test_collapse_lowers_recall_and_coverage_but_not_precision():
    generator = np.random.default_rng(0)
    modes = 10 * np.eye(4, WIDTH)
    reals = modes[np.arange(300) % 4] + generator.normal(size=(300, WIDTH))
    good = modes[np.arange(300) % 4] + generator.normal(size=(300, WIDTH))
    collapsed = modes[0] + generator.normal(size=(300, WIDTH))
    before, after = manifold_scores(good, reals), manifold_scores(collapsed, reals)
    assert after.precision.value == pytest.approx(before.precision.value, abs=0.05)
    assert after.recall.value < 0.3 < 0.8 < before.recall.value
    assert after.coverage.value < 0.3 < 0.9 < before.coverage.value
    assert after.recall.high < before.recall.low


def test_bad_pictures_lower_precision_and_density_but_not_recall():
    generator = np.random.default_rng(0)
    reals, good = generator.normal(size=(2, 300, WIDTH))
    bad = good.copy()
    bad[::2] *= 20
    before, after = manifold_scores(good, reals), manifold_scores(bad, reals)
    assert after.precision.value == pytest.approx(before.precision.value / 2, abs=0.05)
    assert after.density.value == pytest.approx(before.density.value / 2, abs=0.1)
    # The balls around bad ones are too large.
    assert after.recall.value > before.recall.value


def test_intervals_cover_the_mean_of_other_draws():
    generator = np.random.default_rng(0)
    found = np.array([manifold_scores(*generator.normal(size=(2, 100, 3))) for _ in range(60)])
    means = found[:, :, 0].mean(0, keepdims=True)
    covered = ((found[:, :, 1] <= means) & (means <= found[:, :, 2])).mean(0)
    assert covered.min() > 0.85
    assert covered.max() < 1


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), mean=st.sampled_from([0.0, 1000.0]))
def test_neighbours_are_those_of_the_whole_table(seed, mean):
    generator = np.random.default_rng(seed)
    samples, candidates = mean + generator.normal(size=(2, COUNT, WIDTH))
    table, found = cdist(samples, candidates), nearest(samples, candidates, 4)
    np.testing.assert_array_equal(found.index, np.argsort(table)[:, :4])
    np.testing.assert_allclose(found.distance, np.sort(table)[:, :4], rtol=1e-5)


def test_a_copy_is_at_no_distance_however_large_the_features():
    candidates = np.random.default_rng(0).normal(1e4, 1e3, (COUNT, WIDTH))
    found = nearest(candidates[::-1], candidates)
    np.testing.assert_array_equal(found.distance, 0)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(COUNT)[::-1])


def test_copies_are_not_authentic_and_other_pictures_are():
    generator = np.random.default_rng(0)
    training, fresh = generator.normal(size=(2, COUNT, WIDTH))
    assert authenticity(training + 1e-3, training).value == 0
    assert authenticity(fresh + 100, training).value == 1
    mixed = np.where(np.arange(COUNT)[:, None] % 4 == 0, training + 1e-3, training + 100)
    assert authenticity(mixed, training).value == 0.75
    # The definition, from the whole table.
    table = cdist(fresh, training)
    expected = (table.min(1) > radii(training, 1)[table.argmin(1)]).mean()
    assert 0 < expected < 1
    assert authenticity(fresh, training).value == pytest.approx(expected)


def test_bad_input_is_an_error():
    features = np.random.default_rng(0).normal(size=(29, 3))
    with pytest.raises(UserError, match="5 neighbours in 5 blocks needs 30 samples or more, and there are 29"):
        manifold_scores(features, features)
    with pytest.raises(UserError, match="30 nearest neighbours among 29 candidates"):
        nearest(features, features, 30)
    with pytest.raises(UserError, match="an authenticity needs 2 samples or more, and there are 1"):
        authenticity(features, features[:1])
    with pytest.raises(UserError, match="width 3 cannot be compared with features of width 2"):
        nearest(features, features[:, :2])
    with pytest.raises(UserError, match="29 of 29 samples have values that are not finite"):
        nearest(np.full((29, 3), np.nan), features)
