"""Images of another source, changed by a rule: translations of which the right answer is known."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from jaxgan.data.stored import Arrays, Item, StoredImages
from jaxgan.errors import UserError, choose


def inverted(image: np.ndarray) -> np.ndarray:
    """White becomes black."""
    return 255 - image


def rotated(image: np.ndarray) -> np.ndarray:
    """A quarter turn to the left."""
    return np.rot90(image)


def left_half(image: np.ndarray) -> np.ndarray:
    """The right half is grey, 128."""
    hidden = image.copy()
    hidden[:, image.shape[1] // 2 :] = 128
    return hidden


def outlined(image: np.ndarray) -> np.ndarray:
    """The difference of each pixel from the darkest of its four neighbours and itself."""
    around = np.pad(image, ((1, 1), (1, 1), *[(0, 0)] * (image.ndim - 2)), mode="edge")
    rows = np.minimum(around[:-2, 1:-1], around[2:, 1:-1])
    return image - np.minimum(image, np.minimum(rows, np.minimum(around[1:-1, :-2], around[1:-1, 2:])))


# uint8 [H, W] or [H, W, C] -> the same shape, or with height and width exchanged.
EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": inverted,
    "rotated": rotated,
    "left_half": left_half,
    "outlined": outlined,
}


@dataclasses.dataclass(frozen=True)
class Edited(Arrays):
    """The images of arrays after an edit, by its name."""

    edit: str = ""

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        change = EDITS[self.edit]
        return [item._replace(image=change(item.image)) for item in super().read(indices)]


def read(place: str, readers: Mapping[str, Callable[[str], StoredImages]]) -> StoredImages:
    """edited:NAME:SOURCE, such as edited:inverted:digits: a source of arrays after one of `EDITS`."""
    name, _, rest = place.partition(":")
    if not rest:
        raise UserError(f"config.data.source=edited:{place} must be edited:NAME:SOURCE, such as edited:inverted:digits")
    choose("edit in config.data.source", name, EDITS)
    kind, _, inner = rest.partition(":")
    base = readers[choose("config.data.source edited", kind, readers)](inner)
    if not all(isinstance(split, Arrays) for split in base.splits.values()):
        raise UserError(f"config.data.source=edited:{place} must name images in arrays, such as digits or array:PATH")
    parts = {key: Edited(split.images, split.targets, name) for key, split in base.splits.items()}
    return base._replace(splits=parts, content=f"edited {name} {base.content}")
