"""The networks of the First Order Motion Model: keypoints, dense motion, a warping generator, a discriminator.

Images are from 0 to 1 here, and places as `ops.keypoints` has them. A convolution before a normalisation has no bias.

References:
    Siarohin et al., First Order Motion Model for Image Animation, 2019. https://arxiv.org/abs/2003.00196
    The authors' code: https://github.com/AliaksandrSiarohin/first-order-model
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import ABOVE_ZERO, POSITIVE, Setting, Settings
from jaxgan.models.ops import layers, resampling
from jaxgan.models.ops.antialias import gaussian_downsample
from jaxgan.models.ops.convolutions import Features
from jaxgan.models.ops.grid_sample import grid_sample, pixel_centres
from jaxgan.models.ops.keypoints import Keypoints, Motion, gaussians, resized, sparse_motions, warped
from jaxgan.models.patchgan import PatchOutput

# PyTorch's: uniform up to 1 / sqrt(numbers in).
KERNEL_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

Images = layers.Images


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 3:
        return "fomm animates images"
    return (
        None if all(side % 8 == 0 and side >= 16 for side in shape[:2]) else "fomm animates multiples of 8 from 16 on"
    )


def check_hourglass(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """Which setting of a network with an hourglass does not fit images of that shape, and what would be right."""
    shrink, blocks = settings["shrink"], settings["blocks"]
    if all(side % (shrink << blocks) == 0 for side in shape[:2]):
        return None
    fits = [each for each in range(blocks) if all(side % (shrink << each) == 0 for side in shape[:2]) and each]
    height, width = shape[:2]
    advice = f"make it {fits[-1]}" if fits else "make shrink smaller"
    return f"blocks={blocks} with shrink={shrink} halves {height}x{width} pixels to fractions of pixels: {advice}"


def check_keypoints(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """As `check_hourglass`; the last convolution needs its window's size besides."""
    if min(shape[:2]) // settings["shrink"] < 8:
        return f"shrink={settings['shrink']} leaves fewer than 8 of {min(shape[:2])} pixels: make it smaller"
    return check_hourglass(shape, settings)


