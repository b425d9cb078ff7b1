"""Populations: each member is the run that it would be alone, in arrays and in what the programs leave and draw."""

import functools
import re
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, assert_close, assert_same_bits, leaves, quick_jit, raises_user_error, tiny_config
from PIL import Image
from programs import grids, options, records, saved, saved_steps, train_tiny

import sample
import train
from jaxgan.algorithms import gan
from jaxgan.core import devices, experiment, population
from jaxgan.core import settings as configuration
from jaxgan.data import loader
from jaxgan.data.cache import ArrayDataset
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError

STEPS = 3
CLASSES = ("a", "b", "c")


def made_up(config) -> ArrayDataset:
    """Examples of three classes for an experiment; the first batches of two members reach into another epoch."""
    rng, shape = np.random.default_rng(0), example_shape(config.data)
    if len(shape) == 1:
        points = rng.normal(size=(20, *shape)).astype(np.float32)
        return ArrayDataset(points, np.arange(20, dtype=np.int32) % 3, CLASSES)
    return ArrayDataset(rng.integers(0, 256, (20, *shape), np.uint8), np.arange(20, dtype=np.int32) % 3, CLASSES)


def trained(config):
    """An experiment, its state after some steps on made-up examples, and the metrics of these steps."""
    feed = loader.make_loader(config, made_up(config), room=2**30)
    exp = experiment.build(config, len(CLASSES))
    take_step = functools.partial(gan.UPDATES[config.updates], exp)
    run = functools.partial(gan.train_steps, take_step, loader.make_batch_fn(config, feed))
    state = quick_jit(lambda: population.create(exp))()
    return exp, *quick_jit(run)(state, dict(feed.data), feed.inputs_at(0, STEPS))


LEARNING_RATES = "optimizer.generator.learning_rate=1e-3,1e-4"
TOLD = {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"}
SETTINGS = {
    "images": TOLD | {"model__family": "dcgan", "model__discriminator__norm": "none", "data__flip": True},
    "points": POINTS
    | {
        "penalties__r1": 1.0,
        "penalties__r2": 0.5,
        "penalties__lecam": 0.1,
        "discriminator_steps": 2,
        "penalty_every__r1": 2,
        "sweep": f"{LEARNING_RATES}; penalties.r1=0,2; penalties.r2=1,0",
    },
    "simultaneous": POINTS
    | {
        "updates": "simultaneous",
        "loss": "hinge",
        "sweep": "margin=-1,0.5; ema_decay=0.5,0.9; weight_clip=0.1,0; adversarial=1,2; feature_matching=0,1",
    },
}


@functools.cache
def case(name):
    """A population of two, trained, and each of its members trained alone."""
    config = tiny_config(population=2, seed=5, **SETTINGS[name])
    return trained(config), [trained(member) for member in configuration.members(config)]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_member_is_the_run_that_it_would_be_alone(name):
    """Of an Adam that divides by the size of a gradient, an element without one may go its own way in its last bits."""
    (exp, state, _), alone = case(name)
    for member, (_, expected, _) in zip(population.members(exp, state), alone, strict=True):
        assert_same_bits((member.step, member.seed), (expected.step, expected.seed))
        assert_close((member.networks, member.ema), (expected.networks, expected.ema), rtol=2e-3, atol=2e-5)
        known = {memory: member.memory[memory] for memory in expected.memory}
        assert_close(known, expected.memory, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_members_differ(name):
    """So that the law above means something."""
    one, other = (leaves(state.networks) for _, state, _ in case(name)[1])
    drawn = [path for path in one if path.endswith("variables.params['body']['Dense_0']['kernel']")]
    drawn += [path for path in one if path.endswith("variables.params['body']['Conv_0']['kernel']")]
    assert len(drawn) == 2  # one of each network
    assert not [path for path in drawn if np.isclose(one[path], other[path], rtol=2e-3, atol=2e-5).any()]


@pytest.mark.parametrize("name", SETTINGS)
def test_metrics_are_means_over_the_members_with_standard_errors(name):
    (_, _, metrics), alone = case(name)
    shared = set.intersection(*(set(own) for _, _, own in alone))
    assert {"d_loss", "g_loss", "d_learning_rate"} <= shared
    assert set(metrics) == {f"{metric}{end}" for metric in metrics if not metric.endswith("_se") for end in ("", "_se")}
    for metric in shared:
        own = np.stack([values[metric] for _, _, values in alone]).astype(np.float64)
        assert metrics[metric].shape == (STEPS,)
        np.testing.assert_allclose(metrics[metric], own.mean(0), rtol=1e-3, atol=1e-5, err_msg=metric)
        expected = abs(own[0] - own[1]) / 2  # the root of ((a - b)^2 / 2) / 2
        np.testing.assert_allclose(metrics[f"{metric}_se"], expected, rtol=5e-3, atol=1e-5, err_msg=metric)


def test_a_weight_of_zero_leaves_a_penalty_in_the_metrics_alone():
    (_, state, metrics), (without, with_penalty) = case("points")
    assert set(metrics) - {"r1", "r1_se"} == {f"{name}{end}" for name in without[2] for end in ("", "_se")}
    assert set(state.memory) == {"nonfinite", "r1", "lecam_real", "lecam_fake"} == set(with_penalty[1].memory)
    assert set(without[1].memory) == {"nonfinite", "lecam_real", "lecam_fake"}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_step_is_one_number_and_all_else_has_one_of_each_member(name):
    (exp, state, _), (first, second) = case(name)
    assert (state.step.shape, int(state.step)) == ((), STEPS)
    assert state.seed.tolist() == [5, 6] == list(population.seeds(exp.config))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state.replace(step=None))} == {2}
    assert {name: values.tolist() for name, values in state.sweep.items()} == {
        name: np.float32(values).tolist() for name, values in configuration.sweep(exp.config).items()
    }
    assert [own[1].sweep for own in (first, second)] == [{}, {}]


