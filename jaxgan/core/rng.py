"""Randomness that belongs to (seed, step, use, example), so that no batch size, device or process can change it."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32


def stream_key(
    seed: int | UInt32[Array, ""], step: int | Int[Array, ""], use: str, repeat: int | Int[Array, ""] = 0
) -> Key[Array, ""]:
    """The key of one use ("latents", "targets", ...) in one step.

    Args:
        seed: the run's seed.
        step: the training step.
        use: what the numbers are for; different uses are independent.
        repeat: counts the times that one step draws for the same use.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(use.encode())), repeat)


def example_keys(key: Key[Array, ""], examples: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key for each example, by its index in the global batch."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, examples)


def global_indices(local_batch: int, axis_name: str | None = None) -> Int[Array, " batch"]:
    """The indices in the global batch of the examples that this device holds."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * local_batch
    return first + jnp.arange(local_batch)


def normal(keys: Key[Array, " batch"], shape: tuple[int, ...]) -> Float[Array, "batch *shape"]:
    """Standard normal numbers, an array of that shape for each example."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def sample_latents(
    key: Key[Array, ""], examples: Int[Array, " batch"], latent_dim: int, truncation: float | None = None
) -> Float[Array, "batch latent"]:
    """Standard normal latents, one row per example; with a truncation, from the part of the normal within +-truncation.

    References:
        Brock et al., Large Scale GAN Training, 2019, section 3.1 (the truncation trick). https://arxiv.org/abs/1809.11096
    """

    def draw(example_key: Key[Array, ""]) -> Float[Array, " latent"]:
        if truncation is None:
            return jax.random.normal(example_key, (latent_dim,))
        return jax.random.truncated_normal(example_key, -truncation, truncation, (latent_dim,))

    return jax.vmap(draw)(example_keys(key, examples))
