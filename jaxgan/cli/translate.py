"""What sample.py does with pictures in files: each becomes a picture of its own size under its own name."""

import argparse
import collections
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict
from tqdm import tqdm

from jaxgan import translation
from jaxgan.core.types import Task
from jaxgan.data import cache, formats, workers
from jaxgan.data.archives import is_archive
from jaxgan.data.decode import BadImageError, Stored, Transform, as_bad_image, pixels_of, shape_of
from jaxgan.data.image_sets import errors_of_options
from jaxgan.data.sizes import Size, height_width
from jaxgan.data.sources import folder
from jaxgan.errors import UserError
from jaxgan.io.run_folder import RestoredRun
from jaxgan.tiling import Image
from jaxgan.translation import least_side
from jaxgan.viz import grid, output

OPTIONS = ("size", "tile", "batch_size", "white", "max_pixels", "on_bad_image")  # which no other input has


class Picture(NamedTuple):
    """A picture that is to be translated.

    Attributes:
        path: below the folder or archive; the name of a single file.
        stored: where its pixels come from.
        name: for messages.
    """

    path: str
    stored: Stored
    name: str


def takes_pictures(options: argparse.Namespace, task: Task) -> bool:
    """Whether pictures of any size are translated, each on its own, and not examples of a run's size."""
    if task.sides is None or options.input is None or Path(options.input).suffix in (".npz", ".npy"):
        return False
    path = Path(options.input)
    return not (path.is_dir() or is_archive(path)) or not options.out.endswith((".png", ".npz"))


def find_pictures(place: str) -> list[Picture]:
    """The pictures that --input names.

    Raises:
        UserError: there are none.
    """
    path = Path(place)
    if path.is_dir() or is_archive(path):
        with errors_of_options(f"--input={place}"):
            found = folder.listing_of(place, f"--input={place}")
            paths = folder.pictures_of(found)
        if not paths:
            raise UserError(f"--input={place} holds no images ({formats.USUAL})")
        return [Picture(own, functools.partial(found.read, own), str(found.root / own)) for own in paths]
    if not path.exists():
        raise UserError(f"--input={place}: there is no such file or folder")
    if not path.is_file():
        raise UserError(f"--input={place} must be a file or a folder")
    if formats.is_foreign(place):
        raise UserError(f"--input={place} cannot be read: {formats.conversion(path.parent, [path.name])}")
    return [Picture(path.name, str(path), place)]


def out_paths(out: str, pictures: Sequence[Picture]) -> list[Path]:
    """Where each translation goes: FILE.png, or FOLDER/ with the names and sub-folders of the inputs, as PNG.

    Of inputs whose names differ in their suffixes alone, these stay a part of the name.
    """
    if out.endswith(".png"):
        return [Path(out)]
    plain = [Path(out) / Path(picture.path).with_suffix(".png") for picture in pictures]
    counts = collections.Counter(plain)
    return [
        path.with_name(f"{Path(picture.path).name}.png") if counts[path] > 1 else path
        for path, picture in zip(plain, pictures, strict=True)
    ]


def check_apart(place: str, paths: Sequence[Path]) -> None:
    """Raises a `UserError` if a translation would be written over an input or among the inputs."""
    source = Path(place).resolve()
    for path in paths:
        target = path.resolve()
        if target == source or (source.is_dir() and source in target.parents):
            raise UserError(
                f"--out would write {path} over or among the pictures of --input={place}: choose another place"
            )


def decoded(
    data: ConfigDict, options: argparse.Namespace, channels: int, least: int, picture: Picture
) -> Image | BadImageError:
    """A picture as the networks were trained on such, at its own size unless --size is given.

    Args:
        data: `config.data` of the run.
        options: of the command.
        channels: that the networks take.
        least: pixels that each side needs.
        picture: to be decoded.

    Returns:
        uint8 [height, width, channels], or what is wrong.
    """
    white = float(data.white if options.white is None else options.white)
    max_pixels = options.max_pixels or data.max_pixels
    try:
        if options.size is not None:
            size = asked_size(options.size, picture, white, max_pixels)
            whole = isinstance(options.size, int) or data.fit == "stretch"
            transform = Transform(size, size, channels, True, white, max_pixels, whole)
            return transform(picture.stored, picture.name)
        with as_bad_image(picture.name, max_pixels):
            pixels = pixels_of(picture.stored, channels, white, max_pixels)
            height, width, _ = pixels.shape
            if min(height, width) < least:
                raise UserError(
                    f"{height}x{width} pixels, height and width, are too few: {least} on each side are the least, and "
                    "--size enlarges it"
                )
            return pixels
    except BadImageError as error:
        return error


def asked_size(size: Size, picture: Picture, white: float, max_pixels: int) -> tuple[int, int]:
    """The height and width that --size asks for: of a picture whose shorter side is to have N pixels, or HxW."""
    if isinstance(size, str):
        return height_width(size)
    sides = shape_of(picture.stored, picture.name, white, max_pixels)[:2]
    height, width = ((side * size + min(sides) // 2) // min(sides) for side in sides)
    return height, width


def images_of(
    pictures: Sequence[Picture], decode: Callable[[Picture], Image | BadImageError], skip_bad: bool
) -> Iterator[tuple[int, Image]]:
    """The index and the pixels of each picture that can be used; bad ones are reported at the end.

    Raises:
        UserError: a picture is bad, and bad ones are not to be skipped; or none is left.
    """
    bad = []
    with contextlib.closing(workers.ordered_map(lambda i: decode(pictures[i]), 0, len(pictures), ahead=1)) as images:
        for index, found in enumerate(images):
            if not isinstance(found, BadImageError):
                yield index, found
                continue
            bad.append(str(found))
            if not skip_bad:
                raise cache.refusal(bad[0]) if len(pictures) > 1 else found
    if len(bad) == len(pictures):
        raise UserError(f"none of {len(pictures)} images can be used; the last: {bad[-1]}")
    cache.report(bad, len(pictures))


def run_on_pictures(options: argparse.Namespace, restored: RestoredRun, name: str) -> str:
    """Translates pictures, and writes each; returns what it wrote."""
    exp, variables, *_ = restored
    pictures = find_pictures(options.input)[: options.num]
    if options.out.endswith(".npz"):
        raise UserError(f"--out={options.out} must be FILE.png or FOLDER/ for a picture")
    paths = out_paths(options.out, pictures)
    check_apart(options.input, paths)
    output.check_folder(options.out, paths)
    task, data = exp.algorithm.tasks[name], exp.config.data
    least = least_side(task.sides(exp))
    if options.size is not None and min(height_width(options.size)) < least:
        raise UserError(f"--size={options.size} must be at least {least} pixels on each side")
    (channels,) = (field.shape[-1] for field in exp.fields if field.name in task.needs(exp))
    how = translation.Options(options.seed, options.tile, options.batch_size or 1)
    count = 0
    with tqdm(total=len(pictures), desc="translating", unit=" images", delay=1, leave=False, disable=None) as bar:
        decode = functools.partial(decoded, data, options, channels, least)
        images = images_of(pictures, decode, (options.on_bad_image or data.on_bad_image) == "skip")
        with errors_of_options(f"--input={options.input}", f"folder:{options.input}"):
            for index, image in translation.translate(exp, name, variables, images, how):
                paths[index].parent.mkdir(parents=True, exist_ok=True)
                grid.save_png(paths[index], grid.as_png(image))
                count += 1
                bar.update()
    return f"{count} image{'s' * (count > 1)}"
