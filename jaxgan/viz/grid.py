"""Pictures: grids, PNG, GIF."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxgan.errors import warn
from jaxgan.io.files import atomic_write

CELL = 48  # pixels; smaller images are enlarged by a whole factor to at least that, so that a person can see them
LONGEST = 1536  # pixels of a side to which images are enlarged at most
GAP = 2  # white pixels around each image of a grid
CHECK = 8  # pixels, the side of the squares behind what is transparent
MOST_FRAMES = 120
FONT = 16  # pixels, the size of names


def as_rgb(images: np.ndarray) -> np.ndarray:
    """uint8 [..., H, W, C] as [..., H, W, 3]: RGB as it is, RGBA on a chequered ground, of others the first channel."""
    if images.shape[-1] == 3:
        return images
    if images.shape[-1] != 4:
        return np.repeat(images[..., :1], 3, axis=-1)
    rows, columns = (np.arange(count) // CHECK for count in images.shape[-3:-1])
    ground = np.where(np.add.outer(rows, columns) % 2, np.uint16(204), np.uint16(255))[..., None]
    colour, alpha = np.uint16(images[..., :3]), np.uint16(images[..., 3:])
    return np.uint8((colour * alpha + ground * (255 - alpha) + 127) // 255)


def as_png(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] as a PNG of its own holds it: RGBA as it is, anything else in colour."""
    return image if image.shape[-1] == 4 else as_rgb(image)


def image_grid(images: np.ndarray, columns: int | None = None, names: Sequence[str] = ()) -> np.ndarray:
    """Images laid out row by row with a thin frame between them.

    Args:
        images: uint8 [N, H, W, C].
        columns: images in a row; if not given, as many as make the grid about as wide as high.
        names: of the rows, written in front of them.

    Returns:
        uint8 [height, width, 3].
    """
    count, height, width, _ = images.shape
    factor = max(1, min(-(-CELL // min(height, width)), LONGEST // max(height, width)))
    enlarged = as_rgb(images.repeat(factor, axis=1).repeat(factor, axis=2))
    height, width = height * factor, width * factor
    down, across = max(height, FONT + 4 if names else 0) + GAP, width + GAP  # from one image to the next
    columns = columns or min(count, math.ceil(math.sqrt(count * down / across)))
    rows = -(-count // columns)
    canvas = np.full((rows * down + GAP, columns * across + GAP, 3), 255, np.uint8)
    for index, image in enumerate(enlarged):
        top, left = GAP + index // columns * down, GAP + index % columns * across
        canvas[top : top + height, left : left + width] = image
    return np.concatenate([_names(names, canvas.shape[0], down), canvas], axis=1) if names else canvas


def _names(names: Sequence[str], height: int, pitch: int) -> np.ndarray:
    """A white strip with a name in the middle of each row: uint8 [height, width of the longest, 3]."""
    font, names = _drawable([" ".join(name.split()) for name in names])  # one line each
    strip = Image.new("RGB", (math.ceil(max(map(font.getlength, names))) + FONT, height), "white")
    for row, name in enumerate(names):
        place = strip.width - FONT // 2, GAP + row * pitch + pitch // 2
        ImageDraw.Draw(strip).text(place, name, "black", font, anchor="rm")
    return np.asarray(strip)


def _drawable(names: list[str]) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """A font, and the names as it can draw them: characters that it lacks are escaped."""
    if all(map(str.isascii, names)):
        return ImageFont.load_default(size=FONT), names
    from matplotlib import ft2font, get_data_path  # noqa: PLC0415  (slow to import)

    path = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    known = ft2font.FT2Font(path).get_charmap()

    def drawable(character: str) -> str:
        return character if ord(character) in known else character.encode("ascii", "backslashreplace").decode()

    return ImageFont.truetype(path, FONT), ["".join(map(drawable, name)) for name in names]


def save_png(path: Path, image: np.ndarray) -> None:
    """Writes one picture, uint8 [H, W, 3] or RGBA [H, W, 4]; all of it or nothing."""
    with atomic_write(path) as partial:
        Image.fromarray(image).save(partial, format="PNG")


def _frame(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image.convert("P", palette=Image.Palette.ADAPTIVE)
    # Of a damaged file Pillow's decoders raise whatever they stumble over.
    except Exception as error:
        warn(f"{path} is damaged, and is left out of the animation ({str(error) or type(error).__name__})")
        return None


def save_gif(path: Path, frames: list[Path], seconds: float = 8.0) -> None:
    """An animation of pictures that lie in files; of many, an even choice that keeps the first and the last.

    Damaged ones are left out with a warning; if none is left, nothing is written.
    """
    chosen = sorted(set(np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int)))
    pictures = [picture for index in chosen if (picture := _frame(frames[index]))]
    if not pictures:
        return
    each = max(40, int(1000 * seconds / len(pictures)))
    durations = [each] * (len(pictures) - 1) + [1500]
    with atomic_write(path) as partial:
        pictures[0].save(partial, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
