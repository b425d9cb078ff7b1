"""What each network minimises, of the discriminator's output for a batch: a scalar, and its metrics."""

from collections.abc import Collection

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from jaxgan.adversarial import augment, penalties
from jaxgan.adversarial.conditional_losses import ConditionalLossInputs
from jaxgan.adversarial.conditioning import DISCRIMINATOR_CONDITIONING, Condition, DiscriminatorOutput
from jaxgan.adversarial.forward import (
    DiscriminatorInput,
    Examples,
    LatentBatch,
    dropout_keys,
    generate,
    preprocess,
)
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.penalties import GeneratorPenaltyInputs, PenaltyInputs
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import split_names
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Metrics


def discriminator_loss(
    exp: Experiment,
    state: TrainState,
    real: DiscriminatorOutput,
    fake: DiscriminatorOutput,
    condition: Condition,
    index: int | Array = 0,
) -> tuple[Float[Array, ""], Metrics]:
    """The adversarial loss of the discriminator and, where it has one, its auxiliary loss of conditions."""
    side = DISCRIMINATOR_CONDITIONING[exp.config.conditioning.discriminator]
    if side.adversarial is None:
        total = adversarial_values(exp, state, real.logits, fake.logits, index).mean()
    else:
        total = side.adversarial.discriminator(conditional_inputs(exp, state, real, fake, condition)).mean()
    metrics = {"loss/discriminator": total, "logits/real": real.logits.mean(), "logits/fake": fake.logits.mean()}
    metrics["d_pairwise_accuracy"] = (
        0.5 + 0.5 * jnp.sign(real.logits - fake.logits).mean()
    )  # of pairs; a tie is half of one
    if has_accuracy_gate(exp):
        boundary = LOSSES[exp.config.loss].boundary
        metrics["d_accuracy"] = (
            metrics["d_pairwise_accuracy"]
            if boundary is None
            else ((real.logits > boundary).mean() + (fake.logits <= boundary).mean()) / 2
        )
    if side.auxiliary is not None:
        values = side.auxiliary.discriminator(conditional_inputs(exp, state, real, fake, condition))
        metrics["aux_loss/discriminator"] = values.mean()
        total += hparam(exp, state, "conditioning.weight") * metrics["aux_loss/discriminator"]
    return total, metrics


def has_accuracy_gate(exp: Experiment) -> bool:
    """Whether the discriminator's accuracy can keep it from an update."""
    return "accuracy_gate" in exp.flat and min(exp.values("accuracy_gate")) < 1


def adversarial_values(
    exp: Experiment,
    state: TrainState,
    real_logits: Float[Array, " batch"],
    fake_logits: Float[Array, " batch"],
    index: int | Array = 0,
) -> Float[Array, " batch"]:
    """What the loss of the configuration is for the discriminator, example by example."""
    loss, options = LOSSES[exp.config.loss], global_means(exp, real_logits, fake_logits)
    if loss.takes_margin:
        options["margin"] = jnp.asarray(hparam(exp, state, "margin"))
    targets = sample_targets(exp, state, len(real_logits), index)
    return loss.discriminator(real_logits, fake_logits, *targets, **options)


def generator_loss(
    exp: Experiment, state: TrainState, real: DiscriminatorOutput, fake: DiscriminatorOutput, condition: Condition
) -> tuple[Float[Array, ""], Metrics]:
    """The adversarial loss of the generator, the distance of features, and its auxiliary loss of conditions."""
    side, loss = DISCRIMINATOR_CONDITIONING[exp.config.conditioning.discriminator], LOSSES[exp.config.loss]
    if side.adversarial is None:
        values = loss.generator(real.logits, fake.logits, **global_means(exp, real.logits, fake.logits))
    else:
        values = side.adversarial.generator(conditional_inputs(exp, state, real, fake, condition))
    if exp.config.top_k.fraction < 1:
        values *= top_k_weights(exp, state, fake.logits)
    metrics = {"loss/generator": values.mean()}
    total = hparam(exp, state, "adversarial") * metrics["loss/generator"]
    if exp.is_enabled("feature_matching"):
        metrics["loss/feature_matching"] = feature_distance(exp, real.features, fake.features)
        total += hparam(exp, state, "feature_matching") * metrics["loss/feature_matching"]
    if side.auxiliary is not None:
        values = side.auxiliary.generator(conditional_inputs(exp, state, real, fake, condition))
        metrics["aux_loss/generator"] = values.mean()
        total += hparam(exp, state, "conditioning.weight") * metrics["aux_loss/generator"]
    return total, metrics


def diversity_ratio(
    exp: Experiment, real: Float[Array, "batch *shape"], fake: Float[Array, "batch *shape"]
) -> Float[Array, ""]:
    """How much fakes differ, as a share of how much real examples do; 1 where these do not.

    That is the standard deviation of each of their numbers over the global batch, averaged over the numbers.
    """
    both = lax.stop_gradient((real, fake))
    means = exp.pmean(jax.tree.map(lambda examples: examples.mean(0), both))
    variances = exp.pmean(jax.tree.map(lambda examples, mean: ((examples - mean) ** 2).mean(0), both, means))
    real_stddev, fake_stddev = (jnp.sqrt(variance).mean() for variance in variances)
    return jnp.where(real_stddev == 0, 1.0, fake_stddev / real_stddev)


def global_means(
    exp: Experiment, real_logits: Float[Array, "*places"], fake_logits: Float[Array, "*places"]
) -> dict[str, Float[Array, ""]]:
    """The means of the logits over all devices, for a loss that asks for them."""
    if not LOSSES[exp.config.loss].takes_means:
        return {}
    return {"real_mean": exp.pmean(real_logits.mean()), "fake_mean": exp.pmean(fake_logits.mean())}


