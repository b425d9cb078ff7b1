"""A world of solids: pieces of furniture and cups made of boxes and cylinders, whose kinds are counted exactly.

Lengths are shares of the grid's side; the last axis of a grid points up.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy import ndimage

SOURCE = "world:solids"
EXAMPLES = {"train": (0, 4000), "test": (1, 1000)}  # split -> seed and number of examples
FLOOR = 1 / 16  # height at which all solids stand
THICKNESS = 1 / 8  # of tops, legs, backs and walls
WIDTHS = (0.3, 0.42)  # range of half the width
HEIGHTS = (0.35, 0.6)  # range of the height, without the back of a chair
BACK = 0.25  # height of a chair's back above the seat
LEAST_SIZE = 16  # voxels of a side from which on every leg and wall is at least one voxel thick


class Box(NamedTuple):
    """All points between two corners."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        sides = zip((x, y, z), self.low, self.high, strict=True)
        first, second, third = ((low <= values) & (values < high) for values, low, high in sides)
        return first & second & third


class Cylinder(NamedTuple):
    """An upright cylinder, which may be a tube.

    Attributes:
        centre: x and y of its axis.
        radius: outside.
        bottom, top: heights.
        inner: radius of what is hollow.
    """

    centre: tuple[float, float]
    radius: float
    bottom: float
    top: float
    inner: float = 0.0

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        square = (x - self.centre[0]) ** 2 + (y - self.centre[1]) ** 2
        return (self.inner**2 <= square) & (square < self.radius**2) & (self.bottom <= z) & (z < self.top)


Parts = list[Box | Cylinder]


class Counts(NamedTuple):
    """What is counted of a grid.

    Attributes:
        parts: connected pieces; voxels are connected by their faces.
        legs: connected pieces of the section at a quarter of the height.
        holes: of that section.
        open_top: whether the highest layer fills less than 60% of the rectangle around the grid from above.
    """

    parts: int
    legs: int
    holes: int
    open_top: bool


def _slab(width: float, height: float) -> Box:
    low, high = 0.5 - width, 0.5 + width
    return Box((low, low, height - THICKNESS), (high, high, height))


def _legs(width: float, height: float) -> Parts:
    near, far = (0.5 - width, 0.5 - width + THICKNESS), (0.5 + width - THICKNESS, 0.5 + width)
    corners = [(x, y) for x in (near, far) for y in (near, far)]
    return [Box((x[0], y[0], FLOOR), (x[1], y[1], height)) for x, y in corners]


def table(width: float, height: float) -> Parts:
    """A square top on four legs."""
    return [_slab(width, height), *_legs(width, height)]


def chair(width: float, height: float) -> Parts:
    """A table with a back."""
    low, high = 0.5 - width, 0.5 + width
    return [*table(width, height), Box((high - THICKNESS, low, height), (high, high, height + BACK))]


def stool(width: float, height: float) -> Parts:
    """A round seat on three round legs."""
    angles, reach = [2 * math.pi * i / 3 for i in range(3)], width - THICKNESS / 2
    places = [(0.5 + reach * math.cos(angle), 0.5 + reach * math.sin(angle)) for angle in angles]
    legs = [Cylinder(place, THICKNESS / 2, FLOOR, height) for place in places]
    return [Cylinder((0.5, 0.5), width, height - THICKNESS, height), *legs]


def pedestal(width: float, height: float) -> Parts:
    """A round top on one column."""
    centre = (0.5, 0.5)
    return [Cylinder(centre, width, height - THICKNESS, height), Cylinder(centre, THICKNESS, FLOOR, height)]


def cup(width: float, height: float) -> Parts:
    """A tube with a bottom, open above."""
    centre, bottom = (0.5, 0.5), FLOOR + (height - FLOOR) / 8
    wall = Cylinder(centre, width, FLOOR, height, width - THICKNESS)
    return [wall, Cylinder(centre, width, FLOOR, bottom)]


# The kinds of solids, which are the modes of the world, and what is counted of each.
KINDS: Mapping[str, tuple[Callable[[float, float], Parts], Counts]] = {
    "table": (table, Counts(1, 4, 0, False)),
    "chair": (chair, Counts(1, 4, 0, True)),
    "stool": (stool, Counts(1, 3, 0, False)),
    "pedestal": (pedestal, Counts(1, 1, 0, False)),
    "cup": (cup, Counts(1, 1, 1, True)),
}
NAMES = tuple(KINDS)


class Parameters(NamedTuple):
    """What decides some solids.

    Attributes:
        kinds: indices into `NAMES`, each equally likely.
        widths: half of their widths, uniform in `WIDTHS`.
        heights: uniform in `HEIGHTS`.
    """

    kinds: Int32[np.ndarray, " n"]
    widths: Float32[np.ndarray, " n"]
    heights: Float32[np.ndarray, " n"]


def sample(seed: int, count: int) -> Parameters:
    """The parameters of the first `count` solids of a seed; solid i depends on the seed and on i alone."""
    uniform = np.random.default_rng(seed).random((count, 3))
    (narrow, wide), (low, high) = WIDTHS, HEIGHTS
    widths, heights = narrow + (wide - narrow) * uniform[:, 1], low + (high - low) * uniform[:, 2]
    return Parameters(np.int32(len(NAMES) * uniform[:, 0]), np.float32(widths), np.float32(heights))


def grid(kind: str, width: float, height: float, size: int) -> Bool[np.ndarray, "size size size"]:
    """The voxels whose centres lie in a solid."""
    centres = (np.arange(size) + 0.5) / size
    axes = np.meshgrid(centres, centres, centres, indexing="ij", sparse=True)
    make, _ = KINDS[kind]
    return np.any([part.contains(*axes) for part in make(width, height)], axis=0)


def count(grid: Bool[np.ndarray, "x y z"]) -> Counts:
    """What is counted of any grid; an empty one has no parts."""
    layers = np.flatnonzero(grid.any((0, 1)))
    if not len(layers):
        return Counts(0, 0, 0, True)
    section = grid[:, :, layers[0] + (layers[-1] - layers[0]) // 4]
    holes = ndimage.label(np.pad(~section, 1, constant_values=True), np.ones((3, 3)))[1] - 1
    around = ndimage.find_objects(grid.any(2).astype(int))[0]
    open_top = grid[(*around, layers[-1])].mean() < 0.6
    return Counts(ndimage.label(grid)[1], ndimage.label(section)[1], holes, bool(open_top))


def mode(grid: Bool[np.ndarray, "x y z"]) -> int:
    """The kind of a grid, an index into `NAMES`; -1 if its counts are those of no kind."""
    found = count(grid)
    return next((index for index, (_, counts) in enumerate(KINDS.values()) if counts == found), -1)
