"""The forward passes of an adversarial step: latents, fakes, what the discriminator is given, and its output.

A fake has the label of the real example in its place.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from jaxgan.adversarial import ada
from jaxgan.adversarial.augment import augment
from jaxgan.adversarial.conditioning import (
    DISCRIMINATOR_CONDITIONING,
    Condition,
    DiscriminatorOutput,
    condition_size,
    label_classes,
    latent_code,
)
from jaxgan.core import latents as core_latents
from jaxgan.core import rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import split_names
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Batch, example_fields

Examples = Float[Array, "batch *shape"]


class LatentBatch(NamedTuple):
    """What the fakes of one batch are made of, and what else is drawn for its examples.

    Attributes:
        stream, index: of random numbers: what they are for, and how often the step drew for it before.
        latents: [batch, latent_dim].
        condition: of the examples, real and fake; None where there is none.
    """

    stream: str
    index: int | Array
    latents: Float[Array, "batch latent"]
    condition: Condition


class FakeBatch(NamedTuple):
    """Fakes of one batch, and the way back to the generator.

    Attributes:
        latents: what they were made of.
        fake: [batch, ...].
        model_state: the generator's new one.
        vjp: gradient by the fakes -> gradient by the generator's parameters.
    """

    latents: LatentBatch
    fake: Array
    model_state: PyTree
    vjp: Callable[[Array], tuple[PyTree]]


class DiscriminatorInput(NamedTuple):
    """What the discriminator is given: examples, and their condition if it uses one."""

    examples: Examples
    condition: Condition


def data_field(exp: Experiment) -> str:
    """The field of a batch that the generator learns to make."""
    (name,) = (field.name for field in example_fields(exp.fields))
    return name


def sample_latents(
    exp: Experiment, state: TrainState, batch: Batch, stream: str, index: int | Array = 0
) -> LatentBatch:
    """The latents and conditions that belong to this step, stream and batch."""
    examples, sides = batch[data_field(exp)], exp.config.conditioning
    if examples.shape[1:] != example_fields(exp.fields)[0].shape:
        raise ValueError(
            f"an update takes examples [batch, *shape], and not {examples.shape}: a training step's batch has one "
            "dimension more, for its updates"
        )
    count = len(examples)
    key, indices = rng.stream_key(state.seed, state.step, f"{stream} latents", index), exp.global_indices(count)
    latents, condition = core_latents.sample_latents(key, indices, exp.config.latent_dim), None
    classes = label_classes(exp.config, exp.classes)
    if classes:
        condition = jax.nn.one_hot(batch["labels"], classes)
    elif condition_size(exp.config, exp.classes):
        own = exp.example_keys(state, count, f"{stream} codes", index)
        condition = jax.vmap(lambda key: latent_code(key, sides.categories, sides.continuous))(own)
    return LatentBatch(stream, index, latents, condition)


def generate(
    exp: Experiment, state: TrainState, params: PyTree, batch: LatentBatch, perturb: bool = False
) -> tuple[Examples, PyTree]:
    """Fakes, and the generator's new model state.

    With latent optimisation the latents first take a step towards what the discriminator finds more real; gradients
    pass through that step.

    Args:
        exp, state: the experiment and its state.
        params: the generator's.
        batch: what the fakes are made of.
        perturb: whether the latents are moved a little at random.

    References:
        Wu et al., LOGAN: Latent Optimisation for Generative Adversarial Networks, 2019 (natural gradient).
        https://arxiv.org/abs/1912.00953
    """
    latents, network = batch.latents, exp.networks["generator"]
    variables = Variables(params, state.networks["generator"].model_state)
    if perturb:
        own = exp.example_keys(state, len(latents), f"{batch.stream} nearby", batch.index)
        latents += hparam(exp, state, "penalty_settings.perturbation_stddev") * rng.normal(own, latents.shape[1:])
    if exp.is_enabled("latent_optimisation.rate"):
        critic = lax.stop_gradient(state.networks["discriminator"])

        def logits(latents: Array) -> Array:
            fake, _ = apply(network, variables, latents, batch.condition, train=True)
            given = DiscriminatorInput(pack(exp, fake), discriminator_condition(exp, batch.condition))
            _, key = dropout_keys(exp, state, batch)
            return apply(exp.networks["discriminator"], critic, *given, train=True, key=key)[0].logits.sum()

        slope = jax.grad(logits)(latents)
        rate, damping = (hparam(exp, state, f"latent_optimisation.{name}") for name in ("rate", "damping"))
        latents += rate * slope / (damping + (slope**2).sum(axis=-1, keepdims=True))
    return apply(network, variables, latents, batch.condition, train=True)


def generate_with_vjp(exp: Experiment, state: TrainState, batch: LatentBatch) -> FakeBatch:
    """The fakes of one batch, ready to be learned from."""
    params = state.networks["generator"].params
    fake, vjp, model_state = jax.vjp(lambda params: generate(exp, state, params, batch), params, has_aux=True)
    return FakeBatch(batch, fake, model_state, vjp)


def pack(exp: Experiment, array: Float[Array, "batch *shape"]) -> Float[Array, "packs *packed"]:
    """Examples that follow each other joined along their last axis: [batch, ..., c] to [batch / m, ..., m c].

    References:
        Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018.
        https://arxiv.org/abs/1712.04086
    """
    packs = array.reshape(-1, exp.config.packing, *array.shape[1:])
    packs = jnp.moveaxis(packs, 1, -2)
    return packs.reshape(*packs.shape[:-2], -1)


def discriminator_condition(exp: Experiment, condition: Condition) -> Float[Array, "packs packed"] | None:
    """The conditions that the discriminator is given: all of them, or nothing."""
    side = DISCRIMINATOR_CONDITIONING[exp.config.conditioning.discriminator]
    return pack(exp, condition) if side.is_given else None


def preprocess(
    exp: Experiment, state: TrainState, examples: Examples, kind: str, batch: LatentBatch
) -> DiscriminatorInput:
    """Examples as the discriminator is given them: augmented, with noise on them, packed.

    Args:
        exp, state: the experiment and its state.
        examples: real or fake.
        kind: which of the two, since each has its own random numbers.
        batch: whose examples they are.

    References:
        Sonderby et al., Amortised MAP Inference for Image Super-resolution, 2017 (instance noise).
        https://arxiv.org/abs/1610.04490
    """

    def own(what: str) -> Array:
        return exp.example_keys(state, len(examples), f"{batch.stream} {kind} {what}", batch.index)

    names = split_names(exp.config.augment)
    if names:
        examples = augment(examples, own("augment"), names)
    examples = ada.augment(exp, state, examples, own("ada"))
    if exp.is_enabled("instance_noise.stddev"):
        left = jnp.maximum(1 - state.step / exp.config.instance_noise.decay_steps, 0)
        stddev = hparam(exp, state, "instance_noise.stddev") * left
        examples += stddev * rng.normal(own("noise"), examples.shape[1:])
    return DiscriminatorInput(pack(exp, examples), discriminator_condition(exp, batch.condition))


def dropout_keys(exp: Experiment, state: TrainState, batch: LatentBatch) -> Key[Array, "2"]:
    """The keys of the discriminator's dropout: for real examples, and for fakes."""
    return jax.random.split(rng.stream_key(state.seed, state.step, f"{batch.stream} dropout", batch.index))


