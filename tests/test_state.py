"""The state: how it is made, applied and updated."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from experiments import assert_all_changed, assert_close, assert_same_bits, experiment, leaves, quick_jit, same

from jaxgan.core import experiment as experiments
from jaxgan.core.state import Variables, apply, create_state, update


@pytest.fixture(scope="module")
def tiny():
    return experiment(recorded=True)


def test_the_beginning(tiny):
    state = tiny.state
    assert (int(state.step), int(state.seed)) == (0, 0)
    assert set(state.networks) == {"generator", "discriminator"}
    assert set(state.ema) == {"generator"}
    assert_same_bits(state.ema["generator"], state.networks["generator"].variables)


def test_no_two_arrays_share_their_memory(tiny):
    """A step may be given the state's buffers to reuse, which works only if each is there once."""
    buffers = [array.unsafe_buffer_pointer() for array in jax.tree.leaves((tiny.state.networks, tiny.state.ema))]
    assert len(set(buffers)) == len(buffers)


def test_the_seed_decides_every_random_array(tiny):
    def make(seed):
        inputs = experiments.example_inputs(tiny.exp)
        return quick_jit(lambda: create_state(seed, tiny.exp.networks, tiny.exp.optimizers, inputs))()

    one, again, other = make(0), make(0), make(2**32 - 1)
    assert_same_bits(one, again)
    assert_same_bits(one, tiny.state)
    kernels = lambda state: {path: leaf for path, leaf in leaves(state.networks).items() if "kernel" in path}  # noqa: E731
    random = {path: leaf for path, leaf in kernels(one).items() if "params" in path}
    assert len(random) == 9
    assert_all_changed(random, kernels(other))


def test_two_networks_of_one_architecture_start_differently():
    inputs = (jnp.zeros((1, 3)),)

    class Module(nn.Module):
        @nn.compact
        def __call__(self, inputs, train):
            return nn.Dense(2)(inputs)

    names = ("one", "other")
    state = create_state(
        0, dict.fromkeys(names, Module()), dict.fromkeys(names, optax.sgd(1.0)), dict.fromkeys(names, inputs), ()
    )
    one, other = (state.networks[name].variables.params["Dense_0"]["kernel"] for name in names)
    assert not np.isin(one, other).any()
    assert state.ema == {}


def test_apply_without_training_treats_each_example_alone_and_keeps_the_stats(tiny):
    state, _ = tiny.run(2)
    variables, network = state.networks["generator"].variables, tiny.exp.networks["generator"]
    latents = jax.random.normal(jax.random.key(0), (4, 4))
    out, stats = apply(network, variables, latents, None, train=False)
    assert_same_bits(stats, variables.stats)
    alone, _ = apply(network, variables, latents[:1], None, train=False)
    np.testing.assert_allclose(alone[0], out[0], rtol=1e-5, atol=1e-6)


def test_apply_in_training_sees_the_whole_batch_and_moves_the_stats(tiny):
    variables, network = tiny.state.networks["generator"].variables, tiny.exp.networks["generator"]
    latents = jax.random.normal(jax.random.key(0), (4, 4))
    out, stats = apply(network, variables, latents, None, train=True)
    assert_all_changed(stats, variables.stats)
    others, _ = apply(network, variables, latents.at[1:].multiply(3), None, train=True)
    assert not np.allclose(others[0], out[0], atol=1e-4)
    # flax's momentum of 0.9: the moments move a tenth of the way to those of the batch.
    hidden = latents @ variables.params["body"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(
        stats["batch_stats"]["body"]["BatchNorm_0"]["mean"], 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6
    )


def test_collections_are_what_flax_takes(tiny):
    variables = tiny.state.networks["generator"].variables
    assert set(variables.collections()) == {"params", "batch_stats"}
    assert variables.collections()["params"] is variables.params
    assert Variables({"a": 1}, {}).collections() == {"params": {"a": 1}}


def test_update_is_the_optimizer_s(tiny):
    network = tiny.state.networks["generator"]
    optimizer = optax.sgd(0.5, momentum=0.9)
    network = network.replace(opt_state=optimizer.init(network.variables.params))
    gradients = jax.tree.map(jnp.ones_like, network.variables.params)
    stats = jax.tree.map(lambda x: x + 1, network.variables.stats)
    once = update(network, gradients, stats, optimizer)
    twice = update(once, gradients, stats, optimizer)
    # Momentum: the second update is 1.9 times as long.
    assert_close(once.variables.params, jax.tree.map(lambda p: p - 0.5, network.variables.params))
    assert_close(twice.variables.params, jax.tree.map(lambda p: p - 0.5 * 2.9, network.variables.params))
    assert_same_bits(once.variables.stats, stats)
    assert not same(once.opt_state, network.opt_state)
