"""Losses and penalties of discriminators that give a logit for each patch of an image.

A loss is the mean over places, and over scales. A penalty takes the mean of an image's logits for its logit.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxgan.adversarial import ada, adaptive, augment, losses, penalties
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.objectives import global_means, sample_targets
from jaxgan.adversarial.penalties import PenaltyInputs
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings, split_names
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Metrics
from jaxgan.models.patchgan import PatchOutput, least_size
from jaxgan.models.pix2pix import halvings

Images = Float[Array, "batch height width channel"]
Maps = Float[Array, "batch rows columns"]

KINDS = ("real", "fake")


def settings(loss: str, weight: float) -> Settings:
    """What an algorithm with patch discriminators reads.

    Args:
        loss: the default.
        weight: of the adversarial loss for the generators, the default.
    """
    return {
        "loss": losses.SETTINGS["loss"]._replace(default=loss),
        "adversarial": Setting(weight, "weight of the adversarial loss for generators", NOT_NEGATIVE, sweepable=True),
        **penalties.settings("penalties", latents=False),
        **augment.SETTINGS,
        **ada.SETTINGS,
    }


def check(exp: Experiment, size: tuple[int, int]) -> Iterator[str]:
    """Why settings do not go together.

    Args:
        exp: the experiment.
        size: height and width of the images.
    """
    config = exp.config
    yield from penalties.check(exp)
    yield from ada.check(exp)
    depth, most = config.model.generator.get("depth", 0), halvings(*size)
    if depth > most:
        yield (
            f"config.model.generator.depth={depth} must be at most {most}, as often as config.data.size="
            f"{config.data.size} can be halved"
        )
    own = config.model.discriminator
    if min(size) < (least := least_size(own.depth, own.scales)):
        yield (
            f"config.model.discriminator.depth={own.depth} with scales={own.scales} needs images of {least} pixels at "
            f"least, and the shorter side of config.data.size={config.data.size} has {min(size)}: make depth smaller"
        )


def augmented(
    exp: Experiment, state: TrainState, network: str, images: Images, kind: str, parts: tuple[int, ...] = ()
) -> Images:
    """Images as a discriminator is given them.

    Args:
        exp, state: the experiment and its state.
        network: the discriminator's name.
        images: real or fake.
        kind: which of the two, since each has its own random numbers.
        parts: channels of the images that are joined in each; all parts of an example are augmented alike.
    """
    names = split_names(exp.config.augment)
    if not names and exp.config.ada.mode == "off":
        return images
    keys, ada_keys = (exp.example_keys(state, len(images), f"{network} {kind} {what}") for what in ("augment", "ada"))
    own = own_state(state, network)
    pieces = jnp.split(images, np.cumsum(parts)[:-1], axis=-1)
    changed = [ada.augment(exp, own, augment.augment(piece, keys, names), ada_keys) for piece in pieces]
    return jnp.concatenate(changed, axis=-1)


def own_state(state: TrainState, network: str) -> TrainState:
    """The state with what a discriminator carries from step to step in the place of all that is carried."""
    return state.replace(extra=state.extra.get(network, {}))


def initial_extra(exp: Experiment) -> dict[str, PyTree]:
    """What each discriminator carries from step to step."""
    return penalties.initial_extra(exp) | adaptive.initial_extra(exp)


def generator_loss(
    exp: Experiment,
    state: TrainState,
    network: str,
    variables: Variables,
    images: tuple[Images, Images],
    parts: tuple[int, ...] = (),
) -> tuple[Float[Array, ""], tuple[PatchOutput, PatchOutput]]:
    """The adversarial loss of a generator, and the discriminator's output for real and fake images.

    Args: as in `discriminator_objective`.
    """
    given = [augmented(exp, state, network, own, kind, parts) for kind, own in zip(KINDS, images, strict=True)]
    real, fake = (apply(exp.networks[network], variables, own, train=True)[0] for own in given)
    pairs = zip(real.logits, fake.logits, strict=True)
    values = [LOSSES[exp.config.loss].generator(*flat(*pair), **global_means(exp, *pair)) for pair in pairs]
    return mean(values), (real, fake)


def discriminator_loss(exp: Experiment, state: TrainState, real: PatchOutput, fake: PatchOutput) -> Float[Array, ""]:
    """The adversarial loss of a discriminator; all patches of an example have its targets."""
    loss, found = LOSSES[exp.config.loss], []
    margin = {"margin": jnp.asarray(hparam(exp, state, "margin"))} if loss.takes_margin else {}
    targets = sample_targets(exp, state, len(real.logits[0]))
    for pair in zip(real.logits, fake.logits, strict=True):
        own = [target.repeat(pair[0][0].size) for target in targets]
        found.append(loss.discriminator(*flat(*pair), *own, **margin, **global_means(exp, *pair)))
    return mean(found)


def discriminator_objective(
    exp: Experiment,
    state: TrainState,
    network: str,
    variables: Variables,
    images: tuple[Images, Images],
    parts: tuple[int, ...] = (),
) -> tuple[Float[Array, ""], tuple[PyTree, Metrics, PyTree]]:
    """What a discriminator minimises: its adversarial loss and its penalties.

    Args:
        exp, state: the experiment and its state.
        network, variables: the discriminator's name and variables.
        images: real and fake.
        parts: as in `augmented`.

    Returns:
        The value; the new model state, metrics, and what the penalties carry on.
    """
    given = [augmented(exp, state, network, own, kind, parts) for kind, own in zip(KINDS, images, strict=True)]
    real, model_state = apply(exp.networks[network], variables, given[0], train=True)
    fake, model_state = apply(exp.networks[network], Variables(variables.params, model_state), given[1], train=True)
    loss = discriminator_loss(exp, state, real, fake)

    def critic(images: Images) -> Float[Array, " batch"]:
        return image_logits(apply(exp.networks[network], variables, images, train=True)[0])

    transforms = split_names(exp.config.penalty_settings.transform)
    inputs = PenaltyInputs(
        critic=critic,
        augmented_critic=lambda raw, kind: critic(augmented(exp, state, network, raw, kind, parts)),
        real=given[0],
        fake=given[1],
        raw_real=images[0],
        raw_fake=images[1],
        real_logits=image_logits(real),
        fake_logits=image_logits(fake),
        keys=exp.example_keys(state, len(images[0]), f"{network} penalties"),
        transform=lambda images, own: augment.augment(images, own, transforms),
        perturbed=None,  # nothing here is made of latents
        params=variables.params,
        extra={},
        hparam=lambda name: hparam(exp, state, f"penalty_settings.{name}"),
        pmean=exp.pmean,
        pmax=exp.pmax,
    )
    own = own_state(state, network)
    penalty, metrics, carried = penalties.weighted_sum(exp, own, "penalties", inputs)
    ada_metrics, moved = adaptive.adapt(exp, own, real.logits)
    metrics = {"loss/discriminator": loss, "logits/real": inputs.real_logits.mean(), **metrics, **ada_metrics}
    return loss + penalty, (model_state, metrics | {"logits/fake": inputs.fake_logits.mean()}, carried | moved)


def image_logits(output: PatchOutput) -> Float[Array, " batch"]:
    """The mean logit of each image: over places, then over scales."""
    return jnp.stack([maps.mean((1, 2)) for maps in output.logits]).mean(0)


def mean(values: list[Float[Array, " places"]]) -> Float[Array, ""]:
    """Over places, then over scales."""
    return jnp.stack([own.mean() for own in values]).mean()


def flat(*maps: Maps) -> list[Float[Array, " places"]]:
    """The logits of all places of all examples, as losses take them."""
    return [each.reshape(-1) for each in maps]
