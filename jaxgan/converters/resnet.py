"""Networks of SNGAN and BigGAN that their authors' code saved, to those of the family `resnet`.

References:
    https://github.com/ajbrock/BigGAN-PyTorch, BigGAN.py, BigGANdeep.py and layers.py
    https://github.com/pfnet-research/sngan_projection, gen_models and dis_models (Chainer)
    https://github.com/kwotsin/mimicry, torch_mimicry/nets/sngan and torch_mimicry/nets/cgan_pd
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.converters.networks import DISCRIMINATOR, Converted, Layout, Source, check_same, converted, npz_arrays
from jaxgan.errors import UserError
from jaxgan.io import torch_weights
from jaxgan.io.network_pickles import Network
from jaxgan.models.ops.pyramid import max_halvings

IGNORED = re.compile(r".*(\.sv0|\.sn_sigma|\.weight_v|accumulation_counter|num_batches_tracked|\.N)$")
# What Chainer calls an array -> what mimicry calls it.
CHAINER = {"W": "weight", "b": "bias", "u": "weight_u", "gamma": "weight", "beta": "bias"}
CHAINER |= {"avg_mean": "running_mean", "avg_var": "running_var"}
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "o": "out"}
ARRAYS = {"weight": "kernel", "bias": "bias"}
MOMENTS = {f"{prefix}_{moment}": moment for prefix in ("stored", "running") for moment in ("mean", "var")}


class Code(NamedTuple):
    """Whose code wrote a file.

    Attributes:
        mark: an array that its networks have and no others.
        upsampling, norm_epsilon: of its generators.
        last_halves: whether the last block of a discriminator may halve.
        rectified_shortcuts: of its discriminators.
    """

    mark: str
    upsampling: str
    norm_epsilon: float
    last_halves: bool
    rectified_shortcuts: bool = False


CODES = {
    "BigGAN-PyTorch": Code("blocks.0.0.conv1.weight", "nearest", 1e-5, False),
    "mimicry": Code("block2.c1.weight", "bilinear", 1e-5, True, rectified_shortcuts=True),
    "Chainer": Code("block2/c1/W", "nearest", 2e-5, True),
}


class File(NamedTuple):
    """A network of a file.

    Attributes:
        code: a name of `CODES`.
        arrays: by the names of BigGAN-PyTorch or mimicry.
        paths: Flax's path, joined by slashes -> the name of an array.
    """

    code: str
    arrays: dict[str, np.ndarray]
    paths: dict[str, str]

    @property
    def makes_images(self) -> bool:
        """Whether it is a generator."""
        return "params/body/to_image/kernel" in self.paths

    def shape(self, path: str) -> tuple[int, ...]:
        """Of an array with the axes that the file has; empty if there is none."""
        return self.arrays[self.paths[path]].shape if path in self.paths else ()

    def has(self, path: str) -> bool:
        """Whether there is an array."""
        return path in self.paths


def holds_resnet(path: Path) -> bool:
    """Whether a file has arrays of SNGAN or BigGAN; a `UserError` if it cannot be read."""
    return code_of(arrays_of(path)) is not None


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.pth` or `.npz` file."""
    if path.suffix == ".npz":
        return npz_arrays(path)
    found = torch_weights.read(path)
    prefix = "module." if all(name.startswith("module.") for name in found) else ""  # of several devices
    return {name.removeprefix(prefix): array for name, array in found.items()}


