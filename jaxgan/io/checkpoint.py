"""Checkpoints: Orbax writes them, asynchronously and atomically; a digest tells whether they are whole."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from jaxgan.core import multihost
from jaxgan.core.settings import POSITIVE, Setting, Settings, one_of
from jaxgan.errors import UserError, choose, warn

Tree = TypeVar("Tree")


def digest(tree: PyTree) -> str:
    """A fingerprint of every array's path, type, shape and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def record_digest(record: Mapping) -> str:
    """A fingerprint of what is saved beside the arrays."""
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def tree_spec(tree: PyTree) -> dict[str, str]:
    """Every array's path, and its type and shape."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


SETTINGS: Settings = {
    "checkpoint_every": Setting(1000, "training steps between two checkpoints", POSITIVE, resumable=True),
    "checkpoint": {
        "keep": Setting(3, "newest checkpoints that stay", POSITIVE, resumable=True),
        "best": Setting("", "a metric or score; the checkpoint with its best value stays as well", resumable=True),
        "best_mode": Setting("min", "whether less or more is better", one_of("min", "max"), resumable=True),
    },
}


def check_best(config: ConfigDict, names: Sequence[str]) -> None:
    """Raises a `UserError` if the best checkpoint is to be known by a metric or score that does not exist."""
    if config.checkpoint.best:
        choose("config.checkpoint.best", config.checkpoint.best, names)


class BestPolicy:
    """Orbax's question which checkpoints stay, answered: the one with the lowest score.

    Attributes:
        scores: of the checkpoints that have one, by step.
    """

    def __init__(self):
        self.scores: dict[int, float] = {}

    def should_preserve(self, checkpoints: Sequence, *, context: object) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = min(self.scores.keys() & set(steps), key=self.scores.get, default=None)
        return [step == best for step in steps]


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        folder: where they lie, one sub-folder per step.
        keep: how many of the newest stay; None opens the folder for reading only.
        best: a metric; the checkpoint with its best value stays as well. Empty for none.
        best_mode: "min" or "max".
    """

    def __init__(self, folder: Path, keep: int | None = None, best: str = "", best_mode: str = "min"):
        absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax reports its daily business; damage is reported here
        self.folder, self.read_only = folder, keep is None
        self.best, self.sign, self.policy = best, {"min": 1, "max": -1}[best_mode], BestPolicy()
        policies = [ocp.checkpoint_managers.LatestN(keep), self.policy]
        self.options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            read_only=self.read_only,
            create=not self.read_only,
            cleanup_tmp_directories=not self.read_only,
            lightweight_initialize=True,  # it would read every checkpoint's metadata, and stop at damaged ones
        )
        self.manager = ocp.CheckpointManager(self.folder.absolute(), options=self.options)
        self.saving: int | None = None  # the step of the save that is under way
        self.unsaved: int | None = None  # the step of the last save, if that failed
        self.policy.scores = {}
        for step in self.manager.all_steps() if self.best else ():
            with contextlib.suppress(Exception):  # a damaged one, whose turn comes when it is restored
                record = self.manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
                self.policy.scores[step] = self.sign * record["metrics"][self.best]

    def save(self, step: int, state: PyTree, metrics: Mapping[str, float]) -> None:
        """Starts to save a state; once this returns, training may go on and reuse the memory of its arrays.

        A file system that refuses costs this checkpoint alone, with a warning, and neither training nor older ones.
        """
        self._finish()
        host = jax.tree.map(np.array, state)  # a copy: np.asarray would only borrow a CPU array's memory
        record = {"blake2b": digest(host), "arrays": tree_spec(host), "metrics": dict(metrics)}
        record["seal"] = record_digest(record)
        if metrics.get(self.best) is not None:  # scores are not worked out at every checkpoint
            self.policy.scores[step] = self.sign * metrics[self.best]
        items = ocp.args.Composite(state=ocp.args.StandardSave(host), record=ocp.args.JsonSave(record))
        self.saving = step
        with self._tolerate_failure():
            self.manager.save(step, args=items)

    def _finish(self) -> None:
        """Waits until the save that is under way has ended."""
        if self.saving is not None:
            with self._tolerate_failure():
                self.manager.wait_until_finished()
                self.saving = self.unsaved = None

    @contextlib.contextmanager
    def _tolerate_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and TensorStore have many types of them
            warn(f"the checkpoint of step {self.saving} could not be saved ({_reason(error)}): older ones are kept")
            self.unsaved, self.saving = self.saving, None
            for partial in self.folder.glob("*.orbax-checkpoint-tmp*") if multihost.is_main() else ():
                shutil.rmtree(partial, ignore_errors=True)  # the room that it took is wanted
            self.manager.reload()

    def restore(self, template: Tree, step: int | None = None) -> tuple[int, Tree] | None:
        """The newest whole checkpoint, or the one of a given step, as arrays on the host.

        Damaged ones are passed over with a warning and, unless the folder is open for reading only, moved aside once a
        whole one is found.

        Args:
            template: a tree of arrays or shapes like the one that was saved.
            step: the only step to look at; None for the newest.

        Returns:
            The step and the tree, or None if there is no checkpoint at all.

        Raises:
            UserError: there are checkpoints, but not that one, or none that is whole.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        if step is not None and step not in steps:
            listed = ", ".join(map(str, sorted(steps))) or "none"
            raise UserError(f"{self.folder} has no checkpoint of step {step}: there are {listed}")
        damaged = []
        for candidate in steps if step is None else [step]:
            try:
                tree = self._read(candidate, template)
            except UserError:
                raise
            # Whatever the damage, Orbax and TensorStore answer with errors of many types.
            except Exception as error:
                warn(f"the checkpoint of step {candidate} is damaged, and is passed over ({_reason(error)})")
                damaged.append(candidate)
                continue
            if damaged and not self.read_only:
                multihost.barrier("damaged checkpoints are known to all")
                if multihost.is_main():
                    self._move_aside(damaged)
                # Not a new manager: this one's thread may still be clearing away what a crash left half written.
                self.manager.reload()
            return candidate, tree
        if damaged:
            listed = ", ".join(map(str, sorted(damaged)))
            raise UserError(f"{self.folder} has no whole checkpoint of step {listed}: choose another step or workdir")
        return None

    def _read(self, step: int, template: Tree) -> Tree:
        items = ocp.args.Composite(record=ocp.args.JsonRestore())
        record = self.manager.restore(step, args=items).record
        if record.pop("seal") != record_digest(record):
            raise ValueError("its record is not the one that was saved")
        found, asked = record["arrays"], tree_spec(template)
        for name in sorted(found.keys() | asked.keys()):
            if found.get(name) != asked.get(name):
                raise UserError(
                    f"{self.folder} is of other networks: at step {step} {name} is {found.get(name, 'absent')}, and "
                    f"{asked.get(name, 'absent')} now: choose a new --workdir"
                )
        shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template)
        state = self.manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(shapes))).state
        if digest(state) != record["blake2b"]:
            raise ValueError("its arrays are not those that were saved")
        return state

    def _move_aside(self, steps: list[int]) -> None:
        for step in steps:
            target = self.folder.parent / "damaged" / str(step)
            while target.exists():
                target = target.with_name(target.name + "_")
            target.parent.mkdir(exist_ok=True)
            shutil.move(self.folder / str(step), target)
            self.policy.scores.pop(step, None)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        """Waits until everything is written; raises a `UserError` if the last save failed and nothing else did."""
        self._finish()
        self.manager.close()
        if self.unsaved is not None and error == (None, None, None):
            raise UserError(f"{self.folder} lacks step {self.unsaved}: make room, and the same command goes on")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:200]}"
