"""Kinds of data: what an experiment's examples are, and where they lie."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxgan.core.settings import Choice, Settings
from jaxgan.core.types import Field, example_fields
from jaxgan.data.selection import SELECTION_SETTINGS
from jaxgan.data.sources import (
    array,
    cartoon_heads,
    clips,
    digits,
    domains,
    edited,
    folder,
    images,
    mixture,
    solids,
    stacked,
    tfds,
    voxels,
)
from jaxgan.data.sources.images import Reader
from jaxgan.errors import UserError, choose


class Source(NamedTuple):
    """A kind of data, named by what stands before the colon of `config.data.source`, or by all of it.

    Attributes:
        settings: of its own in `config.data`.
        fields: `config.data` -> the fields of a batch.
        open: the configuration -> its data set.
        smallest: settings of the smallest experiment, for the tests of its contracts; None where it needs files.
        read: what follows the colon -> stored images, for sources that are made of such.
        split_counts: `config.data` -> examples of each split, for each domain that has an order of its own; None where
            `read` tells it, or there are no splits.
    """

    settings: Settings
    fields: Callable[[ConfigDict], tuple[Field, ...]]
    open: Callable[[ConfigDict], Any]
    smallest: Mapping[str, Any] | None = None
    read: Reader | None = None
    split_counts: Callable[[ConfigDict], list[dict[str, int]]] | None = None


def of_images(read: Reader, smallest: Mapping[str, Any] | None = None) -> Source:
    """A source of stored images."""
    return Source(images.SETTINGS, images.fields, functools.partial(images.open_images, read=read), smallest, read)


STORED = {"digits": digits.read, "tfds": tfds.read, "folder": folder.read, "array": array.read}
DOMAIN_READERS = STORED | {"edited": functools.partial(edited.read, readers=STORED)}


def of_domains(
    open_domains: Callable[..., Any],
    split_counts: Callable[[ConfigDict], list[dict[str, int]]],
    paired: bool,
    smallest: Mapping[str, Any] | None = None,
) -> Source:
    """A source of images of two domains."""
    fields = functools.partial(domains.fields, paired=paired)
    return Source(images.SETTINGS, fields, open_domains, smallest, split_counts=split_counts)


SOURCES: dict[str, Source] = {
    "digits": of_images(digits.read, {"data.source": "digits", "data.size": 8}),
    **{name: of_images(read) for name, read in STORED.items() if name != "digits"},
    "stacked": of_images(
        functools.partial(stacked.read, readers=STORED),
        {"data.source": "stacked:digits", "data.size": 8, "data.channels": 3, "data.split": "train[:100]"},
    ),
    "edited": of_images(DOMAIN_READERS["edited"], {"data.source": "edited:inverted:digits", "data.size": 8}),
    "unpaired": of_domains(
        functools.partial(domains.open_unpaired, readers=DOMAIN_READERS),
        functools.partial(domains.count_unpaired, readers=DOMAIN_READERS),
        paired=False,
        smallest={"data.source": "unpaired:digits|edited:inverted:digits", "data.size": 8, "algorithm": "cyclegan"},
    ),
    "paired": of_domains(
        functools.partial(domains.open_paired, readers=DOMAIN_READERS),
        functools.partial(domains.count_pairs, readers=DOMAIN_READERS),
        paired=True,
        smallest={"data.source": "paired:edited:left_half:digits|digits", "data.size": 8, "algorithm": "pix2pix"},
    ),
    "side_by_side": of_domains(domains.open_side_by_side, domains.count_side_by_side, paired=True),
    "clips": Source(images.SETTINGS, clips.fields, clips.open_clips, split_counts=clips.split_counts),
    "cartoon_heads": Source(
        cartoon_heads.SETTINGS,
        cartoon_heads.fields,
        cartoon_heads.open_heads,
        {"data.source": "cartoon_heads", "data.size": 24, "data.clips": 60, "data.frames": 3, "algorithm": "motion"},
        split_counts=cartoon_heads.split_counts,
    ),
    "world": Source(
        SELECTION_SETTINGS, mixture.fields, mixture.open_points, {"data.source": "world:ring"}, mixture.read
    ),
    "world:solids": Source(
        solids.SETTINGS,
        solids.fields,
        solids.open_solids,
        {"data.source": "world:solids", "data.size": 16, "data.split": "train[:20]", "model.family": "voxel"},
        split_counts=solids.split_counts,
    ),
    "voxels": Source(voxels.SETTINGS, voxels.fields, voxels.open_voxels, split_counts=voxels.split_counts),
}


def kind_of(source: str) -> str:
    """The entry of `SOURCES` that a source names, known or not: what stands before the colon, or all of it."""
    return source if source in SOURCES else source.partition(":")[0]


SETTINGS: Settings = {
    "data": {
        "source": Choice(
            "digits",
            "what to train on: digits, tfds:NAME, folder:PATH, array:PATH, stacked:SOURCE, edited:NAME:SOURCE, "
            "unpaired:A|B, paired:A|B, side_by_side:PATH, clips:PATH, cartoon_heads, world:NAME, voxels:PATH",
            lambda: {name: source.settings for name, source in SOURCES.items()},
            key=kind_of,
        )
    }
}


def source_of(data: ConfigDict) -> Source:
    """The entry that `config.data.source` names."""
    if not data.source.partition(":")[1] and os.path.exists(data.source):
        kind = "array" if data.source.endswith((".npz", ".npy")) else "folder"
        raise UserError(f"config.data.source={data.source} must be {kind}:{data.source}")
    kind, place = kind_of(data.source), data.source.partition(":")[2]
    if "|" in data.source and kind not in ("unpaired", "paired") and not os.path.exists(os.path.expanduser(place)):
        raise UserError(f"config.data.source={data.source} names two domains: make it unpaired:A|B or paired:A|B")
    return SOURCES[choose("config.data.source", kind, SOURCES)]


def canonical(source: str) -> str:
    """The same text for all ways to write the path in a source: folder:x, folder:./x/ and folder:~/here/x."""
    kind, _, place = source.partition(":")
    if kind == "stacked":
        return f"stacked:{canonical(place)}"
    if kind == "edited":
        name, _, inner = place.partition(":")
        return f"edited:{name}:{canonical(inner)}"
    if kind in ("unpaired", "paired"):
        sides = [side if side.partition(":")[0] in DOMAIN_READERS else f"folder:{side}" for side in place.split("|")]
        return f"{kind}:{'|'.join(map(canonical, sides))}"
    if kind in ("folder", "array", "side_by_side", "voxels", "clips") and place:
        return f"{kind}:{os.path.abspath(os.path.expanduser(place))}"
    return source


def fields_of(data: ConfigDict) -> tuple[Field, ...]:
    """The fields of a batch of `config.data`."""
    return source_of(data).fields(data)


def example_shape(data: ConfigDict) -> tuple[int, ...]:
    """The shape of the only field that is no label."""
    (shape,) = (field.shape for field in example_fields(fields_of(data)))
    return shape


def split_counts(data: ConfigDict) -> list[dict[str, int]]:
    """Examples of each split, for each domain that has an order of its own; empty where there are no splits."""
    source = source_of(data)
    if source.split_counts is not None:
        return source.split_counts(data)
    if source.read is None:
        return []
    return [domains.lengths(source.read(data.source.partition(":")[2]).splits)]


def open_dataset(config: ConfigDict) -> Any:
    """The data set of an experiment.

    Raises:
        UserError: there is no such data set, or something is wrong with it.
    """
    return source_of(config.data).open(config)
