"""Files that are whole or absent, and locks that die with their process."""

import fcntl
import threading
import time

import pytest
from programs import read_until, started

from jaxgan.io.files import atomic_write, file_lock

BEFORE = pytest.mark.parametrize("before", [None, "old"], ids=["absent", "present"])


def made(path, text: str | None):
    """The path, with the text in it if there is one."""
    if text is not None:
        path.write_text(text)
    return path


def texts(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@BEFORE
def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path, before):
    path = made(tmp_path / "file.json", before)
    with atomic_write(path) as partial:
        with partial.open("w") as file:
            file.write("ne")
            file.flush()
            assert (path.read_text() if path.exists() else None) == before
            file.write("w")
        assert (path.read_text() if path.exists() else None) == before
    assert texts(tmp_path) == {"file.json": "new"}


@BEFORE
def test_what_fails_leaves_the_file_as_it_was_and_the_next_one_is_none_the_worse(tmp_path, before):
    path = made(tmp_path / "file.json", before)

    def fail() -> None:
        with atomic_write(path) as partial:
            partial.write_text("a half that is longer than the whole")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (path.read_text() if path.exists() else None) == before
    with atomic_write(path) as partial:
        partial.write_text("new")
    assert texts(tmp_path) == {"file.json": "new"}


def test_files_beside_each_other_do_not_meet(tmp_path):
    with atomic_write(tmp_path / "a.png") as one, atomic_write(tmp_path / "a.npz") as two:
        one.write_text("png")
        two.write_text("npz")
    assert texts(tmp_path) == {"a.png": "png", "a.npz": "npz"}


def test_one_at_a_time_holds_a_lock(tmp_path):
    """Eight threads add one to a number; between reading and writing it they give way to the others."""
    number = made(tmp_path / "number", "0")

    def add() -> None:
        with file_lock(tmp_path / "lock"):
            before = int(number.read_text())
            time.sleep(0.005)
            number.write_text(str(before + 1))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number.read_text() == "8"


def taken(path) -> bool:
    """Whether somebody holds the lock of a file."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_lock_ends_with_its_block_whatever_happens_in_it(tmp_path):
    path = tmp_path / "lock"
    with file_lock(path):
        assert taken(path)
    assert not taken(path)
    with pytest.raises(ZeroDivisionError), file_lock(path):
        raise ZeroDivisionError
    assert not taken(path)
    assert path.exists()


def test_who_waits_for_a_lock_says_so(tmp_path, capsys):
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with file_lock(path):
            order.append("second")

    second = threading.Thread(target=wait)
    with file_lock(path):
        assert capsys.readouterr().err == ""
        second.start()
        line = ""
        while not line and second.is_alive():
            time.sleep(0.01)
            line = capsys.readouterr().err
        order.append("first")
    second.join()
    assert line == f"waiting for another process, which holds {path}\n"
    assert order == ["first", "second"]


def test_a_lock_dies_with_its_process(tmp_path):
    path = tmp_path / "lock"
    holds = """
import sys, time, pathlib
from jaxgan.io.files import file_lock
with file_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
    with started("-c", holds, str(path)) as process:
        read_until(process, "held")
        assert taken(path)
        process.kill()
        process.wait()
    with file_lock(path):
        assert taken(path)
