"""Standing statistics: of an affine layer they are the exact moments; nothing else of a network changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import SMALL, assert_same_bits, experiment, raises_user_error
from scipy import stats

from jaxgan import inference
from jaxgan.cli import sample
from jaxgan.core.latents import latents_of
from jaxgan.errors import UserError
from jaxgan.models.standing_statistics import is_moment

BATCHES = 100


@functools.cache
def found(truncation: float | None = None, batches: int = BATCHES):
    """The experiment, its variables, and those with standing statistics."""
    tiny = experiment(**SMALL)
    variables = inference.variables_of(tiny.state)
    own = inference.with_standing_statistics(tiny.exp, "sample", variables, 3, batches, truncation)
    return tiny.exp, variables, own


def first_norm(variables):
    """The moments of the norm behind the first layer, which is linear, and that layer's kernel."""
    generator = variables["generator"]
    return generator.model_state["batch_stats"]["body"]["BatchNorm_0"], generator.params["body"]["Dense_0"]["kernel"]


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_they_are_the_exact_moments_behind_a_linear_layer(truncation):
    """Of normal latents, whole or truncated, up to what chance does to 6,400 of them."""
    moments, kernel = first_norm(found(truncation)[2])
    variance = 1.0 if truncation is None else stats.truncnorm(-truncation, truncation).var()
    expected = variance * (np.float64(kernel) ** 2).sum(0)
    np.testing.assert_allclose(moments["var"], expected, rtol=0.06)
    np.testing.assert_allclose(moments["mean"] / np.sqrt(expected), 0, atol=5 * (64 * BATCHES) ** -0.5)


def test_they_are_means_of_the_moments_of_batches():
    exp, _, own = found(batches=3)
    moments, kernel = first_norm(own)
    indices = jnp.arange(3 * inference.BATCH)
    latents = latents_of(jnp.full(len(indices), 3, jnp.uint32), indices, exp.config.latent_dim)
    hidden = (np.float64(latents) @ kernel).reshape(3, inference.BATCH, -1)
    np.testing.assert_allclose(moments["mean"], hidden.mean(1).mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moments["var"], hidden.var(1).mean(0), rtol=1e-4)


def test_all_else_stays_as_it_is():
    _, before, after = found()

    def without_moments(variables):
        state = jax.tree_util.tree_leaves_with_path(variables["generator"].model_state)
        return variables["generator"].params, [leaf for path, leaf in state if not is_moment(path)]

    assert_same_bits(without_moments(after), without_moments(before))
    assert_same_bits(after["discriminator"], before["discriminator"])


def test_a_generator_without_batch_norm_has_none():
    tiny = experiment(**SMALL | {"model__generator__norm": "none"})
    with raises_user_error(UserError, match="--standing_statistics has no effect with --task=sample of this run"):
        inference.with_standing_statistics(tiny.exp, "sample", inference.variables_of(tiny.state), 0, 1)


def test_the_option_is_checked(capsys):
    assert sample.main(["--workdir=run", "--out=a.png", "--standing_statistics=0"]) == 2
    assert "--standing_statistics=0 must be at least 1" in capsys.readouterr().err
