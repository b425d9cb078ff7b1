"""The penalties against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.regularizers import PENALTIES, r1, r2, squared_gradient_norm

SHAPE = (5, 3, 3, 2)
REAL, FAKE, WEIGHT = (
    jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
    for seed, shape in enumerate([SHAPE, SHAPE, SHAPE[1:]])
)


def linear(images):
    return (images * WEIGHT).sum((1, 2, 3)) + 3


def quadratic(images):
    return 0.5 * (WEIGHT * images**2).sum((1, 2, 3))


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_of_a_linear_critic_half_the_squared_weight_norm(penalty):
    expected = np.full(5, 0.5 * np.sum(np.float64(WEIGHT) ** 2))
    np.testing.assert_allclose(penalty(linear, REAL, FAKE), expected, rtol=1e-5)


@pytest.mark.parametrize(("penalty", "images"), [(r1, REAL), (r2, FAKE)], ids=["r1", "r2"])
def test_of_a_quadratic_critic(penalty, images):
    expected = 0.5 * np.sum(np.float64(WEIGHT * images) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(penalty(quadratic, REAL, FAKE), expected, rtol=1e-5)


def test_of_a_constant_critic_nothing():
    np.testing.assert_array_equal(r1(lambda images: jnp.zeros(len(images)), REAL, FAKE), np.zeros(5))


def test_r1_looks_at_real_images_alone_and_r2_at_fakes():
    np.testing.assert_array_equal(r1(quadratic, REAL, FAKE), r1(quadratic, REAL, 7 * FAKE))
    np.testing.assert_array_equal(r2(quadratic, REAL, FAKE), r2(quadratic, 7 * REAL, FAKE))
    np.testing.assert_array_equal(r1(quadratic, REAL, FAKE), r2(quadratic, FAKE, REAL))
    assert not np.allclose(r1(quadratic, REAL, FAKE), r1(quadratic, FAKE, REAL))


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_one_value_for_each_example(penalty):
    whole = penalty(quadratic, REAL, FAKE)
    alone = [penalty(quadratic, REAL[i : i + 1], FAKE[i : i + 1])[0] for i in range(5)]
    assert whole.shape == (5,)
    np.testing.assert_allclose(whole, alone, rtol=1e-5)


def test_its_derivative_reaches_the_critic():
    """d/dw of |w|^2 / 2 is w: the penalty can be trained on, which takes a second derivative of the critic."""
    critic = lambda weight: lambda images: (images * weight).sum((1, 2, 3))  # noqa: E731
    gradient = jax.grad(lambda weight: r1(critic(weight), REAL, FAKE).mean())(WEIGHT)
    np.testing.assert_allclose(gradient, WEIGHT, rtol=1e-5)


def test_the_gradient_norm_against_finite_differences():
    critic = lambda images: jnp.sin(images * WEIGHT).sum((1, 2, 3))  # noqa: E731
    images, weight, step = np.float64(REAL), np.float64(WEIGHT), 1e-6
    slopes = (np.sin((images + step) * weight) - np.sin((images - step) * weight)) / (2 * step)
    np.testing.assert_allclose(squared_gradient_norm(critic, REAL), (slopes**2).sum((1, 2, 3)), rtol=1e-4)
