"""Writes what tasks made in the form that a name asks for: FILE.png, FILE.npz, or FOLDER/ of single pictures."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxgan.core.experiment import Experiment
from jaxgan.data import formats
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.errors import UserError
from jaxgan.io.files import atomic_write
from jaxgan.viz import animation, grid, meshes, mixture, shapes, snapshot

OF_SHAPES = (*animation.SUFFIXES, *meshes.FORMATS)  # endings of files of shapes alone


def write_images(
    out: str,
    pictures: np.ndarray,
    columns: int | None,
    labels: np.ndarray | None,
    names: list[str],
    rows: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> None:
    """Writes the images in the form that the name asks for.

    Args:
        out: FILE.png, FILE.npz or FOLDER/.
        pictures: uint8 [N, H, W, C].
        columns: images in a row of the grid; those of a row have one label, if several labels were asked for.
        labels: of the images, if they have any.
        names: of all labels; empty if none were asked for.
        rows: what is written before the rows of the grid, where that is something else than labels.
        classes: the names of all labels of the data set, which an array holds beside the labels.
    """
    path = Path(out)
    if out.endswith(".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if names and len(set(labels)) > 1:
            rows = [names[x] for x in labels[::columns]]
        grid.save_png(path, grid.image_grid(pictures, columns, rows))
    elif out.endswith(".npz"):
        more = {} if labels is None else {"labels": labels}
        save_arrays(path, {"images": pictures} | more | ({"classes": np.array(classes)} if classes and more else {}))
    else:
        write_pictures(picture_paths(path, len(pictures), labels, names), pictures)


def picture_paths(folder: Path, count: int, labels: np.ndarray | None = None, names: Sequence[str] = ()) -> list[Path]:
    """Where single pictures go: into a folder for each label if the labels have names."""
    folders = [folder / folder_name(names[label]) for label in labels] if names else [folder] * count
    return [place / f"{index:06d}.png" for index, place in enumerate(folders)]


def write_pictures(paths: Sequence[Path], pictures: np.ndarray) -> None:
    """Writes single pictures, uint8 [N, H, W, C]."""
    for path, picture in zip(paths, pictures, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        grid.save_png(path, grid.as_png(picture))


def check_folder(out: str, paths: Collection[Path]) -> None:
    """Raises a `UserError` if FOLDER/ holds pictures besides those that are to be written: they would mix."""
    if out.endswith((".png", ".npz")):
        return
    found = [*Path(out).glob("*"), *Path(out).glob("*/*")]
    others = sorted({path for path in found if formats.is_picture(str(path)) and path.is_file()} - set(paths))
    if others:
        raise UserError(
            f"--out={out} holds {len(others)} other pictures, such as {others[0].relative_to(out)}, which would mix "
            "with these: choose another folder, or remove them"
        )


def folder_name(name: str) -> str:
    """A class's name as a folder's that lies within another one, whatever stands in data.json."""
    name = re.sub(f"[{os.sep}\0]", "_", name)
    name = name if name.strip(".") else f"_{name}"
    return os.fsdecode(name.encode(errors="backslashreplace"))  # UTF-8 in every locale


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz file, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_points(out: str, exp: Experiment, drawn: np.ndarray, title: str) -> None:
    """Writes points as a plot or an array."""
    path, known = Path(out), mixture_of(exp.config.data)
    if out.endswith(".npz"):
        save_arrays(path, {"points": drawn})
    elif out.endswith(".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        plot = mixture.scatter(known, drawn, title) if known.dim == 2 else mixture.densities(known, drawn, None, title)
        grid.save_png(path, plot)
    else:
        raise UserError(f"--out={out} must end in .png or .npz, since {exp.config.data.source} has no images")


def write_shapes(
    out: str,
    drawn: np.ndarray,
    columns: int | None,
    labels: np.ndarray | None,
    names: list[str],
    classes: Sequence[str] = (),
) -> None:
    """Writes shapes as pictures, a turning animation, a mesh or an array.

    Args:
        out: FILE.png, FOLDER/, FILE.gif, FILE.webp, FILE.obj, FILE.ply, FILE.glb or FILE.npz; that holds `voxels`, bool
            [N, X, Y, Z].
        drawn: probabilities that voxels are filled, [N, X, Y, Z, 1].
        columns, labels, names, classes: as of `write_images`.
    """
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in meshes.FORMATS:
        meshes.save(path, drawn)
    elif path.suffix in animation.SUFFIXES:
        rows = [names[x] for x in labels[::columns]] if names and len(set(labels)) > 1 else []
        turning = shapes.turning(drawn, columns, rows)
        animation.save(path, turning, len(turning) / shapes.SECONDS)
    elif path.suffix == ".npz":
        more = {} if labels is None else {"labels": labels}
        save_arrays(path, {"voxels": drawn[..., 0] >= shapes.LEVEL} | more)
    else:
        write_images(out, shapes.pictures(drawn), columns, labels, names, classes=classes)


def write_outputs(
    out: str,
    exp: Experiment,
    kinds: Mapping[str, str],
    given: Mapping[str, np.ndarray],
    drawn: dict[str, np.ndarray],
    step: int,
) -> None:
    """Writes what a task made of given examples: a picture of both, arrays, or single pictures."""
    path = Path(out)
    if out.endswith(".npz"):
        save_arrays(path, drawn)
        return
    if unseen := [name for name, kind in kinds.items() if kind not in snapshot.VIEWS]:
        raise UserError(f"--out={out} must end in .npz, since {', '.join(unseen)} can only be written as arrays")
    if out.endswith(".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        (kind,) = set(kinds.values())
        grid.save_png(path, snapshot.VIEWS[kind](exp, [None], given, [drawn], step))
    else:
        for name, array in drawn.items():
            if kinds[name] != "pixels":
                raise UserError(f"--out={out} must end in .png or .npz, since {name} are no images")
            write_pictures(picture_paths(folder_of(path, name, drawn), len(array)), array)


def folder_of(folder: Path, name: str, names: Collection[str]) -> Path:
    """Where one of several outputs of a task goes."""
    return folder / name if len(names) > 1 else folder
