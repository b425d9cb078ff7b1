"""Numbers by a formula, for weights and inputs that two programs share without a file."""

import zlib

import numpy as np


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 numbers of mean 0 and variance 1, nearly; another name gives others. Their matrices have full rank."""
    places = np.arange(np.prod(shape, dtype=int)) + zlib.crc32(name.encode()) % 9973
    return (np.sqrt(2) * np.cos(0.6180339887 * places**2)).astype(np.float32).reshape(shape)
