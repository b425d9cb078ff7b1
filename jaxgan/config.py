"""Configurations and the experiments that they describe: where the tables of algorithms and data sources meet.

config = default({"algorithm": "gan", "model.family": "toy_mlp", "data.source": "world:ring"})
exp = build(config)
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from jaxgan import callbacks
from jaxgan.algorithms import ALGORITHMS
from jaxgan.core import experiment, population, program
from jaxgan.core import settings as declarations
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import Choice, Declarations, Settings
from jaxgan.data import loader, sources
from jaxgan.io import checkpoint, logging
from jaxgan.metrics import evaluator

__all__ = ["SETTINGS", "build", "default", "example_batch", "load", "save", "validate", "with_changes"]


def _joined(*declared: Settings) -> dict[str, Any]:
    """Several declarations as one; groups of one name are joined."""
    found: dict[str, Any] = {}
    for each in declared:
        for name, entry in each.items():
            both = isinstance(entry, Mapping) and name in found
            found[name] = _joined(found[name], entry) if both else entry
    return found


SETTINGS: Settings = _joined(
    {
        "algorithm": Choice(
            "gan", "the way of learning", lambda: {name: entry.settings for name, entry in ALGORITHMS.items()}
        )
    },
    population.SETTINGS,
    program.SETTINGS,
    sources.SETTINGS,
    loader.SETTINGS,
    logging.SETTINGS,
    callbacks.SETTINGS,
    checkpoint.SETTINGS,
    evaluator.SETTINGS,
)


def default(values: Mapping[str, Any] = MappingProxyType({})) -> ConfigDict:
    """A configuration of all settings that exist with these values: the defaults for the others.

    Choices, such as "algorithm", "model.family" or "data.source", decide which settings there are, so they belong here;
    all other values may be assigned later as well.

    Raises:
        UserError: there is no such setting or choice.
    """
    return declarations.default(SETTINGS, values)


def with_changes(config: ConfigDict, changes: Mapping[str, Any]) -> tuple[ConfigDict, dict[str, Any]]:
    """The configuration after other choices, with all changed values that they know, and the dropped values."""
    return declarations.with_changes(SETTINGS, config, changes)


def validate(config: ConfigDict) -> Declarations:
    """The declarations of a configuration's settings; a `UserError` if one is unknown, missing or out of range."""
    flat = declarations.flatten(config)
    for part in ";".join(str(flat.get(name, "")) for name in ("sweep", "schedules")).split(";"):
        name = part.partition("=")[0].strip()
        if name in declarations.every_name(SETTINGS):  # but maybe with other choices
            declarations.check_name(SETTINGS, declarations.resolve(SETTINGS, flat), flat, name)
    resolved = declarations.validate(SETTINGS, config)
    population.check(config)
    return resolved


def save(config: ConfigDict, path: Path) -> None:
    """Writes the configuration as JSON, all of it or nothing."""
    declarations.save(config, path)


def load(path: Path) -> ConfigDict:
    """Reads what `save` wrote; a setting that the file lacks takes its default."""
    return declarations.load(SETTINGS, path)


def build(config: ConfigDict, classes: int = 0, axis_name: str | None = None) -> Experiment:
    """The experiment that a configuration describes.

    Args:
        config: every setting.
        classes: labels of the data set; 0 if it has none.
        axis_name: the axis over whose devices the batch is sharded.

    Raises:
        UserError: an unknown name, settings that do not go together, or no labels where some are needed.
    """
    resolved = validate(config)
    fields = sources.fields_of(config.data)
    return experiment.build(resolved, ALGORITHMS[config.algorithm], fields, config, classes, axis_name)


def example_batch(exp: Experiment, seed: int = 0) -> dict[str, Array]:
    """Made-up examples, as a training step takes them: arrays [batches, batch, ...], in [-1, 1] but for labels."""
    batch = {}
    for field in exp.fields:
        rng = np.random.default_rng(seed)
        shape = (exp.algorithm.batches_per_step(exp.config), exp.config.batch_size, *field.shape)
        if field.kind == "labels":
            batch[field.name] = jnp.asarray(rng.integers(0, max(exp.classes, 1), shape), jnp.int32)
        else:
            batch[field.name] = jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)
    return batch
