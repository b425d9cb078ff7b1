"""Which examples make batch t: a pure function, so that a run's place in its data is its step and nothing else."""

import functools

import numpy as np

ROUNDS = 8  # of the Feistel network; with 6, the orders of three examples are not equally likely
BLOCK = 4096  # places that are worked out together, since NumPy is slow on few


def mix(numbers: np.ndarray) -> np.ndarray:
    """Scrambles the bits of uint64: the finalizer of SplitMix64.

    References:
        Steele et al., Fast Splittable Pseudorandom Number Generators, 2014, figure 16.
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def shuffle(seed: int, epochs: np.ndarray, places: np.ndarray, num_examples: int) -> np.ndarray:
    """The examples at some places of some epochs, where each epoch is a new order of all examples.

    Each example is worked out by itself, so neither time nor memory depends on the number of examples: a Feistel
    network permutes the numbers below a power of four, and is applied again while a number is not an example's.

    Args:
        seed: of the whole run.
        epochs, places: int64 [n]; places from 0 to `num_examples` - 1.
        num_examples: in the data set.

    Returns:
        int32 [n].

    References:
        Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002, section 3. https://doi.org/10.1007/3-540-45760-7_9
    """
    half = np.uint64(max(1, ((num_examples - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    epoch_keys = mix(mix(np.uint64([seed]) + np.uint64(1)) + epochs.astype(np.uint64))
    found, outside = places.astype(np.uint64), np.ones(places.shape, bool)
    while outside.any():
        left, right, key = found[outside] >> half, found[outside] & mask, epoch_keys[outside]
        for _ in range(ROUNDS):
            key = mix(key + np.uint64(0x9E3779B97F4A7C15))
            left, right = right, left ^ (mix(right + key) & mask)
        found[outside] = left << half | right
        outside = found >= num_examples
    return found.astype(np.int32)


@functools.lru_cache(maxsize=1024)  # 16 MiB: each member of a population comes back to its own block
def _block(seed: int, block: int, num_examples: int) -> np.ndarray:
    positions = np.arange(block * BLOCK, (block + 1) * BLOCK)
    return shuffle(seed, *np.divmod(positions, num_examples), num_examples)


def batch_indices(seed: int, batch: int, batch_size: int, num_examples: int) -> np.ndarray:
    """The examples of one batch: int32 [batch_size].

    The batches laid end to end are the epochs laid end to end: a batch may reach into the next epoch, and no example is
    ever left out.
    """
    start, stop = batch * batch_size, (batch + 1) * batch_size
    first, last = start // BLOCK, (stop - 1) // BLOCK
    blocks = np.concatenate([_block(seed, block, num_examples) for block in range(first, last + 1)])
    return blocks[start - first * BLOCK : stop - first * BLOCK]
