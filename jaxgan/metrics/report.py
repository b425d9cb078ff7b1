"""What evaluate.py found, as tables on the screen and as JSON."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from jaxgan.io.files import atomic_write
from jaxgan.metrics.scores import Score, Scored

MOST_ROWS = 20  # of a confusion matrix on the screen


class Result(NamedTuple):
    """What one extractor tells.

    Attributes:
        scores: of the samples.
        floor: of real images.
        per_class: the scores of each class, where they were asked for.
        confusion: how many samples of the class asked for (row) are decided to be of which (column); None if unknown.
        unchanged: scores of the inputs of translations, as if they were the translations.
    """

    scores: Scored
    floor: Scored = Scored()
    per_class: Mapping[str, Scored] = MappingProxyType({})
    confusion: np.ndarray | None = None
    unchanged: Scored = Scored()


def aligned(rows: list[tuple[str, ...]]) -> str:
    """A table as text; columns that are empty but for their head are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True))


def format_number(number: float | None) -> str:
    """Four digits of it, or nothing."""
    return "" if number is None else f"{number:.4g}"


def table(found: dict[str, Score], unchanged: dict[str, Score], floor: dict[str, Score]) -> str:
    """Scores as text: of samples, of unchanged inputs, and of real images, any of which may lack some."""
    rows = [("score", "value", "95% interval", "raw", "unchanged", "raw", "real images", "raw", "ideal sampler")]
    for name in found | unchanged | floor:
        own, interval, perfect = value_and_raw(found, name), "", ""
        if name in found:
            (_, *ends), _, perfect = found[name]
            interval, perfect = " to ".join(map(format_number, ends)), format_number(perfect)
        beside = (*value_and_raw(unchanged, name), *value_and_raw(floor, name))
        rows.append((name, own[0], interval, own[1], *beside, perfect))
    return aligned(rows)


def value_and_raw(scores: dict[str, Score], name: str) -> tuple[str, str]:
    """Both numbers of a score as text; nothing where it is not given."""
    if name not in scores:
        return "", ""
    return format_number(scores[name].estimate.value), format_number(scores[name].raw)


def class_table(found: Mapping[str, Scored]) -> str:
    """A row of values for each class."""
    heads = list(dict.fromkeys(head for own in found.values() for head in own.found))
    values = {name: {head: score.estimate.value for head, score in own.found.items()} for name, own in found.items()}
    rows = [(name, *(format_number(own.get(head)) for head in heads)) for name, own in values.items()]
    return aligned([("class", *heads), *rows])


def missing_text(sides: Iterable[Scored]) -> str:
    """The scores that are not given, and what they need: "FD-lenet (needs 260 samples)"."""
    names: dict[str, list[str]] = {}
    for side in sides:
        for name, needs in side.missing.items():
            what = " and ".join(f"{least:,} {kind.replace('_', ' ')}" for kind, least in needs.items())
            names.setdefault(what, []).append(name)
    return "; ".join(f"{', '.join(dict.fromkeys(own))} (needs {what})" for what, own in names.items())


def missing_line(start: str, sides: Iterable[Scored]) -> str:
    """A line with the scores that are not given, for lack of samples or real images; empty if all are given."""
    sides = [side for side in sides if side.missing]
    if not sides:
        return ""
    samples, reals = span(side.samples for side in sides), span(side.real_images for side in sides)
    return f"{start}not given with {samples} samples and {reals} real images: {missing_text(sides)}\n"


def span(counts: Iterable[int]) -> str:
    """The number, or the least and the greatest of different ones."""
    counts = sorted(set(counts))
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


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
    sides = [result.scores for result in results.values()], [result.floor for result in results.values()]
    (found, floor), missing = (merged(side, "found") for side in sides), [merged(side, "missing") for side in sides]
    unchanged = merged([result.unchanged for result in results.values()], "found")
    print(table(found, unchanged, floor))
    print(missing_line("", sides[0]) + missing_line("real images: ", sides[1]), end="")
    content = {"about": about, "scores": as_json(found), "real_images": as_json(floor)}
    if unchanged:
        content["unchanged"] = as_json(unchanged)
    content["not_given"] = {"scores": missing[0], "real_images": missing[1]}
    for name, result in results.items():
        if result.per_class:
            print(f"\nof each class, by {name}\n{class_table(result.per_class)}")
            print(missing_line("of some classes ", result.per_class.values()), end="")
            rows = {of_class: as_json(own.found) for of_class, own in result.per_class.items()}
            content.setdefault("per_class", {})[name] = rows
            few = {of_class: own.missing for of_class, own in result.per_class.items() if own.missing}
            content["not_given"].setdefault("per_class", {})[name] = few
        if result.confusion is not None:
            content.setdefault("confusion", {})[name] = result.confusion.tolist()
            if len(names) <= MOST_ROWS:
                print(f"\n{name}: classes that were asked for in rows, classes as decided in columns")
                print(confusion_table(result.confusion, names))
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    print(out)


def merged(sides: Iterable[Scored], part: str) -> dict:
    """What several extractors found, or what is missing of each, together."""
    return {name: value for side in sides for name, value in getattr(side, part).items()}
