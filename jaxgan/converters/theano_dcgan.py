"""Networks of DCGAN's first code, which was written with Theano, to those of the family `dcgan`.

A file is an .npz with the arrays of one network by the names that the code gives them. Theano convolves with mirrored
kernels, and lays out features before rows and columns. BatchNorm took the moments of each batch and kept none, so
those of the run are averages over batches of samples, as the authors average them where they need some.

References:
    Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, 2016.
    https://arxiv.org/abs/1511.06434
    https://github.com/Newmu/dcgan_code, faces/train_uncond_dcgan.py (networks), svhn/svhn_semisup_analysis.py (moments)
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from jaxgan.converters.networks import Converted, Layout, Source, converted, npz_arrays
from jaxgan.core import latents
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables, apply
from jaxgan.errors import UserError
from jaxgan.io.network_pickles import Network
from jaxgan.models import dcgan
from jaxgan.models.standing_statistics import batch_moments

LAST = {"G": "gwx", "D": "wy"}  # the last kernel of a generator and of a discriminator
SIDE = dcgan.LEAST  # rows and columns of the smallest features
BATCHES, BATCH = 16, 128  # of samples, which BatchNorm's moments are averages over; the authors' batches are as large


def convert(paths: Sequence[Path], data: str) -> Converted:
    """The run of a generator, or of a generator and its discriminator, whose files are given in any order.

    Args:
        paths: of the files.
        data: the source of the run's data.

    Raises:
        UserError: a file cannot be read, holds something else, or both do not go together.
    """
    if len(paths) > 2:
        raise UserError(f"{len(paths)} files: give a generator, or a generator and its discriminator")
    found: dict[str, Source] = {}
    for source in map(read, paths):
        kind = next((kind for kind, name in LAST.items() if name in source.network.arrays), None)
        if kind is None:
            names = " or ".join(LAST.values())
            raise UserError(f"{source.label} holds no network of DCGAN's first code: it must have {names}")
        if kind in found:
            raise UserError(f"{found[kind].label} and {source.label} hold the same kind of network")
        found[kind] = source
    if "G" not in found:
        raise UserError(f"{paths[0]} holds a discriminator alone: give the file of its generator as well")
    return converted_networks(found, data)


def read(path: Path) -> Source:
    """The arrays of a file."""
    return Source(str(path), Network("DCGAN", {}, npz_arrays(path), {}))


def converted_networks(found: Mapping[str, Source], data: str) -> Converted:
    """The run of a generator G and maybe a discriminator D."""
    generator, discriminator = found["G"], found.get("D")
    own = generator_arrays(generator)
    given, layouts = {"G": completed(generator, own)}, {"generator": layout_of(own)}
    values = {
        "data.source": data,
        "data.size": SIDE << len(own.kernels),
        "data.channels": generator.size("gwx", 1),
        "latent_dim": generator.size("gw", 0),
        "model.family": "dcgan",
        "model.generator.unit_norm": True,
        **settings_of(generator, "generator", "gwx"),
    }
    if discriminator is not None:
        own = discriminator_arrays(discriminator)
        given["D"], layouts["discriminator"] = completed(discriminator, own), layout_of(own)
        values |= settings_of(discriminator, "discriminator", "w")
    made = converted(given, values, 0, layouts, ("generator",))
    networks = with_moments(made.exp, made.networks)
    return made._replace(networks=networks, ema={"generator": networks["generator"]})


def settings_of(source: Source, network: str, kernel: str) -> dict[str, Any]:
    """The settings of a network whose kernel next to the image is given."""
    found = {"base_channels": source.size(kernel, 0), "kernel_size": source.size(kernel, 2)}
    return {f"model.{network}.{name}": value for name, value in found.items()}


class Arrays(NamedTuple):
    """The arrays of a network by path in Flax.

    Attributes:
        kernels: names of its convolutions, in the order of their use.
        names: path -> name in the file.
        biases: path -> (name, axis) of the kernel behind which the file has no bias, and jaxgan's network has one.
    """

    kernels: list[str]
    names: dict[str, str]
    biases: dict[str, tuple[str, int]]


def generator_arrays(source: Source) -> Arrays:
    """Those of a generator."""
    numbers = source.numbered(r"gw(\d+)$")
    kernels = [*(f"gw{number}" for number in numbers), "gwx"]
    names = {f"body/ConvTranspose_{place}/kernel": name for place, name in enumerate(kernels)}
    names |= {"body/Dense_0/kernel": "gw"} | norm_names("gg", "gb", ["", *numbers])
    return Arrays(kernels, names, {f"body/ConvTranspose_{len(numbers)}/bias": ("gwx", 1)})


def discriminator_arrays(source: Source) -> Arrays:
    """Those of a discriminator."""
    numbers = source.numbered(r"w(\d+)$")
    kernels = ["w", *(f"w{number}" for number in numbers)]
    names = {f"body/Conv_{place}/kernel": name for place, name in enumerate(kernels)}
    names |= {"Dense_0/kernel": "wy"} | norm_names("g", "b", numbers)
    return Arrays(kernels, names, {"body/Conv_0/bias": ("w", 0), "Dense_0/bias": ("wy", 1)})


def norm_names(scale: str, bias: str, numbers: Sequence[int | str]) -> dict[str, str]:
    """Path -> name of normalisations."""
    parts = {"scale": scale, "bias": bias}
    return {
        f"body/BatchNorm_{place}/{part}": f"{name}{number}"
        for place, number in enumerate(numbers)
        for part, name in parts.items()
    }


def completed(source: Source, own: Arrays) -> Source:
    """The source with what its file lacks, by path: biases of 0, and moments that `with_moments` replaces."""
    lacking = {path: np.zeros(source.size(*place)) for path, place in own.biases.items()}
    for path, name in own.names.items():
        if path.endswith("scale"):
            lacking |= {path.replace("scale", moment): np.zeros(source.shape(name)) for moment in ("mean", "var")}
    return source._replace(network=source.network._replace(arrays=source.network.arrays | lacking))


def layout_of(own: Arrays) -> Layout:
    """The layout of a network; what its file lacks is called by its path."""
    return Layout(lambda path: own.names.get("/".join(path[2:]), "/".join(path[2:])), to_flax, lambda name: None)


def to_flax(name: str, array: np.ndarray) -> np.ndarray:
    """The array with Flax's axes, where features come last."""
    if name == "gw":
        return array.reshape(len(array), -1, SIDE, SIDE).transpose(0, 2, 3, 1).reshape(len(array), -1)
    if name in ("gg", "gb"):
        return array.reshape(-1, SIDE, SIDE).transpose(1, 2, 0).reshape(-1)
    if name == "wy":
        return array.reshape(-1, SIDE, SIDE, array.shape[-1]).transpose(1, 2, 0, 3).reshape(array.shape)
    if re.fullmatch(r"gw(\d+|x)", name):  # [in, out, rows, columns]; a transposed convolution mirrors them again
        return array.transpose(2, 3, 0, 1)
    if re.fullmatch(r"w\d*", name):  # [out, in, rows, columns]
        return np.flip(array, (2, 3)).transpose(2, 3, 1, 0)
    return array


def with_moments(exp: Experiment, networks: Mapping[str, Variables]) -> dict[str, Variables]:
    """The networks with BatchNorm's moments, which are averages over batches of samples."""
    generator, critic = (exp.networks[name] for name in ("generator", "discriminator"))

    @jax.jit
    def of_batch(index: Int[Array, " batch"]) -> dict[str, PyTree]:
        points = latents.latents_of(jnp.zeros_like(index, jnp.uint32), index, exp.config.latent_dim)
        states = {"generator": batch_moments(generator, networks["generator"], points, None)}
        if "discriminator" in networks:
            images, _ = apply(generator, networks["generator"], points, None, train=True)
            states["discriminator"] = batch_moments(critic, networks["discriminator"], images, None)
        return states

    every = [of_batch(jnp.arange(BATCH) + BATCH * number) for number in range(BATCHES)]
    moments = jax.tree.map(lambda *parts: sum(parts) / BATCHES, *every)
    return {name: own.replace(model_state=moments[name]) for name, own in networks.items()}
