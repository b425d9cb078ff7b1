"""Generators of CycleGAN, CUT and pix2pix that their authors' PyTorch code saved, to runs that translate."""

import collections
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from jaxgan import config as configuration
from jaxgan.converters.networks import Converted
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.errors import UserError
from jaxgan.io import torch_weights

DROPOUT = 0.5  # the authors' only share
SIZE = 256  # pixels, which most of their networks were trained on
ENDS = 3  # convolutions before and behind the residual blocks
DISCRIMINATOR = ("model.0.weight", "model.2.weight")  # names that a PatchGAN has and no generator

Weights = dict[str, np.ndarray]  # by PyTorch's name


class Layer(NamedTuple):
    """A layer that has weights.

    Attributes:
        name: of the layer in its file.
        place: the numbers in the name, which sort layers in the order of their use.
        arrays: by the last part of their names.
    """

    name: str
    place: tuple[int, ...]
    arrays: Weights

    @property
    def is_conv(self) -> bool:
        return getattr(self.arrays.get("weight"), "ndim", 0) == 4

    @property
    def is_batch_norm(self) -> bool:
        return self.arrays.keys() >= {"weight", "bias", "running_mean", "running_var"}


class Generator(NamedTuple):
    """A generator that a file holds.

    Attributes:
        family: of the network.
        settings: of `config.model.generator`.
        channels: that it takes, and that it gives.
        variables: its arrays by Flax's path.
    """

    family: str
    settings: dict[str, Any]
    channels: tuple[int, int]
    variables: dict[tuple[str, ...], np.ndarray]


