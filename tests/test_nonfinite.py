"""Numbers that are not finite: their updates are skipped, and a run reports them, and the signs of collapse."""

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
from jaxgan.adversarial.conditioning import DiscriminatorOutput
from jaxgan.adversarial.losses import LOSSES
from jaxgan.algorithms import ALGORITHMS, gan
from jaxgan.config import build, default
from jaxgan.core import population
from jaxgan.errors import UserError
from jaxgan.io import logging

D_LOSS, G_LOSS = ALGORITHMS["gan"].headlines
BAD = st.sampled_from([math.nan, math.inf, -math.inf])
EVERY_RULE = pytest.mark.parametrize("rule", gan.UPDATE_RULES)
few = functools.partial(settings, deadline=None, derandomize=True)


def poisoned(batch, number: float, place: int):
    """The batch with one bad number in it, at some place of its points."""
    spot = np.unravel_index(place % batch["points"].size, batch["points"].shape)
    return batch | {"points": batch["points"].at[spot].set(number)}


def skipped(state, *players: str):
    """The state one step later if no update was applied, with an update of each of these players counted as skipped."""
    counts = state.extra["skipped_updates"]
    counts = counts | {player: counts[player] + 1 for player in players}
    return state.replace(step=state.step + 1, extra=state.extra | {"skipped_updates": counts})


BOTH = ("generator", "discriminator")
# BatchNorm's moments, Adam's, a moving average, and penalties with arrays of their own: all that an update changes. The
# updates of both networks depend on the real examples, since the loss is relativistic.
EVERYTHING = SMALL | {"loss": "relativistic", "penalties__lecam": 0.1, "penalties__orthogonal": 0.1}
EVERYTHING |= {"penalty_interval__orthogonal": 2}


@EVERY_RULE
@few(max_examples=8)
@given(step=st.integers(0, 3), place=st.integers(0, 511))
def test_a_step_on_a_batch_with_a_nan_changes_the_counters_alone(rule, step, place):
    """All other arrays keep their bits; the next step is applied and not counted."""
    tiny = experiment(update_rule=rule, **EVERYTHING)
    before, _ = tiny.run(step)
    after, metrics = tiny.train_step(before, poisoned(tiny.batch(step), math.nan, place))
    assert_same_bits(after, skipped(before, *BOTH))
    assert metrics["skipped_updates"] == 2
    assert not np.isfinite(metrics["loss/discriminator"])
    healed, metrics = tiny.train_step(after, tiny.batch(step + 1))
    assert [name for name, value in metrics.items() if not np.isfinite(value)] == []
    assert metrics["skipped_updates"] == sum(healed.extra["skipped_updates"].values()) == 2
    kernels = lambda state: {  # noqa: E731
        path: leaf for path, leaf in leaves((state.networks, state.ema)).items() if "kernel" in path
    }
    assert_all_changed(kernels(healed), kernels(after))


def test_a_step_on_finite_numbers_changes_all_arrays_but_the_counters():
    """So the law above is about all of them."""
    tiny = experiment(update_rule="alternating", **EVERYTHING)
    before, _ = tiny.run(2)
    after, _ = tiny.train_step(before, tiny.batch(2))
    old, new = leaves(before), leaves(after)
    same = [path for path, array in new.items() if np.array_equal(array, old[path])]
    assert set(same) == {".seed", *(f".extra['skipped_updates']['{player}']" for player in BOTH)}


REMEMBERING = POINTS | {"penalties__lecam": 0.1, "penalties__orthogonal": 0.1, "penalty_interval__orthogonal": 2}


