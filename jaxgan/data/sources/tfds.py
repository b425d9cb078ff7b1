"""Image data sets of TensorFlow Datasets, prepared as array_record files."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxgan.data.stored import Item, StoredImages, fingerprint
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Records:
    """Images in records of TensorFlow Datasets.

    Attributes:
        name: of the data set and its split.
        records: a data source of TFDS that leaves images encoded.
        image, label: names of features; no label for None.
    """

    name: str
    records: Sequence[Mapping]
    image: str
    label: str | None

    def __len__(self) -> int:
        return len(self.records)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        indices = [int(i) for i in indices]
        found = zip(indices, self.records.__getitems__(indices), strict=True)
        return [Item(x[self.image], int(x[self.label]) if self.label else 0, f"{self.name} {i}") for i, x in found]

    def labels(self) -> np.ndarray:
        parts = np.array_split(np.arange(len(self)), -(-len(self) // 1024))
        return np.int32([item.label for part in parts for item in self.read(part)])


def read(place: str) -> StoredImages:
    """An image data set of TensorFlow Datasets, `name` or `name:version`, prepared first if it was not."""
    import tensorflow_datasets as library  # noqa: PLC0415  (slow to import, and needed by this source alone)

    from jaxgan.data import prepare  # noqa: PLC0415

    builder = prepare.prepared_builder(place)
    features = builder.info.features
    image = _feature(features, library.features.Image, "image")
    label = _feature(features, library.features.ClassLabel, "label")
    if not image:
        found = ", ".join(sorted(features))
        raise UserError(f"tfds:{place} must have one image in each example, or one that is called image, not {found}")
    decoders = {image: library.decode.SkipDecoding()}
    parts = {
        name: Records(f"tfds:{place} {name}", builder.as_data_source(name, decoders=decoders), image, label)
        for name, info in builder.info.splits.items()
        if info.num_examples
    }
    files = [path.name for path in Path(builder.data_path).iterdir()]
    classes = tuple(features[label].names) if label else ()
    return StoredImages(parts, classes, fingerprint(Path(builder.data_path), files))


def _feature(features: object, kind: type, usual: str) -> str | None:
    """The name of the feature of a kind: the only one, or the one with the usual name."""
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    return usual if usual in found else found[0] if len(found) == 1 else None
