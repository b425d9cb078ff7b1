"""Settings: which exist, what they allow, how choices change them, JSON and back, and every shipped experiment."""

import ast
import functools
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from experiments import Experiment, assert_all_changed, leaves, raises_user_error, tiny_config
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from jaxgan.adversarial import penalties
from jaxgan.adversarial.augment import AUGMENTATION_NAMES, NAMES_OF_ANY
from jaxgan.cli import train
from jaxgan.config import SETTINGS, build, default, example_batch, load, save, validate, with_changes
from jaxgan.core import settings as declarations
from jaxgan.core.experiment import initial_state, with_constants
from jaxgan.core.settings import (
    ABOVE_ZERO,
    ANY,
    BELOW_ONE,
    DIMENSIONS,
    FRACTION,
    INTERVAL,
    MAX_COUNT,
    MAX_FLOAT,
    NOT_NEGATIVE,
    POSITIVE,
    Choice,
    Range,
    Setting,
    differences,
    flatten,
    resolve,
    split_names,
    sweep,
    walk,
)
from jaxgan.data.sizes import SIZE, SIZE_OR_ZERO
from jaxgan.data.sources import kind_of
from jaxgan.data.sources.solids import SIDES
from jaxgan.errors import UserError
from jaxgan.io import run_folder
from jaxgan.models.dcgan import KERNEL_SIZES
from jaxgan.models.ops.pyramid import NUMBERS

NAN, INFINITY = float("nan"), float("inf")
CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.py"))


# Declarations: every setting of every choice


# Every setting and choice: (dotted name, declaration, {choice: entry} under which it exists).
OCCURRENCES = [(name, entry, dict(choices)) for name, entry, choices in walk(SETTINGS)]
# The first occurrence of each declaration of a name: `margin` of "hinge" and of "relativistic" are two.
DECLARED = list({(name, entry[:3]): (name, entry, choices) for name, entry, choices in OCCURRENCES[::-1]}.values())
NAMED = list({name: (name, entry, choices) for name, entry, choices in OCCURRENCES[::-1]}.values())  # one of each name
# Every entry of every table: (choice, entry, the choices that lead there).
ENTRIES = [
    (name, key, choices)
    for name, entry, choices in OCCURRENCES
    if isinstance(entry, Choice)
    for key, brought in entry.table().items()
    if not isinstance(brought, str)
]
CHOICES = sorted({name for name, _, _ in ENTRIES})


def entries_of(choice: str) -> list[tuple[str, dict]]:
    """The entries of a choice that can be chosen, and the choices that lead there."""
    return [(key, choices) for name, key, choices in ENTRIES if name == choice]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_configuration_holds_exactly_the_settings_of_its_choices(choice):
    """A setting exists where all choices that lead to it are made, and nowhere else."""
    for key, choices in entries_of(choice):
        config = default(choices | {choice: key})
        flat = flatten(config)
        expected = {
            name
            for name, _, needed in OCCURRENCES
            if all(kind_of(flat.get(other, "")) == value for other, value in needed.items())
        }
        assert flat.keys() == expected
        assert flat[choice] == key
        assert validate(config).keys() == expected


def test_a_choice_whose_entry_says_why_it_cannot_be_made_is_refused_with_the_reason():
    declared = {"shape": Choice("disc", "", lambda: {"disc": {}, "blob": "has no outline", "square": {}})}
    with raises_user_error(UserError, match=r"^config\.shape=blob has no outline: choose from disc, square$"):
        declarations.default(declared, {"shape": "blob"})
    refused = [
        (choices | {name: key}, brought)
        for name, entry, choices in OCCURRENCES
        if isinstance(entry, Choice)
        for key, brought in entry.table().items()
        if isinstance(brought, str)
    ]
    for values, reason in refused:
        with raises_user_error(UserError, match=re.escape(reason)):
            default(values)


def test_every_default_is_in_its_range_and_of_a_type_that_json_gives_back():
    for name, entry, _ in DECLARED:
        back = json.loads(json.dumps(entry.default))
        back = tuple(back) if isinstance(back, list) else back
        assert (back, type(back)) == (entry.default, type(entry.default)), name
        if isinstance(entry, Choice):
            assert not isinstance(entry.table()[entry.key(entry.default)], str), name
        else:
            assert entry.range.valid(entry.default), name


def test_every_setting_is_explained_in_a_line():
    for name, entry, _ in DECLARED:
        assert entry.help == entry.help.strip() != "", name
        assert "\n" not in entry.help, name


def test_the_defaults_are_valid():
    assert validate(default()).keys() == flatten(default()).keys()
    assert default() == default({name: entry.default for name, entry in resolve(SETTINGS, {}).items()})


