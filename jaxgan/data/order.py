"""Which examples make batch t: a pure function, so that a run's place in its data is its step and nothing else."""

import functools

import numpy as np


@functools.lru_cache(maxsize=2)  # a batch touches at most two epochs, unless it is larger than the data set
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """A permutation of the examples: int64 [N].

    It sorts raw bits of a counter-based generator, since NumPy promises that those never change.
    """
    bits = np.random.Philox(key=[seed, epoch]).random_raw(num_examples)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False
    return order


def batch_indices(seed: int, batch: int, batch_size: int, num_examples: int) -> np.ndarray:
    """The examples of one batch: int32 [batch_size].

    The batches laid end to end are the epochs laid end to end, each a new order of all examples: a batch may reach into
    the next epoch, and no example is ever left out.
    """
    positions = np.arange(batch * batch_size, (batch + 1) * batch_size)
    epochs, places = np.divmod(positions, num_examples)
    indices = np.empty(batch_size, np.int32)
    for epoch in range(epochs[0], epochs[-1] + 1):
        here = epochs == epoch
        indices[here] = epoch_order(seed, epoch, num_examples)[places[here]]
    return indices
