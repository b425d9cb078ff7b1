"""Populations: each member is the run that it would be alone, in arrays and in what the programs write and sample."""

import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, assert_close, assert_same_bits, leaves, quick_jit, tiny_config
from PIL import Image
from programs import grids, options, records, saved, saved_steps, train_tiny

from jaxgan import config as configuration
from jaxgan.cli import sample, train
from jaxgan.config import build, default
from jaxgan.core import population
from jaxgan.core.experiment import initial_state
from jaxgan.core.program import train_steps
from jaxgan.core.settings import flatten
from jaxgan.data import loader
from jaxgan.data.dataset import ArrayDataset, image_dataset

STEPS = 3
CLASSES = ("a", "b", "c")


def made_up(exp) -> ArrayDataset:
    """Examples of three classes for an experiment; the first batches of two members reach into another epoch."""
    rng, labels = np.random.default_rng(0), np.arange(20, dtype=np.int32) % 3
    field, _ = exp.fields
    if field.kind == "points":
        points = rng.normal(size=(20, *field.shape)).astype(np.float32)
        return ArrayDataset({"points": points, "labels": labels}, exp.fields, CLASSES)
    return image_dataset(rng.integers(0, 256, (20, *field.shape), np.uint8), labels, CLASSES)


def trained(config):
    """An experiment, its state after some steps on made-up examples, and the metrics of these steps."""
    exp = build(config, len(CLASSES))
    batches = loader.make_loader(config, made_up(exp), exp.algorithm.batches_per_step(config), room=2**30)
    run = functools.partial(train_steps, exp, loader.make_batch_fn(config, batches))
    state = quick_jit(lambda: population.init_state(exp))()
    return exp, *quick_jit(run)(state, (dict(batches.data), ()), batches.inputs_at(0, STEPS))


def alone(config) -> list:
    """The configuration of each member of a population, as a run of its own."""
    swept = build(config, len(CLASSES)).swept
    shared = flatten(config) | {"population": 1, "sweep": ""}
    return [
        default(shared | {"seed": config.seed + index} | {name: values[index] for name, values in swept.items()})
        for index in range(config.population)
    ]


