"""Exact scores of samples of a mixture of Gaussians, cheap enough to be taken while training."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.core.population import mean_stderr
from jaxgan.data.gaussian_mixtures import GaussianMixture
from jaxgan.metrics import mixtures


def mixture_scores(mixture: GaussianMixture, samples: np.ndarray) -> dict[str, float]:
    """The scores of samples [members, n, dim], each beside that of a perfect sampler: NAME and NAME_ideal.

    Of several members they are means, with their standard errors as NAME_stderr.
    """
    count = samples.shape[1]
    if mixture.dim == 1:
        quantiles = mixture.quantiles(count)
        values = {"wasserstein": np.float32([mixtures.wasserstein(own[:, 0], quantiles) for own in samples])}
        ideal = {"wasserstein": mixtures.perfect_wasserstein(quantiles)}
    else:
        values, ideal = {}, {}
    if mixture.modes > 1:
        found = [mixtures.mode_scores(own, mixture.means, mixture.stddev) for own in samples]
        values |= {name: np.float32([own[name] for own in found]) for name in found[0]}
        ideal |= mixtures.perfect_scores(mixture.modes, mixture.dim, count)
    if len(samples) > 1:
        means = {name: float(value) for name, value in mean_stderr(jax.tree.map(jnp.asarray, values)).items()}
    else:
        means = {name: float(value[0]) for name, value in values.items()}
    if not all(map(math.isfinite, means.values())):  # a sample is not finite: there is nothing to score
        return {}
    return means | {f"{name}_ideal": float(value) for name, value in ideal.items()}


def format_scores(values: dict[str, float], start: str = "") -> str:
    """Scores as a line of text: each with its standard error, if it has one, and what a perfect sampler has.

    Where there are none, the line is empty, without its start.
    """
    names = [name.removesuffix("_ideal") for name in values if name.endswith("_ideal")]
    parts = []
    for name in names:
        error = f" ± {values[f'{name}_stderr']:.2g}" if f"{name}_stderr" in values else ""
        parts.append(f"{name} {values[name]:.4g}{error} (ideal {values[f'{name}_ideal']:.4g})")
    return start + ", ".join(parts) if parts else ""
