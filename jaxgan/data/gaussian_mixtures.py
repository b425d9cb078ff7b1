"""Mixtures of equally likely Gaussians, whose density is known exactly."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32
from scipy.special import logsumexp, ndtr

TRAIN_EXAMPLES = 100_000  # Lin et al., PacGAN, 2018. https://arxiv.org/abs/1712.04086
TRAIN_SEED = 0
BISECTIONS = 64  # more than a float64 has bits


@dataclasses.dataclass(frozen=True)
class GaussianMixture:
    """A mixture of Gaussians of equal weights and one variance in all directions.

    Tuples hold it, so that mixtures are compared by value and hashed.

    Attributes:
        centres: the mean of each mode.
        stddev: of every mode, along each axis.
        names: of the modes.
    """

    centres: tuple[tuple[float, ...], ...]
    stddev: float
    names: tuple[str, ...]

    @property
    def modes(self) -> int:
        return len(self.centres)

    @property
    def dim(self) -> int:
        return len(self.centres[0])

    @functools.cached_property
    def means(self) -> Float64[np.ndarray, "modes dim"]:
        """The centres in an array."""
        means = np.asarray(self.centres, np.float64)
        means.flags.writeable = False
        return means

    def sample(self, seed: int, count: int) -> tuple[Float32[np.ndarray, "count dim"], Int32[np.ndarray, " count"]]:
        """Points and the modes that they come from; point i depends on the seed and on i alone."""
        modes, noise = map(np.random.Generator, np.random.PCG64(seed).spawn(2))
        labels = modes.integers(self.modes, size=count, dtype=np.int32)
        points = self.means[labels] + self.stddev * noise.standard_normal((count, self.dim))
        return points.astype(np.float32), labels

    def log_density(self, points: Float[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
        """The natural logarithm of the density; finite where the density itself is too small for a float."""
        squares = ((points[:, None].astype(np.float64) - self.means) ** 2).sum(-1) / self.stddev**2
        normaliser = math.log(self.modes) + self.dim * math.log(self.stddev * math.sqrt(2 * math.pi))
        return logsumexp(-squares / 2, axis=1) - normaliser

    def density(self, points: Float[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
        """The density, whose integral over all points is 1."""
        return np.exp(self.log_density(points))

    def cdf(self, points: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The fraction of the mixture below each point of the line."""
        self._require_line()
        return ndtr((points[:, None].astype(np.float64) - self.means[:, 0]) / self.stddev).mean(1)

    def quantiles(self, count: int) -> Float64[np.ndarray, " count"]:
        """The points of the line below which lie the fractions (i + 1/2) / count: the best sample of that size."""
        self._require_line()
        fractions = (np.arange(count) + 0.5) / count
        # Below the lowest of these lies less than the normal CDF at -40, which is 0 in a float64.
        low = np.full(count, self.means.min() - 40 * self.stddev)
        high = np.full(count, self.means.max() + 40 * self.stddev)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = self.cdf(middle) < fractions
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    def _require_line(self) -> None:
        if self.dim != 1:
            raise ValueError(f"only a mixture on a line has quantiles, not one of {self.dim} dimensions")


def _ring(modes: int, radius: float, stddev: float) -> GaussianMixture:
    """Modes on a circle, at the angles 2 pi i / modes: 2 pi itself would be the first one again."""
    angles = [2 * math.pi * i / modes for i in range(modes)]
    centres = tuple((radius * math.cos(angle), radius * math.sin(angle)) for angle in angles)
    return GaussianMixture(centres, stddev, tuple(map(str, range(modes))))


def _grid(values: tuple[float, ...], stddev: float) -> GaussianMixture:
    """Modes at all pairs of the values, which name them: "-4 2"."""
    centres = tuple(itertools.product(values, repeat=2))
    return GaussianMixture(centres, stddev, tuple(f"{x:g} {y:g}" for x, y in centres))


# Ring and grid are those of Lin et al., PacGAN, 2018: variances .0001 and .0025.
MIXTURES: Mapping[str, GaussianMixture] = {
    "ring": _ring(8, radius=1.0, stddev=0.01),
    "grid": _grid((-4.0, -2.0, 0.0, 2.0, 4.0), stddev=0.05),
    "gaussian1d": GaussianMixture(
        ((1.0,),), 0.5, ("1",)
    ),  # for latents of mean 0 and variance 1: they must move and shrink
    "mixture1d": GaussianMixture(((-2.0,), (2.0,)), 0.5, ("-2", "2")),
}
