"""What converters of network pickles share: the networks of a file, and their arrays by the paths of Flax."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxgan import config as configuration
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.errors import UserError
from jaxgan.io.network_pickles import Contents, Network

GENERATORS, DISCRIMINATOR = ("G", "G_ema"), "D"  # names in a file
MOST = 1 << 14  # rows of an image, so that no name of a file asks for any number of them
SMOOTH = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64  # the filter of `resampling`

FlaxPath = tuple[str, ...]


class Converted(NamedTuple):
    """A run that is made of files.

    Attributes:
        exp: its experiment.
        networks: the variables that files have, by network.
        ema: the moving averages, by network.
        classes: the labels that the networks know.
        about: the files, for people.
    """

    exp: Experiment
    networks: dict[str, Variables]
    ema: dict[str, Variables]
    classes: int
    about: str


class Layout(NamedTuple):
    """Where a kind of network has its arrays.

    Attributes:
        name: ((collection, network, *path in Flax)) -> the name in the file.
        to_flax: (name, array) -> the array with Flax's axes; a `ValueError` if it cannot have those.
        constants: (name) -> what an array must be that no variable takes; None if no network has such an array.
    """

    name: Callable[[FlaxPath], str]
    to_flax: Callable[[str, np.ndarray], np.ndarray]
    constants: Callable[[str], np.ndarray | None]


class Source(NamedTuple):
    """A network of a file, and how errors call it.

    Attributes:
        label: the file and the name in it.
        network: the network.
    """

    label: str
    network: Network

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an array; a `UserError` if there is none."""
        if name not in self.network.arrays:
            raise UserError(f"{self.label} has no {name}")
        return self.network.arrays[name].shape

    def size(self, name: str, axis: int) -> int:
        """Of one axis of an array; a `UserError` if there is none."""
        shape = self.shape(name)
        if axis >= len(shape):
            raise UserError(f"{self.label}: {name} is {list(shape)}, and must have {axis + 1} axes at least")
        return shape[axis]

    def numbered(self, pattern: str) -> list[int]:
        """The numbers that a pattern finds in the names of arrays, each once and in order."""
        return sorted({int(found[1]) for name in self.network.arrays if (found := re.match(pattern, name))})

    def attribute(self, name: str) -> Any:
        """Plain data of a module; None if the file has none."""
        return self.network.attributes.get(name)

    def number(self, name: str, default: float | int) -> float | int:
        """A number of a module; the default for None, or if the file has none."""
        value = self.attribute(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{self.label} has {name}={value!r}: it must be a number")
        return value


def npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file; a `UserError` if they cannot be read."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError:
        raise
    # Of a damaged file NumPy and the modules under it raise whatever they stumble over.
    except Exception as error:
        raise UserError(f"{path} cannot be read as arrays by name (.npz)") from error


def sources(path: Path, contents: Contents) -> dict[str, Source]:
    """The generators and the discriminator of a file."""
    own = {name: contents.networks[name] for name in (*GENERATORS, DISCRIMINATOR) if name in contents.networks}
    return {name: Source(f"{path}: {name}", network) for name, network in own.items()}


def converted(
    found: Mapping[str, Source],
    values: Mapping[str, Any],
    classes: int,
    layouts: Mapping[str, Layout],
    player: tuple[str, ...],
) -> Converted:
    """The experiment of a configuration with the arrays of a file.

    Args:
        found: the networks of the file.
        values: the settings of the run that are not the defaults.
        classes: that the networks know.
        layouts: of "generator" and "discriminator".
        player: the networks of the run that a generator of the file is.
    """
    if values["data.size"] > MOST:
        raise UserError(
            f"{next(iter(found.values())).label} makes images of {values['data.size']} rows: at most {MOST}"
        )
    optimizers = {}
    for name in ("generator", "discriminator"):  # without moments, which no file has
        optimizers |= {f"optimizer.{name}.name": "sgd", f"optimizer.{name}.b1": 0.0}
    exp = configuration.build(configuration.default({**values, **optimizers}), classes)
    shapes = jax.eval_shape(lambda: population.init_state(exp)).networks
    own = {name: shapes[name] for name in player}
    made = {name: variables(found[name], own, layouts["generator"]) for name in GENERATORS if name in found}
    raw, average = (made.get(name) for name in GENERATORS)
    networks = dict(raw or average)
    if DISCRIMINATOR in found:
        alone = {"discriminator": shapes["discriminator"]}
        networks |= variables(found[DISCRIMINATOR], alone, layouts["discriminator"])
    return Converted(exp, networks, average or raw, classes, about(exp, found))


def variables(source: Source, shapes: Mapping[str, Variables], layout: Layout) -> dict[str, Variables]:
    """The variables of networks of a run, filled with all arrays of one network of a file.

    Raises:
        UserError: an array is missing, left over, or of another shape.
    """
    taken, made = set(), {}
    for network, own in shapes.items():
        arrays = {}
        for path, leaf in traverse_util.flatten_dict(own.collections()).items():
            name = layout.name((path[0], network, *path[1:]))
            arrays[path] = filled(source, name, layout, leaf.shape)
            taken.add(name)
        tree = traverse_util.unflatten_dict(arrays)
        made[network] = Variables(tree.pop("params"), tree)
    for name, array in source.network.arrays.items():
        if name not in taken:
            check_constant(source, name, array, layout.constants(name))
    return made


def filled(source: Source, name: str, layout: Layout, shape: tuple[int, ...]) -> jax.Array:
    """An array with Flax's axes; a `UserError` if it has another shape."""
    found = source.shape(name)
    try:
        array = layout.to_flax(name, source.network.arrays[name])
    except ValueError as error:
        raise UserError(f"{source.label}: {name} is {list(found)}, which has too few or too many axes") from error
    if array.shape != shape:
        changed = "" if array.shape == found else f", here {list(array.shape)}"
        raise UserError(f"{source.label}: {name} is {list(found)}{changed}, and must be {list(shape)}")
    return jnp.asarray(array, jnp.float32)


def check_constant(source: Source, name: str, array: np.ndarray, expected: np.ndarray | None) -> None:
    """Raises a `UserError` if an array is neither part of a network nor what the network computes by itself."""
    if expected is None:
        raise UserError(f"{source.label} has {name} {list(array.shape)}, which such a network of jaxgan lacks")
    if array.shape != expected.shape or not np.allclose(array, expected, rtol=1e-4, atol=1e-6):
        raise UserError(f"{source.label}: {name} is another filter or constant than the one that jaxgan's network has")


def with_axes_of_flax(array: np.ndarray) -> np.ndarray:
    """A kernel [rows, columns, in, out] of [out, in, rows, columns], or [in, out] of [out, in]."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def roundest(low: int, high: int) -> int | None:
    """The number from `low` to `high` that the largest power of two divides; None if there is no number."""
    step = 1
    while -(-low // (2 * step)) * 2 * step <= high:
        step *= 2
    found = -(-low // step) * step
    return found if found <= high else None


def about(exp: Experiment, found: Mapping[str, Source]) -> str:
    """What networks a run has, and whether it lacks one."""
    data = exp.config.data
    text = f"{exp.config.model.family} ({about_sizes(data.size, data.channels, exp.classes)}) of {', '.join(found)}"
    if DISCRIMINATOR in found:
        return text
    return f"{text}; the file has no {DISCRIMINATOR}, so the discriminator is untrained"


def about_sizes(side: int, channels: int, classes: int) -> str:
    """What images a network is for."""
    return f"{side}x{side}x{channels} images of {classes or 'no'} classes"


def check_same(source: Source, own: tuple[int, int, int], asked: tuple[int, int, int]) -> None:
    """Raises a `UserError` if a discriminator is not for the (side, channels, classes) of a generator."""
    if own != asked:
        raise UserError(f"{source.label} is for {about_sizes(*own)}, and the generator makes {about_sizes(*asked)}")
