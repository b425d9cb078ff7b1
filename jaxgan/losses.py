"""Adversarial losses: named pairs, logits in, one value per example out.

A positive logit says "real". Every function returns what its network *minimises*; the mean is taken by the step, which
also knows about other devices. Both sides of a pair see both batches of logits, since relativistic losses need them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

Values = Float[Array, " batch"]
Targets = Values | float


class Loss(NamedTuple):
    """A discriminator's loss and the generator's answer to it.

    Attributes:
        discriminator: (real_logits, fake_logits) -> values; one that `takes_targets` has two more arguments, the
            targets of the real and of the fake logits, 1 and 0 unless given.
        generator: (real_logits, fake_logits) -> values.
        takes_targets: whether smoothed or flipped labels make sense for it.
    """

    discriminator: Callable[..., Values]
    generator: Callable[[Values, Values], Values]
    takes_targets: bool = False


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


def hinge_discriminator(real_logits: Values, fake_logits: Values) -> Values:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))).

    References:
        Lim and Ye, Geometric GAN, 2017. https://arxiv.org/abs/1705.02894
        Miyato et al., Spectral Normalization for GANs, 2018, equation 16. https://arxiv.org/abs/1802.05957
    """
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


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


def relativistic_discriminator(real_logits: Values, fake_logits: Values) -> Values:
    """-log sigmoid(D(x) - D(G(z))): each real example is compared with one fake.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018, equation 3. https://arxiv.org/abs/1807.00734
        Huang et al., The GAN is dead; long live the GAN! (R3GAN), 2024, equation 2. https://arxiv.org/abs/2501.05441
    """
    return jax.nn.softplus(fake_logits - real_logits)


def relativistic_generator(real_logits: Values, fake_logits: Values) -> Values:
    """-log sigmoid(D(G(z)) - D(x)): `relativistic_discriminator` with its two sides exchanged.

    References:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018, equation 4. https://arxiv.org/abs/1807.00734
    """
    return jax.nn.softplus(real_logits - fake_logits)


LOSSES = {
    "minimax": Loss(minimax_discriminator, minimax_generator, takes_targets=True),
    "non_saturating": Loss(minimax_discriminator, non_saturating_generator, takes_targets=True),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator, takes_targets=True),
    "hinge": Loss(hinge_discriminator, wasserstein_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "relativistic": Loss(relativistic_discriminator, relativistic_generator),
}
