"""Randomness that belongs to (seed, step, stream, example), so that no batch size, device or process can change it."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32


def stream_key(
    seed: int | UInt32[Array, ""], step: int | Int[Array, ""], stream: str, index: int | Int[Array, ""] = 0
) -> Key[Array, ""]:
    """The key of one stream of random numbers ("latents", "targets", ...) in one step.

    Args:
        seed: the run's seed.
        step: the training step.
        stream: what the numbers are for; different streams are independent.
        index: counts the times that one step draws from the same stream.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(stream.encode())), index)


def example_keys(key: Key[Array, ""], indices: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key for each example, by its index in the global batch."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def global_indices(local_batch: int, axis_name: str | None = None) -> Int[Array, " batch"]:
    """The indices in the global batch of the examples that this device holds."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * local_batch
    return first + jnp.arange(local_batch)


def normal(keys: Key[Array, " batch"], shape: tuple[int, ...]) -> Float[Array, "batch *shape"]:
    """Standard normal numbers, an array of that shape for each example."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
