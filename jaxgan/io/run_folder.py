"""The run folder: whose experiment and data it holds, who may write to it, what each start ran on, what it trained."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan import __version__
from jaxgan import config as configuration
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import differences, every_name
from jaxgan.core.state import TrainState, Variables
from jaxgan.data import sources
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.errors import UserError, choose
from jaxgan.inference import variables_of
from jaxgan.io.checkpoint import Checkpoints, newest_step, step_folders
from jaxgan.io.files import atomic_write, file_lock

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def check_folder(workdir: Path, config: ConfigDict, allowed: Collection[str] = ()) -> dict[str, tuple]:
    """The settings that changed since the run in `workdir` was last started: name -> (old, new).

    Args:
        workdir: new, empty, or a run folder.
        config: what is asked for now.
        allowed: names of settings that may change although steps depend on them.

    Raises:
        UserError: the folder holds something else, or another experiment, or one that has more steps behind it.
    """
    check_address(workdir)
    changes, begun = {}, (workdir / "config.json").exists()
    before = configuration.load(workdir / "config.json") if begun else config  # which may be that of another program
    if begun and has_checkpoint(workdir):  # a start that saved nothing binds nobody
        changes, declared = differences(before, config), configuration.validate(before) | configuration.validate(config)
        if sources.canonical(before.data.source) == sources.canonical(config.data.source):
            changes.pop("data.source", None)  # the same path, written in another way
        refused = {name: pair for name, pair in changes.items() if not declared[name].resumable}
        listed = [f"{name} {old!r} -> {new!r}" for name, (old, new) in refused.items() if name not in allowed]
        if listed:
            raise UserError(
                f"{workdir} was started with a different config ({'; '.join(listed)}): choose a new --workdir, or "
                f"resume with --allow_config_change={','.join(refused)}"
            )
        if (step := newest_checkpoint(workdir)) > config.steps:
            raise UserError(f"{workdir} is at step {step}, beyond config.steps={config.steps}: ask for more")
    elif workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file: --workdir must be a folder")
    elif workdir.exists() and not begun and any(path.name != LOCK for path in workdir.iterdir()):
        raise UserError(f"{workdir} is not empty and holds no run (no config.json): choose a new --workdir")
    there = next(folder for folder in (workdir, *workdir.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise UserError(f"{there} cannot be written: choose another --workdir")
    return changes


def check_address(workdir: Path) -> None:
    """Raises a `UserError` for gs://bucket/run: it would become a folder of that name beside the program."""
    scheme, *rest = workdir.parts or (".",)
    if rest and re.fullmatch(r"[a-z][a-z0-9+.-]+:", scheme) and not Path(scheme).exists():
        address = f"{scheme}//{'/'.join(rest)}"
        raise UserError(f"--workdir={address} is an address: it must be a folder, of a mounted bucket say")


def allowed_changes(names: str) -> tuple[str, ...]:
    """The settings that `--allow_config_change=a,b` names; the name of a group stands for all settings in it.

    Raises:
        UserError: there is no such setting or group.
    """
    known = every_name(configuration.SETTINGS)  # of another choice as well, which the run may have had
    groups = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") + 1)}
    found: list[str] = []
    for name in filter(None, map(str.strip, names.split(","))):
        own = choose("setting in --allow_config_change", name, [*known, *groups])
        found += [other for other in known if other == own or other.startswith(f"{own}.")]
    return tuple(found)


LOCK = "lock"