LEARNING_RATES = "optimizer.generator.learning_rate=1e-3,1e-4"
CONDITIONAL = {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"}
SETTINGS = {
    "images": CONDITIONAL | {"model__family": "dcgan", "model__discriminator__norm": "none", "data__flip": True},
    "points": POINTS
    | {
        "penalties__r1": 1.0,
        "penalties__r2": 0.5,
        "penalties__lecam": 0.1,
        "discriminator_steps": 2,
        "penalty_interval__r1": 2,
        "sweep": f"{LEARNING_RATES}; penalties.r1=0,2; penalties.r2=1,0; optimizer.discriminator.b2=0.9,0.99",
        "schedules": "penalties.r2=linear(0.5, 4); optimizer.discriminator.b2=cosine(0.95, 2)",
    },
    "simultaneous": POINTS
    | {
        "update_rule": "simultaneous",
        "loss": "hinge",
        "sweep": "margin=1,0.5; ema_decay=0.5,0.9; weight_clip=0.1,0; adversarial=1,2; feature_matching=0,1",
    },
}


@functools.cache
def case(name):
    """A population of two, trained, and each of its members trained alone."""
    config = tiny_config(population=2, seed=5, **SETTINGS[name])
    return trained(config), [trained(own) for own in alone(config)]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_member_is_the_run_that_it_would_be_alone(name):
    """To some digits: Adam divides by the size of a gradient, and so amplifies rounding errors of tiny gradients."""
    (exp, state, _), runs = case(name)
    for member, (_, expected, _) in zip(population.members(exp, state), runs, strict=True):
        assert_same_bits((member.step, member.seed), (expected.step, expected.seed))
        assert_close((member.networks, member.ema), (expected.networks, expected.ema), rtol=2e-3, atol=2e-5)
        carried, own = leaves(member.extra), leaves(expected.extra)
        assert_close({path: carried[path] for path in own}, own, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_members_differ(name):
    """So the law above is about each of them."""
    one, other = (leaves(state.networks) for _, state, _ in case(name)[1])
    kernels = [path for path in one if path.endswith("params['body']['Dense_0']['kernel']")]
    kernels += [path for path in one if path.endswith("params['body']['Conv_0']['kernel']")]
    assert len(kernels) == 2  # one of each network
    assert not [path for path in kernels if np.isclose(one[path], other[path], rtol=2e-3, atol=2e-5).any()]


def with_errors(names) -> set[str]:
    """Names of metrics, and those of their standard errors."""
    return {f"{name}{end}" for name in names for end in ("", "_stderr")}


@pytest.mark.parametrize("name", SETTINGS)
def test_metrics_are_means_over_the_members_with_standard_errors(name):
    (_, _, metrics), runs = case(name)
    shared = set.intersection(*(set(own) for _, _, own in runs))
    assert {"loss/discriminator", "loss/generator", "learning_rate/discriminator"} <= shared
    assert set(metrics) == with_errors(metric for metric in metrics if not metric.endswith("_stderr"))
    for metric in shared:
        own = np.stack([values[metric] for _, _, values in runs]).astype(np.float64)
        assert metrics[metric].shape == (STEPS,)
        np.testing.assert_allclose(metrics[metric], own.mean(0), rtol=1e-3, atol=1e-5, err_msg=metric)
        expected = abs(own[0] - own[1]) / 2  # the root of ((a - b)^2 / 2) / 2
        np.testing.assert_allclose(metrics[f"{metric}_stderr"], expected, rtol=5e-3, atol=1e-5, err_msg=metric)


def test_a_penalty_of_one_member_is_in_the_metrics_of_the_population():
    """The member without a weight carries its value from step to step as well."""
    (_, state, metrics), (without, with_penalty) = case("points")
    assert set(metrics) == with_errors([*without[2], "penalty/r1"])
    assert set(state.extra["penalties"]) == {"r1", "lecam"} == set(with_penalty[1].extra["penalties"])
    assert set(without[1].extra["penalties"]) == {"lecam"}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_step_is_one_number_and_other_arrays_have_a_row_for_each_member(name):
    (exp, state, _), (first, second) = case(name)
    assert (state.step.shape, int(state.step)) == ((), STEPS)
    assert state.seed.tolist() == [5, 6] == list(population.seeds(exp.config))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state.replace(step=None))} == {2}
    assert {name: values.tolist() for name, values in state.hparams.items()} == {
        name: np.float32(values).tolist() for name, values in exp.swept.items()
    }
    assert [own[1].hparams for own in (first, second)] == [{}, {}]


def test_members_are_the_rows_of_a_population():
    (exp, state, _), _ = case("points")
    for index, member in enumerate(population.members(exp, state)):
        assert member.step is state.step
        assert_same_bits(member.replace(step=None), jax.tree.map(lambda x, i=index: x[i], state.replace(step=None)))


def test_a_population_of_one_is_the_plain_run():
    config = tiny_config(seed=7, **POINTS)
    exp = build(config)
    state = quick_jit(lambda: population.init_state(exp))()
    assert_same_bits(state, quick_jit(lambda: initial_state(exp))())
    assert population.members(exp, state) == [state]
    _, state, metrics = trained(config)
    assert state.seed.shape == ()
    assert not [name for name in metrics if name.endswith("_stderr")]


def test_a_population_begins_as_its_members_do():
    config = tiny_config(population=3, seed=5, **POINTS)
    exp = build(config)
    state = quick_jit(lambda: population.init_state(exp))()
    for member, own in zip(population.members(exp, state), alone(config), strict=True):
        assert_same_bits(member, quick_jit(lambda own=own: initial_state(build(own)))())


