"""Sizes of images: a number of pixels for squares, or height and width as a text such as "64x96"."""

import re

from jaxgan.core.settings import MAX_COUNT, Range

Size = int | str


def height_width(size: Size) -> tuple[int, int]:
    """Height and width in pixels: 64 is (64, 64), and "64x96" is (64, 96).

    Raises:
        ValueError: the size is neither.
    """
    if isinstance(size, str):
        match = re.fullmatch(r"([0-9]{1,10})x([0-9]{1,10})", size)
        if match is None:
            raise ValueError(f"{size!r} is no size")
        return int(match[1]), int(match[2])
    return size, size


def format_size(height: int, width: int) -> str:
    """The size as the settings have it: "64" or "64x96"."""
    return str(height) if height == width else f"{height}x{width}"


def _between(least: int) -> Range:
    def valid(size: Size) -> bool:
        try:
            return all(least <= side <= MAX_COUNT for side in height_width(size))
        except ValueError:
            return False

    return Range(valid, f"a number of at least {least}, or height and width such as 64x96")


SIZE, SIZE_OR_ZERO = _between(1), _between(0)
