"""The augmentations of StyleGAN2-ADA: 18 operations in a fixed order, each of which happens with a probability.

The result is affine in the image, with coefficients that the key and the probability alone give, so that derivatives of
every order pass through. An image that nothing happens to stays as it is, to the last bit.

Images are in [-1, 1], and 0 is mid-grey. Of four channels the last one is alpha, which moves and is cut out with the
colours, and is otherwise left as it is. Where there are not three colours, each channel is a grey image.

References:
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, appendix B.
    https://arxiv.org/abs/2006.06676
    The authors' code: https://github.com/NVlabs/stylegan2-ada-pytorch
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from jaxgan.adversarial.augment import RGBA

Image = Float[Array, "height width channel"]
Images = Float[Array, "batch height width channel"]
ImageKey = Key[Array, ""]
Scalar = Float[Array, ""]
Pair = Float[Array, "2"]
Matrix = Float[Array, "size size"]

# Low-pass filters of orthogonal wavelets: sym6, which makes an image twice as large so that the same filter, reversed,
# makes it half as large again without a loss; and sym2, which cuts frequencies into bands.
SYM6 = np.array(
    [
        *(0.015404109327, 0.003490712084, -0.117990111148, -0.048311742586, 0.491055941927, 0.787641141030),
        *(0.337929421728, -0.072637522786, -0.021060292512, 0.044724901771, 0.001767711864, -0.007800708325),
    ]
)
SYM2 = np.array([-0.129409522551, 0.224143868042, 0.836516303737, 0.482962913145])
BORDER = 3  # pixels on each side of an image from which sym6 makes the outermost ones
NATURAL_POWER = np.array([10, 1, 1, 1]) / 13  # of each band, as 1/f spectra have it


class Draws(NamedTuple):
    """What is drawn for one image, whatever operations are in use; rows belong to the names in `ROWS`.

    Attributes:
        uniform: from 0 to 1.
        normal: of variance 1.
        chance: from 0 to 1; an operation happens where this is less than its probability.
        pixels: what noise is made of.
    """

    uniform: Float[Array, "rows 2"]
    normal: Float[Array, "rows 2"]
    chance: Float[Array, " rows"]
    pixels: Image


def translation(by: Float[Array, " n"]) -> Matrix:
    """Of n coordinates."""
    count = len(by)
    return jnp.eye(count + 1).at[:count, count].set(by)


def scaling(*by: Scalar) -> Matrix:
    """Of as many coordinates."""
    return jnp.diag(jnp.stack([*by, jnp.ones(())]))


def rotation(angle: Scalar) -> Matrix:
    """From x to y, which points down."""
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return jnp.eye(3).at[:2, :2].set(jnp.stack([cosine, -sine, sine, cosine]).reshape(2, 2))


# Matrices that map places in the new image, (x, y, 1) in pixels from the centre, to places in the old one:
# (uniform numbers, normal ones, width and height) -> matrix.
GEOMETRY: dict[str, Callable[[Pair, Pair, Pair], Matrix]] = {
    "xflip": lambda u, n, size: scaling(1 - 2 * jnp.floor(2 * u[0]), jnp.ones(())),
    "rotate90": lambda u, n, size: rotation(jnp.pi / 2 * jnp.floor(4 * u[0])),
    "xint": lambda u, n, size: translation(-jnp.round((2 * u - 1) * 0.125 * size)),
    "scale": lambda u, n, size: scaling(*[2 ** (-0.2 * n[0])] * 2),
    "pre_rotate": lambda u, n, size: rotation(jnp.pi * (2 * u[0] - 1)),
    "aniso": lambda u, n, size: scaling(2 ** (-0.2 * n[0]), 2 ** (0.2 * n[0])),
    "post_rotate": lambda u, n, size: rotation(jnp.pi * (2 * u[0] - 1)),
    "xfrac": lambda u, n, size: translation(-0.125 * n * size),
}
GREY_AXIS = np.full((3, 3), 1 / 3)  # what projects a colour on grey
CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # the product of grey's direction and a colour


def linear(matrix: Float[Array, "3 3"]) -> Matrix:
    """Of three colours, without a change of brightness."""
    return jnp.eye(4).at[:3, :3].set(matrix)


# Matrices that map colours, (red, green, blue, 1), to new ones.
COLOUR: dict[str, Callable[[Pair, Pair], Matrix]] = {
    "brightness": lambda u, n: translation(0.2 * n[:1].repeat(3)),
    "contrast": lambda u, n: scaling(*[2 ** (0.5 * n[0])] * 3),
    "lumaflip": lambda u, n: linear(jnp.eye(3) - 2 * GREY_AXIS * jnp.floor(2 * u[0])),
    "hue": lambda u, n: hue_rotation(jnp.pi * (2 * u[0] - 1)),
    "saturation": lambda u, n: linear(GREY_AXIS + (np.eye(3) - GREY_AXIS) * 2 ** n[0]),
}
OF_COLOURS = ("hue", "saturation")  # what grey images do not have


def hue_rotation(angle: Scalar) -> Matrix:
    """About grey, by Rodrigues' formula."""
    return linear(GREY_AXIS + jnp.cos(angle) * (np.eye(3) - GREY_AXIS) + jnp.sin(angle) * CROSS)


