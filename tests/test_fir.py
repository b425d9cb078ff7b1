"""Resampling by filters of any length, beside SciPy's; the response of those that are designed."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from made_up import numbers

from jaxgan.models.ops import fir, layers

TAPS = numbers("taps", (12,)).astype(np.float64)


def by_scipy(features, taps, up, down, padding):
    """Rows, then columns; cropped where the padding is negative."""
    for axis in (1, 2):
        stuffed = np.zeros(np.array(features.shape) * np.where(np.arange(4) == axis, up, 1))
        stuffed[(slice(None),) * axis + (slice(None, None, up),)] = features
        around = [tuple(max(0, p) for p in padding) if i == axis else (0, 0) for i in range(4)]
        first, last = (max(0, -p) for p in padding)
        padded = np.pad(stuffed, around)
        padded = np.take(padded, range(first, padded.shape[axis] - last), axis)
        whole = scipy.signal.upfirdn(taps, padded, axis=axis)
        features = np.take(whole, range(len(taps) - 1, padded.shape[axis], down), axis)
    return features


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize(("factor", "padding"), [(2, (3, 4)), (2, (-1, 5)), (2, (4, -2)), (4, (2, 7)), (4, (-3, -1))])
def test_raising_the_rate_puts_zeros_between_and_filters(factor, padding, batch_last):
    features = numbers("features", (2, 7, 5, 3))
    expected = by_scipy(features, factor * TAPS, factor, 1, padding)
    found = fir.fir_up(layers.to_layout(jnp.asarray(features), batch_last), TAPS, factor, padding)
    found = layers.to_layout(found, batch_last)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("factor", [2, 3])
def test_lowering_the_rate_filters_and_drops(factor, batch_last):
    features = numbers("features", (2, 17, 16, 3))
    expected = by_scipy(features, TAPS, 1, factor, (0, 0))
    laid_out = layers.to_layout(jnp.asarray(features), batch_last)
    found = layers.to_layout(fir.fir_down(laid_out, TAPS, factor), batch_last)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    symmetric = TAPS + TAPS[::-1]
    both = layers.to_layout(fir.radial_down(laid_out, np.outer(symmetric, symmetric), factor, batch_last), batch_last)
    expected = by_scipy(features, symmetric, 1, factor, (0, 0))
    np.testing.assert_allclose(both, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_filter_keeps_what_is_below_its_cutoff_and_halves_the_cutoff_itself():
    taps = fir.lowpass(24, 4.0, 4.0, 32)
    response = lambda frequency: abs(np.exp(2j * np.pi * frequency / 32 * np.arange(24)) @ taps)  # noqa: E731
    assert taps.sum() == pytest.approx(1)
    assert response(1.0) == pytest.approx(1, abs=0.05)
    assert response(4.0) == pytest.approx(0.5, abs=0.05)
    assert response(8.0) < 0.05


def test_a_radial_filter_treats_directions_alike():
    """It answers a wave along an axis as one along a diagonal; the product of two filters of one axis does not."""
    taps, places = fir.radial_lowpass(24, 4.0, 4.0, 32), np.arange(24) / 32

    def response(kernel, angle):
        across, along = 4 * np.cos(angle) * places, 4 * np.sin(angle) * places
        return abs((np.exp(2j * np.pi * (across + along[:, None])) * kernel).sum())

    assert taps.sum() == pytest.approx(1)
    assert response(taps, 0) == pytest.approx(response(taps, np.pi / 4), abs=0.02)
    separable = fir.lowpass(24, 4.0, 4.0, 32)
    product = np.outer(separable, separable)
    assert abs(response(product, 0) - response(product, np.pi / 4)) > 0.1
