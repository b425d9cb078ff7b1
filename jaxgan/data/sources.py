"""What the real examples are."""

from typing import NamedTuple

import numpy as np


class Examples(NamedTuple):
    """A data set in memory.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int32 [N].
        classes: the name of each label.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def digits() -> Examples:
    """1,797 handwritten digits, 8x8 grey, inside scikit-learn: the test half of the UCI optical recognition set."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  (slow to import, and needed by this source alone)

    loaded = load_digits()
    images = np.round(loaded.images * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0 to 16
    return Examples(images[..., None], loaded.target.astype(np.int32), tuple(map(str, loaded.target_names)))


SOURCES = {"digits": digits}
