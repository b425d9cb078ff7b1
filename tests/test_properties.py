"""Any combination of settings makes a step that keeps the shape of the state and gives finite numbers."""

import functools

import jax
import numpy as np
import pytest
from experiments import POINTS, Experiment, assert_all_changed, leaves, tiny_config
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jaxgan.adversarial.augment import AUGMENTATIONS
from jaxgan.adversarial.conditioning import DISCRIMINATOR_CONDITIONING, GENERATOR_CONDITIONING
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.penalties import GENERATOR_PENALTIES, PENALTIES
from jaxgan.algorithms import gan
from jaxgan.config import SETTINGS, build
from jaxgan.core.experiment import initial_state
from jaxgan.core.optimizers import OPTIMIZERS, SCHEDULES
from jaxgan.core.settings import resolve
from jaxgan.data import loader

CLASSES = 3
FAMILIES = ("dcgan", "tf_dcgan", "mlp", "toy_mlp")
PAIRS = [("none", "none")]
PAIRS += [
    (one, other) for one in GENERATOR_CONDITIONING for other in DISCRIMINATOR_CONDITIONING if "none" not in (one, other)
]


def some(draw, most: int, table) -> list[str]:
    """A few names of a table."""
    return draw(st.lists(st.sampled_from(sorted(table)), max_size=most, unique=True))


