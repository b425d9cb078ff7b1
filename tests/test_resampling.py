"""Doubling, halving and blurring with the weights 1, 3, 3, 1: values, adjoints, derivatives, layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit

from jaxgan.models.ops import layers, resampling

WEIGHTS = np.array([1, 3, 3, 1]) / 8
OPERATIONS = {
    "upsample": resampling.upsample,
    "downsample": resampling.downsample,
    "blur up": lambda features: resampling.blur(features, (1, 1)),
    "blur down": lambda features: resampling.blur(features, (2, 2)),
    "blur aside": lambda features: resampling.blur(features, (1, 0)),
}


def images(seed, shape=(2, 6, 4, 3)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filtered(rows, padding):
    """Means of four numbers of the first axis that follow each other, with zeros around, one by one."""
    padded = np.pad(rows, [padding] + [(0, 0)] * (rows.ndim - 1))
    return np.stack([np.tensordot(WEIGHTS, padded[i : i + 4], 1) for i in range(len(padded) - 3)])


def stuffed(rows):
    """A zero behind each row."""
    return np.stack([rows, np.zeros_like(rows)], 1).reshape(-1, *rows.shape[1:])


SLOW = {
    "upsample": lambda rows: 2 * filtered(stuffed(rows), (2, 1)),
    "downsample": lambda rows: filtered(rows, (1, 1))[::2],
    "blur up": lambda rows: filtered(rows, (1, 1)),
    "blur down": lambda rows: filtered(rows, (2, 2)),
    "blur aside": lambda rows: filtered(rows, (1, 0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_equals_its_definition_in_both_layouts(name):
    features = images(0)
    rows_first = SLOW[name](np.moveaxis(np.asarray(features, np.float64), 1, 0))  # [rows, batch, columns, features]
    expected = np.moveaxis(SLOW[name](np.moveaxis(rows_first, 2, 0)), (0, 1, 2), (2, 1, 0))
    found = OPERATIONS[name](features)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    last = layers.to_layout(OPERATIONS[name](layers.to_layout(features, True)), True)
    np.testing.assert_array_equal(last, found)


def test_values_by_hand():
    column = jnp.array([4.0, 8.0, 0.0, 16.0]).reshape(1, 4, 1, 1) * jnp.ones((1, 1, 4, 1))
    middle = (slice(None), 1)  # a column inside, where the columns' weights sum to 1
    np.testing.assert_array_equal(resampling.upsample(column)[0, :, 3, 0], [3, 5, 7, 6, 2, 4, 12, 12])
    np.testing.assert_array_equal(resampling.upsample(column, "edge")[0, :, 0, 0], [4, 5, 7, 6, 2, 4, 12, 16])
    wide = jnp.pad(column, ((0, 0), (0, 0), (2, 2), (0, 0)), mode="edge")
    np.testing.assert_array_equal(resampling.downsample(wide)[0][middle][:, 0], [4.5, 7])
    np.testing.assert_array_equal(resampling.blur(wide, (1, 1))[0][:, 2, 0], [4.5, 5.5, 7])


def test_halving_is_a_quarter_of_doubling_transposed():
    small, large = images(1), images(2, (2, 12, 8, 3))
    halved, doubled = resampling.downsample(large), resampling.upsample(small)
    np.testing.assert_allclose(4 * jnp.vdot(small, halved), jnp.vdot(doubled, large), rtol=1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_and_second_derivatives(name):
    """Of sum(f(x)^3): the gradient is 3 f^T f(x)^2, and the second derivative along v is 6 f^T (f(x) f(v))."""
    apply, features, direction = OPERATIONS[name], images(3), images(4)

    @quick_jit
    def derivatives(features):
        return jax.jvp(jax.grad(lambda x: (apply(x) ** 3).sum()), (features,), (direction,))

    size = features.size
    matrix = np.asarray(jax.vmap(apply)(jnp.eye(size).reshape(size, *features.shape))).reshape(size, -1).T
    out, change = (matrix @ np.asarray(array).ravel() for array in (features, direction))
    gradient, second = derivatives(features)
    np.testing.assert_allclose(gradient.ravel(), 3 * matrix.T @ out**2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.ravel(), 6 * matrix.T @ (out * change), rtol=1e-4, atol=1e-5)


def test_halving_wants_even_sizes():
    with pytest.raises(TypeError, match="reshape"):
        resampling.downsample(images(0, (1, 5, 4, 1)))
