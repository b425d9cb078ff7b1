"""Options about how image files are decoded, which programs share."""

import argparse

from jaxgan.core.settings import NOT_NEGATIVE
from jaxgan.data.image_files import MAX_PIXELS
from jaxgan.data.sizes import SIZE
from jaxgan.errors import UserError


def add(parser: argparse.ArgumentParser, size: str) -> None:
    """The options; `size` is what --size does."""
    parser.add_argument("--size", help=size)
    parser.add_argument("--white", type=float, help="the number that is white in files of more than 8 bits")
    parser.add_argument("--max_pixels", type=int, help=f"more of them make a file a bad image ({MAX_PIXELS:,})")
    parser.add_argument("--on_bad_image", choices=("error", "skip"), help="skip: leave bad images out, and report them")


def check(options: argparse.Namespace) -> None:
    """Raises a `UserError` for a value out of its range; a size without an x becomes a number."""
    if options.max_pixels is not None and options.max_pixels < 1:
        raise UserError(f"--max_pixels={options.max_pixels} must be at least 1")
    if options.white is not None and not NOT_NEGATIVE.valid(options.white):
        raise UserError(f"--white={options.white} must be {NOT_NEGATIVE.expected}")
    if options.size is not None:
        given = options.size
        options.size = int(given) if given.isdecimal() else given
        if not SIZE.valid(options.size):
            raise UserError(f"--size={given} must be {SIZE.expected}")
