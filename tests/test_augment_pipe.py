"""ADA's operations: each against its definition, all against the authors' code, and what no draw changes."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from experiments import quick_jit

from jaxgan.adversarial import augment_pipe
from jaxgan.adversarial.augment_pipe import BANDS, COLOUR, GEOMETRY, OPERATIONS, ROWS, SHARED, Draws
from jaxgan.core import rng

GOLDEN = Path(__file__).parent / "golden" / "ada.npz"
ALL = dict.fromkeys(OPERATIONS, 1.0)
COUNT = 6
SHAPES = [(9, 12, 3), (12, 9, 1), (8, 8, 4)]
every_operation = pytest.mark.parametrize("name", OPERATIONS)


def images_of(shape, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)


def keys_of(examples, seed: int = 0):
    return rng.example_keys(rng.stream_key(seed, 0, "test"), jnp.asarray(examples))


@functools.cache
def compiled(names: tuple[str, ...]):
    return quick_jit(lambda images, keys, p: augment_pipe.augment(images, keys, p, dict.fromkeys(names, 1.0)))


def augmented(images, p: float, names=OPERATIONS, seed: int = 0, keys=None) -> np.ndarray:
    keys = keys_of(range(len(images)), seed) if keys is None else keys
    return np.asarray(compiled(tuple(names))(images, keys, np.float32(p)))


def draws_of(shape, seed: int = 0) -> Draws:
    return jax.tree.map(np.asarray, augment_pipe.draw(jax.random.key(seed), shape))


@functools.cache
def compiled_transform(names: tuple[str, ...]):
    return quick_jit(lambda image, draws: augment_pipe.transform(image, draws, 1.0, dict.fromkeys(names, 1.0)))


def transformed(image, draws: Draws, names) -> np.ndarray:
    """With a probability of 1."""
    return np.asarray(compiled_transform(tuple(names))(image, draws))


# The authors' code


def quantile_draws(quantile: float, shape) -> Draws:
    """The draws of the golden images: all of one quantile, and no second rotation."""
    uniform = np.full((len(ROWS), 2), quantile, np.float32)
    uniform[ROWS.index("post_rotate")] = 0.5
    normal = np.full_like(uniform, scipy.special.erfinv(2 * quantile - 1))
    return Draws(uniform, normal, np.zeros(len(ROWS), np.float32), np.zeros(shape, np.float32))


@pytest.mark.parametrize("quantile", ["0.15", "0.8"])
def test_each_operation_and_all_of_them_do_what_the_authors_code_does(quantile):
    with np.load(GOLDEN) as golden:
        cases = [case for case in golden if case.split("/")[1:2] == [quantile]]
        assert len(cases) > len(COLOUR) + len(GEOMETRY)
        for case in cases:
            kind, _, name = case.split("/")
            names = [name]
            if name == "all":
                names = [own for own in OPERATIONS if own != "noise" and (kind, own) != ("colours", "imgfilter")]
            draws = quantile_draws(float(quantile), golden[kind].shape)
            found = transformed(golden[kind], draws, names)
            np.testing.assert_allclose(found, golden[case], rtol=0, atol=1e-4, err_msg=case)


# Each operation against its definition, by slow loops


def mirrored(image, row: int, column: int) -> np.ndarray:
    """A pixel of an image that is mirrored once beyond its borders, without the outermost pixels again; then 0."""
    height, width, channels = image.shape
    if not (-height < row < 2 * height - 1 and -width < column < 2 * width - 1):
        return np.zeros(channels)
    row, column = abs(row), abs(column)
    return image[min(row, 2 * height - 2 - row), min(column, 2 * width - 2 - column)]


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_by_whole_pixels_copies_pixels(seed):
    """Though sym6 makes the image twice as large, and small again."""
    image, draws = images_of((9, 17, 3), 1)[0], draws_of((9, 17, 3), seed)
    shift = np.rint((2 * np.float64(draws.uniform[ROWS.index("xint")]) - 1) / 8 * [17, 9]).astype(int)
    assert shift.any()
    expected = [[mirrored(image, row - shift[1], column - shift[0]) for column in range(17)] for row in range(9)]
    np.testing.assert_allclose(transformed(image, draws, ["xint"]), np.array(expected), rtol=0, atol=1e-5)


def wave(x, y):
    """Of a period of many pixels, in pixels from the centre."""
    return np.cos(0.2 * x + 0.1 * y + 0.3)


INVERSES = {
    "xflip": lambda u, n: np.diag([1 - 2 * np.floor(2 * u[0]), 1]),
    "rotate90": lambda u, n: np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), int(4 * u[0])),
    "scale": lambda u, n: np.eye(2) / 2 ** (0.2 * n[0]),
    "aniso": lambda u, n: np.diag([2 ** (-0.2 * n[0]), 2 ** (0.2 * n[0])]),
    "rotate": lambda u, n: np.array(
        [[np.cos(a := np.pi * (2 * u[0] - 1)), -np.sin(a)], [np.sin(a), np.cos(a)]],
    ),
    "xfrac": lambda u, n: np.eye(2),
}


@pytest.mark.parametrize("name", INVERSES)
@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_picture_moves_as_its_function_does(name, seed):
    """In the middle, which no border reaches. Sym6 is not symmetric: what is turned moves by an eighth of a pixel."""
    y, x = np.mgrid[:48, :40] - np.array([23.5, 19.5])[:, None, None]
    image, draws = wave(x, y)[..., None].astype(np.float32), draws_of((48, 40, 1), seed)
    rows = ["pre_rotate", "post_rotate"] if name == "rotate" else [name]
    linear, shift = np.eye(2), np.zeros(2)
    for row in rows:
        place = ROWS.index(row)
        linear = linear @ INVERSES[name](draws.uniform[place], draws.normal[place])
    if name == "xfrac":
        shift = 0.125 * draws.normal[ROWS.index("xfrac")] * np.array([40, 48])
    places = np.einsum("ij,jhw->ihw", linear, np.stack([x - shift[0], y - shift[1]]))
    inside = (np.abs(places[0]) < 13) & (np.abs(places[1]) < 17)
    inside[:6], inside[-6:], inside[:, :6], inside[:, -6:] = False, False, False, False
    assert inside.sum() > 50
    found = transformed(image, draws, [name])[..., 0]
    np.testing.assert_allclose(found[inside], wave(*places)[inside], rtol=0, atol=0.03)


def coloured(name: str, pixels, draws: Draws) -> np.ndarray:
    """A change of colours by its definition."""
    u, n = (np.float64(array[ROWS.index(name)]) for array in (draws.uniform, draws.normal))
    grey = pixels.mean(axis=-1, keepdims=True) * np.ones(3)
    if name == "brightness":
        return pixels + 0.2 * n[0]
    if name == "contrast":
        return pixels * 2 ** (0.5 * n[0])
    if name == "lumaflip":
        return pixels - 2 * grey * np.floor(2 * u[0])
    if name == "saturation":
        return grey + (pixels - grey) * 2 ** n[0]
    angle, axis = np.pi * (2 * u[0] - 1), np.ones(3) / np.sqrt(3)
    return grey + np.cos(angle) * (pixels - grey) + np.sin(angle) * np.cross(axis, pixels)


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize("seed", range(3))
def test_each_change_of_colours_is_its_definition(name, seed):
    image, draws = images_of((5, 4, 3), 1)[0], draws_of((5, 4, 3), seed)
    np.testing.assert_allclose(transformed(image, draws, [name]), coloured(name, image, draws), rtol=0, atol=1e-5)


def test_colours_change_in_the_published_order():
    image, draws = images_of((5, 4, 3), 1)[0], draws_of((5, 4, 3), 4)
    expected = image
    for name in ("brightness", "contrast", "lumaflip", "hue", "saturation"):
        expected = coloured(name, expected, draws)
    np.testing.assert_allclose(transformed(image, draws, COLOUR), expected, rtol=0, atol=1e-5)


def test_moves_are_made_in_the_published_order():
    """All at once are one after another, but for what each sampling loses."""
    y, x = np.mgrid[:48, :48] - 23.5
    image, inside = wave(x, y)[..., None].astype(np.float32), slice(16, -16)
    for seed in range(3):
        expected, draws = image, draws_of(image.shape, seed)
        for name in ("xflip", "rotate90", "xint", "scale"):
            expected = transformed(expected, draws, [name])
        found = transformed(image, draws, ["xflip", "rotate90", "xint", "scale"])
        np.testing.assert_allclose(found[inside, inside], expected[inside, inside], rtol=0, atol=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_the_filter_multiplies_the_bands_that_octaves_of_sym2_have(seed):
    """By Fourier transforms of the definition, in the middle of an image whose borders the filter does not reach."""
    size, draws = 64, draws_of((64, 64, 1), seed)
    frequencies = np.fft.fftfreq(size)

    def low(times):
        taps = sum(h * np.exp(-2j * np.pi * times * frequencies * k) for k, h in enumerate(augment_pipe.SYM2))
        return np.abs(taps) ** 2 / 2

    bands = [low(1) * low(2) * low(4), low(1) * low(2) * (1 - low(4)), low(1) * (1 - low(2)), 1 - low(1)]
    gains = np.ones(4)
    for place, name in enumerate(BANDS):
        own = np.ones(4)
        own[place] = 2 ** draws.normal[ROWS.index(name), 0]
        gains *= own / np.sqrt(np.array([10, 1, 1, 1]) / 13 @ own**2)
    response = gains @ np.stack(bands)
    image = np.zeros((size, size, 1), np.float32)
    image[32, 32] = 1
    expected = np.fft.fftshift(np.fft.ifft(response).real)
    np.testing.assert_allclose(
        transformed(image, draws, ["imgfilter"])[..., 0], np.outer(expected, expected), rtol=0, atol=1e-6
    )


def test_noise_has_the_drawn_deviation_and_is_another_one_for_each_pixel():
    image, draws = images_of((9, 7, 3), 1)[0], draws_of((9, 7, 3))
    stddev = 0.1 * abs(draws.normal[ROWS.index("noise"), 0])
    found = transformed(image, draws, ["noise"]) - image
    np.testing.assert_allclose(found, stddev * draws.pixels, rtol=0, atol=1e-6)
    assert len(np.unique(draws.pixels)) == image.size


@pytest.mark.parametrize("seed", range(4))
def test_cutout_is_a_rectangle_of_half_the_sides(seed):
    image, draws = images_of((8, 12, 3), 1)[0], draws_of((8, 12, 3), seed)
    x, y = np.float64(draws.uniform[ROWS.index("cutout")]) * [12, 8]
    expected = image.copy()
    for row in range(8):
        for column in range(12):
            if abs(column + 0.5 - x) < 3 and abs(row + 0.5 - y) < 2:
                expected[row, column] = 0
    np.testing.assert_array_equal(transformed(image, draws, ["cutout"]), expected)


# Probabilities


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_changes_a_bit_with_a_probability_of_0(shape):
    images = images_of(shape)
    images[0] = -0.0  # which a sum with 0 would change
    np.testing.assert_array_equal(augmented(images, 0.0).view(np.uint32), images.view(np.uint32))


def test_a_probability_above_1_is_1():
    images = images_of(SHAPES[0])
    np.testing.assert_array_equal(augmented(images, 1.7), augmented(images, 1.0))


@every_operation
def test_an_operation_happens_as_often_as_its_probability_says(name):
    """Either of two rotations, and each of four bands."""
    count, p = 2000, 0.3
    rows = [own for own in ROWS if SHARED.get(own, own) == name]
    chance = np.asarray(jax.vmap(lambda key: augment_pipe.draw(key, (1, 1, 1)).chance)(keys_of(range(count))))
    limits = [float(augment_pipe.probability(row, p, {name: 1.0})) for row in rows]
    happens = np.any([chance[:, ROWS.index(row)] < limit for row, limit in zip(rows, limits, strict=True)], axis=0)
    expected = 1 - (1 - p) ** 4 if name == "imgfilter" else p
    assert abs(happens.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def test_multipliers_change_the_probability_and_not_the_draws():
    images, keys = jnp.asarray(images_of(SHAPES[0], 40)), keys_of(range(40))
    half = augment_pipe.augment(images, keys, 0.8, {"brightness": 0.5})
    np.testing.assert_array_equal(half, augment_pipe.augment(images, keys, 0.4, {"brightness": 1.0}))
    assert 4 < (half != images).any((1, 2, 3)).sum() < 30


# Examples, channels, derivatives


@pytest.mark.parametrize("shape", SHAPES)
def test_an_example_depends_on_no_other_one(shape):
    images, part = images_of(shape), [4, 1]
    whole = augmented(images, 0.6)
    found = augmented(images[part], 0.6, keys=keys_of(part))
    np.testing.assert_allclose(found, whole[part], rtol=0, atol=1e-5)


def test_grey_images_change_as_grey_colours_do_but_for_hue_and_saturation():
    grey, names = images_of((9, 12, 1)), [name for name in OPERATIONS if name not in ("hue", "saturation", "noise")]
    expected = augmented(np.repeat(grey, 3, axis=3), 1.0, names)
    np.testing.assert_array_equal(augmented(grey, 1.0, OPERATIONS), augmented(grey, 1.0, [*names, "noise"]))
    np.testing.assert_allclose(augmented(grey, 1.0, names), expected[..., :1], rtol=0, atol=1e-5)


def test_alpha_moves_and_is_cut_out_with_the_colours_and_is_otherwise_left_alone():
    images = images_of((8, 8, 4))
    np.testing.assert_array_equal(augmented(images, 1.0, [*COLOUR, "imgfilter", "noise"])[..., 3], images[..., 3])
    names = ["xint", "rotate", "cutout"]
    found = augmented(images, 1.0, names)
    np.testing.assert_allclose(found[..., :3], augmented(images[..., :3], 1.0, names), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[..., 3:], augmented(images[..., 3:], 1.0, names), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 1), (2, 3, 2)])
def test_images_of_any_size_stay_finite_and_keep_their_shape(shape):
    found = augmented(images_of(shape), 1.0)
    assert found.shape == (COUNT, *shape)
    assert np.isfinite(found).all()


def test_the_result_is_affine_in_the_image():
    one, two = images_of(SHAPES[0]), images_of(SHAPES[0])[::-1] * 0.3
    mixed = augmented(0.25 * one + 0.75 * two, 1.0)
    np.testing.assert_allclose(mixed, 0.25 * augmented(one, 1.0) + 0.75 * augmented(two, 1.0), rtol=0, atol=2e-5)


def test_derivatives_of_first_and_second_order_are_those_of_an_affine_function():
    """The gradient of <w, A x + b> is A^T w, and half its squared norm has the gradient A A^T w by w."""
    images, w = images_of((6, 5, 3)), images_of((6, 5, 3))[::-1].copy()
    keys = keys_of(range(COUNT))

    def gradient(w):
        return jax.grad(lambda x: (w * augment_pipe.augment(x, keys, 1.0, ALL)).sum())(images)

    by_x, by_w = quick_jit(lambda w: (gradient(w), jax.grad(lambda w: 0.5 * (gradient(w) ** 2).sum())(w)))(w)
    product = augmented(by_x, 1.0) - augmented(np.zeros_like(images), 1.0)
    np.testing.assert_allclose(by_w, product, rtol=0, atol=1e-4)
    direction = images_of((6, 5, 3), 2 * COUNT)[COUNT:]
    slope = (w * (augmented(direction, 1.0) - augmented(np.zeros_like(images), 1.0))).sum()
    np.testing.assert_allclose((by_x * direction).sum(), slope, rtol=1e-4)
