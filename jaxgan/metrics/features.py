"""What images are compared by: features, and decisions where the extractor makes any.

A score by one extractor says nothing beside a score by another one, so every score is called by its extractor's name
and carries its hash, and only what the public Inception weights make is called FID.
"""

import functools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from jaxgan.core import devices
from jaxgan.data import cache
from jaxgan.data.dataset import ArrayDataset, from_arrays
from jaxgan.data.decode import MODES
from jaxgan.data.loader import to_float
from jaxgan.data.sources.stacked import STACK
from jaxgan.errors import UserError, choose
from jaxgan.io.files import atomic_write
from jaxgan.metrics import inception, inception_weights, lenet, moments
from jaxgan.metrics.moments import Moments, Statistics
from jaxgan.models import efficientnet

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
        """Features of images, batch by batch, by all of this process's devices."""
        apply, params = devices.local_shard_map(self.apply, (None, 0), 0), devices.replicate_locally(self.params)
        parts = [jax.device_get(apply(params, batch)) for batch, _ in self._batches(images)]
        values, logits = zip(*parts, strict=True)
        values = np.concatenate(values)[: len(images)]
        return Features(values, None if logits[0] is None else np.concatenate(logits)[: len(images)])

    def statistics(self, images: UInt8[np.ndarray, "n height width channel"]) -> Statistics:
        """Mean and covariance of the features, which are never stored: sums stay on the devices."""
        add, params = devices.local_shard_map(_adding(self.apply), (None, None, 0, 0), None), self.params
        params, total = devices.replicate_locally(params), None
        for batch, known in self._batches(images):
            if total is None:
                total = moments.empty(jax.eval_shape(self.apply, params, batch)[0].shape[1])
            total = add(params, total, batch, known)
        return moments.finish(total)

    def _batches(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of one size, which the devices divide, and which rows are images: the last batch is filled up."""
        devices = jax.local_device_count()
        size = -(-self.batch // devices) * devices
        for start in range(0, len(images), size):
            rows = np.arange(start, start + size)
            yield np.asarray(images[np.minimum(rows, len(images) - 1)]), rows < len(images)


@functools.lru_cache(maxsize=8)
def _adding(apply: Callable) -> Callable:
    """(parameters, sums, images, mask) -> the sums with these images' features, of all devices."""

    def add(params: PyTree, total: Moments, images: Images, mask: Bool[Array, " batch"]) -> Moments:
        own = moments.of_batch(apply(params, images)[0], mask)
        return moments.merge(total, moments.merge_over(own, devices.AXIS) if jax.local_device_count() > 1 else own)

    return add


@jax.jit
def _pixels(params: tuple, images: Images) -> tuple[Array, None]:
    del params
    small = jax.image.resize(images / 255, (len(images), SIDE, SIDE, images.shape[3]), "linear", antialias=True)
    return small.reshape(len(images), -1), None


def pixels(examples: ArrayDataset, weights: Path | None) -> Extractor:
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


def random(examples: ArrayDataset, weights: Path | None) -> Extractor:
    """A fixed network that nobody trained: it needs neither labels nor weights, and its features are textures."""
    del weights
    params = jax.jit(RandomConvolutions().init)(jax.random.key(0), jnp.zeros((1, *examples.shape)))
    return Extractor("random", lenet.digest(params), "none", _random, params)


def lenet_extractor(examples: ArrayDataset, weights: Path | None) -> Extractor:
    """A classifier of the examples' own labels."""
    del weights
    network, params, digest = lenet.trained(examples)
    apply = jax.jit(lambda params, images: network.apply(params, to_float(images)))
    return Extractor("lenet", digest, "none", apply, params)


def first_channel(examples: ArrayDataset) -> ArrayDataset:
    """The first images of stacks, with their labels.

    Raises:
        UserError: the examples are no stacks.
    """
    count = round(len(examples.classes) ** (1 / STACK))
    if examples.shape[2] != STACK or count**STACK != len(examples.classes) or count < 2:
        raise UserError(
            f"features=stacked needs images of stacked:SOURCE, of {STACK} channels and n**{STACK} classes, not of "
            f"{examples.shape[2]} and {len(examples.classes)}"
        )
    return from_arrays(
        np.ascontiguousarray(examples.images[..., :1]),
        examples.labels // count ** (STACK - 1),
        tuple(map(str, range(count))),
    )


def stacked(examples: ArrayDataset, weights: Path | None) -> Extractor:
    """A classifier that reads each channel of Stacked MNIST or its like: the channels' features side by side.

    Its decisions are among all combinations; their logits are the channels' log-probabilities, added.
    """
    del weights
    first = first_channel(examples)
    count = len(first.classes)
    network, params, digest = lenet.trained(first)

    @jax.jit
    def apply(params: PyTree, images: Images) -> tuple[Array, Array]:
        channels = jnp.moveaxis(to_float(images), 3, 1).reshape(-1, *first.shape)
        values, logits = network.apply(params, channels)
        logs = jax.nn.log_softmax(logits).reshape(-1, STACK, count)
        joint = logs[:, 0, :, None, None] + logs[:, 1, None, :, None] + logs[:, 2, None, None, :]
        return values.reshape(len(images), -1), joint.reshape(len(images), -1)

    return Extractor("stacked", digest, "none", apply, params)


def opaque(images: Images) -> UInt8[Array | np.ndarray, "batch height width _"]:
    """Images with an alpha as a viewer shows them on white, and others as they are."""
    if images.shape[3] != 4:
        return images
    alpha = images[..., 3:] / 255
    return jnp.round(images[..., :3] * alpha + 255 * (1 - alpha)).astype(jnp.uint8)


@jax.jit
def _inception(params: PyTree, images: Images) -> tuple[Array, Array]:
    taps = inception.taps(params, opaque(images))
    return taps["2048"], taps["logits_unbiased"]


def inception_extractor(examples: ArrayDataset, weights: Path | None) -> Extractor:
    """The network of FID, from a file of the user's own."""
    check_channels("inception", examples)
    found = load_weights(weights)
    name = "inception" if found.public else "inception-own"
    return Extractor(name, found.sha256, "TensorFlow 1's bilinear to 299x299", _inception, found.params, large_batch())


@jax.jit
def _efficientnet(params: PyTree, images: Images) -> tuple[Array, Array]:
    taps = efficientnet.taps(params, opaque(images))
    return taps["features"], taps["logits"]


def efficientnet_extractor(examples: ArrayDataset, weights: Path | None) -> Extractor:
    """A classifier of ImageNet whose weights are installed with an extra."""
    del weights
    check_efficientnet(examples)
    resizer = f"bicubic, antialiased, to {efficientnet.SIZE}x{efficientnet.SIZE}"
    return Extractor("efficientnet", efficientnet.SHA256, resizer, _efficientnet, efficientnet.load(), large_batch())


def large_batch() -> int:
    """Images that a network of photographs works on together: on CPUs larger ones leave the caches."""
    return 16 * jax.local_device_count() if jax.default_backend() == "cpu" else 128


def check_efficientnet(examples: ArrayDataset) -> None:
    """Raises a `UserError` for images that EfficientNet cannot take, or without its weights."""
    check_channels("efficientnet", examples)
    efficientnet.check_installed()


def check_channels(name: str, examples: ArrayDataset) -> None:
    """Raises a `UserError` for images that the extractor of that name, a network of photographs, cannot take."""
    if examples.shape[-1] not in MODES:
        raise UserError(f"features={name} takes images of 1, 3 or 4 channels, and not of {examples.shape[-1]}")


def load_weights(path: Path | None) -> inception_weights.Weights:
    """Inception's; errors as of `inception_weights.load`, or a `UserError` without a file."""
    if path is None:
        raise UserError(
            "features=inception needs --inception_weights=FILE.pth, as pytorch-fid or torch-fidelity has it"
        )
    return inception_weights.load(path)


EXTRACTORS = {
    "lenet": lenet_extractor,
    "stacked": stacked,
    "inception": inception_extractor,
    "efficientnet": efficientnet_extractor,
    "pixels": pixels,
    "random": random,
}
CHECKS = {  # raise a `UserError` for examples that an extractor cannot be made for, before it is
    "lenet": lenet.check,
    "stacked": lambda examples: lenet.check(first_channel(examples)),
    "inception": functools.partial(check_channels, "inception"),
    "efficientnet": check_efficientnet,
}


def check(name: str, examples: ArrayDataset) -> None:
    """Raises a `UserError` if the extractor of that name cannot be made for these examples; trains nothing."""
    if choose("extractor", name, EXTRACTORS) in CHECKS:
        CHECKS[name](examples)


def extractor(name: str, examples: ArrayDataset, weights: Path | None = None) -> Extractor:
    """The extractor of that name.

    Args:
        name: one of `EXTRACTORS`.
        examples: real ones with their labels, by which "lenet" is trained.
        weights: the file that "inception" needs.
    """
    return EXTRACTORS[choose("extractor", name, EXTRACTORS)](examples, weights)


def rows_of(examples: ArrayDataset, count: int) -> Int[np.ndarray, " n"]:
    """Which `count` of the examples stand for all of them: always the same choice, in their order."""
    return np.sort(np.random.default_rng(0).permutation(len(examples))[:count])


def features_of(extract: Extractor, examples: ArrayDataset, count: int) -> tuple[Features, Int[np.ndarray, " n"]]:
    """Features and labels of `count` examples; from the cache, and put there if need be."""
    rows = rows_of(examples, count)

    def make() -> dict[str, np.ndarray]:
        found = extract(examples.images[rows])._asdict()
        return {name: array for name, array in found.items() if array is not None}

    arrays = cache.cached_arrays("features", [REVISION, extract.name, extract.digest, examples.digest, len(rows)], make)
    return Features(arrays["values"], arrays.get("logits")), examples.labels[rows]


def statistics_of(extract: Extractor, examples: ArrayDataset) -> Statistics:
    """Mean and covariance of the features of all examples; from the cache, and put there if need be."""
    described = [REVISION, extract.name, extract.digest, examples.digest]
    arrays = cache.cached_arrays("statistics", described, lambda: extract.statistics(examples.images)._asdict())
    return Statistics(int(arrays["count"]), arrays["mean"], arrays["covariance"])


class SavedFeatures(NamedTuple):
    """Features in a file, with what tells whether other ones may be compared with them.

    Attributes:
        extractor, digest: of the extractor.
        features: of the images.
        labels: int32 [n]; None where there are none.
    """

    extractor: str
    digest: str
    features: Features
    labels: Int[np.ndarray, " n"] | None


def save(path: Path, kept: SavedFeatures) -> None:
    """Writes an .npz file, all of it or nothing."""
    arrays = {"features": kept.features.values, "logits": kept.features.logits, "labels": kept.labels}
    arrays |= {"extractor": np.str_(kept.extractor), "digest": np.str_(kept.digest)}
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def is_features_file(path: Path) -> bool:
    """Whether `save` wrote that file, by its names alone."""
    return zipfile.is_zipfile(path) and "extractor.npy" in zipfile.ZipFile(path).namelist()


def load(path: Path) -> SavedFeatures:
    """What `save` wrote.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = dict(arrays)
        values, logits, labels = (found.get(name) for name in ("features", "logits", "labels"))
        rows = {len(array) for array in (values, logits, labels) if array is not None}
        if values.ndim != 2 or len(rows) > 1:
            raise ValueError(f"features of shape {values.shape}, and {sorted(rows)} rows")
        return SavedFeatures(str(found["extractor"]), str(found["digest"]), Features(values, logits), labels)
    # Of a damaged file NumPy and the modules under it raise whatever they stumble over.
    except Exception as error:
        raise UserError(f"{path} is damaged ({error}): make it again with --save_features") from error