def test_every_penalty_has_a_weight_and_an_interval_and_no_other_name_does():
    config = default()
    assert set(config.penalties) == set(config.penalty_interval) == set(penalties.PENALTIES)
    assert set(config.generator_penalties) == set(penalties.GENERATOR_PENALTIES)
    assert set(config.generator_penalties) == set(config.generator_penalty_interval)
    assert not any(config.penalties.values())
    assert not any(config.generator_penalties.values())


ALTERNATIVES = {"precision": "bfloat16", "checkpoint.best_mode": "max", "on_nonfinite": "skip", "data.crop": "random"}
ALTERNATIVES |= {"data.placement": "resident", "data.on_bad_image": "skip", "augment": ("cutout",)}
ALTERNATIVES |= {"penalty_settings.transform": ("flip",), "data.classes": ("a", "b"), "targets.real": (0.5, 1.0)}
ALTERNATIVES |= {
    "ada.operations": ("blit",),
    "ada.target": 0.5,
    "apa.target": 0.5,
    "targets.fake": (0.0, 0.5),
    "sweep": " ",
    "data.fit": "stretch",
    "direction": "ba",
    "margins": (0.5, 1.0),
    "perceptual_features": "pixels",
    "data.up": "x",
    "model.generator.smallest": 2,
    "model.discriminator.smallest": 2,
}
CHANGED = {int: lambda v: v + 1, float: lambda v: v / 2 + 0.3, bool: lambda v: not v, str: lambda v: v + "x"}
CHANGED[tuple] = lambda v: (*v, 8)


def alternative(name: str, entry: Setting):
    """Another value than the default, in the setting's range."""
    value = ALTERNATIVES.get(name, CHANGED[type(entry.default)](entry.default))
    assert value != entry.default
    assert entry.range.valid(value), name
    return value


# Which settings a run may change when it is resumed, and in which the members of a population may differ

RESUMABLE = {"steps", "log_every", "sample_every", "checkpoint_every", "steps_per_dispatch"}
RESUMABLE |= {"checkpoint.keep", "checkpoint.best", "checkpoint.best_mode", "on_nonfinite", "nonfinite_limit"}
RESUMABLE |= {"eval.every", "eval.num", "eval.features", "eval.weights"}
RESUMABLE |= {"data.cache", "data.placement", "data.workers", "data.on_bad_image", "data.max_pixels"}


def in_another_way(name: str, entry: Setting | Choice, choices: dict) -> tuple[ConfigDict, ConfigDict]:
    """A configuration that has a setting, and one that has another value of it."""
    config = default(choices)
    value = flatten(config)[name]
    if isinstance(entry, Setting):
        return config, with_changes(config, {name: alternative(name, entry)})[0]
    keys = [key for key, brought in entry.table().items() if key != value and not isinstance(brought, str)]
    return config, with_changes(config, {name: keys[0]})[0] if keys else config


def test_a_resumed_run_may_change_exactly_the_resumable_settings(tmp_path):
    for name, entry, choices in NAMED:
        config, changed = in_another_way(name, entry, choices)
        workdir = tmp_path / ("run " + " ".join(f"{choice}={key}" for choice, key in choices.items()))
        if not workdir.exists():
            (workdir / "checkpoints" / "0").mkdir(parents=True)
            save(config, workdir / "config.json")
        found = differences(config, changed)
        assert name in found or len(entry.table()) == 1
        if name in RESUMABLE:
            assert run_folder.check_folder(workdir, changed) == found
        elif found:
            with pytest.raises(UserError) as refused:
                run_folder.check_folder(workdir, changed)
            for other, (old, new) in found.items():  # the settings of another choice change with the choice
                assert re.search(re.escape(f"{other} {old!r} -> {new!r}") + "[;)]", str(refused.value))
            allowed = run_folder.allowed_changes(str(refused.value).partition("--allow_config_change=")[2])
            assert run_folder.check_folder(workdir, changed, allowed) == found


def test_the_name_of_a_group_allows_changes_of_all_its_settings():
    found = run_folder.allowed_changes("optimizer.vae, k")
    own = {name for name in declarations.every_name(SETTINGS) if name.startswith("optimizer.vae.")}
    assert set(found) == own | {"k"} != {"k"}
    assert set(run_folder.allowed_changes("optimizer")) > own
    assert run_folder.allowed_changes("") == ()
    with pytest.raises(UserError, match=r"unknown setting in --allow_config_change 'optimiser'.*optimizer"):
        run_folder.allowed_changes("optimiser")


