"""Random numbers depend on (seed, step, stream, index, example) alone."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.core import latents, rng

LATENT = 3
sample_latents = jax.jit(latents.sample_latents, static_argnums=(2, 3))


@functools.cache
def whole():
    return np.asarray(sample_latents(rng.stream_key(5, 7, "latents"), jnp.arange(12), LATENT))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.integers(0, 11), min_size=4, max_size=4))
def test_the_latents_of_an_example_do_not_depend_on_the_batch(examples):
    part = sample_latents(rng.stream_key(5, 7, "latents"), jnp.asarray(examples), LATENT)
    np.testing.assert_array_equal(part, whole()[examples])


@pytest.mark.parametrize("size", [1, 2, 3, 6, 12])
def test_latents_do_not_depend_on_the_batch_size(size):
    key = rng.stream_key(5, 7, "latents")
    parts = [sample_latents(key, jnp.arange(first, first + size), LATENT) for first in range(0, 12, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole())


def test_latents_depend_on_seed_step_stream_and_index():
    addresses = itertools.product([0, 1, 2**32 - 1], [0, 1, 10_000], ["latents", "targets"], [0, 1])
    rows = [sample_latents(rng.stream_key(*address), jnp.arange(2), LATENT) for address in addresses]
    numbers = np.concatenate(rows).ravel()
    assert len(np.unique(numbers)) == len(numbers)


def test_traced_seeds_and_steps_give_the_same_keys():
    key = jax.jit(lambda seed, step: rng.stream_key(seed, step, "latents"))(jnp.uint32(5), jnp.int32(7))
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(rng.stream_key(5, 7, "latents")))


def test_one_device_holds_the_whole_batch():
    np.testing.assert_array_equal(rng.global_indices(6), np.arange(6))


def test_devices_hold_the_batch_in_order():
    parts = jax.vmap(lambda _: rng.global_indices(4, "axis"), axis_name="axis")(jnp.zeros(3))
    np.testing.assert_array_equal(parts, np.arange(12).reshape(3, 4))


def test_latents_are_standard_normal_and_independent():
    rows = np.asarray(sample_latents(rng.stream_key(0, 0, "latents"), jnp.arange(20_000), LATENT))
    error = 1 / np.sqrt(len(rows))
    assert (np.abs(rows.mean(0)) < 4 * error).all()
    np.testing.assert_allclose(np.cov(rows.T), np.eye(LATENT), atol=6 * error)
    assert np.abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 4 * error
    assert np.abs((rows**4).mean() - 3) < 0.1


@pytest.mark.parametrize("truncation", [0.5, 1.0, 2.0])
def test_truncation_bounds_the_latents(truncation):
    rows = np.asarray(sample_latents(rng.stream_key(0, 0, "latents"), jnp.arange(5_000), LATENT, truncation))
    assert np.abs(rows).max() <= truncation
    assert np.abs(rows).max() > 0.99 * truncation
    # The variance of the truncated normal: 1 - 2 a phi(a) / (2 Phi(a) - 1).
    density = np.exp(-(truncation**2) / 2) / np.sqrt(2 * np.pi)
    mass = float(jax.scipy.special.erf(truncation / np.sqrt(2)))
    np.testing.assert_allclose(rows.var(), 1 - 2 * truncation * density / mass, rtol=0.05)


@pytest.mark.parametrize("shape", [(), (2, 2, 1)])
def test_normal_numbers_depend_on_the_key_of_the_example(shape):
    normal = jax.jit(rng.normal, static_argnums=1)
    own = rng.example_keys(rng.stream_key(5, 7, "noise"), jnp.arange(12))
    rows = np.asarray(normal(own, shape))
    assert rows.shape == (12, *shape)
    assert len(np.unique(rows)) == rows.size
    np.testing.assert_array_equal(normal(own[jnp.asarray([7, 2])], shape), rows[[7, 2]])
    many = np.asarray(normal(rng.example_keys(rng.stream_key(5, 7, "noise"), jnp.arange(20_000)), shape))
    assert abs(many.mean()) < 4 / np.sqrt(many.size)
    assert abs(many.var() - 1) < 4 * np.sqrt(2 / many.size)
