"""LeNet: a small classifier of a data set's own labels, whose features and decisions scores are made of.

It is trained here, once for each data set, and kept in the cache of decoded images. A score of its features depends on
its parameters, so it carries their hash.

References:
    LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998. https://doi.org/10.1109/5.726791
"""

import functools
import hashlib
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jaxtyping import Array, Float, PyTree

from jaxgan.core import rng
from jaxgan.data import cache
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.loader import random_crop, to_float
from jaxgan.errors import UserError
from jaxgan.models.ops import layers

REVISION = 1  # of the network and its training; after a change of these every classifier is trained anew
BATCH, STEPS, LEARNING_RATE, SEED = 128, 2500, 1e-3, 0
SHIFT = 14  # images are moved by up to one in so many of their pixels
WIDTHS, FEATURES = (32, 64), 128
LEAST_SIDE = 2 ** len(WIDTHS)  # pixels: every convolution halves height and width


class LeNet(nn.Module):
    """Images [batch, H, W, C] in [-1, 1] to features [batch, 128] and logits [batch, classes].

    Attributes:
        classes: how many.
    """

    classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channel"]) -> tuple[Array, Array]:
        batch_last = jax.default_backend() == "cpu" and not any(
            side % 4 for side in images.shape[1:3]
        )  # where that is faster
        hidden = layers.to_layout(images, batch_last)
        with jax.default_matmul_precision("highest"):
            for width in WIDTHS:
                hidden = nn.relu(layers.Conv(width, batch_last=batch_last)(hidden))
            hidden = layers.to_layout(layers.to_flat(hidden, batch_last), batch_last)
            features = nn.relu(nn.Dense(FEATURES)(hidden))
            return features, nn.Dense(self.classes)(features)


class Classifier(NamedTuple):
    """A trained network.

    Attributes:
        network, params: what is applied, and to what.
        digest: of the parameters.
    """

    network: LeNet
    params: PyTree
    digest: str


def trained(examples: ArrayDataset, seed: int = SEED) -> Classifier:
    """A classifier of these examples, from the cache if it is there, and put there if not.

    Raises:
        UserError: as of `check`, or the cache is damaged.
    """
    check(examples)
    network = LeNet(len(examples.classes))

    def train() -> dict[str, np.ndarray]:
        return traverse_util.flatten_dict(jax.device_get(fit(network, examples, seed)), sep="/")

    described = [REVISION, examples.digest, examples.classes, seed]
    if (examples.labels < 0).any():
        described.append("unknown labels left out")  # which revision 1 did not do at first
    arrays = cache.cached_arrays("lenet", described, train)
    params = traverse_util.unflatten_dict(arrays, sep="/")
    return Classifier(network, params, digest(params))


def can_learn(examples: ArrayDataset) -> bool:
    """Whether a classifier can be trained on them."""
    try:
        check(examples)
    except UserError:
        return False
    return True


def check(examples: ArrayDataset) -> None:
    """Raises a `UserError` unless there are examples of two classes at least, and of enough pixels."""
    if len(examples.classes) < 2 or len(np.unique(examples.labels[examples.labels >= 0])) < 2:
        raise UserError("features=lenet needs examples of two classes at least: choose pixels or random")
    height, width = examples.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise UserError(
            f"features=lenet needs images of {LEAST_SIDE}x{LEAST_SIDE} pixels or more, and not of {height}x{width}: "
            "choose pixels or random"
        )


def digest(params: PyTree) -> str:
    """Of parameters: their paths and bytes."""
    total = hashlib.blake2b(digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return total.hexdigest()


def fit(network: LeNet, examples: ArrayDataset, seed: int) -> PyTree:
    """The network's parameters after training on the examples with labels, each moved a little whenever it is drawn."""
    images, labels, known = np.asarray(examples.images), examples.labels, np.flatnonzero(examples.labels >= 0)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))
    pad = [(0, 0), *((side // SHIFT,) * 2 for side in images.shape[1:3]), (0, 0)]

    def loss(params: PyTree, images: Array, labels: Array) -> Array:
        _, logits = network.apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: tuple, count: Array, images: Array, labels: Array) -> tuple:
        params, moments = state
        drawn, moved = (rng.stream_key(seed, count, use) for use in ("examples", "shift"))
        rows = jnp.asarray(known)[jax.random.randint(drawn, (BATCH,), 0, len(known))]
        padded = jnp.pad(images[rows], pad, mode="edge")
        batch = to_float(random_crop(padded, rng.example_keys(moved, jnp.arange(BATCH)), *images.shape[1:3]))
        updates, moments = optimizer.update(jax.grad(loss)(params, batch, labels[rows]), moments)
        return optax.apply_updates(params, updates), moments

    params = jax.jit(network.init)(jax.random.key(seed), jnp.zeros((1, *examples.shape)))
    state, data = (params, optimizer.init(params)), jax.device_put((images, labels))
    for count in range(STEPS):
        state = step(state, count, *data)
    return state[0]
