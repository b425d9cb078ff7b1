"""Makes a run of the generators of CycleGAN, CUT and pix2pix that their authors' PyTorch code saved.

    python -m jaxgan.convert latest_net_G.pth --workdir=runs/horse2zebra
    python -m jaxgan.convert latest_net_G_A.pth latest_net_G_B.pth --workdir=runs/horse2zebra
    python sample.py --workdir=runs/horse2zebra --input=horses/ --out=zebras/

One file translates one way, which --direction names; two files make a CycleGAN that translates both ways, the first one
from a to b. What network a file holds is read off its arrays. Nothing that the file asks for is run. A U-Net's file
does not say whether it was trained with dropout: pix2pix is, and --dropout=0 is for one that was not.

Discriminators are no part of such files: those of the run are untrained, and `train.py --init_from=RUN` begins with
the generators alone.
"""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.convert())

import argparse
import collections
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from jaxgan import config as configuration
from jaxgan.core import devices, population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.errors import Parser, UserError, check_path, exit_code
from jaxgan.io import run_folder, torch_weights
from jaxgan.io.checkpoint import Checkpoints

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


def write(workdir: Path, exp: Experiment, generators: Mapping[str, Variables], origin: str) -> None:
    """Makes a run folder with generators, at step 0; `origin` is what they were made of."""
    run_folder.check_folder(workdir, exp.config)
    state = devices.compile_and_run(population.init_state, exp)
    networks = dict(state.networks) | dict(generators)
    state = state.replace(networks=networks, ema={name: networks[name] for name in state.ema})
    with run_folder.lock_workdir(workdir):
        run_folder.save_config(workdir, exp.config)
        with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
            checkpoints.save(0, state, {})
        run_folder.record_launch(workdir, 0, {}, origin)


def run(argv: list[str]) -> int:
    """Parses, reads, converts and writes."""
    parser = Parser(
        "python -m jaxgan.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE.pth", help="one generator, or those of a to b and b to a"
    )
    parser.add_argument("--workdir", type=Path, required=True, help="the run folder that is made")
    parser.add_argument("--direction", choices=("ab", "ba"), help="which way one generator translates (ab)")
    parser.add_argument("--dropout", type=float, help=f"of a U-Net ({DROPOUT})")
    options = parser.parse_args(argv)
    check_path("workdir", options.workdir)
    if len(options.files) > 2:
        raise UserError(f"{len(options.files)} files: give one generator, or two that translate both ways")
    if len(options.files) == 2 and options.direction is not None:
        raise UserError("--direction has no effect with two files, which translate both ways: leave it out")
    if options.dropout is not None and not 0 <= options.dropout < 1:
        raise UserError(f"--dropout={options.dropout} must be from 0 to below 1")
    if (options.workdir / "config.json").exists():
        raise UserError(f"{options.workdir} holds a run: choose a new --workdir")
    devices.enable_compilation_cache()
    exp, generators = converted(options.files, options.direction or "ab", options.dropout)
    write(options.workdir, exp, generators, ", ".join(map(str, options.files)))
    model = exp.config.model
    about = ", ".join(f"{name} {value}" for name, value in sorted(model.generator.items()))
    print(f"{model.family} ({about}) of {len(options.files)} file{'s' * (len(options.files) > 1)}: {options.workdir}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))
