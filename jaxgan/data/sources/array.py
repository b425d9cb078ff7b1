"""Images and labels in an .npz or .npy file."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from jaxgan.data.labels import classes_of
from jaxgan.data.stored import Arrays, StoredArray, StoredImages, fingerprint, place_of, unreadable
from jaxgan.errors import UserError

MOST_DEFLATED = 1032  # bytes that one byte of an .npz file can become


def read(place: str) -> StoredImages:
    """An .npz file with `images` and, if there are any, `labels`; or an .npy file of images."""
    path = place_of(f"array:{place}", place)
    if path.suffix not in (".npz", ".npy"):
        raise UserError(f"config.data.source=array:{place} must end in .npz or .npy")
    content = fingerprint(path.parent, [path.name])
    try:
        arrays = _stored_arrays(path)
    except Exception as error:  # as above
        raise unreadable(path, error) from error
    if "images" not in arrays:
        raise UserError(f"{path} must hold an array 'images', not {', '.join(sorted(arrays)) or 'nothing'}")
    images = arrays["images"]
    if images.dtype != np.uint8 or len(images.shape) not in (3, 4) or 0 in images.shape:
        raise UserError(
            f"{path}: images of type {images.dtype} and shape {images.shape} must be uint8, [N, H, W] or [N, H, W, C]"
        )
    if "labels" not in arrays:
        return StoredImages({"train": Arrays(images, np.broadcast_to(np.int32(0), len(images)))}, (), content)
    try:
        classes, targets = classes_of(arrays["labels"].array, len(images))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return StoredImages({"train": Arrays(images, targets)}, classes, content, from_labels=True)


def _stored_arrays(path: Path) -> dict[str, StoredArray | None]:
    """The members of an .npz file by name, None for those that nobody asks for; an .npy file holds `images`."""
    if path.suffix == ".npy":
        with path.open("rb") as file:
            return {"images": _described(path, "images", file, most=path.stat().st_size)}
    with zipfile.ZipFile(path) as members:
        arrays = {name.removesuffix(".npy"): None for name in members.namelist()}
        for name in {"images", "labels"} & arrays.keys():
            with members.open(f"{name}.npy") as file:
                arrays[name] = _described(path, name, file, most=MOST_DEFLATED * path.stat().st_size)
    return arrays


def _described(path: Path, name: str, file: io.BufferedIOBase, most: int) -> StoredArray:
    """An array by its header alone, which is believed up to `most` bytes."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > most:
        raise ValueError(f"its header claims {name} of shape {shape}, which are not in a file this small")
    return StoredArray(path, name, shape, dtype)
