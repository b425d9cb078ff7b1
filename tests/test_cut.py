"""CUT and CycleGAN: whole objectives as in the authors' code, and the laws of PatchNCE."""

import dataclasses
import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import assert_close, quick_jit, raises_user_error
from make_golden_translation import FULL, HEAD_WIDTH, TEMPERATURE, WIDTH, images, vectors
from translators import filled

from benchmarks import agreement
from jaxgan.adversarial import patch_nce
from jaxgan.adversarial.forward import deinterleave, interleave
from jaxgan.algorithms import ALGORITHMS, cut, cyclegan
from jaxgan.config import build, default, example_batch
from jaxgan.core import experiment
from jaxgan.core.gradients import gradients
from jaxgan.core.state import create_state
from jaxgan.errors import UserError

GOLDEN = np.load(Path(__file__).parent / "golden_translation.npz")
FASTCUT = {"nce.weight": 10.0, "nce.identity": 0.0, "nce.flip": True}
AUTHORS = {  # the networks of the golden answers
    "data.source": "unpaired:digits|edited:inverted:digits",
    "data.size": 16,
    "data.channels": 3,
    "batch_size": 2,
    "model.generator.base_channels": WIDTH,
    "model.discriminator.base_channels": WIDTH,
}
CUT = {
    **AUTHORS,
    "algorithm": "cut",
    "model.generator.blocks": 6,
    "model.discriminator.depth": 2,
    "nce.patches": FULL,
    "nce.width": HEAD_WIDTH,
    "nce.temperature": TEMPERATURE,
}
REAL = {name: jnp.float32(images(seed, (16, 16))) for name, seed in (("a", 2), ("b", 3))}


def experiment_of(settings, firsts: dict[str, int], batch_last: bool = True):
    """An experiment, and a state whose networks have the weights of the golden answers, which begin with those."""
    exp = build(default(settings))
    layouts = {name: net.clone(batch_last=batch_last) for name, net in exp.networks.items() if name != "heads"}
    exp = dataclasses.replace(exp, networks=exp.networks | layouts)
    given = exp.algorithm.inputs(exp)
    made = {name: filled(exp.networks[name], *given[name], first=first) for name, first in firsts.items()}
    return exp, create_state(0, made, {player: {} for player in exp.players}, extra=exp.algorithm.extra(exp))


def cut_gradients(name: str, batch_last: bool) -> tuple:
    """The losses of generator and discriminator and the generator's gradients, with all patches: nothing is drawn."""
    settings = CUT | (FASTCUT if name == "fastcut" else {})
    exp, state = experiment_of(settings, {"generator": 0, "discriminator": 200, "heads": 400}, batch_last)
    flip = jnp.asarray(name == "fastcut")
    real = REAL["a"], REAL["b"]
    given = real if name == "cut" else real[:1]

    @quick_jit
    def found(state):
        def objective(params):
            translated, _ = cut.generate(exp, state, params["generator"], interleave(given), flip)
            value, _ = cut.generator_objective(exp, state, params, real, translated, flip)
            return value, (value, deinterleave(translated, len(given))[0])

        grads, _, (value, fake) = gradients(exp, state, ("generator", "heads"), objective)
        pair = REAL["b"], fake
        variables = state.networks["discriminator"]
        own, _ = cut.patches.discriminator_objective(exp, state, "discriminator", variables, pair)
        return value, own, grads

    return found(state)


