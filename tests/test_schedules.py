"""Settings that move while training: `config.schedules`, and what a step reads of them by `hparam`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import (
    POINTS,
    Experiment,
    assert_close,
    assert_same_bits,
    experiment,
    quick_jit,
    raises_user_error,
    tiny_config,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.config import build
from jaxgan.core import population
from jaxgan.core.experiment import hparam, learning_rate
from jaxgan.core.gradients import apply_update
from jaxgan.core.schedules import KINDS, Ramp, parse
from jaxgan.core.settings import Setting
from jaxgan.errors import UserError

PROGRESS = {
    "linear": lambda done: done,
    "cosine": lambda done: (1 - np.cos(np.pi * done)) / 2,
    "step": lambda done: float(done == 1),
}
EXP = build(tiny_config(**POINTS))
SCHEDULABLE = sorted(name for name, entry in EXP.declared.items() if isinstance(entry, Setting) and entry.sweepable)
values = functools.partial(st.floats, width=32, allow_subnormal=False)
law = settings(max_examples=50, deadline=None, derandomize=True)


def test_every_kind_has_a_formula_here():
    assert KINDS.keys() == PROGRESS.keys()


@pytest.mark.parametrize("kind", KINDS)
@law
@given(start=values(-4, 4), final=values(-4, 4), steps=st.integers(1, 10_000), step=st.integers(0, 20_000))
def test_a_value_is_its_own_at_step_0_and_the_final_one_from_the_end_on(kind, start, final, steps, step):
    ramp = Ramp(kind, final, steps)
    assert ramp(start, jnp.int32(0)) == np.float32(start)
    expected = start + (final - start) * PROGRESS[kind](min(step / steps, 1))
    for at, value in ((steps, final), (steps + step, final), (step, expected)):
        np.testing.assert_allclose(ramp(start, jnp.int32(at)), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_moves_one_way(kind):
    rising = jax.vmap(functools.partial(Ramp(kind, 1.0, 100), 0.0))(jnp.arange(120))
    assert (np.diff(rising) >= 0).all()
    np.testing.assert_allclose(rising[100:], 1)


@law
@given(
    st.dictionaries(
        st.sampled_from(SCHEDULABLE),
        st.builds(Ramp, st.sampled_from(sorted(KINDS)), values(0.0625, 0.9375), st.integers(1, 2**31 - 1)),
        max_size=4,
    ),
    st.sampled_from(["", " "]),
)
def test_a_text_says_all_of_a_schedule(ramps, space):
    parts = [
        f"{name}{space}={space}{kind}({space}{final},{space}{steps})" for name, (kind, final, steps) in ramps.items()
    ]
    assert parse(f"{space};{space}".join(parts), EXP.declared) == ramps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("penalties.r1", "must be like 'penalties.r1=linear"),
        ("penalties.r1=0.1", "must be like"),
        ("penalties.r1=linear", "must be like"),
        ("penalties.r1=linear(0.1)", "must be like"),
        ("penalties.r1=linear(0.1, 5, 6)", "must be like"),
        ("penalties.r1=linear(much, 5)", "must be like"),
        ("penalties.r1=linear(0.1, 5.5)", "must be like"),
        ("penalties.r1=linear(0.1, 5), ema_decay=linear(0.9, 5)", "must be like"),
        ("penalties.r1=linaer(0.1, 5)", "unknown schedule in config.schedules 'linaer': did you mean linear"),
        ("penalties.r3=linear(0.1, 5)", "unknown setting in config.schedules 'penalties.r3': did you mean"),
        ("batch_size=linear(64, 5)", "unknown setting in config.schedules 'batch_size'"),  # which cannot move
        ("margin=linear(1, 5)", "config.margin has no effect here: loss="),
        ("penalties.r1=linear(-1, 5)", "penalties.r1=-1.0 must be at least 0"),
        ("penalties.r1=linear(nan, 5)", "penalties.r1=nan must be at least 0"),
        ("penalties.r1=linear(inf, 5)", "penalties.r1=inf must be at least 0"),
        ("optimizer.generator.b2=cosine(1, 5)", "optimizer.generator.b2=1.0 must be at least 0 and below 1"),
        ("penalties.r1=linear(0.1, 0)", "penalties.r1 must end after 1 to 2147483647 steps"),
        ("penalties.r1=linear(0.1, -5)", "penalties.r1 must end after 1 to"),
        (f"penalties.r1=linear(0.1, {10**40})", "penalties.r1 must end after 1 to"),
        ("penalties.r1=linear(0.1, 5); penalties.r1=linear(0.2, 5)", "must have penalties.r1 once"),
        ("penalties.r1=\nlinear(0.1)", "must be like"),
    ],
)
def test_a_wrong_text_is_a_user_error_of_one_line(text, message):
    with raises_user_error(UserError) as raised:
        build(tiny_config(**POINTS, schedules=text))
    assert message in str(raised.value)


def test_a_half_life_has_no_decay_to_schedule():
    with raises_user_error(UserError, match="config.ema_half_life takes the place of ema_decay"):
        build(tiny_config(**POINTS, ema_half_life=100.0, schedules="ema_decay = linear(0.9, 5)"))


# What a step reads


@pytest.mark.parametrize(("step", "r1", "b2"), [(0, 2.0, 0.5), (1, 1.5, 0.6), (4, 0.0, 0.9), (5, 0.0, 0.9)])
def test_hparam_is_the_value_at_this_step(step, r1, b2):
    """And the learning rate at this step is the peak at this step times its own schedule."""
    text = "penalties.r1=linear(0, 4); optimizer.generator.b2=linear(0.9, 4)"
    text += "; optimizer.generator.learning_rate=linear(3, 2)"
    own = {"optimizer__generator__b2": 0.5, "optimizer__generator__learning_rate": 1.0}
    exp = build(tiny_config(**POINTS, **own, penalties__r1=2.0, schedules=text))
    state = experiment(**POINTS).state.replace(step=jnp.int32(step))
    np.testing.assert_allclose(hparam(exp, state, "penalties.r1"), r1, rtol=1e-6)
    np.testing.assert_allclose(hparam(exp, state, "optimizer.generator.b2"), b2, rtol=1e-6)
    assert hparam(exp, state, "optimizer.discriminator.b2") == exp.config.optimizer.discriminator.b2
    # The schedule of the tiny experiment's generator is linear, to 0 after 100 steps.
    peak = min(1 + step, 3.0)
    np.testing.assert_allclose(learning_rate(exp, state, "generator"), peak * (1 - step / 100), rtol=1e-6)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 9])
def test_swept_values_of_all_members_move_to_the_same_final_value(step):
    text = {"sweep": "penalties.r1=0,1,5", "schedules": "penalties.r1=linear(2, 3)", "population": 3}
    exp = build(tiny_config(**POINTS, **text))
    state = quick_jit(lambda: population.init_state(exp))().replace(step=jnp.int32(step))
    done = min(step / 3, 1)
    found = [hparam(exp, member, "penalties.r1") for member in population.members(exp, state)]
    np.testing.assert_allclose(found, (1 - done) * np.array([0, 1, 5]) + done * 2, rtol=1e-6)


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_a_weight_that_is_above_zero_at_some_step_is_enabled(own):
    exp = build(tiny_config(**POINTS, penalties__r1=own, schedules=f"penalties.r1=linear({1 - own}, 4)"))
    assert exp.is_enabled("penalties.r1")
    assert not exp.is_enabled("penalties.r2")


# Training


MOVING = {  # name: (own value, final value)
    "optimizer.generator.learning_rate": (1e-3, 1e-2),
    "optimizer.discriminator.b2": (0.9, 0.99),
    "ema_decay": (0.5, 0.9),
    "adversarial": (1.0, 2.0),
    "feature_matching": (0.5, 0.0),
    "margin": (1.0, 0.5),
    "weight_clip": (0.5, 0.1),
    "instance_noise.stddev": (0.2, 0.1),
    "penalties.r1": (1.0, 3.0),
    "penalties.r2": (0.5, 0.0),
    "penalties.lecam": (0.1, 0.3),
    "generator_penalties.orthogonal": (0.1, 0.0),
}
OWN = POINTS | {"loss": "hinge"} | {name.replace(".", "__"): start for name, (start, _) in MOVING.items()}


@pytest.mark.parametrize("step", [0, 1, 2, 4, 7])
def test_a_step_with_schedules_is_the_step_with_the_values_of_that_step(step):
    """The same step with the values as a member's own ones, which do not move."""
    text = "; ".join(f"{name}=linear({final}, 4)" for name, (_, final) in MOVING.items())
    scheduled, plain = experiment(**OWN, schedules=text), experiment(**OWN)
    done = min(step / 4, 1)
    now = {name: np.float32((1 - done) * start + done * final) for name, (start, final) in MOVING.items()}
    state, batch = plain.state.replace(step=jnp.int32(step)), plain.batch()
    after, metrics = scheduled.train_step(state, batch)
    expected, wanted = plain.train_step(state.replace(hparams=now), batch)
    assert_close(after, expected.replace(hparams={}), rtol=2e-4, atol=2e-6)
    assert_close(metrics, wanted, rtol=2e-4, atol=2e-6)


