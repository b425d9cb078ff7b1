"""Faults that are really injected: kills, a full disk, two runs in a folder, bad numbers, changed settings."""

import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess

import damage
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from programs import ROOT, contents, grids, options, records, saved, saved_steps, started, train_tiny, wait_until

from jaxgan.algorithms import ALGORITHMS
from jaxgan.algorithms.gan import GAN
from jaxgan.core import devices, population
from jaxgan.core.state import TrainState
from jaxgan.io import files, run_folder
from jaxgan.io.logging import read_records

# Every kind of state: moving averages, singular vectors, schedules, what lazy penalties and LeCam carry.
EVERYTHING = {
    "model__generator__spectral_norm": True,
    "model__discriminator__norm": "none",
    "model__discriminator__spectral_norm": True,
    "optimizer__generator__schedule": "cosine",
    "optimizer__discriminator__warmup_steps": 7,
    "schedules": "optimizer.generator.b2=linear(0.9,50)",
    "penalties__lecam": 0.1,
    "penalties__r1": 0.1,
    "penalty_interval__r1": 3,
    "ema_warmup": True,
}
LONG = {"log_every": 5, "sample_every": 50, "checkpoint_every": 25, "steps": 100}


def flags(settings: dict) -> list[str]:
    return [f"--config.{name.replace('__', '.')}={value}" for name, value in settings.items()]


def half_written(workdir) -> bool:
    """Whether a checkpoint is being written at this moment."""
    return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"))


@pytest.mark.slow
def test_killed_at_any_moment_a_population_ends_as_if_nothing_had_been(tmp_path):
    """While a checkpoint is written, and as soon as the run is resumed."""
    settings = EVERYTHING | LONG | {"population": 2}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    moments = [
        lambda: half_written(killed),
        lambda: len((killed / "launches.jsonl").read_text().splitlines()) == 2,
    ]
    for moment in moments:
        with started("train.py", *options(killed, *flags(settings))) as process:
            assert wait_until(lambda moment=moment: (killed / "metrics.jsonl").exists() and moment(), seconds=120)
            process.send_signal(signal.SIGKILL)
    assert train_tiny(killed, *flags(settings)) == 0
    assert train_tiny(whole, *flags(settings)) == 0
    assert saved(killed, **settings) == saved(whole, **settings)
    assert records(killed) == records(whole)
    assert grids(killed) == grids(whole)


