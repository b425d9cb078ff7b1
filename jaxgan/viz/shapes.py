"""Pictures of grids of voxels: their surfaces, seen from a direction and shaded.

Rays that are parallel to each other go through each grid until the occupancy, interpolated between voxels, passes a
level. That draws the surface which marching cubes would make of the grid, without triangles or their order.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from jaxgan.viz import grid

LEVEL = 0.5  # of the occupancy at the surface
AZIMUTH, ELEVATION = 215.0, 25.0  # degrees: of the viewer about the vertical axis, and above the ground
PIXELS = 96  # of a picture's side
SPAN = 1.3  # of the picture, in sides of the grid
STEP = 0.5  # voxels between two looks at a ray
FRAMES = 24  # of a turn
SECONDS = 3.0  # that it takes
COLOUR = np.array([0.45, 0.62, 0.85])  # of surfaces
LIGHT = np.array([0.35, 0.55, 0.76])  # where it comes from: right, towards the viewer, up

Grid = Float[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"]


def axes(azimuth: float, elevation: float) -> Float[np.ndarray, "3 3"]:
    """The directions right, towards the viewer and up in a picture, in the grid's axes."""
    turn, lift = np.deg2rad([azimuth, elevation])
    right = [-np.sin(turn), np.cos(turn), 0]
    towards = [np.cos(turn) * np.cos(lift), np.sin(turn) * np.cos(lift), np.sin(lift)]
    return np.array([right, towards, np.cross(towards, right)])


def render(
    occupancy: Grid,
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
    pixels: int = PIXELS,
) -> UInt8[np.ndarray, "{pixels} {pixels} 3"]:
    """The surface of one grid, whose last axis points up, on white; an empty grid is white.

    Args:
        occupancy: from 0 to 1, or bool.
        azimuth, elevation: of the viewer, in degrees.
        pixels: of the picture's side.
    """
    values = np.pad(np.asarray(occupancy, np.float32), 1)
    side = max(occupancy.shape)
    directions = axes(azimuth, elevation)
    right, towards, up = directions
    places = SPAN * side * ((np.arange(pixels) + 0.5) / pixels - 0.5)
    depths = np.arange(SPAN * side / 2, -SPAN * side / 2, -STEP)
    middle = (np.array(values.shape) - 1) / 2
    plane = places[None, :, None] * right - places[:, None, None] * up + middle  # rows go down
    points = plane[:, :, None] + depths[:, None] * towards
    seen = ndimage.map_coordinates(values, np.moveaxis(points, -1, 0), order=1) >= LEVEL
    hit, first = seen.any(-1), seen.argmax(-1)
    surface = plane[hit] + depths[first[hit]][:, None] * towards
    soft = ndimage.gaussian_filter(values, 1.0)
    slopes = [ndimage.map_coordinates(slope, surface.T, order=1) for slope in np.gradient(soft)]
    normals = -np.stack(slopes, -1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    light = LIGHT / np.linalg.norm(LIGHT) @ directions
    shade = 0.35 + 0.65 * np.clip(normals @ light, 0, 1)
    picture = np.full((pixels, pixels, 3), 255, np.uint8)
    picture[hit] = np.round(255 * shade[:, None] * COLOUR / COLOUR.max())
    return picture


def pictures(occupancies: np.ndarray, azimuth: float = AZIMUTH) -> UInt8[np.ndarray, "n height width 3"]:
    """Each of some grids [n, x, y, z, 1], seen from one direction."""
    return np.stack([render(each[..., 0], azimuth) for each in occupancies])


def turning(
    occupancies: np.ndarray, columns: int | None = None, names: Sequence[str] = ()
) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The pictures of a full turn about the vertical axis of a grid of shapes; arguments as of `grid.image_grid`."""
    angles = AZIMUTH + 360 * np.arange(FRAMES) / FRAMES
    return [grid.image_grid(pictures(occupancies, angle), columns, names) for angle in angles]
