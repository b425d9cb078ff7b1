"""Draws images from a trained run.

    python sample.py --workdir=runs/digits --out=digits.png --num=64 --seed=0

The output is one grid (FILE.png), an array `images` uint8 [N, H, W, C] with its `labels` if there are any (FILE.npz),
or a folder of single pictures (FOLDER/), with a folder for each label if labels are asked for. Image i depends on the
seed, on its label and on i alone. With --interpolate=OTHER_SEED row i instead walks from image i of --seed to image i
of OTHER_SEED, which have the same label. With several --labels there is a row for each.

Of a toy world the points are drawn as a plot, or written as an array `points` float32 [N, D].
"""

import argparse
import os
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxgan import sampling
from jaxgan.adversarial.conditioning import Condition
from jaxgan.core import devices
from jaxgan.core import settings as configuration
from jaxgan.core.experiment import GAN
from jaxgan.data.sources import world_of
from jaxgan.errors import Parser, UserError, choose, exit_code
from jaxgan.io import run_folder
from jaxgan.io.files import atomic_write
from jaxgan.viz import grid, mixture


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = Parser("sample.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="the run folder that train.py made")
    parser.add_argument("--out", required=True, help="FILE.png, FILE.npz or FOLDER/")
    parser.add_argument("--num", type=int, help="how many images (64; 8 for each of several labels)")
    parser.add_argument("--labels", help="what to draw: a class or several (3, rose, 0,1,2), by number or name, or all")
    parser.add_argument("--member", type=int, default=0, help="which one of a population draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, help="latents only from within +-this; smaller is more typical")
    parser.add_argument("--interpolate", type=int, metavar="SEED", help="walk to this seed's images")
    parser.add_argument("--columns", type=int, help="images in a row of the grid (8 with --interpolate)")
    parser.add_argument("--step", type=int, help="an older checkpoint than the newest")
    parser.add_argument("--raw", action="store_true", help="the generator itself, not its moving average")
    options = parser.parse_args(argv)
    if any(isinstance(value, list) for value in vars(options).values()):  # as Python's parser reads --num=--
        raise UserError("-- is no value of an option (see sample.py --help)")
    for name in ("num", "columns"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} should be at least 1")
    for name in ("seed", "interpolate"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= configuration.MOST_SEED:
            raise UserError(f"--{name}={value} should be from 0 to {configuration.MOST_SEED}")
    if options.truncation is not None and not 1e-6 <= options.truncation <= 1e6:  # beyond, float32 knows no better
        raise UserError(f"--truncation={options.truncation} should be above 0, 1 say")
    if not options.out.endswith((".png", ".npz", "/", os.sep)):
        raise UserError(f"--out={options.out} should end in .png, in .npz, or in / for a folder of pictures")
    return options


def asked_labels(text: str, exp: GAN, names: list[str]) -> list[int]:
    """The labels that --labels asks for, by number or name.

    Raises:
        UserError: the generator cannot be asked, or there is no such label.
    """
    count = sampling.choices(exp)
    if not count:
        raise UserError(
            f"--labels={text}: this run is unconditional, so nothing can be asked of it: leave --labels out"
        )
    if text == "all":
        return list(range(count))
    labels = []
    for part in [text] if text in names else map(str.strip, text.split(",")):
        if part in names or not re.fullmatch("-?[0-9]{1,18}", part):
            labels.append(names.index(choose("class", part, names)))
        elif 0 <= int(part) < count:
            labels.append(int(part))
        else:
            raise UserError(f"--labels={text}: {part} should be from 0 to {count - 1}")
    return labels


def generator_inputs(
    options: argparse.Namespace, exp: GAN, asked: list[int]
) -> tuple[sampling.Latents, Condition, np.ndarray | None]:
    """The latents, conditions and labels of all images, in the order of the grid; each walk has one label.

    Args:
        options: of the command.
        exp: the experiment.
        asked: the labels that were asked for; they are mixed if there are none.
    """
    columns = 1 if options.interpolate is None else options.columns
    count = options.num // columns  # of images, or of walks between two
    labels = np.repeat(np.int32(asked), count // len(asked)) if asked else sampling.mixed_labels(exp, count)

    def of(seed: int) -> tuple[sampling.Latents, Condition]:
        latents = sampling.latents(seed, count, exp.config.latent_dim, options.truncation)
        return latents, sampling.conditions(exp, seed, count, labels)

    if options.interpolate is None:
        return *of(options.seed), labels
    ends = of(options.seed), of(options.interpolate)
    (start, told), (end, told_at_end) = jax.tree.map(lambda array: jnp.repeat(array, columns, axis=0), ends)
    share = jnp.tile(jnp.linspace(0, 1, columns), count)
    told = jax.tree.map(lambda one, other: (1 - share[:, None]) * one + share[:, None] * other, told, told_at_end)
    return sampling.interpolate(start, end, share), told, None if labels is None else np.repeat(labels, columns)


def check_size(options: argparse.Namespace, config: ConfigDict) -> None:
    """Raises a `UserError` if there are more images than fit into memory, or more in a row than there are."""
    sampling.check_count(options.num, config)
    if options.columns is not None and options.columns > options.num:
        raise UserError(f"--columns={options.columns} should be at most --num={options.num}")


def arrange(options: argparse.Namespace, labels: list[int]) -> None:
    """Settles how many images there are and how many in a row.

    Raises:
        UserError: they make no whole rows where whole rows are asked for.
    """
    several = len(labels) > 1
    if options.interpolate is not None:
        options.num, options.columns = options.num or 64, options.columns or 8
        if options.columns < 2 or options.num % options.columns:
            raise UserError(
                f"--interpolate makes whole rows: --num={options.num} should be a multiple of "
                f"--columns={options.columns}, and that at least 2"
            )
        if several and options.num // options.columns % len(labels):
            raise UserError(
                f"--labels has {len(labels)} labels and --num={options.num} with --columns={options.columns} makes "
                f"{options.num // options.columns} rows: there should be as many for each label"
            )
        return
    options.num = options.num or (8 * len(labels) if several else 64)
    if several:
        if options.num % len(labels):
            raise UserError(f"--num={options.num} should be a multiple of the {len(labels)} labels")
        if options.columns not in (None, options.num // len(labels)):
            raise UserError(
                f"--columns={options.columns} should be {options.num // len(labels)}, the images of a label, or absent"
            )
        options.columns = options.num // len(labels)


def write(out: str, pictures: np.ndarray, columns: int | None, labels: np.ndarray | None, names: list[str]) -> None:
    """Writes the images in the form that the name asks for.

    Args:
        out: FILE.png, FILE.npz or FOLDER/.
        pictures: uint8 [N, H, W, C].
        columns: images in a row of the grid; those of a row have one label, if several labels were asked for.
        labels: of the images, if they have any.
        names: of all labels; empty if none were asked for.
    """
    path = Path(out)
    if out.endswith(".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        several = names and len(set(labels)) > 1
        grid.save_png(
            path, grid.image_grid(pictures, columns, [names[x] for x in labels[::columns]] if several else ())
        )
    elif out.endswith(".npz"):
        save_arrays(path, {"images": pictures} if labels is None else {"images": pictures, "labels": labels})
    else:
        for index, picture in enumerate(pictures):
            folder = path / folder_name(names[labels[index]]) if names else path
            folder.mkdir(parents=True, exist_ok=True)
            grid.save_png(folder / f"{index:06d}.png", grid.as_rgb(picture))


def folder_name(name: str) -> str:
    """A class's name as a folder's that lies within another one, whatever stands in data.json."""
    name = re.sub(f"[{os.sep}\0]", "_", name)
    return name if name.strip(".") else f"_{name}"


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz file, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_points(out: str, exp: GAN, drawn: np.ndarray, title: str) -> None:
    """Writes the points of a world as a plot or an array."""
    path, world = Path(out), world_of(exp.config.data)
    if out.endswith(".npz"):
        save_arrays(path, {"points": drawn})
    elif out.endswith(".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        plot = mixture.scatter(world, drawn, title) if world.dim == 2 else mixture.densities(world, drawn, None, title)
        grid.save_png(path, plot)
    else:
        raise UserError(f"--out={out} should end in .png or .npz, since {exp.config.data.source} has no images")


def run(argv: list[str]) -> int:
    """Parses, restores, draws and writes."""
    options = parse(argv)
    place = options.out.encode(errors="backslashreplace").decode()  # a file's name need not be text
    devices.enable_compilation_cache()
    exp, variables, classes, _ = run_folder.restore(options.workdir, options.step, options.raw, options.member)
    names = classes if exp.classes else [str(index) for index in range(sampling.choices(exp))]
    asked = asked_labels(options.labels, exp, names) if options.labels is not None else []
    arrange(options, asked)
    check_size(options, exp.config)
    latents, condition, labels = generator_inputs(options, exp, asked)
    drawn = sampling.generate(exp.networks["generator"], variables, latents, condition)
    if drawn.ndim == 2:
        write_points(options.out, exp, drawn, f"{exp.config.data.source}, {options.num} samples")
        print(f"{len(drawn)} points: {place}")
        return 0
    write(options.out, drawn, options.columns, labels, names if asked else [])
    print(f"{len(drawn)} images: {place}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