# Runs a program on one run folder after the other, and tells on stderr where each begins.
IN_TURN = """
import importlib, sys
program = importlib.import_module(f"jaxgan.cli.{sys.argv[1]}")
for command in sys.argv[2:]:
    print("@", file=sys.stderr, flush=True)
    assert program.main(command.split()) == 0
"""
COMMANDS = {
    "train": f"--config={tiny.__file__} --workdir={{}} --config.steps=13",
    "sample": "--workdir={} --out={}.npz --num=4",
    "evaluate": "--workdir={} --num=200 --features=pixels",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", COMMANDS)
def test_of_a_damaged_checkpoint_each_program_says_one_line_and_uses_the_one_before(unbroken, tmp_path, program):
    """Threads in the background, of which some end last, say nothing."""
    places, commands, harmless = damage.places(unbroken / "checkpoints" / "12"), [], []
    for number, (place, way) in enumerate(zip(places * 2, itertools.cycle(damage.WAYS), strict=False)):
        workdir = shutil.copytree(unbroken, tmp_path / str(number))
        newest = workdir / "checkpoints" / "12"
        before = contents(newest)
        damage.WAYS[way](newest / place)
        harmless.append(contents(newest) == before or str(place) in damage.UNNEEDED)
        commands.append(COMMANDS[program].replace("{}", str(workdir)))
    with started("-c", IN_TURN, program, *commands) as process:
        _, text = process.communicate()
    assert process.returncode == 0, text
    said = [part.splitlines()[1:] for part in text.split("@")[1:]]
    assert [len(lines) for lines in said] == [0 if whole else 1 for whole in harmless], text
    assert all(line.startswith("warning: the checkpoint of step 12 is damaged") for lines in said for line in lines)
    assert harmless.count(False) > 20


def test_of_two_runs_in_a_folder_the_second_is_refused_until_the_first_is_dead(tmp_path, capsys):
    workdir, endless = tmp_path / "run", ["--config.steps=1000000", "--config.checkpoint_every=100000"]
    with started("train.py", *options(workdir, *endless)) as process:
        assert wait_until((workdir / "config.json").exists, seconds=120)
        assert train_tiny(workdir, *endless) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert f"another process trains in {workdir}" in error
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert train_tiny(workdir, "--config.steps=2") == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 280 KiB, which is full after two or three checkpoints."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=280k", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may make a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_costs_files_and_not_the_run(small_disk, tmp_path, capfd):
    workdir, copy, unbroken = small_disk / "run", tmp_path / "copy", tmp_path / "unbroken"
    code = train_tiny(workdir, "--config.steps=28")
    out, err = capfd.readouterr()
    assert code == 2, err
    *warnings, error = err.splitlines()
    assert all(line.startswith("warning: ") for line in warnings), err
    assert any(re.search(r"the checkpoint of step \d+ could not be saved", line) for line in warnings)
    assert re.search(r"^error: .*lacks step 28: make room", error)
    assert "step 28/28" in out  # it went on to the end
    shutil.copytree(workdir, copy)  # where there is room
    for folder in (copy, unbroken):
        assert train_tiny(folder, "--config.steps=28") == 0
    assert saved(copy) == saved(unbroken)
    assert records(copy) == records(unbroken)


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    with files.warn_on_oserror("curves.png"):
        raise OSError(28, "No space left on device")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "warning: curves.png could not be written (No space left on device): training goes on"


def bad_at_six(exp, state, batch):
    """Step 6 of the first random stream meets real examples that are no numbers."""
    bad = (state.step == 5) & (state.seed == 0)
    return GAN.step(exp, state, batch | {"images": jnp.where(bad, jnp.nan, batch["images"])})


@pytest.mark.parametrize("mode", ["stop", "skip", "rollback"])
def test_what_happens_where_numbers_go_bad(tmp_path, capsys, monkeypatch, mode):
    monkeypatch.setitem(ALGORITHMS, "gan", GAN._replace(step=bad_at_six))
    workdir, again = tmp_path / "run", tmp_path / "again"
    assert train_tiny(workdir, f"--config.on_nonfinite={mode}") == (2 if mode == "stop" else 0)
    warned = capsys.readouterr().err
    assert "at step 6" in warned
    if mode == "stop":
        assert saved_steps(workdir) == [4]
        return
    assert [line["step"] for line in records(workdir)] == [2, 4, 6, 8, 10, 12]
    assert records(workdir)[-1]["skipped_updates"] == 1  # the discriminator's update, or the rollback
    assert ("back to step 4, with other random numbers" in warned) == (mode == "rollback")
    assert train_tiny(again, f"--config.on_nonfinite={mode}") == 0
    assert saved(again) == saved(workdir)


def test_rollbacks_that_do_not_help_come_to_an_end(tmp_path, capsys, monkeypatch):
    def step(exp, state, batch):
        return GAN.step(exp, state, batch | {"images": jnp.where(state.step == 5, jnp.nan, batch["images"])})

    monkeypatch.setitem(ALGORITHMS, "gan", GAN._replace(step=step))
    assert train_tiny(tmp_path / "run", "--config.on_nonfinite=rollback", "--config.nonfinite_limit=2") == 2
    *warnings, error = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert "2 rollbacks to step 4 did not help" in error
    assert saved_steps(tmp_path / "run") == [4]


def test_another_attempt_has_other_seeds_that_follow_each_other():
    skipped = {"one": np.float32(0), "other": np.float32(1)}
    first = TrainState(5, np.uint32([7, 8, 9]), {}, {}, {}, {"skipped_updates": skipped, "more": 2}, {})
    found = [population.fork_seed(first, attempt) for attempt in (1, 2, 3)]
    for attempt, state in enumerate(found, start=1):
        assert (np.diff(state.seed.astype(np.int64)) == 1).all()
        assert state.seed.dtype == np.uint32
        assert sum(state.extra["skipped_updates"].values()) == 1 + attempt
        assert (state.step, state.extra["more"]) == (5, 2)
    assert len({int(state.seed[0]) for state in [*found, first]}) == 4
    assert first.extra["skipped_updates"] == {"one": 0, "other": 1}


def test_a_changed_setting_is_refused_unless_it_is_named_and_is_written_down(workdir, capsys):
    more = ("--config.steps=14", "--config.ema_decay=0.5")
    assert train_tiny(workdir, *more) == 2
    error = capsys.readouterr().err
    assert "ema_decay 0.999 -> 0.5" in error
    assert "--allow_config_change=ema_decay" in error
    assert train_tiny(workdir, *more, "--allow_config_change=latent_dim") == 2
    assert train_tiny(workdir, *more, "--allow_config_change=ema_decay") == 0
    launches = [json.loads(line) for line in (workdir / "launches.jsonl").read_text().splitlines()]
    assert launches[-1]["step"] == 12
    assert launches[-1]["changes"] == {"ema_decay": [0.999, 0.5], "steps": [12, 14]}
    known = {"time", "python", "jaxgan", "commit", "jax", "flax", "device", "devices", "processes"}
    assert launches[-1].keys() >= known


def test_another_choice_is_allowed_by_the_names_that_the_error_lists(workdir, capsys):
    """Settings that go with the old choice and settings that come with the new one are among them."""
    more = ("--config.steps=14", "--config.loss=hinge")
    assert train_tiny(workdir, *more) == 2
    (allowed,) = re.findall(r"--allow_config_change=\S+", capsys.readouterr().err)
    assert allowed == "--allow_config_change=loss,margin,targets.fake,targets.flip,targets.real"
    assert train_tiny(workdir, *more, allowed) == 0
    assert records(workdir)[-1]["step"] == 14


def test_an_allowed_change_of_what_is_no_setting_is_refused(workdir, capsys):
    assert train_tiny(workdir, "--allow_config_change=ema_decoy") == 2
    assert "unknown setting in --allow_config_change 'ema_decoy': did you mean ema_decay" in capsys.readouterr().err


def test_an_allowed_change_that_the_networks_do_not_survive_is_an_error_and_moves_nothing(workdir, capsys):
    before = saved_steps(workdir)
    assert train_tiny(workdir, "--config.latent_dim=8", "--allow_config_change=latent_dim", "--config.steps=14") == 2
    error = capsys.readouterr().err
    assert "is of other networks" in error
    assert "[4, 64], and float32[8, 64] now" in error
    assert saved_steps(workdir) == before
    assert not (workdir / "damaged").exists()


def test_a_start_that_saved_nothing_binds_nobody(tmp_path, monkeypatch):
    """Another experiment in its folder leaves what that leaves in a new folder."""
    folder, new, other = tmp_path / "run", tmp_path / "new", ("--config.latent_dim=6", "--config.sample_every=6")
    with monkeypatch.context() as patch:
        patch.setitem(ALGORITHMS, "gan", GAN._replace(step=bad_at_six))
        assert train_tiny(folder, "--config.checkpoint_every=12", "--config.sample_every=2") == 2
    assert [line["step"] for line in records(folder)] == [2, 4]
    assert "step_000002.png" in grids(folder)
    for workdir in (folder, new):
        assert train_tiny(workdir, *other) == 0
    assert saved(folder, latent_dim=6) == saved(new, latent_dim=6)
    assert records(folder) == records(new)
    assert grids(folder) == grids(new)
    for name in ("config.json", "data.json"):
        assert (folder / name).read_bytes() == (new / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in new.iterdir()}


def test_the_address_of_a_bucket_is_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_tiny("gs://bucket/run") == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: --workdir=gs://bucket/run is an address: it must be a folder")
    assert not any(tmp_path.iterdir())
    assert train_tiny("gs:", "--dry_run") == 0


def test_a_damaged_checkpoint_binds_all_the_same(workdir, capsys):
    for step in saved_steps(workdir):
        (workdir / "checkpoints" / str(step) / "record.json").write_text("")
    assert train_tiny(workdir, "--config.latent_dim=6") == 2
    assert "was started with a different config (latent_dim 4 -> 6)" in capsys.readouterr().err


def test_fewer_steps_than_are_done_are_refused_before_anything_is_compiled(workdir, capsys, monkeypatch):
    monkeypatch.setattr(devices, "compile_steps", None)
    assert train_tiny(workdir, "--config.steps=10") == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error == f"error: {workdir} is at step 12, beyond config.steps=10: ask for more"


def test_the_commit_is_that_of_the_source():
    command = ["git", "rev-parse", "HEAD"]
    if not (ROOT / ".git").exists():
        pytest.skip("the source is not in Git here")
    head = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert run_folder.commit().removesuffix("-changed") == head


TOY = {"model__family": "toy_mlp", "data__source": "world:ring", "sample_every": 10**6, "checkpoint_every": 10**6}
TOY |= {"model__generator__width": 4, "model__discriminator__width": 4}


def test_a_generator_that_does_not_learn_is_reported_as_collapsed_and_then_as_beaten(tmp_path, capsys):
    still = TOY | {"log_every": 100, "steps": 1_400, "steps_per_dispatch": 50}
    still |= {"optimizer__generator__learning_rate": 1e-9}
    still |= {"model__discriminator__norm": "none", "model__discriminator__width": 16}
    assert train_tiny(tmp_path / "run", *flags(still)) == 0
    collapsed, beaten = capsys.readouterr().err.splitlines()
    assert re.match(r"warning: step 200: the samples hardly differ \(their spread is \d%", collapsed)
    assert re.match(
        r"warning: step \d+: the discriminator ranked every real example above its fake for 1\d{3} ", beaten
    )
    last = records(tmp_path / "run")[-1]
    assert (last["diversity_ratio"] < 0.1, last["d_pairwise_accuracy"]) == (True, 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the memory of a process is looked up in /proc")
@pytest.mark.slow
def test_memory_does_not_grow(tmp_path):
    """Over 20,000 steps, less than 2%; nor is anything wrong with such a run."""
    workdir = tmp_path / "run"
    toy = TOY | {"log_every": 500, "steps": 1_000_000, "steps_per_dispatch": 100}
    toy |= {"model__generator__depth": 1, "model__discriminator__depth": 1}

    def resident(process) -> int:
        with open(f"/proc/{process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def last() -> int:
        return max((record["step"] for record in read_records(workdir / "metrics.jsonl")), default=0)

    with started("train.py", *options(workdir, *flags(toy))) as process:
        assert wait_until(lambda: last() >= 4_000, seconds=200)
        first, before = last(), resident(process)
        assert wait_until(lambda: last() >= first + 20_000, seconds=250)
        assert resident(process) < 1.02 * before
        process.kill()
        assert process.communicate()[1] == ""