@few(max_examples=8)
@given(number=BAD, place=st.integers(0, 15))
def test_only_the_update_whose_numbers_are_bad_is_skipped(number, place):
    """The update of this generator does not depend on real examples. Arrays in `extra` stay as they were."""
    tiny = experiment(**REMEMBERING)
    after, metrics = tiny.train_step(tiny.state, poisoned(tiny.batch(), number, place))
    assert_same_bits(after.networks["discriminator"], tiny.state.networks["discriminator"])
    assert_same_bits(after.opt_states["discriminator"], tiny.state.opt_states["discriminator"])
    assert_all_changed(params_of(tiny, "generator", after), params_of(tiny, "generator"))
    assert_all_changed(after.ema, tiny.state.ema)
    assert_same_bits(after.extra, skipped(tiny.state, "discriminator").extra)
    assert metrics["skipped_updates"] == 1


@EVERY_RULE
def test_an_update_with_gradients_that_are_not_finite_is_skipped(rule):
    """A weight this large leaves the loss itself finite."""
    tiny = experiment(update_rule=rule, adversarial=3e38, **POINTS)
    after, metrics = tiny.train_step(tiny.state, tiny.batch())
    assert np.isfinite(metrics["loss/generator"])
    assert not np.isfinite(metrics["grad_norm/generator"])
    assert_same_bits((after.networks["generator"], after.ema), (tiny.state.networks["generator"], tiny.state.ema))
    assert_all_changed(params_of(tiny, "discriminator", after), params_of(tiny, "discriminator"))
    assert metrics["skipped_updates"] == 1


def test_unrolled_updates_are_not_counted():
    tiny = experiment(unrolled_steps=3, loss="relativistic", **POINTS)
    after, _ = tiny.train_step(tiny.state, poisoned(tiny.batch(), math.nan, 3))
    assert_same_bits(after, skipped(tiny.state, *BOTH))


@pytest.mark.parametrize("index", [0, 1])
def test_each_update_of_a_step_is_skipped_by_itself(index):
    """Of two updates of the discriminator, each on its own batch; `extra` stays as it was before the step.

    The metrics report either.
    """
    tiny = experiment(discriminator_steps=2, **REMEMBERING)
    before, _ = tiny.run(1)
    place = index * tiny.images()[0].size
    after, metrics = tiny.train_step(before, poisoned(tiny.batch(1), math.nan, place))
    assert metrics["skipped_updates"] == 1
    assert_all_changed(params_of(tiny, "discriminator", after), params_of(tiny, "discriminator", before))
    assert_all_changed(params_of(tiny, "generator", after), params_of(tiny, "generator", before))
    assert_same_bits(after.extra, skipped(before, "discriminator").extra)
    assert not np.isfinite(metrics["loss/discriminator"])
    fine, _ = tiny.train_step(before, tiny.batch(1))
    assert_all_changed(fine.extra["penalties"]["lecam"], before.extra["penalties"]["lecam"])


def test_a_member_of_a_population_skips_its_updates_alone():
    config = tiny_config(loss="relativistic", population=2, **POINTS)
    exp = build(config)
    step = quick_jit(population.vmap_members(functools.partial(gan.alternating_step, exp)))
    before = quick_jit(lambda: population.init_state(exp))()
    whole = {name: jnp.stack([array] * 2) for name, array in experiment(**POINTS).batch().items()}
    healthy, _ = step(before, whole)
    for hit in (0, 1):
        after, metrics = step(before, whole | {"points": whole["points"].at[hit, 0, 3, 1].set(math.nan)})
        assert after.step.shape == ()
        found, old, expected = (population.members(exp, state) for state in (after, before, healthy))
        assert_same_bits(found[hit], skipped(old[hit], *BOTH))
        assert_same_bits(found[1 - hit], expected[1 - hit])
        # The counts are 2 and 0.
        assert [metrics[f"skipped_updates{end}"] for end in ("", "_stderr")] == pytest.approx([1, 1])


@functools.cache
def on_devices(rule: str):
    """One step of an experiment whose batch is on two devices, each of which is a row of `vmap`."""
    exp = build(tiny_config(update_rule=rule, **SHARED), axis_name="devices")
    step = jax.vmap(functools.partial(gan.UPDATE_RULES[rule], exp), in_axes=(None, 1), axis_name="devices")

    def run(state, batch):
        return step(state, {name: array.reshape(1, 2, -1, *array.shape[2:]) for name, array in batch.items()})

    return quick_jit(run)


