"""Grids of voxels: boolean arrays, packed or not, binvox files, and meshes, which are voxelised once."""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from jaxgan.core.settings import POSITIVE, Setting, Settings, one_of
from jaxgan.core.types import Field
from jaxgan.data import bits, cache, meshes
from jaxgan.data.dataset import ArrayDataset, digest_of
from jaxgan.data.labels import classes_of
from jaxgan.data.listing import SPLIT_FOLDERS
from jaxgan.data.selection import SELECTION_SETTINGS, Selection, select
from jaxgan.data.stored import Item, StoredImages, fingerprint, place_of, unreadable
from jaxgan.errors import UserError

ARRAYS = (".npz", ".npy")
FILES = (".binvox", *meshes.MESHES)
AXES = ("x", "y", "z")
AT_ONCE = 256  # grids that are in memory with a byte for each voxel
SETTINGS: Settings = {
    **SELECTION_SETTINGS,
    "size": Setting(32, "voxels of each side of a grid", POSITIVE),
    "up": Setting("z", "the axis of the files that points up: the last one becomes it", one_of(*AXES)),
}


def voxel_fields(size: int) -> tuple[Field, ...]:
    """The fields of cubes of voxels with their labels; the last axis but the channel points up."""
    return Field("voxels", (size, size, size, 1), "bits"), Field("labels", (), "labels")


def fields(data: ConfigDict) -> tuple[Field, ...]:
    """Of a batch."""
    return voxel_fields(data.size)


def packed(selection: Selection, size: int) -> ArrayDataset:
    """The data set of some grids, each bool [size, size, size].

    Raises:
        UserError: a grid is no cube of that size, or is empty.
    """
    parts, targets = [], []
    for start in range(0, len(selection), AT_ONCE):
        items = selection.read(np.arange(start, min(start + AT_ONCE, len(selection))))
        for item in items:
            check_grid(item, selection.name, size)
        parts.append(bits.pack(np.stack([item.image for item in items])))
        targets += [item.label for item in items]
    grids, labels = np.concatenate(parts), np.int32(targets)
    arrays = {"voxels": grids, "labels": labels}
    return ArrayDataset(arrays, voxel_fields(size), selection.classes, digest_of(grids, labels))


def check_grid(item: Item, source: str, size: int) -> None:
    """Raises a `UserError` if a grid of that source is no cube of that size, or is empty."""
    sides = np.shape(item.image)
    if sides != (size, size, size):
        right = f"config.data.size={sides[0]}" if len(set(sides)) == 1 else "a cube"
        raise UserError(
            f"{source}: {item.name} has {'x'.join(map(str, sides))} voxels, and config.data.size={size} "
            f"needs {size}x{size}x{size}: it must be {right}"
        )
    if not item.image.any():
        raise UserError(f"{source}: {item.name} is empty: it must have a filled voxel")


