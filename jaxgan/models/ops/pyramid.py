"""Images that are halved down to features of a few rows and columns."""

import math

from jaxgan.core.settings import DIMENSIONS, Range
from jaxgan.models.ops.convolutions import Size

LEAST = 4  # rows or columns, whichever are fewer, of the smallest features, which have fewer than twice as many

# Of a setting with a number for each size of features.
NUMBERS = Range(lambda values: len(values) > 0 and DIMENSIONS.valid(values), "whole numbers of at least 1, one or more")


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved while the shorter one stays at least `LEAST`."""
    count = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * LEAST:
        height, width, count = height // 2, width // 2, count + 1
    return count


def max_halvings(shape: tuple[int, ...]) -> int:
    """How often both sides of images can be halved."""
    common = math.gcd(*shape[:2])
    return (common & -common).bit_length() - 1


def smallest_size(shape: tuple[int, ...]) -> Size:
    """Rows and columns of the smallest features."""
    count = halvings(*shape[:2])
    return shape[0] >> count, shape[1] >> count


def spread(values: tuple[int, ...], count: int) -> tuple[int, ...]:
    """A number for each of `count` sizes: the last one counts for all further ones."""
    return values + values[-1:] * (count - len(values))
