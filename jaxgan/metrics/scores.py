"""All scores of one set of samples, each with its interval, by one extractor of features.

Their names end in the extractor's. Distances by the public Inception weights alone are called by the names under which
papers print them: FID, KID and IS.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
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
LEAST = 2  # samples and real images without which there are no scores at all
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


class Scored(NamedTuple):
    """The scores of one set of samples.

    Attributes:
        found: by name.
        missing: the other scores, with the least number that each needs of what there are too few of: "samples",
            "real_images", or both.
        samples, real_images: how many there are.
    """

    found: Mapping[str, Score] = MappingProxyType({})
    missing: Mapping[str, dict[str, int]] = MappingProxyType({})
    samples: int = 0
    real_images: int = 0


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


def manifold_scores(inputs: MetricInputs) -> dict[str, Score]:
    """Those by nearest neighbours."""
    fakes, reals = inputs.fakes.features.values, inputs.reals.features.values
    found = prdc.manifold_scores(fakes, reals)._asdict()
    perfect = {"density": 1.0, "coverage": prdc.perfect_coverage(len(fakes), len(reals))}
    return {kind: Score(estimate, perfect=perfect.get(kind)) for kind, estimate in found.items()}


def certainty(inputs: MetricInputs) -> dict[str, Score]:
    """The Inception Score, of an extractor that decides among classes."""
    found = inception_score.inception_score(inputs.fakes.features.logits)
    return {"IS": Score(found.debiased, found.splits_mean)}


def class_scores(inputs: MetricInputs) -> dict[str, Score]:
    """Those of a classifier of the data set's own classes."""
    logits = inputs.fakes.features.logits
    return by_class(logits.argmax(1), inputs.fakes.labels, logits.shape[1])


class Metric(NamedTuple):
    """Scores that are made together.

    Attributes:
        names: of the scores, without the extractor's.
        needs: samples, and real images, that there must be at least.
        compute: inputs -> scores by name.
    """

    names: tuple[str, ...]
    needs: tuple[int, int]
    compute: Callable[[MetricInputs], dict[str, Score]]

    def short_of(self, samples: int, reals: int) -> dict[str, int]:
        """Of what there are too few: how many there must be."""
        counts = {"samples": (samples, self.needs[0]), "real_images": (reals, self.needs[1])}
        return {kind: least for kind, (count, least) in counts.items() if count < least}


def metrics_of(name: str, width: int, decides: bool, exact: bool) -> list[Metric]:
    """The metrics of an extractor's features.

    Args:
        name: of the extractor.
        width: of its features.
        decides: whether it has logits as well.
        exact: whether the statistics of all real examples are given.
    """
    least = frechet.least_samples(width)
    found = [
        Metric(
            ("FD",),
            (least, 2 if exact else least),
            lambda i: {"FD": frechet_distance(i.fakes.features, i.real_statistics or i.reals.features)},
        ),
        Metric(("KD",), (2, 2), lambda i: {"KD": kernel_distance(i.fakes.features, i.reals.features)}),
        Metric(prdc.Manifold._fields, (prdc.LEAST, prdc.LEAST), manifold_scores),
        Metric(
            ("authenticity",),
            (2, 2),
            lambda i: {"authenticity": Score(prdc.authenticity(i.fakes.features.values, i.reals.features.values))},
        ),
    ]
    if decides:
        found.append(Metric(("IS",), (inception_score.LEAST, 0), certainty))
    if decides and name in CLASSIFIERS:
        found.append(Metric(("modes", "KL"), (2, 0), class_scores))
    return found


def allowed(
    name: str, features: Features, counts: tuple[int, int], exact: bool
) -> tuple[list[Metric], dict[str, dict[str, int]]]:
    """The metrics that can be given with these numbers of samples and real images, and what each other score needs.

    Args:
        name: of the extractor.
        features: any that it made.
        counts: of samples and of real images.
        exact: whether the statistics of all real examples are given.
    """
    metrics = metrics_of(name, features.values.shape[1], features.logits is not None, exact)
    short = [(metric, metric.short_of(*counts)) for metric in metrics]
    missing = {full_name(kind, name): needs for metric, needs in short if needs for kind in metric.names}
    return [metric for metric, needs in short if not needs], missing


def score(fakes: Samples, reals: Samples, name: str, real_statistics: Statistics | None = None) -> Scored:
    """Every score of these features that the samples allow for; arguments as in `MetricInputs`.

    Raises:
        UserError: features are not finite.
    """
    inputs = MetricInputs(fakes, reals, name, real_statistics)
    counts = len(fakes.features.values), len(reals.features.values)
    metrics, missing = allowed(name, fakes.features, counts, real_statistics is not None)
    found = {full_name(kind, name): value for metric in metrics for kind, value in metric.compute(inputs).items()}
    return Scored(found, missing, *counts)


def full_name(kind: str, extractor: str) -> str:
    """A score's name with the extractor's, or the one under which papers print it."""
    return PUBLISHED.get(f"{kind}-{extractor}", f"{kind}-{extractor}")


def real_vs_real(reals: Samples, name: str) -> Scored:
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


def per_class(fakes: Samples, reals: Samples, names: Sequence[str], name: str) -> dict[str, Scored]:
    """The scores of each class's samples beside its real ones, by its name, without those that compare classes."""
    found = {}
    for label, of_class in enumerate(names):
        some, others = (side.of(np.flatnonzero(side.labels == label)) for side in (fakes, reals))
        own = score(*(Samples(Features(side.features.values, None)) for side in (some, others)), name)
        if name in CLASSIFIERS and len(some.labels):
            accuracy = Score(classes.accuracy(some.features.logits.argmax(1), some.labels))
            own = own._replace(found=own.found | {f"GAN-test-{name}": accuracy})
        found[of_class] = own
    return found
