"""L1, PSNR and SSIM: equal images, known shifts, values worked out by hand, and those of scikit-image."""

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.image_quality import GAUSSIAN, UNIFORM, grey, grey_ssim, l1, psnr, ssim

# scikit-image 0.26: structural_similarity(a, b, data_range=255, channel_axis=-1), the same with gaussian_weights=True,
# and peak_signal_noise_ratio(a, b, data_range=255).
GOLDEN = {
    (7, 7, 1): (0.9519271125333704, None, 25.29409991061046),
    (16, 23, 3): (0.919588536010617, 0.8982911933695612, 20.161429603062643),
    (32, 32, 3): (0.92247031832935, 0.9122847612272785, 19.912809842923096),
    (20, 12, 4): (0.9182417978323147, 0.8910733270201254, 20.274954824169168),
}


def pair(height: int, width: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Two images that are alike, [1, H, W, C] each."""
    y, x, channel = np.mgrid[:height, :width, :channels]
    first = (7 * x + 13 * y + 50 * channel + x * y) % 256
    return np.uint8(first)[None], np.uint8(3 * first // 4 + (x * x + 5 * y) % 61)[None]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", GOLDEN)
def test_numbers_are_those_of_scikit_image(shape):
    first, second = pair(*shape)
    uniform, gaussian, ratio = GOLDEN[shape]
    assert ssim(first, second)[0] == pytest.approx(uniform, abs=1e-10)
    assert psnr(first, second)[0] == pytest.approx(ratio, abs=1e-10)
    if gaussian is not None:
        assert ssim(first, second, GAUSSIAN)[0] == pytest.approx(gaussian, abs=1e-10)


@pytest.mark.parametrize("window", [UNIFORM, GAUSSIAN])
def test_equal_images_have_no_error(window):
    images = np.concatenate([noise(2, 12, 15, 3), np.full((1, 12, 15, 3), 77, np.uint8)])
    np.testing.assert_allclose(ssim(images, images, window), 1, atol=1e-12)
    assert (l1(images, images) == 0).all()
    assert np.isposinf(psnr(images, images)).all()


def test_a_constant_shift_has_known_values():
    """By 10 of 255 levels: the structure is that of the original, and only the means tell."""
    images = np.uint8(noise(3, 9, 9, 1) // 2)
    shifted = images + np.uint8(10)
    np.testing.assert_allclose(l1(shifted, images), 10 / 255, rtol=1e-12)
    np.testing.assert_allclose(psnr(shifted, images), 20 * np.log10(25.5), rtol=1e-12)
    flat = np.full((1, 9, 9, 1), 100, np.uint8)
    c1 = 2.55**2
    expected = (2 * 100 * 110 + c1) / (100**2 + 110**2 + c1)
    np.testing.assert_allclose(ssim(flat, flat + np.uint8(10)), expected, rtol=1e-9)


def test_both_orders_and_all_turns_and_companies_of_images_give_the_same():
    first, second = noise(40, 10, 13, 3), noise(40, 10, 13, 3, seed=1)
    for score in (l1, psnr, ssim, grey_ssim):
        found = score(first, second)
        np.testing.assert_allclose(found, score(second, first), rtol=1e-12)
        np.testing.assert_allclose(found, score(np.rot90(first, axes=(1, 2)), np.rot90(second, axes=(1, 2))), rtol=1e-9)
        np.testing.assert_array_equal(found[35:37], score(first[35:37], second[35:37]))


def test_independent_noise_has_no_structure_in_common():
    assert abs(ssim(noise(4, 64, 64, 1), noise(4, 64, 64, 1, seed=1)).mean()) < 0.05


def test_brightness_is_luma():
    """Of colours; alpha counts for nothing; a grey image is its own brightness."""
    colours = np.uint8([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]])
    np.testing.assert_allclose(grey(colours).ravel(), [76.245, 149.685, 29.07, 9])
    alpha = np.concatenate([colours, noise(1, 1, 4, 1)], axis=-1)
    np.testing.assert_array_equal(grey(alpha), grey(colours))
    one = noise(2, 8, 8, 1)
    np.testing.assert_array_equal(grey(one), one)
    np.testing.assert_allclose(grey_ssim(one, one[::-1]), ssim(one, one[::-1]), rtol=1e-12)


def test_what_makes_no_pairs_is_refused():
    with pytest.raises(UserError, match="no pairs"):
        l1(noise(2, 8, 8, 1), noise(2, 8, 8, 3))
    with pytest.raises(UserError, match="7x7 pixels or more, and not of 6x9"):
        ssim(noise(2, 6, 9, 1), noise(2, 6, 9, 1))
