"""Adversarial losses: named pairs, logits in, one value per example out.

A positive logit says "real". Every function returns what its network *minimises*; the mean is taken by the step, which
also knows about other devices. Both sides of a pair see both batches of logits, since relativistic losses need them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from jaxgan.core.settings import FRACTION, INTERVAL, NOT_NEGATIVE, Choice, Setting, Settings

Values = Float[Array, " batch"]
Scalar = Float[Array, ""] | float
Targets = Values | float


class Loss(NamedTuple):
    """A discriminator's loss and the generator's.

    Attributes:
        discriminator: (real_logits, fake_logits) -> values; one that `takes_targets` has two more arguments, the
            targets of the real and of the fake logits, 1 and 0 unless given.
        generator: (real_logits, fake_logits) -> values.
        takes_targets: whether smoothed or flipped labels make sense for it.
        takes_margin: whether the discriminator has a keyword `margin`: how far on its side of the decision a logit (or
            a difference of two) is to be. The generator's loss does not depend on it.
        takes_means: whether both functions have the keywords `real_mean` and `fake_mean`: the means of the logits over
            the global batch, of which the batch given may be a part; None for the means of the batch given. Gradients
            flow through them.
        margin: the published one, which `discriminator` has unless given another.
        boundary: the logit between real and fake; None where only differences of logits matter.
        compares: whether the generator's loss depends on the real logits.
    """

    discriminator: Callable[..., Values]
    generator: Callable[..., Values]
    takes_targets: bool = False
    takes_margin: bool = False
    takes_means: bool = False
    margin: float = 0.0
    boundary: float | None = 0.0
    compares: bool = True


def cross_entropy(logits: Values, targets: Targets) -> Values:
    """Binary cross-entropy of `sigmoid(logits)` against targets in [0, 1], stable for logits of any size."""
    return targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits)


def minimax_discriminator(
    real_logits: Values, fake_logits: Values, real_targets: Targets = 1.0, fake_targets: Targets = 0.0
) -> Values:
    """-log D(x) - log(1 - D(G(z))), with soft targets where given.

    References:
        Goodfellow et al., Generative Adversarial Networks, 2014, equation 1. https://arxiv.org/abs/1406.2661
        Salimans et al., Improved Techniques for Training GANs, 2016, section 3.4 (one-sided label smoothing).
    """
    return cross_entropy(real_logits, real_targets) + cross_entropy(fake_logits, fake_targets)


def minimax_generator(real_logits: Values, fake_logits: Values) -> Values:
    """log(1 - D(G(z))): the zero-sum game, whose gradient fades where the discriminator is sure.

    References:
        Goodfellow et al., Generative Adversarial Networks, 2014, equation 1. https://arxiv.org/abs/1406.2661
    """
    del real_logits
    return -jax.nn.softplus(fake_logits)


def non_saturating_generator(real_logits: Values, fake_logits: Values) -> Values:
    """-log D(G(z)).

    References:
        Goodfellow et al., Generative Adversarial Networks, 2014, section 3. https://arxiv.org/abs/1406.2661
    """
    del real_logits
    return jax.nn.softplus(-fake_logits)


def least_squares_discriminator(
    real_logits: Values, fake_logits: Values, real_targets: Targets = 1.0, fake_targets: Targets = 0.0
) -> Values:
    """(D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2 with the targets b = 1 and a = 0.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, 2017, equation 9. https://arxiv.org/abs/1611.04076
    """
    return 0.5 * (real_logits - real_targets) ** 2 + 0.5 * (fake_logits - fake_targets) ** 2


def least_squares_generator(real_logits: Values, fake_logits: Values) -> Values:
    """(D(G(z)) - c)^2 / 2 with the target c = 1.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, 2017, equation 9. https://arxiv.org/abs/1611.04076
    """
    del real_logits
    return 0.5 * (fake_logits - 1) ** 2


def pearson_discriminator(real_logits: Values, fake_logits: Values) -> Values:
    """(D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2 with the targets b = 1 and a = -1.

    With b - c = 1 and b - a = 2, as here and in `pearson_generator`, the best discriminator leaves the generator the
    Pearson chi^2 divergence between p_data + p_g and 2 p_g to minimise.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, 2017, equation 8. https://arxiv.org/abs/1611.04076
    """
    return least_squares_discriminator(real_logits, fake_logits, 1.0, -1.0)


def pearson_generator(real_logits: Values, fake_logits: Values) -> Values:
    """(D(G(z)) - c)^2 / 2 with the target c = 0.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, 2017, equation 8. https://arxiv.org/abs/1611.04076
    """
    del real_logits
    return 0.5 * fake_logits**2


def logistic_discriminator(real_logits: Values, fake_logits: Values, *, margin: Scalar = 0.0) -> Values:
    """log(1 + exp(margin - D(x))) + log(1 + exp(margin + D(G(z)))): cross-entropy with a margin.

    With margin 0 it is `minimax_discriminator` without soft targets; with any other it is to that what
    `hinge_discriminator` is to the perceptron's loss, since softplus is a smooth max(0, .). We know no paper that
    trains a GAN with it; the references have the margin in the cross-entropy of a classifier, and the part that
    margins play in a discriminator.

    References:
        Goodfellow et al., Generative Adversarial Networks, 2014, equation 1. https://arxiv.org/abs/1406.2661
        Wang et al., Additive Margin Softmax for Face Verification, 2018. https://arxiv.org/abs/1801.05599
        Jolicoeur-Martineau and Mitliagkas, Gradient penalty from a maximum margin perspective, 2019.
        https://arxiv.org/abs/1910.06922
    """
    return jax.nn.softplus(margin - real_logits) + jax.nn.softplus(margin + fake_logits)


def hinge_discriminator(real_logits: Values, fake_logits: Values, *, margin: Values | Scalar = 1.0) -> Values:
    """max(0, margin - D(x)) + max(0, margin + D(G(z))), published with margin 1.

    References:
        Lim and Ye, Geometric GAN, 2017. https://arxiv.org/abs/1705.02894
        Miyato et al., Spectral Normalization for GANs, 2018, equation 16. https://arxiv.org/abs/1802.05957
    """
    return jax.nn.relu(margin - real_logits) + jax.nn.relu(margin + fake_logits)


def wasserstein_discriminator(real_logits: Values, fake_logits: Values) -> Values:
    """D(G(z)) - D(x): minus the estimated distance, if D is kept Lipschitz.

    References:
        Arjovsky et al., Wasserstein GAN, 2017, equation 2. https://arxiv.org/abs/1701.07875
    """
    return fake_logits - real_logits


def wasserstein_generator(real_logits: Values, fake_logits: Values) -> Values:
    """-D(G(z)); also the generator's side of the hinge loss.

    References:
        Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
        Miyato et al., Spectral Normalization for GANs, 2018, equation 17. https://arxiv.org/abs/1802.05957
    """
    del real_logits
    return -fake_logits


def relativistic_discriminator(real_logits: Values, fake_logits: Values, *, margin: Scalar = 0.0) -> Values:
    """-log sigmoid(D(x) - D(G(z)) - margin): each real example is compared with one fake, published with margin 0.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018, equation 3. https://arxiv.org/abs/1807.00734
        Huang et al., The GAN is dead; long live the GAN! (R3GAN), 2024, equation 2. https://arxiv.org/abs/2501.05441
    """
    return jax.nn.softplus(margin + fake_logits - real_logits)


def relativistic_generator(real_logits: Values, fake_logits: Values) -> Values:
    """-log sigmoid(D(G(z)) - D(x)): `relativistic_discriminator` with its two sides exchanged.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018, equation 4. https://arxiv.org/abs/1807.00734
    """
    return jax.nn.softplus(real_logits - fake_logits)


def relative_logits(
    real_logits: Values, fake_logits: Values, real_mean: Scalar | None, fake_mean: Scalar | None
) -> tuple[Values, Values]:
    """D(x) - E[D(G(z))] and D(G(z)) - E[D(x)]: each example against the average of the other kind.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    real_mean = real_logits.mean() if real_mean is None else real_mean
    fake_mean = fake_logits.mean() if fake_mean is None else fake_mean
    return real_logits - fake_mean, fake_logits - real_mean


def relativistic_average_discriminator(
    real_logits: Values, fake_logits: Values, *, real_mean: Scalar | None = None, fake_mean: Scalar | None = None
) -> Values:
    """-log sigmoid(D(x) - E[D(G(z))]) - log(1 - sigmoid(D(G(z)) - E[D(x)])), called RaSGAN.

    In a batch of one it is twice `relativistic_discriminator`.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    real, fake = relative_logits(real_logits, fake_logits, real_mean, fake_mean)
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def relativistic_average_generator(
    real_logits: Values, fake_logits: Values, *, real_mean: Scalar | None = None, fake_mean: Scalar | None = None
) -> Values:
    """`relativistic_average_discriminator` with its two sides exchanged.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    return relativistic_average_discriminator(fake_logits, real_logits, real_mean=fake_mean, fake_mean=real_mean)


def relativistic_average_least_squares_discriminator(
    real_logits: Values, fake_logits: Values, *, real_mean: Scalar | None = None, fake_mean: Scalar | None = None
) -> Values:
    """(D(x) - E[D(G(z))] - 1)^2 + (D(G(z)) - E[D(x)] + 1)^2, called RaLSGAN; without the halves of LSGAN.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    real, fake = relative_logits(real_logits, fake_logits, real_mean, fake_mean)
    return (real - 1) ** 2 + (fake + 1) ** 2


def relativistic_average_least_squares_generator(
    real_logits: Values, fake_logits: Values, *, real_mean: Scalar | None = None, fake_mean: Scalar | None = None
) -> Values:
    """`relativistic_average_least_squares_discriminator` with its two sides exchanged.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    return relativistic_average_least_squares_discriminator(
        fake_logits, real_logits, real_mean=fake_mean, fake_mean=real_mean
    )


def relativistic_average_hinge_discriminator(
    real_logits: Values, fake_logits: Values, *, real_mean: Scalar | None = None, fake_mean: Scalar | None = None
) -> Values:
    """max(0, 1 - (D(x) - E[D(G(z))])) + max(0, 1 + (D(G(z)) - E[D(x)])), called RaHingeGAN.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    real, fake = relative_logits(real_logits, fake_logits, real_mean, fake_mean)
    return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


def relativistic_average_hinge_generator(
    real_logits: Values, fake_logits: Values, *, real_mean: Scalar | None = None, fake_mean: Scalar | None = None
) -> Values:
    """`relativistic_average_hinge_discriminator` with its two sides exchanged.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018. https://arxiv.org/abs/1807.00734
    """
    return relativistic_average_hinge_discriminator(fake_logits, real_logits, real_mean=fake_mean, fake_mean=real_mean)


LOSSES = {
    "minimax": Loss(minimax_discriminator, minimax_generator, takes_targets=True, compares=False),
    "non_saturating": Loss(minimax_discriminator, non_saturating_generator, takes_targets=True, compares=False),
    "logistic": Loss(logistic_discriminator, non_saturating_generator, takes_margin=True, compares=False),
    "least_squares": Loss(
        least_squares_discriminator, least_squares_generator, takes_targets=True, boundary=0.5, compares=False
    ),
    # Its targets are what makes it Pearson's.
    "pearson": Loss(pearson_discriminator, pearson_generator, compares=False),
    "hinge": Loss(hinge_discriminator, wasserstein_generator, takes_margin=True, margin=1.0, compares=False),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator, boundary=None, compares=False),
    "relativistic": Loss(relativistic_discriminator, relativistic_generator, takes_margin=True, boundary=None),
    "relativistic_average": Loss(
        relativistic_average_discriminator, relativistic_average_generator, takes_means=True, boundary=None
    ),
    "relativistic_average_least_squares": Loss(
        relativistic_average_least_squares_discriminator,
        relativistic_average_least_squares_generator,
        takes_means=True,
        boundary=None,
    ),
    "relativistic_average_hinge": Loss(
        relativistic_average_hinge_discriminator,
        relativistic_average_hinge_generator,
        takes_means=True,
        boundary=None,
    ),
}
# Short names, as papers and other libraries have them.
LOSSES |= {
    short: LOSSES[name]
    for short, name in {
        "lsgan": "least_squares",
        "wgan": "wasserstein",
        "rpgan": "relativistic",
        "ragan": "relativistic_average",
        "ralsgan": "relativistic_average_least_squares",
        "rahinge": "relativistic_average_hinge",
    }.items()
}

TARGETS: Settings = {
    "targets": {
        "real": Setting((1.0, 1.0), "range that real examples' targets are drawn from; (0.8, 1.0) smooths", INTERVAL),
        "fake": Setting((0.0, 0.0), "range that fakes' targets are drawn from", INTERVAL),
        "flip": Setting(0.0, "share of the examples whose real and fake targets are exchanged", FRACTION),
    }
}


def brought(loss: Loss) -> Settings:
    """The settings that a loss has."""
    margin = Setting(loss.margin, "how far beyond the decision a logit is to be", NOT_NEGATIVE, sweepable=True)
    return (TARGETS if loss.takes_targets else {}) | ({"margin": margin} if loss.takes_margin else {})


SETTINGS: Settings = {
    "loss": Choice(
        "non_saturating", "the adversarial pair", lambda: {name: brought(loss) for name, loss in LOSSES.items()}
    )
}