SHARED = POINTS | {"loss": "relativistic", "penalties__lecam": 0.1}


@EVERY_RULE
def test_all_devices_skip_an_update_that_is_bad_on_one(rule):
    tiny = experiment(update_rule=rule, **SHARED)
    after, metrics = on_devices(rule)(tiny.state, poisoned(tiny.batch(), math.nan, 15))
    for device in (0, 1):
        assert_same_bits(jax.tree.map(lambda leaf, d=device: leaf[d], after), skipped(tiny.state, *BOTH))
    assert metrics["skipped_updates"].tolist() == [2, 2]


@EVERY_RULE
def test_the_signs_of_collapse_are_those_of_the_global_batch(rule):
    tiny = experiment(update_rule=rule, **SHARED)
    (_, both), (_, one) = on_devices(rule)(tiny.state, tiny.batch()), tiny.train_step(tiny.state, tiny.batch())
    for name in ("diversity_ratio", "d_pairwise_accuracy", "skipped_updates"):
        np.testing.assert_allclose(both[name], [one[name]] * 2, rtol=1e-5)


# The signs of collapse

EXP = build(tiny_config(**POINTS))
few_floats = functools.partial(st.floats, width=32, allow_subnormal=False)


def examples(seed: int, count: int = 8):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, 3, 3, 1)), jnp.float32)


@few(max_examples=20)
@given(seed=st.integers(0, 99), scale=few_floats(0.0625, 16), shift=few_floats(-4, 4))
def test_the_diversity_ratio_is_the_scale_of_the_fakes_in_any_order_and_place(seed, scale, shift):
    real, order = examples(seed), np.random.default_rng(seed).permutation(8)
    found = objectives.diversity_ratio(EXP, real, (scale * real + shift)[order])
    np.testing.assert_allclose(found, scale, rtol=1e-3)


def test_the_diversity_ratio_of_a_constant_generator_is_zero():
    assert objectives.diversity_ratio(EXP, examples(0), jnp.full((8, 3, 3, 1), 0.5)) == 0


@pytest.mark.parametrize("fake", [examples(0), jnp.zeros((8, 3, 3, 1))])
def test_the_diversity_ratio_of_equal_real_examples_is_one(fake):
    assert objectives.diversity_ratio(EXP, jnp.full((8, 3, 3, 1), 0.5), fake) == 1


def output_of(logits) -> DiscriminatorOutput:
    return DiscriminatorOutput(jnp.asarray(logits, jnp.float32), jnp.zeros((len(logits), 1)), None)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_pairwise_accuracy_is_the_share_of_pairs_in_the_right_order(loss):
    """Ties are half of a pair."""
    exp, state = build(tiny_config(loss=loss, **POINTS)), experiment(**POINTS).state
    cases = {(2, 2, 2, 2): 1, (0, 0, 0, 0): 0.5, (-1, -1, -1, -1): 0, (3, 1, 2, -1): 0.75, (1, 0, 0, -2): 0.5}
    for differences, share in cases.items():
        fake = np.asarray([5.0, -3.0, 0.0, 0.25])
        _, metrics = objectives.discriminator_loss(exp, state, output_of(fake + differences), output_of(fake), None)
        assert metrics["d_pairwise_accuracy"] == share


def test_no_gradient_passes_through_the_signs():
    state = experiment(**POINTS).state

    def signs(fake, logits):
        _, metrics = objectives.discriminator_loss(EXP, state, output_of(logits + 1), output_of(logits), None)
        return objectives.diversity_ratio(EXP, examples(0), fake) + metrics["d_pairwise_accuracy"]

    for slope in jax.grad(signs, argnums=(0, 1))(examples(1), jnp.arange(8.0)):
        assert not slope.any()


