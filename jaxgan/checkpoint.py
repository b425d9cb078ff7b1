"""Checkpoints: Orbax writes them, asynchronously and atomically; a digest tells whether they are whole."""

import hashlib
import shutil
from pathlib import Path
from typing import TypeVar

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxgan.errors import UserError, warn

Tree = TypeVar("Tree")


def digest(tree: PyTree) -> str:
    """A fingerprint of every array's path, type, shape and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        folder: where they lie, one sub-folder per step.
        keep: how many of the newest stay; None opens the folder for reading only.
        best: a metric; the checkpoint with its best value stays as well. Empty for none.
        best_mode: "min" or "max".
    """

    def __init__(self, folder: Path, keep: int | None = None, best: str = "", best_mode: str = "min"):
        absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax reports its daily business as warnings
        self.folder, self.best, self.read_only = folder, best, keep is None
        policies = [ocp.checkpoint_managers.LatestN(keep)]
        if best:
            policies.append(
                ocp.checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[best], reverse=best_mode == "min", n=1
                )
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            read_only=self.read_only,
            create=not self.read_only,
            cleanup_tmp_directories=not self.read_only,
        )
        self.manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, state: PyTree, metrics: dict[str, float]) -> None:
        """Starts to save a state; once this returns, training may go on and reuse the memory of its arrays."""
        host = jax.tree.map(np.array, state)  # a copy: np.asarray would only borrow a CPU array's memory
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(host), digest=ocp.args.JsonSave({"blake2b": digest(host)})
        )
        self.manager.save(step, args=items, metrics=metrics if self.best else None)

    def restore(self, template: Tree, step: int | None = None) -> tuple[int, Tree] | None:
        """The newest whole checkpoint, or the one of a given step, as arrays on the host.

        Damaged ones are passed over with a warning and, unless the folder is open for reading only, moved aside.

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
        for candidate in steps if step is None else [step]:
            try:
                return candidate, self._read(candidate, template)
            # Whatever the damage, Orbax and TensorStore answer with errors of many types.
            except Exception as error:
                reason = f"{type(error).__name__}: {str(error).strip()[:200]}"
                warn(f"the checkpoint of step {candidate} is damaged, and is passed over ({reason})")
                if not self.read_only:
                    self._move_aside(candidate)
        if steps:
            raise UserError(
                f"{self.folder} has no whole checkpoint: all of {sorted(steps)[:10]} are damaged; start a new folder"
            )
        return None

    def _read(self, step: int, template: Tree) -> Tree:
        shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(shapes), digest=ocp.args.JsonRestore())
        restored = self.manager.restore(step, args=items)
        if digest(restored.state) != restored.digest["blake2b"]:
            raise ValueError("its arrays are not those that were saved")
        return restored.state

    def _move_aside(self, step: int) -> None:
        target = self.folder.parent / "damaged" / str(step)
        while target.exists():
            target = target.with_name(target.name + "_")
        target.parent.mkdir(exist_ok=True)
        shutil.move(self.folder / str(step), target)
        self.manager.reload()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        """Waits until everything is written."""
        self.manager.wait_until_finished()
        self.manager.close()
