"""What each network minimises, of the discriminator's judgement of a batch: scalars, and the metrics of them."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgan.adversarial.conditioning import Condition, Judgement
from jaxgan.core.experiment import GAN
from jaxgan.core.state import TrainState

Metrics = dict[str, Float[Array, ""]]


def discriminator_loss(
    exp: GAN, state: TrainState, real: Judgement, fake: Judgement, condition: Condition, repeat: int | Array = 0
) -> tuple[Float[Array, ""], Metrics]:
    """The adversarial loss of the discriminator and, where it guesses conditions, how wrong it is."""
    options = global_means(exp, real, fake)
    if exp.loss.takes_margin:
        margin = exp.setting(state, "margin")
        options["margin"] = jnp.where(margin < 0, exp.loss.margin, margin)
    targets = draw_targets(exp, state, len(real.logits), repeat)
    total = exp.loss.discriminator(real.logits, fake.logits, *targets, **options).mean()
    metrics = {"d_loss": total, "d_real": real.logits.mean(), "d_fake": fake.logits.mean()}
    metrics["d_ahead"] = 0.5 + 0.5 * jnp.sign(real.logits - fake.logits).mean()  # of pairs; a tie is half of one
    if fake.recovered is not None:
        metrics["d_recovery"] = recovery(exp, fake.recovered, condition).mean()
        if exp.classes:  # latent codes belong to fakes alone
            metrics["d_recovery"] += recovery(exp, real.recovered, condition).mean()
        total += exp.setting(state, "conditioning.weight") * metrics["d_recovery"]
    return total, metrics


def generator_loss(
    exp: GAN, state: TrainState, real: Judgement, fake: Judgement, condition: Condition
) -> tuple[Float[Array, ""], Metrics]:
    """The adversarial loss of the generator, the distance of features, and how well its conditions are recognised."""
    values = exp.loss.generator(real.logits, fake.logits, **global_means(exp, real, fake))
    if exp.config.top_k.share < 1:
        values *= top_k_weights(exp, state, fake.logits)
    metrics = {"g_loss": values.mean()}
    total = exp.setting(state, "adversarial") * metrics["g_loss"]
    if exp.active("feature_matching"):
        metrics["g_features"] = feature_distance(exp, real.features, fake.features)
        total += exp.setting(state, "feature_matching") * metrics["g_features"]
    if fake.recovered is not None:
        metrics["g_recovery"] = recovery(exp, fake.recovered, condition).mean()
        total += exp.setting(state, "conditioning.weight") * metrics["g_recovery"]
    return total, metrics


def spread(exp: GAN, real: Float[Array, "batch *shape"], fake: Float[Array, "batch *shape"]) -> Float[Array, ""]:
    """How much fakes differ, as a share of how much real examples do; 1 where these do not.

    That is the standard deviation of each of their numbers over the global batch, averaged over the numbers.
    """
    both = lax.stop_gradient((real, fake))
    means = exp.average(jax.tree.map(lambda examples: examples.mean(0), both))
    variances = exp.average(jax.tree.map(lambda examples, mean: ((examples - mean) ** 2).mean(0), both, means))
    real_spread, fake_spread = (jnp.sqrt(variance).mean() for variance in variances)
    return jnp.where(real_spread == 0, 1.0, fake_spread / real_spread)


def global_means(exp: GAN, real: Judgement, fake: Judgement) -> dict[str, Float[Array, ""]]:
    """The means of the logits over all devices, for a loss that asks for them."""
    if not exp.loss.takes_means:
        return {}
    return {"real_mean": exp.average(real.logits.mean()), "fake_mean": exp.average(fake.logits.mean())}


def draw_targets(exp: GAN, state: TrainState, count: int, repeat: int | Array = 0) -> tuple[Array, ...]:
    """The real and fake targets of so many examples or packs, or nothing for a loss without targets."""
    if not exp.loss.takes_targets:
        return ()
    drawn = exp.example_keys(state, count, "targets", repeat)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(drawn)
    ranges = exp.config.targets
    real, fake = (low + (high - low) * uniform[:, i] for i, (low, high) in enumerate([ranges.real, ranges.fake]))
    flipped = uniform[:, 2] < ranges.flip
    return jnp.where(flipped, fake, real), jnp.where(flipped, real, fake)


def recovery(
    exp: GAN, recovered: Float[Array, "batch condition"], condition: Float[Array, "batch condition"]
) -> Float[Array, " batch"]:
    """How far a guess is from the condition: cross-entropy of a label or category, squared error of numbers.

    The numbers' part is the negative log-likelihood, up to a constant, of a normal distribution with a deviation of 1.

    References:
        Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017, equation 3.
        https://arxiv.org/abs/1610.09585
        Chen et al., InfoGAN, 2016, equation 5. https://arxiv.org/abs/1606.03657
    """
    count = exp.classes or exp.config.conditioning.categories
    values = 0.5 * ((recovered[:, count:] - condition[:, count:]) ** 2).sum(-1)
    if count:
        values -= (condition[:, :count] * jax.nn.log_softmax(recovered[:, :count])).sum(-1)
    return values


def feature_distance(
    exp: GAN, real: Float[Array, "batch features"], fake: Float[Array, "batch features"]
) -> Float[Array, ""]:
    """The squared distance between the means of real and fake features over the global batch.

    References:
        Salimans et al., Improved Techniques for Training GANs, 2016, section 3.1. https://arxiv.org/abs/1606.03498
    """
    return ((exp.average(real.mean(0)) - exp.average(fake.mean(0))) ** 2).sum()


def top_k_weights(exp: GAN, state: TrainState, logits: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """Weights of mean 1 over the global batch: equal for the k most real fakes, 0 for the others.

    k falls from the whole batch to its final share, by the same factor in each step.

    References:
        Sinha et al., Top-k Training of GANs, 2020, section 3. https://arxiv.org/abs/2002.06224
    """
    logits = lax.stop_gradient(logits)
    everywhere = logits if exp.axis_name is None else lax.all_gather(logits, exp.axis_name).reshape(-1)
    done = jnp.minimum(state.step / exp.config.top_k.decay_steps, 1)
    kept = len(everywhere) * exp.config.top_k.share**done
    count = jnp.ceil((1 - 1e-6) * kept).astype(jnp.int32)  # 30 and a rounding error are 30
    least = jnp.sort(everywhere)[len(everywhere) - count]
    chosen = (logits >= least).astype(logits.dtype)
    return chosen / exp.average(chosen.mean())
