"""Mean and covariance of features that come in batches, on the device in float32, to nearly all the digits of float64.

Three things would lose digits, and are kept from it: a mean far from 0 (sums are of features minus a shift near it),
many batches (what a sum's rounding leaves out is kept in a second sum), and the fast multiplication of accelerators
(products are asked for at the highest precision).

    moments = empty(width)
    for features, mask in batches:
        moments = add(moments, features, mask)      # jit it
    statistics = finish(moments)

References:
    Chan, Golub and LeVeque, Algorithms for computing the sample variance, The American Statistician 37, 1983.
    Knuth, The Art of Computer Programming 2, section 4.2.2 (the error of a sum).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxgan.errors import UserError

Features = Float[np.ndarray | Array, "_ _"]


class Moments(NamedTuple):
    """Sums over the rows seen, of deviations from a shift; each sum is the sum of its own two rows or slices.

    Attributes:
        count: of rows.
        shift: near the mean: that of the first batch, or one given.
        total: sum of deviations, and what its rounding left out.
        scatter: sum of their outer products, and what its rounding left out.
    """

    count: Int[Array, ""]
    shift: Float[Array, " width"]
    total: Float[Array, "2 width"]
    scatter: Float[Array, "2 width width"]


class Statistics(NamedTuple):
    """What a Fréchet distance needs to know of a set.

    Attributes:
        count: of rows.
        mean: of features.
        covariance: unbiased, with count - 1.
    """

    count: int
    mean: Float[np.ndarray, " width"]
    covariance: Float[np.ndarray, "width width"]


def empty(width: int) -> Moments:
    """Of no rows."""
    return Moments(jnp.int32(0), jnp.zeros(width), jnp.zeros((2, width)), jnp.zeros((2, width, width)))


def of_batch(
    features: Float[Array, "rows width"],
    mask: Bool[Array, " rows"] | None = None,
    shift: Float[Array, " width"] | None = None,
) -> Moments:
    """Of one batch, without the rows whose mask is false, whatever is in them; the shift is its mean unless given."""
    mask = jnp.ones(len(features), bool) if mask is None else mask
    count = mask.sum(dtype=jnp.int32)
    features = jnp.where(mask[:, None], features, 0).astype(jnp.float32)
    shift = features.sum(0) / jnp.maximum(count, 1) if shift is None else shift
    deviations = jnp.where(mask[:, None], features - shift, 0)
    total = deviations.sum(0)
    scatter = jnp.matmul(deviations.T, deviations, precision=jax.lax.Precision.HIGHEST)
    return Moments(count, shift, jnp.stack([total, 0 * total]), jnp.stack([scatter, 0 * scatter]))


def merge(first: Moments, second: Moments) -> Moments:
    """Of the rows of both. The shift is the first's, unless that has no rows."""
    shift = jnp.where(first.count > 0, first.shift, second.shift)
    first, second = _shifted(first, shift), _shifted(second, shift)
    total, scatter = _sum(first.total, second.total), _sum(first.scatter, second.scatter)
    return Moments(first.count + second.count, shift, total, scatter)


def add(moments: Moments, features: Float[Array, "rows width"], mask: Bool[Array, " rows"] | None = None) -> Moments:
    """With the rows of a batch whose mask is not false; the mean of the first rows becomes the shift."""
    return merge(moments, of_batch(features, mask))


def merge_over(moments: Moments, axis_name: str) -> Moments:
    """Of the rows of all devices along a mapped axis: the same on each of them."""
    count = jax.lax.psum(moments.count, axis_name)
    shift = jax.lax.psum(moments.count * moments.shift, axis_name) / jnp.maximum(count, 1)
    moments = _shifted(moments, shift)
    return Moments(count, shift, *jax.lax.psum((moments.total, moments.scatter), axis_name))


def _shifted(moments: Moments, shift: Float[Array, " width"]) -> Moments:
    """The same rows' sums of deviations from another shift."""
    count, step, total = moments.count, moments.shift - shift, moments.total.sum(0)
    cross = jnp.outer(total, step)
    more = cross + cross.T + count * jnp.outer(step, step)
    return Moments(count, shift, _compensated_add(moments.total, count * step), _compensated_add(moments.scatter, more))


def _compensated_add(total: Float[Array, "2 *shape"], term: Float[Array, "*shape"]) -> Float[Array, "2 *shape"]:
    """A sum and what its rounding left out, with one term more: Knuth's exact error of a sum is kept."""
    high, low = total
    result = high + term
    part = result - high
    return jnp.stack([result, low + ((high - (result - part)) + (term - part))])


def _sum(first: Float[Array, "2 *shape"], second: Float[Array, "2 *shape"]) -> Float[Array, "2 *shape"]:
    return _compensated_add(first, second[0]).at[1].add(second[1])


def finish(moments: Moments) -> Statistics:
    """Mean and covariance in float64, on the host."""
    count = int(moments.count)
    if count < 2:
        raise UserError(f"a covariance needs 2 samples or more, and there are {count}")
    shift, total, scatter = (np.asarray(leaf, np.float64) for leaf in (moments.shift, *moments[2:]))
    total, scatter = total.sum(0), scatter.sum(0)
    if not (np.isfinite(total).all() and np.isfinite(scatter).all()):
        raise UserError(f"features of {count} samples are not all finite: their scores would mean nothing")
    covariance = (scatter - np.outer(total, total) / count) / (count - 1)
    return Statistics(count, shift + total / count, covariance)


def statistics(features: Features) -> Statistics:
    """Of features that are all here, in float64."""
    features = checked(features, 2, "a covariance")
    mean = features.mean(0)
    deviations = features - mean
    return Statistics(len(features), mean, deviations.T @ deviations / (len(features) - 1))


def checked(features: Features, least: int, score: str) -> Float[np.ndarray, "rows width"]:
    """Features as float64 on the host; a `UserError` if there are fewer than `score` needs, or not all are finite."""
    features = np.asarray(features, np.float64)
    if len(features) < least:
        raise UserError(f"{score} needs {least} samples or more, and there are {len(features)}")
    if bad := int((~np.isfinite(features).all(1)).sum()):
        raise UserError(f"{bad} of {len(features)} samples have values that are not finite: {score} needs finite ones")
    return features


def check_widths(first: int, second: int) -> None:
    """A `UserError` if they differ."""
    if first != second:
        raise UserError(
            f"features of width {first} cannot be compared with features of width {second}: "
            "both must come from the same network and layer"
        )


def checked_pair(
    first: Features, second: Features, least: int, score: str
) -> tuple[Float[np.ndarray, "rows width"], Float[np.ndarray, "others width"]]:
    """Two sets `checked`, and of the same width."""
    check_widths(first.shape[1], second.shape[1])
    return checked(first, least, score), checked(second, least, score)
