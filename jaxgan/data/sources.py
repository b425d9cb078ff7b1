"""What the real examples are, and where they lie: images as they are stored, at random access."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from ml_collections import ConfigDict

from jaxgan.data import splits
from jaxgan.data.decode import Stored
from jaxgan.errors import UserError, choose

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS = ("train", "test", "val", "validation")
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
class Arrays:
    """Images in an array: uint8 [N, H, W] or [N, H, W, C], and their labels, int32 [N]."""

    images: np.ndarray
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
    path = Path(place).expanduser()
    if path.suffix not in (".npz", ".npy"):
        raise UserError(f"config.data.source=array:{place} should end in .npz or .npy")
    content = fingerprint(path.parent, [path.name])
    try:
        arrays = _arrays(path)
    # Of a damaged file NumPy and the modules under it raise whatever they stumble over.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if "allow_pickle" in reason or "Python objects" in reason:
            reason = "it holds pickled objects, which are never loaded"
        raise UserError(f"{path} cannot be read ({reason}): it should hold arrays of numbers") from error
    if "images" not in arrays:
        raise UserError(f"{path} should hold an array 'images', not {', '.join(sorted(arrays)) or 'nothing'}")
    images = arrays["images"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise UserError(
            f"{path}: images of type {images.dtype} and shape {images.shape} should be uint8, [N, H, W] or [N, H, W, C]"
        )
    labels = arrays.get("labels", np.zeros(len(images), np.int32))
    numbers = labels.dtype.kind in "iu" and labels.shape == images.shape[:1]
    if not (numbers and 0 <= labels.min() <= labels.max() < MOST_CLASSES):
        raise UserError(
            f"{path}: labels of type {labels.dtype} and shape {labels.shape} should be {len(images)} whole numbers "
            f"from 0 to {MOST_CLASSES - 1}"
        )
    classes = tuple(map(str, range(labels.max() + 1))) if "labels" in arrays else ()
    return Source({"train": Arrays(images, labels.astype(np.int32))}, classes, content)


def folder(place: str) -> Source:
    """Images in a folder, or in one sub-folder per class; either of it once for each split, in folders of their names.

    The examples of a split come in the order of a hash of their names, so that train[:10%] holds every class. Their
    label is -1, unknown, in a split without sub-folders beside one with them.
    """
    root = Path(place).expanduser().absolute()
    if not (place and root.is_dir()):
        raise UserError(f"config.data.source=folder:{place}: there is no such folder")
    names = [path.name for path in _subfolders(root)]
    bases = {name: root / name for name in names} if names and set(names) <= set(SPLIT_FOLDERS) else {"train": root}
    found = {name: _by_class(base) for name, base in bases.items()}
    classes = tuple(sorted({name for by_class in found.values() for name in by_class} - {""}))
    parts = {}
    for split, by_class in found.items():
        labels = {name: classes.index(name) if name else -bool(classes) for name in by_class}
        pairs = [(path, labels[name]) for name, paths in by_class.items() for path in paths]
        pairs.sort(key=lambda pair: hashlib.blake2b(os.path.relpath(pair[0], root).encode(errors="replace")).digest())
        parts[split] = Files([path for path, _ in pairs], np.int32([label for _, label in pairs]))
    return Source(parts, classes, fingerprint(root, [path for files in parts.values() for path in files.paths]))


def tfds(place: str) -> Source:
    """An image data set of TensorFlow Datasets, `name` or `name:version`, prepared first if it was not."""
    import tensorflow_datasets as library  # noqa: PLC0415  (slow to import, and needed by this source alone)

    from jaxgan.data import prepare  # noqa: PLC0415

    builder = prepare.prepared_builder(place)
    features = builder.info.features
    images = [name for name, feature in features.items() if isinstance(feature, library.features.Image)]
    if len(images) != 1:
        raise UserError(f"tfds:{place} should have one image in each example, not {', '.join(features)}")
    labels = [name for name, feature in features.items() if isinstance(feature, library.features.ClassLabel)]
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else None
    decoders = {images[0]: library.decode.SkipDecoding()}
    parts = {
        name: Records(f"tfds:{place} {name}", builder.as_data_source(name, decoders=decoders), images[0], label)
        for name, info in builder.info.splits.items()
        if info.num_examples
    }
    files = [path.name for path in Path(builder.data_path).iterdir()]
    classes = tuple(features[label].names) if label else ()
    return Source(parts, classes, fingerprint(Path(builder.data_path), files))


SOURCES: Mapping[str, Callable[[str], Source]] = {"digits": digits, "tfds": tfds, "folder": folder, "array": array}


@dataclasses.dataclass(frozen=True)
class Selection:
    """What an experiment takes of a data set.

    Attributes:
        name: of the data set, as the configuration has it.
        parts: splits, and the range of their examples that is taken: start and stop.
        classes: the names of the labels.
        relabel: the new label of each old one, -1 if its examples are left out: int32; None where all stay.
        content: a text that is another one whenever the stored images or the choice are.
    """

    name: str
    parts: tuple[tuple[Split, int, int], ...]
    classes: tuple[str, ...]
    relabel: np.ndarray | None
    content: str

    @functools.cached_property
    def chosen(self) -> list[np.ndarray]:
        """The indices of the examples that are taken of each part; to choose by class takes reading all labels."""
        ranges = [np.arange(start, stop) for _, start, stop in self.parts]
        if self.relabel is None:
            return ranges
        labels = [split.labels()[start:stop] for split, start, stop in self.parts]
        chosen = [
            indices[(targets >= 0) & (self.relabel[targets] >= 0)]
            for indices, targets in zip(ranges, labels, strict=True)
        ]
        if not any(map(len, chosen)):
            raise UserError(f"{self.name} has no images of {', '.join(self.classes)} in config.data.split")
        return chosen

    def __len__(self) -> int:
        return sum(map(len, self.chosen))

    def read(self, indices: np.ndarray) -> list[Item]:
        """Some examples, in the order of their indices."""
        items, start = [None] * len(indices), 0
        for (split, _, _), chosen in zip(self.parts, self.chosen, strict=True):
            here = np.flatnonzero((start <= indices) & (indices < start + len(chosen)))
            if len(here):
                for place, item in zip(here, split.read(chosen[indices[here] - start]), strict=True):
                    items[place] = item if self.relabel is None else item._replace(label=int(self.relabel[item.label]))
            start += len(chosen)
        return items


def select(data: ConfigDict) -> Selection:
    """The examples of `config.data`: its source, the splits of it, and the classes of those.

    Raises:
        UserError: one of them is unknown or cannot be read.
    """
    kind, _, place = data.source.partition(":")
    source = SOURCES[choose("config.data.source", kind, SOURCES)](place)
    wanted = splits.parse(data.split, {name: len(split) for name, split in source.splits.items()})
    parts = tuple((source.splits[name], start, stop) for name, start, stop in wanted)
    classes, relabel = source.classes, None
    if data.classes and not classes:
        raise UserError(f"config.data.classes should be empty for {data.source}, whose images have no classes")
    if data.classes:
        kept = {choose("config.data.classes", name, classes) for name in names(data.classes)}
        classes = tuple(name for name in source.classes if name in kept)
        relabel = np.int32([classes.index(name) if name in kept else -1 for name in source.classes])
    return Selection(data.source, parts, classes, relabel, json.dumps([data.source, source.content, wanted, classes]))


def names(classes: Iterable[object]) -> list[str]:
    """The classes that a configuration names: "a", "b" or, as the command line gives it, "a,b"; 3 stands for "3"."""
    return [name.strip() for entry in classes for name in str(entry).split(",")]


def fingerprint(root: Path, paths: Iterable[str]) -> str:
    """A text that changes whenever a file below `root` is written, added or removed, without reading any of them."""
    total = hashlib.blake2b(str(root.resolve()).encode(errors="replace"), digest_size=16)
    for path in sorted(paths):
        status = os.stat(root / path)
        # A change time cannot be set back, unlike the time of modification.
        state = (path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        total.update(repr(state).encode(errors="replace"))
    return total.hexdigest()


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, or that of an .npy file, mapped into memory, as `images`."""
    if path.suffix == ".npy":
        return {"images": np.lib.format.open_memmap(path, mode="r")}
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as members:
        return {name: member for name, member in members.items() if isinstance(member, np.ndarray)}


def _visible(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if not path.name.startswith("."))


def _subfolders(root: Path) -> list[Path]:
    return [path for path in _visible(root) if path.is_dir()]


def _images(root: Path) -> list[str]:
    """The paths of all images below a folder; hidden files and folders are none."""
    found = []
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(place, n) for n in files if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    return found


def _by_class(root: Path) -> dict[str, list[str]]:
    """{class: paths of its images}; the only class is "" where the images lie in `root` itself."""
    classes = {path.name: _images(path) for path in _subfolders(root)}
    own = [path for path in _visible(root) if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    kinds = ", ".join(SUFFIXES)
    if own and any(classes.values()):
        raise UserError(f"{root} holds images ({own[0].name}) beside folders of images: move them into a folder")
    if own:
        return {"": list(map(str, own))}
    if not classes:
        raise UserError(f"{root} holds no images ({kinds})")
    for name, paths in classes.items():
        if not paths:
            raise UserError(
                f"{root / name} holds no images ({kinds}): every folder is a class, so remove it or fill it"
            )
    return classes
