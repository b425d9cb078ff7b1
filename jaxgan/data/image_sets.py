"""Whole sets of images, decoded: those of a configuration, and those that an option of a program names."""

import io
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxgan import config as configuration
from jaxgan.data import cache, sources
from jaxgan.data.archives import is_archive
from jaxgan.data.cache import CHUNK, LazyDataset
from jaxgan.data.dataset import ArrayDataset, with_digest
from jaxgan.data.decode import Stored
from jaxgan.data.selection import select
from jaxgan.errors import UserError

GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # kinds of pictures with one channel


def decoded(config: ConfigDict) -> ArrayDataset:
    """The examples of a configuration, all of them decoded."""
    examples = sources.open_dataset(config)
    skip = config.data.get("on_bad_image") == "skip"
    return cache.in_memory(examples, skip) if isinstance(examples, LazyDataset) else with_digest(examples)


def shape_of(stored: Stored) -> tuple[int, int, int]:
    """Height, width and channels of an image as it is stored."""
    if callable(stored):
        stored = stored()
    if isinstance(stored, tuple):
        return (*shape_of(stored[0])[:2], len(stored))
    if isinstance(stored, np.ndarray):
        return (*stored.shape, 1)[:3]
    with Image.open(stored if isinstance(stored, str) else io.BytesIO(stored)) as image:
        return image.height, image.width, 1 if image.mode in GREY else 3


def open_image_set(option: str, place: str) -> ArrayDataset:
    """A set of images that an option names, just as they are.

    Raises:
        UserError: there is no such set, or it has no images, or they are not all squares of one size.
    """
    path = Path(place)
    known = place.partition(":")[0] in sources.SOURCES and not path.exists()
    in_file = path.suffix in (".npz", ".npy")
    if not (known or in_file or path.is_dir() or is_archive(path)):
        raise UserError(f"{option}={place} must be a folder of images, an .npz file, or tfds:NAME")
    source = place if known else f"array:{place}" if in_file else f"folder:{place}"
    config = configuration.default({"data.source": source})
    data = config.data
    if "size" not in data:
        raise UserError(f"{option}={place} holds no images: runs on it are scored by --workdir")
    stored = sources.source_of(data).read(source.partition(":")[2])
    data.split = "train" if "train" in stored.splits else next(iter(stored.splits))
    selection = select(data, stored)
    expected = None
    for start in range(0, 1 if selection.in_arrays else len(selection), CHUNK):  # an array's images have one shape
        for item in selection.read(np.arange(start, min(start + CHUNK, len(selection)))):
            found = shape_of(item.image)
            expected = expected or (found[0], found[0], found[2])
            if found != expected:
                raise UserError(f"{option}: {item.name} is {format_shape(found)}, and must be {format_shape(expected)}")
    data.size, data.channels = expected[1:]
    return decoded(config)


def format_shape(shape: tuple[int, ...]) -> str:
    """An image's shape as text."""
    return "x".join(map(str, shape))
