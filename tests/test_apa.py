"""APA: which real examples fakes replace, what a step makes of them, how the probability settles, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, assert_close, assert_same_bits, experiment, gradients, quick_jit

from jaxgan.adversarial import adaptive, apa
from jaxgan.adversarial.forward import generate, sample_latents
from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import build, default, example_batch
from jaxgan.core.experiment import initial_state
from jaxgan.errors import UserError


def fixed(p: float, **more):
    """The smallest experiment in which fakes replace a share of the real examples."""
    return experiment(recorded=True, **POINTS, apa__mode="fixed", apa__p=p, **more)


def plain(**more):
    return experiment(recorded=True, **POINTS, **more)


def fakes_of(tiny, stream: str = "discriminator"):
    """The fakes of an update of the discriminator."""
    latents = sample_latents(tiny.exp, tiny.state, tiny.one_batch(), stream)
    return quick_jit(lambda: generate(tiny.exp, tiny.state, tiny.state.networks["generator"].params, latents)[0])()


def deceived(tiny, count: int = 8, **hparams):
    """Which of `count` real examples fakes replace: zeros by ones."""
    state = tiny.state.replace(hparams={f"apa.{name}": value for name, value in hparams.items()})
    return np.asarray(apa.deceive(tiny.exp, state, jnp.zeros((count, 2)), jnp.ones((count, 2)), "discriminator"))


def test_none_are_replaced_with_a_probability_of_0_and_all_with_1():
    tiny = fixed(0.5)
    np.testing.assert_array_equal(deceived(tiny, p=0.0), np.zeros((8, 2)))
    np.testing.assert_array_equal(deceived(tiny, p=1.0), np.ones((8, 2)))


def test_an_example_is_replaced_as_a_whole_and_as_often_as_the_probability_says():
    found = deceived(fixed(0.5), 4000, p=0.3)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert abs(found[:, 0].mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)


def test_whether_an_example_is_replaced_depends_on_its_index_and_on_the_step():
    tiny = fixed(0.5)
    np.testing.assert_array_equal(deceived(tiny, 100)[:8], deceived(tiny, 8))
    later = tiny.state.replace(step=jnp.int32(1))
    other = apa.deceive(tiny.exp, later, jnp.zeros((100, 2)), jnp.ones((100, 2)), "discriminator")
    assert (np.asarray(other) != deceived(tiny, 100)).any()


def test_those_that_a_smaller_probability_replaces_a_larger_one_replaces_as_well():
    tiny = fixed(0.5)
    assert (deceived(tiny, 100, p=0.2) <= deceived(tiny, 100, p=0.6)).all()


@pytest.mark.parametrize("rule", ["alternating", "simultaneous"])
def test_a_step_with_a_probability_of_0_is_a_step_without(rule):
    """At the start of an adaptive run, to the last bit."""
    tiny = experiment(**POINTS, apa__mode="adaptive", update_rule=rule)
    (state, metrics), (expected, others) = tiny.run(1), experiment(**POINTS, update_rule=rule).run(1)
    assert_same_bits(state.networks, expected.networks)
    assert_same_bits({name: metrics[name] for name in others}, others)
    assert metrics["apa/p"] == 0
    assert state.extra["apa"]["batches"] == 1


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_the_discriminator_learns_as_if_the_replaced_examples_were_in_the_data(p):
    tiny, without = fixed(p, penalties__r1=1.0), plain(penalties__r1=1.0)
    batch = tiny.one_batch()
    mixed = apa.deceive(tiny.exp, tiny.state, batch["points"], fakes_of(tiny), "discriminator")
    assert 0 < (np.asarray(mixed) != batch["points"]).any(1).mean() <= 1
    (state, metrics), (expected, others) = (
        tiny.discriminator_step(tiny.state, batch, 0),
        without.discriminator_step(without.state, batch | {"points": mixed}, 0),
    )
    assert_close(gradients(state, "discriminator"), gradients(expected, "discriminator"))
    for name in ("loss/discriminator", "logits/real", "penalty/r1"):
        np.testing.assert_allclose(metrics[name], others[name], rtol=1e-5)


def test_the_generator_learns_as_without():
    (state, _), (expected, _) = (own.generator_step(own.state, own.one_batch()) for own in (fixed(1.0), plain()))
    assert_same_bits(gradients(state, "generator"), gradients(expected, "generator"))


def test_no_gradient_reaches_fakes_that_stand_for_real_examples():
    tiny = fixed(1.0)
    total = lambda fake: apa.deceive(tiny.exp, tiny.state, jnp.ones((8, 2)), fake, "discriminator").sum()  # noqa: E731
    np.testing.assert_array_equal(jax.grad(total)(jnp.ones((8, 2))), np.zeros((8, 2)))


def test_the_probability_settles_where_the_mean_sign_is_at_its_target():
    """Of a discriminator that finds 95% of the real examples real, and 90% of the fakes generated."""
    real, fake, target = 0.9, -0.8, 0.3

    def body(carried, key):
        replaced = jax.random.uniform(key, (64,)) < carried["p"]
        new = adaptive.moved(carried, jnp.where(replaced, fake, real).mean(), target, 0.002)
        return new, new["p"]

    start = {name: jnp.zeros(()) for name in ("p", "signs", "batches")}
    _, p = jax.lax.scan(body, start, jax.random.split(jax.random.key(0), 3000))
    np.testing.assert_allclose(p[2000:].mean(), (real - target) / (real - fake), atol=0.02)


def test_the_mean_sign_is_of_what_the_discriminator_is_given_as_real():
    tiny, without = fixed(0.5), plain(apa__mode="fixed", apa__p=0.25)
    batch = tiny.one_batch()
    _, metrics = tiny.discriminator_step(tiny.state, batch, 0)
    assert metrics["apa/p"] == 0.5
    state = without.state.replace(hparams={"apa.p": jnp.float32(0)})
    mixed = apa.deceive(tiny.exp, tiny.state, batch["points"], fakes_of(tiny), "discriminator")
    _, others = without.discriminator_step(state, batch | {"points": mixed}, 0)
    np.testing.assert_allclose(metrics["apa/sign"], others["apa/sign"], rtol=1e-6)


@pytest.mark.parametrize("name", ["gan", "stylegan2"])
def test_both_algorithms_of_latents_have_it_beside_ada(name):
    images = {"data.source": "digits", "data.size": 8, "model.family": "mlp"} if name == "gan" else {}
    own = {key: value for key, value in ALGORITHMS[name].smallest.items() if not (images and key.startswith("model"))}
    modes = {"apa.mode": "adaptive", "ada.mode": "adaptive", "ada.operations": ("xflip",)}
    exp = build(default({"algorithm": name, **own, **images, **modes}))
    state = jax.eval_shape(lambda: initial_state(exp))
    new, metrics = jax.eval_shape(lambda state: exp.algorithm.step(exp, state, example_batch(exp)), state)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert {"ada/p", "ada/sign", "apa/p", "apa/sign"} < metrics.keys()
    assert new.extra["apa"].keys() == new.extra["ada"].keys() == {"p", "signs", "batches"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"apa.mode": "fixed", "apa.p": 0.0}, "config.apa.p=0 replaces nothing"),
        ({"apa.mode": "fixed", "apa.p": 1.5}, "from 0 to 1"),
        ({"apa.mode": "adaptive", "apa.target": 1.0}, "below 1"),
        ({"apa.mode": "adaptive", "apa.speed": 0.0}, "above 0"),
        ({"apa.mode": "adaptive", "loss": "rpgan"}, "config.apa.mode=adaptive counts .* only compares"),
        ({"apa.mode": "adaptive", "apa.p": 0.5}, "apa.mode=fixed has it"),
        ({"apa.mode": "adaptive", "algorithm": "cut"}, "apa"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(settings, words):
    with pytest.raises(UserError, match=words) as error:
        build(default(settings))
    assert "\n" not in str(error.value)
