"""Loss and R1 from one backward pass: Euler's theorem, equality with the two computed apart, and what is assumed."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, Experiment, assert_close, experiment, params_of, quick_jit, tiny_config, with_params
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.adversarial import forward, fused_r1
from jaxgan.adversarial.conditioning import DISCRIMINATOR_CONDITIONING, Discriminator
from jaxgan.adversarial.fused_r1 import loss_and_penalty
from jaxgan.adversarial.penalties import r1
from jaxgan.algorithms import gan
from jaxgan.config import build
from jaxgan.core.state import Variables, apply, init_network
from jaxgan.models import MODELS
from jaxgan.models.ops import layers

plain = functools.partial(experiment, **POINTS)
IMAGES = {
    "model__family": "dcgan",
    "data__size": 16,
    "model__generator__base_channels": 2,
    "model__discriminator__base_channels": 2,
    "model__discriminator__norm": "none",
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
def fused(slopes, weight):
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
    (found, values), (expected, expected_values) = fused(slopes, weight), apart(slopes, weight)
    np.testing.assert_allclose(values, expected_values, rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert_close(found, expected, rtol=1e-4, atol=2e-6 * largest + 1e-14)


# What is assumed of a discriminator: that its networks declare to be positively homogeneous

# For each setting of a discriminator another value than that of `PLAIN`, for which every family is homogeneous.
PLAIN = {"norm": "none", "spectral_norm": False, "minibatch_stddev": 0, "dropout": 0.0, "hidden_dims": (3,)}
OTHER_VALUES = {
    "width": (3,),
    "base_channels": (3,),
    "hidden_dims": ((), (3, 2)),
    "depth": (2, 3),
    "maxout": (1, 3),
    "norm": sorted(set(layers.NORMS) - {"none"}),
    "spectral_norm": (True,),
    "minibatch_stddev": (2,),
    "negative_slope": (0.0, 0.5),
    "dropout": (0.5,),
    "downsampling": sorted(layers.DOWNSAMPLINGS),
    "kernel_size": (5,),
    "widths": ((4, 6),),
    "cardinality": ((3,),),
    "blocks": ((2, 1),),
    "expansion": (3,),
    "bfloat16_stages": (1,),
    "block": ("bottleneck",),
    "multipliers": ((1, 2),),
    "downsamples": (2,),
    "wide": (False,),
    "rectified_shortcuts": (True,),
    "residual": (True,),
    "smallest": (2,),
    "attention": (),  # whose share is 0 at first
    "block_gain": (2.0,),
}
BODIES = {
    f"{family} {name}={value}": (family, {name: value})
    for family, entry in MODELS.items()
    for name in (entry.roles["discriminator"].settings if "discriminator" in entry.roles else ())
    for value in OTHER_VALUES.get(name, ())
}
FAMILIES = [family for family, entry in MODELS.items() if "discriminator" in entry.roles]


def body(family: str, **settings):
    """A family's smallest discriminator without norms, but for these settings; and an example's shape."""
    module, declared, fixed, _ = MODELS[family].roles["discriminator"]
    values = {name: setting.default for name, setting in declared.items()} | dict(MODELS[family].smallest)
    values |= {name: value for name, value in PLAIN.items() if name in declared} | settings
    initializer = {"initializer": "he"} if MODELS[family].initializable else {}
    return module(**initializer, **values, **fixed), MODELS[family].shape


def is_lawful(network, shape: tuple[int, ...], condition=None) -> bool:
    """Whether an example and all biases times 4 give 4 times that logit, which is all that a loss depends on.

    No other logit changes, whatever random numbers and model state a training pass has. A power of two leaves the
    rounding of half precision as it is.
    """
    rng = np.random.default_rng(0)
    examples = jnp.asarray(rng.normal(size=(4, *shape)), jnp.float32)
    inputs = examples[:2], None if condition is None else condition[:2]
    variables = init_network(0, "discriminator", network, inputs)
    variables = Variables(with_biases(variables.params), variables.model_state)

    @functools.partial(quick_jit, static_argnums=3)
    def run(variables, examples, key, times):
        own = Variables(with_biases(variables.params, times), variables.model_state)
        return apply(network, own, examples, condition, train=True, key=key)

    keys = jax.random.split(jax.random.key(0), 2)
    before, model_state = run(variables, examples, keys[0], 1)
    assert np.ptp(before.logits) > 0
    later = Variables(variables.params, model_state)
    after, _ = run(later, 4 * examples, keys[1], 4)
    homogeneous = np.allclose(after.logits, 4 * before.logits, rtol=1e-4, atol=1e-5)
    alone = [run(later, examples.at[i].multiply(4), keys[1], 1)[0].logits for i in range(len(examples))]
    changed = np.asarray(alone) != np.asarray(before.logits)
    assert changed.any()
    independent = not changed[~np.eye(len(examples), dtype=bool)].any()
    return bool(homogeneous and independent and before.aux_logits is None and before.embedding is None)


def test_every_setting_of_every_discriminator_has_another_value_here():
    declared = set().union(*(MODELS[family].roles["discriminator"].settings for family in FAMILIES))
    assert declared == OTHER_VALUES.keys()


def test_without_norms_and_random_numbers_the_families_are_homogeneous():
    assert all(body(family)[0].positively_homogeneous for family in ("dcgan", "tf_dcgan", "mlp", "toy_mlp", "r3gan"))


@pytest.mark.parametrize("name", BODIES)
def test_a_discriminator_declares_itself_homogeneous_where_it_is_and_nowhere_else(name):
    family, settings = BODIES[name]
    own, shape = body(family, **settings)
    network = Discriminator(own, kernel_init=layers.INITIALIZERS["he"](0.0))
    assert network.positively_homogeneous == own.positively_homogeneous == is_lawful(network, shape)


CONDITIONINGS = {name: (name, 0) for name in DISCRIMINATOR_CONDITIONING} | {"embedding": ("concat", 2)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CONDITIONINGS)
def test_a_conditional_discriminator_declares_itself_homogeneous_where_it_is(family, name):
    """A condition is multiplied by the features, or nothing of the logit."""
    (name, embedding), (own, shape) = CONDITIONINGS[name], body(family)
    entry = DISCRIMINATOR_CONDITIONING[name]
    condition = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)
    predicted = 3 if entry.predicts else 0
    network = Discriminator(own, name, embedding, predicted, 2, kernel_init=layers.INITIALIZERS["he"](0.0))
    given = condition if entry.is_given else None
    assert network.positively_homogeneous == is_lawful(network, shape, given)
    assert network.positively_homogeneous == (not (entry.concatenates or entry.predicts or entry.embeds))


def test_the_spectral_norm_of_the_last_layer_alone_is_enough():
    """The layer of a projection has a kernel of more than one column, so its norm is only estimated."""
    own, shape = body("toy_mlp")
    condition = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)
    network = Discriminator(own, "projection", spectral_norm=True, kernel_init=layers.INITIALIZERS["he"](0.0))
    assert not network.positively_homogeneous
    assert not is_lawful(network, shape, condition)


class Undeclared(nn.Module):
    """A homogeneous body that does not say so."""

    @nn.compact
    def __call__(self, examples, train):
        return nn.relu(nn.Dense(4)(examples))


def test_a_network_that_declares_nothing_is_left_with_the_plain_penalty():
    network = Discriminator(Undeclared())
    assert is_lawful(network, (2,))
    assert not network.positively_homogeneous
    exp = plain(penalties__r1=1.0).exp
    assert fused_r1.fused_penalties(exp) == ["r1"]
    for other in (network, Undeclared()):
        networks = {**exp.networks, "discriminator": other}
        assert fused_r1.fused_penalties(dataclasses.replace(exp, networks=networks)) == []


@pytest.mark.parametrize("settings", [POINTS, POINTS | {"packing": 2}, IMAGES], ids=["points", "packs", "images"])
def test_an_experiment_s_discriminator_is_one_of_these(settings):
    tiny = build(tiny_config(**settings), 3)
    shape = tiny.algorithm.inputs(tiny)["discriminator"][0].shape[1:]
    assert tiny.networks["discriminator"].positively_homogeneous
    assert is_lawful(tiny.networks["discriminator"], shape)


# The steps

LOSSES = {
    "non_saturating": ("r1",),
    "hinge": ("r1", "r2"),  # flat at some logits
    "relativistic": ("r1", "r2"),
    "relativistic_average": ("r2",),
    "wasserstein": ("r1",),
}


def compiled(tiny: Experiment, state, fuses: bool):
    """A compiled function: state -> the discriminator's gradients and metrics on one batch."""

    def run(state):
        latents = forward.sample_latents(tiny.exp, state, tiny.one_batch(), "discriminator")
        fake = forward.generate_with_vjp(tiny.exp, state, latents).fake
        grads, _, metrics, _ = gan.discriminator_gradients(tiny.exp, state, tiny.one_batch(), fake, latents)
        return grads, metrics

    with pytest.MonkeyPatch.context() as patch:
        if not fuses:
            patch.setattr(gan, "fused_penalties", lambda exp: [])
        return quick_jit(run).lower(state).compile()


