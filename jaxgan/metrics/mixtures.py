"""Scores on the toy worlds, whose truth is known: modes found, quality, divergence from uniform, distance on a line.

All but the perfect ones are pure JAX, for jit and for vmap over a leading axis of members. A sample that is not finite
is a bad sample, and no error: a diverged generator gets a bad score.

References:
    Srivastava et al., VEEGAN, 2017 (high-quality samples). https://arxiv.org/abs/1705.07761
    Lin et al., PacGAN, 2018 (the same scores, and reverse KL). https://arxiv.org/abs/1712.04086
"""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Int
from scipy import special

from jaxgan.metrics.intervals import CONFIDENCE, Estimate

RADIUS = 3  # standard deviations around a mode within which a sample is of high quality
REPLICATES = 500  # of a bootstrap

Scalar = Float[Array, ""]
Scale = float | Scalar


def mode_scores(
    samples: Float[Array | np.ndarray, "n dim"], means: Float[Array | np.ndarray, "modes dim"], stddev: Scale
) -> dict[str, Scalar]:
    """How well samples cover the modes of a mixture of Gaussians.

    Args:
        samples: one at least.
        means: of the modes.
        stddev: of every mode, along each axis.

    Returns:
        modes: how many modes have a high-quality sample, one within three standard deviations of its nearest mode.
        high_quality: share of such samples. A perfect sampler's is less than 1, and a higher one is too narrow.
        reverse_kl: Kullback-Leibler divergence of the shares of all finite samples by nearest mode from uniform shares,
            in nats, from 0 to log(modes), which it also is where no sample is finite.
    """
    modes = len(means)
    nearest, least = nearest_modes(samples, means)
    finite = jnp.isfinite(least)
    good = finite & (least <= RADIUS * stddev)
    of_mode = nearest[:, None] == jnp.arange(modes)
    found = (of_mode & good[:, None]).any(0).sum()
    counts = (of_mode & finite[:, None]).sum(0)
    shares = counts / jnp.maximum(counts.sum(), 1)
    return {
        "modes": found.astype(jnp.float32),
        "high_quality": good.mean(dtype=jnp.float32),
        # Rounding may leave a little less than 0.
        "reverse_kl": jnp.maximum(xlogy(shares, shares).sum() + jnp.log(jnp.float32(modes)), 0),
    }