@dataclasses.dataclass(frozen=True)
class GridArray:
    """Grids in an .npz or .npy file, read at their first use; `up` is the axis that becomes the last one."""

    path: Path
    up: str

    @functools.cached_property
    def grids(self) -> Bool[np.ndarray, "n x y z"]:
        arrays = self._members("voxels", "shape")
        grids = arrays["voxels"]
        if grids.dtype == np.uint8 and grids.ndim == 2 and np.shape(arrays.get("shape")) == (4,):
            shape = tuple(map(int, arrays["shape"]))
            if grids.shape == (shape[0], -(-int(np.prod(shape[1:])) // 8)):
                grids = bits.unpack(grids, shape[1:])
        if grids.ndim != 4 or 0 in grids.shape or grids.dtype not in (bool, np.uint8) or grids.max() > 1:
            raise UserError(
                f"{self.path}: voxels of type {grids.dtype} and shape {grids.shape} must be bool, [N, X, Y, Z], or "
                "packed by numpy.packbits along each grid, uint8 [N, bytes], with their true `shape`"
            )
        return _upright(grids.astype(bool), self.up)

    @functools.cached_property
    def named_labels(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The names of the classes, none without labels, and the labels, int32 [N]."""
        labels = self._members("labels").get("labels")
        if labels is None:
            return (), np.zeros(len(self), np.int32)
        try:
            return classes_of(labels, len(self))
        except ValueError as error:
            raise UserError(f"{self.path}: {error}") from error

    def _members(self, *names: str) -> dict[str, np.ndarray]:
        """Those of some arrays that the file has; an .npy file is `voxels` alone."""
        try:
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
            arrays = {"voxels": found} if isinstance(found, np.ndarray) else found
            if "voxels" in arrays:
                return {name: np.asarray(arrays[name]) for name in names if name in arrays}
        # Of a damaged file NumPy and the modules under it raise whatever they stumble over.
        except Exception as error:
            raise unreadable(self.path, error) from error
        raise UserError(f"{self.path} must hold an array 'voxels', not {', '.join(sorted(arrays)) or 'nothing'}")

    @functools.cached_property
    def count(self) -> int:
        """How many grids there are; packed ones need not be read for that."""
        shape = self._members("shape").get("shape")
        return len(self.grids) if np.shape(shape) != (4,) else int(shape[0])

    def __len__(self) -> int:
        return self.count

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        return [Item(self.grids[i], int(self.labels()[i]), f"grid {i}") for i in indices]

    def labels(self) -> np.ndarray:
        return self.named_labels[1]


@dataclasses.dataclass(frozen=True)
class GridFiles:
    """A grid in each of some files; meshes become `size` voxels on each side, once into the cache."""

    paths: tuple[Path, ...]
    targets: np.ndarray
    size: int
    up: str

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray | Iterable[int]) -> list[Item]:
        return [Item(self._grid(self.paths[i]), int(self.targets[i]), str(self.paths[i])) for i in indices]

    def labels(self) -> np.ndarray:
        return self.targets

    def _grid(self, path: Path) -> Bool[np.ndarray, "x y z"]:
        if path.suffix.lower() == ".binvox":
            return _upright(meshes.read_binvox(path)[None], self.up)[0]

        def make() -> dict[str, np.ndarray]:
            return {"voxels": bits.pack(meshes.voxelise(path, self.size)[None])}

        described = [fingerprint(path.parent, [path.name]), self.size, meshes.MARGIN]
        found = cache.cached_arrays("voxels", described, make)["voxels"]
        return _upright(bits.unpack(found, (self.size,) * 3), self.up)[0]


def _upright(grids: Bool[np.ndarray, "n _ _ _"], up: str) -> Bool[np.ndarray, "n _ _ _"]:
    """Grids turned, without a mirror image, so that an axis becomes the last one."""
    order = [(AXES.index(up) + shift) % 3 + 1 for shift in (1, 2, 3)]
    return grids.transpose(0, *order)


def stored(data: ConfigDict) -> StoredImages:
    """The grids of one file or of a folder.

    The arrays in a folder, .npz or .npy, are splits named after their files. Other files lie in subfolders named after
    splits, above those of classes or below them, as ModelNet has it, or else are one split, "train"; where all lie in
    further subfolders, these are their classes.

    Raises:
        UserError: there is no such place, nothing in it, or both arrays and other files.
    """
    place = data.source.partition(":")[2]
    root = place_of(data.source, place)
    if root.is_file() and root.suffix.lower() in (*ARRAYS, *FILES):
        content = fingerprint(root.parent, [root.name])
        if root.suffix.lower() in ARRAYS:
            return _of_arrays({"train": root}, data.up, content)
        return _of_files(root.parent, (root,), data, content)
    if not root.is_dir():
        kinds = ", ".join((*ARRAYS, *FILES))
        raise UserError(f"config.data.source={data.source} must be a folder or a file that ends in {kinds}")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in FILES)
    arrays = {path.stem: path for path in sorted(root.iterdir()) if path.suffix.lower() in ARRAYS}
    if not found and not arrays:
        raise UserError(f"config.data.source={data.source} has no files that end in {', '.join((*ARRAYS, *FILES))}")
    if found and arrays:
        one, other = found[0], next(iter(arrays.values()))
        raise UserError(
            f"config.data.source={data.source} has grids in arrays ({other}) and in files ({one}): keep one"
        )
    content = fingerprint(root, [str(path.relative_to(root)) for path in (*found, *arrays.values())])
    return _of_files(root, tuple(found), data, content) if found else _of_arrays(arrays, data.up, content)


def _of_arrays(paths: dict[str, Path], up: str, content: str) -> StoredImages:
    splits = {name: GridArray(path, up) for name, path in paths.items()}
    classes = {split.named_labels[0] for split in splits.values()}
    if len(classes) > 1:
        raise UserError(f"{', '.join(map(str, paths.values()))} must have labels of the same classes")
    return StoredImages(splits, next(iter(classes)), content)


def _of_files(root: Path, paths: tuple[Path, ...], data: ConfigDict, content: str) -> StoredImages:
    folders = [path.relative_to(root).parts[:-1] for path in paths]
    level = next((level for level in (0, 1) if all(has_split(parts, level) for parts in folders)), None)
    names = [parts if level is None else parts[:level] + parts[level + 1 :] for parts in folders]
    classes = tuple(sorted({parts[0] for parts in names})) if all(names) else ()
    rows: dict[str, list[int]] = {}
    for row, parts in enumerate(folders):
        rows.setdefault("train" if level is None else parts[level].lower(), []).append(row)
    targets = np.int32([classes.index(parts[0]) if classes else 0 for parts in names])
    splits = {
        split: GridFiles(tuple(paths[row] for row in own), targets[own], data.size, data.up)
        for split, own in rows.items()
    }
    return StoredImages(splits, classes, f"{content} {data.size}")


def has_split(folders: tuple[str, ...], level: int) -> bool:
    """Whether the folder of that level is named after a split."""
    return len(folders) > level and folders[level].lower() in SPLIT_FOLDERS


def split_counts(data: ConfigDict) -> list[dict[str, int]]:
    """Examples of each split."""
    return [{name: len(split) for name, split in stored(data).splits.items()}]


def open_voxels(config: ConfigDict) -> ArrayDataset:
    """The grids that an experiment takes."""
    return packed(select(config.data, stored(config.data)), config.data.size)