def assert_fused_is_apart(tiny: Experiment, state) -> set[str]:
    """Both ways give the same gradients and metrics; the names of these."""
    (found, metrics), (expected, expected_metrics) = (compiled(tiny, state, fuses)(state) for fuses in (True, False))
    assert_close(found, expected, atol=1e-5)
    assert_close(metrics, expected_metrics)
    return set(metrics)


@pytest.mark.parametrize("name", LOSSES)
def test_the_step_s_gradients_are_those_of_losses_and_penalties_apart(name):
    """With other penalties beside them, which are left as they are."""
    weights = {f"penalties__{penalty}": 2.0 for penalty in LOSSES[name]}
    tiny = plain(loss=name, penalties__lecam=0.5, penalties__wgan_gp=1.0, **weights)
    assert fused_r1.fused_penalties(tiny.exp) == [*LOSSES[name]]
    state = with_params(tiny.state, "discriminator", with_biases(params_of(tiny, "discriminator")))
    metrics = assert_fused_is_apart(tiny, state)
    assert {f"penalty/{penalty}" for penalty in (*LOSSES[name], "lecam", "wgan_gp")} < metrics


SETTINGS = {
    "packs": POINTS | {"penalties__r1": 1.0, "packing": 2},
    "hparams": POINTS | {"penalties__r1": 1.0, "penalties__r2": 2.0},
    "schedules": POINTS | {"schedules": "penalties.r1=linear(4, 10)"},
    "projection": POINTS
    | {"conditioning__generator": "concat", "conditioning__discriminator": "projection", "penalties__r2": 1.0},
    "convolutions": IMAGES | {"penalties__r1": 3.0, "penalties__r2": 0.5},
    "augmented": {
        "model__discriminator__norm": "none",
        "packing": 2,
        "augment": ("colour",),
        "ada__mode": "fixed",
        "ada__operations": ("contrast", "scale"),
        "penalties__r1": 3.0,
        "penalties__r2": 0.5,
        "penalty_settings__through_augmentation": True,
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_packs_hparams_schedules_conditions_and_convolutions_fuse_as_well(name):
    tiny = experiment(loss="hinge", classes=3, **SETTINGS[name])
    assert fused_r1.fused_penalties(tiny.exp)
    state = with_params(tiny.state, "discriminator", with_biases(params_of(tiny, "discriminator")))
    if name == "hparams":  # as a member of a population has them
        state = state.replace(hparams={f"penalties.{penalty}": jnp.float32(3) for penalty in ("r1", "r2")})
    if name == "schedules":
        state = state.replace(step=jnp.int32(5))
    assert_fused_is_apart(tiny, state)


@pytest.mark.parametrize(
    ("settings", "fuse"),
    [
        ({}, True),
        ({"penalty_interval__r1": 4}, False),  # left out of most steps
        ({"concat_real_fake": True}, False),  # one pass for both
        ({"unrolled_steps": 1}, False),  # differentiated once more
        ({"model__discriminator__norm": "batch"}, False),
        ({"model__discriminator__spectral_norm": True}, False),
    ],
)
def test_settings_that_do_not_fuse(settings, fuse):
    exp = build(tiny_config(**POINTS | {"penalties__r1": 1.0} | settings))
    assert fused_r1.fused_penalties(exp) == (["r1"] if fuse else [])


@pytest.mark.parametrize(("penalties", "passes"), [(("r1",), (7, 9)), (("r1", "r2"), (8, 12))])
def test_the_compiled_update_has_four_passes_instead_of_six(penalties, passes):
    """And three for a batch without a penalty. The layers that all passes have in common are by far the largest."""
    wide = {"model__discriminator__depth": 3, "model__discriminator__width": 64, "batch_size": 32}
    tiny = plain(**wide, **{f"penalties__{name}": 1.0 for name in penalties})
    found, separate = (compiled(tiny, tiny.state, fuses).cost_analysis()["flops"] for fuses in (True, False))
    assert found / separate == pytest.approx(passes[0] / passes[1], rel=0.05)
