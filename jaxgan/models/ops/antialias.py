"""Halving and doubling without aliasing: a fixed blur beside convolutions of stride 1, in either layout.

References:
    Zhang, Making Convolutional Networks Shift-Invariant Again, 2019. https://arxiv.org/abs/1904.11486
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgan.core.settings import Setting, Settings
from jaxgan.models.ops import layers, resampling
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.resampling import COLUMNS, ROWS


def blur_pool(features: Features) -> Features:
    """Every second row and column of means with the weights 1, 2, 1; of n come (n + 1) // 2. Borders are mirrored."""

    def along(axis: int, padded: Array) -> Array:
        count = padded.shape[axis] - 2
        before, middle, after = (lax.slice_in_dim(padded, i, i + count, 2, axis) for i in range(3))
        return (before + 2 * middle + after) / 4

    return along(COLUMNS, along(ROWS, layers.reflect_pad(features, 1)))


def blur_upsample(features: Features) -> Features:
    """Twice the rows and columns by `resampling.upsample`. Borders are repeated."""
    return resampling.upsample(features, "edge")


def gaussian_downsample(
    images: Float[Array, "batch height width channel"], factor: int
) -> Float[Array, "batch rows columns channel"]:
    """Every so many rows and columns of images blurred by a Gaussian of deviation (factor - 1) / 2; zeros lie around.

    References:
        Siarohin et al., First Order Motion Model for Image Animation, 2019, the authors' code.
        https://github.com/AliaksandrSiarohin/first-order-model
    """
    if factor == 1:
        return images
    rows, columns = (jnp.asarray(_gaussian_rows(count, factor), images.dtype) for count in images.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, images)


def _gaussian_rows(count: int, factor: int) -> Float[np.ndarray, "out count"]:
    """The weights of `count` numbers in each of those that are kept."""
    deviation = (factor - 1) / 2
    reach = round(4 * deviation)
    distances = np.arange(0, count, factor)[:, None] - np.arange(count)
    weights = np.where(np.abs(distances) <= reach, np.exp(-(distances**2) / (2 * deviation**2)), 0)
    return weights / np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation**2)).sum()


SETTINGS: Settings = {"antialias": Setting(False, "halve and double with fixed blurs beside convolutions of stride 1")}