def nearest_modes(
    samples: Float[Array | np.ndarray, "n dim"], means: Float[Array | np.ndarray, "modes dim"]
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Which mode is the nearest to each sample, and how far it is away."""
    samples, means = jnp.asarray(samples, jnp.float32), jnp.asarray(means, jnp.float32)
    # Not |x|^2 - 2xm + |m|^2: beside a mean of length 4 that would lose the last digits of a deviation of .05.
    squares = ((samples[:, None] - means) ** 2).sum(-1)
    return squares.argmin(1), jnp.sqrt(squares.min(1))


def perfect_scores(modes: int, dim: int, count: int) -> dict[str, float]:
    """What `mode_scores` expects of `count` samples of the mixture itself, whose modes lie far apart.

    Of the divergence the first term in 1 / count is the well-known (modes - 1) / (2 count).
    """
    high_quality = special.gammainc(dim / 2, RADIUS**2 / 2)  # the chi-square distribution of `dim` degrees of freedom
    return {
        "modes": float(modes * (1 - (1 - high_quality / modes) ** count)),
        "high_quality": float(high_quality),
        "reverse_kl": float(modes * mean_xlogx(1 / modes, count) + np.log(modes)),
    }


def mean_xlogx(share: float, count: int) -> float:
    """What x log x is on average, x being the share of `count` samples that fall into a mode of a given true share."""
    # The number of samples in a mode is binomial; its probabilities for 0 to `count`:
    found = np.arange(count + 1)
    log_choices = special.gammaln(count + 1) - special.gammaln(found + 1) - special.gammaln(count - found + 1)
    probabilities = np.exp(log_choices + special.xlogy(found, share) + special.xlog1py(count - found, -share))
    return float((probabilities * special.xlogy(found / count, found / count)).sum())


def wasserstein(samples: Float[Array | np.ndarray, " n"], quantiles: Float[Array | np.ndarray, " n"]) -> Scalar:
    """The Wasserstein-1 distance between samples on a line and a distribution: what the samples must move on average.

    Args:
        samples: in any order; the distance is infinite if one of them is not finite.
        quantiles: of the distribution at the shares (i + 1/2) / n, as `GaussianMixture.quantiles` has them.
    """
    samples = jnp.asarray(samples, jnp.float32)
    ordered = jnp.sort(jnp.where(jnp.isnan(samples), jnp.inf, samples))
    return jnp.abs(ordered - jnp.asarray(quantiles, jnp.float32)).mean()


def wasserstein_interval(
    samples: Float[np.ndarray, " n"], quantiles: Float[np.ndarray, " n"], confidence: float = CONFIDENCE
) -> Estimate:
    """`wasserstein` with an interval for the distance of the distribution that the samples come from.

    By the triangle inequality samples are no farther from that distribution's distance than from the distribution
    itself, and how far from it they are, a bootstrap tells.

    Args:
        samples: finite ones, in any order.
        quantiles: as `wasserstein` takes them.
        confidence: that the interval holds the distance, or more.
    """
    ordered, count = np.sort(samples.astype(np.float64)), len(samples)
    generator = np.random.default_rng(1)
    shares, expected, gaps = np.full(count, 1 / count), np.arange(1, count), np.diff(ordered)
    below = (np.cumsum(generator.multinomial(count, shares))[:-1] for _ in range(REPLICATES))
    half = float(np.quantile([np.abs(found - expected) @ gaps / count for found in below], confidence))
    value = float(np.abs(ordered - quantiles).mean())
    return Estimate(value, max(value - half, 0.0), value + half)


def perfect_wasserstein(quantiles: Float[np.ndarray, " n"]) -> float:
    """What `wasserstein` expects of n samples of the distribution itself, for large n.

    The share of samples below x is then normal around F(x) with variance F(x) (1 - F(x)) / n. Its mean deviation,
    sqrt(2 / pi) standard deviations, is summed over the line.
    """
    count = len(quantiles)
    below = np.arange(1, count) / count
    return float((np.sqrt(2 / np.pi * below * (1 - below) / count) * np.diff(quantiles)).sum())


def optimal_discriminator(
    real: Float[Array | np.ndarray, "*points"], generated: Float[Array | np.ndarray, "*points"]
) -> Float[Array, "*points"]:
    """p / (p + q): the best answer to densities p of the real and q of the generated; 1/2 where there is neither.

    References:
        Goodfellow et al., Generative Adversarial Networks, 2014, proposition 1. https://arxiv.org/abs/1406.2661
    """
    real, generated = jnp.asarray(real), jnp.asarray(generated)
    total = real + generated
    return jnp.where(total > 0, real / jnp.where(total > 0, total, 1), 0.5)


def silverman(stddev: float, count: int) -> float:
    """The bandwidth of a kernel density estimate that is best for `count` samples of one Gaussian.

    For a mixture take the deviation of a mode: by that of all samples its modes would be smeared.

    References:
        Silverman, Density Estimation for Statistics and Data Analysis, 1986, section 3.4.
    """
    return (4 / (3 * count)) ** (1 / 5) * stddev


def kernel_density(
    samples: Float[Array | np.ndarray, " n"], points: Float[Array | np.ndarray, " points"], bandwidth: Scale
) -> Float[Array, " points"]:
    """The density of samples on a line at some points: the mean of Gaussians around the samples.

    A sample that is not finite adds nothing anywhere, so that the integral is the share of the finite ones.
    """
    samples, points = jnp.asarray(samples, jnp.float32), jnp.asarray(points, jnp.float32)
    distances = jnp.where(jnp.isfinite(samples), points[:, None] - samples, jnp.inf) / bandwidth
    return jnp.exp(-(distances**2) / 2).mean(1) / (bandwidth * np.sqrt(2 * np.pi))
