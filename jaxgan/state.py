"""What a training step reads and writes: a tree of arrays, and how it is made."""

from collections.abc import Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from jaxgan import keys


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


class GANState(flax.struct.PyTreeNode):
    """A whole run in arrays.

    Attributes:
        step: training steps done, int32 [].
        seed: of all randomness, uint32 []; with `step` it gives every key.
        networks: by name; the steps use "generator" and "discriminator".
        ema: moving averages of some networks' variables, by the same names.
    """

    step: Any
    seed: Any
    networks: dict[str, NetworkState]
    ema: dict[str, Variables]


def create_state(
    seed: int,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, optax.GradientTransformation],
    inputs: Mapping[str, Any],
    averaged: tuple[str, ...] = ("generator",),
) -> GANState:
    """The state at step 0.

    Args:
        seed: from 0 to 2^32 - 1.
        networks, optimizers: by name.
        inputs: an example input of each network, with a batch dimension.
        averaged: the networks of which a moving average is kept.
    """
    seed = jnp.asarray(seed, jnp.uint32)
    states = {}
    for name, network in networks.items():
        # Flax seeds each parameter by its path, so two networks may share the step but not the use.
        variables = network.init(keys.use_key(seed, 0, f"init {name}"), inputs[name], train=True)
        params = variables["params"]
        stats = {collection: value for collection, value in variables.items() if collection != "params"}
        states[name] = NetworkState(Variables(params, stats), optimizers[name].init(params))
    # A copy, since a state whose buffers are given away to the next step must not hold one buffer twice.
    ema = {name: jax.tree.map(jnp.copy, states[name].variables) for name in averaged}
    return GANState(step=jnp.zeros((), jnp.int32), seed=seed, networks=states, ema=ema)


def apply(network: nn.Module, variables: Variables, inputs: Array, train: bool) -> tuple[Array, PyTree]:
    """The network's output and its new stats, which are the old ones unless `train`."""
    if not train:
        return network.apply(variables.collections(), inputs, train=False), variables.stats
    return network.apply(variables.collections(), inputs, train=True, mutable=list(variables.stats))


def update(
    state: NetworkState, gradients: PyTree, stats: PyTree, optimizer: optax.GradientTransformation
) -> NetworkState:
    """The network after one optimizer update, with the stats of its training pass."""
    params = state.variables.params
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    return NetworkState(Variables(optax.apply_updates(params, updates), stats), opt_state)
