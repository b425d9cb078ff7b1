"""Resampling by low-pass filters of any length, and their design; in either layout, on rows and columns alike.

A filter of one axis is applied to both. Rows and columns are taken by their phase, so that no zero is multiplied and no
number is computed that is dropped.

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021, appendix C. https://arxiv.org/abs/2106.12423
"""

import functools

import jax.numpy as jnp
import numpy as np
import scipy.signal
import scipy.special
from jax import lax
from jaxtyping import Array

from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.resampling import COLUMNS, ROWS


@functools.cache
def lowpass(taps: int, cutoff: float, width: float, rate: int) -> np.ndarray:
    """A filter of one axis by Kaiser's window, float64 [taps] with the sum 1.

    Args:
        taps: how many numbers.
        cutoff: frequency from which on less than half is left.
        width: of the band around it in which the response falls.
        rate: samples per unit of length.
    """
    return scipy.signal.firwin(taps, cutoff, width=width, fs=rate)


@functools.cache
def radial_lowpass(taps: int, cutoff: float, width: float, rate: int) -> np.ndarray:
    """A filter of both axes that treats all directions alike, [taps, taps] with the sum 1; `taps` is even."""
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    radii = np.pi * np.hypot(*np.meshgrid(places, places))
    window = np.kaiser(taps, scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, width / (rate / 2))))
    found = scipy.special.j1(2 * cutoff * radii) / radii * np.outer(window, window)
    return found / found.sum()


def fir_up(features: Features, taps: np.ndarray, factor: int, padding: tuple[int, int]) -> Features:
    """Zeros behind each row and column, then zeros around, then the filter, where it lies within them.

    Of n rows come n * factor + sum(padding) - len(taps) + 1. Means are kept.

    Args:
        features: in either layout.
        taps: of one axis.
        factor: how many rows each row becomes.
        padding: zeros before and behind; negative numbers crop.
    """
    return _up(_up(features, taps, factor, padding, ROWS), taps, factor, padding, COLUMNS)


def _up(features: Array, taps: np.ndarray, factor: int, padding: tuple[int, int], axis: int) -> Array:
    count = features.shape[axis]
    size = count * factor + sum(padding) - len(taps) + 1
    rows, mirrored = -(-size // factor), taps[::-1] * factor
    phases = []  # of each, where its taps' first row stands beside an output's, and its taps
    for phase in range(factor):
        first = (padding[0] - phase) % factor
        phases.append(((phase + first - padding[0]) // factor, mirrored[first::factor]))
    before = max(0, *(-start for start, _ in phases))
    after = max(0, *(start + len(own) + rows - 1 - count for start, own in phases))
    padded = jnp.pad(features, [(before, after) if each == axis else (0, 0) for each in range(features.ndim)])
    parts = [_filtered(padded, own, rows, before + start, axis) for start, own in phases]
    joined = jnp.stack(parts, axis + 1)
    joined = joined.reshape(*features.shape[:axis], rows * factor, *features.shape[axis + 1 :])
    return lax.slice_in_dim(joined, 0, size, 1, axis)


def _filtered(features: Array, taps: np.ndarray, rows: int, start: int, axis: int) -> Array:
    """The sum of the taps times the rows that follow each other from `start` on."""
    parts = (lax.slice_in_dim(features, start + i, start + i + rows, 1, axis) for i in range(len(taps)))
    return sum(part * tap for part, tap in zip(parts, taps.tolist(), strict=True))


def fir_down(features: Features, taps: np.ndarray, factor: int) -> Features:
    """The filter where it lies within the features, and of its outputs each `factor`-th row and column."""
    return _down(_down(features, taps, factor, ROWS), taps, factor, COLUMNS)


def _down(features: Array, taps: np.ndarray, factor: int, axis: int) -> Array:
    count, mirrored = features.shape[axis], taps[::-1]
    rows = (count - len(taps)) // factor + 1
    padded = jnp.pad(features, [(0, -count % factor) if each == axis else (0, 0) for each in range(features.ndim)])
    blocks = padded.reshape(*features.shape[:axis], -1, factor, *features.shape[axis + 1 :])
    phases = (lax.index_in_dim(blocks, phase, axis + 1, keepdims=False) for phase in range(factor))
    return sum(_filtered(phase, mirrored[i::factor], rows, 0, axis) for i, phase in enumerate(phases))


def radial_down(features: Features, taps: np.ndarray, factor: int, batch_last: bool) -> Features:
    """`fir_down` with a filter of both axes, symmetric in each."""
    count = features.shape[0 if batch_last else -1]
    layout = "CHWN" if batch_last else "NHWC"
    kernel = jnp.broadcast_to(jnp.asarray(taps, features.dtype)[..., None, None], (*taps.shape, 1, count))
    options = {"dimension_numbers": (layout, "HWIO", layout), "feature_group_count": count}
    return lax.conv_general_dilated(features, kernel, (factor, factor), "VALID", **options)
