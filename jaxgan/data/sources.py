"""What the real examples are, and where they lie: images as they are stored, at random access."""

import dataclasses
import functools
import hashlib
import io
import itertools
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from ml_collections import ConfigDict

from jaxgan.data import gaussian_mixtures
from jaxgan.data.decode import Stored
from jaxgan.errors import UserError, choose

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS = ("train", "test", "val", "validation")
STACK = 3  # images in one of "stacked"
STACKS, TEST_STACKS = 128_000, 26_000  # of the training split, as PacGAN has, and of any other one
MOST_DEFLATED = 1032  # bytes that one byte of an .npz file can become
MOST_CLASSES = 100_000  # that labels in an array may have: more of them are no labels


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


class Source(NamedTuple):
    """A data set.

    Attributes:
        splits: by name.
        classes: the name of each label; empty if the images have none.
        content: a text that is another one whenever the stored images are.
    """

    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    content: str


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
            raise _unreadable(self.path, error) from error

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


@dataclasses.dataclass(frozen=True)
class Stacked:
    """Images of another split at random, made grey, one in each channel; their labels count through all combinations.

    Attributes:
        name: of the data set and its split.
        base: where the images come from.
        chosen: which ones: int [N, STACK].
        classes: how many labels the images have; 0 for none.
    """

    name: str
    base: Split
    chosen: np.ndarray
    classes: int

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        indices = [int(i) for i in indices]
        parts, places = np.unique(self.chosen[indices], return_inverse=True)
        items, places = self.base.read(parts), places.reshape(-1, STACK)
        labels = self._combined(np.int32([item.label for item in items])[places])
        images = [tuple(items[place].image for place in row) for row in places]
        names = [f"{self.name} {i}" for i in indices]
        return [Item(*parts) for parts in zip(images, labels.tolist(), names, strict=True)]

    def labels(self) -> np.ndarray:
        return self._combined(self.base.labels()[self.chosen])

    def _combined(self, labels: np.ndarray) -> np.ndarray:
        """The labels of the channels as one, -1 if one of them is unknown: int32 [N]."""
        combined = np.ravel_multi_index(np.maximum(labels, 0).T, (max(self.classes, 1),) * STACK)
        return np.where((labels < 0).any(1), -1, combined).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Records:
    """Images in records of TensorFlow Datasets.

    Attributes:
        name: of the data set and its split.
        records: a data source of TFDS that leaves images encoded.
        image, label: names of features; no label for None.
    """

    name: str
    records: Sequence[Mapping]
    image: str
    label: str | None

    def __len__(self) -> int:
        return len(self.records)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        indices = [int(i) for i in indices]
        found = zip(indices, self.records.__getitems__(indices), strict=True)
        return [Item(x[self.image], int(x[self.label]) if self.label else 0, f"{self.name} {i}") for i, x in found]

    def labels(self) -> np.ndarray:
        parts = np.array_split(np.arange(len(self)), -(-len(self) // 1024))
        return np.int32([item.label for part in parts for item in self.read(part)])


def digits(place: str) -> Source:
    """1,797 handwritten digits, 8x8 grey, inside scikit-learn: the test half of the UCI optical recognition set."""
    if place:
        raise UserError(f"config.data.source=digits:{place} should be digits alone: they lie inside scikit-learn")
    from sklearn.datasets import load_digits  # noqa: PLC0415  (slow to import, and needed by this source alone)

    loaded = load_digits()
    images = np.round(loaded.images * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0 to 16
    train = Arrays(images[..., None], loaded.target.astype(np.int32))
    return Source({"train": train}, tuple(map(str, loaded.target_names)), "digits")


def array(place: str) -> Source:
    """An .npz file with `images` and, if there are any, `labels`; or an .npy file of images."""
    path = _place(f"array:{place}", place)
    if path.suffix not in (".npz", ".npy"):
        raise UserError(f"config.data.source=array:{place} should end in .npz or .npy")
    content = fingerprint(path.parent, [path.name])
    try:
        arrays = _stored_arrays(path)
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    if "images" not in arrays:
        raise UserError(f"{path} should hold an array 'images', not {', '.join(sorted(arrays)) or 'nothing'}")
    images = arrays["images"]
    if images.dtype != np.uint8 or len(images.shape) not in (3, 4) or 0 in images.shape:
        raise UserError(
            f"{path}: images of type {images.dtype} and shape {images.shape} should be uint8, [N, H, W] or [N, H, W, C]"
        )
    if "labels" not in arrays:
        return Source({"train": Arrays(images, np.broadcast_to(np.int32(0), len(images)))}, (), content)
    labels = arrays["labels"].array
    numbers = labels.dtype.kind in "iu" and labels.shape == images.shape[:1]
    if not (numbers and 0 <= labels.min() <= labels.max() < MOST_CLASSES):
        raise UserError(
            f"{path}: labels of type {labels.dtype} and shape {labels.shape} should be {len(images)} whole numbers "
            f"from 0 to {MOST_CLASSES - 1}"
        )
    classes = tuple(map(str, range(labels.max() + 1)))
    return Source({"train": Arrays(images, labels.astype(np.int32))}, classes, content)


def folder(place: str) -> Source:
    """Images in a folder, or in one sub-folder per class; either of it once for each split, in folders of their names.

    The examples of a split come in the order of a hash of their names, so that train[:10%] holds every class. Their
    label is -1, unknown, in a split without sub-folders beside one with them.
    """
    root = _place(f"folder:{place}", place).absolute()
    if not (place and root.is_dir()):
        raise UserError(f"config.data.source=folder:{place}: there is no such folder")
    files, folders = _scan(root)
    tops = [path for path in folders if _within(path, "")]
    bases = {"train": ""}
    if tops and all(name.lower() in SPLIT_FOLDERS for name in tops):
        bases = {name.lower(): name + os.sep for name in tops}
        for path in files:
            if _within(path, ""):
                raise _stray(root, path)
    found = {split: _by_class(root, base, files, folders) for split, base in bases.items()}
    classes = tuple(sorted({name for by_class in found.values() for name in by_class} - {""}))
    parts = {}
    for split, by_class in found.items():
        labels = {name: classes.index(name) if name else -bool(classes) for name in by_class}
        pairs = [(path, labels[name]) for name, paths in by_class.items() for path in paths]
        pairs.sort(key=lambda pair: hashlib.blake2b(os.fsencode(pair[0])).digest())
        paths = [os.path.join(root, path) for path, _ in pairs]
        parts[split] = Files(paths, np.int32([label for _, label in pairs]))
    return Source(parts, classes, fingerprint(root, files))


def tfds(place: str) -> Source:
    """An image data set of TensorFlow Datasets, `name` or `name:version`, prepared first if it was not."""
    import tensorflow_datasets as library  # noqa: PLC0415  (slow to import, and needed by this source alone)

    from jaxgan.data import prepare  # noqa: PLC0415

    builder = prepare.prepared_builder(place)
    features = builder.info.features
    image = _feature(features, library.features.Image, "image")
    label = _feature(features, library.features.ClassLabel, "label")
    if not image:
        found = ", ".join(sorted(features))
        raise UserError(f"tfds:{place} should have one image in each example, or one that is called image, not {found}")
    decoders = {image: library.decode.SkipDecoding()}
    parts = {
        name: Records(f"tfds:{place} {name}", builder.as_data_source(name, decoders=decoders), image, label)
        for name, info in builder.info.splits.items()
        if info.num_examples
    }
    files = [path.name for path in Path(builder.data_path).iterdir()]
    classes = tuple(features[label].names) if label else ()
    return Source(parts, classes, fingerprint(Path(builder.data_path), files))


def stacked(place: str) -> Source:
    """Three random images of another source in the three channels: stacked:tfds:mnist has 10 x 10 x 10 classes.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, 2017, section 3.3.1. https://arxiv.org/abs/1611.02163
        Lin et al., PacGAN, 2018, section 4.2. https://arxiv.org/abs/1712.04086
    """
    kind, _, rest = place.partition(":")
    if kind in ("world", "stacked"):
        raise UserError(f"config.data.source=stacked:{place} should stack images: stacked:tfds:mnist")
    base = SOURCES[choose("config.data.source stacked", kind, SOURCES)](rest)
    if len(base.classes) ** STACK > MOST_CLASSES:
        raise UserError(
            f"config.data.source=stacked:{place} would have {len(base.classes)}**{STACK} classes, and should have at "
            f"most {MOST_CLASSES}"
        )
    between = "" if all(len(name) == 1 for name in base.classes) else " "
    parts = {}
    for name, split in base.splits.items():
        count = STACKS if name == "train" else TEST_STACKS
        chosen = np.random.default_rng([*name.encode()]).integers(len(split), size=(count, STACK))
        parts[name] = Stacked(f"stacked:{place} {name}", split, chosen, len(base.classes))
    classes = tuple(map(between.join, itertools.product(base.classes, repeat=STACK))) if base.classes else ()
    return Source(parts, classes, f"stacked {STACKS} {TEST_STACKS} {base.content}")


def world(place: str) -> Source:
    """Points of a toy world whose density is known; their labels are the modes that they come from."""
    chosen = gaussian_mixtures.MIXTURES[choose("config.data.source world", place, gaussian_mixtures.MIXTURES)]
    points, labels = chosen.sample(gaussian_mixtures.TRAIN_SEED, gaussian_mixtures.TRAIN_EXAMPLES)
    return Source({"train": Arrays(points, labels)}, chosen.names, f"world:{place}")


SOURCES: Mapping[str, Callable[[str], Source]] = {
    "digits": digits,
    "tfds": tfds,
    "folder": folder,
    "array": array,
    "stacked": stacked,
    "world": world,
}


def example_shape(data: ConfigDict) -> tuple[int, ...]:
    """The shape of one example of `config.data`: (size, size, channels) of an image, (dim,) of a world's point."""
    found = world_of(data)
    return (found.dim,) if found else (data.size, data.size, data.channels)


def world_of(data: ConfigDict) -> gaussian_mixtures.GaussianMixture | None:
    """The world that `config.data` names, if it names one."""
    kind, _, place = data.source.partition(":")
    return (
        gaussian_mixtures.MIXTURES[choose("config.data.source world", place, gaussian_mixtures.MIXTURES)]
        if kind == "world"
        else None
    )


def fingerprint(root: Path, paths: Iterable[str]) -> str:
    """A text that changes whenever one of the files below `root` is written, without reading any of them."""
    total = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=16)
    for path in sorted(paths):
        status = os.stat(os.path.join(root, path))
        # A change time cannot be set back, unlike the time of modification.
        total.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} "))
    return total.hexdigest()


def _place(source: str, place: str) -> Path:
    """The path that a source names, ~ and ~user spelt out."""
    try:
        if "\0" not in place:
            return Path(place).expanduser()
    except RuntimeError as error:
        raise UserError(f"config.data.source={source}: {error}") from error
    raise UserError(f"config.data.source={source!r} should not have a zero character")


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
    """An array by its header alone, which is believed up to so many bytes."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > most:
        raise ValueError(f"its header tells of {name} of shape {shape}, which are not in a file this small")
    return StoredArray(path, name, shape, dtype)


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error) or type(error).__name__
    if "allow_pickle" in reason or "Python objects" in reason:
        reason = "it holds pickled objects, which are never loaded"
    return UserError(f"{path} cannot be read ({reason}): it should hold arrays of numbers")


def _feature(features: object, kind: type, usual: str) -> str | None:
    """The name of the feature of a kind: the only one, or the one with the usual name."""
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    return usual if usual in found else found[0] if len(found) == 1 else None


def _scan(root: Path) -> tuple[list[str], list[str]]:
    """All images below a folder and all folders, but for hidden ones, by their paths from there."""
    files, folders, left = [], [], [("", ())]
    while left:
        place, above = left.pop()
        with os.scandir(os.path.join(root, place)) as entries:
            for entry in entries:
                path = os.path.join(place, entry.name)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    identity = entry.stat().st_dev, entry.stat().st_ino
                    if identity not in above:  # a link may lead upwards
                        folders.append(path)
                        left.append((path, (*above, identity)))
                elif entry.name.lower().endswith(SUFFIXES):
                    files.append(path)
    return sorted(files), sorted(folders)


def _by_class(root: Path, base: str, files: Iterable[str], folders: Iterable[str]) -> dict[str, list[str]]:
    """{class: paths of its images}, of what lies in `base`; the only class is "" where images lie there directly."""
    own, classes = [], {path[len(base) :]: [] for path in folders if _within(path, base)}
    for path in files:
        if path.startswith(base):
            name, _, deeper = path[len(base) :].partition(os.sep)
            (classes[name] if deeper else own).append(path)
    kinds = ", ".join(SUFFIXES)
    if own and any(classes.values()):
        raise _stray(root, own[0])
    if own:
        return {"": own}
    if not classes:
        raise UserError(f"{root / base} holds no images ({kinds})")
    for name, paths in classes.items():
        if not paths:
            place = root / base / name
            raise UserError(f"{place} holds no images ({kinds}): every folder is a class, so remove it or fill it")
    return classes


def _within(path: str, base: str) -> bool:
    """Whether a path lies directly in `base`, a path that ends with a separator or is empty."""
    return path.startswith(base) and os.sep not in path[len(base) :]


def _stray(root: Path, path: str) -> UserError:
    place = (root / path).parent
    return UserError(f"{place} holds images ({Path(path).name}) beside folders of images: move them into a folder")
