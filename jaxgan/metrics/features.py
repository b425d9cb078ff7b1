"""What images are compared by: features, and decisions where the extractor makes any.

A score by one extractor says nothing beside a score by another one, so every score is called by its extractor's name
and carries its hash, and only what the public Inception weights make is called FID.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from jaxgan import parallel, processes
from jaxgan.data import cache
from jaxgan.data.cache import Examples
from jaxgan.data.pipeline import to_float
from jaxgan.errors import UserError, choose
from jaxgan.metrics import inception, inception_weights, lenet

REVISION = 1  # of what is kept of real images; after a change of an extractor's code all is worked out anew
SIDE = 8  # pixels that "pixels" leaves of an image's height and width

Images = UInt8[Array | np.ndarray, "batch height width channel"]


class Features(NamedTuple):
    """Of images.

    Attributes:
        values: float32.
        logits: float32; None where the extractor makes no decisions.
    """

    values: Float[np.ndarray, "n width"]
    logits: Float[np.ndarray, "n classes"] | None

    def __getitem__(self, rows: np.ndarray | slice) -> "Features":
        """Those of some of the images."""
        return Features(self.values[rows], None if self.logits is None else self.logits[rows])


class Extractor(NamedTuple):
    """A function of images.

    Attributes:
        name: by which scores are called.
        digest: of its parameters, or what else decides its values.
        resizer: how images come to its size.
        apply: (parameters, images) -> features [batch, width], and logits [batch, classes] or None; jitted.
        params: its parameters.
        batch: images that are worked on together, over all devices.
    """

    name: str
    digest: str
    resizer: str
    apply: Callable[[PyTree, Images], tuple[Array, Array | None]]
    params: PyTree = ()
    batch: int = 128

    def __call__(self, images: UInt8[np.ndarray, "n height width channel"]) -> Features:
        """Features of images, batch by batch on all devices; of several processes each works out all of them."""
        alone = processes.several()
        params, parts = self.params if alone else parallel.replicate(self.params), []
        for start in range(0, len(images), self.batch):
            rows = np.minimum(np.arange(start, start + self.batch), len(images) - 1)  # the last batch is filled up
            batch = np.asarray(images[rows])
            parts.append(jax.device_get(self.apply(params, batch if alone else parallel.put(batch, 0))))
        values, logits = zip(*parts, strict=True)
        values = np.concatenate(values)[: len(images)]
        return Features(values, None if logits[0] is None else np.concatenate(logits)[: len(images)])


@jax.jit
def _pixels(params: tuple, images: Images) -> tuple[Array, None]:
    del params
    small = jax.image.resize(images / 255, (len(images), SIDE, SIDE, images.shape[3]), "linear", antialias=True)
    return small.reshape(len(images), -1), None


def pixels(examples: Examples, weights: Path | None) -> Extractor:
    """Images made small: what colours are where. Shapes hardly count."""
    del examples, weights
    return Extractor("pixels", f"{SIDE}x{SIDE}", "linear, antialiased", _pixels)


class RandomConvolutions(nn.Module):
    """Images [batch, H, W, C] in [-1, 1] to the means and deviations of 64 random filters' answers: [batch, 128]."""

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channel"]) -> Float[Array, "batch features"]:
        hidden = images
        for width in (32, 64, 64):
            conv = nn.Conv(width, (3, 3), 2, kernel_init=nn.initializers.he_normal(), precision="highest")
            hidden = nn.relu(conv(hidden))
        return jnp.concatenate([hidden.mean((1, 2)), hidden.std((1, 2))], axis=1)


@jax.jit
def _random(params: PyTree, images: Images) -> tuple[Array, None]:
    return RandomConvolutions().apply(params, to_float(images)), None


def random(examples: Examples, weights: Path | None) -> Extractor:
    """A fixed network that nobody trained: it needs neither labels nor weights, and sees textures."""
    del weights
    params = jax.jit(RandomConvolutions().init)(jax.random.key(0), jnp.zeros((1, *examples.shape)))
    return Extractor("random", lenet.digest(params), "none", _random, params)


def of_lenet(examples: Examples, weights: Path | None) -> Extractor:
    """A classifier of the examples' own labels."""
    del weights
    network, params, digest = lenet.trained(examples)
    apply = jax.jit(lambda params, images: network.apply(params, to_float(images)))
    return Extractor("lenet", digest, "none", apply, params)


@jax.jit
def _inception(params: PyTree, images: Images) -> tuple[Array, Array]:
    taps = inception.taps(params, images)
    return taps["2048"], taps["logits_unbiased"]


def of_inception(examples: Examples, weights: Path | None) -> Extractor:
    """The network of FID, from a file of the user's own."""
    del examples
    if weights is None:
        raise UserError(
            "features=inception needs --inception_weights=FILE.pth, as pytorch-fid or torch-fidelity has it"
        )
    found = inception_weights.load(weights)
    name = "inception" if found.public else "inception-own"
    batch = 16 * jax.local_device_count() if jax.default_backend() == "cpu" else 128  # larger ones leave its caches
    return Extractor(name, found.sha256, "TensorFlow 1's bilinear to 299x299", _inception, found.params, batch)


EXTRACTORS = {"lenet": of_lenet, "inception": of_inception, "pixels": pixels, "random": random}


def extractor(name: str, examples: Examples, weights: Path | None = None) -> Extractor:
    """The extractor of that name.

    Args:
        name: one of `EXTRACTORS`.
        examples: real ones with their labels, by which "lenet" is trained.
        weights: the file that "inception" needs.
    """
    return EXTRACTORS[choose("features", name, EXTRACTORS)](examples, weights)


def rows_of(examples: Examples, count: int) -> Int[np.ndarray, " n"]:
    """Which `count` of the examples stand for all of them: always the same choice, in their order."""
    return np.sort(np.random.default_rng(0).permutation(len(examples))[:count])


def of_examples(extract: Extractor, examples: Examples, count: int) -> tuple[Features, Int[np.ndarray, " n"]]:
    """Features and labels of `count` examples; from the cache, and put there if need be."""
    rows = rows_of(examples, count)

    def make() -> dict[str, np.ndarray]:
        found = extract(examples.images[rows])._asdict()
        return {name: array for name, array in found.items() if array is not None}

    arrays = cache.made_once("features", [REVISION, extract.name, extract.digest, examples.digest, len(rows)], make)
    return Features(arrays["values"], arrays.get("logits")), examples.labels[rows]
