"""The state: how it is made, applied and updated."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import SMALL, assert_all_changed, assert_close, assert_same_bits, experiment, leaves, quick_jit, same

from jaxgan.core.experiment import initial_state
from jaxgan.core.gradients import apply_gradients
from jaxgan.core.state import Variables, apply, create_state, init_network


@pytest.fixture(scope="module")
def tiny():
    return experiment(recorded=True)


def test_the_initial_state(tiny):
    state = tiny.state
    assert (int(state.step), int(state.seed)) == (0, 0)
    assert set(state.networks) == {"generator", "discriminator"}
    assert set(state.ema) == {"generator"}
    assert {player: set(own) for player, own in state.opt_states.items()} == {name: {name} for name in state.networks}
    assert_same_bits(state.extra, {"skipped_updates": dict.fromkeys(state.networks, np.zeros((), np.float32))})
    assert state.hparams == {}
    assert_same_bits(state.ema["generator"], state.networks["generator"])


def test_no_two_arrays_share_a_buffer(tiny):
    """A step may reuse the buffers of the state, which works only if each is there once."""
    buffers = [array.unsafe_buffer_pointer() for array in jax.tree.leaves((tiny.state.networks, tiny.state.ema))]
    assert len(set(buffers)) == len(buffers)


def test_the_seed_decides_every_random_array(tiny):
    make = quick_jit(lambda seed: initial_state(tiny.exp, seed))
    one, again, other = (make(np.uint32(seed)) for seed in (0, 0, 2**32 - 1))
    assert_same_bits(one, again)
    assert_same_bits(one, tiny.state)
    kernels = lambda state: {path: leaf for path, leaf in leaves(state.networks).items() if "kernel" in path}  # noqa: E731
    random = {path: leaf for path, leaf in kernels(one).items() if "params" in path}
    assert len(random) == 9
    assert_all_changed(random, kernels(other))


def test_two_networks_of_one_architecture_start_differently():
    class Module(nn.Module):
        @nn.compact
        def __call__(self, inputs, train):
            return nn.Dense(2)(inputs)

    networks = {name: init_network(0, name, Module(), (jnp.zeros((1, 3)),)) for name in ("one", "other")}
    one, other = (variables.params["Dense_0"]["kernel"] for variables in networks.values())
    assert not np.isin(one, other).any()


def test_networks_have_a_moving_average_if_asked_for():
    networks = {name: Variables({"kernel": jnp.full(3, value)}, {}) for name, value in (("one", 1.0), ("other", 2.0))}
    assert create_state(0, networks, {}).ema == {}
    assert_same_bits(create_state(0, networks, {}, averaged=("other",)).ema, {"other": networks["other"]})


def test_apply_without_training_treats_each_example_alone_and_keeps_the_model_state(tiny):
    variables, network = tiny.state.networks["generator"], tiny.exp.networks["generator"]
    latents = jax.random.normal(jax.random.key(0), (4, 4))
    variables = variables.replace(model_state=apply(network, variables, latents, None, train=True)[1])
    out, model_state = apply(network, variables, latents, None, train=False)
    assert_same_bits(model_state, variables.model_state)
    alone, _ = apply(network, variables, latents[:1], None, train=False)
    np.testing.assert_allclose(alone[0], out[0], rtol=1e-5, atol=1e-6)


def test_apply_in_training_depends_on_the_whole_batch_and_changes_the_model_state(tiny):
    variables, network = tiny.state.networks["generator"], tiny.exp.networks["generator"]
    latents = jax.random.normal(jax.random.key(0), (4, 4))
    out, model_state = apply(network, variables, latents, None, train=True)
    assert_all_changed(model_state, variables.model_state)
    others, _ = apply(network, variables, latents.at[1:].multiply(3), None, train=True)
    assert not np.allclose(others[0], out[0], atol=1e-4)
    # flax's momentum of 0.9: the moments move a tenth of the way to those of the batch.
    hidden = latents @ variables.params["body"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(
        model_state["batch_stats"]["body"]["BatchNorm_0"]["mean"], 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6
    )


def test_collections_are_what_flax_takes(tiny):
    variables = tiny.state.networks["generator"]
    assert set(variables.collections()) == {"params", "batch_stats"}
    assert variables.collections()["params"] is variables.params
    assert Variables({"a": 1}, {}).collections() == {"params": {"a": 1}}


def test_apply_gradients_makes_the_update_of_the_optimizer():
    """Of a player, with the new model state; other players do not change."""
    own = {"name": "sgd", "b1": 0.9, "learning_rate": 0.5}
    tiny = experiment(**SMALL, **{f"optimizer__discriminator__{name}": value for name, value in own.items()})
    before = tiny.state
    network = before.networks["discriminator"]
    grads = {"discriminator": jax.tree.map(jnp.ones_like, network.params)}
    model_state = jax.tree.map(lambda x: x + 1, network.model_state)
    step = quick_jit(lambda state, **more: apply_gradients(tiny.exp, state, "discriminator", grads, **more))
    once, metrics = step(before, model_state={"discriminator": model_state}, metrics={"value": jnp.float32(3)})
    twice, _ = step(once)
    # Momentum: the second update is 1.9 times as long.
    assert_close(once.networks["discriminator"].params, jax.tree.map(lambda p: p - 0.5, network.params))
    assert_close(twice.networks["discriminator"].params, jax.tree.map(lambda p: p - 0.5 * 2.9, network.params))
    for state in (once, twice):
        assert_same_bits(state.networks["discriminator"].model_state, model_state)
        assert_same_bits(state.networks["generator"], before.networks["generator"])
        assert_same_bits(state.opt_states["generator"], before.opt_states["generator"])
        assert_same_bits((state.step, state.ema, state.extra), (before.step, before.ema, before.extra))
    assert not same(once.opt_states["discriminator"], before.opt_states["discriminator"])
    count = sum(leaf.size for leaf in jax.tree.leaves(network.params))
    assert_close(metrics, {"value": 3.0, "grad_norm/discriminator": np.sqrt(count), "skipped_updates": 0.0})


@pytest.mark.parametrize("when", [False, True])
def test_an_update_happens_when_it_is_asked_for(tiny, when):
    """An update that is not asked for is not counted as skipped."""
    grads = {"generator": jax.tree.map(jnp.ones_like, tiny.state.networks["generator"].params)}
    after, metrics = quick_jit(lambda when: apply_gradients(tiny.exp, tiny.state, "generator", grads, when=when))(when)
    assert metrics["skipped_updates"] == 0
    assert_same_bits(after.extra, tiny.state.extra)
    assert same(after.networks, tiny.state.networks) != when
    assert same(after.opt_states, tiny.state.opt_states) != when