def test_what_a_population_may_differ_in_is_a_number_that_has_a_range():
    """Numbers by which something is multiplied, and nothing else: one program serves them all."""
    for name, entry, _ in DECLARED:
        if isinstance(entry, Setting) and entry.sweepable:
            assert type(entry.default) is float, name
            assert entry.range is not ANY, name


SWEEPABLE = {"ema_decay", "margin", "adversarial", "feature_matching", "conditioning.weight", "weight_clip"}
SWEEPABLE |= {"instance_noise.stddev", "latent_optimisation.rate", "latent_optimisation.damping"}
SWEEPABLE |= {"penalty_settings.perturbation_stddev", "generator_penalties.zcr", "generator_penalties.orthogonal"}
SWEEPABLE |= {"generator_penalties.path_length", "ema_half_life", "accuracy_gate"}
SWEEPABLE |= {f"{name}.{own}" for name in ("ada", "apa") for own in ("p", "target", "speed")}
SWEEPABLE |= {f"conditioning.{name}" for name in ("temperature", "positive_margin", "negative_margin")}
SWEEPABLE |= {
    f"optimizer.{network}.{name}" for network in ("generator", "discriminator") for name in ("learning_rate", "b2")
}
SWEEPABLE |= {f"penalties.{name}" for name in penalties.PENALTIES}


def test_the_settings_of_a_gan_that_members_may_differ_in():
    of_gan = {
        name: entry
        for name, entry, choices in DECLARED
        if choices.get("algorithm") == "gan" and isinstance(entry, Setting)
    }
    assert {name for name, entry in of_gan.items() if entry.sweepable} == SWEEPABLE


# Ranges

BAD = {
    POSITIVE: (0, -1),
    NOT_NEGATIVE: (-1,),
    ABOVE_ZERO: (0.0, -1.0, NAN, INFINITY),
    FRACTION: (-0.1, 1.1, NAN),
    BELOW_ONE: (-0.1, 1.0, 1.5, NAN),
    DIMENSIONS: ((0,), (8, -1), (2.5,), (MAX_COUNT + 1,)),
    INTERVAL: ((1.0, 0.0), (0.0, 1.1), (-0.1, 1.0), (0.5,), (0.0, 0.5, 1.0), ("a", "b")),
    AUGMENTATION_NAMES: (("flip,cuotut",), ("flop",)),
    NAMES_OF_ANY: (("mirror,trun",), ("flop",)),
    SIZE: (0, -1, "64x0", "64x", "64"),
    SIZE_OR_ZERO: (-1, "64x", "64"),
    NUMBERS: ((), (0,), (8, -1), (2.5,)),
    KERNEL_SIZES: (1, -1),
    SIDES: (0, 15),
}
GOOD = {
    POSITIVE: (1,),
    NOT_NEGATIVE: (0,),
    ABOVE_ZERO: (1e-6,),
    FRACTION: (0.0, 1.0),
    BELOW_ONE: (0.0, 0.99),
    DIMENSIONS: ((), (1, 300)),
    INTERVAL: ((0.0, 1.0), (0.3, 0.3)),
    AUGMENTATION_NAMES: ((), ("flip",), ("colour,translation", "cutout")),
    NAMES_OF_ANY: ((), ("flip",), ("mirror,turn",)),
    SIZE: (1, "64x96"),
    SIZE_OR_ZERO: (0, 72, "0x0", "72x108"),
    NUMBERS: ((1,), (1, 300)),
    KERNEL_SIZES: (2, 5),
    SIDES: (16, 100),
}
# Of a setting with a range of its own: values outside and inside.
OWN = {
    "seed": ((-1, 2**32), (0, 2**32 - 1)),
    "data.workers": ((-2,), (-1, 0)),
    "top_k.fraction": ((0.0, -0.1, 1.1, NAN), (1e-6, 1.0)),
    "precision": (("float16", "float64", ""), ("float32", "bfloat16")),
    "checkpoint.best_mode": (("least", ""), ("min", "max")),
    "on_nonfinite": (("skips", "stops", ""), ("stop", "skip", "rollback")),
    "data.placement": (("residant",), ("auto", "resident", "streaming")),
    "data.crop": (("middle",), ("centre", "center", "random")),
    "data.on_bad_image": (("skipp",), ("error", "skip")),
    "data.fit": (("cropp",), ("crop", "stretch")),
    "direction": (("aa", "b"), ("ab", "ba")),
    "ada.operations": (((), ("blitt",), ("blit*-1",), ("blit*0",)), (("blit",), ("bgc", "color*0.5"))),
    "ada.target": ((-1.0, 1.0, NAN), (-0.99, 0.0, 0.99)),
    "apa.target": ((-1.0, 1.0, NAN), (-0.99, 0.0, 0.99)),
    "blur_sigma": ((-0.1, 1001.0, NAN), (0.0, 1000.0)),
    "model.synthesis.layers": ((2,), (3, 14)),
    "model.generator.smallest": ((3, 8), (2, 4)),
    "model.discriminator.smallest": ((3, 8), (2, 4)),
    "data.frames": ((0, 1), (2, 100)),
    "data.up": (("up", ""), ("x", "z")),
    "perceptual_features": (("vgg", ""), ("auto", "pixels")),
}


