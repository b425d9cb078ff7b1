"""What a training step reads and writes: a tree of arrays, and how it is made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxgan.core import rng


class Variables(flax.struct.PyTreeNode):
    """What a network needs to be applied.

    Attributes:
        params: what gradients change.
        stats: what a training pass changes, by Flax collection: BatchNorm's running moments.
    """

    params: PyTree
    stats: PyTree

    def collections(self) -> dict[str, PyTree]:
        """The same as Flax's `apply` takes it."""
        return {"params": self.params, **self.stats}


class NetworkState(flax.struct.PyTreeNode):
    """One network in training: its variables and its optimizer's state."""

    variables: Variables
    opt_state: PyTree


class TrainState(flax.struct.PyTreeNode):
    """A whole run in arrays.

    Attributes:
        step: training steps done, int32 [].
        seed: of all randomness, uint32 []; with `step` it gives every key.
        networks: by name; the steps use "generator" and "discriminator".
        ema: moving averages of some networks' variables, by the same names.
        memory: numbers carried from step to step, by name: what penalties remember and, in each state, "nonfinite",
            how many updates were not applied since their numbers were not finite.
        sweep: this member's own values of the settings in which the members of a population differ, by dotted name.
    """

    step: Any
    seed: Any
    networks: dict[str, NetworkState]
    ema: dict[str, Variables]
    memory: dict[str, Any]
    sweep: PyTree  # not a dict, since Orbax puts a leaf in the place of an empty one


def create_state(
    seed: int | Array,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, optax.GradientTransformation],
    inputs: Mapping[str, tuple],
    averaged: tuple[str, ...] = ("generator",),
    memory: Mapping[str, Array] = MappingProxyType({}),
    sweep: Mapping[str, Array] = MappingProxyType({}),
) -> TrainState:
    """The state at step 0.

    Args:
        seed: from 0 to 2^32 - 1.
        networks, optimizers: by name.
        inputs: an example of each network's arguments, with a batch dimension.
        averaged: the networks of which a moving average is kept.
        memory: what penalties remember.
        sweep: as in `GANState`.
    """
    seed = jnp.asarray(seed, jnp.uint32)
    states = {}
    for name, network in networks.items():
        # Flax seeds each parameter by its path, so two networks may share the step but not the use.
        variables = network.init(rng.stream_key(seed, 0, f"init {name}"), *inputs[name], train=True)
        params = variables["params"]
        stats = {collection: value for collection, value in variables.items() if collection != "params"}
        states[name] = NetworkState(Variables(params, stats), optimizers[name].init(params))
    # A copy, since a state whose buffers are given away to the next step must not hold one buffer twice.
    ema = {name: jax.tree.map(jnp.copy, states[name].variables) for name in averaged}
    step = jnp.zeros((), jnp.int32)
    memory = {"nonfinite": jnp.zeros(()), **memory}
    return TrainState(step, seed, networks=states, ema=ema, memory=memory, sweep=dict(sweep))


def apply(
    network: nn.Module, variables: Variables, *inputs: Array | None, train: bool, key: Key[Array, ""] | None = None
) -> tuple[Any, PyTree]:
    """The network's output and its new stats, which are the old ones unless `train`; dropout draws from the key."""
    if not train:
        return network.apply(variables.collections(), *inputs, train=False), variables.stats
    rngs = {} if key is None else {"dropout": key}
    return network.apply(variables.collections(), *inputs, train=True, mutable=list(variables.stats), rngs=rngs)


def update(
    state: NetworkState,
    gradients: PyTree,
    stats: PyTree,
    optimizer: optax.GradientTransformation,
    learning_rate: float | Float[Array, ""] = 1.0,
) -> NetworkState:
    """The network after one optimizer update, with the stats of its training pass.

    Args:
        state: before.
        gradients: of its parameters.
        stats: its new ones.
        optimizer: whose updates are for a learning rate of 1.
        learning_rate: what they are multiplied by.
    """
    params = state.variables.params
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    params = jax.tree.map(lambda value, change: value + learning_rate * change, params, updates)
    return NetworkState(Variables(params, stats), opt_state)
