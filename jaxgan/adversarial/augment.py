"""Differentiable augmentations of all that the discriminator is given, with the gradient left intact.

Each is a function of one image and one key. It is affine in the image, with coefficients that the key alone draws, so
that derivatives of every order pass through to the generator. Images are in [-1, 1], and 0, with which translation and
cutout fill, is mid-grey; of four channels, which are colour and alpha, it is half transparent mid-grey. Nothing is
clipped: a brightened image may leave the range, where a clip would stop gradients.
"""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxgan.adversarial.augment_shapes import SHAPE_AUGMENTATIONS
from jaxgan.core.settings import Range, Setting, Settings, split_names

Image = Float[Array, "height width channel"]
Images = Float[Array, "batch height width channel"]
ImageKey = Key[Array, ""]
Augmentation = Callable[[Image, ImageKey], Image]
RGBA = 4  # channels, the last of which is alpha


def colour(image: Image, key: ImageKey) -> Image:
    """Brightness changed by U(-0.5, 0.5), saturation by a factor of U(0, 2), contrast by one of U(0.5, 1.5).

    Saturation is the distance from the mean over a pixel's channels, contrast that from the mean over all of the image.
    Each factor scales its distances and leaves the mean as it is, so that the order of the three does not matter. The
    published ranges are meant for images in [-1, 1]: brightness changes by up to a quarter of black to white. Of four
    channels the last one, alpha, is left as it is.

    References:
        Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020, section 3 (Color).
        https://arxiv.org/abs/2006.10738
    """
    if image.shape[2] == RGBA:
        return jnp.concatenate([colour(image[..., :-1], key), image[..., -1:]], axis=2)
    brightness, saturation, contrast = jax.random.uniform(key, (3,)) * jnp.array([1, 2, 1]) + jnp.array([-0.5, 0, 0.5])
    grey = image.mean(axis=2, keepdims=True)
    mean = grey.mean()
    return (mean + brightness) + contrast * ((grey - mean) + saturation * (image - grey))


def translation(image: Image, key: ImageKey) -> Image:
    """Moved by whole pixels, up or down and left or right, by up to an eighth of its height and width; the rest is 0.

    An eighth is rounded to the nearest whole number, halves up. Each shift is equally likely, and the two independent.

    References:
        Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020, section 3 (Translation).
        The official code rounds like this for StyleGAN2 in PyTorch, and down elsewhere: the same for multiples of 8.
        https://arxiv.org/abs/2006.10738
        Zhang et al., Consistency Regularization for GANs, 2020 (shifts by a few pixels, four of 32 here).
        https://arxiv.org/abs/1910.12027
    """
    height, width, _ = image.shape
    most = (height + 4) // 8, (width + 4) // 8
    top, left = jax.random.randint(key, (2,), 0, 2 * jnp.array(most) + 1)
    padded = jnp.pad(image, [(most[0], most[0]), (most[1], most[1]), (0, 0)])
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def cutout(image: Image, key: ImageKey, fraction: float = 0.5) -> Image:
    """0 in a rectangle of half its height and width at a random place, where it may hang over the border.

    Halves are rounded up. The rectangle's centre is equally likely to be any pixel or, for one of even size, whose
    centre lies between two of them, any line between pixels or at the border.

    Args:
        image, key: as of all augmentations.
        fraction: of height and width, in the place of a half; half pixels are rounded up.

    References:
        Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020, section 3 (Cutout).
        The official code rounds like this for StyleGAN2 in PyTorch, and down elsewhere: the same for even sizes.
        https://arxiv.org/abs/2006.10738
    """
    sizes = jnp.array(image.shape[:2])
    holes = jnp.array([int(side * fraction + 0.5) for side in image.shape[:2]])
    centres = jax.random.randint(key, (2,), 0, sizes + 1 - holes % 2)
    first = centres - holes // 2

    def inside(axis: int) -> Array:
        position = jnp.arange(image.shape[axis]) - first[axis]
        return (position >= 0) & (position < holes[axis])

    return jnp.where((inside(0)[:, None] & inside(1))[:, :, None], 0, image)


def small_cutout(image: Image, key: ImageKey) -> Image:
    """`cutout` of a fifth of its height and width.

    References:
        Sauer et al., Projected GANs Converge Faster, 2021, in the authors' code. https://arxiv.org/abs/2111.01007
    """
    return cutout(image, key, 0.2)


def flip(image: Image, key: ImageKey) -> Image:
    """As it is or, with a probability of 1/2, mirrored left to right.

    References:
        Zhang et al., Consistency Regularization for GANs, 2020. https://arxiv.org/abs/1910.12027
    """
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


AUGMENTATIONS: dict[str, Augmentation] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
    "small_cutout": small_cutout,
    "flip": flip,
}
AUGMENTATIONS["color"] = AUGMENTATIONS["colour"]

AUGMENTATION_NAMES = Range(
    lambda names: all(name in AUGMENTATIONS for name in split_names(names)), f"names out of {', '.join(AUGMENTATIONS)}"
)


def all_augmentations() -> dict[str, Callable]:
    """Those of images and those of grids of voxels."""
    return AUGMENTATIONS | SHAPE_AUGMENTATIONS


NAMES_OF_ANY = Range(
    lambda names: all(name in all_augmentations() for name in split_names(names)),
    f"names out of {', '.join(all_augmentations())}",
)
BY_KIND = {"pixels": AUGMENTATIONS, "bits": SHAPE_AUGMENTATIONS}  # of a field
SETTINGS: Settings = {"augment": Setting((), "augmentations of all that the discriminator is given", NAMES_OF_ANY)}


def augment(
    examples: Float[Array, "batch *shape"], example_keys: Key[Array, " batch"], names: tuple[str, ...]
) -> Float[Array, "batch *shape"]:
    """Images or grids of voxels after some of their augmentations, one after another in the order of `names`.

    What an example draws for an augmentation depends on its own key and on the name, and on nothing else: neither on
    the other examples nor on the other names. A name that stands twice draws the same twice.
    """

    def changed(example: Array, key: ImageKey) -> Array:
        for name in names:
            example = all_augmentations()[name](example, jax.random.fold_in(key, zlib.crc32(name.encode())))
        return example

    return jax.vmap(changed)(examples, example_keys)
