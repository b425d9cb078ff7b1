"""Streaming moments: whatever the batches, their order and what is masked, they are numpy's in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.errors import UserError
from jaxgan.metrics import moments

WIDTH, ROWS = 5, 8  # one shape, compiled once
add, merge, of_batch = jax.jit(moments.add), jax.jit(moments.merge), jax.jit(moments.of_batch)


def draw(seed, count, scale=1.0, mean=0.0, width=WIDTH):
    """Correlated features, as float32 has them."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((count, width)) @ generator.standard_normal((width, width))
    return (mean + scale * values).astype(np.float32)


def batches(features, sizes):
    """Padded to ROWS with what must not matter, at random places."""
    generator, start = np.random.default_rng(len(features)), 0
    for size in sizes:
        rows = np.sort(generator.permutation(ROWS)[:size])
        batch, mask = np.full((ROWS, WIDTH), np.nan, np.float32), np.zeros(ROWS, bool)
        batch[rows], mask[rows] = features[start : start + size], True
        start += size
        yield jnp.asarray(batch), jnp.asarray(mask)


def check(found, features, digits=1e-6):
    """Errors are measured in the scale of the features around their mean, and of the mean itself for the mean."""
    exact = np.asarray(features, np.float64)
    covariance = np.cov(exact, rowvar=False)
    scale = np.trace(covariance)
    assert found.count == len(exact)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=digits, atol=digits * np.sqrt(scale))
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=digits * scale)


SETS = {
    "seed": st.integers(0, 2**31),
    "sizes": st.lists(st.integers(0, ROWS), min_size=1, max_size=7).filter(lambda sizes: sum(sizes) >= 2),
    "mean": st.sampled_from([0.0, -3.0, 100.0]),
    "scale": st.sampled_from([1e-3, 1.0, 1e4]),
}


@settings(max_examples=60)
@given(**SETS)
def test_any_batches_and_masks_give_the_moments_of_float64(seed, sizes, mean, scale):
    features = draw(seed, sum(sizes), scale, mean * scale)
    total = moments.empty(WIDTH)
    for batch, mask in batches(features, sizes):
        total = add(total, batch, mask)
    check(moments.finish(total), features)


@settings(max_examples=40)
@given(**SETS, order=st.randoms(use_true_random=False))
def test_any_order_of_merging_gives_the_moments_of_float64(seed, sizes, mean, scale, order):
    features = draw(seed, sum(sizes), scale, mean * scale)
    parts = [of_batch(batch, mask) for batch, mask in batches(features, sizes)]
    while len(parts) > 1:
        order.shuffle(parts)
        parts.append(merge(parts.pop(), parts.pop()))
    check(moments.finish(parts[0]), features)


@settings(max_examples=20)
@given(**SETS)
def test_devices_of_an_axis_agree_on_the_moments_of_all(seed, sizes, mean, scale):
    sizes = [*sizes, *[0] * (7 - len(sizes))]
    features = draw(seed, sum(sizes), scale, mean * scale)
    stacked = [jnp.stack(leaves) for leaves in zip(*batches(features, sizes), strict=True)]
    together = over_devices()(*stacked)
    for device in (0, 6):
        check(moments.finish(jax.tree.map(lambda leaf, device=device: leaf[device], together)), features)


@functools.cache
def over_devices():
    def on_a_device(batch, mask):
        return moments.merge_over(moments.of_batch(batch, mask), "devices")

    return jax.jit(jax.vmap(on_a_device, axis_name="devices"))


def test_thousands_of_batches_lose_no_digits():
    """Without the sum of what rounding leaves out the error is 1e-6."""
    features = draw(0, 20_000 * ROWS, mean=50.0).reshape(-1, ROWS, WIDTH)
    total, _ = jax.jit(lambda all_batches: jax.lax.scan(lambda m, x: (moments.add(m, x), None), empty(), all_batches))(
        features
    )
    check(moments.finish(total), features.reshape(-1, WIDTH), digits=1e-8)


def empty():
    return moments.empty(WIDTH)


def test_a_shift_that_is_given_changes_nothing_but_rounding():
    features = draw(3, ROWS)
    shifted = moments.of_batch(jnp.asarray(features), shift=jnp.ones(WIDTH))
    np.testing.assert_array_equal(shifted.shift, 1)
    check(moments.finish(shifted), features)


def test_on_the_host_they_are_numpys():
    features = draw(1, 30).astype(np.float64) + 1e6
    found = moments.statistics(features)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-15)
    np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-9)


def test_a_covariance_needs_two_samples():
    one = moments.add(moments.empty(WIDTH), jnp.ones((ROWS, WIDTH)), jnp.arange(ROWS) == 3)
    for make in (lambda: moments.finish(one), lambda: moments.statistics(np.ones((1, 3)))):
        with pytest.raises(UserError, match="a covariance needs 2 samples or more, and there are 1"):
            make()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_an_error(bad):
    features = draw(2, ROWS)
    features[3, 1] = bad
    with pytest.raises(UserError, match="not all finite"):
        moments.finish(moments.of_batch(jnp.asarray(features)))
    with pytest.raises(UserError, match="1 of 8 samples have values that are not finite"):
        moments.statistics(features)


def test_widths_must_agree():
    with pytest.raises(UserError, match="features of width 3 cannot be compared with features of width 4"):
        moments.checked_pair(np.ones((5, 3)), np.ones((5, 4)), 2, "a distance")