@st.composite
def experiments(draw):
    """Settings that go together, of images or of points."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    family, (generator, discriminator) = pick(*FAMILIES), draw(st.sampled_from(PAIRS))
    side, points = DISCRIMINATOR_CONDITIONING[discriminator], family == "toy_mlp"

    # First the choices, which decide what other settings there are.
    choice = dict(POINTS) if points else {"model__family": family, "data__source": "digits"}
    choice |= {
        "loss": "hinge" if side.adversarial else pick(*sorted(LOSSES)),
        "update_rule": pick(*gan.UPDATE_RULES),
        "model__generator__norm": "batch" if generator == "cbn" else pick("batch", "none"),
        "model__initializer": pick("gaussian", "he"),
        "conditioning__generator": generator,
        "conditioning__discriminator": discriminator,
    }
    for network in ("generator", "discriminator"):
        choice[f"optimizer__{network}__name"] = pick(*sorted(OPTIMIZERS))
        choice[f"optimizer__{network}__schedule"] = pick(*sorted(SCHEDULES))
    for kind, table in {"": PENALTIES, "generator_": GENERATOR_PENALTIES}.items():
        for name in some(draw, 2, [name for name, entry in table.items() if not (points and entry.images_only)]):
            choice |= {f"{kind}penalties__{name}": 0.1, f"{kind}penalty_interval__{name}": pick(1, 2)}
    bound = any(f"penalties__{name}" in choice for name, entry in PENALTIES.items() if entry.needs_independent_logits)
    choice["model__discriminator__norm"] = "none" if bound else pick("batch", "none")
    declared = resolve(SETTINGS, {name.replace("__", "."): value for name, value in choice.items()})

    def maybe(name: str, *values) -> None:
        if name in declared:
            choice[name.replace(".", "__")] = pick(*values)

    maybe("data.channels", 1, 3)
    maybe("concat_real_fake", False, True)
    maybe("ema_warmup", False, True)
    maybe("ema_half_life", 0.0, 100.0)
    maybe("conditioning.embedding", 0, 2)
    if not side.is_single:
        maybe("packing", 1, 2)
    maybe("feature_matching", 0.0, 1.0)
    if choice["feature_matching"]:
        maybe("adversarial", 1.0, 0.0)
    maybe("top_k.fraction", 1.0, 0.5)
    maybe("instance_noise.stddev", 0.0, 0.1)
    if "generator_penalties__path_length" not in choice:  # which is by latents that stay where they are
        maybe("latent_optimisation.rate", 0.0, 0.5)
    maybe("schedules", "", "ema_decay=linear(0.5, 2)", "optimizer.generator.learning_rate=cosine(0.1, 3)")
    for network in ("generator", "discriminator"):
        maybe(f"optimizer.{network}.clip", 0.0, 1.0)
        maybe(f"model.{network}.spectral_norm", False, True)
    maybe("model.discriminator.minibatch_stddev", 0, 2)
    maybe("model.discriminator.dropout", 0.0, 0.5)
    maybe("discriminator_steps", 1, 2)
    maybe("unrolled_steps", 0, 1)
    if not choice.get("unrolled_steps"):
        maybe("weight_clip", 0.0, 0.5)
    maybe("targets.real", (1.0, 1.0), (0.8, 1.0))
    maybe("targets.flip", 0.0, 0.05)
    maybe("margin", 0.0, 0.5)
    maybe("apa.mode", "off", "fixed", *["adaptive"] * (LOSSES[choice["loss"]].boundary is not None))
    if not points:
        choice["augment"] = tuple(some(draw, 2, AUGMENTATIONS))
        maybe("ada.mode", "off", "fixed", *["adaptive"] * (LOSSES[choice["loss"]].boundary is not None))
    if choice["ema_half_life"] and choice["schedules"].startswith("ema_decay"):
        choice["schedules"] = ""
    return choice


def metric_names(config) -> set[str]:
    """What a training step of the configuration reports."""
    names = {f"{what}/{name}" for name in gan.PLAYERS for what in ("loss", "grad_norm", "learning_rate")}
    names |= {"logits/real", "logits/fake", "d_pairwise_accuracy", "diversity_ratio", "skipped_updates"}
    names |= {f"penalty/{name}" for name, weight in config.penalties.items() if weight}
    names |= {f"generator_penalty/{name}" for name, weight in config.generator_penalties.items() if weight}
    if config.generator_penalties.path_length:
        names.add("generator_penalty/path_length_mean")
    for name in ("ada", "apa"):
        if config[name].mode != "off":
            names |= {f"{name}/p"} | ({f"{name}/sign"} if LOSSES[config.loss].boundary is not None else set())
    if config.feature_matching:
        names.add("loss/feature_matching")
    if DISCRIMINATOR_CONDITIONING[config.conditioning.discriminator].auxiliary is not None:
        names |= {"aux_loss/discriminator", "aux_loss/generator"}
    return names


def classes_of(config) -> int:
    """The classes of the data; some data have none."""
    return 0 if config.conditioning.discriminator in ("none", "infogan") else CLASSES


@settings(deadline=None, max_examples=5, derandomize=True)
@given(experiments())
def test_a_step_keeps_the_shape_of_the_state(choice):
    """Which a scan over steps and the reuse of the state's buffers rely on."""
    config = tiny_config(**choice)
    exp = build(config, classes_of(config))
    state = jax.eval_shape(lambda: initial_state(exp))
    shape = (config.get("discriminator_steps", 1), config.batch_size)
    arrays = {field.name: jax.ShapeDtypeStruct((*shape, *field.shape), loader.dtype_of(field)) for field in exp.fields}

    def step(state, arrays):
        batch = {name: loader.to_float(array) if array.dtype == np.uint8 else array for name, array in arrays.items()}
        return exp.algorithm.step(exp, state, batch)

    new, metrics = jax.eval_shape(step, state, arrays)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    kinds = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type))
    assert kinds(new) == kinds(state)
    assert metrics.keys() == metric_names(config)
    assert all((value.shape, value.dtype) == ((), np.float32) for value in metrics.values())


def gives_finite_numbers_and_changes_both_networks(choice):
    config = tiny_config(**choice | {"model__initializer": "he"})
    tiny = Experiment(config, classes=classes_of(config))
    state, metrics = tiny.run(2)
    assert [name for name, value in metrics.items() if not np.isfinite(value)] == []
    assert [path for path, array in leaves(state).items() if not np.isfinite(array).all()] == []
    # Spectral normalisation keeps numbers of each kernel under names that hold its own; the head's is 1 for ever.
    kernels = lambda state: {  # noqa: E731
        path: leaf for path, leaf in leaves(state.networks).items() if path.endswith("['kernel']")
    }
    assert_all_changed(kernels(state), kernels(tiny.state))


@pytest.mark.parametrize("count", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_step_gives_finite_numbers_and_changes_both_networks(count):
    # To shrink is to compile for hours.
    run = settings(deadline=None, max_examples=count, derandomize=True, phases=[Phase.generate])
    run(given(experiments())(gives_finite_numbers_and_changes_both_networks))()
