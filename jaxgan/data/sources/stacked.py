"""Three random images of another source in the three channels."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from jaxgan.data.stored import Item, Split, StoredImages
from jaxgan.errors import UserError, choose, format_names

STACK = 3  # images in one example
STACKS, TEST_STACKS = 128_000, 26_000  # of the training split, as PacGAN has, and of any other one
MOST_CLASSES = 100_000


@dataclasses.dataclass(frozen=True)
class Stacked:
    """Images of another split at random, made grey, one in each channel; their labels count through all combinations.

    Attributes:
        name: of the data set and its split.
        base: where the images come from.
        chosen: which ones: int [N, STACK].
        classes: how many labels the images have; 0 for none.
    """

    name: str
    base: Split
    chosen: np.ndarray
    classes: int

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        indices = [int(i) for i in indices]
        parts, places = np.unique(self.chosen[indices], return_inverse=True)
        items, places = self.base.read(parts), places.reshape(-1, STACK)
        labels = self._combined(np.int32([item.label for item in items])[places])
        images = [tuple(items[place].image for place in row) for row in places]
        names = [f"{self.name} {i}" for i in indices]
        return [Item(*parts) for parts in zip(images, labels.tolist(), names, strict=True)]

    def labels(self) -> np.ndarray:
        return self._combined(self.base.labels()[self.chosen])

    def _combined(self, labels: np.ndarray) -> np.ndarray:
        """The labels of the channels as one, -1 if one of them is unknown: int32 [N]."""
        combined = np.ravel_multi_index(np.maximum(labels, 0).T, (max(self.classes, 1),) * STACK)
        return np.where((labels < 0).any(1), -1, combined).astype(np.int32)


def read(place: str, readers: Mapping[str, Callable[[str], StoredImages]]) -> StoredImages:
    """Three random images of another source in the three channels: stacked:tfds:mnist has 10 x 10 x 10 classes.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, 2017, section 3.3.1. https://arxiv.org/abs/1611.02163
        Lin et al., PacGAN, 2018, section 4.2. https://arxiv.org/abs/1712.04086
    """
    kind, _, rest = place.partition(":")
    base = readers[choose("config.data.source stacked", kind, readers)](rest)
    if len(base.classes) ** STACK > MOST_CLASSES:
        raise UserError(
            f"config.data.source=stacked:{place} would have {len(base.classes)}**{STACK} classes, and must have at "
            f"most {MOST_CLASSES}"
        )
    if base.from_labels:
        check_splits(place, base)
    between = "" if all(len(name) == 1 for name in base.classes) else " "
    parts = {}
    for name, split in base.splits.items():
        count = STACKS if name == "train" else TEST_STACKS
        chosen = np.random.default_rng([*name.encode()]).integers(len(split), size=(count, STACK))
        parts[name] = Stacked(f"stacked:{place} {name}", split, chosen, len(base.classes))
    classes = tuple(map(between.join, itertools.product(base.classes, repeat=STACK))) if base.classes else ()
    return StoredImages(parts, classes, f"stacked {STACKS} {TEST_STACKS} {base.content}")


def check_splits(place: str, base: StoredImages) -> None:
    """Raises a `UserError` if a split with labels lacks a class: there would be combinations without any example."""
    for name, split in base.splits.items():
        found = {int(label) for label in np.unique(split.labels())} - {-1}
        missing = [each for label, each in enumerate(base.classes) if label not in found]
        if found and missing:
            raise UserError(
                f"config.data.source=stacked:{place}: the split {name} has no images of {format_names(missing)}, and "
                "stacks need all classes in every split"
            )
