"""Clips in arrays: an example is a clip, and a batch has two frames of each, fields source and driving."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from jaxgan.core.types import Field
from jaxgan.data.dataset import ArrayDataset, Groups, Rows

LEAST_FRAMES = 2  # of a clip, one to start from and one to be led to


@dataclasses.dataclass(frozen=True)
class FramePairs:
    """Two different frames of each clip, drawn anew at each visit: a pure function of the seed and the batch.

    Attributes:
        lengths: frames of each clip; the frames of all clips follow each other in one array.
    """

    lengths: tuple[int, ...]

    def __call__(self, seed: int, batch: int, examples: Groups) -> Rows:
        clips = examples[""]
        counts = np.asarray(self.lengths, np.int64)[clips]
        first, step = np.random.default_rng((seed, batch)).random((len(clips), 2)).T  # an example's own, in any batch
        source = (first * counts).astype(np.int64)
        driving = (source + 1 + (step * (counts - 1)).astype(np.int64)) % counts
        starts = self.starts[clips]
        return {"source": np.int32(starts + source), "driving": np.int32(starts + driving)}

    @property
    def starts(self) -> Int[np.ndarray, " clips"]:
        """The row of each clip's first frame."""
        return np.cumsum([0, *self.lengths[:-1]])


def clip_fields(shape: tuple[int, ...]) -> tuple[Field, ...]:
    """The fields of a batch of clips whose frames have that shape; both frames share crop and flip."""
    return Field("source", shape, "pixels"), Field("driving", shape, "pixels")


def clip_dataset(
    frames: UInt8[np.ndarray, "frames height width channel"],
    lengths: Sequence[int],
    shape: tuple[int, ...],
    digest: str,
    reopen: Callable[[], ArrayDataset] | None = None,
) -> ArrayDataset:
    """Clips whose frames follow each other.

    Args:
        frames: of all clips.
        lengths: frames of each clip.
        shape: of a frame in a batch, after cropping.
        digest, reopen: as of `ArrayDataset`.
    """
    fields, pairs = clip_fields(shape), FramePairs(tuple(map(int, lengths)))
    names = {field.name: "frames" for field in fields}
    return ArrayDataset({"frames": frames}, fields, (), digest, reopen, names, {"": len(lengths)}, pairs)


def frames_of(dataset: ArrayDataset) -> list[UInt8[np.ndarray, "frames height width channel"]]:
    """The frames of each clip of such a data set."""
    return np.split(dataset.arrays["frames"], dataset.rows.starts[1:])
