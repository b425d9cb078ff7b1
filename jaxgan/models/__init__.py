"""Model families: pure Flax modules, a generator beside its discriminator."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
from ml_collections import ConfigDict

from jaxgan.config import default
from jaxgan.errors import UserError, choose
from jaxgan.models import dcgan, layers, mlp


class Family(NamedTuple):
    """Two networks made for each other.

    Attributes:
        generator: called with (latents, train), makes images.
        discriminator: called with (images, train), makes one logit per image.
        check_size: says what would be right if the family cannot make images of that size.
    """

    generator: type[nn.Module]
    discriminator: type[nn.Module]
    check_size: Callable[[int], str | None]


MODELS = {
    "dcgan": Family(dcgan.Generator, dcgan.Discriminator, dcgan.check_size),
    "mlp": Family(mlp.Generator, mlp.Discriminator, mlp.check_size),
}

TABLES = {"norm": layers.NORMS, "downsampling": layers.DOWNSAMPLINGS}  # of a network's settings that are names


def build(config: ConfigDict, axis_name: str | None = None) -> dict[str, nn.Module]:
    """The networks of an experiment, by name.

    Args:
        config: the whole configuration.
        axis_name: the axis over whose devices the batch is spread, for BatchNorm.

    Raises:
        UserError: the family cannot make images of `config.data.size`, or a network lacks a setting that was changed.
    """
    family = MODELS[config.model.family]
    advice = family.check_size(config.data.size)
    if advice:
        raise UserError(
            f"config.data.size={config.data.size} does not fit config.model.family={config.model.family}: {advice}"
        )
    images = {"size": config.data.size, "channels": config.data.channels}
    return {
        "generator": family.generator(
            **images, **_settings(config, "generator", family.generator), axis_name=axis_name
        ),
        "discriminator": family.discriminator(
            **_settings(config, "discriminator", family.discriminator), axis_name=axis_name
        ),
    }


def _settings(config: ConfigDict, network: str, module: type[nn.Module]) -> dict:
    """The settings of one network, without those that its family does not know and that nobody asked for."""
    known = {field.name for field in dataclasses.fields(module)}
    choose("config.model.initializer", config.model.initializer, layers.INITIALIZERS)
    settings = {"initializer": config.model.initializer, "init_stddev": config.model.init_stddev}
    for name, value in config.model[network].items():
        if name in known:
            settings[name] = value
        elif value != default().model[network][name]:
            raise UserError(
                f"config.model.{network}.{name}={value!r} means nothing to config.model.family={config.model.family}: "
                f"leave it at {default().model[network][name]!r}"
            )
    for name, table in TABLES.items():
        if name in settings:
            choose(f"config.model.{network}.{name}", settings[name], table)
    return settings