def test_a_scheduled_b2_is_that_of_adam_at_each_step():
    """Kingma and Ba 2015, algorithm 1, by hand, with another b2 in each step."""
    text = "optimizer.discriminator.b2=cosine(0.99, 4)"
    own = {"name": "adam", "learning_rate": 0.1, "b1": 0.5, "b2": 0.5}
    changes = {f"optimizer__discriminator__{name}": value for name, value in own.items()}
    exp, state = build(tiny_config(**POINTS, **changes, schedules=text)), experiment(**POINTS).state
    params = jax.tree.map(np.float64, state.networks["discriminator"].params)
    first = second = jax.tree.map(np.zeros_like, params)
    rng, update = (
        np.random.default_rng(0),
        quick_jit(lambda state, grads: apply_update(exp, state, "discriminator", grads)),
    )
    for step in range(6):
        grads = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
        given = {"discriminator": jax.tree.map(jnp.float32, grads)}
        networks, opt_states = update(state, given)
        state = state.replace(
            step=state.step + 1,
            networks=state.networks | networks,
            opt_states=state.opt_states | {"discriminator": opt_states},
        )
        b2 = 0.5 + 0.49 * (1 - np.cos(np.pi * min(step / 4, 1))) / 2
        first = jax.tree.map(lambda old, g: 0.5 * old + 0.5 * g, first, grads)
        second = jax.tree.map(lambda old, g, b2=b2: b2 * old + (1 - b2) * g**2, second, grads)
        scales = 1 - 0.5 ** (step + 1), 1 - b2 ** (step + 1)
        params = jax.tree.map(
            lambda p, m, v, scales=scales: p - 0.1 * (m / scales[0]) / (np.sqrt(v / scales[1]) + 1e-8),
            params,
            first,
            second,
        )
        assert_close(state.networks["discriminator"].params, params, rtol=1e-4, atol=1e-5)


def test_a_schedule_that_stays_changes_nothing():
    """To the last bit: a value that moves to itself is the value."""
    own = POINTS | {"penalties__r1": 1.0}
    plain, still = experiment(**own), Experiment(tiny_config(**own, schedules="penalties.r1=cosine(1, 4)"))
    (one, metrics), (other, same_metrics) = (tiny.run(3) for tiny in (plain, still))
    assert_same_bits(one, other)
    assert_same_bits(metrics, same_metrics)
