"""What a run does besides training: each callback says at which steps it is due, and what it does then.

All processes run them, since they compute on devices; the main process writes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
from jaxtyping import PyTree

from jaxgan.core import devices, multihost
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import POSITIVE, Setting, Settings
from jaxgan.core.state import TrainState
from jaxgan.data.loader import Dataset
from jaxgan.data.order import batch_indices
from jaxgan.io.files import warn_on_oserror
from jaxgan.metrics import evaluator, translations
from jaxgan.metrics.exact import format_scores
from jaxgan.metrics.translation_evaluator import TranslationEvaluator
from jaxgan.viz import grid, snapshot

SETTINGS: Settings = {
    "sample_every": Setting(500, "training steps between two pictures", POSITIVE, resumable=True),
    "sample_grid": Setting(64, "examples in the pictures drawn while training", POSITIVE),
}


@runtime_checkable  # as the checks of types while testing need it
class Callback(Protocol):
    """Something that is done after some steps.

    Attributes:
        score_names: of the scores that it returns.
    """

    score_names: Sequence[str]

    def due(self, step: int) -> bool:
        """Whether it is done after this step."""

    def __call__(self, step: int, state: TrainState) -> Mapping[str, float]:
        """Does it, with one device's copy of the state; returns scores, to be logged with the step's metrics."""


class Snapshots:
    """Draws what the networks make of the same inputs each time into `samples/`.

    Args:
        exp: the experiment.
        workdir: the run folder.
        dataset: of which some examples are drawn, and given to tasks that need some.
    """

    def __init__(self, exp: Experiment, workdir: Path, dataset: Dataset):
        self.exp, self.workdir, self.folder = exp, workdir, workdir / "samples"
        rows = batch_indices(exp.config.seed, 0, exp.config.sample_grid, min(dataset.groups.values()))
        self.examples = dataset.take(rows)
        self.score_names = snapshot.score_names(exp)

    def draw_real(self) -> None:
        """Makes `real.png` of the data set."""
        grid.save_png(self.workdir / "real.png", snapshot.of_examples(self.exp, self.examples))

    def due(self, step: int) -> bool:
        return step == self.exp.config.steps or step % self.exp.config.sample_every == 0

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        found: dict[str, float] = {}
        for place, task in enumerate(self.exp.algorithm.drawn):
            picture, scores = snapshot.draw(self.exp, state, step, task, self.examples)
            found |= scores
            path = self.folder / f"{task + '_' if place else ''}step_{step:06d}.png"
            if multihost.is_main():
                with warn_on_oserror(str(path)):
                    grid.save_png(path, picture)
        if found:
            multihost.print_once(f"step {step}: {format_scores(found)}")
        return found

    def animate(self) -> None:
        """Makes `progress.gif` of the pictures."""
        paths = [path for path in self.folder.glob("step_*.png") if path.stem[5:].isdecimal()]
        with warn_on_oserror("progress.gif"):
            grid.save_gif(self.workdir / "progress.gif", sorted(paths, key=lambda path: int(path.stem[5:])))


class Evaluation:
    """Scores samples, or translations, beside real examples."""

    def __init__(self, exp: Experiment, dataset: Dataset):
        make = TranslationEvaluator if translations.directions(exp) else evaluator.Evaluator
        self.config, self.score = exp.config, make(exp, dataset)
        self.score_names = self.score.score_names
        multihost.print_once(f"real images score {evaluator.format_scores(self.score.reference)}")

    def due(self, step: int) -> bool:
        return step == self.config.steps or step % self.config.eval.every == 0

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        scores = self.score(state)
        multihost.print_once(f"step {step}: {evaluator.format_scores(scores)}")
        return scores


class Profiler:
    """A trace of a few dispatches after the first, which warms up; nothing without a folder."""

    DISPATCHES = 3

    def __init__(self, folder: Path | None):
        self.folder, self.seen = folder, 0

    def before_dispatch(self, metrics: PyTree) -> None:
        """Is called before each dispatch, with the metrics of the one before."""
        if self.folder and self.seen == 1:
            jax.block_until_ready(metrics)
            jax.profiler.start_trace(self.folder, create_perfetto_trace=True)
        if self.seen == 1 + self.DISPATCHES:
            jax.block_until_ready(metrics)
            self.close()
        self.seen += 1

    def close(self) -> None:
        """Writes what was traced until now; later calls do nothing."""
        if self.folder and self.seen > 1:
            jax.profiler.stop_trace()
            print(f"a profile is in {self.folder}: tensorboard --logdir, or its perfetto_trace.json.gz", flush=True)
            self.folder = None


def run_due(callbacks: list[Callback], step: int, state: TrainState) -> dict[str, float] | None:
    """The scores of the callbacks that are due after a step; None if none is."""
    due = [callback for callback in callbacks if callback.due(step)]
    if not due:
        return None
    own, scores = devices.unreplicate(state), {}
    for callback in due:
        scores |= callback(step, own)
    return scores
