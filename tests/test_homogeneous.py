"""Loss and gradient penalty from one backward pass: Euler's theorem, and equality with the two by themselves."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, applied, assert_close, experiment, params_of, quick_jit, with_params
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.adversarial import forward
from jaxgan.adversarial.conditioning import DISCRIMINATOR_SIDES
from jaxgan.adversarial.fused_r1 import loss_and_penalty
from jaxgan.adversarial.penalties import r1
from jaxgan.algorithms import gan
from jaxgan.core.experiment import example_inputs

plain = functools.partial(experiment, **POINTS)
WITHOUT_NORM = {"model__discriminator__norm": "none"}
IMAGES = WITHOUT_NORM | {"model__family": "dcgan", "model__generator__width": 2, "model__discriminator__width": 2}
LABELS = {"conditioning__generator": "concat"}
FAMILIES = {
    "points": POINTS | {"model__discriminator__depth": 2},
    "leaky points": POINTS | {"model__discriminator__maxout": 1},
    "packs": POINTS | {"packing": 2},
    "projection": POINTS | LABELS | {"conditioning__discriminator": "projection"},
    "mlp": WITHOUT_NORM,
    "dcgan": IMAGES | {"data__size": 16, "model__discriminator__dense": (3,)},
    "average pool": IMAGES | {"model__discriminator__downsampling": "average_pool"},
    "max pool": IMAGES | {"model__discriminator__downsampling": "max_pool"},
    "tutorial": WITHOUT_NORM | {"model__family": "tutorial", "data__size": 8, "model__discriminator__width": 2},
}
OTHERS = {
    "norm": POINTS | {"model__discriminator__norm": "batch"},
    "spectral norm": POINTS | {"model__discriminator__spectral_norm": True},
    "minibatch stddev": POINTS | {"model__discriminator__minibatch_stddev": 4},
    "dropout": IMAGES | {"model__discriminator__dropout": 0.5},
}
OTHERS |= {
    side: POINTS | LABELS | {"conditioning__discriminator": side}
    for side, entry in DISCRIMINATOR_SIDES.items()
    if entry.joins or entry.recovers == "labels"
}

# A critic whose slope no bias changes at some places and does at others.
WIDTHS = (3, 7, 5, 1)
EXAMPLES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)
PARAMS = [
    {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    for rng in [np.random.default_rng(1)]
    for kernel, bias in [(rng.normal(size=pair), rng.normal(size=pair[1])) for pair in itertools.pairwise(WIDTHS)]
]


def with_biases(params, factor=None):
    """The parameters with biases that are not 0, or with so many times those that they have."""

    def value(path, leaf):
        if jax.tree_util.keystr(path[-1:], simple=True) != "bias":
            return leaf
        return jnp.linspace(-0.3, 0.4, leaf.size).reshape(leaf.shape) if factor is None else factor * leaf

    return jax.tree_util.tree_map_with_path(value, params)


def critic(params, examples):
    for layer in params[:-1]:
        examples = jax.nn.leaky_relu(examples @ layer["kernel"] + layer["bias"], 0.2)
    return (examples @ params[-1]["kernel"] + params[-1]["bias"])[:, 0]


@quick_jit
def shared(slopes, weight):
    """The gradients and the penalties of one backward pass."""
    return jax.grad(lambda params: loss_and_penalty(critic, params, EXAMPLES, slopes, weight), has_aux=True)(PARAMS)


@quick_jit
def apart(slopes, weight):
    """Those of the definition."""

    def objective(params):
        values = r1(functools.partial(critic, params), EXAMPLES)
        return (slopes * critic(params, EXAMPLES)).sum() + weight * values.mean(), values

    return jax.grad(objective, has_aux=True)(PARAMS)


numbers = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1e-30, -1e-12])


@given(slopes=st.lists(numbers, min_size=6, max_size=6), weight=st.floats(0, 100, width=32))
def test_the_gradient_is_that_of_the_loss_and_the_penalty(slopes, weight):
    """Of a loss with any slopes, also of one that is flat at some logits."""
    slopes, weight = jnp.asarray(slopes, jnp.float32), jnp.float32(weight)
    (found, values), (expected, expected_values) = shared(slopes, weight), apart(slopes, weight)
    np.testing.assert_allclose(values, expected_values, rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert_close(found, expected, rtol=1e-4, atol=2e-6 * largest + 1e-14)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_discriminator_without_norms_is_homogeneous(name):
    """An example and all biases times 3: that logit is 3 times as large, and no other changes."""
    tiny = experiment(classes=3, **FAMILIES[name])
    assert tiny.exp.homogeneous
    one, told = example_inputs(tiny.exp)["discriminator"]
    rng = np.random.default_rng(0)
    examples = jnp.asarray(rng.normal(size=(4, *one.shape[1:])), jnp.float32)
    told = None if told is None else jnp.asarray(rng.normal(size=(4, told.shape[1])), jnp.float32)
    params = with_biases(params_of(tiny, "discriminator"))
    logits = quick_jit(lambda params, examples: applied(tiny, "discriminator", params, examples, told)[0].logits)
    before = logits(params, examples)
    assert np.ptp(before) > 0
    np.testing.assert_allclose(logits(with_biases(params, 3), 3 * examples), 3 * before, rtol=1e-4, atol=1e-5)
    # Its own example alone.
    after = logits(params, examples.at[2].multiply(3))
    assert [*np.flatnonzero(after != before)] == [2]


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_not_taken_for_homogeneous(name):
    assert not experiment(classes=3, **OTHERS[name]).exp.homogeneous


LOSSES = {
    "non_saturating": ("r1",),
    "hinge": ("r1", "r2"),  # flat at some logits
    "relativistic": ("r1", "r2"),
    "relativistic_average": ("r2",),
    "wasserstein": ("r1",),
}


def compiled(tiny, state, shares):
    """A compiled function: state -> the discriminator's gradients and metrics on one batch."""

    def run(state):
        drawn = forward.draw(tiny.exp, state, tiny.one_batch(), "discriminator")
        fake = forward.make(tiny.exp, state, drawn).fake
        gradients, (_, metrics) = gan.discriminator_gradients(tiny.exp, state, tiny.one_batch(), fake, drawn)
        return gradients, metrics

    with pytest.MonkeyPatch.context() as patch:
        if not shares:
            patch.setattr(gan, "shared_penalties", lambda exp: [])
        return quick_jit(run).lower(state).compile()


