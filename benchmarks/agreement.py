"""Whether an accelerator computes what the CPU computes: tiny experiments on both, from the same state and batch.

Every network family and every algorithm makes a forward pass of its networks and a training step, and one more
experiment has every penalty. The reference computes convolutions by their definition, on the CPU. Where there is no
accelerator, the CPU's own layout and its fast algorithms stand beside that reference.

ReLU and LeakyReLU are rounded off here (`smooth_leaky_relu`). A unit within rounding of their kink has one slope on one
device and another slope on the other, and behind BatchNorm one such unit can change a whole gradient.

Players learn by gradient descent with momentum. Its state after a step is the gradient, whereas Adam's first step is
the gradient's sign, which is anything where a gradient is zero but for rounding.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import PyTree

from benchmarks import own
from jaxgan.adversarial.penalties import TABLES
from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import build, default, example_batch, with_changes
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import TrainState, apply
from jaxgan.models import MODELS

# The largest relative difference of float32 at its highest precision, by what is compared.
BOUNDS = {"forward": 1e-4, "losses": 1e-4, "penalties": 1e-3, "gradients": 1e-3, "parameters": 1e-4}
FLOOR = 1e-2  # an array whose numbers are smaller than this share of its network's largest is measured by that share
RATE = 0.01  # of learning
# Networks are at least so wide: of very few features one is soon zero but for rounding, and gradients depend on it.
WIDTHS = {"base_channels": 8, "width": 16, "channel_base": 64, "w_dim": 16}
PENALTIES = "gan with every penalty"
ALSO = {"stylegan2": ("penalties.r1", "generator_penalties.path_length")}  # penalties of an algorithm's cases
SHARPNESS = 4.0  # of the rounded kinks
QUICKLY = {"xla_backend_optimization_level": 0}  # programs this small cost a CPU more to compile than to run


# What is compared


def cases() -> dict[str, dict[str, Any]]:
    """Settings of experiments by title: every family with an algorithm, all other algorithms, and every penalty."""
    pairs = [(algorithm_of(family), family) for family in MODELS]
    pairs += [(name, family_of(name)) for name in ALGORITHMS if name not in dict(pairs)]
    found = {
        f"{algorithm}, {family}": penalized(widened(settings_of(algorithm, family))) for algorithm, family in pairs
    }
    return found | {PENALTIES: every_penalty()}


def algorithm_of(family: str) -> str:
    """The algorithm of the same name, or the first one that can do with the family's networks."""
    able = [name for name in ALGORITHMS if isinstance(brought(name, family), Mapping)]
    return family if family in able else able[0]


def family_of(algorithm: str) -> str:
    """The family of an algorithm's smallest experiment; "" of one that has networks of its own."""
    config = default({"algorithm": algorithm, **ALGORITHMS[algorithm].smallest})
    return config.model.family if "model" in config else ""


def brought(algorithm: str, family: str) -> Any:
    """The settings of the algorithm's networks by name, or why the family has not got them."""
    choice = ALGORITHMS[algorithm].settings.get("model", {}).get("family")
    return choice.table()[family] if choice else "has networks of its own"


def settings_of(algorithm: str, family: str) -> dict[str, Any]:
    """The smallest experiment of an algorithm with a family's networks."""
    smallest = {"algorithm": algorithm, **ALGORITHMS[algorithm].smallest}
    if family_of(algorithm) == family:
        return smallest
    entry, source = MODELS[family], smallest["data.source"]
    data = {"data.source": "world:ring"}
    if len(entry.shape) == 4:
        data |= {"data.source": "world:solids", "data.size": entry.shape[0]}
    if len(entry.shape) == 3:
        data["data.source"] = "digits" if source.startswith("world:") else source
        data["data.size"] = "x".join(map(str, entry.shape[:2]))
    networks = {name: known for name, known in brought(algorithm, family).items() if isinstance(known, Mapping)}
    sizes = {
        f"model.{name}.{key}": value
        for name, known in networks.items()
        for key, value in entry.smallest.items()
        if key in known
    }
    others = {key: value for key, value in smallest.items() if not key.startswith(("model.", "data."))}
    return others | data | {"model.family": family} | sizes


