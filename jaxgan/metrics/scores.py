"""All scores of one set of samples, each with its interval, by one extractor of features.

Their names end in the extractor's. Distances by the public Inception weights alone are called by the names under which
papers print them: FID, KID and IS.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgan.data.gaussian_mixtures import GaussianMixture
from jaxgan.errors import UserError
from jaxgan.metrics import classes, frechet, inception_score, kid, mixtures, prdc
from jaxgan.metrics.features import Features
from jaxgan.metrics.intervals import Estimate, wilson
from jaxgan.metrics.moments import Statistics

PUBLISHED = {"FD-inception": "FID", "KD-inception": "KID", "IS-inception": "IS"}
CLASSIFIERS = ("lenet", "stacked")  # extractors whose decisions are among the data set's own classes
SUBSET = 1000  # samples in each of the subsets that KID is usually taken from

Labels = Int[np.ndarray, " n"]


class Score(NamedTuple):
    """A number with its interval.

    Attributes:
        estimate: of the distribution that the samples come from, without bias where that can be taken off.
        raw: what other programs print for these samples, if that is another number.
        perfect: what a perfect sampler expects of as many samples, where that is known: for `raw`, if there is one.
    """

    estimate: Estimate
    raw: float | None = None
    perfect: float | None = None


class Samples(NamedTuple):
    """What is scored.

    Attributes:
        features: of the images.
        labels: that were asked for, or that real images have; None where there are none.
    """

    features: Features
    labels: Labels | None = None

    def of(self, rows: np.ndarray | slice) -> "Samples":
        """Some of them."""
        return Samples(self.features[rows], None if self.labels is None else self.labels[rows])


def frechet_distance(fakes: Features, reals: Features | Statistics) -> Score:
    """FD, from real samples or from statistics that count as exact."""
    found = frechet.frechet_score(fakes.values, reals if isinstance(reals, Statistics) else reals.values)
    return Score(found.debiased, found.raw)


def kernel_distance(fakes: Features, reals: Features) -> Score:
    """KD; its raw value is the mean over 100 subsets of 1,000, where there are as many samples."""
    subsets = min(len(fakes.values), len(reals.values)) >= SUBSET
    raw = float(kid.subset_kernel_distances(fakes.values, reals.values).mean()) if subsets else None
    return Score(kid.kernel_distance(fakes.values, reals.values), raw)


def manifold_scores(fakes: Features, reals: Features) -> dict[str, Score]:
    """Those by nearest neighbours."""
    found = prdc.manifold_scores(fakes.values, reals.values)._asdict()
    perfect = {"density": 1.0, "coverage": prdc.perfect_coverage(len(fakes.values), len(reals.values))}
    shares = {kind: Score(estimate, perfect=perfect.get(kind)) for kind, estimate in found.items()}
    return shares | {"authenticity": Score(prdc.authenticity(fakes.values, reals.values))}


class MetricInputs(NamedTuple):
    """Everything that a metric may look at.

    Attributes:
        fakes: the samples.
        reals: what they are compared with.
        extractor: the name of the extractor of the features.
        real_statistics: of all real examples, for the Fréchet distance, if they are more than `reals`.
    """

    fakes: Samples
    reals: Samples
    extractor: str
    real_statistics: Statistics | None


def decision_scores(inputs: MetricInputs) -> dict[str, Score]:
    """Those of an extractor that decides among classes; none of another one."""
    logits = inputs.fakes.features.logits
    if logits is None:
        return {}
    certain = inception_score.inception_score(logits)
    found = {"IS": Score(certain.debiased, certain.splits_mean)}
    if inputs.extractor in CLASSIFIERS:
        found |= by_class(logits.argmax(1), inputs.fakes.labels, logits.shape[1])
    return found


# A metric: inputs -> scores by name, to which the name of the extractor is added.
METRICS: dict[str, Callable[[MetricInputs], dict[str, Score]]] = {
    "frechet": lambda i: {"FD": frechet_distance(i.fakes.features, i.real_statistics or i.reals.features)},
    "kernel": lambda i: {"KD": kernel_distance(i.fakes.features, i.reals.features)},
    "neighbours": lambda i: manifold_scores(i.fakes.features, i.reals.features),
    "decisions": decision_scores,
}


def score(fakes: Samples, reals: Samples, name: str, real_statistics: Statistics | None = None) -> dict[str, Score]:
    """Every score of these features that the samples allow for; arguments as in `MetricInputs`.

    Raises:
        UserError: there are too few samples, or features are not finite.
    """
    inputs = MetricInputs(fakes, reals, name, real_statistics)
    found = {kind: value for metric in METRICS.values() for kind, value in metric(inputs).items()}
    named = {f"{kind}-{name}": value for kind, value in found.items()}
    return {PUBLISHED.get(kind, kind): value for kind, value in named.items()}


def real_vs_real(reals: Samples, name: str) -> dict[str, Score]:
    """What real images score: one half of them beside the other one.

    Raises:
        UserError: as of `score`.
    """
    order = np.random.default_rng(1).permutation(len(reals.features.values))
    return score(*(reals.of(rows) for rows in np.array_split(order, 2)), name)


def by_class(decided: Labels, asked: Labels | None, count: int) -> dict[str, Score]:
    """What a classifier of the data set's own classes tells: are all made, equally often, and as asked for?"""
    covered = classes.mode_coverage(decided, count)
    expected = count * -np.expm1(len(decided) * np.log1p(-1 / count))
    found = {"modes": Score(covered.modes, perfect=float(expected))}
    found["KL"] = Score(covered.debiased, covered.kl, covered.floor)
    if asked is not None and (known := asked >= 0).any():  # those of real images may be unknown
        found["GAN-test"] = Score(classes.accuracy(decided[known], asked[known]))
    return found


