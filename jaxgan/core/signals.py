"""Ctrl-C and SIGTERM: what ends a program at once, and a flag that a training loop polls.

Imports nothing that takes time: a program calls `exit_on_interrupt` before all other imports.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
MESSAGE = "interrupted: the same command starts again"

_unfinished: set[Path] = set()


class StopSignal:
    """The first signal sets a flag that the loop polls between dispatches; a second Ctrl-C ends the process."""

    def __init__(self):
        self.signal: signal.Signals | None = None

    def receive(self, number: int, frame: object) -> None:
        """Handles a signal."""
        self.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def __enter__(self) -> "StopSignal":
        self.before = {number: signal.signal(number, self.receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def exit_on_interrupt() -> None:
    """From now on Ctrl-C ends the process with one line and code 130, unless another handler is set.

    KeyboardInterrupt would be lost where JAX or the garbage collector calls Python, and would wait for the end of a
    compilation. Here the signal wakes a thread, and that thread ends the process whatever the main thread does.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _leave_to_thread)
    threading.Thread(target=_wait_for_interrupt, args=(read,), name="interrupt", daemon=True).start()


def end_with_parent() -> None:
    """From now on this process ends when the one that holds the other end of its standard input does."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Within the block, `exit_on_interrupt` removes the file or folder before it ends the process."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


def _leave_to_thread(number: int, frame: object) -> None:
    """Handles SIGINT: only a signal with a handler in Python wakes the thread."""


def _wait_for_interrupt(read: int) -> None:
    """Ends the process at the first SIGINT that no other handler, such as that of a `StopSignal`, takes."""
    while True:
        number = os.read(read, 1)[0]
        if number == signal.SIGINT and signal.getsignal(signal.SIGINT) is _leave_to_thread:
            break
    for path in list(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    line = f"{MESSAGE}\n".encode()
    with contextlib.suppress(OSError):
        if os.isatty(2):
            line = b"\n" + line  # the terminal shows ^C, perhaps in a progress bar
        if select.select((), (2,), (), 1)[1]:  # nobody may read what a pipe holds
            os.write(2, line)
    os._exit(INTERRUPTED)
