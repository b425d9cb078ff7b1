"""The optimizers against NumPy versions of their papers' algorithms; decay, clipping and schedules against theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, assert_close, experiment
from ml_collections import ConfigDict

from jaxgan.core import gradients, optimizers
from jaxgan.core.experiment import learning_rate
from jaxgan.core.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    clip_by_global_norm,
    schedule,
    transformation,
)
from jaxgan.core.settings import default, resolve

RATE = 0.03


def settings(**changes) -> ConfigDict:
    """The optimizer of one player; values that its choices have no setting for are left out."""
    choices = {name: value for name, value in changes.items() if isinstance(value, str)}
    known = resolve(optimizers.SETTINGS, choices)
    return default(optimizers.SETTINGS, {name: value for name, value in changes.items() if name in known})


def updates_of(optimizer, gradients):
    """The update for each gradient in turn, as the last axes; the parameters stay where they are."""
    params, updates = jnp.zeros_like(gradients[0]), []
    state = optimizer.init(params)
    for gradient in gradients:
        update, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        updates.append(np.asarray(update))
    return np.stack(updates)


# The papers' algorithms for a learning rate of one: a gradient and the parameters -> what is added to the parameters.


class Adam:
    """Kingma and Ba 2015, algorithm 1; with a `decay`, AdamW of Loshchilov and Hutter 2019, algorithm 2."""

    def __init__(self, b1, b2, decay=0.0):
        self.b1, self.b2, self.decay = b1, b2, decay
        self.first = self.second = self.t = 0

    def direction(self, gradient):
        self.t += 1
        self.first = self.b1 * self.first + (1 - self.b1) * gradient
        self.second = self.b2 * self.second + (1 - self.b2) * gradient**2
        unbiased = self.first / (1 - self.b1**self.t), self.second / (1 - self.b2**self.t)
        return unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)

    def __call__(self, gradient, params):
        return -self.direction(gradient) - self.decay * params


class OptimisticAdam(Adam):
    """Daskalakis et al. 2018, algorithm 1, but for the first update, which has no prediction to correct."""

    previous = None

    def __call__(self, gradient, params):
        now = self.direction(gradient)
        before, self.previous = now if self.previous is None else self.previous, now
        return -2 * now + before


class RMSProp:
    """Hinton 2012, lecture 6e; momentum as in Graves 2013, equation 41."""

    def __init__(self, b1, b2):
        self.b1, self.b2 = b1, b2
        self.second = self.velocity = 0

    def __call__(self, gradient, params):
        self.second = self.b2 * self.second + (1 - self.b2) * gradient**2
        self.velocity = self.b1 * self.velocity - gradient / np.sqrt(self.second)
        return self.velocity


class SGD:
    """Gradient descent with the heavy ball of Polyak 1964."""

    def __init__(self, b1, b2):
        self.b1, self.velocity = b1, 0

    def __call__(self, gradient, params):
        self.velocity = self.b1 * self.velocity - gradient
        return self.velocity


class Lion:
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, b1, b2, decay=0.0):
        self.b1, self.b2, self.decay = b1, b2, decay
        self.momentum = 0

    def __call__(self, gradient, params):
        update = np.sign(self.b1 * self.momentum + (1 - self.b1) * gradient)
        self.momentum = self.b2 * self.momentum + (1 - self.b2) * gradient
        return -update - self.decay * params


PAPERS = {"adam": Adam, "adamw": Adam, "optimistic_adam": OptimisticAdam, "rmsprop": RMSProp, "sgd": SGD, "lion": Lion}


@pytest.mark.parametrize(("b1", "b2", "decay"), [(0.5, 0.999, 0.0), (0.0, 0.99, 0.1), (0.9, 0.9, 0.1)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_the_paper(name, b1, b2, decay):
    """Five updates of a matrix that moves; weight decay where the paper has it, else as an L2 term of the loss."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(5, 2, 3))
    paper = PAPERS[name](b1, b2, decay) if OPTIMIZERS[name].decouples else PAPERS[name](b1, b2)
    optimizer = transformation(settings(name=name, b1=b1, b2=b2, weight_decay=decay))
    params, expected = jnp.asarray(start, jnp.float32), start
    state = optimizer.init(params)
    for gradient in gradients:
        update, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = params + RATE * update
        term = 0.0 if OPTIMIZERS[name].decouples else decay * expected
        expected = expected + RATE * paper(gradient + term, expected)
        np.testing.assert_allclose(params, expected, rtol=1e-4, atol=1e-6)


def test_the_first_update_of_adam_has_the_size_of_the_learning_rate():
    gradients = np.asarray([[3.0, -0.1, 1e-3, -50.0]])
    np.testing.assert_allclose(updates_of(transformation(settings()), gradients), -np.sign(gradients), rtol=1e-4)


