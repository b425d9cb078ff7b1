"""The training step in TensorFlow: Keras layers and optimizers in a `tf.function`, by XLA or without it.

The moving average is that of Keras' optimizers.
"""

import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import layers as stock
from ml_collections import ConfigDict

from benchmarks import workloads
from benchmarks.workloads import Layer
from jaxgan.data.sources import example_shape

for gpu in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(gpu, True)


class Maxout(stock.Layer):
    """The largest of so many pieces of each unit."""

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(tf.reshape(hidden, (-1, self.pieces, hidden.shape[1] // self.pieces)), axis=1)


class Smooth(stock.Layer):
    """Half the rows and columns, by depthwise convolutions with the weights 1, 3, 3, 1 on each axis.

    Args:
        channels: of images.
        gain: the sum of all weights.
    """

    def __init__(self, channels: int, gain: float = 1.0):
        super().__init__()
        taps = np.float32([1, 3, 3, 1]) / 8
        self.kernel = tf.constant(np.tile(gain * np.outer(taps, taps)[..., None, None], (1, 1, channels, 1)))

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(hidden, self.kernel, (1, 2, 2, 1), "SAME")


class Upsample(Smooth):
    """Twice the rows and columns, by the transpose."""

    def __init__(self, channels: int):
        super().__init__(channels, gain=4.0)  # of four places three are zeros

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        batch, rows, columns, channels = tf.unstack(tf.shape(hidden))
        shape = tf.stack([batch, 2 * rows, 2 * columns, channels])
        return tf.nn.depthwise_conv2d_backprop_input(shape, self.kernel, hidden, (1, 2, 2, 1), "SAME")

    def compute_output_shape(self, shape: tuple) -> tuple:
        batch, rows, columns, channels = shape
        return batch, 2 * rows, 2 * columns, channels


class Basis(stock.Layer):
    """[batch, channels] -> [batch, rows, columns, channels]: the product with learned features of that size."""

    def __init__(self, *shape: int):
        super().__init__()
        self.basis = self.add_weight(shape, keras.initializers.RandomNormal(stddev=1.0))

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return hidden[:, None, None] * self.basis


class BasisProduct(Basis):
    """[batch, rows, columns, channels] -> [batch, channels]: the sum of the products with learned features."""

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(hidden * self.basis, (1, 2))


class Residual(stock.Layer):
    """What layers make of features, added to those."""

    def __init__(self, layers: tuple[Layer, ...]):
        super().__init__()
        self.layers = [made(layer) for layer in layers]

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        added = hidden
        for layer in self.layers:
            added = layer(added)
        return hidden + added


def made(layer: Layer) -> stock.Layer:
    """The layer in Keras."""
    match layer:
        case workloads.Dense(_, features, bias):
            return stock.Dense(features, use_bias=bias)
        case workloads.Conv(_, features, size, stride, bias, _, groups):
            return stock.Conv2D(features, size, stride, "same", groups=groups, use_bias=bias)
        case workloads.ConvTranspose(_, features, size, stride, bias):
            return stock.Conv2DTranspose(features, size, stride, "same", use_bias=bias)
        case workloads.Upsample(features):
            return Upsample(features)
        case workloads.Downsample(features):
            return Smooth(features)
        case workloads.Basis(rows, columns, features):
            return Basis(rows, columns, features)
        case workloads.BasisProduct(rows, columns, features):
            return BasisProduct(rows, columns, features)
        case workloads.Residual(layers):
            return Residual(layers)
        case workloads.BatchNorm():
            return stock.BatchNormalization(momentum=0.9, epsilon=1e-5)
        case workloads.LeakyReLU(slope):
            return stock.LeakyReLU(negative_slope=slope) if slope else stock.ReLU()
        case workloads.Tanh():
            return stock.Activation("tanh")
        case workloads.Dropout(rate):
            return stock.Dropout(rate)
        case workloads.Maxout(pieces):
            return Maxout(pieces)
        case workloads.Reshape(rows, columns, channels):
            return stock.Reshape((rows, columns, channels))
        case workloads.Flatten():
            return stock.Flatten()
    raise TypeError(layer)


def networks(config: ConfigDict) -> dict[str, keras.Sequential]:
    """Both networks of a workload."""
    shapes = {"generator": (config.latent_dim,), "discriminator": example_shape(config.data)}
    return {
        name: keras.Sequential([keras.Input(shapes[name]), *map(made, layers)])
        for name, layers in workloads.layers(config).items()
    }


def softplus_mean(logits: tf.Tensor) -> tf.Tensor:
    """The mean of log(1 + exp)."""
    return tf.reduce_mean(tf.nn.softplus(logits))


LOSSES = {  # real logits, fake logits -> the discriminator's loss, the generator's
    "non_saturating": (
        lambda real, fake: softplus_mean(-real) + softplus_mean(fake),
        lambda real, fake: softplus_mean(-fake),
    ),
    "relativistic": (
        lambda real, fake: softplus_mean(fake - real),
        lambda real, fake: softplus_mean(real - fake),
    ),
}


class Program:
    """The workload in training.

    Args:
        config: the workload.
        real: its batches, [count, batch, ...], channels last.
        precision: "tf32" lets a GPU round the inputs of float32 products.
        xla: whether XLA compiles the step.
    """

    def __init__(self, config: ConfigDict, real: np.ndarray, precision: str, xla: bool):
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        keras.utils.set_random_seed(0)
        self.config, self.dispatch = config, 1
        self.networks = networks(config)
        self.optimizers = {}
        for name, settings in config.optimizer.items():
            average = config.ema_decay if name == "generator" else 0.0
            self.optimizers[name] = keras.optimizers.Adam(
                settings.learning_rate,
                settings.b1,
                settings.b2,
                epsilon=1e-8,
                use_ema=average > 0,
                ema_momentum=average,
            )
            self.optimizers[name].build(self.networks[name].trainable_variables)
        self.d_loss, self.g_loss = LOSSES[config.loss]
        step = self.simultaneous if config.update_rule == "simultaneous" else self.alternating
        self.step = tf.function(step, jit_compile=xla)
        self.batches = itertools.cycle([tf.constant(batch) for batch in real])
        self.settings = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, tf.function" + ", XLA" * xla

    def run(self, steps: int) -> None:
        """Makes so many steps and waits for the last."""
        for _ in range(steps):
            losses = self.step(next(self.batches))
        for loss in losses:
            loss.numpy()

    def fakes(self) -> tf.Tensor:
        """A batch of them, of new latents."""
        latents = tf.random.normal((self.config.batch_size, self.config.latent_dim))
        return self.networks["generator"](latents, training=True)

    def discriminate(self, examples: tf.Tensor) -> tf.Tensor:
        """Logits [batch]."""
        return self.networks["discriminator"](examples, training=True)[:, 0]

    def alternating(self, real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The discriminator's update, then the generator's by the new discriminator."""
        with tf.GradientTape() as tape:
            fake = self.fakes()
        with tf.GradientTape() as d_tape:
            real_logits, real_penalty = self.discriminate_penalised(real, self.config.penalties.r1)
            fake_logits, fake_penalty = self.discriminate_penalised(tf.stop_gradient(fake), self.config.penalties.r2)
            d_loss = self.d_loss(real_logits, fake_logits) + real_penalty + fake_penalty
        self.update("discriminator", d_tape, d_loss)
        if not self.config.reuse_fakes:
            with tf.GradientTape() as tape:
                fake = self.fakes()
        real_logits = None  # which most generators' losses have no use for
        if self.config.loss == "relativistic":
            real_logits = self.discriminate(real)
        with tape:  # goes on recording what becomes of the fakes
            g_loss = self.g_loss(real_logits, self.discriminate(fake))
        self.update("generator", tape, g_loss)
        return d_loss, g_loss

    def simultaneous(self, real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Both updates from one forward pass, as in TensorFlow's tutorial."""
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            logits = self.discriminate(real), self.discriminate(self.fakes())
            d_loss, g_loss = self.d_loss(*logits), self.g_loss(*logits)
        self.update("generator", g_tape, g_loss)
        self.update("discriminator", d_tape, d_loss)
        return d_loss, g_loss

    def discriminate_penalised(self, examples: tf.Tensor, weight: float) -> tuple[tf.Tensor, tf.Tensor | float]:
        """Logits, and the weighted penalty on their gradients by the examples."""
        if not weight:
            return self.discriminate(examples), 0.0
        with tf.GradientTape() as tape:
            tape.watch(examples)
            logits = self.discriminate(examples)
        slopes = tape.gradient(logits, examples)
        return logits, 0.5 * weight * tf.reduce_sum(slopes**2) / len(examples)

    def update(self, name: str, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        """One step of a network's Adam."""
        variables = self.networks[name].trainable_variables
        self.optimizers[name].apply(tape.gradient(loss, variables), variables)


def device_peak() -> int | None:
    """The most bytes of a GPU's memory that were in use; None on a CPU."""
    gpus = tf.config.list_logical_devices("GPU")
    return tf.config.experimental.get_memory_info(gpus[0].name.removeprefix("/device:"))["peak"] if gpus else None
