"""From a stored image, whatever its format and mode, to pixels of one shape."""

import contextlib
import dataclasses
import errno
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from jaxgan.data.image_files import MAX_PIXELS, open_picture
from jaxgan.errors import UserError

# A path, an encoded image, a function that reads one, pixels as uint8 [H, W] or [H, W, C], or several of these, which
# are joined along their channels.
Stored = str | bytes | Callable[[], bytes] | np.ndarray | tuple["Stored", ...]
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of pictures, by their number of channels
GREY = ("1", "L", "LA", "La")
PERMANENT_ERRNOS = (
    None,
    errno.ENOENT,
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
)  # what is wrong with a file, tomorrow as well


class BadImageError(UserError):
    """An image that cannot be used: which one, and why."""


@contextlib.contextmanager
def as_bad_image(name: str, max_pixels: int) -> Iterator[None]:
    """Turns what is the fault of an image, while it is decoded, into a `BadImageError` that names it."""
    try:
        yield
        return
    except UserError as error:
        reason = str(error)
    except MemoryError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        reason = f"it claims to have more pixels than config.data.max_pixels={max_pixels}"
    # Of a damaged file Pillow's decoders raise whatever they stumble over.
    except Exception as error:
        if getattr(error, "errno", None) not in PERMANENT_ERRNOS:
            raise  # a disk or a network that fails, which is not the image's fault
        reason = f"it cannot be decoded: {str(error) or type(error).__name__}"
    raise BadImageError(f"{name} is a bad image ({reason})")


def shape_of(stored: Stored, name: str, white: float = 0.0, max_pixels: int = MAX_PIXELS) -> tuple[int, int, int]:
    """Height, width and channels of an image as it is decoded: of a file upright, in grey or colour; all of it is read.

    Raises:
        BadImageError: as of `Transform`, to which `white` and `max_pixels` belong.
    """
    if isinstance(stored, tuple):
        return (*shape_of(stored[0], name, white, max_pixels)[:2], len(stored))
    if isinstance(stored, np.ndarray):
        return (*stored.shape, 1)[:3]
    with as_bad_image(name, max_pixels):
        picture = open_picture(stored() if callable(stored) else stored, white, max_pixels)
        return picture.height, picture.width, 1 if picture.mode in GREY else 3