# The learning rate


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_members_with_their_own_learning_rates_train_at_once(name):
    """Each as the algorithm of the paper trains it alone, with clipping, decay, and a schedule outside the momentum."""
    config = settings(name=name, weight_decay=0.1, clip=2.0, schedule="linear", decay_steps=8)
    starts = np.random.default_rng(0).normal(size=(3, 2, 3))
    rates = np.asarray([0.001, 0.01, 0.1])

    def train(start, rate):
        optimizer = transformation(config)

        def step(carry, count):
            params, state = carry
            slope = jax.grad(lambda params: jnp.sum(params**2 + jnp.sin(3 * params)))(params)
            updates, state = optimizer.update(clip_by_global_norm(slope, config.clip), state, params)
            return (params + rate * schedule(config)(count) * updates, state), None

        return jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(5))[0][0]

    def alone(params, rate):
        paper = PAPERS[name](0.5, 0.999, 0.1) if OPTIMIZERS[name].decouples else PAPERS[name](0.5, 0.999)
        for count in range(5):
            slope = 2 * params + 3 * np.cos(3 * params)
            slope *= min(1, config.clip / np.linalg.norm(slope))
            term = 0.0 if OPTIMIZERS[name].decouples else 0.1 * params
            params = params + rate * (1 - count / 8) * paper(slope + term, params)
        return params

    members = jax.jit(jax.vmap(train))(jnp.asarray(starts, jnp.float32), jnp.asarray(rates, jnp.float32))
    for member, start, rate in zip(members, starts, rates, strict=True):
        np.testing.assert_allclose(member, alone(start, rate), rtol=1e-4, atol=1e-6)


# Schedules

ENDS = {"constant": (1.0, 1.0, 1.0), "linear": (1.0, 0.5, 0.0), "cosine": (1.0, 0.5, 0.0)}
BETWEEN = {"constant": np.ones_like, "linear": lambda t: 1 - t, "cosine": lambda t: 0.5 + np.cos(np.pi * t) / 2}


