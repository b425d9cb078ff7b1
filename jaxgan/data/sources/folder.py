"""Images in a folder or an archive, labelled by its sub-folders or by a file."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgan.data import archives, formats, label_files, listing
from jaxgan.data.listing import SPLIT_FOLDERS, Listing
from jaxgan.data.stored import StoredImages, place_of
from jaxgan.errors import UserError, warn_once
from jaxgan.io.files import name_as_text


def read(place: str) -> StoredImages:
    """Images in a folder, or in one sub-folder per class; either of it once for each split, in folders of their names.
    A file with labels in the folder, or in that of a split, decides in the place of sub-folders.

    The examples of a split come in the order of a hash of their names, so that train[:10%] holds every class. Their
    label is -1, unknown, in a split without labels beside one with them.
    """
    said = f"config.data.source=folder:{place}"
    if place.endswith((".npz", ".npy")) and place_of(f"folder:{place}", place).is_file():
        raise UserError(f"{said} must be array:{place}")
    found = listing_of(place, said)
    images = pictures_of(found)
    bases = bases_of(found, images)
    files = {split: label_files.find(found, base) or label_files.find(found, "") for split, base in bases.items()}
    by_split = {}
    for split, base in bases.items():
        own, file = [path for path in images if path.startswith(base)], files[split]
        by_split[split] = label_files.read(found, file, own) if file else _by_folder(found, base, own)
    names = {name for labels in by_split.values() for name in labels.values()} - {""}
    classes = label_files.ordered(names) if any(files.values()) else tuple(sorted(names))
    numbers = {name: label for label, name in enumerate(classes)} | {"": -bool(classes)}
    parts = {}
    for split, labels in by_split.items():
        paths = sorted(labels, key=lambda path: hashlib.blake2b(os.fsencode(path)).digest())
        parts[split] = found.split(paths, np.int32([numbers[labels[path]] for path in paths]))
    content = found.fingerprint([*images, *sorted({file for file in files.values() if file})])
    return StoredImages(parts, classes, content, from_labels=True)


def listing_of(place: str, said: str) -> Listing:
    """What lies in the folder or archive that a source names; `said` is how an error names it."""
    path = place_of(f"folder:{place}", place).absolute()
    if place and path.is_dir():
        return listing.of_folder(path)
    if place and archives.is_archive(path):
        return listing.of_archive(path)
    if not (place and path.is_file()):
        raise UserError(f"{said}: there is no such folder")
    raise UserError(f"{said} must be a folder, or an archive that ends in {', '.join(archives.SUFFIXES)}")


def pictures_of(found: Listing) -> list[str]:
    """The paths of all images; a warning or an error names pictures that cannot be decoded."""
    images = list(filter(formats.is_picture, found.files))
    foreign = list(filter(formats.is_foreign, found.files))
    inner = [path for path in found.files if path.lower().endswith(archives.SUFFIXES)]
    if foreign and not images:
        raise UserError(f"{found.root} holds no images that can be read, but {formats.conversion(found.root, foreign)}")
    if inner and not images:
        raise UserError(f"{found.root} holds no images, but {inner[0]}: write folder:{found.root / inner[0]}")
    if foreign:
        warn_once(f"left out of {found.root}: {formats.conversion(found.root, foreign)}")
    return images


def bases_of(found: Listing, images: Sequence[str]) -> dict[str, str]:
    """The folder of each split, which ends with a slash; an empty path where folders are no splits."""
    tops = [path for path in found.folders if "/" not in path]
    if not (tops and all(name.lower() in SPLIT_FOLDERS for name in tops)):
        return {"train": ""}
    for path in images:
        if "/" not in path:
            raise _stray(found.root, path)
    return {name.lower(): f"{name}/" for name in tops}


def _by_folder(found: Listing, base: str, images: Sequence[str]) -> dict[str, str]:
    """The class of each image in a folder, by its path; "" for all where images lie in that folder itself."""
    folders = [path[len(base) :] for path in found.folders if path.startswith(base)]
    counts = dict.fromkeys((path for path in folders if "/" not in path), 0)
    labels, own = {}, []
    for path in images:
        name, _, deeper = path[len(base) :].partition("/")
        if deeper:
            counts[name] += 1
        else:
            own.append(path)
        labels[path] = name_as_text(name) if deeper else ""
    if own and any(counts.values()):
        raise _stray(found.root, own[0])
    if not own and not counts:
        raise UserError(f"{found.root / base} holds no images ({formats.USUAL})")
    for name, count in counts.items():
        if not (own or count):
            place = found.root / base / name
            raise UserError(f"{place} holds no images that can be read: every folder is a class, so remove or fill it")
    return labels


def _stray(root: Path, path: str) -> UserError:
    place = (root / path).parent
    return UserError(f"{place} holds images ({Path(path).name}) beside folders of images: move them into a folder")