def widened(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with networks of `WIDTHS`."""
    least = {name: WIDTHS.get(name.rpartition(".")[2], 0) for name in settings}
    return {name: max(value, least[name]) if least[name] else value for name, value in settings.items()}


def penalized(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with R1, where the algorithm has that."""
    config = default(settings)
    names = ALSO.get(config.algorithm, ("penalties.r1",) if "r1" in config.get("penalties", {}) else ())
    return settings | dict.fromkeys(names, 1.0)


def every_penalty() -> dict[str, Any]:
    """A GAN that is bound by all penalties at once."""
    networks = {f"model.{name}.width": WIDTHS["width"] for name in ("generator", "discriminator")}
    weights = {f"{group}.{name}": 0.1 for group, table in TABLES.items() for name in table}
    data = {"data.source": "digits", "data.size": 8, "batch_size": 8, "latent_dim": 4}
    return {"model.family": "mlp", "model.discriminator.norm": "none"} | data | networks | weights


# The comparison


def differences(title: str, precision: str) -> dict[str, float]:
    """The largest relative differences of one case: what `BOUNDS` names, if it has that, and each penalty's metric.

    Args:
        title: of the case.
        precision: of the accelerator's float32 products, as `jax.default_matmul_precision` takes it.
    """
    exp, arguments, expected = reference(title)
    actual = outcome(exp, jax.devices()[-1], precision, *arguments)
    return {name: distance(actual[name], expected[name]) for name in expected}


@functools.cache
def reference(title: str) -> tuple[Experiment, tuple[PyTree, ...], dict[str, dict[str, PyTree]]]:
    """A case's experiment, the arguments of `outcome`, and what the CPU makes of them."""
    exp, host, rng = experiment_of(cases()[title]), jax.devices("cpu")[0], np.random.default_rng(0)
    with jax.default_device(host):
        state = jax.device_get(jax.jit(lambda: population.init_state(exp), compiler_options=QUICKLY)())
        batch, inputs = jax.device_get((example_batch(exp), dict(exp.algorithm.inputs(exp))))
    inputs = jax.tree.map(lambda zeros: np.float32(rng.standard_normal(zeros.shape)), inputs)
    arguments = state, batch, inputs
    return exp, arguments, outcome(own.by_definition(exp), host, "highest", *arguments)


def experiment_of(settings: Mapping[str, Any]) -> Experiment:
    """The experiment of some settings, whose players learn by gradient descent."""
    config = default(settings)
    descent = {f"optimizer.{player}.name": "sgd" for player in config.optimizer}
    descent |= {f"optimizer.{player}.learning_rate": RATE for player in config.optimizer}
    config, _ = with_changes(config, descent)
    return build(config, classes=10)


def outcome(
    exp: Experiment, device: jax.Device, precision: str, state: TrainState, batch: PyTree, inputs: PyTree
) -> dict[str, dict[str, PyTree]]:
    """What a device makes of a state: trees by name in groups, which `differences` names."""

    def run(constants: PyTree, state: TrainState, batch: PyTree, inputs: PyTree) -> tuple[PyTree, ...]:
        made = dataclasses.replace(exp, constants=constants)
        outputs = {
            name: apply(network, state.networks[name], *inputs[name], train=False)[0]
            for name, network in exp.networks.items()
        }
        # Without a discriminator's features, whose layout is the device's.
        forward = {name: getattr(output, "logits", output) for name, output in outputs.items()}
        return forward, *exp.algorithm.step(made, state, batch)

    options = QUICKLY if device.platform == "cpu" else None
    smooth = mock.patch.multiple(nn, relu=lambda inputs: smooth_leaky_relu(inputs, 0.0), leaky_relu=smooth_leaky_relu)
    with smooth, jax.default_device(device), jax.default_matmul_precision(precision):
        arguments = jax.device_put((exp.algorithm.constants(exp), state, batch, inputs), device)
        forward, after, metrics = jax.device_get(jax.jit(run, compiler_options=options)(*arguments))
    penalties = {name: value for name, value in metrics.items() if name.partition("/")[0].endswith("penalty")}
    losses = {name: value for name, value in metrics.items() if name.startswith(("loss/", "cost/"))}
    gradients = {f"{player} {name}": tree for player, kept in after.opt_states.items() for name, tree in kept.items()}
    found = {"forward": forward, "losses": {"all": losses}, "gradients": gradients, "parameters": after.networks}
    if penalties:
        found["penalties"] = {"all": penalties}
    return found | {name: {"value": value} for name, value in penalties.items()}


def smooth_leaky_relu(inputs: jax.Array, negative_slope: float = 0.01) -> jax.Array:
    """LeakyReLU whose slope changes gradually around 0."""
    return negative_slope * inputs + (1 - negative_slope) * jax.nn.softplus(SHARPNESS * inputs) / SHARPNESS


def distance(actual: Mapping[str, PyTree], expected: Mapping[str, PyTree]) -> float:
    """The largest relative difference of trees of the same names; NaN if there is one, 0 if there are no numbers."""
    return float(np.max([relative(actual[name], tree) for name, tree in expected.items()], initial=0.0))


def relative(actual: PyTree, expected: PyTree) -> float:
    """The largest difference of two trees' numbers, relative to the largest expected number of each array."""
    pairs = list(zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True))
    assert all(np.shape(left) == np.shape(right) for left, right in pairs)
    largest = [float(np.abs(right).max(initial=0.0)) for _, right in pairs]
    least = max(FLOOR * max(largest, default=0.0), float(np.finfo(np.float32).tiny))
    apart = [np.abs(np.float64(left) - np.float64(right)).max(initial=0.0) for left, right in pairs]
    return float(np.max([each / max(size, least) for each, size in zip(apart, largest, strict=True)], initial=0.0))
