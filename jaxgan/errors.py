"""Mistakes that a user can put right, and how a program ends on one."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
MOST_LISTED = 16  # choices that fit into one line


class UserError(Exception):
    """What was wrong, with the value, and what would be right: one line for the person at the keyboard."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong option as every other mistake is reported."""

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
        print("interrupted: the same command starts again", file=sys.stderr)
        return INTERRUPTED
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or JAX's allocator of a device, refused memory."""
    of_jax = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    refused = any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory"))
    return isinstance(error, MemoryError) or (of_jax and refused)


def warn(message: str) -> None:
    """Prints a warning about something that the program could put right by itself."""
    print("warning: " + " ".join(message.split()), file=sys.stderr, flush=True)
