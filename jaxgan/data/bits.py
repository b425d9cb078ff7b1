"""Boolean arrays, 8 numbers to a byte: a grid of 32 x 32 x 32 voxels takes 4 KiB."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from jaxgan.core.types import Field


def stored_shape(field: Field) -> tuple[int, ...]:
    """The shape of an example of a field as it lies in a data set: "bits" are packed into bytes."""
    return (-(-math.prod(field.shape) // 8),) if field.kind == "bits" else field.shape


def pack(grids: Bool[np.ndarray, "n *shape"]) -> UInt8[np.ndarray, "n bytes"]:
    """Each example's numbers in bytes, the first number in the highest bit, as `numpy.packbits` has it."""
    return np.packbits(grids.reshape(len(grids), -1), axis=1)


def unpack(packed: UInt8[np.ndarray, "n bytes"], shape: tuple[int, ...]) -> Bool[np.ndarray, "n *shape"]:
    """The inverse of `pack` for examples of a shape."""
    numbers = np.unpackbits(np.asarray(packed), axis=1, count=math.prod(shape))
    return numbers.reshape(len(packed), *shape).astype(bool)


def to_float(packed: UInt8[Array, "*batch bytes"], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Packed examples as networks take them: 1 where a bit is set, -1 elsewhere, [*batch, *shape]."""
    numbers = jnp.unpackbits(packed, axis=-1, count=math.prod(shape))
    return 2 * numbers.reshape(*packed.shape[:-1], *shape).astype(jnp.float32) - 1


def to_occupancy(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """What a network makes of bits, in [-1, 1], as probabilities that they are set."""
    return jnp.clip((values + 1) / 2, 0, 1)
