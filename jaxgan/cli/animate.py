"""What sample.py does with a portrait and a clip: the portrait moves as the clip does, in a file of its own."""

import argparse
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgan import inference
from jaxgan.core.experiment import Experiment
from jaxgan.core.types import Task
from jaxgan.data import formats, videos
from jaxgan.data.clips import LEAST_FRAMES
from jaxgan.data.decode import Stored, Transform, shape_of
from jaxgan.data.sizes import format_size, height_width
from jaxgan.data.sources import clips, folder
from jaxgan.errors import UserError, warn
from jaxgan.io.run_folder import RestoredRun
from jaxgan.viz import animation, grid, output, snapshot

OPTIONS = ("source", "driving", "absolute", "strip", "fps")  # that only an animation has
SUFFIXES = (*animation.SUFFIXES, ".mp4")
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
    else:
        kinds = {"fps": SUFFIXES, "strip": (*SUFFIXES, "/", os.sep), "columns": ()}
        for name, endings in kinds.items():
            if getattr(options, name) and not options.out.endswith(endings):
                raise UserError(f"--{name} has no effect on --out={options.out}: leave it out")
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
    """How a picture becomes an image of the networks' size: as in training, but for its place, which is the middle."""
    (height, width, channels), data = exp.fields[0].shape, exp.config.data
    white, max_pixels = float(data.get("white", 0.0)), data.get("max_pixels", Transform.max_pixels)
    size, load_size = (height, width), height_width(data.get("load_size", 0))
    return Transform(
        load_size if any(load_size) else size, size, channels, True, white, max_pixels, data.get("fit") == "stretch"
    )


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
    if height * transform.load_size[1] != width * transform.load_size[0] and not transform.stretch:
        warn(
            f"{said} has {height}x{width} pixels, height and width, which is another shape than that of the run's "
            f"images, {format_size(*transform.load_size)}: its middle is taken"
        )
    return image


def read_clip(path: str, transform: Transform, most: int | None = None) -> Frames:
    """The first `most` frames that --driving names, or all of them.

    Raises:
        UserError: there is no such clip, it has one frame, or frames of different sizes.
    """
    said = f"--driving={path}"
    if Path(path).is_file() and videos.is_video(path):
        stored: Iterable[tuple[Stored, str]] = (
            (own, f"frame {i} of {said}") for i, own in enumerate(videos.read(path))
        )
    else:
        found = folder.listing_of(path, said)
        names = clips.sorted_frames(folder.pictures_of(found))
        stored = ((found.read(own), str(found.root / own)) for own in names)
    frames, first = [], None
    # One by one: all frames of a film, as large as they are, might not fit into memory.
    for own, name in itertools.islice(stored, most and max(most, LEAST_FRAMES)):
        size = clips.size_of(own)
        first = first or (name, size)
        clips.check_size(name, size, *first)
        frames.append(transform(own, name))
    clips.check_length(said, len(frames))
    return np.stack(frames[:most])


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


def run_on_portrait(options: argparse.Namespace, restored: RestoredRun, name: str) -> str:
    """Animates a portrait and writes it; returns what it wrote."""
    if options.out.endswith(".mp4"):
        videos.plugin(options.out)  # before a network runs
    transform = transform_of(restored.exp)
    portrait, clip = read_portrait(options.source, transform), read_clip(options.driving, transform, options.num)
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
    if options.out.endswith(".mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        videos.write(path, grid.as_rgb(frames), options.fps or FPS)
    elif options.out.endswith(SUFFIXES):
        animation.save(path, grid.as_rgb(frames), options.fps or FPS)
    else:
        output.write_pictures(paths, frames)
    return f"{len(frames)} frames"
