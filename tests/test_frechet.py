"""Fréchet distance: closed forms, what must not matter, its bias, and an interval that holds the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.errors import UserError
from jaxgan.metrics.frechet import _jackknife, expected_bias, frechet_distance, frechet_distance_of_few, frechet_score
from jaxgan.metrics.moments import Statistics, statistics


def turn(generator, width):
    return np.linalg.qr(generator.standard_normal((width, width)))[0]


def normal(generator, count, of):
    return generator.multivariate_normal(of.mean, of.covariance, count, method="eigh")


def exactly(mean, deviations, axes=None):
    """Statistics of a distribution."""
    axes = np.eye(len(mean)) if axes is None else axes
    return Statistics(0, np.asarray(mean, float), (axes * np.asarray(deviations) ** 2) @ axes.T)


def shares(width):
    """Variances like those of learnt features: a few large ones and many small ones."""
    return 1 / np.arange(1, width + 1)


SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, width=st.integers(1, 6))
def test_along_common_axes_it_is_the_distance_of_means_and_deviations(seed, width):
    generator = np.random.default_rng(seed)
    first, second = generator.uniform(0, 3, (2, width))
    shift, axes = generator.normal(size=width), turn(generator, width)
    found = frechet_distance(exactly(np.zeros(width), first, axes), exactly(shift, second, axes))
    assert found == pytest.approx((shift**2).sum() + ((first - second) ** 2).sum(), abs=1e-9)


@settings(max_examples=30)
@given(seed=SEEDS, sizes=st.tuples(st.integers(2, 12), st.integers(2, 12)))
def test_from_few_samples_it_is_the_same_and_turns_shifts_and_sides_do_not_matter(seed, sizes):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(sizes[0], 6)), 2 * generator.normal(size=(sizes[1], 6)) + 1
    found = frechet_distance(statistics(first), statistics(second))
    axes, shift, size = turn(generator, 6), generator.normal(size=6), generator.uniform(0.1, 10)
    moved = [size * side @ axes + shift for side in (first, second)]
    assert frechet_distance_of_few(first, second) == pytest.approx(found, abs=1e-6)
    assert frechet_distance(*map(statistics, moved)) == pytest.approx(size**2 * found, rel=1e-6, abs=1e-6)
    assert frechet_distance(statistics(second), statistics(first)) == pytest.approx(found, abs=1e-6)
    # The root of what should be 0 is 1e-8: the most that float64 gives for covariances without full rank.
    assert frechet_distance(statistics(first), statistics(first)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("sizes", [(20, 25), (9, 40)])
def test_the_jackknife_leaves_out_every_sample(sizes, given):
    """Done the slow way: an eigenproblem for each of them."""
    generator = np.random.default_rng(sum(sizes))
    sides = [generator.normal(size=(count, 5)) * shares(5) for count in sizes]
    raw = frechet_distance(*map(statistics, sides))
    debiased, influence = raw, 0.0
    for side in range(1 if given else 2):
        left_out = []
        for row in range(sizes[side]):
            rest = [np.delete(sides[side], row, 0) if index == side else sides[index] for index in (0, 1)]
            left_out.append(frechet_distance(*map(statistics, rest)))
        debiased -= (sizes[side] - 1) * (np.mean(left_out) - raw)
        influence += (sizes[side] - 1) * np.var(left_out)
    found = _jackknife(sides[:1], [statistics(sides[1])]) if given else _jackknife(sides, [])
    assert found[:3] == pytest.approx((raw, debiased, influence), rel=1e-5)


@pytest.mark.parametrize("width", [2, 16])
def test_the_quadratic_part_is_half_of_what_the_jackknife_shows_where_nothing_differs(width):
    """Efron and Stein's law, and so a test of its variance, whose formula is exact in the limit."""
    generator, exact = np.random.default_rng(0), exactly(np.zeros(width), np.sqrt(shares(width)))
    found = [_jackknife([normal(generator, 40 * width, exact) for _ in range(2)], []) for _ in range(100)]
    quadratic = np.mean([one.quadratic for one in found])
    assert np.mean([one.influence for one in found]) == pytest.approx(2 * quadratic, rel=0.15)
    assert np.var([one.raw for one in found]) == pytest.approx(quadratic, rel=0.45)


