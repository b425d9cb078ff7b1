"""Many members of one experiment in one program: the same step for each, with its own seed and settings, by `vmap`."""

import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan.core.experiment import Experiment, initial_state
from jaxgan.core.settings import ANY, MAX_SEED, POSITIVE, Range, Setting, Settings
from jaxgan.core.state import TrainState
from jaxgan.errors import UserError

SETTINGS: Settings = {
    "seed": Setting(0, "of all randomness", Range(lambda value: 0 <= value <= MAX_SEED, f"from 0 to {MAX_SEED}")),
    "population": Setting(
        1, "members trained at once, each with the next seed and its own order of the data", POSITIVE
    ),
    "sweep": Setting("", "their values of some settings: 'penalties.r1=0.1,1,10; ema_decay=0.9,0.99,0.999'", ANY),
    "schedules": Setting("", "settings that move: 'ema_decay=cosine(0.999, 5000)', from their own value", ANY),
}


def check(config: ConfigDict) -> None:
    """Raises a `UserError` if the members' seeds would not fit into 32 bits."""
    most = MAX_SEED + 1 - config.population
    if config.seed > most:
        raise UserError(f"config.seed={config.seed} must be from 0 to {most} for config.population={config.population}")


def init_state(exp: Experiment) -> TrainState:
    """The state of an experiment at step 0.

    Of a population every array has a leading dimension of its members. Only the step is one number for all of them, so
    that what happens every k steps is decided once and not by each member.
    """
    count = exp.config.population
    if count == 1:
        return initial_state(exp)
    seeds = jnp.arange(count, dtype=jnp.uint32) + jnp.uint32(exp.config.seed)
    hparams = {name: jnp.asarray(values, jnp.float32) for name, values in exp.swept.items()}
    return _one_step(jax.vmap(lambda seed, own: initial_state(exp, seed, own))(seeds, hparams))


def vmap_members(step: Callable[[TrainState, PyTree], tuple[TrainState, dict[str, Array]]]) -> Callable:
    """One member's (state, inputs) -> (state, metrics) for all of them.

    The inputs gain a leading dimension of members. Of each metric there is the mean, and under `NAME_stderr` its
    standard error: the deviation between members divided by the root of their number.
    """

    def steps(state: TrainState, inputs: PyTree) -> tuple[TrainState, dict[str, Array]]:
        def one(member: TrainState, own: PyTree) -> tuple[TrainState, dict[str, Array]]:
            return step(member.replace(step=state.step), own)

        members, metrics = jax.vmap(one)(state.replace(step=None), inputs)
        return _one_step(members), mean_stderr(metrics)

    return steps


def _one_step(members: TrainState) -> TrainState:
    return members.replace(step=members.step[0])


def mean_stderr(metrics: dict[str, Float[Array, " members"]]) -> dict[str, Float[Array, ""]]:
    """The mean over members and its standard error."""
    errors = {f"{name}_stderr": values.std(ddof=1) / len(values) ** 0.5 for name, values in metrics.items()}
    return {name: values.mean() for name, values in metrics.items()} | errors


def members(exp: Experiment, state: TrainState) -> list[TrainState]:
    """The state of each member, as if it had been trained alone; of one run, itself."""
    if exp.config.population == 1:
        return [state]

    def member(index: int) -> TrainState:
        return jax.tree.map(lambda array: array[index], state.replace(step=None)).replace(step=state.step)

    return [member(index) for index in range(exp.config.population)]


def seeds(config: ConfigDict) -> Sequence[int]:
    """Each member's seed."""
    return range(config.seed, config.seed + config.population)


def fork_seed(state: TrainState, attempt: int) -> TrainState:
    """The state with other random numbers from here on, so that it does not run into the same trouble again.

    Members of a population have seeds that follow each other, as ever. Each attempt counts as a skipped update.
    """
    first = int(np.ravel(state.seed)[0])
    other = zlib.crc32(f"{first} again {attempt}".encode()) >> 1  # so that members' seeds do not go beyond 32 bits
    player, *_ = skipped = dict(state.extra["skipped_updates"])
    skipped[player] = skipped[player] + np.float32(attempt)
    seed = (state.seed - np.uint32(first) + np.uint32(other)).astype(np.uint32)
    return state.replace(seed=seed, extra=state.extra | {"skipped_updates": skipped})
