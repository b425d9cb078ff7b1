"""From image files to pictures of 8 bits: exactly where a file has more bits, and right where Pillow misreads it."""

import functools
import io
import re
import sys
import warnings

import numpy as np
from PIL import Image, ImageOps

from jaxgan.data.formats import OTHERS
from jaxgan.data.samples import Samples, to_picture
from jaxgan.errors import UserError

MAX_PIXELS = 89_478_485  # Pillow's limit: a small file can claim far more than memory holds
LOW_BYTES = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}  # by the order of all bytes

# Tags of TIFF files, and some of their values.
BITS, PHOTOMETRIC, FILL_ORDER, SAMPLES = 258, 262, 266, 277
PLANAR, EXTRA, SAMPLE_FORMAT, SUBSAMPLING = 284, 338, 339, 530
WHITE_IS_ZERO, YCBCR, CONTIGUOUS, BY_PLANES, SIGNED = 0, 6, 1, 2, 2


def configure_warnings() -> None:
    """Of Pillow's warnings one counts as an error; others, about parts of a file that are no pixels, say nothing."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)  # it only warns up to twice as many
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


configure_warnings()


def open_picture(
    stored: str | bytes, white: float = 0, max_pixels: int = MAX_PIXELS, keep_alpha: bool = False, enough: int = 0
) -> Image.Image:
    """A picture in one of Pillow's modes of 8 bits, as upright as its EXIF tag has it.

    Args:
        stored: a path, or the bytes of a file.
        white: the number that is white in a picture of more than 8 bits; 0 for what its format says.
        max_pixels: more of them are refused before any of them is decoded.
        keep_alpha: whether the alpha of a picture of more than 8 bits stays; otherwise the picture lies on white.
        enough: pixels, height and width, below which no JPEG is reduced while decoding; 0 for its own size.

    Raises:
        UserError: the format is unknown, or nobody knows what the numbers mean.
        DecompressionBombError, DecompressionBombWarning: there are more than `max_pixels`.
        Exception: whatever Pillow stumbles over in a damaged file.
    """
    # Pillow's own limit is for all of a process, and looks at pictures inside of pictures, too: it is never lowered.
    if (Image.MAX_IMAGE_PIXELS or max_pixels) < max_pixels:
        Image.MAX_IMAGE_PIXELS = max_pixels
    with _open(stored) as image:
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError
        if enough:
            image.draft(None, (enough, enough))
        picture = READERS.get(image.format, _other)(image, stored)
        if isinstance(picture, Samples):
            picture = to_picture(picture, white, keep_alpha)
            picture.info = {name: value for name, value in image.info.items() if name != "transparency"}
        ImageOps.exif_transpose(picture, in_place=True)
        return picture


def _open(stored: str | bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else stored, formats=_known())
    except Image.UnidentifiedImageError:
        pass
    if isinstance(stored, str):
        with open(stored, "rb") as file:
            stored = file.read(16)
    found = [name for name in READERS if Image.OPEN[name][1](stored[:16])]
    raise UserError(f"it is a {found[0]} file that cannot be read" if found else "its format is unknown")


@functools.cache
def _known() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in OTHERS]  # EPS, for one, would run a program


def _rawmode(image: Image.Image) -> str:
    """How Pillow will take the pixels out of the bytes."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else args[0]


def _set_rawmode(image: Image.Image, rawmode: str) -> None:
    def changed(args: str | tuple) -> str | tuple:
        return rawmode if isinstance(args, str) else (rawmode, *args[1:])

    image.tile = [tile._replace(args=changed(tile.args)) for tile in image.tile]


def _two_bytes(image: Image.Image, stored: str | bytes, rawmode: str) -> np.ndarray:
    """Bands of 16 bits, of which Pillow takes one byte at a time: uint16 [H, W, bands]."""
    bytes_of = []
    with _open(stored) as again:
        for each, order in ((image, rawmode[-1]), (again, LOW_BYTES[rawmode[-1]])):
            _set_rawmode(each, rawmode[:-1] + order)
            bytes_of.append(np.asarray(each).astype(np.uint16))
    return bytes_of[0] << 8 | bytes_of[1]


# Formats: each reader takes a picture that is not decoded yet, and where it is stored.


def _png(image: Image.Image, stored: str | bytes) -> Image.Image | Samples:
    """A PNG; the colour in its tRNS chunk is given in the file's own depth."""
    rawmode, transparent = _rawmode(image), image.info.get("transparency")
    if rawmode in ("L;2", "L;4") and transparent is not None:
        image.info["transparency"] = transparent * 255 // (3 if rawmode == "L;2" else 15)
    if not rawmode.endswith(";16B"):
        return image
    if rawmode == "I;16B":
        numbers = np.asarray(image)[..., None]
    elif rawmode == "LA;16B":
        _set_rawmode(image, "RGBA")  # all four bytes of a pixel
        numbers = np.asarray(image).view(">u2")
    else:
        numbers = _two_bytes(image, stored, rawmode)
    return Samples(numbers, 2**16 - 1, transparent=transparent)


