"""Scores of held-out examples: their intervals, active units, and what evaluate.py makes of a run with an encoder."""

import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import ALGORITHM_NAMES, dataset_of, experiment_of
from experiments import quick_jit, raises_user_error
from programs import ROOT
from scipy import stats

from jaxgan import inference
from jaxgan.algorithms import ALGORITHMS, vae
from jaxgan.cli import evaluate
from jaxgan.cli import train as train_program
from jaxgan.config import build, default
from jaxgan.core import population, rng
from jaxgan.data.dataset import from_arrays
from jaxgan.data.image_sets import decoded
from jaxgan.errors import UserError
from jaxgan.io import run_folder
from jaxgan.metrics import examples, held_out
from jaxgan.variational.objectives import importance_weighted_bound

RNG = np.random.default_rng(0)

# Means


@pytest.mark.parametrize("count", [2, 10, 200])
def test_the_interval_of_a_mean_covers_it_at_the_nominal_rate(count):
    trials = RNG.normal(-80.0, 5.0, (2000, count))
    found = [examples.mean("nll", numbers) for numbers in trials]
    covered = sum(each.low <= -80 <= each.high for each in found)
    assert stats.binomtest(covered, len(trials), 0.95).pvalue > 0.001
    np.testing.assert_allclose([each.value for each in found], trials.mean(1))


def test_float32_is_summed_in_double_precision():
    numbers = np.full(1_000_000, 1 / 3, np.float32)
    assert examples.mean("nll", numbers).value == pytest.approx(float(numbers[0]), rel=1e-12)


@pytest.mark.parametrize("score", [lambda a: examples.mean("nll", a[:, 0]), examples.active_units])
def test_one_example_or_a_number_that_is_not_finite_is_an_error(score):
    with raises_user_error(UserError, match="1 examples, and an interval needs 2"):
        score(np.zeros((1, 3)))
    wrong = np.zeros((5, 3))
    wrong[2:4, 0] = np.nan, np.inf
    with raises_user_error(UserError, match="(nll|active_units) is not finite for 2 of 5 examples"):
        score(wrong)


def test_each_kind_of_output_has_its_score():
    kinds = {"kl": "score", "mean": "latents", "log_variance": "floats"}
    outputs = {"kl": np.arange(5.0), "mean": RNG.normal(size=(5, 4)), "log_variance": np.full((5, 4), np.nan)}
    found = examples.of_outputs(kinds, outputs)
    assert [*found] == ["kl", "active_units"]
    assert found["kl"].estimate.value == 2
    assert all((score.raw, score.perfect) == (None, None) for score in found.values())


# Active units


def latents_of(variances: np.ndarray, count: int) -> np.ndarray:
    """So many normal latents with exactly these variances over the examples."""
    made = RNG.normal(size=(count, len(variances)))
    made = (made - made.mean(0)) / made.std(0, ddof=1)
    return made * np.sqrt(variances)


def test_units_are_active_whose_variance_is_above_a_hundredth():
    latents = latents_of(np.array([0.0, 1e-6, 0.0099, 0.0101, 0.02, 1.0]), 500)
    assert examples.active_units(latents) == (3, 2, 4)  # two are too near to be sure of
    assert examples.active_units(latents + RNG.normal(size=6)).value == 3  # only deviations count
    assert examples.active_units(latents[:, ::-1]) == (3, 2, 4)
    assert examples.active_units(10 * latents).value == 4
    assert examples.active_units(np.zeros((500, 6))) == (0, 0, 0)


@pytest.mark.parametrize("count", [100, 1000])
def test_the_interval_of_active_units_covers_their_number(count):
    variances = np.concatenate([np.geomspace(1e-5, 1, 10), np.linspace(0.008, 0.012, 6)])
    truth, trials = (variances > 0.01).sum(), RNG.normal(size=(300, count, len(variances)))
    found = [examples.active_units(latents * np.sqrt(variances)) for latents in trials]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.95
    assert all(each.low <= each.value <= each.high for each in found)
    assert np.mean([each.high - each.low for each in found]) < 10


