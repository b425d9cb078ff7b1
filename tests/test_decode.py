"""Images as they are stored and the pixels that come out, worked out by hand for every mode, format and orientation."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from experiments import raises_user_error
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.data.decode import BadImageError, Transform

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
    pixels = Transform(side, side, channels, False)(stored, "it")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (side, side, channels))
    assert np.all(pixels == pixels[:1])
    return pixels[0].squeeze(-1).tolist() if channels == 1 else list(map(tuple, pixels[0].tolist()))


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


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    stored, one, three = MODES[mode]
    assert decode(stored, 1) == one
    assert decode(stored, 3) == three


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
    pixels = Transform(16, 16, 3, False)(encoded(colour, "JPEG", quality=100), "it")
    np.testing.assert_allclose(pixels, np.broadcast_to([122, 161, 200], (16, 16, 3)), atol=3)  # as above


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_refused(mode):
    with raises_user_error(BadImageError, match="x.tif is a bad image .*32 bits: store them with 8 or 16"):
        Transform(4, 4, 1, False)(encoded(Image.new(mode, (4, 4)), "TIFF"), "x.tif")


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
    seen = Transform(8, 8, 1, False)(encoded(Image.fromarray(stored), kind.split()[-1], exif=exif), "it")
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
    transform = Transform(24, 20, channels, False)
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
    pixels = Transform(load_size, size, channels, True)(np.broadcast_to(colour, (height, width, channels)), "it")
    np.testing.assert_array_equal(pixels, np.broadcast_to(colour, (size, size, channels)))


@law
@given(width=SIDES, height=SIDES, load_size=st.integers(1, 24), channels=st.sampled_from([1, 3]), file=st.booleans())
def test_only_the_central_square_counts(width, height, load_size, channels, file):
    image, side = noise(height, width, channels), min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    central = np.s_[top : top + side, left : left + side]
    other = WHITE - image
    other[central] = image[central]
    transform, stored = Transform(load_size, load_size, channels, True), encoded if file else np.asarray
    pixels = transform(stored(image), "it")
    np.testing.assert_array_equal(transform(stored(other), "it"), pixels)
    np.testing.assert_array_equal(transform(stored(np.ascontiguousarray(image[central])), "it"), pixels)


@law
@given(load_size=st.integers(1, 16), times=st.integers(1, 3), margin=st.integers(0, 9), upright=st.booleans())
def test_mirrored_images_are_mirrored(load_size, times, margin, upright):
    side = load_size * times
    image = noise(side, side + 2 * margin, 1)
    image = image.swapaxes(0, 1) if upright else image
    transform = Transform(load_size, load_size, 1, False)
    pixels = transform(image, "it")
    np.testing.assert_array_equal(transform(image[:, ::-1], "it"), pixels[:, ::-1])
    np.testing.assert_array_equal(transform(image[::-1], "it"), pixels[::-1])


@law
@given(width=SIDES, height=SIDES, size=st.integers(1, 12), margin=st.integers(0, 9), channels=st.sampled_from([1, 3]))
def test_of_what_is_loaded_the_centre_is_kept(width, height, size, margin, channels):
    image, load_size = noise(height, width, channels), size + margin
    whole = Transform(load_size, load_size, channels, True)(image, "it")
    start = margin // 2
    centre = whole[start : start + size, start : start + size]
    np.testing.assert_array_equal(Transform(load_size, size, channels, True)(image, "it"), centre)


@law
@given(load_size=st.integers(1, 8), times=st.integers(1, 9), channels=st.integers(1, 4))
def test_whole_factors_give_the_means_of_blocks(load_size, times, channels):
    image = noise(load_size * times, load_size * times, channels)
    means = image.reshape(load_size, times, load_size, times, channels).mean((1, 3))
    pixels = Transform(load_size, load_size, channels, False)(image, "it")
    # Pillow rounds a mean down if it is the nearest number of k-ths of k pixels to a half.
    assert np.abs(pixels - means).max() <= 0.5 + 0.5 / times**2 + 1e-9


@pytest.mark.parametrize(("side", "tolerance"), [(32, 0.5), (64, 0.5), (56, 15)])
@pytest.mark.parametrize("kind", ["array", "PNG"])
def test_nothing_is_aliased(side, tolerance, kind):
    """A checkerboard reduced by 2, 4 and 3.5 is grey; of a block of 3x3, five are white: 127.5 +- 255 / 18."""
    board = (255 * (np.indices((side, side)).sum(0) % 2)).astype(np.uint8)[..., None]
    pixels = Transform(16, 16, 1, False)(board if kind == "array" else encoded(board), "it")
    np.testing.assert_allclose(pixels, np.full((16, 16, 1), 127.5), atol=tolerance)


@pytest.mark.parametrize("load_size", [8, 13, 20, 27, 40, 63, 64, 100])
def test_smooth_images_are_as_by_plain_lanczos(load_size):
    pixels = Transform(load_size, load_size, 3, True)(SMOOTH, "it")
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
    transform = Transform(32, 32, channels, False)
    pixels = transform(encoded(image, "JPEG", quality=95), "it")
    differences = np.abs(transform(encoded(image), "it").astype(int) - pixels)
    assert differences.mean() < 2
    assert differences.max() <= 6


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("load_size", [5, 12, 24, 40])
def test_arrays_of_as_many_channels_as_wanted_are_resized_channel_by_channel(channels, load_size):
    image, transform = noise(24, 24, channels), Transform(load_size, load_size, 1, True)
    pixels = Transform(load_size, load_size, channels, True)(image, "it")
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


@pytest.mark.parametrize(("has", "channels"), [(2, 1), (2, 3), (5, 3), (1, 2), (3, 4), (3, 2)])
def test_arrays_of_other_channels_are_refused(has, channels):
    with raises_user_error(BadImageError, match=rf"image 7 is .* {has} channels, not config.data.channels={channels}"):
        Transform(4, 4, channels, True)(noise(4, 4, has), "image 7")


@pytest.mark.parametrize("stored", [noise(7, 9, 1), encoded(noise(7, 9, 1)), encoded(noise(7, 9, 1), "JPEG")])
def test_images_that_are_too_small_are_enlarged_or_refused(stored):
    with raises_user_error(BadImageError, match="x.png is a bad image .9x7 pixels are too few for 8x8"):
        Transform(8, 6, 1, False)(stored, "x.png")
    assert Transform(7, 7, 1, False)(stored, "it").shape == (7, 7, 1)
    square = Image.open(io.BytesIO(stored)) if isinstance(stored, bytes) else Image.fromarray(stored[..., 0])
    enlarged = square.crop((1, 0, 8, 7)).resize((8, 8), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(Transform(8, 8, 1, True)(stored, "it")[..., 0], enlarged)


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
    "claim.png": (png(100_000, 100_000, 8, 0, b"\0"), "more than 89,478,485 pixels"),
    "large.png": (png(9_500, 9_500, 8, 0, b"\0"), "more than 89,478,485 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, tmp_path):
    stored, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(stored)
    for image in (stored, str(path)):
        with raises_user_error(BadImageError, match=rf"^{name} is a bad image \(.*{reason}"):
            Transform(8, 8, 3, True)(image, name)


def test_folders_and_missing_files_are_bad_images(tmp_path):
    (tmp_path / "x.jpg").mkdir()
    for name in ("x.jpg", "y.jpg"):
        with raises_user_error(BadImageError, match=rf"^{name} is a bad image \(it cannot be decoded: .*directory"):
            Transform(8, 8, 3, True)(str(tmp_path / name), name)


def test_images_just_above_the_most_pixels_are_bad_where_warnings_are_no_errors(tmp_path):
    (tmp_path / "large.png").write_bytes(BAD["large.png"][0])
    program = "from jaxgan.data.decode import *; Transform(8, 8, 1, True)('large.png', 'large.png')"
    options = {"cwd": tmp_path, "env": {"PYTHONPATH": ":".join(sys.path)}, "capture_output": True, "text": True}
    run = subprocess.run([sys.executable, "-c", program], check=False, **options)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith(
        "large.png is a bad image (it claims to have more than 89,478,485 pixels)"
    )