@pytest.mark.parametrize("name", ["cut", "fastcut"])
def test_cut_minimises_what_the_authors_do(name):
    value, own, grads = cut_gradients(name, batch_last=False)
    assert float(value) == pytest.approx(float(GOLDEN[f"{name}_generator"]), rel=1e-5)
    assert float(own) == pytest.approx(float(GOLDEN[f"{name}_discriminator"]), rel=1e-5)
    for gradient, expected in (
        (grads["generator"]["Conv_0"]["kernel"], GOLDEN[f"{name}_conv_gradient"].transpose(2, 3, 1, 0)),
        (grads["heads"]["Dense_4"]["kernel"], GOLDEN[f"{name}_heads_gradient"].T),
    ):
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["cut", "fastcut"])
def test_both_layouts_minimise_the_same(name, monkeypatch):
    """Without ReLU's kinks: a unit within rounding of 0 has one slope in one layout and another slope in the other."""
    monkeypatch.setattr(nn, "relu", nn.softplus)
    value, own, grads = cut_gradients(name, batch_last=False)
    other_value, other_own, other_grads = cut_gradients(name, batch_last=True)
    assert float(other_value) == pytest.approx(float(value), rel=1e-5)
    assert float(other_own) == pytest.approx(float(own), rel=1e-5)
    assert agreement.distance(other_grads, grads) < 1e-4


