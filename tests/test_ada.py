"""ADA's probability: how it moves, what a step does with it, penalties through it, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from experiments import assert_close, assert_same_bits, experiment, quick_jit, tiny_config

from jaxgan.adversarial import ada, adaptive, augment_pipe
from jaxgan.adversarial.augment_pipe import COLOUR, GEOMETRY, OPERATIONS
from jaxgan.adversarial.forward import preprocess, sample_latents
from jaxgan.adversarial.losses import LOSSES
from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import build, default, example_batch
from jaxgan.core import rng
from jaxgan.core.experiment import initial_state
from jaxgan.core.state import apply
from jaxgan.errors import UserError

ADAPTIVE = {"ada__mode": "adaptive", "ada__operations": ("brightness", "xflip")}
FIXED = {"ada__mode": "fixed", "ada__p": 0.5, "ada__operations": ("brightness", "xflip")}
START = {name: jnp.zeros(()) for name in ("p", "signs", "batches")}


def after(signs, target: float = 0.6, share: float = 0.01, start=START):
    """What is carried after batches of these mean signs, and p after each."""

    def body(carried, sign):
        new = adaptive.moved(carried, sign, target, share)
        return new, new["p"]

    return jax.lax.scan(body, start, jnp.asarray(signs, jnp.float32))


# Control


def test_the_probability_moves_every_fourth_batch_by_four_batches():
    _, p = after([0.9] * 8 + [0.1] * 16)
    expected = [0, 0, 0, 0.04, 0.04, 0.04, 0.04, 0.08, 0.08, 0.08, 0.08, 0.04, 0.04, 0.04, 0.04] + [0] * 9
    np.testing.assert_allclose(p, expected, atol=1e-7)


def test_the_mean_of_four_batches_decides():
    _, p = after([1, 1, 1, -0.5, 1, 1, 1, -0.7, 0.6, 0.6, 0.6, 0.6])
    np.testing.assert_allclose(p[3::4], [0.04, 0.0, 0.0], atol=1e-7)


def test_the_probability_settles_where_the_discriminator_is_at_its_target():
    """Of one whose mean sign falls from .95 by .8 times p, and is noisy: (.95 - .6) / .8."""
    noise = 0.05 * jax.random.normal(jax.random.key(0), (3000,))

    def body(carried, noise):
        new = adaptive.moved(carried, 0.95 - 0.8 * carried["p"] + noise, 0.6, 0.002)
        return new, new["p"]

    _, p = jax.lax.scan(body, START, noise)
    np.testing.assert_allclose(p[2000:], 0.4375, atol=0.06)


# Names


def test_groups_name_operations_and_later_names_win():
    found = ada.multipliers(("bgc", "color*0.5", "cutout"))
    assert found == dict.fromkeys(OPERATIONS[:7], 1) | dict.fromkeys(COLOUR, 0.5) | {"cutout": 1}
    assert ada.multipliers(("blit, geom",)) == ada.multipliers(("bg",))
    assert ada.multipliers(("bgcfnc",)) == dict.fromkeys(OPERATIONS, 1)
    assert len(OPERATIONS) == len(GEOMETRY) - 1 + len(COLOUR) + 3


@pytest.mark.parametrize(
    "entries", [(), ("bgd",), ("color*",), ("color*x",), ("color*-1",), ("color*nan",), ("color*inf",), ("bg*0",)]
)
def test_other_names_are_refused(entries):
    assert not ada.are_operations(entries)


# Steps


@pytest.mark.parametrize("rule", ["alternating", "simultaneous"])
def test_a_step_with_a_probability_of_0_is_a_step_without(rule):
    """To the last bit, at the start of an adaptive run."""
    tiny, plain = experiment(update_rule=rule, **ADAPTIVE), experiment(update_rule=rule)
    (state, metrics), (expected, _) = tiny.run(1), plain.run(1)
    assert_close(state.networks, expected.networks, rtol=1e-5, atol=1e-6)
    assert metrics["ada/p"] == 0
    np.testing.assert_allclose(state.extra["ada"]["signs"], metrics["ada/sign"])
    assert state.extra["ada"]["batches"] == 1


def test_the_probability_grows_while_real_examples_are_found_real():
    """All of them or none of them, as the target is a mean sign that none or all exceed."""
    for target, expected in ((-0.99, 4 * 8 / 100), (0.99, 0.0)):
        tiny = experiment(ada__target=target, ada__speed=100.0, **ADAPTIVE)
        state, _ = tiny.run(3)
        assert state.extra["ada"]["p"] == 0
        mean = (state.extra["ada"]["signs"] + tiny.train_step(state, tiny.batch(3))[1]["ada/sign"]) / 4
        state, metrics = tiny.train_step(state, tiny.batch(3))
        np.testing.assert_allclose(state.extra["ada"]["p"], expected if mean > target else 0, rtol=1e-6)
        assert metrics["ada/p"] == 0
        assert state.extra["ada"]["batches"] == 0


def test_a_step_that_is_skipped_moves_nothing():
    tiny = experiment(**ADAPTIVE)
    before, _ = tiny.run(1)
    bad = tiny.batch(1) | {"images": tiny.images(1).at[0, 3].set(jnp.nan)}
    state, metrics = tiny.train_step(before, bad)
    assert metrics["skipped_updates"] > 0
    assert_same_bits(state.extra["ada"], before.extra["ada"])


def test_a_fixed_probability_follows_schedules_and_members_of_a_population():
    tiny = experiment(schedules="ada.p=cosine(1, 10)", **FIXED)
    state = tiny.state.replace(step=jnp.int32(5))
    assert "ada" not in state.extra
    np.testing.assert_allclose(adaptive.probability(tiny.exp, state, "ada"), 0.75)
    np.testing.assert_allclose(adaptive.probability(tiny.exp, state.replace(hparams={"ada.p": 0.2}), "ada"), 0.6)
    assert tiny.train_step(state, tiny.batch())[1]["ada/p"] == pytest.approx(0.75)


def test_real_and_fake_examples_are_augmented_apart_and_by_their_keys():
    tiny = experiment(**FIXED)
    batch = tiny.one_batch()
    latents = sample_latents(tiny.exp, tiny.state, batch, "discriminator")
    for kind in ("real", "fake"):
        keys = tiny.exp.example_keys(tiny.state, 8, f"discriminator {kind} ada")
        expected = augment_pipe.augment(batch["images"], keys, 0.5, {"brightness": 1.0, "xflip": 1.0})
        found = preprocess(tiny.exp, tiny.state, batch["images"], kind, latents).examples
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        assert (np.asarray(found) != batch["images"]).any()


@pytest.mark.parametrize("name", ["cyclegan", "cut", "pix2pix"])
def test_each_patch_discriminator_has_a_probability_of_its_own(name):
    changes = {"ada.mode": "adaptive", "ada.operations": ("xflip",)}
    exp = build(default({"algorithm": name, **ALGORITHMS[name].smallest, **changes}))
    state = jax.eval_shape(lambda: initial_state(exp))
    new, metrics = jax.eval_shape(lambda state: exp.algorithm.step(exp, state, example_batch(exp)), state)
    discriminators = [own for own in exp.networks if own.startswith("discriminator")]
    for own in discriminators:
        assert new.extra[own]["ada"].keys() == START.keys()
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert sum(metric.startswith("ada/p") for metric in metrics) == len(discriminators)


def test_logits_of_least_squares_are_counted_from_the_middle_of_their_targets():
    tiny = experiment(loss="least_squares", **FIXED)
    metrics, extra = adaptive.adapt(tiny.exp, tiny.state, [jnp.array([[0.4, 0.6], [0.7, 2.0]]), jnp.array([-1.0, 0.4])])
    assert extra == {}
    np.testing.assert_allclose(metrics["ada/sign"], (3 - 3) / 6)


def test_losses_that_only_compare_have_no_boundary():
    """All logits moved by one number leave such a loss as it is, and change every other one."""
    real, fake = jnp.array([0.3, -0.2]), jnp.array([-0.5, 0.4])
    for name, loss in LOSSES.items():
        values = [float(loss.discriminator(real + move, fake + move).sum()) for move in (0.0, 3.0)]
        assert (loss.boundary is None) == np.isclose(*values, atol=1e-5), name


# Penalties through the augmentation


@pytest.mark.parametrize(("packing", "interval"), [(1, 1), (2, 1), (2, 2)])
def test_r1_through_the_augmentation_is_by_raw_examples(packing, interval):
    """Half the squared gradient of a pack's logit by all examples of the pack; with the loss's own pass or without."""
    settings = {
        "penalty_interval__r1": interval,
        "penalties__r1": 1.0,
        "penalty_settings__through_augmentation": True,
        "packing": packing,
    }
    tiny = experiment(model__discriminator__norm="none", **FIXED, **settings)
    batch = tiny.one_batch()
    latents = sample_latents(tiny.exp, tiny.state, batch, "discriminator")

    def logits(raw):
        given = preprocess(tiny.exp, tiny.state, raw, "real", latents)
        discriminator = tiny.state.networks["discriminator"]
        return apply(tiny.exp.networks["discriminator"], discriminator, *given, train=True)[0].logits

    gradient = quick_jit(jax.grad(lambda raw: logits(raw).sum()))(batch["images"])
    expected = 0.5 * (np.asarray(gradient) ** 2).sum() / (8 / packing)
    found = tiny.discriminator_step(tiny.state, batch, 0)[1]["penalty/r1"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ada.mode": "adaptive", "data.source": "world:ring", "model.family": "toy_mlp"}, "is for images"),
        ({"ada.mode": "fixed", "ada.p": 0.0}, "augments nothing"),
        ({"ada.mode": "fixed", "ada.p": 1.5}, "from 0 to 1"),
        ({"ada.mode": "fixed", "ada.operations": ("bgd",)}, "names out of"),
        ({"ada.mode": "adaptive", "ada.target": 1.0}, "below 1"),
        ({"ada.mode": "adaptive", "ada.speed": 0.0}, "above 0"),
        ({"ada.mode": "adaptive", "loss": "rpgan"}, "only compares"),
        ({"ada.mode": "adaptive", "schedules": "ada.p=linear(1, 9)"}, "ada.mode=fixed has it"),
        ({"ada.mode": "fixed", "sweep": "ada.target=0,1", "population": 2}, "ada.mode=adaptive has it"),
        ({"ada.mode": "adaptive", "ada.p": 0.5}, "ada.mode=fixed has it"),
        ({"ada.p": 0.5}, "ada.mode=fixed has it"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(settings, words):
    with pytest.raises(UserError, match=words) as error:
        build(default(settings))
    assert "\n" not in str(error.value)


def test_a_probability_of_0_is_fine_where_a_schedule_or_a_member_has_more():
    for more in ({"schedules": "ada.p=linear(1, 9)"}, {"sweep": "ada.p=0,0.5", "population": 2}):
        assert build(tiny_config(ada__mode="fixed", ada__p=0.0, **more)).is_enabled("ada.p")


# No leak


@pytest.mark.slow
def test_a_distribution_is_learned_through_the_augmentation_unless_that_hides_it():
    """Shares of four turns of a picture, learned from augmented pictures alone. Where all are turned, none differ."""
    picture = np.random.default_rng(0).uniform(-1, 1, (8, 8, 1)).astype(np.float32)
    turns, count = np.stack([np.rot90(picture, turn) for turn in range(4)]), 4000
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(64, 32)), jnp.float32)
    multipliers = ada.multipliers(("rotate90", "brightness", "contrast"))

    @quick_jit
    def features(seed, p):
        """The mean features of each turn, augmented."""
        images = jnp.asarray(turns.repeat(count, axis=0))
        keys = rng.example_keys(rng.stream_key(seed, 0, "test"), jnp.arange(len(images)))
        images = augment_pipe.augment(images, keys, p, multipliers)
        return jnp.cos(images.reshape(len(images), -1) @ weights / 8).reshape(4, count, -1).mean(1)

    shares = jnp.array([0.6, 0.25, 0.1, 0.05])
    target, made, optimizer = shares @ features(np.uint32(0), 0.5), features(np.uint32(1), 0.5), optax.adam(0.05)

    def body(carried, _):
        logits, state = carried
        slope = jax.grad(lambda logits: ((jax.nn.softmax(logits) @ made - target) ** 2).sum())(logits)
        updates, state = optimizer.update(slope, state)
        return (logits + updates, state), None

    start = jnp.zeros(4), optimizer.init(jnp.zeros(4))
    (logits, _), _ = jax.lax.scan(body, start, length=1500)
    np.testing.assert_allclose(jax.nn.softmax(logits), shares, atol=0.05)
    hidden = features(np.uint32(1), 1.0)
    assert np.ptp(hidden, axis=0).max() < np.ptp(made, axis=0).max() / 4
