"""Files that are whole or absent, and locks that die with their process."""

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxgan.errors import warn


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it becomes `path` at the end of the block, or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def spared(what: str) -> Iterator[None]:
    """Tells of a file system that refuses, such as a full disk, and goes on: a run is worth more than one file."""
    try:
        yield
    except OSError as error:
        warn(f"{what} could not be written ({error.strerror or error}): training goes on")


@contextlib.contextmanager
def sole(path: Path) -> Iterator[bool]:
    """Yields whether this process has the lock of a file, which is made if need be, to itself."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be; while another process holds it, says so and waits."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which holds {path}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
