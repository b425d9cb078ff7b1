"""Conditional GANs: how labels and latent codes enter the generator, and how the discriminator uses them.

A *condition* is what belongs to each example besides its pixels: its label as a one-hot vector, or the latent code that
a fake was made of. The networks of a family know nothing of it; the two modules here wrap them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from jaxgan.adversarial import conditional_losses as losses
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import NOT_NEGATIVE, POSITIVE, Choice, Setting, Settings
from jaxgan.errors import UserError
from jaxgan.models.ops import layers

Condition = Float[Array, "batch condition"] | None


class DiscriminatorOutput(NamedTuple):
    """What a discriminator makes of a batch.

    Attributes:
        logits: [batch]; positive for real.
        features: [batch, features]; the last layer but one.
        aux_logits: [batch, outputs]; a prediction of each example's condition, or None where none is made.
        embedding, proxy: [batch, proxy_dim]; of each example and of its label, or None where they are not compared.
    """

    logits: Float[Array, " batch"]
    features: Float[Array, "batch features"]
    aux_logits: Float[Array, "batch outputs"] | None
    embedding: Float[Array, "batch proxy_dim"] | None = None
    proxy: Float[Array, "batch proxy_dim"] | None = None


class GeneratorConditioning(NamedTuple):
    """One way in for the condition.

    Attributes:
        concatenates: whether it is concatenated with the latents.
        modulates_norm: whether it sets the scales and shifts of the normalisations.
        settings: that it reads.
    """

    concatenates: bool = False
    modulates_norm: bool = False
    settings: Settings = {}  # noqa: RUF012


class DiscriminatorConditioning(NamedTuple):
    """One way in which the discriminator uses the condition of an example.

    Attributes:
        concatenates: whether the condition is concatenated with the examples.
        projects: whether its product with the features is part of the logit.
        alone: whether nothing else is, and the features pass a linear layer before.
        embeds: whether examples and labels are embedded in one space, to be compared.
        predicts: "labels" or "codes", where the discriminator predicts it instead of being given it.
        outputs: numbers of a condition -> numbers of the prediction.
        auxiliary: a loss that is added to that of the configuration, with a weight.
        adversarial: a loss in its place, of a logit for each label and, last, of one for fakes.
        settings: that it reads.
    """

    concatenates: bool = False
    projects: bool = False
    alone: bool = False
    embeds: bool = False
    predicts: str = ""
    outputs: Callable[[int], int] = lambda size: 0
    auxiliary: losses.ConditionalLoss | None = None
    adversarial: losses.ConditionalLoss | None = None
    settings: Settings = {}  # noqa: RUF012

    @property
    def is_given(self) -> bool:
        """Whether the discriminator is given the condition of an example."""
        return self.concatenates or self.projects or self.embeds

    @property
    def is_single(self) -> bool:
        """Whether it uses the condition of one example at a time, which a pack of several has not."""
        return self.projects or self.embeds or bool(self.predicts)


EMBEDDING = {
    "embedding": Setting(
        0, "features that a condition is embedded in before it is concatenated; 0: one-hot", NOT_NEGATIVE
    )
}
EMBEDDING_INIT = nn.initializers.normal(1.0)
CODES = {
    "categories": Setting(10, "of the latent code; 0: none", NOT_NEGATIVE),
    "continuous": Setting(2, "numbers of the latent code besides", NOT_NEGATIVE),
}
PROXIES = {"proxy_dim": Setting(512, "numbers that examples and labels are embedded in to be compared", POSITIVE)}

# concat: Mirza and Osindero, Conditional Generative Adversarial Nets, 2014. https://arxiv.org/abs/1411.1784
# cbn: de Vries et al., Modulating early visual processing by language, 2017. https://arxiv.org/abs/1707.00683
GENERATOR_CONDITIONING = {
    "none": GeneratorConditioning(),
    "concat": GeneratorConditioning(concatenates=True, settings=EMBEDDING),
    "cbn": GeneratorConditioning(modulates_norm=True),
}

# projection: Miyato and Koyama, cGANs with Projection Discriminator, 2018. https://arxiv.org/abs/1802.05637
# inner_product: Huang et al., The GAN is dead; long live the GAN!, 2024, in the authors' code.
# https://github.com/brownvc/R3GAN
# acgan: Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017. https://arxiv.org/abs/1610.09585
# infogan: Chen et al., InfoGAN, 2016. https://arxiv.org/abs/1606.03657
# tacgan: Gong et al., Twin Auxiliary Classifiers GAN, 2019. https://arxiv.org/abs/1907.02690
# adcgan: Hou et al., Conditional GANs with Auxiliary Discriminative Classifier, 2022. https://arxiv.org/abs/2107.10060
# mhgan: Kavalerov et al., cGANs with Multi-Hinge Loss, 2019. https://arxiv.org/abs/1912.04216
# contragan: Kang and Park, ContraGAN, 2020. https://arxiv.org/abs/2006.12681
# reacgan: Kang et al., Rebooting ACGAN, 2021. https://arxiv.org/abs/2111.01118
DISCRIMINATOR_CONDITIONING = {
    "none": DiscriminatorConditioning(),
    "concat": DiscriminatorConditioning(concatenates=True, settings=EMBEDDING),
    "projection": DiscriminatorConditioning(projects=True),
    "inner_product": DiscriminatorConditioning(projects=True, alone=True),
    "acgan": DiscriminatorConditioning(
        predicts="labels", outputs=lambda size: size, auxiliary=losses.ACGAN, settings=losses.WEIGHT
    ),
    "infogan": DiscriminatorConditioning(
        predicts="codes", outputs=lambda size: size, auxiliary=losses.INFOGAN, settings=losses.WEIGHT | CODES
    ),
    "tacgan": DiscriminatorConditioning(
        predicts="labels", outputs=lambda size: 2 * size, auxiliary=losses.TACGAN, settings=losses.WEIGHT
    ),
    "adcgan": DiscriminatorConditioning(
        predicts="labels", outputs=lambda size: 2 * size, auxiliary=losses.ADCGAN, settings=losses.WEIGHT
    ),
    "mhgan": DiscriminatorConditioning(predicts="labels", outputs=lambda size: size + 1, adversarial=losses.MHGAN),
    "contragan": DiscriminatorConditioning(
        embeds=True, auxiliary=losses.CONTRAGAN, settings=losses.WEIGHT | PROXIES | losses.temperature(1.0)
    ),
    "reacgan": DiscriminatorConditioning(
        embeds=True,
        auxiliary=losses.REACGAN,
        settings=losses.WEIGHT | PROXIES | losses.temperature(0.5) | losses.MARGINS,
    ),
}

SETTINGS: Settings = {
    "conditioning": {
        "generator": Choice(
            "none",
            "how the generator gets labels or a latent code",
            lambda: {name: entry.settings for name, entry in GENERATOR_CONDITIONING.items()},
        ),
        "discriminator": Choice(
            "none",
            "how the discriminator uses them",
            lambda: {name: entry.settings for name, entry in DISCRIMINATOR_CONDITIONING.items()},
        ),
    }
}


# Of an algorithm whose networks have one way in for labels.
CONDITIONAL: Settings = {"conditional": Setting(False, "networks are given the labels")}


def one_hot_labels(exp: Experiment, inputs: Mapping[str, Array]) -> Condition:
    """What networks are given of a batch's or a task's labels, with `CONDITIONAL`."""
    return jax.nn.one_hot(inputs["labels"], exp.classes) if exp.config.conditional else None


def check_labels(exp: Experiment) -> Iterator[str]:
    """Why `config.conditional` and the data do not go together."""
    if exp.config.conditional and not exp.classes:
        yield f"config.conditional=True needs labels, and config.data.source={exp.config.data.source} has none"


def check(config: ConfigDict) -> Iterator[str]:
    """Why the two sides do not go together."""
    sides = config.conditioning
    entry = DISCRIMINATOR_CONDITIONING[sides.discriminator]
    if sides.generator != "none" and sides.discriminator == "none":
        able = ", ".join(name for name in DISCRIMINATOR_CONDITIONING if name != "none")
        yield (
            f"config.conditioning.generator={sides.generator} needs a discriminator that uses the label: choose "
            f"config.conditioning.discriminator from {able}"
        )
    if sides.generator == "none" and sides.discriminator != "none":
        able = ", ".join(name for name in GENERATOR_CONDITIONING if name != "none")
        yield (
            f"config.conditioning.discriminator={sides.discriminator} needs a conditional generator: choose "
            f"config.conditioning.generator from {able}"
        )
    norm = config.model.generator.get("norm")
    if GENERATOR_CONDITIONING[sides.generator].modulates_norm and norm != "batch":
        yield (
            f"config.conditioning.generator={sides.generator} sets the scales and shifts of BatchNorm: "
            f"config.model.generator.norm={norm} must be batch"
        )
    if config.model.generator.get("embedding", 0) and not GENERATOR_CONDITIONING[sides.generator].modulates_norm:
        yield (
            f"config.model.generator.embedding={config.model.generator.embedding} has no effect with "
            f"config.conditioning.generator={sides.generator}: it must be 0, or the conditioning cbn"
        )
    if entry.predicts == "codes" and not sides.categories + sides.continuous:
        yield (
            f"config.conditioning.discriminator={sides.discriminator} has nothing to predict: "
            "config.conditioning.categories or config.conditioning.continuous must be above 0"
        )
    if entry.adversarial is not None and config.loss != "hinge":
        yield (
            f"config.conditioning.discriminator={sides.discriminator} is a hinge loss of classes: "
            f"config.loss={config.loss} must be hinge"
        )


def uses_codes(config: ConfigDict) -> bool:
    """Whether the condition is a latent code, and no label."""
    return DISCRIMINATOR_CONDITIONING[config.conditioning.discriminator].predicts == "codes"


def label_classes(config: ConfigDict, classes: int) -> int:
    """The labels that the networks know of a data set's classes; 0 if they know none.

    Raises:
        UserError: labels are needed, and the data set has none.
    """
    if config.conditioning.generator == "none" or uses_codes(config):
        return 0
    if not classes:
        raise UserError(
            f"config.conditioning.generator={config.conditioning.generator} needs labels, and config.data.source="
            f"{config.data.source} has none: choose another source, or none for both sides of config.conditioning"
        )
    return classes


def condition_size(config: ConfigDict, classes: int) -> int:
    """Numbers of a condition; 0 if the generator is unconditional."""
    if uses_codes(config):
        return config.conditioning.categories + config.conditioning.continuous
    return label_classes(config, classes)


class Generator(nn.Module):
    """A family's generator with a way in for conditions.

    Attributes:
        body: called with (latents, modulation, train), makes examples; the modulation is for its normalisations.
        conditioning: a name of `GENERATOR_CONDITIONING`.
        embedding: features that conditions are embedded in before they are concatenated; 0 leaves them as they are.
        embedding_init: initialiser of the embedding's kernel.
    """

    body: nn.Module
    conditioning: str = "none"
    embedding: int = 0
    embedding_init: Callable = EMBEDDING_INIT

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], condition: Condition, train: bool) -> Array:
        side = GENERATOR_CONDITIONING[self.conditioning]
        if side.concatenates:
            embedded = embed(condition, self.embedding, self.embedding_init)
            latents = jnp.concatenate([latents, embedded], axis=-1)
        return self.body(latents, condition if side.modulates_norm else None, train)


class Discriminator(nn.Module):
    """A family's discriminator with a logit for each example, which may depend on its condition.

    Attributes:
        body: called with (examples, train), makes features.
        conditioning: a name of `DISCRIMINATOR_CONDITIONING`.
        embedding: as in `Generator`.
        predicted: numbers of the prediction of a condition.
        proxy_dim: numbers that examples and labels are embedded in to be compared.
        spectral_norm: whether the weights here are divided by their largest singular value.
        kernel_init: their initialiser.
        use_bias: whether a bias is part of the logits.
    """

    body: nn.Module
    conditioning: str = "none"
    embedding: int = 0
    predicted: int = 0
    proxy_dim: int = 0
    spectral_norm: bool = False
    kernel_init: Callable = nn.initializers.lecun_normal()
    use_bias: bool = True

    @property
    def positively_homogeneous(self) -> bool:
        """Whether a logit depends on its own example alone, and is multiplied as example and biases are.

        A condition that is concatenated with examples, or part of another loss, is neither example nor bias.
        """
        side = DISCRIMINATOR_CONDITIONING[self.conditioning]
        plain = not (side.concatenates or side.predicts or side.embeds or self.spectral_norm)
        return plain and getattr(self.body, "positively_homogeneous", False)

    @nn.compact
    def __call__(self, examples: Array, condition: Condition, train: bool) -> DiscriminatorOutput:
        side = DISCRIMINATOR_CONDITIONING[self.conditioning]
        if side.concatenates:
            examples = append_condition(examples, embed(condition, self.embedding))
        features = self.body(examples, train)

        def dense(outputs: int, inputs: Array, per_row: bool = False, **options) -> Array:
            layer = nn.Dense(outputs, **{"kernel_init": self.kernel_init} | options)
            return layers.maybe_spectral_norm(layer, inputs, self.spectral_norm, train, per_row)

        count = features.shape[-1]
        if side.adversarial is not None:
            aux_logits = dense(self.predicted, features, use_bias=self.use_bias)
            return DiscriminatorOutput(aux_logits[:, :-1].max(-1) - aux_logits[:, -1], features, aux_logits)
        if side.alone:
            init = nn.initializers.variance_scaling(1 / count, "fan_in", "normal")
            embedded = dense(count, condition, use_bias=False, kernel_init=init, name="embedding")
            logits = (dense(count, features, use_bias=False) * embedded).sum(-1)
        else:
            logits = dense(1, features, use_bias=self.use_bias)[:, 0]
            if side.projects:
                logits += (dense(count, condition, per_row=True, use_bias=False) * features).sum(-1)
        if side.embeds:
            proxy = dense(self.proxy_dim, condition, use_bias=False, name="proxy")
            return DiscriminatorOutput(logits, features, None, dense(self.proxy_dim, features), proxy)
        return DiscriminatorOutput(logits, features, dense(self.predicted, features) if side.predicts else None)


def append_condition(examples: Float[Array, "batch *place channel"], condition: Condition) -> Array:
    """The condition as further channels, the same at every pixel."""
    wide = condition.reshape(len(condition), *[1] * (examples.ndim - 2), -1)
    return jnp.concatenate([examples, jnp.broadcast_to(wide, (*examples.shape[:-1], wide.shape[-1]))], axis=-1)


def embed(condition: Condition, features: int, kernel_init: Callable = EMBEDDING_INIT) -> Array:
    """The condition as it is concatenated with something else."""
    if not features:
        return condition
    return nn.Dense(features, use_bias=False, kernel_init=kernel_init, name="embedding")(condition)


def latent_code(
    key: Key[Array, ""], categories: int, continuous: int, category: Int[Array, ""] | None = None
) -> Float[Array, " condition"]:
    """A latent code: a one-hot category, drawn unless it is given, and `continuous` numbers from U(-1, 1)."""
    first, second = jax.random.split(key)
    if category is None:
        category = jax.random.randint(first, (), 0, max(categories, 1))
    numbers = jax.random.uniform(second, (continuous,), minval=-1, maxval=1)
    return jnp.concatenate([jax.nn.one_hot(category, categories), numbers])
