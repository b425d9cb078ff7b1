"""An experiment: what a configuration describes besides the arrays of its state, and which settings go together."""

import dataclasses
from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Int, Key, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial.augment import AUGMENTATIONS
from jaxgan.adversarial.conditioning import DISCRIMINATOR_SIDES, GENERATOR_SIDES
from jaxgan.adversarial.losses import LOSSES, Loss
from jaxgan.adversarial.penalties import BATCH_NORM_FORBIDDEN
from jaxgan.core import optimizers, rng
from jaxgan.core import settings as configuration
from jaxgan.core.state import TrainState, create_state
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError, choose


@dataclasses.dataclass(frozen=True)
class GAN:
    """What an experiment is besides its arrays: the networks, what they minimise, and how they are updated.

    Attributes:
        config: every setting.
        classes: labels that the networks know; 0 if they know none.
        networks: "generator" and "discriminator".
        optimizers: one for each network, whose updates are for a learning rate of 1.
        schedules: training step -> share of the learning rate, for each network.
        loss: the adversarial pair.
        axis_name: the axis over whose devices the batch is spread.
    """

    config: ConfigDict
    classes: int
    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, optax.GradientTransformation]
    schedules: Mapping[str, optimizers.Schedule]
    loss: Loss
    axis_name: str | None = None

    @property
    def condition_size(self) -> int:
        """Numbers that tell the generator what to draw, or a latent code's; 0 if it is told nothing."""
        return _condition_size(self.config, self.classes)

    def setting(self, state: TrainState, name: str) -> float | Array:
        """The value of a setting, for this member of a population."""
        return state.sweep.get(name, configuration.flatten(self.config)[name])

    def active(self, name: str) -> bool:
        """Whether a weight is above zero, for one member at least."""
        return any(configuration.values(self.config, name))

    @property
    def homogeneous(self) -> bool:
        """Whether the discriminator's judgement is one logit of its own example alone, which is multiplied as both are.

        Without normalisation all families have such logits, since their activations are of ReLU's kind: an example and
        all biases multiplied by a positive number, so is the logit. A condition that is joined to examples, and a guess
        of it that is part of the loss, belong to neither.
        """
        critic, side = self.config.model.discriminator, DISCRIMINATOR_SIDES[self.config.conditioning.discriminator]
        plain = critic.norm == "none" and not (critic.spectral_norm or critic.minibatch_stddev or critic.dropout)
        return plain and not (side.joins or side.recovers)

    def average(self, tree: PyTree) -> PyTree:
        """The mean over devices."""
        return tree if self.axis_name is None else lax.pmean(tree, self.axis_name)

    def largest(self, value: Array) -> Array:
        """The maximum over devices."""
        return value if self.axis_name is None else lax.pmax(value, self.axis_name)

    def global_examples(self, count: int) -> Int[Array, " batch"]:
        """The indices in the global batch of the examples that this device holds, so many of them."""
        return rng.global_indices(count, self.axis_name)

    def example_keys(
        self, state: TrainState, count: int, use: str, repeat: int | Int[Array, ""] = 0
    ) -> Key[Array, " batch"]:
        """What those examples draw from for one use in this step: a key for each."""
        key = rng.stream_key(state.seed, state.step, use, repeat)
        return rng.example_keys(key, self.global_examples(count))


def build(config: ConfigDict, classes: int = 0, axis_name: str | None = None) -> GAN:
    """The experiment that a configuration describes.

    Args:
        config: every setting.
        classes: labels of the data set; 0 if it has none.
        axis_name: the axis over whose devices the batch is spread.

    Raises:
        UserError: an unknown name, settings that do not go together, or no labels where some are needed.
    """
    check(config)
    sides = config.conditioning
    if sides.generator == "none" or DISCRIMINATOR_SIDES[sides.discriminator].recovers == "codes":
        classes = 0
    elif not classes:
        raise UserError(
            f"config.conditioning.generator={sides.generator} needs labels, and config.data.source="
            f"{config.data.source} has none: choose another source, or none for both sides of config.conditioning"
        )
    recovered = _condition_size(config, classes) if DISCRIMINATOR_SIDES[sides.discriminator].recovers else 0
    updates = {"generator": 1, "discriminator": config.discriminator_steps}
    unrolls = config.unrolled_steps > 0
    return GAN(
        config=config,
        classes=classes,
        networks=models.build(config, example_shape(config.data), recovered, axis_name),
        optimizers={name: optimizers.optimizer(config.optimizer[name], updates[name], unrolls) for name in updates},
        schedules={name: optimizers.schedule(config.optimizer[name]) for name in updates},
        loss=LOSSES[config.loss],
        axis_name=axis_name,
    )


