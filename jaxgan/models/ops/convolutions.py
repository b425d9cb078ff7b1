"""Convolutions in two layouts: the stock ones, and products of matrices that a CPU multiplies near its peak.

The stock ones take [batch, rows, columns, features]. XLA's CPU code for their gradients by the kernel is up to 30 times
slower than need be, and its matrix products are fast only where the contracted axis is the left side's last one. So
for a CPU all features are laid out batch last, [features, rows, columns, batch]. Then each of the three products that
training needs (the convolution, its gradient by the images, its gradient by the kernel) is a product with a matrix that
is made from the images by copies and sums of long runs of memory.

Those three are linear in each argument, and the derivatives of each are the other two. That is what their `custom_vjp`s
say, so derivatives of any order are as fast. Kernels are [size, size, in, out] in both layouts, and the products add
in float32 whatever the images' type is.

A convolution with a stride is one of stride 1 on blocks of stride x stride pixels, by a kernel of few taps. Many
features of 2, 3 or 5 taps go by Winograd's algorithm: a tile of 2 x 2 outputs of 2 x 2 taps takes 9 products in the
place of 16. Its sums cost digits, of which half-precision numbers have few: an error of .4%, where .2% is rounding.
Tiles of 4 x 4 outputs cost more, and pay for 5 taps only, which are multiplied in float32. 3 or 4 taps of stride 1 go
in tiles of 4 rows, with windows along the columns: about as many products, of half as many arrays, each a long run. The
convolution itself is the transpose of the mirrored kernel there: sums of overlapping products cost half of windows.

Groups of features go by the same algorithms, as many pairs of matrices in one product: of 12 groups of 16 features at
16 x 16 places (a batch of 16) the gradients took 9 ms, those of XLA's grouped convolution 1.4 s, nine shifts 54 ms.

Large kernels of few features compute squares of 2 x 2 outputs as four times the features, at a stride of 2: windows are
a third of the numbers, for a third more products.

Kernels of 5 x 5 on small images go by Fourier's transform: 7 x 7 outputs take 121 products, where the definition has
1,225 and tiles of 4 x 4 have 256. It keeps lengths, so it costs no digits in float32, and half-precision numbers err by
.4% again. The matrices of both are in `fast_conv_matrices`. All other convolutions go by windows, laid side by side.

XLA's CPU code is slow where loops that it fuses change the order of numbers. So arrays are stored on the way, by
barriers. They only last if the program is compiled as `devices.compile_steps` does it; the results are the same. And
it runs independent products beside each other, but many small matrices of one product on one thread. So a tile's points
are arrays by themselves, and frequencies come in groups.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.models.ops.fast_conv_matrices import Bilinear, fourier, tile

Features = Float[Array, "_ _ _ _"]  # [batch, rows, columns, features], or batch last
Kernel = Float[Array, "size size in out"]
Size = tuple[int, int]  # rows and columns
Grid = list[list[Array]]  # of a tile's points, or of the pixels or taps that they are made of

NUMBERS = ("NHWC", "HWIO", "NHWC")
TAPS = (2, 3, 5)  # where tiles pay
ROW_TAPS = (3, 4)  # where tiles of rows pay
ROW_OUTPUTS = 4  # of a tile of rows
LONG = 128  # numbers in a row of all examples from which on sums of rows cost less than windows
LARGE = 7  # rows of a kernel of few features from which on pairs of pixels pay
FEW = 16  # features, below which sums over many pixels take longer than they save
SMALL = 16  # rows of an image up to which Fourier's transform pays, whose matrix takes all pixels to all frequencies
GROUPS = 4  # of frequencies: XLA multiplies many small matrices on one thread, but several such lots beside each other


def stock_conv(images: Features, kernel: Kernel, stride: int, padding: tuple[int, int], groups: int = 1) -> Features:
    """A convolution of [batch, rows, columns, in]: out of n rows come (n + sum(padding) - size) // stride + 1.

    Each of several groups has its own share of the features in and out; kernels are [size, size, in / groups, out].
    """
    options = {"dimension_numbers": NUMBERS, "feature_group_count": groups}
    return lax.conv_general_dilated(
        images, kernel.astype(images.dtype), (stride, stride), (padding, padding), **options
    )


def stock_conv_transpose(images: Features, kernel: Kernel, stride: int, padding: int | None = None) -> Features:
    """A transposed convolution of [batch, rows, columns, in] that multiplies rows and columns by the stride.

    With a padding it is the gradient of the convolution that has as many zeros in front of each row and column, by its
    images, of the mirrored kernel: PyTorch's `ConvTranspose2d` of that padding.
    """
    kernel, before = kernel.astype(images.dtype), _transposed_padding(len(kernel), stride, padding)
    around = (before, len(kernel) + stride - 2 - before)
    return lax.conv_transpose(images, kernel, (stride, stride), (around, around), dimension_numbers=NUMBERS)


def _transposed_padding(size: int, stride: int, padding: int | None) -> int:
    """Zeros in front of the dilated images; as "SAME" has it unless a padding is given."""
    if padding is not None:
        return size - 1 - padding
    return size - 1 if stride > size - 1 else (size + stride - 1) // 2


class Shape(NamedTuple):
    """What a convolution is besides its numbers.

    Attributes:
        size, stride: of the window.
        before: zeros in front of each row and column.
        image_size: rows and columns of the images.
        output_size: rows and columns that come out.
        features: in or out, whichever are fewer.
        batch: of the images.
        half: whether the images are half-precision numbers.
    """

    size: int
    stride: int
    before: int
    image_size: Size
    output_size: Size
    features: int
    batch: int
    half: bool

    @property
    def block_size(self) -> Size:
        """Rows and columns of blocks that cover the images."""
        return _per_axis(lambda pixels: -(-pixels // self.stride), self.image_size)

    @property
    def taps(self) -> int:
        """Blocks that a window spans in a row."""
        return -(-self.size // self.stride)

    @property
    def fourier_pays(self) -> bool:
        """Whether Fourier's transform does: blocks of pixels make kernels large, which a batch has to outweigh."""
        small = self.size == 5 and max(self.output_size) * self.stride <= SMALL and self.features >= FEW
        return small and (self.stride == 1 or self.batch >= 2 * self.features)

    @property
    def paired(self) -> bool:
        """Whether pairs of rows and columns do: windows of few features take longer to lay out than to multiply."""
        even = all(count % 2 == 0 for count in self.output_size)
        return self.stride == 1 and self.size >= LARGE and self.features < FEW and even

    @property
    def tiles_rows(self) -> bool:
        """Whether tiles of rows pay; half-precision numbers lack the digits for so many outputs of a tile."""
        return self.stride == 1 and self.features >= FEW and self.taps in ROW_TAPS and not self.half

    @property
    def tiled(self) -> int:
        """Outputs in a row of a tile of Winograd's, 0 where it does not pay; few outputs would leave tiles empty."""
        if self.tiles_rows:
            return ROW_OUTPUTS
        if self.features < FEW or self.taps not in TAPS:
            return 0
        step = 4 if self.taps > 3 and min(self.output_size) > 4 else 2
        points = (step + self.taps - 1) * self.stride  # of blocks, in whose kernel there may be zeros
        return step if points < step * self.size else 0

    @property
    def points_dtype(self) -> DTypeLike:
        """Of what Winograd's algorithm multiplies."""
        return jnp.bfloat16 if self.half and self.taps <= 3 else jnp.float32

    @property
    def tile(self) -> Bilinear:
        """Winograd's matrices."""
        return tile(self.tiled, self.taps)

    @property
    def fourier(self) -> Bilinear:
        """Fourier's matrices."""
        return fourier(self.size, self.stride, self.before, self.image_size, self.output_size)


