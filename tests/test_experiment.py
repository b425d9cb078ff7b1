"""What a configuration describes, and every refusal of settings that do not go together, beside what is right."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, experiment, leaves, params_of, raises_user_error, tiny_config

from jaxgan.adversarial import losses
from jaxgan.adversarial.penalties import BATCH_NORM_FORBIDDEN
from jaxgan.core import experiment as experiments
from jaxgan.errors import UserError

TOLD = {"conditioning__generator": "concat", "conditioning__discriminator": "concat"}
CRITIC = "model__discriminator__"
TARGETS = [{"targets__real": (0.8, 1.0)}, {"targets__fake": (0.0, 0.1)}, {"targets__flip": 0.1}]
WITH_TARGETS = "minimax, non_saturating, least_squares"
HAVE_MARGINS = "logistic, hinge, relativistic"


# From points to images, and what a world has no use for: its name, the settings, and what puts them right.
TO_IMAGES = {"data__source": "digits", "model__family": "mlp", "model__generator__depth": 4}
TO_IMAGES |= {"model__discriminator__depth": 3}
WITHOUT_IMAGES = [
    ("config.augment", {"augment": ("flip",)}, ()),
    ("config.penalties.cr", {"penalties__cr": 1.0}, 0.0),
    ("config.penalties.bcr", {"penalties__bcr": 1.0}, 0.0),
]


# What is refused, what the message says, and changes each of which puts it right.
REFUSED = [
    *(
        (
            {"loss": loss} | target,
            f"config.loss={loss} has no targets to smooth or flip: choose from {WITH_TARGETS},",
            [
                {"loss": "minimax"},
                {"loss": "non_saturating"},
                {"loss": "least_squares"},
                {"targets__real": (1.0, 1.0), "targets__fake": (0.0, 0.0), "targets__flip": 0.0},
            ],
        )
        for loss in ("hinge", "relativistic_average")
        for target in TARGETS
    ),
    *(
        (
            {"loss": loss} | margin,
            f"config.loss={loss} has no margin: choose from {HAVE_MARGINS}, or leave config.margin at -1",
            [{"loss": "logistic"}, {"loss": "hinge"}, {"loss": "relativistic"}, {"margin": -1.0, "sweep": ""}],
        )
        for loss, margin in [
            ("non_saturating", {"margin": 0.0}),
            ("relativistic_average", {"margin": 1.0}),
            ("non_saturating", {"sweep": "margin=-1,2", "population": 2}),
        ]
    ),
    (
        {"adversarial": 0.0},
        "config.adversarial=0 leaves the generator nothing to learn: config.feature_matching should",
        [{"feature_matching": 1.0}, {"adversarial": 0.1}, {"sweep": "feature_matching=1,2", "population": 2}],
    ),
    (
        {"sweep": "adversarial=1,0", "population": 2},
        "config.adversarial=0 leaves the generator nothing to learn: config.feature_matching should",
        [{"feature_matching": 1.0}, {"sweep": "adversarial=1,0.1"}, {"sweep": "adversarial=1,0; feature_matching=0,1"}],
    ),
    (
        {"updates": "simultaneous", "reuse_fakes": True},
        "config.reuse_fakes=True should be False with config.updates=simultaneous: it makes fakes once anyway",
        [{"reuse_fakes": False}, {"updates": "alternating"}],
    ),
    (
        {"updates": "simultaneous", "discriminator_steps": 2},
        "config.discriminator_steps=2 should be 1 with config.updates=simultaneous",
        [{"discriminator_steps": 1}, {"updates": "alternating"}],
    ),
    (
        {"updates": "simultaneous", "unrolled_steps": 3},
        "config.unrolled_steps=3 should be 0 with config.updates=simultaneous",
        [{"unrolled_steps": 0}, {"updates": "alternating"}],
    ),
    *(
        (
            {"unrolled_steps": 1} | clip,
            "config.weight_clip should be 0 with config.unrolled_steps",
            [{"unrolled_steps": 0}, {"weight_clip": 0.0, "sweep": ""}],
        )
        for clip in ({"weight_clip": 0.1}, {"sweep": "weight_clip=0,0.1", "population": 2})
    ),
    *(
        (
            {"conditioning__generator": side},
            f"config.conditioning.generator={side} needs a discriminator that minds the label: choose "
            "config.conditioning.discriminator from concat, projection, acgan, infogan",
            [
                *({"conditioning__discriminator": other} for other in ("concat", "projection", "acgan", "infogan")),
                {"conditioning__generator": "none"},
            ],
        )
        for side in ("concat", "cbn")
    ),
    *(
        (
            {"conditioning__discriminator": side},
            f"config.conditioning.discriminator={side} needs a generator that is told what to draw: choose "
            "config.conditioning.generator from concat, cbn",
            [
                {"conditioning__generator": "concat"},
                {"conditioning__generator": "cbn"},
                {"conditioning__discriminator": "none"},
            ],
        )
        for side in ("concat", "projection", "acgan", "infogan")
    ),
    (
        TOLD | {"conditioning__generator": "cbn", "model__generator__norm": "none"},
        "config.conditioning.generator=cbn sets the scales and shifts of BatchNorm: config.model.generator.norm=none "
        "should be batch",
        [{"model__generator__norm": "batch"}, {"conditioning__generator": "concat"}],
    ),
    (
        TOLD | {"conditioning__discriminator": "infogan", "conditioning__categories": 0, "conditioning__continuous": 0},
        "config.conditioning.discriminator=infogan has nothing to recover: config.conditioning.categories or "
        "config.conditioning.continuous should be above 0",
        [{"conditioning__categories": 1}, {"conditioning__continuous": 1}, {"conditioning__discriminator": "acgan"}],
    ),
    (
        {"conditioning__generator": "cbn", "conditioning__discriminator": "acgan", "conditioning__embedding": 4},
        "config.conditioning.embedding=4 means nothing unless a side is concat",
        [{"conditioning__embedding": 0}, {"conditioning__generator": "concat"}],
    ),
    (
        {"ema_half_life": 100.0, "sweep": "ema_decay=0.9,0.99", "population": 2},
        "config.ema_half_life takes the place of ema_decay: leave one of them out",
        [{"ema_half_life": 0.0}, {"sweep": ""}],
    ),
    *(
        (
            TOLD | {"conditioning__discriminator": side, "packing": 2},
            f"config.packing=2 should be 1 with config.conditioning.discriminator={side}",
            [{"packing": 1}, {"conditioning__discriminator": "concat"}],
        )
        for side in ("projection", "acgan", "infogan")
    ),
    ({"packing": 3}, "config.packing=3 should divide config.batch_size=8", [{"packing": 2}, {"batch_size": 9}]),
    (
        {CRITIC + "minibatch_stddev": 3},
        "config.model.discriminator.minibatch_stddev=3 should divide config.batch_size=8",
        [{CRITIC + "minibatch_stddev": 4}, {"batch_size": 9}],
    ),
    (
        {CRITIC + "minibatch_stddev": 4, "packing": 4},
        "config.model.discriminator.minibatch_stddev=4 should divide config.batch_size=8, which packing makes 2 packs",
        [{CRITIC + "minibatch_stddev": 2}, {"packing": 2}, {"batch_size": 16}],
    ),
    *(
        (
            {CRITIC + "norm": "batch"} | weight,
            f"config.penalties.{name} needs config.model.discriminator.norm=none",
            [{CRITIC + "norm": "none"}, {f"penalties__{name}": 0.0, "sweep": ""}],
        )
        for name in BATCH_NORM_FORBIDDEN
        for weight in ({f"penalties__{name}": 1.0}, {"sweep": f"penalties.{name}=0,1", "population": 2})
    ),
    *(
        (
            POINTS | images,
            f"{name} is for images, and config.data.source=world:ring has none",
            [dict.fromkeys(images, put_right), TO_IMAGES],
        )
        for name, images, put_right in WITHOUT_IMAGES
    ),
]


@pytest.mark.parametrize(("settings", "reason", "remedies"), REFUSED, ids=lambda value: None)
def test_what_does_not_go_together_is_refused_and_what_is_advised_is_not(settings, reason, remedies):
    with raises_user_error(UserError, match=re.escape(reason)) as raised:
        experiments.build(tiny_config(**settings), classes=3)
    assert list(experiments.conflicts(tiny_config(**settings))) == [str(raised.value)]
    for remedy in remedies:
        experiments.build(tiny_config(**settings | remedy), classes=3)


def test_the_advised_losses_are_those_that_have_what_is_asked_for():
    assert WITH_TARGETS.split(", ") == [name for name, loss in losses.LOSSES.items() if loss.takes_targets]
    assert HAVE_MARGINS.split(", ") == [name for name, loss in losses.LOSSES.items() if loss.takes_margin]


def test_all_conflicts_are_told():
    config = tiny_config(updates="simultaneous", discriminator_steps=2, unrolled_steps=1, packing=3)
    assert [reason.split("=")[0] for reason in experiments.conflicts(config)] == [
        "config.discriminator_steps",
        "config.unrolled_steps",
        "config.packing",
    ]


@pytest.mark.parametrize("generator", ["concat", "cbn"])
@pytest.mark.parametrize("discriminator", ["concat", "projection", "acgan"])
def test_labels_that_are_needed_and_not_there(generator, discriminator):
    settings = {"conditioning__generator": generator, "conditioning__discriminator": discriminator}
    config = tiny_config(data__source="array:faces.npy", **settings)
    reason = f"config.conditioning.generator={generator} needs labels, and config.data.source=array:faces.npy has none"
    with raises_user_error(UserError, match=re.escape(reason) + ": choose another source, or none for both"):
        experiments.build(config)
    assert experiments.build(config, classes=2).classes == 2
    neither = {"conditioning__generator": "none", "conditioning__discriminator": "none"}
    assert experiments.build(tiny_config(**neither)).condition_size == 0


@pytest.mark.parametrize(
    ("settings", "classes", "known", "size"),
    [
        ({}, 5, 0, 0),  # labels that nobody asks for
        (TOLD, 5, 5, 5),
        (TOLD | {"conditioning__discriminator": "infogan"}, 5, 0, 12),
        (TOLD | {"conditioning__discriminator": "infogan", "conditioning__continuous": 3}, 0, 0, 13),
    ],
)
def test_what_the_networks_are_told(settings, classes, known, size):
    exp = experiments.build(tiny_config(**settings), classes)
    assert (exp.classes, exp.condition_size) == (known, size)
    (latents, condition), _ = experiments.example_inputs(exp).values()
    assert latents.shape == (1, 4)
    assert (condition is None) if not size else condition.shape == (1, size)


def test_an_experiment_on_a_world():
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
        (
            POINTS | TO_IMAGES | {"model__family": "points", "model__generator__depth": 1},
            "config.data.size=8 does not fit config.model.family=points",
        ),
    ],
)
def test_a_family_that_cannot_make_the_examples(settings, reason):
    with raises_user_error(UserError, match=re.escape(reason)):
        experiments.build(tiny_config(**settings))


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("loss", "relativstic", "relativistic"),
        ("augment", ("flip", "cutuot"), "cutout"),
        ("penalty_settings__transform", ("translaton",), "translation"),
        ("model__family", "dcgna", "dcgan"),
        ("model__generator__norm", "batc", "batch"),
        ("model__initializer", "gausian", "gaussian"),
        ("conditioning__generator", "conact", "concat"),
        ("conditioning__discriminator", "projecton", "projection"),
        ("optimizer__generator__name", "adm", "adam"),
        ("optimizer__discriminator__schedule", "cosin", "cosine"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(setting, value, hint):
    name = setting.replace("__", r"\.")
    with raises_user_error(
        UserError, match=rf"config\.{name} '{value[-1] if isinstance(value, tuple) else value}': did you mean {hint}\?"
    ):
        experiments.build(tiny_config(**{setting: value}))


def test_schedules_of_a_discriminator_with_two_updates_count_training_steps():
    settings = {
        f"optimizer__discriminator__{name}": value for name, value in [("schedule", "linear"), ("decay_steps", 2)]
    }
    exp = experiments.build(tiny_config(discriminator_steps=2, **settings))
    params = jnp.zeros(1)
    state, sizes = exp.optimizers["discriminator"].init(params), []
    for _ in range(5):
        update, state = exp.optimizers["discriminator"].update(jnp.ones(1), state, params)
        sizes.append(-float(update[0]))
    np.testing.assert_allclose(sizes, [1, 1, 0.5, 0.5, 0], rtol=1e-3, atol=1e-6)


def test_the_average_over_devices():
    exp = dataclasses.replace(experiment().exp, axis_name="axis")
    values = jnp.arange(4.0)
    np.testing.assert_array_equal(jax.vmap(exp.average, axis_name="axis")(values), np.full(4, 1.5))
    assert experiment().exp.average(values) is values
