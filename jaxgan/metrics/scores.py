"""All scores of one set of samples, each with its interval, by one extractor of features.

Their names end in the extractor's. Distances by the public Inception weights alone are called by the names under which
papers print them: FID, KID and IS.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxgan.metrics import classes, frechet, inception_score, kid, manifold
from jaxgan.metrics.features import Features
from jaxgan.metrics.intervals import Estimate

PUBLISHED = {"FD-inception": "FID", "KD-inception": "KID", "IS-inception": "IS"}
SUBSET = 1000  # samples in each of the subsets that KID is usually taken from

Labels = Int[np.ndarray, " n"]


class Score(NamedTuple):
    """A number with its interval.

    Attributes:
        estimate: of the distribution that the samples come from, without bias where that can be taken off.
        raw: what other programs print for these samples, if that is another number.
    """

    estimate: Estimate
    raw: float | None = None


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


def frechet_distance(fakes: Features, reals: Features) -> Score:
    """FD."""
    found = frechet.frechet_score(fakes.values, reals.values)
    return Score(found.debiased, found.raw)


def kernel_distance(fakes: Features, reals: Features) -> Score:
    """KD; its raw value is the mean over 100 subsets of 1,000, where there are as many samples."""
    subsets = min(len(fakes.values), len(reals.values)) >= SUBSET
    raw = float(kid.subset_kernel_distances(fakes.values, reals.values).mean()) if subsets else None
    return Score(kid.kernel_distance(fakes.values, reals.values), raw)


def score(fakes: Samples, reals: Samples, name: str) -> dict[str, Score]:
    """Every score of these features that the samples allow for.

    Args:
        fakes: the samples.
        reals: what they are compared with.
        name: the extractor's.

    Raises:
        UserError: there are too few samples, or features are not finite.
    """
    found = {"FD": frechet_distance(fakes.features, reals.features)}
    found["KD"] = kernel_distance(fakes.features, reals.features)
    shares = manifold.manifold_scores(fakes.features.values, reals.features.values)
    found |= {kind: Score(estimate) for kind, estimate in shares._asdict().items()}
    found["authenticity"] = Score(manifold.authenticity(fakes.features.values, reals.features.values))
    logits = fakes.features.logits
    if logits is not None:
        certain = inception_score.inception_score(logits)
        found["IS"] = Score(certain.debiased, certain.splits_mean)
    if logits is not None and name == "lenet":  # whose classes are the data set's
        found |= by_class(logits.argmax(1), fakes.labels, logits.shape[1])
    named = {f"{kind}-{name}": value for kind, value in found.items()}
    return {PUBLISHED.get(kind, kind): value for kind, value in named.items()}


def of_halves(reals: Samples, name: str) -> dict[str, Score]:
    """What real images score: one half of them beside the other one.

    Raises:
        UserError: as of `score`.
    """
    order = np.random.default_rng(1).permutation(len(reals.features.values))
    return score(*(reals.of(rows) for rows in np.array_split(order, 2)), name)


def by_class(decided: Labels, asked: Labels | None, count: int) -> dict[str, Score]:
    """What a classifier of the data set's own classes tells: are all made, equally often, and as asked for?"""
    modes = classes.mode_coverage(decided, count)
    found = {"modes": Score(Estimate(modes.modes, modes.modes, modes.modes)), "KL": Score(modes.debiased, modes.kl)}
    if asked is not None:
        found["GAN-test"] = Score(classes.accuracy(decided, asked))
    return found


def per_class(
    fakes: Samples, reals: Samples, names: list[str], distance: Callable[[Features, Features], Score]
) -> dict[str, Score]:
    """A distance of each class's samples from its real ones."""
    rows = [[np.flatnonzero(side.labels == label) for side in (fakes, reals)] for label in range(len(names))]
    return {
        name: distance(fakes.features[some], reals.features[others])
        for name, (some, others) in zip(names, rows, strict=True)
    }
