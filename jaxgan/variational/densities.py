"""Log-densities and divergences in closed form, and the table of likelihoods p(x | z)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.core.settings import ABOVE_ZERO, Setting, Settings
from jaxgan.core.types import Field

Values = Float[Array, "..."]  # [*batch]
Latents = Float[Array, "..."]  # [*batch, latent]
Examples = Float[Array, "..."]  # [*batch, *shape]; of two that meet in a density, one may be broadcast

GREY_LEVEL = 1 / 127.5  # between two neighbouring levels of 8-bit pixels, in [-1, 1]


class Gaussian(NamedTuple):
    """A normal distribution of independent numbers, [*batch, latent]."""

    mean: Latents
    log_variance: Latents

    def sample(self, noise: Latents) -> Latents:
        """Samples as a function of standard normal noise, which may have leading axes."""
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise

    def log_density(self, z: Latents) -> Values:
        """log p(z), summed over the latent dimensions."""
        values = (z - self.mean) ** 2 * jnp.exp(-self.log_variance) + self.log_variance + math.log(2 * math.pi)
        return -0.5 * values.sum(-1)

    def kl_to_standard_normal(self) -> Latents:
        """KL(p || N(0, 1)) of each latent dimension. Kingma and Welling, 2014, appendix B."""
        return 0.5 * (self.mean**2 + jnp.exp(self.log_variance) - 1 - self.log_variance)


def bernoulli_log_density(bits: Examples, logits: Examples, dims: int) -> Values:
    """log p(x) of bits, 0 or 1 (or numbers between them), summed over the last `dims` axes."""
    values = bits * logits - jax.nn.softplus(logits)
    return values.sum(axis=range(values.ndim - dims, values.ndim))


def normal_log_density(numbers: Examples, mean: Examples | float, stddev: Any, dims: int) -> Values:
    """log p(x) of independent normal numbers, summed over the last `dims` axes."""
    values = -0.5 * ((numbers - mean) / stddev) ** 2 - jnp.log(stddev) - 0.5 * math.log(2 * math.pi)
    return values.sum(axis=range(values.ndim - dims, values.ndim))


def bits_per_dim(nats: Values, dims: int, dequantized: bool) -> Values:
    """Bits for each number of an example, from its negative log-likelihood in nats.

    Args:
        nats: of whole examples.
        dims: numbers of an example.
        dequantized: whether the likelihood is a density of dequantised 8-bit pixels in [-1, 1], whose levels are
            1/127.5 apart. Then bits are those of the levels.

    References:
        Theis et al., A note on the evaluation of generative models, 2016, section 3.1. https://arxiv.org/abs/1511.01844
    """
    return nats / (dims * math.log(2)) - (math.log2(GREY_LEVEL) if dequantized else 0.0)


class Likelihood(NamedTuple):
    """The distribution of an example given its latents.

    Attributes:
        log_density: (targets, decoder's outputs, dims, hyperparameter) -> log p(x | z), summed over the last axes.
        mean: decoder's outputs -> the expected example, in the range of the data.
        settings: of its own.
        unfit: field -> why the likelihood does not fit such examples, or None if it does.
    """

    log_density: Callable[[Examples, Examples, int, Callable[[str], Any]], Values]
    mean: Callable[[Examples], Examples]
    settings: Settings
    unfit: Callable[[Field], str | None]


def _no_bits(field: Field) -> str | None:
    if field.kind != "pixels" or field.shape[-1] != 1:
        return "is for grey images, whose pixels are probabilities of ink"
    return None


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(
        lambda x, outputs, dims, hparam: bernoulli_log_density(x, outputs, dims),
        lambda outputs: 2 * jax.nn.sigmoid(outputs) - 1,
        {"binarize": Setting(True, "draw each pixel as a bit, anew at each visit, with its grey level as probability")},
        _no_bits,
    ),
    "gaussian": Likelihood(
        lambda x, outputs, dims, hparam: normal_log_density(x, outputs, hparam("likelihood_stddev"), dims),
        lambda outputs: outputs,
        {
            "likelihood_stddev": Setting(0.3, "of p(x | z), for data in [-1, 1]", ABOVE_ZERO, sweepable=True),
            "dequantize": Setting(False, "add uniform noise of one grey level to pixels, anew at each visit"),
        },
        lambda field: None,
    ),
}