@pytest.mark.parametrize("final", [0.0, 0.25])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_beginning_middle_and_end_of_a_schedule(name, final):
    share = schedule(settings(schedule=name, decay_steps=40, final_fraction=final))
    values = [float(share(step)) for step in (0, 20, 40, 1000)]
    ends = np.asarray([*ENDS[name], ENDS[name][-1]])
    np.testing.assert_allclose(values, final + (1 - final) * ends, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("warmup", [0, 1, 10, 60])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_in_between_times_the_warm_up(name, warmup):
    """The warm-up moves no step of the schedule, even one that ends before it."""
    steps = np.arange(81)
    share = jax.jit(jax.vmap(schedule(settings(schedule=name, decay_steps=40, warmup_steps=warmup))))
    expected = BETWEEN[name](np.minimum(steps / 40, 1.0))
    if warmup:
        expected = expected * np.minimum(1.0, (steps + 1) / warmup)
    values = np.broadcast_to(share(steps), steps.shape)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    assert values.min() >= -1e-7  # float32's rounding of 1 - 1
    assert values.max() <= 1.0


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_constant_steps_put_off_a_schedule(name):
    options = {"schedule": name, "decay_steps": 40, "final_fraction": 0.1}
    late, steps = schedule(settings(**options, constant_steps=30)), range(0, 90, 10)
    expected = [float(schedule(settings(**options))(max(step - 30, 0))) for step in steps]
    np.testing.assert_allclose([float(late(step)) for step in steps], expected, rtol=1e-6, atol=1e-7)


def test_a_warm_up_rises_to_one_in_its_last_step():
    share = schedule(settings(warmup_steps=4))
    np.testing.assert_allclose([float(share(step)) for step in range(6)], [0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


SGD_OF = {"optimizer__discriminator__name": "sgd", "optimizer__discriminator__b1": 0.0}


def updated(tiny, grads, state=None):
    """What `apply_update` adds to the parameters of the discriminator."""
    state = state or tiny.state
    networks, _ = gradients.apply_update(tiny.exp, state, "discriminator", {"discriminator": grads})
    old = state.networks["discriminator"].params
    return jax.tree.map(lambda new, old: new - old, networks["discriminator"].params, old)


@pytest.mark.parametrize("step", [0, 1, 3, 4, 9])
def test_a_schedule_counts_training_steps(step):
    """However many updates a step has."""
    schedule = {"schedule": "linear", "decay_steps": 4, "warmup_steps": 2, "learning_rate": RATE}
    own = {f"optimizer__discriminator__{name}": value for name, value in schedule.items()}
    tiny = experiment(**POINTS, **SGD_OF, **own, discriminator_steps=2)
    state = tiny.state.replace(step=jnp.int32(step))
    rate = RATE * min(1, (step + 1) / 2) * max(0, 1 - step / 4)
    np.testing.assert_allclose(learning_rate(tiny.exp, state, "discriminator"), rate, rtol=1e-6, atol=1e-9)
    ones = jax.tree.map(jnp.ones_like, state.networks["discriminator"].params)
    assert_close(updated(tiny, ones, state), jax.tree.map(lambda leaf: jnp.full_like(leaf, -rate), ones))
    _, metrics = tiny.train_step(state, tiny.batch())
    np.testing.assert_allclose(metrics["learning_rate/discriminator"], rate, rtol=1e-6, atol=1e-9)


# Weight decay and clipping


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_matrices_and_kernels_decay(name):
    """Biases and gains move as they do without decay."""
    rng = np.random.default_rng(0)
    shapes = {"gain": (), "bias": (3,), "matrix": (2, 3), "kernel": (2, 2, 3, 1)}
    params, gradients = (
        {leaf: jnp.asarray(rng.uniform(0.5, 1.0, shape), jnp.float32) for leaf, shape in shapes.items()}
        for _ in range(2)
    )
    found = []
    for decay in (0.0, 0.5):
        optimizer = transformation(settings(name=name, weight_decay=decay))
        state = optimizer.init(params)
        for sign in (1, -1):  # no L2 term changes the size of Adam's first update
            updates, state = optimizer.update(jax.tree.map(lambda g, s=sign: s * g, gradients), state, params)
        found.append(updates)
    changed = {leaf: not np.allclose(found[0][leaf], found[1][leaf], atol=1e-3) for leaf in shapes}
    assert changed == {"gain": False, "bias": False, "matrix": True, "kernel": True}


@pytest.mark.parametrize(("size", "scale"), [(0.0, 1.0), (1.0, 1.0), (2.5, 1.0), (5.0, 0.5), (1e6, 2.5e-6)])
def test_a_global_norm_above_the_limit_is_scaled_to_it(size, scale):
    """The norm is that of all leaves together. Gradients within the limit keep all their bits."""
    grads = {"one": jnp.asarray([0.6 * size, 0.0], jnp.float32), "other": jnp.asarray([[-0.8 * size]], jnp.float32)}
    clipped = clip_by_global_norm(grads, 2.5)
    for leaf, gradient in grads.items():
        if scale == 1.0:
            np.testing.assert_array_equal(clipped[leaf], gradient)
        else:
            np.testing.assert_allclose(clipped[leaf], scale * gradient, rtol=1e-6)


def test_gradients_of_a_player_are_clipped_before_the_l2_term_is_added():
    own = {"optimizer__discriminator__clip": 3.0, "optimizer__discriminator__weight_decay": 0.1}
    tiny = experiment(**POINTS, **SGD_OF, **own, optimizer__discriminator__learning_rate=RATE)
    params = tiny.state.networks["discriminator"].params
    grads = jax.tree.map(lambda leaf: jnp.full_like(leaf, 30.0), params)
    norm = 30 * np.sqrt(sum(leaf.size for leaf in jax.tree.leaves(params)))
    expected = jax.tree.map(lambda g, p: -RATE * (3 / norm * g + (0.1 * p if p.ndim > 1 else 0)), grads, params)
    assert_close(updated(tiny, grads), expected)


# Derivatives of updates


def slopes(name, differentiable, clip=0.0):
    """The derivative, by a gradient that is 0, of the sum of two updates."""
    optimizer = transformation(settings(name=name), differentiable=differentiable)

    def moved(gradient):
        state, total = optimizer.init(gradient), 0.0
        for _ in range(2):
            clipped = clip_by_global_norm(gradient, clip) if clip else gradient
            updates, state = optimizer.update(clipped, state, jnp.ones_like(gradient))
            total += jnp.sum(updates)
        return total

    return np.asarray(jax.grad(moved)(jnp.zeros((2, 2))))


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_differentiable_update_has_a_finite_slope_at_a_gradient_of_zero(name, clip):
    assert np.isfinite(slopes(name, differentiable=True, clip=clip)).all()


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "optimistic_adam"])
def test_an_update_that_is_not_differentiable_has_none(name):
    assert np.isnan(slopes(name, differentiable=False)).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_differentiable_update_is_the_same_update(name):
    gradients = np.random.default_rng(0).normal(size=(5, 2, 3))
    config = settings(name=name)
    one, other = (updates_of(transformation(config, differentiable=kind), gradients) for kind in (False, True))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


# Optimism


@pytest.mark.parametrize("b2", [0.9, 0.99, 0.999, 0.9999])
def test_optimistic_adam_finds_the_equilibrium_of_the_bilinear_game(b2):
    """min over x, max over y of x y, without momentum, from all directions around 0 (Daskalakis et al. 2018).

    Gradient descent diverges: each of its steps is a rotation and a stretch by sqrt(1 + rate^2). Adam circles at a
    distance; optimistic Adam comes near.
    """
    angles = np.linspace(0.05, 2 * np.pi, 12, endpoint=False)
    starts = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1), jnp.float32)

    def distance(start, name):
        optimizer = transformation(settings(name=name, b1=0.0, b2=b2))

        def step(carry, _):
            point, state = carry
            updates, state = optimizer.update(jnp.stack([point[1], -point[0]]), state, point)
            return (point + RATE * updates, state), None

        return jnp.linalg.norm(jax.lax.scan(step, (start, optimizer.init(start)), length=2000)[0][0])

    sgd, adam, optimistic = (
        jax.vmap(lambda start, name=name: distance(start, name))(starts) for name in ("sgd", "adam", "optimistic_adam")
    )
    np.testing.assert_allclose(sgd, (1 + RATE**2) ** 1000, rtol=1e-3)
    assert optimistic.max() < 0.1
    assert optimistic.max() < adam.min() / 2
