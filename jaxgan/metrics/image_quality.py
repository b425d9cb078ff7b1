"""How far images are from the right ones, pixel by pixel and in structure: L1, PSNR and SSIM, a number for each image.

Equal to scikit-image 0.26 in float64: `peak_signal_noise_ratio` and `structural_similarity` with `data_range=255`
and `channel_axis=-1`.

References:
    Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE Transactions on Image
    Processing 13, 2004. https://doi.org/10.1109/TIP.2003.819861
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.errors import UserError

WHITE = 255
K1, K2 = 0.01, 0.03  # of the constants that keep SSIM finite, as Wang et al. have them
UNIFORM = np.full(7, 1 / 7)  # weights of a window along one axis
GAUSSIAN = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
GAUSSIAN /= GAUSSIAN.sum()
LUMA = np.array([299, 587, 114]) / 1000  # of red, green and blue, ITU-R BT.601
BATCH = 32  # images that are worked on together

Floats = Float[np.ndarray, "n height width channel"]
Images = UInt8[np.ndarray, "_ _ _ _"] | Float[np.ndarray, "_ _ _ _"]  # [n, height, width, channel]


def l1(images: Images, truth: Images) -> Float[np.ndarray, " n"]:
    """The mean absolute difference of each image, of pixels from 0 to 1."""
    check_shapes(images, truth)
    return _by_batch(lambda x, y: np.abs(x - y).mean((1, 2, 3)) / WHITE, images, truth)


def psnr(images: Images, truth: Images) -> Float[np.ndarray, " n"]:
    """The peak signal-to-noise ratio of each image in decibels, 10 log10(255^2 / mean square error).

    It is infinite for equal images.
    """
    check_shapes(images, truth)
    errors = _by_batch(lambda x, y: ((x - y) ** 2).mean((1, 2, 3)), images, truth)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(WHITE**2 / errors)


def ssim(images: Images, truth: Images, window: Float[np.ndarray, " taps"] = UNIFORM) -> Float[np.ndarray, " n"]:
    """The structural similarity of each image: 1 for equal ones, the mean over channels and over all whole windows.

    Args:
        images, truth: of one shape.
        window: weights along one axis. `UNIFORM` is scikit-image's default, 7x7 pixels. `GAUSSIAN` is its
            `gaussian_weights=True`, 11x11 pixels. Covariances are those of samples, as its default has them.

    Raises:
        UserError: an image is smaller than a window.
    """
    check_shapes(images, truth)
    least, (height, width) = len(window), images.shape[1:3]
    if min(height, width) < least:
        raise UserError(f"SSIM needs images of {least}x{least} pixels or more, and not of {height}x{width}")
    return _by_batch(lambda x, y: _ssim(x, y, window), images, truth)


def grey(images: Images) -> Float[np.ndarray, "_ _ _ 1"]:
    """One channel of brightness from 0 to 255: luma of coloured images, whose alpha counts for nothing."""
    colours = images.shape[-1]
    weights = LUMA if colours in (3, 4) else np.full(colours, 1 / colours)
    return (images[..., : len(weights)] @ weights)[..., None]


def grey_ssim(images: Images, others: Images) -> Float[np.ndarray, " n"]:
    """The structural similarity of the brightness of images; errors as of `ssim`."""
    check_shapes(images, others)
    parts = [
        ssim(grey(images[start : start + BATCH]), grey(others[start : start + BATCH]))
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def check_shapes(images: np.ndarray, truth: np.ndarray) -> None:
    """Raises a `UserError` unless there are as many images of one shape."""
    if images.shape != truth.shape:
        raise UserError(f"images {images.shape} and {truth.shape} are no pairs: both must have one shape")


def _by_batch(of_batch: Callable, images: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, " n"]:
    """A function of a batch of pairs in float64, for all of them."""
    starts = range(0, len(images), BATCH)
    parts = [of_batch(*(np.float64(side[start : start + BATCH]) for side in (images, truth))) for start in starts]
    return np.concatenate(parts) if parts else np.zeros(0)


def _ssim(x: Floats, y: Floats, window: Float[np.ndarray, " taps"]) -> Float[np.ndarray, " n"]:
    count = len(window) ** 2
    sample = count / (count - 1)
    mean_x, mean_y = _means(x, window), _means(y, window)
    variances = sample * (_means(x**2, window) + _means(y**2, window) - mean_x**2 - mean_y**2)
    covariance = sample * (_means(x * y, window) - mean_x * mean_y)
    c1, c2 = (K1 * WHITE) ** 2, (K2 * WHITE) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (alike / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))).mean((1, 2, 3))


def _means(images: Floats, window: Float[np.ndarray, " taps"]) -> Float[np.ndarray, "n rows columns channel"]:
    """Weighted means over all windows that lie within an image."""
    for axis in (1, 2):
        size = images.shape[axis] - len(window) + 1
        before = (slice(None),) * axis
        images = sum(weight * images[(*before, slice(start, start + size))] for start, weight in enumerate(window))
    return images
