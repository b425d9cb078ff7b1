"""Many members of one experiment in one program: the same step for each, with its own seed and settings, by `vmap`."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import config as configuration
from jaxgan import parallel
from jaxgan.errors import UserError
from jaxgan.experiment import GAN, initial_state
from jaxgan.state import GANState


def create(gan: GAN) -> GANState:
    """The state of an experiment at step 0.

    Of a population every array has a leading dimension of its members. Only the step is one number for all of them, so
    that what happens every k steps is decided once and not by each member.
    """
    count = gan.config.population
    if count == 1:
        return initial_state(gan)
    seeds = jnp.arange(count, dtype=jnp.uint32) + jnp.uint32(gan.config.seed)
    sweep = {name: jnp.asarray(values, jnp.float32) for name, values in configuration.sweep(gan.config).items()}
    return _one_step(jax.vmap(lambda seed, own: initial_state(gan, seed, own))(seeds, sweep))


def together(step: Callable[[GANState, PyTree], tuple[GANState, dict[str, Array]]]) -> Callable:
    """One member's (state, inputs) -> (state, metrics) for all of them.

    The inputs gain a leading dimension of members. Of each metric there is the mean, and under `NAME_se` its standard
    error: the deviation between members divided by the root of their number.
    """

    def steps(state: GANState, inputs: PyTree) -> tuple[GANState, dict[str, Array]]:
        def one(member: GANState, own: PyTree) -> tuple[GANState, dict[str, Array]]:
            return step(member.replace(step=state.step), own)

        members, metrics = jax.vmap(one)(state.replace(step=None), inputs)
        return _one_step(members), summary(metrics)

    return steps


def _one_step(members: GANState) -> GANState:
    return members.replace(step=members.step[0])


def summary(metrics: dict[str, Float[Array, " members"]]) -> dict[str, Float[Array, ""]]:
    """The mean over members and its standard error."""
    errors = {f"{name}_se": values.std(ddof=1) / len(values) ** 0.5 for name, values in metrics.items()}
    return {name: values.mean() for name, values in metrics.items()} | errors


def members(gan: GAN, state: GANState) -> list[GANState]:
    """The state of each member, as if it had been trained alone; of one run, itself."""
    if gan.config.population == 1:
        return [state]

    def member(index: int) -> GANState:
        return jax.tree.map(lambda array: array[index], state.replace(step=None)).replace(step=state.step)

    return [member(index) for index in range(gan.config.population)]


def check_memory(config: ConfigDict, needed: int) -> None:
    """Raises a `UserError` that says how many members fit on a device, if so many bytes for all are too many."""
    available = parallel.memory()
    if config.population > 1 and needed > available:
        fit = available * config.population // needed
        raise UserError(
            f"config.population={config.population} needs {needed / 2**30:,.3g} GiB, and the device has "
            f"{available / 2**30:.3g} GiB of memory: at most {fit} would fit"
        )


def seeds(config: ConfigDict) -> Sequence[int]:
    """Each member's seed."""
    return range(config.seed, config.seed + config.population)
