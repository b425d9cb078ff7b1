"""Decoded images on disk, so that a data set is decoded once: uint8, mapped into memory.

They lie in $JAXGAN_DATA_CACHE, ~/.cache/jaxgan/data if it is not set: one folder for each choice of examples and
transform, which can be removed at any time.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxgan.core.types import Field
from jaxgan.data import workers
from jaxgan.data.dataset import ArrayDataset, Rows, from_arrays, image_dataset, image_fields, no_rows
from jaxgan.data.decode import BadImageError, Transform
from jaxgan.data.selection import Selection
from jaxgan.errors import UserError, warn, warn_once
from jaxgan.io.files import atomic_write, file_lock, make_folder, unfinished

CHUNK = 64  # images that are decoded at a time
REVISION = 2  # of what decode.py makes of an image; after a change of that all is decoded anew

Decoded = tuple[list[np.ndarray], list[int], list[str]]  # images, their labels, and what is wrong with other ones


@dataclasses.dataclass(frozen=True)
class LazyDataset:
    """Images that are decoded anew whenever they are read; otherwise like an `ArrayDataset` of images."""

    selection: Selection
    transform: Transform
    digest: str = ""

    def __len__(self) -> int:
        return len(self.selection)

    rows = staticmethod(no_rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.transform.size, self.transform.channels)

    @property
    def fields(self) -> tuple[Field, ...]:
        return image_fields(self.shape)

    @property
    def groups(self) -> dict[str, int]:
        return {"": len(self)}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.selection.classes

    def decode(self, indices: np.ndarray) -> Decoded:
        """The images that can be decoded, their labels, and what is wrong with the others."""
        images, labels, bad = [], [], []
        for item in self.selection.read(indices):
            try:
                images.append(self.transform(item.image, item.name))
                labels.append(item.label)
            except BadImageError as error:
                bad.append(str(error))
        return images, labels, bad

    def batch(self, rows: Rows) -> dict[str, np.ndarray]:
        """As `ArrayDataset.batch`, or a `UserError` if an image cannot be decoded; all fields have the same rows."""
        return self.take(rows["images"])

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """As `ArrayDataset.take`, or a `UserError` if an image cannot be decoded."""
        images, labels, bad = self.decode(indices)
        if bad:
            raise UserError(f"{bad[0]}: repair it, and the same command goes on")
        return {"images": np.stack(images), "labels": np.int32(labels)}

    def chunk(self, number: int) -> Decoded:
        """`decode` of the examples from `number` times CHUNK on."""
        return self.decode(np.arange(number * CHUNK, min((number + 1) * CHUNK, len(self))))

    def chunks(self, skip_bad: bool) -> Iterator[Decoded]:
        """All examples in order, decoded by all cores, with a progress bar if that takes long.

        Raises:
            UserError: an image cannot be decoded, and bad ones are not to be skipped; or none can.
        """
        left = len(self)
        with (
            contextlib.closing(workers.ordered_map(self.chunk, 0, -(-left // CHUNK))) as chunks,
            tqdm(total=left, desc="decoding", unit=" images", delay=1, leave=False, disable=None) as bar,
        ):
            for images, labels, bad in chunks:
                left -= len(bad)
                if bad and not skip_bad:
                    raise refusal(bad[0])
                if not left:
                    raise UserError(f"none of {len(self)} images can be used; the last: {bad[-1]}")
                yield images, labels, bad
                bar.update(len(images) + len(bad))


def refusal(reason: str) -> UserError:
    """Why a data set with a bad image is not used, and what to do about it."""
    return UserError(f"{reason}: repair it, remove it, or set config.data.on_bad_image=skip")


def report(bad: list[str], total: int) -> None:
    """Tells which images are left out, if any are."""
    if bad:
        more = f", and so on; the others: {len(bad) - 3}" if len(bad) > 3 else ""
        warn(f"{len(bad)} of {total} images are left out: {'; '.join(bad[:3])}{more}")


def folder() -> Path:
    """Where all caches lie."""
    try:
        return Path(os.environ.get("JAXGAN_DATA_CACHE") or "~/.cache/jaxgan/data").expanduser()
    except RuntimeError as error:
        raise UserError(f"set JAXGAN_DATA_CACHE to a folder for decoded images: {error}") from error


def is_cached(place: Path) -> bool:
    """Whether something lies in a cache; an `OSError` if it does not and cannot be put there."""
    if place.exists():
        return True
    make_folder(place.parent)
    return False


def load(place: Path) -> ArrayDataset:
    """A finished cache.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is not whole.
    """
    about = json.loads((place / "about.json").read_text())
    images = np.memmap(place / "images", np.uint8, "r", shape=tuple(about["shape"]))
    labels = np.memmap(place / "labels", np.int32, "r", shape=images.shape[:1])
    return image_dataset(images, labels, tuple(about["classes"]), about["digest"], functools.partial(load, place))


def cached(undecoded: LazyDataset, skip_bad: bool) -> ArrayDataset:
    """The decoded data set, from the cache if it is there, and put there if not; one process at a time decodes.

    Raises:
        BadImageError: an image cannot be decoded, and bad ones are not to be skipped.
        UserError: no image is left, or the disk is full.
    """
    described = [REVISION, undecoded.selection.content, dataclasses.asdict(undecoded.transform)]
    place = folder() / hashlib.blake2b(json.dumps(described).encode(), digest_size=16).hexdigest()
    try:
        finished = is_cached(place)
    except OSError as error:
        raise UserError(
            f"{place.parent} cannot be written ({error.strerror}): set JAXGAN_DATA_CACHE to another folder, or "
            "config.data.cache=False, which decodes images anew whenever they are used"
        ) from error
    if not finished:
        with file_lock(place.with_suffix(".lock")):
            if not place.exists():  # which another process may have seen to
                with unfinished(place.with_suffix(".partial")) as partial:
                    write(undecoded, skip_bad, partial)
                    partial.rename(place)
    try:
        examples, bad = load(place), json.loads((place / "bad.json").read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} is damaged ({error}): remove it, and the images are decoded again") from error
    if bad and not skip_bad:
        raise refusal(bad[0])
    report(bad, len(examples) + len(bad))
    undecoded.selection.check_classes(examples.labels)
    return examples


def write(undecoded: LazyDataset, skip_bad: bool, place: Path) -> None:
    """Decodes a data set into a new folder.

    The files are written, not mapped: on a full disk a write fails, where a mapped page would end the process.
    """
    shutil.rmtree(place, ignore_errors=True)  # of a process that was killed
    place.mkdir()
    total, labels, bad = hashlib.blake2b(digest_size=16), [], []
    try:
        with (place / "images").open("wb") as file:
            for images, targets, reasons in undecoded.chunks(skip_bad):
                for image in images:
                    pixels = image.tobytes()
                    total.update(pixels)
                    file.write(pixels)
                labels += targets
                bad += reasons
        stored = np.int32(labels).tobytes()
        total.update(stored)
        (place / "labels").write_bytes(stored)
        about = {
            "source": undecoded.selection.name,
            "transform": dataclasses.asdict(undecoded.transform),
            "shape": (len(labels), *undecoded.shape),
            "classes": undecoded.classes,
            "digest": total.hexdigest(),
        }
        (place / "about.json").write_text(json.dumps(about, indent=2))
        (place / "bad.json").write_text(json.dumps(bad, indent=2))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        size = len(undecoded) * np.prod(undecoded.shape) / 2**30
        raise UserError(
            f"{place.parent} cannot hold {size:.3g} GiB of decoded images ({error.strerror}): make room, choose "
            "another JAXGAN_DATA_CACHE, or set config.data.cache=False"
        ) from error


def in_memory(undecoded: LazyDataset, skip_bad: bool) -> ArrayDataset:
    """The decoded data set without a cache; errors as of `cached`, but for the disk."""
    images = np.empty((len(undecoded), *undecoded.shape), np.uint8)
    labels, bad = [], []
    for some, targets, reasons in undecoded.chunks(skip_bad):
        if some:
            images[len(labels) : len(labels) + len(some)] = some
        labels += targets
        bad += reasons
    report(bad, len(undecoded))
    undecoded.selection.check_classes(np.int32(labels))
    return from_arrays(images[: len(labels)], np.int32(labels), undecoded.classes)


def cached_arrays(kind: str, described: object, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays that take long to make, from an .npz file if it is there, and put there if not; one process makes them.

    Args:
        kind: of the arrays, which is the name of a folder.
        described: all that decides them.
        make: makes them.

    Raises:
        UserError: the file is damaged.
    """
    name = hashlib.blake2b(json.dumps(described).encode(), digest_size=16).hexdigest()
    path = folder() / kind / f"{name}.npz"
    try:
        finished = is_cached(path)
    except OSError as error:
        warn_once(f"{path.parent} cannot be written ({error.strerror}): set JAXGAN_DATA_CACHE, or each start is slower")
        return make()
    if not finished:
        with file_lock(path.with_suffix(".lock")):
            if not path.exists():
                arrays = make()
                with atomic_write(path) as partial, partial.open("wb") as file:
                    np.savez(file, **arrays)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): remove it, and it is made again") from error
