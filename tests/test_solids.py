"""The world of solids: counts of every kind at every size, and data of the two splits."""

import numpy as np
import pytest

from jaxgan.config import default
from jaxgan.data import bits, solids
from jaxgan.data.sources import open_dataset


@pytest.mark.parametrize("size", [16, 17, 24, 32])
def test_a_solid_counts_as_its_kind(size):
    kinds, widths, heights = solids.sample(7, 200)
    assert set(kinds) == set(range(len(solids.NAMES)))
    for kind, width, height in zip(kinds, widths, heights, strict=True):
        grid = solids.grid(solids.NAMES[kind], float(width), float(height), size)
        assert solids.mode(grid) == kind
        assert not any(grid.take([0, -1], axis).any() for axis in range(3))  # nothing is cut off


def test_a_grid_that_is_no_solid_has_no_mode():
    grid = solids.grid("table", 0.35, 0.5, 32)
    assert solids.count(grid) == solids.Counts(1, 4, 0, False)
    broken = grid.copy()
    broken[0, 0, 0] = True  # a second part
    assert solids.count(broken).parts == 2
    assert solids.mode(broken) == -1
    assert solids.mode(np.zeros_like(grid)) == -1
    three = grid.copy()
    three[:16, :16, :10] = False
    assert solids.count(three).legs == 3


def test_the_volume_of_a_solid_is_that_of_its_parts():
    grid = solids.grid("pedestal", 0.4, 0.5, 64)
    top, column = np.pi * 0.4**2 * solids.THICKNESS, np.pi * solids.THICKNESS**2
    volume = top + column * (0.5 - solids.THICKNESS - solids.FLOOR)
    assert grid.mean() == pytest.approx(volume, rel=0.03)


def test_solid_i_depends_on_the_seed_and_on_i_alone():
    few, many = solids.sample(1, 3), solids.sample(1, 9)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, other[:3])


def test_both_splits_are_drawn_and_labelled():
    found = {}
    for split in ("train[:6]", "test[:6]"):
        config = default({"data.source": "world:solids", "data.size": 16, "data.split": split})
        dataset = open_dataset(config)
        grids = bits.unpack(dataset.arrays["voxels"], (16, 16, 16))
        np.testing.assert_array_equal([solids.mode(grid) for grid in grids], dataset.labels)
        assert dataset.classes == solids.NAMES
        found[split] = grids
    assert not np.array_equal(*found.values())
