"""Intervals: closed forms, ends, and how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxgan.errors import UserError
from jaxgan.metrics.intervals import delta_interval, of_blocks, share_of_blocks, wilson


@given(count=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.95, 0.999]))
def test_wilsons_interval_is_scipys(count, share, confidence):
    successes = round(share * count)
    expected = stats.binomtest(successes, count).proportion_ci(confidence, "wilson")
    found = wilson(successes, count, confidence)
    assert found == pytest.approx((successes / count, expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_wilsons_interval_covers(share):
    """Exactly: by the probability of each number of successes."""
    hits = [wilson(successes, 100).low <= share <= wilson(successes, 100).high for successes in range(101)]
    assert 0.93 < stats.binom(100, share).pmf(np.arange(101)) @ hits < 0.98


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (3, 2), (-1, 4)])
def test_a_share_is_of_trials(successes, count):
    with pytest.raises(UserError, match=f"{successes} successes in {count} trials"):
        wilson(successes, count)


def test_of_blocks_is_students():
    blocks = np.array([1.0, 2.0, 4.0, 7.0])
    expected = stats.t(3, loc=5, scale=blocks.std(ddof=1) / 2).interval(0.9)
    assert of_blocks(5.0, blocks, 0.9) == pytest.approx((5, *expected))


def test_a_share_of_blocks_is_as_long_as_students_in_the_middle_and_stays_inside_at_the_ends():
    blocks = 0.5 + np.array([-0.03, 0.01, 0.02, -0.02, 0.02])
    free, bound = of_blocks(0.5, blocks), share_of_blocks(0.5, 100_000, blocks)
    assert bound.high - bound.low == pytest.approx(free.high - free.low, rel=0.01)
    near = share_of_blocks(0.99, 1000, np.array([1.0, 1.0, 0.9, 1.0, 1.0]))
    assert of_blocks(0.99, np.array([1.0, 1.0, 0.9, 1.0, 1.0])).high > 1
    assert 0.5 < near.low < 0.95 < near.high < 1


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_blocks_that_agree_leave_wilsons_interval(share):
    assert share_of_blocks(share, 50, np.full(5, share)) == pytest.approx(wilson(50 * share, 50))


def test_the_quadratic_part_is_counted_once_and_a_half():
    """Without a linear part `influence` is twice `quadratic`; without a quadratic one it is all."""
    z = stats.norm.ppf(0.975)
    assert delta_interval(1.0, 8.0, 4.0).high == pytest.approx(1 + z * np.sqrt(6))
    assert delta_interval(1.0, 4.0, 0.0) == pytest.approx((1, 1 - 2 * z, 1 + 2 * z))
    # What cannot be is a chance, and still has a length.
    assert delta_interval(1.0, 0.0, 2.0).low == pytest.approx(1 - z)
