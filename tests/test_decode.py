"""Images as they are stored and the pixels that come out, worked out by hand for every mode, format and orientation."""

import hashlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from experiments import raises_user_error, squares
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from reference_images import SHORT, bmp, gif, netpbm, png_chunk, tiff
from reference_images import png as png_of

from jaxgan.data.decode import BadImageError, Transform, shape_of

law = settings(deadline=None, max_examples=60, derandomize=True)
WHITE = 255
GRADIENT = np.add.outer(np.arange(64), 2 * np.arange(96))[..., None] + np.arange(3) * 20  # smooth, 0 to 293
SMOOTH = (128 + 100 * np.sin(GRADIENT / 40)).astype(np.uint8)  # [64, 96, 3]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image = (
        Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image) if not hasattr(image, "save") else image
    )
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, data: bytes) -> bytes:
    """A PNG file by its specification, of kinds that Pillow does not write; each row of `data` starts with a 0."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def row(mode: str, *pixels: int | tuple) -> Image.Image:
    """A picture of so many pixels beside each other, of which each is the top of a column of equal ones."""
    image = Image.new(mode, (len(pixels), len(pixels)))
    image.putdata(pixels * len(pixels))
    return image


def palette(*, alpha: bytes | int | None = None) -> bytes:
    image = row("P", 0, 1)
    image.putpalette([200, 100, 50, 0, 0, 255])
    return encoded(image, **({} if alpha is None else {"transparency": alpha}))


def decode(stored, channels: int) -> list:
    """The first row of a picture that keeps its size."""
    side = min(Image.open(io.BytesIO(stored)).size) if isinstance(stored, bytes) else len(stored)
    pixels = squares(side, side, channels, False)(stored, "it")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (side, side, channels))
    assert np.all(pixels == pixels[:1])
    return pixels[0].squeeze(-1).tolist() if channels == 1 else list(map(tuple, pixels[0].tolist()))


def columns(*levels: int) -> np.ndarray:
    """A square of columns of one number each: [N, N, 1]."""
    return np.broadcast_to(np.array(levels)[:, None], (len(levels), len(levels), 1))


def grey(*levels: int) -> list[tuple]:
    return [(level,) * 3 for level in levels]


# Grey is 0.299 R + 0.587 G + 0.114 B: 59.8 + 58.7 + 5.7 = 124.2 for this one, 0.299 * 255 = 76.2 for red.
ORANGE = (200, 100, 50)
# On white with alpha 128 it is (v * 128 + 255 * 127) / 255: 227.4, 177.2 and 152.1; grey 67.9 + 103.9 + 17.3 = 189.1.
PALE = (227, 177, 152)
MODES = {
    "L": (encoded(row("L", 0, 7, 255)), [0, 7, 255], grey(0, 7, 255)),
    "RGB": (
        encoded(row("RGB", ORANGE, (255, 0, 0), (0, 255, 0), (0, 0, 255))),
        [124, 76, 150, 29],  # 0.587 * 255 = 149.7; 0.114 * 255 = 29.1
        [ORANGE, (255, 0, 0), (0, 255, 0), (0, 0, 255)],
    ),
    "1": (encoded(row("1", 0, 255)), [0, 255], grey(0, 255)),
    "P": (palette(), [124, 29], [ORANGE, (0, 0, 255)]),
    "P, one colour transparent": (palette(alpha=1), [124, 255], [ORANGE, (255, 255, 255)]),
    "P, alpha of each colour": (palette(alpha=b"\x80\x00"), [189, 255], [PALE, (255, 255, 255)]),
    "L, one level transparent": (encoded(row("L", 5, 9), transparency=5), [255, 9], grey(255, 9)),
    "RGB, one colour transparent": (
        encoded(row("RGB", ORANGE, (1, 2, 3)), transparency=(1, 2, 3)),
        [124, 255],
        [ORANGE, (255, 255, 255)],
    ),
    "RGBA": (
        encoded(row("RGBA", (*ORANGE, 255), (*ORANGE, 128), (*ORANGE, 0))),
        [124, 189, 255],
        [ORANGE, PALE, (255, 255, 255)],
    ),
    "LA": (encoded(row("LA", (100, 255), (100, 128), (100, 0))), [100, 177, 255], grey(100, 177, 255)),
    # (255 - c) * (255 - k) / 255: 155, 205 and 255 times 200 / 255 are 121.6, 160.8 and 200;
    # grey of those 36.5 + 94.5 + 22.8 = 153.8.
    "CMYK": (
        encoded(row("CMYK", (0, 0, 0, 0), (100, 50, 0, 55), (0, 0, 0, 255)), "TIFF"),
        [255, 154, 0],
        [(255, 255, 255), (122, 161, 200), (0, 0, 0)],
    ),
    # Green is 150 + 0.344 * 84 + 0.714 * 107 = 255.3, red 150 - 1.402 * 107 = 0.0, blue 150 - 1.772 * 84 = 1.2.
    "YCbCr": (
        encoded(row("YCbCr", (128, 128, 128), (150, 44, 21)), "TIFF"),
        [128, 150],
        [(128, 128, 128), (0, 255, 1)],
    ),
    # A level v of 16 bits is v * 255 / 65535 = v / 257: 0.498 for 128, 0.502 for 129, 127.5 for 32768, and exactly 1
    # for 257.
    "16-bit grey PNG": (
        encoded(row("I;16", 0, 128, 129, 257, 32768, 65535)),
        [0, 0, 1, 1, 128, 255],
        grey(0, 0, 1, 1, 128, 255),
    ),
    "16-bit little-endian TIFF": (
        encoded(row("I;16", 0, 128, 129, 257, 32768, 65535), "TIFF"),
        [0, 0, 1, 1, 128, 255],
        grey(0, 0, 1, 1, 128, 255),
    ),
    "16-bit big-endian TIFF": (
        encoded(row("I;16B", 0, 128, 129, 257, 32768, 65535), "TIFF"),
        [0, 0, 1, 1, 128, 255],
        grey(0, 0, 1, 1, 128, 255),
    ),
    # Their upper bytes are taken: 128, and with alpha 128 on white 100 * 128 / 255 + 127 = 177.2.
    "16-bit grey and alpha": (
        png(2, 2, 16, 4, 2 * (b"\0" + struct.pack(">HHHH", 32768, 65535, 100 * 256, 128 * 256))),
        [128, 177],
        grey(128, 177),
    ),
    "16-bit colours": (png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", *(257 * v for v in ORANGE))), [124], [ORANGE]),
}


# Files by their specifications that Pillow alone reads in another way, or not at all.
FILES = {
    # 12 bits: 2048 * 255 / 4095 = 127.5, 8 is 0.498, 9 is 0.56.
    "12-bit TIFF": (tiff(columns(0, 8, 9, 2048, 4095), 12, 1), [0, 0, 1, 128, 255], grey(0, 0, 1, 128, 255)),
    "16-bit TIFF, 0 is white": (tiff(columns(0, 128, 65535, 65407), 16, 0), [255, 255, 0, 0], grey(255, 255, 0, 0)),
    # A colour of 16 bits that is transparent: only the same 16 bits are.
    "16-bit grey PNG, one level transparent": (
        png_of(columns(0x1234, 0x1235, 0), 16, 0, png_chunk(b"tRNS", b"\x12\x34")),
        [255, 18, 0],  # 0x1235 / 257 = 18.1
        grey(255, 18, 0),
    ),
    "16-bit colours, one transparent": (
        png_of(np.repeat(columns(0x1234, 0x1235), 3, axis=2), 16, 2, png_chunk(b"tRNS", b"\x12\x34" * 3)),
        [255, 18],
        grey(255, 18),
    ),
    # Their own depth is that of the transparent level, too: 1 of 3 is 85, and 7 of 15 is 119.
    "2-bit grey PNG, one level transparent": (
        png_of(columns(0, 1, 2, 3), 2, 0, png_chunk(b"tRNS", b"\0\1")),
        [0, 255, 170, 255],
        grey(0, 255, 170, 255),
    ),
    "4-bit grey PNG, one level transparent": (
        png_of(columns(6, 7), 4, 0, png_chunk(b"tRNS", b"\0\7")),
        [102, 255],
        grey(102, 255),
    ),
    # Multiplied by alpha: 50 on white with alpha 128 is 50 + 127 = 177.
    "grey and associated alpha": (
        tiff(np.full((1, 1, 2), [50, 128]), 8, 1, tags=((338, SHORT, (1,)),)),
        [177],
        grey(177),
    ),
    # L* = 128 / 2.55 = 50.2 is
    # (66.2 / 116)**3 = 0.186 of white, in sRGB 1.055 * 0.186**(1 / 2.4) - 0.055 = 0.468: 119.4.
    "LAB": (tiff(np.full((1, 1, 3), [128, 0, 0]), 8, 8), [119], grey(119)),
    # An index is as wide as the file says, even where the palette is black and white.
    "8-bit BMP, black and white": (
        bmp([bytes([0, 1, 1]), bytes([0, 1, 1]), bytes([0, 1, 1])], 3, 8, [(0, 0, 0), (255, 255, 255)]),
        [0, 255, 255],
        grey(0, 255, 255),
    ),
}


@pytest.mark.parametrize("name", MODES | FILES)
def test_modes_and_depths(name):
    stored, one, three = (MODES | FILES)[name]
    assert decode(stored, 1) == one
    assert decode(stored, 3) == three


@pytest.mark.parametrize("name", MODES | FILES)
def test_the_shape_of_a_file_is_that_of_its_pixels(name):
    """At that shape nothing is resized, and no colour is lost."""
    stored, one, three = (MODES | FILES)[name]
    height, width, channels = shape_of(stored, "it")
    pixels = Transform((height, width), (height, width), channels, False)(stored, "it")
    assert pixels[0].tolist() == ([[level] for level in one] if channels == 1 else list(map(list, three)))
    if channels == 1:
        assert three == grey(*one)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_shape_of_a_file_is_that_of_the_upright_picture(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(Image.new("RGB", (16, 24)), kind, exif=exif)
    assert shape_of(stored, "it") == ((24, 16, 3) if orientation < 5 else (16, 24, 3))


def test_what_pillow_wrote_has_the_mode_that_the_tests_above_mean():
    modes = {name: Image.open(io.BytesIO(stored)).mode for name, (stored, _, _) in MODES.items()}
    assert {name: mode for name, mode in modes.items() if name.split(",")[0] != mode} == {
        "16-bit grey PNG": "I;16",
        "16-bit little-endian TIFF": "I;16",
        "16-bit big-endian TIFF": "I;16B",
        "16-bit grey and alpha": "RGBA",
        "16-bit colours": "RGB",
    }


def test_cmyk_jpegs_are_not_inverted():
    colour = Image.new("CMYK", (16, 16), (100, 50, 0, 55))
    pixels = squares(16, 16, 3, False)(encoded(colour, "JPEG", quality=100), "it")
    np.testing.assert_allclose(pixels, np.broadcast_to([122, 161, 200], (16, 16, 3)), atol=3)  # as above


def grey_tiff(*levels: float, kind: str, photometric: int = 1) -> bytes:
    """A TIFF of columns of grey numbers of a type, such as "i2" for 16 bits with a sign."""
    samples = np.broadcast_to(np.array(levels, kind)[:, None], (len(levels), len(levels), 1))
    sample_format = {"u": 1, "i": 2, "f": 3}[kind[0]]
    return tiff(samples, 8 * int(kind[1]), photometric, tags=((339, SHORT, (sample_format,)),))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("i1", "signed 8-bit"),
        ("i2", "signed 16-bit"),
        ("i4", "signed 32-bit"),
        ("u4", "unsigned 32-bit"),
        ("f4", "32-bit floating-point"),
    ],
)
def test_numbers_whose_white_is_unknown_are_refused_unless_it_is_given(kind, words):
    """100 of 120 is 255 * 5 / 6 = 212.5, which is rounded up; 60 is 127.5, and 1 is 2.1."""
    stored = grey_tiff(100, 60, 1, 0, 120, 127, kind=kind)
    with raises_user_error(
        BadImageError,
        match=rf"^x.tif is a bad image \(its pixels are {words} numbers, .*: set config.data.white to the ",
    ):
        squares(6, 6, 1, False)(stored, "x.tif")
    assert squares(6, 6, 1, False, white=120.0)(stored, "it")[0, :, 0].tolist() == [213, 128, 2, 0, 255, 255]


def test_floats_are_clipped_and_must_be_numbers():
    stored = grey_tiff(-1, 0.5, 2, np.inf, kind="f4")
    assert squares(4, 4, 1, False, white=1.0)(stored, "it")[0, :, 0].tolist() == [0, 128, 255, 255]
    with raises_user_error(BadImageError, match="x.tif is a bad image .some of its pixels are not a number"):
        squares(2, 2, 1, False, white=1.0)(grey_tiff(0, np.nan, kind="f4"), "x.tif")


def test_white_is_a_number_of_files_that_are_deeper_than_8_bits_alone():
    """Of 12 bits in 16, 4095 is white, and 2048 is 127.53."""
    deep = np.broadcast_to(np.array([0, 2048, 4095, 5000])[:, None], (4, 4, 1))
    colours, white = np.repeat(deep, 3, axis=2), {"white": 4095.0}
    expected = [0, 128, 255, 255]
    for stored in (
        tiff(deep, 16, 1),
        png(4, 4, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)),
        tiff(colours, 16, 2, big_endian=True, compression=8),
        netpbm(deep, 65535, False),
        netpbm(deep, 5000, True),
        netpbm(colours, 65535, False),
    ):
        assert squares(4, 4, 1, False, **white)(stored, "it")[0, :, 0].tolist() == expected
        assert squares(4, 4, 1, False)(stored, "it")[0, :, 0].max() in (19, 255)  # 5000 of 65535 is 19.5 or of 5000
    shallow = encoded(noise(8, 8, 3))
    np.testing.assert_array_equal(squares(8, 8, 3, False, **white)(shallow, "it"), noise(8, 8, 3))


def test_alpha_keeps_its_range_whatever_is_white():
    """Of 16 bits 32768 is half of an alpha: 1024 of 4095 is 63.77, on white 31.9 + 127.5 = 159.4."""
    stored = tiff(np.full((1, 1, 4), [1024, 1024, 1024, 32768]), 16, 2, tags=((338, SHORT, (2,)),))
    assert squares(1, 1, 1, False, white=4095.0)(stored, "it").item() == 159
    assert squares(1, 1, 4, False, white=4095.0)(stored, "it").ravel().tolist() == [64, 64, 64, 128]


# Where the stored quadrants A B / C D are seen, by the EXIF specification: tag 6, for one, says that row 0 is on the
# right and column 0 at the top.
ORIENTATIONS = {1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB", 5: "ACBD", 6: "CADB", 7: "DBCA", 8: "BDAC"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF", "16-bit PNG"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientations(kind, orientation):
    levels = {"A": 10, "B": 90, "C": 170, "D": 250}
    quadrants = np.array([[10, 90], [170, 250]], np.uint16 if kind == "16-bit PNG" else np.uint8)
    stored = np.kron(quadrants, np.ones((32, 32), quadrants.dtype)) * (257 if kind == "16-bit PNG" else 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = squares(8, 8, 1, False)(encoded(Image.fromarray(stored), kind.split()[-1], exif=exif), "it")
    corners = seen[[1, 1, 6, 6], [1, 6, 1, 6], 0]
    np.testing.assert_allclose(corners, [levels[quadrant] for quadrant in ORIENTATIONS[orientation]], atol=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WebP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("JPEG", {"quality": 95})],
)
def test_bytes_a_path_and_an_array_give_the_same_in_every_format(kind, options, channels, tmp_path):
    image = SMOOTH[:, :, :channels] if kind == "JPEG" else noise(64, 96, channels)
    stored, path = encoded(image, kind, **options), tmp_path / "image"
    path.write_bytes(stored)
    transform = squares(24, 20, channels, False)
    pixels = transform(stored, "it")
    np.testing.assert_array_equal(transform(str(path), "it"), pixels)
    differences = np.abs(transform(image, "it").astype(int) - pixels)
    assert differences.max() <= (4 if kind == "JPEG" else 0)
    assert pixels.std() > 5


SIDES = st.integers(1, 40)


@law
@given(data=st.data(), width=SIDES, height=SIDES, load_size=st.integers(1, 24), channels=st.integers(1, 5))
def test_constant_images_stay_constant(data, width, height, load_size, channels):
    size = data.draw(st.integers(1, load_size))
    colour = np.uint8(data.draw(st.lists(st.integers(0, 255), min_size=channels, max_size=channels)))
    pixels = squares(load_size, size, channels, True)(np.broadcast_to(colour, (height, width, channels)), "it")
    np.testing.assert_array_equal(pixels, np.broadcast_to(colour, (size, size, channels)))


@law
@given(width=SIDES, height=SIDES, load_size=st.integers(1, 24), channels=st.sampled_from([1, 3]), file=st.booleans())
def test_only_the_central_square_counts(width, height, load_size, channels, file):
    image, side = noise(height, width, channels), min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    central = np.s_[top : top + side, left : left + side]
    other = WHITE - image
    other[central] = image[central]
    transform, stored = squares(load_size, load_size, channels, True), encoded if file else np.asarray
    pixels = transform(stored(image), "it")
    np.testing.assert_array_equal(transform(stored(other), "it"), pixels)
    np.testing.assert_array_equal(transform(stored(np.ascontiguousarray(image[central])), "it"), pixels)


@law
@given(load_size=st.integers(1, 16), times=st.integers(1, 3), margin=st.integers(0, 9), upright=st.booleans())
def test_mirrored_images_are_mirrored(load_size, times, margin, upright):
    side = load_size * times
    image = noise(side, side + 2 * margin, 1)
    image = image.swapaxes(0, 1) if upright else image
    transform = squares(load_size, load_size, 1, False)
    pixels = transform(image, "it")
    np.testing.assert_array_equal(transform(image[:, ::-1], "it"), pixels[:, ::-1])
    np.testing.assert_array_equal(transform(image[::-1], "it"), pixels[::-1])


@law
@given(width=SIDES, height=SIDES, size=st.integers(1, 12), margin=st.integers(0, 9), channels=st.sampled_from([1, 3]))
def test_of_what_is_loaded_the_centre_is_kept(width, height, size, margin, channels):
    image, load_size = noise(height, width, channels), size + margin
    whole = squares(load_size, load_size, channels, True)(image, "it")
    start = margin // 2
    centre = whole[start : start + size, start : start + size]
    np.testing.assert_array_equal(squares(load_size, size, channels, True)(image, "it"), centre)


@law
@given(load_size=st.integers(1, 8), times=st.integers(1, 9), channels=st.integers(1, 4))
def test_whole_factors_give_the_means_of_blocks(load_size, times, channels):
    image = noise(load_size * times, load_size * times, channels)
    means = image.reshape(load_size, times, load_size, times, channels).mean((1, 3))
    pixels = squares(load_size, load_size, channels, False)(image, "it")
    # Pillow rounds a mean down if it is the nearest number of k-ths of k pixels to a half.
    assert np.abs(pixels - means).max() <= 0.5 + 0.5 / times**2 + 1e-9


@pytest.mark.parametrize(("side", "tolerance"), [(32, 0.5), (64, 0.5), (56, 15)])
@pytest.mark.parametrize("kind", ["array", "PNG"])
def test_nothing_is_aliased(side, tolerance, kind):
    """A checkerboard reduced by 2, 4 and 3.5 is grey; of a block of 3x3, five are white: 127.5 +- 255 / 18."""
    board = (255 * (np.indices((side, side)).sum(0) % 2)).astype(np.uint8)[..., None]
    pixels = squares(16, 16, 1, False)(board if kind == "array" else encoded(board), "it")
    np.testing.assert_allclose(pixels, np.full((16, 16, 1), 127.5), atol=tolerance)


@pytest.mark.parametrize("load_size", [8, 13, 20, 27, 40, 63, 64, 100])
def test_smooth_images_are_as_by_plain_lanczos(load_size):
    pixels = squares(load_size, load_size, 3, True)(SMOOTH, "it")
    square = Image.fromarray(np.ascontiguousarray(SMOOTH[:, 16:80]))
    plain = np.asarray(square.resize((load_size, load_size), Image.Resampling.LANCZOS))
    differences = np.abs(pixels.astype(int) - plain)
    assert differences.mean() < 1
    assert differences.max() <= 6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [255, 256, 700])
def test_large_jpegs_are_as_large_pngs(side, channels):
    """They are decoded at a half to an eighth of their size, which can move the crop by a quarter of a pixel."""
    image = np.asarray(Image.fromarray(SMOOTH).resize((side + 128, side), Image.Resampling.BICUBIC))
    transform = squares(32, 32, channels, False)
    pixels = transform(encoded(image, "JPEG", quality=95), "it")
    differences = np.abs(transform(encoded(image), "it").astype(int) - pixels)
    assert differences.mean() < 2
    assert differences.max() <= 6


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("load_size", [5, 12, 24, 40])
def test_arrays_of_as_many_channels_as_wanted_are_resized_channel_by_channel(channels, load_size):
    image, transform = noise(24, 24, channels), squares(load_size, load_size, 1, True)
    pixels = squares(load_size, load_size, channels, True)(image, "it")
    planes = [transform(image[..., c], "it")[..., 0] for c in range(channels)]
    np.testing.assert_array_equal(pixels, np.stack(planes, axis=-1))


def test_arrays_turn_grey_coloured_and_opaque_as_files_do():
    orange = np.full((2, 2, 1), 1, np.uint8) * np.uint8(ORANGE)
    half = np.concatenate([orange, np.full((2, 2, 1), 128, np.uint8)], axis=-1)
    for image, one, three in [
        (orange, 124, ORANGE),
        (half, 189, PALE),
        (np.full((2, 2), 9, np.uint8), 9, (9, 9, 9)),
        (np.full((2, 2, 1), 9, np.uint8), 9, (9, 9, 9)),
    ]:
        assert decode(image, 1) == [one, one]
        assert decode(image, 3) == [three, three]


@pytest.mark.parametrize(("has", "channels"), [(2, 1), (2, 3), (5, 3), (1, 2), (5, 4), (3, 2)])
def test_arrays_of_other_channels_are_refused(has, channels):
    with raises_user_error(BadImageError, match=rf"image 7 is .* {has} channels, not config.data.channels={channels}"):
        squares(4, 4, channels, True)(noise(4, 4, has), "image 7")


@pytest.mark.parametrize("stored", [noise(7, 9, 1), encoded(noise(7, 9, 1)), encoded(noise(7, 9, 1), "JPEG")])
def test_images_that_are_too_small_are_enlarged_or_refused(stored):
    with raises_user_error(
        BadImageError, match="x.png is a bad image .7x9 pixels, height and width, are too few for 8x8: "
    ):
        squares(8, 6, 1, False)(stored, "x.png")
    assert squares(7, 7, 1, False)(stored, "it").shape == (7, 7, 1)
    square = Image.open(io.BytesIO(stored)) if isinstance(stored, bytes) else Image.fromarray(stored[..., 0])
    enlarged = square.crop((1, 0, 8, 7)).resize((8, 8), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(squares(8, 8, 1, True)(stored, "it")[..., 0], enlarged)


BAD = {
    "truncated.jpg": (encoded(SMOOTH, "JPEG")[:-500], "truncated"),
    "truncated.png": (encoded(noise(64, 64, 3))[:-5000], "truncated"),
    "truncated.webp": (encoded(noise(64, 64, 3), "WebP")[:-500], ""),
    "truncated.bmp": (encoded(noise(64, 64, 3), "BMP")[:-500], "truncated"),
    "truncated.tif": (encoded(noise(64, 64, 3), "TIFF")[:-500], ""),
    "header.png": (encoded(noise(64, 64, 3))[:20], ""),
    "short.png": (png(64, 64, 8, 0, b"\0"), ""),
    "empty.jpg": (b"", "its format is unknown"),
    "text.jpg": (b"<html>404 Not Found</html>\n", "its format is unknown"),
    "claim.png": (
        png(100_000, 100_000, 8, 0, b"\0"),
        "it claims to have more pixels than config.data.max_pixels=89478485",
    ),
    "large.png": (png(9_500, 9_500, 8, 0, b"\0"), "it claims to have more pixels than config.data.max_pixels=89478485"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, tmp_path):
    stored, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(stored)
    for image in (stored, str(path)):
        with raises_user_error(BadImageError, match=rf"^{name} is a bad image \(.*{reason}"):
            squares(8, 8, 3, True)(image, name)


def test_folders_and_missing_files_are_bad_images(tmp_path):
    (tmp_path / "x.jpg").mkdir()
    for name in ("x.jpg", "y.jpg"):
        with raises_user_error(BadImageError, match=rf"^{name} is a bad image \(it cannot be decoded: .*directory"):
            squares(8, 8, 3, True)(str(tmp_path / name), name)


def test_the_most_pixels_can_be_chosen():
    """Before anything is decoded: of the large file there is one byte."""
    stored = encoded(noise(7, 9, 1))
    assert squares(7, 7, 1, False, max_pixels=63)(stored, "it").shape == (7, 7, 1)
    with raises_user_error(BadImageError, match="x.png .*it claims to have more pixels than config.data.max_pixels=62"):
        squares(7, 7, 1, False, max_pixels=62)(stored, "x.png")
    with raises_user_error(BadImageError, match="x.png .*it cannot be decoded"):
        squares(7, 7, 1, False, max_pixels=9_500**2)(BAD["large.png"][0], "x.png")


@pytest.mark.parametrize("name", ["claim.png", "large.png"])
def test_the_most_pixels_are_known_where_warnings_are_no_errors(name, tmp_path):
    """In a process of its own, as a picture in an icon, which claims little itself."""
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(BAD[name][0]), 22) + BAD[name][0]
    program = "import sys; from jaxgan.data.decode import *; Transform((8, 8), (8, 8), 1, True)(sys.argv[1], 'it')"
    options = {"env": {"PYTHONPATH": ":".join(sys.path)}, "capture_output": True, "text": True}
    for stored in (BAD[name][0], icon):
        (tmp_path / "x.png").write_bytes(stored)
        command = [sys.executable, "-c", program, str(tmp_path / "x.png")]
        run = subprocess.run(command, check=False, **options)
        assert run.returncode == 1
        line = run.stderr.splitlines()[-1]
        assert line.endswith("it is a bad image (it claims to have more pixels than config.data.max_pixels=89478485)")


def test_files_of_a_known_format_that_cannot_be_read_differ_from_unknown_ones():
    stored = grey_tiff(1, 2, kind="u4").replace(
        struct.pack("<HHIHH", 258, 3, 1, 32, 0), struct.pack("<HHIHH", 258, 3, 1, 9, 0)
    )
    for data, reason in [
        (stored, "it is a TIFF file that cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "its format is unknown"),
    ]:
        with raises_user_error(BadImageError, match=rf"x is a bad image \({reason}\)"):
            squares(2, 2, 1, False)(data, "x")


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (tiff(np.zeros((2, 2, 3), int), 8, 6), "YCbCr colours without compression"),  # 2x2 pixels share their colour
        (tiff(np.zeros((2, 2, 2), int), 8, 1, planar=True, tags=((338, SHORT, (2,)),)), "a plane of its own"),
        (tiff(np.zeros((2, 2, 3), int), 16, 2, planar=True, compression=8), "a plane of its own"),
    ],
)
def test_layouts_that_pillow_would_misread_are_refused(stored, reason):
    with raises_user_error(BadImageError, match=f"x is a bad image .it is a TIFF file .*{reason}.* cannot be read"):
        squares(2, 2, 3, False)(stored, "x")


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WebP", {"lossless": True})])
def test_of_several_frames_the_first_is_seen(kind, options):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("#c86432", "#00f")]
    stored = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(stored)).n_frames == 2
    np.testing.assert_array_equal(squares(4, 4, 3, False)(stored, "it"), np.broadcast_to(ORANGE, (4, 4, 3)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WebP"])
def test_colour_profiles_are_ignored(kind):
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = noise(4, 4, 3)
    stored = encoded(image, kind, icc_profile=wide, **({"lossless": True} if kind == "WebP" else {}))
    np.testing.assert_array_equal(squares(4, 4, 3, False)(stored, "it"), image)


def test_a_frame_of_a_gif_lies_on_a_transparent_canvas():
    stored = gif(np.array([[0, 1]]), np.array([[0, 0, 0], [0, 0, 255]]), (2, 3), (1, 1))
    pixels = Transform((2, 3), (2, 3), 4, False)(stored, "it")
    assert pixels[..., 3].tolist() == [[0, 0, 0], [0, 255, 255]]
    assert pixels[1, 1:, :3].tolist() == [[0, 0, 0], [0, 0, 255]]
    assert Transform((2, 3), (2, 3), 1, False)(stored, "it")[..., 0].tolist() == [[255, 255, 255], [255, 0, 29]]


# The bytes of caches of squares: of what was decoded right before, these must stay for ever.
GOLDEN = "d1b4d6166d0f2f6fb1804a438d7be7df"


def test_squares_have_the_bytes_that_they_always_had():
    total = hashlib.blake2b(digest_size=16)
    for shape in [(9, 7, 1), (64, 96, 3), (40, 23, 4), (5, 31, 3), (32, 32, 3)]:
        image = noise(*shape)
        for load_size, size in [(8, 8), (13, 10), (24, 24), (40, 33)]:
            for channels in (1, 3):
                for stored in (image, encoded(image)):
                    total.update(squares(load_size, size, channels, True)(stored, "it").tobytes())
    assert total.hexdigest() == GOLDEN


# Rectangles

RECTANGLES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@law
@given(shape=RECTANGLES, times=st.integers(1, 4), margin=st.integers(0, 9), channels=st.sampled_from([1, 3, 4]))
def test_the_largest_central_rectangle_is_kept(shape, times, margin, channels):
    """Of an image whose sides are `times` those wanted, and longer on one side: the means of blocks of its middle."""
    (height, width), image = shape, None
    for tall in (False, True):
        image = noise(height * times + margin * tall, width * times + margin * (not tall), channels)
        top, left = (image.shape[0] - height * times) // 2, (image.shape[1] - width * times) // 2
        middle = image[top : top + height * times, left : left + width * times]
        pixels = Transform(shape, shape, channels, False)(image, "it")
        assert pixels.shape == (height, width, channels)
        np.testing.assert_array_equal(
            Transform(shape, shape, channels, False)(np.ascontiguousarray(middle), "it"), pixels
        )
        means = middle.reshape(height, times, width, times, channels).mean((1, 3))
        assert np.abs(pixels - means).max() <= 0.5 + 0.5 / times**2 + 1e-9


@law
@given(shape=RECTANGLES, size=st.tuples(SIDES, SIDES), channels=st.sampled_from([1, 3]), file=st.booleans())
def test_transposed_images_are_transposed(shape, size, channels, file):
    """Up to the rounding between the two directions, in which Lanczos goes one after the other; nothing is clipped."""
    image, stored = 96 + noise(*size, channels) // 4, encoded if file else np.asarray
    pixels = Transform(shape, shape, channels, True)(stored(image), "it")
    other = Transform(shape[::-1], shape[::-1], channels, True)(
        stored(np.ascontiguousarray(image.swapaxes(0, 1))), "it"
    )
    assert np.abs(pixels.swapaxes(0, 1).astype(int) - other).max() <= 2


def test_the_centre_of_a_rectangle_is_kept():
    image = noise(12, 18, 3)
    np.testing.assert_array_equal(Transform((12, 18), (7, 10), 3, False)(image, "it"), image[2:9, 4:14])


def test_a_turned_jpeg_has_as_much_detail_as_an_upright_one():
    """The sides of a reduced JPEG are those before it is turned."""
    image = np.asarray(Image.fromarray(SMOOTH).resize((1024, 256), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Transform((32, 128), (32, 128), 3, False)(encoded(image, "JPEG", quality=95), "it")
    turned = Transform((128, 32), (128, 32), 3, False)(encoded(image, "JPEG", quality=95, exif=exif), "it")
    assert np.abs(turned.astype(int) - np.rot90(upright, -1)).max() <= 3


@pytest.mark.parametrize(("shape", "wanted"), [((8, 12), (8, 13)), ((8, 12), (9, 12)), ((100, 5), (6, 6))])
def test_too_small_rectangles_say_what_to_do(shape, wanted):
    (height, width), least = shape, "x".join(map(str, wanted))
    message = rf"^x.png is a bad image .{height}x{width} pixels, height and width, are too few for {least}: "
    with raises_user_error(BadImageError, match=message + "choose a smaller config.data.size, or set .*upscale=True"):
        Transform(wanted, wanted, 1, False)(noise(*shape, 1), "x.png")
    assert Transform(wanted, wanted, 1, True)(noise(*shape, 1), "x.png").shape == (*wanted, 1)


# Transparency


def test_four_channels_keep_alpha_and_opaque_pictures_get_one():
    clear = noise(5, 5, 4)
    np.testing.assert_array_equal(squares(5, 5, 4, False)(encoded(clear), "it"), clear)
    for channels in (1, 3):
        image = noise(5, 5, channels)
        for stored in (image, encoded(image)):
            pixels = squares(5, 5, 4, False)(stored, "it")
            np.testing.assert_array_equal(pixels[..., :3], np.broadcast_to(image, (5, 5, 3)))
            assert (pixels[..., 3] == 255).all()


def test_no_colour_bleeds_from_pixels_that_cannot_be_seen():
    """Means of two pixels each; colours count by their alpha: (200 * 255 + 0 * 85) / 340 = 150, and 340 / 2 = 170."""
    seen, hidden, faint = (*ORANGE, 255), (0, 255, 255, 0), (0, 0, 0, 85)
    image = np.repeat(np.uint8([[seen, hidden, seen, faint, hidden, hidden, seen, seen]]), 2, axis=0)
    pixels = Transform((1, 4), (1, 4), 4, False)(encoded(image), "it")
    assert pixels[0].tolist() == [[*ORANGE, 128], [150, 75, 38, 170], [0, 0, 0, 0], [*ORANGE, 255]]


@law
@given(load_size=st.integers(1, 24), width=SIDES, height=SIDES)
def test_opaque_pictures_have_the_colours_of_three_channels(load_size, width, height):
    image = noise(height, width, 4)
    image[..., 3] = 255
    pixels = squares(load_size, load_size, 4, True)(encoded(image), "it")
    np.testing.assert_array_equal(pixels[..., :3], squares(load_size, load_size, 3, True)(encoded(image), "it"))
    assert (pixels[..., 3] == 255).all()


@law
@given(load_size=st.integers(1, 24), width=SIDES, height=SIDES, seed=st.integers(0, 99))
def test_the_colours_of_invisible_pixels_do_not_matter(load_size, width, height, seed):
    image = noise(height, width, 4)
    image[..., 3] *= np.random.default_rng(seed).integers(0, 2, (height, width), np.uint8)
    other = np.where(image[..., 3:] > 0, image, WHITE - image)
    other[..., 3] = image[..., 3]
    transform = squares(load_size, load_size, 4, True)
    one, two = transform(encoded(image), "it"), transform(encoded(other), "it")
    shown = one[..., 3] > 0
    np.testing.assert_array_equal(one[shown], two[shown])
    np.testing.assert_array_equal(one[..., 3], two[..., 3])


def test_arrays_of_four_channels_are_resized_as_they_are():
    image = np.repeat(np.uint8([[(200, 100, 50, 255), (0, 0, 0, 1)]]), 2, axis=0)
    assert Transform((1, 1), (1, 1), 4, False)(image, "it").ravel().tolist() == [100, 50, 25, 128]
