"""Tiles: weights that add up to one, images that come back as they were, equal starts for equal translations."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgan import tiling
from jaxgan.core.types import Sides


@st.composite
def tilings(draw):
    """Tilings of images that are at least as large as a tile."""
    multiple = draw(st.integers(1, 8))
    least = multiple * draw(st.integers(1, 3))
    tile = tiling.least_tile(multiple, least) + multiple * draw(st.integers(0, 6))
    size = tuple(tile + multiple * draw(st.integers(0, 9)) if draw(st.booleans()) else multiple for _ in "ab")
    return tiling.tiling(size, tile, multiple), multiple


@given(tilings(), st.integers(0, 2**32 - 1))
def test_tiles_make_the_image_that_they_were_cut_from(found, seed):
    """Every pixel lies in a tile, and what all tiles agree on comes back to the bit."""
    own, multiple = found
    image = np.random.default_rng(seed).integers(0, 256, (*own.size, 2), np.uint8)
    tiles = tiling.cut(image, own)
    assert {tile.shape for tile in tiles} == {(*own.tile, 2)}
    assert all(row % multiple == column % multiple == 0 for row, column in own.corners)
    np.testing.assert_array_equal(tiling.blend(tiles, own), image)


@given(tilings())
def test_neighbours_overlap_by_a_quarter_and_a_border_within_the_image_counts_nothing(found):
    own, _ = found
    for starts, tile, side in zip((own.rows, own.columns), own.tile, own.size, strict=True):
        assert all(one + tile - other >= tile // tiling.OVERLAP for one, other in itertools.pairwise(starts))
        weights, strip = tiling.weights(starts, tile, side), tile // tiling.OVERLAP // tiling.STRIP
        for start, weight in zip(starts, weights, strict=True):
            assert not (start and weight[:strip].any())
            assert not (start + tile < side and weight[tile - strip :].any())
            assert weight.max() == tiling.LEVELS


def test_the_blend_is_smooth():
    """From one tile's value to the other's in small steps."""
    own = tiling.tiling((64, 112), 64, 4)
    assert (own.rows, own.columns) == ([0], [0, 48])
    tiles = [np.full((64, 64, 1), value, np.uint8) for value in (0, 200)]
    row = tiling.blend(tiles, own)[0, :, 0].astype(int)
    np.testing.assert_array_equal(row[:52], 0)  # a quarter of the overlap at either border is one tile's
    np.testing.assert_array_equal(row[60:], 200)
    assert np.diff(row).min() >= 0
    assert np.diff(row).max() <= 30


def test_an_image_that_is_no_larger_is_one_tile():
    image = np.zeros((8, 16, 3), np.uint8)
    for tile in (None, 16, 20):
        assert tiling.cut(image, tiling.tiling((8, 16), tile, 4))[0] is not None
        assert tiling.tiling((8, 16), tile, 4).corners == [(0, 0)]


@pytest.mark.parametrize(("side", "expected"), [(1, 8), (8, 8), (9, 12), (12, 12), (13, 16)])
def test_sides_that_fit_are_the_next_ones(side, expected):
    assert Sides(4, 8).fitting(side) == expected
