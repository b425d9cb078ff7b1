"""What a variational autoencoder minimises, as functions of importance weights.

For latents z from q(z | x), the log-weight of one sample is log w = log p(x | z) + log p(z) - log q(z | x).

References:
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014. https://arxiv.org/abs/1312.6114
    Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
    Higgins et al., beta-VAE, 2017. https://openreview.net/forum?id=Sy2fzU9gl
    Burgess et al., Understanding disentangling in beta-VAE, 2018. https://arxiv.org/abs/1804.03599
    Tucker et al., Doubly Reparameterized Gradient Estimators, 2019. https://arxiv.org/abs/1810.04152
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.core.settings import NOT_NEGATIVE, Choice, Setting, Settings


class Evidence(NamedTuple):
    """What k latents of each example tell about its likelihood, in nats.

    Attributes:
        log_likelihood: log p(x | z).
        log_ratio: log p(z) - log q(z | x).
        kl: KL(q(z | x) || p(z)), in closed form where there is one, else estimated from the k latents.
    """

    log_likelihood: Float[Array, "k batch"]
    log_ratio: Float[Array, "k batch"]
    kl: Float[Array, " batch"]

    @property
    def log_weights(self) -> Float[Array, "k batch"]:
        """log w of each latent."""
        return self.log_likelihood + self.log_ratio


def importance_weighted_bound(log_weights: Float[Array, "k batch"]) -> Float[Array, " batch"]:
    """log (1/k sum w): its expectation bounds log p(x) from below and rises with k; k = 1 is the ELBO.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016, equation 8. https://arxiv.org/abs/1509.00519
    """
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))


@jax.custom_vjp
def scale_gradient(x: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """The identity, whose gradient is multiplied by `scale`, which is constant."""
    del scale
    return x


scale_gradient.defvjp(lambda x, scale: (x, scale), lambda scale, g: (g * scale, jnp.zeros_like(scale)))


class VariationalObjective(NamedTuple):
    """An entry of `OBJECTIVES`.

    Attributes:
        loss: (evidence, hyperparameter) -> what is minimised, for each example.
        settings: of its own.
    """

    loss: Callable[[Evidence, Callable[[str], Any]], Float[Array, " batch"]]
    settings: Settings


GRADIENTS: dict[str, Settings] = {"plain": {}, "doubly_reparameterized": {}}

OBJECTIVES: dict[str, VariationalObjective] = {
    # The negative evidence lower bound, and beta-VAE.
    "elbo": VariationalObjective(
        lambda evidence, hparam: hparam("beta") * evidence.kl - evidence.log_likelihood.mean(0),
        {"beta": Setting(1.0, "weight of the KL; 1: the evidence lower bound", NOT_NEGATIVE, sweepable=True)},
    ),
    # Burgess et al., equation 8.
    "capacity": VariationalObjective(
        lambda evidence, hparam: (
            hparam("gamma") * jnp.abs(evidence.kl - hparam("capacity")) - evidence.log_likelihood.mean(0)
        ),
        {
            "gamma": Setting(100.0, "weight of the KL's distance to the capacity", NOT_NEGATIVE, sweepable=True),
            "capacity": Setting(0.0, "nats that the KL is drawn to", NOT_NEGATIVE, sweepable=True),
        },
    ),
    "iwae": VariationalObjective(
        lambda evidence, hparam: -importance_weighted_bound(evidence.log_weights),
        {"gradient": Choice("plain", "the estimator of the encoder's gradient", lambda: GRADIENTS)},
    ),
}
