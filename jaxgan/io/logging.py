"""Where the numbers of a run go: JSON lines, TensorBoard, the terminal, curves."""

import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.settings import POSITIVE, Setting, Settings, one_of
from jaxgan.core.types import Algorithm, Monitor
from jaxgan.errors import UserError, warn
from jaxgan.io.files import atomic_write, warn_on_oserror
from jaxgan.viz.curves import save_curves

SETTINGS: Settings = {
    "log_every": Setting(100, "training steps between two records of the metrics", POSITIVE, resumable=True),
    "on_nonfinite": Setting(
        "stop",
        "when numbers are not finite: stop, skip the update, or rollback to a checkpoint",
        one_of("stop", "skip", "rollback"),
        resumable=True,  # no step with finite numbers knows of it
    ),
    "nonfinite_limit": Setting(
        10, "rollbacks to one checkpoint, or such steps in a row, after which training stops", POSITIVE, resumable=True
    ),
}

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
        # Its last event may be half written, and hide all that would follow.
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file._py_recordio_writer.close()  # the writer's own `close` writes first, and would not come to it
        self.file = None

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class Terminal:
    """A progress bar; where the output is no terminal, one line per log step instead."""

    def __init__(self, first_step: int, steps: int, headlines: Sequence[str], stream: io.TextIOBase | None = None):
        from tqdm import tqdm  # noqa: PLC0415

        self.stream = stream or sys.stdout
        self.steps, self.headlines = steps, headlines
        self.bar = None
        if self.stream.isatty():
            self.bar = tqdm(initial=first_step, total=steps, unit="step", file=self.stream, dynamic_ncols=True)

    def write(self, step: int, metrics: Record) -> None:
        rate = metrics["steps_per_second"]
        found = {name: math.nan if metrics[name] is None else metrics[name] for name in self.headlines}
        losses = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        speed = f"{metrics['examples_per_second']:,.0f} examples/s"
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


class TrainingMonitor:
    """Warns of training that fails with finite numbers, by the signs that an algorithm names; each onset once.

    Args:
        monitors: the signs.
    """

    def __init__(self, monitors: Sequence[Monitor]):
        self.monitors = monitors
        self.seen: dict[str, list[np.ndarray]] = {monitor.metric: [] for monitor in monitors}
        self.streak = dict.fromkeys(self.seen, 0)
        self.before = dict.fromkeys(self.seen, False)
        self.new = False

    def update(self, first_step: int, values: Mapping[str, np.ndarray]) -> None:
        """Takes the metrics of one dispatch, which began after `first_step`."""
        self.new |= first_step == 0
        for monitor in self.monitors:
            found = values[monitor.metric]
            self.seen[monitor.metric].append(found)
            bad = np.all(monitor.bad(found))
            self.streak[monitor.metric] = self.streak[monitor.metric] + len(found) if bad else 0

    def report(self, step: int) -> None:
        """Warns at a log step of what was seen, once there is enough of it."""
        for monitor in self.monitors:
            name = monitor.metric
            seen = np.concatenate(self.seen[name])
            seen, streak = seen[np.isfinite(seen)], self.streak[name]
            if monitor.always:
                value, now = math.nan, streak >= monitor.patience
            elif len(seen) < monitor.patience:
                continue
            else:
                value = seen.mean()
                now = bool(monitor.bad(value)) and not self.new  # generators begin with what hardly differs
            if now and not self.before[name]:
                warn(f"step {step}: {monitor.message.format(value=value, steps=streak)}")
            self.before[name], self.seen[name] = now, []
        if not any(self.seen.values()):
            self.new = False


class MetricLogger:
    """The metrics of a run: reads them from the device, passes them to the writers, and tells when training fails.

    Args:
        config, algorithm: of the run.
        workdir: its folder.
        first_step: the step from which it goes on; what was written of later ones is dropped.
        writes: whether this process does; the others only look for bad numbers.
    """

    def __init__(self, config: ConfigDict, algorithm: Algorithm, workdir: Path, first_step: int, writes: bool = True):
        self.config, self.algorithm, self.workdir, self.writers = config, algorithm, workdir, []
        if writes:
            self.writers = [
                JsonLines(workdir / "metrics.jsonl", first_step),
                TensorBoard(workdir / "tensorboard", first_step),
                Terminal(first_step, config.steps, algorithm.headlines),
            ]
        self.since = (first_step, time.perf_counter())
        self.drawn = self.since[1]
        self.record: dict[str, float | None] = {}
        self.monitor = TrainingMonitor(algorithm.monitors)
        self.last_bad, self.bad_in_a_row = None, 0

    def write(self, first_step: int, metrics: Mapping[str, jax.Array], scores: Record = MappingProxyType({})) -> None:
        """Takes every step's metrics of one dispatch, which began after `first_step`, and writes them at a log step.

        Scores of what was drawn after the last of these steps are written with them, also between log steps where
        samples or scores are due.

        Raises:
            NonFiniteError: one of them is not finite; with `config.on_nonfinite` "skip", in too many steps in a row.
        """
        values = jax.device_get(dict(metrics))
        self.check(first_step, values)
        self.monitor.update(first_step, values)
        step = first_step + len(next(iter(values.values())))
        last = {name: float(array[-1]) for name, array in values.items()} | dict(scores)
        self.record = {name: value if math.isfinite(value) else None for name, value in last.items()}
        logs = step % self.config.log_every == 0
        if logs:
            self.monitor.report(step)
        scored = any(every and step % every == 0 for every in (self.config.sample_every, self.config.eval.every))
        if logs or (scores and scored):
            now = time.perf_counter()
            rate = (step - self.since[0]) / (now - self.since[1])
            self.since = step, now
            speed = {"steps_per_second": rate, "examples_per_second": rate * self.config.batch_size}
            for writer in self.writers:
                writer.write(step, self.record | speed)

    def check(self, first_step: int, values: Mapping[str, np.ndarray]) -> None:
        """Raises `NonFiniteError`, or warns, if one of these metrics is not finite."""
        bad = {name: ~np.isfinite(array) for name, array in values.items()}
        places = np.flatnonzero(np.any(list(bad.values()), axis=0)).tolist()

        def describe(place: int) -> tuple[str, int, str]:
            step, name = first_step + place + 1, next(name for name in bad if bad[name][place])
            return f"{name} is {values[name][place]} at step {step}", step, name

        if places and self.config.on_nonfinite != "skip":
            text, *where = describe(places[0])
            raise NonFiniteError(f"{text}: training stops and keeps its last good checkpoint; {ADVICE}", *where)
        for place in places:
            follows = first_step + place == self.last_bad  # the step before, be it of the dispatch before
            self.bad_in_a_row, self.last_bad = self.bad_in_a_row * follows + 1, first_step + place + 1
            if self.bad_in_a_row == self.config.nonfinite_limit:
                text, *where = describe(place)
                row = f"config.nonfinite_limit={self.bad_in_a_row} steps in a row had such a number"
                raise NonFiniteError(f"{text}, and {row}: training stops; {ADVICE}", *where)
        if places:
            more = f" ({len(places)} steps of this dispatch)" if len(places) > 1 else ""
            warn(f"{describe(places[0])[0]}{more}: its update is skipped")

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
                save_curves(self.workdir / "curves.png", records, self.algorithm.curves)

    def __enter__(self) -> "MetricLogger":
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self.writers:
            writer.close()
        self.draw_curves()