def test_members_are_the_rows_of_a_population():
    (exp, state, _), _ = case("points")
    for index, member in enumerate(population.members(exp, state)):
        assert member.step is state.step
        assert_same_bits(member.replace(step=None), jax.tree.map(lambda x, i=index: x[i], state.replace(step=None)))


def test_a_population_of_one_is_the_plain_run():
    config = tiny_config(seed=7, **POINTS)
    exp = experiment.build(config)
    state = quick_jit(lambda: population.create(exp))()
    assert_same_bits(state, quick_jit(lambda: experiment.initial_state(exp))())
    assert population.members(exp, state) == [state]
    _, state, metrics = trained(config)
    assert state.seed.shape == ()
    assert not [name for name in metrics if name.endswith("_se")]


def test_a_population_begins_as_its_members_do():
    config = tiny_config(population=3, seed=5, **POINTS)
    exp = experiment.build(config)
    state = quick_jit(lambda: population.create(exp))()
    for member, own in zip(population.members(exp, state), configuration.members(config), strict=True):
        assert_same_bits(member, quick_jit(lambda own=own: experiment.initial_state(experiment.build(own)))())


def test_the_mean_and_its_standard_error():
    values = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    found = population.mean_stderr({"a": jnp.asarray(values[0]), "b": jnp.asarray(values[1])})
    assert set(found) == {"a", "a_se", "b", "b_se"}
    for name, own in zip("ab", values.astype(np.float64), strict=True):
        np.testing.assert_allclose(found[name], own.mean(), rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_se"], np.sqrt(((own - own.mean()) ** 2).sum() / 4 / 5), rtol=1e-5)
    assert float(population.mean_stderr({"a": jnp.full(4, 2.0)})["a_se"]) == 0


# Memory


@pytest.mark.parametrize(("times", "fit"), [(2, 500), (4, 250), (1000, 1)])
def test_too_many_members_are_told_how_many_fit(times, fit):
    config, room = tiny_config(population=1000), devices.device_memory()
    population.check_memory(config, room)
    with raises_user_error(UserError, match=rf"config\.population=1000 needs [\d,.e+]+ GiB.*: at most {fit} would fit"):
        population.check_memory(config, times * room)
    population.check_memory(tiny_config(population=fit), fit * times * room // 1000)
    population.check_memory(tiny_config(), times * room)  # a single one is tried: nothing smaller could be advised


def test_a_population_that_cannot_fit_is_refused_before_anything_is_made(tmp_path, capsys):
    began = time.process_time()
    assert train_tiny(tmp_path / "run", "--config.population=100000000") == 2
    assert time.process_time() - began < 20  # it takes a second
    (error,) = capsys.readouterr().err.splitlines()
    told = re.fullmatch(
        r"error: config\.population=100000000 needs (\S+) GiB, and the device has (\S+) GiB of memory: "
        r"at most (\d+) would fit",
        error,
    )
    assert told, error
    needed, available = (float(told[place].replace(",", "")) for place in (1, 2))
    assert int(told[3]) == pytest.approx(1e8 * available / needed, rel=0.01)
    assert not (tmp_path / "run").exists()


# The programs

COUNT = 2
TWO = {"population": COUNT, "seed": 3, "ema_decay": 0.5, "sweep": "optimizer.generator.learning_rate=0.01,0.003"}


def given(settings: dict) -> list[str]:
    return [f"--config.{name.replace('__', '.')}={value}" for name, value in settings.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A population trained in one go, and its members, each trained alone."""
    folder, alone = tmp_path_factory.mktemp("runs"), []
    assert train_tiny(folder / "all", *given(TWO)) == 0
    for index, rate in enumerate((0.01, 0.003)):
        own = {"seed": 3 + index, "ema_decay": 0.5, "optimizer.generator.learning_rate": rate}
        alone.append(folder / str(index))
        assert train_tiny(alone[-1], *given(own)) == 0
    return folder / "all", alone


def test_a_population_leaves_what_a_run_leaves(runs):
    everyone, (one, _) = runs
    assert {path.name for path in everyone.iterdir()} == {path.name for path in one.iterdir()}
    assert grids(everyone).keys() == grids(one).keys()
    assert saved_steps(everyone) == [4, 8, 12]
    kept = configuration.load(everyone / "config.json")
    assert (kept.population, kept.sweep) == (COUNT, TWO["sweep"])
    with Image.open(everyone / "progress.gif") as animation:
        assert animation.n_frames == 4
        for path in (everyone / "samples").iterdir():
            with Image.open(path) as picture:
                assert picture.size == animation.size, path


def test_the_log_of_a_population_is_that_of_its_members(runs):
    everyone, alone = runs
    told = [records(run) for run in alone]
    for line, *own in zip(records(everyone), *told, strict=True):
        assert line["step"] == own[0]["step"] == own[1]["step"]
        names = own[0].keys() - {"step"}
        assert line.keys() == {"step", *names, *(f"{name}_se" for name in names)}
        for name in names:
            one, other = (values[name] for values in own)
            assert line[name] == pytest.approx((one + other) / 2, rel=1e-2, abs=1e-3), name
            assert line[f"{name}_se"] == pytest.approx(abs(one - other) / 2, rel=2e-2, abs=1e-3), name


def test_a_population_goes_on_as_if_it_had_never_stopped(runs, tmp_path, capsys):
    whole, _ = runs
    broken, settings = tmp_path / "broken", given(TWO)
    assert train_tiny(broken, *settings, "--config.steps=5") == 0
    assert train_tiny(broken, *settings) == 0
    assert f"{broken} goes on from step 5" in capsys.readouterr().out
    assert saved(broken, **TWO) == saved(whole, **TWO)
    assert records(broken) == records(whole)
    assert grids(broken).items() >= grids(whole).items()


def drawn(workdir: Path, out: Path, *more: str) -> np.ndarray:
    """What sample.py draws: its images or points."""
    assert sample.main([f"--workdir={workdir}", f"--out={out}", "--num=9", "--seed=1", *more]) == 0
    with np.load(out) as file:
        (name,) = file.files
        return file[name].astype(np.float64)


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_a_member_draws_what_it_would_draw_alone(runs, raw, tmp_path):
    everyone, alone = runs
    members = [drawn(everyone, tmp_path / "x.npz", f"--member={index}", *raw) for index in range(COUNT)]
    near = 1  # a level of a pixel's 256
    for member, run in zip(members, alone, strict=True):
        assert abs(member - drawn(run, tmp_path / "x.npz", *raw)).max() <= near
    assert abs(members[0] - members[1]).max() > 20 * near
    np.testing.assert_array_equal(drawn(everyone, tmp_path / "x.npz", *raw), members[0])


@pytest.mark.parametrize("member", [-1, 2])
def test_a_member_that_is_not_there(runs, member, tmp_path, capsys):
    everyone, _ = runs
    assert sample.main([f"--workdir={everyone}", f"--out={tmp_path / 'x.npz'}", f"--member={member}"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error == f"error: --member={member} should be from 0 to 1: {everyone} has as many members"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"population": 3}, {"sweep": "optimizer.generator.learning_rate=0.01,0.1"}])
def test_another_population_is_another_experiment(runs, change, tmp_path, capsys):
    workdir = shutil.copytree(runs[0], tmp_path / "run")
    changed = TWO | {"sweep": ""} | change
    assert train.main(options(workdir, *given(changed))) == 2
    assert f"{workdir} holds another experiment ({next(iter(change))} " in capsys.readouterr().err
