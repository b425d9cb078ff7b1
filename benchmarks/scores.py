"""Trains what docs/evaluation.md has a table of, scores it with evaluate.py, and writes the table.

    python -m benchmarks.scores [--workdir runs/scores]

A run or a score that is there already is not made again: remove its folder, or the scores.json in it.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import experiments, report

PAGE = experiments.ROOT / "docs" / "evaluation.md"
SECTION = "table"


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment: its name, its file in configs/, and the options of evaluate.py besides the run folder."""

    name: str
    config: str
    options: tuple[str, ...]


ROWS = [
    Row("digits", "digits", ()),
    Row("MNIST", "mnist", ()),
    Row("conditional MNIST", "mnist_conditional", ("--gan_train", "--per_class")),
    Row("Stacked MNIST", "stacked_mnist", ("--num=26000",)),
]
STACKED = ROWS[-1].name
KINDS = ("FD", "KD", "precision", "recall", "density", "coverage", "authenticity", "IS", "modes", "KL", "GAN-test")
KINDS += ("GAN-train",)
# Modes and divergence on Stacked MNIST as printed by their papers, or quoted by the one named.
PUBLISHED = [
    ("DCGAN, by VEEGAN's authors", "99", "3.40"),
    ("ALI; Unrolled GAN, by the same", "16; 48.7", "5.40; 4.32"),
    ("VEEGAN", "150", "2.95"),
    ("PacGAN's DCGAN", "78.9 ± 6.5", "4.50"),
    ("PacGAN2; 3; 4", "1000; 1000; 1000", ".06; .06; .07"),
    ("WGAN-GP; StyleGAN2, as quoted by R3GAN", "959; 940", ".73; .42"),
    ("PresGAN; VAEBM; DDGAN; MEG, by the same", "1000 each", ".12; .087; .071; .031"),
    ("R3GAN: GAN + R1 + R2; RpGAN + R1 + R2; final", "693; 1000; 1000", ".927; .0781; .029"),
]


def scored(row: Row, workdir: Path) -> dict:
    """What evaluate.py writes about a run."""
    out = workdir / "scores.json"
    if not out.exists():
        command = [sys.executable, "evaluate.py", f"--workdir={workdir}", *row.options]
        subprocess.run(command, check=True, cwd=experiments.ROOT)
    return json.loads(out.read_text())


def of_kind(found: dict[str, dict], kind: str) -> dict | None:
    """The score of that kind, whatever its features."""
    return next((score for name, score in found.items() if name.rpartition("-")[0] == kind), None)


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def cell(found: dict, kind: str) -> str:
    """A score with its interval, what is printed elsewhere, and what real images score."""
    own, floor = of_kind(found["scores"], kind), of_kind(found["real_images"], kind)
    if own is None:
        return ""
    parts = [f"{number(own['value'])} ({number(own['low'])} to {number(own['high'])})"]
    if "raw" in own:
        parts.append(f"raw {number(own['raw'])}")
    if floor is not None:
        parts.append(f"real {number(floor['value'])}" + (f", raw {number(floor['raw'])}" if "raw" in floor else ""))
    if "ideal" in own:
        parts.append(f"ideal {number(own['ideal'])}")
    return "<br>".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/scores"))
    options = parser.parse_args()
    found, took = [], []
    for row in ROWS:
        workdir = options.workdir.absolute() / row.config
        took.append(experiments.train(row.config, workdir, {}))
        found.append(scored(row, workdir))
    lines = [
        [
            "trained",
            *(
                f"{about['about']['step']:,} steps, {time / 60:.0f} min"
                for about, time in zip(found, took, strict=True)
            ),
        ],
        ["samples; real images", *(f"{about['about']['samples']:,}; {about['about']['reals']:,}" for about in found)],
        ["features", *(", ".join(about["about"]["features"]) for about in found)],
        ["real is", *(about["about"]["real_images"] for about in found)],
        *([kind, *(cell(about, kind) for about in found)] for kind in KINDS),
    ]
    scores = report.table(["", *(row.name for row in ROWS)], lines)
    own = next(about for row, about in zip(ROWS, found, strict=True) if row.name == STACKED)
    modes, divergence, real = (
        of_kind(own[side], kind) for side, kind in (("scores", "modes"), ("scores", "KL"), ("real_images", "KL"))
    )
    rows = [
        [
            f"configs/stacked_mnist.py, {own['about']['samples']:,} samples",
            number(modes["value"]),
            number(divergence["raw"]),
        ],
        ["real images of the test split, as many", "", number(real["raw"])],
        ["an ideal sampler", number(modes["ideal"]), number(divergence["ideal"])],
        *map(list, PUBLISHED),
    ]
    published = report.table(["Stacked MNIST", "modes of 1,000", "KL"], rows)
    text = f"{scores}\n\n{published}\n\n{report.machine('jax', 'flax', 'optax')}"
    report.replace(PAGE, SECTION, f"`python -m benchmarks.scores {' '.join(sys.argv[1:])}`".replace(" `", "`"), text)


if __name__ == "__main__":
    main()
