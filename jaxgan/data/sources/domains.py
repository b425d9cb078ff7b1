"""Images of two domains, fields a and b: unpaired, paired by their names, or side by side in one picture.

Where one path names both, its folders are CycleGAN's (trainA, trainB, testA, testB), or each split has two folders, of
which the first by name is a.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.types import Field
from jaxgan.data import cache
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.decode import HalvesTransform, PairTransform
from jaxgan.data.selection import select
from jaxgan.data.sizes import height_width
from jaxgan.data.sources import folder, images
from jaxgan.data.stored import Item, Split, StoredImages
from jaxgan.errors import UserError, format_names, warn_once

DOMAIN_FOLDER = re.compile(r"(train|test|val|validation)[_-]?([AB])", re.IGNORECASE)
SHOWN = 3  # images without a partner that are named

Readers = Mapping[str, Callable[[str], StoredImages]]


class Domain(NamedTuple):
    """The images of a domain.

    Attributes:
        splits: by name.
        names: of the images in each split, by which pairs are found; None where pairs go by their order.
        content: a text that is another one whenever the images are.
    """

    splits: dict[str, Split]
    names: dict[str, Sequence[str]] | None
    content: str


def fields(data: ConfigDict, paired: bool) -> tuple[Field, ...]:
    """Of a batch: pairs share order, crop and flip."""
    shape = (*height_width(data.size), data.channels)
    return tuple(Field(name, shape, "pixels", "" if paired else name) for name in "ab")


def domains(source: str, place: str, readers: Readers) -> tuple[Domain, Domain]:
    """Both domains of `place`: A|B, or one path.

    Raises:
        UserError: there are none, or both are the same.
    """
    first, bar, second = place.partition("|")
    if not bar:
        return of_one_folder(source, place)
    if not (first and second):
        raise UserError(f"config.data.source={source} must name two domains: A|B")
    both = of_source(first, readers), of_source(second, readers)
    if both[0].content == both[1].content:
        raise UserError(f"config.data.source={source} names the same images twice: A and B must differ")
    return both


def of_source(text: str, readers: Readers) -> Domain:
    """A domain by a path, or by a source: digits, array:PATH, edited:inverted:digits."""
    kind, _, inner = text.partition(":")
    if kind in readers and kind != "folder":
        stored = readers[kind](inner)
        return Domain(dict(stored.splits), None, stored.content)
    place = inner if kind == "folder" else text
    found = folder.listing_of(place)
    pictures = folder.pictures_of(found)
    bases = folder.bases_of(found, pictures)
    by_split = {split: [path for path in pictures if path.startswith(base)] for split, base in bases.items()}
    return of_paths(found, by_split, bases)


def of_paths(found: folder.Listing, paths: Mapping[str, Sequence[str]], bases: Mapping[str, str]) -> Domain:
    """A domain of pictures by split, whose names are their paths from their folder on, without suffixes."""
    for split, own in paths.items():
        if not own:
            raise UserError(f"{found.root / bases[split]} holds no images: both domains need some")
    order = {
        split: sorted(own, key=lambda path: hashlib.blake2b(os.fsencode(path)).digest()) for split, own in paths.items()
    }
    names = {split: [os.path.splitext(path[len(bases[split]) :])[0] for path in own] for split, own in order.items()}
    splits = {split: found.split(own, np.zeros(len(own), np.int32)) for split, own in order.items()}
    return Domain(splits, names, found.fingerprint([path for own in order.values() for path in own]))


def of_one_folder(source: str, place: str) -> tuple[Domain, Domain]:
    """Both domains in one folder or archive."""
    found = folder.listing_of(place)
    pictures = folder.pictures_of(found)
    bases: dict[str, dict[str, str]] = {"a": {}, "b": {}}
    for path in found.folders:
        top, _, inner = path.partition("/")
        if match := DOMAIN_FOLDER.fullmatch(path):
            bases[match[2].lower()][match[1].lower()] = f"{path}/"
        elif inner and "/" not in inner and top.lower() in folder.SPLIT_FOLDERS:
            domain = "b" if top.lower() in bases["a"] else "a"  # paths come sorted
            if top.lower() in bases[domain]:
                raise UserError(f"{found.root / top} must hold two folders, one of each domain")
            bases[domain][top.lower()] = f"{path}/"
    if not bases["a"] or bases["a"].keys() != bases["b"].keys():
        raise UserError(
            f"config.data.source={source} must be A|B, or one folder with trainA and trainB, or train/A and train/B"
        )

    def of(own: Mapping[str, str]) -> Domain:
        return of_paths(found, {s: [path for path in pictures if path.startswith(b)] for s, b in own.items()}, own)

    return of(bases["a"]), of(bases["b"])


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of images; `rows` are their indices in both splits, [N, 2]."""

    first: Split
    second: Split
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        rows = self.rows[np.asarray(indices, int)]
        both = zip(self.first.read(rows[:, 0]), self.second.read(rows[:, 1]), strict=True)
        return [Item((one.image, two.image), 0, f"{one.name} with {two.name}") for one, two in both]

    def labels(self) -> np.ndarray:
        return np.zeros(len(self), np.int32)


