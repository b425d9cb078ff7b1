"""The discriminators of Projected GAN: four of them, each of one size of a frozen network's features.

Random convolutions of single pixels, which nobody trains, mix the channels of each size (CCM), and then pass features
on from small sizes to large ones (CSM). So no discriminator can look at a few features alone.

References:
    Sauer et al., Projected GANs Converge Faster, 2021, section 3. https://arxiv.org/abs/2111.01007
    The authors' PyTorch code: https://github.com/autonomousvision/projected-gan
"""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.models.fastgan import ConvNetwork
from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features

SIZES = 4  # of features: a fourth, an eighth, a 16th and a 32nd of the images' rows
MULTIPLE, LEAST = 32, 128  # of the images' rows and columns: a logit is of 4x4 places
EMBEDDED = 64  # numbers of a label's embedding
WIDTHS = (8, 4, 2, 1)  # channels of maps of a 32nd, a 16th, an eighth and a fourth of the rows, times the width


def check_size(height: int, width: int) -> str | None:
    """What is wrong with images of that size, or None."""
    if any(side % MULTIPLE or side < LEAST for side in (height, width)):
        return f"takes images whose sides are multiples of {MULTIPLE} from {LEAST} on, and not {height}x{width}"
    return None


class Mixing(nn.Module):
    """A random convolution of single pixels, with biases, that is never trained: its variables are the model state.

    Attributes:
        features: channels out.
        batch_last: the layout of what comes in and goes out.
    """

    features: int
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        count = inputs.shape[0 if self.batch_last else -1]

        def drawn(shape: tuple[int, ...]) -> Callable[[], Array]:
            bound = 1 / math.sqrt(count)
            return lambda: jax.random.uniform(self.make_rng("params"), shape, minval=-bound, maxval=bound)

        kernel = self.variable("mixing", "kernel", drawn((count, self.features))).value.astype(inputs.dtype)
        bias = self.variable("mixing", "bias", drawn((self.features,))).value.astype(inputs.dtype)
        if self.batch_last:
            return jnp.tensordot(kernel.T, inputs, 1) + bias[:, None, None, None]
        return inputs @ kernel + bias


@functools.cache
def doubling(count: int) -> Float[np.ndarray, "doubled count"]:
    """The matrix that doubles a row of pixels linearly, the first and the last one staying where they are."""
    places = np.linspace(0, count - 1, 2 * count)
    return np.float32(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))))


def doubled(features: Features) -> Features:
    """Twice the rows and columns, in either layout."""
    rows, columns = (doubling(count).astype(features.dtype) for count in features.shape[1:3])
    return jnp.einsum("ir,jc,arcb->aijb", rows, columns, features)


class Projection(nn.Module):
    """Features of four sizes, the largest first, mixed: those of each size, and then small ones with large ones.

    A convolution of single pixels and a doubling may change places, and the one of few pixels is cheaper.

    Attributes:
        base_channels: channels of the largest features that come out; their rows and columns are doubled.
        batch_last: the layout of what goes out; [batch, rows, columns, channels] comes in.
    """

    base_channels: int
    batch_last: bool

    @nn.compact
    def __call__(self, *pyramid: Float[Array, "batch _ _ _"]) -> list[Features]:
        found, above = [], 0.0
        for size in reversed(range(SIZES)):
            count = self.base_channels * 2**size
            given = layers.to_layout(pyramid[size], self.batch_last)
            own = Mixing(count, self.batch_last, name=f"channels{size}")(given) + above
            fewer = Mixing(count // 2 if size else count, self.batch_last, name=f"scales{size}")(own)
            above = doubled(fewer)
            found.append(above)
        return found[::-1]


class Head(ConvNetwork):
    """Features to logits: halved to a 32nd of the images' rows, then a logit for each 4x4 places.

    With labels a logit is the product of two vectors of `EMBEDDED` numbers, one of the places and one of the label.

    Attributes:
        base_channels: channels of the largest features.
        halvings: how many.
        the others: as in `ConvNetwork`.
    """

    base_channels: int = 64
    halvings: int = 1

    @nn.compact
    def __call__(
        self, features: Features, labels: Float[Array, "batch classes"] | None, train: bool
    ) -> Float[Array, "batch places"]:
        hidden = features
        for left in reversed(range(self.halvings)):
            options = {"size": 4, "stride": 2, "padding": 1, "use_bias": True, "constant_bias": True}
            hidden = self.leaky(self.conv(self.base_channels * WIDTHS[left], hidden, train, **options), train)
        last = self.conv(1 if labels is None else EMBEDDED, hidden, train, size=4)
        found = layers.to_layout(last, self.batch_last).astype(jnp.float32)
        found = found.reshape(len(found), -1, found.shape[-1])
        if labels is None:
            return found[..., 0]
        embedding = nn.Dense(EMBEDDED, use_bias=False, kernel_init=nn.initializers.normal(1.0), name="embedding")
        return jnp.einsum("bpe,be->bp", found, embedding(labels)) / math.sqrt(EMBEDDED)


class Discriminator(ConvNetwork):
    """Features of four sizes, the largest first, [batch, rows, columns, channels], and one-hot labels to logits.

    Attributes:
        base_channels: channels of the largest features, once they are mixed.
        dtype: of the features; parameters, statistics and logits are float32.
        the others: as in `ConvNetwork`.
    """

    base_channels: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, pyramid: Sequence[Float[Array, "batch _ _ _"]], labels: Float[Array, "batch classes"] | None, train: bool
    ) -> Float[Array, "batch places"]:
        logits, given = [], [maps.astype(self.dtype) for maps in pyramid]
        projection = Projection(self.base_channels, self.batch_last, name="projection")
        for size, features in enumerate(projection(*given)):
            options = {"base_channels": self.base_channels, "halvings": SIZES - size, **self.shared}
            logits.append(Head(name=f"head{size}", **options)(features, labels, train))
        return jnp.concatenate(logits, axis=1)
