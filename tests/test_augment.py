"""Augmentations: what they do to an image, the random numbers of each example, and derivatives."""

import functools
import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.adversarial.augment import AUGMENTATIONS, augment
from jaxgan.core import rng

law = settings(deadline=None, max_examples=20, derandomize=True)
ALL = tuple(name for name in AUGMENTATIONS if name != "color")  # which is another spelling
every_name = pytest.mark.parametrize("name", ALL)
MANY = 4000  # samples by which a distribution is tested
COUNT, SHAPE = 64, (9, 12, 3)  # elsewhere
seeds = st.integers(0, 2**32 - 1)

apply = quick_jit(augment, static_argnums=2)
derive_keys = quick_jit(lambda seed, examples: rng.example_keys(rng.stream_key(seed, 0, "test"), examples))


def keys_of(examples, seed: int = 0):
    return derive_keys(np.uint32(seed), np.asarray(examples, np.int32))


def made_up(seed: int = 0, count: int = COUNT, shape=SHAPE) -> np.ndarray:
    """Images in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def copies(image, count: int = MANY) -> np.ndarray:
    """One image [height, width, channel], `count` times."""
    return np.broadcast_to(np.asarray(image, np.float32), (count, *np.shape(image)))


def changed(name: str, images, seed: int = 0) -> np.ndarray:
    return np.asarray(apply(images, keys_of(range(len(images)), seed), (name,)))


def chi_squared(counts) -> float:
    """The statistic of counts with equal expectations; its mean is the number of counts minus one."""
    return float(((counts - np.mean(counts)) ** 2 / np.mean(counts)).sum())


# All augmentations


def test_both_spellings_of_colour_are_the_same_function():
    assert AUGMENTATIONS["color"] is AUGMENTATIONS["colour"]


@law
@given(
    names=st.permutations(ALL).flatmap(lambda names: st.integers(0, len(ALL)).map(lambda count: tuple(names[:count]))),
    batch=st.integers(0, 9),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 3, 6]),
)
def test_images_of_any_size_keep_their_shape_and_type(names, batch, height, width, channels):
    images = jax.ShapeDtypeStruct((batch, height, width, channels), np.float32)
    example_keys = jax.ShapeDtypeStruct((batch,), jax.random.key(0).dtype)
    out = jax.eval_shape(lambda images, keys: augment(images, keys, names), images, example_keys)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)


def test_images_without_augmentations_do_not_change():
    np.testing.assert_array_equal(apply(made_up(), keys_of(range(COUNT)), ()), made_up())


@every_name
def test_each_example_and_each_key_has_its_own_random_numbers(name):
    """The share of equal pairs is that of chance: of 2 flips, 3 x 5 translations, 9 x 13 holes, 10 x 13 small holes."""
    first, second = (changed(name, copies(made_up(count=1)[0], COUNT), seed) for seed in (0, 1))
    chances = {"flip": 1 / 2, "translation": 1 / 15, "cutout": 1 / 117, "small_cutout": 1 / 130, "colour": 0}
    chance = chances[name]
    for one, other in ((first, second), (first, np.roll(first, 1, axis=0))):
        share = (one == other).all((1, 2, 3)).mean()
        assert abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / COUNT)


@law
@given(st.lists(st.integers(0, COUNT - 1), min_size=5, max_size=5))
def test_the_random_numbers_of_an_example_do_not_depend_on_the_batch(examples):
    whole = np.asarray(apply(made_up(), keys_of(range(COUNT)), ALL))
    part = apply(made_up()[examples], keys_of(examples), ALL)
    np.testing.assert_allclose(part, whole[examples], rtol=0, atol=1e-6)


@pytest.mark.parametrize("names", [ALL, ALL[::-1]])
def test_names_are_applied_in_order_and_do_not_change_the_random_numbers_of_others(names):
    expected = made_up()
    for name in names:
        expected = changed(name, expected)
    np.testing.assert_allclose(apply(made_up(), keys_of(range(COUNT)), names), expected, rtol=0, atol=1e-6)


def test_each_name_has_a_key_of_its_own_for_each_example(monkeypatch):
    """With one key for all names, their random numbers would be independent only by chance."""
    for name in ALL:
        monkeypatch.setitem(AUGMENTATIONS, name, lambda image, key: image + jax.random.key_data(key) / 2.0**32)
    zeros, example_keys = jnp.zeros((5, 1, 1, 2)), keys_of(range(5))
    found = np.stack([augment(zeros, example_keys, (name,)).reshape(5, 2) for name in ALL])
    assert len(np.unique(found)) == found.size
    for name, i in itertools.product(ALL, range(5)):
        expected = jax.random.key_data(jax.random.fold_in(example_keys[i], zlib.crc32(name.encode()))) / 2.0**32
        np.testing.assert_array_equal(found[ALL.index(name), i], expected)


def test_different_names_are_independent():
    """All 2 x 3 x 5 cases of flip, shift down and shift right are equally likely (29 degrees of freedom)."""
    rows, columns = place_of_content(changed("translation", copies(numbered(4, 12))))
    flipped = changed("flip", copies(numbered(4, 12)))[:, 0, 0, 0] != numbered(4, 12)[0, 0, 0]
    found, counts = np.unique(np.stack([flipped, rows, columns]), axis=1, return_counts=True)
    assert found.shape == (3, 30)
    assert chi_squared(counts) < 58.3  # the 0.999 quantile


# Derivatives: for f(x) = A x + b they all follow from A


def matrix_times(name: str, images, seed: int = 0) -> np.ndarray:
    """A v, without any derivative."""
    return changed(name, images, seed) - changed(name, np.zeros_like(images), seed)


@functools.cache
def compiled_derivatives(name: str):
    def pulled_back(w, images, example_keys):
        return jax.grad(lambda x: (w * augment(x, example_keys, (name,))).sum())(images)

    def penalty(w, *rest):
        gradient = pulled_back(w, *rest)
        return 0.5 * (gradient**2).sum(), gradient

    return quick_jit(jax.grad(penalty, has_aux=True))


def derivatives(name: str, w, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The gradient A' w of <w, f(x)> by x, and the derivative by w of half its squared norm."""
    by_w, by_x = compiled_derivatives(name)(w, made_up(5), keys_of(range(COUNT), seed))
    return np.asarray(by_x), np.asarray(by_w)