def ranged() -> list[tuple[str, Setting, dict, tuple, tuple]]:
    """Every setting with a range: its name, declaration, choices, and values outside and inside."""
    found = []
    for name, entry, choices in DECLARED:
        if isinstance(entry, Setting) and entry.range is not ANY:
            bad, good = OWN[name] if name in OWN else (BAD[entry.range], GOOD[entry.range])
            if entry.range is NOT_NEGATIVE and isinstance(entry.default, float):
                bad = (*bad, NAN, INFINITY)
            found.append((name, entry, choices, bad, good))
    return found


def test_a_value_out_of_range_is_named_with_the_range():
    for name, entry, choices, bad, _ in ranged():
        for value in bad:
            config = default(choices | {name: value})
            with raises_user_error(UserError) as raised:
                validate(config)
            assert str(raised.value) == f"config.{name}={flatten(config)[name]} must be {entry.range.expected}"


def test_the_ends_of_a_range_are_in_it():
    for name, _, choices, _, good in ranged():
        for value in good:
            config = default(choices | {name: value})
            assert name in validate(config)
            assert flatten(config)[name] == value


def test_every_number_has_a_range():
    """A new numeric setting that nobody checks, or a new range without examples above, would show here."""
    for name, entry, _ in DECLARED:
        if (
            isinstance(entry, Setting)
            and isinstance(entry.default, int | float)
            and not isinstance(entry.default, bool)
        ):
            assert entry.range is not ANY, name
    assert OWN.keys() <= {name for name, *_ in ranged()}


def test_a_number_that_the_device_cannot_hold_is_refused():
    for name, entry, choices in DECLARED:
        if type(entry.default) is int and name != "seed":
            with raises_user_error(UserError, match=rf"^config\.{name}={MAX_COUNT + 1} must be at most {MAX_COUNT}$"):
                validate(default(choices | {name: MAX_COUNT + 1}))
        if type(entry.default) is float:
            with raises_user_error(UserError, match=rf"^config\.{name}=1e\+39 must be at most 3\.4e\+38$"):
                validate(default(choices | {name: 1e39}))
    assert float(np.finfo(np.float32).max) == MAX_FLOAT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("steps", r"config\.steps=None must be like 10000"),
        ("ema_decay", r"config\.ema_decay=None must be like 0\.999"),
        ("data.classes", r"config\.data\.classes=None must be like \(\)"),
        ("sweep", r"config\.sweep=None must be like ''"),
        ("loss", r"unknown config\.loss 'None'"),
        ("data.source", r"unknown config\.data\.source 'None': choose from array, cartoon_heads, clips, digits"),
    ],
)
def test_none_which_a_config_dict_takes_for_anything_is_no_value(name, message):
    config = default()
    config.update_from_flattened_dict({name: None})
    with raises_user_error(UserError, match=message):
        validate(config)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", "many", r"^config\.steps='many' must be like 10000$"),
        ("steps", 1.5, r"^config\.steps=1\.5 must be like 10000$"),
        ("steps", None, r"^config\.steps=None must be like 10000$"),
        ("ema_decay", 10**400, r"^config\.ema_decay=1000.*\.\.\..* must be like 0\.999$"),
        ("loss", 3, r"unknown config\.loss '3'"),
        ("data.classes", "a", r"^config\.data\.classes='a' must be like \(\)$"),
        ("lossy", 1, r"^unknown setting 'config\.lossy': did you mean config\.loss"),
        ("data", 1, r"^unknown setting 'config\.data'"),
    ],
)
def test_a_value_of_another_type_is_refused(name, value, message):
    with raises_user_error(UserError, match=message):
        default({name: value})


# Unknown settings


def test_an_unknown_setting_names_the_choice_that_has_it():
    """Who follows the advice, choice by choice, gets the setting."""
    seen = set()
    for name, entry, choices in NAMED:
        values = {}
        while name not in flatten(default(values)):
            with raises_user_error(UserError) as raised:
                default(values | {name: entry.default})
            advice = re.fullmatch(rf"config\.{re.escape(name)} has no effect here: (.+) has it", str(raised.value))
            reasons = dict(reason.split("=") for reason in advice[1].split(", or "))
            for choice, keys in reasons.items():
                assert choice in flatten(default(values))
                for key in keys.split(" or "):
                    assert flatten(default(values))[choice] != key
            # Of several choices that have it, the one that leads to this declaration.
            leads = (other for other in choices if choices[other] in reasons.get(other, "").split(" or "))
            choice = next(other for other in leads if other not in values)
            values[choice] = choices[choice]
            seen.add(name)
    assert {"margin", "conditioning.categories", "optimizer.generator.decay_steps", "eval.weights"} <= seen