def read(path: Path, dropout: float | None = None) -> Generator:
    """The generator in a file of PyTorch.

    Args:
        path: of the file.
        dropout: of a U-Net, whose file does not say; None for `DROPOUT`.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    weights = torch_weights.read(path)
    if all(name.startswith("module.") for name in weights):  # of several devices
        weights = {name.removeprefix("module."): array for name, array in weights.items()}
    layers = layers_of(path, weights)
    convs = [layer for layer in layers if layer.is_conv]
    blurred = any("filt" in layer.arrays for layer in layers)
    is_unet = any(name.startswith("model.model.0.") for name in weights)
    if dropout is not None and not is_unet:
        raise UserError(f"--dropout={dropout} is of a U-Net, and {path} holds none: leave it out")
    if is_unet and len(convs) % 2 == 0:
        found = {"depth": len(convs) // 2, "dropout": DROPOUT if dropout is None else dropout}
        family, transposed = "pix2pix", convs[len(convs) // 2 :]
    elif any(".conv_block." in name for name in weights) and len(convs) > 2 * ENDS and len(convs) % 2 == 0:
        found = {"blocks": len(convs) // 2 - ENDS, "antialias": blurred, **residual_settings(path, convs)}
        family, transposed = "cyclegan", [] if blurred else convs[-ENDS:-1]
    else:
        raise unknown(path, weights)
    found |= {"norm": norm_of(path, layers), "base_channels": convs[0].arrays["weight"].shape[0]}
    last = convs[-1].arrays["weight"].shape[1 if family == "pix2pix" else 0]
    return Generator(family, found, (convs[0].arrays["weight"].shape[1], last), flax_arrays(layers, transposed))


def layers_of(path: Path, weights: Weights) -> list[Layer]:
    """The layers of a file in the order of their use; counts of batches are left out."""
    found: dict[str, Weights] = {}
    for name, array in weights.items():
        layer, _, own = name.rpartition(".")
        if own != "num_batches_tracked":
            found.setdefault(layer, {})[own] = array
    layers = [Layer(name, tuple(map(int, re.findall(r"\d+", name))), arrays) for name, arrays in found.items()]
    for layer in layers:
        named = layer.arrays.keys()
        known = layer.is_conv and named <= {"weight", "bias"}
        # Files before PyTorch 0.4 have running moments of InstanceNorm, which it does not use; `filt` is a fixed blur.
        if not (known or layer.is_batch_norm or named <= {"running_mean", "running_var"} or named == {"filt"}):
            raise unknown(path, weights, f"{layer.name}.{min(named)}")
    return sorted(layers, key=lambda layer: layer.place)


def unknown(path: Path, weights: Weights, name: str = "") -> UserError:
    """What is wrong with a file of something else."""
    name = name or next(iter(weights), "")
    if weights.keys() >= set(DISCRIMINATOR):
        return UserError(f"{path} holds a discriminator: choose the file of a generator, such as latest_net_G.pth")
    found = f"{name} {list(weights[name].shape)}" if name else "nothing"
    return UserError(f"{path} holds no generator of CycleGAN, CUT or pix2pix that this program knows: it has {found}")


def residual_settings(path: Path, convs: Sequence[Layer]) -> dict[str, float]:
    """The dropout between the two convolutions of a residual block, which moves the second one."""
    places = {conv.place[-1] for conv in convs if ".conv_block." in conv.name}
    if places not in ({1, 5}, {1, 6}):
        raise UserError(f"{path}: its residual blocks pad in another way than by reflection")
    return {"dropout": DROPOUT if 6 in places else 0.0}


def norm_of(path: Path, layers: Sequence[Layer]) -> str:
    """The normalisation: BatchNorm has weights, and convolutions before InstanceNorm have biases."""
    hidden = [layer for layer in layers if layer.is_conv][1:-1]
    if any(layer.is_batch_norm for layer in layers):
        return "batch"
    if all("bias" in layer.arrays for layer in hidden):
        return "instance"
    raise UserError(f"{path}: {hidden[0].name} has no bias and no BatchNorm behind it, which no known generator has")


def flax_arrays(layers: Sequence[Layer], transposed: Sequence[Layer]) -> dict[tuple[str, ...], np.ndarray]:
    """The arrays of the layers by the paths that Flax gives layers of each kind in the order of their use."""
    found, upwards = {}, {layer.name for layer in transposed}
    names = collections.defaultdict(list)  # of a kind of module, in the order of their use

    def numbered(module: tuple[str, ...], kind: str, name: str) -> tuple[str, ...]:
        own = names[(*module, kind)]
        if name not in own:
            own.append(name)
        return (*module, f"{kind}_{own.index(name)}")

    for layer in layers:
        if not (layer.is_conv or layer.is_batch_norm):
            continue
        block, within, _ = layer.name.partition(".conv_block.")
        module = numbered((), "Block", block) if within else ()
        kind = "BatchNorm" if layer.is_batch_norm else "ConvTranspose" if layer.name in upwards else "Conv"
        path, arrays = numbered(module, kind, layer.name), layer.arrays
        if "bias" in arrays:
            found["params", *path, "bias"] = arrays["bias"]
        if kind == "BatchNorm":
            found["params", *path, "scale"] = arrays["weight"]
            found["batch_stats", *path, "mean"] = arrays["running_mean"]
            found["batch_stats", *path, "var"] = arrays["running_var"]
        elif kind == "Conv":  # [out, in, rows, columns]
            found["params", *path, "kernel"] = arrays["weight"].transpose(2, 3, 1, 0)
        else:  # [in, out, rows, columns], mirrored
            found["params", *path, "kernel"] = arrays["weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
    return found


def config_of(generators: Sequence[Generator], direction: str) -> ConfigDict:
    """The configuration of a run of one generator, or of two that translate both ways."""
    family, settings, (channels, _), _ = generators[0]
    both, unpaired = len(generators) == 2, family == "cyclegan" or len(generators) == 2
    values = {
        "algorithm": "cyclegan" if both else "cut" if unpaired else "pix2pix",
        "model.family": "cut" if unpaired and not both else family,
        "data.source": "unpaired:A|B" if unpaired else "paired:A|B",
        "data.size": 2 ** settings["depth"] if "depth" in settings else SIZE,
        "data.channels": channels,
        **{f"model.generator.{name}": value for name, value in settings.items()},
        **({"pool_size": 0} if both else {"direction": direction}),
    }
    for player in ("generator", "discriminator"):  # without moments, which nobody has
        values |= {f"optimizer.{player}.name": "sgd", f"optimizer.{player}.b1": 0.0}
    return configuration.default(values)


def converted(
    paths: Sequence[Path], direction: str = "ab", dropout: float | None = None
) -> tuple[Experiment, dict[str, Variables]]:
    """The experiment of one or two files, and its generators.

    Raises:
        UserError: a file is wrong, or both do not go together.
    """
    generators = [read(path, dropout) for path in paths]
    for path, own in zip(paths, generators, strict=True):
        if own.channels != (generators[0].channels[0],) * 2:
            raise UserError(f"{path} takes {own.channels[0]} channels and gives {own.channels[1]}: they must be equal")
        if own[:2] != generators[0][:2]:
            raise UserError(f"{paths[0]} and {path} hold networks of two kinds: {generators[0][:2]} and {own[:2]}")
    exp = configuration.build(config_of(generators, direction))
    shapes = jax.eval_shape(lambda: population.init_state(exp)).networks
    names = ("generator_ab", "generator_ba") if len(paths) == 2 else ("generator",)
    every = zip(names, paths, generators, strict=True)
    return exp, {name: variables_of(path, own, shapes[name]) for name, path, own in every}


def convert(paths: Sequence[Path], direction: str | None, dropout: float | None) -> Converted:
    """The run of one or two files.

    Raises:
        UserError: a file or an option is wrong, or both files do not go together.
    """
    if len(paths) > 2:
        raise UserError(f"{len(paths)} files: give one generator, or two that translate both ways")
    if len(paths) == 2 and direction is not None:
        raise UserError("--direction has no effect with two files, which translate both ways: leave it out")
    if dropout is not None and not 0 <= dropout < 1:
        raise UserError(f"--dropout={dropout} must be from 0 to below 1")
    exp, generators = converted(paths, direction or "ab", dropout)
    model = exp.config.model
    settings = ", ".join(f"{name} {value}" for name, value in sorted(model.generator.items()))
    about = f"{model.family} ({settings}) of {len(paths)} file{'s' * (len(paths) > 1)}"
    return Converted(exp, generators, generators, 0, about)


def variables_of(path: Path, generator: Generator, shapes: Variables) -> Variables:
    """The variables of a generator, if all have the shapes that its network has; a `UserError` if not."""
    own = traverse_util.flatten_dict(shapes.collections())
    for place in sorted(own.keys() | generator.variables.keys()):
        found, asked = (list(each[place].shape) if place in each else "absent" for each in (generator.variables, own))
        if found != asked:
            raise UserError(f"{path}: {'/'.join(place)} is {found}, and {asked} in such a network")
    arrays = {place: jnp.asarray(array, jnp.float32) for place, array in generator.variables.items()}
    tree = traverse_util.unflatten_dict(arrays)
    return Variables(tree.pop("params"), tree)
