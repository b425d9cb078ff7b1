"""Where the numbers of a run go: JSON lines, TensorBoard, the terminal, curves."""

import io
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan.errors import UserError, warn
from jaxgan.io.files import atomic_write, warn_on_oserror

Record = Mapping[str, float | None]  # None stands for a number that is not finite, which JSON does not know

ADVICE = "in a new --workdir, try a smaller learning rate, a penalty such as r1, or another loss"


class NonFiniteError(UserError):
    """A number that is not finite ends the run, or sends it back to a checkpoint.

    Attributes:
        step, name: of the first such metric.
    """

    def __init__(self, message: str, step: int, name: str):
        super().__init__(message)
        self.step, self.name = step, name


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
    lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if line.endswith("\n"):
            try:
                record = json.loads(line, parse_constant=lambda _: None)  # NaN, which older versions wrote
                if type(record["step"]) is not int or not all(map(_may_be_metric, record.values())):
                    raise TypeError
                records.append({"step": record["step"], **record})
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is no record with a step: remove {line[:80]!r}") from error
    return records


def _may_be_metric(value: object) -> bool:
    """Whether it is a number that float32 holds, or None for one that was not finite."""
    return value is None or (isinstance(value, int | float) and abs(value) <= float(np.finfo(np.float32).max))


class JsonLines:
    """One JSON object per log step, with its `step`; what lies beyond the step that a run resumes from is dropped."""

    def __init__(self, path: Path, resumed_step: int):
        kept = [record for record in read_records(path) if record["step"] <= resumed_step]
        with atomic_write(path) as partial:
            partial.write_text("".join(json.dumps(record, allow_nan=False) + "\n" for record in kept))
        self.path, self.size, self.unwritten = path, path.stat().st_size, ""

    def write(self, step: int, metrics: Record) -> None:
        """Adds a line; what a full disk does not take waits for the next one."""
        self.unwritten += json.dumps({"step": step, **metrics}, allow_nan=False) + "\n"
        with warn_on_oserror(str(self.path)), self.path.open("r+") as file:
            file.truncate(self.size)  # half a line may have been written
            file.seek(self.size)
            file.write(self.unwritten)
            file.flush()
            self.size, self.unwritten = file.tell(), ""

    def close(self) -> None:
        """Nothing is open between two lines."""


class TensorBoard:
    """TensorBoard event files, written by this thread: the one of tensorboardX does not survive a full disk."""

    def __init__(self, folder: Path, resumed_step: int):
        self.folder, self.purged, self.file = folder, resumed_step + 1, None
        folder.mkdir(exist_ok=True)

    def write(self, step: int, metrics: Record) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # noqa: PLC0415  (slow to import)
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # noqa: PLC0415
        from tensorboardX.proto.summary_pb2 import Summary  # noqa: PLC0415

        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items() if value is not None]
        with warn_on_oserror(str(self.folder)):
            if self.file is None:
                # The name holds the second; of two files within one the later would replace the other.
                self.file = EventsWriter(str(self.folder / "events"), f".{step:010d}")
                start = SessionLog(status=SessionLog.START)  # what was written from this step on is hidden
                self.file.write_event(Event(step=self.purged, wall_time=time.time(), session_log=start))
            self.file.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
            self.file.flush()
            return
        self.file = None  # its last event may be half written, and hide all that would follow

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


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
        d_loss, g_loss = (math.nan if metrics[name] is None else metrics[name] for name in ("d_loss", "g_loss"))
        losses = f"d_loss {d_loss:.3f}  g_loss {g_loss:.3f}"
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


CURVES_EVERY = 60  # seconds: drawing takes as long as tens of steps of a small network
PANELS = (
    ("losses", ("d_loss", "g_loss")),
    ("discriminator outputs (logits)", ("d_real", "d_fake")),
    ("learning rates", ("d_learning_rate", "g_learning_rate")),
)
DISTANCES = ("FD-", "FID")
NAMES = {"d": "discriminator", "g": "generator", "d_real": "on real", "d_fake": "on fake"}


