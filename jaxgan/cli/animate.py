"""What sample.py does with a portrait and a clip: the portrait moves as the clip does, in a file of its own."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxgan import inference
from jaxgan.core.experiment import Experiment
from jaxgan.core.types import Task
from jaxgan.data import formats, videos
from jaxgan.data.decode import Stored, Transform, shape_of
from jaxgan.data.sizes import format_size
from jaxgan.data.sources import folder
from jaxgan.data.sources.clips import check_length
from jaxgan.errors import UserError, warn
from jaxgan.io.files import atomic_write
from jaxgan.io.run_folder import RestoredRun
from jaxgan.viz import grid, output, snapshot

OPTIONS = ("source", "driving", "absolute", "strip", "fps")  # that only an animation has
SUFFIXES = (".webp", ".gif", ".mp4")
FPS = 15.0
SHOWN = 8  # frames in a picture

Frames = UInt8[np.ndarray, "_ _ _ _"]  # [frames, height, width, channel]


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--source", help="a portrait that is to move, with --driving")
    parser.add_argument("--driving", help="the clip that it is to move like: a folder of frames, or a video")
    parser.add_argument(
        "--absolute",
        action="store_true",
        help="take the clip's own places and shapes, and not how they change from its first frame on",
    )
    parser.add_argument("--strip", action="store_true", help="show the portrait and the clip's frame beside the result")
    parser.add_argument("--fps", type=float, help=f"frames a second of what is written ({FPS:g})")


def check(options: argparse.Namespace) -> None:
    """Raises a `UserError` for options that do not go together."""
    if (options.source is None) != (options.driving is None):
        raise UserError("--source=PORTRAIT and --driving=CLIP belong together: give both or none of them")
    if options.source is None:
        for name in OPTIONS:
            if getattr(options, name):
                raise UserError(
                    f"--{name} is about a portrait that moves: leave it out, or give --source and --driving"
                )
    elif not options.out.endswith((*SUFFIXES, ".png", "/", os.sep)):
        raise UserError(f"--out={options.out} must end in {', '.join(SUFFIXES)}, .png, or in / for a folder of frames")
    if options.fps is not None and not 0.1 <= options.fps <= 100:
        raise UserError(f"--fps={options.fps:g} must be from 0.1 to 100")


def check_task(options: argparse.Namespace, exp: Experiment, name: str, task: Task) -> None:
    """Raises a `UserError` if a portrait is to move and the task cannot do that, or examples are given as well."""
    animates = "initial" in task.options
    if options.source is None:
        if animates and options.out.endswith(SUFFIXES):
            raise UserError(f"--out={options.out} needs --source and --driving; pictures end in .png")
        return
    if not animates:
        raise UserError(f"--source has no effect with algorithm={exp.config.algorithm} and --task={name}: leave it out")
    if options.input is not None:
        raise UserError("--input has no effect with --source and --driving: leave it out")


def transform_of(exp: Experiment) -> Transform:
    """How a picture becomes an image of the networks' size."""
    (height, width, channels), data = exp.fields[0].shape, exp.config.data
    white, max_pixels = float(data.get("white", 0.0)), data.get("max_pixels", Transform.max_pixels)
    size = (height, width)
    return Transform(size, size, channels, True, white, max_pixels, data.get("fit") == "stretch")


def read_portrait(path: str, transform: Transform) -> UInt8[np.ndarray, "height width channel"]:
    """The picture that --source names; a warning says what is left out if it has another shape.

    Raises:
        UserError: there is no such picture, or it cannot be decoded.
    """
    said = f"--source={path}"
    if not Path(path).is_file():
        raise UserError(f"{said}: there is no such file")
    if formats.is_foreign(path):
        raise UserError(f"{said} cannot be read: {formats.conversion(Path(path).parent, [Path(path).name])}")
    image = transform(path, said)
    height, width, _ = shape_of(path, said, transform.white, transform.max_pixels)
    if height * transform.size[1] != width * transform.size[0] and not transform.stretch:
        warn(
            f"{said} has {height}x{width} pixels, height and width, which is another shape than that of the run's "
            f"images, {format_size(*transform.size)}: its middle is taken"
        )
    return image


