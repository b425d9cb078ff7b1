"""The losses against their papers' formulas, optax, finite differences, and each other."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from jaxgan import losses
from jaxgan.losses import LOSSES

REAL = jnp.asarray([-3.0, -0.7, 0.1, 0.6, 2.5])
FAKE = jnp.asarray([1.7, -2.2, 0.4, -0.3, 0.9])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


# The papers' formulas as they stand there, with D = sigmoid where D is a probability.
FORMULAS = {
    "minimax": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda r, f: np.log(1 - sigmoid(f)),
    ),
    "non_saturating": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda r, f: -np.log(sigmoid(f)),
    ),
    "least_squares": (lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2, lambda r, f: (f - 1) ** 2 / 2),
    "hinge": (lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), lambda r, f: -f),
    "wasserstein": (lambda r, f: f - r, lambda r, f: -f),
    "relativistic": (lambda r, f: -np.log(sigmoid(r - f)), lambda r, f: -np.log(sigmoid(f - r))),
}
LOG2 = np.log(2)
AT_ZERO = {
    "minimax": (2 * LOG2, -LOG2),
    "non_saturating": (2 * LOG2, LOG2),
    "least_squares": (0.5, 0.5),
    "hinge": (2, 0),
    "wasserstein": (0, 0),
    "relativistic": (LOG2, LOG2),
}
SIDES = [(name, side) for name in LOSSES for side in ("discriminator", "generator")]


def test_every_loss_has_a_formula_here():
    assert LOSSES.keys() == FORMULAS.keys() == AT_ZERO.keys()


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_values_are_the_papers(name, side):
    formula = FORMULAS[name][side == "generator"]
    values = jax.jit(getattr(LOSSES[name], side))(REAL, FAKE)
    expected = formula(np.asarray(REAL, np.float64), np.asarray(FAKE, np.float64))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_an_undecided_discriminator(name, side):
    values = getattr(LOSSES[name], side)(jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(values, [AT_ZERO[name][side == "generator"]] * 3, rtol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_one_value_for_each_example(name, side):
    function = getattr(LOSSES[name], side)
    assert function(REAL, FAKE).shape == REAL.shape
    # The value of an example is the same in any company.
    alone = [function(REAL[i : i + 1], FAKE[i : i + 1])[0] for i in range(len(REAL))]
    np.testing.assert_allclose(function(REAL, FAKE), alone, rtol=1e-6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_gradients_against_finite_differences(name, side):
    function = lambda real, fake: getattr(LOSSES[name], side)(real, fake).sum()  # noqa: E731
    gradients, real, fake, step = jax.grad(function, (0, 1))(REAL, FAKE), *np.float64([REAL, FAKE]), 1e-6
    formula = FORMULAS[name][side == "generator"]
    slopes = (
        (formula(real + step, fake) - formula(real - step, fake)) / (2 * step),
        (formula(real, fake + step) - formula(real, fake - step)) / (2 * step),
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


def test_the_relativistic_generator_is_the_discriminator_with_exchanged_sides():
    pair = LOSSES["relativistic"]
    np.testing.assert_array_equal(pair.generator(REAL, FAKE), pair.discriminator(FAKE, REAL))


@pytest.mark.parametrize("side", ["discriminator", "generator"])
@pytest.mark.parametrize("name", LOSSES)
def test_only_relativistic_losses_ignore_a_common_shift_of_the_logits(name, side):
    function = getattr(LOSSES[name], side)
    # Powers of two, so that the shifted differences are the same floats.
    real, fake = jnp.asarray([-0.5, 0.25, 2.0]), jnp.asarray([1.0, -0.75, 0.5])
    unmoved = np.allclose(function(real + 4, fake + 4), function(real, fake))
    assert unmoved == (name == "relativistic" or (name, side) == ("wasserstein", "discriminator"))


@pytest.mark.parametrize("name", LOSSES)
def test_only_relativistic_generators_look_at_real_logits(name):
    gradient = jax.grad(lambda real: LOSSES[name].generator(real, FAKE).sum())(REAL)
    assert bool(np.any(gradient)) == (name == "relativistic")


def test_the_non_saturating_gradient_lives_where_the_minimax_one_fades():
    sure = jnp.asarray([-8.0, -12.0, -20.0])  # fakes that the discriminator sees through
    slope = lambda function: jax.grad(lambda fake: function(fake, fake).sum())(sure)  # noqa: E731
    minimax, living = slope(losses.minimax_generator), slope(losses.non_saturating_generator)
    np.testing.assert_allclose(minimax, -sigmoid(sure), rtol=1e-5)
    np.testing.assert_allclose(living, -sigmoid(-sure), rtol=1e-5)
    assert (np.abs(minimax) < 1e-3).all()
    assert (np.abs(living) > 0.999).all()


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_soft_targets_mix_the_two_hard_ones(name):
    function, ones, zeros = LOSSES[name].discriminator, jnp.ones(5), jnp.zeros(5)
    share = jnp.asarray([0.0, 0.2, 0.5, 0.9, 1.0])
    mixed = share * function(REAL, FAKE, ones, zeros) + (1 - share) * function(REAL, FAKE, zeros, zeros)
    np.testing.assert_allclose(function(REAL, FAKE, share, zeros), mixed, rtol=1e-5)
    mixed = share * function(REAL, FAKE, ones, ones) + (1 - share) * function(REAL, FAKE, ones, zeros)
    np.testing.assert_allclose(function(REAL, FAKE, ones, share), mixed, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.takes_targets])
def test_flipped_targets_exchange_the_roles(name):
    function, ones, zeros = LOSSES[name].discriminator, jnp.ones(5), jnp.zeros(5)
    np.testing.assert_allclose(function(REAL, FAKE, zeros, ones), function(FAKE, REAL, ones, zeros), rtol=1e-6)
    np.testing.assert_array_equal(function(REAL, FAKE), function(REAL, FAKE, ones, zeros))


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
def test_a_smoothed_target_is_the_best_answer(target):
    """Salimans et al., 2016: the optimum for one kind of example is D = target."""
    best = jnp.log(target / (1 - target))[None]
    slope = jax.grad(lambda logits: losses.cross_entropy(logits, target).sum())
    np.testing.assert_allclose(slope(best), [0], atol=1e-6)
    assert slope(best - 0.1) < 0 < slope(best + 0.1)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_mismatched_batches_raise(name, side):
    with pytest.raises(jaxtyping.TypeCheckError):
        getattr(LOSSES[name], side)(REAL, FAKE[:3])
