"""Whole sets of images, decoded: those of a configuration, and those that an option of a program names."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxgan import config as configuration
from jaxgan.data import cache, sources, workers
from jaxgan.data.cache import CHUNK, LazyDataset
from jaxgan.data.dataset import ArrayDataset, with_digest
from jaxgan.data.decode import MODES, BadImageError, shape_of
from jaxgan.data.selection import Selection, select
from jaxgan.data.sizes import Size, format_size
from jaxgan.data.stored import place_of
from jaxgan.errors import UserError

Shape = tuple[int, int, int]


class ImageSet(NamedTuple):
    """A set of images that an option names, before it is decoded.

    Attributes:
        text: the option with its value.
        config: of the images.
        shapes: every height, width and number of channels, with the first image that has them.
    """

    text: str
    config: ConfigDict
    shapes: dict[Shape, str]


def decoded(config: ConfigDict) -> ArrayDataset:
    """The examples of a configuration, all of them decoded."""
    examples = sources.open_dataset(config)
    skip = config.data.get("on_bad_image") == "skip"
    return cache.in_memory(examples, skip) if isinstance(examples, LazyDataset) else with_digest(examples)


def open_image_sets(
    places: Mapping[str, str], settings: Mapping[str, object], size: Size | None = None
) -> list[ArrayDataset]:
    """Sets of images that options name, brought to one shape.

    Grey images become coloured if others have colours, and get an alpha if others have one. Without a size all images
    must have the same.

    Args:
        places: the value of each option.
        settings: of `config.data`, which the program has options for: "on_bad_image", "white", "max_pixels".
        size: that each image is brought to, as in training.

    Raises:
        UserError: there is no such set, it has bad images, or the images have several sizes.
    """
    found = [find_image_set(option, place, settings) for option, place in places.items()]
    channels, size = common_channels(found), size or common_size(found)
    opened = []
    for own in found:
        own.config.data.size, own.config.data.channels = size, channels
        with errors_of_options(own.text, own.config.data.source):
            opened.append(decoded(own.config))
    return opened


def open_pairs(places: Mapping[str, str], settings: Mapping[str, object], shape: Shape) -> ArrayDataset:
    """The images of two sets that belong together, as fields a and b: those of equal names, or in arrays of equal
    places.

    Args:
        places, settings: as of `open_image_sets`.
        shape: to which that brought the images.

    Raises:
        UserError: there is no pair.
    """
    found = [find_image_set(option, place, settings) for option, place in places.items()]
    config = configuration.default({"data.source": f"paired:{'|'.join(own.config.data.source for own in found)}"})
    config.data.update(settings)
    height, width, config.data.channels = shape
    config.data.size = height if height == width else format_size(height, width)
    config.data.split = found[0].config.data.split
    with errors_of_options("--paired", config.data.source):
        return decoded(config)


def find_image_set(option: str, place: str, settings: Mapping[str, object]) -> ImageSet:
    """The set that an option names; arguments and errors as of `open_image_sets`."""
    text = f"{option}={place}"
    with errors_of_options(text, place):
        path = place_of(place, place)
    known = place.partition(":")[0] in sources.SOURCES and not path.exists()
    if not known and not path.exists():
        raise UserError(f"{text} must be a folder or archive of images, an .npz file, or tfds:NAME: nothing is there")
    source = place if known else f"{'array' if path.suffix in ('.npz', '.npy') else 'folder'}:{place}"
    config = configuration.default({"data.source": source})
    if "size" not in config.data:
        raise UserError(f"{text} holds no images: runs on it are scored by --workdir")
    config.data.update(settings)
    with errors_of_options(text, source):
        read = sources.source_of(config.data).read
        if read is None:
            raise UserError(f"{text} must be one set of images")
        stored = read(source.partition(":")[2])
        config.data.split = "train" if "train" in stored.splits else next(iter(stored.splits))
        return ImageSet(text, config, shapes_of(select(config.data, stored), config.data))


@contextlib.contextmanager
def errors_of_options(text: str, source: str | None = None) -> Iterator[None]:
    """Names options instead of the configuration in a `UserError` about images.

    Args:
        text: the option that names the images, with its value.
        source: `config.data.source`, if the option has taken its place; None for those of a run.
    """
    try:
        yield
    except UserError as error:
        reason = str(error).replace("config.data.on_bad_image", "--on_bad_image")
        if source is not None:
            reason = reason.replace(f"config.data.source={source}", text)
            reason = re.sub(r"config\.data\.(white|max_pixels|size)", r"--\1", reason)
        raise UserError(reason if reason.startswith(text) else f"{text}: {reason}") from error


def shapes_of(images: Selection, data: ConfigDict) -> dict[Shape, str]:
    """Every shape of decoded images, with the first image that has it; files are looked into once.

    Raises:
        UserError: an image cannot be decoded, and bad ones are not to be skipped; or none can.
    """
    if images.in_arrays:
        (item,) = images.read(np.arange(1))
        return {shape_of(item.image, item.name): item.name}
    described = [cache.REVISION, images.content, float(data.white), data.max_pixels]
    found = cache.cached_arrays("shapes", described, lambda: scan(images, data))
    shapes, names, bad = (found[name].tolist() for name in ("shapes", "names", "bad"))
    if bad and data.on_bad_image != "skip":
        raise cache.refusal(bad[0])
    if not shapes:
        raise UserError(f"none of {len(images)} images can be used; the last: {bad[-1]}")
    return {tuple(shape): name for shape, name in zip(shapes, names, strict=True)}


def scan(images: Selection, data: ConfigDict) -> dict[str, np.ndarray]:
    """Looks into every image, with a progress bar if that takes long.

    Returns:
        shapes: int64 [n, 3], each once.
        names: of the first image of each shape.
        bad: what is wrong with the images that cannot be decoded.
    """

    def look(number: int) -> tuple[list[tuple[Shape, str]], list[str]]:
        good, bad = [], []
        for item in images.read(np.arange(number * CHUNK, min((number + 1) * CHUNK, len(images)))):
            try:
                good.append((shape_of(item.image, item.name, float(data.white), data.max_pixels), item.name))
            except BadImageError as error:
                bad.append(str(error))
        return good, bad

    shapes, reasons = {}, []
    with (
        contextlib.closing(workers.ordered_map(look, 0, -(-len(images) // CHUNK))) as chunks,
        tqdm(total=len(images), desc="looking at", unit=" images", delay=1, leave=False, disable=None) as bar,
    ):
        for good, bad in chunks:
            for shape, name in good:
                shapes.setdefault(shape, name)
            reasons += bad
            bar.update(len(good) + len(bad))
    return {
        "shapes": np.array(list(shapes), np.int64).reshape(-1, 3),
        "names": np.array(list(shapes.values()), str),
        "bad": np.array(reasons, str),
    }


def common_channels(sets: list[ImageSet]) -> int:
    """The channels that all images can be given; a `UserError` if there are none."""
    counts = [{shape[2] for shape in own.shapes} for own in sets]
    every = sorted(set.union(*counts))
    if len(every) > 1 and not set(every) <= MODES.keys():
        each = " and ".join(f"{own.text} has {max(count)}" for own, count in zip(sets, counts, strict=True))
        raise UserError(f"{each} channels: both must have as many, or 1, 3 or 4")
    return every[-1]


def common_size(sets: list[ImageSet]) -> Size:
    """The size that all images have; a `UserError` if they have several."""
    places: dict[tuple[int, int], str] = {}
    for own in sets:
        for shape, name in own.shapes.items():
            places.setdefault(shape[:2], f"{own.text} has {name} of {shape[0]}x{shape[1]}")
    height, width = map(min, zip(*places, strict=True))
    least = format_size(height, width)
    if len(places) > 1:
        first, second, *_ = places.values()
        raise UserError(f"{first} and {second} pixels, height and width: --size={least} brings all images to one size")
    return height if height == width else least


def format_shape(shape: tuple[int, ...]) -> str:
    """An image's shape as text."""
    return "x".join(map(str, shape))