def check(config: ConfigDict) -> None:
    """Raises a `UserError` for an unknown name, or for settings that do not go together whatever the data are."""
    sides, transforms = config.conditioning, config.penalty_settings.transform
    choose("config.loss", config.loss, LOSSES)
    choose("config.conditioning.generator", sides.generator, GENERATOR_SIDES)
    choose("config.conditioning.discriminator", sides.discriminator, DISCRIMINATOR_SIDES)
    for name in configuration.NETWORKS:
        choose(f"config.optimizer.{name}.name", config.optimizer[name].name, optimizers.OPTIMIZERS)
        choose(f"config.optimizer.{name}.schedule", config.optimizer[name].schedule, optimizers.SCHEDULES)
    for setting, entries in (("config.augment", config.augment), ("config.penalty_settings.transform", transforms)):
        for name in configuration.listed(entries):
            choose(setting, name, AUGMENTATIONS)
    models.build(config, example_shape(config.data))
    for reason in conflicts(config):
        raise UserError(reason)


def conflicts(config: ConfigDict) -> Iterator[str]:
    """Why settings do not go together, and what would be right."""
    sides, targets, loss = config.conditioning, config.targets, LOSSES[config.loss]
    judge, critic = DISCRIMINATOR_SIDES[sides.discriminator], config.model.discriminator
    penalties = [name for name in config.penalties if any(configuration.values(config, f"penalties.{name}"))]

    if (tuple(targets.real), tuple(targets.fake), targets.flip) != ((1, 1), (0, 0), 0) and not loss.takes_targets:
        able = ", ".join(name for name, entry in LOSSES.items() if entry.takes_targets)
        yield f"config.loss={config.loss} has no targets to smooth or flip: choose from {able}, or leave config.targets"
    if any(value >= 0 for value in configuration.values(config, "margin")) and not loss.takes_margin:
        able = ", ".join(name for name, entry in LOSSES.items() if entry.takes_margin)
        yield f"config.loss={config.loss} has no margin: choose from {able}, or leave config.margin at -1"
    weights = (configuration.values(config, name) for name in ("adversarial", "feature_matching"))
    if not all(map(any, np.broadcast(*weights))):  # of each member one at least
        yield "config.adversarial=0 leaves the generator nothing to learn: config.feature_matching should be above 0"

    if config.ema_half_life and "ema_decay" in configuration.sweep(config):
        yield "config.ema_half_life takes the place of ema_decay: leave one of them out"
    if config.updates == "simultaneous":
        if config.reuse_fakes:
            yield "config.reuse_fakes=True should be False with config.updates=simultaneous: it makes fakes once anyway"
        if config.discriminator_steps != 1:
            steps = config.discriminator_steps
            yield f"config.discriminator_steps={steps} should be 1 with config.updates=simultaneous"
        if config.unrolled_steps:
            yield f"config.unrolled_steps={config.unrolled_steps} should be 0 with config.updates=simultaneous"
    if config.unrolled_steps and any(configuration.values(config, "weight_clip")):
        yield "config.weight_clip should be 0 with config.unrolled_steps: no gradient passes where it clips"

    if sides.generator != "none" and sides.discriminator == "none":
        able = ", ".join(name for name in DISCRIMINATOR_SIDES if name != "none")
        yield (
            f"config.conditioning.generator={sides.generator} needs a discriminator that minds the label: choose "
            f"config.conditioning.discriminator from {able}"
        )
    if sides.generator == "none" and sides.discriminator != "none":
        able = ", ".join(name for name in GENERATOR_SIDES if name != "none")
        yield (
            f"config.conditioning.discriminator={sides.discriminator} needs a generator that is told what to draw: "
            f"choose config.conditioning.generator from {able}"
        )
    if GENERATOR_SIDES[sides.generator].modulates and config.model.generator.norm != "batch":
        yield (
            f"config.conditioning.generator={sides.generator} sets the scales and shifts of BatchNorm: "
            f"config.model.generator.norm={config.model.generator.norm} should be batch"
        )
    if sides.embedding and not (GENERATOR_SIDES[sides.generator].joins or judge.joins):
        yield (
            f"config.conditioning.embedding={sides.embedding} means nothing unless a side is concat: set "
            "config.conditioning.generator=concat, or leave it at 0"
        )
    if judge.recovers == "codes" and not sides.categories + sides.continuous:
        yield (
            f"config.conditioning.discriminator={sides.discriminator} has nothing to recover: "
            "config.conditioning.categories or config.conditioning.continuous should be above 0"
        )
    if config.packing > 1 and (judge.projects or judge.recovers):
        yield (
            f"config.packing={config.packing} should be 1 with config.conditioning.discriminator="
            f"{sides.discriminator}: the examples of a pack have different labels"
        )

    if config.batch_size % config.packing:
        yield f"config.packing={config.packing} should divide config.batch_size={config.batch_size}"
    if critic.minibatch_stddev and config.batch_size % (config.packing * critic.minibatch_stddev):
        packed = f", which packing makes {config.batch_size // config.packing} packs" * (config.packing > 1)
        yield (
            f"config.model.discriminator.minibatch_stddev={critic.minibatch_stddev} should divide "
            f"config.batch_size={config.batch_size}{packed}"
        )
    mixed = [name for name in penalties if name in BATCH_NORM_FORBIDDEN]
    if mixed and critic.norm == "batch":
        yield (
            f"config.penalties.{mixed[0]} needs config.model.discriminator.norm=none: with BatchNorm a logit depends "
            "on the whole batch, and its gradient by its own example means nothing"
        )
    if len(example_shape(config.data)) == 1:
        names = ["config.augment"] if configuration.listed(config.augment) else []
        names += [f"config.penalties.{name}" for name in penalties if name in ("cr", "bcr")]
        if names:
            yield f"{names[0]} is for images, and config.data.source={config.data.source} has none"


