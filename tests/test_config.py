"""The settings: the way to JSON and back, what is refused, and every shipped experiment."""

import functools
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from experiments import Experiment, assert_all_changed, leaves, raises_user_error, tiny_config
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jaxgan.adversarial import penalties
from jaxgan.algorithms import gan
from jaxgan.core import experiment
from jaxgan.core import settings as configuration
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def written(tmp_path, values) -> Path:
    path = tmp_path / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 2**32 - 1, "loss": "hinge", "targets__real": (0.8, 1.0), "penalties__r1": 0.1, "joined_batches": True},
    ],
)
def test_json_and_back_is_the_identity(changes, tmp_path):
    config = tiny_config(**changes)
    configuration.save(config, tmp_path / "config.json")
    loaded = configuration.load(tmp_path / "config.json")
    assert loaded == config
    assert configuration.differences(loaded, config) == {}
    kinds = lambda config: {name: type(value) for name, value in configuration.flatten(config).items()}  # noqa: E731
    assert kinds(loaded) == kinds(config)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@hypothesis_settings(deadline=None, max_examples=30, derandomize=True)
@given(rate=st.floats(0, 1), flip=st.floats(0, 1), seed=st.integers(0, 2**32 - 1), low=st.floats(0, 1))
def test_every_number_survives_json(tmp_path_factory, rate, flip, seed, low):
    config = tiny_config(
        optimizer__generator__learning_rate=rate, targets__flip=flip, targets__real=(low, 1.0), seed=seed
    )
    path = tmp_path_factory.mktemp("config") / "config.json"
    configuration.save(config, path)
    assert configuration.load(path) == config


def test_differences_are_exactly_what_was_changed():
    changes = {"seed": 7, "penalties__r1": 2.0, "targets__real": (0.5, 1.0), "optimizer__generator__b1": 0.0}
    found = configuration.differences(tiny_config(), tiny_config(**changes))
    assert found == {
        "seed": (0, 7),
        "penalties.r1": (0.0, 2.0),
        "targets.real": ((1.0, 1.0), (0.5, 1.0)),
        "optimizer.generator.b1": (0.5, 0.0),
    }
    back = configuration.differences(tiny_config(**changes), tiny_config())
    assert back == {name: (new, old) for name, (old, new) in found.items()}


def test_flatten_names_every_leaf_once():
    flat = configuration.flatten(configuration.default())
    rebuilt = {}
    for name, value in flat.items():
        *folders, leaf = name.split(".")
        place = rebuilt
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    assert rebuilt == configuration.default().to_dict()


def test_missing_settings_take_their_defaults(tmp_path):
    loaded = configuration.load(written(tmp_path, {"seed": 5, "data": {"size": 16}}))
    assert configuration.differences(configuration.default(), loaded) == {"seed": (0, 5), "data.size": (32, 16)}
    assert configuration.load(written(tmp_path, {})) == configuration.default()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sede": 1}, r"'sede': did you mean seed"),
        ({"data": {"sise": 1}}, r"'data\.sise': did you mean data\.size"),
        ({"steps": "many"}, r"steps='many' should be like 10000"),
        ({"steps": 1.5}, r"steps=1\.5 should be like 10000"),
        ({"steps": None}, r"steps=None should be like 10000"),
        ({"loss": 3}, r"loss=3 should be like 'non_saturating'"),
        ({"loss": None}, r"loss=None should be like"),
        ({"data": {"size": [16]}}, r"data\.size=\[16\] should be like 32"),
        ({"targets": {"real": "high"}}, r"targets\.real='high' should be like \(1\.0, 1\.0\)"),
        ({"data": 3}, r"data\.? should be an object in braces, not 3"),
        ([1], r"the whole file should be an object in braces, not \[1\]"),
        ("{", r"is not valid JSON"),
        ("", r"is not valid JSON"),
    ],
)
def test_a_damaged_file_is_refused(values, message, tmp_path):
    path = written(tmp_path, values)
    with raises_user_error(UserError, match=message) as raised:
        configuration.load(path)
    assert str(path) in str(raised.value)


def test_the_defaults_are_valid():
    assert configuration.validate(configuration.default()) is None


NUMBERS = [(name, value) for name in configuration.POSITIVE for value in (0, -1)]
NUMBERS += [(name, -1) for name in configuration.NOT_NEGATIVE]
NUMBERS += [(name, float("nan")) for name in ("penalties.r1", "optimizer.generator.learning_rate")]
NUMBERS += [(name, float("inf")) for name in ("penalties.r2", "optimizer.discriminator.learning_rate")]
NUMBERS += [(name, value) for name in configuration.SHARES for value in (-0.1, 1.1, float("nan"))]
NUMBERS += [(name, value) for name in configuration.MOMENTS for value in (-0.1, 1.0)]
NUMBERS += [("seed", -1), ("seed", 2**32), ("checkpoint.best_mode", "least"), ("data.workers", -2)]
NUMBERS += [("precision", value) for value in ("float16", "float64", "")]
NUMBERS += [("model.discriminator.dropout", value) for value in (1.0, 1.5, -0.1, float("nan"))]
NUMBERS += [("margin", value) for value in (-2.0, -0.5, float("nan"), float("inf"))]
NUMBERS += [("top_k.share", value) for value in (0.0, -0.1, 1.1, float("nan"))]
NUMBERS += [("latent_optimisation.damping", value) for value in (0.0, -1.0, float("nan"), float("inf"))]
NUMBERS += [
    (f"model.{network}.dense", value) for network in configuration.NETWORKS for value in ((0,), (8, -1), (2.5,))
]
NUMBERS += [
    (name, value)
    for name in ("targets.real", "targets.fake")
    for value in ((1.0, 0.0), (0.0, 1.1), (-0.1, 1.0), (0.5,), (0.0, 0.5, 1.0), ("a", "b"))
]