@EVERY_RULE
def test_the_signs_in_the_metrics_are_those_of_the_fakes_of_the_step(rule):
    """Also for a generator of one point, and a discriminator with equal logits."""
    tiny = experiment(update_rule=rule, **POINTS)
    _, metrics = tiny.train_step(tiny.state, tiny.batch())
    assert 0 < metrics["diversity_ratio"] < 100
    assert 0 <= metrics["d_pairwise_accuracy"] <= 1
    zero = tiny.state.replace(networks=jax.tree.map(jnp.zeros_like, tiny.state.networks))
    _, metrics = tiny.train_step(zero, tiny.batch())
    assert (metrics["diversity_ratio"], metrics["d_pairwise_accuracy"]) == (0, 0.5)


# The log


def log(workdir, first_step: int = 0, **changed) -> logging.MetricLogger:
    config = default({"steps": 9000, "log_every": 10, "batch_size": 8} | changed)
    return logging.MetricLogger(config, ALGORITHMS["gan"], workdir, first_step)


def metrics_of(count: int, bad=(), **changed) -> dict:
    """Those of a healthy run, but for a discriminator's loss that is NaN at some of so many steps."""
    names = (*ALGORITHMS["gan"].headlines, "logits/real", "diversity_ratio")
    found = {name: np.ones(count) for name in names} | {"d_pairwise_accuracy": np.full(count, 0.5)} | changed
    found[D_LOSS][list(bad)] = math.nan
    return {name: jnp.asarray(values, jnp.float32) for name, values in found.items()}


