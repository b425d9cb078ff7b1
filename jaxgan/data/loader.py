"""How the examples reach a training step: opened, fed to the device, and there cropped, flipped and turned into floats.

There are two feeds, which give the same bytes. Of each, `data` is what stays on the device, `inputs_at` is what some steps
need besides, and `gather` makes batches of the two on the device.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8
from ml_collections import ConfigDict

from jaxgan.core import rng
from jaxgan.data import cache, order, sources, workers
from jaxgan.data.cache import ArrayDataset, LazyDataset
from jaxgan.data.decode import MODES, Transform
from jaxgan.data.selection import select
from jaxgan.errors import UserError, choose

FEEDS = ("auto", "resident", "streaming")
CROPS = ("centre", "random")
BAD_IMAGES = ("error", "skip")
MOST_WORKERS = 8  # processes that decode, unless the configuration asks for more
MOST_AHEAD = 2**30  # bytes of images that are read ahead: enough for two dispatches, if that is less

Load = Callable[[PyTree, PyTree, Array, Array], dict[str, Array]]
Pixels = UInt8[Array, "batch height width channel"]


@dataclasses.dataclass(frozen=True)
class BatchSampler:
    """Which examples a process reads for each batch.

    Attributes:
        seed: of the run.
        batch_size: examples in a global batch.
        repeats: batches in a training step.
        num_examples: in the data set.
        process, processes: this one reads its part of each batch, as the others do.
        members: of a population, each of which has the next seed and so an order of its own.
    """

    seed: int
    batch_size: int
    repeats: int
    num_examples: int
    process: int = 0
    processes: int = 1
    members: int = 1

    @property
    def per_step(self) -> tuple[int, ...]:
        """Batches in a training step: (repeats,), or (members, repeats) of a population."""
        return (self.members, self.repeats) if self.members > 1 else (self.repeats,)

    @property
    def batch_axis(self) -> int:
        """The axis of what a feed's `inputs_at` gives along which the examples of a batch lie."""
        return 1 + len(self.per_step)

    def batch(self, number: int) -> np.ndarray:
        """The examples of one batch, counted step by step, member by member: int32 [batch_size / processes]."""
        step, within = divmod(number, self.members * self.repeats)
        member, repeat = divmod(within, self.repeats)
        place = step * self.repeats + repeat
        indices = order.batch_indices(self.seed + member, place, self.batch_size, self.num_examples)
        return np.split(indices, self.processes)[self.process]


