"""Spectral normalisation: kernels divided by an estimate of their largest singular value.

References:
    Miyato et al., Spectral Normalization for GANs, 2018, algorithm 1. https://arxiv.org/abs/1802.05957
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

COLLECTION = "spectral"  # of the vectors that power iteration moves


class SpectralNorm(nn.Module):
    """A layer whose kernel is a matrix of singular values up to 1, nearly, once all its axes but the last are joined.

    Each pass takes one step of power iteration from a vector that is kept in the collection "spectral". A parameter of
    another name than "kernel" stays as it is.

    Attributes:
        layer: with a parameter "kernel".
        per_row: whether the vector has a number for each row of the matrix, as that of an embedding in the references,
            and not for each column.
    """

    layer: nn.Module
    per_row: bool = False

    @nn.compact
    def __call__(self, inputs: Array, update: bool) -> Array:
        """The layer's output; the vector moves if `update`."""
        if self.is_initializing():
            out = self.layer(inputs)
            matrix = as_matrix(self.layer.variables["params"]["kernel"], self.per_row)
            key = self.make_rng("params")
            self.variable(COLLECTION, "u", lambda: jax.random.normal(key, matrix.shape[1:]))
            return out
        vector = self.variable(COLLECTION, "u", lambda: None)

        def divide(path: tuple, leaf: Array) -> Array:
            if path[-1].key != "kernel":
                return leaf
            sigma, moved = largest_singular_value(as_matrix(leaf, self.per_row), vector.value)
            if update:
                vector.value = moved
            return leaf / jnp.where(sigma != 0, sigma, 1)

        def divided(params: PyTree) -> PyTree:
            return jax.tree_util.tree_map_with_path(divide, params)

        return nn.map_variables(lambda layer: layer(inputs), "params", trans_in_fn=divided)(self.layer)


def as_matrix(kernel: Float[Array, "*rows columns"], per_row: bool) -> Float[Array, "inner outer"]:
    """A kernel with all axes but the last one joined, transposed if `per_row`."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return matrix.T if per_row else matrix


def largest_singular_value(
    matrix: Float[Array, "rows columns"], vector: Float[Array, " columns"]
) -> tuple[Float[Array, ""], Float[Array, " columns"]]:
    """An estimate by one step of power iteration, and the vector after the step; gradients pass through the estimate.

    Args:
        matrix: [rows, columns].
        vector: the right one so far, of any length but 0.
    """
    left = unit(lax.stop_gradient(matrix) @ vector)
    product = left @ matrix
    right = unit(lax.stop_gradient(product))
    return product @ right, right


def unit(vector: Float[Array, " numbers"]) -> Float[Array, " numbers"]:
    """The vector with a length of 1."""
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)
