"""Files that are whole or absent, and locks that die with their process."""

import contextlib
import fcntl
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxgan.core import signals
from jaxgan.errors import warn

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
