"""StyleGAN3: a synthesis network whose features are signals without a grid; mapping and discriminator are StyleGAN2's.

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021. https://arxiv.org/abs/2106.12423
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import ABOVE_ZERO, NOT_NEGATIVE, Choice, Range, Setting, Settings, names_of
from jaxgan.models import stylegan2
from jaxgan.models.ops import equalized, fir, layers
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.equalized import over_places
from jaxgan.models.ops.modulated_conv import modulated_conv

CRITICAL = 2  # layers at the end whose cutoff is half their sampling rate
FIRST_CUTOFF, FIRST_STOPBAND, LAST_STOPBAND = 2.0, 2**2.1, 2**0.3  # the last one relative to the last cutoff
MARGIN = 10  # pixels beyond each border
TAPS = 6  # of a filter, for each sample of the lower rate
OUTPUT_SCALE = 0.25


class Equivariance(NamedTuple):
    """To what features are indifferent.

    Attributes:
        radial: whether filters are radial, and kernels single pixels.
        width: channels for each one that the settings name.
    """

    radial: bool
    width: int


EQUIVARIANCES = {"translation": Equivariance(radial=False, width=1), "rotation": Equivariance(radial=True, width=2)}


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    advice = stylegan2.check_shape(shape)
    if advice:
        return advice.replace("stylegan2", "stylegan3")
    return None if shape[0] == shape[1] else "stylegan3 makes squares"


class Signal(NamedTuple):
    """What the features between two layers are.

    Attributes:
        rate: samples for each width of an image.
        size: rows, with those beyond the borders.
        cutoff: the highest frequency that is kept.
        half_width: of the band around it in which filters fall.
        features: channels.
    """

    rate: int
    size: int
    cutoff: float
    half_width: float
    features: int


def signals(side: int, count: int, base: int, most: int) -> list[Signal]:
    """The features that each of `count` layers makes, and those of the image.

    References:
        Karras et al., 2021, section 3.2 and appendix D.
    """
    exponents = np.minimum(np.arange(count + 1) / (count - CRITICAL), 1)
    cutoffs = FIRST_CUTOFF * (side / 2 / FIRST_CUTOFF) ** exponents
    stopbands = FIRST_STOPBAND * (side / 2 * LAST_STOPBAND / FIRST_STOPBAND) ** exponents
    rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stopbands, side)))).astype(int)
    sizes = rates + 2 * MARGIN
    sizes[-2:] = side
    widths = np.maximum(np.rint(np.minimum(base / 2 / cutoffs, most)), 1).astype(int)
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    rows = zip(rates.tolist(), sizes.tolist(), cutoffs.tolist(), half_widths.tolist(), widths.tolist(), strict=True)
    return [Signal(*row) for row in rows]


def filters(before: Signal, after: Signal, radial: bool) -> tuple[np.ndarray, np.ndarray]:
    """The filter to twice the higher rate, and the one from there to the rate behind; of one axis, or [taps, taps].

    Args:
        before, after: the features on both sides of LeakyReLU.
        radial: whether the second one is, unless it is critical.
    """
    rate = 2 * max(before.rate, after.rate)
    falling = (TAPS * (rate // after.rate), after.cutoff, 2 * after.half_width, rate)
    design = fir.radial_lowpass if radial and 2 * after.cutoff < after.rate else fir.lowpass
    return fir.lowpass(TAPS * (rate // before.rate), before.cutoff, 2 * before.half_width, rate), design(*falling)


class FourierFeatures(nn.Module):
    """Waves of fixed frequencies and phases, turned and moved as an intermediate latent says, and mixed.

    Attributes:
        signal: what comes out.
        batch_last: how it is laid out.
    """

    signal: Signal
    batch_last: bool

    @nn.compact
    def __call__(self, w: Float[Array, "batch w_dim"]) -> Features:
        count, size, rate, cutoff = self.signal.features, self.signal.size, self.signal.rate, self.signal.cutoff
        motion = self.param("motion_kernel", nn.initializers.zeros, (w.shape[-1], 4)) / math.sqrt(w.shape[-1])
        motion = w @ motion + self.param("motion_bias", lambda _: jnp.eye(4)[0])
        kernel = self.param("kernel", nn.initializers.normal(1.0), (count, count))
        frequencies = self.variable("fourier", "frequencies", self._frequencies).value
        phases = self.variable("fourier", "phases", self._phases).value

        cosine, sine, right, down = (motion / jnp.linalg.norm(motion[:, :2], axis=1, keepdims=True)).T
        turn = jnp.stack([cosine, -sine, sine, cosine], 1).reshape(-1, 2, 2)
        frequencies = frequencies @ turn  # [batch, count, 2]
        phases = phases - jnp.einsum("bcx,bx->bc", frequencies, jnp.stack([right, down], 1))
        damped = (jnp.linalg.norm(frequencies, axis=2) - cutoff) / (rate / 2 - cutoff)
        places = (jnp.arange(size) + 0.5 - size / 2) / rate
        across, along = frequencies[:, None, None, :, 0], frequencies[:, None, None, :, 1]
        waves = jnp.sin(2 * jnp.pi * (across * places[:, None] + along * places[:, None, None] + phases[:, None, None]))
        mixed = waves * jnp.clip(1 - damped, 0, 1)[:, None, None] @ (kernel / math.sqrt(count))
        return layers.to_layout(mixed, self.batch_last)

    def _frequencies(self) -> Float[Array, "count 2"]:
        """Uniform in the disc of the frequencies that are kept."""
        normal = jax.random.normal(self.make_rng("params"), (self.signal.features, 2))
        radii = jnp.linalg.norm(normal, axis=1, keepdims=True)
        return self.signal.cutoff * normal / (radii * jnp.exp(radii**2) ** 0.25)

    def _phases(self) -> Float[Array, " count"]:
        return jax.random.uniform(self.make_rng("params"), (self.signal.features,)) - 0.5


class FilteredConv(nn.Module):
    """A modulated convolution, whose LeakyReLU stands between a filter to twice the rate and one to that of the output.

    The mean square of its inputs is tracked while training, a model state by whose root they are divided.

    Attributes:
        before, after: what comes in and goes out.
        to_rgb: whether it makes the image: of single pixels, neither demodulated nor bent.
        radial: whether kernels are single pixels, and filters radial unless they are critical.
        half_life: images after which half of the tracked mean is new.
        clamp: the largest number behind LeakyReLU; 0: any.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: the layout of what comes in and goes out.
    """

    before: Signal
    after: Signal
    to_rgb: bool
    radial: bool
    half_life: float
    clamp: float
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features, styles: Float[Array, "batch in"], train: bool) -> Features:
        size = 1 if self.to_rgb or self.radial else 3
        shape = (size, size, self.before.features, self.after.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.after.features,))
        if self.to_rgb:
            styles = styles / math.sqrt(self.before.features)
        else:
            kernel = kernel * lax.rsqrt(jnp.square(kernel).mean((0, 1, 2)))
            styles = stylegan2.normalized(styles)
        inputs = (inputs * lax.rsqrt(self._mean_square(inputs, len(styles), train))).astype(inputs.dtype)
        options = {"demodulate": not self.to_rgb, "padding": size - 1}
        out = modulated_conv(inputs, kernel, styles, self.batch_last, **options) + over_places(bias, self.batch_last)
        if self.to_rgb:
            return equalized.cut_off(out, self.clamp)
        return self._bent(out.astype(inputs.dtype), size)

    def _mean_square(self, inputs: Features, batch: int, train: bool) -> Float[Array, ""]:
        tracked = self.variable("magnitude", "mean_square", jnp.ones, ())
        if train and not self.is_initializing():
            own, devices = lax.stop_gradient(jnp.square(inputs.astype(jnp.float32)).mean()), 1
            if self.axis_name is not None:
                own, devices = lax.pmean(own, self.axis_name), lax.axis_size(self.axis_name)
            tracked.value = own + 0.5 ** (batch * devices / self.half_life) * (tracked.value - own)
        return tracked.value

    def _bent(self, features: Features, size: int) -> Features:
        """LeakyReLU at twice the higher rate."""
        before, after = self.before, self.after
        rate = 2 * max(before.rate, after.rate)
        up, down = rate // before.rate, rate // after.rate
        padding = (after.size - 1) * down + 1 - (before.size + size - 1) * up + TAPS * (up + down) - 2
        first = (padding + up) // 2
        rising, falling = filters(before, after, self.radial)
        features = equalized.activate(fir.fir_up(features, rising, up, (first, padding - first)), self.clamp)
        if falling.ndim == 2:
            return fir.radial_down(features, falling, down, self.batch_last)
        return fir.fir_down(features, falling, down)


class Synthesis(nn.Module):
    """Intermediate latents, one for the waves and one for each layer, to images without a bound.

    Attributes:
        shape: of an image, (side, side, channels), the side a power of two.
        equivariance: "translation", or "rotation" as well, with twice the channels.
        layers: between the waves and the image.
        channel_base: channels times the rows that they have at least.
        channel_max: the most channels.
        half_life: images after which half of a tracked mean square is new.
        clamp: the largest number behind LeakyReLU; 0: any.
        half_precision: the highest sampling rates that compute in `dtype`; the others compute in float32.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, styles and images are float32.
    """

    shape: tuple[int, int, int]
    equivariance: str = "translation"
    layers: int = 14
    channel_base: int = 32768
    channel_max: int = 512
    half_life: float = 20000.0
    clamp: float = 256.0
    half_precision: int = 4
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def num_ws(self) -> int:
        """Intermediate latents that an image takes."""
        return self.layers + 2

    @property
    def signals(self) -> list[Signal]:
        """The features that each layer makes, and the image."""
        width = EQUIVARIANCES[self.equivariance].width
        made = signals(self.shape[0], self.layers, width * self.channel_base, width * self.channel_max)
        return [*made[:-1], made[-1]._replace(features=self.shape[2])]

    @nn.compact
    def __call__(self, ws: Float[Array, "batch num_ws w_dim"], train: bool) -> Float[Array, "batch side side channels"]:
        side, radial, made = self.shape[0], EQUIVARIANCES[self.equivariance].radial, self.signals
        own = {name: getattr(self, name) for name in ("half_life", "clamp", "axis_name", "batch_last")}
        hidden = FourierFeatures(made[0], self.batch_last, name="waves")(ws[:, 0])
        for i, (before, after) in enumerate(zip([made[0], *made[:-1]], made, strict=True)):
            half = after.rate << self.half_precision > side
            styles = equalized.Dense(before.features, bias_init=1.0, name=f"layer{i}_affine")(ws[:, i + 1])
            layer = FilteredConv(before, after, i == self.layers, radial, name=f"layer{i}", **own)
            hidden = layer(hidden.astype(self.dtype if half else jnp.float32), styles, train)
        return layers.to_layout(hidden, self.batch_last) * OUTPUT_SCALE


MAPPING_SETTINGS: Settings = stylegan2.MAPPING_SETTINGS | {
    "depth": stylegan2.MAPPING_SETTINGS["depth"]._replace(default=2),
    "decay": stylegan2.MAPPING_SETTINGS["decay"]._replace(default=0.998),
}
SETTINGS: Settings = {
    "equivariance": Choice("translation", "to what features are indifferent", names_of(EQUIVARIANCES)),
    "layers": Setting(14, "between the waves and the image", Range(lambda value: value > CRITICAL, "at least 3")),
    **stylegan2.SETTINGS,
    "half_life": Setting(20000.0, "images after which half of a tracked mean square is new", ABOVE_ZERO),
    "half_precision": Setting(
        4, "the highest sampling rates that compute in config.precision, the others in float32", NOT_NEGATIVE
    ),
}
