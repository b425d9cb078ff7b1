"""Trains the conditional digits in several ways, and writes how many samples are of the class that was asked for.

    python -m benchmarks.conditional [--workdir runs/conditional]

The table goes into docs/conditional.md; the classifier is that of `benchmarks.digits`. A run that is there already is
not trained again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks import digits, experiments, report
from jaxgan import inference
from jaxgan.io import run_folder

SAMPLES = 1000
PAGE = experiments.ROOT / "docs" / "conditional.md"
SECTION = "accuracy"
WAYS = [("cbn", "projection"), ("concat", "concat"), ("cbn", "acgan")]


def sample(workdir: Path) -> tuple[np.ndarray, np.ndarray]:
    """As many images of each digit, and the digits that were asked for."""
    exp, variables, *_ = run_folder.restore(workdir)
    labels = np.repeat(np.arange(10, dtype=np.int32), SAMPLES // 10)
    return inference.sample(exp, variables, 0, SAMPLES, labels), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/conditional"))
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    classifier, test_images, test_labels = digits.train_classifier()
    lines = []
    for generator, discriminator in WAYS:
        workdir = options.workdir.absolute() / f"{generator}_{discriminator}"
        sides = {"conditioning.generator": generator, "conditioning.discriminator": discriminator}
        seconds = experiments.train("digits_conditional", workdir, sides)
        images, labels = sample(workdir)
        right = classifier.predict(digits.block_means(images)) == labels
        worst = min(range(10), key=lambda digit: right[labels == digit].mean())
        head = [generator, discriminator, f"{seconds / 60:.1f} min", f"{right.mean():.1%}"]
        lines.append(
            [*head, f"{worst}: {right[labels == worst].mean():.0%}", f"{digits.decisions(classifier, images)[1]:.1%}"]
        )
    real = (classifier.predict(digits.block_means(test_images)) == test_labels).mean()
    lines.append(["real digits", "", "", f"{real:.1%}", "", f"{digits.decisions(classifier, test_images)[1]:.1%}"])
    head = ["generator", "discriminator", "training took", "as asked", "worst digit", "classifier is sure"]
    text = f"{report.table(head, lines)}\n\n{report.machine('jax', 'flax', 'optax')}"
    report.replace(
        PAGE, SECTION, f"`python -m benchmarks.conditional {' '.join(sys.argv[1:])}`".replace(" `", "`"), text
    )


if __name__ == "__main__":
    main()
