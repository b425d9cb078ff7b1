"""Networks of StyleGAN2 by the code of StyleGAN2-ADA or StyleGAN3, to those of the family `stylegan2`.

References:
    https://github.com/NVlabs/stylegan2-ada-pytorch, training/networks.py
    https://github.com/NVlabs/stylegan3, training/networks_stylegan2.py
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgan.converters.networks import (
    DISCRIMINATOR,
    SMOOTH,
    Converted,
    FlaxPath,
    Layout,
    Source,
    check_same,
    converted,
    roundest,
    with_axes_of_flax,
)
from jaxgan.errors import UserError
from jaxgan.models import stylegan2

FIRST = stylegan2.FIRST
BATCH = 32  # of a run that is trained with a converted configuration, a multiple of the discriminator's groups
PLAYER = ("mapping", "synthesis")
COMMON = (("kernel$", "weight"),)
RENAMED = {  # network -> what becomes of a path's name
    "mapping": (("^mean$", "w_avg"), ("^dense", "fc"), *COMMON),
    "synthesis": (
        *[("^constant.constant$", "b4.const"), ("^block", "b"), ("to_rgb", "torgb"), ("_affine", ".affine")],
        *[("fixed$", "noise_const"), *COMMON],
    ),
    "discriminator": (
        *[(r"^(conv|dense|out)\.", r"b4.\1."), (r"b4\.dense", "b4.fc"), (r"^mapping\.dense", "mapping.fc")],
        *[("^block", "b"), ("shortcut", "skip"), *COMMON],
    ),
}


def convert(found: Mapping[str, Source], data: str) -> Converted:
    """The run of a file's networks with a source of data; a `UserError` if they are of another architecture."""
    generator = found.get("G_ema", found.get("G"))
    values, classes = mapping_settings(generator)
    blocks = generator.numbered(r"synthesis\.b(\d+)\.")
    check_blocks(generator, blocks)
    side, channels = blocks[-1], generator.size(f"synthesis.b{blocks[-1]}.torgb.weight", 0)
    features = [generator.size(f"synthesis.b{size}.conv1.weight", 0) for size in blocks]
    half = sum(bool(generator.attribute(f"synthesis.b{size}.use_fp16")) for size in blocks)
    own = widths(generator, dict(zip(blocks, features, strict=True)))
    own |= {"clamp": clamp_of(generator, "synthesis.b4.conv1"), "half_precision": half}
    values |= {f"model.synthesis.{name}": value for name, value in own.items()}
    values |= {"data.source": data, "model.family": "stylegan2", "data.size": side, "data.channels": channels}
    values |= discriminator_settings(found, side, channels, classes)
    layouts = {"generator": Layout(generator_name, to_flax, constant), "discriminator": discriminator_layout(side)}
    return converted(found, values, classes, layouts, PLAYER)


def mapping_settings(generator: Source) -> tuple[dict[str, Any], int]:
    """The settings of the mapping network and of the latents, and how many classes it knows."""
    by_label = "mapping.embed.weight" in generator.network.arrays
    embedded, classes = generator.shape("mapping.embed.weight") if by_label else (0, 0)
    return {
        "algorithm": "stylegan2",
        "conditional": by_label,
        "latent_dim": generator.size("mapping.fc0.weight", 1) - embedded,
        "model.mapping.w_dim": generator.size("mapping.w_avg", 0),
        "model.mapping.depth": len(generator.numbered(r"mapping\.fc(\d+)\.weight")),
        "model.mapping.lr_multiplier": float(generator.number("mapping.fc0.bias_gain", 0.01)),
        "model.mapping.decay": float(generator.number("mapping.w_avg_beta", 0.995)),
    }, classes


