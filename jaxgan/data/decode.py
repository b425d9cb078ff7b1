"""From a stored image, whatever its format and mode, to pixels of one shape."""

import dataclasses
import errno
import io
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from jaxgan.errors import UserError

# A path, an encoded image, a function that reads one, pixels as uint8 [H, W] or [H, W, C], or several of these, one for
# each channel.
Stored = str | bytes | Callable[[], bytes] | np.ndarray | tuple["Stored", ...]
MODES = {1: "L", 3: "RGB"}  # of pictures, by their number of channels
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
PERMANENT_ERRNOS = (
    None,
    errno.ENOENT,
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
)  # what is wrong with a file, tomorrow as well
MOST_PIXELS = Image.MAX_IMAGE_PIXELS  # 89 million: a small file can claim far more than memory holds


def configure_warnings() -> None:
    """Of Pillow's warnings one counts as an error; others, about parts of a file that are no pixels, say nothing."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)  # it only warns up to twice as many
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


configure_warnings()


class BadImageError(UserError):
    """An image that cannot be used: which one, and why."""


@dataclasses.dataclass(frozen=True)
class Transform:
    """What happens to each image before training, once.

    Its largest central square is resized, by the mean over whole blocks of pixels and the rest by Lanczos; both see
    every pixel, so nothing is aliased.

    Attributes:
        load_size: pixels, height and width after resizing.
        size: of the centre that is then kept.
        channels: 1 makes colours grey, 3 makes grey images coloured; any other number has to be that of the images.
        upscale: whether images that are smaller than `load_size` are enlarged; otherwise they are bad.
    """

    load_size: int
    size: int
    channels: int
    upscale: bool

    def __call__(self, stored: Stored, name: str) -> np.ndarray:
        """The image as uint8 [size, size, channels].

        Raises:
            BadImageError: it cannot be decoded, is too large or too small, or has other channels; names it by `name`.
        """
        try:
            return self._transformed(stored)
        except UserError as error:
            reason = str(error)
        except MemoryError:
            raise
        except Image.UnidentifiedImageError:
            reason = "its format is unknown"
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            reason = f"it claims to have more than {MOST_PIXELS:,} pixels"
        # Of a damaged file Pillow's decoders raise whatever they stumble over.
        except Exception as error:
            if getattr(error, "errno", None) not in PERMANENT_ERRNOS:
                raise  # a disk or a network that fails, which is not the image's fault
            reason = f"it cannot be decoded: {str(error) or type(error).__name__}"
        raise BadImageError(f"{name} is a bad image ({reason})")

    def _transformed(self, stored: Stored) -> np.ndarray:
        if callable(stored):
            stored = stored()
        if isinstance(stored, tuple):
            grey = dataclasses.replace(self, channels=1)
            return np.concatenate([grey._transformed(channel) for channel in stored], axis=-1)
        if isinstance(stored, np.ndarray):
            pixels = stored if stored.ndim == 3 else stored[..., None]
            if pixels.shape == (self.load_size, self.load_size, self.channels) and self.size == self.load_size:
                return pixels
            if pixels.shape[2] == self.channels:  # of any number
                planes = [self._resized(Image.fromarray(pixels[..., c])) for c in range(self.channels)]
                return np.stack(planes, axis=-1)
            if self.channels not in MODES or pixels.shape[2] not in (1, 3, 4):
                raise UserError(f"it has {pixels.shape[2]} channels, not config.data.channels={self.channels}")
            return self._picture(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
        with Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else stored) as image:
            return self._picture(image)

    def _picture(self, image: Image.Image) -> np.ndarray:
        image.draft(None, (2 * self.load_size, 2 * self.load_size))  # a JPEG is decoded no larger than it has to be
        ImageOps.exif_transpose(image, in_place=True)
        picture = self._resized(flatten(image, MODES[self.channels]))
        return picture.reshape(self.size, self.size, self.channels)

    def _resized(self, image: Image.Image) -> np.ndarray:
        width, height = image.size
        side, load_size = min(width, height), self.load_size
        if side < load_size and not self.upscale:
            raise UserError(f"{width}x{height} pixels are too few for {load_size}x{load_size}")
        left, top = (width - side) // 2, (height - side) // 2
        # Cropped before: given a box, Pillow also takes in what lies around it.
        square = image.crop((left, top, left + side, top + side))
        resized = square.resize((load_size, load_size), Image.Resampling.LANCZOS, reducing_gap=1.0)
        margin = (load_size - self.size) // 2
        return np.asarray(resized)[margin : margin + self.size, margin : margin + self.size]


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """The image in 8-bit grey ("L") or colour ("RGB") as a viewer shows it: whatever is transparent lies on white.

    Raises:
        UserError: its pixels are 32-bit numbers, whose range nobody knows.
    """
    if image.mode in SIXTEEN_BITS:  # which Pillow would clip at 255 instead
        levels = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise UserError("its pixels have 32 bits: store them with 8 or 16")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)
