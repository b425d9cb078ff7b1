"""Images as they are stored, at random access: arrays, files, and what both have in common."""

import dataclasses
import functools
import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxgan.data.decode import Stored
from jaxgan.errors import UserError


class Item(NamedTuple):
    """One example as it is stored; `name` is what a person finds it by."""

    image: Stored
    label: int
    name: str


@runtime_checkable  # as the checks of types while testing need it
class Split(Protocol):
    """Examples at random access."""

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        """Some examples, in the order of their indices."""

    def labels(self) -> np.ndarray:
        """All labels: int32 [N]."""


class StoredImages(NamedTuple):
    """A data set.

    Attributes:
        splits: by name.
        classes: the name of each label; empty if the images have none.
        content: a text that is another one whenever the stored images are.
        from_labels: whether the classes are those of the labels that occur in any split, not of a list that comes with
            the data set; all splits then have `targets`.
    """

    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    content: str
    from_labels: bool = False


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in an .npz file, read at its first use, or in an .npy file, mapped into memory then.

    Another process is sent where it lies, not what it holds.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @functools.cached_property
    def array(self) -> np.ndarray:
        """What lies there, or a `UserError` if the file is damaged."""
        try:
            if self.path.suffix == ".npy":
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            with zipfile.ZipFile(self.path) as members, members.open(f"{self.name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        # Of a damaged file NumPy and the modules under it raise whatever they stumble over.
        except Exception as error:
            raise unreadable(self.path, error) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | np.integer | slice) -> np.ndarray:
        return self.array[index]

    def __reduce__(self) -> tuple:
        return StoredArray, (self.path, self.name, self.shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Images in an array, uint8 [N, H, W] or [N, H, W, C], or points, float32 [N, D]; and their labels, int32 [N]."""

    images: np.ndarray | StoredArray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        return [Item(self.images[i], int(self.targets[i]), f"image {i}") for i in indices]

    def labels(self) -> np.ndarray:
        return self.targets


@dataclasses.dataclass(frozen=True)
class Files:
    """Images in files, by their paths, and their labels, int32 [N]."""

    paths: Sequence[str]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        return [Item(self.paths[i], int(self.targets[i]), self.paths[i]) for i in indices]

    def labels(self) -> np.ndarray:
        return self.targets


def fingerprint(root: Path, paths: Iterable[str]) -> str:
    """A text that changes whenever one of the files below `root` is written, without reading any of them."""
    total = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=16)
    for path in sorted(paths):
        place = os.path.join(root, path)
        try:
            status = os.stat(place)
        except OSError:  # a link that leads nowhere, which is a bad image like others
            status = os.lstat(place)
        # A change time cannot be set back, unlike the time of modification.
        total.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} "))
    return total.hexdigest()


def place_of(source: str, place: str) -> Path:
    """The path that a source names, ~ and ~user spelt out."""
    try:
        if "\0" not in place:
            return Path(place).expanduser()
    except RuntimeError as error:
        raise UserError(f"config.data.source={source}: {error}") from error
    raise UserError(f"config.data.source={source!r} must not have a zero character")


def unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error) or type(error).__name__
    if "allow_pickle" in reason or "Python objects" in reason:
        reason = "it holds pickled objects, which are never loaded"
    return UserError(f"{path} cannot be read ({reason}): it must hold arrays of numbers")
