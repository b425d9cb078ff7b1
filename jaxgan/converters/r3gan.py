"""Networks of R3GAN to those of the family `r3gan`.

References:
    https://github.com/brownvc/R3GAN, R3GAN/Networks.py and training/networks.py
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgan.converters.networks import (
    DISCRIMINATOR,
    SMOOTH,
    Converted,
    Layout,
    Source,
    check_same,
    converted,
    with_axes_of_flax,
)
from jaxgan.errors import UserError
from jaxgan.models.ops import pyramid

EMBEDDING = "Model.EmbeddingLayer.weight"
TO_RGB, FROM_RGB = "Model.AggregationLayer.Layer.weight", "Model.ExtractionLayer.Layer.weight"
FIRST = pyramid.LEAST  # rows and columns of the basis
BLOCK = {  # array of a block -> what the authors' code calls it
    **{f"Conv_{i}/kernel": f"LinearLayer{i + 1}.Layer.weight" for i in range(3)},
    **{f"Conv_{i}/bias": f"NonLinearity{i + 1}.Bias" for i in range(2)},
}


class Stage(NamedTuple):
    """The layers of one size of images.

    Attributes:
        name: of the list of its layers.
        blocks: the numbers of the residual blocks in it.
        width: channels between blocks.
        expanded: channels within them.
        cardinality: groups of those.
        half: whether it computes in bfloat16.
    """

    name: str
    blocks: list[int]
    width: int
    expanded: int
    cardinality: int
    half: bool


def convert(found: Mapping[str, Source], data: str) -> Converted:
    """The run of a file's networks with a source of data; a `UserError` if they are of another architecture."""
    generator = found.get("G_ema", found.get("G"))
    own, (embedded, classes) = stages_of(generator), embedding_of(generator)
    side, channels = FIRST << (len(own) - 1), generator.size(TO_RGB, 0)
    values = {
        "data.source": data,
        "model.family": "r3gan",
        "loss": "relativistic",
        "latent_dim": generator.size(f"{own[0].name}.0.LinearLayer.weight", 1) - embedded,
        "data.size": side,
        "data.channels": channels,
        **settings_of(generator, own, "generator"),
    }
    if classes:
        sides = {"generator": "concat", "embedding": embedded, "discriminator": "inner_product"}
        values |= {f"conditioning.{name}": value for name, value in sides.items()}
    layouts = {"generator": layout_of(generator_names(own))}
    if DISCRIMINATOR in found:
        source = found[DISCRIMINATOR]
        others = stages_of(source)[::-1]
        sizes = FIRST << (len(others) - 1), source.size(FROM_RGB, 1), embedding_of(source)[1]
        check_same(source, sizes, (side, channels, classes))
        values |= settings_of(source, others, "discriminator")
        layouts["discriminator"] = layout_of(discriminator_names(others))
    return converted(found, values, classes, layouts, ("generator",))


def embedding_of(source: Source) -> tuple[int, int]:
    """The features that labels are embedded in, and the classes; zeros if the network knows no classes."""
    return tuple(source.size(EMBEDDING, axis) if EMBEDDING in source.network.arrays else 0 for axis in (0, 1))


def stages_of(source: Source) -> list[Stage]:
    """The stages in the order in which the network has them."""
    count = len(source.numbered(r"Model\.MainLayers\.(\d+)\."))
    return [stage_of(source, f"Model.MainLayers.{number}") for number in range(count)]


def stage_of(source: Source, name: str) -> Stage:
    """The stage of a name; a `UserError` if it has no residual blocks."""
    blocks = source.numbered(rf"{re.escape(name)}\.Layers\.(\d+)\.LinearLayer2\.")
    if not blocks:
        raise UserError(f"{source.label} has no residual blocks in {name}")
    first = f"{name}.Layers.{blocks[0]}.LinearLayer"
    expanded, width = (source.size(f"{first}1.Layer.weight", axis) for axis in (0, 1))
    grouped = source.size(f"{first}2.Layer.weight", 1)
    if 0 in (expanded, width, grouped):
        raise UserError(f"{source.label} has no channels in {name}")
    half = source.attribute(f"{name}.DataType") == "torch.bfloat16"
    return Stage(f"{name}.Layers", blocks, width, expanded, expanded // grouped, half)


def settings_of(source: Source, own: list[Stage], player: str) -> dict[str, Any]:
    """The settings of a network whose stages are given from the smallest size on."""
    expansion = own[0].expanded // own[0].width
    if any(stage.expanded != expansion * stage.width for stage in own):
        listed = ", ".join(f"{stage.expanded} of {stage.width}" for stage in own)
        raise UserError(f"{source.label} expands channels differently by size ({listed}): it must be one multiple")
    settings = {
        "widths": tuple(stage.width for stage in own),
        "cardinality": tuple(stage.cardinality for stage in own),
        "blocks": tuple(len(stage.blocks) for stage in own),
        "expansion": expansion,
        "bfloat16_stages": sum(1 for _ in itertools.takewhile(lambda stage: stage.half, own[::-1])),
    }
    return {f"model.{player}.{name}": value for name, value in settings.items()}


def block_names(own: list[Stage]) -> dict[str, str]:
    """The names of all blocks' arrays by path; Flax counts the blocks through all stages."""
    places = [f"{stage.name}.{number}" for stage in own for number in stage.blocks]
    return {f"body/Block_{i}/{ours}": f"{p}.{theirs}" for i, p in enumerate(places) for ours, theirs in BLOCK.items()}


def conv_names(names: list[str]) -> dict[str, str]:
    """The names of the convolutions outside blocks, which Flax counts."""
    return {f"body/Conv_{i}/kernel": name for i, name in enumerate(names)}


def generator_names(own: list[Stage]) -> dict[str, str]:
    """Path -> name; a stage of another width than the one before begins with a convolution."""
    wider = [stage for before, stage in itertools.pairwise(own) if stage.width != before.width]
    return {
        "body/Basis_0/basis": f"{own[0].name}.0.Basis",
        "body/Dense_0/kernel": f"{own[0].name}.0.LinearLayer.weight",
        "embedding/kernel": EMBEDDING,
        **block_names(own),
        **conv_names([*(f"{stage.name}.0.LinearLayer.Layer.weight" for stage in wider), TO_RGB]),
    }


def discriminator_names(own: list[Stage]) -> dict[str, str]:
    """Path -> name; a stage of another width than the next smaller one ends with a convolution."""
    last = f"{own[0].name}.{len(own[0].blocks)}"
    wider = [stage for before, stage in itertools.pairwise(own) if stage.width != before.width]
    ends = [f"{stage.name}.{len(stage.blocks)}.LinearLayer.Layer.weight" for stage in wider[::-1]]
    return {
        "body/Basis_0/basis": f"{last}.Basis.weight",
        "Dense_0/kernel": f"{last}.LinearLayer.weight",
        "embedding/kernel": EMBEDDING,
        **block_names(own[::-1]),
        **conv_names([FROM_RGB, *ends]),
    }


def layout_of(names: Mapping[str, str]) -> Layout:
    """The layout of a network whose arrays have these names by path."""
    return Layout(lambda path: names["/".join(path[2:])], to_flax, constant)


def to_flax(name: str, array: np.ndarray) -> np.ndarray:
    """The array with Flax's axes."""
    if name.endswith((".Basis", ".Basis.weight")):
        return array.reshape(len(array), *array.shape[-2:]).transpose(1, 2, 0)
    return with_axes_of_flax(array)


def constant(name: str) -> np.ndarray | None:
    """What an array must be that is no variable."""
    return SMOOTH if name.endswith(".Resampler.Kernel") else None
