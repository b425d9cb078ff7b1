"""Latent vectors: drawn, truncated, interpolated."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxgan.core.rng import example_keys, stream_key

Latents = Float[Array, "batch latent"]


def sample_latents(
    key: Key[Array, ""],
    indices: Int[Array, " batch"],
    latent_dim: int,
    truncation: float | Float[Array, ""] | None = None,
) -> Latents:
    """Standard normal latents, one row per example; with a truncation, from the part of the normal within +-truncation.

    References:
        Brock et al., Large Scale GAN Training, 2019, section 3.1 (the truncation trick). https://arxiv.org/abs/1809.11096
    """

    def draw(example_key: Key[Array, ""]) -> Float[Array, " latent"]:
        if truncation is None:
            return jax.random.normal(example_key, (latent_dim,))
        return jax.random.truncated_normal(example_key, -truncation, truncation, (latent_dim,))

    return jax.vmap(draw)(example_keys(key, indices))


def latents_of(
    seeds: UInt32[Array, " batch"],
    indices: Int[Array, " batch"],
    latent_dim: int,
    truncation: Float[Array, " batch"] | None = None,
) -> Latents:
    """The latents of samples, each a function of its own seed and index; truncated where that is given."""

    def of(seed: Array, index: Array, truncation: Array | None) -> Array:
        return sample_latents(stream_key(seed, 0, "sample"), index[None], latent_dim, truncation)[0]

    return jax.vmap(of)(seeds, indices, truncation)


def latents_between(
    seeds: UInt32[Array, " batch"], indices: Int[Array, " batch"], latent_dim: int, options: Mapping[str, Array]
) -> Latents:
    """The latents of samples, or of a walk on the great circle to those of other seeds.

    Args:
        seeds, indices, latent_dim: as in `latents_of`.
        options: of each example, those that are given of "truncation", "end_seed" and "fraction", of the way.
    """
    start = latents_of(seeds, indices, latent_dim, options.get("truncation"))
    if "end_seed" not in options:
        return start
    end = latents_of(options["end_seed"], indices, latent_dim, options.get("truncation"))
    return slerp(start, end, options["fraction"])


def slerp(start: Latents, end: Latents, fraction: Float[Array, " batch"] | float) -> Latents:
    """Points on the great circles from the rows of `start` to those of `end`, at a fraction of the way.

    Between normal latents a straight line passes through points that are too near to the origin.

    References:
        White, Sampling Generative Networks, 2016, section 2.1. https://arxiv.org/abs/1609.04468
    """
    fraction = jnp.broadcast_to(fraction, start.shape[:1])[:, None]
    norms = jnp.linalg.norm(start, axis=1) * jnp.linalg.norm(end, axis=1)
    cosine = jnp.clip((start * end).sum(1) / jnp.maximum(norms, 1e-12), -1, 1)
    angle = jnp.arccos(cosine)[:, None]
    degenerate = jnp.sin(angle) < 1e-3  # float32 knows no better; no circle is defined there, and a straight line does
    sine = jnp.where(degenerate, 1, jnp.sin(angle))
    first = jnp.where(degenerate, 1 - fraction, jnp.sin((1 - fraction) * angle) / sine)
    second = jnp.where(degenerate, fraction, jnp.sin(fraction * angle) / sine)
    return first * start + second * end
