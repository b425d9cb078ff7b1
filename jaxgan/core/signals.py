"""Ctrl-C and SIGTERM: what ends a program at once, and a flag that a training loop polls.

A program calls `exit_on_interrupt` before all other imports, so this module imports nothing that takes time.
"""

import _thread
import os
import signal
import sys
from collections.abc import Callable

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
MESSAGE = "interrupted: the same command starts again"

before_exit: list[Callable[[], None]] = []  # what `exit_on_interrupt` calls first, in a thread of its own


class StopSignal:
    """From `install` to the end of the block the first signal sets a flag that a loop polls between dispatches.

    A second Ctrl-C ends the process.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None

    def receive(self, number: int, frame: object) -> None:
        """Handles a signal."""
        self.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def __enter__(self) -> "StopSignal":
        self.before: dict[int, object] = {}
        return self

    def install(self) -> None:
        """Handles signals from now on, if it does not yet."""
        if not self.before:
            self.before = {number: signal.signal(number, self.receive) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def exit_on_interrupt() -> None:
    """From now on Ctrl-C ends the process with one line and code 130, except while another handler is set.

    KeyboardInterrupt would be lost where JAX or the garbage collector calls Python, and would wait for the end of a
    compilation. Here the signal wakes a thread, and that thread ends the process whatever the main thread does.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _leave_to_thread)
    _thread.start_new_thread(_wait_for_interrupt, (read,))


def end_with_parent() -> None:
    """From now on this process ends when the one that holds the other end of its standard input does."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    _thread.start_new_thread(wait, ())


def _leave_to_thread(number: int, frame: object) -> None:
    """Handles SIGINT: only a signal with a handler in Python wakes the thread."""


def _wait_for_interrupt(read: int) -> None:
    """Ends the process at the first SIGINT that no other handler takes, such as that of a `StopSignal`."""
    while os.read(read, 1)[0] != signal.SIGINT or signal.getsignal(signal.SIGINT) is not _leave_to_thread:
        pass
    import select  # noqa: PLC0415  (is not needed to begin)

    try:
        for function in before_exit:
            function()
        # A terminal shows ^C, perhaps in a progress bar. What a pipe holds may find no reader.
        line = f"\n{MESSAGE}\n" if os.isatty(2) else f"{MESSAGE}\n"
        if select.select((), (2,), (), 1)[1]:
            os.write(2, line.encode())
    finally:
        os._exit(INTERRUPTED)