@pytest.mark.parametrize(("name", "value"), NUMBERS)
def test_a_value_out_of_range_is_named(name, value):
    config = tiny_config(**{name: value})
    with raises_user_error(UserError) as raised:
        configuration.validate(config)
    assert str(raised.value).startswith(f"config.{name}={configuration.flatten(config)[name]} should be ")


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, 1) for name in configuration.POSITIVE]
    + [(name, 0) for name in configuration.NOT_NEGATIVE]
    + [(name, value) for name in configuration.SHARES for value in (0.0, 1.0)]
    + [(name, 0.0) for name in configuration.MOMENTS]
    + [
        ("seed", 2**32 - 1),
        ("checkpoint.best_mode", "max"),
        ("data.workers", -1),
        ("targets.real", (0.0, 1.0)),
        ("targets.fake", (0.3, 0.3)),
        ("margin", -1.0),
        ("margin", 0.0),
        ("top_k.share", 1.0),
        ("top_k.share", 1e-6),
        ("latent_optimisation.damping", 1e-6),
        ("model.discriminator.dropout", 0.0),
        ("model.discriminator.dropout", 0.99),
        ("precision", "bfloat16"),
        ("model.generator.dense", ()),
        ("model.discriminator.dense", (1, 300)),
    ],
)
def test_the_ends_of_a_range_are_in_it(name, value):
    configuration.validate(tiny_config(**{name: value}))


@pytest.mark.parametrize("name", configuration.ON_NONFINITE)
def test_what_follows_numbers_that_are_not_finite_is_chosen_by_name(name):
    configuration.validate(tiny_config(on_nonfinite=name))
    with raises_user_error(UserError, match=f"there is no config.on_nonfinite '{name}s': did you mean {name}"):
        configuration.validate(tiny_config(on_nonfinite=f"{name}s"))


def test_every_number_has_a_range():
    """A new numeric setting that nobody checks would show here."""
    names = {
        *configuration.POSITIVE,
        *configuration.NOT_NEGATIVE,
        *configuration.SHARES,
        *configuration.MOMENTS,
        "data.workers",
        "seed",
        "margin",
        "top_k.share",
        "latent_optimisation.damping",
        "model.discriminator.dropout",
    }
    flat = configuration.flatten(configuration.default())
    numbers = {name for name, value in flat.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    assert numbers == names


CHANGED = {int: lambda v: v + 1, float: lambda v: v / 2 + 0.3, bool: lambda v: not v, str: lambda v: v + "x"}


def test_every_setting_survives_json(tmp_path):
    """Each with another value than its default."""
    config = configuration.default()
    flat = configuration.flatten(config)
    other = {name: CHANGED[type(value)](value) for name, value in flat.items() if not isinstance(value, tuple)}
    other |= {name: (*value, *value, "x") for name, value in flat.items() if isinstance(value, tuple)}
    config.update_from_flattened_dict(other)
    configuration.save(config, tmp_path / "config.json")
    loaded = configuration.flatten(configuration.load(tmp_path / "config.json"))
    assert loaded == other
    assert {name: type(value) for name, value in loaded.items()} == {name: type(value) for name, value in flat.items()}
    assert all(loaded[name] != value for name, value in flat.items())


def test_every_penalty_has_a_weight_and_an_interval_and_no_other_name_does():
    config = configuration.default()
    assert set(config.penalties) == set(config.penalty_every) == set(penalties.PENALTIES)
    assert set(config.generator_penalties) == set(penalties.GENERATOR_PENALTIES)
    assert set(configuration.PENALTIES) == set(penalties.PENALTIES)
    assert not any(config.penalties.values())
    assert not any(config.generator_penalties.values())


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ((), ()),
        (("a", "b"), ("a", "b")),
        (("a,b",), ("a", "b")),
        (("a, b", " c "), ("a", "b", "c")),
        (("", "a,,b,"), ("a", "b")),
    ],
)
def test_names_are_listed_one_by_one_or_with_commas(entries, names):
    assert configuration.listed(entries) == names


# Populations

R1, RATE = "penalties.r1", "optimizer.generator.learning_rate"
SWEPT = {"population": 3, "seed": 5, "sweep": f" {R1} = 0.1, 1,1e1 ;ema_decay=0.9,0.99,0 ; "}


