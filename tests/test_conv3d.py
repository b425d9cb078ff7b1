"""Convolutions of grids: products of matrices equal XLA's own convolutions, and so do derivatives of both orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit

from jaxgan.models.ops import conv3d

FORMS = {"conv": (conv3d.conv, conv3d.stock_conv), "transpose": (conv3d.conv_transpose, conv3d.stock_conv_transpose)}


def inputs(size, side):
    rng = np.random.default_rng(0)
    return (
        jnp.asarray(rng.normal(size=(2, side, side + 2, side, 3)), jnp.float32),
        jnp.asarray(rng.normal(size=(size, size, size, 3, 4)), jnp.float32),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("size", "stride", "padding", "side"), [(4, 2, 1, 4), (3, 1, 1, 3), (1, 1, 0, 2), (3, 2, 1, 5)]
)
def test_values_and_both_orders_of_derivatives_are_those_of_the_stock_operation(form, size, stride, padding, side):
    fast, stock = FORMS[form]

    def batch_last(grids, kernel):
        return jnp.swapaxes(fast(jnp.swapaxes(grids, 0, -1), kernel, stride, padding), 0, -1)

    def first_order(convolve):
        return jax.grad(lambda *own: jnp.sin(convolve(*own)).sum(), (0, 1))

    def everything(convolve):
        second = jax.grad(lambda *own: sum((slope**2).sum() for slope in first_order(convolve)(*own)), (0, 1))
        return lambda *own: (convolve(*own), first_order(convolve)(*own), second(*own))

    given = inputs(size, side)
    ours = quick_jit(everything(batch_last))(*given)
    theirs = quick_jit(everything(lambda grids, kernel: stock(grids, kernel, stride, padding)))(*given)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * float(jnp.abs(other).max()))


def test_a_transposed_convolution_is_the_transpose_of_a_convolution():
    """<conv(x), y> = <x, conv_transpose(y)>, with the kernel's features in and out exchanged."""
    rng = np.random.default_rng(1)
    kernel = jnp.asarray(rng.normal(size=(4, 4, 4, 3, 5)), jnp.float32)
    x, y = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 8, 8, 8, 2), (5, 4, 4, 4, 2)))
    one = (conv3d.conv(x, kernel, 2, 1) * y).sum()
    other = (x * conv3d.conv_transpose(y, kernel.swapaxes(3, 4), 2, 1)).sum()
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_repeated_voxels_have_their_own_means():
    grids = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 4, 5, 6)), jnp.float32)
    assert conv3d.repeat(grids).shape == (2, 6, 8, 10, 6)
    np.testing.assert_allclose(conv3d.mean_pool(conv3d.repeat(grids)), grids, rtol=1e-6)
