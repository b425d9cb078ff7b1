"""Training from the command line: what a run leaves behind, and that no interruption changes any of it."""

import gzip
import hashlib
import json
import re
import shutil
import signal
import struct
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from programs import (
    DEADLINE,
    PATIENCE,
    contents,
    grids,
    options,
    read_until,
    records,
    saved,
    saved_steps,
    started,
    template,
    train_tiny,
)
from tensorboardX.proto import event_pb2
from tiny import TINY

from jaxgan import train
from jaxgan.cli.train import main
from jaxgan.config import default, load
from jaxgan.core import devices
from jaxgan.core.program import Program, dispatch_size
from jaxgan.core.settings import flatten
from jaxgan.data import order
from jaxgan.data.sources import digits
from jaxgan.errors import INTERRUPTED, UserError
from jaxgan.viz.grid import image_grid


def same_run(one: Path, two: Path) -> None:
    """All that two runs of the same steps leave behind is equal, but for times and speeds."""
    assert saved(one) == saved(two)
    assert records(one) == records(two)
    for name in ("config.json", "data.json", "real.png", "curves.png", "progress.gif"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert grids(one) == grids(two)


def scalars(folder: Path) -> dict[int, dict[str, float]]:
    """{step: {name: value}} as TensorBoard shows it: a resumed run purges what lay beyond."""
    shown = {}
    for path in sorted(folder.iterdir()):
        raw, place = path.read_bytes(), 0
        while place < len(raw):
            (size,) = struct.unpack_from("<Q", raw, place)
            event = event_pb2.Event.FromString(raw[place + 12 : place + 12 + size])
            place += 12 + size + 4
            if event.HasField("session_log") and event.session_log.status == event_pb2.SessionLog.START:
                shown = {step: values for step, values in shown.items() if step < event.step}
            for value in event.summary.value:
                shown.setdefault(event.step, {})[value.tag] = value.simple_value
    return shown


# What a run leaves behind


def test_a_run_folder_holds_everything(unbroken):
    assert {path.name for path in unbroken.iterdir()} == {
        "config.json", "data.json", "real.png", "metrics.jsonl", "samples", "checkpoints", "curves.png", "progress.gif",
        "tensorboard", "launches.jsonl", "lock",
    }  # fmt: skip
    kept = flatten(load(unbroken / "config.json"))
    assert {name: kept[name] for name in TINY} == TINY
    assert list(grids(unbroken)) == [f"step_{step:06d}.png" for step in (0, 4, 8, 12)]
    assert saved_steps(unbroken) == [4, 8, 12]
    with Image.open(unbroken / "progress.gif") as animation, Image.open(unbroken / "samples/step_000000.png") as grid:
        assert (animation.n_frames, animation.size) == (4, grid.size)
    with Image.open(unbroken / "curves.png") as curves:
        assert (curves.format, curves.size) == ("PNG", (700, 900))


def test_a_run_folder_describes_its_data(unbroken):
    """The number of examples, the names of their labels, a digest, and a grid of the first examples."""
    split = digits.read("").splits["train"]
    pixels = np.ascontiguousarray(split.images).tobytes() + split.targets.tobytes()
    assert json.loads((unbroken / "data.json").read_text()) == {
        "examples": 1797,
        "classes": list("0123456789"),
        "digest": hashlib.blake2b(pixels, digest_size=16).hexdigest(),
    }
    shown = split.images[order.batch_indices(0, 0, TINY["sample_grid"], 1797)]
    with Image.open(unbroken / "real.png") as real, Image.open(unbroken / "samples/step_000000.png") as grid:
        assert real.size == grid.size
        np.testing.assert_array_equal(np.asarray(real), image_grid(shown))


def test_metrics_are_the_log_steps_and_finite(unbroken):
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    for line in lines:
        assert line["examples_per_second"] == pytest.approx(line["steps_per_second"] * TINY["batch_size"])
        assert line["learning_rate/discriminator"] == pytest.approx(0.01)


def test_tensorboard_shows_the_same_numbers(unbroken):
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    expected = {line.pop("step"): {name: float(np.float32(value)) for name, value in line.items()} for line in lines}
    assert scalars(unbroken / "tensorboard") == expected


def test_the_checkpoint_is_the_state_of_its_step(unbroken):
    for step in saved_steps(unbroken):
        found, state = saved(unbroken, step)
        assert found == step
        assert state[".step"] == (np.int32, (), np.int32(step).tobytes())


# Resuming


def test_fewer_steps_than_were_trained_are_refused(unbroken, capsys):
    before = contents(unbroken)
    assert train_tiny(unbroken, "--config.steps=4") == 2
    assert f"{unbroken} is at step 12, beyond config.steps=4" in capsys.readouterr().err
    assert contents(unbroken) == before


def test_a_grid_that_is_missing_after_a_crash_is_made_when_the_run_is_resumed(unbroken, tmp_path):
    assert train_tiny(tmp_path / "run", "--config.steps=8") == 0
    (tmp_path / "run" / "samples" / "step_000008.png").unlink()
    assert train_tiny(tmp_path / "run") == 0
    assert contents(tmp_path / "run" / "samples") == contents(unbroken / "samples")


@pytest.mark.parametrize("dispatch", [1, 2])
def test_a_larger_steps_continues_a_run_as_if_it_had_never_stopped(unbroken, tmp_path, dispatch, capsys):
    together = f"--config.steps_per_dispatch={dispatch}"
    whole, broken = (unbroken if dispatch == 1 else tmp_path / "whole"), tmp_path / "broken"
    if dispatch > 1:
        assert train_tiny(whole, together) == 0
    assert train_tiny(broken, together, "--config.steps=5") == 0
    assert saved_steps(broken) == [4, 5]
    assert train_tiny(broken, together) == 0
    assert f"resuming {broken} from step 5" in capsys.readouterr().out
    assert saved(broken) == saved(whole)
    assert records(broken) == records(whole)
    assert {name: grid for name, grid in grids(broken).items() if name != "step_000005.png"} == grids(whole)
    lines = [json.loads(line) for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert {step: values["loss/discriminator"] for step, values in scalars(broken / "tensorboard").items()} == {
        line["step"]: line["loss/discriminator"] for line in lines
    }


def test_a_finished_run_has_nothing_left_to_do(workdir, unbroken):
    assert train_tiny(workdir) == 0
    same_run(workdir, unbroken)


@pytest.mark.parametrize("lost", [(12,), (8, 12), (4, 8, 12)])
def test_a_crash_leaves_no_trace(workdir, unbroken, lost):
    """Lines beyond the newest checkpoint and half a line at the end: no step is recorded twice, and none is missing."""
    for step in lost:
        shutil.rmtree(workdir / "checkpoints" / str(step))
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(last | {"step": 14}) + "\n" + json.dumps(last | {"step": 16})[:50])
    assert train_tiny(workdir) == 0
    same_run(workdir, unbroken)


def test_resumable_settings_may_change(workdir, unbroken):
    changes = {"log_every": 3, "sample_every": 6, "checkpoint_every": 3, "checkpoint.keep": 1, "steps": 15}
    assert train_tiny(workdir, *(f"--config.{name}={value}" for name, value in changes.items())) == 0
    assert [line["step"] for line in records(workdir)] == [2, 4, 6, 8, 10, 12, 15]
    assert saved_steps(workdir) == [15]
    assert grids(workdir).items() > grids(unbroken).items()
    kept = flatten(load(workdir / "config.json"))
    assert {name: kept[name] for name in changes} == changes


# Signals


# Each checkpoint takes as long as a hundred steps: the run, which goes on until the signal has arrived, is done again.
RARELY = ("--config.checkpoint_every=40", "--config.sample_every=40")


def test_a_signal_saves_and_the_same_command_resumes(tmp_path):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
        with started("-u", "train.py", *options(stopped, *RARELY, "--config.steps=100000")) as process:
            read_until(process, "step ")
            process.send_signal(number)
            out, err = process.communicate(timeout=DEADLINE)
        line = re.search(
            r"^stopped by (\w+); step (\d+) is saved: the same command resumes from there$", out, re.MULTILINE
        )
        assert (process.returncode, err, line and line[1]) == (code, "", number.name)
        step = int(line[2])
        assert saved(stopped)[0] == step
    for folder in (stopped, whole):
        assert train_tiny(folder, *RARELY, f"--config.steps={step + 3}") == 0
    assert saved(stopped) == saved(whole)
    assert records(stopped) == records(whole)
    assert grids(stopped).items() >= grids(whole).items()


def test_a_second_interrupt_ends_at_once(tmp_path):
    hangs = """
import sys, time
from jaxgan.cli.train import main
from jaxgan.io.checkpoint import Checkpoints
Checkpoints.save = lambda *arguments: (print("saving", flush=True), time.sleep(600))
sys.exit(main(sys.argv[1:]))
"""
    with started(
        "-c", hangs, *options(tmp_path, "--config.steps=100000", "--config.checkpoint_every=100000")
    ) as process:
        read_until(process, "step 2/")
        process.send_signal(signal.SIGINT)
        read_until(process, "saving")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == -signal.SIGINT


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_whenever_the_signal_comes_every_step_that_ran_is_saved(tmp_path, monkeypatch, capsys, moment):
    """The signal comes between two polls of the loop; each poll is tried."""
    polls, ran = [], []

    class Later(train.StopSignal):
        def __init__(self):
            pass

        @property
        def signal(self):
            polls.append(1)
            return signal.SIGINT if len(polls) > moment else None

    call = Program.__call__

    def counted(self, state, inputs, count):
        ran.append(count)
        return call(self, state, inputs, count)

    monkeypatch.setattr(train, "StopSignal", Later)
    monkeypatch.setattr(Program, "__call__", counted)
    assert train_tiny(tmp_path / "run") == INTERRUPTED
    assert f"step {sum(ran)} is saved" in capsys.readouterr().out
    every = TINY["checkpoint_every"]
    assert saved_steps(tmp_path / "run") == sorted({*range(every, sum(ran) + 1, every), sum(ran)})


# Damage


def ruin(workdir: Path, step: int) -> None:
    (workdir / "checkpoints" / str(step) / "state" / "_METADATA").write_text("{")


def warnings_in(captured) -> list[str]:
    return [line.split(" is damaged")[0] for line in captured.err.splitlines()]


def test_a_damaged_checkpoint_is_moved_aside_and_trained_anew(workdir, unbroken, capsys):
    ruin(workdir, 12)
    harmed = contents(workdir / "checkpoints" / "12")
    assert train_tiny(workdir) == 0
    captured = capsys.readouterr()
    assert warnings_in(captured) == ["warning: the checkpoint of step 12"]
    assert f"resuming {workdir} from step 8" in captured.out
    same_run(workdir, unbroken)
    assert contents(workdir / "damaged" / "12") == harmed


def test_a_run_without_a_whole_checkpoint_is_left_alone(workdir, capsys):
    for step in (4, 8, 12):
        ruin(workdir, step)
    before = contents(workdir)
    for _ in range(2):
        assert train_tiny(workdir) == 2
        *warnings, error = capsys.readouterr().err.splitlines()
        assert [line.split(" is damaged")[0] for line in warnings] == [
            f"warning: the checkpoint of step {step}" for step in (12, 8, 4)
        ]
        assert error.startswith("error: ") and "no whole checkpoint of step 4, 8, 12" in error  # noqa: PT018
    assert contents(workdir) == before


@pytest.mark.parametrize(
    ("update_rule", "rate"), [("alternating", "1e30"), ("simultaneous", "1e20"), ("simultaneous", "1e38")]
)
def test_numbers_that_are_not_finite_stop_the_run_and_are_never_saved(tmp_path, capsys, update_rule, rate):
    code = train_tiny(
        tmp_path,
        f"--config.update_rule={update_rule}",
        "--config.loss=wasserstein",
        f"--config.optimizer.generator.learning_rate={rate}",
        f"--config.optimizer.discriminator.learning_rate={rate}",
        "--config.checkpoint_every=1",
        "--config.log_every=1",
    )
    (error,) = capsys.readouterr().err.splitlines()
    line = re.match(
        r"error: ([\w/]+) is (nan|-?inf) at step (\d+): training stops and keeps its last good checkpoint", error
    )
    assert code == 2, error
    assert "try a smaller learning rate" in error
    step = int(line[3])
    assert [line["step"] for line in records(tmp_path)] == list(range(1, step))
    assert saved_steps(tmp_path) == list(range(1, step))[-3:]
    for kept in saved_steps(tmp_path):
        for path, (dtype, _, raw) in saved(tmp_path, kept)[1].items():
            assert np.isfinite(np.frombuffer(raw, dtype)).all(), (kept, path)


# Before the start


def test_a_dry_run_prints_the_cost_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_tiny(tmp_path / "run", "--dry_run") == 0
    captured = capsys.readouterr()
    assert contents(tmp_path) == {}
    assert captured.err == ""
    for network, rows in {"generator": 3, "discriminator": 2}.items():
        table = captured.out.split(network)[1].split("\n\n")[0]
        total = re.search(r"^total +([\d,]+) +([\d,]+)", table, re.MULTILINE)
        params = template().networks[network].params
        assert int(total[1].replace(",", "")) == sum(leaf.size for leaf in jax.tree.leaves(params))
        assert len(re.findall(r"^[\w/]+_\d", table, re.MULTILINE)) == rows
    assert re.search(
        r"^a training step: [\d.e-]+ GFLOP on each device, \d+ MiB of its memory", captured.out, re.MULTILINE
    )
    assert "step 2/" not in captured.out
    assert "\n1,797 images (8x8x1), 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9); resident\n" in captured.out


def test_the_cost_of_a_step_is_the_same_however_many_make_a_dispatch(tmp_path, capsys):
    costs = []
    for count in (1, 2):
        assert train_tiny(tmp_path / "run", "--dry_run", f"--config.steps_per_dispatch={count}") == 0
        out = capsys.readouterr().out
        assert f"; {count} per dispatch" in out
        costs.append(float(re.search(r"a training step: (\S+) GFLOP", out)[1]))
    assert costs[0] == pytest.approx(costs[1], rel=0.02)


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path):
    """The first start fills an empty cache, the second one, of another folder, adds no program to it."""
    found = []
    for name in ("one", "two"):
        with started(
            "train.py",
            *options(tmp_path / name, "--config.steps=4"),  # two logs, two grids, one checkpoint
            JAX_COMPILATION_CACHE_DIR=str(tmp_path / "cache"),
        ) as process:
            _, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, err) == (0, "")
        found.append({path.name for path in (tmp_path / "cache").iterdir()})
    assert found[0] == found[1] != set()
    same_run(tmp_path / "one", tmp_path / "two")


