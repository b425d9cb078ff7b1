"""Image files written byte by byte by their specifications, and the pixels that a reader must see in them.

No library reads or writes anything here. The writers know the pixels, so they are the slow reference of every decoder.

References:
    PNG (Portable Network Graphics), Third Edition, W3C. https://www.w3.org/TR/png-3/
    TIFF, Revision 6.0, Adobe, 1992.
    Bitmap Storage, Microsoft. https://learn.microsoft.com/windows/win32/gdi/bitmap-storage
    GIF89a Specification, CompuServe, 1990.
    Netpbm formats. https://netpbm.sourceforge.net/doc/
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

WHITE = 255.0


class Written(NamedTuple):
    """A file and what is in it.

    Attributes:
        name: what kind of file it is.
        data: its bytes.
        pixels: red, green, blue and alpha, not rounded, from 0 to 255: float64 [H, W, 4].
        tolerance: levels by which a reader of red, green and blue may be off.
        white: what `data.white` must be for such pixels; 0 where the file itself tells.
        readable: False where the readers that there are may refuse the file.
    """

    name: str
    data: bytes
    pixels: np.ndarray
    tolerance: int = 0
    white: float = 0.0
    readable: bool = True


def seen(pixels: np.ndarray, channels: int) -> np.ndarray:
    """What `data.channels` makes of pixels, rounded: grey or colours on white, or colours and alpha."""
    alpha = pixels[..., 3:] / WHITE
    colours = pixels[..., :3] * alpha + WHITE * (1 - alpha)
    grey = colours @ [0.299, 0.587, 0.114]  # ITU-R 601
    return np.floor({1: grey[..., None], 3: colours, 4: pixels}[channels] + (0.5 + 1e-9))


def opaque(samples: np.ndarray, most: float = 255) -> np.ndarray:
    """The pixels of grey [H, W, 1] or colours [H, W, 3], numbers from 0 to `most`."""
    colours = np.broadcast_to(samples, (*samples.shape[:2], 3)) * WHITE / most
    return np.concatenate([colours, np.full_like(colours[..., :1], WHITE)], axis=-1)


def with_alpha(samples: np.ndarray, most: float = 255) -> np.ndarray:
    """The pixels of grey and alpha [H, W, 2] or colours and alpha [H, W, 4], numbers from 0 to `most`."""
    pixels = opaque(samples[..., :-1], most)
    pixels[..., 3] = samples[..., -1] * WHITE / most
    return pixels


def packed(rows: np.ndarray, bits: int, byteorder: str = ">") -> list[bytes]:
    """Rows of numbers in as few bytes as hold them, the first number in the highest bits: [H, N] to H rows."""
    if bits in (8, 16, 32):
        kind = np.dtype(f"{byteorder}{'f' if rows.dtype.kind == 'f' else rows.dtype.kind}{bits // 8}")
        return [row.astype(kind).tobytes() for row in rows]
    text = ["".join(f"{value:0{bits}b}" for value in row.tolist()) for row in rows]
    return [bytes(int(row[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(row), 8)) for row in text]


# PNG


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def filtered(rows: list[bytes], step: int, filters: Callable[[], int]) -> bytes:
    """The rows of a PNG, each under a filter of its own; `step` is the bytes of a pixel."""
    out, above = b"", bytes(len(rows[0])) if rows else b""

    def paeth(left: int, up: int, corner: int) -> int:
        guess = left + up - corner
        return min((left, up, corner), key=lambda value: abs(guess - value))

    for row in rows:
        kind, line = filters(), []
        for i, value in enumerate(row):
            left, up = (row[i - step] if i >= step else 0), above[i]
            corner = above[i - step] if i >= step else 0
            line.append((value - (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]) % 256)
        out, above = out + bytes([kind, *line]), row
    return out


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(
    samples: np.ndarray,
    bits: int,
    colour_type: int,
    before: bytes = b"",
    interlaced: bool = False,
    filters: Callable[[], int] = lambda: 0,
    after: bytes = b"",
) -> bytes:
    """A PNG of numbers [H, W, bands]; `before` and `after` its data stand further chunks."""
    height, width, bands = samples.shape
    step = max(1, bands * bits // 8)
    passes = [samples[top::down, left::right] for top, left, down, right in ADAM7] if interlaced else [samples]
    parts = [filtered(packed(part.reshape(len(part), -1), bits), step, filters) for part in passes if part.size]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    data = zlib.compress(b"".join(parts))
    half = len(data) // 2
    chunks = png_chunk(b"IDAT", data[:half]) + png_chunk(b"IDAT", data[half:])
    signature = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    return signature + before + chunks + after + png_chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    """EXIF data of one tag."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as they are seen: by EXIF, 6 says that row 0 is on the right and column 0 at the top."""
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    mirrored = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(pixels, mirrored)


