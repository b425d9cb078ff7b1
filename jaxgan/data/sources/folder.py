"""Images in a folder, with a sub-folder for each class or split if there are any."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jaxgan.data import formats
from jaxgan.data.stored import Files, StoredImages, fingerprint, place_of
from jaxgan.errors import UserError, warn_once
from jaxgan.io.files import name_as_text

SPLIT_FOLDERS = ("train", "test", "val", "validation")
HIDDEN = ("__MACOSX",)  # besides names that begin with a dot


def read(place: str) -> StoredImages:
    """Images in a folder, or in one sub-folder per class; either of it once for each split, in folders of their names.

    The examples of a split come in the order of a hash of their names, so that train[:10%] holds every class. Their
    label is -1, unknown, in a split without sub-folders beside one with them.
    """
    root = place_of(f"folder:{place}", place).absolute()
    if not (place and root.is_dir()):
        raise UserError(f"config.data.source=folder:{place}: there is no such folder")
    found, folders = _scan(root)
    files = list(filter(formats.is_picture, found))
    foreign = list(filter(formats.is_foreign, found))
    if foreign and not files:
        raise UserError(f"{root} holds no images that can be read, but {formats.conversion(root, foreign)}")
    if foreign:
        warn_once(f"left out of {root}: {formats.conversion(root, foreign)}")
    tops = [path for path in folders if _within(path, "")]
    bases = {"train": ""}
    if tops and all(name.lower() in SPLIT_FOLDERS for name in tops):
        bases = {name.lower(): name + os.sep for name in tops}
        for path in files:
            if _within(path, ""):
                raise _stray(root, path)
    by_split = {split: _by_class(root, base, files, folders) for split, base in bases.items()}
    classes = tuple(sorted({name_as_text(name) for by_class in by_split.values() for name in by_class} - {""}))
    parts = {}
    for split, by_class in by_split.items():
        labels = {name: classes.index(name_as_text(name)) if name else -bool(classes) for name in by_class}
        pairs = [(path, labels[name]) for name, paths in by_class.items() for path in paths]
        pairs.sort(key=lambda pair: hashlib.blake2b(os.fsencode(pair[0])).digest())
        paths = [os.path.join(root, path) for path, _ in pairs]
        parts[split] = Files(paths, np.int32([label for _, label in pairs]))
    return StoredImages(parts, classes, fingerprint(root, files), from_labels=True)


def _scan(root: Path) -> tuple[list[str], list[str]]:
    """All files below a folder and all folders, but for hidden ones, by their paths from there."""
    files, folders, left = [], [], [("", ())]
    while left:
        place, above = left.pop()
        with os.scandir(os.path.join(root, place)) as entries:
            for entry in entries:
                path = os.path.join(place, entry.name)
                if entry.name.startswith(".") or entry.name in HIDDEN:
                    continue
                if _is(entry.is_dir):
                    identity = entry.stat().st_dev, entry.stat().st_ino
                    if identity not in above:  # a link may lead upwards
                        folders.append(path)
                        left.append((path, (*above, identity)))
                elif _is(entry.is_file) or entry.is_symlink():  # a link that leads nowhere is a bad image
                    files.append(path)  # what is neither may be a pipe, which nobody would ever end reading
                    if not (_is(entry.is_file) or formats.suffix_of(path)):
                        warn_once(f"{os.path.join(root, path)} is a link that leads nowhere: it is left out")
    return sorted(files), sorted(folders)


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; not if it is a link that leads to itself."""
    try:
        return kind()
    except OSError:
        return False


def _by_class(root: Path, base: str, files: Iterable[str], folders: Iterable[str]) -> dict[str, list[str]]:
    """{class: paths of its images}, of what lies in `base`; the only class is "" where images lie there directly."""
    own, classes = [], {path[len(base) :]: [] for path in folders if _within(path, base)}
    for path in files:
        if path.startswith(base):
            name, _, deeper = path[len(base) :].partition(os.sep)
            (classes[name] if deeper else own).append(path)
    if own and any(classes.values()):
        raise _stray(root, own[0])
    if own:
        return {"": own}
    if not classes:
        raise UserError(f"{root / base} holds no images ({formats.USUAL})")
    for name, paths in classes.items():
        if not paths:
            place = root / base / name
            raise UserError(f"{place} holds no images that can be read: every folder is a class, so remove or fill it")
    return classes


def _within(path: str, base: str) -> bool:
    """Whether a path lies directly in `base`, a path that ends with a separator or is empty."""
    return path.startswith(base) and os.sep not in path[len(base) :]


def _stray(root: Path, path: str) -> UserError:
    place = (root / path).parent
    return UserError(f"{place} holds images ({Path(path).name}) beside folders of images: move them into a folder")
