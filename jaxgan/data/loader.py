"""How examples reach a training step: which ones make a batch, how they are brought to the device, and what is made of
them there.

There are two loaders, which give the same bytes. Of each, `data` is what stays on the device, `inputs_at` is what some
steps need besides, and `gather` makes batches of the two on the device.
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, UInt8
from ml_collections import ConfigDict

from jaxgan.core import rng
from jaxgan.core.settings import Range, Setting, Settings, one_of
from jaxgan.core.types import Field
from jaxgan.data import bits, cache, order, workers
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset, Groups, Rows, no_rows, rows_of
from jaxgan.data.sizes import height_width
from jaxgan.errors import UserError

MAX_WORKERS = 8  # processes that decode, unless the configuration asks for more
MAX_AHEAD = 2**30  # bytes of examples that are read ahead: enough for two dispatches, if that is less

BatchFn = Callable[[PyTree, PyTree, Array, Array], dict[str, Array]]
Dataset = ArrayDataset | LazyDataset
Pixels = UInt8[Array, "batch height width channel"]

SETTINGS: Settings = {
    "data": {
        "placement": Setting(
            "auto",
            "resident: all in device memory; streaming: read ahead; both give the same bytes",
            one_of("auto", "resident", "streaming"),
            resumable=True,
        ),
        "workers": Setting(
            -1,
            "processes that read ahead; 0: threads; -1: processes if images are decoded anew",
            Range(lambda value: value >= -1, "-1 or more"),
            resumable=True,
        ),
    }
}


@dataclasses.dataclass(frozen=True)
class BatchSampler:
    """Which examples a process reads for each batch.

    Attributes:
        seed: of the run.
        batch_size: examples in a global batch.
        batches: in a training step.
        groups: how many examples each group has; each has an order of its own.
        process, processes: this one reads its part of each batch, as the others do.
        members: of a population, each of which has the next seed and so an order of its own.
    """

    seed: int
    batch_size: int
    batches: int
    groups: Mapping[str, int]
    process: int = 0
    processes: int = 1
    members: int = 1

    @property
    def per_step(self) -> tuple[int, ...]:
        """Batches in a training step: (batches,), or (members, batches) of a population."""
        return (self.members, self.batches) if self.members > 1 else (self.batches,)

    @property
    def batch_axis(self) -> int:
        """The axis of what a loader's `inputs_at` gives along which the examples of a batch lie."""
        return 1 + len(self.per_step)

    def batch(self, number: int) -> Groups:
        """The examples of one batch, counted step by step, member by member: int32 [batch_size / processes] a group."""
        return {group: self._part(examples) for group, examples in self._global_batch(number).items()}

    def rows(self, dataset: Dataset, number: int) -> Rows:
        """The rows of every field in that batch; what is random in them belongs to the global batch."""
        found = rows_of(dataset, *self.place(number), self._global_batch(number))
        return {field: self._part(rows) for field, rows in found.items()}

    def _global_batch(self, number: int) -> Groups:
        seed, place = self.place(number)

        def of(group: str, count: int) -> np.ndarray:
            # The order of a group depends on its name, so that groups of equal length do not repeat their pairs.
            own = seed + (zlib.crc32(group.encode()) << 32 if group else 0)
            return order.batch_indices(own, place, self.batch_size, count)

        return {group: of(group, count) for group, count in self.groups.items()}

    def _part(self, rows: np.ndarray) -> np.ndarray:
        """What this process reads of a global batch."""
        return np.split(rows, self.processes)[self.process]

    def place(self, number: int) -> tuple[int, int]:
        """The seed of a batch's member, and how many batches of that member come before."""
        step, within = divmod(number, self.members * self.batches)
        member, index = divmod(within, self.batches)
        return self.seed + member, step * self.batches + index


