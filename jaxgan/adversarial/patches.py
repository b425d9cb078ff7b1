"""Losses and penalties of discriminators that give a logit for each patch of an image.

A loss is the mean over places, and over scales. A penalty takes the mean of an image's logits for its logit.
"""

from collections.abc import Iterator

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxgan.adversarial import augment, losses, penalties
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.objectives import sample_targets
from jaxgan.adversarial.penalties import PenaltyInputs
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings, split_names
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Metrics
from jaxgan.models.patchgan import PatchOutput, least_size

Images = Float[Array, "batch height width channel"]
Maps = Float[Array, "batch rows columns"]


def settings(loss: str, weight: float) -> Settings:
    """What an algorithm with patch discriminators reads.

    Args:
        loss: the default.
        weight: of the adversarial loss for the generators, the default.
    """
    return {
        "loss": losses.SETTINGS["loss"]._replace(default=loss),
        "adversarial": Setting(weight, "weight of the adversarial loss for generators", NOT_NEGATIVE, sweepable=True),
        **{name: penalties.SETTINGS[name] for name in ("penalties", "penalty_interval", "penalty_settings")},
        **augment.SETTINGS,
    }


def check(exp: Experiment, size: tuple[int, int]) -> Iterator[str]:
    """Why settings do not go together.

    Args:
        exp: the experiment.
        size: height and width of the images.
    """
    config = exp.config
    yield from penalties.check(exp)
    if exp.is_enabled("penalties.zcr"):
        yield f"config.penalties.zcr must be 0: algorithm={config.algorithm} has no latents to move"
    own = config.model.discriminator
    if min(size) < (least := least_size(own.depth, own.scales)):
        yield (
            f"config.model.discriminator.depth={own.depth} with scales={own.scales} needs images of {least} pixels at "
            f"least, and the shorter side of config.data.size={config.data.size} has {min(size)}: make depth smaller"
        )


def discriminate(
    exp: Experiment, state: TrainState, network: str, variables: Variables, images: Images, kind: str
) -> tuple[PatchOutput, PyTree]:
    """A discriminator's output for images as it is given them, augmented, and its new model state.

    Args:
        exp, state: the experiment and its state.
        network: its name.
        variables: its own.
        images: real or fake.
        kind: which of the two, since each has its own random numbers.
    """
    names = split_names(exp.config.augment)
    if names:
        images = augment.augment(images, exp.example_keys(state, len(images), f"{network} {kind} augment"), names)
    return apply(exp.networks[network], variables, images, train=True)


def generator_loss(exp: Experiment, real: PatchOutput, fake: PatchOutput) -> Float[Array, ""]:
    """The adversarial loss of a generator."""
    pairs = zip(real.logits, fake.logits, strict=True)
    return mean([LOSSES[exp.config.loss].generator(*flat(*pair), **global_means(exp, *pair)) for pair in pairs])


def discriminator_loss(
    exp: Experiment, state: TrainState, network: str, real: PatchOutput, fake: PatchOutput
) -> Float[Array, ""]:
    """The adversarial loss of a discriminator; all patches of an example have its targets."""
    loss, found = LOSSES[exp.config.loss], []
    margin = {"margin": jnp.asarray(hparam(exp, state, "margin"))} if loss.takes_margin else {}
    targets = sample_targets(exp, state, len(real.logits[0]))
    for pair in zip(real.logits, fake.logits, strict=True):
        own = [target.repeat(pair[0][0].size) for target in targets]
        found.append(loss.discriminator(*flat(*pair), *own, **margin, **global_means(exp, *pair)))
    return mean(found)


def discriminator_penalties(
    exp: Experiment,
    state: TrainState,
    network: str,
    variables: Variables,
    images: tuple[Images, Images],
    outputs: tuple[PatchOutput, PatchOutput],
) -> tuple[Float[Array, ""], Metrics, PyTree]:
    """The weighted sum of the penalties of a discriminator, each without its weight, and what they carry on.

    Args:
        exp, state: the experiment and its state.
        network, variables: the discriminator.
        images: real and fake.
        outputs: of both.
    """

    def critic(images: Images) -> Float[Array, " batch"]:
        return image_logits(apply(exp.networks[network], variables, images, train=True)[0])

    def augmented_critic(images: Images, kind: str) -> Float[Array, " batch"]:
        return image_logits(discriminate(exp, state, network, variables, images, kind)[0])

    transforms = split_names(exp.config.penalty_settings.transform)
    inputs = PenaltyInputs(
        critic=critic,
        augmented_critic=augmented_critic,
        real=images[0],
        fake=images[1],
        raw_real=images[0],
        raw_fake=images[1],
        real_logits=image_logits(outputs[0]),
        fake_logits=image_logits(outputs[1]),
        keys=exp.example_keys(state, len(images[0]), f"{network} penalties"),
        transform=lambda images, own: augment.augment(images, own, transforms),
        perturbed=lambda: images[1],
        params=variables.params,
        extra={},
        hparam=lambda name: hparam(exp, state, f"penalty_settings.{name}"),
        pmean=exp.pmean,
        pmax=exp.pmax,
    )
    own = state.replace(extra=state.extra.get(network, {}))
    return penalties.weighted_sum(exp, own, "penalties", inputs)


def image_logits(output: PatchOutput) -> Float[Array, " batch"]:
    """The mean logit of each image: over places, then over scales."""
    return jnp.stack([maps.mean((1, 2)) for maps in output.logits]).mean(0)


def mean(values: list[Float[Array, " places"]]) -> Float[Array, ""]:
    """Over places, then over scales."""
    return jnp.stack([own.mean() for own in values]).mean()


def flat(*maps: Maps) -> list[Float[Array, " places"]]:
    """The logits of all places of all examples, as losses take them."""
    return [each.reshape(-1) for each in maps]


def global_means(exp: Experiment, real: Maps, fake: Maps) -> dict[str, Float[Array, ""]]:
    """The means of the logits over all devices, for a loss that asks for them."""
    if not LOSSES[exp.config.loss].takes_means:
        return {}
    return {"real_mean": exp.pmean(real.mean()), "fake_mean": exp.pmean(fake.mean())}
