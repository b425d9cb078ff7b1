"""Images of two domains, fields a and b: unpaired, paired by their names, or side by side in one picture.

`A|B` names two folders, archives or other sources. One folder or archive is enough where its folders are CycleGAN's
(trainA, trainB, testA, testB), or where every split has two of them (train/label, train/photo), a before b in the
alphabet.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxgan.core.types import Field
from jaxgan.data import cache, splits
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.decode import Transform
from jaxgan.data.listing import SPLIT_FOLDERS, Listing
from jaxgan.data.selection import select
from jaxgan.data.sizes import height_width
from jaxgan.data.sources import folder, images
from jaxgan.data.stored import Item, Split, StoredImages
from jaxgan.errors import UserError, format_names, warn_once

DOMAIN_FOLDER = re.compile(rf"({'|'.join(SPLIT_FOLDERS)})[_-]?([AB])", re.IGNORECASE)  # CycleGAN's

Readers = Mapping[str, Callable[[str], StoredImages]]
Folders = Mapping[str, str]  # by split, with a slash at the end


class Domain(NamedTuple):
    """The images of a domain.

    Attributes:
        splits: by name.
        names: of the images in each split, by which pairs are found; None where pairs go by their order.
        content: a text that is another one whenever the images are.
    """

    splits: Mapping[str, Split]
    names: Mapping[str, Sequence[str]] | None
    content: str

    def with_splits(self, kept: Iterable[str]) -> "Domain":
        """The same without other splits."""
        return self._replace(splits={name: self.splits[name] for name in kept})


def fields(data: ConfigDict, paired: bool) -> tuple[Field, ...]:
    """Of a batch."""
    shape = (*height_width(data.size), data.channels)
    return tuple(domain_field(name, shape, paired) for name in "ab")


def domain_field(name: str, shape: tuple[int, ...], paired: bool) -> Field:
    """The images of a domain; those of a pair share order, crop and flip."""
    return Field(name, shape, "pixels", "" if paired else name)


# Opening


def open_unpaired(config: ConfigDict, readers: Readers) -> ArrayDataset:
    """Two sets of images, each with an order of its own."""
    both, transform = read_domains(config.data, readers), images.transform_of(config.data)
    sets = [StoredImages(domain.splits, (), domain.content) for domain in both]
    return as_domains([decoded(config, stored, transform) for stored in sets])


def open_paired(config: ConfigDict, readers: Readers) -> ArrayDataset:
    """Pairs of images with equal names, or with equal places in sources without names."""
    one, two = read_domains(config.data, readers)
    pairs = {split: match(config.data.source, split, one, two) for split in one.splits}
    stored = StoredImages(pairs, (), json.dumps([one.content, two.content]))
    return open_pairs(config, stored, images.transform_of(config.data))


def open_side_by_side(config: ConfigDict) -> ArrayDataset:
    """Pairs of images in one picture each: a on the left, b on the right, as pix2pix's data sets have them."""
    domain = side_by_side_of(config.data.source)
    stored = StoredImages(domain.splits, (), domain.content)
    transform = dataclasses.replace(images.transform_of(config.data), side_by_side=True)
    return open_pairs(config, stored, transform)


def open_pairs(config: ConfigDict, stored: StoredImages, transform: Transform) -> ArrayDataset:
    """Pairs are joined along their channels while they are decoded, so that a bad image takes its partner with it."""
    joined = dataclasses.replace(transform, channels=2 * transform.channels)
    return as_domains([decoded(config, stored, joined)])


def decoded(config: ConfigDict, stored: StoredImages, transform: Transform) -> ArrayDataset:
    """The images that an experiment takes, in the cache or in memory."""
    data, skip_bad = config.data, config.data.on_bad_image == "skip"
    images.check_channels(data)
    lazy = LazyDataset(select(data, stored), transform)
    keep = data.cache and not lazy.selection.in_arrays
    return cache.cached(lazy, skip_bad) if keep else cache.in_memory(lazy, skip_bad)


