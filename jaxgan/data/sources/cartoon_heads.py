"""cartoon_heads: clips of drawn faces that move; the people of the test split are others than those of training."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.settings import POSITIVE, Range, Setting, Settings
from jaxgan.core.types import Field
from jaxgan.data import cartoon_faces, splits
from jaxgan.data.cartoon_faces import Identity, Pose
from jaxgan.data.clips import LEAST_FRAMES, clip_dataset, clip_fields
from jaxgan.data.dataset import ArrayDataset, digest_of
from jaxgan.data.selection import SELECTION_SETTINGS
from jaxgan.data.sizes import SIZE, height_width

TEST_CLIPS = 16
SEEDS = {"train": 0, "test": 1}

SETTINGS: Settings = {
    "split": SELECTION_SETTINGS["split"],
    "size": Setting(32, "pixels, height and width: 64, or 64x96", SIZE, or_text=True),
    "clips": Setting(256, f"people to train on, each with a clip; {TEST_CLIPS} others are held out", POSITIVE),
    "frames": Setting(24, "frames of a clip", Range(lambda value: value >= LEAST_FRAMES, f"{LEAST_FRAMES} or more")),
    "flip": Setting(False, "half of the clips, drawn anew at each visit, are mirrored left to right"),
}


@dataclasses.dataclass(frozen=True)
class Heads:
    """The people of clips, and how they move.

    Attributes:
        who: the identity in each frame.
        pose: of each frame.
        frames: of a clip.
    """

    who: Identity
    pose: Pose
    frames: int

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return len(self.pose.roll) // self.frames

    def first(self, count: int) -> "Heads":
        """Those of the first clips alone."""
        rows = np.arange(count * self.frames)
        return Heads(cartoon_faces.rows(self.who, rows), cartoon_faces.rows(self.pose, rows), self.frames)


def fields(data: ConfigDict) -> tuple[Field, ...]:
    """Of a batch."""
    return clip_fields((*height_width(data.size), 3))


def counts(data: ConfigDict) -> dict[str, int]:
    """Clips of each split."""
    return {"train": data.clips, "test": TEST_CLIPS}


def split_counts(data: ConfigDict) -> list[dict[str, int]]:
    """The same, for the only order that there is."""
    return [counts(data)]


def heads_of(data: ConfigDict) -> Heads:
    """The clips that `config.data` takes."""
    parts = []
    for split, start, stop in splits.parse(data.split, counts(data)):
        rng, count = np.random.default_rng(SEEDS[split]), counts(data)[split]
        people, poses = cartoon_faces.identities(rng, count), cartoon_faces.motions(rng, count, data.frames)
        own = np.arange(start * data.frames, stop * data.frames)
        parts.append((cartoon_faces.rows(people, own // data.frames), cartoon_faces.rows(poses, own)))
    who, pose = (type(found[0])(*map(np.concatenate, zip(*found, strict=True))) for found in zip(*parts, strict=True))
    return Heads(who, pose, data.frames)


def open_heads(config: ConfigDict) -> ArrayDataset:
    """The clips that an experiment takes, drawn."""
    data = config.data
    heads = heads_of(data)
    frames = cartoon_faces.draw(heads.who, heads.pose, height_width(data.size))
    return clip_dataset(frames, [data.frames] * heads.clips, frames.shape[1:], digest_of(frames))
