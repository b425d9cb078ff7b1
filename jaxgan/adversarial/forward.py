"""The forward passes of a training step: what fakes are made of, what the discriminator sees, and what it says of it.

A fake has the label of the real example in its place.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from jaxgan.adversarial.augment import augment
from jaxgan.adversarial.conditioning import DISCRIMINATOR_SIDES, Condition, Judgement, code
from jaxgan.core import rng
from jaxgan.core import settings as configuration
from jaxgan.core.experiment import GAN
from jaxgan.core.state import TrainState, Variables, apply

Batch = Mapping[str, Array]
Examples = Float[Array, "batch *shape"]


class Draw(NamedTuple):
    """What the fakes of one batch are made of, and what else is drawn for its examples.

    Attributes:
        use, repeat: what it was drawn for, and how often before in the same step.
        latents: [batch, latent_dim].
        condition: of the examples, real and fake; None where there is none.
    """

    use: str
    repeat: int | Array
    latents: Float[Array, "batch latent"]
    condition: Condition


class Made(NamedTuple):
    """Fakes of one batch, and the way back to the generator.

    Attributes:
        drawn: what they were made of.
        fake: [batch, ...].
        stats: the generator's new ones.
        pull: gradient by the fakes -> gradient by the generator's parameters.
    """

    drawn: Draw
    fake: Array
    stats: PyTree
    pull: Callable[[Array], tuple[PyTree]]


class Seen(NamedTuple):
    """What the discriminator is shown: examples as it sees them, and their condition if it is told."""

    examples: Examples
    condition: Condition


def draw(exp: GAN, state: TrainState, batch: Batch, use: str, repeat: int | Array = 0) -> Draw:
    """The latents and conditions that belong to this step, use and batch."""
    count, sides = len(batch["images"]), exp.config.conditioning
    key, examples = rng.stream_key(state.seed, state.step, f"{use} latents", repeat), exp.global_examples(count)
    latents, condition = rng.sample_latents(key, examples, exp.config.latent_dim), None
    if exp.classes:
        condition = jax.nn.one_hot(batch["labels"], exp.classes)
    elif exp.condition_size:
        own = exp.example_keys(state, count, f"{use} codes", repeat)
        condition = jax.vmap(lambda key: code(key, sides.categories, sides.continuous))(own)
    return Draw(use, repeat, latents, condition)


def generate(exp: GAN, state: TrainState, params: PyTree, drawn: Draw, nearby: bool = False) -> tuple[Examples, PyTree]:
    """Fakes, and the generator's new stats.

    With latent optimisation the latents first take a step towards what the discriminator judges more real; gradients
    pass through that step.

    Args:
        exp, state: the experiment and its state.
        params: the generator's.
        drawn: what the fakes are made of.
        nearby: whether the latents are moved a little at random.

    References:
        Wu et al., LOGAN: Latent Optimisation for Generative Adversarial Networks, 2019 (natural gradient).
        https://arxiv.org/abs/1912.00953
    """
    latents, network = drawn.latents, exp.networks["generator"]
    variables = Variables(params, state.networks["generator"].variables.stats)
    if nearby:
        own = exp.example_keys(state, len(latents), f"{drawn.use} nearby", drawn.repeat)
        latents += exp.setting(state, "penalty_settings.nearby") * rng.normal(own, latents.shape[1:])
    if exp.active("latent_optimisation.rate"):
        critic = lax.stop_gradient(state.networks["discriminator"].variables)

        def logits(latents: Array) -> Array:
            fake, _ = apply(network, variables, latents, drawn.condition, train=True)
            seen = Seen(pack(exp, fake), told(exp, drawn.condition))
            _, key = dropout_keys(exp, state, drawn)
            return apply(exp.networks["discriminator"], critic, *seen, train=True, key=key)[0].logits.sum()

        slope = jax.grad(logits)(latents)
        rate, damping = (exp.setting(state, f"latent_optimisation.{name}") for name in ("rate", "damping"))
        latents += rate * slope / (damping + (slope**2).sum(axis=-1, keepdims=True))
    return apply(network, variables, latents, drawn.condition, train=True)


def make(exp: GAN, state: TrainState, drawn: Draw) -> Made:
    """The fakes of one batch, ready to be learned from."""
    params = state.networks["generator"].variables.params
    fake, pull, stats = jax.vjp(lambda params: generate(exp, state, params, drawn), params, has_aux=True)
    return Made(drawn, fake, stats, pull)


def pack(exp: GAN, array: Float[Array, "batch *shape"]) -> Float[Array, "packs *packed"]:
    """Examples that follow each other joined along their last axis: [batch, ..., c] to [batch / m, ..., m c].

    References:
        Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018.
        https://arxiv.org/abs/1712.04086
    """
    packs = array.reshape(-1, exp.config.packing, *array.shape[1:])
    packs = jnp.moveaxis(packs, 1, -2)
    return packs.reshape(*packs.shape[:-2], -1)


def told(exp: GAN, condition: Condition) -> Float[Array, "packs packed"] | None:
    """What the discriminator is told of conditions: all of them, or nothing."""
    side = DISCRIMINATOR_SIDES[exp.config.conditioning.discriminator]
    return pack(exp, condition) if side.joins or side.projects else None


def see(exp: GAN, state: TrainState, examples: Examples, kind: str, drawn: Draw) -> Seen:
    """Examples as the discriminator sees them: augmented, with noise on them, packed.

    Args:
        exp, state: the experiment and its state.
        examples: real or fake.
        kind: which of the two, since each draws its own numbers.
        drawn: whose examples they are.

    References:
        Sonderby et al., Amortised MAP Inference for Image Super-resolution, 2017 (instance noise).
        https://arxiv.org/abs/1610.04490
    """

    def own(what: str) -> Array:
        return exp.example_keys(state, len(examples), f"{drawn.use} {kind} {what}", drawn.repeat)

    names = configuration.listed(exp.config.augment)
    if names:
        examples = augment(examples, own("augment"), names)
    if exp.active("instance_noise.stddev"):
        left = jnp.maximum(1 - state.step / exp.config.instance_noise.decay_steps, 0)
        stddev = exp.setting(state, "instance_noise.stddev") * left
        examples += stddev * rng.normal(own("noise"), examples.shape[1:])
    return Seen(pack(exp, examples), told(exp, drawn.condition))


def dropout_keys(exp: GAN, state: TrainState, drawn: Draw) -> Key[Array, "2"]:
    """What the discriminator's dropout draws from: for real examples, and for fakes."""
    return jax.random.split(rng.stream_key(state.seed, state.step, f"{drawn.use} dropout", drawn.repeat))


