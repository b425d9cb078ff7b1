"""Ctrl-C and SIGTERM as a flag that a loop polls."""

import signal


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
