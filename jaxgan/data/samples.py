"""The numbers of a picture, of any type, as 8-bit levels."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgan.errors import UserError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by the number of bands


class Samples(NamedTuple):
    """The numbers of a picture as its file has them.

    Attributes:
        numbers: [H, W, bands]; the last of 2 and of 4 bands is alpha.
        white: the number that is white, and full alpha; None where the format does not tell.
        inverted: whether 0 is white, and `white` black.
        premultiplied: whether colours are multiplied by alpha.
        transparent: the numbers of the only colour that is transparent, if there is one.
    """

    numbers: np.ndarray
    white: int | None
    inverted: bool = False
    premultiplied: bool = False
    transparent: int | tuple[int, ...] | None = None


def to_picture(samples: Samples, white: float, keep_alpha: bool) -> Image.Image:
    """The picture with 8 bits in each band, rounded once.

    Args:
        samples: its numbers.
        white: the number that is white; 0 for what the format says.
        keep_alpha: whether an alpha band stays; otherwise whatever is transparent lies on white.

    Raises:
        UserError: nobody knows which number is white, or some of them are no numbers.
    """
    numbers, top = samples.numbers, white or samples.white
    if top is None:
        raise UserError(
            f"its pixels are {_kind(numbers.dtype)} numbers, of which the file does not say how bright they are: set "
            "config.data.white to the number that is white"
        )
    if np.isnan(numbers).any():
        raise UserError("some of its pixels are not a number (NaN)")
    bands = numbers.shape[2]
    colours = bands - (bands in (2, 4))
    # A float32 tells all numbers of 16 bits apart, and their levels from a half.
    levels = numbers[..., :colours].astype(np.float64 if numbers.itemsize > 2 else np.float32)
    levels = np.clip(levels * 255 / np.float32(top), 0, 255)
    levels = 255 - levels if samples.inverted else levels
    alpha = _alpha(samples)
    if alpha is not None:
        levels = _with_alpha(levels, alpha, samples.premultiplied, keep_alpha)
    pixels = np.floor(levels + 0.5).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels, MODES[pixels.shape[2]])


def _alpha(samples: Samples) -> np.ndarray | None:
    """From 0 to 1: [H, W, 1]."""
    numbers = samples.numbers
    if samples.transparent is not None:
        return (numbers != np.atleast_1d(samples.transparent)).any(-1, keepdims=True).astype(np.float32)
    return numbers[..., -1:] / np.float32(samples.white) if numbers.shape[2] in (2, 4) else None


def _with_alpha(levels: np.ndarray, alpha: np.ndarray, premultiplied: bool, keep_alpha: bool) -> np.ndarray:
    """The levels on white, or not premultiplied beside their alpha."""
    if not keep_alpha:
        return np.minimum((levels if premultiplied else levels * alpha) + 255 * (1 - alpha), 255)
    if premultiplied:
        levels = np.minimum(np.divide(levels, alpha, out=np.zeros_like(levels), where=alpha > 0), 255)
    return np.concatenate([levels, 255 * alpha], axis=-1)


def _kind(dtype: np.dtype) -> str:
    """A type of numbers in words."""
    words = {"u": "unsigned {}-bit", "i": "signed {}-bit", "f": "{}-bit floating-point"}
    return words[dtype.kind].format(8 * dtype.itemsize)
