"""Doubling, halving and blurring in either layout, with the weights 1, 3, 3, 1 on each axis or by squares of pixels.

Rows and columns are taken by their phase, even or odd, so that no convolution of single features is needed. All but the
maximum are linear, and derivatives of any order are the same few sums.

A sum takes its parts at moved places, which a CPU reads where they are: zeros around and a slice would be a copy. Sums
along the rows are stored before those along the columns, which would make them anew for each of their parts.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020. https://arxiv.org/abs/1912.04958
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxgan.models.ops.convolutions import Features, moved

ROWS, COLUMNS = 1, 2  # axes in both layouts


def upsample(features: Features, border: str = "constant") -> Features:
    """Twice the rows and columns, each a mean of the two nearest ones with the weights 3 and 1.

    This is the transposed convolution of stride 2 with the weights 1, 3, 3, 1 over 4 on each axis.

    Args:
        features: in either layout.
        border: what lies beyond it, a mode of `jnp.pad`: "constant" for zeros, "edge" for the same numbers again.
    """

    def along(axis: int, features: Array) -> Array:
        count = features.shape[axis]
        if border == "constant":
            before, after = (moved(features, axis, step, count) for step in (1, -1))
        else:
            around = [(1, 1) if each == axis else (0, 0) for each in range(features.ndim)]
            padded = jnp.pad(features, around, mode=border)
            before, after = (lax.slice_in_dim(padded, i, i + count, 1, axis) for i in (0, 2))
        both = jnp.stack([3 * features + before, 3 * features + after], axis + 1) / 4
        return both.reshape(*features.shape[:axis], 2 * count, *features.shape[axis + 1 :])

    return _on_both_axes(along, features)


def downsample(features: Features) -> Features:
    """Half the rows and columns, which are even numbers: a quarter of the transpose of `upsample`, with zeros around.

    This is the convolution of stride 2 with the weights 1, 3, 3, 1 over 8 on each axis.
    """

    def along(axis: int, features: Array) -> Array:
        count = features.shape[axis] // 2
        pairs = features.reshape(*features.shape[:axis], count, 2, *features.shape[axis + 1 :])
        even, odd = (lax.index_in_dim(pairs, phase, axis + 1, keepdims=False) for phase in range(2))
        return (moved(odd, axis, 1, count) + 3 * (even + odd) + moved(even, axis, -1, count)) / 8

    return _on_both_axes(along, features)


def blur(features: Features, padding: tuple[int, int]) -> Features:
    """Means of four rows and columns that follow each other: of n, with zeros around, come n + sum(padding) - 3.

    Beside a convolution of stride 2 it makes one that doubles or halves.
    """

    def along(axis: int, features: Array) -> Array:
        count = features.shape[axis] + sum(padding) - 3
        first, second, third, fourth = (moved(features, axis, padding[0] - i, count) for i in range(4))
        return (first + 3 * (second + third) + fourth) / 8

    return _on_both_axes(along, features)


def repeat(features: Features) -> Features:
    """Twice the rows and columns, each number in a square of 2 x 2."""
    one, rows, columns, other = features.shape
    wide = jnp.broadcast_to(features[:, :, None, :, None], (one, rows, 2, columns, 2, other))
    return wide.reshape(one, 2 * rows, 2 * columns, other)


def average_pool(features: Features) -> Features:
    """Half the rows and columns, which are even numbers: the mean of each square of 2 x 2."""
    return _squares(features).mean((2, 4))


def max_pool(features: Features) -> Features:
    """Half the rows and columns: the largest number of each square of 2 x 2; an odd last row or column is left out."""
    rows, columns = (size // 2 * 2 for size in features.shape[1:3])
    return _squares(features[:, :rows, :columns]).max((2, 4))


def _on_both_axes(along: Callable[[int, Array], Array], features: Array) -> Array:
    return along(COLUMNS, lax.optimization_barrier(along(ROWS, features)))


def _squares(features: Features) -> Array:
    one, rows, columns, other = features.shape
    return features.reshape(one, rows // 2, 2, columns // 2, 2, other)
