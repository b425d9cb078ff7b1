"""PatchNCE: a patch of a translation is to be recognised among the patches of the image that it was made from.

References:
    Park et al., Contrastive Learning for Unpaired Image-to-Image Translation, 2020, section 3.
    https://arxiv.org/abs/2007.15651
    The authors' code: https://github.com/taesungp/contrastive-unpaired-translation
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features

Vectors = Float[Array, "batch _ _"]  # [batch, places, features]
Places = Int[Array, " _"]  # indices into a layer's rows and columns


class Heads(nn.Module):
    """For each layer of an encoder two dense layers that make unit vectors of its features.

    Attributes:
        width: numbers of a vector.
        kernel_init: the kernels' initialiser.
        dtype: of what is multiplied; vectors are float32.
    """

    width: int
    kernel_init: Callable
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, *features: Vectors, train: bool) -> tuple[Vectors, ...]:
        del train
        options = {"kernel_init": self.kernel_init, "dtype": self.dtype}

        def vectors(own: Vectors) -> Vectors:
            flat = own.reshape(-1, own.shape[-1]).astype(jnp.float32)
            hidden = nn.relu(layers.Dense(self.width, **options)(flat))
            return unit(layers.Dense(self.width, **options)(hidden)).reshape(*own.shape[:2], self.width)

        return tuple(vectors(own) for own in features)


def unit(vectors: Float[Array, "rows features"]) -> Float[Array, "rows features"]:
    """Vectors by their lengths and a little more; one of zeros stays, and has no gradient."""
    squares = (vectors**2).sum(-1, keepdims=True)
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    return jnp.where(squares > 0, vectors / (length + 1e-7), 0.0)


def draw_places(key: Key[Array, ""], features: tuple[Features, ...], count: int) -> tuple[Places, ...]:
    """For each layer so many of its places, or all if there are fewer, none twice; images and devices share them."""
    keys = jax.random.split(key, len(features))
    sizes = [own.shape[1] * own.shape[2] for own in features]
    return tuple(jax.random.permutation(own, size)[:count] for own, size in zip(keys, sizes, strict=True))


def at_places(features: tuple[Features, ...], places: tuple[Places, ...], batch_last: bool) -> tuple[Vectors, ...]:
    """The features of each layer at its places."""
    found = []
    for own, indices in zip(features, places, strict=True):
        flat = own.reshape(len(own), -1, own.shape[-1])
        found.append(layers.to_layout(flat.at[:, indices].get(unique_indices=True), batch_last))
    return tuple(found)


def patch_nce(
    queries: tuple[Vectors, ...], keys: tuple[Vectors, ...], temperature: float | Array
) -> Float[Array, " batch"]:
    """The mean of -log exp(q.k / T) / sum_j exp(q.k_j / T) over the places of an image, then over layers.

    The key k is of the same place as the query q, and the k_j are of all places of its image. No gradient reaches keys.
    """
    values = []
    for query, key in zip(queries, keys, strict=True):
        logits = jnp.einsum("bpf,bqf->bpq", query, lax.stop_gradient(key)) / temperature
        values.append(-jnp.diagonal(jax.nn.log_softmax(logits), axis1=1, axis2=2).mean(-1))
    return jnp.stack(values).mean(0)
