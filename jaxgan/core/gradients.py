"""One player's update: gradients of its objective by its own parameters, and what an optimizer makes of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from jaxgan.core import optimizers
from jaxgan.core.experiment import Experiment, hparam, learning_rate
from jaxgan.core.settings import FRACTION, NOT_NEGATIVE, Setting
from jaxgan.core.state import TrainState, Variables
from jaxgan.core.types import Metrics

Objective = Callable[..., tuple[Float[Array, ""], Any]]  # (parameters by network, *inputs) -> value, aux

EMA_SETTINGS = {
    "ema_decay": Setting(0.999, "of the exponential moving average, per step", FRACTION, sweepable=True),
    "ema_half_life": Setting(
        0.0,
        "of the average in examples, in place of the decay; 0 at all steps: use ema_decay",
        NOT_NEGATIVE,
        sweepable=True,
    ),
    "ema_warmup": Setting(False, "a decay of at most (1 + step) / (10 + step), which forgets the initial parameters"),
}


def ema_conflict(exp: Experiment) -> str | None:
    """Why the settings of the average contradict each other."""
    if exp.is_enabled("ema_half_life") and "ema_decay" in exp.swept.keys() | exp.scheduled.keys():
        return "config.ema_half_life takes the place of ema_decay: leave one of them out"
    return None


def params_of(exp: Experiment, state: TrainState, *players: str) -> dict[str, PyTree]:
    """The parameters of players by network."""
    return {name: state.networks[name].params for player in players for name in exp.players[player].networks}


def gradients(
    exp: Experiment, state: TrainState, player: str | tuple[str, ...], objective: Objective, inputs: tuple = ()
) -> tuple[dict[str, PyTree], tuple, Any]:
    """The gradients of what a player minimises, or several players minimise together, on this device's examples.

    Args:
        exp, state: the experiment and its state.
        player: whose parameters the objective is differentiated by.
        objective: (parameters by network, *inputs) -> (value, aux).
        inputs: of the objective, by which it is differentiated as well.

    Returns:
        Gradients by the parameters, gradients by the inputs, and aux.
    """
    arguments = tuple(range(1 + len(inputs)))
    params = params_of(exp, state, *([player] if isinstance(player, str) else player))
    (by_params, *by_inputs), aux = jax.grad(objective, arguments, has_aux=True)(params, *inputs)
    return by_params, tuple(by_inputs), aux


def apply_gradients(
    exp: Experiment,
    state: TrainState,
    player: str,
    grads: Mapping[str, PyTree],
    model_state: Mapping[str, PyTree] = MappingProxyType({}),
    metrics: Mapping[str, Array] = MappingProxyType({}),
    extra: Mapping[str, PyTree] = MappingProxyType({}),
    when: bool | Bool[Array, ""] = True,
    constrain: Callable[[PyTree], PyTree] = lambda params: params,
) -> tuple[TrainState, Metrics]:
    """The state after a player's update, and the metrics of all devices.

    Gradients and metrics are averaged over devices. Unless all metrics and the norm of the gradients are finite,
    networks, optimizer states and extra arrays stay as they were, and the update is counted as skipped.

    Args:
        exp, state: the experiment and its state.
        player: that is updated.
        grads: by network, from any source; those of other players' networks have no effect.
        model_state: new ones, by network.
        metrics: of this update.
        extra: new values of arrays that are carried from step to step.
        when: whether there is an update at all.
        constrain: what is done to each network's new parameters.
    """
    names = exp.players[player].networks
    grads, metrics = exp.pmean(({name: grads[name] for name in names}, dict(metrics)))
    metrics[f"grad_norm/{player}"] = global_norm(grads)
    finite = is_finite(metrics) | ~jnp.asarray(when)  # an update that is not wanted may have any numbers
    before = (
        {name: state.networks[name] for name in names},
        state.opt_states[player],
        {name: state.extra[name] for name in extra},
    )

    def after() -> tuple[dict[str, Variables], dict[str, PyTree], dict[str, PyTree]]:
        networks, opt_states = apply_update(exp, state, player, grads, constrain)
        networks = {
            name: own.replace(model_state=model_state.get(name, own.model_state)) for name, own in networks.items()
        }
        return networks, opt_states, dict(extra)

    networks, opt_states, extra = tree_select(finite if when is True else finite & when, after, before)
    skipped = state.extra["skipped_updates"]
    skipped = skipped | {player: skipped[player] + ~finite}
    metrics["skipped_updates"] = sum(skipped.values())
    return state.replace(
        networks=state.networks | networks,
        opt_states=state.opt_states | {player: opt_states},
        extra=state.extra | extra | {"skipped_updates": skipped},
    ), metrics


def apply_update(
    exp: Experiment,
    state: TrainState,
    player: str,
    grads: Mapping[str, PyTree],
    constrain: Callable[[PyTree], PyTree] = lambda params: params,
    differentiable: bool = False,
) -> tuple[dict[str, Variables], dict[str, PyTree]]:
    """A player's networks and optimizer states after one update; `differentiable` as in `optimizers`."""
    settings, rate = exp.config.optimizer[player], learning_rate(exp, state, player)
    optimizer = optimizers.transformation(
        settings, lambda name: hparam(exp, state, f"optimizer.{player}.{name}"), differentiable
    )
    if settings.clip:
        grads = optimizers.clip_by_global_norm(grads, settings.clip)
    networks, opt_states = {}, {}
    for name in exp.players[player].networks:
        params = state.networks[name].params
        updates, opt_states[name] = optimizer.update(grads[name], state.opt_states[player][name], params)
        params = jax.tree.map(lambda value, change: value + rate * change, params, updates)
        networks[name] = state.networks[name].replace(params=constrain(params))
    return networks, opt_states