BANDS = ("band0", "band1", "band2", "band3")
ROWS = (*GEOMETRY, *COLOUR, *BANDS, "noise", "cutout")
# Names of the authors' code, for which there are several draws.
SHARED = {"pre_rotate": "rotate", "post_rotate": "rotate"} | dict.fromkeys(BANDS, "imgfilter")
OPERATIONS = tuple(dict.fromkeys(SHARED.get(name, name) for name in ROWS))


def augment(
    images: Images, example_keys: Key[Array, " batch"], p: float | Scalar, multipliers: Mapping[str, float]
) -> Images:
    """The images after the operations, of which each happens to each image with a probability of its own.

    What an example draws depends on its own key alone: neither on other examples nor on the operations in use.

    Args:
        images: in [-1, 1].
        example_keys: one for each image.
        p: the probability. What exceeds 1 counts as 1.
        multipliers: of the probability, by names out of `OPERATIONS`; operations that are left out do not happen.
    """

    def one(image: Image, key: ImageKey) -> Image:
        return transform(image, draw(key, image.shape), p, multipliers)

    return jax.vmap(one)(images, example_keys)


def draw(key: ImageKey, shape: tuple[int, ...]) -> Draws:
    """What a key gives for an image of that shape."""
    numbers = jax.random.uniform(key, (len(ROWS), 5))  # at once, since each call of the generator takes long to compile
    quantiles = jnp.maximum(2 * numbers[:, 2:4] - 1, 2**-23 - 1)  # of which -1 would be minus infinity
    normal = np.float32(np.sqrt(2)) * jax.lax.erf_inv(quantiles)
    return Draws(numbers[:, :2], normal, numbers[:, 4], jax.random.normal(jax.random.fold_in(key, 1), shape))


def transform(image: Image, draws: Draws, p: float | Scalar, multipliers: Mapping[str, float]) -> Image:
    """An image after all operations, of what was drawn for it."""
    happens = {
        name: chance < probability(name, p, multipliers)
        for name, chance in zip(ROWS, draws.chance, strict=True)
        if multipliers.get(SHARED.get(name, name), 0)
    }
    image = geometry(image, draws, happens)
    colours, alpha = jnp.split(image, [3], axis=2) if image.shape[2] == RGBA else (image, image[..., :0])
    colours = noise(imgfilter(colour(colours, draws, happens), draws, happens), draws, happens)
    return cutout(jnp.concatenate([colours, alpha], axis=2), draws, happens)


Happens = Mapping[str, Bool[Array, ""]]  # of the operations in use, those that are in `ROWS`


def probability(name: str, p: float | Scalar, multipliers: Mapping[str, float]) -> Scalar:
    """Of a row; both rotations have one with which the probability of either is that of "rotate"."""
    own = jnp.clip(p * multipliers[SHARED.get(name, name)], 0.0, 1.0)
    return 1 - jnp.sqrt(1 - own) if SHARED.get(name) == "rotate" else own


def product(matrices: list[Matrix]) -> Matrix:
    """The first one times the second one and so on, with all digits that a float32 has."""
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), matrices)