def read_clip(path: str, transform: Transform) -> Frames:
    """The frames that --driving names.

    Raises:
        UserError: there is no such clip, it has one frame, or frames of different sizes.
    """
    said = f"--driving={path}"
    if Path(path).is_file() and videos.is_video(path):
        stored: Sequence[tuple[Stored, str]] = [
            (own, f"frame {i} of {said}") for i, own in enumerate(videos.read(path))
        ]
    else:
        found = folder.listing_of(path, said)
        stored = [(found.read(own), str(found.root / own)) for own in folder.pictures_of(found)]
    check_length(said, len(stored))
    sizes = [shape_of(own, name, transform.white, transform.max_pixels)[:2] for own, name in stored]
    for size, (_, name) in zip(sizes, stored, strict=True):
        if size != sizes[0]:
            one, other = ("x".join(map(str, each)) for each in (size, sizes[0]))
            raise UserError(
                f"{name} has {one} pixels and the first frame {other}: all frames of a clip must have one size"
            )
    return np.stack([transform(own, name) for own, name in stored])


def animated(restored: RestoredRun, name: str, portrait: np.ndarray, clip: Frames, absolute: bool) -> Frames:
    """The portrait, moved as each frame of the clip."""
    exp = restored.exp
    source = np.broadcast_to(portrait, clip.shape)
    inputs = inference.seed_inputs(0, len(clip)) | snapshot.as_inputs(exp, {"source": source, "driving": clip})
    if not absolute:
        inputs["initial"] = np.broadcast_to(inputs["driving"][:1], inputs["driving"].shape)
    (made,) = inference.run_task(exp, name, restored.variables, inputs, inference.batch_of(exp)).values()
    return made


def side_by_side(portrait: np.ndarray, clip: Frames, made: Frames) -> Frames:
    """Frames of three images each: the portrait, the clip's frame and the result."""
    return np.concatenate([np.broadcast_to(portrait, clip.shape), clip, made], axis=2)


def save_animation(path: Path, frames: Frames, fps: float) -> None:
    """Writes frames as WebP, GIF or MP4, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = grid.as_rgb(frames)
    if path.suffix == ".mp4":
        videos.write(path, frames, fps)
        return
    first, *others = map(Image.fromarray, frames)
    options = {"quality": 90} if path.suffix == ".webp" else {"disposal": 2}
    with atomic_write(path) as partial:
        kind = path.suffix[1:].upper()
        each = round(1000 / fps)
        first.save(partial, format=kind, save_all=True, append_images=others, duration=each, loop=0, **options)


def run_on_portrait(options: argparse.Namespace, restored: RestoredRun, name: str) -> str:
    """Animates a portrait and writes it; returns what it wrote."""
    if options.out.endswith(".mp4"):
        videos.plugin(options.out)  # before a network runs
    transform = transform_of(restored.exp)
    portrait, clip = read_portrait(options.source, transform), read_clip(options.driving, transform)
    clip = clip[: options.num]
    path = Path(options.out)
    paths = output.picture_paths(path, len(clip))
    if not options.out.endswith((*SUFFIXES, ".png")):
        output.check_folder(options.out, paths)
    made = animated(restored, name, portrait, clip, options.absolute)
    if options.out.endswith(".png"):
        shown = np.linspace(0, len(clip) - 1, min(SHOWN, len(clip))).round().astype(int)
        rows = {"source": np.broadcast_to(portrait, clip.shape)[shown], "driving": clip[shown], "result": made[shown]}
        path.parent.mkdir(parents=True, exist_ok=True)
        grid.save_png(path, grid.image_grid(np.concatenate([*rows.values()]), len(shown), [*rows]))
        return f"{len(shown)} frames"
    frames = side_by_side(portrait, clip, made) if options.strip else made
    if options.out.endswith(SUFFIXES):
        save_animation(path, frames, options.fps or FPS)
    else:
        output.write_pictures(paths, frames)
    return f"{len(frames)} frames"
