"""Halving and doubling without aliasing: a fixed blur beside convolutions of stride 1, in either layout.

References:
    Zhang, Making Convolutional Networks Shift-Invariant Again, 2019. https://arxiv.org/abs/1904.11486
"""

from jax import lax
from jaxtyping import Array

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


SETTINGS: Settings = {"antialias": Setting(False, "halve and double with fixed blurs beside convolutions of stride 1")}
