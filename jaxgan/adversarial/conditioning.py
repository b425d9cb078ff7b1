"""Where labels and codes enter the networks: a side for each, chosen apart.

A *condition* is what belongs to each example besides its pixels: its label as a one-hot vector, or the latent code that
a fake was made of. The networks of a family know nothing of it; the two modules here stand around them.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxgan.models.ops import layers

Condition = Float[Array, "batch condition"] | None


class Judgement(NamedTuple):
    """What a discriminator says of a batch.

    Attributes:
        logits: [batch]; positive for real.
        features: [batch, features]; the last layer but one.
        recovered: [batch, condition]; a guess of each example's condition, or None where none is made.
    """

    logits: Float[Array, " batch"]
    features: Float[Array, "batch features"]
    recovered: Float[Array, "batch condition"] | None


class GeneratorSide(NamedTuple):
    """One way in for the condition.

    Attributes:
        joins: whether it is joined to the latents.
        modulates: whether it sets the scales and shifts of the normalisations.
    """

    joins: bool = False
    modulates: bool = False


class DiscriminatorSide(NamedTuple):
    """One way to judge whether an example fits its condition.

    Attributes:
        joins: whether the condition is joined to the examples.
        projects: whether its product with the features is part of the logit.
        recovers: "labels" or "codes", where the discriminator guesses it instead of being told.
    """

    joins: bool = False
    projects: bool = False
    recovers: str = ""


# concat: Mirza and Osindero, Conditional Generative Adversarial Nets, 2014. https://arxiv.org/abs/1411.1784
# cbn: de Vries et al., Modulating early visual processing by language, 2017. https://arxiv.org/abs/1707.00683
GENERATOR_SIDES = {
    "none": GeneratorSide(),
    "concat": GeneratorSide(joins=True),
    "cbn": GeneratorSide(modulates=True),
}

# projection: Miyato and Koyama, cGANs with Projection Discriminator, 2018. https://arxiv.org/abs/1802.05637
# acgan: Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017. https://arxiv.org/abs/1610.09585
# infogan: Chen et al., InfoGAN, 2016. https://arxiv.org/abs/1606.03657
DISCRIMINATOR_SIDES = {
    "none": DiscriminatorSide(),
    "concat": DiscriminatorSide(joins=True),
    "projection": DiscriminatorSide(projects=True),
    "acgan": DiscriminatorSide(recovers="labels"),
    "infogan": DiscriminatorSide(recovers="codes"),
}


class Generator(nn.Module):
    """A family's generator with a way in for conditions.

    Attributes:
        body: called with (latents, modulation, train), makes examples; the modulation is for its normalisations.
        side: a name of `GENERATOR_SIDES`.
        embedding: features that conditions are turned into before they are joined; 0 leaves them as they are.
    """

    body: nn.Module
    side: str = "none"
    embedding: int = 0

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], condition: Condition, train: bool) -> Array:
        side = GENERATOR_SIDES[self.side]
        if side.joins:
            latents = jnp.concatenate([latents, embedded(condition, self.embedding)], axis=-1)
        return self.body(latents, condition if side.modulates else None, train)


class Discriminator(nn.Module):
    """A family's discriminator with its judgement of examples and conditions.

    Attributes:
        body: called with (examples, train), makes features.
        side: a name of `DISCRIMINATOR_SIDES`.
        embedding: as in `Generator`.
        recovered: numbers that a discriminator which recovers conditions guesses.
        spectral_norm: whether the weights here are divided by their largest singular value.
        kernel_init: their initialiser.
    """

    body: nn.Module
    side: str = "none"
    embedding: int = 0
    recovered: int = 0
    spectral_norm: bool = False
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, examples: Array, condition: Condition, train: bool) -> Judgement:
        side = DISCRIMINATOR_SIDES[self.side]
        if side.joins:
            told = embedded(condition, self.embedding)
            told = told.reshape(len(told), *[1] * (examples.ndim - 2), -1)  # the same at every pixel
            told = jnp.broadcast_to(told, (*examples.shape[:-1], told.shape[-1]))
            examples = jnp.concatenate([examples, told], axis=-1)
        features = self.body(examples, train)

        def dense(outputs: int, inputs: Array, **options) -> Array:
            layer = nn.Dense(outputs, kernel_init=self.kernel_init, **options)
            return layers.maybe_spectral_norm(layer, inputs, self.spectral_norm, train)

        logits = dense(1, features)[:, 0]
        if side.projects:
            logits += (dense(features.shape[-1], condition, use_bias=False) * features).sum(-1)
        return Judgement(logits, features, dense(self.recovered, features) if side.recovers else None)


def embedded(condition: Condition, features: int) -> Array:
    """The condition as it is joined to something else."""
    if not features:
        return condition
    return nn.Dense(features, use_bias=False, kernel_init=nn.initializers.normal(1.0), name="embedding")(condition)


def code(
    key: Key[Array, ""], categories: int, continuous: int, category: Int[Array, ""] | None = None
) -> Float[Array, " condition"]:
    """A latent code: a one-hot category, drawn unless it is given, and so many numbers from U(-1, 1)."""
    first, second = jax.random.split(key)
    if category is None:
        category = jax.random.randint(first, (), 0, max(categories, 1))
    numbers = jax.random.uniform(second, (continuous,), minval=-1, maxval=1)
    return jnp.concatenate([jax.nn.one_hot(category, categories), numbers])
