"""Grids of voxels of the world of solids; their labels are the kinds of solids."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.settings import Range, Setting, Settings
from jaxgan.core.types import Field
from jaxgan.data import solids
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.selection import SELECTION_SETTINGS, select
from jaxgan.data.sources import voxels
from jaxgan.data.stored import Item, StoredImages

SIDES = Range(lambda value: value >= solids.LEAST_SIZE, f"at least {solids.LEAST_SIZE}")
SETTINGS: Settings = {**SELECTION_SETTINGS, "size": Setting(32, "voxels of each side of a grid", SIDES)}


@dataclasses.dataclass(frozen=True)
class Solids:
    """The first solids of a seed, whose grids are made when they are read."""

    seed: int
    count: int
    size: int

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def parameters(self) -> solids.Parameters:
        return solids.sample(self.seed, self.count)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        """Their grids, bool [size, size, size]."""
        kinds, widths, heights = self.parameters
        names = [solids.NAMES[kinds[i]] for i in indices]
        grids = [
            solids.grid(name, float(widths[i]), float(heights[i]), self.size)
            for name, i in zip(names, indices, strict=True)
        ]
        return [Item(grid, int(kinds[i]), f"solid {i}") for grid, i in zip(grids, indices, strict=True)]

    def labels(self) -> np.ndarray:
        return self.parameters.kinds


def stored(data: ConfigDict) -> StoredImages:
    """Both splits."""
    splits = {name: Solids(seed, count, data.size) for name, (seed, count) in solids.EXAMPLES.items()}
    return StoredImages(splits, solids.NAMES, f"{solids.SOURCE} {data.size}")


def fields(data: ConfigDict) -> tuple[Field, ...]:
    """Of a batch."""
    return voxels.voxel_fields(data.size)


def split_counts(data: ConfigDict) -> list[dict[str, int]]:
    """Examples of each split."""
    del data
    return [{name: count for name, (_, count) in solids.EXAMPLES.items()}]


def open_solids(config: ConfigDict) -> ArrayDataset:
    """The grids that an experiment takes."""
    return voxels.packed(select(config.data, stored(config.data)), config.data.size)
