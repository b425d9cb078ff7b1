"""Images and labels in an .npz or .npy file."""

import contextlib
import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgan.data.labels import classes_of, named
from jaxgan.data.stored import Arrays, StoredArray, StoredImages, fingerprint, place_of, unreadable
from jaxgan.errors import UserError

MOST_DEFLATED = 1032  # bytes that one byte of an .npz file can become


def read(place: str) -> StoredImages:
    """An .npz file with `images` and, if there are any, `labels`; or an .npy file of images.

    With an array `classes`, as sample.py writes it, the labels count the names in it from 0.
    """
    path = place_of(f"array:{place}", place)
    if path.suffix not in (".npz", ".npy"):
        raise UserError(f"config.data.source=array:{place} must end in .npz or .npy")
    content = fingerprint(path.parent, [path.name])
    try:
        arrays = _stored_arrays(path)
    except Exception as error:  # of a damaged file NumPy and the modules under it raise whatever they stumble over
        raise unreadable(path, error) from error
    if "images" not in arrays:
        raise UserError(f"{path} must hold an array 'images', not {_contents(path, sorted(arrays))}")
    images = arrays["images"]
    if images.dtype != np.uint8 or len(images.shape) not in (3, 4) or 0 in images.shape or _is_channels_first(images):
        raise UserError(
            f"{path}: images of type {images.dtype} and shape {images.shape} must be uint8, [N, H, W] or [N, H, W, C]"
            f"{_conversion(images)}"
        )
    if "labels" not in arrays:
        return StoredImages({"train": Arrays(images, np.broadcast_to(np.int32(0), len(images)))}, (), content)
    try:
        labels = arrays["labels"].array
        if "classes" in arrays:
            labels = named(labels, arrays["classes"].array)
        classes, targets = classes_of(labels, len(images))
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
        return arrays | {
            name: _member(path, members, name) for name in ("images", "labels", "classes") if name in arrays
        }


def _member(path: Path, members: zipfile.ZipFile, name: str) -> StoredArray:
    with members.open(f"{name}.npy") as file:
        return _described(path, name, file, most=MOST_DEFLATED * path.stat().st_size)


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


def _is_channels_first(images: StoredArray) -> bool:
    """Whether the shape is [N, C, H, W]: a picture has a few channels and more pixels."""
    return len(images.shape) == 4 and images.shape[1] <= 4 < min(images.shape[2:])


def _conversion(images: StoredArray) -> str:
    """How images of another type or order become what they must be, as far as their values show."""
    if len(images.shape) not in (3, 4) or 0 in images.shape or images.dtype.kind not in "buif":
        return ""
    text = "images.transpose(0, 2, 3, 1)" if _is_channels_first(images) else "images"
    least, most = float(images.array.min()), float(images.array.max())
    if images.dtype == np.uint8:
        return f": channels come last, so save {text}"
    if least >= 0 and most <= 1:
        return f": values from 0 to 1, so save ({text} * 255.0).round().astype(np.uint8)"
    if least >= -1 and most <= 1:
        return f": values from -1 to 1, so save (({text} + 1.0) * 127.5).round().astype(np.uint8)"
    if least >= 0 and most <= 255:
        return f": values from 0 to 255, so save {text}.round().astype(np.uint8)"
    if images.dtype == np.uint16:
        return f": 16 bits, so save ({text} / 257).round().astype(np.uint8)"
    return f": values from {least:g} to {most:g}, which have to become 0 to 255"


def _contents(path: Path, names: Sequence[str]) -> str:
    """The arrays of an .npz file, and which of them could be the images and labels."""
    found = {}
    with zipfile.ZipFile(path) as members:
        for name in names:
            with contextlib.suppress(Exception):  # what cannot be read is only named
                found[name] = _member(path, members, name)
    text = ", ".join(f"{name} ({found[name].dtype}, {found[name].shape})" if name in found else name for name in names)
    images = next((name for name in names if name in found and len(found[name].shape) in (3, 4)), None)
    if images is None:
        return text or "nothing"
    shapes = ((len(found[images]),), (len(found[images]), 1))
    labels = next((name for name in names if name in found and found[name].shape in shapes), None)
    more = f", labels=arrays[{labels!r}]" if labels else ""
    return f"{text}: save it anew, by arrays = np.load(path) and np.savez(path, images=arrays[{images!r}]{more})"