def test_steps_per_dispatch_divides_every_interval():
    config = default()
    config.log_every, config.sample_every, config.checkpoint_every = 12, 18, 30
    most = devices.default_steps_per_dispatch()
    assert dispatch_size(config) == max(size for size in (1, 2, 3, 6) if size <= most)
    for size in range(1, 40):
        config.steps_per_dispatch = size
        if size in (1, 2, 3, 6):
            assert dispatch_size(config) == size
        else:
            with pytest.raises(UserError, match=f"steps_per_dispatch={size} must divide log_every=12"):
                dispatch_size(config)


def test_a_profile_shows_the_operations_of_a_step(tmp_path, capsys):
    """Also on a CPU, whose programs have to be compiled for that."""
    run = tmp_path / "run"
    # Neither grids nor checkpoints among the dispatches that are traced: what Python does there fills the trace.
    assert train_tiny(run, "--profile", "--config.sample_every=12", "--config.checkpoint_every=12") == 0
    assert f"a profile is in {run / 'profile'}" in capsys.readouterr().out
    (trace,) = (run / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert any("hlo_op" in event.get("args", {}) for event in events)


def test_the_command_line_is_the_argument_of_main(tmp_path, monkeypatch, capsys):
    """Also where the process was started with another one, as in a notebook or a test."""
    monkeypatch.setattr(sys, "argv", ["notebook", "--config.loss=nonsense"])
    assert main(options(tmp_path / "run", "--dry_run")) == 0
    assert capsys.readouterr().err == ""
