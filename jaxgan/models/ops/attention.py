"""Self-attention over the places of features.

References:
    Zhang et al., Self-Attention Generative Adversarial Networks, 2019. https://arxiv.org/abs/1805.08318
    The authors' code, https://github.com/brain-research/self-attention-gan, from which the paper differs.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.models.ops import layers, resampling
from jaxgan.models.ops.convolutions import Features


class SelfAttention(nn.Module):
    """Features plus a learned multiple, 0 at first, of what each place gathers from all others.

    Queries and keys have an eighth of the features, values a half. Keys and values are maxima of 2 x 2 places.

    Attributes:
        spectral_norm: whether the four kernels are divided by their largest singular value.
        kernel_init: their initialiser.
        batch_last: the layout of what comes in and goes out, as in `layers`.
    """

    spectral_norm: bool
    kernel_init: Callable
    batch_last: bool = False

    @nn.compact
    def __call__(self, inputs: Features, train: bool) -> Features:
        count = inputs.shape[0 if self.batch_last else -1]
        eighth, half = (max(count // share, 1) for share in (8, 2))

        def pointwise(name: str, features: int, inputs: Features) -> Features:
            options = {"use_bias": False, "kernel_init": self.kernel_init, "batch_last": self.batch_last}
            layer = layers.Conv(features, 1, stride=1, padding=(0, 0), name=name, **options)
            return layers.maybe_spectral_norm(layer, inputs, self.spectral_norm, train)

        def by_place(features: Features) -> Float[Array, "batch places features"]:
            features = layers.to_layout(features, self.batch_last)
            return features.reshape(len(features), -1, features.shape[-1])

        queries = by_place(pointwise("query", eighth, inputs))
        keys = by_place(resampling.max_pool(pointwise("key", eighth, inputs)))
        values = by_place(resampling.max_pool(pointwise("value", half, inputs)))
        gathered = layers.to_layout(gather(queries, keys, values), self.batch_last)  # [features, places, batch] then
        size = inputs.shape[1:3]
        shape = (half, *size, inputs.shape[3]) if self.batch_last else (len(inputs), *size, half)
        gain = self.param("gain", nn.initializers.zeros, ())
        return inputs + (gain * pointwise("out", count, gathered.reshape(shape))).astype(inputs.dtype)


def gather(
    queries: Float[Array, "batch places features"],
    keys: Float[Array, "batch others features"],
    values: Float[Array, "batch others out"],
) -> Float[Array, "batch places out"]:
    """Means of the values, weighted by the softmax of each query's products with all keys.

    Unlike in transformers the products are not divided by the root of the number of features.
    """
    products = jnp.einsum("bpf,bof->bpo", queries, keys, preferred_element_type=jnp.float32)
    return jnp.einsum("bpo,bof->bpf", nn.softmax(products).astype(values.dtype), values)
