"""Which examples make batch t: every example once per epoch, whatever the batch size, and a pure function of t."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.data import order
from jaxgan.data.order import batch_indices, shuffle

law = settings(deadline=None, max_examples=60, derandomize=True)
SIZES = {"examples": st.integers(1, 40), "batch_size": st.integers(1, 50), "seed": st.integers(0, 2**32 - 1)}
MOST = 2**31 - 1  # examples that int32 can count


def epoch_orders(seed: int, epochs: int, num_examples: int) -> np.ndarray:
    """The orders of the first epochs: [epochs, num_examples]."""
    places = np.divmod(np.arange(epochs * num_examples), num_examples)
    return shuffle(seed, *places, num_examples).reshape(epochs, num_examples)


def chi_squared(counts) -> float:
    """Of counts that must be equal; its mean is one less than there are of them."""
    return float(((counts - np.mean(counts)) ** 2 / np.mean(counts)).sum())


@law
@given(**SIZES, epochs=st.integers(1, 3))
def test_each_example_once_per_epoch(examples, batch_size, seed, epochs):
    count = -(-epochs * examples // batch_size)
    stream = np.concatenate([batch_indices(seed, t, batch_size, examples) for t in range(count)])
    for epoch in range(epochs):
        np.testing.assert_array_equal(np.sort(stream[epoch * examples : (epoch + 1) * examples]), np.arange(examples))


@law
@given(examples=st.integers(1, 20_000), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 2**40))
def test_an_epoch_of_any_size_is_a_permutation(examples, seed, epoch):
    found = shuffle(seed, np.full(examples, epoch), np.arange(examples), examples)
    assert (found.dtype, found.shape) == (np.int32, (examples,))
    np.testing.assert_array_equal(np.sort(found), np.arange(examples))


@law
@given(**SIZES, batches=st.lists(st.integers(0, 30), min_size=2, max_size=5))
def test_a_batch_depends_on_nothing_that_was_read_before(examples, batch_size, seed, batches):
    stream = [batch_indices(seed, t, batch_size, examples) for t in range(max(batches) + 1)]
    for t in batches:
        order._block.cache_clear()
        indices = batch_indices(seed, t, batch_size, examples)
        np.testing.assert_array_equal(indices, stream[t])
        assert (indices.dtype, indices.shape) == (np.int32, (batch_size,))


@law
@given(**SIZES)
def test_the_batch_size_does_not_change_the_stream(examples, batch_size, seed):
    in_batches = np.concatenate([batch_indices(seed, t, batch_size, examples) for t in range(3)])
    np.testing.assert_array_equal(in_batches, batch_indices(seed, 0, 3 * batch_size, examples))


@pytest.fixture
def small_blocks(monkeypatch):
    """Hands out a function that changes the size of a block."""

    def change(size: int) -> None:
        monkeypatch.setattr(order, "BLOCK", size)
        order._block.cache_clear()

    yield change
    order._block.cache_clear()  # of blocks of another size


@pytest.mark.parametrize("examples", [5, 11, 4096, 100_000])
def test_a_batch_across_blocks_is_the_small_batches_in_it(examples):
    """Whether a batch lies inside one block, on the border of two, or over several."""
    size = 3 * order.BLOCK + 5
    whole = batch_indices(1, 1, size, examples)
    single = np.concatenate([batch_indices(1, t, 1, examples) for t in range(size, 2 * size)])
    np.testing.assert_array_equal(whole, single)


@pytest.mark.parametrize("block", [1, 2, 7, 64])
def test_the_size_of_the_blocks_does_not_change_the_stream(small_blocks, block):
    expected = [batch_indices(3, t, 10, 13) for t in range(9)]
    small_blocks(block)
    np.testing.assert_array_equal([batch_indices(3, t, 10, 13) for t in range(9)], expected)


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = {tuple(row) for seed in range(5) for row in epoch_orders(seed, 5, 50)}
    assert len(orders) == 25


def test_every_place_is_equally_likely():
    """Example 0 over 4,000 epochs: each of 8 places in an eighth of them (chi-squared, 7 degrees of freedom)."""
    places = np.argwhere(epoch_orders(0, 4000, 8) == 0)[:, 1]
    assert len(places) == 4000
    assert chi_squared(np.bincount(places, minlength=8)) < 24.3  # the 0.999 quantile


@pytest.mark.parametrize(("examples", "bound"), [(2, 10.8), (3, 20.5), (4, 49.7)])  # the 0.999 quantiles
@pytest.mark.parametrize("seed", [0, 1])
def test_every_order_is_equally_likely(examples, bound, seed):
    """All permutations over 24,000 epochs: chi-squared, with one degree of freedom less than there are of them."""
    orders, counts = np.unique(epoch_orders(seed, 24_000, examples), axis=0, return_counts=True)
    assert orders.tolist() == sorted(map(list, itertools.permutations(range(examples))))
    assert chi_squared(counts) < bound


def test_the_next_epoch_does_not_depend_on_this_one():
    """All 36 pairs of orders of three examples, of one epoch and the next (chi-squared, 35 degrees of freedom)."""
    orders = epoch_orders(0, 36_001, 3) @ [9, 3, 1]  # a number of each order's own
    _, counts = np.unique(np.stack([orders[:-1], orders[1:]]), axis=1, return_counts=True)
    assert len(counts) == 36
    assert chi_squared(counts) < 66.6  # the 0.999 quantile


@pytest.mark.parametrize("step", [0, 1, 10**6])
def test_two_thousand_million_examples_take_the_time_and_memory_of_a_few(step):
    order._block.cache_clear()
    tracemalloc.start()
    try:
        indices = batch_indices(0, step, 8192, MOST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(np.unique(indices)) == 8192
    assert 0 <= indices.min() < MOST / 1000
    assert MOST * 0.999 < indices.max() < MOST
    assert peak < 2**22


def test_what_is_done_to_a_batch_changes_no_later_one():
    expected = batch_indices(0, 0, 8, 8).copy()
    batch_indices(0, 0, 8, 8)[:] = -1
    np.testing.assert_array_equal(batch_indices(0, 0, 8, 8), expected)
