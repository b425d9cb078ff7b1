"""Moving pictures in a file."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxgan.io.files import atomic_write

SUFFIXES = (".webp", ".gif")


def save(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float) -> None:
    """Writes pictures as an endless WebP or GIF, by the name's ending; all of it or nothing."""
    images, kind = list(map(Image.fromarray, frames)), path.suffix[1:].upper()
    options: dict[str, int] = {"quality": 90}
    if kind == "GIF":
        images, options = [image.convert("P", palette=Image.Palette.ADAPTIVE) for image in images], {"disposal": 2}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        first, *others = images
        each = round(1000 / fps)
        first.save(partial, format=kind, save_all=True, append_images=others, duration=each, loop=0, **options)