# Every algorithm with an encoder


@pytest.mark.parametrize("name", [name for name in ALGORITHM_NAMES if ALGORITHMS[name].scored])
def test_every_scored_task_has_scores(name):
    exp = experiment_of(name)
    dataset, variables = dataset_of(exp.config), inference.variables_of(quick_jit(lambda: population.init_state(exp))())
    tasks = held_out.scored_tasks(exp, {"k": None, "num_held_out": None})
    rows = held_out.usable_rows(exp, tasks, dataset, 70)
    inputs = inference.seed_inputs(0, len(rows), k=np.full(len(rows), 2, np.int32))
    found = held_out.score(exp, variables, tasks, dataset, inputs, rows)
    kinds = [pair for task in tasks for pair in exp.algorithm.tasks[task].outputs(exp).items()]
    expected = {"active_units" if kind == "latents" else output for output, kind in kinds if kind != "floats"}
    assert found.keys() == expected != set()
    assert all(score.estimate.low <= score.estimate.value <= score.estimate.high for score in found.values())


# A conditional run

TINY = {
    "algorithm": "vae",
    "data.source": "digits",
    "data.size": 8,
    "batch_size": 32,
    "latent_dim": 6,
    "model.initializer": "he",
    "model.encoder.width": 16,
    "model.encoder.norm": "none",
    "model.decoder.width": 16,
    "model.decoder.norm": "none",
}


def test_a_conditional_run_is_scored_by_examples_of_known_label(capsys):
    exp = build(default(TINY | {"conditional": True, "batch_size": 8}), 3)
    variables = inference.variables_of(quick_jit(lambda: population.init_state(exp))())
    images, names = RNG.integers(0, 256, (40, 8, 8, 1), np.uint8), ("a", "b", "c")
    labels = np.arange(40, dtype=np.int32) % 4 - 1
    tasks = ["reconstruction_error"]

    def score(rows: np.ndarray):
        dataset = from_arrays(images[rows], labels[rows], names)
        chosen = held_out.usable_rows(exp, tasks, dataset, None)
        inputs = inference.seed_inputs(0, len(chosen))
        return held_out.score(exp, variables, tasks, dataset, inputs, chosen)

    every = score(np.arange(40))
    assert "10 of 40 held-out examples have no label: they are left out" in capsys.readouterr().err
    assert every == score(np.flatnonzero(labels >= 0))
    assert capsys.readouterr().err == ""
    with raises_user_error(UserError, match="none of 10 held-out examples has a label"):
        score(np.flatnonzero(labels < 0))


