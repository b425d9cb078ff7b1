"""The training step in plain Flax: stock layers, optax, one jitted step per dispatch, as Flax's examples write it."""

import itertools
from collections.abc import Callable

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from benchmarks import flops, workloads
from benchmarks.turns import best_seconds
from benchmarks.workloads import Layer
from jaxgan.data.sources import example_shape

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": None}  # of JAX's products on a GPU


class Network(nn.Module):
    """A list of layers, run in `dtype` on parameters in float32."""

    layers: tuple[Layer, ...]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, hidden: Array) -> Array:
        for layer in self.layers:
            hidden = self.apply_layer(layer, hidden)
        return hidden.astype(jnp.float32)

    def apply_layer(self, layer: Layer, hidden: Array) -> Array:
        match layer:
            case workloads.Dense(_, features, bias):
                return nn.Dense(features, bias, self.dtype)(hidden)
            case workloads.Conv(_, features, size, stride, bias, _, groups):
                options = {"feature_group_count": groups, "use_bias": bias, "dtype": self.dtype}
                return nn.Conv(features, (size, size), stride, **options)(hidden)
            case workloads.ConvTranspose(_, features, size, stride, bias):
                strides = (stride, stride)
                return nn.ConvTranspose(features, (size, size), strides, use_bias=bias, dtype=self.dtype)(hidden)
            case workloads.Upsample():
                return smooth(hidden, gain=4, padding=2, holes=2)
            case workloads.Downsample():
                return smooth(hidden, gain=1, padding=1, stride=2)
            case workloads.Basis(rows, columns, features):
                basis = self.param("basis", nn.initializers.normal(1.0), (rows, columns, features))
                return hidden[:, None, None] * basis.astype(self.dtype)
            case workloads.BasisProduct(rows, columns, features):
                basis = self.param("basis", nn.initializers.normal(0.25), (rows, columns, features))
                return (hidden * basis.astype(self.dtype)).sum((1, 2))
            case workloads.Residual(layers):
                return hidden + Network(layers, self.dtype)(hidden).astype(hidden.dtype)
            case workloads.BatchNorm():
                return nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=self.dtype)(hidden)
            case workloads.LeakyReLU(slope):
                return nn.leaky_relu(hidden, slope) if slope else nn.relu(hidden)
            case workloads.Tanh():
                return nn.tanh(hidden)
            case workloads.Dropout(rate):
                return nn.Dropout(rate, deterministic=False)(hidden)
            case workloads.Maxout(pieces):
                return hidden.reshape(len(hidden), pieces, -1).max(axis=1)
            case workloads.Reshape(rows, columns, channels):
                return hidden.reshape(-1, rows, columns, channels)
            case workloads.Flatten():
                return hidden.reshape(len(hidden), -1)
        raise TypeError(layer)


def smooth(images: Array, gain: float, padding: int, stride: int = 1, holes: int = 1) -> Array:
    """A depthwise convolution with the weights 1, 3, 3, 1 on each axis; all weights add up to the gain."""
    taps, channels = np.float32([1, 3, 3, 1]) / 8, images.shape[-1]
    kernel = np.tile(gain * np.outer(taps, taps)[..., None, None], (1, 1, 1, channels))
    return lax.conv_general_dilated(
        images,
        jnp.asarray(kernel, images.dtype),
        (stride, stride),
        ((padding, padding), (padding, padding)),
        (holes, holes),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )


class State(flax.struct.PyTreeNode):
    """Of each network, by name: parameters, BatchNorm's statistics, Adam's state; and the generator's average."""

    key: Array
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    opt_state: dict[str, PyTree]
    ema: PyTree


LOSSES = {  # real logits, fake logits -> the discriminator's loss, the generator's
    "non_saturating": (
        lambda real, fake: nn.softplus(-real).mean() + nn.softplus(fake).mean(),
        lambda real, fake: nn.softplus(-fake).mean(),
    ),
    "relativistic": (
        lambda real, fake: nn.softplus(fake - real).mean(),
        lambda real, fake: nn.softplus(real - fake).mean(),
    ),
}


