"""The First Order Motion Model: a source image moves as the frames of a driving clip do.

Two frames of a clip make an example. Keypoints of both imply a motion, which warps the source into the driving frame.
Keypoints are learnt without labels: a random deformation of an image has to move them along.

References:
    Siarohin et al., First Order Motion Model for Image Animation, 2019. https://arxiv.org/abs/2003.00196
    The authors' code: https://github.com/AliaksandrSiarohin/first-order-model
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import deformations, losses, patches, perceptual
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.objectives import global_means
from jaxgan.core import optimizers
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task
from jaxgan.models.ops.keypoints import Keypoints, Motion, inverse
from jaxgan.models.patchgan import PatchOutput

ROLES = {
    "keypoints": "keypoint_detector",
    "motion": "dense_motion",
    "generator": "warping_generator",
    "discriminator": "keypoint_discriminator",
}
ANIMATORS = ("keypoints", "motion", "generator")
PLAYERS = {"generator": Player(ANIMATORS, ANIMATORS), "discriminator": Player(("discriminator",))}
FIELDS = ("source", "driving")

Images = Float[Array, "batch height width channel"]


class Animation(NamedTuple):
    """What a source and a driving image become in training.

    Attributes:
        fake: the source moved, from 0 to 1.
        driving: keypoints of the driving image.
        deformed: keypoints of the driving image after a deformation, if they are asked for.
        model_state: the networks' new model states, by name.
    """

    fake: Images
    driving: Keypoints
    deformed: Keypoints | None
    model_state: dict[str, PyTree]


def unit(pixels: Images) -> Images:
    """Images from -1 to 1 as networks take them, from 0 to 1."""
    return (pixels + 1) / 2


def animation(
    exp: Experiment,
    networks: Mapping[str, Variables],
    source: Images,
    driving: Images,
    deformed: Images | None,
) -> Animation:
    """One training pass; BatchNorm's moments are those of each image's own batch, as in the authors' code."""
    states = {name: networks[name].model_state for name in ANIMATORS}

    def run(name: str, *inputs: Array | Keypoints | Motion) -> Array | Keypoints | Motion:
        variables = networks[name].replace(model_state=states[name])
        out, states[name] = apply(exp.networks[name], variables, *inputs, train=True)
        return out

    given = [run("keypoints", images) for images in (source, driving)]
    fake = run("generator", source, run("motion", source, *given))
    return Animation(fake, given[1], None if deformed is None else run("keypoints", deformed), states)


def is_equivariance_enabled(exp: Experiment) -> bool:
    """Whether keypoints have to move along with a deformation."""
    return exp.is_enabled("equivariance_position") or exp.is_enabled("equivariance_jacobian")


def equivariance(
    deformation: deformations.Deformation, driving: Keypoints, deformed: Keypoints
) -> dict[str, Float[Array, ""]]:
    """How far keypoints are from moving as the image does: mean absolute differences of positions, and of Jacobians.

    Args:
        deformation: that reads a deformed image's pixels at places of the image.
        driving: keypoints of the image.
        deformed: those of the deformed image.

    References:
        Siarohin et al., 2019, equations 9 to 11.
    """
    moved = deformations.move(deformation, deformed.positions)
    found = {"equivariance_position": jnp.abs(driving.positions - moved).mean()}
    if driving.jacobians is not None:
        slopes = deformations.jacobians(deformation, deformed.positions) @ deformed.jacobians
        found["equivariance_jacobian"] = jnp.abs(jnp.eye(2) - inverse(driving.jacobians) @ slopes).mean()
    return found


