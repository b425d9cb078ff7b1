"""Trains a GAN, a VAE and a VAE-GAN on the same digits for equal times, and sets their scores and samples side by side.

    python -m benchmarks.vae_beside_gan [--seconds 100] [--workdir runs/vae_beside_gan]

The table goes into docs/vae.md, the picture beside it. All train on the first four fifths of the digits; the last fifth
is held out. A short run of each says how many steps fit into the time. A run that is there already is not trained
again.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks import digits, experiments, report
from jaxgan import inference
from jaxgan.cli import evaluate
from jaxgan.config import load
from jaxgan.data import sources
from jaxgan.io import run_folder
from jaxgan.viz import grid

PAGE = experiments.ROOT / "docs" / "vae.md"
PICTURE = PAGE.with_name("vae_beside_gan.png")
SECTION = "beside"
CONFIGS = {"GAN": "digits", "VAE": "digits_vae", "VAE-GAN": "digits_vaegan"}
TRAINED, HELD_OUT = "train[:80%]", "train[80%:]"
CALIBRATION = 1000  # steps of the run that measures the speed; its first log interval does not count
SAMPLES, SHOWN = 1000, 12
SCORES = ("FD-lenet", "precision-lenet", "recall-lenet", "density-lenet", "coverage-lenet", "KL-lenet")


def settings_for(steps: int, players: Mapping[str, object]) -> dict[str, object]:
    """The settings of a run of `steps` training steps, with which its schedules end."""
    decays = {f"optimizer.{player}.decay_steps": steps for player in players}
    rare = dict.fromkeys(("sample_every", "checkpoint_every"), steps)
    return {"data.split": TRAINED, "steps": steps} | decays | rare


def train_for(config: str, seconds: float, workdir: Path) -> tuple[float, int]:
    """Trains a configuration for about so long; returns how long it took, by its log, and its steps."""
    players = load_config(config).optimizer
    experiments.train(config, workdir / f"{config}_speed", settings_for(CALIBRATION, players))
    log = (workdir / f"{config}_speed" / "metrics.jsonl").read_text().splitlines()
    speed = np.median([json.loads(line)["steps_per_second"] for line in log[1:]])
    steps = max(int(seconds * speed) // 100, 1) * 100
    if (workdir / config / "config.json").exists():
        steps = load(workdir / config / "config.json").steps
    return experiments.train(config, workdir / config, settings_for(steps, players)), steps


def load_config(name: str):
    """A configuration of configs/."""
    return __import__(f"jaxgan.configs.{name}", fromlist=["get_config"]).get_config()


def scores_of(workdir: Path) -> dict[str, float]:
    """The scores of a run by evaluate.py, by name."""
    out = workdir / "scores.json"
    if not out.exists():
        code = evaluate.main([f"--workdir={workdir}", f"--split={HELD_OUT}", f"--num={SAMPLES}", "--features=lenet"])
        if code:
            sys.exit(code)
    content = json.loads(out.read_text())
    real = {f"real {name}": row["value"] for name, row in content["real_images"].items()}
    return {name: row["value"] for name, row in content["scores"].items()} | real


def sharpness(images: np.ndarray) -> float:
    """The mean squared Laplacian of uint8 images [N, H, W, 1], pixels in [0, 1]: blurred edges have a small one."""
    laplacian = ndimage.laplace(images[..., 0] / 255.0, mode="nearest", axes=(1, 2))
    return float((laplacian**2).mean())


def row_of(name: str, images: np.ndarray, classifier, real: np.ndarray, scores: Mapping[str, float]) -> list[str]:
    """A row of the table: sharpness, then coverage, then what only some of the models have."""
    _, sure = digits.decisions(classifier, images)
    cells = [name, f"{sharpness(images) / sharpness(real):.2f}", f"{sure:.1%}"]
    cells += [f"{scores[score]:.3g}" if score in scores else "" for score in SCORES]
    return cells + [f"{scores[score]:.3g}" if score in scores else "" for score in ("reconstruction_mse", "nll")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100, help="that each of them trains")
    parser.add_argument("--workdir", type=Path, default=Path("runs/vae_beside_gan"))
    options = parser.parse_args()
    workdir = options.workdir.absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    config = load_config("digits")
    config.data.split = HELD_OUT
    real = sources.open_dataset(config).images
    classifier, *_ = digits.train_classifier()
    rows, pictures, scores = [], [real[:SHOWN]], {}
    for name, file in CONFIGS.items():
        took, steps = train_for(file, options.seconds, workdir)
        exp, variables, *_ = run_folder.restore(workdir / file)
        images = inference.sample(exp, variables, 0, SAMPLES, None)
        scores = scores_of(workdir / file)
        rows.append([*row_of(name, images, classifier, real, scores), f"{took:.0f} s, {steps:,} steps"])
        pictures.append(images[:SHOWN])
    of_real = {score.removeprefix("real "): value for score, value in scores.items() if score.startswith("real ")}
    rows.append([*row_of("held-out digits", real, classifier, real, of_real), ""])
    grid.save_png(PICTURE, grid.image_grid(np.concatenate(pictures), SHOWN, ["real", *CONFIGS]))
    head = ["", "sharpness", "sure", *(score.removesuffix("-lenet") for score in SCORES)]
    text = report.table([*head, "reconstruction MSE", "nll (nats)", "training"], rows)
    command = f"`python -m benchmarks.vae_beside_gan {' '.join(sys.argv[1:])}`".replace(" `", "`")
    report.replace(PAGE, SECTION, command, f"{text}\n\n{report.machine('jax', 'flax', 'optax')}")


if __name__ == "__main__":
    main()
