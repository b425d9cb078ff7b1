"""Large images in overlapping tiles, and translated tiles as one image without seams.

Where tiles overlap, each counts less and less towards its border, and not at all in the outermost strip, which a
network saw beside padding in the place of the image. Weights are whole numbers, so what is the same in all tiles stays
the same to the bit.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

OVERLAP = 4  # of a tile at least a quarter lies in the next one
STRIP = 4  # and of that overlap a quarter, at the border of a tile, is not used
LEVELS = 255  # of the weights

Image = UInt8[np.ndarray, "_ _ _"]  # height, width, channels


class Tiling(NamedTuple):
    """Where the tiles of an image lie.

    Attributes:
        rows, columns: the first row of each row of tiles, and the first column of each column of them.
        tile: height and width of all tiles.
        size: of the image.
    """

    rows: Sequence[int]
    columns: Sequence[int]
    tile: tuple[int, int]
    size: tuple[int, int]

    @property
    def corners(self) -> list[tuple[int, int]]:
        """The first row and column of each tile."""
        return [(row, column) for row in self.rows for column in self.columns]


def least_tile(multiple: int, least: int) -> int:
    """The smallest side of tiles that begin at multiples of a number and overlap by a quarter."""
    tile = least
    while tile - tile // OVERLAP < multiple:
        tile += multiple
    return tile


def tiling(size: tuple[int, int], tile: int | None, multiple: int) -> Tiling:
    """The tiles of an image.

    Args:
        size: height and width, multiples of `multiple`.
        tile: height and width of a tile, a multiple of `multiple`; the image is one tile where it is not larger, or if
            None.
        multiple: that each tile begins at: a network that halves images joins the same pixels as in the whole.
    """
    tile = tile or max(size)
    stride = (tile - tile // OVERLAP) // multiple * multiple
    rows, columns = ([*range(0, side - tile, stride), side - tile] if side > tile else [0] for side in size)
    return Tiling(rows, columns, (min(tile, size[0]), min(tile, size[1])), size)


def cut(image: Image, own: Tiling) -> list[Image]:
    """The tiles of an image, in the order of `corners`."""
    height, width = own.tile
    return [image[row : row + height, column : column + width] for row, column in own.corners]


def blend(tiles: Sequence[Image], own: Tiling) -> Image:
    """The image that tiles make together, of `size`."""
    if len(tiles) == 1:
        return tiles[0]
    height, width = own.tile
    down = weights(own.rows, height, own.size[0])
    across = weights(own.columns, width, own.size[1])
    total, shares = np.zeros((*own.size, tiles[0].shape[-1]), np.int32), np.zeros((*own.size, 1), np.int32)
    each = itertools.product(down, across)
    for (row, column), (one, other), tile in zip(own.corners, each, tiles, strict=True):
        place, weight = np.s_[row : row + height, column : column + width], np.outer(one, other)[..., None]
        total[place] += weight * tile
        shares[place] += weight
    return ((total + shares // 2) // shares).astype(np.uint8)


def weights(starts: Sequence[int], tile: int, side: int) -> Int[np.ndarray, "tiles tile"]:
    """How much each pixel of each tile counts along one axis: `LEVELS` but for borders within the image.

    Args:
        starts: the first pixel of each tile.
        tile: pixels of each.
        side: pixels of the image.
    """
    strip = tile // OVERLAP // STRIP
    ramp = max(tile // OVERLAP - 2 * strip, 1)
    rise = np.clip(-(-(np.arange(tile) - strip + 1) * LEVELS // ramp), 0, LEVELS).astype(np.int32)
    full = np.full(tile, LEVELS, np.int32)
    found = [np.minimum(rise if start else full, rise[::-1] if start + tile < side else full) for start in starts]
    return np.stack(found)