def generator_objective(
    exp: Experiment, state: TrainState, networks: Mapping[str, Variables], source: Images, driving: Images
) -> tuple[Float[Array, ""], tuple[Animation, Metrics]]:
    """What keypoints, motion and generator minimise together; with it the training pass and metrics."""
    deformation = deformed = None
    if is_equivariance_enabled(exp):
        deformation = deformations.draw(exp.example_keys(state, len(driving), "deformation"))
        deformed = deformations.deform(deformation, driving)
    found = animation(exp, networks, source, driving, deformed)
    scales = exp.config.perceptual_scales
    values = {"perceptual": perceptual.distance(exp.constants, driving, found.fake, scales)}
    if deformation is not None:
        values |= equivariance(deformation, found.driving, found.deformed)
    if is_adversarial(exp):
        values |= adversarial(exp, networks["discriminator"], found, driving)
    total = sum(hparam(exp, state, name) * value for name, value in values.items())
    metrics = {f"loss/{name}": value for name, value in values.items() if name != "adversarial"}
    metrics |= {"loss/l1": jnp.abs(found.fake - driving).mean()}
    metrics |= {"loss/generator": values["adversarial"]} if "adversarial" in values else {}
    return total, (found, metrics)


def is_adversarial(exp: Experiment) -> bool:
    """Whether the discriminator has a part; without one it is not trained either, as in vox-256."""
    return exp.is_enabled("adversarial") or exp.is_enabled("feature_matching")


def adversarial(
    exp: Experiment, variables: Variables, found: Animation, driving: Images
) -> dict[str, Float[Array, ""]]:
    """The generator's loss by the discriminator, and the sum over layers of differences of its features."""
    positions = lax.stop_gradient(found.driving.positions)

    def d_out(images: Images) -> PatchOutput:
        return apply(exp.networks["discriminator"], variables, images, positions, train=True)[0]

    real, fake = d_out(driving), d_out(found.fake)
    pairs = zip(real.logits, fake.logits, strict=True)
    generator = LOSSES[exp.config.loss].generator
    values = [generator(*patches.flat(*pair), **global_means(exp, *pair)) for pair in pairs]
    layers = zip(sum(real.features, ()), sum(fake.features, ()), strict=True)
    differences = [jnp.abs(lax.stop_gradient(own) - other).mean() for own, other in layers]
    return {"adversarial": patches.mean(values), "feature_matching": sum(differences)}


