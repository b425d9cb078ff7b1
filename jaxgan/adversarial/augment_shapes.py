"""Differentiable augmentations of grids of voxels, whose last axis but the channel points up.

Each is a function of one grid and one key, as those of images are in `augment`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Grid = Float[Array, "x y z channel"]


def mirror(grid: Grid, key: Key[Array, ""]) -> Grid:
    """As it is or, with a probability of 1/2, its mirror image: the second axis is reversed.

    So a shape that faces along the first axis still does.
    """
    return jnp.where(jax.random.bernoulli(key), grid[:, ::-1], grid)


def turn(grid: Grid, key: Key[Array, ""]) -> Grid:
    """Turned about the vertical axis by 0, 90, 180 or 270 degrees, each equally likely; the grid is a cube."""
    first = jnp.where(jax.random.bernoulli(key), grid[::-1, ::-1], grid)
    quarter = jax.random.bernoulli(jax.random.fold_in(key, 1))
    return jnp.where(quarter, jnp.rot90(first, 1, (0, 1)), first)


SHAPE_AUGMENTATIONS = {"mirror": mirror, "turn": turn}
