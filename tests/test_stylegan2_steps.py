"""StyleGAN2's updates: what each of them changes, when penalties are due, and how styles are drawn and truncated."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import assert_close, assert_same_bits, quick_jit, same
from ml_collections import ConfigDict

from jaxgan import inference
from jaxgan.adversarial.penalties import path_lengths
from jaxgan.algorithms import ALGORITHMS, stylegan2
from jaxgan.config import build, default, example_batch
from jaxgan.core import latents, population, rng
from jaxgan.errors import UserError

R1 = {"penalties.r1": 10.0, "penalty_interval.r1": 2}
PATH_LENGTH = {"generator_penalties.path_length": 2.0, "generator_penalty_interval.path_length": 2}


def config_of(**settings) -> ConfigDict:
    """The smallest configuration, with some settings changed; `style_mixing` is off unless it is given."""
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    smallest = ALGORITHMS["stylegan2"].smallest
    return default({"algorithm": "stylegan2", **smallest, "style_mixing": 0.0, **changes})


class Small:
    """An experiment, its state and its compiled step."""

    def __init__(self, **settings):
        self.exp = build(config_of(**settings), 10)
        self.state = quick_jit(lambda: population.init_state(self.exp))()
        self.step = quick_jit(functools.partial(stylegan2.step, self.exp))

    def run(self, steps: int):
        """The states after each of some steps."""
        states = [self.state]
        for number in range(steps):
            states.append(self.step(states[-1], example_batch(self.exp, number))[0])
        return states


@functools.cache
def small(**settings) -> Small:
    return Small(**settings)


# Penalties


def test_path_lengths_of_a_linear_map():
    """G(w) = A w has J^T y = A^T y for the y that the key draws, whatever w is."""
    matrix = jax.random.normal(jax.random.key(1), (2 * 3 * 1, 4))
    keys = jax.random.split(jax.random.key(2), 5)

    def synthesize(styles):
        return (styles @ matrix.T).reshape(-1, 2, 3, 1)

    found = path_lengths(synthesize, jax.random.normal(jax.random.key(3), (5, 4)), keys)
    drawn = np.stack([np.asarray(jax.random.normal(key, (2, 3, 1))) for key in keys]).reshape(5, 6) / math.sqrt(6)
    np.testing.assert_allclose(found, np.linalg.norm(drawn @ np.asarray(matrix), axis=1), rtol=1e-5)


def test_path_lengths_of_several_styles_are_root_mean_squares():
    """Where each of two styles alone would have a length, both have the root of the mean of the squares."""
    keys = jax.random.split(jax.random.key(0), 3)
    styles = jax.random.normal(jax.random.key(1), (3, 2, 5))

    def synthesize(styles):
        return (styles[:, 0] + 2 * styles[:, 1]).reshape(-1, 1, 1, 5)

    one = path_lengths(lambda own: own.reshape(-1, 1, 1, 5), styles[:, 0], keys)
    np.testing.assert_allclose(path_lengths(synthesize, styles, keys), one * math.sqrt((1 + 4) / 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "changed"),
    [(R1, {"discriminator"}), (PATH_LENGTH, {"mapping", "synthesis", "discriminator"})],
    ids=["r1", "path_length"],
)
def test_a_penalty_that_is_not_due_changes_nothing(settings, changed):
    """Step 0 is due and step 1 is not. What changes is the player, and the discriminator that its fakes come to.

    The networks of a step that is not due are those of an experiment without penalties that begins with its state.
    """
    plain, own = small(), small(**settings)
    first, after, last = own.run(2)
    batches = [example_batch(own.exp, number) for number in range(2)]
    without, _ = plain.step(first.replace(extra=plain.state.extra), batches[0])
    for name in own.exp.networks:
        assert same(without.networks[name].params, after.networks[name].params) != (name in changed), name
    without, _ = plain.step(after.replace(extra=plain.state.extra), batches[1])
    assert_close(without.networks, last.networks, rtol=1e-5)


def test_the_average_path_length_moves_when_it_is_due():
    states = small(**PATH_LENGTH).run(3)
    means = [float(state.extra["generator_penalties"]["path_length"]["mean"]) for state in states]
    assert means[0] == 0 < means[1] == means[2] < means[3]


def test_metrics_of_penalties_repeat_the_last_value():
    own = small(**R1)
    state, first = own.step(own.state, example_batch(own.exp, 0))
    _, second = own.step(state, example_batch(own.exp, 1))
    assert float(first["penalty/r1"]) == float(second["penalty/r1"]) > 0
    assert float(second["grad_norm/discriminator"]) > 0


def test_the_average_path_length_is_a_metric_of_every_step():
    own = small(**PATH_LENGTH)
    state, first = own.step(own.state, example_batch(own.exp, 0))
    mean = float(state.extra["generator_penalties"]["path_length"]["mean"])
    _, second = own.step(state, example_batch(own.exp, 1))
    for name in ("generator_penalty/path_length", "generator_penalty/path_length_mean"):
        assert float(first[name]) == float(second[name]) > 0
    assert float(second["generator_penalty/path_length_mean"]) == mean


def test_curves_are_drawn_of_augmentation_and_both_penalties():
    exp = build(config_of(**R1, **PATH_LENGTH, ada__mode="adaptive"), 10)
    state = jax.eval_shape(lambda: population.init_state(exp))
    batch = jax.eval_shape(lambda: example_batch(exp))
    _, metrics = jax.eval_shape(functools.partial(stylegan2.step, exp), state, batch)
    drawn = {name for name in metrics if name.partition("/")[0] in exp.algorithm.curves}
    path_length = {f"generator_penalty/path_length{what}" for what in ("", "_mean")}
    assert {"ada/p", "ada/sign", "penalty/r1", *path_length, "logits/real", "loss/generator"} < drawn


# StyleGAN3


@pytest.mark.slow
@pytest.mark.parametrize("equivariance", ["translation", "rotation"])
def test_stylegan3_takes_a_step(equivariance):
    """A small one, with R1, ADA and the blur: all numbers are finite, both players and what is tracked change."""
    settings = {"data__size": 16, "model__family": "stylegan3", "model__synthesis__equivariance": equivariance}
    own = Small(**settings, **R1, model__synthesis__layers=4, ada__mode="adaptive", blur_sigma=2.0)
    state, metrics = own.step(own.state, example_batch(own.exp, 0))
    assert all(np.isfinite(array).all() for array in jax.tree.leaves((state.networks, state.ema, metrics)))
    assert float(metrics["skipped_updates"]) == 0
    before, after = own.state.networks, state.networks
    for name in own.exp.networks:
        assert not same(before[name].params, after[name].params)
    for name, tracked in (("mapping", "w_avg"), ("synthesis", "magnitude")):
        assert not same(before[name].model_state[tracked], after[name].model_state[tracked])
    assert_same_bits(before["synthesis"].model_state["fourier"], after["synthesis"].model_state["fourier"])


# Styles


def test_the_mean_style_moves_towards_each_batch_once():
    own = small()
    state = own.run(1)[-1]
    key = rng.stream_key(0, 0, "generator latents")
    drawn = latents.sample_latents(key, jnp.arange(4), own.exp.config.latent_dim)
    variables = own.state.networks["mapping"]
    w = own.exp.networks["mapping"].apply(variables.collections(), drawn, None, train=False)
    old = variables.model_state["w_avg"]["mean"]
    expected = old + 0.005 * (np.asarray(w).mean(0) - old)
    np.testing.assert_allclose(state.networks["mapping"].model_state["w_avg"]["mean"], expected, rtol=1e-4)


def test_mixed_styles_are_those_of_two_latents():
    """From a random layer on, the same for all fakes, the styles are others; with a probability of 0 there are none."""

    def drawn(own: Small, step: int):
        state = own.state.replace(step=jnp.asarray(step))
        params = state.networks["mapping"].params
        return np.asarray(stylegan2.draw_styles(own.exp, state, params, None, 4, "generator")[0])

    mixed, plain = small(style_mixing=1.0), small()
    assert all((drawn(plain, step) == drawn(plain, step)[:, :1]).all() for step in range(3))
    firsts = set()
    for step in range(20):
        styles, others = drawn(mixed, step), drawn(plain, step)
        kept = (styles == others).all((0, 2))
        count = int(kept.sum())
        assert 1 <= count < len(kept)
        assert kept[:count].all()
        assert (styles[:, count:] == styles[:, count : count + 1]).all()
        firsts.add(count)
    assert firsts == {*range(1, plain.exp.networks["synthesis"].num_ws)}


# Samples


@functools.cache
def sampled(state_steps: int = 2, conditional: bool = False, **more) -> np.ndarray:
    own = small(conditional=conditional)
    variables = inference.variables_of(own.run(state_steps)[-1])
    inputs = inference.seed_inputs(3, 4, np.int32([0, 0, 1, 1]) if conditional else None)
    inputs |= {name: np.full(4, value) for name, value in more.items()}
    return inference.run_task(own.exp, "sample", variables, inputs)["images"]


def test_truncation():
    """By 1 nothing changes, by 0 all samples are the mean's, and behind the cut-off layers keep their styles."""
    plain, same_as_plain = sampled(), sampled(truncation_psi=np.float32(1))
    np.testing.assert_array_equal(plain, same_as_plain)
    assert not (plain == plain[:1]).all()
    mean = sampled(truncation_psi=np.float32(0))
    assert (mean == mean[:1]).all()
    count = small().exp.networks["synthesis"].num_ws
    psi = np.float32(0.5)
    whole, first = (sampled(truncation_psi=psi, truncation_cutoff=np.int32(number)) for number in (count, 1))
    np.testing.assert_array_equal(whole, sampled(truncation_psi=psi))
    np.testing.assert_array_equal(sampled(truncation_psi=psi, truncation_cutoff=np.int32(0)), plain)
    assert not np.array_equal(first, whole)
    assert not np.array_equal(first, plain)


def test_labels_are_given_to_both_networks():
    own = small(conditional=True)
    assert own.exp.algorithm.choices(own.exp) == 10
    images = sampled(conditional=True)
    assert images.shape == (4, 8, 8, 1)
    batch = example_batch(own.exp, 0)
    other = batch | {"labels": (batch["labels"] + 1) % 10}
    ours, others = (own.step(own.state, each)[0] for each in (batch, other))
    for name in ("mapping", "discriminator"):
        assert not same(ours.networks[name].params, others.networks[name].params)
    unconditional = small()
    first, second = (unconditional.step(unconditional.state, each)[0] for each in (batch, other))
    assert_same_bits(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 5}, "config.batch_size=5 must be a multiple of 2"),
        ({"data__size": 12}, "shorter side of stylegan2's images is a power of two"),
        ({"data__size": "16x32", "model__family": "stylegan3"}, "stylegan3 makes squares"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        build(config_of(**settings), 10)
    assert "\n" not in str(caught.value)


def test_labels_are_needed_for_conditional_networks():
    with pytest.raises(UserError, match=r"config\.conditional=True needs labels"):
        build(config_of(conditional=True), 0)
