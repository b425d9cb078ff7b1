"""Numbers gone bad: an update whose numbers are not finite is not applied, and a run tells of them and of collapse."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import (
    POINTS,
    SMALL,
    assert_all_changed,
    assert_same_bits,
    experiment,
    leaves,
    params_of,
    quick_jit,
    raises_user_error,
    tiny_config,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.adversarial import objectives
from jaxgan.adversarial.conditioning import Judgement
from jaxgan.adversarial.losses import LOSSES
from jaxgan.algorithms import gan
from jaxgan.core import experiment as experiments
from jaxgan.core import population
from jaxgan.core.settings import default
from jaxgan.errors import UserError
from jaxgan.io import logging

BAD = st.sampled_from([math.nan, math.inf, -math.inf])
UPDATES = pytest.mark.parametrize("updates", gan.UPDATES)
few = functools.partial(settings, deadline=None, derandomize=True)


def poisoned(batch, number: float, place: int):
    """The batch with one bad number in it, at some place of its examples."""
    images = batch["images"]
    spot = np.unravel_index(place % images.size, images.shape)
    return batch | {"images": images.at[spot].set(number)}


def counted(state, count: float, steps_on: int = 1):
    """The state as it is some steps later if no update was applied, with so many counted."""
    return state.replace(step=state.step + steps_on, memory=state.memory | {"nonfinite": jnp.float32(count)})


# BatchNorm's moments, Adam's, a moving average, and penalties that remember: all that an update changes. Both networks
# see the real examples, since the loss is relativistic.
EVERYTHING = SMALL | {"loss": "relativistic", "penalties__lecam": 0.1, "penalties__orthogonal": 0.1}
EVERYTHING |= {"penalty_every__orthogonal": 2}


@UPDATES
@few(max_examples=8)
@given(step=st.integers(0, 3), place=st.integers(0, 511))
def test_a_step_on_a_batch_with_a_nan_changes_nothing_but_the_counters(updates, step, place):
    """To the last bit; the step that follows is applied, and counts no more."""
    tiny = experiment(updates=updates, **EVERYTHING)
    before, _ = tiny.run(step)
    after, metrics = tiny.train_step(before, poisoned(tiny.batch(step), math.nan, place))
    assert_same_bits(after, counted(before, 2))
    assert metrics["nonfinite"] == 2
    assert not np.isfinite(metrics["d_loss"])
    healed, metrics = tiny.train_step(after, tiny.batch(step + 1))
    assert [name for name, value in metrics.items() if not np.isfinite(value)] == []
    assert metrics["nonfinite"] == healed.memory["nonfinite"] == 2
    kernels = lambda state: {  # noqa: E731
        path: leaf for path, leaf in leaves((state.networks, state.ema)).items() if "kernel" in path
    }
    assert_all_changed(kernels(healed), kernels(after))


def test_what_is_not_changed_would_have_been():
    """So that the law above means something: without the bad number each of these arrays but one changes."""
    tiny = experiment(updates="alternating", **EVERYTHING)
    before, _ = tiny.run(2)
    after, _ = tiny.train_step(before, tiny.batch(2))
    old, new = leaves(before), leaves(after)
    same = [path for path, array in new.items() if np.array_equal(array, old[path])]
    assert set(same) == {".seed", ".memory['nonfinite']"}


@few(max_examples=8)
@given(number=BAD, place=st.integers(0, 15))
def test_only_the_update_whose_numbers_are_bad_is_left_out(number, place):
    """This generator does not look at real examples."""
    tiny = experiment(**POINTS)
    after, metrics = tiny.train_step(tiny.state, poisoned(tiny.batch(), number, place))
    assert_same_bits(after.networks["discriminator"], tiny.state.networks["discriminator"])
    assert_all_changed(params_of(tiny, "generator", after), params_of(tiny, "generator"))
    assert_all_changed(after.ema, tiny.state.ema)
    assert metrics["nonfinite"] == 1


@UPDATES
def test_gradients_that_are_not_finite_are_enough(updates):
    """An infinite weight leaves the loss itself finite."""
    tiny = experiment(updates=updates, adversarial=math.inf, **POINTS)
    after, metrics = tiny.train_step(tiny.state, tiny.batch())
    assert np.isfinite(metrics["g_loss"])
    assert not np.isfinite(metrics["g_grad_norm"])
    assert_same_bits((after.networks["generator"], after.ema), (tiny.state.networks["generator"], tiny.state.ema))
    assert_all_changed(params_of(tiny, "discriminator", after), params_of(tiny, "discriminator"))
    assert metrics["nonfinite"] == 1


def test_updates_that_are_only_foreseen_are_not_counted():
    tiny = experiment(unrolled_steps=3, loss="relativistic", **POINTS)
    after, _ = tiny.train_step(tiny.state, poisoned(tiny.batch(), math.nan, 3))
    assert_same_bits(after, counted(tiny.state, 2))


def test_each_update_of_a_step_is_left_out_by_itself():
    """Of two updates of the discriminator, each on a batch of its own. The metrics tell of either."""
    tiny = experiment(discriminator_steps=2, **POINTS)
    size = tiny.images()[0].size
    found = [tiny.train_step(tiny.state, poisoned(tiny.batch(), math.nan, place)) for place in (0, size)]
    for after, metrics in found:
        assert metrics["nonfinite"] == after.memory["nonfinite"] == 1
        assert_all_changed(params_of(tiny, "discriminator", after), params_of(tiny, "discriminator"))
        assert not np.isfinite(metrics["d_loss"])


def test_of_a_population_only_the_member_that_is_hit_stays_as_it_was():
    config = tiny_config(loss="relativistic", population=2, **POINTS)
    exp = experiments.build(config)
    step = quick_jit(population.vmap_members(functools.partial(gan.alternating_step, exp)))
    before = quick_jit(lambda: population.create(exp))()
    whole = {name: jnp.stack([array] * 2) for name, array in experiment(**POINTS).batch().items()}
    healthy, _ = step(before, whole)
    for hit in (0, 1):
        after, metrics = step(before, whole | {"images": whole["images"].at[hit, 0, 3, 1].set(math.nan)})
        assert after.step.shape == ()
        found, old, expected = (population.members(exp, state) for state in (after, before, healthy))
        assert_same_bits(found[hit], counted(old[hit], 2))
        assert_same_bits(found[1 - hit], expected[1 - hit])
        assert [metrics[f"nonfinite{end}"] for end in ("", "_se")] == pytest.approx([1, 1])  # of 2 and 0


@functools.cache
def on_devices(updates: str):
    """One step of an experiment whose batch lies on two devices, each of which is a row of `vmap`."""
    exp = experiments.build(tiny_config(updates=updates, **SHARED), axis_name="devices")
    step = jax.vmap(functools.partial(gan.UPDATES[updates], exp), in_axes=(None, 1), axis_name="devices")

    def run(state, batch):
        return step(state, {name: array.reshape(1, 2, -1, *array.shape[2:]) for name, array in batch.items()})

    return quick_jit(run)


SHARED = POINTS | {"loss": "relativistic", "penalties__lecam": 0.1}


@UPDATES
def test_all_devices_leave_out_an_update_that_is_bad_on_one(updates):
    tiny = experiment(updates=updates, **SHARED)
    after, metrics = on_devices(updates)(tiny.state, poisoned(tiny.batch(), math.nan, 15))
    for device in (0, 1):
        assert_same_bits(jax.tree.map(lambda leaf, d=device: leaf[d], after), counted(tiny.state, 2))
    assert metrics["nonfinite"].tolist() == [2, 2]


@UPDATES
def test_the_signs_of_collapse_are_those_of_the_global_batch(updates):
    tiny = experiment(updates=updates, **SHARED)
    (_, both), (_, one) = on_devices(updates)(tiny.state, tiny.batch()), tiny.train_step(tiny.state, tiny.batch())
    for name in ("g_spread", "d_ahead", "nonfinite"):
        np.testing.assert_allclose(both[name], [one[name]] * 2, rtol=1e-5)


# The signs of collapse

GAN = experiments.build(tiny_config(**POINTS))
few_floats = functools.partial(st.floats, width=32, allow_subnormal=False)


def examples(seed: int, count: int = 8):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, 3, 3, 1)), jnp.float32)


@few(max_examples=20)
@given(seed=st.integers(0, 99), scale=few_floats(0.0625, 16), shift=few_floats(-4, 4))
def test_the_spread_is_the_scale_of_the_fakes_in_any_order_and_place(seed, scale, shift):
    real, order = examples(seed), np.random.default_rng(seed).permutation(8)
    found = objectives.spread(GAN, real, (scale * real + shift)[order])
    np.testing.assert_allclose(found, scale, rtol=1e-3)


def test_the_spread_of_a_constant_generator_is_nothing():
    assert objectives.spread(GAN, examples(0), jnp.full((8, 3, 3, 1), 0.5)) == 0


@pytest.mark.parametrize("fake", [examples(0), jnp.zeros((8, 3, 3, 1))])
def test_where_real_examples_do_not_differ_the_spread_is_one(fake):
    assert objectives.spread(GAN, jnp.full((8, 3, 3, 1), 0.5), fake) == 1


def judged(logits) -> Judgement:
    return Judgement(jnp.asarray(logits, jnp.float32), jnp.zeros((len(logits), 1)), None)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_discriminator_is_ahead_in_a_share_of_the_pairs(loss):
    """1 where it wins outright, half where it knows nothing, nothing where it has it the wrong way."""
    exp, state = dataclasses.replace(GAN, loss=LOSSES[loss]), experiment(**POINTS).state
    cases = {(2, 2, 2, 2): 1, (0, 0, 0, 0): 0.5, (-1, -1, -1, -1): 0, (3, 1, 2, -1): 0.75, (1, 0, 0, -2): 0.5}
    for differences, share in cases.items():
        fake = np.asarray([5.0, -3.0, 0.0, 0.25])
        _, metrics = objectives.discriminator_loss(exp, state, judged(fake + differences), judged(fake), None)
        assert metrics["d_ahead"] == share


def test_no_gradient_passes_through_the_signs():
    state = experiment(**POINTS).state

    def signs(fake, logits):
        _, metrics = objectives.discriminator_loss(GAN, state, judged(logits + 1), judged(logits), None)
        return objectives.spread(GAN, examples(0), fake) + metrics["d_ahead"]

    for slope in jax.grad(signs, argnums=(0, 1))(examples(1), jnp.arange(8.0)):
        assert not slope.any()


@UPDATES
def test_the_metrics_of_a_step_are_of_its_fakes(updates):
    """Those of a generator that makes nothing but one point, and of a discriminator that judges all alike."""
    tiny = experiment(updates=updates, **POINTS)
    networks = {
        name: network.replace(variables=jax.tree.map(jnp.zeros_like, network.variables))
        for name, network in tiny.state.networks.items()
    }
    _, metrics = tiny.train_step(tiny.state, tiny.batch())
    assert 0 < metrics["g_spread"] < 100
    assert 0 <= metrics["d_ahead"] <= 1
    _, metrics = tiny.train_step(tiny.state.replace(networks=networks), tiny.batch())
    assert (metrics["g_spread"], metrics["d_ahead"]) == (0, 0.5)


# The log


def log(workdir, first_step: int = 0, **changed) -> logging.MetricLogger:
    config = default()
    config.update_from_flattened_dict({"steps": 9000, "log_every": 10, "batch_size": 8} | changed)
    return logging.MetricLogger(config, workdir, first_step)


def metrics_of(count: int, bad=(), **changed) -> dict:
    """Those of a healthy run, but for a `d_loss` that is no number at some of so many steps."""
    names = [name for _, names in logging.PANELS for name in names]
    found = {name: np.ones(count) for name in (*names, "g_spread")} | {"d_ahead": np.full(count, 0.5)} | changed
    found["d_loss"][list(bad)] = math.nan
    return {name: jnp.asarray(values, jnp.float32) for name, values in found.items()}


def strict(workdir) -> list[dict]:
    """The records, read by a parser that knows JSON and nothing else."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