def chosen(happens: Happens, names: Mapping[str, object]) -> dict[str, Bool[Array, ""]]:
    """Those of some names."""
    return {name: happens[name] for name in names if name in happens}


def any_of(happens: Mapping[str, Bool[Array, ""]]) -> Bool[Array, ""]:
    """Whether one of them happens."""
    return jnp.stack([*happens.values()]).any()


# Geometry


def geometry(image: Image, draws: Draws, happens: Happens) -> Image:
    """Moved by all operations at once, so that pixels are sampled anew once; an image that does not move is kept."""
    own = chosen(happens, GEOMETRY)
    if not own:
        return image
    size = jnp.array([image.shape[1], image.shape[0]], jnp.float32)
    matrices = []
    for name, flag in own.items():
        row = ROWS.index(name)
        matrices.append(jnp.where(flag, GEOMETRY[name](draws.uniform[row], draws.normal[row], size), jnp.eye(3)))
    return jnp.where(any_of(own), resample(image, product(matrices)), image)


def resample(image: Image, inverse: Float[Array, "3 3"]) -> Image:
    """The image at the places that a matrix maps to its own; it is mirrored beyond its borders once, and then 0.

    The image is made twice as large by sym6, sampled there by linear interpolation, and made half as large by sym6.
    """
    sides = image.shape[:2]
    large = separable(image, *map(upsampling, sides))
    y, x = (jnp.arange(2 * (side + 2 * BORDER)) + (1.0 - side - 2 * BORDER) for side in sides)
    places = (row[0] * x + row[1] * y[:, None] + 2 * row[2] for row in inverse[:2])  # in large pixels, from the centre
    centres = large.shape[1] / 2 - 1, large.shape[0] / 2 - 1
    sampled = interpolate(large, *(place + centre for place, centre in zip(places, centres, strict=True)))
    return separable(sampled, *map(downsampling, sides))


def separable(
    image: Image, rows: Float[ArrayLike, "rows height"], columns: Float[ArrayLike, "columns width"]
) -> Float[Array, "rows columns channel"]:
    """The same linear map of all columns of an image, and one of all its rows.

    A CPU takes a product of matrices, and its derivatives, ten times as fast as a convolution or a sum of slices.
    """
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision="highest")


@functools.cache
def upsampling(count: int) -> Float[np.ndarray, "new count"]:
    """The matrix that mirrors a row of pixels at both ends and makes twice as many, filtered by sym6."""
    sources = np.pad(np.arange(count), count - 1, mode="reflect")
    found = np.zeros((2 * len(sources), count), np.float32)
    for place, tap in itertools.product(range(len(found)), range(len(SYM6))):
        source, between = divmod(place + 5 - tap, 2)
        if not between and 0 <= source < len(sources):
            found[place, sources[source]] += SYM6[tap]
    return found


@functools.cache
def downsampling(count: int) -> Float[np.ndarray, "count old"]:
    """The matrix that makes half as many of a row of pixels without its `BORDER`, filtered by sym6 reversed."""
    found = np.zeros((count, 2 * (count + 2 * BORDER)), np.float32)
    for place in range(count):
        found[place, 2 * place + 1 : 2 * place + 1 + len(SYM6)] = SYM6
    return found


def interpolate(
    image: Image, x: Float[Array, "rows columns"], y: Float[Array, "rows columns"]
) -> Float[Array, "rows columns channel"]:
    """The image at these places, by the four pixels around each; beyond its borders the image is 0."""
    height, width, channels = image.shape
    x, y = jnp.clip(x, -1, width), jnp.clip(y, -1, height)
    left, top = jnp.floor(x), jnp.floor(y)
    pixels = jnp.pad(image, [(1, 2), (1, 2), (0, 0)]).reshape(-1, channels)
    first = (top.astype(jnp.int32) + 1) * (width + 3) + left.astype(jnp.int32) + 1
    right, below = (x - left)[..., None], (y - top)[..., None]

    def row(start: Int[Array, "rows columns"]) -> Float[Array, "rows columns channel"]:
        pair = (pixels.at[start + step].get(mode="promise_in_bounds") for step in range(2))
        return sum(weight * value for weight, value in zip((1 - right, right), pair, strict=True))

    return (1 - below) * row(first) + below * row(first + width + 3)