def as_domains(opened: Sequence[ArrayDataset]) -> ArrayDataset:
    """Fields a and b, of a set of images each, or of one set of pairs that are joined along their channels."""
    both = [half for each in opened for half in np.split(each.images, 2 // len(opened), axis=-1)]
    own = [domain_field(name, half.shape[1:], len(opened) == 1) for name, half in zip("ab", both, strict=True)]
    digest = hashlib.blake2b("".join(each.digest for each in opened).encode(), digest_size=16).hexdigest()
    again = [each.reopen for each in opened]
    reopen = functools.partial(_reopened, again) if all(again) else None
    return ArrayDataset(dict(zip("ab", both, strict=True)), tuple(own), (), digest, reopen)


def _reopened(again: Sequence[Callable[[], ArrayDataset]]) -> ArrayDataset:
    return as_domains([reopen() for reopen in again])


# Finding


def read_domains(data: ConfigDict, readers: Readers) -> tuple[Domain, Domain]:
    """Both domains, with the splits that `config.data` asks for.

    Raises:
        UserError: one of them is missing or lacks a split, or both are the same.
    """
    source, both = data.source, find_domains(data.source, readers)
    sizes = {name: len(split) for domain in both for name, split in domain.splits.items()}
    wanted = {name for name, _, _ in splits.parse(data.split, sizes)}
    for letter, domain in zip("AB", both, strict=True):
        if missing := sorted(wanted - domain.splits.keys()):
            raise UserError(
                f"config.data.split={data.split}: domain {letter} of {source} has no split {missing[0]}, only "
                f"{format_names(sorted(domain.splits))}"
            )
    return both[0].with_splits(sorted(wanted)), both[1].with_splits(sorted(wanted))


def find_domains(source: str, readers: Readers) -> tuple[Domain, Domain]:
    """Both domains with all of their splits; for errors see `read_domains`."""
    place = source.partition(":")[2]
    texts = place.split("|")
    if len(texts) > 2 or not all(texts):
        raise UserError(f"config.data.source={source} must be A|B, or a folder that holds both domains")
    both = read_both(source, place) if len(texts) == 1 else tuple(read_side(source, text, readers) for text in texts)
    if both[0].content == both[1].content:
        raise UserError(f"config.data.source={source} names the same images twice: A and B must differ")
    return both


def read_side(source: str, text: str, readers: Readers) -> Domain:
    """The domain that one side of A|B names: a path, or another source such as digits or array:PATH."""
    kind, _, inner = text.partition(":")
    if kind in readers and kind != "folder":
        stored = readers[kind](inner)
        return Domain(stored.splits, None, stored.content)
    place, said = inner if kind == "folder" else text, f"{text} in config.data.source={source}"
    if place.endswith((".npz", ".npy")):
        raise UserError(f"{said} must be array:{place}")
    return read_domain(folder.listing_of(place, said), said)


def side_by_side_of(source: str) -> Domain:
    """The pictures of side_by_side:PATH."""
    said = f"config.data.source={source}"
    return read_domain(folder.listing_of(source.partition(":")[2], said), said)


def read_domain(found: Listing, said: str) -> Domain:
    """The pictures of a folder or archive, whose folders are splits if all of them have the names of splits."""
    return read_folders(found, folder.bases_of(found, folder.pictures_of(found)), said)


def read_both(source: str, place: str) -> tuple[Domain, Domain]:
    """The domains of one folder or archive."""
    said = f"config.data.source={source}"
    found = folder.listing_of(place, said)
    folders: tuple[dict[str, str], dict[str, str]] = {}, {}
    for path in found.folders:
        if match := DOMAIN_FOLDER.fullmatch(path):
            folders["AB".index(match[2].upper())][match[1].lower()] = f"{path}/"
    if not any(folders):
        folders = split_folders(found)
    if not all(folders):
        raise UserError(
            f"config.data.source={source} must be A|B, or a folder with trainA and trainB, or with two folders in train"
        )
    return read_folders(found, folders[0], said), read_folders(found, folders[1], said)


def split_folders(found: Listing) -> tuple[Folders, Folders]:
    """The folders of both domains, where each split has a folder that holds them."""
    tops = [path for path in found.folders if path.lower() in SPLIT_FOLDERS]
    inner = {top: [path for path in found.folders if os.path.dirname(path) == top] for top in tops}
    for top, paths in inner.items():
        if len(paths) != 2 or [path[len(top) :] for path in paths] != [path[len(tops[0]) :] for path in inner[tops[0]]]:
            raise UserError(
                f"{found.root / top} must hold two folders, one for each domain, with the same names in every split"
            )
    return tuple({top.lower(): f"{paths[place]}/" for top, paths in inner.items()} for place in (0, 1))


def read_folders(found: Listing, folders: Folders, said: str) -> Domain:
    """The pictures below a folder for each split, in the order of a hash of their paths; `said` is for errors.

    Their names are their paths from that folder on, without suffixes.
    """
    pictures, parts, names = folder.pictures_of(found), {}, {}
    for split, base in folders.items():
        own = [path for path in pictures if path.startswith(base)]
        if not own:
            raise UserError(f"{said}: {found.root / base} holds no images")
        own.sort(key=lambda path: hashlib.blake2b(os.fsencode(path)).digest())
        parts[split] = found.split(own, np.zeros(len(own), np.int32))
        # Systems write the same accents in different ways.
        names[split] = [unicodedata.normalize("NFC", os.path.splitext(path[len(base) :])[0]) for path in own]
    taken = [path for path in pictures if path.startswith(tuple(folders.values()))]
    # An archive's fingerprint does not depend on which of its files are taken.
    return Domain(parts, names, json.dumps([found.fingerprint(taken), sorted(folders.items())]))


# Counting


def count_unpaired(data: ConfigDict, readers: Readers) -> list[dict[str, int]]:
    """Images of each split, for both domains."""
    return [lengths(domain.splits) for domain in find_domains(data.source, readers)]


def count_pairs(data: ConfigDict, readers: Readers) -> list[dict[str, int]]:
    """Pairs of each split that both domains have."""
    one, two = find_domains(data.source, readers)
    common = [split for split in one.splits if split in two.splits]
    return [{split: len(match(data.source, split, one, two)) for split in common}]


def count_side_by_side(data: ConfigDict) -> list[dict[str, int]]:
    """Pictures of each split."""
    return [lengths(side_by_side_of(data.source).splits)]


def lengths(splits: Mapping[str, Split]) -> dict[str, int]:
    """How many examples each split has."""
    return {name: len(split) for name, split in splits.items()}


def same_originals(source: str) -> bool:
    """Whether both domains of unpaired:A|B are the same images, edited or not.

    Equal places then are translations of each other, as in unpaired:digits|edited:inverted:digits.
    """
    both = source.partition(":")[2].split("|")
    originals = {text.split(":", 2)[2] if text.startswith("edited:") else text for text in both}
    return len(both) == 2 and len(originals) == 1


# Pairing


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


def match(source: str, split: str, one: Domain, two: Domain) -> Pairs:
    """The pairs of a split; images without a partner are named in a warning.

    Raises:
        UserError: there is no pair, or there are several for a name.
    """
    first, second = one.splits[split], two.splits[split]
    if one.names is None and two.names is None:
        if len(first) != len(second):
            raise UserError(
                f"config.data.source={source}: pairs need as many images of A as of B, not {len(first)} and "
                f"{len(second)} in {split}"
            )
        return Pairs(first, second, np.arange(len(first)).repeat(2).reshape(-1, 2))
    if one.names is None or two.names is None:
        raise UserError(f"config.data.source={source}: images of a folder have names, and pair with those of a folder")
    rows, others = ({name: row for row, name in enumerate(domain.names[split])} for domain in (one, two))
    for domain in (one, two):
        if len(set(names := domain.names[split])) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"config.data.source={source}: several images of {split} have the name {twice}")
    if not rows.keys() & others.keys():
        raise UserError(
            f"config.data.source={source}: no image of A has the name of one of B in {split} "
            f"({min(rows)} and {min(others)}, say)"
        )
    if lonely := sorted(rows.keys() ^ others.keys()):
        warn_once(f"{len(lonely)} images of {source} have no partner and are left out: {format_names(lonely)}")
    return Pairs(first, second, np.int64([(row, others[name]) for name, row in rows.items() if name in others]))