def check_generator(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """Whether images can be halved so often."""
    if all(side % (1 << settings["halvings"]) == 0 for side in shape[:2]):
        return None
    return f"halvings={settings['halvings']} is too often for {shape[0]}x{shape[1]} pixels: make it 2"


def check_discriminator(shape: tuple[int, ...], settings: Mapping[str, Any]) -> str | None:
    """Whether the smallest scale leaves a logit."""
    side = -(-min(shape[:2]) >> (settings["scales"] - 1))
    for block in range(settings["blocks"]):
        side = (side - 3) // (2 if block + 1 < settings["blocks"] else 1)
    return (
        None
        if side >= 1
        else f"blocks={settings['blocks']} leaves no logit of {min(shape[:2])} pixels: make it smaller"
    )


# Networks


class ConvBlock(nn.Module):
    """A convolution of stride 1, BatchNorm, ReLU; attributes as in `_Network`."""

    features: int
    size: int
    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, hidden: Features, train: bool) -> Features:
        options = {"use_bias": False, "kernel_init": KERNEL_INIT, "batch_last": self.batch_last}
        padding = (self.size // 2, self.size // 2)
        hidden = layers.Conv(self.features, size=self.size, stride=1, padding=padding, **options)(hidden)
        return nn.relu(layers.batch_norm(hidden, None, train, self.axis_name, self.batch_last))


class ResidualBlock(nn.Module):
    """BatchNorm, ReLU and a convolution, twice, and the inputs added."""

    axis_name: str | None
    batch_last: bool

    @nn.compact
    def __call__(self, inputs: Features, train: bool) -> Features:
        features, hidden = inputs.shape[0 if self.batch_last else -1], inputs
        for use_bias in (False, True):
            hidden = nn.relu(layers.batch_norm(hidden, None, train, self.axis_name, self.batch_last))
            options = {"use_bias": use_bias, "kernel_init": KERNEL_INIT, "batch_last": self.batch_last}
            hidden = layers.Conv(features, size=3, stride=1, **options)(hidden)
        return inputs + hidden


class _Network(nn.Module):
    """What the networks share.

    Attributes:
        axis_name: the axis over whose devices the batch is sharded, for BatchNorm.
        batch_last: how the features of convolutions are laid out, as in `layers`.
        dtype: of the features; parameters, statistics, places and what comes out are float32.
    """

    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def channel_axis(self) -> int:
        """Of features."""
        return 0 if self.batch_last else -1

    def block(self, features: int, size: int = 3) -> ConvBlock:
        """A convolution, normalised."""
        return ConvBlock(features, size, self.axis_name, self.batch_last)

    def conv(self, features: int, size: int = 7, **options) -> layers.Conv:
        """A convolution that makes what comes out."""
        options = {"padding": (size // 2, size // 2), "kernel_init": KERNEL_INIT} | options
        return layers.Conv(features, size=size, stride=1, batch_last=self.batch_last, **options)

    def enter(self, images: Float[Array, "batch rows columns channel"]) -> Features:
        """Images as features."""
        return layers.to_layout(images.astype(self.dtype), self.batch_last)

    def leave(self, features: Features) -> Float[Array, "batch rows columns channel"]:
        """The other way round."""
        return layers.to_layout(features, self.batch_last).astype(jnp.float32)

    def hourglass(self, hidden: Features, base: int, most: int, blocks: int, train: bool) -> Features:
        """Features halved and doubled again, what was seen on the way joined in, the inputs last.

        References:
            Newell et al., Stacked Hourglass Networks for Human Pose Estimation, 2016. https://arxiv.org/abs/1603.06937
        """
        seen = []
        for level in range(blocks):
            seen.append(hidden)
            hidden = resampling.average_pool(self.block(min(most, base << (level + 1)))(hidden, train))
        for level in reversed(range(blocks)):
            hidden = self.block(min(most, base << level))(resampling.repeat(hidden), train)
            hidden = jnp.concatenate([hidden, seen.pop()], axis=self.channel_axis)
        return hidden


class KeypointDetector(_Network):
    """An image to its keypoints: means of heatmaps, and Jacobians weighted by the same heatmaps.

    Attributes:
        count: of the keypoints.
        base_channels, max_channels, blocks: of the hourglass.
        shrink: how many times smaller the image is made first.
        temperature: of the softmax over places.
        jacobians: whether keypoints have Jacobians.
    """

    count: int = 10
    base_channels: int = 32
    max_channels: int = 1024
    blocks: int = 5
    shrink: int = 4
    temperature: float = 0.1
    jacobians: bool = True

    @nn.compact
    def __call__(self, images: Images, train: bool) -> Keypoints:
        hidden = self.enter(gaussian_downsample(images, self.shrink))
        hidden = self.hourglass(hidden, self.base_channels, self.max_channels, self.blocks, train)
        # A bias would shift a whole heatmap, which softmax takes away again.
        logits = self.leave(self.conv(self.count, padding=(0, 0), use_bias=False, name="heatmaps")(hidden))
        batch, *size, _ = logits.shape
        heat = nn.softmax(logits.reshape(batch, -1, self.count) / self.temperature, axis=1)
        positions = jnp.einsum("bpk,pd->bkd", heat, pixel_centres(tuple(size)).reshape(-1, 2))
        if not self.jacobians:
            return Keypoints(positions, None)
        zeros = nn.initializers.zeros
        maps = self.leave(self.conv(4 * self.count, padding=(0, 0), kernel_init=zeros, name="jacobian_maps")(hidden))
        maps = maps.reshape(batch, -1, self.count, 2, 2)
        return Keypoints(positions, jnp.eye(2) + jnp.einsum("bpk,bpkij->bkij", heat, maps))


class DenseMotion(_Network):
    """The source and both images' keypoints to one flow, a mean of all keypoints' guesses, and to an occlusion map.

    Attributes:
        base_channels, max_channels, blocks: of the hourglass.
        shrink: how many times smaller than the images flow and occlusion are.
        occlusion: whether there is an occlusion map.
    """

    base_channels: int = 64
    max_channels: int = 1024
    blocks: int = 5
    shrink: int = 4
    occlusion: bool = True

    @nn.compact
    def __call__(self, images: Images, source: Keypoints, driving: Keypoints, train: bool) -> Motion:
        images = gaussian_downsample(images, self.shrink)
        batch, *size, channels = images.shape
        guesses = sparse_motions(source, driving, tuple(size))
        count = guesses.shape[1]
        moved = grid_sample(images, guesses.reshape(batch, -1, size[1], 2), align_corners=True)
        moved = moved.reshape(batch, count, *size, channels)
        heat = gaussians(driving.positions, tuple(size)) - gaussians(source.positions, tuple(size))
        heat = jnp.pad(jnp.moveaxis(heat, -1, 1), ((0, 0), (1, 0), (0, 0), (0, 0)))[..., None]
        seen = jnp.moveaxis(jnp.concatenate([heat, moved], axis=-1), 1, 3).reshape(batch, *size, -1)
        hidden = self.hourglass(self.enter(seen), self.base_channels, self.max_channels, self.blocks, train)
        masks = nn.softmax(self.leave(self.conv(count, name="masks")(hidden)), axis=-1)
        flow = jnp.einsum("brck,bkrcd->brcd", masks, guesses)
        if not self.occlusion:
            return Motion(flow, None)
        return Motion(flow, nn.sigmoid(self.leave(self.conv(1, name="occlusion_map")(hidden))))


class WarpingGenerator(_Network):
    """A source image and a motion to the image that the motion makes of the source.

    Attributes:
        base_channels: at full size; they double with every halving.
        max_channels: at most.
        halvings: before the features are warped.
        blocks: residual blocks behind that.
    """

    base_channels: int = 64
    max_channels: int = 512
    halvings: int = 2
    blocks: int = 6

    @nn.compact
    def __call__(self, images: Images, motion: Motion, train: bool) -> Images:
        widths = [min(self.max_channels, self.base_channels << level) for level in range(self.halvings + 1)]
        hidden = self.block(self.base_channels, 7)(self.enter(images), train)
        for features in widths[1:]:
            hidden = resampling.average_pool(self.block(features)(hidden, train))
        moved = warped(self.leave(hidden), motion.flow)
        if motion.occlusion is not None:
            moved = moved * resized(motion.occlusion, moved.shape[1:3])
        hidden = self.enter(moved)
        for _ in range(self.blocks):
            hidden = ResidualBlock(self.axis_name, self.batch_last)(hidden, train)
        for features in reversed(widths[:-1]):
            hidden = self.block(features)(resampling.repeat(hidden), train)
        return nn.sigmoid(self.leave(self.conv(images.shape[-1], name="image")(hidden)))


class Patches(_Network):
    """Convolutions of 4x4 without padding to features and a logit at each place; attributes as in `Discriminator`."""

    base_channels: int = 32
    max_channels: int = 512
    blocks: int = 4
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, images: Float[Array, "batch rows columns _"], train: bool) -> tuple[Array, tuple[Array, ...]]:
        hidden, seen = self.enter(images), []
        for level in range(self.blocks):
            features = min(self.max_channels, self.base_channels << (level + 1))
            layer = self.conv(features, size=4, padding=(0, 0), use_bias=level == 0)
            hidden = layers.maybe_spectral_norm(layer, hidden, self.spectral_norm, train)
            hidden = self.normalized(hidden, f"norm_{level}") if level else hidden
            hidden = nn.leaky_relu(hidden, 0.2)
            if level + 1 < self.blocks:
                hidden = nn.avg_pool(hidden, (2, 2), (2, 2))  # of rows and columns in either layout
            seen.append(hidden)
        logits = layers.maybe_spectral_norm(self.conv(1, size=1), hidden, self.spectral_norm, train)
        return self.leave(logits)[..., 0], tuple(seen)

    def normalized(self, hidden: Features, name: str) -> Features:
        """Instance normalisation with a scale and a shift of each feature."""
        shape = [1] * hidden.ndim
        shape[self.channel_axis] = -1
        count = (hidden.shape[self.channel_axis],)
        scale = self.param(f"{name}_scale", nn.initializers.ones, count).reshape(shape)
        shift = self.param(f"{name}_bias", nn.initializers.zeros, count).reshape(shape)
        hidden = layers.instance_norm(hidden, None, True, None, self.batch_last)
        return (hidden * scale + shift).astype(hidden.dtype)


class Discriminator(_Network):
    """`Patches` of the images and, with more than one scale, of the images reduced by 2, 4, ...

    Attributes:
        base_channels, max_channels: of the features; the first block has twice the base.
        blocks: convolutions before the logits.
        scales: networks, each with parameters of its own.
        keypoints: whether maps of the keypoints are further inputs.
        spectral_norm: whether the kernels are divided by their largest singular value.
    """

    base_channels: int = 32
    max_channels: int = 512
    blocks: int = 4
    scales: int = 1
    keypoints: bool = True
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, images: Images, positions: Float[Array, "batch keypoint 2"], train: bool) -> PatchOutput:
        names = ("base_channels", "max_channels", "blocks", "spectral_norm", "axis_name", "batch_last", "dtype")
        shared, logits, features = {name: getattr(self, name) for name in names}, [], []
        for scale in range(self.scales):
            given = gaussian_downsample(images, 1 << scale)
            if self.keypoints:
                given = jnp.concatenate([given, gaussians(positions, given.shape[1:3])], axis=-1)
            out, seen = Patches(**shared)(given, train)
            logits.append(out)
            features.append(seen)
        return PatchOutput(tuple(logits), tuple(features))


def _hourglass_settings(base: int) -> Settings:
    return {
        "base_channels": layers.width(base, "channels of the hourglass at full size; they double with every halving"),
        "max_channels": layers.width(1024, "most channels of the hourglass"),
        "blocks": Setting(5, "halvings of the hourglass", POSITIVE),
        "shrink": Setting(4, "how many times smaller than the images the hourglass works", POSITIVE),
    }


KEYPOINT_SETTINGS: Settings = {
    "count": Setting(10, "keypoints", POSITIVE),
    **_hourglass_settings(32),
    "temperature": Setting(0.1, "of the softmax whose mean place a keypoint is", ABOVE_ZERO),
    "jacobians": Setting(True, "keypoints know how the image is turned and stretched about them"),
}
MOTION_SETTINGS: Settings = {
    **_hourglass_settings(64),
    "occlusion": Setting(True, "a map of what the source does not show, and has to be made up"),
}
GENERATOR_SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at full size; they double with every halving"),
    "max_channels": layers.width(512, "most channels"),
    "halvings": Setting(2, "halvings before the features are warped", POSITIVE),
    "blocks": Setting(6, "residual blocks behind the warp", POSITIVE),
}
DISCRIMINATOR_SETTINGS: Settings = {
    "base_channels": layers.width(32, "half of the channels of the first block; they double with every block"),
    "max_channels": layers.width(512, "most channels"),
    "blocks": Setting(4, "convolutions before the logits", POSITIVE),
    "scales": Setting(1, "discriminators, each of images half as large as the one before", POSITIVE),
    "keypoints": Setting(True, "maps of the driving image's keypoints are further inputs"),
    "spectral_norm": layers.NORM_SETTINGS["spectral_norm"],
}