class DeviceLoader:
    """The whole data set lies in device memory; what a step needs besides is the rows of its batches."""

    def __init__(self, dataset: ArrayDataset, order: BatchSampler):
        self.data = dict(dataset.arrays)
        self.dataset, self.order = dataset, order

    def inputs_at(self, step: int, count: int) -> dict[str, np.ndarray]:
        """The rows for `count` steps from `step` on: int32 [count, batches, batch].

        They are keyed by group, or by field where the data set has rows of its own for some fields. Of a population
        they are [count, members, batches, batch]; so it is with the other methods' arrays.
        """
        each = math.prod(self.order.per_step)
        found = [self._rows(number) for number in range(step * each, (step + count) * each)]
        stack = lambda *rows: np.stack(rows).reshape(count, *self.order.per_step, -1)  # noqa: E731
        return jax.tree.map(stack, *found)

    def _rows(self, number: int) -> dict[str, np.ndarray]:
        return dict(self.order.batch(number) if self._by_group else self.order.rows(self.dataset, number))

    def input_spec(self, count: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and types of what `inputs_at` gives."""
        shape = (count, *self.order.per_step, self.order.batch_size // self.order.processes)
        names = self.order.groups if self._by_group else [field.name for field in self.dataset.fields]
        return {name: jax.ShapeDtypeStruct(shape, np.int32) for name in names}

    def gather(self, data: Mapping[str, Array], rows: Mapping[str, Array]) -> dict[str, Array]:
        """One step's batches."""
        named = self.dataset.array_of
        return {
            field.name: data[named.get(field.name, field.name)][rows[field.group if self._by_group else field.name]]
            for field in self.dataset.fields
        }

    @property
    def _by_group(self) -> bool:
        return self.dataset.rows is no_rows

    def reseed(self, seed: int) -> None:
        """Gives the examples another order from now on."""
        self.order = dataclasses.replace(self.order, seed=seed)

    def close(self) -> None:
        """Ends nothing: this loader reads nothing ahead."""


class PrefetchLoader:
    """Threads or processes read the batches ahead of use, and decode them if need be.

    `inputs_at` is a function of its arguments all the same; it is fast for the steps after those that it gave last.
    """

    def __init__(self, dataset: Dataset, order: BatchSampler, processes: int = 0, ahead: int = 4):
        self.data: dict[str, Array] = {}
        self.dataset, self.order, self.processes, self.ahead = dataset, order, processes, ahead
        self.step, self.batches = None, None

    def inputs_at(self, step: int, count: int) -> dict[str, np.ndarray]:
        """The batches of `count` steps from `step` on: arrays [count, batches, batch, ...] by field."""
        each = math.prod(self.order.per_step)
        if step != self.step:
            self.close()
            batch = functools.partial(read, self.dataset, self.order)
            self.batches = workers.ordered_map(batch, step * each, workers.ENDLESS, self.processes, self.ahead)
        batches = [next(self.batches) for _ in range(count * each)]
        self.step = step + count

        def joined(*parts: np.ndarray) -> np.ndarray:
            whole = np.stack(parts) if len(parts) > 1 else parts[0]
            return whole.reshape(count, *self.order.per_step, *parts[0].shape)

        return jax.tree.map(joined, *batches)

    def input_spec(self, count: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and types of what `inputs_at` gives."""
        shape = (count, *self.order.per_step, self.order.batch_size // self.order.processes)
        return {
            field.name: jax.ShapeDtypeStruct((*shape, *bits.stored_shape(field)), dtype_of(field))
            for field in self.dataset.fields
        }

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


def read(dataset: Dataset, order: BatchSampler, number: int) -> dict[str, np.ndarray]:
    """One batch: an array [batch, ...] for each field."""
    return dataset.batch(order.rows(dataset, number))


def dtype_of(field: Field) -> type:
    """Of a field's arrays before they come to the device."""
    return {"pixels": np.uint8, "bits": np.uint8, "labels": np.int32}.get(field.kind, np.float32)


def bytes_of(field: Field) -> int:
    """Of one example of a field."""
    return math.prod(bits.stored_shape(field)) * np.dtype(dtype_of(field)).itemsize


def size_of(dataset: Dataset) -> int:
    """Bytes of all examples without their labels; an array that several fields share counts once."""
    fields = [field for field in dataset.fields if field.kind != "labels"]
    if isinstance(dataset, LazyDataset):
        return len(dataset) * sum(map(bytes_of, fields))
    names = {dataset.array_of.get(field.name, field.name) for field in fields}
    return sum(dataset.arrays[name].nbytes for name in names)


def make_loader(
    config: ConfigDict, dataset: Dataset, batches: int, room: int, steps_per_dispatch: int = 1
) -> DeviceLoader | PrefetchLoader:
    """The batches of an experiment.

    Args:
        config: its configuration.
        dataset: its data set.
        batches: in a training step.
        room: bytes of device memory that a resident data set may take.
        steps_per_dispatch: how many steps `inputs_at` will be asked for at a time.

    Raises:
        UserError: an image cannot be decoded, or the configuration contradicts itself.
    """
    data, skip_bad = config.data, config.data.get("on_bad_image", "error") == "skip"
    each = sum(bytes_of(field) for field in dataset.fields)
    resident = data.placement == "resident" or (data.placement == "auto" and size_of(dataset) <= room)
    if resident and isinstance(dataset, LazyDataset):
        dataset = cache.in_memory(dataset, skip_bad)
    if isinstance(dataset, LazyDataset) and skip_bad:
        raise UserError("config.data.on_bad_image=skip needs config.data.cache=True, which looks at every image first")
    mine = {"process": jax.process_index(), "processes": jax.process_count(), "members": config.population}
    plan = BatchSampler(config.seed, config.batch_size, batches, dataset.groups, **mine)
    if resident:
        return DeviceLoader(dataset, plan)
    processes = data.workers
    if processes < 0:
        decodes = isinstance(dataset, LazyDataset) and not dataset.selection.in_arrays
        processes = min(workers.cores(), MAX_WORKERS) if decodes else 0
    fit = MAX_AHEAD // (config.batch_size * each)
    ahead = max(2, min(2 * steps_per_dispatch * math.prod(plan.per_step), fit))
    return PrefetchLoader(dataset, plan, processes, ahead)


def make_batch_fn(config: ConfigDict, loader: DeviceLoader | PrefetchLoader, axis_name: str | None = None) -> BatchFn:
    """Makes one step's batches on the device: (data, inputs, seed, step) -> batches.

    Of the arguments `data` is the loader's, `inputs` one step of what its `inputs_at` gives, and seed and step are the
    state's. The batches are arrays [batches, batch, ...] by field: pixels in [-1, 1], bits -1 or 1, all else as it is.
    """
    crops, flips = config.data.get("crop") == "random", config.data.get("flip", False)

    def batch_fn(data: PyTree, inputs: PyTree, seed: Array, step: Array) -> dict[str, Array]:
        batches = loader.gather(data, inputs)

        def transform(field: Field, pixels: Pixels, index: Array) -> Float[Array, "batch rows columns channel"]:
            examples = rng.global_indices(len(pixels), axis_name)

            def own(stream: str) -> Key[Array, " batch"]:
                # The fields of a group have one crop and flip, those of another group have theirs.
                stream = f"{field.group} {stream}" if field.group else stream
                return rng.example_keys(rng.stream_key(seed, step, stream, index), examples)

            if crops:
                pixels = random_crop(pixels, own("crop"), *height_width(config.data.size))
            if flips:
                pixels = random_flip(pixels, own("flip"))
            return to_float(pixels)

        for field in loader.dataset.fields:
            if field.kind == "pixels":
                pixels = batches[field.name]
                made = jax.vmap(functools.partial(transform, field))(pixels, jnp.arange(len(pixels)))
                batches[field.name] = made
            elif field.kind == "bits":
                batches[field.name] = bits.to_float(batches[field.name], field.shape)
        return batches

    return batch_fn


def summary(loader: DeviceLoader | PrefetchLoader) -> str:
    """What is loaded and how, in one line."""
    dataset = loader.dataset
    classes = dataset.classes
    shapes = [
        f"{dataset.groups[field.group]:,} {field.name} ({'x'.join(map(str, field.shape))})"
        for field in dataset.fields
        if field.kind != "labels"
    ]
    labels = f", {len(classes)} classes ({', '.join(classes[:10])}{', ...' * (len(classes) > 10)})" if classes else ""
    workers = f"streaming, {getattr(loader, 'processes', 0) or 'no'} worker processes"
    return f"{' and '.join(shapes)}{labels}; {'resident' if isinstance(loader, DeviceLoader) else workers}"


def random_crop(
    images: Pixels, example_keys: Key[Array, " batch"], height: int, width: int
) -> UInt8[Array, "batch {height} {width} channel"]:
    """A rectangle at a place that each example draws for itself."""
    places = jnp.array([images.shape[1] - height + 1, images.shape[2] - width + 1])

    def crop(image: Array, key: Array) -> Array:
        top, left = jax.random.randint(key, (2,), 0, places)
        return jax.lax.dynamic_slice(image, (top, left, 0), (height, width, image.shape[2]))

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
