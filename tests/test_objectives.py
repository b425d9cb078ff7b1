"""What each player minimises: targets, margins, conditions, features and the best fakes, each by hand."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import (
    POINTS,
    applied,
    assert_close,
    assert_same_bits,
    experiment,
    gradients,
    latents_of,
    params_of,
    quick_jit,
    tiny_config,
)
from jax.nn import log_softmax, softplus

from jaxgan.adversarial import forward, objectives
from jaxgan.adversarial.conditioning import DiscriminatorOutput
from jaxgan.algorithms import gan
from jaxgan.config import build
from jaxgan.core.state import TrainState


def at_step(step: int, **hparams) -> TrainState:
    """A state that has nothing but its step, seed and own settings."""
    return TrainState(jnp.int32(step), jnp.uint32(0), {}, {}, {}, {}, hparams)


def outputs(seed: int, batch: int = 8, conditions: int = 0) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
    """Made-up outputs of a discriminator for real and fake examples."""
    rng = np.random.default_rng(seed)
    parts = [
        [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (batch, (batch, 3), (batch, conditions))]
        for _ in "rf"
    ]
    return tuple(DiscriminatorOutput(*part[:2], part[2] if conditions else None) for part in parts)


SMOOTH = {"targets__real": (0.7, 0.9), "targets__fake": (0.1, 0.3)}


def targets_of(batch_size: int, step: int = 0, index: int = 0, **settings) -> list[np.ndarray]:
    """The targets of real examples and of fakes."""
    exp = build(tiny_config(**settings))
    sample = quick_jit(lambda: objectives.sample_targets(exp, at_step(step), batch_size, index))
    return [np.asarray(targets) for targets in sample()]


def test_the_targets_reach_the_loss():
    exp = build(tiny_config(loss="least_squares", **SMOOTH))
    real, fake = outputs(0)
    value, metrics = objectives.discriminator_loss(exp, at_step(0), real, fake, None)
    ones, zeros = targets_of(8, loss="least_squares", **SMOOTH)
    assert not np.isin(ones, (0, 1)).any()
    np.testing.assert_allclose(value, (((real.logits - ones) ** 2 + (fake.logits - zeros) ** 2) / 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/discriminator"], value)
    np.testing.assert_allclose(metrics["logits/real"], real.logits.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["logits/fake"], fake.logits.mean(), rtol=1e-5)


def test_targets_fill_their_ranges():
    for targets, low, high in zip(targets_of(4000, **SMOOTH), (0.7, 0.1), (0.9, 0.3), strict=True):
        assert low <= targets.min() < low + 0.01
        assert high - 0.01 < targets.max() <= high
        np.testing.assert_allclose(targets.mean(), (low + high) / 2, atol=0.005)


def test_hard_targets_are_one_and_zero():
    real, fake = targets_of(16)
    np.testing.assert_array_equal(real, np.ones(16))
    np.testing.assert_array_equal(fake, np.zeros(16))


def test_a_fraction_of_the_targets_is_flipped():
    real, fake = targets_of(20_000, targets__flip=0.05)
    np.testing.assert_array_equal(real, 1 - fake)
    error = np.sqrt(0.05 * 0.95 / 20_000)
    assert abs(fake.mean() - 0.05) < 4 * error


def test_an_example_keeps_its_targets_in_any_batch():
    settings = SMOOTH | {"targets__flip": 0.5}
    small, large = targets_of(8, **settings), targets_of(16, **settings)
    for part, whole in zip(small, large, strict=True):
        np.testing.assert_array_equal(part, whole[:8])
    assert not np.isin(small[0], targets_of(8, step=1, **settings)).any()
    assert not np.isin(small[0], targets_of(8, index=1, **settings)).any()


def test_a_loss_without_targets_samples_none():
    assert objectives.sample_targets(build(tiny_config(loss="relativistic")), at_step(0), 8) == ()


@pytest.mark.parametrize(
    ("loss", "settings", "hparams", "used"),
    [
        ("hinge", {}, {}, 1.0),
        ("hinge", {"margin": 0.3}, {}, 0.3),
        ("hinge", {"margin": 0.3}, {"margin": 1.0}, 1.0),
        ("logistic", {}, {}, 0.0),
        ("logistic", {}, {"margin": 2.0}, 2.0),
        ("relativistic", {}, {}, 0.0),
        ("relativistic", {"margin": 0.5}, {}, 0.5),
    ],
)
def test_the_margin_is_the_published_one_unless_another_is_set(loss, settings, hparams, used):
    exp = build(tiny_config(loss=loss, **settings))
    real, fake = outputs(0)
    hparams = {name: jnp.float32(value) for name, value in hparams.items()}
    total, metrics = objectives.discriminator_loss(exp, at_step(0, **hparams), real, fake, None)
    positive = (lambda x: np.maximum(x, 0)) if loss == "hinge" else (lambda x: np.log1p(np.exp(x)))
    if loss == "relativistic":
        expected = positive(used + fake.logits - real.logits).mean()
    else:
        expected = (positive(used - real.logits) + positive(used + fake.logits)).mean()
    np.testing.assert_allclose([total, metrics["loss/discriminator"]], expected, rtol=1e-5)


def test_a_classifier_is_wrong_by_its_cross_entropy_on_real_and_fake():
    sides = {"conditioning__generator": "concat", "conditioning__discriminator": "acgan", "conditioning__weight": 3.0}
    exp = build(tiny_config(**sides), classes=4)
    real, fake = outputs(1, conditions=4)
    labels = np.arange(8) % 4
    wrong = lambda logits: -np.asarray(log_softmax(logits))[np.arange(8), labels].mean()  # noqa: E731
    condition = jnp.eye(4)[labels]
    d_total, d_metrics = objectives.discriminator_loss(exp, at_step(0), real, fake, condition)
    g_total, g_metrics = objectives.generator_loss(exp, at_step(0), real, fake, condition)
    d_aux, g_aux = d_metrics["aux_loss/discriminator"], g_metrics["aux_loss/generator"]
    d_loss, g_loss = d_metrics["loss/discriminator"], g_metrics["loss/generator"]
    np.testing.assert_allclose(d_aux, wrong(real.aux_logits) + wrong(fake.aux_logits), rtol=1e-5)
    np.testing.assert_allclose(g_aux, wrong(fake.aux_logits), rtol=1e-5)
    np.testing.assert_allclose(d_total, d_loss + 3 * d_aux, rtol=1e-5)
    np.testing.assert_allclose(g_total, g_loss + 3 * g_aux, rtol=1e-5)
    np.testing.assert_allclose(d_loss, (softplus(-real.logits) + softplus(fake.logits)).mean(), rtol=1e-5)


INFOGAN = {"conditioning__generator": "concat", "conditioning__discriminator": "infogan"}
INFOGAN |= {"conditioning__categories": 3, "conditioning__continuous": 2}


@pytest.mark.parametrize(("categories", "continuous"), [(3, 2), (3, 0), (0, 2)])
def test_codes_are_predicted_of_fakes_alone(categories, continuous):
    parts = {"conditioning__categories": categories, "conditioning__continuous": continuous}
    exp = build(tiny_config(**INFOGAN | parts), classes=7)
    real, fake = outputs(2, conditions=categories + continuous)
    condition = np.random.default_rng(3).uniform(-1, 1, (8, categories + continuous)).astype(np.float32)
    chosen = np.arange(8) % max(categories, 1)
    condition[:, :categories] = np.eye(max(categories, 1))[chosen][:, :categories]
    expected = 0.5 * ((fake.aux_logits - condition)[:, categories:] ** 2).sum(1)
    if categories:
        expected -= np.asarray(log_softmax(fake.aux_logits[:, :categories]))[np.arange(8), chosen]
    for real_out in (real, real._replace(aux_logits=1e3 + real.aux_logits)):
        _, metrics = objectives.discriminator_loss(exp, at_step(0), real_out, fake, jnp.asarray(condition))
        np.testing.assert_allclose(metrics["aux_loss/discriminator"], expected.mean(), rtol=1e-5)


def codes(count: int, step: int = 0, stream: str = "generator", index: int = 0) -> np.ndarray:
    """The latent codes of so many fakes."""
    exp = build(tiny_config(**INFOGAN), classes=7)
    batch = {"images": jnp.zeros((count, 8, 8, 1))}
    return np.asarray(quick_jit(lambda: forward.sample_latents(exp, at_step(step), batch, stream, index).condition)())


def test_codes_are_uniform():
    found = codes(6000)
    assert found.shape == (6000, 5)
    np.testing.assert_array_equal(np.sort(found[:, :3]), np.tile([0, 0, 1], (6000, 1)))
    np.testing.assert_allclose(found[:, :3].mean(0), 1 / 3, atol=4 * (2 / 9 / 6000) ** 0.5)
    numbers = found[:, 3:]
    assert -1 <= numbers.min() < -0.99
    assert 0.99 < numbers.max() <= 1
    np.testing.assert_allclose(np.sort(numbers, axis=0), np.linspace(-1, 1, 6000)[:, None].repeat(2, 1), atol=0.06)
    assert abs(np.corrcoef(found.T)[:3, 3:]).max() < 0.05
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.05


def test_an_example_keeps_its_code_in_any_batch():
    np.testing.assert_array_equal(codes(16)[:8], codes(8))
    others = [codes(8, step=1), codes(8, stream="discriminator"), codes(8, index=1)]
    assert not any(np.isin(codes(8)[:, 3:], other[:, 3:]).any() for other in others)


PAIRS = {
    "none": {},
    "concat": {"conditioning__generator": "concat", "conditioning__discriminator": "concat"},
    "cbn and projection": {
        "conditioning__generator": "cbn",
        "conditioning__discriminator": "projection",
        "model__generator__norm": "batch",
    },
    "acgan": {
        "conditioning__generator": "concat",
        "conditioning__discriminator": "acgan",
        "conditioning__weight": 2.0,
    },
    "infogan": INFOGAN,
    **{
        name: {
            "conditioning__generator": "concat",
            "conditioning__discriminator": name,
            "conditioning__weight": 2.0,
            **({"conditioning__proxy_dim": 4} if name in ("contragan", "reacgan") else {}),
        }
        for name in ("tacgan", "adcgan", "contragan", "reacgan")
    },
    "mhgan": {
        "conditioning__generator": "concat",
        "conditioning__discriminator": "mhgan",
        "loss": "hinge",
        "margin": 0.5,
    },
}


def conditional(pair: str):
    """The experiment of a pair of conditionings."""
    return experiment(recorded=True, classes=3, **POINTS | PAIRS[pair])


def conditions(tiny, batch, stream: str):
    """The conditions that the generator gets, and those that the discriminator gets."""
    side = tiny.config.conditioning.discriminator
    if side == "none":
        return None, None
    if side == "infogan":  # whose codes have tests of their own
        return forward.sample_latents(tiny.exp, tiny.state, batch, stream).condition, None
    labels = jnp.eye(3)[batch["labels"]]
    return labels, labels if side in ("concat", "projection", "contragan", "reacgan") else None


def wrong(logits, condition):
    """The cross-entropy of labels."""
    return -(condition * log_softmax(logits)).sum(1).mean()


def code_error(predicted, condition):
    """How far codes of 3 categories are from their prediction."""
    numbers = 0.5 * ((predicted[:, 3:] - condition[:, 3:]) ** 2).sum(1).mean()
    return numbers + wrong(predicted[:, :3], condition[:, :3])


def compared(d_out: DiscriminatorOutput, condition):
    """The published losses of embeddings, example by example: ContraGAN's at temperature 1, ReACGAN's at 1/2."""

    def unit(vectors):
        squared = (vectors**2).sum(1, keepdims=True)  # 0 where a point has no features, since biases begin at 0
        return jnp.where(squared > 0, vectors / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)

    own, proxies, labels = unit(d_out.embedding), unit(d_out.proxy), condition.argmax(1)
    contragan = reacgan = 0
    for i in range(len(own)):
        others = jnp.arange(len(own)) != i
        alike, every = labels == labels[i], jnp.exp(own @ own[i])
        near = jnp.exp(own[i] @ proxies[i])
        attraction, total = near + (every * (others & alike)).sum(), near + (every * others).sum()
        contragan -= jnp.log(attraction / total) / len(own)
        pull = jnp.exp(2 * jnp.minimum(own[i] @ proxies[i] - 0.98, 0))
        push = jnp.exp(2 * jnp.maximum(own @ own[i] - 0.02, 0)) * ~alike
        reacgan -= jnp.log(pull / (pull + push.sum())) / len(own)
    return {"contragan": contragan, "reacgan": reacgan}


def d_aux_loss(side: str, real: DiscriminatorOutput, fake: DiscriminatorOutput, condition):
    """What the discriminator learns of conditions."""
    if side in ("contragan", "reacgan"):
        return compared(real, condition)[side]
    one, other = real.aux_logits, fake.aux_logits
    nothing = jnp.zeros_like(condition)
    return {
        "acgan": lambda: wrong(one, condition) + wrong(other, condition),
        "infogan": lambda: code_error(other, condition),
        "tacgan": lambda: wrong(one[:, :3], condition) + wrong(other[:, 3:], condition),
        "adcgan": lambda: wrong(one, jnp.hstack([condition, nothing])) + wrong(other, jnp.hstack([nothing, condition])),
    }[side]()


def g_aux_loss(side: str, fake: DiscriminatorOutput, condition):
    """What the generator learns of conditions."""
    if side in ("contragan", "reacgan"):
        return compared(fake, condition)[side]
    other, nothing = fake.aux_logits, jnp.zeros_like(condition)
    return {
        "acgan": lambda: wrong(other, condition),
        "infogan": lambda: code_error(other, condition),
        "tacgan": lambda: wrong(other[:, :3], condition) - wrong(other[:, 3:], condition),
        "adcgan": lambda: (
            wrong(other, jnp.hstack([condition, nothing])) - wrong(other, jnp.hstack([nothing, condition]))
        ),
    }[side]()


def too_small(logits, classes):
    """By how much the logit of a class lacks a margin of 1/2 to the largest of the others, averaged."""
    rows = jnp.arange(len(logits))
    lacking = 0.5 + logits.at[rows, classes].set(-jnp.inf).max(1) - logits[rows, classes]
    return jnp.maximum(lacking, 0).mean()


@functools.partial(quick_jit, static_argnums=0)
def by_hand(tiny, batch):
    """Both gradients, each of its own loss, written with flax and jax alone."""
    side = tiny.config.conditioning.discriminator
    weight = tiny.config.conditioning.get("weight", 0.0)
    output = lambda params, x, condition: applied(tiny, "discriminator", params, x, condition)[0]  # noqa: E731

    def d_loss(params):
        condition, given = conditions(tiny, batch, "discriminator")
        z = latents_of(tiny, "discriminator latents")
        fake = applied(tiny, "generator", params_of(tiny, "generator"), z, condition)[0]
        first, second = output(params, batch["points"], given), output(params, fake, given)
        if side == "mhgan":
            return too_small(first.aux_logits, batch["labels"]) + too_small(second.aux_logits, 3)
        total = softplus(-first.logits).mean() + softplus(second.logits).mean()
        return total + weight * d_aux_loss(side, first, second, condition) if weight else total

    def g_loss(params):
        condition, given = conditions(tiny, batch, "generator")
        fake = applied(tiny, "generator", params, latents_of(tiny, "generator latents"), condition)[0]
        d_out = output(params_of(tiny, "discriminator"), fake, given)
        if side == "mhgan":
            return too_small(d_out.aux_logits, batch["labels"])
        total = softplus(-d_out.logits).mean()
        return total + weight * g_aux_loss(side, d_out, condition) if weight else total

    losses = {"discriminator": d_loss, "generator": g_loss}
    return {name: jax.grad(loss)(params_of(tiny, name)) for name, loss in losses.items()}


@pytest.mark.parametrize("pair", PAIRS)
def test_both_gradients_are_those_of_a_loss_written_by_hand(pair):
    """A fake has the label of the real example in its place, in both networks."""
    tiny = conditional(pair)
    batch = tiny.one_batch()
    expected = by_hand(tiny, batch)
    for name in ("discriminator", "generator"):
        state, _ = getattr(tiny, f"{name}_step")(tiny.state, batch)
        assert_close(gradients(state, name), expected[name], atol=1e-5)
        assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(expected[name])) > 1e-3


@pytest.mark.parametrize("pair", PAIRS)
def test_labels_matter_where_a_network_is_conditioned_and_nowhere_else(pair):
    tiny = conditional(pair)
    batch = tiny.one_batch()
    permuted = batch | {"labels": jnp.roll(batch["labels"], 1)}
    assert not np.array_equal(batch["labels"], permuted["labels"])
    for name in ("discriminator", "generator"):
        step = getattr(tiny, f"{name}_step")
        (one, metrics), (other, others) = step(tiny.state, batch), step(tiny.state, permuted)
        if pair in ("none", "infogan"):
            assert_same_bits((one, metrics), (other, others))
        else:
            assert not np.isclose(metrics[f"loss/{name}"], others[f"loss/{name}"], rtol=1e-5)


@pytest.mark.parametrize("pair", ["none", "infogan"])
def test_a_batch_without_labels_is_enough_where_no_network_uses_them(pair):
    tiny = conditional(pair)
    points = {"points": tiny.one_batch()["points"]}
    step = lambda batch: gan.generator_step(tiny.exp, tiny.state, batch)  # noqa: E731
    assert jax.eval_shape(step, points) == jax.eval_shape(step, tiny.one_batch())


def test_the_distance_of_features():
    exp = build(tiny_config(feature_matching=2.0))
    real, fake = outputs(4)
    total, metrics = objectives.generator_loss(exp, at_step(0), real, fake, None)
    expected = ((real.features.mean(0) - fake.features.mean(0)) ** 2).sum()
    np.testing.assert_allclose(metrics["loss/feature_matching"], expected, rtol=1e-5)
    np.testing.assert_allclose(total, metrics["loss/generator"] + 2 * expected, rtol=1e-5)
    shuffled = real._replace(features=real.features[::-1])  # means match, whatever the examples
    assert objectives.generator_loss(exp, at_step(0), real, shuffled, None)[1]["loss/feature_matching"] < 1e-12


def test_without_an_adversary_the_generator_follows_the_features_alone():
    tiny = experiment(recorded=True, **POINTS, adversarial=0.0, feature_matching=2.0)

    @quick_jit
    def by_hand(batch):
        features = lambda x: applied(tiny, "discriminator", params_of(tiny, "discriminator"), x)[0].features.mean(0)  # noqa: E731
        make = lambda params: applied(tiny, "generator", params, latents_of(tiny, "generator latents"))[0]  # noqa: E731
        distance = lambda params: ((features(batch["points"]) - features(make(params))) ** 2).sum()  # noqa: E731
        params = params_of(tiny, "generator")
        return make(params), *jax.value_and_grad(distance)(params)

    fakes, value, slope = by_hand(tiny.one_batch())
    state, metrics = tiny.generator_step(tiny.state, tiny.one_batch())
    np.testing.assert_allclose(metrics["loss/feature_matching"], value, rtol=1e-5)
    assert_close(gradients(state, "generator"), jax.tree.map(lambda leaf: 2 * leaf, slope), atol=1e-6)
    assert value > 1e-3
    # Fakes for real examples: nothing is left to learn.
    state, metrics = tiny.generator_step(tiny.state, tiny.one_batch() | {"points": fakes})
    assert metrics["loss/feature_matching"] < 1e-10
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(gradients(state, "generator"))) < 1e-5
    assert metrics["loss/generator"] > 0.1


def weights(logits, step: int, fraction: float, decay_steps: int = 100):
    exp = build(tiny_config(top_k__fraction=fraction, top_k__decay_steps=decay_steps))
    take = quick_jit(lambda state, logits: objectives.top_k_weights(exp, state, logits))
    return np.asarray(take(at_step(step), jnp.asarray(logits, jnp.float32)))


@pytest.mark.parametrize(("step", "count"), [(0, 8), (1, 8), (50, 4), (100, 2), (1000, 2)])
def test_the_best_fakes_share_the_weight(step, count):
    """Their number falls by the same factor in each step: 8 * 0.25^(1/2) = 4 at half time."""
    logits = np.random.default_rng(5).permutation(8) - 3.5
    expected = np.where(logits >= np.sort(logits)[-count], 8 / count, 0)
    found = weights(logits, step, 0.25)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found.mean(), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "fraction"), [(8, "0.01"), (1, "0.5"), (25, "0.6"), (50, "0.3"), (64, "0.75"), (100, "0.6"), (10, "0.31")]
)
def test_a_fraction_of_a_batch_is_rounded_up(batch, fraction):
    """Exactly: 0.3 of 50 is 15, whatever the binary fraction next to 0.3 is; and one fake is left at least."""
    found = weights(np.arange(batch), 100, float(fraction))
    assert np.count_nonzero(found) == math.ceil(batch * Fraction(fraction)) >= 1


def test_the_best_fakes_are_those_of_all_devices():
    exp = build(tiny_config(top_k__fraction=0.25, top_k__decay_steps=1), axis_name="axis")
    logits = jnp.asarray([3.0, 7, 0, 1, 6, 5, 4, 2])
    everywhere = jax.vmap(lambda own: objectives.top_k_weights(exp, at_step(1), own), axis_name="axis")
    np.testing.assert_allclose(everywhere(logits.reshape(2, 4)).reshape(-1), weights(logits, 1, 0.25, 1), rtol=1e-6)


def test_the_generator_learns_from_the_best_fakes_alone():
    settings = {"top_k__fraction": 0.25, "top_k__decay_steps": 10}
    tiny, plain = experiment(recorded=True, **POINTS, **settings), conditional("none")
    batch = tiny.one_batch()
    (state, metrics), (expected, others) = (one.generator_step(one.state, batch) for one in (tiny, plain))
    assert_close(gradients(state, "generator"), gradients(expected, "generator"))  # at first all of them count
    np.testing.assert_allclose(metrics["loss/generator"], others["loss/generator"], rtol=1e-5)

    def of_the_best_two(params):
        fakes = applied(tiny, "generator", params, latents_of(tiny, "generator latents", step=10))[0]
        logits = applied(tiny, "discriminator", params_of(tiny, "discriminator"), fakes)[0].logits
        return softplus(-jnp.sort(logits)[-2:]).mean()

    value, slope = quick_jit(jax.value_and_grad(of_the_best_two))(params_of(tiny, "generator"))
    state, metrics = tiny.generator_step(tiny.state.replace(step=jnp.int32(10)), batch)
    np.testing.assert_allclose(metrics["loss/generator"], value, rtol=1e-5)
    assert_close(gradients(state, "generator"), slope, atol=1e-6)
