"""Work done ahead of its use: the order of results, errors in their places, and no process that outlives its use."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from programs import DEADLINE, PATIENCE, ROOT, members, options, saved_steps, wait_until

from jaxgan.data import workers
from jaxgan.errors import UserError

# Threads


@settings(deadline=None, max_examples=20, derandomize=True)
@given(start=st.integers(0, 2**40), count=st.integers(0, 60))
def test_threads_give_the_values_in_the_order_of_the_arguments(start, count):
    """Also where later ones are ready first."""

    def slower_at_times(number: int) -> int:
        time.sleep(0.002 * (number % 3 == 0))
        return number**2

    squares = [number**2 for number in range(start, start + count)]
    assert list(workers.ordered_map(slower_at_times, start, start + count)) == squares


def test_threads_work_ahead_but_not_without_end():
    seen = []
    most = 3 * workers.MOST_THREADS
    numbers = workers.ordered_map(lambda number: seen.append(number) or number, 7, workers.ENDLESS, ahead=40)
    assert seen == []
    with contextlib.closing(numbers):
        assert next(numbers) == 7
        assert wait_until(lambda: len(seen) >= 40)
        time.sleep(0.2)
        assert len(seen) <= most
    done = len(seen)
    time.sleep(0.2)
    assert len(seen) - done <= workers.MOST_THREADS  # those that were under way
    assert sorted(seen) == list(range(7, 7 + len(seen)))


@pytest.mark.parametrize("error", [UserError("5 is wrong"), ValueError("a bug")])
def test_an_error_of_a_thread_comes_as_itself_in_its_place(error):
    def fails_at_5(number: int) -> int:
        if number == 5:
            raise error
        return number

    numbers = workers.ordered_map(fails_at_5, 0, 20)
    assert list(itertools.islice(numbers, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(type(error)) as raised:
        next(numbers)
    assert raised.value is error
    assert list(numbers) == []


def test_threads_leave_the_signals_of_the_program_alone():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    numbers = workers.ordered_map(int, 0, 3)
    next(numbers)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    numbers.close()


# Processes


def test_processes_do_the_same():
    """One test for all laws, since processes start slowly; a local function, since processes need not import it."""

    def square(number: int) -> tuple[int, int, set[int]]:
        if number == 5:
            raise UserError("5 is wrong")
        return number**2, os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, ())

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with contextlib.closing(workers.ordered_map(square, 0, workers.ENDLESS, processes=2)) as results:
        first = list(itertools.islice(results, 5))
        squares, processes, blocked = zip(*first, strict=True)
        assert squares == (0, 1, 4, 9, 16)
        assert {child.pid for child in multiprocessing.active_children()} == set(processes)
        assert processes == (*processes[:2], *processes[:2], processes[0])
        assert processes[0] != processes[1]
        # Ctrl-C goes to every process of a terminal, and the parent decides what follows.
        assert all({signal.SIGINT, signal.SIGTERM} <= signals for signals in blocked)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        with pytest.raises(UserError) as raised:
            next(results)
        assert str(raised.value) == "5 is wrong"
        assert multiprocessing.active_children() == []

    powers = workers.ordered_map(functools.partial(pow, 3), 2, workers.ENDLESS, processes=1)
    assert [next(powers), next(powers)] == [9, 27]
    (child,) = multiprocessing.active_children()
    powers.close()
    assert child.exitcode == 0


# Whole programs


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of 20 tiny PNGs."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@contextlib.contextmanager
def training(workdir: Path, pictures: Path, processes: int) -> Iterator[subprocess.Popen]:
    """train.py without end, in a group of its own, with processes that decode; the group is killed at last."""
    settings = {"data.source": f"folder:{pictures}", "data.placement": "streaming", "data.cache": False}
    settings |= {"data.workers": processes, "steps": 10**9, "sample_every": 10**9, "checkpoint_every": 10**9}
    with subprocess.Popen(
        [sys.executable, "train.py", *options(workdir, *(f"--config.{name}={settings[name]}" for name in settings))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        guard = threading.Timer(DEADLINE, kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            kill()


ENDS = {  # how many processes decode, who gets which signal, and the exit code of train.py
    "Ctrl-C while processes start": (2, os.killpg, signal.SIGINT, 130),
    "Ctrl-C": (1, os.killpg, signal.SIGINT, 130),
    "SIGTERM": (1, os.kill, signal.SIGTERM, 0),
    "SIGKILL": (1, os.kill, signal.SIGKILL, -signal.SIGKILL),
}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("end", ENDS)
def test_no_process_outlives_a_run(tmp_path, pictures, end):
    processes, send, number, code = ENDS[end]
    workdir, metrics = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    with training(workdir, pictures, processes) as process:
        while len(members(process.pid)) <= processes or (
            "start" not in end and not (metrics.exists() and metrics.read_text())
        ):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        send(process.pid, number)
        out, err = process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == code, err
        assert wait_until(lambda: not members(process.pid)), members(process.pid)
    if number == signal.SIGKILL:
        assert "Traceback" not in err  # of a process that loses its parent; Python may warn of what the parent left
    else:
        assert err == ""
        assert f"stopped by {number.name}; step {saved_steps(workdir)[0]} is saved" in out