@every_name
@settings(law, max_examples=10)
@given(seed=seeds, share=st.floats(-2, 2, width=32))
def test_an_augmentation_is_affine_in_the_image(name, seed, share):
    mixed = share * made_up(1) + (1 - share) * made_up(2)
    expected = share * changed(name, made_up(1), seed) + (1 - share) * changed(name, made_up(2), seed)
    np.testing.assert_allclose(changed(name, mixed, seed), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ALL[1:])
def test_all_augmentations_but_colour_keep_mid_grey(name):
    np.testing.assert_array_equal(changed(name, np.zeros((COUNT, *SHAPE), np.float32)), 0)


@every_name
@settings(law, max_examples=10)
@given(seed=seeds)
def test_a_gradient_is_pulled_back_to_the_image(name, seed):
    """<A v, w> = <v, A' w> for each example, whatever the other examples are."""
    v, w = made_up(3), made_up(4)
    by_x, _ = derivatives(name, w, seed)
    expected = (matrix_times(name, v, seed) * w).sum((1, 2, 3))
    np.testing.assert_allclose((v * by_x).sum((1, 2, 3)), expected, rtol=1e-4, atol=1e-3)


@every_name
@settings(law, max_examples=5)
@given(seed=seeds)
def test_a_gradient_penalty_can_be_trained_on(name, seed):
    """The linear critic <w, f(x)> has the penalty |A' w|^2 / 2, whose derivative is A A' w."""
    by_x, by_w = derivatives(name, made_up(4), seed)
    np.testing.assert_allclose(by_w, matrix_times(name, by_x, seed), rtol=0, atol=1e-4)


# Colour