def discriminator_settings(found: Mapping[str, Source], side: int, channels: int, classes: int) -> dict[str, Any]:
    """The settings of a file's discriminator; a `UserError` if it is not that of the file's generator."""
    if DISCRIMINATOR not in found:
        return {}
    source, names = found[DISCRIMINATOR], found[DISCRIMINATOR].network.arrays
    blocks = [FIRST, *source.numbered(r"b(\d+)\.conv0\.")]
    check_blocks(source, blocks)
    own_classes = source.size("mapping.embed.weight", 1) if "mapping.embed.weight" in names else 0
    seen = source.size(f"b{blocks[-1]}.fromrgb.weight", 1)
    check_same(source, (blocks[-1], seen, own_classes), (side, channels, classes))
    if f"b{FIRST}.fromrgb.weight" in names:
        known = ", ".join(stylegan2.ARCHITECTURES)
        raise UserError(f"{source.label} has architecture=skip: the discriminator of stylegan2 has one of {known}")
    features = {FIRST: source.size("b4.conv.weight", 0)}
    features |= {size: source.size(f"b{size}.conv0.weight", 0) for size in blocks[1:]}
    group = group_size(source)
    own = {
        "architecture": "resnet" if f"b{side}.skip.weight" in names else "orig",
        **widths(source, features),
        "minibatch_stddev": group,
        "clamp": clamp_of(source, f"b{side}.conv0"),
        "half_precision": sum(bool(source.attribute(f"b{size}.use_fp16")) for size in blocks),
    }
    if classes:
        own["mapping_depth"] = len(source.numbered(r"mapping\.fc(\d+)\.weight"))
    return {"batch_size": math.lcm(BATCH, group or 1), **{f"model.discriminator.{name}": own[name] for name in own}}


def check_blocks(source: Source, blocks: list[int]) -> None:
    """Raises a `UserError` if the sizes of a network's blocks do not double from the first one on."""
    if len(blocks) < 2 or blocks != [FIRST << i for i in range(len(blocks))]:
        raise UserError(f"{source.label} has blocks of {blocks} rows: they must be 4, 8, 16, ...")


def group_size(source: Source) -> int:
    """Images in a group of the minibatch standard deviation; 0 without it."""
    if source.size("b4.conv.weight", 1) == source.size("b4.conv.weight", 0):
        return 0
    group = source.attribute("b4.mbstd.group_size")
    if not isinstance(group, int) or group < 1:
        raise UserError(f"{source.label} has mbstd_group_size={group}: groups of the whole batch are not supported")
    return group


def widths(source: Source, features: Mapping[int, int]) -> dict[str, int]:
    """`channel_base` and `channel_max` of the channels at each size."""
    most = max(features.values())
    low = max(size * count for size, count in features.items())
    high = min((size * (count + 1) - 1 for size, count in features.items() if count < most), default=low)
    base = roundest(low, high)
    if base is None or any(stylegan2.channels_at(size, base, most) != count for size, count in features.items()):
        listed = ", ".join(f"{count} at {size}x{size}" for size, count in features.items())
        raise UserError(f"{source.label} has channels that no channel_base and channel_max explain: {listed}")
    return {"channel_base": base, "channel_max": most}


def clamp_of(source: Source, layer: str) -> float:
    """The largest number out of convolutions; 0 for any."""
    return float(source.number(f"{layer}.conv_clamp", 0.0))


def renamed(path: FlaxPath) -> str:
    """A path without its collection and its network, as the authors' code calls it."""
    _, network, *parts = path
    name = ".".join(parts)
    for ours, theirs in RENAMED[network]:
        name = re.sub(ours, theirs, name)
    return name


def generator_name(path: FlaxPath) -> str:
    """The name in the generator of a file."""
    return f"{path[1]}.{renamed(path)}"


def discriminator_layout(side: int) -> Layout:
    """The layout of discriminators of images of a size."""
    return Layout(lambda path: re.sub("^from_rgb", f"b{side}.fromrgb", renamed(path)), to_flax, constant)


def to_flax(name: str, array: np.ndarray) -> np.ndarray:
    """The array with Flax's axes; kernels of doubling convolutions are mirrored."""
    if name.endswith(".noise_const"):
        return array
    if name.endswith(".const"):
        return array.transpose(1, 2, 0)
    if name == "b4.fc.weight":  # channels, rows and columns are one axis
        apart = array.reshape(len(array), -1, FIRST, FIRST)
        return apart.transpose(2, 3, 1, 0).reshape(-1, len(array))
    flax = with_axes_of_flax(array)
    return flax[::-1, ::-1] if re.fullmatch(r"synthesis\.b\d+\.conv0\.weight", name) else flax


def constant(name: str) -> np.ndarray | None:
    """What an array must be that is no variable."""
    return SMOOTH if name.endswith(".resample_filter") else None
