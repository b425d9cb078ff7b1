"""Video files, read by the library imageio with PyAV or ffmpeg (the extra `video`)."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgan.errors import UserError

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
INSTALL = 'pip install "imageio[pyav]"'  # as the extra does
PLUGINS = {"av": "pyav", "imageio_ffmpeg": "FFMPEG"}  # module -> imageio's name of what it reads with

Pixels = UInt8[np.ndarray, "height width 3"]


def is_video(path: str) -> bool:
    """Whether a file is a video, by its name."""
    return path.lower().endswith(SUFFIXES)


def plugin(path: str | Path) -> str:
    """What imageio reads and writes videos with, or a `UserError` that says what to install."""
    found = [name for module, name in PLUGINS.items() if importlib.util.find_spec(module)]
    if not found or importlib.util.find_spec("imageio") is None:
        raise UserError(f"{path} is a video, which needs an extra: {INSTALL}")
    return found[0]


def read(path: str | Path) -> Iterator[Pixels]:
    """The frames of a video, one by one.

    Raises:
        UserError: it cannot be read, or the extra is not installed.
    """
    name = plugin(path)
    import imageio.v3 as iio  # noqa: PLC0415, of an extra

    try:
        yield from map(np.asarray, iio.imiter(path, plugin=name))
    # Of a damaged file the libraries under imageio raise whatever they stumble over.
    except Exception as error:
        raise UserError(f"{path} cannot be read as a video: {str(error) or type(error).__name__}") from error


def write(path: str | Path, frames: UInt8[np.ndarray, "frames height width 3"], fps: float) -> None:
    """Writes an H.264 video, whose sides are made even by repeating the last row and column.

    Raises:
        UserError: the extra is not installed.
    """
    name = plugin(path)
    import imageio.v3 as iio  # noqa: PLC0415, of an extra

    even = [(0, 0), *((0, side % 2) for side in frames.shape[1:3]), (0, 0)]
    iio.imwrite(path, np.pad(frames, even, mode="edge"), plugin=name, codec="libx264", fps=float(fps))
