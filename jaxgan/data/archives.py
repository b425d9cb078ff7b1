"""Files in an archive at random access: .zip, .tar and, once they are unpacked into the cache, compressed .tar files.

No file is ever written to where the name of a member leads.
"""

import bz2
import dataclasses
import functools
import gzip
import lzma
import posixpath
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from jaxgan.data import cache
from jaxgan.data.stored import Item, fingerprint
from jaxgan.errors import UserError
from jaxgan.io.files import atomic_write, file_lock

OPENERS = {"gz": gzip.open, "tgz": gzip.open, "bz2": bz2.open, "tbz2": bz2.open, "xz": lzma.open, "txz": lzma.open}
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_BYTES = 2**30  # of a member that is read: more than the most pixels take without compression
MOST_EXPANSION = 200  # times its size that a compressed .tar may become, and MOST_BYTES besides
BLOCK = 2**20


@runtime_checkable  # as the checks of types while testing need it
class Archive(Protocol):
    """Files by their names; other processes and threads may read as well."""

    path: Path

    @property
    def names(self) -> Iterable[str]:
        """Of all files and, with a slash at the end, of folders; parts are separated by slashes."""

    def read(self, name: str) -> bytes:
        """A file; any exception if it is damaged."""


@dataclasses.dataclass(frozen=True)
class Zip:
    """A .zip file. Another process is sent its path alone."""

    path: Path
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, compare=False)

    @functools.cached_property
    def file(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    @functools.cached_property
    def names(self) -> Mapping[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for info in self.file.infolist():
            if info.flag_bits & 1:
                raise UserError(f"{self.path} is encrypted: unpack it, and name the folder")
            name = _zip_name(info).replace("\\", "/")  # as some programs on Windows write them
            _add(self.path, found, name, info, info.is_dir() or name.endswith("/"))
        return found

    def read(self, name: str) -> bytes:
        info = self.names[name]
        if info.file_size > MOST_BYTES:
            raise ValueError(f"it claims to have {info.file_size:,} bytes, and {MOST_BYTES:,} are the most")
        if info.header_offset < 0:
            raise zipfile.BadZipFile("the archive is damaged")
        with self.lock, self.file.open(info) as member:
            return member.read(info.file_size)  # never more, whatever it would become

    def __reduce__(self) -> tuple:
        return Zip, (self.path,)


@dataclasses.dataclass(frozen=True)
class Tar:
    """A .tar file.

    Attributes:
        path: what a person finds it by.
        place: of the file without compression.
        names: where each file lies, its start and its size; or why it cannot be read.
    """

    path: Path
    place: Path
    names: Mapping[str, tuple[int, int] | str]

    def read(self, name: str) -> bytes:
        found = self.names[name]
        if isinstance(found, str):
            raise ValueError(found)
        start, size = found
        if size > MOST_BYTES:
            raise ValueError(f"it claims to have {size:,} bytes, and {MOST_BYTES:,} are the most")
        with self.place.open("rb") as file:
            file.seek(start)
            return file.read(size)


@dataclasses.dataclass(frozen=True)
class Members:
    """Images in an archive, by their names, and their labels, int32 [N]."""

    archive: Archive
    names: Sequence[str]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        """Some examples, each of which is read when it is decoded: what is damaged is a bad image."""
        names = [self.names[i] for i in indices]
        images = [functools.partial(self.archive.read, name) for name in names]
        labels = [int(self.targets[i]) for i in indices]
        return [Item(*x) for x in zip(images, labels, [f"{self.archive.path}/{name}" for name in names], strict=True)]

    def labels(self) -> np.ndarray:
        return self.targets


def is_archive(path: Path) -> bool:
    """Whether a path is that of a file which `open_archive` may read, by its name."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def open_archive(path: Path) -> Archive:
    """An archive, its files listed.

    Raises:
        UserError: it is damaged or encrypted, names files outside of it or one file twice; or the cache cannot hold it.
    """
    try:
        if path.suffix.lower() == ".zip":
            archive = Zip(path)
            archive.names  # noqa: B018  (what is wrong shows now)
            return archive
        place = path if path.suffix.lower() == ".tar" else _unpacked(path)
        return Tar(path, place, _tar_names(path, place))
    except (UserError, MemoryError):
        raise
    # Of a damaged file these modules raise whatever they stumble over.
    except Exception as error:
        if getattr(error, "errno", None) is not None:
            raise
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} is a damaged archive ({reason}): make it or download it anew") from error


def _add(path: Path, found: dict, name: str, value: object, is_folder: bool) -> None:
    """Adds a member of an archive by the plain form of its name.

    Raises:
        UserError: the name leads out of the archive, or is there already.
    """
    plain = posixpath.normpath(name)
    if plain.startswith(("/", "../")) or plain == ".." or re.match("[A-Za-z]:/", plain):
        raise UserError(f"{path} holds {name!r}, which leads out of the archive: make the archive anew")
    if is_folder:
        found[f"{plain}/"] = value
    elif plain in found:
        raise UserError(f"{path} holds {plain!r} twice: make the archive anew")
    else:
        found[plain] = value


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name; some programs do not say that theirs is UTF-8."""
    try:
        return info.filename if info.flag_bits & 0x800 else info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _tar_names(path: Path, place: Path) -> dict[str, tuple[int, int] | str]:
    """Where each file of a .tar lies, as `Tar.names`."""
    found: dict[str, tuple[int, int] | str] = {}
    links: dict[str, str] = {}
    with tarfile.open(place, "r:") as archive:
        for member in archive:
            inside = member.offset_data, member.size
            _add(path, found, member.name, "it is sparse" if member.sparse else inside, member.isdir())
            if member.islnk() or member.issym():
                folder = posixpath.dirname(member.name) if member.issym() else ""
                links[posixpath.normpath(member.name)] = posixpath.normpath(posixpath.join(folder, member.linkname))
            elif not (member.isreg() or member.isdir()):
                del found[posixpath.normpath(member.name)]  # a device or a pipe
        # Python stops at what is no header, whether the archive ends there, as a block of zeros says, or is damaged.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no end after {len(found)} members")
    return found | {name: found.get(target, f"it is a link to {target}") for name, target in links.items()}


def _unpacked(path: Path) -> Path:
    """The .tar file inside a compressed one, which cannot be read at random, in the cache."""
    place = cache.folder() / "archives" / f"{fingerprint(path.parent, [path.name])}.tar"
    try:
        if not cache.is_cached(place):
            with file_lock(place.with_suffix(".lock")):
                if not place.exists():
                    with atomic_write(place) as partial:
                        _unpack(path, partial)
    except OSError as error:
        if error.errno is None:  # what gzip and bz2 say of damage
            raise
        raise UserError(
            f"{place.parent} cannot hold what is in {path} ({error.strerror}): set JAXGAN_DATA_CACHE to another "
            "folder, or unpack the archive and name its folder"
        ) from error
    return place


def _unpack(path: Path, target: Path) -> None:
    size, most = 0, MOST_EXPANSION * path.stat().st_size + MOST_BYTES
    bar = tqdm(desc="unpacking", unit="B", unit_scale=True, delay=1, leave=False, disable=None)
    opener = OPENERS[path.suffix.lower().removeprefix(".")]
    with opener(path) as source, target.open("wb") as file, bar:
        while block := source.read(BLOCK):
            size += len(block)
            if size > most:
                raise UserError(
                    f"{path} becomes more than {MOST_EXPANSION} times its size: if that is right, unpack it"
                )
            file.write(block)
            bar.update(len(block))
