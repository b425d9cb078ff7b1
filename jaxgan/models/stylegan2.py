"""StyleGAN2: a mapping network, a synthesis network that its latents modulate, and a residual discriminator.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020. https://arxiv.org/abs/1912.04958
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020. https://arxiv.org/abs/2006.06676
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import ABOVE_ZERO, FRACTION, NOT_NEGATIVE, POSITIVE, Choice, Setting, Settings, names_of
from jaxgan.models.ops import equalized, layers, resampling
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.equalized import over_places
from jaxgan.models.ops.modulated_conv import modulated_conv
from jaxgan.models.ops.noise import noise_added

FIRST = 4  # the shorter side of the learned constant, and of the discriminator's last features
LEAST = 8  # of images

Labels = Float[Array, "batch classes"] | None  # one-hot


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "stylegan2 makes images"
    short = min(shape[:2])
    if short < LEAST or short & (short - 1):
        return f"the shorter side of stylegan2's images is a power of two, from {LEAST} on"
    step = short // FIRST
    return f"the longer side is a multiple of {step} then" if max(shape[:2]) % step else None


def sizes(side: int) -> list[int]:
    """The shorter side of the features of each block, from `FIRST` up to the image's."""
    return [FIRST << i for i in range((side // FIRST).bit_length())]


def normalized(latents: Float[Array, "batch latent"]) -> Float[Array, "batch latent"]:
    """Each example's numbers divided by the root of their mean square."""
    return latents * lax.rsqrt(jnp.square(latents).mean(-1, keepdims=True) + 1e-8)


class Mapping(nn.Module):
    """Latents, and labels where there are some, to intermediate latents, whose mean is tracked while training.

    The mean is the model state `w_avg`. A pass that is not to move it drops the new state.

    Attributes:
        w_dim: numbers of an intermediate latent, and of each hidden layer.
        depth: how many layers; the paper has 8, and 2 for CIFAR-10.
        lr_multiplier: how much slower they learn than other layers.
        decay: of the mean, at each batch; None: no mean is kept.
        axis_name: the axis over whose devices the batch is sharded.
    """

    w_dim: int = 512
    depth: int = 8
    lr_multiplier: float = 0.01
    decay: float | None = 0.995
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"] | None, labels: Labels, train: bool
    ) -> Float[Array, "batch w_dim"]:
        parts = [] if latents is None else [normalized(latents)]
        if labels is not None:
            parts.append(normalized(equalized.Dense(self.w_dim, name="embed")(labels)))
        hidden = jnp.concatenate(parts, axis=-1)
        for i in range(self.depth):
            hidden = equalized.Dense(self.w_dim, self.lr_multiplier, activated=True, name=f"dense{i}")(hidden)
        if self.decay is not None:
            mean = self.variable("w_avg", "mean", jnp.zeros, (self.w_dim,))
            if train and not self.is_initializing():
                own = lax.stop_gradient(hidden.mean(0))
                own = own if self.axis_name is None else lax.pmean(own, self.axis_name)
                mean.value = own + self.decay * (mean.value - own)
        return hidden


def truncated(
    w: Float[Array, "*batch w_dim"], mean: Float[Array, " w_dim"], truncation: float | Array
) -> Float[Array, "*batch w_dim"]:
    """Intermediate latents moved towards their mean: 1 leaves them, 0 makes all of them the mean.

    References:
        Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks, 2019, appendix B.
        https://arxiv.org/abs/1812.04948
    """
    return mean + truncation * (w - mean)


class Constant(nn.Module):
    """The learned features with which synthesis begins, the same for all examples.

    Attributes:
        size: rows and columns.
        features: channels.
        batch_last: how they are laid out.
    """

    size: tuple[int, int]
    features: int
    batch_last: bool

    @nn.compact
    def __call__(self, ws: Float[Array, "batch num_ws w_dim"]) -> Features:
        constant = self.param("constant", nn.initializers.normal(1.0), (*self.size, self.features))
        return layers.to_layout(jnp.broadcast_to(constant, (len(ws), *constant.shape)), self.batch_last)


class StyledConv(nn.Module):
    """A modulated and demodulated convolution, noise of a learned strength, a bias, and LeakyReLU.

    Attributes:
        features: channels out.
        doubles: whether rows and columns are doubled.
        noise: whether there is noise.
        clamp: the largest number that comes out; 0: any.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: the layout of what comes in and goes out.
    """

    features: int
    doubles: bool
    noise: bool
    clamp: float
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features, styles: Float[Array, "batch in"]) -> Features:
        kernel = self.param("kernel", nn.initializers.normal(1.0), (3, 3, styles.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        out = modulated_conv(inputs, kernel, styles, self.batch_last, doubles=self.doubles)
        out = noise_added(self, out) if self.noise else out
        return equalized.activate(out + over_places(bias, self.batch_last), self.clamp).astype(inputs.dtype)


class ToRGB(nn.Module):
    """A modulated convolution of single pixels to an image, float32 in the features' layout.

    Attributes:
        features: channels of the image.
        clamp: the largest number that comes out; 0: any.
        batch_last: the layout of what comes in and goes out.
    """

    features: int
    clamp: float
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features, styles: Float[Array, "batch in"]) -> Features:
        count = styles.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1.0), (1, 1, count, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        out = modulated_conv(inputs, kernel, styles / math.sqrt(count), self.batch_last, demodulate=False)
        return equalized.cut_off(out + over_places(bias, self.batch_last), self.clamp)


class SynthesisBlock(nn.Module):
    """The features and the image so far, both of them doubled, with what the new features add to the image.

    Attributes:
        features: channels out.
        channels: of the image.
        noise, clamp, axis_name, batch_last: as in `Synthesis`.
    """

    features: int
    channels: int
    noise: bool
    clamp: float
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(
        self, hidden: Features, images: Features | None, ws: list[Float[Array, "batch w_dim"]]
    ) -> tuple[Features, Features]:
        """Args: `hidden` and no images are those of the first block, which doubles nothing. `ws` has one for each
        convolution and one for the image."""
        layout = {"clamp": self.clamp, "batch_last": self.batch_last}

        def styles(place: int, name: str) -> Float[Array, "batch in"]:
            count = hidden.shape[0 if self.batch_last else -1]
            return equalized.Dense(count, bias_init=1.0, name=f"{name}_affine")(ws[place])

        names = ["conv1"] if images is None else ["conv0", "conv1"]
        for place, name in enumerate(names):
            options = {"doubles": name == "conv0", "noise": self.noise, "axis_name": self.axis_name, **layout}
            hidden = StyledConv(self.features, name=name, **options)(hidden, styles(place, name))
        added = ToRGB(self.channels, name="to_rgb", **layout)(hidden, styles(len(names), "to_rgb"))
        return hidden, added if images is None else resampling.upsample(images) + added


class Synthesis(nn.Module):
    """Intermediate latents, one for each convolution and the last image, to images without a bound.

    Attributes:
        shape: of an image, (height, width, channels).
        channel_base: channels times the rows that they have.
        channel_max: the most channels.
        noise: whether convolutions add noise of a learned strength.
        clamp: the largest number that comes out of a convolution; 0: any.
        half_precision: blocks with the most rows that compute in `dtype`; the others compute in float32.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, styles and images are float32.
    """

    shape: tuple[int, int, int]
    channel_base: int = 32768
    channel_max: int = 512
    noise: bool = True
    clamp: float = 256.0
    half_precision: int = 4
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def num_ws(self) -> int:
        """Intermediate latents that an image takes."""
        return 2 * len(sizes(min(self.shape[:2])))

    @nn.compact
    def __call__(self, ws: Float[Array, "batch num_ws w_dim"], train: bool) -> layers.Images:
        del train  # noise alone differs, and comes with its random stream
        side, channels = min(self.shape[:2]), self.shape[2]
        by_layer = [ws[:, i] for i in range(self.num_ws)]
        features = {size: channels_at(size, self.channel_base, self.channel_max) for size in sizes(side)}
        options = {name: getattr(self, name) for name in ("noise", "clamp", "axis_name", "batch_last")}
        first = tuple(rows * FIRST // side for rows in self.shape[:2])
        hidden, images = Constant(first, features[FIRST], self.batch_last, name="constant")(ws), None
        for level, size in enumerate(sizes(side)):
            hidden = hidden.astype(dtype_at(size, side, self.half_precision, self.dtype))
            own = by_layer[:2] if level == 0 else by_layer[2 * level - 1 : 2 * level + 2]
            block = SynthesisBlock(features[size], channels, name=f"block{size}", **options)
            hidden, images = block(hidden, images, own)
        return layers.to_layout(images, self.batch_last)


def channels_at(size: int, base: int, most: int) -> int:
    """Channels of features of `size` rows."""
    return max(min(base // size, most), 1)


def dtype_at(size: int, side: int, half_precision: int, dtype: DTypeLike) -> DTypeLike:
    """Of features of `size` rows: `dtype` in the `half_precision` blocks with the most rows, but never in the first."""
    return dtype if size > FIRST and size << half_precision > side else jnp.float32


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second of which halves, and in a residual block a shortcut beside them.

    Attributes:
        features: channels out.
        residual: whether there is a shortcut; both branches are multiplied by sqrt(1/2) then.
        clamp, batch_last: as in `Discriminator`.
    """

    features: int
    residual: bool
    clamp: float
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        layout, gain = {"batch_last": self.batch_last}, math.sqrt(0.5) if self.residual else 1.0
        options = {"clamp": self.clamp, **layout}
        hidden = equalized.Conv(inputs.shape[0 if self.batch_last else -1], name="conv0", **options)(inputs)
        hidden = equalized.Conv(self.features, halves=True, gain=gain, name="conv1", **options)(hidden)
        if not self.residual:
            return hidden
        linear = {"use_bias": False, "activated": False, "gain": gain, **layout}
        return hidden + equalized.Conv(self.features, 1, halves=True, name="shortcut", **linear)(inputs)


ARCHITECTURES = {"resnet": True, "orig": False}  # name -> whether blocks have shortcuts


class Discriminator(nn.Module):
    """Images, and labels where there are some, to logits.

    Attributes:
        architecture: "resnet", or "orig" without shortcuts.
        channel_base: channels times the rows that they have.
        channel_max: the most channels.
        minibatch_stddev: examples in a group whose standard deviation is one more feature; 0: none. Those of a group
            follow each other, and divide the batch of each device.
        mapping_depth: layers of the labels' mapping network.
        clamp: the largest number that comes out of a convolution; 0: any.
        half_precision: blocks with the most rows that compute in `dtype`; the others compute in float32.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters and logits are float32.
    """

    architecture: str = "resnet"
    channel_base: int = 32768
    channel_max: int = 512
    minibatch_stddev: int = 4
    mapping_depth: int = 8
    clamp: float = 256.0
    half_precision: int = 4
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: layers.Images, labels: Labels, train: bool) -> Float[Array, " batch"]:
        side, options = min(images.shape[1:3]), {"clamp": self.clamp, "batch_last": self.batch_last}
        features = {size: channels_at(size, self.channel_base, self.channel_max) for size in sizes(side)}
        hidden = layers.to_layout(images, self.batch_last).astype(self._dtype(side, side))
        hidden = equalized.Conv(features[side], 1, name="from_rgb", **options)(hidden)
        residual = ARCHITECTURES[self.architecture]
        for size in reversed(sizes(side)[1:]):
            block = DiscriminatorBlock(features[size // 2], residual, name=f"block{size}", **options)
            hidden = block(hidden.astype(self._dtype(size, side)))
        hidden = hidden.astype(jnp.float32)
        if self.minibatch_stddev:
            grouped = layers.minibatch_stddev(layers.to_layout(hidden, self.batch_last), self.minibatch_stddev)
            hidden = layers.to_layout(grouped, self.batch_last)
        hidden = equalized.Conv(features[FIRST], name="conv", **options)(hidden)
        flat = layers.to_layout(layers.to_flat(hidden, self.batch_last), self.batch_last)
        flat = equalized.Dense(features[FIRST], activated=True, name="dense")(flat)
        if labels is None:
            return equalized.Dense(1, name="out")(flat)[:, 0]
        mapping = Mapping(features[FIRST], self.mapping_depth, decay=None, name="mapping")
        out = equalized.Dense(features[FIRST], name="out")(flat)
        return (out * mapping(None, labels, train)).sum(-1) / math.sqrt(features[FIRST])

    def _dtype(self, size: int, side: int) -> DTypeLike:
        return dtype_at(size, side, self.half_precision, self.dtype)


MAPPING_SETTINGS: Settings = {
    "w_dim": layers.width(512, "numbers of an intermediate latent and of each hidden layer"),
    "depth": Setting(8, "fully connected layers between latents and intermediate latents", POSITIVE),
    "lr_multiplier": Setting(0.01, "how much slower these layers learn than others", ABOVE_ZERO),
    "decay": Setting(0.995, "of the mean of intermediate latents, at each batch", FRACTION),
}
SETTINGS: Settings = {
    "channel_base": layers.width(32768, "channels times the rows that they have"),
    "channel_max": layers.width(512, "the most channels"),
    "clamp": Setting(256.0, "the largest number that comes out of a convolution; 0: any", NOT_NEGATIVE),
    "half_precision": Setting(
        4, "blocks with the most rows that compute in config.precision, the others in float32", NOT_NEGATIVE
    ),
}
SYNTHESIS_SETTINGS: Settings = SETTINGS | {"noise": Setting(True, "convolutions add noise of a learned strength")}
DISCRIMINATOR_SETTINGS: Settings = {
    "architecture": Choice("resnet", "residual blocks, or orig without shortcuts", names_of(ARCHITECTURES)),
    **SETTINGS,
    "minibatch_stddev": layers.STDDEV_SETTINGS["minibatch_stddev"]._replace(default=4),
    "mapping_depth": Setting(8, "fully connected layers between a label and what logits are multiplied by", POSITIVE),
}
