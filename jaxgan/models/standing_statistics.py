"""BatchNorm's moments of whole batches in the place of running averages, for sampling.

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019, section 4.1 and appendix A.
    https://arxiv.org/abs/1809.11096
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxgan.core.state import Variables, apply
from jaxgan.models.ops.layers import BATCH_NORM_MOMENTUM


def is_moment(path: tuple) -> bool:
    """Whether a leaf of a model state is a running mean or variance of BatchNorm."""
    return path[0].key == "batch_stats" and path[-1].key in ("mean", "var")


def has_moments(model_state: PyTree) -> bool:
    """Whether a network has a BatchNorm."""
    return any(is_moment(path) for path, _ in jax.tree_util.tree_leaves_with_path(model_state))


def batch_moments(network: nn.Module, variables: Variables, *inputs: Array | None) -> PyTree:
    """The model state of a network with the moments of one batch, which is normalised by these as in training.

    Args:
        network: called with (*inputs, train).
        variables: the network's.
        inputs: of the batch.
    """

    def emptied(path: tuple, leaf: Array) -> Array:
        return jnp.zeros_like(leaf) if is_moment(path) else leaf

    def of_batch(path: tuple, leaf: Array, old: Array) -> Array:
        return leaf / (1 - BATCH_NORM_MOMENTUM) if is_moment(path) else old

    old = variables.model_state
    start = variables.replace(model_state=jax.tree_util.tree_map_with_path(emptied, old))
    _, moved = apply(network, start, *inputs, train=True)
    return jax.tree_util.tree_map_with_path(of_batch, moved, old)