def discriminator_objective(
    exp: Experiment, state: TrainState, variables: Variables, found: Animation, driving: Images
) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
    """What the discriminator minimises, given both images and the driving keypoints; its new model state, metrics."""
    network, positions = exp.networks["discriminator"], lax.stop_gradient(found.driving.positions)
    real, model_state = apply(network, variables, driving, positions, train=True)
    variables = variables.replace(model_state=model_state)
    fake, model_state = apply(network, variables, lax.stop_gradient(found.fake), positions, train=True)
    loss = patches.discriminator_loss(exp, state, real, fake)
    metrics = {"loss/discriminator": loss}
    metrics |= {f"logits/{name}": patches.image_logits(own).mean() for name, own in (("real", real), ("fake", fake))}
    return loss, (model_state, metrics)


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of all that animates and one of the discriminator, of the same images."""
    source, driving = (unit(batch[name][0]) for name in FIELDS)

    def with_params(params: Mapping[str, PyTree]) -> dict[str, Variables]:
        return {name: own.replace(params=params.get(name, own.params)) for name, own in state.networks.items()}

    grads, _, (found, metrics) = gradients(
        exp, state, "generator", lambda params: generator_objective(exp, state, with_params(params), source, driving)
    )
    after, metrics = apply_gradients(exp, state, "generator", grads, found.model_state, metrics)
    if is_adversarial(exp):

        def objective(params: Mapping[str, PyTree]) -> tuple[Array, tuple]:
            return discriminator_objective(exp, state, with_params(params)["discriminator"], found, driving)

        grads, _, (model_state, own) = gradients(exp, state, "discriminator", objective)
        after, own = apply_gradients(exp, after, "discriminator", grads, {"discriminator": model_state}, own)
        metrics |= own
    return finish_step(exp, state, after, metrics)


def relative(source: Keypoints, driving: Keypoints, initial: Keypoints) -> Keypoints:
    """The source's keypoints, moved and turned as the driving ones have been since an initial frame.

    References:
        Siarohin et al., 2019, equations 12 and 13.
    """
    positions = source.positions + driving.positions - initial.positions
    if source.jacobians is None:
        return Keypoints(positions, None)
    return Keypoints(positions, driving.jacobians @ inverse(initial.jacobians) @ source.jacobians)


def animate(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Each source moved to its driving frame: relative to an initial driving frame, or to the driving frame itself."""

    def run(name: str, *given: Array | Keypoints | Motion) -> Array | Keypoints | Motion:
        return apply(exp.networks[name], variables[name], *given, train=False)[0]

    images = {name: unit(inputs[name]) for name in (*FIELDS, "initial") if name in inputs}
    found = {name: run("keypoints", own) for name, own in images.items()}
    driving = relative(found["source"], found["driving"], found["initial"]) if "initial" in found else found["driving"]
    motion = run("motion", images["source"], found["source"], driving)
    return {"result": 2 * run("generator", images["source"], motion) - 1}


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """Of images of the source's shape."""
    del classes
    (shape,) = {field.shape for field in fields if field.name in FIELDS}
    return {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    (shape,) = {field.shape for field in exp.fields if field.name in FIELDS}
    own, dense = exp.config.model.keypoints, exp.config.model.motion
    images, positions = jnp.zeros((1, *shape)), jnp.zeros((1, own.count, 2))
    jacobians = jnp.broadcast_to(jnp.eye(2), (1, own.count, 2, 2)) if own.jacobians else None
    keypoints, size = Keypoints(positions, jacobians), tuple(side // dense.shrink for side in shape[:2])
    motion = Motion(jnp.zeros((1, *size, 2)), jnp.zeros((1, *size, 1)) if dense.occlusion else None)
    return {
        "keypoints": (images,),
        "motion": (images, keypoints, keypoints),
        "generator": (images, motion),
        "discriminator": (images, positions),
    }


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    shapes = {field.name: field.shape for field in exp.fields}
    if not shapes.keys() >= {*FIELDS}:
        yield (
            f"config.algorithm=motion animates clips, and config.data.source={exp.config.data.source} has none: "
            "make it clips:PATH or cartoon_heads"
        )
        return
    scales, least = exp.config.perceptual_scales, min(shapes["source"][:2])
    if least >> (scales - 1) < 2:
        yield f"config.perceptual_scales={scales} must be at most {least.bit_length() - 1} for {least} pixels"
    if (reason := ema_conflict(exp)) is not None:
        yield reason


def weight(default: float, text: str) -> Setting:
    """The setting of a weight in the generator's objective."""
    return Setting(default, f"weight of {text}", NOT_NEGATIVE, sweepable=True)


SETTINGS: Settings = {
    **models.settings(ROLES, family="fomm"),
    "loss": losses.SETTINGS["loss"]._replace(default="least_squares"),
    # The authors' weight is 1, of a loss without the factor 1/2.
    "adversarial": weight(2.0, "the adversarial loss for the generator; with feature_matching=0 as well 0 is vox-256"),
    "feature_matching": weight(10.0, "the difference of the discriminator's features"),
    "perceptual": weight(10.0, "the difference from the driving image at several sizes"),
    **perceptual.SETTINGS,
    "equivariance_position": weight(10.0, "keypoints' distance from where a deformation takes them"),
    "equivariance_jacobian": weight(10.0, "the same of their Jacobians"),
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

MOTION = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "animate": Task(
            ANIMATORS,
            animate,
            lambda exp: {"result": "pixels"},
            needs=lambda exp: FIELDS,
            options=("initial",),
        )
    },
    smallest={
        "data.source": "cartoon_heads",
        "data.size": 16,
        "data.clips": 60,
        "data.frames": 3,
        "batch_size": 4,
        "perceptual_features": "pixels",
        "perceptual_scales": 2,
        "model.keypoints.count": 2,
        "model.keypoints.base_channels": 2,
        "model.keypoints.blocks": 1,
        "model.keypoints.shrink": 1,
        "model.motion.base_channels": 2,
        "model.motion.blocks": 1,
        "model.motion.shrink": 2,
        "model.generator.base_channels": 2,
        "model.generator.halvings": 1,
        "model.generator.blocks": 1,
        "model.discriminator.base_channels": 2,
        "model.discriminator.blocks": 1,
    },
    check=check,
    constants=lambda exp: perceptual.constants(exp.config.perceptual_features),
    drawn=("animate",),
    headlines=("loss/perceptual", "loss/l1"),
    curves=("loss", "logits", "learning_rate"),
)
