"""Kernel distance: closed forms, the U-statistic in float64, and an interval that holds the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.errors import UserError
from jaxgan.metrics.kid import kernel_distance, subset_kernel_distances


def slow_distance(first, second):
    """The definition, in float64."""

    def kernel(rows, columns):
        return (rows @ columns.T / rows.shape[1] + 1) ** 3

    def others(table):
        return (table.sum() - np.trace(table)) / (len(table) * (len(table) - 1))

    return others(kernel(first, first)) + others(kernel(second, second)) - 2 * kernel(first, second).mean()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), mean=st.sampled_from([0.0, 1.0, 20.0]), shift=st.sampled_from([0.0, 0.01, 1.0]))
def test_it_is_the_u_statistic_in_float64(seed, mean, shift):
    """A mean far from 0 makes kernels large; the digits of their difference must not be lost to that."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(mean, 1, (20, 6)), generator.normal(mean + shift, 1.2, (31, 6))
    typical = kernel_distance(first, second)
    error = 1e-6 * max(abs(typical.value), typical.high - typical.low)
    assert typical.value == pytest.approx(slow_distance(first, second), abs=error)


def moments(values):
    return np.array([np.mean(values**power) for power in (1, 2, 3)])


def test_on_a_line_it_is_a_difference_of_three_moments():
    """(x y + 1)^3 = 1 + 3 x y + 3 x^2 y^2 + x^3 y^3."""
    generator, weights = np.random.default_rng(0), np.array([3, 3, 1])
    first, second = generator.normal(0, 1, 40), generator.normal(0.5, 1.5, 40)

    def others(values):
        squares = moments(values**2)
        return (40 * moments(values) ** 2 - squares) / 39

    expected = weights @ (others(first) + others(second) - 2 * moments(first) * moments(second))
    assert kernel_distance(first[:, None], second[:, None]).value == pytest.approx(expected, rel=1e-5)


def normal_distance(mean, deviation, width):
    """Between N(0, 1) and N(mean, deviation^2) in each of `width` directions: E (1 + z)^3 for z = x.y / width."""

    def kernel(square, variance, third):
        return 1 + 3 * square + 3 * (variance + square**2) + square**3 + 3 * square * variance + third

    real = kernel(0, 1 / width, 0)
    across = kernel(0, (mean**2 + deviation**2) / width, 0)
    spread = (2 * mean**2 * deviation**2 + deviation**4) / width
    fake = kernel(mean**2, spread, 6 * mean**2 * deviation**4 / width**2)
    return real + fake - 2 * across


CASES = {"nothing differs": (0.0, 1.0), "mean and deviation differ": (0.3, 1.2)}


@pytest.mark.parametrize("case", CASES)
def test_the_interval_covers_the_closed_form(case):
    mean, deviation = CASES[case]
    sides = np.random.default_rng(len(case)).normal(size=(2, 200, 100, 8))
    truth = normal_distance(mean, deviation, 8)
    found = np.array([kernel_distance(mean + deviation * fake, real) for fake, real in zip(*sides, strict=True)])
    assert 0.9 <= np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) <= 0.99
    assert found[:, 0].mean() == pytest.approx(truth, abs=4 * found[:, 0].std() / np.sqrt(200))


def test_turns_and_sides_do_not_matter():
    generator = np.random.default_rng(0)
    first, second = generator.normal(1, 1, (20, 6)), generator.normal(1.3, 1, (31, 6))
    axes = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    found = kernel_distance(first, second)
    assert kernel_distance(second, first) == pytest.approx(found, rel=1e-4)
    assert kernel_distance(first @ axes, second @ axes) == pytest.approx(found, rel=1e-4)


def test_subsets_are_seeded_and_their_mean_is_near_the_distance_of_all():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, (60, 3)), generator.normal(0.5, 1, (60, 3))
    found = subset_kernel_distances(first, second, 40, 20, seed=3)
    np.testing.assert_array_equal(found, subset_kernel_distances(first, second, 40, 20, seed=3))
    assert found.mean() == pytest.approx(kernel_distance(first, second).value, abs=4 * found.std() / np.sqrt(40))
    whole = subset_kernel_distances(first, second, 3, 60)  # every subset is all there is, and so they agree
    np.testing.assert_allclose(whole, slow_distance(first, second), rtol=1e-5)


def test_bad_input_is_an_error():
    features = np.ones((30, 3))
    with pytest.raises(UserError, match="subsets of 1000 needs 1000 samples or more, and there are 30"):
        subset_kernel_distances(features, features)
    with pytest.raises(UserError, match="0 subsets of 10"):
        subset_kernel_distances(features, features, 0, 10)
    with pytest.raises(UserError, match="needs 2 samples or more, and there are 1"):
        kernel_distance(features, features[:1])
    with pytest.raises(UserError, match="width 3 cannot be compared with features of width 2"):
        kernel_distance(features, features[:, :2])
    with pytest.raises(UserError, match="30 of 30 samples have values that are not finite"):
        kernel_distance(features, features * np.inf)
