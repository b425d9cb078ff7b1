"""Small experiments whose compiled steps several tests share, and comparisons of trees."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from jaxgan.algorithms import gan
from jaxgan.core import experiment as experiments
from jaxgan.core import rng
from jaxgan.core.settings import default
from jaxgan.core.state import Variables
from jaxgan.data.sources import example_shape

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
    "model.generator.width": 4,
    "model.discriminator.width": 4,
}
# The smallest networks, whose steps compile the fastest: one hidden layer, points in place of images.
POINTS = {
    "data__source": "world:ring",
    "model__family": "points",
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

# Programs this small cost more to compile than to run.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def tiny_config(**settings) -> ConfigDict:
    """The defaults made tiny, with some settings changed; `data__size` stands for `data.size`."""
    config = default()
    config.update_from_flattened_dict(TINY | {name.replace("__", "."): value for name, value in settings.items()})
    return config


class Experiment:
    """An experiment with its compiled steps, its initial state and made-up real examples of so many classes."""

    def __init__(self, config: ConfigDict, recorded: bool = False, classes: int = 0):
        self.config, self.exp, self.classes = config, experiments.build(config, classes), classes
        if recorded:
            self.exp = dataclasses.replace(self.exp, optimizers=dict.fromkeys(self.exp.networks, RECORDER))
        self.state = quick_jit(lambda: experiments.initial_state(self.exp))()
        self.discriminator_step = quick_jit(functools.partial(gan.discriminator_step, self.exp), static_argnums=2)
        self.generator_step = quick_jit(functools.partial(gan.generator_step, self.exp))
        self.train_step = quick_jit(functools.partial(gan.UPDATES[config.updates], self.exp))

    def images(self, step: int = 0) -> jax.Array:
        """The real examples of a step: [discriminator_steps, batch, size, size, channels]."""
        shape = (self.config.discriminator_steps, self.config.batch_size, *example_shape(self.config.data))
        return jnp.asarray(np.random.default_rng(step).uniform(-1, 1, shape), jnp.float32)

    def batch(self, step: int = 0) -> dict[str, jax.Array]:
        """The images of a step and labels for them: what a training step takes."""
        images = self.images(step)
        labels = np.random.default_rng(step).integers(0, max(self.classes, 1), images.shape[:2])
        return {"images": images, "labels": jnp.asarray(labels, jnp.int32)}

    def one_batch(self, step: int = 0, repeat: int = 0) -> dict[str, jax.Array]:
        """One of them: what a single update takes."""
        return {name: array[repeat] for name, array in self.batch(step).items()}

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
    return state.networks[network].opt_state


def params_of(tiny: Experiment, network: str, state=None):
    """A network's parameters, at first unless a state is given."""
    return (state or tiny.state).networks[network].variables.params


def with_params(state, network: str, params):
    """The state with other parameters of a network."""
    old = state.networks[network]
    new = old.replace(variables=Variables(params, old.variables.stats))
    return state.replace(networks=state.networks | {network: new})


def applied(tiny: Experiment, network: str, params, inputs, condition=None, stats=None):
    """A network in training, written with flax alone: its output and new stats."""
    old = tiny.state.networks[network].variables.stats if stats is None else stats
    apply = tiny.exp.networks[network].apply
    out, new = apply({"params": params, **old}, inputs, condition, train=True, mutable=list(old))
    return out, dict(new)


def latents_of(tiny: Experiment, use: str, step: int = 0):
    """The latents that belong to a use in a step of the experiment with the seed 0."""
    key = rng.stream_key(0, step, use)
    return rng.sample_latents(key, jnp.arange(tiny.config.batch_size), tiny.config.latent_dim)


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
