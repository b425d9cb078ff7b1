"""From stored images to the images of an experiment: decoded, resized, cached."""

import functools
from collections.abc import Callable

from ml_collections import ConfigDict

from jaxgan.core.settings import NOT_NEGATIVE, POSITIVE, Setting, Settings, one_of
from jaxgan.core.types import Field
from jaxgan.data import cache
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset, image_dataset, image_fields
from jaxgan.data.decode import MODES, Transform
from jaxgan.data.image_files import MAX_PIXELS
from jaxgan.data.selection import SELECTION_SETTINGS, select
from jaxgan.data.sizes import SIZE, SIZE_OR_ZERO, format_size, height_width
from jaxgan.data.sources import stacked
from jaxgan.data.stored import StoredImages
from jaxgan.errors import UserError

Reader = Callable[[str], StoredImages]  # what follows the colon -> images

CENTER = ("centre", "center")
SETTINGS: Settings = {
    **SELECTION_SETTINGS,
    "size": Setting(32, "pixels, height and width: 64, or 64x96", SIZE, or_text=True),
    "channels": Setting(1, "1 makes colours grey, 3 makes grey images coloured, 4 keeps transparency", POSITIVE),
    "load_size": Setting(
        0, "pixels before cropping, as in size, at least the size, which is taken for 0", SIZE_OR_ZERO, or_text=True
    ),
    "crop": Setting("centre", "which part of load_size is kept; random: anew at each visit", one_of(*CENTER, "random")),
    "fit": Setting(
        "crop",
        "crop: the largest rectangle of load_size's shape in the middle of an image; stretch: all of it",
        one_of("crop", "stretch"),
    ),
    "flip": Setting(False, "half of the images, drawn anew at each visit, are mirrored left to right"),
    "white": Setting(
        0.0,
        "the number that is white in files of more than 8 bits, such as 4095; 0: as their format says",
        NOT_NEGATIVE,
    ),
    "max_pixels": Setting(MAX_PIXELS, "files that claim to have more pixels are bad images", POSITIVE, resumable=True),
    "upscale": Setting(True, "enlarge images that are too small, instead of calling them bad"),
    "on_bad_image": Setting(
        "error",
        "skip: train without the images that cannot be used, and report them",
        one_of("error", "skip"),
        resumable=True,  # if it leaves images out, the run folder's data.json tells
    ),
    "cache": Setting(True, "keep decoded images on disk", resumable=True),
}


def fields(data: ConfigDict) -> tuple[Field, ...]:
    """Of a batch."""
    return image_fields((*height_width(data.size), data.channels))


def transform_of(data: ConfigDict) -> Transform:
    """What happens to each image before training; a `UserError` if settings contradict each other."""
    size = height_width(data.size)
    load_size = height_width(data.load_size if any(height_width(data.load_size)) else data.size)
    margin = min(load_size[0] - size[0], load_size[1] - size[1])
    if margin < 0 or (data.crop == "random" and load_size == size):
        least = format_size(*(side + (data.crop == "random") for side in size))
        larger = format_size(*(-(-side * 9 // 8) for side in size))
        advice = f"make it {larger}" + (", or set config.data.crop=centre" if data.crop == "random" else "")
        raise UserError(
            f"config.data.load_size={data.load_size} must be at least {least}, since the {data.crop} crop cuts "
            f"config.data.size={data.size} pixels out of it: {advice}"
        )
    kept, options = load_size if data.crop == "random" else size, (data.upscale, float(data.white), data.max_pixels)
    return Transform(load_size, kept, data.channels, *options, data.fit == "stretch")


def check_channels(data: ConfigDict) -> None:
    """Raises a `UserError` if pictures cannot have that many channels."""
    if data.channels not in MODES:
        raise UserError(
            f"config.data.channels={data.channels} must be 1 (grey), 3 (colour) or 4 (colour and alpha) "
            f"for {data.source}"
        )


def open_images(config: ConfigDict, read: Reader) -> ArrayDataset | LazyDataset:
    """The images of an experiment, at the size and with the channels that the configuration asks for.

    Raises:
        UserError: there is no such data set, or something is wrong with it.
    """
    data = config.data
    kind, _, place = data.source.partition(":")
    transform, selection = transform_of(data), select(data, read(place))
    if kind == "stacked" and data.channels != stacked.STACK:
        raise UserError(f"config.data.channels={data.channels} must be {stacked.STACK} for {data.source}")
    if not selection.in_arrays:
        check_channels(data)
    lazy = LazyDataset(selection, transform)
    if kind == "array" and place.endswith(".npy") and len(selection.parts) == 1:
        split, start, stop = selection.parts[0]
        if split.images.shape[1:] == lazy.shape:  # as they are wanted: no copy of a file that may be huge
            reopen = functools.partial(open_images, config, read)
            return image_dataset(split.images[start:stop], split.targets[start:stop], selection.classes, reopen=reopen)
    skip_bad = data.on_bad_image == "skip"
    if kind == "digits":  # which are decoded in no time
        return cache.in_memory(lazy, skip_bad)
    return cache.cached(lazy, skip_bad) if data.cache else lazy