def test_a_setting_that_no_choice_has_is_answered_with_those_near_it():
    with raises_user_error(UserError, match=r"^unknown setting 'config\.penalties\.rr1': did you mean .*penalties\.r1"):
        default({"penalties.rr1": 1.0})
    config = ConfigDict(default().to_dict() | {"stepz": 3})
    with raises_user_error(UserError, match=r"^unknown setting 'config\.stepz': did you mean config\.steps"):
        validate(config)


ONE_LINE = r"^config\.[\w.]+(=\w+ has no \w+, which .*| has no effect here: .* has it| is missing: .*)$"


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_that_was_assigned_without_its_settings_is_an_error_in_one_line(choice):
    """Where two entries bring the same settings, assignment is as good as a choice in `default`."""
    entries = entries_of(choice)
    for (old, choices), (new, others) in zip(entries, entries[1:] + entries[:1], strict=True):
        if choices != others:
            continue
        config, made = default(choices | {choice: old}), flatten(default(choices | {choice: new}))
        config.update_from_flattened_dict({choice: new})
        if flatten(config).keys() == made.keys():
            validate(config)
        else:
            with raises_user_error(UserError, match=ONE_LINE):
                validate(config)


# Other choices

SHAPES = {
    "count": Setting(3, "", POSITIVE),
    "name": Choice(
        "square",
        "",
        lambda: {
            "square": {
                "side": Setting(2.0, "", ABOVE_ZERO),
                "depth": Setting(2, "", POSITIVE),
                "tags": Setting((), ""),
                "radius": Setting(1.0, "", ABOVE_ZERO),
                "corner": Choice("sharp", "", lambda: {"sharp": {}, "round": {"bend": Setting(0.5, "")}}),
            },
            "disc": {
                "side": Setting(2, "", POSITIVE),
                "depth": Setting(1.0, "", ABOVE_ZERO),
                "tags": Setting((), ""),
                "radius": Setting(9.0, "", Range(lambda value: value >= 9, "at least 9")),
                "corner": Choice("none", "", lambda: {"none": {}}),
            },
        },
    ),
}


def test_changed_values_are_kept_by_name_and_type_and_a_carried_name_that_the_table_lacks_takes_the_default():
    config = declarations.default(SHAPES, {"corner": "round"})
    config.update({"count": 7, "side": 3.0, "depth": 5, "tags": ("a",), "radius": 4.0, "bend": 0.7})
    before = config.to_dict()
    new, dropped = declarations.with_changes(SHAPES, config, {"name": "disc"})
    assert new.to_dict() == {
        "count": 7,
        "name": "disc",
        "side": 2,  # which is a whole number here, and 3.0 is none
        "depth": 5.0,  # a whole number is a number
        "tags": ("a",),
        "radius": 9.0,  # 4 is out of its range
        "corner": "none",  # which has no "round"
    }
    assert dropped == {"side": 3.0, "radius": 4.0, "corner": "round", "bend": 0.7}
    assert type(new.depth) is float
    assert config.to_dict() == before
    declarations.validate(SHAPES, new)


def test_unchanged_values_take_the_defaults_of_the_new_choice():
    config = declarations.default(SHAPES)
    new, dropped = declarations.with_changes(SHAPES, config, {"name": "disc"})
    assert (new, dropped) == (declarations.default(SHAPES, {"name": "disc"}), {})
    back, dropped = declarations.with_changes(SHAPES, new, {"name": "square"})
    assert (back, dropped) == (config, {})
    hinge, dropped = with_changes(default({"loss": "relativistic"}), {"loss": "hinge"})
    assert (hinge.margin, dropped) == (1.0, {})


def all_changed(config: ConfigDict) -> ConfigDict:
    """The configuration with another value of everything that is no choice."""
    resolved = resolve(SETTINGS, flatten(config))
    others = {name: alternative(name, entry) for name, entry in resolved.items() if isinstance(entry, Setting)}
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(others)
    return changed


