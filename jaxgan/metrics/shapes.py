"""Scores of sets of shapes by distances of pairs: coverage, minimum matching distance, accuracy of nearest neighbours.

The Chamfer distance is taken between all surface voxels, not between points drawn on surfaces: the squared distance of
every voxel to a surface is known exactly, and the mean over another surface is one product of matrices for all pairs.

References:
    Achlioptas et al., Learning Representations and Generative Models for 3D Point Clouds, 2018 (coverage, minimum
    matching distance). https://arxiv.org/abs/1707.02392
    Yang et al., PointFlow, 2019 (accuracy of nearest neighbours; the Chamfer distance as here). https://arxiv.org/abs/1906.12320
    Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017. https://arxiv.org/abs/1610.06545
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage, special

from jaxgan.data import solids
from jaxgan.errors import UserError
from jaxgan.metrics import classes
from jaxgan.metrics.intervals import CONFIDENCE, Estimate, wilson
from jaxgan.metrics.scores import LEAST, Score

Grids = Bool[np.ndarray, "_ side side side"]
Distances = Float[np.ndarray, "_ _"]
DIAGONAL = 3.0  # squared, of a cube whose side is 1: the distance of an empty grid from any that is not empty


def surface(grid: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The filled voxels with an empty one beside a face, or at the border of the grid."""
    return grid & ~ndimage.binary_erosion(grid)


def chamfer_distances(ones: Grids, others: Grids) -> Distances:
    """The Chamfer distance of every pair, in squares of the grid's side.

    That is the mean squared distance of the centres of one's surface voxels to the nearest of the other's, plus the
    same the other way round. An empty grid is `DIAGONAL` away both ways from one that is not, and 0 from an empty one.
    """
    (shares, squares), (other_shares, other_squares) = map(_surfaces, (ones, others))
    found = shares @ other_squares.T + squares @ other_shares.T
    empty, other_empty = (~grids.any((1, 2, 3)) for grids in (ones, others))
    found[empty[:, None] ^ other_empty] = 2 * DIAGONAL
    found[empty[:, None] & other_empty] = 0
    return np.float64(found)


def _surfaces(grids: Grids) -> tuple[Float[np.ndarray, "n voxels"], Float[np.ndarray, "n voxels"]]:
    """Of each grid, surface voxels as shares of all of them, and every voxel's squared distance to the surface."""
    surfaces = np.stack([surface(grid) for grid in grids])
    shares = surfaces.reshape(len(grids), -1) / np.maximum(surfaces.sum((1, 2, 3)), 1)[:, None]
    distances = np.stack([ndimage.distance_transform_edt(~each) for each in surfaces]) / grids.shape[1]
    return np.float32(shares), np.float32(distances.reshape(len(grids), -1) ** 2)


def iou_distances(ones: Grids, others: Grids) -> Distances:
    """1 minus the intersection over the union of the filled voxels of every pair; 0 for two empty grids."""
    flat, other = (grids.reshape(len(grids), -1).astype(np.float32) for grids in (ones, others))
    both = np.float64(flat @ other.T)
    union = flat.sum(1, dtype=np.float64)[:, None] + other.sum(1, dtype=np.float64) - both
    return 1 - np.where(union > 0, both / np.maximum(union, 1), 1.0)


DISTANCES: dict[str, Callable[[Grids, Grids], Distances]] = {"CD": chamfer_distances, "IoU": iou_distances}


def coverage(across: Distances) -> Estimate:
    """The share of references that are the nearest of some sample; `across` has a row for each sample.

    The interval is Wilson's, as if references were covered independently.
    """
    return wilson(len(np.unique(across.argmin(1))), across.shape[1])


def minimum_matching_distance(across: Distances, confidence: float = CONFIDENCE) -> Estimate:
    """The mean over references of the distance to the nearest sample, with Student's interval over references."""
    nearest = across.min(0)
    count = len(nearest)
    half = float(special.stdtrit(count - 1, (1 + confidence) / 2) * nearest.std(ddof=1) / math.sqrt(count))
    value = float(nearest.mean())
    return Estimate(value, max(value - half, 0.0), value + half)


def nearest_neighbour_accuracy(samples: Distances, across: Distances, references: Distances) -> Estimate:
    """How often the nearest other shape of the union tells whether a shape is a sample; .5 for the same distribution.

    Ties, as between copies of one shape, count as half. The interval is Wilson's, as if each answer were independent.

    Args:
        samples: distances of the samples to each other.
        across: of the samples (rows) to the references.
        references: of these to each other.
    """
    right = 0.0
    for within, other in ((samples, across), (references, across.T)):
        own = within.copy()
        np.fill_diagonal(own, np.inf)
        near, far = own.min(1), other.min(1)
        right += (near < far).sum() + 0.5 * (near == far).sum()
    return wilson(float(right), len(samples) + len(references))


def score(samples: Grids, references: Grids) -> dict[str, Score]:
    """All scores by all distances, of as many samples as references.

    Raises:
        UserError: there are too few of them, or not equally many.
    """
    if len(samples) != len(references) or len(samples) < LEAST:
        raise UserError(
            f"{len(samples)} samples and {len(references)} real shapes: there must be as many, and {LEAST} at least"
        )
    found = {}
    for name, distances in DISTANCES.items():
        across = distances(samples, references)
        own, other = distances(samples, samples), distances(references, references)
        found[f"1-NNA-{name}"] = Score(nearest_neighbour_accuracy(own, across, other), perfect=0.5)
        found[f"COV-{name}"] = Score(coverage(across))
        found[f"MMD-{name}"] = Score(minimum_matching_distance(across))
    return found


def of_solids(samples: Grids) -> dict[str, Score]:
    """Exact scores in the world of solids: what share is a solid of some kind, how many kinds, how evenly."""
    modes = np.array([solids.mode(grid) for grid in samples])
    good, kinds = modes[modes >= 0], len(solids.NAMES)
    counts = np.bincount(good, minlength=kinds)
    found = {
        "valid": Score(wilson(len(good), len(modes)), perfect=1.0),
        "modes": Score(classes.modes_found(counts, len(modes)), perfect=kinds * (1 - (1 - 1 / kinds) ** len(modes))),
    }
    if len(good) >= LEAST:
        covered = classes.mode_coverage(good, kinds)
        found["reverse_kl"] = Score(covered.debiased, covered.kl, covered.floor)
    return found
