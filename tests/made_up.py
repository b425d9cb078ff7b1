"""Numbers by a formula, for weights and inputs that two programs share without a file."""

import zlib

import numpy as np


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 numbers of mean 0 and variance 1, nearly; another name gives others. Their matrices have full rank."""
    places = np.arange(np.prod(shape, dtype=int)) + zlib.crc32(name.encode()) % 9973
    return (np.sqrt(2) * np.cos(0.6180339887 * places**2)).astype(np.float32).reshape(shape)


def array_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of a network by its name in PyTorch: products keep the size of numbers, variances are 1 or more."""
    own = numbers(name, shape)
    if name.endswith("var"):
        return 1 + own**2
    if name == "l5.bias":  # of the last layer, which has none in Chainer
        return np.zeros(shape, np.float32)
    if name.endswith("gamma"):
        return np.full(shape, 0.7, np.float32)
    return np.asarray(own * (0.2 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5), np.float32)
