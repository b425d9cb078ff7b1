"""Halving and doubling without aliasing: a fixed blur beside convolutions of stride 1, in either layout.

References:
    Zhang, Making Convolutional Networks Shift-Invariant Again, 2019. https://arxiv.org/abs/1904.11486
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxgan.core.settings import Setting, Settings
from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features

ROWS, COLUMNS = 1, 2  # axes in both layouts


def blur_pool(features: Features) -> Features:
    """Every second row and column of means with the weights 1, 2, 1; of n come (n + 1) // 2. Borders are mirrored."""

    def along(axis: int, padded: Array) -> Array:
        count = padded.shape[axis] - 2
        before, middle, after = (lax.slice_in_dim(padded, i, i + count, 2, axis) for i in range(3))
        return (before + 2 * middle + after) / 4

    return along(COLUMNS, along(ROWS, layers.reflect_pad(features, 1)))


def blur_upsample(features: Features) -> Features:
    """Twice the rows and columns, each a mean of the two nearest ones with the weights 3 and 1. Borders are repeated.

    This is the transposed convolution with the weights 1, 3, 3, 1 over 4 on each axis.
    """

    def along(axis: int, features: Array) -> Array:
        count = features.shape[axis]
        ends = [(0, 0)] * axis + [(1, 1)] + [(0, 0)] * (features.ndim - axis - 1)
        padded = jnp.pad(features, ends, mode="edge")
        before, after = (lax.slice_in_dim(padded, i, i + count, 1, axis) for i in (0, 2))
        both = jnp.stack([3 * features + before, 3 * features + after], axis + 1) / 4
        return both.reshape(*features.shape[:axis], 2 * count, *features.shape[axis + 1 :])

    return along(COLUMNS, along(ROWS, features))


SETTINGS: Settings = {"antialias": Setting(False, "halve and double with fixed blurs beside convolutions of stride 1")}