@pytest.mark.parametrize("name", LOSSES)
def test_the_step_s_gradients_are_those_of_losses_and_penalties_apart(name):
    """With other penalties beside them, which are left as they are."""
    weights = {f"penalties__{penalty}": 2.0 for penalty in LOSSES[name]}
    tiny = plain(loss=name, penalties__lecam=0.5, penalties__wgan_gp=1.0, **weights)
    assert gan.shared_penalties(tiny.exp) == [*LOSSES[name]]
    state = with_params(tiny.state, "discriminator", with_biases(params_of(tiny, "discriminator")))
    (found, metrics), (expected, expected_metrics) = (compiled(tiny, state, shares)(state) for shares in (True, False))
    assert_close(found, expected, atol=1e-5)
    assert_close(metrics, expected_metrics)
    assert {*LOSSES[name]} < metrics.keys()


SETTINGS = {
    "packs": POINTS | {"penalties__r1": 1.0, "packing": 2},
    "member": POINTS | {"population": 2, "sweep": "penalties.r1=0,1; penalties.r2=1,2"},
    "convolutions": IMAGES | {"data__size": 16, "penalties__r1": 3.0, "penalties__r2": 0.5},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_of_packs_and_of_a_member_and_of_convolutions(name):
    tiny = experiment(loss="hinge", **SETTINGS[name])
    state = with_params(tiny.state, "discriminator", with_biases(params_of(tiny, "discriminator")))
    if name == "member":
        state = state.replace(sweep={f"penalties.{penalty}": jnp.float32(3) for penalty in ("r1", "r2")})
    (found, metrics), (expected, expected_metrics) = (compiled(tiny, state, shares)(state) for shares in (True, False))
    assert_close(found, expected, atol=1e-5)
    assert_close(metrics, expected_metrics)


def test_settings_that_do_not_share():
    """A lazy penalty is left out of most steps, joined batches have one pass, unrolled updates one more derivative."""
    r1 = {"penalties__r1": 1.0}
    assert gan.shared_penalties(plain(**r1).exp) == ["r1"]
    for settings in ({"penalty_every__r1": 4}, {"joined_batches": True}, {"unrolled_steps": 1}, OTHERS["norm"]):
        assert gan.shared_penalties(experiment(**POINTS | r1 | settings).exp) == []


@pytest.mark.parametrize(("penalties", "passes"), [(("r1",), (7, 9)), (("r1", "r2"), (8, 12))])
def test_the_compiled_update_has_four_passes_instead_of_six(penalties, passes):
    """And three for a batch without a penalty. The layers that all passes have in common are by far the largest."""
    wide = {"model__discriminator__depth": 3, "model__discriminator__width": 64, "batch_size": 32}
    tiny = plain(**wide, **{f"penalties__{name}": 1.0 for name in penalties})
    found, apart = (compiled(tiny, tiny.state, shares).cost_analysis()["flops"] for shares in (True, False))
    assert found / apart == pytest.approx(passes[0] / passes[1], rel=0.05)