def sample_targets(exp: Experiment, state: TrainState, count: int, index: int | Array = 0) -> tuple[Array, ...]:
    """The real and fake targets of `count` examples or packs, or nothing for a loss without targets."""
    if not LOSSES[exp.config.loss].takes_targets:
        return ()
    drawn = exp.example_keys(state, count, "targets", index)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(drawn)
    ranges = exp.config.targets
    real, fake = (low + (high - low) * uniform[:, i] for i, (low, high) in enumerate([ranges.real, ranges.fake]))
    flipped = uniform[:, 2] < ranges.flip
    return jnp.where(flipped, fake, real), jnp.where(flipped, real, fake)


def conditional_inputs(
    exp: Experiment, state: TrainState, real: DiscriminatorOutput, fake: DiscriminatorOutput, condition: Condition
) -> ConditionalLossInputs:
    """What the loss of conditions looks at."""
    return ConditionalLossInputs(
        real,
        fake,
        condition,
        exp.config.conditioning.get("categories", 0),
        exp.global_indices(len(condition)),
        lambda name: hparam(exp, state, name),
        exp.all_gather,
    )


def feature_distance(
    exp: Experiment, real: Float[Array, "batch features"], fake: Float[Array, "batch features"]
) -> Float[Array, ""]:
    """The squared distance between the means of real and fake features over the global batch.

    References:
        Salimans et al., Improved Techniques for Training GANs, 2016, section 3.1. https://arxiv.org/abs/1606.03498
    """
    return ((exp.pmean(real.mean(0)) - exp.pmean(fake.mean(0))) ** 2).sum()


def top_k_weights(exp: Experiment, state: TrainState, logits: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """Weights of mean 1 over the global batch: equal for the k most real fakes, 0 for the others.

    k falls from the whole batch to its final fraction, by the same factor in each step.

    References:
        Sinha et al., Top-k Training of GANs, 2020, section 3. https://arxiv.org/abs/2002.06224
    """
    logits = lax.stop_gradient(logits)
    everywhere = exp.all_gather(logits)
    done = jnp.minimum(state.step / exp.config.top_k.decay_steps, 1)
    kept = len(everywhere) * exp.config.top_k.fraction**done
    count = jnp.ceil((1 - 1e-6) * kept).astype(jnp.int32)  # 30 and a rounding error are 30
    least = jnp.sort(everywhere)[len(everywhere) - count]
    chosen = (logits >= least).astype(logits.dtype)
    return chosen / exp.pmean(chosen.mean())


def discriminator_penalties(
    exp: Experiment,
    state: TrainState,
    variables: Variables,
    raw: tuple[Examples, Examples],
    given: tuple[DiscriminatorInput, DiscriminatorInput],
    d_out: tuple[DiscriminatorOutput, DiscriminatorOutput],
    latents: LatentBatch,
    skip: Collection[str] = (),
) -> tuple[Float[Array, ""], Metrics, dict[str, PyTree]]:
    """The weighted sum of the discriminator's penalties, each without its weight, and what they carry on.

    Args:
        exp, state: the experiment and its state.
        variables: the discriminator's.
        raw: real examples and fakes.
        given: what the discriminator is given of them.
        d_out: its outputs.
        latents: of the fakes.
        skip: penalties that are computed elsewhere.
    """
    real, fake = given
    transforms = split_names(exp.config.penalty_settings.transform)
    params = lax.stop_gradient(state.networks["generator"].params)
    network, (key, _) = exp.networks["discriminator"], dropout_keys(exp, state, latents)

    def critic(examples: Array) -> Array:
        return apply(network, variables, examples, real.condition, train=True, key=key)[0].logits

    inputs = PenaltyInputs(
        critic=critic,
        augmented_critic=lambda examples, kind: critic(preprocess(exp, state, examples, kind, latents).examples),
        real=real.examples,
        fake=fake.examples,
        raw_real=raw[0],
        raw_fake=raw[1],
        real_logits=d_out[0].logits,
        fake_logits=d_out[1].logits,
        keys=exp.example_keys(state, len(real.examples), f"{latents.stream} penalties", latents.index),
        transform=lambda examples, own: augment.augment(examples, own, transforms),
        perturbed=lambda: (
            preprocess(exp, state, generate(exp, state, params, latents, perturb=True)[0], "fake", latents).examples
        ),
        params=variables.params,
        extra={},
        hparam=lambda name: hparam(exp, state, f"penalty_settings.{name}"),
        pmean=exp.pmean,
        pmax=exp.pmax,
    )
    return penalties.weighted_sum(exp, state, "penalties", inputs, skip)


def generator_penalties(
    exp: Experiment, state: TrainState, params: PyTree, fake: Examples, latents: LatentBatch
) -> tuple[Float[Array, ""], Metrics, dict[str, PyTree]]:
    """The same for the generator of those parameters and its fakes."""

    def synthesize(own: Array, rows: Array) -> Examples:
        condition = jax.tree.map(lambda array: array[rows], latents.condition)
        return generate(exp, state, params, latents._replace(latents=own, condition=condition))[0]

    inputs = GeneratorPenaltyInputs(
        fake,
        lambda: generate(exp, state, params, latents, perturb=True)[0],
        latents.latents,
        synthesize,
        exp.example_keys(state, len(fake), f"{latents.stream} penalties", latents.index),
        params,
        extra={},
        hparam=lambda name: hparam(exp, state, f"penalty_settings.{name}"),
        pmean=exp.pmean,
    )
    return penalties.weighted_sum(exp, state, "generator_penalties", inputs)