@pytest.mark.parametrize("choice", CHOICES)
def test_another_choice_keeps_what_it_knows_and_drops_and_lists_the_rest(choice):
    entries = entries_of(choice)
    for (old, choices), (new, _) in zip(entries, entries[1:] + entries[:1], strict=True):
        config = all_changed(default(choices | {choice: old}))
        before = flatten(config)
        resolved = resolve(SETTINGS, before)
        if isinstance(resolved[choice].table().get(new, "another choice leads there"), str):
            with raises_user_error(UserError, match=re.escape(f"config.{choice}")):
                with_changes(config, {choice: new})
            continue
        changed, dropped = with_changes(config, {choice: new})
        after = flatten(changed)
        made = {name: after[name] for name, entry in resolve(SETTINGS, after).items() if isinstance(entry, Choice)}
        fresh = flatten(default(made))
        assert after[choice] == new
        assert after.keys() == fresh.keys()
        differing = {name for name in before if before[name] != resolved[name].default} - {choice}
        assert dropped == {name: before[name] for name in differing if name not in after}
        for name, value in after.items():
            if name != choice:
                assert value == (before[name] if name in differing else fresh[name]), name


# The command line


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_on_the_command_line_is_one_in_the_defaults(choice, capsys):
    for key, choices in entries_of(choice):
        assert train.override(
            default(), [f"--config.{name}={value}" for name, value in choices.items()] + [f"--config.{choice}={key}"]
        ) == default(choices | {choice: key})
    assert capsys.readouterr() == ("", "")


def test_the_order_of_the_command_line_does_not_matter_but_for_an_option_given_twice():
    one = ["--config.margin=0.5", "--config.optimizer.generator.decay_steps=7"]
    two = ["--config.loss=hinge", "--config.optimizer.generator.schedule=linear"]
    expected = default({"loss": "hinge", "optimizer.generator.schedule": "linear", "margin": 0.5})
    expected.optimizer.generator.decay_steps = 7
    assert train.override(default(), one + two) == train.override(default(), two + one) == expected
    twice = ["--config.loss=wgan", "--config.steps=3", "--config.loss=hinge", "--config.steps=4"]
    assert train.override(default(), twice) == default({"loss": "hinge", "steps": 4})


def test_the_command_line_keeps_changed_values_and_prints_what_it_drops(capsys):
    config = tiny_config(targets__flip=0.25, penalties__r1=2.0, optimizer__generator__b2=0.9)
    new = train.override(config, ["--config.loss=hinge", "--config.optimizer.generator.name=sgd"])
    assert (new.penalties.r1, new.loss, new.margin, new.latent_dim) == (2.0, "hinge", 1.0, config.latent_dim)
    out, err = capsys.readouterr()
    assert (out.splitlines(), err) == (
        [
            "config.loss=hinge has no config.targets.flip=0.25: dropped",
            "config.optimizer.generator.name=sgd has no config.optimizer.generator.b2=0.9: dropped",
        ],
        "",
    )
    # What is given another value on the same command line is not called dropped.
    both = train.override(config, ["--config.model.family=dcgan", "--config.model.generator.base_channels=2"])
    assert both.model.generator.base_channels == 2
    assert capsys.readouterr().out == (
        "config.model.family=dcgan has no config.model.discriminator.width=4, config.model.generator.width=4: dropped\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.margin=1"], r"^config\.margin has no effect here: loss=logistic or hinge .* has it$"),
        (
            ["--config.loss=hinge", "--config.targets.flip=0.1"],
            r"^config\.targets\.flip has no effect here: loss=minimax",
        ),
        (["--config.update_rule=simultaneous", "--config.discriminator_steps=2"], r"update_rule=alternating has it$"),
        (["--config.stepz=3"], r"^unknown setting 'config\.stepz': did you mean config\.steps"),
        (["--config.model=dcgan"], r"^unknown setting 'config\.model'"),
        (["--config"], r"^'--config' is not an option: write --config\.name=value"),
        (["--config.="], r"^unknown setting 'config\.'"),
        (["--config.steps=many"], r"config\.steps=many must be a whole number"),
        (["--config.loss=hing"], r"^unknown config\.loss 'hing': did you mean hinge or rahinge\?"),
        (["--config.loss"], r"^unknown config\.loss ''"),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(arguments, message):
    with raises_user_error(UserError, match=message):
        train.override(default(), arguments)


# JSON and back


