"""Small experiments whose compiled steps several tests share, and comparisons of trees."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from jaxgan.adversarial.forward import data_field
from jaxgan.algorithms import gan
from jaxgan.config import build, default, example_batch
from jaxgan.core import latents, optimizers, population, rng
from jaxgan.data.decode import Transform

# Multilayer perceptrons with BatchNorm in both networks: they compile fast and have every kind of array.
TINY = {
    "batch_size": 8,
    "latent_dim": 4,
    "steps": 10,
    "ema_decay": 0.9,
    "optimizer.generator.schedule": "linear",
    "optimizer.generator.decay_steps": 100,
    "data.size": 8,
    "model.family": "mlp",
    "model.initializer": "he",
}
WIDTHS = {
    "mlp": "width",
    "toy_mlp": "width",
    "dcgan": "base_channels",
    "tf_dcgan": "base_channels",
    "vaegan": "base_channels",
}
# The smallest networks, whose steps compile the fastest: one hidden layer, points in place of images.
POINTS = {
    "data__source": "world:ring",
    "model__family": "toy_mlp",
    "model__generator__depth": 1,
    "model__generator__norm": "none",
    "model__discriminator__depth": 1,
    "model__discriminator__norm": "none",
}
# As fast, nearly, with every kind of array: BatchNorm in both networks.
SMALL = POINTS | {"model__generator__norm": "batch", "model__discriminator__norm": "batch"}
DCGAN = {"model__family": "dcgan", "data__size": 16}  # the smallest whose discriminator has a BatchNorm

# Its state is the gradient that it was given last, so tests can read gradients from a step's result. With the default
# peak of the learning rate, by which its updates are multiplied, it takes a tenth of the gradient off the parameters.
RECORDER = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, state, params=None: (jax.tree.map(lambda g: -0.1 / 2e-4 * g, gradients), gradients),
)


def squares(load_size: int, size: int, channels: int, upscale: bool, **settings) -> Transform:
    """A transform whose images are squares."""
    return Transform((load_size, load_size), (size, size), channels, upscale, **settings)


class WithRecorder(dict):
    """The table of optimizers with an entry more, which no test finds that walks the table."""

    def __missing__(self, name: str):
        if name != "recorder":
            raise KeyError(name)
        return optimizers.Optimizer(lambda hparam, eps_root: RECORDER)


optimizers.OPTIMIZERS = WithRecorder(optimizers.OPTIMIZERS)

# Programs this small cost more to compile than to run.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def tiny_config(**settings) -> ConfigDict:
    """The defaults made tiny, with some settings changed; `data__size` stands for `data.size`."""
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    found = TINY | changes
    width = WIDTHS[found["model.family"]]
    found = {f"model.{network}.{width}": 4 for network in ("generator", "discriminator")} | found
    if found.get("data.source", "").startswith("world:") and "data.size" not in changes:
        del found["data.size"]
    if found["optimizer.generator.schedule"] == "constant" and "optimizer.generator.decay_steps" not in changes:
        del found["optimizer.generator.decay_steps"]
    return default(found)


class Experiment:
    """An experiment with its compiled steps, its initial state and made-up real examples of so many classes."""

    def __init__(self, config: ConfigDict, recorded: bool = False, classes: int = 0):
        self.config, self.exp, self.classes = config, build(config, classes), classes
        if recorded:
            own = config.copy_and_resolve_references()
            for player in own.optimizer.values():
                player.name = "recorder"
            self.exp = dataclasses.replace(self.exp, config=own)
        self.state = quick_jit(lambda: population.init_state(self.exp))()
        self.discriminator_step = quick_jit(functools.partial(gan.discriminator_step, self.exp), static_argnums=2)
        self.generator_step = quick_jit(functools.partial(gan.generator_step, self.exp))
        self.train_step = quick_jit(functools.partial(self.exp.algorithm.step, self.exp))

    def images(self, step: int = 0) -> jax.Array:
        """The real examples of a step: [discriminator_steps, batch, *shape]."""
        return self.batch(step)[data_field(self.exp)]

    def batch(self, step: int = 0) -> dict[str, jax.Array]:
        """The examples of a step and labels for them: what a training step takes."""
        return example_batch(self.exp, step)

    def one_batch(self, step: int = 0, index: int = 0) -> dict[str, jax.Array]:
        """One of them: what a single update takes."""
        return {name: array[index] for name, array in self.batch(step).items()}

    def run(self, count: int, state=None):
        """The state after some training steps, and the last one's metrics."""
        state, metrics = state or self.state, {}
        for step in range(count):
            state, metrics = self.train_step(state, self.batch(step))
        return state, metrics


def experiment(recorded: bool = False, classes: int = 0, **settings) -> Experiment:
    """The experiment of `tiny_config(**settings)`, made once per session; `recorded`: with RECORDER as optimizers."""
    config = tiny_config(**settings)
    key = config.to_json(sort_keys=True), recorded, classes  # the same however its settings are given
    if key not in EXPERIMENTS:
        EXPERIMENTS[key] = Experiment(config, recorded, classes)
    return EXPERIMENTS[key]


EXPERIMENTS: dict[tuple, Experiment] = {}


def gradients(state, network: str):
    """The last gradients of a network in a state of an experiment with RECORDER."""
    (kept, *_) = jax.tree.leaves(state.opt_states[network][network], is_leaf=lambda node: isinstance(node, dict))
    return kept


def params_of(tiny: Experiment, network: str, state=None):
    """A network's parameters, at first unless a state is given."""
    return (state or tiny.state).networks[network].params


def with_params(state, network: str, params):
    """The state with other parameters of a network."""
    return state.replace(networks=state.networks | {network: state.networks[network].replace(params=params)})


def applied(tiny: Experiment, network: str, params, inputs, condition=None, stats=None):
    """A network in training, written with flax alone: its output and new stats."""
    old = tiny.state.networks[network].model_state if stats is None else stats
    apply = tiny.exp.networks[network].apply
    out, new = apply({"params": params, **old}, inputs, condition, train=True, mutable=list(old))
    return out, dict(new)


def latents_of(tiny: Experiment, stream: str, step: int = 0):
    """The latents that belong to a stream in a step of the experiment with the seed 0."""
    key = rng.stream_key(0, step, stream)
    return latents.sample_latents(key, jnp.arange(tiny.config.batch_size), tiny.config.latent_dim)


def leaves(tree) -> dict[str, np.ndarray]:
    """{path: array}."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same_bits(actual, expected) -> None:
    """Every array has the same path, type, shape and bytes."""
    actual, expected = leaves(actual), leaves(expected)
    assert actual.keys() == expected.keys()
    for path, array in actual.items():
        assert (array.dtype, array.shape) == (expected[path].dtype, expected[path].shape), path
        assert array.tobytes() == expected[path].tobytes(), path


def assert_close(actual, expected, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Every array is near the other tree's."""
    actual, expected = leaves(actual), leaves(expected)
    assert actual.keys() == expected.keys()
    for path, array in actual.items():
        np.testing.assert_allclose(array, expected[path], rtol=rtol, atol=atol, err_msg=path)


def assert_all_changed(actual, old) -> None:
    """No array is as it was."""
    actual, old = leaves(actual), leaves(old)
    assert [path for path, array in actual.items() if np.array_equal(array, old[path])] == []


def same(actual, expected) -> bool:
    """Whether all arrays are equal."""
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True))


raises_user_error = functools.partial(pytest.raises, check=lambda error: "\n" not in str(error))
