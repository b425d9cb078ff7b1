"""Draws images from a trained run.

    python sample.py --workdir=runs/digits --out=digits.png --num=64 --seed=0

The output is one grid (FILE.png), an array `images` uint8 [N, H, W, C] (FILE.npz), or a folder of single pictures
(FOLDER/). Image i depends on the seed and on i alone. With --interpolate=OTHER_SEED each row instead walks from an
image of --seed to the one of OTHER_SEED in the same place.
"""

import argparse
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as configuration
from jaxgan import images, parallel, sampling, steps
from jaxgan.checkpoint import Checkpoints
from jaxgan.errors import Parser, UserError, exit_code
from jaxgan.files import replacing
from jaxgan.state import Variables


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = Parser("sample.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="the run folder that train.py made")
    parser.add_argument("--out", required=True, help="FILE.png, FILE.npz or FOLDER/")
    parser.add_argument("--num", type=int, default=64, help="how many images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, help="latents only from within +-this; smaller is more typical")
    parser.add_argument("--interpolate", type=int, metavar="SEED", help="walk to this seed's images")
    parser.add_argument("--columns", type=int, help="images in a row of the grid (8 with --interpolate)")
    parser.add_argument("--step", type=int, help="an older checkpoint than the newest")
    parser.add_argument("--raw", action="store_true", help="the generator itself, not its moving average")
    options = parser.parse_args(argv)
    for name in ("num", "columns"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} should be at least 1")
    for name in ("seed", "interpolate"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= configuration.MOST_SEED:
            raise UserError(f"--{name}={value} should be from 0 to {configuration.MOST_SEED}")
    if options.truncation is not None and not options.truncation > 0:
        raise UserError(f"--truncation={options.truncation} should be above 0, 1 say")
    if not options.out.endswith((".png", ".npz", "/", os.sep)):
        raise UserError(f"--out={options.out} should end in .png, in .npz, or in / for a folder of pictures")
    if options.interpolate is not None:
        options.columns = options.columns or 8
        if options.columns < 2 or options.num % options.columns:
            raise UserError(
                f"--interpolate makes whole rows: --num={options.num} should be a multiple of "
                f"--columns={options.columns}, and that at least 2"
            )
    return options


def restore(workdir: Path, step: int | None, raw: bool) -> tuple[configuration.ConfigDict, steps.GAN, Variables]:
    """A run's configuration, its experiment, and its generator's variables.

    Raises:
        UserError: the folder holds no run, or no such checkpoint.
    """
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir} holds no run (no config.json): --workdir should be a folder that train.py made")
    config = configuration.load(workdir / "config.json")
    gan = steps.build(config)
    template = jax.eval_shape(lambda: steps.initial_state(config, gan))
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoint yet: train it first")
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        restored = checkpoints.restore(template, step)
    if restored is None:
        raise UserError(f"{workdir} has no checkpoint yet: train it first")
    state = restored[1]
    return config, gan, state.networks["generator"].variables if raw else state.ema["generator"]


def points(options: argparse.Namespace, latent_dim: int) -> jax.Array:
    """The latents of all images, in the order of the grid."""
    if options.interpolate is None:
        return sampling.latents(options.seed, options.num, latent_dim, options.truncation)
    rows = options.num // options.columns
    start, end = (
        jnp.repeat(sampling.latents(seed, rows, latent_dim, options.truncation), options.columns, axis=0)
        for seed in (options.seed, options.interpolate)
    )
    share = jnp.tile(jnp.linspace(0, 1, options.columns), rows)
    return sampling.interpolate(start, end, share)


def write(out: str, pictures: np.ndarray, columns: int | None) -> None:
    """Writes the images in the form that the name asks for."""
    path = Path(out)
    if out.endswith(".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        images.save_png(path, images.grid(pictures, columns))
    elif out.endswith(".npz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, images=pictures)
    else:
        path.mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(pictures):
            images.save_png(path / f"{index:06d}.png", images.colours(picture))


def run(argv: list[str]) -> int:
    """Parses, restores, draws and writes."""
    options = parse(argv)
    parallel.cache_compilations()
    config, gan, variables = restore(options.workdir, options.step, options.raw)
    latents = points(options, config.latent_dim)
    pictures = sampling.generate(gan.networks["generator"], variables, latents)
    write(options.out, pictures, options.columns)
    print(f"{len(pictures)} images: {options.out}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