def round_trip(config: ConfigDict, folder: Path) -> None:
    """The way to JSON and back is the identity, values and types alike."""
    path = folder / "config.json"
    save(config, path)
    loaded = load(path)
    assert loaded == config
    assert differences(loaded, config) == {}
    assert {name: type(value) for name, value in flatten(loaded).items()} == {
        name: type(value) for name, value in flatten(config).items()
    }
    assert [each.name for each in folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_setting_of_every_choice_survives_json(choice, tmp_path):
    """Each with its default, and each with another value."""
    for key, choices in entries_of(choice):
        config = default(choices | {choice: key})
        round_trip(config, tmp_path)
        round_trip(all_changed(config), tmp_path)


@hypothesis_settings(deadline=None, max_examples=30, derandomize=True)
@given(rate=st.floats(0, 1), flip=st.floats(0, 1), seed=st.integers(0, 2**32 - 1), low=st.floats(0, 1))
def test_every_number_survives_json(tmp_path_factory, rate, flip, seed, low):
    config = tiny_config(
        optimizer__generator__learning_rate=rate, targets__flip=flip, targets__real=(low, 1.0), seed=seed
    )
    round_trip(config, tmp_path_factory.mktemp("config"))


def test_differences_are_exactly_what_was_changed():
    changes = {"seed": 7, "penalties__r1": 2.0, "targets__real": (0.5, 1.0), "optimizer__generator__b1": 0.0}
    found = differences(tiny_config(), tiny_config(**changes))
    assert found == {
        "seed": (0, 7),
        "penalties.r1": (0.0, 2.0),
        "targets.real": ((1.0, 1.0), (0.5, 1.0)),
        "optimizer.generator.b1": (0.5, 0.0),
    }
    back = differences(tiny_config(**changes), tiny_config())
    assert back == {name: (new, old) for name, (old, new) in found.items()}


def test_flatten_names_every_leaf_once():
    flat = flatten(default())
    rebuilt = {}
    for name, value in flat.items():
        *folders, leaf = name.split(".")
        place = rebuilt
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    assert rebuilt == default().to_dict()


def written(tmp_path, values) -> Path:
    path = tmp_path / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_missing_settings_take_their_defaults(tmp_path):
    loaded = load(written(tmp_path, {"seed": 5, "data": {"size": 16}, "targets": {}}))
    assert differences(default(), loaded) == {"seed": (0, 5), "data.size": (32, 16)}
    assert load(written(tmp_path, {})) == default()
    assert load(written(tmp_path, {"loss": "hinge"})) == default({"loss": "hinge"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sede": 1}, r"'config\.sede': did you mean config\.seed"),
        ({"sede": {}}, r"'config\.sede': did you mean config\.seed"),
        ({"data": {"sise": 1}}, r"'config\.data\.sise': did you mean config\.data\.size"),
        ({"margin": 1.0}, r"config\.margin has no effect here: loss="),
        ({"loss": "hinge", "targets": {"flip": 0.5}}, r"config\.targets\.flip has no effect here: loss="),
        ({"loss": "hing"}, r"unknown config\.loss 'hing': did you mean hinge"),
        ({"steps": "many"}, r"steps='many' must be like 10000"),
        ({"steps": 1.5}, r"steps=1\.5 must be like 10000"),
        ({"steps": None}, r"steps=None must be like 10000"),
        ({"steps": {}}, r"steps=\{\} must be like 10000"),
        ({"loss": 3}, r"loss=3 must be like 'non_saturating'"),
        ({"loss": None}, r"loss=None must be like"),
        ({"data": {"size": [16]}}, r"data\.size=\[16\] must be like 32"),
        ({"targets": {"real": "high"}}, r"targets\.real='high' must be like \(1\.0, 1\.0\)"),
        ({"data": 3}, r"data must be an object in braces, not 3"),
        ({"data": None}, r"data must be an object in braces, not None"),
        ({"model": {"generator": [1]}}, r"model\.generator must be an object in braces, not \[1\]"),
        ([1], r"the whole file must be an object in braces, not \[1\]"),
        ("{", r"is not valid JSON"),
        ("", r"is not valid JSON"),
    ],
)
def test_a_damaged_file_is_refused(values, message, tmp_path):
    path = written(tmp_path, values)
    with raises_user_error(UserError, match=message) as raised:
        load(path)
    assert str(path) in str(raised.value)


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
    assert split_names(entries) == names


# Populations

R1, RATE = "penalties.r1", "optimizer.generator.learning_rate"
SWEPT = {"population": 3, "seed": 5, "sweep": f" {R1} = 0.1, 1,1e1 ;ema_decay=0.9,0.99,0 ; "}


def test_a_sweep_gives_each_member_its_own_values():
    config = tiny_config(**SWEPT)
    assert sweep(config, validate(config)) == {R1: (0.1, 1.0, 10.0), "ema_decay": (0.9, 0.99, 0.0)}
    assert sweep(tiny_config(population=3), validate(config)) == {}
    assert build(config).values(R1) == (0.1, 1.0, 10.0)
    assert build(config).values("penalties.r2") == (0.0,)
    assert build(tiny_config(penalties__r1=2.0)).values(R1) == (2.0,)
    assert config == tiny_config(**SWEPT)  # which is left as it was


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("penalties.r3=1,2", r"unknown setting in config\.sweep 'penalties\.r3': did you mean penalties\.r"),
        ("ema_dekay=1,2", r"unknown setting in config\.sweep 'ema_dekay': did you mean ema_decay"),
        ("batch_size=1,2", r"unknown setting in config\.sweep 'batch_size'"),  # which is no weight
        (
            f"{R1}=1,2,3",
            rf"config\.sweep='{R1}=1,2,3': {R1} has 3 values, and config\.population=2 members need as many",
        ),
        (f"{R1}=1", rf"{R1} has 1 values, and config\.population=2 members"),
        (f"{R1}=1,two", rf"config\.sweep='{R1}=1,two': {R1} must be followed by = and numbers"),
        (f"{R1}", rf"{R1} must be followed by = and numbers"),
        (f"{R1}=1,", rf"{R1} must be followed by = and numbers"),
        (f"{R1}=1,2; {R1}=3,4", rf"must have {R1} once"),
        (f"{R1}=1,-2", r"config\.penalties\.r1=-2\.0 must be at least 0"),
        (f"{RATE}=1,nan", r"config\.optimizer\.generator\.learning_rate=nan must be at least 0"),
        ("ema_decay=1,1.5", r"config\.ema_decay=1\.5 must be from 0 to 1"),
    ],
)
def test_a_wrong_sweep_is_answered(text, message):
    with raises_user_error(UserError, match=message):
        validate(tiny_config(population=2, sweep=text))


