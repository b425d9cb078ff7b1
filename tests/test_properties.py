"""Any combination of settings makes a step that keeps the shape of the state and gives finite numbers."""

import functools

import jax
import numpy as np
from experiments import POINTS, Experiment, assert_all_changed, leaves, tiny_config
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jaxgan.adversarial.augment import AUGMENTATIONS
from jaxgan.adversarial.conditioning import DISCRIMINATOR_SIDES, GENERATOR_SIDES
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.penalties import GENERATOR_PENALTIES, PENALTIES
from jaxgan.algorithms import gan
from jaxgan.core import experiment
from jaxgan.core.optimizers import OPTIMIZERS, SCHEDULES
from jaxgan.data import loader
from jaxgan.data.sources import example_shape

CLASSES = 3
PAIRS = [("none", "none")]
PAIRS += [(one, other) for one in GENERATOR_SIDES for other in DISCRIMINATOR_SIDES if "none" not in (one, other)]


def some(draw, most: int, table) -> list[str]:
    """A few names of a table."""
    return draw(st.lists(st.sampled_from(sorted(table)), max_size=most, unique=True))


@st.composite
def experiments(draw):
    """Settings that go together, of images or of a world."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    family, (told, judged) = pick("dcgan", "mlp", "points"), draw(st.sampled_from(PAIRS))
    choice = {"data__channels": pick(1, 3)} if family != "points" else dict(POINTS)
    choice |= {
        "loss": draw(st.sampled_from(sorted(LOSSES))),
        "updates": draw(st.sampled_from(sorted(gan.UPDATES))),
        "joined_batches": pick(False, True),
        "ema_warmup": pick(False, True),
        "ema_half_life": pick(0.0, 100.0),
        "model__family": family,
        "model__generator__norm": "batch" if told == "cbn" else pick("batch", "none"),
        "model__initializer": pick("gaussian", "he"),
        "conditioning__generator": told,
        "conditioning__discriminator": judged,
        "conditioning__embedding": pick(0, 2) if "concat" in (told, judged) else 0,
        "packing": 1 if DISCRIMINATOR_SIDES[judged].projects or DISCRIMINATOR_SIDES[judged].recovers else pick(1, 2),
        "model__discriminator__minibatch_stddev": pick(0, 2),
        "feature_matching": pick(0.0, 1.0),
        "top_k__share": pick(1.0, 0.5),
        "instance_noise__stddev": pick(0.0, 0.1),
        "latent_optimisation__rate": pick(0.0, 0.5),
    }
    for network in ("generator", "discriminator"):
        choice[f"optimizer__{network}__name"] = draw(st.sampled_from(sorted(OPTIMIZERS)))
        choice[f"optimizer__{network}__schedule"] = draw(st.sampled_from(sorted(SCHEDULES)))
        choice[f"optimizer__{network}__clip"] = pick(0.0, 1.0)
        choice[f"model__{network}__spectral_norm"] = pick(False, True)
    forbidden = ("cr", "bcr") if family == "points" else ()
    for name in some(draw, 2, set(PENALTIES) - set(forbidden)):
        choice |= {f"penalties__{name}": 0.1, f"penalty_every__{name}": pick(1, 2)}
    for name in some(draw, 2, GENERATOR_PENALTIES):
        choice[f"generator_penalties__{name}"] = 0.1
    if family != "points":
        choice["augment"] = tuple(some(draw, 2, AUGMENTATIONS))
    mixed = any(f"penalties__{name}" in choice for name in experiment.BATCH_NORM_FORBIDDEN)
    choice["model__discriminator__norm"] = "none" if mixed else pick("batch", "none")
    if choice["updates"] == "alternating":
        choice["discriminator_steps"] = draw(st.integers(1, 2))
        choice["unrolled_steps"] = draw(st.integers(0, 1))
    if not choice.get("unrolled_steps"):
        choice["weight_clip"] = pick(0.0, 0.5)
    if choice["feature_matching"]:
        choice["adversarial"] = pick(1.0, 0.0)
    if LOSSES[choice["loss"]].takes_targets:
        choice |= {"targets__real": pick((1.0, 1.0), (0.8, 1.0)), "targets__flip": pick(0.0, 0.05)}
    if LOSSES[choice["loss"]].takes_margin:
        choice["margin"] = pick(-1.0, 0.5)
    return choice


def metric_names(config) -> set[str]:
    """What a training step of the configuration reports."""
    names = {f"{network}_{name}" for network in "gd" for name in ("loss", "grad_norm", "learning_rate")}
    names |= {"d_real", "d_fake", "d_ahead", "g_spread", "nonfinite"}
    names |= {name for name, weight in config.penalties.items() if weight}
    names |= {f"g_{name}" for name, weight in config.generator_penalties.items() if weight}
    if config.feature_matching:
        names.add("g_features")
    if config.conditioning.discriminator in ("acgan", "infogan"):
        names |= {"d_recovery", "g_recovery"}
    return names


def labelled(config) -> int:
    """The classes of the data; some data have none."""
    return 0 if config.conditioning.discriminator in ("none", "infogan") else CLASSES


@settings(deadline=None, max_examples=5, derandomize=True)
@given(experiments())
def test_a_step_keeps_the_shape_of_the_state(choice):
    """Which a scan over steps and the reuse of the state's memory rely on."""
    config = tiny_config(**choice)
    assert list(experiment.conflicts(config)) == []
    exp = experiment.build(config, labelled(config))
    state = jax.eval_shape(lambda: experiment.initial_state(exp))
    shape, world = (config.discriminator_steps, config.batch_size), config.model.family == "points"
    images = jax.ShapeDtypeStruct((*shape, *example_shape(config.data)), np.float32 if world else np.uint8)
    labels = jax.ShapeDtypeStruct(shape, np.int32)

    def step(state, images, labels):
        images = images if world else loader.to_float(images)
        return gan.UPDATES[config.updates](exp, state, {"images": images, "labels": labels})

    new, metrics = jax.eval_shape(step, state, images, labels)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    kinds = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type))
    assert kinds(new) == kinds(state)
    assert metrics.keys() == metric_names(config)
    assert all((value.shape, value.dtype) == ((), np.float32) for value in metrics.values())


@settings(deadline=None, max_examples=1, derandomize=True, phases=[Phase.generate])  # to shrink is to compile for hours
@given(experiments())
def test_a_step_gives_finite_numbers_and_changes_both_networks(choice):
    config = tiny_config(**choice | {"model__initializer": "he"})
    tiny = Experiment(config, classes=labelled(config))
    state, metrics = tiny.run(2)
    assert [name for name, value in metrics.items() if not np.isfinite(value)] == []
    assert [path for path, array in leaves(state).items() if not np.isfinite(array).all()] == []
    # Spectral normalisation keeps numbers of each kernel under names that hold its own; the head's is 1 for ever.
    kernels = lambda state: {  # noqa: E731
        path: leaf for path, leaf in leaves(state.networks).items() if path.endswith("['kernel']")
    }
    assert_all_changed(kernels(state), kernels(tiny.state))
