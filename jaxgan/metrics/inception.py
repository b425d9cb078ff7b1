"""The Inception network behind FID, KID and the Inception Score, as its weights of 2015 want it.

It differs from the Inception-v3 of today's libraries: averages leave the padding out of the count, the last block takes
a maximum where the others take an average, there are 1,008 classes and no auxiliary head. Images are resized as
TensorFlow 1 did it: row i of 299 comes from place i * height / 299, with neither half pixels nor antialiasing, which
`jax.image.resize` cannot do. Scores that are made in another way cannot be compared with published ones.

The network is a table. BatchNorm is part of the convolutions' kernels and biases (see `inception_weights`).

References:
    Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016. https://arxiv.org/abs/1512.00567
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. https://arxiv.org/abs/1706.08500
    pytorch-fid, inception.py; torch-fidelity 0.4.0, feature_extractor_inceptionv3.py and
    interpolate_compat_tensorflow.py, with which the tests compare every output.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree, UInt8

SIZE = 299  # rows and columns of the network's inputs
CLASSES = 1008
TAPS = ("64", "192", "768", "2048", "logits_unbiased", "logits")  # what comes out, by torch-fidelity's names

# By default GPUs and TPUs multiply 10 or 7 bits. And nobody trains this network: what it starts from need not be drawn.
LAYER = {"precision": lax.Precision.HIGHEST, "kernel_init": nn.initializers.zeros}

Features = Float[Array, "batch _ _ _"]  # rows, columns, channels


# The network as a table


class Conv(NamedTuple):
    """A convolution and a ReLU: channels out, rows and columns of the kernel, stride. Padded only without a stride."""

    features: int
    rows: int = 1
    columns: int = 1
    stride: int = 1


def inner(features: Features) -> Features:
    """All but the border, as 3x3 convolutions without padding leave it: XLA's own take a CPU 2 to 4 times as long."""
    return features[:, 1:-1, 1:-1]


def threes(features: Features, axis: int, stride: int) -> list[Features]:
    """The first, the second and the third of all three neighbours along an axis, or of every second three."""
    count = features.shape[axis] - 2
    return [lax.slice_in_dim(features, first, first + count, stride, axis) for first in range(3)]


def max_pool(features: Features) -> Features:
    """The greatest of 3x3 pixels, in every second place that has them all; a third of XLA's time on a CPU."""
    for axis in (1, 2):
        features = functools.reduce(jnp.maximum, threes(features, axis, 2))
    return features


def max_around(features: Features) -> Features:
    """The greatest of the 3x3 pixels around each."""
    return nn.max_pool(features, (3, 3), (1, 1), "SAME")


def mean_around(features: Features) -> Features:
    """The mean of the 3x3 pixels around each, which at the border are fewer; half of XLA's time on a CPU."""
    for axis in (1, 2):
        count = np.full(features.shape[axis], 3, np.float32)
        count[[0, -1]] = 2
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        features = sum(threes(jnp.pad(features, padding), axis, 1)) / count.reshape(-1, *[1] * (3 - axis))
    return features


# A list is done in turn, and its convolutions are numbered if there are several; the results of a dictionary's values
# are joined. So Mixed_7b.branch3x3_2a is the first half of the second convolution of a branch.
Step = Conv | Callable[[Features], Features] | list | dict


def block_a(pooled: int) -> Step:
    return {
        ".branch1x1": Conv(64),
        ".branch5x5": [Conv(48), Conv(64, 5, 5)],
        ".branch3x3dbl": [Conv(64), Conv(96, 3, 3), Conv(96, 3, 3)],
        ".branch_pool": [mean_around, Conv(pooled)],
    }


def block_c(width: int) -> Step:
    wide, high = Conv(width, 1, 7), Conv(width, 7, 1)
    return {
        ".branch1x1": Conv(192),
        ".branch7x7": [Conv(width), wide, Conv(192, 7, 1)],
        ".branch7x7dbl": [Conv(width), high, wide, high, Conv(192, 1, 7)],
        ".branch_pool": [mean_around, Conv(192)],
    }


def block_e(pool: Callable[[Features], Features]) -> Step:
    split = {"a": Conv(384, 1, 3), "b": Conv(384, 3, 1)}
    return {
        ".branch1x1": Conv(320),
        ".branch3x3": [Conv(384), split],
        ".branch3x3dbl": [Conv(448), Conv(384, 3, 3), split],
        ".branch_pool": [pool, Conv(192)],
    }