# Colours


def colour(image: Image, draws: Draws, happens: Happens) -> Image:
    """All changes of colour as one matrix; a grey image has the mean of the matrix's rows."""
    channels = image.shape[2]
    own = chosen(happens, {name: None for name in COLOUR if channels == 3 or name not in OF_COLOURS})
    if not own:
        return image
    matrices = []
    for name, flag in own.items():
        row = ROWS.index(name)
        matrices.append(jnp.where(flag, COLOUR[name](draws.uniform[row], draws.normal[row]), jnp.eye(4)))
    matrix = product(matrices[::-1])[:3]
    if channels != 3:
        factor, addend = matrix[:, :3].sum() / 3, matrix[:, 3].mean()
        return jnp.where(any_of(own), factor * image + addend, image)
    new = jnp.einsum("hwc,dc->hwd", image, matrix[:, :3], precision="highest") + matrix[:, 3]
    return jnp.where(any_of(own), new, image)


# Frequencies


@functools.cache
def filter_bank() -> Float[np.ndarray, "bands taps"]:
    """Filters of four octaves, the lowest first, whose sum leaves an image as it is."""
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = low * (-1.0) ** (np.arange(7) - 3)

    def spread(filter: np.ndarray, by: int) -> np.ndarray:
        found = np.zeros((len(filter) - 1) * by + 1)
        found[::by] = filter
        return found

    chain = [low, spread(low, 2), spread(low, 4)]
    bands = [np.ones(1), *(spread(high, by) for by in (4, 2, 1))]
    for place, count in enumerate((3, 2, 1, 0)):
        bands[place] = functools.reduce(np.convolve, chain[:count], bands[place])
    most = max(len(band) for band in bands)
    return np.stack([np.pad(band, (most - len(band)) // 2) for band in bands])


@functools.cache
def band_matrices(size: int) -> Float[np.ndarray, "bands size size"]:
    """What the filters do to a row of pixels that is mirrored beyond its ends."""
    bank = filter_bank()
    half = bank.shape[1] // 2
    sources = np.pad(np.arange(size), half, mode="reflect") if size > 1 else np.zeros(size + 2 * half, int)
    found = np.zeros((len(bank), size, size))
    for row in range(size):
        for tap in range(bank.shape[1]):
            found[:, row, sources[row + tap]] += bank[:, bank.shape[1] - 1 - tap]
    return found.astype(np.float32)


def imgfilter(image: Image, draws: Draws, happens: Happens) -> Image:
    """Frequencies amplified or damped in bands; a gain is paid for by the other bands, so that the power stays."""
    own = chosen(happens, dict.fromkeys(BANDS))
    if not own:
        return image
    gains = jnp.ones(len(BANDS))
    for place, (name, flag) in enumerate(own.items()):
        gain = jnp.where(flag, 2 ** draws.normal[ROWS.index(name), 0], 1.0)
        each = jnp.ones(len(BANDS)).at[place].set(gain)
        gains *= each / jnp.sqrt((NATURAL_POWER * each**2).sum())
    matrices = (jnp.einsum("b,bij->ij", gains, band_matrices(side), precision="highest") for side in image.shape[:2])
    return jnp.where(any_of(own), separable(image, *matrices), image)


# Corruptions


def noise(image: Image, draws: Draws, happens: Happens) -> Image:
    """Normal noise of a standard deviation that is drawn as well."""
    if "noise" not in happens:
        return image
    stddev = 0.1 * jnp.abs(draws.normal[ROWS.index("noise"), 0])
    return jnp.where(happens["noise"], image + stddev * draws.pixels[..., : image.shape[2]], image)


def cutout(image: Image, draws: Draws, happens: Happens) -> Image:
    """0 in a rectangle of half its height and width, whose centre is anywhere."""
    if "cutout" not in happens:
        return image
    centre = draws.uniform[ROWS.index("cutout")]
    x, y = (
        jnp.abs((jnp.arange(size) + 0.5) / size - own) < 0.25
        for size, own in zip((image.shape[1], image.shape[0]), centre, strict=True)
    )
    return jnp.where(happens["cutout"] & (y[:, None] & x)[..., None], 0, image)
