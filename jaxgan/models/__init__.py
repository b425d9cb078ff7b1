"""Model families: pure Flax modules, a generator beside its discriminator."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxgan.adversarial import conditioning
from jaxgan.core.settings import default
from jaxgan.errors import UserError, choose
from jaxgan.models import dcgan, mlp, tf_dcgan, toy_mlp
from jaxgan.models.ops import layers


class Family(NamedTuple):
    """Two networks made for each other.

    Attributes:
        generator: called with (latents, modulation, train), makes examples.
        discriminator: called with (examples, train), makes features.
        advice: says what would be right if the family cannot make examples of some shape.
    """

    generator: type[nn.Module]
    discriminator: type[nn.Module]
    advice: Callable[[tuple[int, ...]], str | None]


MODELS = {
    "dcgan": Family(dcgan.Generator, dcgan.Discriminator, dcgan.advice),
    "tutorial": Family(tf_dcgan.Generator, tf_dcgan.Discriminator, tf_dcgan.advice),
    "mlp": Family(mlp.Generator, mlp.Discriminator, mlp.advice),
    "points": Family(toy_mlp.Generator, toy_mlp.Discriminator, toy_mlp.advice),
}

TABLES = {"norm": layers.NORMS, "downsampling": layers.DOWNSAMPLINGS}  # of a network's settings that are names


def build(
    config: ConfigDict, shape: tuple[int, ...], recovered: int = 0, axis_name: str | None = None
) -> dict[str, nn.Module]:
    """The networks of an experiment, by name.

    Args:
        config: the whole configuration.
        shape: of one example: (size, size, channels) of an image, (dim,) of a point.
        recovered: numbers of a condition that the discriminator guesses.
        axis_name: the axis over whose devices the batch is spread, for BatchNorm.

    Raises:
        UserError: the family cannot make such examples, or a network lacks a setting that was changed.
    """
    family = MODELS[choose("config.model.family", config.model.family, MODELS)]
    advice = family.advice(shape)
    if advice:
        size = f"config.data.size={config.data.size}" if len(shape) == 3 else f"config.data.source={config.data.source}"
        raise UserError(f"{size} does not fit config.model.family={config.model.family}: {advice}")
    made = {"size": shape[0], "channels": shape[-1]} if len(shape) == 3 else {"dim": shape[0]}
    sides = config.conditioning
    choose("config.conditioning.generator", sides.generator, conditioning.GENERATOR_SIDES)
    choose("config.conditioning.discriminator", sides.discriminator, conditioning.DISCRIMINATOR_SIDES)
    generator = family.generator(**made, **_settings(config, "generator", family.generator), axis_name=axis_name)
    settings = _settings(config, "discriminator", family.discriminator)
    discriminator = family.discriminator(**settings, axis_name=axis_name)
    return {
        "generator": conditioning.Generator(generator, sides.generator, sides.embedding),
        "discriminator": conditioning.Discriminator(
            discriminator,
            sides.discriminator,
            sides.embedding,
            recovered,
            settings["spectral_norm"],
            layers.INITIALIZERS[config.model.initializer](config.model.init_stddev),
        ),
    }


def _settings(config: ConfigDict, network: str, module: type[nn.Module]) -> dict:
    """The settings of one network, without those that its family does not know and that nobody asked for."""
    known = {field.name for field in dataclasses.fields(module)}
    choose("config.model.initializer", config.model.initializer, layers.INITIALIZERS)
    settings = {"initializer": config.model.initializer, "init_stddev": config.model.init_stddev}
    if "dtype" in known:
        settings["dtype"] = jnp.dtype(config.precision)
    if "batch_last" in known:
        settings["batch_last"] = jax.default_backend() == "cpu"
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
