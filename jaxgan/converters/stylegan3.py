"""Networks of StyleGAN3 to those of the family `stylegan3`; the discriminator is StyleGAN2's.

References:
    https://github.com/NVlabs/stylegan3, training/networks_stylegan3.py
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgan.converters import stylegan2 as before
from jaxgan.converters.networks import Converted, FlaxPath, Layout, Source, converted, roundest
from jaxgan.errors import UserError
from jaxgan.models import stylegan3
from jaxgan.models.stylegan3 import OUTPUT_SCALE, signals

RENAMED = {  # last part of a path -> what the authors' code calls it
    **{"kernel": "weight", "motion_kernel": "affine.weight", "motion_bias": "affine.bias"},
    **{"frequencies": "freqs", "mean_square": "magnitude_ema"},
}
LAYER = r"synthesis\.L(\d+)_(\d+)_(\d+)\."  # number, size and channels


def convert(found: Mapping[str, Source], data: str) -> Converted:
    """The run of a file's networks with a source of data; a `UserError` if they are of another architecture."""
    generator = found.get("G_ema", found.get("G"))
    values, classes = before.mapping_settings(generator)
    layers = layers_of(generator)
    side, channels = layers[-1]
    own = synthesis_settings(generator, layers)
    values |= {f"model.synthesis.{name}": value for name, value in own.items()}
    values |= {"data.source": data, "model.family": "stylegan3", "data.size": side, "data.channels": channels}
    values |= before.discriminator_settings(found, side, channels, classes)
    discriminator = before.discriminator_layout(side)
    layouts = {"generator": layout(own, side, channels), "discriminator": discriminator}
    return converted(found, values, classes, layouts, before.PLAYER)


def layers_of(generator: Source) -> list[tuple[int, int]]:
    """The size and the channels of each layer's output, the image's last, which the layers' names tell."""
    matches = (re.match(LAYER, name) for name in generator.network.arrays)
    found = {int(match[1]): (int(match[2]), int(match[3])) for match in matches if match}
    if sorted(found) != list(range(len(found))) or len(found) <= stylegan3.CRITICAL + 1:
        raise UserError(f"{generator.label} has layers {sorted(found)}: they must be 0, 1, 2, ..., at least 4 of them")
    return [found[i] for i in range(len(found))]


def synthesis_settings(generator: Source, layers: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The settings of the synthesis network."""
    (size, channels), (side, _), count = layers[0], layers[-1], len(layers) - 1
    kernel = generator.size(f"synthesis.L0_{size}_{channels}.weight", 3)
    equivariance = "rotation" if kernel == 1 else "translation"
    scale = generator.number("synthesis.output_scale", OUTPUT_SCALE)
    if scale != OUTPUT_SCALE:
        raise UserError(f"{generator.label} has output_scale={scale}: it must be {OUTPUT_SCALE}")
    half = min(int(generator.number("synthesis.num_fp16_res", 4)), side.bit_length())
    features = [generator.size("synthesis.input.weight", 0), *(channels for _, channels in layers[1:-1])]
    return {
        "equivariance": equivariance,
        "layers": count,
        **widths(generator, equivariance, side, features),
        "clamp": before.clamp_of(generator, f"synthesis.L0_{size}_{channels}"),
        "half_precision": half,
    }


def widths(generator: Source, equivariance: str, side: int, features: Sequence[int]) -> dict[str, int]:
    """`channel_base` and `channel_max` of the channels of each layer."""
    factor, most = stylegan3.EQUIVARIANCES[equivariance].width, max(features)
    scales = [2 * signal.cutoff / factor for signal in signals(side, len(features), 1, 1)[:-1]]
    pairs = list(zip(features, scales, strict=True))
    low = max(math.ceil((count - 0.5) * scale) for count, scale in pairs)
    high = min((math.floor((count + 0.5) * scale) for count, scale in pairs if count < most), default=low)
    base, channel_max = roundest(low, high), math.ceil(most / factor)
    if base is not None:
        found = signals(side, len(features), factor * base, factor * channel_max)[:-1]
        if [signal.features for signal in found] == list(features):
            return {"channel_base": base, "channel_max": channel_max}
    raise UserError(f"{generator.label} has channels that no channel_base and channel_max explain: {list(features)}")


def layout(settings: Mapping[str, Any], side: int, channels: int) -> Layout:
    """The layout of generators of some settings, whose layers' names have their sizes and channels."""
    network = stylegan3.Synthesis((side, side, channels), **settings)
    names = [f"L{i}_{signal.size}_{signal.features}" for i, signal in enumerate(network.signals)]

    def name(path: FlaxPath) -> str:
        if path[1] == "mapping":
            return before.generator_name(path)
        first, *rest = path[2:]
        kept = RENAMED.get(rest[0], rest[0])
        if first == "waves":
            return f"synthesis.input.{kept}"
        number, *affine = first.removeprefix("layer").split("_")
        return ".".join(["synthesis", names[int(number)], *affine, kept])

    return Layout(name, to_flax, constants_of(names, network).get)


def constants_of(names: Sequence[str], network: stylegan3.Synthesis) -> dict[str, np.ndarray]:
    """The arrays that the network computes by itself, and a motion of the waves that is none."""
    made, radial = network.signals, stylegan3.EQUIVARIANCES[network.equivariance].radial
    found = {"synthesis.input.transform": np.eye(3)}
    for name, first, second in zip(names[:-1], [made[0], *made[:-2]], made[:-1], strict=True):
        up, down = stylegan3.filters(first, second, radial)
        found |= {f"synthesis.{name}.up_filter": up, f"synthesis.{name}.down_filter": down}
    return found


def to_flax(name: str, array: np.ndarray) -> np.ndarray:
    """The array with Flax's axes."""
    return array if name == "synthesis.input.freqs" else before.to_flax(name, array)
