"""pix2pix: a generator translates images whose right translations are known; a discriminator is given both joined.

References:
    Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017.
    https://arxiv.org/abs/1611.07004
    Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (pix2pixHD), 2018
    (feature matching, scales). https://arxiv.org/abs/1711.11585
    The authors' code: https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
"""

from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import patches
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings, one_of
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task
from jaxgan.models.patchgan import PatchOutput

ROLES = {"generator": "translator", "discriminator": "patch_discriminator"}
PLAYERS = {"generator": Player(("generator",), ("generator",)), "discriminator": Player(("discriminator",))}

Images = Float[Array, "batch height width channel"]
AnyImages = Float[Array, "batch height width _"]


def domains(exp: Experiment) -> tuple[str, str]:
    """The fields that images are translated from and to."""
    source, target = exp.config.direction
    return source, target


def channels(exp: Experiment) -> tuple[int, int]:
    """Of a source and of a target, which are joined for the discriminator."""
    found = {field.name: field.shape[-1] for field in exp.fields}
    source, target = domains(exp)
    return found[source], found[target]


def generate(exp: Experiment, state: TrainState, params: PyTree, source: Images) -> tuple[Images, PyTree]:
    """Translations and the generator's new model state; dropout is all that is random."""
    variables = state.networks["generator"].replace(params=params)
    key = rng.stream_key(state.seed, state.step, "generator dropout")
    return apply(exp.networks["generator"], variables, source, train=True, key=key)


def generator_objective(
    exp: Experiment, state: TrainState, source: Images, target: Images, fake: Images
) -> tuple[Float[Array, ""], Metrics]:
    """What the generator minimises by its translations; with it metrics."""
    pair = joined(source, target), joined(source, fake)
    variables = state.networks["discriminator"]
    loss, outputs = patches.generator_loss(exp, state, "discriminator", variables, pair, channels(exp))
    metrics = {"loss/generator": loss, "loss/l1": jnp.abs(fake - target).mean()}
    total = hparam(exp, state, "adversarial") * loss + hparam(exp, state, "l1") * metrics["loss/l1"]
    if exp.is_enabled("feature_matching"):
        metrics["loss/feature_matching"] = feature_distance(*outputs)
        total += hparam(exp, state, "feature_matching") * metrics["loss/feature_matching"]
    return total, metrics


def joined(source: Images, target: AnyImages) -> AnyImages:
    """Both images as one of all their channels."""
    return jnp.concatenate([source, target], axis=-1)


def feature_distance(real: PatchOutput, fake: PatchOutput) -> Float[Array, ""]:
    """The mean absolute difference of features, times 4 / (layers + 1): over all layers' sum, and the mean of scales.

    References:
        Wang et al., pix2pixHD, 2018, equation 4, with the weights of the authors' code, whose discriminators have
        as many layers as halvings. https://github.com/NVIDIA/pix2pixHD
    """
    scales = []
    for own, other in zip(real.features, fake.features, strict=True):
        layers = [jnp.abs(lax.stop_gradient(x) - y).mean() for x, y in zip(own, other, strict=True)]
        scales.append(sum(layers) * 4 / len(layers))
    return jnp.stack(scales).mean()


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of the discriminator, then one of the generator, of the same translations."""
    source, target = (batch[name][0] for name in domains(exp))
    fake, vjp, generator_state = jax.vjp(
        lambda params: generate(exp, state, params, source), state.networks["generator"].params, has_aux=True
    )
    pair = joined(source, target), joined(source, lax.stop_gradient(fake))

    def discriminator_objective(params: Mapping[str, PyTree]) -> tuple[Array, tuple]:
        variables = state.networks["discriminator"].replace(params=params["discriminator"])
        return patches.discriminator_objective(exp, state, "discriminator", variables, pair, channels(exp))

    grads, _, (model_state, metrics, carried) = gradients(exp, state, "discriminator", discriminator_objective)
    extra = {"discriminator": carried} if carried else {}
    after, metrics = apply_gradients(exp, state, "discriminator", grads, {"discriminator": model_state}, metrics, extra)
    to_fake, own = jax.grad(lambda fake: generator_objective(exp, after, source, target, fake), has_aux=True)(fake)
    grads = {"generator": vjp(to_fake)[0]}
    after, own = apply_gradients(exp, after, "generator", grads, {"generator": generator_state}, own)
    return finish_step(exp, state, after, metrics | own)


def translate(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Translations as in training: dropout is on, and BatchNorm takes the moments of the image itself.

    The seed and the index of an image give its dropout. In the authors' code the batch of a test has one image as well.
    """
    source, target = domains(exp)
    network = exp.networks["generator"].clone(axis_name=None)  # an image's moments are its own

    def one(image: Array, seed: Array, index: Array) -> Array:
        key = jax.random.fold_in(rng.stream_key(seed, 0, "generator dropout"), index)
        return apply(network, variables["generator"], image[None], train=True, key=key)[0][0]

    return {target: jax.vmap(one)(inputs[source], inputs["seed"], inputs["index"])}


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """A generator of the target's shape, and a discriminator."""
    del classes
    shapes = {field.name: field.shape for field in fields}
    shape = shapes[config.direction[1]]
    return {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    shapes = {field.name: field.shape for field in exp.fields}
    source, target = (jnp.zeros((1, *shapes[name])) for name in domains(exp))
    return {"generator": (source,), "discriminator": (joined(source, target),)}


def extra(exp: Experiment) -> dict[str, PyTree]:
    """What the discriminator carries."""
    carried = patches.initial_extra(exp)
    return {"discriminator": carried} if carried else {}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    fields = {field.name: field for field in exp.fields}
    if not fields.keys() >= {"a", "b"} or fields["a"].group != fields["b"].group:
        yield (
            f"config.algorithm=pix2pix translates images whose right translations are known, and config.data.source="
            f"{exp.config.data.source} has no pairs: make it paired:A|B"
        )
        return
    yield from patches.check(exp, fields["a"].shape[:2])
    if (reason := ema_conflict(exp)) is not None:
        yield reason


SETTINGS: Settings = {
    "direction": Setting("ab", "ab translates field a into field b, ba the other way round", one_of("ab", "ba")),
    **models.settings(ROLES, family="pix2pix"),
    **patches.settings(loss="non_saturating", weight=1.0),
    "l1": Setting(100.0, "weight of the mean absolute difference from the right image", NOT_NEGATIVE, sweepable=True),
    "feature_matching": Setting(
        0.0, "weight of the difference of the discriminator's features; 10 in pix2pixHD", NOT_NEGATIVE, sweepable=True
    ),
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

PIX2PIX = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "translate": Task(
            ("generator",),
            translate,
            lambda exp: {domains(exp)[1]: "pixels"},
            needs=lambda exp: (domains(exp)[0],),
            sides=lambda exp: exp.networks["generator"].sides,
        ),
    },
    smallest={
        "data.source": "paired:edited:left_half:digits|digits",
        "data.size": 8,
        "batch_size": 4,
        "model.generator.base_channels": 2,
        "model.discriminator.base_channels": 2,
        "model.discriminator.depth": 1,
    },
    check=check,
    extra=extra,
    drawn=("translate",),
    headlines=("loss/discriminator", "loss/generator", "loss/l1"),
    curves=("loss", "logits", "ada", "learning_rate"),
)
