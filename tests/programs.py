"""Shared by the tests of both programs: the tiny experiment on their command lines, and comparisons of its folder."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxgan.cli import train
from jaxgan.config import build, default
from jaxgan.core import devices, population
from jaxgan.io.checkpoint import Checkpoints

ROOT = Path(__file__).parents[1]
DEADLINE = 300  # seconds; a program that a test started is killed then
PATIENCE = 30  # seconds in which a process that was told to end does so
SPEEDS = ("steps_per_second", "examples_per_second")


def options(workdir: Path, *more: str) -> list[str]:
    """The command line that trains the tiny experiment; of an option given twice the last one counts."""
    return [f"--config={tiny.__file__}", f"--workdir={workdir}", *more]


def train_tiny(workdir: Path, *more: str) -> int:
    """Runs train.py in this process, with the programs of `once`, and leaves its signal handlers as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        for name, function in ORIGINAL.items():
            if getattr(devices, name) is function:  # and not what a test has put in its place
                patch.setattr(devices, name, globals()[name])
        try:
            return train.main(options(workdir, *more))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# To trace a tiny experiment takes longer than to train it: what was compiled for one run serves all that compute the
# same, whose settings differ in resumable ones alone. What tests start in processes of their own shares nothing.
ORIGINAL = {name: getattr(devices, name) for name in ("compile_steps", "compile_and_run")}
MADE: dict[tuple, object] = {}


def once(make, exp, *more):
    """make(), or what it gave for the same experiment and the same things besides."""
    computed = sorted((name, repr(value)) for name, value in exp.flat.items() if not exp.declared[name].resumable)
    key = (tuple(computed), exp.classes, exp.axis_name, *more)
    if key not in MADE:
        MADE[key] = make()
    return MADE[key]


def compile_steps(run, state, data, inputs, axis, profile=False):
    """As `devices.compile_steps`, but compiled once."""
    exp, kinds = run.args[0], str(jax.eval_shape(lambda *trees: trees, state, data, inputs))
    make = functools.partial(ORIGINAL["compile_steps"], run, state, data, inputs, axis, profile)
    return once(make, exp, exp.algorithm.step, kinds, axis, profile)


def compile_and_run(create, exp):
    """As `devices.compile_and_run`, but run once; gives copies, whose memory the steps may reuse."""
    return jax.tree.map(jnp.array, once(lambda: ORIGINAL["compile_and_run"](create, exp), exp, create))


@contextlib.contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen]:
    """A Python program in its own process, killed at the latest at the deadline or at the end of the block."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=dict(os.environ, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = threading.Timer(DEADLINE, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def read_until(process: subprocess.Popen, start: str) -> str:
    """The first line of its output that starts so."""
    return next(line for line in process.stdout if line.startswith(start))


def wait_until(happens, seconds: float = PATIENCE) -> bool:
    """Whether something happens in time."""
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(happens())


def members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (place / "stat").read_text().rpartition(") ")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(place.name))
    return found


def bits(tree) -> dict:
    """{path: (type, shape, bytes)} of every array: equal for trees that are equal bit by bit."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.tree.map(np.asarray, tree))
    return {jax.tree_util.keystr(path): (leaf.dtype, leaf.shape, leaf.tobytes()) for path, leaf in leaves}


def contents(folder: Path) -> dict:
    """{path: bytes} of everything in a folder, None for a folder."""
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def records(workdir: Path) -> list[dict]:
    """The metrics of a run, without those that tell of the machine."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in SPEEDS} for line in lines]


@functools.cache
def template(classes: int = 0, **settings):
    """The shapes of the tiny experiment's state, with some settings changed; `data__size` stands for `data.size`."""
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    exp = build(default(tiny.TINY | changes), classes)
    return jax.eval_shape(lambda: population.init_state(exp))


def saved(workdir: Path, step: int | None = None, **settings) -> tuple[int, dict]:
    """The step and the bits of a checkpoint of the tiny experiment, or of one with other settings."""
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        found, state = checkpoints.restore(template(**settings), step)
    return found, bits(state)


def saved_steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def grids(workdir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((workdir / "samples").iterdir())}
