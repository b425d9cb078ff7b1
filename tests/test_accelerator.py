"""The benchmark of accelerators: what it compares, its bounds and its tables, and the whole of it on CPUs."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import accelerator, agreement, report, train_step, workloads
from benchmarks.turns import Child, ChildError
from jaxgan.adversarial.penalties import TABLES
from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import build, default
from jaxgan.core.settings import flatten
from jaxgan.models import MODELS

ROOT = Path(__file__).parent.parent


def plan(seconds: float, at_once: int = 1) -> accelerator.Plan:
    return accelerator.Plan("gpu", time.monotonic() + seconds, "command", [], tiny=True, at_once=at_once)


def rows_of(text: str) -> list[list[str]]:
    """The cells of all tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


# Agreement


def test_every_family_and_every_algorithm_has_a_case():
    titles = [title.split(", ") for title in agreement.cases() if title != agreement.PENALTIES]
    assert {family for _, family in titles if family} == set(MODELS)  # an algorithm's own networks have none
    assert {algorithm for algorithm, _ in titles} == set(ALGORITHMS)
    for title, settings in agreement.cases().items():
        config = default(settings)
        if title != agreement.PENALTIES:
            assert title == f"{config.algorithm}, {config.model.family if 'model' in config else ''}"
        if "r1" in config.get("penalties", {}):
            assert config.penalties.r1 > 0, title


def test_one_case_has_every_penalty():
    config = default(agreement.cases()[agreement.PENALTIES])
    assert all(config[group][name] > 0 for group, table in TABLES.items() for name in table)


def test_a_case_learns_by_gradient_descent():
    """Whose state after the first step is the gradient."""
    exp = agreement.experiment_of(agreement.cases()["stylegan2, stylegan2"])
    assert {player.name for player in exp.config.optimizer.values()} == {"sgd"}
    assert all(player.b1 > 0 for player in exp.config.optimizer.values())


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_a_rounded_kink_is_leaky_relu_away_from_zero(slope):
    near, far = jnp.float32([-0.5, 0.0, 0.5]), jnp.float32([-20.0, -6.0, 6.0, 20.0])
    np.testing.assert_allclose(agreement.smooth_leaky_relu(far, slope), jax.nn.leaky_relu(far, slope), atol=1e-6)
    slopes = jax.vmap(jax.grad(agreement.smooth_leaky_relu), (0, None))(near, slope)
    assert float(slopes[1]) == pytest.approx((1 + slope) / 2)
    assert slope < slopes[0] < slopes[1] < slopes[2] < 1


def test_differences_are_relative_to_the_largest_number_of_each_array():
    expected = {"kernel": np.float32([[1, -4], [2, 0]]), "bias": np.float32([0.5, 0.25])}
    actual = {"kernel": np.float32([[1, -4], [3, 0]]), "bias": np.float32([0.5, 0.5])}
    assert agreement.relative(actual, expected) == 0.25 / 0.5
    assert agreement.relative(expected, expected) == 0
    assert agreement.relative({}, {}) == 0


def test_an_array_of_small_numbers_is_measured_by_a_share_of_the_largest():
    expected = {"kernel": np.float32([8, 2]), "bias": np.float32([1e-9])}
    actual = {"kernel": np.float32([8, 2]), "bias": np.float32([2e-9])}
    assert agreement.relative(actual, expected) == pytest.approx(1e-9 / (agreement.FLOOR * 8))


def test_the_network_that_is_farthest_off_counts():
    trees = {"one": np.float32([1.0]), "two": np.float32([100.0])}
    assert agreement.distance({"one": np.float32([1.5]), "two": np.float32([101.0])}, trees) == 0.5


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_beyond_every_bound(wrong):
    found = {
        "losses": agreement.distance({"a": np.float32([wrong]), "b": np.ones(2)}, {"a": np.ones(1), "b": np.ones(2)})
    }
    assert not accelerator.is_right(found)
    assert accelerator.difference_row("case", found, agreement.BOUNDS)[2].startswith("**")


def test_a_difference_is_right_up_to_its_bound():
    assert accelerator.is_right(agreement.BOUNDS)
    for name, bound in agreement.BOUNDS.items():
        assert not accelerator.is_right(agreement.BOUNDS | {name: 1.01 * bound})
    assert not accelerator.is_right({"penalty/r1": 1.01 * agreement.BOUNDS["penalties"]})
    assert not accelerator.is_right("failed: died with exit code -11")
    assert accelerator.is_right(accelerator.NOT_REACHED)


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_time_does_not_reach_is_named(at_once):
    titles = list(agreement.cases())
    found = accelerator.compare_devices(titles, plan(0, at_once))
    pairs = {(title, precision) for title in titles for precision in ("highest", "default")}
    assert found == dict.fromkeys(pairs, accelerator.NOT_REACHED)


def test_a_child_is_given_up_at_its_limit():
    with Child("turns", limit=0) as child, pytest.raises(ChildError, match=r"^gave no answer in 0 s$"):
        child.ask("call", "ratio", [2.0, 2.0], [1.0, 1.0])


