"""Labels as people store them, numbers or names, as classes: one for each value that occurs."""

import numpy as np

from jaxgan.io.files import name_as_text

MOST_CLASSES = 100_000  # more values than these are no labels
MOST_WHOLE = 2**53  # beyond that a float64 does not hold every whole number


def classes_of(labels: np.ndarray, count: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, in the order of their values, and the class of each image: int32 [count].

    Args:
        labels: [count] or [count, 1], whole numbers of any type, booleans, or names.
        count: how many images there are.

    Raises:
        ValueError: they are no labels; says what is wrong and what would be right.
    """
    about = f"labels of type {labels.dtype} and shape {labels.shape}"
    if labels.ndim == 2 and labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == count:
        raise ValueError(f"{about} look like a vector for each image: save labels.argmax(1) if it is one-hot")
    if labels.shape != (count,) or labels.dtype.kind not in "biufUS":
        raise ValueError(f"{about} must be {count} whole numbers or names, one for each image")
    if labels.dtype.kind in "US":
        labels = _text(labels)
        if (labels == "").any():
            raise ValueError(f"labels hold an empty name: label {np.flatnonzero(labels == '')[0]}")
    elif labels.dtype.kind != "b":
        labels = _whole(labels)
    values, targets = np.unique(labels, return_inverse=True)
    if len(values) > MOST_CLASSES:
        raise ValueError(f"labels hold {len(values):,} different values: {MOST_CLASSES:,} classes are the most")
    names = map(name_as_text if labels.dtype.kind == "U" else str, values.tolist())
    return tuple(names), targets.astype(np.int32)


def named(labels: np.ndarray, names: np.ndarray) -> np.ndarray:
    """The names of labels that count them from 0; whole numbers where all names are such.

    Raises:
        ValueError: there is no name for a label, or the names are no text.
    """
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise ValueError(f"classes of type {names.dtype} and shape {names.shape} must be a list of names")
    if labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < len(names))).all():
        raise ValueError(
            f"labels must be whole numbers from 0 to {len(names) - 1}, which count the {len(names)} classes"
        )
    texts = _text(names)
    return (texts.astype(np.int64) if np.char.isdecimal(texts).all() else texts)[labels]


def _text(labels: np.ndarray) -> np.ndarray:
    """Names as text."""
    try:
        return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
    except UnicodeDecodeError as error:
        raise ValueError(f"labels hold {error.object!r}: names must be UTF-8") from error


def _whole(labels: np.ndarray) -> np.ndarray:
    """Numbers as whole numbers of at least 0."""
    if labels.dtype.kind == "f":
        wrong = ~((np.abs(labels) < MOST_WHOLE) & (labels == np.round(labels)))  # NaN as well
        if wrong.any():
            raise ValueError(f"labels hold {labels[wrong][0]:g}: labels must be whole numbers")
        labels = labels.astype(np.int64)
    if (labels < 0).any():
        raise ValueError(
            f"labels hold {labels.min()} ({(labels < 0).sum()} of {len(labels)} are negative): labels must be 0 or "
            "more, so leave out images without a class"
        )
    return labels
