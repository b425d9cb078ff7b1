"""Scores on mixtures of Gaussians: those of perfect and known imperfect samplers, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.errors import UserError
from jaxgan.metrics.mixtures import (
    RADIUS,
    kernel_density,
    mode_scores,
    optimal_discriminator,
    perfect_scores,
    perfect_wasserstein,
    silverman,
    wasserstein,
    wasserstein_interval,
)
from jaxgan.metrics.scores import of_mixture

COUNT = 2500
NAMES = sorted(MIXTURES)
PLANES = ("ring", "grid")
LINES = ("gaussian1d", "mixture1d")
KEYS = ("modes", "high_quality", "reverse_kl")


@functools.cache
def scorer(name):
    known = MIXTURES[name]
    return jax.jit(lambda samples: mode_scores(samples, known.means, known.stddev))


def score(name, samples):
    return {key: float(value) for key, value in scorer(name)(samples).items()}


def quality_error(share):
    """Five standard errors of a share of COUNT samples."""
    return 5 * np.sqrt(share * (1 - share) / COUNT)


@functools.cache
def trials(name, count, number):
    """Scores of perfect samplers: each [number]."""
    known = MIXTURES[name]
    samples = known.sample(11, number * count)[0].reshape(number, count, known.dim)
    return {key: np.asarray(value) for key, value in jax.jit(jax.vmap(scorer(name)))(samples).items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 4, 30, 500])
def test_a_perfect_sampler_gets_the_perfect_scores_on_average(name, count):
    found = trials(name, count, 400)
    assert found.keys() == set(KEYS)
    for key, expected in perfect_scores(MIXTURES[name].modes, MIXTURES[name].dim, count).items():
        error = 4.5 * found[key].std() / np.sqrt(400) + 1e-5
        assert found[key].mean() == pytest.approx(expected, abs=error), key


@pytest.mark.parametrize(("name", "floor"), [("ring", 0.0014), ("grid", 0.0048)])
def test_at_2500_samples_the_divergence_has_its_published_floor(name, floor):
    found = trials(name, COUNT, 200)["reverse_kl"]
    assert found.mean() == pytest.approx(floor, abs=4.5 * found.std() / np.sqrt(200))
    modes = MIXTURES[name].modes
    expected = perfect_scores(modes, 2, COUNT)["reverse_kl"]
    assert round(expected, 4) == floor
    assert expected == pytest.approx((modes - 1) / (2 * COUNT), rel=0.01)  # Miller and Madow's bias of the entropy


@pytest.mark.parametrize(("dim", "share"), [(1, 0.9973), (2, 0.9889), (3, 0.9707)])
def test_three_deviations_hold_the_share_of_the_chi_square_distribution(dim, share):
    assert perfect_scores(8, dim, COUNT)["high_quality"] == pytest.approx(share, abs=5e-5)
    assert perfect_scores(8, dim, COUNT)["high_quality"] == pytest.approx(stats.chi2(dim).cdf(9), rel=1e-12)


@pytest.mark.parametrize("modes", [1, 2, 8, 1000])
def test_one_sample_diverges_by_log_modes_and_many_by_nothing(modes):
    assert perfect_scores(modes, 2, 1)["reverse_kl"] == pytest.approx(np.log(modes), abs=1e-12)
    assert perfect_scores(modes, 2, 1)["modes"] == pytest.approx(1 - np.exp(-4.5), rel=1e-12)
    many = perfect_scores(modes, 2, 1_000_000)
    assert many["reverse_kl"] == pytest.approx((modes - 1) / 2e6, rel=1e-3, abs=1e-9)
    assert many["modes"] == pytest.approx(modes)


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1, 2.0])
def test_a_sampler_of_wrong_width_has_its_share_of_good_samples(name, factor):
    known = MIXTURES[name]
    points, labels = known.sample(5, COUNT)
    samples = (known.means[labels] + factor * (points - known.means[labels])).astype(np.float32)
    share = 1 - np.exp(-4.5 / factor**2)
    found = score(name, samples)["high_quality"]
    assert found == pytest.approx(share, abs=quality_error(share) + 1e-6)
    if factor == 0.5:  # too narrow, and so it passes what is perfect
        assert found > 0.9889


def test_a_ring_with_both_ends_of_linspace_has_seven_modes():
    """Such a ring's eighth mode is its first one: no sampler finds it."""
    angles = np.linspace(0, 2 * np.pi, 8)
    means = np.stack([np.cos(angles), np.sin(angles)], 1)
    samples = means[np.arange(COUNT) % 8] + np.random.default_rng(0).normal(0, 0.01, (COUNT, 2))
    assert jax.jit(mode_scores)(samples, means, jnp.float32(0.01))["modes"] < 8
    wrong = score("ring", samples)  # of the true ring it has one mode, twice as often as it should
    assert wrong["modes"] == 1
    assert wrong["high_quality"] == pytest.approx(0.9889 / 4, abs=quality_error(0.25))


