"""Projected GAN: a generator against discriminators of features that a frozen network has.

The frozen network is a constant of the step: no player owns it, so that it has neither gradients nor an optimizer.
Gradients by images pass through it. The random mixing behind it is the model state of the discriminator, saved with it.
Each training step updates the generator, then the discriminator, each with fakes of its own.

References:
    Sauer et al., Projected GANs Converge Faster, 2021. https://arxiv.org/abs/2111.01007
    The authors' PyTorch code: https://github.com/autonomousvision/projected-gan
"""

from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import augment, conditioning, losses, monitors
from jaxgan.adversarial.backbones import BACKBONES, WIDTHS
from jaxgan.adversarial.conditioning import Condition
from jaxgan.adversarial.forward import data_field
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.objectives import adversarial_values, diversity_ratio, global_means
from jaxgan.core import latents as core_latents
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import POSITIVE, Choice, Setting, Settings, names_of, split_names
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task, example_fields
from jaxgan.models import projected

PLAYERS = {"generator": Player(("generator",), ("generator",)), "discriminator": Player(("discriminator",))}
ROLES = {"generator": "generator"}

Images = Float[Array, "batch height width channel"]
Params = Mapping[str, PyTree]


def generate(
    exp: Experiment, state: TrainState, params: PyTree, labels: Condition, count: int, stream: str
) -> tuple[Images, PyTree]:
    """`count` fakes of some labels, and the generator's new model state."""
    key, noise = (rng.stream_key(state.seed, state.step, f"{stream} {what}") for what in ("latents", "noise"))
    latents = core_latents.sample_latents(key, exp.global_indices(count), exp.config.latent_dim)
    variables = state.networks["generator"].replace(params=params)
    return apply(exp.networks["generator"], variables, latents, labels, train=True, key=noise)