def test_one_run_alone_has_nothing_to_sweep():
    with raises_user_error(UserError, match=r"config\.population=1 must be larger"):
        validate(tiny_config(sweep=f"{R1}=1"))


def test_the_seeds_of_all_members_are_in_range():
    validate(tiny_config(population=4, seed=2**32 - 4))
    with raises_user_error(UserError, match=r"config\.seed=4294967293 must be from 0 to 4294967292"):
        validate(tiny_config(population=4, seed=2**32 - 3))


# Shipped experiments


def shipped(path: Path) -> ConfigDict:
    """The configuration of a file in configs/, with networks that are quick to compile."""
    config = train.load_config(str(path))
    config.batch_size = 4
    for network in config.model.values():
        for name in ("width", "base_channels"):
            if isinstance(network, ConfigDict) and name in network:
                network[name] = 4
        if isinstance(network, ConfigDict) and "widths" in network:
            network.widths, network.cardinality, network.blocks, network.bfloat16_stages = (4,), (2,), (1,), 1
            config.data.size = 16
        if isinstance(network, ConfigDict) and "channel_base" in network:
            network.channel_base, network.channel_max = 64, 4
            config.data.size = 16
        if isinstance(network, ConfigDict) and "minibatch_stddev" in network:
            network.minibatch_stddev = min(network.minibatch_stddev, 4)
    return config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid_survives_json_and_names_its_command(path, tmp_path):
    config = train.load_config(str(path))
    validate(config)
    round_trip(config, tmp_path)
    name = path.relative_to(CONFIGS)
    assert train.load_config(str(name.with_suffix(""))) == config  # wherever the program is started
    assert f"python train.py --config=configs/{name}" in ast.get_docstring(ast.parse(path.read_text()))
    data = config.data
    assert "load_size" not in data or data.load_size > data.size or (data.crop, data.load_size) == ("centre", 0)


def traced(path: Path):
    """A file as a parameter: published networks have many layers, and take long to trace."""
    return pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.parent.name == "published" else [])


@pytest.mark.parametrize("path", [traced(path) for path in SHIPPED])
def test_the_step_of_every_shipped_experiment_keeps_the_state_s_shape(path):
    exp = with_constants(build(shipped(path), classes=10))
    state = jax.eval_shape(lambda: initial_state(exp))
    batch = jax.eval_shape(lambda: example_batch(exp))
    after, metrics = jax.eval_shape(functools.partial(exp.algorithm.step, exp), state, batch)
    assert after == state
    assert {metric.shape for metric in metrics.values()} == {()}
    assert metrics.keys() >= set(exp.algorithm.headlines)  # which the terminal shows


def test_the_default_experiment_takes_a_step():
    shipped_one = Experiment(shipped(CONFIGS / "digits.py"))
    state, metrics = shipped_one.run(1)
    assert int(state.step) == 1
    assert all(np.isfinite(value) for value in metrics.values())
    # A relativistic loss does not notice the last bias, so only the kernels are bound to change.
    kernels = lambda state: {path: leaf for path, leaf in leaves(state.networks).items() if "kernel" in path}  # noqa: E731
    assert_all_changed(kernels(state), kernels(shipped_one.state))