class Trainer:
    """Pure functions of a state, for one workload."""

    def __init__(self, config: ConfigDict, dtype: jnp.dtype = jnp.float32):
        self.config, layers = config, workloads.layers(config)
        self.networks = {name: Network(tuple(layers[name]), dtype) for name in layers}
        self.optimizers = {
            name: optax.adam(settings.learning_rate, settings.b1, settings.b2)
            for name, settings in config.optimizer.items()
        }
        self.d_loss, self.g_loss = LOSSES[config.loss]

    def init(self, real: Array) -> State:
        """The state before the first step, for batches like this one."""
        inputs = {"generator": jnp.zeros((len(real), self.config.latent_dim)), "discriminator": real}
        params, stats, opt_state = {}, {}, {}
        for name, network in self.networks.items():
            stats[name] = network.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, inputs[name])
            params[name] = stats[name].pop("params")
            opt_state[name] = self.optimizers[name].init(params[name])
        ema = jax.tree.map(jnp.copy, params["generator"]) if self.config.ema_decay else ()
        return State(jax.random.key(2), params, stats, opt_state, ema)

    def step(self, state: State, real: Array) -> tuple[State, tuple[Array, Array]]:
        """Both updates, and both losses."""
        key, latents, again, dropout = jax.random.split(state.key, 4)
        update = self.simultaneous if self.config.update_rule == "simultaneous" else self.alternating
        state, losses = update(state.replace(key=key), real, latents, again, dropout)
        if self.config.ema_decay:
            ema = optax.incremental_update(state.params["generator"], state.ema, 1 - self.config.ema_decay)
            state = state.replace(ema=ema)
        return state, losses

    def alternating(
        self, state: State, real: Array, latents: Array, again: Array, dropout: Array
    ) -> tuple[State, tuple[Array, Array]]:
        """The discriminator's update, then the generator's by the new discriminator."""
        fake, vjp, stats = self.generate(state, latents)
        cut = lax.stop_gradient(fake)

        def d_objective(params: PyTree) -> tuple[Array, PyTree]:
            logits, stats, penalty = self.discriminate_both(params, state.stats["discriminator"], real, cut, dropout)
            return self.d_loss(*logits) + penalty, stats

        (d_loss, d_stats), gradients = jax.value_and_grad(d_objective, has_aux=True)(state.params["discriminator"])
        state = self.updated(state, "discriminator", gradients, d_stats)
        if not self.config.reuse_fakes:
            state = state.replace(stats=state.stats | {"generator": stats})
            fake, vjp, stats = self.generate(state, again)

        def g_objective(fake: Array) -> Array:
            params, d_stats = state.params["discriminator"], state.stats["discriminator"]
            real_logits = None  # which most generators' losses have no use for
            if self.config.loss == "relativistic":
                real_logits, _ = self.discriminate(params, d_stats, real, dropout)
            fake_logits, _ = self.discriminate(params, d_stats, fake, dropout)
            return self.g_loss(real_logits, fake_logits)

        g_loss, slope = jax.value_and_grad(g_objective)(fake)
        return self.updated(state, "generator", *vjp(slope), stats), (d_loss, g_loss)

    def simultaneous(
        self, state: State, real: Array, latents: Array, again: Array, dropout: Array
    ) -> tuple[State, tuple[Array, Array]]:
        """Both updates from one forward pass, whose gradients are pulled back twice."""
        del again
        fake, generator_vjp, g_stats = self.generate(state, latents)

        def forward(params: PyTree, fake: Array) -> tuple[tuple[Array, Array], PyTree]:
            logits, stats, _ = self.discriminate_both(params, state.stats["discriminator"], real, fake, dropout)
            return logits, stats

        logits, vjp, d_stats = jax.vjp(forward, state.params["discriminator"], fake, has_aux=True)
        d_loss, d_cotangent = jax.value_and_grad(lambda pair: self.d_loss(*pair))(logits)
        g_loss, g_cotangent = jax.value_and_grad(lambda pair: self.g_loss(*pair))(logits)
        d_gradients, _ = vjp(d_cotangent)
        _, slope = vjp(g_cotangent)
        state = self.updated(state, "discriminator", d_gradients, d_stats)
        return self.updated(state, "generator", *generator_vjp(slope), g_stats), (d_loss, g_loss)

    def generate(self, state: State, key: Array) -> tuple[Array, Callable[[Array], tuple[PyTree]], PyTree]:
        """Fakes, the way back from them to the generator's parameters, and its new statistics."""
        latents = jax.random.normal(key, (self.config.batch_size, self.config.latent_dim))
        generator, stats = self.networks["generator"], state.stats["generator"]

        def forward(params: PyTree) -> tuple[Array, PyTree]:
            return generator.apply({"params": params, **stats}, latents, mutable=list(stats))

        return jax.vjp(forward, state.params["generator"], has_aux=True)

    def discriminate(self, params: PyTree, stats: PyTree, examples: Array, dropout: Array) -> tuple[Array, PyTree]:
        """Logits [batch], and the discriminator's new statistics."""
        network = self.networks["discriminator"]
        variables = {"params": params, **stats}
        logits, stats = network.apply(variables, examples, mutable=list(stats), rngs={"dropout": dropout})
        return logits[:, 0], stats

    def discriminate_both(
        self, params: PyTree, stats: PyTree, real: Array, fake: Array, dropout: Array
    ) -> tuple[tuple[Array, Array], PyTree, Array | float]:
        """The logits of both batches, new statistics, and the weighted penalties R1 and R2."""
        penalties, found, total = self.config.penalties, [], 0.0
        keys = jax.random.split(dropout)
        for weight, examples, key in zip((penalties.r1, penalties.r2), (real, fake), keys, strict=True):
            forward = lambda x, stats=stats, key=key: self.discriminate(params, stats, x, key)  # noqa: E731
            if weight:  # one forward pass serves the loss and the gradient by the examples
                logits, vjp, stats = jax.vjp(forward, examples, has_aux=True)
                (slope,) = vjp(jnp.ones_like(logits))
                total += weight * 0.5 * (slope**2).sum() / len(examples)
            else:
                logits, stats = forward(examples)
            found.append(logits)
        return tuple(found), stats, total

    def updated(self, state: State, name: str, gradients: PyTree, stats: PyTree) -> State:
        """The state with one network after Adam's update."""
        updates, opt_state = self.optimizers[name].update(gradients, state.opt_state[name])
        return state.replace(
            params=state.params | {name: optax.apply_updates(state.params[name], updates)},
            stats=state.stats | {name: stats},
            opt_state=state.opt_state | {name: opt_state},
        )


