"""Conditional losses: what is learned of labels and codes, arrays in, one value per example out.

A condition is a one-hot label [batch, classes], or a latent code. Every function returns what is *minimised*; weights
and means belong to the step.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxgan.core.settings import ABOVE_ZERO, FRACTION, NOT_NEGATIVE, Setting, Settings

if TYPE_CHECKING:
    from jaxgan.adversarial.conditioning import DiscriminatorOutput

Values = Float[Array, " batch"]
Scalar = Float[Array, ""] | float


def cross_entropy(logits: Float[Array, "batch classes"], condition: Float[Array, "batch classes"]) -> Values:
    """-log C(y | x): how far a classifier is from the label.

    References:
        Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017, equation 3.
        https://arxiv.org/abs/1610.09585
    """
    return -(condition * jax.nn.log_softmax(logits)).sum(-1)


def code_error(
    predicted: Float[Array, "batch condition"], condition: Float[Array, "batch condition"], categories: int
) -> Values:
    """How far a guess is from a latent code: cross-entropy of its category, and squared error of its numbers.

    The numbers' part is the negative log-likelihood, up to a constant, of a normal distribution with a deviation of 1.

    Args:
        predicted: the guess.
        condition: the code: a one-hot category, and numbers.
        categories: how many there are; 0 for none.

    References:
        Chen et al., InfoGAN, 2016, equation 5. https://arxiv.org/abs/1606.03657
    """
    values = 0.5 * ((predicted[:, categories:] - condition[:, categories:]) ** 2).sum(-1)
    return values + cross_entropy(predicted[:, :categories], condition[:, :categories]) if categories else values


def twin_discriminator(
    real: Float[Array, "batch twice_classes"],
    fake: Float[Array, "batch twice_classes"],
    condition: Float[Array, "batch classes"],
) -> Values:
    """-log C(y | x) - log C_mi(y | G(z, y)): a classifier learns from real examples, its twin from fakes.

    Args:
        real, fake: the logits of C, followed by those of C_mi.
        condition: labels of both.

    References:
        Gong et al., Twin Auxiliary Classifiers GAN, 2019. https://arxiv.org/abs/1907.02690
        That C learns from real examples alone is the authors' code: https://github.com/batmanlab/twin_ac
    """
    (classifier, _), (_, twin) = jnp.split(real, 2, axis=-1), jnp.split(fake, 2, axis=-1)
    return cross_entropy(classifier, condition) + cross_entropy(twin, condition)


def twin_generator(fake: Float[Array, "batch twice_classes"], condition: Float[Array, "batch classes"]) -> Values:
    """-log C(y | G(z, y)) + log C_mi(y | G(z, y)): fakes that C recognises, and their own classifier does not.

    The second part pays for diversity: without it, as in AC-GAN, fakes stay away from where classes overlap.
    Arguments and references as in `twin_discriminator`.
    """
    classifier, twin = jnp.split(fake, 2, axis=-1)
    return cross_entropy(classifier, condition) - cross_entropy(twin, condition)


def real_or_fake_discriminator(
    real: Float[Array, "batch twice_classes"],
    fake: Float[Array, "batch twice_classes"],
    condition: Float[Array, "batch classes"],
) -> Values:
    """-log C(y, real | x) - log C(y, fake | G(z, y)): one classifier of all classes of real examples and of fakes.

    Args:
        real, fake: the logits of the classes of real examples, followed by those of fakes.
        condition: labels of both.

    References:
        Hou et al., Conditional GANs with Auxiliary Discriminative Classifier, 2022. https://arxiv.org/abs/2107.10060
    """
    nothing = jnp.zeros_like(condition)
    is_real, is_fake = (jnp.concatenate(pair, axis=-1) for pair in ((condition, nothing), (nothing, condition)))
    return cross_entropy(real, is_real) + cross_entropy(fake, is_fake)


def real_or_fake_generator(
    fake: Float[Array, "batch twice_classes"], condition: Float[Array, "batch classes"]
) -> Values:
    """-log C(y, real | G(z, y)) + log C(y, fake | G(z, y)), which is a difference of two logits.

    Arguments and references as in `real_or_fake_discriminator`.
    """
    as_real, as_fake = jnp.split(fake, 2, axis=-1)
    return (condition * (as_fake - as_real)).sum(-1)


def multi_hinge(
    logits: Float[Array, "batch classes"], target: Float[Array, "batch classes"], margin: Scalar = 1.0
) -> Values:
    """max(0, margin + max_{k != y} C_k - C_y), by Crammer and Singer.

    Args:
        logits: C.
        target: y, one-hot.
        margin: by how much the logit of y is to be the largest.

    References:
        Crammer and Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines, 2001.
    """
    right, wrong = (logits * target).sum(-1), jnp.where(target > 0, -jnp.inf, logits).max(-1)
    return jax.nn.relu(margin + wrong - right)


def multi_hinge_discriminator(
    real: Float[Array, "batch classes_and_fake"],
    fake: Float[Array, "batch classes_and_fake"],
    condition: Float[Array, "batch classes"],
    margin: Scalar = 1.0,
) -> Values:
    """`multi_hinge` of real examples with their labels, and of fakes with one class more. With one label it is hinge.

    Args:
        real, fake: the logits of the labels and, last, of the class of all fakes.
        condition: labels of both.
        margin: as in `multi_hinge`.

    References:
        Kavalerov et al., cGANs with Multi-Hinge Loss, 2019. https://arxiv.org/abs/1912.04216
    """
    label, of_fakes = jnp.pad(condition, ((0, 0), (0, 1))), jnp.zeros_like(fake).at[:, -1].set(1)
    return multi_hinge(real, label, margin) + multi_hinge(fake, of_fakes, margin)


def multi_hinge_generator(
    fake: Float[Array, "batch classes_and_fake"], condition: Float[Array, "batch classes"], margin: Scalar = 1.0
) -> Values:
    """`multi_hinge` of fakes with their labels; arguments and references as in `multi_hinge_discriminator`."""
    return multi_hinge(fake, jnp.pad(condition, ((0, 0), (0, 1))), margin)


class Similarities(NamedTuple):
    """Cosines between the embeddings of a batch, and between each embedding and the proxy of its label.

    Attributes:
        to_proxy: [batch].
        to_others: [batch, global batch].
        is_other: whether that is another example, [batch, global batch].
        same_label: whether it has the same label, [batch, global batch].
    """

    to_proxy: Values
    to_others: Float[Array, "batch everywhere"]
    is_other: Bool[Array, "batch everywhere"]
    same_label: Bool[Array, "batch everywhere"]


def similarities(
    embedding: Float[Array, "batch dim"],
    proxy: Float[Array, "batch dim"],
    condition: Float[Array, "batch classes"],
    index: Int[Array, " batch"],
    all_gather: Callable[[Array], Array] = lambda examples: examples,
) -> Similarities:
    """The cosines of a batch, which may be a part of the global batch.

    Args:
        embedding: of each example.
        proxy: of its label.
        condition: the label.
        index: of the example in the global batch.
        all_gather: the examples of all devices, in the order of the global batch. Gradients pass through it.
    """
    own, proxy = normalized(embedding), normalized(proxy)
    everywhere, labels = all_gather(own), all_gather(condition)
    return Similarities(
        (own * proxy).sum(-1), own @ everywhere.T, index[:, None] != jnp.arange(len(labels)), condition @ labels.T > 0
    )


def normalized(vectors: Float[Array, "batch dim"]) -> Float[Array, "batch dim"]:
    """Vectors by their length; those of no length become 0, and so do their gradients."""
    squared = (vectors**2).sum(-1, keepdims=True)
    positive = squared > 1e-16
    # Both branches of a `where` are differentiated, and the root's derivative at 0 is infinite.
    return jnp.where(positive, vectors * jax.lax.rsqrt(jnp.where(positive, squared, 1)), 0)


def contrastive(found: Similarities, temperature: Scalar) -> Values:
    """The 2C loss: proxy and examples of the same label attract an embedding, among all that it is compared with.

        -log (e^{s(x, v_y) / t} + sum_{j: y_j = y} e^{s(x, x_j) / t}) / (e^{s(x, v_y) / t} + sum_j e^{s(x, x_j) / t})

    Args:
        found: s.
        temperature: t.

    References:
        Kang and Park, ContraGAN: Contrastive Learning for Conditional Image Generation, 2020, equation 8.
        https://arxiv.org/abs/2006.12681
    """
    every = jnp.column_stack([found.to_proxy, found.to_others]) / temperature
    proxies = jnp.ones_like(found.is_other[:, :1])
    compared = jnp.concatenate([proxies, found.is_other], axis=1)
    attracting = jnp.concatenate([proxies, found.is_other & found.same_label], axis=1)
    attraction, total = (jax.nn.logsumexp(every, axis=1, where=where) for where in (attracting, compared))
    return total - attraction


def data_to_data(found: Similarities, temperature: Scalar, positive_margin: Scalar, negative_margin: Scalar) -> Values:
    """The D2D-CE loss: an embedding's own proxy attracts it, examples of other labels repel it, until easy.

        -log e^{a / t} / (e^{a / t} + sum_{j: y_j != y} e^{r_j / t})
        a = min(s(x, v_y) - m_p, 0),  r_j = max(s(x, x_j) - m_n, 0)

    This is the paper's formula. The code of the authors, https://github.com/POSTECH-CVLab/PyTorch-StudioGAN, subtracts
    from every repelling exponent the largest one of its row, and nothing from the attracting one.

    Args:
        found: s.
        temperature: t.
        positive_margin: m_p, the similarity to the proxy from which on nothing more is gained.
        negative_margin: m_n, the similarity to another label's example below which nothing more is gained.

    References:
        Kang et al., Rebooting ACGAN: Auxiliary Classifier GANs with Stable Training, 2021. https://arxiv.org/abs/2111.01118
    """
    attraction = jnp.minimum(found.to_proxy - positive_margin, 0) / temperature
    repulsion = jnp.maximum(found.to_others - negative_margin, 0) / temperature
    every = jnp.column_stack([attraction, repulsion])
    compared = jnp.concatenate([jnp.ones_like(found.same_label[:, :1]), ~found.same_label], axis=1)
    return jax.nn.logsumexp(every, axis=1, where=compared) - attraction


class ConditionalLossInputs(NamedTuple):
    """Everything that a conditional loss may look at.

    Attributes:
        real, fake: what the discriminator makes of both batches.
        condition: of the examples, real and fake.
        categories: of a latent code; 0 for none, and for labels.
        index: [batch], of the examples in the global batch.
        hparam: name -> value of a setting.
        all_gather: the examples of all devices, in the order of the global batch.
    """

    real: "DiscriminatorOutput"
    fake: "DiscriminatorOutput"
    condition: Float[Array, "batch condition"]
    categories: int
    index: Int[Array, " batch"]
    hparam: Callable[[str], Float[Array, ""] | float]
    all_gather: Callable[[Array], Array]

    def similarities(self, kind: str) -> Similarities:
        """Those of "real" examples or of "fake" ones."""
        out = getattr(self, kind)
        return similarities(out.embedding, out.proxy, self.condition, self.index, self.all_gather)


class ConditionalLoss(NamedTuple):
    """What the networks minimise besides the loss of the configuration, or in its place: one value per example."""

    discriminator: Callable[[ConditionalLossInputs], Values]
    generator: Callable[[ConditionalLossInputs], Values]


def contrastive_of(inputs: ConditionalLossInputs, kind: str) -> Values:
    """The 2C loss of "real" examples or of "fake" ones."""
    return contrastive(inputs.similarities(kind), inputs.hparam("conditioning.temperature"))


def data_to_data_of(inputs: ConditionalLossInputs, kind: str) -> Values:
    """The D2D-CE loss of "real" examples or of "fake" ones."""
    names = ("temperature", "positive_margin", "negative_margin")
    return data_to_data(inputs.similarities(kind), *(inputs.hparam(f"conditioning.{name}") for name in names))


ACGAN = ConditionalLoss(
    lambda i: cross_entropy(i.real.aux_logits, i.condition) + cross_entropy(i.fake.aux_logits, i.condition),
    lambda i: cross_entropy(i.fake.aux_logits, i.condition),
)
INFOGAN = ConditionalLoss(  # latent codes belong to fakes alone
    lambda i: code_error(i.fake.aux_logits, i.condition, i.categories),
    lambda i: code_error(i.fake.aux_logits, i.condition, i.categories),
)
TACGAN = ConditionalLoss(
    lambda i: twin_discriminator(i.real.aux_logits, i.fake.aux_logits, i.condition),
    lambda i: twin_generator(i.fake.aux_logits, i.condition),
)
ADCGAN = ConditionalLoss(
    lambda i: real_or_fake_discriminator(i.real.aux_logits, i.fake.aux_logits, i.condition),
    lambda i: real_or_fake_generator(i.fake.aux_logits, i.condition),
)
MHGAN = ConditionalLoss(
    lambda i: multi_hinge_discriminator(i.real.aux_logits, i.fake.aux_logits, i.condition, i.hparam("margin")),
    lambda i: multi_hinge_generator(i.fake.aux_logits, i.condition, i.hparam("margin")),
)
CONTRAGAN = ConditionalLoss(lambda i: contrastive_of(i, "real"), lambda i: contrastive_of(i, "fake"))
REACGAN = ConditionalLoss(lambda i: data_to_data_of(i, "real"), lambda i: data_to_data_of(i, "fake"))

WEIGHT: Settings = {"weight": Setting(1.0, "of the loss of conditions", NOT_NEGATIVE, sweepable=True)}
MARGINS: Settings = {
    "positive_margin": Setting(
        0.98, "cosine to the label's proxy from which on nothing more is gained", FRACTION, sweepable=True
    ),
    "negative_margin": Setting(
        0.02, "cosine to another label's example below which nothing more is gained", FRACTION, sweepable=True
    ),
}


def temperature(default: float) -> Settings:
    """The setting of a temperature."""
    return {"temperature": Setting(default, "by which cosines are divided", ABOVE_ZERO, sweepable=True)}
