"""What a configuration describes, and every refusal of settings that do not go together, beside what is right."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, experiment, leaves, params_of, raises_user_error, tiny_config

from jaxgan.adversarial import conditioning
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.penalties import PENALTIES
from jaxgan.algorithms import gan
from jaxgan.config import build, validate
from jaxgan.core.experiment import Experiment
from jaxgan.core.optimizers import OPTIMIZERS, SCHEDULES
from jaxgan.core.settings import flatten
from jaxgan.data import sources
from jaxgan.errors import UserError

CONDITIONAL = {"conditioning__generator": "concat", "conditioning__discriminator": "concat"}
INFOGAN = CONDITIONAL | {"conditioning__discriminator": "infogan"}
KNOWING = [name for name in conditioning.DISCRIMINATOR_CONDITIONING if name != "none"]
WEIGHTED = [name for name in KNOWING if conditioning.DISCRIMINATOR_CONDITIONING[name].auxiliary is not None]
HINGE = {"mhgan": {"loss": "hinge"}}  # what a conditioning needs besides
CRITIC = "model__discriminator__"
MIXTURE = {"data__source": "world:ring", "model__family": "toy_mlp"}
IMAGES = {"data__source": "digits", "model__family": "mlp"}

# What is refused, what the message says, and changes each of which puts it right.
REFUSED = [
    (
        {"adversarial": 0.0},
        "config.adversarial=0 leaves the generator nothing to learn: config.feature_matching must",
        [
            {"feature_matching": 1.0},
            {"adversarial": 0.1},
            {"sweep": "feature_matching=1,2", "population": 2},
            {"schedules": "adversarial=linear(1, 10)"},
        ],
    ),
    (
        {"sweep": "adversarial=1,0", "population": 2},
        "config.adversarial=0 leaves the generator nothing to learn: config.feature_matching must",
        [{"feature_matching": 1.0}, {"sweep": "adversarial=1,0.1"}, {"sweep": "adversarial=1,0; feature_matching=0,1"}],
    ),
    *(
        (
            {"unrolled_steps": 1} | clip,
            "config.weight_clip must be 0 with config.unrolled_steps",
            [{"unrolled_steps": 0}, {"weight_clip": 0.0, "sweep": "", "schedules": ""}],
        )
        for clip in (
            {"weight_clip": 0.1},
            {"sweep": "weight_clip=0,0.1", "population": 2},
            {"schedules": "weight_clip=linear(0.1, 10)"},
        )
    ),
    *(
        (
            {"conditioning__generator": name},
            f"config.conditioning.generator={name} needs a discriminator that uses the label: choose "
            f"config.conditioning.discriminator from {', '.join(KNOWING)}",
            [
                *({"conditioning__discriminator": other} | HINGE.get(other, {}) for other in KNOWING),
                {"conditioning__generator": "none"},
            ],
        )
        for name in ("concat", "cbn")
    ),
    *(
        (
            {"conditioning__discriminator": name} | HINGE.get(name, {}),
            f"config.conditioning.discriminator={name} needs a conditional generator: choose "
            "config.conditioning.generator from concat, cbn",
            [
                {"conditioning__generator": "concat"},
                {"conditioning__generator": "cbn"},
                {"conditioning__discriminator": "none"},
            ],
        )
        for name in KNOWING
    ),
    (
        CONDITIONAL | {"conditioning__discriminator": "mhgan", "loss": "non_saturating"},
        "config.conditioning.discriminator=mhgan is a hinge loss of classes: config.loss=non_saturating must be hinge",
        [{"loss": "hinge"}, {"conditioning__discriminator": "acgan"}],
    ),
    (
        CONDITIONAL | {"conditioning__generator": "cbn", "model__generator__norm": "none"},
        "config.conditioning.generator=cbn sets the scales and shifts of BatchNorm: config.model.generator.norm=none "
        "must be batch",
        [{"model__generator__norm": "batch"}, {"conditioning__generator": "concat"}],
    ),
    (
        INFOGAN | {"conditioning__categories": 0, "conditioning__continuous": 0},
        "config.conditioning.discriminator=infogan has nothing to predict: config.conditioning.categories or "
        "config.conditioning.continuous must be above 0",
        [{"conditioning__categories": 1}, {"conditioning__continuous": 1}],
    ),
    *(
        (
            {"ema_half_life": 100.0} | values,
            "config.ema_half_life takes the place of ema_decay: leave one of them out",
            [{"ema_half_life": 0.0}, {"sweep": "", "schedules": ""}],
        )
        for values in (
            {"sweep": "ema_decay=0.9,0.99", "population": 2},
            {"schedules": "ema_decay = linear(0.9, 10)"},
        )
    ),
    *(
        (
            CONDITIONAL | {"conditioning__discriminator": name, "packing": 2} | HINGE.get(name, {}),
            f"config.packing=2 must be 1 with config.conditioning.discriminator={name}",
            [{"packing": 1}, {"conditioning__discriminator": "concat"}],
        )
        for name in KNOWING
        if name != "concat"
    ),
    ({"packing": 3}, "config.packing=3 must divide config.batch_size=8", [{"packing": 2}, {"batch_size": 9}]),
    (
        {CRITIC + "minibatch_stddev": 3},
        "config.model.discriminator.minibatch_stddev=3 must divide config.batch_size=8",
        [{CRITIC + "minibatch_stddev": 4}, {"batch_size": 9}],
    ),
    (
        {CRITIC + "minibatch_stddev": 4, "packing": 4},
        "config.model.discriminator.minibatch_stddev=4 must divide config.batch_size=8, which packing makes 2 packs",
        [{CRITIC + "minibatch_stddev": 2}, {"packing": 2}, {"batch_size": 16}],
    ),
    *(
        (
            {CRITIC + "norm": "batch"} | weight,
            f"config.penalties.{name} needs config.model.discriminator.norm=none",
            [{CRITIC + "norm": "none"}, {f"penalties__{name}": 0.0, "sweep": "", "schedules": ""}],
        )
        for name in ("wgan_gp", "wgan_lp", "zero_gp", "max_gp")
        for weight in (
            {f"penalties__{name}": 1.0},
            {"sweep": f"penalties.{name}=0,1", "population": 2},
            {"schedules": f"penalties.{name}=linear(1, 10)"},
        )
    ),
    *(
        (
            MIXTURE | images,
            f"{name} is for {what}, and config.data.source=world:ring has none",
            [dict.fromkeys(images, put_right), IMAGES],
        )
        for name, what, images, put_right in [
            ("config.augment", "images and shapes", {"augment": ("flip",)}, ()),
            ("config.penalties.cr", "images", {"penalties__cr": 1.0}, 0.0),
            ("config.penalties.bcr", "images", {"penalties__bcr": 1.0}, 0.0),
        ]
    ),
]


def reasons(config) -> list[str]:
    """All that does not go together in a configuration."""
    fields, algorithm = sources.fields_of(config.data), gan.GAN
    return list(gan.check(Experiment(config, validate(config), algorithm, fields, 3, {}, algorithm.players(config))))


@pytest.mark.parametrize(("settings", "reason", "remedies"), REFUSED, ids=lambda value: None)
def test_settings_that_do_not_go_together_are_refused_and_the_advised_ones_are_not(settings, reason, remedies):
    config = tiny_config(**settings)
    with raises_user_error(UserError, match=re.escape(reason)) as raised:
        build(config, classes=3)
    assert reasons(config) == [str(raised.value)]
    for remedy in remedies:
        build(tiny_config(**settings | remedy), classes=3)


def test_the_penalties_that_are_refused_with_batch_norm_are_all_that_need_independent_logits():
    refused = {
        name for name in PENALTIES if any(f"config.penalties.{name} needs" in reason for _, reason, _ in REFUSED)
    }
    assert refused == {name for name, entry in PENALTIES.items() if entry.needs_independent_logits}


# Settings that exist only with some choices: the choices, a setting that they lack, and choices that have it.
ABSENT = [
    *(
        ({"loss": loss}, target, "loss=minimax or non_saturating or least_squares or lsgan", {"loss": other})
        for loss in ("hinge", "relativistic_average", "pearson")
        for target in ({"targets__real": (0.8, 1.0)}, {"targets__fake": (0.0, 0.1)}, {"targets__flip": 0.1})
        for other in ("minimax", "non_saturating", "least_squares", "lsgan")
    ),
    *(
        ({"loss": loss}, {"margin": 0.5}, "loss=logistic or hinge or relativistic or rpgan", {"loss": other})
        for loss in ("non_saturating", "relativistic_average")
        for other in ("logistic", "hinge", "relativistic", "rpgan")
    ),
    *(
        ({"update_rule": "simultaneous"}, setting, "update_rule=alternating", {"update_rule": "alternating"})
        for setting in ({"reuse_fakes": True}, {"discriminator_steps": 2}, {"unrolled_steps": 3})
    ),
    *(
        (
            {"conditioning__generator": "cbn", "conditioning__discriminator": "acgan"},
            {"conditioning__embedding": 4},
            "conditioning.generator=concat, or conditioning.discriminator=concat",
            {f"conditioning__{network}": "concat"},
        )
        for network in ("generator", "discriminator")
    ),
    *(
        (CONDITIONAL, setting, "conditioning.discriminator=infogan", INFOGAN)
        for setting in ({"conditioning__categories": 3}, {"conditioning__continuous": 3})
    ),
    *(
        (
            CONDITIONAL,
            {"conditioning__weight": 2.0},
            f"conditioning.discriminator={' or '.join(WEIGHTED)}",
            {"conditioning__discriminator": name},
        )
        for name in WEIGHTED
    ),
]


@pytest.mark.parametrize(("choices", "setting", "reason", "remedy"), ABSENT, ids=lambda value: None)
def test_a_setting_that_has_no_effect_is_refused_with_the_choices_that_have_it(choices, setting, reason, remedy):
    (name,) = (name.replace("__", ".") for name in setting)
    with raises_user_error(UserError, match=re.escape(f"config.{name} has no effect here: {reason} has it") + "$"):
        tiny_config(**choices | setting)
    config = tiny_config(**choices | setting | remedy)
    assert flatten(config)[name] == next(iter(setting.values()))
    build(config, classes=3)
    build(tiny_config(**choices), classes=3)  # without the setting


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("margin=1,2", "config.margin has no effect here: loss="),
        ("unheard_of=1,2", "unknown setting in config.sweep 'unheard_of'"),
    ],
)
def test_members_cannot_differ_in_a_setting_that_has_no_effect(values, message):
    config = tiny_config(loss="non_saturating", population=2, sweep=values)
    with raises_user_error(UserError, match=re.escape(message)):
        build(config)
    config = tiny_config(loss="hinge", population=2, sweep="margin=1,2")
    assert build(config).swept == {"margin": (1.0, 2.0)}


def test_the_losses_with_targets_and_margins_are_those_that_take_them():
    for name, loss in LOSSES.items():
        settings = flatten(tiny_config(loss=name))
        assert {f"targets.{part}" in settings for part in ("real", "fake", "flip")} == {loss.takes_targets}
        assert ("margin" in settings) == loss.takes_margin


def test_all_conflicts_are_reported():
    config = tiny_config(ema_half_life=1.0, schedules="ema_decay=linear(0, 1)", unrolled_steps=1, weight_clip=1.0)
    config.packing = 3
    assert [reason.split()[0] for reason in reasons(config)] == [
        "config.ema_half_life",
        "config.weight_clip",
        "config.packing=3",
    ]


@pytest.mark.parametrize("generator", ["concat", "cbn"])
@pytest.mark.parametrize("discriminator", ["concat", "projection", "acgan"])
def test_labels_that_are_needed_and_not_there(generator, discriminator):
    settings = {"conditioning__generator": generator, "conditioning__discriminator": discriminator}
    config = tiny_config(data__source="array:faces.npy", **settings)
    reason = f"config.conditioning.generator={generator} needs labels, and config.data.source=array:faces.npy has none"
    with raises_user_error(UserError, match=re.escape(reason) + ": choose another source, or none for both"):
        build(config)
    assert build(config, classes=2).classes == 2
    neither = tiny_config(conditioning__generator="none", conditioning__discriminator="none")
    assert conditioning.condition_size(neither, build(neither).classes) == 0


@pytest.mark.parametrize(
    ("settings", "classes", "known", "size"),
    [
        ({}, 5, 0, 0),  # labels that no network uses
        (CONDITIONAL, 5, 5, 5),
        (INFOGAN, 5, 0, 12),
        (INFOGAN | {"conditioning__continuous": 3}, 0, 0, 13),
    ],
)
def test_the_conditions_of_the_networks(settings, classes, known, size):
    exp = build(tiny_config(**settings), classes)
    assert exp.classes == classes
    assert conditioning.label_classes(exp.config, exp.classes) == known
    assert conditioning.condition_size(exp.config, exp.classes) == size
    latents, condition = exp.algorithm.inputs(exp)["generator"]
    assert latents.shape == (1, 4)
    assert (condition is None) if not size else condition.shape == (1, size)


def test_an_experiment_on_a_mixture_of_gaussians():
    tiny = experiment(**POINTS)
    assert tiny.images().shape == (1, 8, 2)
    state, metrics = jax.eval_shape(tiny.train_step, tiny.state, tiny.batch())
    kernels = {
        name: [leaf.shape for path, leaf in leaves(params_of(tiny, name)).items() if "kernel" in path]
        for name in ("generator", "discriminator")
    }
    assert {name: sorted(shapes) for name, shapes in kernels.items()} == {
        "generator": [(4, 2), (4, 4)],
        "discriminator": [(2, 4), (4, 1)],
    }
    assert {value.shape for value in metrics.values()} == {()}
    assert jax.tree.structure(state) == jax.tree.structure(tiny.state)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"data__source": "world:ring"}, "config.data.source=world:ring does not fit config.model.family=mlp"),
        ({"model__family": "toy_mlp"}, "config.data.size=8 does not fit config.model.family=toy_mlp"),
    ],
)
def test_a_family_that_cannot_make_the_examples(settings, reason):
    with raises_user_error(UserError, match=re.escape(reason)):
        build(tiny_config(**settings))


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("loss", "relativstic", "relativistic"),
        ("update_rule", "alternatng", "alternating"),
        ("algorithm", "gann", "gan"),
        ("data__source", "digit", "digits"),
        ("model__family", "dcgna", "dcgan"),
        ("model__generator__norm", "batc", "batch"),
        ("model__initializer", "gausian", "gaussian"),
        ("conditioning__generator", "conact", "concat"),
        ("conditioning__discriminator", "projecton", "projection"),
        ("optimizer__generator__name", "adm", "adam"),
        ("optimizer__discriminator__schedule", "cosin", "cosine"),
    ],
)
def test_an_unknown_choice_is_answered_with_the_nearest(setting, value, hint):
    """Whether it is chosen at first or assigned later."""
    name = setting.replace("__", ".")
    match = rf"unknown config\.{re.escape(name)} '{value}': did you mean {hint}( or [\w ]+)?\?"
    config = tiny_config()
    config.update_from_flattened_dict({name: value})
    with raises_user_error(UserError, match=match):
        build(config)
    if setting != "model__family":  # whose own settings `tiny_config` sets
        with raises_user_error(UserError, match=match):
            tiny_config(**{setting: value})


@pytest.mark.parametrize("setting", ["augment", "penalty_settings__transform"])
def test_an_unknown_augmentation_is_answered_with_those_that_exist(setting):
    name, value = setting.replace("__", "."), ("flip", "cutuot")
    expected = f"config.{name}={value} must be names out of colour, translation, cutout, small_cutout, flip, color"
    with raises_user_error(UserError, match=re.escape(expected)):
        build(tiny_config(**{setting: value}))


def test_every_optimizer_and_schedule_is_a_choice():
    for setting, table in (("name", OPTIMIZERS), ("schedule", SCHEDULES)):
        for name in table:
            exp = build(tiny_config(**{f"optimizer__generator__{setting}": name}))
            assert exp.flat[f"optimizer.generator.{setting}"] == name


def test_what_devices_have_in_common():
    alone, exp = build(tiny_config()), build(tiny_config(), axis_name="axis")
    values = jnp.arange(4.0)
    np.testing.assert_array_equal(jax.vmap(exp.pmean, axis_name="axis")(values), np.full(4, 1.5))
    np.testing.assert_array_equal(jax.vmap(exp.pmax, axis_name="axis")(values), np.full(4, 3.0))
    gathered = jax.vmap(exp.all_gather, axis_name="axis")(values.reshape(2, 2))
    np.testing.assert_array_equal(gathered, np.tile(values, (2, 1)))
    for name in ("pmean", "pmax", "all_gather"):
        assert getattr(alone, name)(values) is values
