"""Image files written byte by byte, at random but with fixed seeds, and read as their specifications have it."""

import numpy as np
import pytest
import reference_images as ref
from reference_images import SHORT, WHITE, Written, opaque, seen, with_alpha

from jaxgan.data.decode import BadImageError, Transform

FEW, MANY = 120, 3000  # cases


def one_of(rng: np.random.Generator, *values):
    return values[rng.integers(len(values))]


def numbers(rng: np.random.Generator, bands: int, most: int, least: int = 0) -> np.ndarray:
    """Numbers [H, W, bands] from `least` to `most`, these two among them more often than others."""
    shape = (*rng.integers(1, 21, 2), bands)
    ends = np.where(rng.random(shape) < 0.5, least, most)
    return np.where(rng.random(shape) < 0.2, ends, rng.integers(least, most + 1, shape))


def looked_up(rng: np.random.Generator, samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A palette of colours, uint8 [count, 3], and the pixels that indices [H, W, 1] mean."""
    palette = rng.integers(0, 256, (count, 3)).astype(np.uint8)
    return palette, opaque(palette[samples[..., 0]])


PNGS = [*[(0, n) for n in (1, 2, 4, 8, 16)], *[(3, n) for n in (1, 2, 4, 8)]]
PNGS += [(kind, n) for kind in (2, 4, 6) for n in (8, 16)]
BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_case(rng: np.random.Generator) -> Written:
    kind, bits = one_of(rng, *PNGS)
    most, transparent = 2**bits - 1, rng.random() < 0.5
    samples, before, after = numbers(rng, BANDS[kind], most), b"", b""
    for name, content in [(b"gAMA", b"\0\0\xb1\x8f"), (b"sRGB", b"\0"), (b"pHYs", b"\0\0\1\0\0\0\2\0\1")]:
        before += ref.png_chunk(name, content) if rng.random() < 0.3 else b""
    if kind == 3:
        palette, pixels = looked_up(rng, samples, most + 1)
        before += ref.png_chunk(b"PLTE", palette.tobytes())
        if transparent:
            alphas = rng.integers(0, 256, rng.integers(1, most + 2)).astype(np.uint8)
            before += ref.png_chunk(b"tRNS", alphas.tobytes())
            pixels[..., 3] = np.concatenate([alphas, np.full(256, 255)])[samples[..., 0]]
    elif kind in (4, 6):
        pixels = with_alpha(samples, most)
    else:
        pixels = opaque(samples, most)
        if transparent:
            colour = samples[0, 0]
            before += ref.png_chunk(b"tRNS", colour.astype(">u2").tobytes())
            pixels[(samples == colour).all(-1), 3] = 0
    if rng.random() < 0.3 and kind != 3:  # a background, which is ignored
        before += ref.png_chunk(b"bKGD", bytes(6 if kind in (2, 6) else 2))
    orientation = int(rng.integers(1, 9))
    if rng.random() < 0.5:
        chunk = ref.png_chunk(b"eXIf", ref.exif(orientation))
        before, after = one_of(rng, (before + chunk, b""), (before, chunk))
        pixels = ref.turned(pixels, orientation)
    interlaced = bool(rng.random() < 0.4)
    data = ref.png(samples, bits, kind, before, interlaced, lambda: int(rng.integers(5)), after)
    return Written(f"PNG, type {kind}, {bits} bits", data, pixels, tolerance=int((pixels[..., 3] < WHITE).any()))


# Bits, bands, photometric interpretation, further tags.
ASSOCIATED, UNASSOCIATED, UNSPECIFIED = (((338, SHORT, (n,)),) for n in (1, 2, 0))
TIFFS = [
    *[(bits, 1, photometric, ()) for bits in (1, 2, 4, 8, 12, 16) for photometric in (0, 1)],
    *[(bits, 3, 2, ()) for bits in (8, 16)],
    *[(bits, 4, 2, tags) for bits in (8, 16) for tags in ((), ASSOCIATED, UNASSOCIATED, UNSPECIFIED)],
    *[(8, 2, 1, tags) for tags in (ASSOCIATED, UNASSOCIATED, UNSPECIFIED)],
    *[(bits, 1, 3, ()) for bits in (1, 2, 4, 8)],
    *[(bits, 4, 5, ()) for bits in (8, 16)],
]


def tiff_case(rng: np.random.Generator) -> Written:
    bits, bands, photometric, tags = one_of(rng, *TIFFS)
    most = 2**bits - 1
    samples, name = numbers(rng, bands, most), f"TIFF, {bits} bits, {bands} bands, photometric {photometric}"
    how = {
        "big_endian": bool(rng.integers(2)),
        "compression": one_of(rng, 1, 1, 5, 8, 32773),
        "tiled": bool(rng.random() < 0.3),
        "rows_per_strip": int(rng.integers(1, 21)),
        "planar": bool(rng.random() < 0.3),
        "fill_order": one_of(rng, 1, 1, 2),
        "second_page": bool(rng.random() < 0.2),
    }
    how["predictor"] = how["compression"] in (5, 8) and bits in (8, 16) and bool(rng.integers(2))
    if tags == ASSOCIATED:
        samples[..., :-1] = samples[..., :-1] * samples[..., -1:] // most
    pixels = tiff_pixels(rng, samples, most, photometric, tags)
    if photometric == 3:
        palette, pixels = looked_up(rng, samples, most + 1)
        tags = ((320, SHORT, tuple((257 * palette.T.astype(int)).ravel().tolist())),)
    orientation = int(rng.integers(1, 9))
    if rng.random() < 0.5:
        tags = (*tags, (274, SHORT, (orientation,)))
        pixels = ref.turned(pixels, orientation)
    blurred = tags[:1] in (ASSOCIATED, UNASSOCIATED) or photometric == 5 or (bands == 4 and not tags[:1])
    data = ref.tiff(samples, bits, photometric, tags=tags, **how)
    readable = how["fill_order"] == 1 and not (how["planar"] and bands > 1 and (bands != 3 or bits > 8))
    readable = readable and not (bits > 8 and photometric == 0 and (bits == 12 or how["big_endian"]))
    readable = readable and not (bits == 12 and how["big_endian"])
    tolerance = int((pixels[..., 3] < WHITE).any() or blurred)
    return Written(f"{name}, {tags} {how}", data, pixels, tolerance, readable=readable)


def tiff_pixels(rng, samples, most: int, photometric: int, tags: tuple) -> np.ndarray:
    """What numbers that are no indices mean."""
    if photometric == 0:
        return opaque(most - samples, most)
    if photometric == 5:
        return opaque((most - samples[..., :3]) * (most - samples[..., 3:]), most**2)
    if tags == UNSPECIFIED:
        return opaque(samples[..., :-1], most)
    if samples.shape[2] in (2, 4):  # without a tag, a fourth band is taken for alpha
        pixels = with_alpha(samples, most)
        if tags == ASSOCIATED:
            divided = pixels[..., :3] * WHITE / np.maximum(pixels[..., 3:], 1e-9)
            pixels[..., :3] = np.where(pixels[..., 3:] > 0, np.minimum(divided, WHITE), 0)
        return pixels
    return opaque(samples, most)


def scientific_tiff_case(rng: np.random.Generator) -> Written:
    """Numbers of which only a person knows how bright they are."""
    kind, bits, white = one_of(
        rng, ("i", 8, 100.0), ("i", 16, 4095.0), ("i", 32, 1e6), ("u", 32, 3e9), ("f", 32, 1.0), ("u", 16, 4095.0)
    )
    samples = numbers(rng, 1, int(min(1.3 * white, 2 ** (bits - (kind != "u")) - 1)) if kind != "f" else 10)
    if kind == "i":
        samples[0, 0] = -5
    samples = samples.astype(np.float32) / 8 if kind == "f" else samples
    inverted = kind in "fu" and bits <= 32 and bool(rng.random() < 0.3)
    sample_format = ((339, SHORT, ({"u": 1, "i": 2, "f": 3}[kind],)),)
    how = {"big_endian": bool(rng.integers(2)), "compression": one_of(rng, 1, 8), "tiled": bool(rng.random() < 0.3)}
    samples = samples.astype(f"{kind}{bits // 8}")
    data = ref.tiff(samples, bits, 1 - inverted, tags=sample_format, **how)
    levels = np.clip(samples.astype(np.float64), 0, white)
    readable = not (kind == "u" and ((how["big_endian"] and (inverted or bits == 32)) or (inverted and bits == 32)))
    pixels = opaque(white - levels if inverted else levels, white)
    return Written(f"TIFF, {kind}{bits}, inverted: {inverted}, {how}", data, pixels, white=white, readable=readable)


def bmp_case(rng: np.random.Generator) -> Written:
    bits = one_of(rng, 1, 4, 8, 16, 24, 32)
    if bits <= 8:
        return bmp_palette_case(rng, bits)
    top_down = bool(rng.integers(2))
    if bits == 16:
        samples = numbers(rng, 3, 31)
        green = int(rng.integers(2))
        samples[..., 1] = samples[..., 1] * (2 if green else 1)
        values = (samples[..., 0] << 10 + green) | (samples[..., 1] << 5) | samples[..., 2]
        masks = (0xF800, 0x7E0, 0x1F) if green else one_of(rng, (), (0x7C00, 0x3E0, 0x1F))
        pixels = opaque(samples / [31, 63 if green else 31, 31], 1)
        rows = ref.packed(values, 16, "<")
        return Written(f"BMP, 16 bits {masks}", ref.bmp(rows, values.shape[1], 16, (), top_down, masks), pixels, 1)
    samples = numbers(rng, bits // 8, 255)
    rows = ref.packed(samples[..., [2, 1, 0, *range(3, samples.shape[2])]].reshape(len(samples), -1), 8)
    masks = one_of(rng, (), (0xFF0000, 0xFF00, 0xFF), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)) if bits == 32 else ()
    pixels = with_alpha(samples) if len(masks) == 4 else opaque(samples[..., :3])
    data = ref.bmp(rows, samples.shape[1], bits, (), top_down, masks)
    return Written(f"BMP, {bits} bits {masks}", data, pixels, tolerance=int(len(masks) == 4))


def bmp_palette_case(rng: np.random.Generator, bits: int) -> Written:
    count = int(rng.integers(2, 2**bits + 1))
    kind = one_of(rng, "colours", "greys", "black and white", "white and black")
    if kind == "colours":
        palette = rng.integers(0, 256, (count, 3))
    elif kind == "greys":
        palette = np.repeat(np.arange(count)[:, None], 3, axis=1)
    else:
        palette = np.repeat([[0], [255]], 3, axis=1)[:: 1 if kind == "black and white" else -1]
    samples = numbers(rng, 1, len(palette) - 1)
    runs, core = b"", False
    if bits > 1 and rng.random() < 0.4:
        runs = ref.rle(samples[..., 0].tolist(), bits)
    elif len(palette) == 2**bits:
        core = bool(rng.integers(2))
    top_down = not runs and not core and bool(rng.integers(2))
    rows = ref.packed(samples[..., 0], bits)
    runs = ref.rle(samples[::-1, :, 0].tolist(), bits) if runs else b""
    data = ref.bmp(rows, samples.shape[1], bits, palette.tolist(), top_down, (), runs, core)
    name = f"BMP, {bits} bits, {len(palette)} {kind}, runs: {bool(runs)}, core: {core}, top down: {top_down}"
    return Written(name, data, opaque(palette[samples[..., 0]]))


def gif_case(rng: np.random.Generator) -> Written:
    bits = int(rng.integers(1, 9))
    samples = numbers(rng, 1, 2**bits - 1)
    palette, frame = looked_up(rng, samples, 2**bits)
    if rng.random() < 0.2:
        palette = np.repeat(np.arange(2**bits, dtype=np.uint8)[:, None], 3, axis=1)
        frame = opaque(palette[samples[..., 0]])
    transparent = int(samples[0, 0, 0]) if rng.random() < 0.5 else None
    if transparent is not None:
        frame[samples[..., 0] == transparent, 3] = 0
    top, left, bottom, right = rng.integers(0, 4, 4) * (rng.random() < 0.4)
    pixels = np.pad(frame, [(top, bottom), (left, right), (0, 0)])
    local, interlaced = bool(rng.integers(2)), bool(rng.integers(2))
    canvas = pixels.shape[:2]
    data = ref.gif(samples[..., 0], palette, canvas, (int(top), int(left)), local, transparent, interlaced)
    return Written(f"GIF, {bits} bits, {samples.shape} in {canvas}, local: {local}", data, pixels)


def netpbm_case(rng: np.random.Generator) -> Written:
    most = one_of(rng, 0, 1, 3, 100, 254, 255, 256, 1023, 4095, 65534, 65535)
    bands, plain = 1 if not most else one_of(rng, 1, 3), bool(rng.integers(2))
    samples = numbers(rng, bands, most or 1)
    pixels = opaque(samples, most) if most else opaque(1 - samples, 1)
    return Written(f"PNM, {bands} bands to {most}, plain: {plain}", ref.netpbm(samples, most, plain), pixels)


def pfm_case(rng: np.random.Generator) -> Written:
    values = numbers(rng, 1, 10)[..., 0] / 8
    return Written(
        "PFM", ref.pfm(values, bool(rng.integers(2))), opaque(np.minimum(values, 1)[..., None], 1), white=1.0
    )


CASES = [png_case, png_case, tiff_case, tiff_case, tiff_case, scientific_tiff_case, bmp_case, gif_case, netpbm_case]
CASES += [bmp_case, pfm_case]


def read(case: Written, channels: int) -> np.ndarray | str:
    """The picture at its own size, or why it is refused."""
    shape = case.pixels.shape[:2]
    try:
        return Transform(shape, shape, channels, False, case.white)(case.data, "it")
    except BadImageError as error:
        return str(error)


def check(number: int) -> None:
    """One case: grey, colours, and colours with alpha."""
    case = CASES[number % len(CASES)](np.random.default_rng(number))
    grey = bool((np.ptp(case.pixels[..., :3], axis=-1) < 1e-9).all())
    for channels in (1, 3, 4):
        expected, found = seen(case.pixels, channels), read(case, channels)
        about = f"case {number}, {channels} channels: {case.name}"
        if isinstance(found, str):
            assert not case.readable, f"{about} is refused: {found}"
            assert found.startswith("it is a bad image ("), about
            assert "\n" not in found, about
            continue
        differences = np.abs(found - expected)
        if channels == 4:  # what cannot be seen has any colour
            differences[..., :3] *= expected[..., 3:] > 0
        exact = case.tolerance == 0 and (channels > 1 or grey)
        assert differences.max() <= (0 if exact else 1), f"{about} is off by {differences.max()}"


@pytest.mark.parametrize("part", range(6))
def test_image_files_are_read_as_they_were_written(part):
    for number in range(part, FEW, 6):
        check(number)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_many_more_image_files_are_read_as_they_were_written(part):
    for number in range(FEW + part, MANY, 12):
        check(number)