# The other parts


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("name", ["dcgan64", "toy", "cyclegan"])
def test_pytorch_is_at_its_best(name, platform):
    """Eager and compiled, with channels last where there are images, in every precision that jaxgan is timed in."""
    found = accelerator.best_systems(workloads.WORKLOADS[name](), platform, peers=True)
    own = [system.precision for system in found.values() if system.own]
    peers = [system for system in found.values() if not system.own]
    assert own == (["tf32", "bfloat16"] if platform == "gpu" else ["float32", "bfloat16"])
    assert {system.options["channels_last"] for system in peers} == {name != "toy"}
    for compiled in (False, True):
        assert [system.precision for system in peers if system.options["compiled"] == compiled] == own
    alone = accelerator.best_systems(workloads.WORKLOADS[name](), platform, peers=False)
    assert list(alone.values()) == [system for system in found.values() if system.own]


def test_a_missing_peer_is_named_in_a_line(monkeypatch):
    assert "TPU" in accelerator.missing_peer(plan(60)._replace(platform="tpu"))
    monkeypatch.setattr(train_step, "installed", lambda module: module != "peer_torch")
    line = accelerator.missing_peer(plan(60))
    assert line.startswith("PyTorch is left out: torch is missing")
    assert "\n" not in line


def test_workloads_that_time_does_not_reach_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(train_step, "installed", lambda module: module != "peer_torch")
    accelerator.compare_workloads(plan(0)._replace(names=["dcgan64", "toy"]))
    late = "Not reached: dcgan64 with 128 images a step, toy with 100 images a step, dcgan64 with 1024 images a step."
    assert late in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize("name", accelerator.PUBLISHED)
def test_a_published_setting_is_timed_as_it_is(name):
    """But for its images; a dispatch has every penalty as often as all of training has."""
    config = accelerator.published(name)
    origin = importlib.import_module(f"configs.published.{name}").get_config()
    changed = {key for key, value in flatten(config).items() if flatten(origin).get(key) != value}
    assert changed <= {
        "data.source",
        "data.split",
        "log_every",
        "sample_every",
        "checkpoint_every",
        "steps_per_dispatch",
    }
    for group in ("penalty_interval", "generator_penalty_interval"):
        assert all(config.steps_per_dispatch % every == 0 for every in config.get(group, {}).values())
    exp = build(accelerator.smallest(config), classes=10)
    assert exp.config.precision == origin.precision


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "agrement"], "error: unknown part 'agrement': did you mean agreement?"),
        (["--workloads", "dcgan46"], "error: unknown workload 'dcgan46': did you mean dcgan64?"),
        (["--minutes", "0"], "error: --minutes=0.0 must be finite and above 0"),
        (["--minutes", "nan"], "error: --minutes=nan must be finite and above 0"),
        (["--quick"], "error: unknown option '--quick': choose from --minutes"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert accelerator.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_the_program_prints_its_usage(capsys):
    assert accelerator.main(["--help"]) == 0
    assert "python -m benchmarks.accelerator" in capsys.readouterr().out


# The whole of it


def tables(folder: Path, parts: str, devices: int) -> dict[str, list[str]]:
    """The rows of a tiny run by their first cells; of the virtual devices the last is the accelerator."""
    out = folder / "RESULTS.md"
    code = (
        "import pathlib, sys\n"
        "from benchmarks import accelerator, report, turns\n"
        f"report.RESULTS, turns.TURN = pathlib.Path({str(out)!r}), 0.01\n"
        f"sys.exit(accelerator.main(['--tiny', '--minutes', '30', '--parts', {parts!r}]))\n"
    )
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = ["timeout", "-s", "KILL", "1800", sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return {row[0]: row[1:] for row in rows_of(out.read_text())}


@pytest.mark.slow
def test_the_cpus_fast_algorithms_are_within_the_bounds_of_an_accelerator(tmp_path):
    """Every family, algorithm and penalty has a row of numbers; some differ in their last digits."""
    rows = tables(tmp_path, "agreement", devices=2)
    # The process that made the rows does not know tests/probe.py, which other tests add to the tables of this one.
    cases = {title: settings for title, settings in agreement.cases().items() if not title.startswith("probe,")}
    for title, settings in cases.items():
        numbers = [float(text) for text in rows[title] if text]
        assert len(numbers) == len(agreement.BOUNDS) - ("penalties" not in default(settings))
        assert all(number < 1e-3 for number in numbers)
    assert max(float(rows["gan, dcgan"][place]) for place in range(5)) > 0
    metrics = {f"{group.replace('penalties', 'penalty')}/{name}" for group, table in TABLES.items() for name in table}
    assert metrics <= rows.keys()


@pytest.mark.slow
def test_populations_and_published_settings_are_timed(tmp_path):
    rows = tables(tmp_path, "members,published", devices=1)
    for name in accelerator.POPULATIONS:
        _, one, many, ratio, each = rows[name]
        assert float(many) > 0 < float(one)
        assert float(each) == pytest.approx(float(many) / float(one) / accelerator.MEMBERS, rel=0.01)
        assert ratio.startswith(tuple("0123456789"))
    for name in accelerator.PUBLISHED:
        assert all(float(text.replace(",", "")) > 0 for text in rows[name])