# The program


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny VAE that was trained on the first four fifths of the digits."""
    folder = tmp_path_factory.mktemp("vae")
    few = {"steps": 300, "log_every": 300, "sample_every": 300, "checkpoint_every": 300, "sample_grid": 4}
    settings = TINY | few | {"data.split": "train[:80%]", "optimizer.vae.learning_rate": 3e-3, "ema_decay": 0.9}
    config = folder / "config.py"
    config.write_text(f"from jaxgan.config import default\n\n\ndef get_config():\n    return default({settings!r})\n")
    assert train_program.main([f"--config={config}", f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


SPLIT = "--split=train[80%:]"


def scored(tmp_path, *argv: str) -> dict:
    """What evaluate.py writes."""
    out = tmp_path / "found.json"
    assert evaluate.main([*argv, f"--out={out}", *(() if QUICK in argv else (f"--neighbours={tmp_path}/n.png",))]) == 0
    return json.loads(out.read_text())


QUICK = "--features=none"


def test_the_estimate_is_the_bound_of_all_chunks(run, tmp_path):
    """60 latents are one chunk and a part of the next."""
    found = scored(tmp_path, f"--workdir={run}", SPLIT, "--k=60", QUICK, "--seed=5")
    exp, variables, *_ = run_folder.restore(run)
    other = exp.config.copy_and_resolve_references()
    other.data.split = "train[80%:]"
    data = decoded(other)

    def keys(stream: str, chunk: int = 0):
        return jax.vmap(lambda i: jax.random.fold_in(rng.stream_key(5, 0, stream, chunk), i))(jnp.arange(len(data)))

    target = vae.targets(exp, keys("targets"), data.images / jnp.float32(127.5) - 1)
    weights = []
    for chunk, count in enumerate((vae.CHUNK, 60 - vae.CHUNK)):
        noise = vae.normal_noise(exp, keys("importance", chunk), vae.CHUNK)
        evidence, _ = vae.evidence_of(exp, variables, target, None, noise, exp.config.__getitem__)
        weights.append(evidence.log_weights[:count])
    bound = importance_weighted_bound(jnp.concatenate(weights))
    scores, nll = found["scores"], -np.float64(bound)
    assert scores["nll"]["value"] == pytest.approx(nll.mean(), rel=1e-5)
    half = stats.t.ppf(0.975, len(nll) - 1) * stats.sem(nll)
    assert scores["nll"]["high"] - scores["nll"]["low"] == pytest.approx(2 * half, rel=1e-3)
    assert scores["negative_elbo"]["value"] == pytest.approx(-np.concatenate(weights).mean(), rel=1e-5)
    assert scores["bits_per_dim"]["value"] == pytest.approx(nll.mean() / (64 * np.log(2)), rel=1e-5)
    assert found["about"]["examples"] == {"split": "train[80%:]", "count": 359, "digest": data.digest, "k": 60}
    assert 0 < scores["active_units"]["value"] <= 6


def test_scores_of_examples_stand_beside_those_of_samples(run, tmp_path, capsys):
    """Each alone is what it is in the company of others; real images have no likelihood."""
    argv = (f"--workdir={run}", SPLIT, "--k=3", "--num_held_out=300")
    both = scored(tmp_path, *argv, "--features=random", "--num=300")
    out = capsys.readouterr().out
    line = r"^scoring likelihood, .* of 300 examples of train\[80%:\], 3 latents of each for its likelihood\nscore "
    assert re.search(line, out, re.MULTILINE)
    assert re.search(r"^nll +[\d.]+ +[\d.]+ to [\d.]+$", out, re.MULTILINE)
    alone = scored(tmp_path, *argv, QUICK)
    assert both["about"]["real_images"] == "the train[80%:] split"
    assert alone["real_images"] == {}
    assert [*alone["scores"]][-1] == "active_units"
    assert "FD-random" in both["real_images"]
    assert "nll" not in both["real_images"]
    assert alone["scores"] == {name: both["scores"][name] for name in alone["scores"]}
    assert alone["about"]["examples"] == both["about"]["examples"]


def test_the_estimate_falls_with_k(run, tmp_path):
    """And is no larger than the mean over its own latents, by Jensen's inequality."""
    found = [scored(tmp_path, f"--workdir={run}", SPLIT, f"--k={k}", QUICK)["scores"] for k in (1, 10, 300)]
    values = [scores["nll"]["value"] for scores in found]
    assert values[0] > values[1] > values[2]
    assert found[0]["nll"]["value"] == pytest.approx(found[0]["negative_elbo"]["value"], rel=1e-5)
    assert all(scores["nll"]["value"] <= scores["negative_elbo"]["value"] + 1e-4 for scores in found)
    for scores in found:
        parts = scores["reconstruction"]["value"] + scores["kl"]["value"]
        assert scores["negative_elbo"]["value"] == pytest.approx(parts, rel=1e-5)
        assert scores["active_units"] == found[0]["active_units"]