def enlarged_size(exp: Experiment, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the images that the frozen network is given."""
    return max(shape[0], exp.config.projection.size), max(shape[1], exp.config.projection.size)


def features(exp: Experiment, state: TrainState, images: Images, stream: str) -> list[Float[Array, "batch _ _ _"]]:
    """The frozen network's features of augmented images."""
    keys = exp.example_keys(state, len(images), f"{stream} augment")
    given = augment.augment(images, keys, split_names(exp.config.augment))
    shape = len(images), *enlarged_size(exp, images.shape[1:]), images.shape[3]
    enlarged = jax.image.resize(given, shape, "linear", antialias=False)
    return BACKBONES[exp.config.projection.backbone].pyramid(exp.constants, enlarged)


def discriminate(
    exp: Experiment, state: TrainState, variables: Variables, images: Images, labels: Condition, stream: str
) -> tuple[Float[Array, "batch places"], PyTree]:
    """The logits of images, and the discriminator's new model state."""
    return apply(exp.networks["discriminator"], variables, features(exp, state, images, stream), labels, train=True)


def generator_step(exp: Experiment, state: TrainState, real: Images, labels: Condition) -> tuple[TrainState, Metrics]:
    """One update of the generator."""
    critic = state.networks["discriminator"]

    def objective(params: Params) -> tuple[Array, tuple[PyTree, Metrics]]:
        fake, model_state = generate(exp, state, params["generator"], labels, len(real), "generator")
        pair = (real, labels, "generator real"), (fake, labels, "generator fake")
        logits = [discriminate(exp, state, critic, *own)[0].ravel() for own in pair]
        loss = LOSSES[exp.config.loss].generator(*logits, **global_means(exp, *logits)).mean()
        return loss, (model_state, {"loss/generator": loss})

    grads, _, (model_state, metrics) = gradients(exp, state, "generator", objective)
    return apply_gradients(exp, state, "generator", grads, {"generator": model_state}, metrics)


def discriminator_step(
    exp: Experiment, state: TrainState, real: Images, labels: Condition
) -> tuple[TrainState, Metrics]:
    """One update of the discriminator."""
    fake, _ = generate(exp, state, state.networks["generator"].params, labels, len(real), "discriminator")

    def objective(params: Params) -> tuple[Array, tuple[PyTree, Metrics]]:
        variables = state.networks["discriminator"].replace(params=params["discriminator"])
        real_logits, between = discriminate(exp, state, variables, real, labels, "discriminator real")
        variables = variables.replace(model_state=between)
        fake_logits, after = discriminate(exp, state, variables, fake, labels, "discriminator fake")
        loss = adversarial_values(exp, state, real_logits.ravel(), fake_logits.ravel()).mean()
        pair = real_logits.mean(1), fake_logits.mean(1)
        metrics = {"loss/discriminator": loss, "logits/real": pair[0].mean(), "logits/fake": pair[1].mean()}
        metrics["d_pairwise_accuracy"] = 0.5 + 0.5 * jnp.sign(pair[0] - pair[1]).mean()  # a tie is half of one
        return loss, (after, metrics)

    grads, _, (model_state, metrics) = gradients(exp, state, "discriminator", objective)
    metrics["diversity_ratio"] = diversity_ratio(exp, real, fake)
    return apply_gradients(exp, state, "discriminator", grads, {"discriminator": model_state}, metrics)


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of the generator, then one of the discriminator."""
    before, batch = state, {name: array[0] for name, array in batch.items()}
    real, labels = batch[data_field(exp)], conditioning.one_hot_labels(exp, batch)
    state, metrics = generator_step(exp, state, real, labels)
    state, own = discriminator_step(exp, state, real, labels)
    return finish_step(exp, before, state, metrics | own)


def sample(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Images from seeds and labels, with fixed noise; between two seeds, a walk on the great circle."""
    latents = core_latents.latents_between(inputs["seed"], inputs["index"], exp.config.latent_dim, inputs)
    labels = conditioning.one_hot_labels(exp, inputs)
    images, _ = apply(exp.networks["generator"], variables["generator"], latents, labels, train=False)
    return {data_field(exp): images}


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """The generator of a family, and the discriminators."""
    del classes
    (shape,) = (field.shape for field in example_fields(fields))
    generator = models.make(config, "generator", ROLES["generator"], shape, axis_name)
    discriminator = projected.Discriminator(
        base_channels=config.projection.base_channels,
        axis_name=axis_name,
        batch_last=jax.default_backend() == "cpu",
        dtype=jnp.dtype(config.precision),
    )
    return {"generator": generator, "discriminator": discriminator}


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    (shape,) = (field.shape for field in example_fields(exp.fields))
    rows, columns = enlarged_size(exp, shape)
    pyramid = tuple(jnp.zeros((1, rows >> 2 + i, columns >> 2 + i, count)) for i, count in enumerate(WIDTHS))
    labels = jnp.zeros((1, exp.classes)) if exp.config.conditional else None
    return {"generator": (jnp.zeros((1, exp.config.latent_dim)), labels), "discriminator": (pyramid, labels)}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    config, examples = exp.config, example_fields(exp.fields)
    if len(examples) != 1 or examples[0].kind != "pixels":
        yield f"config.algorithm=projected_gan makes images, and config.data.source={config.data.source} has none"
        return
    own, shape = config.projection, examples[0].shape
    if (reason := projected.check_size(*enlarged_size(exp, shape))) is not None:
        yield f"config.projection.size={own.size} with config.data.size={config.data.size} {reason}"
    backbone = BACKBONES[own.backbone]
    if (reason := backbone.unavailable(f"config.projection.backbone={own.backbone}", shape[2])) is not None:
        yield reason
    if (reason := ema_conflict(exp)) is not None:
        yield reason
    yield from conditioning.check_labels(exp)
    family = config.model.family
    norm = "batch" if family == "fastgan" else config.model.generator.get("norm", "none")
    if config.conditional and norm != "batch":
        yield (
            f"config.conditional=True sets the scales and shifts of BatchNorm, and config.model.family={family} with "
            f"norm={norm} has none"
        )
    if (count := config.model.generator.get("embedding", 0)) and not config.conditional:
        yield f"config.model.generator.embedding={count} is of labels: it must be 0 with config.conditional=False"


SETTINGS: Settings = {
    "latent_dim": Setting(256, "numbers of a latent vector", POSITIVE),
    **conditioning.CONDITIONAL,
    **models.settings(ROLES, family="fastgan", images=True),
    "projection": {
        "backbone": Choice(
            "efficientnet",
            "the frozen network: efficientnet, a classifier of ImageNet, or random, which was not trained",
            names_of(BACKBONES),
        ),
        "size": Setting(224, "rows and columns to which smaller images are enlarged for the frozen network", POSITIVE),
        "base_channels": Setting(64, "channels of the largest features, once they are mixed", POSITIVE),
    },
    **losses.SETTINGS | {"loss": losses.SETTINGS["loss"]._replace(default="hinge")},
    "augment": augment.SETTINGS["augment"]._replace(default=("colour", "translation", "small_cutout")),
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

ADVICE = "more images, config.data.flip=True, or a smaller learning rate"

PROJECTED_GAN = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "sample": Task(
            ("generator",),
            sample,
            lambda exp: {data_field(exp): "pixels"},
            options=("labels", "truncation", "fraction", "end_seed"),
        ),
    },
    smallest={
        "data.source": "digits",
        "data.size": 8,
        "batch_size": 4,
        "latent_dim": 4,
        "model.family": "mlp",
        "model.generator.width": 4,
        "projection.backbone": "random",
        "projection.size": 128,
        "projection.base_channels": 2,
    },
    check=check,
    choices=lambda exp: exp.classes if exp.config.conditional else 0,
    draws_classes=lambda exp: exp.config.conditional,
    constants=lambda exp: BACKBONES[exp.config.projection.backbone].load(),
    headlines=("loss/discriminator", "loss/generator"),
    curves=("loss", "logits", "learning_rate"),
    monitors=(monitors.mode_collapse("generator", ADVICE), monitors.perfect_discriminator(ADVICE)),
)
