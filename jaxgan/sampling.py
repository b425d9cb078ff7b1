"""From seeds and labels to images: latents, conditions, truncation, interpolation."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from jaxgan.adversarial.conditioning import Condition, code
from jaxgan.core import devices, rng
from jaxgan.core.experiment import GAN
from jaxgan.core.state import Variables, apply
from jaxgan.data.loader import to_pixels
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError

Latents = Float[Array, "batch latent"]
BATCH = 64
MOST = 2**31 - 1  # that have indices


def check_count(count: int, config: ConfigDict) -> None:
    """Raises a `UserError` if so many examples and their latents, as floats, do not fit into memory."""
    each = 4 * (config.latent_dim + math.prod(example_shape(config.data)))
    most = min(devices.device_memory() // each, MOST)
    if count > most:
        raise UserError(f"--num={count} should be at most {most}, which memory could hold")


def latents(seed: int, count: int, latent_dim: int, truncation: float | None = None) -> Latents:
    """The latents of images 0 to `count` - 1: each depends on the seed and its index alone."""
    return rng.sample_latents(rng.stream_key(seed, 0, "sample"), jnp.arange(count), latent_dim, truncation)


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
    degenerate = jnp.sin(angle) < 1e-3  # float32 knows no better; no circle is defined there, and a straight line does
    sine = jnp.where(degenerate, 1, jnp.sin(angle))
    first = jnp.where(degenerate, 1 - share, jnp.sin((1 - share) * angle) / sine)
    second = jnp.where(degenerate, share, jnp.sin(share * angle) / sine)
    return first * start + second * end


def choices(exp: GAN) -> int:
    """How many things the generator can be asked to draw: classes, or categories of a latent code; 0 for none."""
    return exp.classes or (exp.config.conditioning.categories if exp.condition_size else 0)


def mixed_labels(exp: GAN, count: int) -> np.ndarray | None:
    """Labels for so many images when none are asked for: 0, 1, 2, ..., and again; None where there are none."""
    return np.arange(count, dtype=np.int32) % choices(exp) if choices(exp) else None


def conditions(exp: GAN, seed: int, count: int, labels: np.ndarray | None) -> Condition:
    """The conditions of images 0 to `count` - 1, None for a generator that has none.

    Args:
        exp: the experiment.
        seed: of the numbers in a latent code: each depends on it and on the image's index alone.
        count: of the images.
        labels: int32 [count], of classes or of a latent code's categories.
    """
    if exp.classes:
        return jax.nn.one_hot(labels, exp.classes)
    if not exp.condition_size:
        return None
    own = rng.example_keys(rng.stream_key(seed, 0, "sample codes"), jnp.arange(count))
    labels = jnp.zeros(count, jnp.int32) if labels is None else jnp.asarray(labels)
    sides = exp.config.conditioning
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


def draw(exp: GAN, variables: Variables, seed: int, count: int, labels: np.ndarray | None) -> np.ndarray:
    """The first `count` images, or points, of a seed, as a generator of those variables draws them.

    Args:
        exp: the experiment.
        variables: of its generator.
        seed, count: of the images.
        labels: that are asked for: `mixed_labels`, say.
    """
    points = latents(seed, count, exp.config.latent_dim)
    return generate(exp.networks["generator"], variables, points, conditions(exp, seed, count, labels))
