"""Labels of images in a file beside them: `labels.csv`, or `dataset.json` as StyleGAN's dataset_tool.py writes it."""

import csv
import io
import json
import posixpath
from collections.abc import Collection, Iterable

from jaxgan.data import formats
from jaxgan.data.listing import LABEL_FILES, Listing
from jaxgan.errors import UserError, warn_once
from jaxgan.io.files import name_as_text

Rows = list[tuple[str, str]]  # paths from the file's folder, and labels


def find(listing: Listing, base: str) -> str | None:
    """The label file in a folder, whose path ends with a slash or is empty; a `UserError` if there are two."""
    found = [base + name for name in LABEL_FILES if base + name in listing.files]
    if len(found) > 1:
        raise UserError(f"{listing.root / base} holds {' and '.join(LABEL_FILES)}: keep one of them")
    return found[0] if found else None


def read(listing: Listing, file: str, images: Collection[str]) -> dict[str, str]:
    """The label of each image, by its path; empty labels if the file says that there are none.

    Raises:
        UserError: the file is damaged, or lacks an image or has it twice.
    """
    place = listing.root / file
    try:
        text = listing.read(file).decode("utf-8-sig")
        rows = _json_rows(text) if file.endswith(".json") else _csv_rows(text)
    except (ValueError, csv.Error, RecursionError) as error:  # of text, JSON and CSV
        raise UserError(f"{place} cannot be read ({error})") from error
    if rows is None:
        return dict.fromkeys(images, "")
    labels: dict[str, str] = {}
    base, files = posixpath.dirname(file), set(listing.files)
    for path, label in rows:
        own = posixpath.join(base, path)
        if own not in files:
            own = posixpath.normpath(own.replace("\\", "/"))
        if own in labels:
            raise UserError(f"{place} has {path} twice, as {labels[own]} and as {label}: keep one of them")
        labels[own] = label
    if missing := [path for path in images if path not in labels]:
        raise UserError(
            f"{place} has no label for {len(missing)} of {len(images)} images, such as {missing[0]}: add them to the "
            "file, or remove them"
        )
    if unknown := [path for path in labels if path not in files or not (is_image(path))]:
        warn_once(
            f"{place} names {len(unknown)} files that are no images here, such as {unknown[0]}: they are left out"
        )
    names = {label: name_as_text(label) for label in set(labels.values())}
    return {path: names[labels[path]] for path in images}


def is_image(path: str) -> bool:
    """Whether a file is a picture, or would be one after a conversion, of which another warning tells."""
    return formats.is_picture(path) or formats.is_foreign(path)


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels in the order of numbers if they are numbers, else of texts."""
    found = sorted(labels)
    return tuple(sorted(found, key=int) if all(map(is_number, found)) else found)


def is_number(label: str) -> bool:
    """Whether a label is a whole number, and not thousands of digits."""
    return label.isdecimal() and len(label) < 100


def _csv_rows(text: str) -> Rows:
    """Lines of file,label; the first one may be a header, whose first cell is no name of a picture."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows: Rows = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            raise ValueError(
                f"line {reader.line_num} must be file,label, with a comma between, and is {','.join(cells)!r}"
            )
        rows.append((cells[0], cells[1]))
    return rows[1:] if rows and not is_image(rows[0][0]) else rows


def _json_rows(text: str) -> Rows | None:
    """Of {"labels": [[file, label], ...]}; None for {"labels": null}.

    References:
        https://github.com/NVlabs/stylegan3/blob/main/dataset_tool.py
    """
    content = json.loads(text)
    entries = content.get("labels", ()) if isinstance(content, dict) else ()
    if entries is None:
        return None
    if not isinstance(entries, list) or not entries:
        raise ValueError('it must hold {"labels": [["image.png", 0], ...]}, or {"labels": null} for none')
    return [_json_row(entry) for entry in entries]


def _json_row(entry: object) -> tuple[str, str]:
    path, label = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    if isinstance(path, str) and isinstance(label, list):
        raise ValueError(f"the label of {path} is a vector: labels must be whole numbers or names")
    named = isinstance(label, str) and label != ""
    if not isinstance(path, str) or not (named or (type(label) is int and label >= 0)):
        raise ValueError(f"{json.dumps(entry)[:80]} must be a file and a label of at least 0, such as {EXAMPLE}")
    return path, str(label)


EXAMPLE = '["image.png", 0]'
