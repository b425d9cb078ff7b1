"""Algorithms that make convolutions of fewer products than their definition, as matrices.

References:
    Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, section 4. https://arxiv.org/abs/1509.09308
    Mathieu et al., Fast Training of Convolutional Networks through FFTs, 2013. https://arxiv.org/abs/1312.5851
"""

import functools
import math
from typing import NamedTuple

import numpy as np

POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)  # the simpler a point, the smaller the rounding errors


class Bilinear(NamedTuple):
    """The matrices of an algorithm, named as in Winograd's: outputs = A^T ((G kernel) * (B^T images)).

    Attributes:
        images: B^T, from blocks to points.
        kernel: G, from taps to points.
        outputs: A^T, from points to outputs.
    """

    images: np.ndarray
    kernel: np.ndarray
    outputs: np.ndarray


@functools.cache
def tile(outputs: int, taps: int) -> Bilinear:
    """The Cook-Toom algorithm for a row: a convolution as the product of two polynomials, by their values at points.

    The last point is infinity, where the value is the leading coefficient.

    Raises:
        ValueError: more points would be needed than `POINTS` has.
    """
    if outputs + taps - 2 > len(POINTS):
        raise ValueError(f"{outputs} outputs of {taps} taps need {outputs + taps - 2} points besides infinity")
    finite = POINTS[: outputs + taps - 2]
    others = [np.polynomial.polynomial.polyfromroots(np.delete(finite, i)) for i in range(len(finite))]
    scales = [np.polynomial.polynomial.polyval(point, other) for point, other in zip(finite, others, strict=True)]

    def values(count: int) -> np.ndarray:
        last = np.zeros((1, count))
        last[0, -1] = 1
        return np.concatenate([np.vander(finite, count, increasing=True), last])

    images = np.zeros((len(finite) + 1, len(finite) + 1))
    images[:-1, :-1] = others
    images[-1] = np.polynomial.polynomial.polyfromroots(finite)
    kernel = values(taps)
    kernel[:-1] /= np.expand_dims(scales, 1)
    return Bilinear(images, kernel, values(outputs).T)


@functools.cache
def fourier(size: int, stride: int, before: int, pixels: tuple[int, int], outputs: tuple[int, int]) -> Bilinear:
    """Whole planes: the discrete Fourier transform, of lengths at which nothing meets what lies at the other edge.

    Of two conjugate frequencies one is enough, since pixels are real. The product of two complex numbers is made of
    three real ones: x y = 4/3 sum_k w^-2k Re(w^k x) Re(w^k y), for k = 0, 1, 2 and w = exp(2 pi i / 3). So the points
    are Re(w^k x) for the three k, and x alone where a frequency is its own conjugate.

    Args:
        size, stride, before: of the window, and zeros in front of the pixels.
        pixels, outputs: their rows and columns.

    Returns:
        Matrices of all blocks or outputs of a plane; the kernel's is [points, places within a block, taps].
    """
    blocks = [-(-count // stride) for count in pixels]
    seen, places = np.divmod(np.arange(size) - before, stride)  # a tap's block next to its output, and place therein
    lengths = [max(own - seen.min(), count + seen.max()) for own, count in zip(blocks, outputs, strict=True)]
    number = np.arange(math.prod(lengths)).reshape(lengths)
    conjugate = np.roll(number[::-1, ::-1], 1, axis=(0, 1))
    own, first = (number == conjugate).ravel(), (number < conjugate).ravel()

    def points(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        waves = [
            np.exp(-2j * np.pi * np.outer(np.arange(length), places) / length)
            for length, places in zip(lengths, (rows, columns), strict=True)
        ]
        frequencies = np.kron(*waves)  # of rows and columns, which are joined
        turns = [np.exp(2j * np.pi * k / 3) * frequencies[first] for k in range(3)]
        return np.concatenate([frequencies[own], *turns]).real

    kernel = points(-seen, -seen)
    within = np.add.outer(stride * places, places).ravel() == np.arange(stride**2)[:, None]
    # The other one of a pair adds as much again, to 4/3 of three products.
    weights = np.where(np.arange(len(kernel)) < own.sum(), 1, 2 * 4 / 3)
    scale = np.sqrt(weights)[:, None] / math.sqrt(number.size)
    images, results = points(*map(np.arange, blocks)), points(*(-np.arange(count) for count in outputs))
    return Bilinear(scale * images, kernel[:, None] * within, (scale * results).T)
