"""Keypoints with Jacobians, the motion that two sets of them imply, and images warped by a motion.

Places are (x, y) from -1 to 1 as `grid_sample` has them where corners are aligned, which is how the authors' published
weights were trained.

References:
    Siarohin et al., First Order Motion Model for Image Animation, 2019. https://arxiv.org/abs/2003.00196
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.models.ops.grid_sample import grid_sample, pixel_centres

VARIANCE = 0.01  # of the Gaussians that show networks where keypoints are

Places = Float[Array, "batch rows columns 2"]
Maps = Float[Array, "batch rows columns 1"]
Matrices = Float[Array, "*shape 2 2"]


class Keypoints(NamedTuple):
    """Places of an image and, unless the model has none, how the image is stretched and turned about each.

    Attributes:
        positions: (x, y), from -1 to 1.
        jacobians: the derivative of a position by the same place of an unknown reference image.
    """

    positions: Float[Array, "batch keypoint 2"]
    jacobians: Float[Array, "batch keypoint 2 2"] | None


class Motion(NamedTuple):
    """Where each place of the driving image comes from in the source, perhaps at a lower resolution.

    Attributes:
        flow: places in the source.
        occlusion: from 0, where the source does not show what is needed, to 1; None if the model has none.
    """

    flow: Places
    occlusion: Maps | None


def inverse(matrices: Matrices) -> Matrices:
    """Of 2x2 matrices."""
    a, b, c, d = (matrices[..., row, column] for row in range(2) for column in range(2))
    adjugate = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
    return adjugate / (a * d - b * c)[..., None, None]


def gaussians(positions: Float[Array, "batch keypoint 2"], size: tuple[int, int]) -> Float[Array, "batch _ _ keypoint"]:
    """A map of each keypoint, a Gaussian of `VARIANCE` whose peak is 1."""
    away = pixel_centres(size)[None, :, :, None] - positions[:, None, None]
    return jnp.exp(-(away**2).sum(-1) / (2 * VARIANCE))


def sparse_motions(source: Keypoints, driving: Keypoints, size: tuple[int, int]) -> Float[Array, "batch k _ _ 2"]:
    """Each keypoint's guess of where the places of the driving image come from, to first order; before them, no motion.

    References:
        Siarohin et al., 2019, equation 4.
    """
    grid = pixel_centres(size)
    away = grid - driving.positions[:, :, None, None]
    if driving.jacobians is not None:
        jacobians = source.jacobians @ inverse(driving.jacobians)
        away = jnp.einsum("bkij,bkrcj->bkrci", jacobians, away)
    guesses = away + source.positions[:, :, None, None]
    still = jnp.broadcast_to(grid, (len(guesses), 1, *grid.shape))
    return jnp.concatenate([still, guesses], axis=1)


def resized(maps: Float[Array, "batch _ _ channel"], size: tuple[int, int]) -> Float[Array, "batch _ _ channel"]:
    """Maps of another height and width, by bilinear interpolation."""
    if maps.shape[1:3] == size:
        return maps
    return jax.image.resize(maps, (len(maps), *size, maps.shape[-1]), "linear", antialias=False)


def warped(features: Float[Array, "batch rows columns channel"], flow: Float[Array, "batch _ _ 2"]) -> Array:
    """Features or images read where a flow of any resolution says."""
    return grid_sample(features, resized(flow, features.shape[1:3]), align_corners=True)
