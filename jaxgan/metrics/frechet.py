"""Fréchet distance between two sets of features: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), in float64 on the host.

On Inception features it is the FID. From samples it is too large: for N of them in d dimensions by about d^2 / 4N a
side, often more than what separates two models. What others print is called raw here; the interval belongs to the
debiased distance, which is comparable between sample sizes, and may be a little below 0 where there is no difference.

References:
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. https://arxiv.org/abs/1706.08500
    Chong and Forsyth, Effectively Unbiased FID and Inception Score, 2020. https://arxiv.org/abs/1911.07023
    Quenouille, Notes on bias in estimation, Biometrika 43, 1956 (the jackknife, and its second order).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from jaxgan.metrics.intervals import CONFIDENCE, Estimate, delta_interval
from jaxgan.metrics.moments import Features, Statistics, check_widths, checked, checked_pair, statistics

SCORE = "a Fréchet distance"
GROUPS = 10  # of samples that are left out in turn, where there are few of them
ROWS = 4096  # how many samples are transformed at once
STEP = 0.5  # between the nodes of an integral over log t: the trapezoidal rule's error is exp(-pi^2 / STEP)
NODES = np.exp(np.arange(-22, 5, STEP))  # relative to the largest root


# Of scores from all samples, three quarters and halves: they leave no 1 / N^2 and no 1 / N^3, and sum to 1.
WEIGHTS = np.linalg.solve([[1, 1, 1], [1, 16 / 9, 4], [1, 64 / 27, 8]], [1, 0, 0])


class FrechetScore(NamedTuple):
    """A distance, and what is left of it without the bias.

    Attributes:
        raw: what papers print; comparable between sets of the same sizes alone.
        debiased: of the distributions that the sets come from.
    """

    raw: float
    debiased: Estimate


class WhitenedBasis(NamedTuple):
    """The coordinates in which both covariances are the identity, and (S1 S2)^(1/2) is diagonal.

    Attributes:
        roots: that diagonal, without what is 0 but for rounding.
        first: the matrix that turns deviations of the first set, as rows, into these coordinates.
        second: that of the second set.
    """

    roots: Float[np.ndarray, " rank"]
    first: Float[np.ndarray, "width rank"]
    second: Float[np.ndarray, "width rank"]


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """From moments; raw."""
    check_widths(len(first.mean), len(second.mean))
    shift = first.mean - second.mean
    root = _root(first.covariance)
    product = np.linalg.eigvalsh(root @ second.covariance @ root)
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(shift @ shift + traces - 2 * np.sqrt(np.maximum(product, 0)).sum())


def frechet_distance_of_few(first: Features, second: Features) -> float:
    """From features; raw. The same number as from moments, sooner where there are fewer samples than dimensions.

    tr (S1 S2)^(1/2) is the nuclear norm of X Y' / sqrt((n - 1)(m - 1)), for centred features X and Y.
    """
    first, second = checked_pair(first, second, 2, SCORE)
    means = first.mean(0), second.mean(0)
    scaled = [(side - mean) / np.sqrt(len(side) - 1) for side, mean in zip((first, second), means, strict=True)]
    shift, norm = means[0] - means[1], np.linalg.norm(scaled[0] @ scaled[1].T, "nuc")
    return float(shift @ shift + sum((side**2).sum() for side in scaled) - 2 * norm)


def expected_bias(covariance: Float[np.ndarray, "width width"], *counts: int) -> float:
    """What the raw distance between two sets of one normal distribution is on average, in the first order of width / N.

    Args:
        covariance: of the distribution.
        counts: of samples in each set that was sampled: one number if the other side is exact.

    It is (1 / N) (3/2 tr S + 1/2 sum over i != j of l_i l_j / (l_i + l_j)), with l the eigenvalues of S.
    """
    values = np.linalg.eigvalsh(covariance)
    values = values[values > 1e-12 * values[-1]]
    return float((values.sum() + _harmonic(values).sum() / 2 + values.sum() / 4) * sum(1 / count for count in counts))


def least_samples(width: int) -> int:
    """How many samples `frechet_score` needs of features of that width: half of them must still have a covariance."""
    return 2 * (width + 2)


def frechet_score(
    fakes: Features, reals: Features | Statistics, confidence: float = CONFIDENCE, seed: int = 0
) -> FrechetScore:
    """From samples: raw and debiased, with an interval for other draws of as many samples.

    Statistics instead of real features are taken as exact: then the fakes alone have a bias and a variance. A set needs
    more than twice as many samples as features.

    The jackknife leaves out one sample at a time and takes off the bias in 1 / N. What it leaves, in 1 / N^2 and in
    1 / N^3, is not small where N is a few times the number of features. It is larger without a quarter of the samples,
    and with one half of them (in random order: `seed`), by known factors, and so it can be taken off as well.
    """
    width = fakes.shape[1]
    sides, given = ([fakes], [reals]) if isinstance(reals, Statistics) else ([fakes, reals], [])
    check_widths(width, len(reals.mean) if given else reals.shape[1])
    random = np.random.default_rng(seed)
    needs = least_samples(width), f"{SCORE} without bias on features of width {width}"
    sides = [random.permutation(checked(side, *needs)) for side in sides]
    whole = _jackknife(sides, given)
    parts = [np.array_split(side, 4) for side in sides]
    levels = [whole.debiased]
    for kept in (((0, 1, 2), (1, 2, 3), (2, 3, 0), (3, 0, 1)), ((0, 1), (2, 3))):
        sets = [[np.concatenate([side[part] for part in some]) for side in parts] for some in kept]
        levels.append(np.mean([_jackknife(some, given).debiased for some in sets]))
    debiased = WEIGHTS @ levels
    return FrechetScore(whole.raw, delta_interval(debiased, whole.influence, whole.quadratic, confidence))


def raw_score(fakes: Features, reals: Features, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """The raw distance, from any number of samples, with an interval for the raw distance of other draws of as many.

    The bias is part of it, so it compares sets of the same sizes alone. The variance is that of a jackknife that leaves
    out a tenth of one side at a time, in random order. In 8 settings (8 to 256 normal features, 40 to 120 samples a
    side, 120 draws) nominal 95% covered 98% to 100% between equal distributions, and 92% to 96% between others.
    """
    random = np.random.default_rng(seed)
    sides = [random.permutation(side) for side in checked_pair(fakes, reals, 2, SCORE)]
    variance = 0.0
    for place, side in enumerate(sides):
        groups = np.array_split(np.arange(len(side)), min(GROUPS, len(side) // 2))
        if len(groups) > 1:
            left = [np.delete(side, group, axis=0) for group in groups]
            others = [_raw(*sides[:place], some, *sides[place + 1 :]) for some in left]
            variance += (len(groups) - 1) * np.var(others)
    value, half = _raw(*sides), special.ndtri((1 + confidence) / 2) * np.sqrt(variance)
    return Estimate(value, float(value - half), float(value + half))


def _raw(first: Float[np.ndarray, "n width"], second: Float[np.ndarray, "m width"]) -> float:
    """In the way that takes less time."""
    if min(len(first), len(second)) < first.shape[1]:
        return frechet_distance_of_few(first, second)
    return frechet_distance(statistics(first), statistics(second))


class Jackknife(NamedTuple):
    """What leaving out each sample in turn tells.

    Attributes:
        raw: distance.
        debiased: distance, without the bias in 1 / N.
        influence: variance that the changes show.
        quadratic: variance of the quadratic part, for normal features.
    """

    raw: float
    debiased: float
    influence: float
    quadratic: float


def _jackknife(sides: list[Float[np.ndarray, "_ width"]], given: list[Statistics]) -> Jackknife:
    """Of the samples of one or two sides.

    With errors d of the means, and D of the covariances in the coordinates of `WhitenedBasis`, whose roots are r, the
    quadratic part of the distance is |d1 - d2|^2 + 1/2 sum over i, j of r_i r_j / (r_i + r_j) (D1 - D2)_ij^2.
    """
    measured = [statistics(side) for side in sides]
    first, second = measured + given
    basis = _whitened_basis(first.covariance, second.covariance)
    shift = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    raw = shift @ shift + traces - 2 * basis.roots.sum()
    debiased, influence = raw, 0.0
    # From the second set to the first, the means differ by as much the other way.
    for side, own, axes, towards in zip(sides, measured, basis[1:], (shift, -shift), strict=False):
        changes = np.concatenate(list(_changes(side, own, axes, basis.roots, towards)))
        debiased -= (own.count - 1) * changes.mean()
        influence += (own.count - 1) * changes.var()
    of_means = 2 * (sum(own.covariance / own.count for own in measured) ** 2).sum()
    of_covariances = (_harmonic(basis.roots) ** 2).sum() + (basis.roots**2).sum() / 4
    quadratic = of_means + of_covariances * sum(1 / own.count for own in measured) ** 2
    return Jackknife(float(raw), float(debiased), float(influence), float(quadratic))


def _changes(
    samples: Float[np.ndarray, "n width"],
    own: Statistics,
    axes: Float[np.ndarray, "width rank"],
    roots: Float[np.ndarray, " rank"],
    shift: Float[np.ndarray, " width"],
) -> Iterator[Float[np.ndarray, " some"]]:
    """How the distance changes when a sample is left out, for each of them: exactly, and with no eigenproblem more.

    Without x the covariance is (n - 1) / (n - 2) (S - share x x'), share = n / (n - 1)^2. With the coordinates u of x
    and R = diag(r) the root's trace changes, by sqrt(a) = 1 / (2 pi) integral of log(1 + a / t^2) dt, by

        tr (R^2 - share R u u' R)^(1/2) - tr R = 1 / pi integral from 0 of log(1 - share sum r^2 u^2 / (r^2 + t^2)) dt

    The logarithm's linear part has the integral -share sum r u^2 / 2; what is left is integrated over log t.
    """
    count = own.count
    share, growth = count / (count - 1) ** 2, (count - 1) / (count - 2)
    nodes = roots.max(initial=0) * NODES
    resolvent = roots[:, None] ** 2 / (roots[:, None] ** 2 + nodes**2)
    for start in range(0, count, ROWS):
        deviations = samples[start : start + ROWS] - own.mean
        lengths, squares = (deviations**2).sum(1), (deviations @ axes) ** 2
        parts = share * squares @ resolvent
        bend = (np.log1p(-np.minimum(parts, 1 - 1e-12)) + parts) @ nodes * STEP / np.pi
        root_change = np.sqrt(growth) * (roots.sum() - share * squares @ roots / 2 + bend) - roots.sum()
        trace_change = growth * (np.trace(own.covariance) - share * lengths) - np.trace(own.covariance)
        shift_change = lengths / (count - 1) ** 2 - 2 * deviations @ shift / (count - 1)
        yield shift_change + trace_change - 2 * root_change


def _whitened_basis(first: Float[np.ndarray, "width width"], second: Float[np.ndarray, "width width"]) -> WhitenedBasis:
    root = _root(first)
    values, vectors = np.linalg.eigh(root @ second @ root)
    keep = values > 1e-12 * values[-1]
    roots, rotated = np.sqrt(values[keep]), root @ vectors[:, keep]
    return WhitenedBasis(roots, second @ rotated / values[keep], rotated / roots)


def _root(covariance: Float[np.ndarray, "width width"]) -> Float[np.ndarray, "width width"]:
    """Symmetric; what is below 0 by rounding is taken as 0."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _harmonic(roots: Float[np.ndarray, " rank"]) -> Float[np.ndarray, "rank rank"]:
    """r_i r_j / (r_i + r_j), which is half of their harmonic mean."""
    return roots[:, None] * roots / (roots[:, None] + roots)