@pytest.mark.parametrize("name", [name for name in NAMES if MIXTURES[name].modes > 1])
def test_a_collapsed_sampler_diverges_by_log_modes(name):
    known = MIXTURES[name]
    samples = np.repeat(known.means[-1:], COUNT, axis=0)
    assert score(name, samples) == pytest.approx(
        {"modes": 1, "high_quality": 1, "reverse_kl": np.log(known.modes)}, rel=1e-6
    )


@pytest.mark.parametrize(("name", "share"), [("ring", 2), ("ring", 4), ("grid", 5)])
def test_a_share_of_the_modes_diverges_by_its_logarithm(name, share):
    samples = MIXTURES[name].means[::share].repeat(100, axis=0)
    assert score(name, samples) == pytest.approx(
        {"modes": MIXTURES[name].modes / share, "high_quality": 1, "reverse_kl": np.log(share)}, rel=1e-6
    )


def test_bad_samples_count_for_their_nearest_mode_but_do_not_find_it():
    ring = MIXTURES["ring"]
    samples = np.concatenate([ring.means[:4], 1.05 * ring.means[4:]])
    assert score("ring", samples) == pytest.approx({"modes": 4, "high_quality": 0.5, "reverse_kl": 0}, abs=1e-6)


def test_quality_ends_at_three_deviations_in_any_direction():
    grid, angles = MIXTURES["grid"], np.linspace(0, 6, 13)
    ways = np.stack([np.cos(angles), np.sin(angles)], 1)
    for mean in grid.means:
        for deviations, share in ((2.999, 1), (3.001, 0)):
            assert score("grid", mean + deviations * 0.05 * ways)["high_quality"] == share


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (0.5, 1), (0.02, 0.9)])
@pytest.mark.parametrize("name", LINES)
def test_the_interval_of_a_distance_covers(name, shift, scale):
    """Of a distribution in its place, moved, and narrowed."""
    known, generator = MIXTURES[name], np.random.default_rng(5)
    fine, quantiles = known.quantiles(100_000), known.quantiles(100)
    truth = np.abs(shift + (scale - 1) * fine).mean()
    draws = [wasserstein_interval(shift + scale * generator.choice(fine, 100), quantiles) for _ in range(200)]
    value, low, high = np.transpose(draws)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.9
    assert np.mean(high - value) < 4 * perfect_wasserstein(quantiles)  # and is no longer than it must


@pytest.mark.parametrize("name", NAMES)
def test_the_intervals_of_a_perfect_sampler_hold_what_is_perfect(name):
    known = MIXTURES[name]
    draws = known.sample(3, 40 * 300)[0].reshape(40, 300, known.dim)
    truth = {"wasserstein": 0.0, "reverse_kl": 0.0}
    found = [of_mixture(known, own) for own in draws]
    for kind, (_, _, perfect) in found[0].items():
        expected = truth.get(kind, perfect)
        held = [own[kind].estimate.low - 1e-6 <= expected <= own[kind].estimate.high + 1e-6 for own in found]
        assert np.mean(held) >= 0.8, kind


def test_what_cannot_be_scored_is_an_error():
    samples = MIXTURES["ring"].sample(0, 50)[0]
    samples[7, 1] = np.nan
    with pytest.raises(UserError, match="1 of 50 samples are not finite"):
        of_mixture(MIXTURES["ring"], samples)
    with pytest.raises(UserError, match="from 2 samples on, and there are 1"):
        of_mixture(MIXTURES["gaussian1d"], np.zeros((1, 1), np.float32))


def slow_scores(samples, means, stddev):
    """The definitions, sample by sample."""
    counts, good = np.zeros(len(means)), np.zeros(len(means))
    for sample in samples:
        if np.isfinite(sample).all():
            deviations = [np.linalg.norm(sample - mean) / stddev for mean in means]
            nearest = int(np.argmin(deviations))
            counts[nearest] += 1
            good[nearest] += deviations[nearest] <= RADIUS
    shares = counts / max(counts.sum(), 1)
    divergence = sum(share * np.log(share) for share in shares if share) + np.log(len(means))
    return {"modes": (good > 0).sum(), "high_quality": good.sum() / len(samples), "reverse_kl": divergence}


