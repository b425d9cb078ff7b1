"""Inception Score: how sure a classifier is of each picture, and how evenly the pictures fall on its classes.

References:
    Salimans et al., Improved Techniques for Training GANs, 2016, section 4. https://arxiv.org/abs/1606.03498
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float
from scipy import special

from jaxgan.errors import UserError
from jaxgan.metrics.intervals import CONFIDENCE, Estimate, delta_interval
from jaxgan.metrics.moments import checked

SPLITS = 10  # of the samples, as papers have it
LEAST = 2 * SPLITS  # samples: two in each split


class InceptionScore(NamedTuple):
    """From 1 to the number of classes.

    Attributes:
        splits_mean: over the splits: what papers print. The smaller the splits, the smaller it is.
        splits_std: over the splits.
        debiased: of the distribution the samples come from, by all samples at once.
    """

    splits_mean: float
    splits_std: float
    debiased: Estimate


def inception_score(
    logits: Float[np.ndarray | Array, "n classes"],
    splits: int = SPLITS,
    seed: int = 2020,
    confidence: float = CONFIDENCE,
) -> InceptionScore:
    """exp E KL(p(y|x) || p(y)), from logits or log-probabilities; two samples or more in each split.

    The samples are first shuffled as torch-fidelity does with the same seed: they may be in order of their labels.
    """
    if splits < 1:
        raise UserError(f"an Inception Score of {splits} splits: there must be one at least")
    logits = checked(logits, 2 * splits, f"an Inception Score of {splits} splits")
    logits = logits[np.random.RandomState(seed).permutation(len(logits))]
    logs = special.log_softmax(logits, axis=1)
    edges = [part * len(logs) // splits for part in range(splits + 1)]
    scores = [np.exp(_divergences(logs[low:high]).mean()) for low, high in itertools.pairwise(edges)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), _debiased(logs, confidence))


def _divergences(logs: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, " n"]:
    """KL(p(y|x) || p(y)) of each sample."""
    marginal = special.logsumexp(logs, axis=0) - np.log(len(logs))
    return (np.exp(logs) * (logs - marginal)).sum(1)


def _debiased(logs: Float[np.ndarray, "n classes"], confidence: float) -> Estimate:
    """The logarithm of the score is the mean divergence, which is also a sample's influence on it.

    Its quadratic part is -1/2 sum (p^(y) - p(y))^2 / p(y).
    """
    count = len(logs)
    divergences, probabilities = _divergences(logs), np.exp(logs)
    marginal = probabilities.mean(0)
    scaled = (probabilities - marginal) / np.sqrt(np.where(marginal > 0, marginal, 1))
    covariance = scaled.T @ scaled / (count - 1)
    value = divergences.mean() + np.trace(covariance) / (2 * count)
    influence, quadratic = np.var(divergences, ddof=1) / count, (covariance**2).sum() / (2 * count**2)
    return Estimate(*map(float, np.exp(delta_interval(value, influence, quadratic, confidence))))
