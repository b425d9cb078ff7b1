"""Meshes and binvox files as grids of voxels. Meshes are read and voxelised by the library trimesh, an extra."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jaxgan.errors import UserError, warn_once

MESHES = (".off", ".obj", ".stl", ".ply", ".glb")
MARGIN = 1  # empty voxels on every side of a voxelised mesh
LEAST = 2  # voxels of its longest side

Grid = Bool[np.ndarray, "x y z"]


def read_binvox(path: Path) -> Grid:
    """A grid in binvox's run-length form, with its own axes: x, then the second one, which binvox calls z, then y.

    References:
        Min, binvox, 2004. https://www.patrickmin.com/binvox/binvox.html

    Raises:
        UserError: the file is damaged.
    """
    try:
        head, data = path.read_bytes().split(b"data\n", 1)
        magic, *lines = head.decode("ascii").splitlines()
        if not magic.startswith("#binvox"):
            raise ValueError("it does not begin with #binvox")
        sides = next(line.split()[1:] for line in lines if line.startswith("dim"))
        depth, height, width = map(int, sides)
        runs = np.frombuffer(data, np.uint8).reshape(-1, 2)
        if int(runs[:, 1].sum(dtype=np.int64)) != depth * height * width:
            raise ValueError(f"its runs do not make {depth}x{height}x{width} voxels")
    except (OSError, ValueError, StopIteration) as error:
        raise UserError(f"{path} is no binvox file ({error or 'it has no line dim'})") from error
    values = np.repeat(runs[:, 0], runs[:, 1]).reshape(depth, height, width)
    return np.ascontiguousarray(values.transpose(0, 2, 1) != 0)


def voxelise(path: Path, size: int) -> Grid:
    """A mesh in a cube of voxels, its longest side over all but a margin, in the middle of the others, filled.

    Of a mesh that is not closed the surface alone becomes voxels, with a warning; what the voxels of the surface close
    off is filled nevertheless.

    Raises:
        UserError: trimesh is not installed, or it cannot read the file, or the grid is too small.
    """
    inside = size - 2 * MARGIN
    if inside < LEAST:
        raise UserError(f"config.data.size={size} must be at least {LEAST + 2 * MARGIN} for meshes such as {path}")
    try:
        import trimesh  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise UserError(f"{path} is a mesh, which needs the library trimesh: pip install trimesh") from error
    try:
        mesh = trimesh.load(path, force="mesh")
        extent = float(np.max(mesh.extents))
        # Voxels are the multiples of the pitch, rounded: the ends of the longest side lie half a voxel within the last.
        filled = mesh.voxelized(pitch=extent / (inside - 1)).fill().matrix if extent > 0 else None
    # Of a damaged file trimesh raises whatever it stumbles over.
    except Exception as error:
        raise UserError(f"{path} is no mesh that trimesh can read ({error or type(error).__name__})") from error
    if filled is None:
        raise UserError(f"{path} must be a mesh with some extent, and has none")
    if not mesh.is_watertight:
        warn_once(
            f"{path.parent} has meshes that are not closed: their surfaces become voxels, and only what these close "
            "off is filled"
        )
    filled = filled[:inside, :inside, :inside]
    before = [(size - side) // 2 for side in filled.shape]
    after = [size - side - first for side, first in zip(filled.shape, before, strict=True)]
    return np.pad(np.asarray(filled, bool), list(zip(before, after, strict=True)))
