"""Where the numbers of a run go: JSON lines, TensorBoard, the terminal, curves."""

import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan.errors import UserError
from jaxgan.files import replacing

Record = Mapping[str, float]


class NotFinite(UserError):  # noqa: N818
    def __init__(self, message, name="", step=0):
        super().__init__(message)
        self.name, self.step = name, step


class Writer(Protocol):
    """A place for metrics."""

    def write(self, step: int, metrics: Record) -> None:
        """Takes the metrics of one log step."""

    def close(self) -> None:
        """Leaves everything written."""


def read_records(path: Path) -> list[dict]:
    """The records of a `metrics.jsonl`; a last line that was cut off by a crash does not count.

    Raises:
        UserError: a line is no record.
    """
    records = []
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if line.endswith("\n"):
            try:
                record = json.loads(line)
                records.append({"step": record["step"], **record})
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(f"{path}, line {number} is no record with a step: remove {line[:80]!r}") from error
    return records


class JsonLines:
    """One JSON object per log step, with its `step`; what lies beyond the step that a run resumes from is dropped."""

    def __init__(self, path: Path, resumed_step: int):
        kept = [record for record in read_records(path) if record["step"] <= resumed_step]
        with replacing(path) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
        self.file = path.open("a")

    def write(self, step: int, metrics: Record) -> None:
        self.file.write(json.dumps({"step": step, **metrics}) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


class TensorBoard:
    """TensorBoard event files."""

    def __init__(self, folder: Path, resumed_step: int):
        from tensorboardX import SummaryWriter  # noqa: PLC0415  (slow to import, and not needed for a dry run)

        self.writer = SummaryWriter(str(folder), purge_step=resumed_step + 1)

    def write(self, step: int, metrics: Record) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Terminal:
    """A progress bar; where the output is no terminal, one line per log step instead."""

    def __init__(self, first_step: int, steps: int, stream: io.TextIOBase | None = None):
        from tqdm import tqdm  # noqa: PLC0415

        self.stream = stream or sys.stdout
        self.steps = steps
        self.bar = None
        if self.stream.isatty():
            self.bar = tqdm(initial=first_step, total=steps, unit="step", file=self.stream, dynamic_ncols=True)

    def write(self, step: int, metrics: Record) -> None:
        rate = metrics["steps_per_second"]
        losses = f"d_loss {metrics['d_loss']:.3f}  g_loss {metrics['g_loss']:.3f}"
        speed = f"{metrics['images_per_second']:,.0f} images/s"
        if self.bar is None:
            minutes, seconds = divmod(round((self.steps - step) / rate), 60)
            time_left = f"{minutes} min {seconds:02} s left"
            line = f"step {step}/{self.steps}  {losses}  {rate:.1f} steps/s  {speed}  {time_left}"
            print(line, file=self.stream, flush=True)
        else:
            self.bar.set_postfix_str(f"{losses}, {speed}", refresh=False)
            self.bar.update(step - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


PANELS = (
    ("losses", ("d_loss", "g_loss")),
    ("discriminator outputs (logits)", ("d_real", "d_fake")),
    ("learning rates", ("d_learning_rate", "g_learning_rate")),
)
NAMES = {"d": "discriminator", "g": "generator", "d_real": "on real", "d_fake": "on fake"}


def save_curves(path: Path, records: list[dict]) -> None:
    """Draws the losses, the discriminator's outputs on real and fake, and the learning rates over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 9), layout="constrained")
    steps = [record["step"] for record in records]
    for axes, (title, names) in zip(figure.subplots(len(PANELS), sharex=True), PANELS, strict=True):
        for name, width in zip(names, (2.4, 1.2), strict=True):  # two lines that coincide are both seen
            values = [record[name] for record in records]
            marker = "." if len(steps) < 3 else ""
            axes.plot(steps, values, label=NAMES.get(name, NAMES[name[0]]), linewidth=width, marker=marker)
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("step")
    axes.set_ylim(bottom=0)
    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


class Log:
    """The metrics of a run: reads them from the device, passes them to the writers, stops the run at a bad one.

    Args:
        config: of the run.
        workdir: its folder.
        first_step: the step from which it goes on.
    """

    def __init__(self, config: ConfigDict, workdir: Path, first_step: int, writes: bool = True):
        self.config, self.workdir, self.writes = config, workdir, writes
        self.writers = (
            []
            if not writes
            else [
                JsonLines(workdir / "metrics.jsonl", first_step),
                TensorBoard(workdir / "tensorboard", first_step),
                Terminal(first_step, config.steps),
            ]
        )
        self.since = (first_step, time.perf_counter())
        self.record: dict[str, float] = {}

    def write(self, first_step: int, metrics: Mapping[str, jax.Array], scores: Record = MappingProxyType({})) -> None:
        """Takes every step's metrics of one dispatch, which began after `first_step`, and writes them at a log step.

        Scores of what was drawn after the last of these steps are written with them, also between log steps where
        samples are due.

        Raises:
            UserError: one of them is not finite.
        """
        values = jax.device_get(dict(metrics))
        bad = {name: np.flatnonzero(~np.isfinite(array)) for name, array in values.items()}
        bad = {name: places[0] for name, places in bad.items() if len(places)}
        if bad:
            name = min(bad, key=bad.get)
            raise UserError(
                f"{name} is {values[name][bad[name]]} at step {first_step + bad[name] + 1}: training stops and "
                "keeps its last good checkpoint; in a new --workdir, try a smaller learning rate, "
                "a penalty such as r1, or another loss"
            )
        step = first_step + len(values["d_loss"])
        self.record = {name: float(array[-1]) for name, array in values.items()} | dict(scores)
        if step % self.config.log_every == 0 or (scores and step % self.config.sample_every == 0):
            now = time.perf_counter()
            rate = (step - self.since[0]) / (now - self.since[1])
            self.since = step, now
            speed = {"steps_per_second": rate, "images_per_second": rate * self.config.batch_size}
            for writer in self.writers:
                writer.write(step, self.record | speed)

    def draw_curves(self) -> None:
        """Draws `curves.png` anew, once there is something to draw."""
        if not self.writes:
            return
        records = read_records(self.workdir / "metrics.jsonl")
        if records:
            save_curves(self.workdir / "curves.png", records)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self.writers:
            writer.close()
        self.draw_curves()
