"""scikit-learn's photographs, for tests of networks of photographs, and which numbers of their outputs are compared."""

import functools

import numpy as np
from sklearn.datasets import load_sample_image

NAMES = ("china", "flower")
ENTRIES = 16


@functools.cache
def crop(name: str, side: int = 224) -> np.ndarray:
    """The middle of a photograph, uint8 [side, side, 3]."""
    image = load_sample_image(f"{name}.jpg")
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def patches(name: str, side: int, count: int) -> np.ndarray:
    """Parts of a photograph, chosen at random, uint8 [count, side, side, 3]."""
    image, rng = load_sample_image(f"{name}.jpg"), np.random.default_rng(0)
    places = zip(*(rng.integers(length - side, size=count) for length in image.shape[:2]), strict=True)
    return np.stack([image[top : top + side, left : left + side] for top, left in places])


def entries(values: np.ndarray) -> list[float]:
    """Some of an output's numbers, from places that depend on its size alone."""
    places = np.random.default_rng(0).choice(values.size, ENTRIES)
    return [float(value) for value in values.reshape(-1)[places]]
