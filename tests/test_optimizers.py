"""The optimizers against Adam's paper; the schedules' ends."""

import jax.numpy as jnp
import numpy as np
import pytest
from experiments import tiny_config

from jaxgan.optimizers import SCHEDULES, learning_rate, optimizer


def settings(**changes):
    changes = {"schedule": "constant", **changes}
    return tiny_config(
        **{f"optimizer__generator__{name}": value for name, value in changes.items()}
    ).optimizer.generator


def updates_of(transformation, gradients):
    """The update for each gradient in turn."""
    params, updates = jnp.zeros(len(gradients[0])), []
    state = transformation.init(params)
    for gradient in gradients:
        update, state = transformation.update(jnp.asarray(gradient, jnp.float32), state, params)
        updates.append(np.asarray(update))
    return np.stack(updates)


@pytest.mark.parametrize(("b1", "b2"), [(0.5, 0.999), (0.0, 0.99), (0.9, 0.9)])
def test_updates_are_those_of_the_paper(b1, b2):
    """Kingma and Ba, 2015, algorithm 1."""
    gradients = np.random.default_rng(0).normal(size=(5, 4))
    first = second = np.zeros(4)
    expected = []
    for t, gradient in enumerate(gradients, start=1):
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        expected.append(-2e-4 * (first / (1 - b1**t)) / (np.sqrt(second / (1 - b2**t)) + 1e-8))
    np.testing.assert_allclose(updates_of(optimizer(settings(b1=b1, b2=b2)), gradients), expected, rtol=1e-4)


def test_the_first_update_has_the_size_of_the_learning_rate():
    gradients = np.asarray([[3.0, -0.1, 1e-3, -50.0]])
    update = updates_of(optimizer(settings(learning_rate=1e-2)), gradients)
    np.testing.assert_allclose(update, -1e-2 * np.sign(gradients), rtol=1e-4)


ENDS = {"constant": (1.0, 1.0, 1.0), "linear": (1.0, 0.5, 0.0), "cosine": (1.0, 0.5, 0.0)}


@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_s_beginning_middle_and_end(name, share):
    schedule = learning_rate(settings(schedule=name, learning_rate=0.3, decay_steps=40, final_share=share))
    values = [float(schedule(step)) for step in (0, 20, 40, 1000)]
    ends = np.asarray([*ENDS[name], ENDS[name][-1]])
    np.testing.assert_allclose(values, 0.3 * (share + (1 - share) * ends), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "share"), [("linear", lambda t: 1 - t), ("cosine", lambda t: 0.5 + np.cos(np.pi * t) / 2)]
)
def test_a_schedule_in_between(name, share):
    schedule = learning_rate(settings(schedule=name, learning_rate=0.3, decay_steps=40))
    values = [float(schedule(step)) for step in range(41)]
    np.testing.assert_allclose(values, 0.3 * share(np.arange(41) / 40), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("updates_per_step", [1, 2, 3])
def test_a_schedule_counts_training_steps(updates_per_step):
    """Under a constant gradient each of Adam's updates has the size of the learning rate."""
    config = settings(schedule="linear", learning_rate=0.1, decay_steps=4)
    updates = updates_of(optimizer(config, updates_per_step), np.ones((5 * updates_per_step, 1)))
    rates = np.repeat([0.1, 0.075, 0.05, 0.025, 0.0], updates_per_step)
    np.testing.assert_allclose(updates[:, 0], -rates, rtol=1e-4, atol=1e-8)
