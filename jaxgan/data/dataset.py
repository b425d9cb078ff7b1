"""A data set in arrays at random access: fields of a batch, groups of examples, rows of arrays."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgan.core.types import Field, example_fields

Groups = Mapping[str, np.ndarray]  # indices of examples, int32 [n], by group
Rows = Mapping[str, np.ndarray]  # rows of arrays, int32 [n], by field
# (seed, number of the batch, examples by group) -> rows by field, of the fields whose rows are not their examples.
RowsFn = Callable[[int, int, Groups], Rows]


def no_rows(seed: int, batch: int, examples: Groups) -> Rows:
    """Every field's rows are its examples."""
    del seed, batch, examples
    return {}


@dataclasses.dataclass(frozen=True)
class ArrayDataset:
    """A data set in memory, or mapped from files.

    Attributes:
        arrays: [N, ...] by name.
        fields: of a batch.
        classes: the name of each label; empty if there are none.
        digest: of all arrays; empty where they were never read as a whole.
        reopen: gives the same data set to another process; None for one in memory, which is sent there.
        array_of: field -> the name of its array, where that is another one.
        sizes: examples in each group; as many as their arrays have rows where it says nothing.
        rows: a pure function, for fields that are drawn anew at each visit, such as two frames of a clip.
    """

    arrays: Mapping[str, np.ndarray]
    fields: tuple[Field, ...]
    classes: tuple[str, ...] = ()
    digest: str = ""
    reopen: Callable[[], "ArrayDataset"] | None = None
    array_of: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rows: RowsFn = no_rows

    def array(self, field: str) -> np.ndarray:
        """The array that holds a field."""
        return self.arrays[self.array_of.get(field, field)]

    @property
    def groups(self) -> dict[str, int]:
        """How many examples each group has."""
        return {field.group: self.sizes.get(field.group, len(self.array(field.name))) for field in self.fields}

    def __len__(self) -> int:
        """Examples of an epoch: those of the largest group."""
        return max(self.groups.values())

    @property
    def images(self) -> np.ndarray:
        """The only field that is no label."""
        (name,) = (field.name for field in example_fields(self.fields))
        return self.array(name)

    @property
    def labels(self) -> np.ndarray:
        """The labels, int32 [N]."""
        return self.array("labels")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example of `images`."""
        return self.images.shape[1:]

    def batch(self, rows: Rows) -> dict[str, np.ndarray]:
        """Some rows of each field: [n, ...]."""
        return {field.name: self.array(field.name)[rows[field.name]] for field in self.fields}

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Examples of the same indices in each group; random rows are those of seed 0 and batch 0."""
        return self.batch(rows_of(self, 0, 0, dict.fromkeys(self.groups, indices)))

    def __reduce__(self) -> tuple:
        values: tuple[Any, ...] = (dict(self.arrays), self.fields, self.classes, self.digest, None)
        values += (dict(self.array_of), dict(self.sizes), self.rows)
        return (self.reopen, ()) if self.reopen else (ArrayDataset, values)


def rows_of(dataset: Any, seed: int, batch: int, examples: Groups) -> Rows:
    """The rows of every field in one batch."""
    return {field.name: examples[field.group] for field in dataset.fields} | dataset.rows(seed, batch, examples)


def image_dataset(
    images: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...] = (),
    digest: str = "",
    reopen: Callable[[], ArrayDataset] | None = None,
    shape: tuple[int, ...] | None = None,
) -> ArrayDataset:
    """Images, uint8 [N, H, W, C], and labels, int32 [N]; `shape` is that of an image in a batch, after cropping."""
    fields = image_fields(shape or images.shape[1:])
    return ArrayDataset({"images": images, "labels": labels}, fields, classes, digest, reopen)


def image_fields(shape: tuple[int, ...]) -> tuple[Field, ...]:
    """The fields of images of that shape with their labels."""
    return Field("images", shape, "pixels"), Field("labels", (), "labels")


def point_fields(dim: int) -> tuple[Field, ...]:
    """The fields of points with their labels."""
    return Field("points", (dim,), "points"), Field("labels", (), "labels")


def digest_of(*arrays: np.ndarray) -> str:
    """A fingerprint of the bytes of some arrays."""
    total = hashlib.blake2b(digest_size=16)
    for array in arrays:
        total.update(np.ascontiguousarray(array))  # an .npy file may have any order
    return total.hexdigest()


def from_arrays(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> ArrayDataset:
    """Images and labels in memory, with their digest."""
    return image_dataset(images, labels, classes, digest_of(images, labels))


def central_crop(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The middle of images [N, H, W, C], of that height and width."""
    height, width = size
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def as_networks_see(dataset: ArrayDataset, shape: tuple[int, ...]) -> ArrayDataset:
    """Images cropped to the middle, where a run crops at random: scores compare them with samples of that shape."""
    if dataset.shape == shape:
        return dataset
    images = central_crop(dataset.images, shape[:2])
    digest = hashlib.blake2b(f"{dataset.digest} {shape}".encode(), digest_size=16).hexdigest()
    return image_dataset(images, dataset.labels, dataset.classes, digest)


def with_digest(dataset: ArrayDataset) -> ArrayDataset:
    """The same data set with a digest; if it has none, all of it is read."""
    if dataset.digest:
        return dataset
    return dataclasses.replace(dataset, digest=digest_of(*dataset.arrays.values()))


def with_classes(dataset: ArrayDataset, classes: tuple[str, ...]) -> ArrayDataset:
    """The same examples, whose labels count through other classes; -1 where those lack the class of an example."""
    if dataset.classes == classes:
        return dataset
    places = {name: place for place, name in enumerate(classes)}
    relabel = np.int32([*(places.get(name, -1) for name in dataset.classes), -1])  # the last is that of -1
    own = dataset.labels if dataset.classes else np.full(len(dataset), -1)
    labels = relabel[own] if classes else np.zeros(len(dataset), np.int32)
    arrays = {**dataset.arrays, "labels": labels}
    return dataclasses.replace(dataset, arrays=arrays, classes=classes, reopen=None)
