"""Kernel distance: the squared maximum mean discrepancy under k(x, y) = (x.y / width + 1)^3, unbiased.

On Inception features it is the KID. It may be negative, and is 0 on average where both sets have one distribution.

References:
    Gretton et al., A Kernel Two-Sample Test, JMLR 13, 2012, lemma 6. https://jmlr.org/papers/v13/gretton12a.html
    Binkowski et al., Demystifying MMD GANs, 2018. https://arxiv.org/abs/1801.01401
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgan.core import devices
from jaxgan.errors import UserError
from jaxgan.metrics.intervals import CONFIDENCE, Estimate, delta_interval
from jaxgan.metrics.moments import Features, checked_pair

ROWS = 64  # of the table of pairs that are there at once, with all columns


class Sums(NamedTuple):
    """Of the kernel less a constant, over the pairs of a row with all columns but itself.

    Attributes:
        mean: [n] over its columns, in float64.
        square: the mean square over all rows.
    """

    mean: Float[np.ndarray, " n"]
    square: float


def kernel_distance(first: Features, second: Features, confidence: float = CONFIDENCE) -> Estimate:
    """From all pairs of two or more samples of each set.

    The interval is that of a U-statistic: the influence of a sample x is 2 (E k(x, x') - E k(x, y)), and the quadratic
    part is made of what the kernel has beyond its means over either argument.
    """
    first, second = checked_pair(first, second, 2, "a kernel distance")
    n, m, centre = len(first), len(second), first.mean(0)
    own, across, other = _tables(first, second, centre)
    back = _sums(second, first, centre)
    influence = 4 * np.var(own.mean - across.mean, ddof=1) / n + 4 * np.var(other.mean - back.mean, ddof=1) / m
    quadratic = 2 * _beyond(own, own) / n**2 + 2 * _beyond(other, other) / m**2 + 4 * _beyond(across, back) / (n * m)
    return delta_interval(_distance(own, across, other), influence, quadratic, confidence)


def subset_kernel_distances(
    first: Features, second: Features, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> Float[np.ndarray, " subsets"]:
    """Of random subsets, each drawn without replacement: their mean and standard deviation are what papers print.

    The subsets are those of torch-fidelity with the same seed. They overlap, so that their deviation is no standard
    error: `kernel_distance` has an interval.
    """
    first, second = checked_pair(first, second, size, f"a kernel distance of subsets of {size}")
    if size < 2 or subsets < 1:
        raise UserError(f"{subsets} subsets of {size}: there must be one at least, and 2 samples in each")
    draw = np.random.RandomState(seed).choice
    centre = first.mean(0)
    pairs = ((draw(len(first), size, replace=False), draw(len(second), size, replace=False)) for _ in range(subsets))
    return np.array([_distance(*_tables(first[some], second[others], centre)) for some, others in pairs])


def _distance(own: Sums, across: Sums, other: Sums) -> float:
    return float(own.mean.mean() + other.mean.mean() - 2 * across.mean.mean())


def _tables(
    first: Float[np.ndarray, "n width"], second: Float[np.ndarray, "m width"], centre: Float[np.ndarray, " width"]
) -> tuple[Sums, Sums, Sums]:
    """First with first, first with second, second with second."""
    return _sums(first, first, centre, True), _sums(first, second, centre), _sums(second, second, centre, True)


def _sums(
    rows: Float[np.ndarray, "n width"],
    columns: Float[np.ndarray, "m width"],
    centre: Float[np.ndarray, " width"],
    alone: bool = False,
) -> Sums:
    """`alone`: rows and columns are the same samples, and none makes a pair with itself.

    The kernel less its value k(c, c) = b^3 at a centre c, which drops out of the distance, is e (3b^2 + 3be + e^2) with
    e = (x.y - c.c) / width. With the parts of e from centred features no digits of float32 go into what drops out.
    """
    width = rows.shape[1]
    base = 1 + centre @ centre / width
    sides = [((side - centre) / np.sqrt(width), (side - centre) @ centre / width) for side in (rows, columns)]
    of_rows, of_columns = ([np.float32(part) for part in side] for side in sides)
    found = devices.map_rows(_row_sums, of_rows, *of_columns, np.asarray(base, np.float32))
    sums, squares = np.asarray(found, np.float64)
    if alone:
        (centred, lean), _ = sides
        excess = (centred**2).sum(1) + 2 * lean
        kernel = excess * (3 * base**2 + 3 * base * excess + excess**2)
        sums, squares = sums - kernel, squares - kernel**2
    others = len(columns) - alone
    return Sums(sums / others, squares.mean() / others)


def _row_sums(
    rows: Float[Array, "n width"],
    row_lean: Float[Array, " n"],
    columns: Float[Array, "m width"],
    column_lean: Float[Array, " m"],
    base: Float[Array, ""],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Sums of the kernel less a constant, and of its square, over all columns."""

    def of_row(row_and_lean):
        row, lean = row_and_lean
        excess = jnp.dot(columns, row, precision=jax.lax.Precision.HIGHEST) + column_lean + lean
        kernel = excess * (3 * base**2 + 3 * base * excess + excess**2)
        return kernel.sum(), (kernel**2).sum()

    return jax.lax.map(of_row, (rows, row_lean), batch_size=ROWS)


def _beyond(rows: Sums, columns: Sums) -> float:
    """Variance of the kernel beyond its mean over either argument."""
    return rows.square - (rows.mean**2).mean() - (columns.mean**2).mean() + rows.mean.mean() ** 2
