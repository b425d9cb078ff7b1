"""clips:PATH: a folder of frames for each clip, or a video file for each, or both; once for each split, if one likes.

A split counts clips, so the people of train[:11] are not those of train[11:].
"""

import dataclasses
import functools
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import ExifTags, Image

from jaxgan.core.types import Field
from jaxgan.data import cache, splits, videos
from jaxgan.data.cache import LazyDataset
from jaxgan.data.clips import LEAST_FRAMES, clip_dataset, clip_fields
from jaxgan.data.dataset import ArrayDataset, digest_of
from jaxgan.data.decode import Stored, Transform
from jaxgan.data.listing import Listing
from jaxgan.data.selection import Selection
from jaxgan.data.sizes import format_size, height_width
from jaxgan.data.sources import folder, images
from jaxgan.data.stored import Item, Split, fingerprint
from jaxgan.errors import UserError

NUMBERS = re.compile(r"(\d+)")


class Clip(NamedTuple):
    """A folder of frames or a video, by its path from the root; a video has no files of frames."""

    path: str
    frames: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of clips, all frames of a clip having one size; labels are the numbers of the clips."""

    files: Split

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        found = self.files.read(indices)
        for item in found:
            check_size(item.name, size_of(item.image), *self._firsts[item.label])
        return found

    @functools.cached_property
    def _firsts(self) -> list[tuple[str, tuple[int, int] | None]]:
        """The name and the size of the first frame of each clip."""
        _, places = np.unique(self.files.labels(), return_index=True)
        return [(item.name, size_of(item.image)) for item in self.files.read(places)]

    def labels(self) -> np.ndarray:
        return self.files.labels()


def size_of(stored: Stored) -> tuple[int, int] | None:
    """The height and width of an image, of a file by its header; None if it is damaged, which decoding finds out."""
    if isinstance(stored, np.ndarray):
        return stored.shape[:2]
    stored = stored() if callable(stored) else stored
    try:
        with Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else stored) as picture:
            on_its_side = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return picture.size if on_its_side else picture.size[::-1]
    except Exception:  # Pillow raises whatever it stumbles over
        return None


def check_size(name: str, size: tuple[int, int] | None, first_name: str, first_size: tuple[int, int] | None) -> None:
    """Raises a `UserError` if a frame has another size than the first one of its clip."""
    if size and first_size and size != first_size:
        raise UserError(
            f"{name} has {format_size(*size)} pixels, height and width, and {first_name} {format_size(*first_size)}: "
            "all frames of a clip must have one size"
        )


def sorted_frames(paths: Iterable[str]) -> list[str]:
    """Frames by the numbers in their names: 2.png comes before 10.png."""
    return sorted(paths, key=lambda path: [int(part) if part.isdecimal() else part for part in NUMBERS.split(path)])


def fields(data: ConfigDict) -> tuple[Field, ...]:
    """Of a batch."""
    return clip_fields((*height_width(data.size), data.channels))


def find(source: str) -> tuple[Listing, dict[str, list[Clip]]]:
    """What lies at clips:PATH, and the clips of each split in the order of their paths.

    Raises:
        UserError: there are none.
    """
    said = f"config.data.source={source}"
    found = folder.listing_of(source.partition(":")[2], said)
    pictures, films = folder.pictures_of(found), list(filter(videos.is_video, found.files))
    if films and found.archive is not None:
        raise UserError(f"{said}: videos such as {films[0]} must lie in a folder, not in an archive")
    by_split = {}
    for split, base in folder.bases_of(found, [*pictures, *films]).items():
        frames: dict[str, list[str]] = {}
        for path in pictures:
            if path.startswith(base):
                frames.setdefault(os.path.dirname(path), []).append(path)
        stray = frames.get(base.rstrip("/"))
        if stray:
            raise UserError(f"{said}: {found.root / stray[0]} must lie in a folder of its clip")
        clips = [Clip(path, tuple(sorted_frames(own))) for path, own in frames.items()]
        by_split[split] = sorted(clips + [Clip(path) for path in films if path.startswith(base)])
        if not by_split[split]:
            raise UserError(f"{said}: {found.root / base} holds no folder of frames and no video")
    return found, by_split


def check_length(said: str, count: int) -> None:
    """Raises a `UserError` if a clip has too few frames."""
    if count < LEAST_FRAMES:
        raise UserError(f"{said} has {count} frame{'s' * (count != 1)}: a clip must have {LEAST_FRAMES} at least")


def split_counts(data: ConfigDict) -> list[dict[str, int]]:
    """Clips of each split."""
    return [{split: len(clips) for split, clips in find(data.source)[1].items()}]


def open_clips(config: ConfigDict) -> ArrayDataset:
    """The clips that an experiment takes; their frames are in the cache, or in memory.

    Raises:
        UserError: something is wrong with one of them.
    """
    data = config.data
    if data.classes:
        raise UserError(f"config.data.classes must be empty for {data.source}, whose clips have no classes")
    images.check_channels(data)
    transform, (found, by_split) = images.transform_of(data), find(data.source)
    wanted = splits.parse(data.split, {split: len(clips) for split, clips in by_split.items()})
    chosen = [clip for split, start, stop in wanted for clip in by_split[split][start:stop]]
    for clip in chosen:
        if clip.frames:
            check_length(f"{found.root / clip.path}", len(clip.frames))
    folders, films = ([clip for clip in chosen if bool(clip.frames) == kind] for kind in (True, False))
    shape = (*height_width(data.size), data.channels)
    parts, lengths, digests = [], [], []
    if folders:
        decoded = of_folders(config, found, folders, transform)
        parts.append(decoded.images)
        lengths += np.bincount(decoded.labels, minlength=len(folders)).tolist()
        digests.append(decoded.digest)
    for film in films:
        parts.append(of_video(str(found.root / film.path), transform, data.cache))
        lengths.append(len(parts[-1]))
        digests.append(digest_of(parts[-1]))
    for clip, length in zip([*folders, *films], lengths, strict=True):
        check_length(f"{found.root / clip.path}", length)  # without bad images
    frames = parts[0] if len(parts) == 1 else np.concatenate(parts)
    digest = digest_of(np.int64(lengths), np.frombuffer("".join(digests).encode(), np.uint8))
    reopen = functools.partial(open_clips, config) if data.cache else None
    return clip_dataset(frames, lengths, shape, digest, reopen)


def of_folders(config: ConfigDict, found: Listing, clips: Sequence[Clip], transform: Transform) -> ArrayDataset:
    """The frames of folders, one after the other; their labels are the places of their clips."""
    paths = [path for clip in clips for path in clip.frames]
    labels = np.repeat(np.arange(len(clips), dtype=np.int32), [len(clip.frames) for clip in clips])
    content = json.dumps(["clips", found.fingerprint(paths), [clip.path for clip in clips]])
    parts = ((Frames(found.split(paths, labels)), 0, len(paths)),)
    lazy = LazyDataset(Selection(config.data.source, parts, (), None, content), transform)
    skip_bad = config.data.on_bad_image == "skip"
    return cache.cached(lazy, skip_bad) if config.data.cache else cache.in_memory(lazy, skip_bad)


def of_video(path: str, transform: Transform, keep: bool) -> np.ndarray:
    """The frames of a video as networks see them, from the cache if they are kept there."""

    def make() -> dict[str, np.ndarray]:
        frames = [transform(frame, f"frame {index} of {path}") for index, frame in enumerate(videos.read(path))]
        check_length(path, len(frames))
        return {"frames": np.stack(frames)}

    if not keep:
        return make()["frames"]
    place = Path(path)
    described = [fingerprint(place.parent, [place.name]), dataclasses.asdict(transform)]
    return cache.cached_arrays("videos", described, make)["frames"]