def test_what_can_be_swept_is_a_decimal_setting_that_has_a_range():
    flat = configuration.flatten(configuration.default())
    assert len(set(configuration.SWEEPABLE)) == len(configuration.SWEEPABLE)
    assert {type(flat.get(name)) for name in configuration.SWEEPABLE} == {float}


def test_a_sweep_gives_each_member_its_own_values():
    config = tiny_config(**SWEPT)
    assert configuration.sweep(config) == {R1: (0.1, 1.0, 10.0), "ema_decay": (0.9, 0.99, 0.0)}
    assert configuration.sweep(tiny_config(population=3)) == {}
    assert configuration.values(config, R1) == (0.1, 1.0, 10.0)
    assert configuration.values(config, "penalties.r2") == (0.0,)
    assert configuration.values(tiny_config(penalties__r1=2.0), R1) == (2.0,)
    configuration.validate(config)


def test_each_member_is_an_experiment_of_its_own():
    config = tiny_config(**SWEPT)
    members = configuration.members(config)
    for index, (r1, decay) in enumerate([(0.1, 0.9), (1.0, 0.99), (10.0, 0.0)]):
        assert members[index] == tiny_config(seed=5 + index, penalties__r1=r1, ema_decay=decay)
        assert configuration.members(members[index]) == [members[index]]
    assert len(members) == 3
    assert config == tiny_config(**SWEPT)  # which is left as it was


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("penalties.r3=1,2", r"no setting in config\.sweep 'penalties\.r3': did you mean penalties\.r"),
        ("ema_dekay=1,2", r"no setting in config\.sweep 'ema_dekay': did you mean ema_decay"),
        ("batch_size=1,2", r"no setting in config\.sweep 'batch_size'"),  # which is no weight
        (
            f"{R1}=1,2,3",
            rf"config\.sweep='{R1}=1,2,3': {R1} has 3 values, and config\.population=2 members need as many",
        ),
        (f"{R1}=1", rf"{R1} has 1 values, and config\.population=2 members"),
        (f"{R1}=1,two", rf"config\.sweep='{R1}=1,two': {R1} should be followed by = and numbers"),
        (f"{R1}", rf"{R1} should be followed by = and numbers"),
        (f"{R1}=1,", rf"{R1} should be followed by = and numbers"),
        (f"{R1}=1,2; {R1}=3,4", rf"should have {R1} once"),
        (f"{R1}=1,-2", r"config\.penalties\.r1=-2\.0 should be at least 0"),
        (f"{RATE}=1,nan", r"config\.optimizer\.generator\.learning_rate=nan should be at least 0"),
        ("ema_decay=1,1.5", r"config\.ema_decay=1\.5 should be from 0 to 1"),
    ],
)
def test_a_wrong_sweep_is_answered(text, message):
    with raises_user_error(UserError, match=message):
        configuration.validate(tiny_config(population=2, sweep=text))


def test_one_run_alone_has_nothing_to_sweep():
    with raises_user_error(UserError, match=r"config\.population=1 should be larger"):
        configuration.validate(tiny_config(sweep=f"{R1}=1"))


def test_the_seeds_of_all_members_are_in_range():
    configuration.validate(tiny_config(population=4, seed=2**32 - 4))
    with raises_user_error(UserError, match=r"config\.seed=4294967293 should be from 0 to 4294967292"):
        configuration.validate(tiny_config(population=4, seed=2**32 - 3))


# Shipped experiments


def shipped(path):
    """The configuration of a file in configs/, with networks that are quick to compile."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    assert f"python train.py --config=configs/{path.name}" in module.__doc__
    config.batch_size = 4
    for network in ("generator", "discriminator"):
        config.model[network].width = 4
    return config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid_and_its_step_keeps_the_state_s_shape(path):
    config = shipped(path)
    configuration.validate(config)
    data = config.data
    assert data.load_size > data.size or (data.crop, data.load_size) == ("centre", 0)
    exp = experiment.build(config, classes=10)
    state = jax.eval_shape(lambda: experiment.initial_state(exp))
    count = (config.discriminator_steps, 4)
    images = jax.ShapeDtypeStruct((*count, *example_shape(data)), np.float32)
    batch = {"images": images, "labels": jax.ShapeDtypeStruct(count, np.int32)}
    after, metrics = jax.eval_shape(functools.partial(gan.UPDATES[config.updates], exp), state, batch)
    assert after == state
    assert {metric.shape for metric in metrics.values()} == {()}


def test_the_default_experiment_takes_a_step():
    shipped_one = Experiment(shipped(CONFIGS[0].with_name("digits.py")))
    state, metrics = shipped_one.run(1)
    assert int(state.step) == 1
    assert all(np.isfinite(value) for value in metrics.values())
    # A relativistic loss does not notice the last bias, so only the kernels are bound to change.
    kernels = lambda state: {path: leaf for path, leaf in leaves(state.networks).items() if "kernel" in path}  # noqa: E731
    assert_all_changed(kernels(state), kernels(shipped_one.state))
