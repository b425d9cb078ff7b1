"""Mistakes that a user can put right, and how a program ends on one."""

import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """What was wrong, with the value, and what would be right: one line for the person at the keyboard."""


def choose(kind: str, name: str, table: Iterable[str]) -> str:
    """`name` if `table` has it; otherwise a `UserError` that names the nearest entry and all of them."""
    names = sorted(table)
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"there is no {kind} {name!r}: {hint}choose from {', '.join(names)}")


def exit_code(program: Callable[[], int | None]) -> int:
    """Runs `program`; a `UserError`, or a file system that refuses, becomes one line on stderr and exit code 2."""
    try:
        return program() or 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'the file system'}: {error.strerror or error}"
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def warn(message: str) -> None:
    """Tells of something that the program could put right by itself."""
    print("warning: " + " ".join(message.split()), file=sys.stderr, flush=True)
