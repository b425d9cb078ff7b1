"""Begins a run with the networks of another one: the arrays that fit are copied, all else starts afresh."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jaxgan.core import multihost, population
from jaxgan.core.experiment import Experiment
from jaxgan.core.program import Program
from jaxgan.core.state import TrainState, Variables
from jaxgan.errors import UserError
from jaxgan.io import run_folder

MOST_LISTED = 8  # arrays that do not fit and are named


class Pretrained(NamedTuple):
    """The networks of a trained run.

    Attributes:
        workdir: of the run.
        step: of the checkpoint.
        networks: the trained variables, by network.
        ema: the moving averages of some of them.
    """

    workdir: Path
    step: int
    networks: dict[str, Variables]
    ema: dict[str, Variables]

    def __str__(self) -> str:
        return f"{self.workdir} at step {self.step}"


def load(text: str, workdir: Path) -> Pretrained | None:
    """The networks that --init_from=RUN or --init_from=RUN:STEP names; of a population those of its first member.

    Args:
        text: the run folder and, after a colon, the step of a checkpoint; the newest one if no step is given.
        workdir: of the run that begins.

    Returns:
        The networks; None if the text is empty, or if `workdir` has a checkpoint, from which the run resumes.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    if not text or run_folder.newest_checkpoint(workdir):
        return None
    folder, _, last = text.rpartition(":")
    with_step = folder and last.isdecimal() and not Path(text).exists()
    place, step = (Path(folder), int(last)) if with_step else (Path(text), None)
    try:
        found = run_folder.restore_state(place, step)
    except UserError as error:
        reason = str(error).replace("--workdir must be", "it must be")
        raise UserError(f"--init_from={text}: {reason}") from error
    return Pretrained(place, found.step, dict(found.state.networks), dict(found.state.ema))


def check(pretrained: Pretrained | None, exp: Experiment) -> None:
    """Prints what fits an experiment's networks and what does not; a `UserError` if nothing fits."""
    if pretrained is None:
        return
    shapes, counts, unlike = jax.eval_shape(lambda: population.init_state(exp)), [], []
    for name, own in shapes.networks.items():
        others = _by_path(pretrained.networks.get(name))
        asked = {path: _shape(array, exp.config.population) for path, array in _by_path(own).items()}
        there = {path: others[path].shape if path in others else None for path in asked}
        wrong = [path for path, shape in asked.items() if there[path] != shape]
        counts.append((name, len(asked) - len(wrong), len(asked)))
        unlike += [
            f"{name}/{path} {list(asked[path])} ({'absent' if there[path] is None else list(there[path])} there)"
            for path in wrong
        ]
    more = [f"{len(unlike) - MOST_LISTED} others"] if len(unlike) > MOST_LISTED else []
    listed = ", ".join([*unlike[:MOST_LISTED], *more])
    if not any(same for _, same, _ in counts):
        raise UserError(f"--init_from={pretrained.workdir}: no array of {pretrained} fits these networks: {listed}")
    fits = ", ".join(f"{same} of {total} arrays of {name}" for name, same, total in counts)
    multihost.print_once(f"initialised from {pretrained}: {fits}{f'; afresh: {listed}' if listed else ''}")


def init_from(pretrained: Pretrained | None, program: Program) -> TrainState:
    """The program's state at step 0, where arrays that fit pretrained ones by path and shape are copies of those.

    Optimizer states, `extra` and the seed are those of a new run. All members of a population get the same arrays.
    """
    state, members = program.initial_state(), program.exp.config.population
    if pretrained is None:
        return state

    def copied(own: Variables, other: Variables | None) -> Variables:
        arrays = _by_path(other)

        def leaf(path: tuple, array: Array) -> Array | np.ndarray:
            found = arrays.get(_name(path))
            if found is None or found.shape != _shape(array, members):
                return array
            return np.array(np.broadcast_to(found, array.shape), array.dtype)

        return jax.tree_util.tree_map_with_path(leaf, own)

    averages = pretrained.networks | pretrained.ema  # the trained variables where the other run kept no average
    return state.replace(
        networks={name: copied(own, pretrained.networks.get(name)) for name, own in state.networks.items()},
        ema={name: copied(own, averages.get(name)) for name, own in state.ema.items()},
    )


def _by_path(variables: Variables | None) -> dict[str, Any]:
    """Arrays or their shapes by path."""
    return {_name(path): array for path, array in jax.tree_util.tree_leaves_with_path(variables)}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _shape(array: Any, members: int) -> tuple[int, ...]:
    """Of one member's array."""
    return tuple(array.shape[1:] if members > 1 else array.shape)