def conv(images: Features, kernel: Kernel, stride: int, padding: tuple[int, int], groups: int = 1) -> Features:
    """`stock_conv`, batch last."""
    if groups > 1:
        return _grouped_conv(images, kernel, stride, padding, groups)
    image_size = images.shape[1:3]
    output_size = _per_axis(lambda pixels: (pixels + sum(padding) - len(kernel)) // stride + 1, image_size)
    if stride == 1 and kernel.shape[3] < FEW <= kernel.shape[2]:
        # Windows of many features would be many numbers. As a transposed convolution it makes windows of few.
        shape = _shape(images, kernel, 1, len(kernel) - 1 - padding[0], output_size, image_size)
        return _transpose(images, _mirrored(kernel), shape)
    return _conv(images, kernel, _shape(images, kernel, stride, padding[0], image_size, output_size))


def _grouped_conv(images: Features, kernel: Kernel, stride: int, padding: tuple[int, int], groups: int) -> Features:
    """The convolutions of all groups in one: products of matrices become products of as many pairs of matrices."""
    images = images.reshape(groups, -1, *images.shape[1:])
    kernels = jnp.moveaxis(kernel.reshape(*kernel.shape[:3], groups, -1), 3, 0)
    out = jax.vmap(lambda images, kernel: conv(images, kernel, stride, padding))(images, kernels)
    return out.reshape(-1, *out.shape[2:])


def conv_transpose(images: Features, kernel: Kernel, stride: int, padding: int | None = None) -> Features:
    """`stock_conv_transpose`, batch last."""
    before = len(kernel) - 1 - _transposed_padding(len(kernel), stride, padding)
    image_size = _per_axis(lambda outputs: outputs * stride, images.shape[1:3])
    return _transpose(images, _mirrored(kernel), _shape(images, kernel, stride, before, image_size, images.shape[1:3]))


def _mirrored(kernel: Kernel) -> Float[Array, "size size out in"]:
    """The kernel of the transposed convolution; without a barrier its gradient's axes are swapped in slow loops."""
    return lax.optimization_barrier(kernel[::-1, ::-1]).swapaxes(2, 3)


def _shape(images: Features, kernel: Kernel, stride: int, before: int, image_size: Size, output_size: Size) -> Shape:
    features, half = min(kernel.shape[2:]), images.dtype != jnp.float32
    return Shape(len(kernel), stride, before, image_size, output_size, features, images.shape[3], half)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(images: Features, kernel: Kernel, shape: Shape) -> Features:
    return _algorithm(shape).conv(images, kernel.astype(images.dtype), shape).astype(images.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transpose(outputs: Features, kernel: Kernel, shape: Shape) -> Features:
    """The gradient of `_conv` by its images, of its outputs' gradient."""
    return _algorithm(shape).transpose(outputs, kernel.astype(outputs.dtype), shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(images: Features, outputs: Features, shape: Shape) -> Kernel:
    """The gradient of `_conv` by its kernel, of the images and its outputs' gradient; float32 in any case."""
    return _algorithm(shape).correlate(images, outputs.astype(images.dtype), shape)


def _saving(function: Callable) -> Callable:
    return lambda one, other, shape: (function(one, other, shape), (one, other))


_conv.defvjp(
    _saving(_conv),
    lambda shape, saved, outputs: (_transpose(outputs, saved[1], shape), _correlate(saved[0], outputs, shape)),
)
_transpose.defvjp(
    _saving(_transpose),
    lambda shape, saved, images: (_conv(images, saved[1], shape), _correlate(images, saved[0], shape)),
)
_correlate.defvjp(
    _saving(_correlate),
    lambda shape, saved, kernel: (_transpose(saved[1], kernel, shape), _conv(saved[0], kernel, shape)),
)


# By windows, laid side by side


def _windows_conv(images: Features, kernel: Kernel, shape: Shape) -> Features:
    taps = kernel.transpose(3, 0, 1, 2).reshape(kernel.shape[3], -1)
    return _product(lax.optimization_barrier(taps), _windows(images, shape))


def _windows_transpose(outputs: Features, kernel: Kernel, shape: Shape) -> Features:
    """The products of all taps, added up where windows overlap; or windows of the outputs, where those are no more.

    A pixel of the padded images meets only every `stride`-th tap of the kernel, and the pixels of one phase (row and
    column modulo the stride) all meet the same ones, if the stride divides the kernel. So each phase is a small
    convolution of stride 1. All of them see the same windows, and their results are computed side by side as features.
    """
    inputs = kernel.shape[2]
    if inputs < FEW or shape.size % shape.stride:
        products = lax.optimization_barrier(_product(kernel.reshape(-1, kernel.shape[3]), outputs))
        products = products.reshape(shape.size, shape.size, inputs, *outputs.shape[1:])
        return _pixels(_overlap_add(products, shape).astype(outputs.dtype), shape, 0)
    first = shape.before // shape.stride
    blocks = _per_axis(lambda pixels: (shape.before + pixels - 1) // shape.stride - first + 1, shape.image_size)
    around = {"before": shape.taps - 1 - first, "image_size": shape.output_size, "output_size": blocks}
    stride_one = shape._replace(size=shape.taps, stride=1, **around)
    phases = _kernel_blocks(kernel, shape)[::-1, ::-1].transpose(2, 0, 1, 3).reshape(shape.stride**2 * inputs, -1)
    pixels = _product(lax.optimization_barrier(phases), _windows(outputs, stride_one)).astype(outputs.dtype)
    return _pixels(pixels, shape, first)


def _overlap_add(products: Float[Array, "size size in rows columns batch"], shape: Shape) -> Features:
    """The blocks of which windows have these taps: each phase is the sum of its taps, moved to their places."""

    count = shape.taps - 1

    def along(axis: int, parts: Sequence[Array]) -> list[Array]:
        places = [moved(part, axis, i // shape.stride, part.shape[axis] + count) for i, part in enumerate(parts)]
        phases = [places[phase :: shape.stride] or [jnp.zeros_like(places[0])] for phase in range(shape.stride)]
        return [functools.reduce(jnp.add, phase) for phase in phases]

    across = lax.optimization_barrier([along(2, list(row)) for row in products])
    blocks = [along(1, column) for column in zip(*across, strict=True)]
    return lax.optimization_barrier(
        jnp.concatenate([column[phase] for phase in range(shape.stride) for column in blocks])
    )


def moved(features: Array, axis: int, places: int, count: int) -> Array:
    """The first `count` rows of features that are moved by that many places, between zeros."""
    around = (places, count - features.shape[axis] - places, 0)  # numbers below zero cut off
    config = [around if each == axis else (0, 0, 0) for each in range(features.ndim)]
    return lax.pad(features, jnp.zeros((), features.dtype), config)


def _windows_correlate(images: Features, outputs: Features, shape: Shape) -> Kernel:
    taps = _windows(images, shape)
    return _products(taps, outputs).reshape(shape.size, shape.size, len(images), len(outputs))


def _windows(images: Features, shape: Shape) -> Features:
    """The inputs of a convolution, tap by tap: [size * size * features, rows, columns, batch].

    First come windows of columns, then rows of those: that takes 2 * size copies in the place of size * size.
    """
    size, stride, (rows, columns) = shape.size, shape.stride, shape.output_size
    bits, restore = _as_bits(images)
    blocks = _blocks(bits, shape, _per_axis(lambda outputs: outputs + shape.taps - 1, shape.output_size))
    # Without the barrier XLA takes strided slices of the images after all, which are slow.
    blocks = lax.optimization_barrier(blocks).reshape(stride, stride, len(images), *blocks.shape[1:])
    taps = [blocks[:, j % stride, :, :, j // stride : j // stride + columns] for j in range(size)]
    across = lax.optimization_barrier(jnp.concatenate(taps, axis=1))
    return restore(jnp.concatenate([across[i % stride, :, i // stride : i // stride + rows] for i in range(size)]))


def _as_bits(array: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Half-precision numbers as integers, and the way back: XLA's CPU code would move them about as float32."""
    if array.dtype == jnp.float32:
        return array, lambda moved: moved
    return lax.bitcast_convert_type(array, jnp.uint16), lambda moved: lax.bitcast_convert_type(moved, array.dtype)


# By Winograd's algorithm


def _winograd_conv(images: Features, kernel: Kernel, shape: Shape) -> Features:
    points = jax.tree.map(_product, _kernel_points(kernel, shape, transposed=True), _image_points(images, shape))
    return _outputs(points, shape, images.dtype)


def _winograd_transpose(outputs: Features, kernel: Kernel, shape: Shape) -> Features:
    points = jax.tree.map(_product, _kernel_points(kernel, shape), _output_points(outputs, shape))
    return _images(points, shape, outputs.dtype)


def _winograd_correlate(images: Features, outputs: Features, shape: Shape) -> Kernel:
    points = jax.tree.map(_products, _image_points(images, shape), _output_points(outputs, shape))
    return _kernel(points, shape, len(images))


def _kernel_points(kernel: Kernel, shape: Shape, transposed: bool = False) -> Grid:
    """Each [blocked, out], or [out, blocked] if `transposed`."""
    blocks = _kernel_blocks(kernel.astype(jnp.float32), shape)
    points = _on_both_axes(shape.tile.kernel, [list(row) for row in blocks])
    return _stored([[point.T if transposed else point for point in row] for row in points], shape.points_dtype)


def _kernel(points: Grid, shape: Shape, inputs: int) -> Kernel:
    """The transpose of `_kernel_points`."""
    taps, stride, size = shape.taps, shape.stride, shape.size
    blocks = jnp.stack(jax.tree.leaves(_on_both_axes(shape.tile.kernel.T, points)))
    blocks = blocks.reshape(taps, taps, stride, stride, inputs, -1).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(taps * stride, taps * stride, inputs, -1)[:size, :size]


def _image_points(images: Features, shape: Shape) -> Grid:
    """Each [blocked, tiles, tiles, batch]."""
    step = shape.tiled
    height, width = _per_axis(lambda outputs: -(-outputs // step) * step, shape.output_size)
    bits, restore = _as_bits(images)
    blocks = _blocks(bits, shape, (height + shape.taps - 1, width + shape.taps - 1))
    blocks = restore(lax.optimization_barrier(blocks)).astype(jnp.float32)
    starts = range(len(shape.tile.images))
    parts = [[blocks[:, i : i + height : step, j : j + width : step] for j in starts] for i in starts]
    return _stored(_on_both_axes(shape.tile.images, parts), shape.points_dtype)


def _images(points: Grid, shape: Shape, dtype: DTypeLike) -> Features:
    """The transpose of `_image_points`."""
    columns = [_overlapped(column, shape, 1) for column in zip(*points, strict=True)]
    rows = [_overlapped(row, shape, 2) for row in zip(*_stored(columns), strict=True)]
    return lax.optimization_barrier(_pixels(_interleaved(rows, dtype), shape, 0))


def _overlapped(points: Sequence[Array], shape: Shape, axis: int) -> list[Array]:
    """Tiles overlap, and what they say of a block is added up: every tile's own blocks, and those of one more tile."""
    step = shape.tiled
    most = (len(points) - 1) // step  # tiles on that a tile reaches
    own: list[Array] = []
    for i, part in enumerate(_on_one_axis(shape.tile.images.T, points)):
        around = [(0, 0)] * part.ndim
        around[axis] = (i // step, most - i // step)
        placed = jnp.pad(part, around)
        if i < step:
            own.append(placed)
        else:
            own[i % step] += placed
    return own


def _output_points(outputs: Features, shape: Shape) -> Grid:
    """Each [out, tiles, tiles, batch]."""
    step = shape.tiled
    more = _per_axis(lambda outputs: (0, -outputs % step), shape.output_size)
    outputs = jnp.pad(outputs.astype(jnp.float32), ((0, 0), *more, (0, 0)))
    parts = [[outputs[:, i::step, j::step] for j in range(step)] for i in range(step)]
    return _stored(_on_both_axes(shape.tile.outputs.T, parts), shape.points_dtype)


def _outputs(points: Grid, shape: Shape, dtype: DTypeLike) -> Features:
    """The transpose of `_output_points`."""
    (rows, columns), outputs = shape.output_size, _interleaved(_on_both_axes(shape.tile.outputs, points), dtype)
    return lax.optimization_barrier(outputs[:, :rows, :columns])


def _on_both_axes(matrix: np.ndarray, parts: Sequence[Sequence[Array]]) -> Grid:
    """A matrix times the columns and the rows of a grid of arrays."""
    columns = [_on_one_axis(matrix, column) for column in zip(*parts, strict=True)]
    return [_on_one_axis(matrix, row) for row in zip(*columns, strict=True)]


def _on_one_axis(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """A matrix, of which many numbers are 0, 1 or -1, times a few arrays."""
    return [_sum(row, parts) for row in matrix]


def _sum(coefficients: np.ndarray, parts: Sequence[Array]) -> Array:
    (first, part), *others = [
        (number, part) for number, part in zip(coefficients.tolist(), parts, strict=True) if number
    ]
    total = part if first == 1 else first * part
    for number, part in others:
        total = total + part if number == 1 else total - part if number == -1 else total + number * part
    return total


def _stored(grid: Grid, dtype: DTypeLike = jnp.float32) -> Grid:
    """Each array by itself, so that what needs one does not wait for the others."""
    return jax.tree.map(lambda part: lax.optimization_barrier(part.astype(dtype)), grid)


def _interleaved(grid: Grid, dtype: DTypeLike) -> Features:
    """The array of which grid[i][j] has every len(grid)-th row from i on and every len(grid[0])-th column from j on."""
    down, across, (features, rows, columns, batch) = len(grid), len(grid[0]), grid[0][0].shape
    bits, restores = zip(*(_as_bits(part.astype(dtype)) for part in jax.tree.leaves(grid)), strict=True)
    parts = jnp.stack(bits).reshape(down, across, features, rows, columns, batch).transpose(2, 3, 0, 4, 1, 5)
    return restores[0](parts.reshape(features, rows * down, columns * across, batch))


# By Winograd's algorithm along the rows, and windows along the columns


def _rows_conv(images: Features, kernel: Kernel, shape: Shape) -> Features:
    """As the transpose of the mirrored kernel, whose overlapping products are added in long runs; or by windows."""
    if shape.output_size[1] * shape.batch >= LONG:
        before, image_size, output_size = shape.size - 1 - shape.before, shape.output_size, shape.image_size
        return _rows_transpose(
            images, _mirrored(kernel), shape._replace(before=before, image_size=image_size, output_size=output_size)
        )
    points = map(_product, [taps.T for taps in _kernel_rows(kernel, shape)], _image_rows(images, shape))
    rows = _interleaved([[row] for row in _on_one_axis(shape.tile.outputs, list(points))], images.dtype)
    return lax.optimization_barrier(rows[:, : shape.output_size[0]])


def _rows_transpose(outputs: Features, kernel: Kernel, shape: Shape) -> Features:
    (_, columns), batch = shape.output_size, outputs.shape[3]
    points = []
    for taps, part in zip(_kernel_rows(kernel, shape), _output_rows(outputs, shape), strict=True):
        like = jax.ShapeDtypeStruct((kernel.shape[2], part.shape[1], columns + shape.taps - 1, batch), part.dtype)
        points += jax.linear_transpose(lambda point: _column_windows(point, shape), like)(_product(taps, part))
    rows = _overlapped(lax.optimization_barrier(points), shape, 1)
    return lax.optimization_barrier(_pixels(_interleaved([[row] for row in rows], outputs.dtype), shape, 0))


def _rows_correlate(images: Features, outputs: Features, shape: Shape) -> Kernel:
    points = map(_products, _image_rows(images, shape), _output_rows(outputs, shape))
    kernel = jnp.stack(_on_one_axis(shape.tile.kernel.T, list(points)))
    return kernel.reshape(shape.taps, shape.taps, len(images), len(outputs))


def _kernel_rows(kernel: Kernel, shape: Shape) -> list[Float[Array, "taps out"]]:
    """The points of the kernel's rows, with columns and features in as taps."""
    points = _on_one_axis(shape.tile.kernel, list(kernel))
    return [lax.optimization_barrier(point.reshape(-1, kernel.shape[3])) for point in points]


def _image_rows(images: Features, shape: Shape) -> list[Features]:
    """The points of tiles of rows, in windows of columns: each [taps * in, tiles, columns, batch]."""
    step, (rows, columns) = shape.tiled, shape.output_size
    height = -(-rows // step) * step
    images = _blocks(images, shape, (height + shape.taps - 1, columns + shape.taps - 1))
    images = lax.optimization_barrier(images)
    points = _on_one_axis(shape.tile.images, [images[:, i : i + height : step] for i in range(step + shape.taps - 1)])
    return [_column_windows(lax.optimization_barrier(point), shape) for point in points]


def _column_windows(images: Features, shape: Shape) -> Features:
    """The inputs of a convolution along the columns, tap by tap."""
    columns = shape.output_size[1]
    return jnp.concatenate([images[:, :, j : j + columns] for j in range(shape.taps)])


def _output_rows(outputs: Features, shape: Shape) -> list[Features]:
    """The points of tiles of rows: each [out, tiles, columns, batch]."""
    step = shape.tiled
    outputs = jnp.pad(outputs, ((0, 0), (0, -shape.output_size[0] % step), (0, 0), (0, 0)))
    return _on_one_axis(shape.tile.outputs.T, [outputs[:, i::step] for i in range(step)])


# By windows of pairs: outputs in squares of 2 x 2, as features of a convolution with a stride of 2


def _pairs_conv(images: Features, kernel: Kernel, shape: Shape) -> Features:
    squares = lax.optimization_barrier(_windows_conv(images, _pairs_kernel(kernel), _pairs_shape(shape)))
    return _pixels(squares, _squares_shape(shape), 0)


def _pairs_transpose(outputs: Features, kernel: Kernel, shape: Shape) -> Features:
    return _windows_transpose(_squares(outputs, shape), _pairs_kernel(kernel), _pairs_shape(shape))


def _pairs_correlate(images: Features, outputs: Features, shape: Shape) -> Kernel:
    paired = _windows_correlate(images, _squares(outputs, shape), _pairs_shape(shape))
    like = jax.ShapeDtypeStruct((shape.size, shape.size, len(images), len(outputs)), paired.dtype)
    return jax.linear_transpose(_pairs_kernel, like)(paired)[0]


def _pairs_kernel(kernel: Kernel) -> Float[Array, "larger larger in squares"]:
    """The kernel at each of the four places in a window that is larger by one."""
    places = [(i, j) for i in range(2) for j in range(2)]
    return jnp.concatenate([jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in places], axis=3)


def _pairs_shape(shape: Shape) -> Shape:
    half = _per_axis(lambda outputs: outputs // 2, shape.output_size)
    return shape._replace(size=shape.size + 1, stride=2, output_size=half)


def _squares_shape(shape: Shape) -> Shape:
    """Of outputs as blocks."""
    return shape._replace(stride=2, before=0, image_size=shape.output_size)


def _squares(outputs: Features, shape: Shape) -> Features:
    bits, restore = _as_bits(outputs)
    squares = _blocks(bits, _squares_shape(shape), _per_axis(lambda outputs: outputs // 2, shape.output_size))
    return lax.optimization_barrier(restore(squares))


# By Fourier's transform


def _fourier_conv(images: Features, kernel: Kernel, shape: Shape) -> Features:
    points = map(_product, _kernel_frequencies(kernel, shape, transposed=True), _image_frequencies(images, shape))
    outputs = _joined(shape.fourier.outputs.T, points, images.dtype)
    bits, restore = _as_bits(outputs.reshape(*shape.output_size, -1, shape.batch))
    return restore(lax.optimization_barrier(bits.transpose(2, 0, 1, 3)))


def _fourier_transpose(outputs: Features, kernel: Kernel, shape: Shape) -> Features:
    points = map(_product, _kernel_frequencies(kernel, shape), _output_frequencies(outputs, shape))
    blocks = _joined(shape.fourier.images, points, outputs.dtype)
    blocks = blocks.reshape(*shape.block_size, -1, shape.batch).transpose(2, 0, 1, 3)
    return lax.optimization_barrier(_pixels(blocks, shape._replace(before=0), 0))


def _fourier_correlate(images: Features, outputs: Features, shape: Shape) -> Kernel:
    multiplied = functools.partial(_products, axes=2)
    points = map(multiplied, _image_frequencies(images, shape), _output_frequencies(outputs, shape))
    kernel = _joined(shape.fourier.kernel, points, jnp.float32)
    return kernel.reshape(shape.size, shape.size, len(images), len(outputs))


def _kernel_frequencies(kernel: Kernel, shape: Shape, transposed: bool = False) -> list[Float[Array, "points _ _"]]:
    """Each [points, blocked, out], or [points, out, blocked] if `transposed`."""
    places, (inputs, outputs) = shape.stride**2, kernel.shape[2:]
    if not transposed:
        parts = _transformed(shape.fourier.kernel, kernel, kernel.dtype)
        return [part.reshape(-1, places * inputs, outputs) for part in parts]

    def rearranged(part: Array) -> Array:
        bits, restore = _as_bits(part.reshape(-1, places, outputs, inputs))
        return restore(bits.swapaxes(1, 2).reshape(-1, outputs, places * inputs))

    return [rearranged(part) for part in _transformed(shape.fourier.kernel, kernel.swapaxes(2, 3), kernel.dtype)]


def _image_frequencies(images: Features, shape: Shape) -> list[Float[Array, "points blocked batch"]]:
    bits, restore = _as_bits(lax.optimization_barrier(images))
    blocks = _blocks(bits, shape._replace(before=0), shape.block_size)
    parts = _transformed(shape.fourier.images, restore(blocks.transpose(1, 2, 0, 3)), images.dtype)
    return [part.reshape(-1, len(blocks), shape.batch) for part in parts]


def _output_frequencies(outputs: Features, shape: Shape) -> list[Float[Array, "points out batch"]]:
    bits, restore = _as_bits(lax.optimization_barrier(outputs))
    parts = _transformed(shape.fourier.outputs.T, restore(bits.transpose(1, 2, 0, 3)), outputs.dtype)
    return [part.reshape(-1, len(outputs), shape.batch) for part in parts]


def _transformed(matrix: np.ndarray, parts: Array, dtype: DTypeLike) -> list[Float[Array, "points _"]]:
    """A matrix of the points, in groups, times the first axes of the parts; they are stored, and so is each result."""
    parts = lax.optimization_barrier(parts.reshape(matrix.shape[-1], -1))
    groups = [jnp.asarray(group.reshape(-1, len(parts)), dtype) for group in np.array_split(matrix, GROUPS)]
    return [lax.optimization_barrier(_dot(group, parts).astype(dtype)) for group in groups]


def _joined(matrix: np.ndarray, points: Iterable[Array], dtype: DTypeLike) -> Float[Array, "parts _"]:
    """The transpose of `_transformed`."""
    matrix = jnp.asarray(matrix.reshape(-1, matrix.shape[-1]).T, dtype)
    joined = jnp.concatenate([part.reshape(-1, part.shape[-2] * part.shape[-1]) for part in points]).astype(dtype)
    stored = lax.optimization_barrier(joined.reshape(matrix.shape[1], -1))
    return lax.optimization_barrier(_dot(matrix, stored).astype(dtype))


# What they share


def _per_axis(function: Callable[[int], Any], size: Size) -> tuple:
    """A function of the rows and of the columns."""
    rows, columns = size
    return function(rows), function(columns)


def _algorithm(shape: Shape) -> SimpleNamespace:
    if shape.fourier_pays:
        return FOURIER
    return PAIRS if shape.paired else ROWS if shape.tiles_rows else WINOGRAD if shape.tiled else WINDOWS


def _traced_once(**functions: Callable) -> SimpleNamespace:
    """For all layers of one shape, both batches and both updates."""
    return SimpleNamespace(**{name: jax.jit(function, static_argnums=2) for name, function in functions.items()})


WINDOWS = _traced_once(conv=_windows_conv, transpose=_windows_transpose, correlate=_windows_correlate)
FOURIER = _traced_once(conv=_fourier_conv, transpose=_fourier_transpose, correlate=_fourier_correlate)
PAIRS = _traced_once(conv=_pairs_conv, transpose=_pairs_transpose, correlate=_pairs_correlate)
ROWS = _traced_once(conv=_rows_conv, transpose=_rows_transpose, correlate=_rows_correlate)
WINOGRAD = _traced_once(conv=_winograd_conv, transpose=_winograd_transpose, correlate=_winograd_correlate)


def _blocks(images: Array, shape: Shape, size: Size) -> Array:
    """The first rows and columns of blocks of padded images, [stride * stride * features, *size, batch]."""
    features, height, width, batch = images.shape
    before, stride, (rows, columns) = shape.before, shape.stride, size
    # Below zero behind the pixels, where no output depends on a last row.
    around = ((before, rows * stride - height - before, 0), (before, columns * stride - width - before, 0))
    images = lax.pad(images, jnp.zeros((), images.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    blocks = images.reshape(features, rows, stride, columns, stride, batch)
    return blocks.transpose(2, 4, 0, 1, 3, 5).reshape(stride**2 * features, rows, columns, batch)


def _pixels(blocks: Array, shape: Shape, first: int) -> Array:
    """The images whose padded blocks these are, from block number `first` of each row and column on."""
    bits, restore = _as_bits(blocks)
    stride, (_, rows, columns, batch) = shape.stride, blocks.shape
    pixels = bits.reshape(stride, stride, -1, rows, columns, batch).transpose(2, 3, 0, 4, 1, 5)
    pixels = pixels.reshape(-1, rows * stride, columns * stride, batch)
    start = shape.before - first * stride
    height, width = _per_axis(lambda pixels: slice(start, start + pixels), shape.image_size)
    return restore(pixels[:, height, width])


def _kernel_blocks(kernel: Kernel, shape: Shape) -> Float[Array, "taps taps blocked out"]:
    """The kernel for blocks, with zeros where a window ends within a block."""
    taps, stride, (size, _, inputs, features) = shape.taps, shape.stride, kernel.shape
    grow = (0, taps * stride - size)
    kernel = jnp.pad(kernel, (grow, grow, (0, 0), (0, 0))).reshape(taps, stride, taps, stride, inputs, features)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(taps, taps, stride**2 * inputs, features)


def _dot(left: Array, right: Array, many: int = 0) -> Float[Array, "..."]:
    """Products of matrices, batched over the first `many` axes; added in float32."""
    axes = tuple(range(many))
    return lax.dot_general(left, right, (((many + 1,), (many,)), (axes, axes)), preferred_element_type=jnp.float32)


def _product(left: Array, right: Array) -> Float[Array, "..."]:
    """A matrix times an array along that one's first axis, or many such products."""
    return _dot(left, lax.optimization_barrier(right), left.ndim - 2)


def _products(one: Array, other: Array, axes: int = 1) -> Float[Array, "..."]:
    """The sums of the products of two arrays over all but their first axes, of which only the last ones differ."""
    one, other = (array.reshape(*array.shape[:axes], -1) for array in lax.optimization_barrier((one, other)))
    many = tuple(range(axes - 1))
    return lax.dot_general(one, other, (((axes,), (axes,)), (many, many)), preferred_element_type=jnp.float32)
