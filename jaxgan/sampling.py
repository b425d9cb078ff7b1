"""From seeds to images: latents, truncation, interpolation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgan import keys
from jaxgan.data.pipeline import to_pixels
from jaxgan.state import Variables, apply

Latents = Float[Array, "batch latent"]
BATCH = 64


def latents(seed: int, count: int, latent_dim: int, truncation: float | None = None) -> Latents:
    """The latents of images 0 to `count` - 1: each depends on the seed and its index alone."""
    return keys.draw_latents(keys.use_key(seed, 0, "sample"), jnp.arange(count), latent_dim, truncation)


def interpolate(start: Latents, end: Latents, share: Float[Array, " batch"] | float) -> Latents:
    """Points on the great circles from the rows of `start` to those of `end`, at a share of the way.

    Between normal latents a straight line passes through points that are too near to the origin.

    References:
        White, Sampling Generative Networks, 2016, section 2.1. https://arxiv.org/abs/1609.04468
    """
    share = jnp.broadcast_to(share, start.shape[:1])[:, None]
    norms = jnp.linalg.norm(start, axis=1) * jnp.linalg.norm(end, axis=1)
    cosine = jnp.clip((start * end).sum(1) / jnp.maximum(norms, 1e-12), -1, 1)
    angle = jnp.arccos(cosine)[:, None]
    parallel = jnp.sin(angle) < 1e-3  # float32 knows no better; no circle is defined there, and a straight line does
    sine = jnp.where(parallel, 1, jnp.sin(angle))
    first = jnp.where(parallel, 1 - share, jnp.sin((1 - share) * angle) / sine)
    second = jnp.where(parallel, share, jnp.sin(share * angle) / sine)
    return first * start + second * end


@functools.partial(jax.jit, static_argnums=0)
def _pixels(generator: nn.Module, variables: Variables, batch: Latents) -> Array:
    return to_pixels(apply(generator, variables, batch, train=False)[0])


def generate(generator: nn.Module, variables: Variables, points: Latents) -> np.ndarray:
    """Images of latents: uint8 [N, H, W, C], made `BATCH` at a time, the last batch filled up.

    Always the same batch: another shape may be computed in another order, and image i would depend on N by a bit.
    """
    count = len(points)
    filled = jnp.pad(points, ((0, -count % BATCH), (0, 0)))
    batches = [_pixels(generator, variables, part) for part in jnp.split(filled, len(filled) // BATCH)]
    return np.concatenate([np.asarray(batch) for batch in batches])[:count]
