"""Checkpoints: Orbax writes them, asynchronously and atomically; digests tell whether they are whole."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from jaxgan.core import multihost
from jaxgan.core.settings import POSITIVE, Setting, Settings, one_of
from jaxgan.errors import UserError, choose, is_out_of_memory, warn
from jaxgan.io.files import plain_path
from jaxgan.io.record import check_files, read_record, write_record

Tree = TypeVar("Tree")


def digest(tree: PyTree) -> str:
    """A fingerprint of every array's path, type, shape and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


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


def step_folders(folder: Path) -> list[tuple[int, Path]]:
    """The steps that have a checkpoint, and where each lies, oldest first; some may be damaged."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(path.name), path) for path in paths if path.name.isdecimal())


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint whose record reads and whose files have their sizes; 0 if there is none."""
    for step, path in reversed(step_folders(folder)):
        with contextlib.suppress(Exception):  # a damaged one raises whatever its reader stumbles over
            read_record(path)
            return step
    return 0


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        folder: where they lie, one sub-folder per step.
        keep: how many of the newest stay; None opens the folder for reading only.
        best: a metric; the checkpoint with its best value stays as well. Empty for none.
        best_mode: "min" or "max".
        constants: arrays that steps depend on and no checkpoint holds, whose digest is recorded; none for a reader.
    """

    def __init__(
        self,
        folder: Path,
        keep: int | None = None,
        best: str = "",
        best_mode: str = "min",
        constants: PyTree = (),
    ):
        absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax reports its daily business; damage is reported here
        self.folder, self.read_only = folder, keep is None
        self.constants = digest(constants) if jax.tree.leaves(constants) else None
        self.best, self.sign, self.policy = best, {"min": 1, "max": -1}[best_mode], BestPolicy()
        policies = [ocp.checkpoint_managers.LatestN(keep), self.policy]
        self.options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            read_only=self.read_only,
            create=False,  # Orbax makes no folder through a symbolic link
            cleanup_tmp_directories=not self.read_only,
            lightweight_initialize=True,  # it would read every checkpoint's metadata, and stop at damaged ones
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_record),
        )
        if not self.read_only:
            folder.mkdir(parents=True, exist_ok=True)
        self.resources = contextlib.ExitStack()
        self.manager = ocp.CheckpointManager(
            self.resources.enter_context(plain_path(folder.absolute())), options=self.options
        )
        self.saving: int | None = None  # the step of the save that is under way
        self.record: dict[str, Any] = {}  # of that save
        self.unsaved: int | None = None  # the step of the last save, if that failed
        self.size = max((_disk_use(path) for _, path in step_folders(folder)), default=0)  # of a checkpoint, if known
        self.proven = False  # whether a checkpoint that was saved here was read back
        self.policy.scores = {}
        for step, path in step_folders(folder) if self.best else ():
            with contextlib.suppress(Exception):  # a damaged one, whose turn comes when it is restored
                self.policy.scores[step] = self.sign * read_record(path)["metrics"][self.best]

    def save(self, step: int, state: PyTree, metrics: Mapping[str, float]) -> None:
        """Starts to save a state; once this returns, training may go on and reuse the memory of its arrays.

        The first checkpoint is waited for and read back in full, which shows what is wrong with a folder, its name or
        its file system. After that only disks can fail, and Orbax reports their errors: a save that fails costs that
        checkpoint alone, with a warning, and neither training nor older ones. A full disk never costs more than that.

        Raises:
            UserError: the first checkpoint cannot be written or read back.
        """
        self._finish()
        host = jax.tree.map(np.array, state)  # a copy: np.asarray would only borrow a CPU array's memory
        self.record = {"step": step, "blake2b": digest(host), "arrays": tree_spec(host), "metrics": dict(metrics)}
        self.record |= {"constants": self.constants}
        if metrics.get(self.best) is not None:  # scores are not worked out at every checkpoint
            self.policy.scores[step] = self.sign * metrics[self.best]
        self.saving = step
        with self._tolerate_failure():
            if not multihost.is_multihost():  # where all must try, or none
                self._check_room()
            # By force, or Orbax saves nothing where there is a later step, and does not say so.
            self.manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(host)), force=True)
        if not self.proven:
            self._finish()
            if self.unsaved is None:
                self._read_back(step, host)

    def _write_record(self) -> None:
        """Completes a checkpoint of which all arrays are written, before Orbax gives its folder its name."""
        partial = self.folder.glob(f"{self.saving}.orbax-checkpoint-tmp*")
        newest = max(partial, key=lambda path: path.stat().st_mtime)
        write_record(newest, self.record)
        self.size = _disk_use(newest)

    def _check_room(self) -> None:
        """Raises an `OSError` where no checkpoint can be written, of which Orbax's threads would print errors."""
        with tempfile.TemporaryFile(dir=self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < self.size:
            raise OSError(
                errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {free:,} bytes are free, and it takes {self.size:,}"
            )

    def _read_back(self, step: int, state: PyTree) -> None:
        try:
            self._read(step, self.folder / str(step), state)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._move_aside([self.folder / str(step)])
            reason = f"the checkpoint of step {step} cannot be read back from {self.folder} ({self._reason(error)})"
            raise UserError(f"{reason}: choose another --workdir") from error
        self.proven = True

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
            if multihost.is_multihost() and isinstance(error, jax.errors.JaxRuntimeError):
                raise  # another process is gone, and whoever watches them says which
            self.unsaved, self.saving = self.saving, None
            for partial in self.folder.glob("*.orbax-checkpoint-tmp*") if multihost.is_main() else ():
                shutil.rmtree(partial, ignore_errors=True)  # the room that it took is wanted
            reason = f"the checkpoint of step {self.unsaved} could not be saved ({self._reason(error)})"
            if not (self.proven or _is_full(error)):
                raise UserError(f"{reason}: choose another --workdir than {self.folder.parent}") from error
            warn(f"{reason}: older ones are kept")
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
        found = step_folders(self.folder)[::-1]
        asked = [(own, path) for own, path in found if step in (own, None)]
        if step is not None and not asked:
            listed = ", ".join(str(own) for own, _ in found[::-1]) or "none"
            raise UserError(f"{self.folder} has no checkpoint of step {step}: there are {listed}")
        damaged = []
        for candidate, path in asked:
            try:
                tree = self._read(candidate, path, template)
            except UserError:
                raise
            # Whatever the damage, readers answer with errors of many types.
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                warn(f"the checkpoint of step {path.name} is damaged, and is passed over ({self._reason(error)})")
                damaged.append(path)
                continue
            if damaged and not self.read_only:
                multihost.barrier("damaged checkpoints are known to all")
                self._move_aside(damaged)
            return candidate, tree
        if damaged:
            listed = ", ".join(path.name for path in damaged[::-1])
            raise UserError(f"{self.folder} has no whole checkpoint of step {listed}: choose another step or workdir")
        return None

    def _read(self, step: int, path: Path, template: Tree) -> Tree:
        record = read_record(path)
        found, asked = record["arrays"], tree_spec(template)
        for name in sorted(found.keys() | asked.keys()):
            if found.get(name) != asked.get(name):
                raise UserError(
                    f"{self.folder} is of other networks: at step {step} {name} is {found.get(name, 'absent')}, and "
                    f"{asked.get(name, 'absent')} now: choose a new --workdir"
                )
        if not self.read_only and self.constants != record.get("constants", self.constants):
            then, now = (own or "none" for own in (record["constants"], self.constants))
            raise UserError(
                f"{self.folder} was trained with other pretrained weights (digest {then}, and {now} now): restore "
                "them, or choose a new --workdir"
            )
        check_files(path, record)  # before TensorStore reads them, whose threads print errors of their own
        shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template)
        state = self.manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(shapes))).state
        if digest(state) != record["blake2b"]:
            raise ValueError("its arrays are not those that were saved")
        return state

    def _move_aside(self, paths: list[Path]) -> None:
        for path in paths if multihost.is_main() else ():
            target = self.folder.parent / "damaged" / path.name
            while os.path.lexists(target):
                target = target.with_name(target.name + "_")
            target.parent.mkdir(exist_ok=True)
            shutil.move(path, target)
            self.policy.scores.pop(int(path.name), None)
        # Not a new manager: this one's thread may still be clearing away what a crash left half written.
        self.manager.reload()

    def _reason(self, error: Exception) -> str:
        """What went wrong, with the folder's own name where Orbax was given another one."""
        text = str(error).replace(str(self.manager.directory), str(self.folder.absolute())).strip()[:200]
        return text if type(error) is ValueError and "\n" not in text else f"{type(error).__name__}: {text}"

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        """Waits until everything is written; raises a `UserError` if the last save failed and nothing else did."""
        with self.resources:
            self._finish()
            self.manager.close()
        if self.unsaved is not None and error == (None, None, None):
            raise UserError(f"{self.folder} lacks step {self.unsaved}: make room, and the same command goes on")


def _disk_use(folder: Path) -> int:
    """The bytes that a folder and all in it take on their disk."""
    return sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*")))


def _is_full(error: Exception) -> bool:
    """Whether a file system has no room left, as TensorStore says it in text alone."""
    return any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
