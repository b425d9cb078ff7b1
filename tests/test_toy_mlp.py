"""The networks for points of mixtures of Gaussians: those of PacGAN, and maxout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, quick_jit, tiny_config

from jaxgan.config import build
from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.models import toy_mlp

RING = {"model__family": "toy_mlp", "data__source": "world:ring"}
INPUTS = jax.random.normal(jax.random.key(1), (6, 2))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_generator_of_pacgan():
    """Lin et al., 2018, section 4.1: from 2 latents over four layers of 400 units, normalised, to 2 coordinates."""
    network = toy_mlp.Generator(dim=2)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 2)), None, True))
    # A BatchNorm has a bias and a scale; the layer before has no bias.
    dense = 2 * 400 + 3 * 400 * 400 + 400 * 2 + 2
    assert count(variables["params"]) == dense + 4 * 2 * 400
    assert count(variables["batch_stats"]) == 4 * 2 * 400


@pytest.mark.parametrize("packing", [1, 2, 4])
def test_the_discriminator_of_pacgan(packing):
    """Lin et al., 2018, section 4.1: three layers of 200 units, each the largest of five; no BatchNorm."""
    network = toy_mlp.Discriminator()
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 2 * packing)), True))
    assert set(variables) == {"params"}
    units = 200 * 5
    assert count(variables["params"]) == (2 * packing + 1) * units + 2 * (200 + 1) * units


def test_the_configuration_of_pacgan_makes_those_networks():
    widths = {"model__generator__width": 400, "model__discriminator__width": 200, "model__discriminator__maxout": 5}
    config = tiny_config(**RING, **widths, latent_dim=2, model__discriminator__norm="none", packing=2)
    exp = build(config)
    sizes = {
        name: count(
            jax.eval_shape(lambda name=name, x=x: exp.networks[name].init(jax.random.key(0), *x, True))["params"]
        )
        for name, x in exp.algorithm.inputs(exp).items()
    }
    # The body above and the last layer, which makes one logit of 200 features.
    assert sizes == {"generator": 481_602 + 3_200, "discriminator": 5 * 1000 + 2 * 201 * 1000 + 201}


@functools.cache
def discriminator_of(maxout: int, **settings):
    """(a discriminator of two layers of three units, its parameters, its features of some points)."""
    network = toy_mlp.Discriminator(width=3, depth=2, maxout=maxout, **settings)
    params = network.init(jax.random.key(0), INPUTS, True)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.3, params)  # so that biases count
    return network, params, quick_jit(lambda p: network.apply({"params": p}, INPUTS, True))(params)


def test_a_unit_is_nan_if_one_of_its_pieces_is():
    for piece in range(2):
        network, params, _ = discriminator_of(2)
        params = jax.tree.map(jnp.asarray, params)
        params["Dense_0"]["bias"] = params["Dense_0"]["bias"].at[3 * piece].set(jnp.nan)
        assert jnp.isnan(network.apply({"params": params}, jnp.ones((2, 2)), train=True)).all()


@pytest.mark.parametrize("maxout", [2, 5])
def test_a_unit_is_the_largest_of_its_pieces(maxout):
    """Goodfellow et al., 2013, equation 1."""
    _, params, features = discriminator_of(maxout)
    hidden = np.float64(INPUTS)
    for layer in ("Dense_0", "Dense_1"):
        kernel, bias = np.float64(params[layer]["kernel"]), np.float64(params[layer]["bias"])
        assert kernel.shape[1] == 3 * maxout
        units = [
            [max(row @ kernel[:, k] + bias[k] for k in range(u, 3 * maxout, 3)) for u in range(3)] for row in hidden
        ]
        hidden = np.array(units)
    np.testing.assert_allclose(features, hidden, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_a_unit_of_one_piece_is_a_leaky_relu(slope):
    _, params, features = discriminator_of(1, negative_slope=slope)
    hidden = np.float64(INPUTS)
    for layer in ("Dense_0", "Dense_1"):
        hidden = hidden @ np.float64(params[layer]["kernel"]) + np.float64(params[layer]["bias"])
        hidden = np.where(hidden > 0, hidden, slope * hidden)
    np.testing.assert_allclose(features, hidden, rtol=1e-4, atol=1e-5)
    assert (features > 0).any()
    assert (features <= 0).any()


def test_coordinates_are_not_bounded():
    """They grow as the last layer does."""
    network = toy_mlp.Generator(dim=3, width=4)
    params = network.init(jax.random.key(0), INPUTS, None, True)
    run = quick_jit(lambda v: network.apply(v, INPUTS, None, False))
    out = run(params)
    assert out.shape == (6, 3)
    last = jax.tree.map(lambda leaf: 1000 * leaf, params["params"]["Dense_4"])
    far = run({**params, "params": params["params"] | {"Dense_4": last}})
    assert np.abs(far).max() > 10
    np.testing.assert_allclose(far, 1000 * out, rtol=1e-4)


@pytest.mark.parametrize("group", [2, 3])
def test_the_last_hidden_layer_has_the_spread_as_an_input(group):
    _, plain, _ = discriminator_of(2)
    _, with_spread, features = discriminator_of(2, minibatch_stddev=group)
    assert with_spread["Dense_0"]["kernel"].shape == plain["Dense_0"]["kernel"].shape
    assert with_spread["Dense_1"]["kernel"].shape == (4, 6)
    assert features.shape == (6, 3)


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_the_networks_fit_every_mixture(name):
    exp = build(tiny_config(**POINTS | {"data__source": f"world:{name}"}))
    run = lambda x, name: exp.networks[name].init_with_output(jax.random.key(0), x, None, True)[0]  # noqa: E731
    made = jax.eval_shape(lambda: run(jnp.zeros((3, 4)), "generator"))
    assert (made.shape, made.dtype) == ((3, MIXTURES[name].dim), jnp.float32)
    assert jax.eval_shape(lambda x: run(x, "discriminator"), made).logits.shape == (3,)