BLOCK_B = {
    ".branch3x3": Conv(384, 3, 3, 2),
    ".branch3x3dbl": [Conv(64), Conv(96, 3, 3), Conv(96, 3, 3, 2)],
    ".branch_pool": max_pool,
}
BLOCK_D = {
    ".branch3x3": [Conv(192), Conv(320, 3, 3, 2)],
    ".branch7x7x3": [Conv(192), Conv(192, 1, 7), Conv(192, 7, 1), Conv(192, 3, 3, 2)],
    ".branch_pool": max_pool,
}
NETWORK = {  # the steps between taps, each of which is the mean of all places: {tap: {name in the weights: step}}
    "64": {
        "Conv2d_1a_3x3": Conv(32, 3, 3, 2),
        "Conv2d_2a_3x3": [Conv(32, 3, 3), inner],
        "Conv2d_2b_3x3": Conv(64, 3, 3),
        "MaxPool_1": max_pool,
    },
    "192": {"Conv2d_3b_1x1": Conv(80), "Conv2d_4a_3x3": [Conv(192, 3, 3), inner], "MaxPool_2": max_pool},
    "768": {
        "Mixed_5b": block_a(32),
        "Mixed_5c": block_a(64),
        "Mixed_5d": block_a(64),
        "Mixed_6a": BLOCK_B,
        "Mixed_6b": block_c(128),
        "Mixed_6c": block_c(160),
        "Mixed_6d": block_c(160),
        "Mixed_6e": block_c(192),
    },
    "2048": {"Mixed_7a": BLOCK_D, "Mixed_7b": block_e(mean_around), "Mixed_7c": block_e(max_around)},
}


class Inception(nn.Module):
    """Images of 299x299 pixels from -1 to 1 to everything in `TAPS`."""

    @nn.compact
    def __call__(self, images: Float[Array, "batch 299 299 3"]) -> dict[str, Float[Array, "batch _"]]:
        features, taps = images, {}
        for tap, steps in NETWORK.items():
            for name, step in steps.items():
                features = run(step, features, name)
            taps[tap] = features.mean((1, 2))
        dense = nn.Dense(CLASSES, use_bias=False, **LAYER, name="fc")
        logits = dense(taps["2048"])
        bias = self.param("bias", nn.initializers.zeros, (CLASSES,))
        return taps | {"logits_unbiased": logits, "logits": logits + bias}


def run(step: Step, features: Features, name: str) -> Features:
    """What a step makes of features, inside a module; convolutions are layers of that name."""
    if isinstance(step, Conv):
        padding = "SAME" if step.stride == 1 else "VALID"
        conv = nn.Conv(step.features, (step.rows, step.columns), step.stride, padding, **LAYER, name=name)
        return nn.relu(conv(features))
    if isinstance(step, dict):
        return jnp.concatenate([run(branch, features, name + end) for end, branch in step.items()], axis=-1)
    if isinstance(step, list):
        numbers = iter(range(1, 1 + len(step)))
        alone = sum(not callable(part) for part in step) == 1
        for part in step:
            features = run(part, features, name if alone or callable(part) else f"{name}_{next(numbers)}")
        return features
    return step(features)


# From images to features


def resized(images: UInt8[Array | np.ndarray, "batch height width channel"]) -> Float[Array, "batch 299 299 3"]:
    """Images of any size as inputs of the network, from -1 to nearly 1: TensorFlow 1's bilinear resize, unrounded.

    Args:
        images: of 3 channels, or of 1, which is then repeated.

    Raises:
        ValueError: they are not uint8, or of other channels.
    """
    if images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise ValueError(f"images are uint8 of 1 or 3 channels, and not {images.dtype} of {images.shape[3]}")
    features = jnp.asarray(images, jnp.float32)
    # In torch-fidelity's order, and places in float32 as there: so the results are the same to the last bit.
    for axis in (2, 1):
        length = images.shape[axis]
        places = np.arange(SIZE, dtype=np.float32) * np.float32(length / SIZE)
        before = places.astype(np.int32)
        share = jnp.asarray((places - before).reshape(-1, *[1] * (3 - axis)))
        low, high = (jnp.take(features, index, axis) for index in (before, np.minimum(before + 1, length - 1)))
        features = low + (high - low) * share
    return jnp.broadcast_to((features - 128) / 128, (*features.shape[:3], 3))


def taps(
    params: PyTree, images: UInt8[Array | np.ndarray, "batch height width channel"]
) -> dict[str, Float[Array, "batch _"]]:
    """The network's outputs for images of any size and of 1 or 3 channels, by the names in `TAPS`.

    FID and KID take "2048", the Inception Score takes "logits_unbiased". What a jitted function leaves unused of them
    is not worked out.

    Args:
        params: of `inception_weights.load`.
    """
    return Inception().apply({"params": params}, resized(images))
