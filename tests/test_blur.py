"""The blur of what a discriminator is given: beside NumPy, where it does nothing, how it fades, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit

from jaxgan.adversarial.blur import blur
from jaxgan.algorithms import ALGORITHMS, stylegan2
from jaxgan.cli import train
from jaxgan.config import build, default
from jaxgan.core.experiment import hparam
from jaxgan.core.state import TrainState, create_state

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 16, 3)), jnp.float32)


def filtered(images: np.ndarray | jax.Array, sigma: float) -> np.ndarray:
    """Each axis by a window of floor(3 sigma) pixels to each side, in float64."""
    reach = int(np.floor(3 * sigma))
    window = 2.0 ** -((np.arange(-reach, reach + 1) / sigma) ** 2)
    for axis in (1, 2):
        padded = np.pad(np.asarray(images, float), [(reach, reach) if i == axis else (0, 0) for i in range(4)])
        count = images.shape[axis]
        parts = [weight * padded.take(range(i, i + count), axis) for i, weight in enumerate(window / window.sum())]
        images = sum(parts)
    return images


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5, 10.0])  # the last one's window is longer than the images
def test_the_blur_is_that_of_numpy(sigma):
    found = quick_jit(lambda sigma: blur(IMAGES, sigma, 10.0))(jnp.float32(sigma))
    np.testing.assert_allclose(found, filtered(IMAGES, sigma), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.33])
def test_below_a_third_of_a_pixel_images_stay_to_the_bit(sigma):
    found = quick_jit(lambda sigma: blur(IMAGES, sigma, 10.0))(jnp.float32(sigma))
    np.testing.assert_array_equal(found, IMAGES)


def test_members_of_a_population_that_have_no_blur_keep_their_gradients():
    """Where all branches are computed: the gradient of a sum is 1 without a blur, and at most 1 with one."""
    slope = jax.grad(lambda images, sigma: blur(images, sigma, 4.0).sum())
    none, some = quick_jit(jax.vmap(slope, in_axes=(None, 0)))(IMAGES, jnp.array([0.0, 4.0]))
    np.testing.assert_array_equal(none, np.ones_like(IMAGES))
    assert (some < 1).all()
    assert (some > 0).all()


def at(exp, step: int) -> TrainState:
    """A state without networks."""
    return create_state(0, {}, {}, (), {}, {}).replace(step=jnp.asarray(step))


@pytest.mark.parametrize("images", [0, 50_016, 150_016, 200_000, 400_000])
def test_the_published_blur_fades_over_200_000_images(images):
    """10 pixels at first, as max(1 - images / 200,000, 0) says."""
    exp = build(train.load_config("configs/published/stylegan3_r_ffhq.py"))
    sigma = hparam(exp, at(exp, images // exp.config.batch_size), "blur_sigma")
    np.testing.assert_allclose(sigma, 10 * max(1 - images / 200_000, 0), atol=1e-5)


def test_the_discriminator_is_given_blurred_images_until_the_blur_has_faded():
    smallest = {"algorithm": "stylegan2", **ALGORITHMS["stylegan2"].smallest}
    exp = build(default({**smallest, "blur_sigma": 2.0, "schedules": "blur_sigma=linear(0, 4)"}))
    given = [stylegan2.augmented(exp, at(exp, step), IMAGES, "any") for step in (0, 2, 4, 5)]
    for found, sigma in zip(given[:2], (2.0, 1.0), strict=True):
        np.testing.assert_allclose(found, filtered(IMAGES, sigma), atol=1e-5)
    for found in given[2:]:
        np.testing.assert_array_equal(found, IMAGES)