def strict(workdir) -> list[dict]:
    """The records, read by a parser that accepts strict JSON alone."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


@pytest.mark.parametrize("mode", ["stop", "rollback"])
def test_a_number_that_is_not_finite_is_raised_with_its_step_and_name(tmp_path, capsys, mode):
    with log(tmp_path, on_nonfinite=mode) as run:
        run.write(0, metrics_of(5))
        with raises_user_error(
            logging.NonFiniteError, match=r"^loss/discriminator is nan at step 8: training stops"
        ) as raised:
            run.write(5, metrics_of(5, bad=[2, 4]))
    assert (raised.value.step, raised.value.name) == (8, "loss/discriminator")
    assert isinstance(raised.value, UserError)
    assert strict(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_skipped_updates_are_reported_once_per_dispatch(tmp_path, capsys):
    with log(tmp_path, on_nonfinite="skip") as run:
        run.write(0, metrics_of(5, bad=[1]))
        run.write(5, metrics_of(5))
        run.write(10, metrics_of(10, bad=[0, 7, 9]))
    assert capsys.readouterr().err.splitlines() == [
        "warning: loss/discriminator is nan at step 2: its update is skipped",
        "warning: loss/discriminator is nan at step 11 (3 steps of this dispatch): its update is skipped",
    ]
    assert [(line["step"], line[D_LOSS], line[G_LOSS]) for line in strict(tmp_path)] == [
        (10, 1, 1),
        (20, None, 1),
    ]


@few(max_examples=60)
@given(bad=st.sets(st.integers(0, 29)), limit=st.integers(1, 6), size=st.sampled_from([1, 3, 10, 30]))
def test_the_limit_of_bad_steps_in_a_row_does_not_depend_on_dispatches(bad, limit, size):
    run = object.__new__(logging.MetricLogger)  # without its files
    run.config = default({"on_nonfinite": "skip", "nonfinite_limit": limit})
    run.last_bad, run.bad_in_a_row = None, 0
    row = [step for step in range(30) if step >= limit - 1 and bad >= set(range(step - limit + 1, step + 1))]
    found = None
    try:
        for first in range(0, 30, size):
            places = [step - first for step in bad if first <= step < first + size]
            run.check(first, jax.device_get(metrics_of(size, bad=places)))
    except logging.NonFiniteError as error:
        found = str(error).split(" steps in a row")[0]
    step = f"loss/discriminator is nan at step {row[0] + 1}, and config.nonfinite_limit={limit}" if row else None
    assert found == step


def test_a_number_that_is_not_finite_is_null_and_a_run_resumes_after_it(tmp_path):
    with log(tmp_path, on_nonfinite="skip") as run:
        run.write(0, metrics_of(10, bad=[9]), {"score": math.nan})
        assert run.record[D_LOSS] is run.record["score"] is None
        run.write(10, metrics_of(10))
        run.write(20, metrics_of(10))
    with log(tmp_path, first_step=20) as run:
        run.write(20, metrics_of(10, **{D_LOSS: np.full(10, 2.0)}))
    assert [(line["step"], line[D_LOSS]) for line in strict(tmp_path)] == [(10, None), (20, 1), (30, 2)]
    assert (tmp_path / "curves.png").exists()


def test_a_log_that_resumes_earlier_drops_later_records(tmp_path):
    with log(tmp_path) as run:
        for first in (0, 10, 20):
            run.write(first, metrics_of(10))
    with log(tmp_path, first_step=10) as run:
        run.write(10, metrics_of(10, **{D_LOSS: np.full(10, 2.0)}))
    assert [(line["step"], line[D_LOSS]) for line in strict(tmp_path)] == [(10, 1), (20, 2)]


def warned_at(workdir, capsys, signs, interval: int = 100, first_step: int = 0) -> list[int]:
    """The steps at which a run with such signs warns; `signs` has the values of some metrics for each log interval."""
    with log(workdir, first_step, log_every=interval) as run:
        for index, changed in enumerate(signs):
            for half in (0, 1):  # the interval in two dispatches
                values = {name: np.split(np.resize(value, interval), 2)[half] for name, value in changed.items()}
                run.write(first_step + (2 * index + half) * interval // 2, metrics_of(interval // 2, **values))
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("warning: step ") for line in lines)
    return [int(line.removeprefix("warning: step ").split(":")[0]) for line in lines]


COLLAPSED, HEALTHY = {"diversity_ratio": 0.04}, {"diversity_ratio": 0.11}


def test_a_collapse_is_reported_at_each_onset(tmp_path, capsys):
    assert warned_at(tmp_path, capsys, [HEALTHY, COLLAPSED, COLLAPSED, HEALTHY, COLLAPSED]) == [200, 500]


def test_a_collapse_is_reported_in_one_line(tmp_path, capsys):
    with log(tmp_path, log_every=200) as run:
        for first in (0, 200):
            run.write(first, metrics_of(200, diversity_ratio=np.full(200, 0.04)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: step 400: the samples hardly differ (their spread is 4% of the real examples'): the generator has "
        "collapsed; try "
    )


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ([COLLAPSED], []),  # as a generator begins
        ([COLLAPSED, HEALTHY, HEALTHY], []),
        ([HEALTHY, {"diversity_ratio": [0.0, 0.21]}], []),  # the mean of an interval counts
        ([HEALTHY, {"diversity_ratio": [0.0, 0.19]}], [200]),
    ],
)
def test_a_single_step_or_a_first_interval_is_no_collapse(tmp_path, capsys, signs, expected):
    assert warned_at(tmp_path, capsys, signs) == expected


def test_short_intervals_are_averaged(tmp_path, capsys):
    assert warned_at(tmp_path, capsys, [COLLAPSED] * 25, interval=10) == [200]


def test_a_resumed_run_is_monitored_from_its_first_interval(tmp_path, capsys):
    assert warned_at(tmp_path, capsys, [COLLAPSED, COLLAPSED], first_step=500) == [600]


WON, NEARLY = {"d_pairwise_accuracy": 1.0}, {"d_pairwise_accuracy": [1.0] * 99 + [0.999]}


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ([WON] * 12, [1000]),
        ([WON] * 9 + [NEARLY] + [WON] * 9, []),
        ([NEARLY] + [WON] * 10 + [NEARLY] + [WON] * 11, [1100, 2200]),
    ],
)
def test_a_discriminator_that_orders_all_pairs_of_a_thousand_steps_is_reported(tmp_path, capsys, signs, expected):
    assert warned_at(tmp_path, capsys, signs) == expected
