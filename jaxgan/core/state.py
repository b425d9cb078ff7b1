"""What a training step reads and writes: a tree of arrays, and how it is made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxgan.core import rng


class Variables(flax.struct.PyTreeNode):
    """What a network needs to be applied.

    Attributes:
        params: what gradients change.
        model_state: what a training pass changes, by Flax collection: BatchNorm's running moments.
    """

    params: PyTree
    model_state: PyTree

    def collections(self) -> dict[str, PyTree]:
        """The same as Flax's `apply` takes it."""
        return {"params": self.params, **self.model_state}


class TrainState(flax.struct.PyTreeNode):
    """A whole run in arrays.

    Attributes:
        step: training steps done, int32 [].
        seed: of all randomness, uint32 []; with `step` it gives every key.
        networks: `Variables` by network.
        opt_states: optimizer states by player and network.
        ema: exponential moving averages of some networks' variables, by network.
        extra: arrays carried from step to step, by what carries them. "skipped_updates" counts, for each player, the
            updates that were left out because their numbers were not finite.
        hparams: this member's own values of the settings in which the members of a population differ, by dotted name.
    """

    step: Any
    seed: Any
    networks: dict[str, Variables]
    opt_states: dict[str, dict[str, PyTree]]
    ema: dict[str, Variables]
    extra: dict[str, Any]
    hparams: PyTree  # not a dict, since Orbax puts a leaf in the place of an empty one


def init_network(seed: int | Array, name: str, network: nn.Module, inputs: tuple) -> Variables:
    """A network's variables at step 0.

    Args:
        seed: from 0 to 2^32 - 1.
        name: of the network. Flax seeds each parameter by its path, so networks may share the step but not the stream.
        network: called with (*inputs, train).
        inputs: an example of its arguments, with a batch dimension.
    """
    variables = network.init(rng.stream_key(seed, 0, f"init {name}"), *inputs, train=True)
    model_state = {collection: value for collection, value in variables.items() if collection != "params"}
    return Variables(variables["params"], model_state)


def create_state(
    seed: int | Array,
    networks: Mapping[str, Variables],
    opt_states: Mapping[str, Mapping[str, PyTree]],
    averaged: tuple[str, ...] = (),
    extra: Mapping[str, PyTree] = MappingProxyType({}),
    hparams: Mapping[str, Array] = MappingProxyType({}),
) -> TrainState:
    """The state at step 0; arguments as in `TrainState`, `averaged` names the networks with a moving average."""
    # A copy, since a state whose buffers are given away to the next step must not hold one buffer twice.
    ema = {name: jax.tree.map(jnp.copy, networks[name]) for name in averaged}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        networks=dict(networks),
        opt_states={player: dict(states) for player, states in opt_states.items()},
        ema=ema,
        extra={"skipped_updates": {player: jnp.zeros(()) for player in opt_states}, **extra},
        hparams=dict(hparams),
    )


def apply(
    network: nn.Module, variables: Variables, *inputs: PyTree, train: bool, key: Key[Array, ""] | None = None
) -> tuple[Any, PyTree]:
    """The network's output and its new model state, which is the old one unless `train`.

    Dropout or noise, of which a network has one at most, draws from the key.
    """
    if not train:
        return network.apply(variables.collections(), *inputs, train=False), variables.model_state
    rngs = {} if key is None else {"dropout": key, "noise": key}
    return network.apply(variables.collections(), *inputs, train=True, mutable=list(variables.model_state), rngs=rngs)
