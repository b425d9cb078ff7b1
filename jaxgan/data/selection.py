"""Which of the real examples an experiment takes: splits of a source, ranges of them, and classes."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence

import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.settings import Setting, Settings
from jaxgan.data import splits
from jaxgan.data.stored import Arrays, Item, Split, StoredImages
from jaxgan.errors import UserError, choose, format_names, warn_once
from jaxgan.io.files import name_as_text

SELECTION_SETTINGS: Settings = {
    "split": Setting("train", "which part: test, train+test, train[:10%], ..."),
    "classes": Setting((), "names of the only classes to keep; all of them if empty"),
}


@dataclasses.dataclass(frozen=True)
class Selection:
    """What an experiment takes of a data set.

    Attributes:
        name: of the data set, as the configuration has it.
        parts: splits, and the range of their examples that is taken: start and stop.
        classes: the names of the labels.
        relabel: the new label of each old one, -1 if its examples are left out: int32; None where all stay.
        content: a text that is another one whenever the stored images or the choice are.
        from_labels: whether the classes are those of the labels that occur, each of which has examples.
    """

    name: str
    parts: tuple[tuple[Split, int, int], ...]
    classes: tuple[str, ...]
    relabel: np.ndarray | None
    content: str
    from_labels: bool = False

    @functools.cached_property
    def chosen(self) -> list[np.ndarray]:
        """The indices of the examples that are taken of each part; to choose by class takes reading all labels."""
        ranges = [np.arange(start, stop) for _, start, stop in self.parts]
        if self.relabel is None:
            return ranges
        labels = [split.labels()[start:stop] for split, start, stop in self.parts]
        chosen = [
            indices[(targets >= 0) & (self.relabel[targets] >= 0)]
            for indices, targets in zip(ranges, labels, strict=True)
        ]
        if not any(map(len, chosen)):
            raise UserError(missing_text(self.name, self.classes))
        found = np.unique(np.concatenate([self.relabel[targets[targets >= 0]] for targets in labels]))
        if missing := [name for label, name in enumerate(self.classes) if label not in found]:
            warn_once(f"{missing_text(self.name, missing)}, although config.data.classes names them")
        return chosen

    @property
    def in_arrays(self) -> bool:
        """Whether nothing has to be decoded."""
        return all(isinstance(split, Arrays) for split, _, _ in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.chosen))

    def check_classes(self, labels: np.ndarray) -> None:
        """Raises a `UserError` if a class that had examples has none left among the images that can be used."""
        found = np.unique(labels)
        missing = [name for label, name in enumerate(self.classes) if label not in found]
        if missing and self.from_labels:
            raise UserError(
                f"{self.name}: none of the images of {format_names(missing)} can be used: repair one, or name the "
                "other classes in config.data.classes"
            )

    def read(self, indices: np.ndarray) -> list[Item]:
        """Some examples, in the order of their indices."""
        items, start = [None] * len(indices), 0
        for (split, _, _), chosen in zip(self.parts, self.chosen, strict=True):
            here = np.flatnonzero((start <= indices) & (indices < start + len(chosen)))
            if len(here):
                for place, item in zip(here, split.read(chosen[indices[here] - start]), strict=True):
                    items[place] = item if self.relabel is None else item._replace(label=int(self.relabel[item.label]))
            start += len(chosen)
        return items


def select(data: ConfigDict, source: StoredImages) -> Selection:
    """The examples of `config.data`: splits of its source, and some classes of those.

    Raises:
        UserError: one of them is unknown or cannot be read.
    """
    wanted = splits.parse(data.split, {name: len(split) for name, split in source.splits.items()})
    if data.classes and not source.classes:
        raise UserError(f"config.data.classes must be empty for {data.source}, whose images have no classes")
    kept = {choose("config.data.classes", name, source.classes) for name in names(data.classes, source.classes)}
    if source.from_labels and source.classes:
        source = with_occurring_classes(data, source, wanted, kept or set(source.classes))
    parts = tuple((source.splits[name], start, stop) for name, start, stop in wanted)
    classes, relabel = source.classes, None
    if kept:
        classes = tuple(name for name in source.classes if name in kept)
        relabel = np.int32([classes.index(name) if name in kept else -1 for name in source.classes])
    return Selection(
        data.source,
        parts,
        classes,
        relabel,
        json.dumps([source.content, wanted, classes, sorted(kept)]),
        source.from_labels,
    )


def with_occurring_classes(
    data: ConfigDict, source: StoredImages, wanted: Sequence[tuple[str, int, int]], kept: set[str]
) -> StoredImages:
    """The source with the classes of the examples in some ranges alone: a class without any can be neither learnt nor
    drawn. The labels of other classes become -1, unknown.

    Raises:
        UserError: none of the classes that are kept is left.
    """
    labels = np.concatenate([source.splits[name].labels()[start:stop] for name, start, stop in wanted])
    occurring = np.unique(labels[labels >= 0])
    classes = tuple(source.classes[label] for label in occurring)
    if classes == source.classes:
        return source
    found, missing = [name for name in classes if name in kept], sorted(kept - set(classes))
    if missing and not found and data.classes:
        raise UserError(missing_text(data.source, missing))
    if missing:
        left = f"the classes are {format_names(found)}" if found else "this run has no classes"
        warn_once(f"{missing_text(data.source, missing)}={data.split}: {left}")
    relabel = np.full(len(source.classes) + 1, -1 if classes else 0, np.int32)  # the last is that of -1
    relabel[occurring] = np.arange(len(occurring))
    parts = {name: dataclasses.replace(split, targets=relabel[split.targets]) for name, split in source.splits.items()}
    return source._replace(splits=parts, classes=classes)


def missing_text(name: str, classes: Sequence[str]) -> str:
    """Of which classes there are no examples."""
    return f"{name} has no images of {format_names(classes)} in config.data.split"


def names(entries: Iterable[object], classes: Sequence[str]) -> list[str]:
    """The classes that a configuration names: "a", "b" or, as the command line gives it, "a,b"; 3 stands for "3"."""
    texts = [name_as_text(str(entry)) for entry in entries]
    return [name.strip() for text in texts for name in ([text] if text in classes else text.split(","))]
