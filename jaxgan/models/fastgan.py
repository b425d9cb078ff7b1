"""FastGAN: a generator whose small maps gate its large ones, and a discriminator that also describes what it is given.

The generator doubles 4x4 maps up to the image. Skip-layer excitation (SLE) multiplies the channels of a map by gates
that a map of a sixteenth of its size gives. The discriminator is given each image twice, at full size and smaller, and
its features are enough for decoders to draw real images again.

References:
    Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021.
    https://arxiv.org/abs/2101.04775
    Sauer et al., Projected GANs Converge Faster, 2021 (`Generator`: of normalised latents, with two convolutions in
    each block). https://arxiv.org/abs/2111.01007
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import Choice, Settings, names_of
from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.noise import noise_added
from jaxgan.models.ops.resampled_conv import ResampledConv
from jaxgan.models.stylegan2 import normalized

SIDES = (64, 128, 256, 512, 1024)  # of images
FIRST, LAST = 4, 8  # rows of the generator's first maps, and of the discriminator's last ones
SMALL = 128  # rows of the smaller images and of reconstructions; half of the image's where those are fewer
EXCITED = range(64, 513)  # rows of the generator's maps that smaller ones gate
SLOPE = 0.2  # of LeakyReLU

SmallImages = Float[Array, "batch rows columns channel"]  # the same images as others, smaller

# Channels of maps by their rows, as multiples of the width.
GENERATOR_WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4, 1024: 1 / 8}
LARGE_WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 1, 128: 1 / 2, 256: 1 / 4, 512: 1 / 8}
SMALL_WIDTHS = {8: 4, 16: 2, 32: 1, 64: 1 / 2}

# Whether a block has two convolutions, by the rows of its maps.
DOUBLE_CONVS = {
    "alternate": lambda rows: rows in (8, 32, 128, 512),
    "all": lambda rows: True,
    "none": lambda rows: False,
}


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "a fastgan makes images"
    sides = ", ".join(map(str, SIDES))
    return None if shape[0] == shape[1] and shape[0] in SIDES else f"a fastgan makes squares of {sides} pixels"


def small_side(side: int) -> int:
    """Rows of the smaller images and of reconstructions."""
    return min(SMALL, side // 2)


def channels(base: int, widths: dict[int, int | float], rows: int) -> int:
    """Channels of maps of `rows` rows."""
    return max(int(base * widths[rows]), 1)


class ConvNetwork(nn.Module):
    """What all networks here, and their parts, share.

    Attributes:
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how the features of convolutions are laid out, as in `layers`.
    """

    spectral_norm: bool = True
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False

    @property
    def shared(self) -> dict[str, Any]:
        """The same attributes for a part."""
        names = ("spectral_norm", "initializer", "init_stddev", "axis_name", "batch_last")
        return {name: getattr(self, name) for name in names}

    @property
    def channel_axis(self) -> int:
        """Of features."""
        return 0 if self.batch_last else -1

    def linear(self, layer: type[nn.Module], features: int, hidden: Array, train: bool, **options) -> Array:
        """A layer with a kernel."""
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        module = layer(features, kernel_init=kernel_init, batch_last=self.batch_last, **options)
        return layers.maybe_spectral_norm(module, hidden, self.spectral_norm, train)

    def conv(
        self, features: int, hidden: Features, train: bool, size: int, stride: int = 1, padding: int = 0, **options
    ) -> Features:
        """A convolution with as much padding on both sides, without a bias unless the options say so."""
        options = {"size": size, "stride": stride, "padding": (padding, padding), "use_bias": False, **options}
        return self.linear(layers.Conv, features, hidden, train, **options)

    def norm(self, hidden: Features, train: bool, modulation: layers.Modulation = None) -> Features:
        """BatchNorm."""
        return layers.batch_norm(hidden, modulation, train, self.axis_name, batch_last=self.batch_last)

    def gated(self, hidden: Features, train: bool, modulation: layers.Modulation = None) -> Features:
        """BatchNorm and GLU, which leaves half of the channels."""
        return layers.gated_linear_unit(self.norm(hidden, train, modulation), self.batch_last)

    def leaky(self, hidden: Features, train: bool) -> Features:
        """BatchNorm and LeakyReLU."""
        return nn.leaky_relu(self.norm(hidden, train), SLOPE)


class FirstMaps(nn.Module):
    """A transposed convolution of single pixels to maps of 4x4.

    Attributes:
        features: channels out.
        kernel_init: the kernel's initialiser.
        batch_last: whether [in, batch] comes in and [out, 4, 4, batch] goes out.
    """

    features: int
    kernel_init: Any
    batch_last: bool

    @nn.compact
    def __call__(self, latents: Float[Array, "..."]) -> Features:
        shape = (latents.shape[0 if self.batch_last else -1], FIRST, FIRST, self.features)
        kernel = self.param("kernel", self.kernel_init, shape).reshape(shape[0], -1)
        flat = kernel.T @ latents if self.batch_last else latents @ kernel
        return layers.to_spatial(flat.astype(latents.dtype), (FIRST, FIRST), self.batch_last)


class UpBlock(ConvNetwork):
    """Features doubled, convolved, normalised and gated; with a second convolution there is noise behind both.

    Attributes:
        features: channels out.
        double: whether there is a second convolution.
        the others: as in `ConvNetwork`.
    """

    features: int = 1
    double: bool = False

    @nn.compact
    def __call__(self, inputs: Features, modulation: layers.Modulation, train: bool) -> Features:
        hidden = self.linear(ResampledConv, 2 * self.features, inputs, train, doubles=True, use_bias=False)
        if not self.double:
            return self.gated(hidden, train, modulation)
        hidden = self.gated(Noise(self.axis_name, self.batch_last)(hidden), train, modulation)
        hidden = self.conv(2 * self.features, hidden, train, size=3, padding=1)
        return self.gated(Noise(self.axis_name, self.batch_last)(hidden), train, modulation)


class Noise(nn.Module):
    """Noise on features; attributes and sources of random numbers as in `noise_added`."""

    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, features: Features) -> Features:
        return noise_added(self, features.astype(jnp.float32)).astype(features.dtype)


class SkipExcitation(ConvNetwork):
    """SLE: large maps, each channel of which is multiplied by a gate between 0 and 1 that small maps give."""

    @nn.compact
    def __call__(self, small: Features, large: Features, train: bool) -> Features:
        count = large.shape[self.channel_axis]
        pooled = layers.block_mean(small, tuple(rows // FIRST for rows in small.shape[1:3]))
        hidden = nn.swish(self.conv(count, pooled, train, size=FIRST))
        return large * nn.sigmoid(self.conv(count, hidden, train, size=1))


class _Synthesis(ConvNetwork):
    """What both generators share.

    Attributes:
        shape: of an image, (height, width, channels).
        base_channels: channels of the maps of 128 rows.
        double_convs: a name of `DOUBLE_CONVS`.
        activation: a name of `layers.ACTIVATIONS`, for images.
        dtype: of the features; parameters, statistics and images are float32.
        the others: as in `ConvNetwork`.
    """

    shape: tuple[int, int, int] = (256, 256, 3)
    base_channels: int = 64
    double_convs: str = "alternate"
    activation: str = "tanh"
    dtype: DTypeLike = jnp.float32

    def maps(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> dict[int, Features]:
        """The features of each size, by their rows; a modulation sets the scales and shifts of BatchNorm."""
        side, kernel_init = self.shape[0], layers.INITIALIZERS[self.initializer](self.init_stddev)
        widths = {rows: channels(self.base_channels, GENERATOR_WIDTHS, rows) for rows in GENERATOR_WIDTHS}
        first = FirstMaps(2 * widths[FIRST], kernel_init, self.batch_last, name="first")
        given = layers.to_layout(latents.astype(self.dtype), self.batch_last)
        hidden = layers.maybe_spectral_norm(first, given, self.spectral_norm, train)
        found = {FIRST: self.gated(hidden, train, modulation)}
        for rows in (rows for rows in GENERATOR_WIDTHS if FIRST < rows <= side):
            options = {"features": widths[rows], "double": DOUBLE_CONVS[self.double_convs](rows), **self.shared}
            hidden = UpBlock(name=f"block{rows}", **options)(found[rows // 2], modulation, train)
            if rows in EXCITED:
                hidden = SkipExcitation(name=f"excite{rows}", **self.shared)(found[rows // 16], hidden, train)
            found[rows] = hidden
        return found

    def images(self, hidden: Features) -> layers.Images:
        """Features as images."""
        images = layers.to_layout(hidden, self.batch_last).astype(jnp.float32)
        return layers.ACTIVATIONS[self.activation](images)


class TwoScaleGenerator(_Synthesis):
    """Latents to images and smaller ones of `small_side` rows; attributes as in `_Synthesis`."""

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], train: bool) -> tuple[layers.Images, SmallImages]:
        maps, (side, _, count) = self.maps(latents, None, train), self.shape
        large = self.conv(count, maps[side], train, size=3, padding=1, name="to_large")
        small = self.conv(count, maps[small_side(side)], train, size=1, name="to_small")
        return self.images(large), self.images(small)


class Generator(_Synthesis):
    """Normalised latents to images, the generator of Projected GAN; attributes as in `_Synthesis`."""

    base_channels: int = 128
    double_convs: str = "all"
    activation: str = "linear"

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool
    ) -> layers.Images:
        maps, (side, _, count) = self.maps(normalized(latents), modulation, train), self.shape
        return self.images(self.conv(count, maps[side], train, size=3, padding=1, use_bias=True, name="to_large"))


class Output(NamedTuple):
    """What a discriminator makes of images.

    Attributes:
        logits: one for each patch of the image, and of the smaller image.
        whole, detail, small: features of 8x8 and 16x16 places of the image, and of 8x8 of the smaller image; channels
            last.
    """

    logits: Float[Array, "batch places"]
    whole: Features
    detail: Features
    small: Features


class DownBlock(ConvNetwork):
    """Features halved by a convolution, normalised, LeakyReLU.

    Attributes:
        features: channels out.
        residual: whether a second convolution follows, and the mean with a shortcut: means of 2x2 pixels, and a
            convolution of single pixels.
        the others: as in `ConvNetwork`.
    """

    features: int = 1
    residual: bool = False

    @nn.compact
    def __call__(self, inputs: Features, train: bool) -> Features:
        hidden = self.leaky(self.conv(self.features, inputs, train, size=4, stride=2, padding=1), train)
        if not self.residual:
            return hidden
        hidden = self.leaky(self.conv(self.features, hidden, train, size=3, padding=1), train)
        shortcut = self.conv(self.features, layers.block_mean(inputs, (2, 2)), train, size=1)
        return (hidden + self.leaky(shortcut, train)) / 2


class Discriminator(ConvNetwork):
    """Images of two sizes to logits and features.

    Attributes:
        base_channels: channels of maps of 64 rows.
        dtype: of the features; parameters, statistics and logits are float32.
        the others: as in `ConvNetwork`.
    """

    base_channels: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: layers.Images, small: SmallImages, train: bool) -> Output:
        whole, detail = self.of_large(images, train)
        count = channels(self.base_channels, LARGE_WIDTHS, 4)
        hidden = self.leaky(self.conv(count, whole, train, size=1, name="last_large"), train)
        last = self.of_small(small, train)
        given = {"logits_large": hidden, "logits_small": last}
        logits = [self.conv(1, own, train, size=4, name=name) for name, own in given.items()]
        flat = [layers.to_layout(own, self.batch_last).reshape(len(images), -1) for own in logits]
        # Decoders may be laid out in another way.
        features = [layers.to_layout(own, self.batch_last) for own in (whole, detail, last)]
        return Output(jnp.concatenate(flat, axis=1).astype(jnp.float32), *features)

    def of_large(self, images: layers.Images, train: bool) -> tuple[Features, Features]:
        """Features of 8x8 and of 16x16 places."""
        widths = {rows: channels(self.base_channels, LARGE_WIDTHS, rows) for rows in LARGE_WIDTHS}
        hidden, rows = self.given(images), images.shape[1]
        first = {"size": 4, "stride": 2, "padding": 1} if rows > 256 else {"size": 3, "padding": 1}
        rows = rows // first.get("stride", 1)
        hidden = nn.leaky_relu(self.conv(widths[rows], hidden, train, name="from_large", **first), SLOPE)
        if rows > 256:  # images of 1024 rows
            rows //= 2
            hidden = DownBlock(features=widths[rows], name=f"block{rows}", **self.shared)(hidden, train)
        maps = {rows: hidden}
        while rows > LAST:
            rows //= 2
            options = {"features": widths[rows], "residual": True, **self.shared}
            hidden = DownBlock(name=f"block{rows}", **options)(maps[2 * rows], train)
            if 8 * rows in maps:
                hidden = SkipExcitation(name=f"excite{rows}", **self.shared)(maps[8 * rows], hidden, train)
            maps[rows] = hidden
        return maps[LAST], maps[2 * LAST]

    def of_small(self, images: layers.Images, train: bool) -> Features:
        """Features of 8x8 places."""
        widths = {rows: channels(self.base_channels, SMALL_WIDTHS, rows) for rows in SMALL_WIDTHS}
        rows = images.shape[1] // 2
        first = {"size": 4, "stride": 2, "padding": 1, "name": "from_small"}
        hidden = nn.leaky_relu(self.conv(widths[rows], self.given(images), train, **first), SLOPE)
        while rows > LAST:
            rows //= 2
            hidden = DownBlock(features=widths[rows], name=f"small{rows}", **self.shared)(hidden, train)
        return hidden

    def given(self, images: layers.Images) -> Features:
        """Images as features."""
        return layers.to_layout(images.astype(self.dtype), self.batch_last)


class Decoder(ConvNetwork):
    """Features of 8x8 places, channels last, to images.

    Attributes:
        shape: of the images, (height, width, channels).
        base_channels: channels of maps of 128 rows.
        the others: as in `ConvNetwork`.
    """

    shape: tuple[int, int, int] = (128, 128, 3)
    base_channels: int = 32

    @nn.compact
    def __call__(self, features: Features, train: bool) -> layers.Images:
        hidden, rows = layers.to_layout(features, self.batch_last), LAST
        while rows < self.shape[0]:
            rows *= 2
            count = channels(self.base_channels, GENERATOR_WIDTHS, rows)
            hidden = UpBlock(features=count, name=f"block{rows}", **self.shared)(hidden, None, train)
        images = self.conv(self.shape[2], hidden, train, size=3, padding=1, name="to_images")
        return nn.tanh(layers.to_layout(images, self.batch_last).astype(jnp.float32))


class Reconstructions(NamedTuple):
    """Images that decoders make, of `small_side` rows.

    Attributes:
        whole: the image, smaller than it was.
        part: a quarter of the image.
        small: the smaller image.
    """

    whole: layers.Images
    part: layers.Images
    small: layers.Images


class Decoders(ConvNetwork):
    """A discriminator's features to images, which keeps the discriminator looking at all of an image.

    Attributes:
        shape: of the images that the discriminator was given, (height, width, channels).
        base_channels: channels of the decoders' maps of 128 rows.
        the others: as in `ConvNetwork`.
    """

    shape: tuple[int, int, int] = (256, 256, 3)
    base_channels: int = 32

    @nn.compact
    def __call__(self, whole: Features, part: Features, small: Features, train: bool) -> Reconstructions:
        side = small_side(self.shape[0])
        options = {"shape": (side, side, self.shape[2]), "base_channels": self.base_channels, **self.shared}
        given = {"whole": whole, "part": part, "small": small}
        return Reconstructions(**{name: Decoder(name=name, **options)(own, train) for name, own in given.items()})


SPECTRAL_NORM: Settings = {
    "spectral_norm": layers.NORM_SETTINGS["spectral_norm"]._replace(default=True),
}
SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels of maps of 128 rows; all others are multiples or parts of them"),
    "double_convs": Choice(
        "alternate", "blocks with a second convolution, and noise: every second, all, none", names_of(DOUBLE_CONVS)
    ),
    "activation": Choice("tanh", "of the images; linear leaves them without a bound", names_of(layers.ACTIVATIONS)),
    **SPECTRAL_NORM,
}
PROJECTED_SETTINGS: Settings = {
    name: entry._replace(default=getattr(Generator, name)) for name, entry in SETTINGS.items()
}
DISCRIMINATOR_SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels of maps of 64 rows; all others are multiples or parts of them"),
    **SPECTRAL_NORM,
}
DECODER_SETTINGS: Settings = {
    "base_channels": layers.width(32, "channels of maps of 128 rows; all others are multiples or parts of them"),
    **SPECTRAL_NORM,
}
