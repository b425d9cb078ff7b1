"""What lies in a folder or an archive: the paths of its files and folders, but for hidden ones."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxgan.data import archives, formats
from jaxgan.data.archives import Archive, Members
from jaxgan.data.stored import Files, Split, fingerprint
from jaxgan.errors import warn_once

HIDDEN = ("__MACOSX",)  # besides names that begin with a dot
LABEL_FILES = ("dataset.json", "labels.csv")  # which stand in the root
SPLIT_FOLDERS = ("train", "test", "val", "validation")


@dataclasses.dataclass(frozen=True)
class Listing:
    """Files and folders by their paths from a root, sorted; parts of paths are separated by slashes.

    Attributes:
        root: what a person finds the root by.
        files, folders: their paths.
        archive: that has the files; None for a folder.
        inside: where the root lies in the archive, with a slash at the end unless it is empty.
    """

    root: Path
    files: Sequence[str]
    folders: Sequence[str]
    archive: Archive | None = None
    inside: str = ""

    def read(self, path: str) -> bytes:
        """What a file holds."""
        return (self.root / path).read_bytes() if self.archive is None else self.archive.read(self.inside + path)

    def split(self, paths: Sequence[str], targets: np.ndarray) -> Split:
        """Images by their paths, and their labels."""
        if self.archive is None:
            return Files([os.path.join(self.root, path) for path in paths], targets)
        return Members(self.archive, [self.inside + path for path in paths], targets)

    def fingerprint(self, paths: Sequence[str]) -> str:
        """A text that changes whenever one of these files does."""
        if self.archive is None:
            return fingerprint(self.root, paths)
        return fingerprint(self.archive.path.parent, [self.archive.path.name])


def of_folder(root: Path) -> Listing:
    """What lies below a folder; links are followed."""
    files, folders, left = [], [], [("", ())]
    while left:
        place, above = left.pop()
        with os.scandir(os.path.join(root, place)) as entries:
            for entry in entries:
                path = os.path.join(place, entry.name)
                if is_hidden(entry.name):
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
    return Listing(root, sorted(files), sorted(folders))


def of_archive(path: Path) -> Listing:
    """What lies in an archive, from the only folder at its top on if that holds all pictures.

    Raises:
        UserError: the archive cannot be read.
    """
    archive = archives.open_archive(path)
    names = [name for name in archive.names if not any(map(is_hidden, name.split("/")))]
    files = [name for name in names if not name.endswith("/")]
    inside = _top_folder(files)
    files = sorted(name.removeprefix(inside) for name in files if name.startswith(inside))
    folders = {name[len(inside) : -1] for name in names if name.endswith("/") and name.startswith(inside)}
    for name in files:
        folders |= {name[:place] for place, letter in enumerate(name) if letter == "/"}
    return Listing(path / inside, files, sorted(folders - {""}), archive, inside)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none that a person put there."""
    return name.startswith(".") or name in HIDDEN


def _top_folder(files: Sequence[str]) -> str:
    """The folder that holds all pictures and is no split, with a slash at the end; empty if there is none."""
    counted = [name for name in files if formats.is_picture(name) or formats.is_foreign(name) or name in LABEL_FILES]
    tops = {name.partition("/")[0] for name in counted}
    if len(tops) != 1 or any("/" not in name for name in counted) or next(iter(tops)).lower() in SPLIT_FOLDERS:
        return ""
    return f"{tops.pop()}/"


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; not if it is a link that leads to itself."""
    try:
        return kind()
    except OSError:
        return False