def finish_step(
    exp: Experiment,
    before: TrainState,
    state: TrainState,
    metrics: Metrics,
    extra: Mapping[str, PyTree] = MappingProxyType({}),
) -> tuple[TrainState, Metrics]:
    """The state after a training step: moving averages have moved once, and the step is counted.

    Unless every update of the step was finite, all extra arrays are those before the step. A player's averages stay as
    they were if one of its updates was not finite.

    Args:
        exp: the experiment.
        before, state: at the beginning of the step, and after its updates.
        metrics: of the step.
        extra: new values of arrays that are carried from step to step, besides those in the state.
    """
    skipped, was = state.extra["skipped_updates"], before.extra["skipped_updates"]
    fine = {player: skipped[player] == was[player] for player in exp.players}
    ema = dict(state.ema)
    for player, (_, averaged) in exp.players.items():
        old = {name: state.ema[name] for name in averaged}
        new = {name: state.networks[name] for name in averaged}
        if averaged:
            ema |= tree_select(fine[player], lambda new=new, old=old: ema_update(exp, state, new, old), old)
    carried = {name: value for name, value in (state.extra | extra).items() if name != "skipped_updates"}
    if carried:
        kept = {name: before.extra[name] for name in carried}
        carried = tree_select(jnp.all(jnp.stack([*fine.values()])), lambda: carried, kept)
    metrics = metrics | {"skipped_updates": sum(skipped.values())}
    metrics |= {f"learning_rate/{player}": learning_rate(exp, state, player) for player in exp.players}
    return state.replace(step=state.step + 1, ema=ema, extra=carried | {"skipped_updates": skipped}), metrics


def ema_update(exp: Experiment, state: TrainState, new: PyTree, average: PyTree) -> PyTree:
    """The moving average after a step."""
    if exp.is_enabled("ema_half_life"):
        half_life = hparam(exp, state, "ema_half_life")  # at 0 the average is what is averaged
        decay = 0.5 ** (exp.config.batch_size / jnp.maximum(half_life, 1e-8))
    else:
        decay = hparam(exp, state, "ema_decay")
    if exp.config.ema_warmup:
        decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return optax.incremental_update(new, average, 1 - decay)


def is_finite(metrics: Mapping[str, Array]) -> Bool[Array, ""]:
    """Whether all metrics are finite; a sum with an inf or NaN is not finite."""
    return jnp.isfinite(sum(metrics.values()))


def tree_select(new: Bool[Array, ""], after: Callable[[], PyTree], before: PyTree) -> PyTree:
    """What `after` makes, or what was before."""
    if jax.default_backend() == "cpu":  # where a selection would copy both, and a GPU's branch would wait for the host
        return lax.cond(new, after, lambda: before)
    return jax.tree.map(lambda changed, kept: jnp.where(new, changed, kept), after(), before)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The L2 norm of all numbers, added up column by column, which takes a CPU a fraction of the time."""
    return jnp.sqrt(sum(jnp.sum(jnp.sum(jnp.atleast_1d(leaf) ** 2, axis=0)) for leaf in jax.tree.leaves(tree)))
