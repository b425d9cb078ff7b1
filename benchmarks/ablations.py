"""Compares losses and augmentations over populations of seeds, and writes the tables of docs/stylegan.md.

    python -m benchmarks.ablations [--workdir runs/ablations] [--seeds 8] [--parts losses,ada]

    losses   GAN + R1, GAN + R1 + R2 and RpGAN + R1 + R2 on the ring, the grid and stacked digits, as in R3GAN's table 2
    ada      no augmentation, and adaptive augmentation, on 400 digits

All else is equal within a comparison. A run or a score that is there already is not made again.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import experiments, report, toys
from jaxgan.config import load
from jaxgan.data import sources

PAGE = experiments.ROOT / "docs" / "stylegan.md"
FEW = 400  # images
SPEED = 50_000.0  # images in which p can move by 1: a tenth of the authors', since a run is as much shorter

LOSSES: dict[str, dict[str, object]] = {
    "GAN + R1": {"loss": "logistic", "penalties.r2": 0.0},
    "GAN + R1 + R2": {"loss": "logistic"},
    "RpGAN + R1 + R2": {"loss": "relativistic"},
}
STACKED = {"data.source": "stacked:digits", "data.channels": 3, "eval.features": "stacked"}
DATA: dict[str, tuple[str, dict[str, object], int]] = {  # configuration, its changes, modes
    "ring": ("ring", {}, 8),
    "grid": ("grid", {}, 25),
    "stacked digits": ("digits", STACKED, 1000),
}
ADA: dict[str, dict[str, object]] = {
    "none": {"ada.mode": "off"},
    "adaptive": {"ada.mode": "adaptive", "ada.speed": SPEED},
}
FEW_IMAGES = {"loss": "logistic", "penalties.r2": 0.0, "data.split": f"train[:{FEW}]"}

Values = dict[str, np.ndarray]  # of each member, by score


def scores(workdir: Path, *options: str) -> Values:
    """What evaluate.py gives each member of a run of images, beside its training images."""
    return of_members(
        workdir,
        "scores",
        lambda member, out: call("evaluate.py", f"--workdir={workdir}", f"--member={member}", f"--out={out}", *options),
    )


def unseen_scores(workdir: Path, split: str, *options: str) -> Values:
    """The same beside a split that no member was trained on: a copy of a training image gains nothing there."""
    config, reals = load(workdir / "config.json"), workdir / "unseen.npz"
    config.data.split = split
    unseen = sources.open_dataset(config)
    np.savez(reals, images=unseen.images, labels=unseen.labels)

    def score(member: int, out: Path) -> None:
        fakes, count = workdir / f"samples{member}.npz", len(unseen) - len(unseen) % len(unseen.classes)
        call("sample.py", f"--workdir={workdir}", f"--member={member}", f"--out={fakes}", f"--num={count}")
        call("evaluate.py", f"--fakes={fakes}", f"--reals={reals}", f"--out={out}", *options)

    return of_members(workdir, "unseen", score)


def of_members(workdir: Path, name: str, score: Callable[[int, Path], None]) -> Values:
    """The scores of all members; `score` writes those of a member to a file, unless it is there already."""
    found = []
    for member in range(load(workdir / "config.json").population):
        out = workdir / f"{name}{member}.json"
        if not out.exists():
            score(member, out)
        found.append(json.loads(out.read_text())["scores"])
    return {name: np.float64([each[name]["value"] for each in found]) for name in found[0]}


def call(*command: str) -> None:
    """Runs one of the programs."""
    subprocess.run([sys.executable, *command], check=True, cwd=experiments.ROOT)


def cell(values: np.ndarray, digits: int) -> str:
    """The mean with its standard error, and the range."""
    error = f" ± {values.std(ddof=1) / math.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{error} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def compare_losses(workdir: Path, seeds: int) -> None:
    """Writes the table of losses."""
    lines = []
    for data, (config, changes, modes) in DATA.items():
        for title, loss in LOSSES.items():
            run = workdir / f"{data} {title}".replace(" ", "_")
            seconds = experiments.train(config, run, changes | loss | {"population": seeds})
            if data == "stacked digits":
                found = scores(run, "--num=26000")
                both = found["modes-stacked"], found["KL-stacked"]
            else:
                found = toys.member_scores(run)
                both = found["modes"], found["reverse_kl"]
            cells = [cell(values, digits) for values, digits in zip(both, (1, 4), strict=True)]
            lines.append([f"{data}, {modes}", title, *cells, f"{seconds / 60:.0f} min"])
    write("losses", ["data and modes", "loss", "modes", "reverse KL", "all seeds took"], lines)


def compare_ada(workdir: Path, seeds: int) -> None:
    """Writes the table of augmentations."""
    names, lines = ("FD-lenet", "KD-lenet", "precision-lenet", "recall-lenet"), []
    for title, settings in ADA.items():
        run = workdir / f"ada_{title}"
        seconds = experiments.train("digits", run, FEW_IMAGES | settings | {"population": seeds})
        found = unseen_scores(run, f"train[{FEW}:]", "--features=lenet")
        cells = [cell(found[name], 3) for name in names]
        lines.append([title, *cells, f"{last_p(run):.2f}" if title == "adaptive" else "", f"{seconds / 60:.0f} min"])
    write("ada", ["ADA", *names, "p at the end", "all seeds took"], lines)


def last_p(workdir: Path) -> float:
    """The mean of ADA's probability over the members, at the end of a run."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [row["ada/p"] for row in rows if "ada/p" in row][-1]


def write(section: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Puts a table on its page."""
    command = f"`{' '.join(['python -m benchmarks.ablations', *sys.argv[1:]])}`"
    report.replace(PAGE, section, command, f"{report.table(head, lines)}\n\n{report.machine('jax', 'flax', 'optax')}")


PARTS: Mapping = {"losses": compare_losses, "ada": compare_ada}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    for name in options.parts.split(","):
        PARTS[name](options.workdir.absolute(), options.seeds)


if __name__ == "__main__":
    main()
