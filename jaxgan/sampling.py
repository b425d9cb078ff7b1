"""From seeds and labels to images: latents, conditions, truncation, interpolation."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from jaxgan import keys, parallel
from jaxgan.data.pipeline import to_pixels
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError
from jaxgan.experiment import GAN
from jaxgan.models.conditioning import Condition, code
from jaxgan.state import Variables, apply

Latents = Float[Array, "batch latent"]
BATCH = 64
MOST = 2**31 - 1  # that have indices


def check_count(count: int, config: ConfigDict) -> None:
    """Raises a `UserError` if so many examples and their latents, as floats, do not fit into memory."""
    each = 4 * (config.latent_dim + math.prod(example_shape(config.data)))
    most = min(parallel.memory() // each, MOST)
    if count > most:
        raise UserError(f"--num={count} should be at most {most}, which memory could hold")


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


def choices(gan: GAN) -> int:
    """How many things the generator can be asked to draw: classes, or categories of a latent code; 0 for none."""
    return gan.classes or (gan.config.conditioning.categories if gan.condition_size else 0)


def mixed_labels(gan: GAN, count: int) -> np.ndarray | None:
    """Labels for so many images when none are asked for: 0, 1, 2, ..., and again; None where there are none."""
    return np.arange(count, dtype=np.int32) % choices(gan) if choices(gan) else None


def conditions(gan: GAN, seed: int, count: int, labels: np.ndarray | None) -> Condition:
    """The conditions of images 0 to `count` - 1, None for a generator that has none.

    Args:
        gan: the experiment.
        seed: of the numbers in a latent code: each depends on it and on the image's index alone.
        count: of the images.
        labels: int32 [count], of classes or of a latent code's categories.
    """
    if gan.classes:
        return jax.nn.one_hot(labels, gan.classes)
    if not gan.condition_size:
        return None
    own = keys.example_keys(keys.use_key(seed, 0, "sample codes"), jnp.arange(count))
    labels = jnp.zeros(count, jnp.int32) if labels is None else jnp.asarray(labels)
    sides = gan.config.conditioning
    return jax.vmap(lambda key, label: code(key, sides.categories, sides.continuous, label))(own, labels)


@functools.partial(jax.jit, static_argnums=0)
def _drawn(generator: nn.Module, variables: Variables, latents: Latents, condition: Condition) -> Array:
    examples = apply(generator, variables, latents, condition, train=False)[0]
    return to_pixels(examples) if examples.ndim == 4 else examples


def generate(generator: nn.Module, variables: Variables, points: Latents, condition: Condition = None) -> np.ndarray:
    """Images of latents, uint8 [N, H, W, C], or points of a world, float32 [N, D].

    They are made `BATCH` at a time, the last batch filled up, always the same batch: another shape may be computed in
    another order, and image i would depend on N by a bit.
    """
    count = len(points)
    batches = []
    for start in range(0, count, BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), count - 1)
        batches.append(_drawn(generator, variables, *jax.tree.map(lambda x, rows=rows: x[rows], (points, condition))))
    return np.concatenate([np.asarray(batch) for batch in batches])[:count]


def draw(gan: GAN, variables: Variables, seed: int, count: int, labels: np.ndarray | None) -> np.ndarray:
    """The first `count` images, or points, of a seed, as a generator of those variables draws them.

    Args:
        gan: the experiment.
        variables: of its generator.
        seed, count: of the images.
        labels: that are asked for: `mixed_labels`, say.
    """
    points = latents(seed, count, gan.config.latent_dim)
    return generate(gan.networks["generator"], variables, points, conditions(gan, seed, count, labels))