def some_samples(name, seed, count=64):
    """Good, bad and far ones, and of some worlds not all modes."""
    generator = np.random.default_rng(seed)
    known = MIXTURES[name]
    means = known.means[generator.integers(generator.integers(1, known.modes + 1), size=count)]
    widths = known.stddev * generator.choice([0.5, 3, 30], (count, 1))
    return means + widths * generator.standard_normal((count, known.dim))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**31), bad=st.sampled_from([np.nan, np.inf, -np.inf, None]))
def test_scores_follow_the_definitions(name, seed, bad):
    samples = some_samples(name, seed)
    if bad is not None:
        samples[seed % 64 :: 3, seed % MIXTURES[name].dim] = bad
    expected = slow_scores(samples, MIXTURES[name].means, MIXTURES[name].stddev)
    assert score(name, samples) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(name=st.sampled_from(PLANES), seed=st.integers(0, 2**31), angle=st.floats(0, 7), mirrored=st.booleans())
def test_order_rotation_and_place_do_not_matter(name, seed, angle, mirrored):
    known, generator = MIXTURES[name], np.random.default_rng(seed)
    samples = some_samples(name, seed)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, 1 - 2 * mirrored])
    shift = generator.normal(size=2)
    moved = generator.permutation(samples) @ turn.T + shift
    means = generator.permutation(known.means) @ turn.T + shift
    found = jax.jit(mode_scores)(moved, means, jnp.float32(known.stddev))
    assert {key: float(value) for key, value in found.items()} == pytest.approx(score(name, samples), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_members_at_once_get_what_each_gets_alone(name):
    members = np.stack([some_samples(name, seed) for seed in range(6)])
    together = jax.vmap(scorer(name))(members)
    for index, samples in enumerate(members):
        alone = score(name, samples)
        assert {key: float(value[index]) for key, value in together.items()} == pytest.approx(alone, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])  # the square of the last is no float32
def test_a_diverged_sampler_gets_the_worst_scores(bad):
    samples = np.full((100, 2), bad)
    assert score("ring", samples) == pytest.approx({"modes": 0, "high_quality": 0, "reverse_kl": np.log(8)}, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_bad_and_has_no_nearest_mode(bad):
    samples = np.concatenate([MIXTURES["ring"].means, np.full((8, 2), bad)])
    assert score("ring", samples) == pytest.approx({"modes": 8, "high_quality": 0.5, "reverse_kl": 0}, abs=1e-6)


@pytest.mark.parametrize("modes", [1, 3, 7, 29])
def test_perfect_shares_diverge_by_no_less_than_nothing(modes):
    means = np.arange(float(modes))[:, None]
    assert 0 <= float(jax.jit(mode_scores)(means, means, jnp.float32(0.1))["reverse_kl"]) < 1e-6


@pytest.mark.parametrize("name", LINES)
def test_the_best_sample_is_at_no_distance_and_a_shifted_one_at_its_shift(name):
    best = MIXTURES[name].quantiles(COUNT)
    shuffled = np.random.default_rng(0).permutation(best)
    assert float(wasserstein(shuffled, best)) == 0
    for shift in (-3.0, 0.25):
        assert float(wasserstein(shuffled + shift, best)) == pytest.approx(abs(shift), rel=1e-5)


@pytest.mark.parametrize("name", LINES)
def test_the_distance_is_the_area_between_the_shares_below(name):
    """The other form of it, by `scipy.integrate`'s trapezoids on a fine grid."""
    samples = np.random.default_rng(1).normal(1, 2, 300)
    points = np.linspace(-12, 12, 200_001)
    below = np.searchsorted(np.sort(samples), points, side="right") / len(samples)
    area = np.trapezoid(np.abs(below - MIXTURES[name].cdf(points)), points)
    assert float(wasserstein(samples, MIXTURES[name].quantiles(300))) == pytest.approx(area, abs=2e-3)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 2**31), count=st.sampled_from([1, 2, 50]))