# TIFF

SHORT, LONG = 3, 4


def packbits(data: bytes) -> bytes:
    """Literal runs."""
    return b"".join(bytes([len(part) - 1]) + part for part in (data[i : i + 128] for i in range(0, len(data), 128)))


def tiff_lzw(data: bytes) -> bytes:
    """Each byte as a code of 9 bits, with a new table before codes would become longer."""
    codes = []
    for i, value in enumerate(data):
        codes += [256, value] if i % 200 == 0 else [value]
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    return bytes(int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8))


COMPRESSIONS = {1: lambda data: data, 5: tiff_lzw, 8: zlib.compress, 32773: packbits}


def differences(block: np.ndarray, bits: int) -> np.ndarray:
    """The horizontal predictor of TIFF: each number less the one on its left, in `bits` bits."""
    wide = block.astype(np.int64)
    return (np.diff(wide, axis=1, prepend=np.zeros_like(wide[:, :1])) % 2**bits).astype(f"u{bits // 8}")


def tiff(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    big_endian: bool = False,
    compression: int = 1,
    planar: bool = False,
    tiled: bool = False,
    rows_per_strip: int = 0,
    predictor: bool = False,
    fill_order: int = 1,
    tags: tuple[tuple[int, int, tuple[int, ...]], ...] = (),
    second_page: bool = False,
) -> bytes:
    """A TIFF of numbers [H, W, bands]; `tags` are further ones: (number, type, values)."""
    order, (height, width, bands) = "<>"[big_endian], samples.shape
    side = (16, 16) if tiled else (rows_per_strip or height, width)
    blocks = []
    for plane in np.split(samples, bands, axis=2) if planar else [samples]:
        for top in range(0, height, side[0]):
            for left in range(0, width, side[1]):
                block = plane[top : top + side[0], left : left + side[1]]
                missing = [(0, side[0] - len(block)) if tiled else (0, 0), (0, side[1] - block.shape[1]), (0, 0)]
                block = np.pad(block, missing, mode="edge")
                block = differences(block, bits) if predictor else block
                data = b"".join(packed(block.reshape(len(block), -1), bits, order))
                data = COMPRESSIONS[compression](data)
                blocks.append(bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if fill_order == 2 else data)
    places, at = [], 8
    for block in blocks:
        places.append(at)
        at += len(block) + len(block) % 2
    entries = [
        (256, LONG, (width,)),
        (257, LONG, (height,)),
        (258, SHORT, (bits,) * bands),
        (259, SHORT, (compression,)),
        (262, SHORT, (photometric,)),
        (277, SHORT, (bands,)),
        (284, SHORT, (1 + planar,)),
        *([(317, SHORT, (2,))] if predictor else []),
        *([(266, SHORT, (fill_order,))] if fill_order == 2 else []),
        *tags,
    ]
    sizes = tuple(map(len, blocks))
    if tiled:
        entries += [(322, LONG, (16,)), (323, LONG, (16,)), (324, LONG, tuple(places)), (325, LONG, sizes)]
    else:
        entries += [(273, LONG, tuple(places)), (278, LONG, (side[0],)), (279, LONG, sizes)]
    body = b"".join(block + bytes(len(block) % 2) for block in blocks)
    return _tiff_file(order, body, sorted(entries), second_page)


def _tiff_file(order: str, body: bytes, entries: list, second_page: bool) -> bytes:
    """A header, the pixels, and a directory; the second page is another one with the same pixels made white."""
    start = 8 + len(body)
    table, further, after = b"", b"", start + 2 + 12 * len(entries) + 4
    for number, kind, values in entries:
        content = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(content) > 4:
            place = struct.pack(f"{order}I", after + len(further))
            further += content + bytes(len(content) % 2)
        else:
            place = content.ljust(4, b"\0")
        table += struct.pack(f"{order}HHI", number, kind, len(values)) + place
    following = 0
    tail = b""
    if second_page:
        following = after + len(further)
        page = [(256, SHORT, 1), (257, SHORT, 1), (258, SHORT, 8), (262, SHORT, 1), (273, SHORT, 8), (279, SHORT, 1)]
        tail = struct.pack(f"{order}H", len(page))
        tail += b"".join(struct.pack(f"{order}HHIHH", number, kind, 1, value, 0) for number, kind, value in page)
        tail += bytes(4)
    header = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, start)
    return (
        header
        + body
        + struct.pack(f"{order}H", len(entries))
        + table
        + struct.pack(f"{order}I", following)
        + further
        + tail
    )


# BMP


