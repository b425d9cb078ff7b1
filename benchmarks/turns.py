"""Programs that are timed beside each other: each in a process of its own, one at work at a time, in turns.

Nothing of one touches another: neither thread pools nor memory nor just-in-time compilers. A machine whose speed drifts
slows neighbouring turns alike, so what is compared is a ratio of the turns of one round.

A program is what a module's `Program(config, data, **options)` makes. It has `run(steps)`, which makes so many training
steps and waits for the last, `dispatch`, by which `steps` should be divisible, and `settings`, a line of text. The
module has `device_peak()`, bytes, or None where the device is the host. Its framework is imported in the child alone.
"""

import contextlib
import importlib
import multiprocessing
import os
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxgan.errors import exit_code

LIMIT = 1800  # seconds without an answer after which a child is given up; some compile for minutes
PATIENCE = 30  # seconds in which a child that is no longer needed may end by itself
TURN = 1.0  # seconds that a turn should take
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # otherwise the first one takes most of a GPU's memory
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # compile times are those of the first time
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}

ONE_BY_ONE = threading.Lock()  # children take their environment from this process's


class ChildError(Exception):
    """A child that raised, died or gave no answer; the message is one line."""


class Ready(NamedTuple):
    """What a child says when it has compiled.

    Attributes:
        compile_seconds: from the start until the first dispatch was done, without what a later one takes.
        step_seconds: of one training step.
        dispatch: training steps that it makes at one command.
        settings: a line of text.
    """

    compile_seconds: float
    step_seconds: float
    dispatch: int
    settings: str


class Child:
    """A process that answers one request after the other, and sleeps in between.

    Args:
        module: of this folder.
        variables: of its environment, besides ENVIRONMENT.
        limit: seconds without an answer after which it is given up.
    """

    def __init__(self, module: str, variables: Mapping[str, str] = MappingProxyType({}), limit: float = LIMIT):
        self.limit = limit
        context = multiprocessing.get_context("spawn")  # frameworks do not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, module), daemon=True)
        with ONE_BY_ONE, environment(ENVIRONMENT | variables):  # which some packages read when they are imported
            self.process.start()
        theirs.close()  # so that its death ends the pipe

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()  # which ends it, unless it hangs
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()

    def ask(self, request: str, *arguments: object, **options: object) -> Any:
        """What `_Served.REQUEST(*arguments, **options)` returns, or a `ChildError`."""
        try:
            self.connection.send((request, arguments, options))
            if not self.connection.poll(self.limit):
                self.process.kill()
                raise ChildError(f"gave no answer in {self.limit:.0f} s")
            error, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise ChildError(f"died with exit code {self.process.exitcode}") from None
        if error:
            raise ChildError(error)
        return answer


class _Served:
    """What a child can be asked."""

    def __init__(self, module: str):
        self.module = importlib.import_module(f"benchmarks.{module}")
        self.baseline = _memory("VmRSS")
        self.program: Any = None

    def start(self, *arguments: object, **options: object) -> Ready:
        """Makes the module's program and warms it up."""
        started = time.perf_counter()
        self.program = self.module.Program(*arguments, **options)
        size = self.program.dispatch
        self.program.run(size)
        first = time.perf_counter() - started
        self.turn(size)
        seconds = self.turn(size)
        return Ready(first - seconds, seconds / size, size, self.program.settings)

    def turn(self, steps: int) -> float:
        """The seconds that so many steps take."""
        started = time.perf_counter()
        self.program.run(steps)
        return time.perf_counter() - started

    def peak_memory(self) -> int:
        """The most bytes that the program held on its device; on a host, without what the framework takes by itself."""
        peak = self.module.device_peak()
        return _memory("VmHWM") - self.baseline if peak is None else peak

    def call(self, function: str, *arguments: object) -> Any:
        """What a function of the module returns."""
        return getattr(self.module, function)(*arguments)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started in the block have, and this one meanwhile."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(connection: Connection, module: str) -> None:
    served = None
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # the parent is gone, or Ctrl-C ended all of us
        while True:
            request, arguments, options = connection.recv()
            try:
                served = served or _Served(module)
                answer = "", getattr(served, request)(*arguments, **options)
            except Exception as error:
                traceback.print_exc()
                answer = _last_line(error), None
            connection.send(answer)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def _memory(name: str) -> int:
    """A field of /proc/self/status in bytes. Unlike getrusage's peak, these begin anew in a child."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(benchmark: Callable[[Sequence[str]], int | None], usage: str, argv: Sequence[str]) -> int:
    """A program that times others: prints its usage if asked to, or runs; returns its exit code."""
    if "--help" in argv or "-h" in argv:
        print(usage)
        return 0
    with environment(ENVIRONMENT):  # this process looks at the devices as well
        return exit_code(lambda: benchmark(argv))


def take_turns(children: Mapping[str, Child], ready: Mapping[str, Ready], rounds: int) -> dict[str, list[float] | str]:
    """Seconds of a step in every round for each child, or why it failed.

    The order is rotated from round to round.
    """
    found: dict[str, list[float] | str] = {name: [] for name in ready}
    names = list(ready)
    for turn in range(rounds + 1):
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:
            if isinstance(found[name], str):
                continue
            steps = steps_in_turn(ready[name])
            try:
                seconds = children[name].ask("turn", steps)
            except ChildError as failure:
                found[name] = str(failure)
            else:
                if turn:  # the first round warms up
                    found[name].append(seconds / steps)
    return found


def steps_in_turn(child: Ready) -> int:
    """As many as it makes in about TURN seconds, in whole dispatches, at least one."""
    return max(1, round(TURN / child.step_seconds / child.dispatch)) * child.dispatch


def quartiles(times: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """Of the ratios of the rounds' times: the lower quartile, the median, the upper quartile."""
    low, middle, high = statistics.quantiles([one / other for one, other in zip(times, others, strict=True)], n=4)
    return low, middle, high


def ratio(times: Sequence[float], others: Sequence[float]) -> str:
    """The same as text."""
    low, middle, high = quartiles(times, others)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def best_seconds(run: Callable[[], object], repeats: int = 10) -> float:
    """The shortest time that a call takes, after a first one that warms up."""
    return min(list(_times(run, repeats + 1))[1:])


def _times(run: Callable[[], object], count: int) -> Iterator[float]:
    for _ in range(count):
        started = time.perf_counter()
        run()
        yield time.perf_counter() - started