def test_the_mean_and_its_standard_error():
    values = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    found = population.mean_stderr({"a": jnp.asarray(values[0]), "b": jnp.asarray(values[1])})
    assert set(found) == with_errors("ab")
    for name, own in zip("ab", values.astype(np.float64), strict=True):
        np.testing.assert_allclose(found[name], own.mean(), rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_stderr"], np.sqrt(((own - own.mean()) ** 2).sum() / 4 / 5), rtol=1e-5)
    assert float(population.mean_stderr({"a": jnp.full(4, 2.0)})["a_stderr"]) == 0


# The programs

COUNT = 2
TWO = {"population": COUNT, "seed": 3, "ema_decay": 0.5, "sweep": "optimizer.generator.learning_rate=0.01,0.003"}


def given(settings: dict) -> list[str]:
    return [f"--config.{name.replace('__', '.')}={value}" for name, value in settings.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A population trained in one go, and its members, each trained alone."""
    folder, members = tmp_path_factory.mktemp("runs"), []
    assert train_tiny(folder / "all", *given(TWO)) == 0
    for index, rate in enumerate((0.01, 0.003)):
        own = {"seed": 3 + index, "ema_decay": 0.5, "optimizer.generator.learning_rate": rate}
        members.append(folder / str(index))
        assert train_tiny(members[-1], *given(own)) == 0
    return folder / "all", members


def test_the_folder_of_a_population_has_the_files_of_a_run(runs):
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


def test_the_log_of_a_population_has_the_means_and_errors_of_its_members(runs):
    everyone, members = runs
    for line, *own in zip(records(everyone), *map(records, members), strict=True):
        assert line["step"] == own[0]["step"] == own[1]["step"]
        names = own[0].keys() - {"step"}
        assert line.keys() == {"step", *with_errors(names)}
        for name in names:
            one, other = (values[name] for values in own)
            assert line[name] == pytest.approx((one + other) / 2, rel=1e-2, abs=1e-3), name
            assert line[f"{name}_stderr"] == pytest.approx(abs(one - other) / 2, rel=2e-2, abs=1e-3), name


def test_a_resumed_population_is_the_same_run(runs, tmp_path, capsys):
    whole, _ = runs
    broken, settings = tmp_path / "broken", given(TWO)
    assert train_tiny(broken, *settings, "--config.steps=5") == 0
    assert train_tiny(broken, *settings) == 0
    assert f"resuming {broken} from step 5" in capsys.readouterr().out
    assert saved(broken, **TWO) == saved(whole, **TWO)
    assert records(broken) == records(whole)
    assert grids(broken).items() >= grids(whole).items()


def samples_of(workdir: Path, out: Path, *more: str) -> np.ndarray:
    """The images of sample.py."""
    assert sample.main([f"--workdir={workdir}", f"--out={out}", "--num=9", "--seed=1", *more]) == 0
    with np.load(out) as file:
        return file["images"].astype(np.float64)


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_a_member_has_the_samples_that_it_has_alone(runs, raw, tmp_path):
    everyone, members = runs
    found = [samples_of(everyone, tmp_path / "x.npz", f"--member={index}", *raw) for index in range(COUNT)]
    near = 1  # a level of a pixel's 256
    for member, run in zip(found, members, strict=True):
        assert abs(member - samples_of(run, tmp_path / "x.npz", *raw)).max() <= near
    assert abs(found[0] - found[1]).max() > 20 * near
    np.testing.assert_array_equal(samples_of(everyone, tmp_path / "x.npz", *raw), found[0])


@pytest.mark.parametrize("member", [-1, 2])
def test_a_member_that_does_not_exist_is_an_error(runs, member, tmp_path, capsys):
    everyone, _ = runs
    assert sample.main([f"--workdir={everyone}", f"--out={tmp_path / 'x.npz'}", f"--member={member}"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error == f"error: --member={member} must be from 0 to 1: {everyone} has as many members"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"population": 3}, {"sweep": "optimizer.generator.learning_rate=0.01,0.1"}])
def test_another_population_is_another_experiment(runs, change, tmp_path, capsys):
    workdir = shutil.copytree(runs[0], tmp_path / "run")
    changed = TWO | {"sweep": ""} | change
    assert train.main(options(workdir, *given(changed))) == 2
    error = capsys.readouterr().err
    assert f"{workdir} was started with a different config ({next(iter(change))} " in error
