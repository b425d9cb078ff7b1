"""Scores by nearest neighbours: precision and recall, density and coverage, authenticity; and the neighbours.

The table of distances is made block by block in float32, from features around the mean of one set. A neighbour is found
there; its distance is then computed from the difference of the two samples, so that of a copy it is exactly 0.

References:
    Kynkaanniemi et al., Improved Precision and Recall Metric, 2019. https://arxiv.org/abs/1904.06991
    Naeem et al., Reliable Fidelity and Diversity Metrics, 2020. https://arxiv.org/abs/2002.09797
    Alaa et al., How Faithful is your Synthetic Data?, 2022, section 3.3. https://arxiv.org/abs/2102.08921
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgan.core import devices
from jaxgan.errors import UserError
from jaxgan.metrics.intervals import CONFIDENCE, Estimate, of_blocks, share_of_blocks, wilson
from jaxgan.metrics.moments import Features, checked_pair

ROWS = 64  # of the table of distances that are there at once, with all columns
BLOCKS = 5  # of samples, for intervals
K, DENSITY_K = 3, 5  # neighbours, of precision and recall, and of density and coverage
LEAST = BLOCKS * (max(K, DENSITY_K) + 1)  # samples of either set that `manifold_scores` needs


class Neighbours(NamedTuple):
    """Nearest first.

    Attributes:
        distance: Euclidean.
        index: of the row among the candidates.
    """

    distance: Float[np.ndarray, "n k"]
    index: Int[np.ndarray, "n k"]


class Manifold(NamedTuple):
    """How fakes and real samples lie among each other. All four depend on how many samples there are.

    Attributes:
        precision: share of fakes in the ball around a real sample that reaches to its third neighbour.
        recall: share of real samples in such a ball around a fake.
        density: how many real samples' balls to the fifth neighbour hold a fake, divided by 5. It is 1 on average
            where both sets have one distribution, and may be more.
        coverage: share of real samples whose ball to the fifth neighbour holds a fake: 1 - 2^-5 on average where both
            sets have one distribution and one size; see `perfect_coverage`.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def manifold_scores(
    fakes: Features,
    reals: Features,
    k: int = K,
    density_k: int = DENSITY_K,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Manifold:
    """With intervals for other draws of both sets, from the scores of disjoint blocks (in random order: `seed`).

    Each block needs more samples than neighbours. Precision has no fixed best value: compare sets of the same sizes.
    """
    most = max(k, density_k)
    fakes, reals = _centred(fakes, reals, BLOCKS * (most + 1), f"a score by {most} neighbours in {BLOCKS} blocks")
    random = np.random.default_rng(seed)
    fakes, reals = random.permutation(fakes), random.permutation(reals)
    precision, recall, density, coverage = _scores(fakes, reals, k, density_k)
    parts = [side[: len(side) // BLOCKS * BLOCKS].reshape(BLOCKS, -1, side.shape[1]) for side in (fakes, reals)]
    blocks = np.array([_scores(some, others, k, density_k) for some, others in zip(*parts, strict=True)]).T
    dense = of_blocks(density, blocks[2], confidence)
    return Manifold(
        share_of_blocks(precision, len(fakes), blocks[0], confidence),
        share_of_blocks(recall, len(reals), blocks[1], confidence),
        dense._replace(low=max(dense.low, 0.0)),
        share_of_blocks(coverage, len(reals), blocks[3], confidence),
    )


def perfect_coverage(fakes: int, reals: int, k: int = DENSITY_K) -> float:
    """The mean coverage of so many fakes that have the real samples' distribution.

    Of the fakes and the other real samples around a real one, in the order of their distances, the first k are all real
    with a probability that depends on their numbers alone.
    """
    return 1 - math.prod((reals - i) / (fakes + reals - i) for i in range(1, k + 1))


def _scores(
    fakes: Float[np.ndarray, "n width"], reals: Float[np.ndarray, "m width"], k: int, density_k: int
) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage."""
    most = max(k, density_k)  # of both, so that sets of one size share a compiled program
    real_radii, fake_radii = (_nearest(side, side, np.arange(len(side)), most)[0] for side in (reals, fakes))
    around_reals, _ = devices.map_rows(_balls, [fakes], reals, real_radii[:, np.array([k, density_k]) - 1])
    around_fakes, to_fake = devices.map_rows(_balls, [reals], fakes, fake_radii[:, k - 1 : k])
    precise, recalled = around_reals[:, 0] > 0, around_fakes[:, 0] > 0
    density, covered = around_reals[:, 1] / density_k, to_fake <= real_radii[:, density_k - 1]
    means = (np.mean(np.asarray(one, np.float64)) for one in (precise, recalled, density, covered))
    return tuple(map(float, means))


def nearest(samples: Features, candidates: Features, k: int = 1) -> Neighbours:
    """The k candidates nearest to each sample: of generated pictures the training images they resemble most."""
    samples, candidates = _centred(samples, candidates, 1, "a nearest neighbour")
    if not 1 <= k <= len(candidates):
        raise UserError(f"{k} nearest neighbours among {len(candidates)} candidates: ask for 1 to {len(candidates)}")
    squares, index = _nearest(samples, candidates, np.full(len(samples), -1), k)
    return Neighbours(np.sqrt(squares), index)


def authenticity(fakes: Features, training: Features, confidence: float = CONFIDENCE) -> Estimate:
    """Share of fakes that are no copies: farther from the nearest training example than that is from its own nearest.

    Copies have 0. Fresh real samples have no fixed share: score a test set beside the fakes.
    """
    fakes, training = _centred(fakes, training, 2, "an authenticity")
    distance, index = _nearest(fakes, training, np.full(len(fakes), -1), 1)
    examples, place = np.unique(index[:, 0], return_inverse=True)
    own = _nearest(training[examples], training, examples, 1)[0][:, 0]
    authentic = distance[:, 0] > own[place]
    return wilson(int(authentic.sum()), len(authentic), confidence)


def _centred(
    first: Features, second: Features, least: int, score: str
) -> tuple[Float[np.ndarray, "n width"], Float[np.ndarray, "m width"]]:
    """Both sets around the second's mean, in float32: a squared distance is later a difference of squared lengths."""
    first, second = checked_pair(first, second, least, score)
    centre = second.mean(0)
    return (first - centre).astype(np.float32), (second - centre).astype(np.float32)


def _squares(
    row: Float[Array, " width"], columns: Float[Array, "m width"], lengths: Float[Array, " m"]
) -> Float[Array, " m"]:
    """Squared distances, given the columns' squared lengths."""
    return (row**2).sum() + lengths - 2 * jnp.dot(columns, row, precision=jax.lax.Precision.HIGHEST)


def _nearest(
    rows: Float[np.ndarray, "n width"], columns: Float[np.ndarray, "m width"], own: Int[np.ndarray, " n"], k: int
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Squared distances to, and places of, the k nearest columns but a row's own one (-1: it has none), in order."""
    return devices.map_rows(_nearest_columns(k), [rows, own], columns)


@functools.cache
def _nearest_columns(k: int) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    def nearest_columns(rows: Array, own: Array, columns: Array) -> tuple[Array, Array]:
        lengths = (columns**2).sum(1)

        def of_row(row_and_own):
            row, own = row_and_own
            squares = jnp.where(jnp.arange(len(columns)) == own, jnp.inf, _squares(row, columns, lengths))
            index = jax.lax.top_k(-squares, k)[1]
            exact = ((columns[index] - row) ** 2).sum(1)
            order = jnp.argsort(exact)
            return exact[order], index[order]

        return jax.lax.map(of_row, (rows, own), batch_size=ROWS)

    return nearest_columns


def _balls(
    points: Float[Array, "n width"], centres: Float[Array, "m width"], radii: Float[Array, "m kinds"]
) -> tuple[Float[Array, "n kinds"], Float[Array, " n"]]:
    """How many balls of given squared radii hold each point, and its squared distance to the nearest centre."""
    lengths = (centres**2).sum(1)

    def of_point(point):
        squares = _squares(point, centres, lengths)
        # Summed as float32, which counts to 16 million and is quicker.
        inside = [jnp.where(squares <= kind, 1.0, 0.0).sum() for kind in radii.T]
        return jnp.stack(inside), squares.min()

    return jax.lax.map(of_point, points, batch_size=ROWS)
