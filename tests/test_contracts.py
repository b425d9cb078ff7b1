"""Laws of every entry of the tables: algorithms, network families, data sources, losses, penalties, augmentations."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import (
    ALGORITHM_NAMES,
    FAMILIES,
    STEPS,
    config_of,
    dataset_of,
    experiment_of,
    learning_rates,
    program_of,
    programs,
    step_of,
)
from experiments import assert_close, assert_same_bits, quick_jit, raises_user_error, same
from ml_collections import ConfigDict

from jaxgan import inference, models
from jaxgan.adversarial.augment import AUGMENTATIONS
from jaxgan.adversarial.augment_shapes import SHAPE_AUGMENTATIONS
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.penalties import GENERATOR_PENALTIES, PENALTIES
from jaxgan.algorithms import ALGORITHMS
from jaxgan.cli import sample as sample_program
from jaxgan.cli import train as train_program
from jaxgan.config import build, default, example_batch
from jaxgan.core import population
from jaxgan.core.experiment import with_constants
from jaxgan.core.types import Field
from jaxgan.data import bits, loader, sources
from jaxgan.errors import UserError
from jaxgan.io.checkpoint import Checkpoints
from jaxgan.models import summary
from jaxgan.viz import snapshot

HERE = Path(__file__).parent
LONG = ("fastgan", "projected_gan")  # networks with many layers, which take minutes to compile
every_algorithm = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in ALGORITHM_NAMES]
)


@every_algorithm
def test_a_step_is_deterministic_and_leaves_its_inputs_alone(name):
    _, state, take, inputs = step_of(name)
    before = jax.tree.map(np.array, (state, inputs))
    first, second = take(state, inputs), take(state, inputs)
    assert_same_bits(first, second)
    assert_same_bits((state, inputs), before)
    assert not same(first[0].networks, state.networks)
    assert int(first[0].step) == int(state.step) + STEPS
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(first))


@every_algorithm
def test_a_player_changes_its_own_networks_alone(name):
    """To the bit: with a learning rate of 0 for all others, their parameters stay, and those of the player move."""
    exp, state, take, inputs = step_of(name)
    assert sorted(n for player in exp.players.values() for n in player.networks) == sorted(exp.networks)
    for player, (own, _) in exp.players.items():
        alone = learning_rates(exp, 0.0) | {f"optimizer.{player}.learning_rate": jnp.float32(0.01)}
        after, _ = take(state.replace(hparams=alone), inputs)
        for network in exp.networks:
            unchanged = same(after.networks[network].params, state.networks[network].params)
            assert unchanged == (network not in own), (player, network)


@every_algorithm
def test_steps_in_one_dispatch_are_steps_one_by_one(name):
    exp, state, take, inputs = step_of(name)
    together, metrics = take(state, inputs)
    program = programs(name)
    one = quick_jit(lambda state, inputs: program.steps(state, program.data, inputs))
    for index in range(STEPS):
        state, own = one(state, jax.tree.map(lambda x, i=index: x[i : i + 1], inputs))
        assert_close(own, jax.tree.map(lambda x, i=index: x[i : i + 1], metrics), rtol=1e-4, atol=1e-5)
    assert_close(state, together, rtol=1e-4, atol=1e-5)
    assert exp.config.steps > STEPS


@every_algorithm
def test_a_resumed_run_is_the_same_run(name, tmp_path):
    program = programs(name)

    def run(state, step):
        return program(jax.tree.map(jnp.array, state), program.inputs_at(step, STEPS), STEPS)[0]

    halfway = jax.device_get(run(program.initial_state(), 0))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(STEPS, halfway, {})
    with Checkpoints(tmp_path) as checkpoints:
        step, restored = checkpoints.restore(program.shapes)
    assert step == STEPS
    assert_same_bits(restored, halfway)
    assert_same_bits(run(restored, step), run(halfway, step))


@every_algorithm
def test_constants_are_in_no_state(name):
    """They are an argument of the program; other constants make other steps, where there are some."""
    exp, state, _, inputs = step_of(name)
    program = programs(name)
    constants = exp.algorithm.constants(exp)
    kept = {np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)}
    assert not any(np.asarray(array).tobytes() in kept for array in jax.tree.leaves(constants))
    if jax.tree.leaves(constants):
        data, _ = program.data
        other = jax.tree.map(lambda x: x + 1, constants)
        take = quick_jit(program.steps)
        assert not same(take(state, program.data, inputs), take(state, (data, other), inputs))


@every_algorithm
def test_a_member_of_a_population_is_its_lone_run(name):
    members = program_of(name, population=2)
    state, _ = members(members.initial_state(), members.inputs_at(0, STEPS), STEPS)
    for index, own in enumerate(population.members(members.exp, state)):
        lone = program_of(name, seed=index)
        alone, _ = lone(lone.initial_state(), lone.inputs_at(0, STEPS), STEPS)
        assert_close(own.networks, alone.networks, rtol=1e-3, atol=1e-4)
        assert_close(own.extra, alone.extra, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def on_devices(tmp_path_factory) -> Callable[[str], dict[str, np.ndarray]]:
    """What an algorithm makes on one device and on two, in a process that has two virtual ones.

    The long ones share a process, and so do all others.
    """

    @functools.cache
    def run(long: bool) -> dict[str, np.ndarray]:
        out = tmp_path_factory.mktemp("devices") / "out.npz"
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
        names = [name for name in ALGORITHM_NAMES if (name in LONG) == long]
        command = ["timeout", "-s", "KILL", "500", sys.executable, str(HERE / "contract_devices.py"), str(out), *names]
        subprocess.run(command, env=dict(os.environ, XLA_FLAGS=flags), check=True, cwd=HERE)
        with np.load(out) as arrays:
            return dict(arrays)

    return lambda name: run(name in LONG)


@every_algorithm
def test_one_device_equals_two(name, on_devices):
    own = {path: array for path, array in on_devices(name).items() if path.startswith(f"{name}|")}
    one = {path.split("|", 2)[2]: array for path, array in own.items() if path.split("|")[1] == "one"}
    two = {path.split("|", 2)[2]: array for path, array in own.items() if path.split("|")[1] == "two"}
    assert one.keys() == two.keys() != set()
    for path, array in one.items():
        # Of large numbers and small ones in an array, rounding errors are those of the large ones.
        largest = max(1.0, np.abs(array).max(initial=0.0))
        np.testing.assert_allclose(two[path], array, rtol=1e-3, atol=1e-4 * largest, err_msg=path)


@every_algorithm
def test_the_table_of_layers_counts_every_parameter(name):
    """Of networks of two blocks, where they have such, which a step may run as one in a loop."""
    config = experiment_of(name).config
    groups = {network: own for network, own in config.get("model", {}).items() if isinstance(own, ConfigDict)}
    several = {f"model__{network}__blocks": 2 for network, own in groups.items() if "blocks" in own}
    exp = experiment_of(name, **several)
    inputs, state = exp.algorithm.inputs(exp), jax.eval_shape(lambda: population.init_state(exp))
    for network, module in exp.networks.items():
        rows = summary.layer_rows(module, inputs[network])
        count = sum(leaf.size for leaf in jax.tree.leaves(state.networks[network].params))
        assert sum(row.params for row in rows) == count, network
        assert len({row.path for row in rows}) == len(rows), network


def given_inputs(exp, task: str, count: int) -> dict[str, np.ndarray]:
    """So many inputs of a task."""
    dataset = dataset_of(exp.config)
    needs = exp.algorithm.tasks[task].needs(exp)
    rows = np.arange(count) % min([10**6, *(dataset.groups[field.group] for field in exp.fields)])
    given = {name: array for name, array in dataset.take(rows).items() if name in needs}
    labels = inference.mixed_labels(exp, count)
    return inference.seed_inputs(3, count, labels) | snapshot.as_inputs(exp, given)


@every_algorithm
def test_output_i_of_a_task_does_not_depend_on_the_batch(name):
    exp, state, _, _ = step_of(name)
    variables = inference.variables_of(state)
    for task, entry in exp.algorithm.tasks.items():
        if entry.unavailable(exp) is not None:
            continue
        many = inference.run_task(exp, task, variables, given_inputs(exp, task, 70))
        few = inference.run_task(exp, task, variables, given_inputs(exp, task, 3))
        assert many.keys() == few.keys() == entry.outputs(exp).keys()
        for output, array in few.items():
            assert len(array) == 3
            np.testing.assert_array_equal(many[output][:3], array)


def write_config(path: Path, name: str, **more) -> Path:
    """A configuration file of the smallest experiment."""
    settings = {"algorithm": name, **ALGORITHMS[name].smallest, **more}
    path.write_text(f"from jaxgan.config import default\n\n\ndef get_config():\n    return default({settings!r})\n")
    return path


@every_algorithm
def test_the_programs_run_it(name, tmp_path, capsys):
    """A dry run makes no folder; a run ends with pictures; sample.py does its first task."""
    few = {"steps": 4, "log_every": 2, "sample_every": 4, "checkpoint_every": 4, "sample_grid": 4}
    config = write_config(tmp_path / "config.py", name, **few)
    command = [f"--config={config}", f"--workdir={tmp_path / 'run'}"]
    assert train_program.main([*command, "--dry_run"]) == 0
    assert not (tmp_path / "run").exists()
    assert train_program.main(command) == 0
    assert (tmp_path / "run" / "samples" / "step_000004.png").stat().st_size > 100
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    out = capsys.readouterr().out
    assert all(headline in out for headline in ALGORITHMS[name].headlines)
    assert sample_program.main([f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out.npz'}", "--num=5"]) == 0
    with np.load(tmp_path / "out.npz") as arrays:
        assert len(arrays[arrays.files[0]]) == 5


@every_algorithm
def test_warnings_of_failing_training_name_settings_that_exist(name):
    exp = experiment_of(name)
    for monitor in exp.algorithm.monitors:
        assert {*re.findall(r"config\.([\w.]*\w)", monitor.message)} <= exp.flat.keys()


@every_algorithm
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wider", [0, 8])
def test_every_family_fits_or_says_why(name, family, wider):
    """Its smallest examples, and images that are wider by some pixels."""
    exp = experiment_of(name)
    if "model" not in exp.config:
        pytest.skip("this algorithm has networks of its own")
    entry, source = models.MODELS[family], {"data.source": "world:ring"}
    shape = entry.shape
    if len(shape) == 3:
        shape = (shape[0], shape[1] + wider, shape[2])
        own = ALGORITHMS[name].smallest["data.source"]
        images = "digits" if own.startswith("world:") else own
        source = {"data.source": images, "data.size": f"{shape[0]}x{shape[1]}"}
    elif wider:
        pytest.skip("points and cubes have no width")
    elif len(shape) == 4:
        source = {"data.source": "world:solids", "data.size": shape[0]}
    smallest = {key: value for key, value in ALGORITHMS[name].smallest.items() if not key.startswith(("model", "data"))}
    settings = {"algorithm": name, **smallest, "model.family": family, **source}
    brought = declarations_of(name)["model"]["family"].table()[family]
    if isinstance(brought, str):
        with raises_user_error(UserError, match=f"config.model.family={family} {brought}: choose from "):
            default(settings)
        return
    networks = {network: own for network, own in brought.items() if isinstance(own, Mapping)}
    settings |= {
        f"model.{network}.{key}": value
        for network, own in networks.items()
        for key, value in entry.smallest.items()
        if key in own
    }
    if wider and (advice := entry.check_shape(shape)):
        with raises_user_error(UserError, match=f"does not fit config.model.family={family}: {advice}"):
            build(default(settings), classes=10)
        return
    exp = with_constants(build(default(settings), classes=10))
    state = jax.eval_shape(lambda: population.init_state(exp))
    batch = jax.eval_shape(lambda: example_batch(exp))
    after, metrics = jax.eval_shape(lambda state, batch: exp.algorithm.step(exp, state, batch), state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert {f"grad_norm/{player}" for player in exp.players} < metrics.keys()
    seeds = {"seed": jax.ShapeDtypeStruct((3,), jnp.uint32), "index": jax.ShapeDtypeStruct((3,), jnp.int32)}
    if "sample" in exp.algorithm.tasks:
        drawn = jax.eval_shape(lambda v, x: exp.algorithm.tasks["sample"].run(exp, v, x), state.networks, seeds)
        assert [array.shape for array in drawn.values()] == [(3, *shape)]


def declarations_of(name: str):
    """The settings that an algorithm brings."""
    return ALGORITHMS[name].settings


def lowers(**settings) -> set[str]:
    """The metrics of the smallest GAN with some settings changed, if its step can be traced."""
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    exp = build(default({**ALGORITHMS["gan"].smallest, "model.discriminator.norm": "none", **changes}))
    state = jax.eval_shape(lambda: population.init_state(exp))
    batch = jax.eval_shape(lambda: example_batch(exp))
    after, metrics = jax.eval_shape(lambda state, batch: exp.algorithm.step(exp, state, batch), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    return set(metrics)


def on_images(**settings):
    """The same on images."""
    smallest = {k: v for k, v in ALGORITHMS["gan"].smallest.items() if not k.startswith(("model", "data"))}
    images = {"data.source": "digits", "data.size": 8, "model.family": "mlp", "model.discriminator.norm": "none"}
    images |= {"model.generator.width": 4, "model.discriminator.width": 4}
    exp = build(default({**smallest, **images, **{key.replace("__", "."): v for key, v in settings.items()}}))
    state, batch = jax.eval_shape(lambda: population.init_state(exp)), jax.eval_shape(lambda: example_batch(exp))
    return set(jax.eval_shape(lambda state, batch: exp.algorithm.step(exp, state, batch), state, batch)[1])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rule", ["alternating", "simultaneous"])
def test_every_loss_makes_a_step(name, rule):
    assert {"loss/generator", "loss/discriminator"} < lowers(loss=name, update_rule=rule)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_makes_a_step(name, every):
    make = on_images if PENALTIES[name].images_only else lowers
    assert f"penalty/{name}" in make(**{f"penalties__{name}": 1.0, f"penalty_interval__{name}": every})


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("name", GENERATOR_PENALTIES)
def test_every_penalty_of_the_generator_makes_a_step(name, every):
    make = on_images if GENERATOR_PENALTIES[name].images_only else lowers
    settings = {f"generator_penalties__{name}": 1.0, f"generator_penalty_interval__{name}": every}
    assert f"generator_penalty/{name}" in make(**settings)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_makes_a_step(name):
    assert "loss/generator" in on_images(augment=(name,))


@pytest.mark.parametrize("name", SHAPE_AUGMENTATIONS)
def test_every_augmentation_of_shapes_makes_a_step(name):
    solids = {"data.source": "world:solids", "data.size": 16, "model.family": "voxel"}
    solids |= {"model.generator.base_channels": 2, "model.discriminator.base_channels": 2, "batch_size": 2}
    exp = build(default({**solids, "augment": (name,)}), classes=5)
    state, batch = jax.eval_shape(lambda: population.init_state(exp)), jax.eval_shape(lambda: example_batch(exp))
    after, _ = jax.eval_shape(lambda state, batch: exp.algorithm.step(exp, state, batch), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.fixture
def stored(tmp_path) -> dict[str, dict]:
    """The smallest settings of the sources that need files."""
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(9) % 3)
    np.save(tmp_path / "grids.npy", np.random.default_rng(0).integers(0, 2, (9, 8, 8, 8)).astype(bool))
    for index, image in enumerate(images):
        folder = tmp_path / "folder" / str(index % 3)
        folder.mkdir(parents=True, exist_ok=True)
        snapshot.grid.save_png(folder / f"{index}.png", np.repeat(image, 3, axis=2))
    for index in range(6):
        clip = tmp_path / "clips" / f"clip{index % 3}"
        clip.mkdir(parents=True, exist_ok=True)
        snapshot.grid.save_png(clip / f"{index}.png", np.repeat(images[index], 3, axis=2))
    return {
        "clips": {"data.source": f"clips:{tmp_path / 'clips'}", "data.size": 8, "algorithm": "motion"},
        "array": {"data.source": f"array:{tmp_path / 'images.npz'}", "data.size": 8},
        "folder": {"data.source": f"folder:{tmp_path / 'folder'}", "data.size": 8},
        "voxels": {"data.source": f"voxels:{tmp_path / 'grids.npy'}", "data.size": 8, "model.family": "voxel"},
        "side_by_side": {
            "data.source": f"side_by_side:{tmp_path / 'folder'}",
            "data.size": 8,
            "algorithm": "pix2pix",
        },
    }


@pytest.mark.parametrize("name", sources.SOURCES)
def test_every_source_gives_what_it_declares(name, stored):
    """Fields of the declared shapes and types, labels that have names, the same bytes from both loaders."""
    smallest = sources.SOURCES[name].smallest or stored.get(name)
    if smallest is None:
        pytest.skip("its files are made in test_prepare.py")
    config = default(smallest)
    config.batch_size = 4
    dataset = sources.open_dataset(config)
    assert dataset.fields == sources.fields_of(config.data)
    assert len({field.name for field in dataset.fields}) == len(dataset.fields)
    found = {}
    for placement, room in (("resident", 2**40), ("streaming", 0)):
        config.data.placement = placement
        feed = loader.make_loader(config, dataset, 2, room)
        inputs = jax.tree.map(lambda x: jnp.asarray(x[0]), feed.inputs_at(3, 1))
        found[placement] = made = feed.gather(jax.tree.map(jnp.asarray, feed.data), inputs)
        feed.close()
        for field in dataset.fields:
            assert made[field.name].shape == (2, 4, *bits.stored_shape(field))
            assert made[field.name].dtype == loader.dtype_of(field)
            if field.kind == "labels":
                assert 0 <= made[field.name].min() <= made[field.name].max() < max(len(dataset.classes), 1)
    assert_same_bits(found["streaming"], found["resident"])
    with raises_user_error(UserError, match="unknown config.data.source"):
        default({"data.source": f"no_{name}"})


def test_a_field_is_what_a_batch_has():
    """The fields of every algorithm's smallest experiment are those of its batches."""
    for name in ALGORITHM_NAMES:
        exp = experiment_of(name)
        assert all(isinstance(field, Field) for field in exp.fields)
        batch = example_batch(exp)
        assert batch.keys() == {field.name for field in exp.fields}
        assert config_of(name).batch_size == next(iter(batch.values())).shape[1]
