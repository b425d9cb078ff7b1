"""Any combination of settings makes a step that keeps the shape of the state and gives finite numbers."""

import functools

import jax
import numpy as np
from experiments import Experiment, assert_all_changed, leaves, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan import steps
from jaxgan.data import pipeline
from jaxgan.losses import LOSSES


@st.composite
def experiments(draw):
    """Settings that go together."""
    choice = {
        "loss": draw(st.sampled_from(sorted(LOSSES))),
        "updates": draw(st.sampled_from(sorted(steps.UPDATES))),
        "joined_batches": draw(st.booleans()),
        "ema_warmup": draw(st.booleans()),
        "model__family": draw(st.sampled_from(["dcgan", "mlp"])),
        "model__generator__norm": draw(st.sampled_from(["batch", "none"])),
        "model__discriminator__norm": draw(st.sampled_from(["batch", "none"])),
        "model__initializer": draw(st.sampled_from(["gaussian", "he"])),
        "penalties__r1": draw(st.sampled_from([0.0, 1.0])),
        "penalties__r2": draw(st.sampled_from([0.0, 0.5])),
        "data__channels": draw(st.sampled_from([1, 3])),
        "optimizer__generator__schedule": draw(st.sampled_from(["constant", "linear", "cosine"])),
    }
    if choice["updates"] == "alternating":
        choice["discriminator_steps"] = draw(st.integers(1, 2))
    if LOSSES[choice["loss"]].takes_targets:
        choice["targets__real"] = draw(st.sampled_from([(1.0, 1.0), (0.8, 1.0)]))
        choice["targets__flip"] = draw(st.sampled_from([0.0, 0.05]))
    return choice


def metric_names(config) -> set[str]:
    names = {f"{network}_{name}" for network in "gd" for name in ("loss", "grad_norm", "learning_rate")}
    return names | {"d_real", "d_fake"} | {name for name, weight in config.penalties.items() if weight}


@settings(deadline=None, max_examples=12, derandomize=True)
@given(experiments())
def test_a_step_keeps_the_shape_of_the_state(choice):
    """Which a scan over steps and the reuse of the state's memory rely on."""
    config = tiny_config(**choice)
    gan = steps.build(config)
    state = jax.eval_shape(lambda: steps.initial_state(config, gan))
    shape = (config.discriminator_steps, 8, 8, 8, config.data.channels)
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    step = lambda state, images: steps.UPDATES[config.updates](gan, state, {"images": pipeline.to_float(images)})  # noqa: E731
    new, metrics = jax.eval_shape(step, state, images)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    kinds = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type))
    assert kinds(new) == kinds(state)
    assert metrics.keys() == metric_names(config)
    assert all((value.shape, value.dtype) == ((), np.float32) for value in metrics.values())


@settings(deadline=None, max_examples=2, derandomize=True)
@given(experiments())
def test_a_step_gives_finite_numbers_and_changes_both_networks(choice):
    tiny = Experiment(tiny_config(**choice | {"model__initializer": "he"}))
    state, metrics = tiny.run(2)
    assert [name for name, value in metrics.items() if not np.isfinite(value)] == []
    assert [path for path, array in leaves(state).items() if not np.isfinite(array).all()] == []
    kernels = lambda state: {path: leaf for path, leaf in leaves(state.networks).items() if "kernel" in path}  # noqa: E731
    assert_all_changed(kernels(state), kernels(tiny.state))
