"""Mistakes that a user can put right, and how a program ends on one."""

import argparse
import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from jaxgan.core.signals import INTERRUPTED, MESSAGE

MOST_LISTED = 16  # choices that fit into one line


class UserError(Exception):
    """What was wrong, with the value, and what would be right: one line for the person at the keyboard."""


class Parser(argparse.ArgumentParser):
    """Takes options by their full names, and reports a wrong one as every other mistake is reported."""

    def __init__(self, prog: str, **options: object):
        super().__init__(prog, allow_abbrev=False, **options)

    def parse_args(self, arguments: list[str]) -> argparse.Namespace:
        for argument in arguments:
            self.check_option(argument)
        return super().parse_args(arguments)

    def check_option(self, argument: str) -> None:
        """Raises a `UserError` if an argument looks like an option that there is not."""
        name = argument.partition("=")[0]
        if re.fullmatch(r"--?[A-Za-z][\w.-]*", name):
            choose("option", name, self._option_string_actions)

    def error(self, message: str) -> None:
        raise UserError(f"{message} (see {self.prog} --help)")


def choose(kind: str, name: str, table: Iterable[str]) -> str:
    """`name` if `table` has it; otherwise a `UserError` that names what is near, and all unless they are many."""
    names = sorted(table)
    if name in names:
        return name
    few = len(names) <= MOST_LISTED
    near = difflib.get_close_matches(str(name), names, n=1 if few else 3)
    last = str(name).rpartition(".")[2]  # of a dotted name: r1 is near penalties.r1
    near = [other for other in names if other.endswith(f".{last}") and last != name][:3] or near
    advice = [f"did you mean {' or '.join(near)}?"] if near else []
    advice += [f"choose from {', '.join(names)}"] if few else []
    raise UserError(f"unknown {kind} {name!r}: {' '.join(advice) or f'none of the {len(names)} is near it'}")


def format_names(names: Sequence[str]) -> str:
    """Names in one line: all of them, or the first ones and how many follow."""
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} others" if more > 0 else "")


def check_path(option: str, path: str | os.PathLike[str]) -> None:
    """Raises a `UserError` if an option's path is not UTF-8, which libraries below take for granted."""
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("ascii", errors="backslashreplace")
        encoding = sys.getfilesystemencoding()
        advice = "choose another one" if encoding == "utf-8" else "choose another one, or set PYTHONUTF8=1"
        raise UserError(f"--{option}={shown}: its full path is not valid {encoding}: {advice}") from error


def exit_code(program: Callable[[], int | None]) -> int:
    """Runs `program`; a `UserError`, or a file system that refuses, becomes one line on stderr and exit code 2."""
    try:
        return program() or 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'the file system'}: {error.strerror or error}"
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = (
            f"memory is too small for that ({str(error)[:200] or 'MemoryError'}): choose a smaller batch or number"
        )
    except KeyboardInterrupt:
        print(MESSAGE, file=sys.stderr)
        return INTERRUPTED
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


@functools.cache
def warn_once(message: str) -> None:
    """`warn`, but the same words only once: a program may open the same data several times."""
    warn(message)


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or JAX's allocator of a device, refused memory."""
    of_jax = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    refused = any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory"))
    return isinstance(error, MemoryError) or (of_jax and refused)


def warn(message: str) -> None:
    """Prints a warning about something that the program could put right by itself."""
    print("warning: " + " ".join(message.split()), file=sys.stderr, flush=True)