def test_the_distance_between_samples_is_scipys(seed, count):
    first, second = np.random.default_rng(seed).normal(size=(2, count)).astype(np.float32)
    expected = stats.wasserstein_distance(first, second)
    assert float(wasserstein(first, np.sort(second))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("count", [100, COUNT])
def test_a_perfect_sampler_is_at_the_expected_distance(name, count):
    quantiles = MIXTURES[name].quantiles(count)
    samples = MIXTURES[name].sample(7, 400 * count)[0].reshape(400, count)
    found = np.asarray(jax.jit(jax.vmap(wasserstein, in_axes=(0, None)))(samples, quantiles))
    error = 4.5 * found.std() / np.sqrt(400)
    assert found.mean() == pytest.approx(perfect_wasserstein(quantiles), abs=error + 0.005 / np.sqrt(count))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_infinitely_far(bad):
    quantiles = MIXTURES["mixture1d"].quantiles(100)
    samples = quantiles.copy()
    samples[3] = bad
    assert float(wasserstein(samples, quantiles)) == np.inf


def test_members_on_a_line_at_once_are_as_far_as_each_alone():
    quantiles = MIXTURES["mixture1d"].quantiles(64)
    members = np.stack([some_samples("mixture1d", seed)[:, 0] for seed in range(5)])
    together = jax.jit(jax.vmap(wasserstein, in_axes=(0, None)))(members, quantiles)
    np.testing.assert_allclose(together, [wasserstein(samples, quantiles) for samples in members], rtol=1e-6)


def test_the_optimal_discriminator_knows_the_shares():
    real, generated = np.array([0.0, 1.0, 1.0, 3.0, 1e-30]), np.array([1.0, 0.0, 1.0, 1.0, 3e-30])
    np.testing.assert_allclose(optimal_discriminator(real, generated), [0, 1, 0.5, 0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(
        optimal_discriminator(real, generated) + optimal_discriminator(generated, real), 1, rtol=1e-6
    )


def test_where_nothing_is_the_optimum_is_a_half_and_has_a_gradient():
    assert float(optimal_discriminator(jnp.zeros(()), jnp.zeros(()))) == 0.5
    assert np.isfinite(jax.grad(optimal_discriminator)(jnp.zeros(()), jnp.zeros(())))


def test_no_other_discriminator_has_a_smaller_cross_entropy():
    points = np.linspace(-5, 5, 201)[:, None]
    real, generated = MIXTURES["mixture1d"].density(points), MIXTURES["gaussian1d"].density(points + 3)

    def cross_entropy(outputs):
        return -(real * np.log(outputs) + generated * np.log(1 - outputs)).sum()

    best = np.clip(np.asarray(optimal_discriminator(real, generated), np.float64), 1e-6, 1 - 1e-6)
    for seed in range(20):
        other = np.clip(best + 0.02 * np.random.default_rng(seed).normal(size=best.shape), 1e-6, 1 - 1e-6)
        assert cross_entropy(other) > cross_entropy(best)


@pytest.mark.parametrize("count", [2, 10, 1000])
def test_the_estimated_density_is_scipys(count):
    samples = np.random.default_rng(0).normal(4, 0.5, count)
    points = np.linspace(0, 8, 100)
    bandwidth = silverman(samples.std(ddof=1), count)
    expected = stats.gaussian_kde(samples, "silverman")(points)
    found = jax.jit(kernel_density)(samples, points, bandwidth)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_bandwidth_is_silvermans():
    assert silverman(1.0, 1) == pytest.approx(1.06, abs=1e-3)  # the book's rounded factor
    assert silverman(3.0, 32) == pytest.approx(silverman(1.0, 1) * 3 / 2)


def test_by_the_deviation_of_a_mode_the_estimate_nears_the_true_density():
    known = MIXTURES["mixture1d"]
    points = np.linspace(-4, 4, 81)
    samples, bandwidth = known.sample(0, 20_000)[0][:, 0], silverman(known.stddev, 20_000)
    np.testing.assert_allclose(kernel_density(samples, points, bandwidth), known.density(points[:, None]), atol=0.02)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_density_anywhere(bad):
    samples, points = np.array([0.0, 0.0, bad, 0.0]), np.linspace(-5, 5, 1001)
    found = kernel_density(samples, points, 0.5)
    np.testing.assert_allclose(found, 0.75 * kernel_density(np.zeros(1), points, 0.5), rtol=1e-6)
    assert np.trapezoid(found, points) == pytest.approx(0.75, abs=1e-5)
    assert not kernel_density(np.full(3, bad), points, 0.5).any()
