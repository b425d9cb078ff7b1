"""Ctrl-C: at any moment of any program it ends the program at once, with one line, and leaves nothing behind."""

import concurrent.futures
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import DEADLINE, PATIENCE, ROOT, members, options, wait_until

from jaxgan.cli import train

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes and threads in /proc")

LINE = "interrupted: the same command starts again\n"
AT_ONCE = 5  # seconds on a busy machine; otherwise a small part of one
SET_UP = "import time; from jaxgan import entry; entry.set_up_process()\n"


@contextlib.contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen]:
    """A Python program in a group of its own, once its thread waits for Ctrl-C; the group is killed at last."""
    with subprocess.Popen(
        ["timeout", "--foreground", "-s", "KILL", str(DEADLINE), sys.executable, *command],
        cwd=ROOT,
        env=dict(os.environ, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert wait_until(lambda: program_of(process) is not None)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def program_of(process: subprocess.Popen) -> int | None:
    """The number of the program that `timeout` started, once it has a second thread."""
    for number in members(process.pid):
        with contextlib.suppress(OSError):
            if number != process.pid and len(list(Path(f"/proc/{number}/task").iterdir())) > 1:
                return number
    return None


def interrupt(process: subprocess.Popen) -> tuple[int, str, str]:
    """The exit code, output and errors after Ctrl-C; no process of the group is left."""
    os.kill(program_of(process), signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert wait_until(lambda: not members(process.pid), AT_ONCE)
    return process.returncode, out, err


def interrupt_code(code: str, seconds: float = AT_ONCE) -> str:
    """The output of a program that Ctrl-C ended in time, once the program had printed "now"."""
    with running("-u", "-c", SET_UP + code) as process:
        before = list(itertools.takewhile(lambda line: line != "now\n", process.stdout))
        start = time.monotonic()
        returned, out, err = interrupt(process)
        assert (returned, err) == (130, LINE)
        assert time.monotonic() - start < seconds
    return "".join(before) + out


# Before training


@pytest.mark.parametrize("moment", [0, 0.4, 1, 2.5])
def test_ctrl_c_ends_a_program_that_starts(tmp_path, moment):
    with running("train.py", *options(tmp_path / "run"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "cache")) as process:
        time.sleep(moment)
        assert interrupt(process)[::2] == (130, LINE)


@pytest.mark.parametrize(
    "command",
    [
        ("sample.py", "--workdir=nowhere", "--out=x.png"),
        ("evaluate.py", "--workdir=nowhere"),
        ("-m", "jaxgan.data.prepare", "tfds:mnist"),
        ("-m", "jaxgan.cli.train"),
        ("-c", "from jaxgan.entry import train; train()"),  # as an installed program
    ],
    ids=" ".join,
)
def test_ctrl_c_ends_every_program_while_it_imports(command):
    with running(*command) as process:
        time.sleep(0.2)
        assert interrupt(process) == (130, "", LINE)


def test_ctrl_c_ends_a_compilation():
    """XLA runs for seconds in which Python does not."""
    assert not interrupt_code("""
import jax, jax.numpy as jnp
def step(x):
    for i in range(400):
        x = jnp.sort(jnp.sin(x) + i)
    return x
lowered = jax.jit(step).lower(jnp.zeros(1000))
jax.config.update("jax_enable_compilation_cache", False)
print("now")
start = time.monotonic()
lowered.compile()
print("compiled in", time.monotonic() - start)
""")


def test_ctrl_c_is_not_lost_where_python_ignores_exceptions():
    assert not interrupt_code("""
import gc
class Freed:
    def __del__(self):
        print("now")
        time.sleep(60)
Freed()
print("went on")
""")


def test_ctrl_c_ends_a_download_that_has_just_begun(tmp_path):
    """The process that prepares a data set ends, although it is still importing."""
    with running("-m", "jaxgan.data.prepare", "tfds:mnist", TFDS_DATA_DIR=str(tmp_path)) as process:
        assert wait_until(lambda: len(members(process.pid)) == 3)
        assert interrupt(process) == (130, "", LINE)


def test_ctrl_c_leaves_no_half_of_a_file(tmp_path):
    assert not interrupt_code(f"""
from pathlib import Path
from jaxgan.io.files import atomic_write, unfinished
with atomic_write(Path({str(tmp_path)!r}) / "x.npz") as file, unfinished(Path({str(tmp_path)!r}) / "x") as folder:
    file.write_text("half")
    folder.mkdir()
    (folder / "images").write_text("half")
    print("now")
    time.sleep(60)
""")
    assert list(tmp_path.iterdir()) == []


# While training


def test_there_is_no_gap_between_the_handlers():
    """Ctrl-C belongs to the loop while the loop runs, and ends the program before and after."""
    assert (
        interrupt_code("""
import os, signal
from jaxgan.core.signals import StopSignal
with StopSignal() as stop:
    stop.install()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
    print("flag", stop.signal.name)
print("now")
time.sleep(60)
print("went on")
""")
        == "flag SIGINT\n"
    )


def test_main_leaves_the_handlers_of_its_caller(capsys):
    before = signal.getsignal(signal.SIGINT)
    assert train.main(["--config=nonsense"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


# Any moment


def end_of(command: list[str], cache: Path, moment: float) -> str:
    """How a program ended that got Ctrl-C at a moment: "at once", "saved", or what is wrong with it."""
    with running("-u", *command, JAX_COMPILATION_CACHE_DIR=str(cache)) as process:
        time.sleep(moment)
        start = time.monotonic()
        code, out, err = interrupt(process)
        seconds = time.monotonic() - start
    if (code, err) == (130, LINE) and seconds < AT_ONCE:
        return "at once"
    saved = code == 130 and err == "" and "stopped by SIGINT" in out.splitlines()[-1]
    return "saved" if saved else f"{moment:.2f} s: code {code} after {seconds:.2f} s\n{out[-300:]}\n{err}"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["train.py", "sample.py"])
def test_ctrl_c_at_any_moment(unbroken, tmp_path, program):
    """Also while it compiles, which each start does anew."""
    count, seconds = 40, 10
    places = [tmp_path / str(index) for index in range(count)]
    commands = {
        "train.py": lambda place: options(place, "--config.steps=1000000000"),
        "sample.py": lambda place: [f"--workdir={unbroken}", f"--out={place}.npz", "--num=3000000"],
    }
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                end_of,
                [[program, *commands[program](place)] for place in places],
                [tmp_path / "cache" / place.name for place in places],
                [seconds * index / (count - 1) for index in range(count)],
            )
        )
    assert set(found) <= ({"at once", "saved"} if program == "train.py" else {"at once"}), "\n".join(found)
    assert found[0] == "at once"
    assert not list(tmp_path.glob("**/*.partial"))
