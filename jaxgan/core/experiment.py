"""An experiment: what a configuration describes besides the arrays of its state."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree
from ml_collections import ConfigDict

from jaxgan.core import optimizers, rng, schedules
from jaxgan.core import settings as declarations
from jaxgan.core.settings import Declarations
from jaxgan.core.state import TrainState, create_state, init_network
from jaxgan.core.types import Algorithm, Field, Player
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity, so that it may be static for jit
class Experiment:
    """What an experiment is besides its arrays.

    Attributes:
        config: every setting.
        declared: their declarations.
        algorithm: how it learns.
        fields: of a batch.
        classes: labels of the data set; 0 if it has none.
        networks, players: by name.
        axis_name: the axis over whose devices the batch is sharded.
        constants: arrays that are neither trained nor saved; the compiled program gets them as an argument.
    """

    config: ConfigDict
    declared: Declarations
    algorithm: Algorithm
    fields: tuple[Field, ...]
    classes: int
    networks: Mapping[str, nn.Module]
    players: Mapping[str, Player]
    axis_name: str | None = None
    constants: PyTree = ()

    @functools.cached_property
    def flat(self) -> dict[str, Any]:
        """The settings by dotted name."""
        return declarations.flatten(self.config)

    @functools.cached_property
    def swept(self) -> dict[str, tuple[float, ...]]:
        """The values of the settings in which the members of a population differ."""
        return declarations.sweep(self.config, self.declared)

    @functools.cached_property
    def scheduled(self) -> dict[str, schedules.Ramp]:
        """The settings that move while training."""
        return schedules.parse(self.config.schedules, self.declared)

    def values(self, name: str) -> tuple[float, ...]:
        """What a setting is for each member of a population, or for the only one, and where a schedule leads it."""
        final = (self.scheduled[name].final,) if name in self.scheduled else ()
        return self.swept.get(name, (self.flat[name],)) + final

    def is_enabled(self, name: str) -> bool:
        """Whether a weight is above zero, for one member at least, at one step at least."""
        return any(self.values(name))

    def pmean(self, tree: PyTree) -> PyTree:
        """The mean over devices."""
        return tree if self.axis_name is None else lax.pmean(tree, self.axis_name)

    def pmax(self, value: Array) -> Array:
        """The maximum over devices."""
        return value if self.axis_name is None else lax.pmax(value, self.axis_name)

    def all_gather(self, examples: Array) -> Array:
        """The examples of all devices, in the order of the global batch."""
        return examples if self.axis_name is None else lax.all_gather(examples, self.axis_name, tiled=True)

    def global_indices(self, count: int) -> Int[Array, " batch"]:
        """The indices in the global batch of the `count` examples on this device."""
        return rng.global_indices(count, self.axis_name)

    def example_keys(
        self, state: TrainState, count: int, stream: str, index: int | Int[Array, ""] = 0
    ) -> Key[Array, " batch"]:
        """A key for each of those examples, of one stream of random numbers in this step."""
        key = rng.stream_key(state.seed, state.step, stream, index)
        return rng.example_keys(key, self.global_indices(count))


def with_constants(exp: Experiment) -> Experiment:
    """The experiment with the arrays that are neither trained nor saved, for a step that no program runs."""
    return dataclasses.replace(exp, constants=exp.algorithm.constants(exp))


def hparam(exp: Experiment, state: TrainState, name: str) -> Any:
    """A setting's value for this member of a population at this step: a number, or a traced one where it moves."""
    value = state.hparams.get(name, exp.flat[name])
    return exp.scheduled[name](value, state.step) if name in exp.scheduled else value


def learning_rate(exp: Experiment, state: TrainState, player: str) -> Float[Array, ""]:
    """A player's learning rate at this step."""
    peak = hparam(exp, state, f"optimizer.{player}.learning_rate")
    return jnp.asarray(peak * optimizers.schedule(exp.config.optimizer[player])(state.step), jnp.float32)


def build(
    resolved: Declarations,
    algorithm: Algorithm,
    fields: tuple[Field, ...],
    config: ConfigDict,
    classes: int = 0,
    axis_name: str | None = None,
) -> Experiment:
    """The experiment that a configuration describes.

    Args:
        resolved: the declarations of its settings.
        algorithm: that the configuration names.
        fields: of a batch.
        config: every setting.
        classes: labels of the data set; 0 if it has none.
        axis_name: the axis over whose devices the batch is sharded.

    Raises:
        UserError: an unknown name, settings that do not go together, or no labels where some are needed.
    """
    schedules.parse(config.schedules, resolved)
    exp = Experiment(config, resolved, algorithm, fields, classes, {}, algorithm.players(config), axis_name)
    for reason in algorithm.check(exp):
        raise UserError(reason)
    return dataclasses.replace(exp, networks=algorithm.networks(config, fields, classes, axis_name))


def initial_state(
    exp: Experiment, seed: int | Array | None = None, hparams: Mapping[str, Array] | None = None
) -> TrainState:
    """The state of an experiment at step 0; for a member of a population, of its own seed and settings."""
    seed = exp.config.seed if seed is None else seed
    inputs = exp.algorithm.inputs(exp)
    networks = {name: init_network(seed, name, network, inputs[name]) for name, network in exp.networks.items()}
    opt_states = {
        name: {
            own: optimizers.transformation(exp.config.optimizer[name]).init(networks[own].params) for own in networks_of
        }
        for name, (networks_of, _) in exp.players.items()
    }
    averaged = tuple(name for player in exp.players.values() for name in player.averaged)
    return create_state(seed, networks, opt_states, averaged, exp.algorithm.extra(exp), hparams or {})
