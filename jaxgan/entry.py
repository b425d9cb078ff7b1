"""Where the programs begin: what Ctrl-C and unusual names need is set before the other imports, which take seconds."""

import importlib
import sys

from jaxgan.core import signals


def set_up_process() -> None:
    """Ends on Ctrl-C at once, and escapes characters that the terminal cannot show."""
    signals.exit_on_interrupt()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace", line_buffering=True)


def train() -> int:
    """Starts train.py."""
    return _start("jaxgan.cli.train")


def sample() -> int:
    """Starts sample.py."""
    return _start("jaxgan.cli.sample")


def evaluate() -> int:
    """Starts evaluate.py."""
    return _start("jaxgan.cli.evaluate")


def prepare() -> int:
    """Starts python -m jaxgan.data.prepare."""
    return _start("jaxgan.data.prepare")


def convert() -> int:
    """Starts python -m jaxgan.convert."""
    return _start("jaxgan.convert")


def _start(program: str) -> int:
    set_up_process()
    return importlib.import_module(program).main()
