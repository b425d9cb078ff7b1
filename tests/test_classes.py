"""Scores by labels: closed forms, the published floors of Stacked MNIST, and intervals that hold the truth."""

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.classes import accuracy, confusion, mode_coverage, modes_found
from jaxgan.metrics.mixtures import mean_xlogx, perfect_scores

# How many of each digit MNIST's training set has.
MNIST = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]) / 60_000


def stacked():
    """Shares of the 1,000 triples of digits."""
    return np.einsum("a,b,c->abc", MNIST, MNIST, MNIST).ravel()


def test_accuracy_is_the_share_of_the_diagonal():
    generator = np.random.default_rng(0)
    asked = generator.integers(0, 4, 300)
    predicted = np.where(generator.uniform(size=300) < 0.7, asked, generator.integers(0, 4, 300))
    table, found = confusion(predicted, asked, 4), accuracy(predicted, asked)
    assert table.sum() == 300
    np.testing.assert_array_equal(table.sum(1), np.bincount(asked))
    np.testing.assert_array_equal(table.sum(0), np.bincount(predicted))
    assert found.value == np.trace(table) / 300
    assert found.low < 0.7 + 0.3 / 4 < found.high


def test_rows_of_the_table_are_what_was_asked_for():
    np.testing.assert_array_equal(
        confusion(np.array([1, 1, 2]), np.array([0, 0, 2]), 3), [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
    )


@pytest.mark.parametrize(("count", "floor"), [(25_600, 0.0196), (26_000, 0.0193)])
def test_stacked_mnist_has_its_published_floor(count, floor):
    """Published, rounded over both counts: .0195."""
    found = mode_coverage(np.arange(count) % 1000, 1000)
    assert found.modes == (1000, pytest.approx(1000, abs=0.01), 1000)
    assert found.floor == pytest.approx(floor, abs=5e-5)
    assert found.floor == pytest.approx(perfect_scores(1000, 2, count)["reverse_kl"], rel=1e-9)


def test_with_the_digits_of_mnist_the_floor_is_the_other_published_one():
    assert mode_coverage(np.arange(26_000) % 1000, 1000, stacked()).floor == pytest.approx(0.0236, abs=5e-5)


@pytest.mark.parametrize("shares", [None, np.array([0.5, 0.25, 0.125, 0.125])])
def test_the_floor_is_the_mean_of_a_perfect_sampler(shares):
    generator = np.random.default_rng(0)
    found = [mode_coverage(generator.choice(4, 30, p=shares), 4, shares) for _ in range(400)]
    values = np.array([scores.kl for scores in found])
    assert values.mean() == pytest.approx(found[0].floor, abs=4 * values.std() / 20)


def test_shares_by_hand():
    found = mode_coverage(np.array([0, 0, 0, 2]), 4)
    assert found.modes.value == 2
    assert found.kl == pytest.approx(0.75 * np.log(3) + 0.25 * np.log(1))
    assert mode_coverage(np.full(50, 7), 1000).kl == pytest.approx(np.log(1000))
    assert mode_coverage(np.arange(50), 50).kl == pytest.approx(0, abs=1e-12)


def test_the_jackknife_leaves_out_every_sample():
    labels = np.random.default_rng(0).geometric(0.3, 40) - 1
    found = mode_coverage(labels, 20)
    left_out = np.mean([mode_coverage(np.delete(labels, index), 20).kl for index in range(40)])
    assert found.debiased.value == pytest.approx(40 * found.kl - 39 * left_out)


ZIPF = 1 / np.arange(1, 51)
CASES = {
    "uniform": (np.ones(25), 250),
    "eight modes": (np.ones(8), 100),
    "half of the modes": (np.arange(50) % 2, 1000),
    "zipf": (ZIPF, 1000),
}


@pytest.mark.parametrize("case", CASES)
def test_the_interval_covers(case):
    weights, count = CASES[case]
    shares, modes = weights / weights.sum(), len(weights)
    truth = sum(share * np.log(share * modes) for share in shares if share)
    generator = np.random.default_rng(len(case))
    found = np.array([mode_coverage(generator.choice(modes, count, p=shares), modes).debiased for _ in range(200)])
    assert 0.9 <= np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) <= 0.99
    assert found[:, 0].mean() == pytest.approx(truth, abs=4 * found[:, 0].std() / np.sqrt(200))


RARE = np.where(np.arange(1000) < 5, 0.02, 1)
FOUND = {
    "even, two samples for each": (np.ones(1000), 2000),
    "even, five samples for each": (np.ones(1000), 5000),
    "zipf": (1 / np.arange(1, 1001), 10_000),
    "a tenth of the modes is common": (np.where(np.arange(100) < 10, 1, 0.01), 2600),
    "five rare modes": (RARE, 26_000),
}


@pytest.mark.parametrize("case", FOUND)
def test_the_interval_of_modes_covers_what_others_find(case):
    """As many samples find a mode of share p unless all miss it: with the chance 1 - (1 - p)^N."""
    weights, count = FOUND[case]
    shares = weights / weights.sum()
    expected = (1 - (1 - shares) ** count).sum()
    generator = np.random.default_rng(len(case))
    found = [modes_found(generator.multinomial(count, shares), count) for _ in range(200)]
    assert 0.9 <= np.mean([low <= expected <= high for _, low, high in found]) <= 0.99
    assert all(0 <= low <= value <= high <= len(shares) for value, low, high in found)


def test_modes_with_many_samples_are_certain_and_dead_ones_nearly():
    assert modes_found(np.full(10, 1000), 10_000) == (10, pytest.approx(10, abs=1e-9), 10)
    value, low, high = modes_found(np.where(np.arange(10) < 2, 5000, 0), 10_000)
    assert (value, low) == (2, pytest.approx(2, abs=1e-9))
    assert 2 < high < 4  # others may come, but hardly more than such a rarity's few
    assert modes_found(np.zeros(25, int), 100)[:2] == (0, 0)


def test_samples_of_no_mode_are_samples():
    """Twenty samples in as many modes find twenty each time, but not if they are those of a thousand that are good."""
    counts = np.repeat([1, 0], 20)
    assert modes_found(counts, 20).low > 18 > modes_found(counts, 1000).low


def test_the_mean_of_x_log_x_has_its_ends():
    assert mean_xlogx(0.3, 1) == 0  # a share of 0 or 1
    assert mean_xlogx(0.0, 50) == mean_xlogx(1.0, 50) == pytest.approx(0, abs=1e-12)
    assert mean_xlogx(0.3, 100_000) == pytest.approx(0.3 * np.log(0.3), rel=1e-4)


def test_bad_labels_are_an_error():
    with pytest.raises(UserError, match="label 5 is not among 5 classes: labels go from 0 to 4"):
        mode_coverage(np.array([0, 5]), 5)
    with pytest.raises(UserError, match="label -1 is not among 5 classes"):
        confusion(np.array([0, -1]), np.array([0, 1]), 5)
    with pytest.raises(UserError, match="2 labels and 3 asked for"):
        accuracy(np.array([0, 1]), np.array([0, 1, 1]))
    with pytest.raises(UserError, match="a divergence needs 2 samples or more, and there are 1"):
        mode_coverage(np.array([0]), 5)