def of_mixture(mixture: GaussianMixture, samples: Float[np.ndarray, "n dim"]) -> dict[str, Score]:
    """The exact scores of samples of a mixture of Gaussians, by the names of `mixtures`.

    Raises:
        UserError: a sample is not finite, or there is but one.
    """
    count, found = len(samples), {}
    if count < 2:
        raise UserError(f"exact scores have intervals from 2 samples on, and there are {count}")
    if wrong := int((~np.isfinite(samples).all(1)).sum()):
        raise UserError(f"{wrong:,} of {count:,} samples are not finite: there is nothing to score")
    if mixture.dim == 1:
        quantiles = mixture.quantiles(count)
        distance = mixtures.wasserstein_interval(samples[:, 0], quantiles)
        found["wasserstein"] = Score(distance, perfect=mixtures.perfect_wasserstein(quantiles))
    if mixture.modes > 1:
        nearest, distances = map(np.asarray, mixtures.nearest_modes(samples, mixture.means))
        good = distances <= mixtures.RADIUS * mixture.stddev
        covered = classes.mode_coverage(nearest, mixture.modes)
        perfect = mixtures.perfect_scores(mixture.modes, mixture.dim, count)
        of_modes = np.bincount(nearest[good], minlength=mixture.modes)
        found["modes"] = Score(classes.modes_found(of_modes, count), perfect=perfect["modes"])
        found["high_quality"] = Score(wilson(int(good.sum()), count), perfect=perfect["high_quality"])
        found["reverse_kl"] = Score(covered.debiased, covered.kl, perfect["reverse_kl"])
    return found


def per_class(fakes: Samples, reals: Samples, names: Sequence[str], name: str) -> dict[str, dict[str, Score]]:
    """The scores of each class's samples beside its real ones, by the class's name; those that compare classes are not.

    Raises:
        UserError: a class has too few samples, or real ones.
    """
    found = {}
    for label, of_class in enumerate(names):
        some, others = (side.of(np.flatnonzero(side.labels == label)) for side in (fakes, reals))
        try:
            own = score(*(Samples(Features(side.features.values, None)) for side in (some, others)), name)
        except UserError as error:
            raise UserError(
                f"class {of_class} has {len(some.labels)} samples and {len(others.labels)} real images: {error}"
            ) from error
        if name in CLASSIFIERS:
            own[f"GAN-test-{name}"] = Score(classes.accuracy(some.features.logits.argmax(1), some.labels))
        found[of_class] = own
    return found
