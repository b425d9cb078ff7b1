"""Random smooth deformations of images and places, by which networks are held to be equivariant.

References:
    Siarohin et al., First Order Motion Model for Image Animation, 2019, section 3.3. https://arxiv.org/abs/2003.00196
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxgan.models.ops.grid_sample import grid_sample, pixel_centres

CONTROL = 5  # points of the thin plate in each direction
AFFINE_DEVIATION, PLATE_DEVIATION = 0.05, 0.005


class Deformation(NamedTuple):
    """An affine map and a thin plate's bending for each example.

    Attributes:
        affine: near the identity.
        weights: of the control points, which lie on a grid from -1 to 1, row by row.
    """

    affine: Float[Array, "batch 2 3"]
    weights: Float[Array, "batch control"]


def draw(keys: Key[Array, " batch"]) -> Deformation:
    """A random deformation for each key."""
    numbers = jax.vmap(lambda key: jax.random.normal(key, (6 + CONTROL**2,)))(keys)
    affine = jnp.eye(2, 3) + AFFINE_DEVIATION * numbers[:, :6].reshape(-1, 2, 3)
    return Deformation(affine, PLATE_DEVIATION * numbers[:, 6:])


def move(deformation: Deformation, places: Float[Array, "batch n 2"]) -> Float[Array, "batch n 2"]:
    """Where the deformation takes places."""
    return jax.vmap(jax.vmap(_moved, (None, 0)))(deformation, places)


def jacobians(deformation: Deformation, places: Float[Array, "batch n 2"]) -> Float[Array, "batch n 2 2"]:
    """The derivatives of `move` by each place."""
    return jax.vmap(jax.vmap(jax.jacfwd(_moved, 1), (None, 0)))(deformation, places)


def deform(
    deformation: Deformation, images: Float[Array, "batch height width channel"]
) -> Float[Array, "batch height width channel"]:
    """Images read at the places that the deformation takes each pixel to; mirror images lie beyond them."""
    batch, *size, _ = images.shape
    grid = pixel_centres(tuple(size)).reshape(1, -1, 2)
    places = move(deformation, jnp.broadcast_to(grid, (batch, *grid.shape[1:])))
    return grid_sample(images, places.reshape(batch, *size, 2), "reflection", align_corners=True)


def _moved(deformation: Deformation, place: Float[Array, "2"]) -> Float[Array, "2"]:
    """One place by one deformation; as in the authors' code distances are sums of both directions."""
    control = pixel_centres((CONTROL, CONTROL)).reshape(-1, 2)
    distances = jnp.abs(place - control).sum(-1)
    bent = (distances**2 * jnp.log(distances + 1e-6) * deformation.weights).sum()
    return deformation.affine[:, :2] @ place + deformation.affine[:, 2] + bent