def save_curves(path: Path, records: list[dict]) -> None:
    """Draws the losses, the discriminator's outputs on real and fake, learning rates and distances over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    distances = sorted({name for record in records for name in record if name.startswith(DISTANCES)})
    panels = [*PANELS, *([("Fréchet distance", distances)] if distances else [])]
    figure = Figure(figsize=(7, 3 * len(panels)))
    figure.subplots_adjust(0.09, 0.06, 0.97, 0.96, hspace=0.15)  # a layout worked out anew takes most of the time
    for axes, (title, names) in zip(figure.subplots(len(panels), sharex=True), panels, strict=True):
        for name, width in zip(names, (2.4, *[1.2] * len(names)), strict=False):  # lines that coincide are both seen
            points = [(record["step"], record[name]) for record in records if name in record]
            steps, values = np.array(points, float).T if points else ((), ())  # None becomes NaN: a gap
            label = name if name in distances else NAMES.get(name, NAMES[name[0]])
            axes.plot(steps, values, label=label, linewidth=width, marker="." if len(steps) < 3 else "")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend()
        if title == "learning rates":
            axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    with atomic_write(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


class TrainingMonitor:
    """Warns of training that fails with finite numbers: its fakes hardly differ, or its discriminator has won.

    Each is told once at its onset, at a log step. Fakes are judged by the mean over all steps since the log step
    before, at least `LEAST`, and not before a new run's first log step, where generators begin. A discriminator has won
    that told every pair apart for `LOST` steps: a healthy critic of WGAN-GP did so for its first 200.
    """

    LEAST, LOST, SPREAD = 100, 1000, 0.1

    def __init__(self):
        self.spreads: list[np.ndarray] = []
        self.new, self.won, self.before = False, 0, {"collapsed": False, "won": False}

    def update(self, first_step: int, values: Mapping[str, np.ndarray]) -> None:
        """Takes the metrics of one dispatch, which began after `first_step`."""
        self.new |= first_step == 0
        self.spreads.append(values["g_spread"])
        won = values["d_ahead"] > 1 - 1e-6  # a mean of ones may be rounded
        self.won = self.won + len(won) if won.all() else 0

    def report(self, step: int) -> None:
        """Warns of what was seen, once there is enough of it."""
        spreads = np.concatenate(self.spreads)
        spreads = spreads[np.isfinite(spreads)]
        if len(spreads) < self.LEAST:
            return
        spread = spreads.mean()
        now = {"collapsed": spread < self.SPREAD and not self.new, "won": self.won >= self.LOST}
        if now["collapsed"] and not self.before["collapsed"]:
            warn(
                f"step {step}: the samples hardly differ (their spread is {spread:.0%} of the real examples'): the "
                "generator has collapsed; try a smaller learning rate, or config.packing=2"
            )
        if now["won"] and not self.before["won"]:
            warn(
                f"step {step}: the discriminator told every fake from its real example for {self.won} steps: the "
                "generator may learn nothing more; try a penalty such as r1, or config.augment"
            )
        self.before, self.spreads, self.new = now, [], False


class MetricLogger:
    """The metrics of a run: reads them from the device, passes them to the writers, and tells when training fails.

    Args:
        config: of the run.
        workdir: its folder.
        first_step: the step from which it goes on; what was written of later ones is dropped.
        writes: whether this process does; the others only look for bad numbers.
    """

    def __init__(self, config: ConfigDict, workdir: Path, first_step: int, writes: bool = True):
        self.config, self.workdir, self.writers = config, workdir, []
        if writes:
            self.writers = [
                JsonLines(workdir / "metrics.jsonl", first_step),
                TensorBoard(workdir / "tensorboard", first_step),
                Terminal(first_step, config.steps),
            ]
        self.since = (first_step, time.perf_counter())
        self.drawn = self.since[1]
        self.record: dict[str, float | None] = {}
        self.collapse, self.last_bad, self.bad_in_a_row = TrainingMonitor(), None, 0

    def write(self, first_step: int, metrics: Mapping[str, jax.Array], scores: Record = MappingProxyType({})) -> None:
        """Takes every step's metrics of one dispatch, which began after `first_step`, and writes them at a log step.

        Scores of what was drawn after the last of these steps are written with them, also between log steps where
        samples or scores are due.

        Raises:
            NotFinite: one of them is not finite; with `config.on_nonfinite` "skip", too many steps in a row have one.
        """
        values = jax.device_get(dict(metrics))
        self.check(first_step, values)
        self.collapse.update(first_step, values)
        step = first_step + len(values["d_loss"])
        last = {name: float(array[-1]) for name, array in values.items()} | dict(scores)
        self.record = {name: value if math.isfinite(value) else None for name, value in last.items()}
        logs = step % self.config.log_every == 0
        if logs:
            self.collapse.report(step)
        scored = any(every and step % every == 0 for every in (self.config.sample_every, self.config.eval.every))
        if logs or (scores and scored):
            now = time.perf_counter()
            rate = (step - self.since[0]) / (now - self.since[1])
            self.since = step, now
            speed = {"steps_per_second": rate, "images_per_second": rate * self.config.batch_size}
            for writer in self.writers:
                writer.write(step, self.record | speed)

    def check(self, first_step: int, values: Mapping[str, np.ndarray]) -> None:
        """Raises `NotFinite`, or warns, if one of these metrics is not finite."""
        bad = {name: ~np.isfinite(array) for name, array in values.items()}
        places = np.flatnonzero(np.any(list(bad.values()), axis=0)).tolist()

        def told(place: int) -> tuple[str, int, str]:
            step, name = first_step + place + 1, next(name for name in bad if bad[name][place])
            return f"{name} is {values[name][place]} at step {step}", step, name

        if places and self.config.on_nonfinite != "skip":
            text, *where = told(places[0])
            raise NonFiniteError(f"{text}: training stops and keeps its last good checkpoint; {ADVICE}", *where)
        for place in places:
            follows = first_step + place == self.last_bad  # the step before, be it of the dispatch before
            self.bad_in_a_row, self.last_bad = self.bad_in_a_row * follows + 1, first_step + place + 1
            if self.bad_in_a_row == self.config.nonfinite_limit:
                text, *where = told(place)
                row = f"config.nonfinite_limit={self.bad_in_a_row} steps in a row had such a number"
                raise NonFiniteError(f"{text}, and {row}: training stops; {ADVICE}", *where)
        if places:
            more = f" ({len(places)} steps of this dispatch)" if len(places) > 1 else ""
            warn(f"{told(places[0])[0]}{more}: its update is skipped")

    def refresh_curves(self) -> None:
        """Draws `curves.png` anew if that was not done for a minute."""
        now = time.perf_counter()
        if now - self.drawn >= CURVES_EVERY:
            self.drawn = now
            self.draw_curves()

    def draw_curves(self) -> None:
        """Draws `curves.png` anew, once there is something to draw."""
        records = read_records(self.workdir / "metrics.jsonl") if self.writers else []
        if records:
            with warn_on_oserror("curves.png"):
                save_curves(self.workdir / "curves.png", records)

    def __enter__(self) -> "MetricLogger":
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self.writers:
            writer.close()
        self.draw_curves()