def check_unlocked(workdir: Path) -> None:
    """Raises a `UserError` if another run is in the folder."""
    if (workdir / LOCK).exists():
        with lock_workdir(workdir):
            pass


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Iterator[None]:
    """Keeps other runs out of the folder, until this process ends in whatever way.

    Raises:
        UserError: another run is in it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with file_lock(workdir / LOCK, wait=False) as mine:
        if not mine:
            raise UserError(f"another process trains in {workdir}: wait for it, stop it, or choose another --workdir")
        yield


def describe_data(examples: ArrayDataset | LazyDataset) -> dict[str, object]:
    """What a run folder remembers of its data set: the names of its labels, and what tells it from another one."""
    return {"examples": len(examples), "classes": list(examples.classes), "digest": examples.digest}


def save_data(workdir: Path, examples: ArrayDataset | LazyDataset) -> None:
    """Writes that down."""
    with atomic_write(workdir / "data.json") as partial:
        partial.write_text(json.dumps(describe_data(examples)) + "\n")


def save_classes(workdir: Path, names: Sequence[str]) -> None:
    """Writes down the names of labels alone, where nothing else is known of the data."""
    with atomic_write(workdir / "data.json") as partial:
        partial.write_text(json.dumps({"examples": None, "classes": list(names), "digest": None}) + "\n")


def check_data(workdir: Path, examples: ArrayDataset | LazyDataset) -> None:
    """Raises a `UserError` if the run in `workdir` began with other examples, so far as that is known."""
    path = workdir / "data.json"
    if not path.exists() or not has_checkpoint(workdir):
        return
    now = describe_data(examples)
    try:
        text = json.loads(path.read_text())
        before = {name: text[name] for name in now}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or remove it to go on unchecked") from error
    if not (before["digest"] and now["digest"]):  # where images are decoded anew, nobody knows it
        before["digest"] = now["digest"]
    if before["examples"] is None:
        before["examples"] = now["examples"]
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise UserError(f"{workdir} was trained on other data ({'; '.join(changed)}): choose a new --workdir")


def save_config(workdir: Path, config: ConfigDict, overwrite: bool = True) -> None:
    """Writes the configuration, over an older one if that is asked for."""
    path = workdir / "config.json"
    if overwrite or not path.exists():
        configuration.save(config, path)


def begin(
    workdir: Path,
    config: ConfigDict,
    step: int,
    changes: dict[str, tuple],
    dataset: ArrayDataset | LazyDataset,
    origin: object = None,
) -> None:
    """Makes the folder whole before the first step that is trained now, and records the launch."""
    save_config(workdir, config)
    (workdir / "samples").mkdir(exist_ok=True)
    if not step:
        for picture in (workdir / "samples").glob("*step_*.png"):  # of a start that saved nothing
            picture.unlink()
        save_data(workdir, dataset)
    record_launch(workdir, step, changes, None if step or origin is None else str(origin))


def has_checkpoint(workdir: Path) -> bool:
    """Whether something was trained: there is a checkpoint, even if it is damaged by now."""
    return bool(step_folders(workdir / "checkpoints"))


def newest_checkpoint(workdir: Path) -> int:
    """The step of the newest checkpoint that shows no damage at a glance; 0 where there is none."""
    return newest_step(workdir / "checkpoints")


def record_launch(workdir: Path, step: int, changes: dict[str, tuple], init_from: str | None = None) -> None:
    """Adds a line to `launches.jsonl`: when a run was started, from which step or run, by what, on what devices."""
    devices = jax.devices()
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "step": step,
        "python": platform.python_version(),
        "jaxgan": __version__,
        "commit": commit(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
        "changes": changes,
        "init_from": init_from,
    }
    path = workdir / "launches.jsonl"
    before = path.read_text(errors="replace") if path.exists() else ""
    with atomic_write(path) as partial:
        partial.write_text(f"{before}{json.dumps(line)}\n")


def commit() -> str | None:
    """The commit of this package's source, "-changed" after it if files differ from it; None if it is not in Git."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-changed"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no Git here: a run does not need it
        return None


class RestoredRun(NamedTuple):
    """Networks that were trained.

    Attributes:
        exp: their experiment.
        variables: by network; moving averages where there are some, unless raw ones are asked for.
        classes: the names of the data set's classes.
        step: after which it was saved.
    """

    exp: Experiment
    variables: dict[str, Variables]
    classes: list[str]
    step: int


class RestoredState(NamedTuple):
    """The state of one member of a run; attributes as in `RestoredRun`."""

    exp: Experiment
    state: TrainState
    classes: list[str]
    step: int


def restore(workdir: Path, step: int | None = None, raw: bool = False, member: int = 0) -> RestoredRun:
    """The networks in a run folder; arguments and errors as of `restore_state`.

    Args:
        raw: the variables themselves in the place of their moving averages.
    """
    exp, state, classes, found = restore_state(workdir, step, member)
    return RestoredRun(exp, variables_of(state, average=not raw), classes, found)


def restore_state(workdir: Path, step: int | None = None, member: int = 0) -> RestoredState:
    """The state in a run folder.

    Args:
        workdir: the folder.
        step: of an older checkpoint than the newest.
        member: which one of a population.

    Raises:
        UserError: the folder holds no run, or no such checkpoint or member.
    """
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir} holds no run (no config.json): --workdir must be a folder that train.py made")
    config = configuration.load(workdir / "config.json")
    if not 0 <= member < config.population:
        raise UserError(f"--member={member} must be from 0 to {config.population - 1}: {workdir} has as many members")
    classes = read_classes(workdir)
    exp = configuration.build(config, len(classes))
    template = jax.eval_shape(lambda: population.init_state(exp))
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoint yet: train it first")
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        restored = checkpoints.restore(template, step)
    if restored is None:
        raise UserError(f"{workdir} has no checkpoint yet: train it first")
    if jax.tree.map(np.shape, restored[1]) != jax.tree.map(np.shape, template):  # each of which is whole
        raise UserError(f"{workdir}: config.json or data.json is not that of its checkpoints: restore it")
    return RestoredState(exp, population.members(exp, restored[1])[member], classes, restored[0])


def read_classes(workdir: Path) -> list[str]:
    """The names of the classes that a run was trained on; empty if it knows none."""
    path = workdir / "data.json"
    try:
        classes = json.loads(path.read_text())["classes"] if path.exists() else []
        if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
            raise TypeError("classes must be a list of names")
        return classes
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or start train.py again") from error