class Program:
    """The workload in training."""

    def __init__(self, config: ConfigDict, real: np.ndarray, precision: str):
        use_precision(precision)
        trainer = Trainer(config, jnp.bfloat16 if precision == "bfloat16" else jnp.float32)
        self.batches = itertools.cycle([jax.device_put(batch) for batch in real])
        self.state = jax.jit(trainer.init)(real[0])
        self.step = jax.jit(trainer.step, donate_argnums=0)
        self.dispatch = 1
        self.settings = f"JAX {jax.__version__}, Flax {flax.__version__}, jit of one step, donated state"

    def run(self, steps: int) -> None:
        """Makes so many steps and waits for the last."""
        for _ in range(steps):
            self.state, losses = self.step(self.state, next(self.batches))
        jax.block_until_ready((self.state, losses))


def use_precision(precision: str) -> None:
    """Sets what a GPU may round the inputs of float32 products to; a CPU has no choice."""
    if jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])


def device_peak() -> int | None:
    """The most bytes of device memory that were in use; None where the device is the host."""
    statistics = jax.local_devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] if statistics else None


def step_flops(config: ConfigDict) -> int:
    """The FLOPs of one training step, by count of what `Trainer.step` does."""
    trainer = Trainer(config)
    return flops.count(trainer.step, *step_shapes(trainer))


def step_shapes(trainer: Trainer) -> tuple[State, jax.ShapeDtypeStruct]:
    """The shapes of a step's arguments."""
    config = trainer.config
    real = jax.ShapeDtypeStruct((config.batch_size, *example_shape(config.data)), jnp.float32)
    return jax.eval_shape(trainer.init, real), real


def product_seconds(size: int, precision: str) -> float:
    """The time that a product of two square matrices takes, the best of several."""
    use_precision(precision)
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    left, right = jax.random.normal(jax.random.key(0), (2, size, size), dtype)
    product = jax.jit(jnp.matmul)
    return best_seconds(lambda: product(left, right).block_until_ready())
