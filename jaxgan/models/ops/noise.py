"""Noise that a generator adds to its features, one random number for each place, times a learned strength.

References:
    Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks, 2019, section 3.2.
    https://arxiv.org/abs/1812.04948
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgan.core import rng
from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features, Size


def noise_added(layer: nn.Module, features: Features) -> Features:
    """Features with noise on them; all features of a place get the same.

    The noise comes from the random stream "noise", each example's own; without one it is fixed, a model state.

    Args:
        layer: whose parameter `noise_strength` multiplies the noise; it has attributes `axis_name` and `batch_last`.
        features: in the layout that `batch_last` says.
    """
    strength = layer.param("noise_strength", nn.initializers.zeros, ())
    batch = features.shape[-1 if layer.batch_last else 0]
    noise = strength * _noise(layer, batch, features.shape[1:3])
    if not layer.batch_last:
        return features + noise
    return plane_added(features, jnp.broadcast_to(noise, (1, *features.shape[1:])))


def _noise(layer: nn.Module, batch: int, size: Size) -> Features:
    """Standard normal numbers, with one feature."""
    fixed = layer.variable("noise", "fixed", lambda: jax.random.normal(layer.make_rng("params"), size))
    if layer.is_initializing() or not layer.has_rng("noise"):
        return fixed.value.reshape(1, *size, 1)
    own = rng.example_keys(layer.make_rng("noise"), rng.global_indices(batch, layer.axis_name))
    noise = layers.to_layout(rng.normal(own, size)[..., None], layer.batch_last)
    return lax.optimization_barrier(noise)  # or else it would be drawn anew for every channel and every use


@jax.custom_vjp
def plane_added(
    features: Float[Array, "features rows columns batch"], plane: Float[Array, "1 rows columns batch"]
) -> Float[Array, "features rows columns batch"]:
    """Features of which each has had the same plane added.

    The gradient by the plane is a product with ones: the CPU takes six times as long for a sum over the first axis.
    """
    return features + plane


def _plane_gradients(shape: None, gradient: Array) -> tuple[Array, Array]:
    del shape
    return gradient, lax.dot_general(jnp.ones((1, len(gradient))), gradient, (((1,), (0,)), ((), ())))


plane_added.defvjp(lambda features, plane: (features + plane, None), _plane_gradients)
