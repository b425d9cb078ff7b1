"""Convolutions of grids in three dimensions, and their transposes, which a CPU computes as one product of matrices.

XLA's CPU code for a strided 3-D convolution's input gradient takes 70 times as long as the forward pass, so with
`batch_last`, features laid out [features, x, y, z, batch], windows become columns of a matrix. A stride of s first
makes each block of s^3 voxels one voxel of s^3 times the features; a window is then a few whole blocks that lie
together in memory. Every derivative of such a convolution is made of the same copies and products. Without
`batch_last`, [batch, x, y, z, features], they are XLA's own.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgan.models.ops.layers import add_bias

Grids = Float[Array, "_ _ _ _ _"]  # [batch, x, y, z, features], or batch last
Kernel3D = Float[Array, "size size size in out"]
AXES = ("NXYZC", "XYZIO", "NXYZC")  # of XLA's convolutions


def stock_conv(grids: Grids, kernel: Kernel3D, stride: int, padding: int) -> Grids:
    """XLA's convolution of [batch, x, y, z, features] between `padding` zeros."""
    numbers = lax.conv_dimension_numbers(grids.shape, kernel.shape, AXES)
    return lax.conv_general_dilated(grids, kernel, (stride,) * 3, [(padding, padding)] * 3, dimension_numbers=numbers)


def stock_conv_transpose(grids: Grids, kernel: Kernel3D, stride: int, padding: int) -> Grids:
    """As PyTorch's transposed convolution: each voxel adds its product with the kernel [size, size, size, in, out]."""
    numbers = lax.conv_dimension_numbers(grids.shape, kernel.shape, AXES)
    around = [(kernel.shape[0] - 1 - padding,) * 2] * 3
    mirrored = jnp.flip(kernel, (0, 1, 2))
    return lax.conv_general_dilated(
        grids, mirrored, (1, 1, 1), around, lhs_dilation=(stride,) * 3, dimension_numbers=numbers
    )


def conv(grids: Grids, kernel: Kernel3D, stride: int, padding: int) -> Grids:
    """`stock_conv` of [features, x, y, z, batch]."""
    sides = [_outputs(side, kernel.shape[0], stride, padding) for side in grids.shape[1:4]]
    columns = _columns(grids, kernel.shape[0], stride, padding)
    products = _matrix(kernel, stride).T @ columns
    return products.reshape(-1, *sides, grids.shape[-1])


def conv_transpose(grids: Grids, kernel: Kernel3D, stride: int, padding: int) -> Grids:
    """`stock_conv_transpose` of [features, x, y, z, batch]."""
    size = kernel.shape[0]
    sides = [stride * (side - 1) + size - 2 * padding for side in grids.shape[1:4]]
    made = jax.ShapeDtypeStruct((kernel.shape[4], *sides, grids.shape[-1]), grids.dtype)
    products = _matrix(kernel.swapaxes(3, 4), stride) @ lax.optimization_barrier(grids.reshape(len(grids), -1))
    overlap_add = jax.linear_transpose(lambda grids: _columns(grids, size, stride, padding), made)
    return overlap_add(products)[0]


def _outputs(side: int, size: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - size) // stride + 1


def _offsets(size: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """The places of a window's blocks."""
    return itertools.product(range(-(-size // stride)), repeat=3)


def _matrix(kernel: Kernel3D, stride: int) -> Float[Array, "taps out"]:
    """The kernel in the order of `_columns`, with zeros where a window ends within a block."""
    size, features = kernel.shape[0], kernel.shape[3:]
    blocks = -(-size // stride)
    kernel = jnp.pad(kernel, [(0, blocks * stride - size)] * 3 + [(0, 0)] * 2)
    kernel = kernel.reshape(blocks, stride, blocks, stride, blocks, stride, *features)
    return kernel.transpose(0, 2, 4, 1, 3, 5, 6, 7).reshape(-1, features[1])


def _columns(grids: Grids, size: int, stride: int, padding: int) -> Float[Array, "taps places"]:
    """The windows of a convolution as columns, each block by block and within these voxel by voxel."""
    features, *sides, batch = grids.shape
    outputs, blocks = [_outputs(side, size, stride, padding) for side in sides], -(-size // stride)
    # Below zero behind the voxels where no window reaches the last of them.
    after = [(out + blocks - 1) * stride - side - padding for out, side in zip(outputs, sides, strict=True)]
    around = [(0, 0, 0), *((padding, behind, 0) for behind in after), (0, 0, 0)]
    grids = lax.pad(grids, jnp.zeros((), grids.dtype), around)
    if stride > 1:
        split = [number for out in outputs for number in (out + blocks - 1, stride)]
        grids = grids.reshape(features, *split, batch).transpose(2, 4, 6, 0, 1, 3, 5, 7)
        grids = grids.reshape(-1, *(out + blocks - 1 for out in outputs), batch)
    grids = lax.optimization_barrier(grids)
    windows = [
        grids[:, x : x + outputs[0], y : y + outputs[1], z : z + outputs[2]] for x, y, z in _offsets(size, stride)
    ]
    return lax.optimization_barrier(jnp.concatenate(windows).reshape(-1, outputs[0] * outputs[1] * outputs[2] * batch))


class Conv3D(nn.Module):
    """A convolution of grids; with kernel 4, stride 2 and padding 1 it halves all sides.

    Attributes:
        features: channels out.
        size, stride, padding: of the window, the same on all axes.
        use_bias: off where a normalisation follows.
        kernel_init: the kernel's initialiser.
        batch_last: the layout of what comes in and goes out.
    """

    features: int
    size: int = 4
    stride: int = 2
    padding: int = 1
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    batch_last: bool = False

    @nn.compact
    def __call__(self, inputs: Grids) -> Grids:
        return add_bias(self, _apply(self, inputs, conv if self.batch_last else stock_conv))


class ConvTranspose3D(Conv3D):
    """A transposed convolution of grids; with kernel 4, stride 2 and padding 1 it doubles all sides."""

    @nn.compact
    def __call__(self, inputs: Grids) -> Grids:
        return add_bias(self, _apply(self, inputs, conv_transpose if self.batch_last else stock_conv_transpose))


def _apply(layer: Conv3D, inputs: Grids, convolve: Callable[..., Grids]) -> Grids:
    """The product with the layer's kernel."""
    shape = (*[layer.size] * 3, inputs.shape[0 if layer.batch_last else -1], layer.features)
    kernel = layer.param("kernel", layer.kernel_init, shape).astype(inputs.dtype)
    return convolve(inputs, kernel, layer.stride, layer.padding)


def repeat(grids: Grids) -> Grids:
    """Every voxel as 2 x 2 x 2 of them, in either layout."""
    return functools.reduce(lambda grids, axis: jnp.repeat(grids, 2, axis), (1, 2, 3), grids)


def mean_pool(grids: Grids) -> Grids:
    """The means of blocks of 2 x 2 x 2 voxels, in either layout."""
    first, x, y, z, last = grids.shape
    return grids.reshape(first, x // 2, 2, y // 2, 2, z // 2, 2, last).mean((2, 4, 6))