def code_of(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Whose code has arrays of such names."""
    known = {name.removesuffix("_orig") for name in arrays}
    return next((code for code, entry in CODES.items() if entry.mark in known), None)


def read(path: Path) -> File:
    """The network of a file."""
    arrays = arrays_of(path)
    code = code_of(arrays)
    if code is None:
        raise UserError(f"{path} holds no network of SNGAN or BigGAN: it has {next(iter(arrays), 'no arrays')}")
    own = renamed(arrays if code != "Chainer" else {chainer_name(name): array for name, array in arrays.items()})
    path_of = biggan_path if code == "BigGAN-PyTorch" else sngan_path
    return File(code, own, {place: name for name in own if (place := path_of(name, own)) is not None})


def renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that networks of jaxgan have, with a name for each: scales and shifts of classes are split."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if IGNORED.match(name):
            continue
        if name.endswith(".embed.weight"):
            gains, biases = np.split(array, 2, axis=-1)
            found |= {name.replace(".embed.", ".gammas."): gains, name.replace(".embed.", ".betas."): biases}
        else:
            found[name.removesuffix("_orig")] = array
    for name in [name for name in found if re.fullmatch(r"l\d+\.weight", name)]:  # whose bias Chainer's may lack
        found.setdefault(name.replace("weight", "bias"), np.zeros(len(found[name]), np.float32))
    return found


def chainer_name(name: str) -> str:
    """Mimicry's name of one of Chainer's arrays."""
    *layer, last = name.split("/")
    return ".".join([*layer, CHAINER.get(last, last)])


def biggan_path(name: str, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Flax's path of an array of BigGAN-PyTorch; None if networks have no such array."""
    deep = "blocks.0.0.conv4.weight" in arrays
    generates = "output_layer.2.weight" in arrays
    if match := re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", name):
        outer, inner = int(match[1]), int(match[2])
        stage, block = divmod(outer, 2) if deep and generates else (outer, inner)
        if match[3].partition(".")[0] in {*ATTENTION, "gamma"}:
            return attention_path(f"stage{stage}_attention", match[3])
        own = match[3].replace("conv_sc", "shortcut").replace("bn", "norm", 1)
        return layer_path(f"stage{stage}_block{block}", own)
    if match := re.fullmatch(r"output_layer\.0\.(.+)", name):
        return layer_path("", f"norm.{match[1]}")
    tops = {"linear": "dense" if generates else "Dense_0", "embed": "Dense_1", "input_conv": "from_image"}
    tops |= {"output_layer.2": "to_image", "shared": "embedding"}
    layer, _, last = name.rpartition(".")
    if layer not in tops:
        return None
    return layer_path("" if not tops[layer].startswith("Dense_") else None, f"{tops[layer]}.{last}")


def sngan_path(name: str, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Flax's path of an array of mimicry; None if networks have no such array."""
    first = 1 if "block1.c1.weight" in arrays else 2  # of a generator's layers the first one is linear
    if match := re.fullmatch(r"block(\d+)\.(.+)", name):
        own = re.sub(r"^c_sc", "shortcut", re.sub(r"^c(\d)", r"conv\1", re.sub(r"^b(\d)", r"norm\1", match[2])))
        return layer_path(f"stage{int(match[1]) - first}_block0", own)
    if match := re.fullmatch(r"([blc])\d+\.(.+)", name):
        place = {"b": "norm", "c": "to_image", "l": "dense" if first == 2 else "Dense_0"}[match[1]]
        return layer_path(None if place == "Dense_0" else "", f"{place}.{match[2]}")
    if match := re.fullmatch(r"l_y\.(.+)", name):
        return layer_path(None, f"Dense_1.{match[1]}")
    return None


def layer_path(block: str | None, name: str) -> str | None:
    """Flax's path of an array of a block, of the body if that is "", or of what stands behind the body if None."""
    within = "" if block is None else f"body/{block}/" if block else "body/"
    layer, _, last = name.partition(".")
    if last in ("u0", "weight_u", "sn_u"):
        return f"spectral/{within}{layer}_spectral/u"
    if layer.startswith("norm"):
        return norm_path(f"{within}{layer}", last.removeprefix("bn."))
    return f"params/{within}{layer}/{ARRAYS[last]}" if last in ARRAYS else None


def norm_path(layer: str, last: str) -> str | None:
    """Flax's path of an array of a norm."""
    if last in MOMENTS:
        return f"batch_stats/{layer}/BatchNorm_0/{MOMENTS[last]}"
    linear = {"gain.weight": "gain", "bias.weight": "bias", "gammas.weight": "gain", "betas.weight": "bias"}
    if last in linear:
        return f"params/{layer}/{linear[last]}/kernel"
    if match := re.fullmatch(r"(gain|bias)\.u0", last):
        return f"spectral/{layer}/{match[1]}_spectral/u"
    own = {"weight": "scale", "gain": "scale", "bias": "bias"}
    return f"params/{layer}/BatchNorm_0/{own[last]}" if last in own else None


def attention_path(block: str, name: str) -> str | None:
    """Flax's path of an array of an attention layer."""
    layer, _, last = name.partition(".")
    if layer == "gamma":
        return f"params/body/{block}/gain"
    return layer_path(block, f"{ATTENTION[layer]}.{last}") if layer in ATTENTION else None


class Blocks(NamedTuple):
    """The residual blocks of a network.

    Attributes:
        widths: channels of what comes in, and of each stage.
        bottleneck: whether blocks have four convolutions.
        attention: the stages behind which attention stands.
        shortcuts: stages whose first block has a convolution beside it.
    """

    widths: list[int]
    bottleneck: bool
    attention: list[int]
    shortcuts: int

    @property
    def stages(self) -> int:
        """How many there are."""
        return len(self.widths) - 1

    def settings(self, widths: Sequence[int], sides: Sequence[int]) -> dict[str, Any]:
        """The settings that both networks have; `sides` are those of the features of all stages."""
        base = math.gcd(*widths)
        return {
            "block": "bottleneck" if self.bottleneck else "basic",
            "depth": 2 if self.bottleneck else 1,
            "base_channels": base,
            "multipliers": tuple(width // base for width in widths),
            "attention": tuple(sides[stage] for stage in self.attention),
        }


def blocks_of(source: Source, file: File) -> Blocks:
    """The residual blocks of a network; a `UserError` if there are none."""
    place = "params/body/stage{}_block0/{}/kernel"
    count = len({path for path in file.paths if re.fullmatch(place.format(r"\d+", "conv1"), path)})
    bottleneck = file.has(place.format(0, "conv4"))
    last = f"params/body/stage{{}}_block{int(bottleneck)}/{'conv4' if bottleneck else 'conv2'}/kernel"
    shapes = [file.shape(place.format(0, "conv1")), *(file.shape(last.format(stage)) for stage in range(count))]
    if not count or any(len(shape) != 4 or 0 in shape for shape in shapes):
        raise UserError(f"{source.label} has no residual blocks whose sizes can be read off its convolutions")
    widths = [shapes[0][1], *(shape[0] for shape in shapes[1:])]
    attention = [stage for stage in range(count) if file.has(f"params/body/stage{stage}_attention/gain")]
    shortcuts = sum(file.has(place.format(stage, "shortcut")) for stage in range(count))
    return Blocks(widths, bottleneck, attention, shortcuts)


def convert(paths: Sequence[Path], data: str) -> Converted:
    """The run of one or several files: a generator, its moving average, a discriminator.

    A file with "ema" in its name is a moving average.

    Raises:
        UserError: a file cannot be read, or the networks do not go together.
    """
    files: dict[str, File] = {}
    found: dict[str, Source] = {}
    for path in paths:
        file = read(path)
        name = ("G_ema" if "ema" in path.stem.lower() else "G") if file.makes_images else DISCRIMINATOR
        if name in files:
            raise UserError(f"{path} and {found[name].label} hold networks of one kind, {name}: give one of them")
        files[name], found[name] = file, Source(str(path), Network("", {}, file.arrays, {}))
    own = next((name for name in ("G_ema", "G") if name in files), None)
    if own is None:
        raise UserError(f"{paths[0]} holds a discriminator alone: give its generator's file as well")
    values, classes = generator_settings(found[own], files[own])
    side, channels = values["data.size"], values["data.channels"]
    layouts = {"generator": layout_of(files[own])}
    if DISCRIMINATOR in files:
        file, source = files[DISCRIMINATOR], found[DISCRIMINATOR]
        own_channels, own_classes, settings = discriminator_settings(source, file, side)
        check_same(source, (side, own_channels, own_classes), (side, channels, classes))
        values |= settings
        layouts["discriminator"] = layout_of(file)
    values |= {"data.source": data, "model.family": "resnet", "loss": "hinge"}
    return converted(found, values, classes, layouts, ("generator",))


def generator_settings(source: Source, file: File) -> tuple[dict[str, Any], int]:
    """The settings of a run that a generator's arrays tell, and the classes that the generator knows."""
    blocks, code = blocks_of(source, file), CODES[file.code]
    outputs, inputs = file.shape("params/body/dense/kernel")
    rows = math.isqrt(outputs // blocks.widths[0])
    sides = [rows << stage for stage in range(1, blocks.stages + 1)]
    settings = blocks.settings(blocks.widths, sides)
    settings |= {"upsampling": code.upsampling, "norm_epsilon": code.norm_epsilon}
    settings["spectral_norm"] = file.has("spectral/body/dense_spectral/u")
    classes, latent_dim = 0, inputs
    gain = "stage0_block0/norm1/gain"
    if file.has("params/body/embedding/kernel"):
        classes, embedding = file.shape("params/body/embedding/kernel")
        part = file.shape(f"params/body/{gain}/kernel")[1] - embedding
        skip_z = "none" if part == 0 else "full" if blocks.bottleneck else "split"
        settings |= {"embedding": embedding, "skip_z": skip_z}
        latent_dim = {"none": inputs, "full": part, "split": part * (1 + blocks.stages)}[skip_z]
    elif file.has(f"params/body/{gain}/kernel"):
        classes = file.shape(f"params/body/{gain}/kernel")[0]
    values = {f"model.generator.{name}": value for name, value in settings.items()}
    values |= {"latent_dim": latent_dim, "data.size": sides[-1]}
    values["data.channels"] = file.shape("params/body/to_image/kernel")[0]
    if classes:
        values |= {"conditioning.generator": "cbn", "conditioning.discriminator": "projection"}
    return values, classes


def discriminator_settings(source: Source, file: File, side: int) -> tuple[int, int, dict[str, Any]]:
    """The channels and classes that a discriminator knows, and the settings that its arrays tell.

    How many stages halve can be seen of their shortcuts, but for one whose channels change: the last stage of BigGAN
    does not halve, and one of SNGAN does if the images can be halved as often.
    """
    blocks = blocks_of(source, file)
    if blocks.bottleneck:
        downsamples, widths = blocks.stages, blocks.widths
        channels = file.shape("params/body/from_image/kernel")[1]
    else:
        most = max_halvings((side, side)) if CODES[file.code].last_halves else blocks.stages - 1
        downsamples, widths, channels = min(blocks.shortcuts, most), blocks.widths[1:], blocks.widths[0]
    settings = blocks.settings(widths, [side >> stage for stage in range(1, blocks.stages + 1)])
    settings |= {"downsamples": downsamples, "spectral_norm": file.has("spectral/Dense_0_spectral/u")}
    inner = [file.shape(f"params/body/stage{stage}_block0/conv1/kernel")[0] for stage in range(blocks.stages)]
    settings["rectified_shortcuts"] = CODES[file.code].rectified_shortcuts
    settings["wide"] = blocks.bottleneck or inner == blocks.widths[1:]
    classes = file.shape("params/Dense_1/kernel")[0] if file.has("params/Dense_1/kernel") else 0
    return channels, classes, {f"model.discriminator.{name}": value for name, value in settings.items()}


def layout_of(file: File) -> Layout:
    """The layout of a network whose arrays have these names by path."""
    names = dict(file.paths)
    paths = {name: path for path, name in names.items()}
    first = file.shape("params/body/stage0_block0/conv1/kernel")[1]

    def to_flax(name: str, array: np.ndarray) -> np.ndarray:
        path = paths[name]
        if path.startswith("spectral"):
            array = array.reshape(-1)
        if "body/dense" in path:  # of which features come first, and then rows and columns
            array = np.moveaxis(array.reshape(first, -1, *array.shape[1:]), 0, 1).reshape(array.shape)
        if path.endswith("kernel"):
            return kernel(path, name, array)
        return array.reshape(()) if path.endswith("attention/gain") else array

    def kernel(path: str, name: str, array: np.ndarray) -> np.ndarray:
        if name.endswith(".gammas.weight"):
            return array - 1
        spectral = f"spectral/{path.removeprefix('params/').removesuffix('/kernel')}_spectral/u"
        of_class = path.endswith(("gain/kernel", "bias/kernel")) and spectral not in names
        if of_class or path in ("params/body/embedding/kernel", "params/Dense_1/kernel"):
            return array
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    def name_of(path: tuple[str, ...]) -> str:
        joined = "/".join((path[0], *path[2:]))
        return names.get(joined, joined)

    return Layout(name_of, to_flax, lambda name: None)
