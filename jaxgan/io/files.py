"""Files that are whole or absent, and locks that die with their process."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxgan.core import signals
from jaxgan.errors import UserError, warn

PLAIN = re.compile(r"[\w/.,+= -]{1,1000}")  # a path that no library takes for a pattern or a URL

_unfinished: set[Path] = set()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it becomes `path` at the end of the block, or not at all."""
    with unfinished(path.with_name(path.name + ".partial")) as partial:
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Yields the path of a file or folder, which is removed at the end of the block if it is still there."""
    _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _unfinished.discard(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_unfinished() -> None:
    for path in list(_unfinished):
        with contextlib.suppress(OSError):
            _remove(path)


signals.before_exit.append(_remove_unfinished)


def name_as_text(name: str) -> str:
    """The name of a file as text, whatever the locale: UTF-8, with other bytes and control characters escaped."""

    def decode(match: re.Match) -> str:  # bytes that Python could not decode
        return match[0].encode(errors="surrogateescape").decode(errors="backslashreplace")

    text = re.sub("[\udc80-\udcff]+", decode, name)
    return re.sub("[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], text)


@contextlib.contextmanager
def warn_on_oserror(what: str) -> Iterator[None]:
    """Warns of an error of the file system, such as a full disk, and continues: a run is worth more than one file."""
    try:
        yield
    except OSError as error:
        warn(f"{what} could not be written ({error.strerror or error}): training goes on")


def make_folder(place: Path) -> None:
    """Makes a folder, if need be, that this process can write to.

    Raises:
        OSError: it cannot be made or written to.
    """
    place.mkdir(parents=True, exist_ok=True)
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


@contextlib.contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock of a file, which is made if need be, and yields whether it does.

    While another process holds it, it says so and waits; or does not wait, and yields False.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            print(f"waiting for another process, which holds {path}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield True


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """A path of a folder that libraries take literally: its own, or a symbolic link to it while the block lasts.

    Orbax makes patterns of a path and TensorStore URLs, so neither finds what lies in `runs/b[1]`, `a\\b` or `gs:`.

    Args:
        folder: its absolute path.

    Raises:
        UserError: there is no folder for temporary files to make the link in.
    """
    if PLAIN.fullmatch(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="jaxgan-") as private:
        if not PLAIN.fullmatch(private):
            raise UserError(f"TMPDIR={tempfile.gettempdir()} must be a path of letters, digits, - _ . and / alone")
        link = Path(private) / "folder"
        link.symlink_to(folder, target_is_directory=True)
        yield link
