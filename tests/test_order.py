"""Which examples make batch t: every example once per epoch, whatever the batch size, and a pure function of t."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.data.order import batch_indices, epoch_order

law = settings(deadline=None, max_examples=60, derandomize=True)
SIZES = {"examples": st.integers(1, 40), "batch_size": st.integers(1, 50), "seed": st.integers(0, 2**32 - 1)}


@law
@given(**SIZES, epochs=st.integers(1, 3))
def test_each_example_once_per_epoch(examples, batch_size, seed, epochs):
    count = -(-epochs * examples // batch_size)
    stream = np.concatenate([batch_indices(seed, t, batch_size, examples) for t in range(count)])
    for epoch in range(epochs):
        np.testing.assert_array_equal(np.sort(stream[epoch * examples : (epoch + 1) * examples]), np.arange(examples))


@law
@given(**SIZES, batches=st.lists(st.integers(0, 30), min_size=2, max_size=5))
def test_a_batch_depends_on_nothing_that_was_read_before(examples, batch_size, seed, batches):
    stream = [batch_indices(seed, t, batch_size, examples) for t in range(max(batches) + 1)]
    for t in batches:
        epoch_order.cache_clear()
        indices = batch_indices(seed, t, batch_size, examples)
        np.testing.assert_array_equal(indices, stream[t])
        assert (indices.dtype, indices.shape) == (np.int32, (batch_size,))


@law
@given(**SIZES)
def test_the_batch_size_does_not_change_the_stream(examples, batch_size, seed):
    in_batches = np.concatenate([batch_indices(seed, t, batch_size, examples) for t in range(3)])
    np.testing.assert_array_equal(in_batches, batch_indices(seed, 0, 3 * batch_size, examples))


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = {tuple(epoch_order(seed, epoch, 50)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_every_place_is_equally_likely():
    """Example 0 over 4,000 epochs: each of 8 places in an eighth of them (chi-squared, 7 degrees of freedom)."""
    places = [int(np.flatnonzero(epoch_order(0, epoch, 8) == 0)[0]) for epoch in range(4000)]
    counts = np.bincount(places, minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # the 0.999 quantile


def test_an_order_is_shared_and_cannot_be_spoilt():
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(0, 0, 8)[0] = 1
