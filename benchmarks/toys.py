"""Trains on mixtures of Gaussians, ten seeds in one program, and writes their exact scores into docs/mixtures.md.

    python -m benchmarks.toys [--workdir runs/toys] [--published_steps 400000] [--published_seeds 10]

The rows at PacGAN's setting take hours on a CPU: --published_steps makes them shorter, and the table then says so. A
run that is there already is not trained again.
"""

import argparse
import dataclasses
import math
import sys
from pathlib import Path

import numpy as np

from benchmarks import experiments, report
from jaxgan import inference
from jaxgan.config import load
from jaxgan.core import population
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.io import run_folder
from jaxgan.metrics import mixtures

SEEDS = 10
SAMPLES = 2500  # as in the paper
PAGE = experiments.ROOT / "docs" / "mixtures.md"
SECTION = "scores"
PACKED = {"packing": 2, "batch_size": 200}


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment and what its paper found: modes, share of high quality in per cent, reverse KL."""

    name: str
    config: str
    settings: dict[str, object]
    published: str = ""


ROWS = {
    "ring": [
        Row("RpGAN + R1 + R2", "ring", {}),
        Row("GAN, PacGAN's setting", "pacgan", {}, "6.3 ± .5, 98.2, .45"),
        Row("PacGAN2, its setting", "pacgan", PACKED, "7.9 ± .1, 95.6, .07"),
    ],
    "grid": [
        Row("RpGAN + R1 + R2", "grid", {}),
        Row("GAN, PacGAN's setting", "pacgan", {"data.source": "world:grid"}, "17.3 ± .8, 94.8, .70"),
        Row("PacGAN2, its setting", "pacgan", PACKED | {"data.source": "world:grid"}, "23.8 ± .7, 91.3, .13"),
    ],
}


def member_scores(workdir: Path) -> dict[str, np.ndarray]:
    """Each score of each member, by all of their own samples."""
    config = load(workdir / "config.json")
    mixture, found = mixture_of(config.data), []
    for member, seed in enumerate(population.seeds(config)):
        exp, variables, *_ = run_folder.restore(workdir, member=member)
        samples = inference.sample(exp, variables, seed, SAMPLES, None)
        found.append(mixtures.mode_scores(samples, mixture.means, mixture.stddev))
    return {name: np.float64([scores[name] for scores in found]) for name in found[0]}


def cells(scores: dict[str, np.ndarray]) -> list[str]:
    """Means with standard errors, and the worst seed's values."""
    count = len(scores["modes"])
    text = []
    for name, factor, digits, worst in (
        ("modes", 1, 1, min),
        ("high_quality", 100, 2, min),
        ("reverse_kl", 1, 4, max),
    ):
        values = factor * scores[name]
        error = f" ± {values.std(ddof=1) / math.sqrt(count):.{digits}f}" if count > 1 else ""
        text.append(f"{values.mean():.{digits}f}{error} ({worst(values):.{digits}f})")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/toys"))
    parser.add_argument("--published_steps", type=int, default=400_000)
    parser.add_argument("--published_seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, rows in ROWS.items():
        for number, row in enumerate(rows):
            settings = {"population": SEEDS}
            if row.published:
                settings = {"population": options.published_seeds, "steps": options.published_steps}
            workdir = options.workdir.absolute() / f"{name}{number}"
            seconds = experiments.train(row.config, workdir, row.settings | settings)
            scores, steps = member_scores(workdir), load(workdir / "config.json").steps
            short = f", {steps / 400_000:.3g} of the published" if row.published and steps < 400_000 else ""
            head = [name, row.name, f"{steps:,}{short}", str(len(scores["modes"])), f"{seconds / 60:.1f} min"]
            lines.append([*head, *cells(scores), row.published])
        modes = {"ring": 8, "grid": 25}[name]
        ideal = mixtures.perfect_scores(modes, 2, SAMPLES)
        values = [f"{ideal['modes']:.1f}", f"{100 * ideal['high_quality']:.2f}", f"{ideal['reverse_kl']:.4f}"]
        lines.append([name, "an ideal sampler", "", "", "", *values, ""])
    head = [
        "mixture",
        "experiment",
        "steps",
        "seeds",
        "all seeds took",
        "modes",
        "% high quality",
        "reverse KL",
        "paper",
    ]
    text = f"{report.table(head, lines)}\n\n{report.machine('jax', 'flax', 'optax')}"
    report.replace(PAGE, SECTION, f"`python -m benchmarks.toys {' '.join(sys.argv[1:])}`".replace(" `", "`"), text)


if __name__ == "__main__":
    main()