def test_two_devices_find_the_same_scores(run, tmp_path):
    argv = [f"--workdir={run}", SPLIT, "--k=60", QUICK]
    expected = scored(tmp_path, *argv)
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    command = ["timeout", "-s", "KILL", "200", sys.executable, "evaluate.py", *argv, f"--out={tmp_path / 'two.json'}"]
    subprocess.run(command, env=dict(os.environ, XLA_FLAGS=flags, JAX_PLATFORMS="cpu"), check=True, cwd=ROOT)
    found = json.loads((tmp_path / "two.json").read_text())
    assert found["about"] == expected["about"]
    assert found["scores"].keys() == expected["scores"].keys()
    for name, score in expected["scores"].items():
        assert found["scores"][name] == pytest.approx(score, rel=1e-5), name


def test_without_held_out_examples_those_of_the_training_are_scored_with_a_warning(run, tmp_path, capsys):
    found = scored(tmp_path, f"--workdir={run}", "--k=2", "--num_held_out=9", QUICK)
    assert found["about"]["examples"] | {"digest": ""} == {"split": "train[:80%]", "count": 9, "digest": "", "k": 2}
    assert "these scores are of training examples (train[:80%]); --split=SPLIT names" in capsys.readouterr().err
    scored(tmp_path, f"--workdir={run}", "--k=2", "--num_held_out=9", QUICK, "--split=train[79%:]")
    assert "--split=train[79%:] has examples that the run was trained on" in capsys.readouterr().err


def test_a_gan_has_no_scores_of_examples_and_its_reference_is_the_split(workdir, tmp_path, capsys):
    found = scored(tmp_path, f"--workdir={workdir}", "--features=random", "--num=300", "--split=train[:50%]")
    assert {name.rpartition("-")[2] for name in found["scores"]} == {"random"}
    assert "examples" not in found["about"]
    assert found["about"]["real_images"] == "the train[:50%] split"
    assert "--split=train[:50%] has examples that the run was trained on" in capsys.readouterr().err


MISTAKES = {
    "--workdir={run} --k=0": "--k=0 must be from 1 to 1000000000",
    "--workdir={run} --k=2000000000": "--k=2000000000 must be from 1",
    "--workdir={run} --num_held_out=0": "--num_held_out=0 must be at least 2",
    "--workdir={run} --features=none --split=train[1796:]": "there are no scores of held-out examples: they need 2",
    "--workdir={run} --split=tset": "unknown split 'tset': choose from train",
    "--workdir={run} --split=train[5:5]": r"--split='train\[5:5\]': nothing lies in 'train\[5:5\]' of 1797 examples",
    "--workdir={run} --split=train[80%": "--split='train.80%' must be like 'train', 'train.test'",
    "--workdir={run} --k=--": "(-- is no value of an option|argument --k: )",
    "--workdir={run} --split=--": "(-- is no value of an option|unknown split|--split=)",
    "--workdir={run} --features=none --gan_train": "--gan_train has no effect with --features=none",
    "--workdir={gan} --k=10": "--k is about likelihoods: algorithm=gan has none",
    "--workdir={gan} --num_held_out=10": "--num_held_out is about encoded examples: algorithm=gan has no encoder",
    "--workdir={gan} --features=none": "--features=none leaves nothing to score of algorithm=gan",
    "--workdir={gan} --split=test": "unknown split 'test': choose from train",
    "--fakes=a.npz --reals=b.npz --k=10": "--k is about held-out examples of a run: leave it out, or give --workdir",
    "--fakes=a.npz --reals=b.npz --split=test": "--split is about held-out examples of a run",
    "--fakes=a.npz --reals=b.npz --features=none": "--features=none leaves nothing to score",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_an_error_of_one_line_and_nothing_is_written(run, unbroken, tmp_path, capsys, command):
    out = tmp_path / "scores.json"
    assert evaluate.main([*command.format(run=run, gan=unbroken).split(), f"--out={out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{MISTAKES[command]}", line)
    assert not out.exists()
