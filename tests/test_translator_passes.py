"""Short cuts of translators: blocks in a loop, batches joined, and a norm with its own derivative change no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit

from jaxgan.algorithms import cyclegan
from jaxgan.config import build, default
from jaxgan.core import population
from jaxgan.models.cyclegan import Translator
from jaxgan.models.ops import layers

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 12, 16, 1)), jnp.float32)


def assert_close(actual, expected, rtol: float = 1e-5):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_blocks_in_a_loop_are_blocks_one_after_the_other(blocks):
    """Initialisation runs block by block, since each makes its parameters."""
    network = Translator((12, 16, 1), base_channels=4, blocks=blocks, init_stddev=0.3)
    expected, variables = network.init_with_output(jax.random.key(0), IMAGES, train=False)
    convolutions = {*(f"Conv_{number}" for number in range(4)), "ConvTranspose_0", "ConvTranspose_1"}
    assert variables["params"].keys() == convolutions | {f"Block_{number}" for number in range(blocks)}
    assert_close(network.apply(variables, IMAGES, train=True), expected)


def test_both_layouts_have_the_same_images_and_gradients():
    """Reflected borders, instance normalisation and residual blocks among them."""
    networks = [
        Translator((12, 16, 1), base_channels=16, blocks=2, init_stddev=0.1, batch_last=last) for last in (False, True)
    ]
    variables = networks[0].init(jax.random.key(0), IMAGES, train=False)

    @quick_jit
    def both(variables):
        def value(variables, network):
            images = network.apply(variables, IMAGES, train=True)
            return (images * jnp.cos(jnp.arange(images.size).reshape(images.shape))).sum(), images

        return [jax.value_and_grad(value, has_aux=True)(variables, network) for network in networks]

    (actual, slopes), (expected, others) = both(variables)
    assert_close(actual, expected)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(others))
    for one, other in zip(jax.tree.leaves(slopes), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("changes", [{}, {"model.generator.norm": "batch"}, {"identity": 0.0}])
def test_fakes_and_identities_are_those_of_one_batch_by_itself(changes):
    exp = build(default({"algorithm": "cyclegan", **cyclegan.CYCLEGAN.smallest, **changes}))
    state = quick_jit(lambda: population.init_state(exp))()
    shape = {field.name: (3, *field.shape) for field in exp.fields}
    real = {name: jax.random.uniform(jax.random.key(ord(name)), shape[name], minval=-1) for name in "ab"}
    found = cyclegan.translations(exp, state, state.networks, real)
    for way, (start, to) in cyclegan.DIRECTIONS.items():
        name = f"generator_{way}"

        def translated(images, name=name):
            variables = state.networks[name].collections()
            return exp.networks[name].apply(variables, images, train=True, mutable=list(variables))[0]

        assert_close(found.fake[to], translated(real[start]))
        assert_close(found.cycle[to], translated(found.fake[start]))
        if found.identity:
            assert_close(found.identity[to], translated(real[to]))
    assert bool(found.identity) == (exp.config.identity > 0)


def test_instance_norm_has_the_derivatives_of_its_definition():
    """First and second ones, by random directions."""

    def definition(features):
        mean, variance = features.mean((1, 2), keepdims=True), features.var((1, 2), keepdims=True)
        return (features - mean) / jnp.sqrt(variance + 1e-5)

    def derivatives(function):
        def slope(features):
            weights = jnp.sin(jnp.arange(features.size)).reshape(features.shape)
            return jax.grad(lambda features: (weights * jnp.tanh(function(features))).sum())(features)

        return slope(IMAGES), jax.grad(lambda features: (slope(features) ** 2).sum())(IMAGES)

    own = derivatives(lambda features: layers.instance_norm(features, None, True, None))
    assert_close(own, derivatives(definition), 1e-4)
