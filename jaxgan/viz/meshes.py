"""Grids of voxels as meshes of triangles, in files of the kinds .obj, .ply and .glb."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt32

from jaxgan.errors import UserError
from jaxgan.io.files import atomic_write
from jaxgan.viz.shapes import LEVEL

GAP = 1.1  # from one shape of a file to the next, in sides of a grid


class Mesh(NamedTuple):
    """Triangles.

    Attributes:
        vertices: points, of which the last coordinate points up; the side of a grid has a length of 1.
        faces: indices of three vertices each, against the clock as seen from outside.
    """

    vertices: Float32[np.ndarray, "vertices 3"]
    faces: UInt32[np.ndarray, "faces 3"]


def marching_cubes(occupancy: Float[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"]) -> Mesh:
    """The closed surface of a grid where the occupancy is `LEVEL`; an empty grid has none.

    References:
        Lewiner et al., Efficient implementation of Marching Cubes' cases with topological guarantees, 2003, as
        scikit-image has it.

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage import measure  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise UserError("meshes need the library scikit-image: pip install scikit-image") from error
    values = np.pad(np.asarray(occupancy, np.float32), 1)  # or surfaces would be open at the border
    if not values.max() > LEVEL:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))
    vertices, faces, *_ = measure.marching_cubes(values, LEVEL, gradient_direction="ascent")
    return Mesh(np.float32((vertices - 0.5) / max(occupancy.shape)), np.uint32(faces))


def side_by_side(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one, along the first axis."""
    counts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = [mesh.vertices + np.float32([GAP * place, 0, 0]) for place, mesh in enumerate(meshes)]
    faces = [mesh.faces + np.uint32(first) for mesh, first in zip(meshes, counts, strict=False)]
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def to_obj(mesh: Mesh) -> bytes:
    """Wavefront's text: vertices, then faces, which count vertices from 1."""
    lines = [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in mesh.vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in mesh.faces.astype(np.int64) + 1]
    return ("\n".join(lines) + "\n").encode()


def to_ply(mesh: Mesh) -> bytes:
    """Stanford's polygon file, binary."""
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "end_header"]
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("vertices", "<i4", 3)])
    faces["count"], faces["vertices"] = 3, mesh.faces
    return ("\n".join(head) + "\n").encode() + mesh.vertices.astype("<f4").tobytes() + faces.tobytes()


def to_glb(mesh: Mesh) -> bytes:
    """glTF 2.0, binary, whose second axis points up: a header, a chunk of JSON and one of numbers."""
    x, y, z = mesh.vertices.T
    vertices = np.stack([x, z, -y], axis=1).astype("<f4")
    data = vertices.tobytes() + mesh.faces.astype("<u4").tobytes()
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": vertices.nbytes, "target": 34962},
        {"buffer": 0, "byteOffset": vertices.nbytes, "byteLength": mesh.faces.nbytes, "target": 34963},
    ]
    box = {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()} if len(vertices) else {}
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3", **box},
        {"bufferView": 1, "componentType": 5125, "count": mesh.faces.size, "type": "SCALAR"},
    ]
    about = {
        "asset": {"version": "2.0", "generator": "jaxgan"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(data)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(about).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


FORMATS: dict[str, Callable[[Mesh], bytes]] = {".obj": to_obj, ".ply": to_ply, ".glb": to_glb}


def save(path: Path, occupancies: np.ndarray) -> None:
    """Writes the surfaces of grids [n, x, y, z, 1] side by side into one file, all of it or nothing.

    Raises:
        UserError: scikit-image is not installed, or all grids are empty.
    """
    mesh = side_by_side([marching_cubes(each[..., 0]) for each in occupancies])
    if not len(mesh.faces):
        raise UserError(f"--out={path}: all {len(occupancies)} shapes are empty, so there is no surface to write")
    with atomic_write(path) as partial:
        partial.write_bytes(FORMATS[path.suffix](mesh))