def test_cyclegan_minimises_what_the_authors_do():
    settings = AUTHORS | {"algorithm": "cyclegan", "model.generator.blocks": 1, "model.discriminator.depth": 1}
    firsts = {"generator_ab": 0, "generator_ba": 100, "discriminator_b": 200, "discriminator_a": 300}
    exp, state = experiment_of(settings, firsts)

    @quick_jit
    def found(state):
        def objective(params):
            own = {name: state.networks[name].replace(params=values) for name, values in params.items()}
            value, (made, metrics) = cyclegan.generator_objective(exp, state, state.networks | own, REAL)
            return value, (value, metrics, made.fake)

        grads, _, (value, metrics, fake) = gradients(exp, state, "generator", objective)
        _, (_, others, _) = cyclegan.discriminator_objective(exp, state, state.networks, REAL, fake)
        return value, metrics | others, grads["generator_ab"]["Conv_0"]["kernel"]

    value, metrics, gradient = found(state)
    assert float(value) == pytest.approx(float(GOLDEN["cyclegan_generator"]), rel=1e-5)
    for ours, theirs in (("cycle_a", "cycle_a"), ("identity_b", "identity_b"), ("discriminator_b", "discriminator_b")):
        assert float(metrics[f"loss/{ours}"]) == pytest.approx(float(GOLDEN[f"cyclegan_{theirs}"]), rel=1e-5)
    expected = GOLDEN["cyclegan_conv_gradient"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_patch_nce_is_that_of_the_authors():
    found = patch_nce.patch_nce((jnp.float32(vectors(0)),), (jnp.float32(vectors(1)),), TEMPERATURE)
    np.testing.assert_allclose(found, GOLDEN["patch_nce"].reshape(2, -1).mean(1), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_patch_nce_of_orthogonal_patches(count):
    """A query that is its key, at right angles to all others: log(1 + (n - 1) / e^(1/T)); one patch has no others."""
    own = (jnp.eye(8)[None, :count],)
    expected = np.log1p((count - 1) * np.exp(-1 / 0.5))
    assert float(patch_nce.patch_nce(own, own, 0.5)[0]) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_negatives_are_of_the_same_image_and_no_gradient_reaches_keys():
    queries, keys = ((jnp.float32(vectors(seed)),) for seed in (0, 1))
    alone = [patch_nce.patch_nce((queries[0][i : i + 1],), (keys[0][i : i + 1],), 0.1)[0] for i in range(2)]
    np.testing.assert_allclose(patch_nce.patch_nce(queries, keys, 0.1), alone, rtol=1e-5)
    by_queries, by_keys = jax.grad(lambda q, k: patch_nce.patch_nce(q, k, 0.1).sum(), (0, 1))(queries, keys)
    assert float(jnp.abs(by_queries[0]).max()) > 0.1
    assert float(jnp.abs(by_keys[0]).max()) == 0


def test_places_are_drawn_once_for_all_images_and_none_twice():
    sizes = ((4, 5), (2, 2))
    features = tuple(jnp.arange(3.0 * rows * columns * 2).reshape(3, rows, columns, 2) for rows, columns in sizes)
    places = patch_nce.draw_places(jax.random.key(0), features, 7)
    assert [len(own) for own in places] == [7, 4]
    assert all(len(set(own.tolist())) == len(own) for own in places)
    found = patch_nce.at_places(features, places, batch_last=False)
    for own, indices, vectors_of, (_, columns) in zip(features, places, found, sizes, strict=True):
        for row, index in enumerate(indices.tolist()):
            np.testing.assert_array_equal(vectors_of[:, row], own[:, index // columns, index % columns])
    turned = tuple(jnp.swapaxes(own, 0, -1) for own in features)
    assert_close(patch_nce.at_places(turned, places, batch_last=True), found)


def test_heads_make_unit_vectors_and_of_zeros_zeros_without_a_gradient():
    heads = patch_nce.Heads(6, jax.nn.initializers.normal(1.0))
    features = (jnp.float32(vectors(0)).at[0, 0].set(0.0),)
    variables = heads.init(jax.random.key(0), *features, train=True)
    (found,) = heads.apply(variables, *features, train=True)
    lengths = np.linalg.norm(found, axis=-1)
    assert lengths[0, 0] == 0
    np.testing.assert_allclose(np.delete(lengths.ravel(), 0), 1, rtol=1e-5)
    slope = jax.grad(lambda features: heads.apply(variables, *features, train=True)[0].sum())(features)
    assert np.isfinite(slope[0]).all()
    assert float(jnp.abs(slope[0][0, 0]).max()) == 0


@functools.cache
def smallest(**more):
    exp = build(default({"algorithm": "cut", **ALGORITHMS["cut"].smallest, **dict(more)}))
    return exp, quick_jit(lambda: experiment.initial_state(exp))()


def test_one_backward_pass_gives_the_gradients_of_both_players():
    exp, state = smallest()
    batch = example_batch(exp)
    real = batch["a"][0], batch["b"][0]
    flip = jnp.asarray(True)

    def objective(params):
        params = {name: own.params for name, own in state.networks.items()} | params
        translated, _ = cut.generate(exp, state, params["generator"], interleave(real), flip)
        return cut.generator_objective(exp, state, params, real, translated, flip)

    @quick_jit
    def found():
        return [gradients(exp, state, own, objective)[0] for own in (("generator", "heads"), "generator", "heads")]

    both, generator, heads = found()
    assert both.keys() == {"generator", "heads"}
    assert_close(both, generator | heads, rtol=1e-4, atol=1e-5)


def test_what_has_no_part_is_not_computed():
    """Without the identity no image of the target is translated."""
    metrics = {}
    for identity in (0.0, 1.0):
        exp = build(default({"algorithm": "cut", **ALGORITHMS["cut"].smallest, "nce.identity": identity}))
        state = jax.eval_shape(lambda exp=exp: experiment.initial_state(exp))
        made = jax.eval_shape(lambda state, exp=exp: exp.algorithm.step(exp, state, example_batch(exp)), state)
        metrics[identity] = {name for name in made[1] if name.startswith("loss/")}
    assert metrics[0.0] == {"loss/discriminator", "loss/generator", "loss/nce"}
    assert metrics[1.0] - metrics[0.0] == {"loss/nce_identity"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.family": "pix2pix"}, "has no feature_translator, which this algorithm needs: choose from cyclegan"),
        ({"data.source": "digits"}, "config.data.source=digits is one: make it unpaired:A|B"),
        ({"model.discriminator.depth": 3}, "needs images of 24 pixels at least"),
        ({"nce.temperature": 0.0}, "config.nce.temperature=0.0 must be above 0"),
        ({"nce.patches": 0}, "config.nce.patches=0 must be at least 1"),
        ({"direction": "aa"}, "config.direction=aa must be ab or ba"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    smallest_settings = {"algorithm": "cut", **ALGORITHMS["cut"].smallest}
    if "model.family" in settings:
        smallest_settings = {"algorithm": "cut", "data.source": smallest_settings["data.source"]}
    with raises_user_error(UserError, match=message.replace("|", r"\|")):
        build(default({**smallest_settings, **settings}))