def rle(rows: list[list[int]], bits: int) -> bytes:
    """Runs of 8 or 4 bits, literal ones among them, an end after every row, and one after all."""
    out = b""
    for row in rows:
        i = 0
        while i < len(row):
            if len(row) - i >= 3 and row[i] % 2:  # literally
                part = row[i : i + 7]
                data = bytes(part) if bits == 8 else _nibbles(part)
                out += bytes([0, len(part)]) + data + bytes(len(data) % 2)
                i += len(part)
                continue
            length = next((n for n in range(1, len(row) - i) if row[i + n] != row[i]), len(row) - i)
            out += bytes([length, row[i] if bits == 8 else row[i] * 17])
            i += length
        out += b"\0\0"
    return out + b"\0\1"


def _nibbles(values: list[int]) -> bytes:
    values = [*values, *[0] * (len(values) % 2)]
    return bytes(high * 16 + low for high, low in zip(values[::2], values[1::2], strict=True))


def bmp(
    rows: list[bytes],
    width: int,
    bits: int,
    palette: list[tuple[int, int, int]] = (),
    top_down: bool = False,
    masks: tuple[int, ...] = (),
    runs: bytes = b"",
    core: bool = False,
) -> bytes:
    """A BMP of rows of bytes from the top; `masks` are those of red, green, blue and, if there are four, alpha."""
    rows = [row + bytes(-len(row) % 4) for row in rows]
    data = runs or b"".join(rows if top_down else rows[::-1])
    colours = b"".join(bytes((blue, green, red)) + bytes(not core) for red, green, blue in palette)
    if core:
        header = struct.pack("<IHHHH", 12, width, len(rows), 1, bits)
    else:
        compression = {8: 1, 4: 2}[bits] if runs else 3 if masks else 0
        size = 108 if len(masks) == 4 else 40
        height = -len(rows) if top_down else len(rows)
        header = struct.pack(
            "<IiiHHIIiiII", size, width, height, 1, bits, compression, len(data), 0, 0, len(palette), 0
        )
        header += struct.pack(f"<{len(masks)}I", *masks)
        header += bytes(52) if size == 108 else b""
    offset = 14 + len(header) + len(colours)
    return struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset) + header + colours + data


# GIF


def gif(
    indices: np.ndarray,
    palette: np.ndarray,
    canvas: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    local: bool = False,
    transparent: int | None = None,
    interlaced: bool = False,
) -> bytes:
    """A GIF of one frame [h, w] at (top, left) of a canvas (height, width); the palette has 2 to 256 colours."""
    bits = (len(palette) - 1).bit_length()
    colours = palette.astype(np.uint8).tobytes()
    header = b"GIF89a" + struct.pack("<HHBBB", canvas[1], canvas[0], 0x70 | (0 if local else 0x80 | bits - 1), 0, 0)
    header += b"" if local else colours
    if transparent is not None:
        header += b"!\xf9\x04" + struct.pack("<BHB", 1, 0, transparent) + b"\0"
    flags = (0x80 | bits - 1 if local else 0) | (0x40 if interlaced else 0)
    top, left = corner
    frame = b"," + struct.pack("<HHHHB", left, top, indices.shape[1], indices.shape[0], flags)
    if interlaced:
        indices = np.concatenate([indices[0::8], indices[4::8], indices[2::4], indices[1::2]])
    return header + frame + (colours if local else b"") + gif_lzw(indices.ravel().tolist(), max(2, bits)) + b";"


def gif_lzw(values: list[int], bits: int) -> bytes:
    """Codes that stay bits + 1 long, since the table is cleared before it grows beyond that."""
    clear, codes = 2**bits, []
    for i, value in enumerate(values):
        codes += [clear, value] if i % (2**bits - 2) == 0 else [value]
    text = "".join(f"{code:0{bits + 1}b}" for code in [*codes, clear + 1][::-1])  # the first code in the lowest bits
    number = int(text, 2)
    data = number.to_bytes((len(text) + 7) // 8, "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


# Netpbm


def netpbm(samples: np.ndarray, most: int, plain: bool) -> bytes:
    """A PBM (`most` is 0: bits of which 1 is black), PGM or PPM of numbers [H, W, bands] from 0 to `most`."""
    height, width, bands = samples.shape
    kind = (1 if not most else 2 if bands == 1 else 3) + (0 if plain else 3)
    header = f"P{kind}\n# made up\n{width} {height}\n" + (f"{most}\n" if most else "")
    rows = samples.reshape(height, -1)
    if plain:
        data = "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode()
        return header.encode() + data.replace(b"\n", b"\n# between\n", 1) + b"\n"
    return header.encode() + b"".join(packed(rows, 1 if not most else 8 if most < 256 else 16))


def pfm(values: np.ndarray, big_endian: bool) -> bytes:
    """Floats [H, W], whose last row comes first."""
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n{'1.0' if big_endian else '-1.0'}\n"
    return header.encode() + values[::-1].astype(f"{'<>'[big_endian]}f4").tobytes()