def discriminate(
    exp: GAN, state: TrainState, variables: Variables, real: Seen, fake: Seen, drawn: Draw
) -> tuple[Judgement, Judgement, PyTree]:
    """The judgement of both batches by a discriminator of those variables, and its new stats."""
    network, (real_key, fake_key) = exp.networks["discriminator"], dropout_keys(exp, state, drawn)
    if exp.config.joined_batches:
        group = exp.config.model.discriminator.minibatch_stddev or 1
        both = jax.tree.map(lambda *pair: _interleaved(*pair, group), real, fake)
        judgement, stats = apply(network, variables, *both, train=True, key=real_key)
        first, second = (jax.tree.map(lambda x, half=half: _half(x, half, group), judgement) for half in (0, 1))
        return first, second, stats
    first, stats = apply(network, variables, *real, train=True, key=real_key)
    second, stats = apply(network, Variables(variables.params, stats), *fake, train=True, key=fake_key)
    return first, second, stats


def _interleaved(real: Array, fake: Array, group: int) -> Array:
    """Both batches in one, group by group in turns, so that an example's place depends on no number of devices."""
    both = jnp.stack([array.reshape(-1, group, *array.shape[1:]) for array in (real, fake)], axis=1)
    return both.reshape(-1, *real.shape[1:])


def _half(both: Array, half: int, group: int) -> Array:
    """The real (0) or fake (1) part of what `_interleaved` made, or of what became of it."""
    return both.reshape(-1, 2, group, *both.shape[1:])[:, half].reshape(-1, *both.shape[1:])
