"""Which part of a data set: "train", "test", "train+test", "train[:10%]", "train[100:200]+test[-5%:]"."""

import re
from collections.abc import Mapping

from jaxgan.errors import UserError, choose

Part = tuple[str, int, int]  # of a split: its name, start and stop
PART = re.compile(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


def parse(text: str, counts: Mapping[str, int], option: str = "config.data.split") -> list[Part]:
    """The parts of a split, as TensorFlow Datasets reads such texts.

    Args:
        text: names, each with a slice in examples or in percent if one likes, joined by plus signs.
        counts: examples of each split there is.
        option: that has the text, for messages.

    Raises:
        UserError: the text is not of that form, a split is unknown, or nothing is left of a part.
    """
    parts = []
    for part in text.replace(" ", "").split("+"):
        match = PART.fullmatch(part)
        if not match:
            raise UserError(f"{option}={text!r} must be like 'train', 'train+test' or 'train[:10%]'")
        name, start, stop = match.groups()
        count = counts[choose("split", name, counts)]
        first, last = _place(start, count, 0), _place(stop, count, count)
        if first >= last:
            raise UserError(f"{option}={text!r}: nothing lies in {part!r} of {count} examples")
        parts.append((name, first, last))
    return parts


def _place(text: str | None, count: int, default: int) -> int:
    if text is None:
        return default
    place = round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)
    return min(max(place + count if text.startswith("-") else place, 0), count)
