"""What evaluate.py found, as tables on the screen and as JSON."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgan.io.files import atomic_write
from jaxgan.metrics.scores import Score

MOST_ROWS = 20  # of a confusion matrix on the screen


class Result(NamedTuple):
    """What one extractor tells.

    Attributes:
        scores: of the samples.
        floor: of real images.
        per_class: the scores of each class, where they were asked for.
        confusion: how many samples of the class asked for (row) are decided to be of which (column); None if unknown.
    """

    scores: dict[str, Score]
    floor: dict[str, Score]
    per_class: dict[str, dict[str, Score]]
    confusion: np.ndarray | None


def aligned(rows: list[tuple[str, ...]]) -> str:
    """A table as text; columns that are empty but for their head are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True))


def format_number(number: float | None) -> str:
    """Four digits of it, or nothing."""
    return "" if number is None else f"{number:.4g}"


def table(found: dict[str, Score], floor: dict[str, Score]) -> str:
    """Scores as text."""
    rows = [("score", "value", "95% interval", "raw", "real images", "raw", "ideal sampler")]
    for name, (estimate, raw, perfect) in found.items():
        value, low, high = map(format_number, estimate)
        beside = (
            (format_number(floor[name].estimate.value), format_number(floor[name].raw)) if name in floor else ("", "")
        )
        rows.append((name, value, f"{low} to {high}", format_number(raw), *beside, format_number(perfect)))
    return aligned(rows)


def class_table(found: dict[str, dict[str, Score]]) -> str:
    """A row of values for each class."""
    heads = list(next(iter(found.values())))
    rows = [(name, *(format_number(own[head].estimate.value) for head in heads)) for name, own in found.items()]
    return aligned([("class", *heads), *rows])


def confusion_table(cells: np.ndarray, names: list[str]) -> str:
    """A row for each class that was asked for."""
    rows = [(name, *map(str, row)) for name, row in zip(names, cells, strict=True)]
    return aligned([("", *names), *rows])


def as_json(found: dict[str, Score]) -> dict[str, dict[str, float]]:
    """Scores for scores.json."""
    named = {
        name: score.estimate._asdict() | {"raw": score.raw, "ideal": score.perfect} for name, score in found.items()
    }
    return {name: {key: number for key, number in row.items() if number is not None} for name, row in named.items()}


def report(out: Path, about: dict[str, object], results: dict[str, Result], names: list[str]) -> None:
    """Prints what was found, and writes it."""
    found, floor = (
        {name: score for result in results.values() for name, score in result[side].items()} for side in (0, 1)
    )
    print(table(found, floor))
    content = {"about": about, "scores": as_json(found), "real_images": as_json(floor)}
    for name, result in results.items():
        if result.per_class:
            print(f"\nof each class, by {name}\n{class_table(result.per_class)}")
            rows = {of_class: as_json(own) for of_class, own in result.per_class.items()}
            content.setdefault("per_class", {})[name] = rows
        if result.confusion is not None:
            content.setdefault("confusion", {})[name] = result.confusion.tolist()
            if len(names) <= MOST_ROWS:
                print(f"\n{name}: classes that were asked for in rows, classes as decided in columns")
                print(confusion_table(result.confusion, names))
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    print(out)