def example_inputs(exp: GAN) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    config, size = exp.config, exp.condition_size
    *places, channels = example_shape(config.data)
    side = DISCRIMINATOR_SIDES[config.conditioning.discriminator]
    count = config.model.discriminator.minibatch_stddev or 1
    told = jnp.zeros((count, size * config.packing)) if side.joins or side.projects else None
    return {
        "generator": (jnp.zeros((1, config.latent_dim)), jnp.zeros((1, size)) if size else None),
        "discriminator": (jnp.zeros((count, *places, channels * config.packing)), told),
    }


def initial_state(exp: GAN, seed: int | Array | None = None, sweep: Mapping[str, Array] | None = None) -> TrainState:
    """The state of an experiment at step 0; for a member of a population, of its own seed and settings."""
    penalties = [name for name in exp.config.penalties if exp.active(f"penalties.{name}")]
    remembered = [name for name in penalties if exp.config.penalty_every[name] > 1]
    remembered += ["lecam_real", "lecam_fake"] if "lecam" in penalties else []
    return create_state(
        exp.config.seed if seed is None else seed,
        exp.networks,
        exp.optimizers,
        example_inputs(exp),
        memory={name: jnp.zeros(()) for name in remembered},
        sweep=sweep or {},
    )


def _condition_size(config: ConfigDict, classes: int) -> int:
    if config.conditioning.generator != "none" and not classes:
        return config.conditioning.categories + config.conditioning.continuous
    return classes