def parts(images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, grey level relative to it, colour relative to that: float64, with the sum `images`."""
    images = np.float64(images)
    means, greys = images.mean((1, 2, 3), keepdims=True), images.mean(3, keepdims=True)
    return means, greys - means, images - greys


def coefficients(images, out) -> np.ndarray:
    """The brightness, saturation and contrast that made `out` of `images`: [3, batch]."""
    (mean, grey, colour), (out_mean, out_grey, out_colour) = parts(images), parts(out)
    slope = lambda y, x: (y * x).sum((1, 2, 3)) / (x * x).sum((1, 2, 3))  # noqa: E731
    contrast = slope(out_grey, grey)
    return np.stack([(out_mean - mean).ravel(), slope(out_colour, colour) / contrast, contrast])


PIXELS = made_up(6, 1, (2, 3, 3))[0]


@law
@given(seed=seeds)
def test_colour_leaves_alpha_and_does_not_look_at_it(seed):
    images = made_up(shape=(9, 12, 4))
    out = changed("colour", images, seed)
    np.testing.assert_array_equal(out[..., 3], images[..., 3])
    np.testing.assert_array_equal(out[..., :3], changed("colour", images[..., :3], seed))


@pytest.mark.parametrize("name", ["translation", "cutout", "flip"])
def test_moves_and_holes_are_the_same_in_all_channels(name):
    images = made_up(shape=(9, 12, 4))
    for channel in range(4):
        alone = changed(name, images[..., channel : channel + 1])
        np.testing.assert_array_equal(changed(name, images)[..., channel], alone[..., 0])


@law
@given(seeds)
def test_colour_is_a_change_of_brightness_saturation_and_contrast(seed):
    """The published formulas in their order, with the sampled numbers, and without clipping."""
    images, out = made_up(), changed("colour", made_up(), seed)
    brightness, saturation, contrast = coefficients(images, out)[..., None, None, None]
    expected = np.float64(images) + brightness
    pixel_means = expected.mean(3, keepdims=True)
    expected = (expected - pixel_means) * saturation + pixel_means
    image_means = expected.mean((1, 2, 3), keepdims=True)
    expected = (expected - image_means) * contrast + image_means
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)


def test_brightness_saturation_and_contrast_are_uniform_and_independent():
    sampled = coefficients(copies(PIXELS), changed("colour", copies(PIXELS)))
    uniform = np.sort((sampled - [[-0.5], [0], [0.5]]) / [[1], [2], [1]], axis=1)
    assert (uniform > -1e-5).all()
    assert (uniform < 1 + 1e-5).all()
    distances = abs(uniform - (np.arange(MANY) + 0.5) / MANY).max(1)
    assert (distances < 1.95 / np.sqrt(MANY)).all()  # the 0.999 quantile of Kolmogorov's distribution
    assert (abs(np.corrcoef(sampled)[np.triu_indices(3, 1)]) < 4 / np.sqrt(MANY)).all()


def test_the_mean_of_colour_is_the_image():
    """The mean of brightness is 0; the means of saturation and contrast are 1."""
    out = changed("colour", copies(PIXELS))
    np.testing.assert_array_less(abs(out.mean(0) - PIXELS), 4 * out.std(0) / np.sqrt(MANY))


@law
@given(seed=seeds)
def test_saturation_does_not_change_grey_images(seed):
    """An image of three equal channels changes as its only channel does: by brightness and contrast."""
    grey = made_up(7, shape=(9, 12, 1))
    out = changed("colour", grey, seed)
    np.testing.assert_allclose(changed("colour", grey.repeat(3, axis=3), seed), out.repeat(3, axis=3), atol=1e-6)
    (mean, deviation, _), (out_mean, out_deviation, _) = parts(grey), parts(out)
    contrast = (out_deviation * deviation).sum((1, 2, 3), keepdims=True) / (deviation**2).sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(out_deviation, contrast * deviation, atol=1e-6)
    assert (abs(out_mean - mean) < 0.5 + 1e-6).all()


@law
@given(seed=seeds, channels=st.permutations(range(3)))
def test_colour_does_not_depend_on_places_or_channels(seed, channels):
    places = np.random.default_rng(seed).permutation(SHAPE[0] * SHAPE[1])

    def shuffled(images):
        return images.reshape(COUNT, -1, 3)[:, places][..., channels].reshape(images.shape)

    out = changed("colour", shuffled(made_up()), seed)
    np.testing.assert_allclose(out, shuffled(changed("colour", made_up(), seed)), rtol=0, atol=1e-6)


# Translation


def numbered(height: int, width: int, channels: int = 1) -> np.ndarray:
    """An image whose pixels are the numbers of their places, from 1 on."""
    places = (np.arange(1, height * width + 1) / (height * width)).reshape(height, width, 1)
    return places.repeat(channels, axis=2).astype(np.float32)


def place_of_content(out) -> tuple[np.ndarray, np.ndarray]:
    """How far down and right the content of `numbered` was moved, in each image."""
    count, height, width, _ = out.shape
    pixels = out[..., 0].reshape(count, -1)
    positions = (pixels != 0).argmax(1)
    numbers = np.rint(pixels[np.arange(count), positions] * height * width).astype(int) - 1
    return positions // width - numbers // width, positions % width - numbers % width


@law
@given(seed=seeds)
def test_a_translation_moves_the_image_over_a_background_of_zeros(seed):
    """An image with enough zeros around it is rolled, all channels alike."""
    down, right = place_of_content(changed("translation", copies(numbered(*SHAPE), COUNT), seed))
    padded = np.pad(made_up(), [(0, 0), (9, 9), (12, 12), (0, 0)])
    expected = [np.roll(image, shift, (0, 1))[9:18, 12:24] for image, *shift in zip(padded, down, right, strict=True)]
    np.testing.assert_array_equal(changed("translation", made_up(), seed), expected)


def test_each_shift_is_equally_likely():
    """There are 3 x 5 shifts (chi-squared, 14 degrees of freedom)."""
    shifts = place_of_content(changed("translation", copies(numbered(4, 12)), 1))
    found, counts = np.unique(np.stack(shifts), axis=1, return_counts=True)
    assert found.T.tolist() == [list(shift) for shift in itertools.product(range(-1, 2), range(-2, 3))]
    assert chi_squared(counts) < 36.1  # the 0.999 quantile


@pytest.mark.parametrize(("sizes", "most"), [((3, 11), (0, 1)), ((12, 20), (2, 3)), ((32, 8), (4, 1))])
def test_a_shift_is_at_most_an_eighth_of_the_size(sizes, most):
    """Rounded to the nearest whole number, halves up."""
    shifts = place_of_content(changed("translation", copies(numbered(*sizes), 500)))
    for found, bound in zip(shifts, most, strict=True):
        assert set(found) == set(range(-bound, bound + 1))


# Cutout


def holes(height: int, width: int) -> np.ndarray:
    """Every hole that the published rule allows: bool [places, height, width]."""

    def intervals(size):
        hole = int(size * 0.5 + 0.5)
        centres = range(size + (1 - hole % 2))
        return [np.isin(np.arange(size), np.arange(hole) + centre - hole // 2) for centre in centres]

    return np.stack([np.outer(rows, columns) for rows in intervals(height) for columns in intervals(width)])


def holes_of(shape, count: int, seed: int = 0) -> np.ndarray:
    """The holes that the augmentation cuts: bool [count, height, width, channel]."""
    return changed("cutout", copies(np.ones(shape), count), seed) == 0


@law
@given(seed=seeds)
def test_a_hole_is_zero_and_other_pixels_do_not_change(seed):
    """In all channels alike."""
    hole = holes_of(SHAPE, COUNT, seed)
    np.testing.assert_array_equal(hole, hole[..., :1].repeat(3, axis=3))
    np.testing.assert_array_equal(changed("cutout", made_up(), seed), np.where(hole, 0, made_up()))


@law
@given(seed=seeds)
def test_the_gradient_is_zero_in_a_hole_and_whole_elsewhere(seed):
    of_the_sum, _ = derivatives("cutout", np.ones((COUNT, *SHAPE), np.float32), seed)
    np.testing.assert_array_equal(of_the_sum, ~holes_of(SHAPE, COUNT, seed))


@pytest.mark.parametrize(
    ("sizes", "places", "bound"), [((1, 1), 1, 0.1), ((5, 4), 25, 51.2), ((2, 7), 16, 37.7)], ids=str
)
def test_each_place_of_a_hole_is_equally_likely(sizes, places, bound):
    """By the 0.999 quantile of chi-squared. Each side of a hole is half of the image's, minus what hangs over."""
    allowed, sampled = holes(*sizes), holes_of((*sizes, 1), MANY)[..., 0]
    matches = (sampled[:, None] == allowed).all((2, 3))
    assert len(allowed) == places
    assert (matches.sum(1) == 1).all()
    assert chi_squared(matches.sum(0)) < bound
    areas, whole = sampled.sum((1, 2)), np.prod([(size + 1) // 2 for size in sizes])
    at_the_border = sampled[:, [0, -1]].any((1, 2)) | sampled[:, :, [0, -1]].any((1, 2))
    assert areas.max() == whole
    assert (areas[~at_the_border] == whole).all()


# Flip


def test_an_image_is_mirrored_in_half_of_all_cases():
    image = numbered(4, 12)
    out = changed("flip", copies(image))
    kept, mirrored = ((out == other).all((1, 2, 3)) for other in (image, image[:, ::-1]))
    np.testing.assert_array_equal(kept, ~mirrored)
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(MANY)


def test_a_name_that_stands_twice_has_the_same_random_numbers_twice():
    np.testing.assert_array_equal(apply(made_up(), keys_of(range(COUNT)), ("flip", "flip")), made_up())


def test_a_small_hole_is_a_fifth_of_height_and_width():
    """Its whole area is within most images; at the border it is smaller."""
    holes = changed("small_cutout", copies(np.ones((10, 20, 1), np.float32), COUNT), 0) == 0
    areas = holes.sum((1, 2, 3))
    assert areas.max() == 2 * 4
    assert (areas == 2 * 4).mean() > 0.5
    assert holes.any((2, 3)).sum(1).max() == 2
    assert holes.any((1, 3)).sum(1).max() == 4
