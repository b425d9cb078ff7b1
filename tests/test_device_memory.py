"""What does not fit into memory is refused before anything is written, and the error says what would fit."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import train_tiny

from jaxgan.core import device_memory, devices
from jaxgan.errors import exit_code

MIB = 2**20


@pytest.fixture
def small(monkeypatch):
    """Devices with 64 MiB for training."""
    monkeypatch.setattr(device_memory, "available_memory", lambda data: 64 * MIB)


def refusal(capsys) -> dict[str, float]:
    """What the one line of an error says: what was asked, what it needs, what there is, and what would fit."""
    (error,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(
        r"error: (?:config\.population=(?P<members>\d+) with )?config\.batch_size=(?P<batch>\d+) needs "
        r"(?:about|at least) (?P<needed>[\d,.e-]+) GiB of memory on each device, "
        r"which has (?P<available>[\d,.e-]+) GiB for it: "
        r"(?:make (?:config\.population (?:about|at most) (?P<fit_members>\d+))?(?: or )?"
        r"(?:config\.batch_size (?:about|at most) (?P<fit>\d+))?|choose smaller networks)",
        error,
    )
    assert found, error
    return {name: float(text.replace(",", "")) for name, text in found.groupdict().items() if text}


@pytest.mark.parametrize(
    "more",
    [
        ("--config.data.source=world:ring", "--config.model.family=toy_mlp"),
        ("--config.model.family=mlp", "--config.packing=3", "--config.data.placement=streaming"),
        pytest.param((), marks=pytest.mark.slow),
        pytest.param(("--config.algorithm=vae",), marks=pytest.mark.slow),
    ],
    ids=lambda more: more[0] if more else "dcgan",
)
def test_a_batch_that_is_too_large_is_refused_and_the_advised_one_fits(tmp_path, capsys, small, more):
    def dry_run(batch: int) -> int:
        return train_tiny(tmp_path / "run", "--dry_run", f"--config.batch_size={batch}", *more)

    assert train_tiny(tmp_path / "run", "--config.batch_size=99999", *more) == 2
    assert not (tmp_path / "run").exists()
    said = refusal(capsys)
    fit = int(said["fit"])
    assert said["batch"] == 99_999
    assert said["available"] == pytest.approx(64 / 1024, rel=0.01)
    assert 0.7 < fit / (99_999 * said["available"] / said["needed"]) <= 1
    assert dry_run(fit) == 0
    assert dry_run(2 * fit) == 2
    assert not (tmp_path / "run").exists()


def test_a_population_that_is_too_large_is_refused_and_the_advised_one_fits(tmp_path, capsys, small):
    shape = ("--config.data.source=world:ring", "--config.model.family=toy_mlp", "--config.batch_size=4096")
    assert train_tiny(tmp_path / "run", "--config.population=60", *shape) == 2
    assert not (tmp_path / "run").exists()
    said = refusal(capsys)
    assert said["members"] == 60
    for setting, fit in {"population": said["fit_members"], "batch_size": said["fit"]}.items():
        changed = "--config.population=60", *shape, f"--config.{setting}={int(fit)}"
        assert train_tiny(tmp_path / "run", "--dry_run", *changed) == 0, setting


@pytest.mark.parametrize(
    "setting",
    [
        "population=100000000",
        "batch_size=1000000000",
        "batch_size=2000000000",
        "model.generator.base_channels=100000000",
    ],
)
def test_what_can_never_fit_is_refused_before_anything_is_compiled(tmp_path, capsys, monkeypatch, setting):
    monkeypatch.setattr(devices, "compile_steps", None)
    began = time.process_time()
    assert train_tiny(tmp_path / "run", f"--config.{setting}") == 2
    assert time.process_time() - began < 20  # it takes a second
    said = refusal(capsys)
    assert said["needed"] > said["available"]
    asked = {"population": said.get("members"), "batch_size": said["batch"]}
    fits = {"population": said.get("fit_members"), "batch_size": said.get("fit")}
    name, _, value = setting.partition("=")
    if name in fits:
        assert asked[name] == int(value)
        assert fits[name] == pytest.approx(int(value) * said["available"] / said["needed"], rel=0.1)
    else:
        assert "fit" not in said
    assert not (tmp_path / "run").exists()


def test_what_fits_is_not_refused_and_takes_what_was_said(tmp_path, monkeypatch, capsys):
    """A program that needs just what there is passes, and one byte less is too little."""
    seen = []
    original = device_memory.program_memory
    monkeypatch.setattr(device_memory, "program_memory", lambda program: seen.append(original(program)) or seen[-1])
    assert train_tiny(tmp_path / "run", "--dry_run") == 0
    for room, code in {seen[0]: 0, seen[0] - 1: 2}.items():
        monkeypatch.setattr(device_memory, "available_memory", lambda data, room=room: room)
        assert train_tiny(tmp_path / "run", "--dry_run") == code


def test_the_memory_of_a_program_has_its_arguments_results_and_intermediate_values():
    def product(x):
        return jnp.sin(x @ x.T) @ x

    program = jax.jit(product).lower(jnp.zeros((1024, 64))).compile()
    assert device_memory.program_memory(program) == pytest.approx(4 * (1024 * 64 * 2 + 1024 * 1024), rel=0.5)


# What there is


def test_training_may_take_what_the_machine_has_less_what_this_process_took():
    whole = devices.device_memory()
    held = np.ones(64 * MIB)  # 512 MiB
    taken = device_memory.available_memory(0)
    del held
    assert 400 * MIB < device_memory.available_memory(0) - taken < 600 * MIB
    assert whole // 2 < taken < whole
    assert device_memory.available_memory(2**50) == whole


def limits(tmp_path, groups: str, files: dict[str, str]) -> list[int]:
    """The limits of a process in these control groups, where the kernel shows these files."""
    for name, text in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "cgroup").write_text(groups)
    return devices.cgroup_limits(tmp_path / "sys", tmp_path / "cgroup")


FIRST, SECOND = "memory/{}memory.limit_in_bytes", "{}memory.max"


@pytest.mark.parametrize(
    ("groups", "files", "found"),
    [
        ("0::/\n", {SECOND.format(""): "1000"}, [1000]),  # a container that sees itself as the outermost
        ("0::/\n", {SECOND.format(""): "max"}, []),
        ("0::/a/b\n", {SECOND.format("a/b/"): "max", SECOND.format("a/"): "500"}, [500]),  # a service of systemd
        ("0::/a\n", {SECOND.format("a/"): "300", SECOND.format("b/"): "100"}, [300]),  # of others it is not
        ("0::/docker/x\n", {SECOND.format(""): "700"}, [700]),  # the name outside, and what is seen inside
        ("5:memory:/a/b\n0::/\n", {FIRST.format("a/b/"): "900", FIRST.format("a/"): "800"}, [900, 800]),
        ("5:cpu,memory:/docker/x\n", {FIRST.format(""): "600"}, [600]),
        ("5:memory:/\n", {FIRST.format(""): str(2**63 - 4096)}, [2**63 - 4096]),  # none, in the words of version 1
        ("5:cpu:/a\n", {FIRST.format("a/"): "600"}, []),
        ("0::/\n", {}, []),
    ],
)
def test_limits_of_control_groups(tmp_path, groups, files, found):
    assert limits(tmp_path, groups, files) == found


def test_no_control_groups_no_limits(tmp_path):
    assert devices.cgroup_limits(tmp_path / "none", tmp_path / "nothing") == []


# What the allocator refuses


@pytest.mark.parametrize("make", [jnp.zeros, np.zeros], ids=["jax", "numpy"])
def test_memory_that_is_refused_is_one_line(capsys, make):
    assert exit_code(lambda: int(make((2**46,), np.uint8)[0])) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: memory is too small for that (")
    assert error.endswith("): choose a smaller batch or number")


def test_other_errors_are_not_taken_for_it():
    def fail():
        raise RuntimeError("RESOURCE_EXHAUSTED of patience")

    with pytest.raises(RuntimeError, match="patience"):
        exit_code(fail)
