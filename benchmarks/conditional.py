"""Trains the conditional digits in several ways, and writes how many are drawn as asked into docs/conditional.md.

    python -m benchmarks.conditional [--workdir runs/conditional]

The judge is the classifier of `benchmarks.digits`. A run that is there already is not trained again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks import digits, experiments, report
from jaxgan import sampling
from jaxgan.io import run_folder

SAMPLES = 1000
PAGE = experiments.ROOT / "docs" / "conditional.md"
WAYS = [("cbn", "projection"), ("concat", "concat"), ("cbn", "acgan")]


def draw(workdir: Path) -> tuple[np.ndarray, np.ndarray]:
    """As many images of each digit, and the digits that were asked for."""
    exp, variables, *_ = run_folder.restore(workdir)
    labels = np.repeat(np.arange(10, dtype=np.int32), SAMPLES // 10)
    return sampling.draw(exp, variables, 0, SAMPLES, labels), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/conditional"))
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    classifier, test_images, test_labels = digits.trained_judge()
    lines = []
    for generator, discriminator in WAYS:
        workdir = options.workdir.absolute() / f"{generator}_{discriminator}"
        sides = {"conditioning.generator": generator, "conditioning.discriminator": discriminator}
        seconds = experiments.train("digits_conditional", workdir, sides)
        images, labels = draw(workdir)
        right = classifier.predict(digits.block_means(images)) == labels
        worst = min(range(10), key=lambda digit: right[labels == digit].mean())
        head = [generator, discriminator, f"{seconds / 60:.1f} min", f"{right.mean():.1%}"]
        lines.append(
            [*head, f"{worst}: {right[labels == worst].mean():.0%}", f"{digits.judge(classifier, images)[1]:.1%}"]
        )
    real = (classifier.predict(digits.block_means(test_images)) == test_labels).mean()
    lines.append(["real digits", "", "", f"{real:.1%}", "", f"{digits.judge(classifier, test_images)[1]:.1%}"])
    head = ["generator", "discriminator", "training took", "drawn as asked", "worst digit", "classifier is sure"]
    text = f"{report.table(head, lines)}\n\n{report.machine('jax', 'flax', 'optax')}"
    report.replace(
        PAGE, "accuracy", f"`python -m benchmarks.conditional {' '.join(sys.argv[1:])}`".replace(" `", "`"), text
    )


if __name__ == "__main__":
    main()