def pixels_of(stored: Stored, channels: int, white: float = 0.0, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of an image file at its own size, uint8 [height, width, channels]; arguments as of `Transform`."""
    picture = open_picture(stored() if callable(stored) else stored, white, max_pixels, keep_alpha=channels == 4)
    return np.asarray(flatten(picture, MODES[channels])).reshape(picture.height, picture.width, channels)


@dataclasses.dataclass(frozen=True)
class Transform:
    """What happens to each image before training, once.

    Its largest central rectangle of the wanted shape is resized, by the mean over whole blocks of pixels and the rest
    by Lanczos; both see every pixel, so nothing is aliased.

    Attributes:
        load_size: pixels after resizing: height and width.
        size: of the centre that is then kept.
        channels: 1 makes colours grey, 3 makes grey images coloured, 4 adds an alpha of 255 to images without one; any
            other number has to be that of the images. Several images of one example have equal shares of them.
        upscale: whether images that are smaller than `load_size` are enlarged; otherwise they are bad.
        white: the number that is white in files of more than 8 bits; 0 for what their formats say.
        max_pixels: files with more of them are bad.
        stretch: whether the whole image is resized, whatever its shape.
        side_by_side: whether a picture holds two images, its left and its right half.
    """

    load_size: tuple[int, int]
    size: tuple[int, int]
    channels: int
    upscale: bool
    white: float = 0.0
    max_pixels: int = MAX_PIXELS
    stretch: bool = False
    side_by_side: bool = False

    def __call__(self, stored: Stored, name: str) -> np.ndarray:
        """The image as uint8 [height, width, channels].

        Raises:
            BadImageError: it cannot be decoded, is too large or too small, or has other channels; names it by `name`.
        """
        with as_bad_image(name, self.max_pixels):
            return self._transformed(stored)

    def _transformed(self, stored: Stored) -> np.ndarray:
        if callable(stored):
            stored = stored()
        if self.side_by_side or isinstance(stored, tuple):
            return np.concatenate(self._images(stored), axis=-1)
        if isinstance(stored, np.ndarray):
            pixels = stored if stored.ndim == 3 else stored[..., None]
            if pixels.shape == (*self.load_size, self.channels) and self.size == self.load_size:
                return pixels
            if pixels.shape[2] == self.channels:  # of any number
                planes = [self._resized(Image.fromarray(pixels[..., c])) for c in range(self.channels)]
                return np.stack(planes, axis=-1)
            if self.channels not in MODES or pixels.shape[2] not in (1, 3, 4):
                raise UserError(f"it has {pixels.shape[2]} channels, not config.data.channels={self.channels}")
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        else:
            enough = 2 * max(self.load_size)  # a JPEG is decoded no larger than it has to be
            picture = open_picture(stored, self.white, self.max_pixels, self.channels == 4, enough)
        return self._of_picture(picture)

    def _images(self, stored: Stored) -> list[np.ndarray]:
        """The images of an example that has several."""
        count = 2 if self.side_by_side else len(stored)
        each = dataclasses.replace(self, channels=self.channels // count, side_by_side=False)
        if not self.side_by_side:
            return [each._transformed(image) for image in stored]
        picture = open_picture(stored, self.white, self.max_pixels, each.channels == 4)
        return [each._of_picture(half) for half in halves(picture)]

    def _of_picture(self, picture: Image.Image) -> np.ndarray:
        return self._resized(flatten(picture, MODES[self.channels])).reshape(*self.size, self.channels)

    def _resized(self, image: Image.Image) -> np.ndarray:
        height, width = self.load_size
        # Cropped before: given a box, Pillow also takes in what lies around it.
        rectangle = image.crop(self._box(image))

        def resize(image: Image.Image) -> Image.Image:
            return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=1.0)

        translucent = image.mode == "RGBA" and rectangle.size != (width, height)
        resized = resize_premultiplied(rectangle, resize) if translucent else np.asarray(resize(rectangle))
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        return resized[top : top + self.size[0], left : left + self.size[1]]

    def _box(self, image: Image.Image) -> tuple[int, int, int, int]:
        """What is resized: the largest rectangle in the middle whose sides are as those of `load_size`, or all of it.

        Returns:
            Left, top, right, bottom.
        """
        height, width = self.load_size
        high, wide = image.height, image.width
        if not self.stretch:  # the rounded quotients, in whole numbers
            high = min(high, max(1, (2 * image.width * height + width) // (2 * width)))
            wide = min(wide, max(1, (2 * image.height * width + height) // (2 * height)))
        if (high < height or wide < width) and not self.upscale:
            name = "config.data.size" if self.load_size == self.size else "config.data.load_size"
            raise UserError(
                f"{image.height}x{image.width} pixels, height and width, are too few for "
                f"{height}x{width}: choose a smaller {name}, or set config.data.upscale=True"
            )
        left, top = (image.width - wide) // 2, (image.height - high) // 2
        return left, top, left + wide, top + high


def halves(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The left and the right half of a picture."""
    if picture.width % 2:
        raise UserError(f"it is {picture.width} pixels wide, and two images side by side make an even number")
    middle = picture.width // 2
    boxes = (0, 0, middle, picture.height), (middle, 0, picture.width, picture.height)
    return picture.crop(boxes[0]), picture.crop(boxes[1])


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """The image in 8-bit grey ("L") or colour ("RGB") as a viewer shows it, transparent pixels on white; or "RGBA"."""
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    elif image.mode == "LAB":
        image = image.convert("RGB")
    if image.has_transparency_data and mode != "RGBA":
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def resize_premultiplied(image: Image.Image, resize: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """An "RGBA" picture resized so that no pixel counts for more than its alpha: uint8 [height, width, 4]."""
    pixels = np.asarray(image)
    if (pixels[..., 3] == 255).all():
        return np.asarray(resize(image.convert("RGB")).convert("RGBA"))
    levels = pixels.astype(np.float32)
    levels[..., :3] *= levels[..., 3:] / 255
    resized = np.stack([np.asarray(resize(Image.fromarray(levels[..., band]))) for band in range(4)], axis=-1)
    alpha = np.clip(resized[..., 3:], 0, 255)
    colours = np.divide(255 * resized[..., :3], alpha, out=np.zeros_like(resized[..., :3]), where=alpha >= 0.5)
    return np.floor(np.clip(np.concatenate([colours, alpha], axis=-1), 0, 255) + 0.5).astype(np.uint8)