def matched(source: str, split: str, one: Domain, two: Domain) -> Pairs:
    """The pairs of a split; images without a partner are named in a warning.

    Raises:
        UserError: there is no pair.
    """
    first, second = one.splits[split], two.splits[split]
    if (one.names is None) != (two.names is None):
        raise UserError(
            f"config.data.source={source}: images in files are paired by name, and those in arrays by place: both must "
            "be files, or both arrays"
        )
    if one.names is None:
        if len(first) != len(second):
            raise UserError(
                f"config.data.source={source}: {len(first)} images of a and {len(second)} of b in {split} are no pairs"
            )
        return Pairs(first, second, np.arange(len(first)).repeat(2).reshape(-1, 2))
    places = {name: row for row, name in enumerate(two.names[split])}
    rows = [(row, places[name]) for row, name in enumerate(one.names[split]) if name in places]
    lonely = sorted(set(one.names[split]) ^ set(two.names[split]))
    if not rows:
        raise UserError(
            f"config.data.source={source}: no image of a has the name of one of b in {split} "
            f"({one.names[split][0]}, {two.names[split][0]})"
        )
    if lonely:
        warn_once(f"{len(lonely)} images of {source} have no partner and are left out: {format_names(lonely)}")
    return Pairs(first, second, np.int64(rows))


def open_unpaired(config: ConfigDict, readers: Readers) -> ArrayDataset:
    """Two sets of images, each with an order of its own."""
    data = config.data
    images.check_channels(data)
    found, opened = domains(data.source, data.source.partition(":")[2], readers), {}
    for name, domain in zip("ab", found, strict=True):
        stored = StoredImages(domain.splits, (), domain.content)
        opened[name] = opened_of(config, LazyDataset(select(data, stored), images.transform_of(data)))
    return joined_domains(opened, fields(data, paired=False))


def joined_domains(opened: Mapping[str, ArrayDataset], own: tuple[Field, ...]) -> ArrayDataset:
    """Data sets of images as the fields of one."""
    arrays = {name: dataset.images for name, dataset in opened.items()}
    digest = hashlib.blake2b(
        "".join(dataset.digest for dataset in opened.values()).encode(), digest_size=16
    ).hexdigest()
    reopen = None
    if all(dataset.reopen for dataset in opened.values()):
        reopen = functools.partial(_reopened, {name: dataset.reopen for name, dataset in opened.items()}, own)
    return ArrayDataset(arrays, own, (), digest, reopen)


def _reopened(reopen: Mapping[str, Callable[[], ArrayDataset]], own: tuple[Field, ...]) -> ArrayDataset:
    return joined_domains({name: again() for name, again in reopen.items()}, own)


def open_pairs(config: ConfigDict, readers: Readers) -> ArrayDataset:
    """Pairs of images with equal names, or of equal places in sources without names."""
    data = config.data
    one, two = domains(data.source, data.source.partition(":")[2], readers)
    pairs = all_pairs(data.source, one, two)
    stored = StoredImages(pairs, (), json.dumps(["pairs", one.content, two.content]))
    return halves(config, LazyDataset(select(data, stored), images.transform_of(data, PairTransform, 2)))


def all_pairs(source: str, one: Domain, two: Domain) -> dict[str, Pairs]:
    """The pairs of all splits, which both domains must have."""
    if missing := sorted(one.splits.keys() ^ two.splits.keys()):
        raise UserError(f"config.data.source={source}: only one of both domains has the split {missing[0]}")
    return {split: matched(source, split, one, two) for split in one.splits}


def open_side_by_side(config: ConfigDict) -> ArrayDataset:
    """Pairs of images in one picture each: a on the left, b on the right, as pix2pix's data sets have them."""
    data = config.data
    stored = folder.read(data.source.partition(":")[2])._replace(classes=(), from_labels=False)
    return halves(config, LazyDataset(select(data, stored), images.transform_of(data, HalvesTransform, 2)))


def lengths(splits: Mapping[str, Split]) -> dict[str, int]:
    """How many examples each split has."""
    return {name: len(split) for name, split in splits.items()}


def count_unpaired(data: ConfigDict, readers: Readers) -> list[dict[str, int]]:
    """Images of each split, for both domains."""
    return [lengths(domain.splits) for domain in domains(data.source, data.source.partition(":")[2], readers)]


def count_pairs(data: ConfigDict, readers: Readers) -> list[dict[str, int]]:
    """Pairs of each split."""
    return [lengths(all_pairs(data.source, *domains(data.source, data.source.partition(":")[2], readers)))]


def count_side_by_side(data: ConfigDict) -> list[dict[str, int]]:
    """Pictures of each split."""
    return [lengths(folder.read(data.source.partition(":")[2]).splits)]


def same_originals(source: str) -> bool:
    """Whether both domains of unpaired:A|B are the same images, edited or not: equal places then are translations of
    each other, as in unpaired:digits|edited:inverted:digits."""
    both = source.partition(":")[2].split("|")
    originals = {text.split(":", 2)[2] if text.startswith("edited:") else text for text in both}
    return len(both) == 2 and len(originals) == 1


def halves(config: ConfigDict, lazy: LazyDataset) -> ArrayDataset:
    """Pairs that are joined along their channels as fields a and b."""
    images.check_channels(config.data)
    return split_pairs(opened_of(config, lazy), fields(config.data, paired=True))


def split_pairs(joined: ArrayDataset, own: tuple[Field, ...]) -> ArrayDataset:
    """The first and the last channels of images as two fields."""
    count = joined.images.shape[-1] // 2
    arrays = {"a": joined.images[..., :count], "b": joined.images[..., count:]}
    reopen = functools.partial(_split_again, joined.reopen, own) if joined.reopen else None
    return ArrayDataset(arrays, own, (), joined.digest, reopen)


def _split_again(reopen: Callable[[], ArrayDataset], own: tuple[Field, ...]) -> ArrayDataset:
    return split_pairs(reopen(), own)


def opened_of(config: ConfigDict, lazy: LazyDataset) -> ArrayDataset:
    """The decoded images, on disk or in memory."""
    data, skip_bad = config.data, config.data.on_bad_image == "skip"
    keep = data.cache and not lazy.selection.in_arrays
    return cache.cached(lazy, skip_bad) if keep else cache.in_memory(lazy, skip_bad)
