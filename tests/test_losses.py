"""The losses against their papers' formulas, optax, finite differences, and each other."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.adversarial import losses
from jaxgan.adversarial.losses import LOSSES

REAL = jnp.asarray([-3.0, -0.7, 0.1, 0.6, 2.5])
FAKE = jnp.asarray([1.7, -2.2, 0.4, -0.3, 0.8])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


# The formulas of the papers, in float64, with D = sigmoid where D is a probability.
FORMULAS = {
    "minimax": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda r, f: np.log(1 - sigmoid(f)),
    ),
    "non_saturating": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda r, f: -np.log(sigmoid(f)),
    ),
    "logistic": (
        lambda r, f: np.log1p(np.exp(-r)) + np.log1p(np.exp(f)),
        lambda r, f: np.log1p(np.exp(-f)),
    ),
    "least_squares": (lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2, lambda r, f: (f - 1) ** 2 / 2),
    "pearson": (lambda r, f: (r - 1) ** 2 / 2 + (f + 1) ** 2 / 2, lambda r, f: f**2 / 2),
    "hinge": (lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), lambda r, f: -f),
    "wasserstein": (lambda r, f: f - r, lambda r, f: -f),
    "relativistic": (lambda r, f: -np.log(sigmoid(r - f)), lambda r, f: -np.log(sigmoid(f - r))),
    "relativistic_average": (
        lambda r, f: -np.log(sigmoid(r - np.mean(f))) - np.log(1 - sigmoid(f - np.mean(r))),
        lambda r, f: -np.log(sigmoid(f - np.mean(r))) - np.log(1 - sigmoid(r - np.mean(f))),
    ),
    "relativistic_average_least_squares": (
        lambda r, f: (r - np.mean(f) - 1) ** 2 + (f - np.mean(r) + 1) ** 2,
        lambda r, f: (f - np.mean(r) - 1) ** 2 + (r - np.mean(f) + 1) ** 2,
    ),
    "relativistic_average_hinge": (
        lambda r, f: np.maximum(0, 1 - (r - np.mean(f))) + np.maximum(0, 1 + f - np.mean(r)),
        lambda r, f: np.maximum(0, 1 - (f - np.mean(r))) + np.maximum(0, 1 + r - np.mean(f)),
    ),
}
# Discriminators with a margin m, likewise.
MARGIN_FORMULAS = {
    "logistic": lambda r, f, m: np.log1p(np.exp(m - r)) + np.log1p(np.exp(m + f)),
    "hinge": lambda r, f, m: np.maximum(0, m - r) + np.maximum(0, m + f),
    "relativistic": lambda r, f, m: np.log1p(np.exp(m + f - r)),
}
LOG2 = np.log(2)
AT_ZERO = {
    "minimax": (2 * LOG2, -LOG2),
    "non_saturating": (2 * LOG2, LOG2),
    "logistic": (2 * LOG2, LOG2),
    "least_squares": (0.5, 0.5),
    "pearson": (1, 0),
    "hinge": (2, 0),
    "wasserstein": (0, 0),
    "relativistic": (LOG2, LOG2),
    "relativistic_average": (2 * LOG2, 2 * LOG2),
    "relativistic_average_least_squares": (2, 2),
    "relativistic_average_hinge": (2, 2),
}
SHORT = {
    "lsgan": "least_squares",
    "wgan": "wasserstein",
    "rpgan": "relativistic",
    "ragan": "relativistic_average",
    "ralsgan": "relativistic_average_least_squares",
    "rahinge": "relativistic_average_hinge",
}
NAMES = [name for name in LOSSES if name not in SHORT]
SIDES = [(name, side) for name in NAMES for side in ("discriminator", "generator")]
RELATIVISTIC = [name for name in NAMES if name.startswith("relativistic")]
TAKES_MARGIN = [name for name in NAMES if LOSSES[name].takes_margin]
AVERAGES = [(name, side) for name, side in SIDES if LOSSES[name].takes_means]


def test_every_loss_has_a_formula_here():
    assert set(NAMES) == FORMULAS.keys() == AT_ZERO.keys()
    assert set(TAKES_MARGIN) == MARGIN_FORMULAS.keys()


@pytest.mark.parametrize("name", SHORT)
def test_a_short_name_is_the_same_loss(name):
    assert LOSSES[name] is LOSSES[SHORT[name]]


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_values_are_those_of_the_paper(name, side):
    formula = FORMULAS[name][side == "generator"]
    values = jax.jit(getattr(LOSSES[name], side))(REAL, FAKE)
    expected = formula(np.asarray(REAL, np.float64), np.asarray(FAKE, np.float64))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_values_of_an_undecided_discriminator(name, side):
    values = getattr(LOSSES[name], side)(jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(values, [AT_ZERO[name][side == "generator"]] * 3, rtol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_one_value_for_each_example(name, side):
    function = getattr(LOSSES[name], side)
    if LOSSES[name].takes_means:
        function = functools.partial(function, real_mean=REAL.mean(), fake_mean=FAKE.mean())
    assert function(REAL, FAKE).shape == REAL.shape
    # The value of an example does not depend on the batch, where the means of the batch are given.
    alone = [function(REAL[i : i + 1], FAKE[i : i + 1])[0] for i in range(len(REAL))]
    np.testing.assert_allclose(function(REAL, FAKE), alone, rtol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_gradients_against_finite_differences(name, side):
    function = lambda real, fake: getattr(LOSSES[name], side)(real, fake).sum()  # noqa: E731
    gradients, real, fake, step = jax.grad(function, (0, 1))(REAL, FAKE), *np.float64([REAL, FAKE]), 1e-6
    formula = FORMULAS[name][side == "generator"]
    total = lambda real, fake: np.sum(formula(real, fake))  # noqa: E731
    # One logit at a time: through a mean it moves the values of the others.
    moves = step * np.eye(5)
    slopes = (
        [(total(real + move, fake) - total(real - move, fake)) / (2 * step) for move in moves],
        [(total(real, fake + move) - total(real, fake - move)) / (2 * step) for move in moves],
    )
    np.testing.assert_allclose(gradients, slopes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_huge_logits_stay_finite(name, side):
    huge = jnp.asarray([1e4, -1e4, 1e4, -1e4])
    other = jnp.asarray([1e4, 1e4, -1e4, -1e4])
    function = getattr(LOSSES[name], side)
    assert np.isfinite(function(huge, other)).all()
    gradients = jax.grad(lambda real, fake: function(real, fake).sum(), (0, 1))(huge, other)
    assert np.isfinite(gradients).all()


def test_cross_entropy_is_optax():
    targets = jnp.asarray([0.0, 0.1, 0.5, 0.9, 1.0])
    expected = optax.sigmoid_binary_cross_entropy(REAL, targets)
    np.testing.assert_allclose(losses.cross_entropy(REAL, targets), expected, rtol=1e-6)


def test_hinge_is_optax():
    ones = jnp.ones_like(REAL)
    expected = optax.hinge_loss(REAL, ones) + optax.hinge_loss(FAKE, -ones)
    np.testing.assert_allclose(losses.hinge_discriminator(REAL, FAKE), expected, rtol=1e-6)


def test_least_squares_is_optax():
    expected = optax.l2_loss(REAL, jnp.ones(5)) + optax.l2_loss(FAKE, jnp.zeros(5))
    np.testing.assert_allclose(losses.least_squares_discriminator(REAL, FAKE), expected, rtol=1e-6)


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_the_relativistic_generator_is_the_discriminator_with_exchanged_sides(name):
    pair = LOSSES[name]
    np.testing.assert_array_equal(pair.generator(REAL, FAKE), pair.discriminator(FAKE, REAL))


@pytest.mark.parametrize("side", ["discriminator", "generator"])
@pytest.mark.parametrize("name", NAMES)
def test_only_relativistic_losses_ignore_a_common_shift_of_the_logits(name, side):
    function = getattr(LOSSES[name], side)
    # Powers of two, so that the shifted differences are the same floats.
    real, fake = jnp.asarray([-0.5, 0.25, 2.0]), jnp.asarray([1.0, -0.75, 0.5])
    unmoved = np.allclose(function(real + 4, fake + 4), function(real, fake))
    assert unmoved == (name in RELATIVISTIC or (name, side) == ("wasserstein", "discriminator"))


@pytest.mark.parametrize("name", NAMES)
def test_only_relativistic_generators_depend_on_real_logits(name):
    gradient = jax.grad(lambda real: LOSSES[name].generator(real, FAKE).sum())(REAL)
    assert bool(np.any(gradient)) == (name in RELATIVISTIC)


def test_the_non_saturating_gradient_stays_where_the_minimax_one_vanishes():
    sure = jnp.asarray([-8.0, -12.0, -20.0])  # fakes that the discriminator recognises
    slope = lambda function: jax.grad(lambda fake: function(fake, fake).sum())(sure)  # noqa: E731
    minimax, non_saturating = slope(losses.minimax_generator), slope(losses.non_saturating_generator)
    np.testing.assert_allclose(minimax, -sigmoid(sure), rtol=1e-5)
    np.testing.assert_allclose(non_saturating, -sigmoid(-sure), rtol=1e-5)
    assert (np.abs(minimax) < 1e-3).all()
    assert (np.abs(non_saturating) > 0.999).all()


@pytest.mark.parametrize("name", ["hinge", "logistic", "relativistic"])
@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.3, 1.0, 4.0])
def test_values_with_a_margin(name, margin):
    values = jax.jit(LOSSES[name].discriminator)(REAL, FAKE, margin=margin)
    expected = MARGIN_FORMULAS[name](*np.float64([REAL, FAKE]), margin)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TAKES_MARGIN)
def test_the_published_margin_is_the_default(name):
    loss = LOSSES[name]
    np.testing.assert_array_equal(loss.discriminator(REAL, FAKE, margin=loss.margin), loss.discriminator(REAL, FAKE))
    assert loss.margin == {"hinge": 1.0}.get(name, 0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_settings_that_it_reads_and_no_others(name):
    loss, settings = LOSSES[name], losses.brought(LOSSES[name])
    assert settings.keys() == {*["targets"] * loss.takes_targets, *["margin"] * loss.takes_margin}
    if loss.takes_margin:
        assert settings["margin"].default == loss.margin


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TAKES_MARGIN])
def test_a_margin_is_an_error_for_a_loss_without_one(name):
    assert LOSSES[name].margin == 0
    with pytest.raises(TypeError, match="margin"):
        LOSSES[name].discriminator(REAL, FAKE, margin=1.0)


@pytest.mark.parametrize("side", ["discriminator", "generator"])
def test_logistic_without_a_margin_is_non_saturating_to_the_last_bit(side):
    logits = jnp.linspace(-30, 30, 401)
    logistic, plain = (getattr(LOSSES[name], side) for name in ("logistic", "non_saturating"))
    np.testing.assert_array_equal(logistic(logits, logits[::-1]), plain(logits, logits[::-1]))
    np.testing.assert_array_equal(logistic(REAL, FAKE), plain(REAL, FAKE))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.floats(0.125, 64, width=32))
def test_hinge_with_a_margin_is_the_published_hinge_of_scaled_logits(margin):
    scaled = margin * losses.hinge_discriminator(REAL / margin, FAKE / margin)
    values = losses.hinge_discriminator(REAL, FAKE, margin=margin)
    np.testing.assert_allclose(values, scaled, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.floats(-8, 8, width=32))
def test_a_margin_is_a_shift_of_the_logits(margin):
    """Of real logits and of fake logits; of their difference where these are compared."""
    for name in ("hinge", "logistic"):
        function = LOSSES[name].discriminator
        moved = function(REAL - margin, FAKE + margin, margin=0.0)
        np.testing.assert_allclose(function(REAL, FAKE, margin=margin), moved, rtol=1e-5, atol=1e-5)
    values = losses.relativistic_discriminator(REAL, FAKE, margin=margin)
    np.testing.assert_allclose(values, losses.relativistic_discriminator(REAL - margin, FAKE), rtol=1e-5, atol=1e-5)


def test_logistic_is_a_smooth_hinge():
    """softplus(t) lies between max(0, t) and max(0, t) + log 2, twice in each value."""
    for margin in (0.0, 1.0, 3.0):
        smooth, sharp = (LOSSES[name].discriminator(REAL, FAKE, margin=margin) for name in ("logistic", "hinge"))
        assert (sharp < smooth).all()
        assert (smooth <= sharp + 2 * LOG2 + 1e-6).all()


def test_pearson_is_least_squares_with_other_targets():
    ones = jnp.ones(5)
    expected = losses.least_squares_discriminator(REAL, FAKE, ones, -ones)
    np.testing.assert_array_equal(LOSSES["pearson"].discriminator(REAL, FAKE), expected)
    # b - c = 1 and b - a = 2, under which it is Pearson's: at c = 0 the generator has no gradient.
    assert jax.grad(lambda fake: LOSSES["pearson"].generator(REAL, fake).sum())(jnp.zeros(5)).tolist() == [0] * 5


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.floats(-100, 100, width=32))
def test_relativistic_averages_ignore_any_common_shift(shift):
    for name, side in AVERAGES:
        function = getattr(LOSSES[name], side)
        np.testing.assert_allclose(function(REAL + shift, FAKE + shift), function(REAL, FAKE), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "side"), AVERAGES)
def test_relativistic_averages_of_one_pair_are_twice_its_comparison(name, side):
    pair = {
        "relativistic_average": lambda difference: jax.nn.softplus(-difference),
        "relativistic_average_least_squares": lambda difference: (difference - 1) ** 2,
        "relativistic_average_hinge": lambda difference: jax.nn.relu(1 - difference),
    }[name]
    real, fake = REAL[:, None], FAKE[:, None]
    values = jnp.concatenate([getattr(LOSSES[name], side)(*one) for one in zip(real, fake, strict=True)])
    difference = REAL - FAKE if side == "discriminator" else FAKE - REAL
    np.testing.assert_allclose(values, 2 * pair(difference), rtol=1e-6)
    if name == "relativistic_average":
        np.testing.assert_allclose(values, 2 * getattr(LOSSES["relativistic"], side)(REAL, FAKE), rtol=1e-6)


@pytest.mark.parametrize(("name", "side"), AVERAGES)
def test_given_means_replace_those_of_the_batch(name, side):
    function = getattr(LOSSES[name], side)
    given_means = function(REAL, FAKE, real_mean=REAL.mean(), fake_mean=FAKE.mean())
    np.testing.assert_array_equal(given_means, function(REAL, FAKE))
    for moved in ({"real_mean": REAL.mean() + 1}, {"fake_mean": FAKE.mean() + 1}):
        assert not np.allclose(function(REAL, FAKE, **moved), given_means)


@pytest.mark.parametrize(("name", "side"), AVERAGES)
def test_devices_with_common_means_compute_the_loss_of_the_whole_batch(name, side):
    """So are gradients, also through the means."""
    function, real, fake = getattr(LOSSES[name], side), REAL[:4], FAKE[:4]

    def loss(real, fake):
        means = {"real_mean": jax.lax.pmean(real.mean(), "devices"), "fake_mean": jax.lax.pmean(fake.mean(), "devices")}
        values = function(real, fake, **means)
        return values.mean(), values

    split = lambda logits: logits.reshape(2, 2)  # noqa: E731
    shares = jax.vmap(jax.grad(loss, (0, 1), has_aux=True), axis_name="devices")(split(real), split(fake))
    whole = jax.grad(lambda real, fake: function(real, fake).mean(), (0, 1))(real, fake)
    np.testing.assert_allclose(shares[1].ravel(), function(real, fake), rtol=1e-6)
    # The mean of a device is over half as many examples.
    for share, one in zip(shares[0], whole, strict=True):
        np.testing.assert_allclose(share.ravel() / 2, one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_soft_targets_mix_the_two_hard_ones(name):
    function, ones, zeros = LOSSES[name].discriminator, jnp.ones(5), jnp.zeros(5)
    share = jnp.asarray([0.0, 0.2, 0.5, 0.9, 1.0])
    mixed = share * function(REAL, FAKE, ones, zeros) + (1 - share) * function(REAL, FAKE, zeros, zeros)
    np.testing.assert_allclose(function(REAL, FAKE, share, zeros), mixed, rtol=1e-5)
    mixed = share * function(REAL, FAKE, ones, ones) + (1 - share) * function(REAL, FAKE, ones, zeros)
    np.testing.assert_allclose(function(REAL, FAKE, ones, share), mixed, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES[name].takes_targets])
def test_flipped_targets_exchange_the_roles(name):
    function, ones, zeros = LOSSES[name].discriminator, jnp.ones(5), jnp.zeros(5)
    np.testing.assert_allclose(function(REAL, FAKE, zeros, ones), function(FAKE, REAL, ones, zeros), rtol=1e-6)
    np.testing.assert_array_equal(function(REAL, FAKE), function(REAL, FAKE, ones, zeros))


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
def test_the_best_output_for_a_smoothed_target_is_that_target(target):
    """Salimans et al., 2016: the optimum for one kind of example is D = target."""
    best = jnp.log(target / (1 - target))[None]
    slope = jax.grad(lambda logits: losses.cross_entropy(logits, target).sum())
    np.testing.assert_allclose(slope(best), [0], atol=1e-6)
    assert slope(best - 0.1) < 0 < slope(best + 0.1)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_mismatched_batches_raise(name, side):
    with pytest.raises(jaxtyping.TypeCheckError):
        getattr(LOSSES[name], side)(REAL, FAKE[:3])
