"""scikit-learn's handwritten digits, which are always at hand."""

import numpy as np

from jaxgan.data.stored import Arrays, StoredImages
from jaxgan.errors import UserError


def read(place: str) -> StoredImages:
    """1,797 handwritten digits, 8x8 grey, inside scikit-learn: the test half of the UCI optical recognition set."""
    if place:
        raise UserError(f"config.data.source=digits:{place} must be digits alone: they lie inside scikit-learn")
    from sklearn.datasets import load_digits  # noqa: PLC0415  (slow to import, and needed by this source alone)

    loaded = load_digits()
    images = np.round(loaded.images * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0 to 16
    train = Arrays(images[..., None], loaded.target.astype(np.int32))
    return StoredImages({"train": train}, tuple(map(str, loaded.target_names)), "digits")