@pytest.mark.parametrize("mode", ["stop", "rollback"])
def test_a_bad_number_is_raised_with_its_step_and_name(tmp_path, capsys, mode):
    with log(tmp_path, on_nonfinite=mode) as run:
        run.write(0, metrics_of(5))
        with raises_user_error(logging.NonFiniteError, match=r"^d_loss is nan at step 8: training stops") as raised:
            run.write(5, metrics_of(5, bad=[2, 4]))
    assert (raised.value.step, raised.value.name) == (8, "d_loss")
    assert isinstance(raised.value, UserError)
    assert strict(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_skipped_updates_are_told_once_per_dispatch(tmp_path, capsys):
    with log(tmp_path, on_nonfinite="skip") as run:
        run.write(0, metrics_of(5, bad=[1]))
        run.write(5, metrics_of(5))
        run.write(10, metrics_of(10, bad=[0, 7, 9]))
    assert capsys.readouterr().err.splitlines() == [
        "warning: d_loss is nan at step 2: its update is skipped",
        "warning: d_loss is nan at step 11 (3 steps of this dispatch): its update is skipped",
    ]
    assert [(line["step"], line["d_loss"], line["g_loss"]) for line in strict(tmp_path)] == [(10, 1, 1), (20, None, 1)]


@few(max_examples=60)
@given(bad=st.sets(st.integers(0, 29)), limit=st.integers(1, 6), size=st.sampled_from([1, 3, 10, 30]))
def test_so_many_bad_steps_in_a_row_are_too_many_however_they_are_dispatched(bad, limit, size):
    run = object.__new__(logging.MetricLogger)  # without its files
    run.config = default()
    run.config.update({"on_nonfinite": "skip", "nonfinite_limit": limit})
    run.last_bad, run.bad_in_a_row = None, 0
    row = [step for step in range(30) if step >= limit - 1 and bad >= set(range(step - limit + 1, step + 1))]
    seen = None
    try:
        for first in range(0, 30, size):
            places = [step - first for step in bad if first <= step < first + size]
            run.check(first, jax.device_get(metrics_of(size, bad=places)))
    except logging.NonFiniteError as error:
        seen = str(error).split(" steps in a row")[0]
    step = f"d_loss is nan at step {row[0] + 1}, and config.nonfinite_limit={limit}" if row else None
    assert seen == step


def test_a_gap_in_the_numbers_is_null_and_the_run_goes_on_from_it(tmp_path):
    with log(tmp_path, on_nonfinite="skip") as run:
        run.write(0, metrics_of(10, bad=[9]), {"score": math.nan})
        assert run.record["d_loss"] is run.record["score"] is None
        run.write(10, metrics_of(10))
        run.write(20, metrics_of(10))
    with log(tmp_path, first_step=20) as run:
        run.write(20, metrics_of(10, d_loss=np.full(10, 2.0)))
    assert [(line["step"], line["d_loss"]) for line in strict(tmp_path)] == [(10, None), (20, 1), (30, 2)]
    assert (tmp_path / "curves.png").exists()


def test_a_log_that_goes_back_drops_what_lies_beyond(tmp_path):
    with log(tmp_path) as run:
        for first in (0, 10, 20):
            run.write(first, metrics_of(10))
    with log(tmp_path, first_step=10) as run:
        run.write(10, metrics_of(10, d_loss=np.full(10, 2.0)))
    assert [(line["step"], line["d_loss"]) for line in strict(tmp_path)] == [(10, 1), (20, 2)]


def told(workdir, capsys, signs, interval: int = 100, first_step: int = 0) -> list[int]:
    """The steps at which a run warns that shows such signs, one list of each metric's values for each log interval."""
    with log(workdir, first_step, log_every=interval) as run:
        for index, changed in enumerate(signs):
            for half in (0, 1):  # the interval in two dispatches
                values = {name: np.split(np.resize(value, interval), 2)[half] for name, value in changed.items()}
                run.write(first_step + (2 * index + half) * interval // 2, metrics_of(interval // 2, **values))
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("warning: step ") for line in lines)
    return [int(line.removeprefix("warning: step ").split(":")[0]) for line in lines]


FLAT, WIDE = {"g_spread": 0.04}, {"g_spread": 0.11}


def test_a_collapse_is_told_at_each_onset(tmp_path, capsys):
    assert told(tmp_path, capsys, [WIDE, FLAT, FLAT, WIDE, FLAT]) == [200, 500]


def test_a_collapse_is_told_in_one_line(tmp_path, capsys):
    with log(tmp_path, log_every=200) as run:
        for first in (0, 200):
            run.write(first, metrics_of(200, g_spread=np.full(200, 0.04)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: step 400: the samples hardly differ (their spread is 4% of the real examples'): the generator has "
        "collapsed; try "
    )


@pytest.mark.parametrize(
    ("signs", "steps_told"),
    [
        ([FLAT], []),  # a generator begins so
        ([FLAT, WIDE, WIDE], []),
        ([WIDE, {"g_spread": [0.0, 0.21]}], []),  # the mean of an interval counts, and not its last step
        ([WIDE, {"g_spread": [0.0, 0.19]}], [200]),
    ],
)
def test_one_step_or_a_beginning_is_no_collapse(tmp_path, capsys, signs, steps_told):
    assert told(tmp_path, capsys, signs) == steps_told


def test_short_intervals_are_judged_together(tmp_path, capsys):
    assert told(tmp_path, capsys, [FLAT] * 25, interval=10) == [200]


def test_a_run_that_goes_on_is_judged_at_once(tmp_path, capsys):
    assert told(tmp_path, capsys, [FLAT, FLAT], first_step=500) == [600]


WON, BARELY = {"d_ahead": 1.0}, {"d_ahead": [1.0] * 99 + [0.999]}


@pytest.mark.parametrize(
    ("signs", "steps_told"),
    [
        ([WON] * 12, [1000]),
        ([WON] * 9 + [BARELY] + [WON] * 9, []),
        ([BARELY] + [WON] * 10 + [BARELY] + [WON] * 11, [1100, 2200]),
    ],
)
def test_a_discriminator_has_won_that_erred_in_no_pair_of_a_thousand_steps(tmp_path, capsys, signs, steps_told):
    assert told(tmp_path, capsys, signs) == steps_told
