"""Trains on few examples, from nothing and from a network that was trained on other data, and draws both curves.

    python -m benchmarks.init_from --parent data.source=tfds:mnist --child 'data.split=train[:100]' \\
        --held_out 'train[100:]'

The curve and the table go into docs/fine-tuning.md. Checkpoints are scored by the kernel distance of 1,000 samples to
real examples that neither run has seen. A run that is there already is not trained again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import experiments, report
from jaxgan import inference
from jaxgan.config import load
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.image_sets import decoded
from jaxgan.io import run_folder
from jaxgan.io.files import atomic_write
from jaxgan.metrics import features
from jaxgan.metrics.intervals import Estimate
from jaxgan.metrics.kid import kernel_distance
from jaxgan.viz import grid

PAGE = experiments.ROOT / "docs" / "fine-tuning.md"
SAMPLES, SHOWN = 1000, 10
NAMES = {"scratch": "from nothing", "init_from": "--init_from"}


def train_all(options: argparse.Namespace, workdir: Path) -> None:
    """The parent, and both runs on the few examples."""
    common, parent, child = (
        dict(part.split("=", 1) for part in each) for each in (options.set, options.parent, options.child)
    )
    experiments.train(options.config, workdir / "parent", settings_for(options.parent_steps) | common | parent)
    own = settings_for(options.steps) | {"checkpoint_every": options.every, "checkpoint.keep": 1000} | common | child
    experiments.train(options.config, workdir / "scratch", own)
    experiments.train(options.config, workdir / "init_from", own, f"--init_from={workdir / 'parent'}")


def settings_for(steps: int) -> dict[str, object]:
    """The settings of a run of `steps` training steps, whose schedules end with it."""
    decays = {f"optimizer.{player}.decay_steps": steps for player in ("generator", "discriminator")}
    return {"steps": steps, "sample_every": 1000, "checkpoint_every": 1000} | decays


def examples_of(workdir: Path, split: str | None = None) -> ArrayDataset:
    """A run's examples, or another split of its data."""
    config = load(workdir / "config.json")
    config.data.split, config.data.crop = split or config.data.split, "centre"
    return decoded(config)


def samples_of(workdir: Path, step: int | None, count: int) -> np.ndarray:
    """What the average of a run's generator draws at a step."""
    exp, variables, *_ = run_folder.restore(workdir, step)
    return inference.sample(exp, variables, 0, count, inference.mixed_labels(exp, count))


def draw(path: Path, steps: list[int], curves: dict[str, list[Estimate]], before: Estimate, real: Estimate) -> None:
    """The distance over the steps, with its 95% interval."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, estimates in curves.items():
        first = [before] if name == "init_from" else []
        where = ([0] if first else []) + steps
        values = np.array([(each.value, each.low, each.high) for each in first + estimates]).T
        axes.plot(where, values[0], label=NAMES[name], marker=".")
        axes.fill_between(where, values[1], values[2], alpha=0.2)
    if real.value > 0:  # it is an unbiased estimate, of which half are below 0 where the true one is 0
        axes.axhline(real.value, color="black", linewidth=1, linestyle="--", label="the training examples")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("kernel distance to held-out examples")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with atomic_write(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="digits", help="of the section on the page")
    parser.add_argument("--config", default="digits")
    settings = {"nargs": "+", "default": [], "metavar": "NAME=VALUE"}
    parser.add_argument("--set", **settings, help="settings of all three runs")
    parser.add_argument("--parent", **settings, help="settings of the run to begin with")
    parser.add_argument("--child", **settings, help="settings of both runs on few examples")
    parser.add_argument("--held_out", required=True, help="the split to score with")
    parser.add_argument("--features", default="lenet")
    parser.add_argument("--parent_steps", type=int, default=8000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--workdir", type=Path)
    options = parser.parse_args()
    workdir = (options.workdir or Path("runs/init_from") / options.name).absolute()
    train_all(options, workdir)
    unseen = examples_of(workdir / "scratch", options.held_out)
    extract = features.extractor(options.features, unseen)
    reals = extract(unseen.images).values

    def distance(images: np.ndarray) -> Estimate:
        return kernel_distance(extract(images).values, reals)

    steps = list(range(options.every, options.steps + 1, options.every))
    curves = {name: [distance(samples_of(workdir / name, step, SAMPLES)) for step in steps] for name in NAMES}
    before = distance(samples_of(workdir / "parent", None, SAMPLES))
    real = distance(examples_of(workdir / "scratch").images)
    draw(PAGE.with_name(f"fine-tuning_{options.name}.png"), steps, curves, before, real)
    rows = [unseen.images, samples_of(workdir / "parent", None, SHOWN)]
    shown = [step for step in (options.every, options.steps) for _ in NAMES]
    rows += [samples_of(workdir / name, step, SHOWN) for step, name in zip(shown, [*NAMES] * 2, strict=True)]
    names = ["real", "parent", *(f"{NAMES[name]}, {step:,}" for step, name in zip(shown, [*NAMES] * 2, strict=True))]
    picture = grid.image_grid(np.concatenate([row[:SHOWN] for row in rows]), SHOWN, names)
    grid.save_png(PAGE.with_name(f"fine-tuning_{options.name}_samples.png"), picture)

    def cell(estimate: Estimate) -> str:
        return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"

    cells = [[f"{step:,}", *(cell(curves[name][place]) for name in NAMES)] for place, step in enumerate(steps)]
    cells = [["0", "", cell(before)], *cells, ["training examples", cell(real), cell(real)]]
    text = report.table(["step", *NAMES.values()], cells)
    command = f"`python -m benchmarks.init_from {' '.join(sys.argv[1:])}`"
    report.replace(PAGE, options.name, command, f"{text}\n\n{report.machine('jax', 'flax', 'optax')}")


if __name__ == "__main__":
    main()