def discriminate(
    exp: Experiment,
    state: TrainState,
    variables: Variables,
    real: DiscriminatorInput,
    fake: DiscriminatorInput,
    batch: LatentBatch,
) -> tuple[DiscriminatorOutput, DiscriminatorOutput, PyTree]:
    """A discriminator's output for both batches, and its new model state."""
    network, (real_key, fake_key) = exp.networks["discriminator"], dropout_keys(exp, state, batch)
    if exp.config.concat_real_fake:
        group = exp.config.model.discriminator.get("minibatch_stddev") or 1
        both = jax.tree.map(lambda *pair: interleave(pair, group), real, fake)
        d_out, model_state = apply(network, variables, *both, train=True, key=real_key)
        first, second = (jax.tree.map(lambda x, i=i: deinterleave(x, 2, group)[i], d_out) for i in (0, 1))
        return first, second, model_state
    first, model_state = apply(network, variables, *real, train=True, key=real_key)
    second, model_state = apply(network, Variables(variables.params, model_state), *fake, train=True, key=fake_key)
    return first, second, model_state


def discriminate_fakes(
    exp: Experiment, state: TrainState, variables: Variables, fake: DiscriminatorInput, batch: LatentBatch
) -> tuple[DiscriminatorOutput, PyTree]:
    """A discriminator's output for fakes alone, and its new model state."""
    _, key = dropout_keys(exp, state, batch)
    return apply(exp.networks["discriminator"], variables, *fake, train=True, key=key)


def interleave(batches: Sequence[Array], group: int = 1) -> Array:
    """Batches in one, group by group in turns, so that an example's place depends on no number of devices."""
    joined = jnp.stack([array.reshape(-1, group, *array.shape[1:]) for array in batches], axis=1)
    return joined.reshape(-1, *batches[0].shape[1:])


def deinterleave(joined: Array, count: int, group: int = 1) -> list[Array]:
    """The `count` batches that `interleave` joined, or what became of them."""
    parts = joined.reshape(-1, count, group, *joined.shape[1:])
    return [parts[:, i].reshape(-1, *joined.shape[1:]) for i in range(count)]