def _tiff(image: Image.Image, stored: str | bytes) -> Image.Image | Samples:
    """A TIFF of any type of numbers."""
    tags = image.tag_v2
    bits = max(tags.get(BITS, (1,)))
    if tags.get(PLANAR) == BY_PLANES and tags.get(SAMPLES, 1) == 1:
        tags[PLANAR] = CONTIGUOUS  # which of one plane is the same, except to Pillow
        image._setup()
    if tags.get(PLANAR) == BY_PLANES:
        known = image.mode in ("RGB", "CMYK") or (image.mode == "RGBA" and EXTRA in tags)
        if bits > 8 or tags.get(FILL_ORDER, 1) != 1 or not known:
            raise UserError("it is a TIFF file with each colour in a plane of its own, in a layout that cannot be read")
    if tags.get(PHOTOMETRIC) == YCBCR and not image.use_load_libtiff and tags.get(SUBSAMPLING, (2, 2)) != (1, 1):
        raise UserError("it is a TIFF file of YCbCr colours without compression, in a layout that cannot be read")
    if image.mode in ("I", "F", "I;16", "I;16B"):
        return _wide_grey(image)
    if bits > 8:
        return _wide_colours(image, stored)
    if tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED:
        return Samples(np.asarray(image).view(np.int8)[..., None], None)
    return image


def _wide_grey(image: Image.Image) -> Samples:
    tags, rawmode = image.tag_v2, _rawmode(image)
    bits, signed = tags.get(BITS, (1,))[0], tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
    if image.use_load_libtiff and image.mode in ("I", "F") and rawmode != "I;32N":
        # Which gives the machine's order of bytes, whatever that of the file.
        _set_rawmode(image, "F;32NF" if image.mode == "F" else f"I;{bits}NS")
    numbers = np.asarray(image)[..., None]
    if image.mode == "I":
        numbers = numbers.astype(np.int16) if bits == 16 else numbers if signed else numbers.view(np.uint32)
    inverted = tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO
    return Samples(numbers, 2**bits - 1 if image.mode.startswith("I;16") else None, inverted)


def _wide_colours(image: Image.Image, stored: str | bytes) -> Image.Image | Samples:
    """16 bits of red, green and blue, of these and alpha, or of four inks."""
    rawmode, white = _rawmode(image), 2**16 - 1
    premultiplied = rawmode.startswith("RGBa")
    numbers = _two_bytes(image, stored, rawmode.replace("RGBa", "RGBA"))
    if image.mode == "CMYK":
        return Image.fromarray(np.floor(numbers / np.float32(257) + 0.5).astype(np.uint8), "CMYK")
    return Samples(numbers, white, premultiplied=premultiplied)


def _bmp(image: Image.Image, stored: str | bytes) -> Image.Image:
    """A BMP; of a palette of greys Pillow may forget how many bits an index has."""
    del stored
    image.fp.seek(14)
    header = image.fp.read(16)
    bits = int.from_bytes(header[10:12] if header[0] == 12 else header[14:16], "little")
    if image.mode not in ("1", "L") or bits == {"1": 1, "L": 8}[image.mode]:
        return image
    levels = [0, *[255] * 255] if image.mode == "1" else list(range(256))
    image._mode = "P"
    _set_rawmode(image, {1: "P;1", 4: "P;4", 8: "P"}[bits])
    return Image.fromarray(np.uint8(levels)[np.asarray(image)])


def _gif(image: Image.Image, stored: str | bytes) -> Image.Image:
    """The first frame of a GIF; around it the canvas is transparent."""
    del stored
    frame = image.tile[0].extents
    if frame == (0, 0, *image.size):
        return image
    canvas = Image.new("RGBA", image.size, (255, 255, 255, 0))
    canvas.paste(image.convert("RGBA").crop(frame), frame[:2])
    return canvas


def _netpbm(image: Image.Image, stored: str | bytes) -> Image.Image | Samples:
    """A PBM, PGM, PPM or PFM; the header of those with other than 8 bits says what is white."""
    del stored
    tile = image.tile[0]
    if image.mode == "F":
        return Samples(np.asarray(image)[..., None], None)
    if image.mode == "I" and _rawmode(image) == "I;16B":
        return Samples(np.asarray(image).astype(np.uint16)[..., None], 2**16 - 1)
    if image.mode not in ("L", "I", "RGB") or isinstance(tile.args, str) or tile.args[1] == 255:
        return image
    white, shape = tile.args[1], (image.height, image.width, len(image.getbands()))
    count = shape[0] * shape[1] * shape[2]
    image.fp.seek(tile.offset)
    if tile.codec_name == "ppm_plain":
        numbers = np.array(re.sub(rb"#[^\r\n]*", b"", image.fp.read()).split()[:count]).astype(np.uint16)
    else:
        wide = np.dtype(np.uint8 if white < 256 else ">u2")
        numbers = np.frombuffer(image.fp.read(count * wide.itemsize), wide).astype(np.uint16)
    if len(numbers) < count:
        raise UserError("it is truncated")
    return Samples(numbers.reshape(shape), white)


def _other(image: Image.Image, stored: str | bytes) -> Image.Image | Samples:
    """A picture of a format that Pillow reads right: those of 16 bits fill them."""
    del stored
    if image.mode.startswith("I;16"):
        return Samples(np.asarray(image)[..., None], 2**16 - 1)
    return Samples(np.asarray(image)[..., None], None) if image.mode in ("I", "F") else image


READERS = {"PNG": _png, "TIFF": _tiff, "BMP": _bmp, "GIF": _gif, "PPM": _netpbm}
