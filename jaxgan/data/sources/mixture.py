"""Points of mixtures of Gaussians, whose density is known; their labels are the modes that they come from."""

import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.types import Field
from jaxgan.data import gaussian_mixtures
from jaxgan.data.dataset import ArrayDataset, digest_of, point_fields
from jaxgan.data.gaussian_mixtures import MIXTURES, GaussianMixture
from jaxgan.data.selection import select
from jaxgan.data.solids import SOURCE as SOLIDS
from jaxgan.data.stored import Arrays, StoredImages
from jaxgan.errors import choose

WORLDS = (*MIXTURES, SOLIDS.partition(":")[2])  # all names, for messages


def mixture_of(data: ConfigDict) -> GaussianMixture | None:
    """The mixture that `config.data` names, if it names one."""
    kind, _, name = data.source.partition(":")
    if data.source == SOLIDS:
        return None
    return MIXTURES[choose("config.data.source world", name, WORLDS)] if kind == "world" else None


def read(name: str) -> StoredImages:
    """The points as if they were stored."""
    chosen = MIXTURES[choose("config.data.source world", name, WORLDS)]
    points, labels = chosen.sample(gaussian_mixtures.TRAIN_SEED, gaussian_mixtures.TRAIN_EXAMPLES)
    return StoredImages({"train": Arrays(points, labels)}, chosen.names, f"world:{name}")


def fields(data: ConfigDict) -> tuple[Field, ...]:
    """Of a batch."""
    return point_fields(mixture_of(data).dim)


def open_points(config: ConfigDict) -> ArrayDataset:
    """The points of a mixture that an experiment takes."""
    items = select(config.data, read(config.data.source.partition(":")[2]))
    found = items.read(np.arange(len(items)))
    points = np.stack([item.image for item in found])
    labels = np.int32([item.label for item in found])
    arrays = {"points": points, "labels": labels}
    return ArrayDataset(arrays, point_fields(points.shape[1]), items.classes, digest_of(points, labels))