@pytest.mark.parametrize("counts", [(400,), (300, 600)])
@pytest.mark.parametrize("variances", [np.ones(8), shares(8), np.array([1, 1, 0.5, 0.0])])
def test_its_bias_is_the_published_one(variances, counts):
    generator, exact = np.random.default_rng(1), exactly(np.zeros(len(variances)), np.sqrt(variances))
    found = []
    for _ in range(150):
        sets = [statistics(normal(generator, count, exact)) for count in counts]
        found.append(frechet_distance(*sets, *[exact] * (2 - len(counts))))
    expected = expected_bias(exact.covariance, *counts)
    assert np.mean(found) == pytest.approx(expected, rel=0.03, abs=3.5 * np.std(found) / np.sqrt(150))


def test_the_bias_of_standard_normal_features_has_a_closed_form():
    assert expected_bias(np.eye(64), 1000) == pytest.approx(64 / 1000 + 64 * 65 / 4000)
    assert expected_bias(np.eye(64), 1000, 1000) == pytest.approx(2 * expected_bias(np.eye(64), 1000))


CASES = {
    "nothing differs": (8, 100, 0.0, 1.0, False),
    "nearly nothing differs": (16, 100, 0.1, 1.0, True),
    "the mean differs": (8, 60, 1.0, 1.0, True),
    "the deviations differ": (16, 60, 0.3, 1.5, True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_interval_covers(case):
    width, count, shift, ratio, given = CASES[case]
    generator = np.random.default_rng(sum(map(ord, case)))
    real = exactly(np.zeros(width), np.sqrt(shares(width)))
    fake = exactly(shift * np.sqrt(shares(width)), ratio * np.sqrt(shares(width)))
    truth, found = frechet_distance(fake, real), []
    for trial in range(200):
        reals = real if given else normal(generator, count, real)
        found.append(frechet_score(normal(generator, count, fake), reals, seed=trial))
    raw, values = np.array([one.raw for one in found]), np.array([one.debiased for one in found])
    assert 0.9 <= np.mean((values[:, 1] <= truth) & (truth <= values[:, 2])) <= 0.99
    error = values[:, 0].std() / np.sqrt(200)
    assert values[:, 0].mean() == pytest.approx(truth, abs=4 * error)
    assert (raw > values[:, 0]).all()


def test_with_three_samples_for_each_feature_the_jackknife_alone_is_not_enough():
    generator, exact = np.random.default_rng(0), exactly(np.zeros(32), np.ones(32))
    draws = [normal(generator, 96, exact) for _ in range(100)]
    alone = np.array([_jackknife([draw], [exact]).debiased for draw in draws])
    found = np.array([frechet_score(draw, exact).debiased.value for draw in draws])
    error = found.std() / np.sqrt(100)
    assert found.mean() == pytest.approx(0, abs=4 * error)
    assert alone.mean() < -6 * error


def test_a_smaller_confidence_makes_a_shorter_interval_around_the_same_value():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 40, 4))
    wide, narrow = frechet_score(first, second), frechet_score(first, second, confidence=0.5)
    assert narrow.raw == wide.raw == pytest.approx(frechet_distance_of_few(first, second))
    assert wide.debiased.low < narrow.debiased.low < narrow.debiased.value == wide.debiased.value
    assert narrow.debiased.high < wide.debiased.high


def test_features_that_never_change_change_nothing():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 60, 3))
    more = [np.concatenate([side, np.ones((60, 2))], 1) for side in (first, second)]
    found, expected = frechet_score(*more), frechet_score(first, second)
    assert [found.raw, *found.debiased] == pytest.approx([expected.raw, *expected.debiased], rel=1e-6)


def test_a_generator_of_one_picture_is_at_the_distance_of_a_point():
    reals = np.random.default_rng(0).normal(size=(50, 3))
    exact = statistics(reals)
    found = frechet_score(np.full((50, 3), 2.0), exact)
    assert found.raw == pytest.approx(((exact.mean - 2) ** 2).sum() + np.trace(exact.covariance))
    assert found.debiased == pytest.approx((found.raw, found.raw, found.raw))


def test_too_few_samples_and_bad_features_are_an_error():
    features = np.random.default_rng(0).normal(size=(11, 4))
    with pytest.raises(UserError, match="features of width 4 needs 12 samples or more, and there are 11"):
        frechet_score(features, features)
    with pytest.raises(UserError, match="needs 2 samples or more, and there are 1"):
        frechet_distance_of_few(features[:1], features)
    with pytest.raises(UserError, match="width 4 cannot be compared with features of width 3"):
        frechet_score(np.ones((20, 4)), np.ones((20, 3)))
    with pytest.raises(UserError, match="width 4 cannot be compared with features of width 3"):
        frechet_distance(statistics(features), statistics(features[:, :3]))
    with pytest.raises(UserError, match="20 of 20 samples have values that are not finite"):
        frechet_score(np.full((20, 4), np.nan), features)
