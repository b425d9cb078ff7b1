"""Reading images at places: PyTorch's numbers, and what follows from the definition."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models.ops.antialias import gaussian_downsample
from jaxgan.models.ops.grid_sample import PADDINGS, grid_sample, pixel_centres

GOLDEN = Path(__file__).parent / "golden" / "grid_sample.npz"


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
def test_outputs_and_gradients_are_those_of_pytorch(padding, align_corners):
    with np.load(GOLDEN) as golden:
        arrays = dict(golden)

    def total(images, grid):
        out = grid_sample(images, grid, padding, align_corners)
        return (out * arrays["weights"]).sum(), out

    (_, out), grads = jax.value_and_grad(total, (0, 1), has_aux=True)(arrays["images"], arrays["grid"])
    name = f"{padding} {align_corners}"
    np.testing.assert_allclose(out, arrays[f"{name} out"], atol=1e-5)
    np.testing.assert_allclose(grads[0], arrays[f"{name} by images"], atol=1e-5)
    np.testing.assert_allclose(grads[1], arrays[f"{name} by grid"], atol=1e-4)


def test_the_centres_of_pixels_give_the_image():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), jnp.float32)
    grid = jnp.broadcast_to(pixel_centres((4, 6)), (2, 4, 6, 2))
    np.testing.assert_allclose(grid_sample(images, grid, align_corners=True), images, atol=1e-5)
    np.testing.assert_allclose(grid_sample(images, grid * jnp.array([5 / 6, 3 / 4])), images, atol=1e-5)


def test_places_far_beyond_an_image_are_zero_and_finite():
    images, grid = jnp.ones((1, 3, 3, 1)), jnp.full((1, 1, 1, 2), 1e30)
    value, by_grid = jax.value_and_grad(lambda grid: grid_sample(images, grid).sum())(grid)
    assert value == 0
    assert not by_grid.any()


def test_an_unknown_padding_is_an_error():
    with pytest.raises(ValueError, match="padding='mirror' must be one of zeros, border, reflection"):
        grid_sample(jnp.ones((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 2)), "mirror")


def test_blurring_keeps_a_constant_inside_and_a_factor_of_one_keeps_all():
    images = jnp.ones((1, 48, 40, 2))
    np.testing.assert_allclose(gaussian_downsample(images, 4)[:, 2:-2, 2:-2], 1, atol=1e-6)
    assert gaussian_downsample(images, 4).shape == (1, 12, 10, 2)
    assert gaussian_downsample(images, 1) is images