class DeviceLoader:
    """The whole data set lies in device memory; what a step needs besides is the indices of its batches."""

    def __init__(self, examples: ArrayDataset, order: BatchSampler):
        self.data = {"images": examples.images, "labels": examples.labels}
        self.examples, self.order = examples, order

    def inputs_at(self, step: int, count: int) -> np.ndarray:
        """The indices for `count` steps from `step` on: int32 [count, repeats, batch].

        Of a population [count, members, repeats, batch]; so it is with the other methods' arrays.
        """
        each = math.prod(self.order.per_step)
        batches = [self.order.batch(number) for number in range(step * each, (step + count) * each)]
        return np.stack(batches).reshape(count, *self.order.per_step, -1)

    def input_spec(self, count: int) -> np.ndarray:
        """An array of the same shape as `inputs_at` gives."""
        return np.zeros((count, *self.order.per_step, self.order.batch_size // self.order.processes), np.int32)

    @staticmethod
    def gather(data: Mapping[str, Array], indices: Int[Array, "repeats batch"]) -> dict[str, Array]:
        """One step's batches."""
        return jax.tree.map(lambda array: array[indices], dict(data))

    def reseed(self, seed: int) -> None:
        """Gives the examples another order from now on."""
        self.order = dataclasses.replace(self.order, seed=seed)

    def close(self) -> None:
        """Ends nothing: this feed reads nothing ahead."""


class PrefetchLoader:
    """Threads or processes read the batches ahead of use, and decode them if need be.

    `inputs_at` is a function of its arguments all the same; it is fast for the steps after those that it gave last.
    """

    def __init__(self, examples: ArrayDataset | LazyDataset, order: BatchSampler, processes: int = 0, ahead: int = 4):
        self.data: dict[str, Array] = {}
        self.examples, self.order, self.processes, self.ahead = examples, order, processes, ahead
        self.step, self.batches = None, None

    def inputs_at(self, step: int, count: int) -> dict[str, np.ndarray]:
        """The batches of `count` steps from `step` on: arrays [count, repeats, batch, ...]."""
        each = math.prod(self.order.per_step)
        if step != self.step:
            self.close()
            batch = functools.partial(read, self.examples, self.order)
            self.batches = workers.ordered_map(batch, step * each, workers.ENDLESS, self.processes, self.ahead)
        batches = [next(self.batches) for _ in range(count * each)]
        self.step = step + count

        def joined(*parts: np.ndarray) -> np.ndarray:
            whole = np.stack(parts) if len(parts) > 1 else parts[0]
            return whole.reshape(count, *self.order.per_step, *parts[0].shape)

        return jax.tree.map(joined, *batches)

    def input_spec(self, count: int) -> dict[str, np.ndarray]:
        """Arrays of the same shapes as `inputs_at` gives."""
        shape = (count, *self.order.per_step, self.order.batch_size // self.order.processes)
        kind = np.uint8 if len(self.examples.shape) == 3 else np.float32
        return {"images": np.zeros((*shape, *self.examples.shape), kind), "labels": np.zeros(shape, np.int32)}

    @staticmethod
    def gather(data: Mapping[str, Array], batches: Mapping[str, Array]) -> dict[str, Array]:
        """One step's batches, as they came."""
        del data
        return dict(batches)

    def reseed(self, seed: int) -> None:
        """Gives the examples another order from now on."""
        self.close()
        self.order = dataclasses.replace(self.order, seed=seed)

    def close(self) -> None:
        """Ends the threads or processes."""
        if self.batches:
            self.batches.close()
        self.step, self.batches = None, None


def read(examples: ArrayDataset | LazyDataset, order: BatchSampler, number: int) -> dict[str, np.ndarray]:
    """One batch: images uint8 [batch, H, W, C], labels int32 [batch]."""
    return examples.batch(order.batch(number))


def open_dataset(config: ConfigDict) -> ArrayDataset | LazyDataset:
    """The data set of an experiment, at the size and with the channels that the configuration asks for.

    Raises:
        UserError: there is no such data set, or something is wrong with it.
    """
    data = config.data
    choose("config.data.feed", data.feed, FEEDS)
    choose("config.data.crop", data.crop, CROPS)
    choose("config.data.on_bad_image", data.on_bad_image, BAD_IMAGES)
    if sources.world_of(data):
        items = select(data)
        found = items.read(np.arange(len(items)))
        return cache.from_arrays(
            np.stack([item.image for item in found]), np.int32([item.label for item in found]), items.classes
        )
    load_size = data.load_size or data.size
    least = data.size + (data.crop == "random")
    if load_size < least:
        raise UserError(
            f"config.data.load_size={data.load_size} should be at least {least}, since the {data.crop} crop cuts "
            f"config.data.size={data.size} pixels out of it"
        )
    selection = select(data)
    if data.source.startswith("stacked:") and data.channels != sources.STACK:
        raise UserError(f"config.data.channels={data.channels} should be {sources.STACK} for {data.source}")
    if not selection.in_arrays and data.channels not in MODES:
        raise UserError(f"config.data.channels={data.channels} should be 1 (grey) or 3 (colour) for {data.source}")
    size = load_size if data.crop == "random" else data.size
    undecoded = LazyDataset(selection, Transform(load_size, size, data.channels, data.upscale))
    if data.source.endswith(".npy") and len(selection.parts) == 1:
        split, start, stop = selection.parts[0]
        if split.images.shape[1:] == undecoded.shape:  # as they are wanted: no copy of a file that may be huge
            reopen = functools.partial(open_dataset, config)
            return ArrayDataset(split.images[start:stop], split.targets[start:stop], selection.classes, reopen=reopen)
    skip_bad = data.on_bad_image == "skip"
    if data.source == "digits":  # which are decoded in no time
        return cache.in_memory(undecoded, skip_bad)
    return cache.cached(undecoded, skip_bad) if data.cache else undecoded


def make_loader(
    config: ConfigDict, examples: ArrayDataset | LazyDataset, room: int, steps_per_dispatch: int = 1
) -> DeviceLoader | PrefetchLoader:
    """The batches of an experiment.

    Args:
        config: its configuration.
        examples: its data set.
        room: bytes of device memory that a resident data set may take.
        steps_per_dispatch: how many steps `inputs_at` will be asked for at a time.

    Raises:
        UserError: an image cannot be decoded, or the configuration contradicts itself.
    """
    data, skip_bad = config.data, config.data.on_bad_image == "skip"
    each = math.prod(examples.shape) * (1 if len(examples.shape) == 3 else 4)  # bytes
    resident = data.feed == "resident" or (data.feed == "auto" and len(examples) * each <= room)
    if resident and isinstance(examples, LazyDataset):
        examples = cache.in_memory(examples, skip_bad)
    if isinstance(examples, LazyDataset) and skip_bad:
        raise UserError("config.data.on_bad_image=skip needs config.data.cache=True, which looks at every image first")
    mine = {"process": jax.process_index(), "processes": jax.process_count(), "members": config.population}
    plan = BatchSampler(config.seed, config.batch_size, config.discriminator_steps, len(examples), **mine)
    if resident:
        return DeviceLoader(examples, plan)
    processes = data.workers
    if processes < 0:
        decodes = isinstance(examples, LazyDataset) and not examples.selection.in_arrays
        processes = min(workers.cores(), MOST_WORKERS) if decodes else 0
    batches = steps_per_dispatch * math.prod(plan.per_step)
    fit = MOST_AHEAD // (config.batch_size * each)
    return PrefetchLoader(examples, plan, processes, ahead=max(2, min(2 * batches, fit)))


def make_batch_fn(config: ConfigDict, feed: DeviceLoader | PrefetchLoader, axis_name: str | None = None) -> Load:
    """Makes one step's batches on the device: (data, inputs, seed, step) -> batches.

    Of the arguments `data` is the feed's, `inputs` one step of what its `inputs_at` gives, and seed and step are the
    state's. The batches are arrays [repeats, batch, ...]: images in [-1, 1], labels.
    """
    data = config.data

    def load(feed_data: PyTree, inputs: PyTree, seed: Array, step: Array) -> dict[str, Array]:
        batches = feed.gather(feed_data, inputs)
        images = batches["images"]
        examples = rng.global_indices(images.shape[1], axis_name)

        def changed(images: Pixels, repeat: Array) -> Float[Array, "batch size size channel"]:
            if data.crop == "random":
                images = random_crop(images, example_keys("crop", repeat), data.size)
            if data.flip:
                images = random_flip(images, example_keys("flip", repeat))
            return to_float(images)

        if sources.world_of(data):  # whose points are as they should be
            return batches

        def example_keys(use: str, repeat: Array) -> Key[Array, " batch"]:
            return rng.example_keys(rng.stream_key(seed, step, use, repeat), examples)

        return batches | {"images": jax.vmap(changed)(images, jnp.arange(len(images)))}

    return load


def summary(feed: DeviceLoader | PrefetchLoader) -> str:
    """What is fed and how, in one line."""
    count, classes, shape = len(feed.examples), feed.examples.classes, feed.examples.shape
    kind = f"images, {'x'.join(map(str, shape))}" if len(shape) == 3 else f"points in {shape[0]} dimensions"
    labels = f", {len(classes)} classes ({', '.join(classes[:10])}{', ...' * (len(classes) > 10)})" if classes else ""
    how = "resident" if isinstance(feed, DeviceLoader) else f"streaming, {feed.processes or 'no'} worker processes"
    return f"{count:,} {kind}{labels}; {how}"


def random_crop(
    images: Pixels, example_keys: Key[Array, " batch"], size: int
) -> UInt8[Array, "batch {size} {size} channel"]:
    """A square of `size` at a place that each example draws for itself."""

    def crop(image: Array, key: Array) -> Array:
        top, left = jax.random.randint(key, (2,), 0, image.shape[0] - size + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), (size, size, image.shape[2]))

    return jax.vmap(crop)(images, example_keys)


def random_flip(images: Pixels, example_keys: Key[Array, " batch"]) -> Pixels:
    """Each image as it is or, with a probability of 1/2, its mirror image."""
    flipped = jax.vmap(jax.random.bernoulli)(example_keys)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def to_float(images: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pixels 0 to 255 as -1 to 1, the range of tanh."""
    return images.astype(jnp.float32) / 127.5 - 1


def to_pixels(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """The inverse of `to_float`, rounded to the nearest pixel value and clipped."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)
