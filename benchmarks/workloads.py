"""What the benchmark of the training step measures: experiments, and their networks as data for every framework.

A workload is a configuration and nothing else. jaxgan reads it as `train.py` does. Its peers read the layers that
`layers` lists and a few settings: the loss, the order of updates, Adam's, R1 and R2, the generator's moving average.
So no architecture is written down twice, but for those of StyleGAN2, FastGAN and BigGAN, whose layers do not follow
each other. A test holds the parameters of all against jaxgan's. The peers' learning rates and averages know no
schedule, which takes no time worth mentioning.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs import digits, pacgan, tutorial
from configs.published import biggan64, r3gan_cifar10, stylegan2
from jaxgan.adversarial import penalties
from jaxgan.config import default, with_changes
from jaxgan.core.types import example_fields
from jaxgan.data import bits
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.sources import example_shape, fields_of, open_dataset
from jaxgan.models import dcgan, patchgan, r3gan, tf_dcgan
from jaxgan.models.ops import pyramid

IMAGES = "train[:1024]"  # of the digits, enlarged: a step takes as long whatever the images are
BATCHES = 8  # that a peer has ready, and takes in turn

# Experiments


def images(size: int | str, channels: int, base_channels: int) -> ConfigDict:
    """PyTorch's DCGAN example: alternating updates, and both networks learn from the same fakes."""
    config = default({"model.family": "dcgan", "update_rule": "alternating", "data.source": "digits"})
    config.data.update(split=IMAGES, size=size, channels=channels)
    for network in config.model.generator, config.model.discriminator:
        network.base_channels = base_channels
    config.reuse_fakes = True
    config.ema_decay = 0.0
    return config


def r1() -> ConfigDict:
    """`dcgan64` with R1 in every step.

    The discriminator has no BatchNorm: with it a logit depends on the whole batch, and its gradient by its own example
    is no longer what R1 is about.
    """
    config = images(64, 3, 64)
    config.model.discriminator.norm = "none"
    config.penalties.r1 = 1.0
    return config


def tutorial28() -> ConfigDict:
    """The DCGAN of TensorFlow's tutorial: dropout in the discriminator, both updates from one forward pass."""
    config, _ = with_changes(tutorial.get_config(), {"data.source": "digits"})
    config.data.update(split=IMAGES, upscale=True)
    return config


def cyclegan() -> ConfigDict:
    """CycleGAN with narrow networks and small images, as a CPU can train it."""
    config = default({"algorithm": "cyclegan", "data.source": "unpaired:digits|edited:inverted:digits"})
    config.data.update(split=IMAGES, size=64, channels=3)
    config.model.generator.update(base_channels=32, blocks=6)
    config.model.discriminator.base_channels = 32
    config.batch_size = 4
    config.ema_decay = 0.0
    return config


def stylegan2_64() -> ConfigDict:
    """StyleGAN2 at 64x64 with an eighth of the channels that the authors' code chooses, and without ADA."""
    size, batch_size = 64, 16  # which a CPU can train
    gamma = 0.0002 * size**2 / batch_size  # as the authors' code chooses it
    config = stylegan2.preset(size, batch_size, gamma, 0.0025, half_life=0.0, images=2.5e7, ada="off")
    config, _ = with_changes(config, {"data.source": "digits"})
    config.data.split = IMAGES
    config.latent_dim = config.model.mapping.w_dim = 64
    config.model.mapping.depth = 2
    for name in ("synthesis", "discriminator"):
        config.model[name].update(channel_base=2048, channel_max=64)
    return config


def fastgan_64() -> ConfigDict:
    """FastGAN at 64x64 with a quarter of the authors' channels, as a CPU can train it; without DiffAugment."""
    config = default({"algorithm": "fastgan", "data.source": "digits"})
    config.data.update(split=IMAGES, size=64, channels=3)
    for name, base_channels in (("generator", 16), ("discriminator", 16), ("decoders", 8)):
        config.model[name].base_channels = base_channels
    config.latent_dim = 64
    config.batch_size = 8
    config.augment = ()
    return config


def r3gan_32() -> ConfigDict:
    """R3GAN's networks for CIFAR-10 at an eighth of the width, with as many channels in each group; without labels.

    The generator compares its fakes with the discriminator's real examples: other ones would take as long.
    """
    config = r3gan_cifar10.preset("digits", 32, by_classes=False)
    config, _ = with_changes(config, {"ada.mode": "off"})
    r3gan_cifar10.set_networks(config, (96,), (12,), half=0)
    config.data.update(split=IMAGES, flip=False)
    config.fresh_reals = False
    config.batch_size = 32
    config.penalties.update(r1=0.05, r2=0.05)
    return config


def biggan() -> ConfigDict:
    """BigGAN at 64x64 with an eighth of the channels; two updates of the discriminator for one of the generator."""
    config, _ = with_changes(biggan64.get_config(), {"data.source": "digits", "schedules": ""})
    config.data.split = IMAGES
    config.batch_size = 16
    config.ema_decay = 0.9999
    config.generator_penalties.orthogonal = 0.0
    for name in ("generator", "discriminator"):
        config.model[name].base_channels = 8
    return config


def voxels() -> ConfigDict:
    """3D-GAN at 32x32x32 with the channels of Smith and Meger; both networks learn from the same fakes."""
    config = default({"model.family": "voxel", "data.source": "world:solids"})
    config.data.split = IMAGES
    config.latent_dim, config.batch_size = 200, 32
    for network in config.model.generator, config.model.discriminator:
        network.update(base_channels=32, smallest=2)
    config.reuse_fakes = True
    config.ema_decay = 0.0
    return config


WORKLOADS: dict[str, Callable[[], ConfigDict]] = {
    "dcgan64": lambda: images(64, 3, 64),
    "dcgan32": lambda: images(32, 1, 32),
    "tutorial28": tutorial28,
    "digits": digits.get_config,
    "toy": pacgan.get_config,
    "r1": r1,
    "cyclegan": cyclegan,
    "stylegan2": stylegan2_64,
    "fastgan": fastgan_64,
    "r3gan": r3gan_32,
    "biggan": biggan,
    "voxels": voxels,
}
TORCH_ONLY = ("cyclegan", "stylegan2", "fastgan", "biggan", "voxels")  # which of the peers PyTorch alone trains
GANS = tuple(name for name in WORKLOADS if name not in TORCH_ONLY)  # which all peers can train
CLASSES = 10  # of the digits
GPU_BATCHES = {"dcgan64": (128, 1024), "r1": (128,)}  # where a GPU has too little to do with the configuration's


NARROW = {"width": 4, "base_channels": 4, "widths": (4,), "cardinality": (2,)}
NARROW |= {"w_dim": 8, "channel_base": 128, "channel_max": 8}


def tiny(config: ConfigDict) -> ConfigDict:
    """The same experiment with a small batch and narrow layers."""
    config = resized(config, 8)
    for network in config.model.values():
        if not isinstance(network, ConfigDict):
            continue
        network.update({name: value for name, value in NARROW.items() if name in network})
        if "hidden_dims" in network:
            network.hidden_dims = tuple(8 * (number + 1) for number in range(len(network.hidden_dims)))
    return config


def variants(name: str, platform: str) -> list[ConfigDict]:
    """The workload with every batch size at which it is measured on a platform."""
    config = WORKLOADS[name]()
    if platform == "cpu" or name not in GPU_BATCHES:
        return [config]
    return [resized(config, size) for size in GPU_BATCHES[name]]


def resized(config: ConfigDict, batch_size: int) -> ConfigDict:
    """The same experiment with another batch size."""
    config = config.copy_and_resolve_references()
    config.batch_size = batch_size
    return config


def intervals(config: ConfigDict) -> dict[str, int]:
    """Steps from one turn of each penalty to the next, by the name of its weight, such as "penalties.r1"."""
    found = {}
    for group, setting in penalties.INTERVALS.items():
        weights = config.get(group, {})
        found |= {f"{group}.{name}": config[setting][name] for name, weight in weights.items() if weight}
    return found


def period(config: ConfigDict) -> int:
    """Training steps in which every penalty has all of its turns, so that equal numbers of steps do equal work."""
    return math.lcm(*intervals(config).values())


def peer(config: ConfigDict) -> str:
    """What the module is called that trains a workload in PyTorch, "gan" for that of most GANs."""
    return {"resnet": "biggan", "voxel": "voxel"}.get(config.model.family, config.algorithm)


def examples(config: ConfigDict) -> ArrayDataset:
    """The data set of the experiment, in memory."""
    return open_dataset(config)


def batches(config: ConfigDict, data: ArrayDataset) -> np.ndarray:
    """Batches as a network takes them: float32 [BATCHES, batch, ...], channels last.

    Of two domains there are [BATCHES, 2, batch, ...].
    """
    fields, rng = example_fields(data.fields), np.random.default_rng(0)
    arrays = [
        2 * np.float32(bits.unpack(data.array(field.name), field.shape)) - 1
        if field.kind == "bits"
        else data.array(field.name)
        for field in fields
    ]
    chosen = [array[rng.integers(0, len(array), (BATCHES, config.batch_size))] for array in arrays]
    chosen = np.stack(chosen, axis=1) if len(fields) > 1 else chosen[0]
    return np.float32(chosen) / 127.5 - 1 if chosen.dtype == np.uint8 else chosen


# Networks


class Dense(NamedTuple):
    """inputs -> features."""

    inputs: int
    features: int
    bias: bool


class Conv(NamedTuple):
    """A convolution whose output is the input's size over the stride, rounded up.

    Attributes:
        reflect: whether the border is mirrored.
        groups: of channels in and out, each of which is convolved by itself.
    """

    inputs: int
    features: int
    size: int
    stride: int
    bias: bool
    reflect: bool = False
    groups: int = 1


class ConvTranspose(NamedTuple):
    """A transposed convolution whose output is the input's size times the stride."""

    inputs: int
    features: int
    size: int
    stride: int
    bias: bool


class Upsample(NamedTuple):
    """Twice the rows and columns, by fixed weights 1, 3, 3, 1 on each axis, between zeros."""

    features: int


class Downsample(NamedTuple):
    """Half the rows and columns, by the same weights."""

    features: int


class Basis(NamedTuple):
    """[batch, features] -> [batch, rows, columns, features]: the product with learned features of that size."""

    rows: int
    columns: int
    features: int


class BasisProduct(NamedTuple):
    """[batch, rows, columns, features] -> [batch, features]: the sum of the products with learned features."""

    rows: int
    columns: int
    features: int


class BatchNorm(NamedTuple):
    """With scales and shifts; a moving average keeps 0.9 of the old statistics."""

    features: int


class InstanceNorm(NamedTuple):
    """Without parameters."""

    features: int


class Residual(NamedTuple):
    """What layers make of features, added to those."""

    layers: tuple["Layer", ...]


class LeakyReLU(NamedTuple):
    """A slope of 0 makes it ReLU."""

    slope: float


class Tanh(NamedTuple):
    """The activation of pixels."""


class Dropout(NamedTuple):
    """The rate is the share that is dropped."""

    rate: float


class Maxout(NamedTuple):
    """[batch, pieces * units] -> [batch, units], the largest piece of each unit."""

    pieces: int


class Reshape(NamedTuple):
    """[batch, rows * columns * channels] -> images [batch, rows, columns, channels]."""

    rows: int
    columns: int
    channels: int


class Flatten(NamedTuple):
    """Everything but the batch in one dimension."""


Layer = Dense | Conv | ConvTranspose | BatchNorm | InstanceNorm | Residual | LeakyReLU | Tanh | Dropout | Maxout
Layer |= Reshape | Flatten | Upsample | Downsample | Basis | BasisProduct


def layers(config: ConfigDict) -> dict[str, list[Layer]]:
    """The layers of each network, in the order in which they run; a discriminator ends in one logit."""
    return FAMILIES[config.model.family](config)


def dcgan_layers(config: ConfigDict) -> dict[str, list[Layer]]:
    """Those of `jaxgan.models.dcgan`."""
    *size, pixel_channels = example_shape(config.data)
    count = dcgan.stages(*size)
    rows, columns = (side >> count for side in size)

    net, norm = config.model.generator, config.model.generator.norm
    plain, inputs = norm == "none", config.latent_dim
    generator = []
    for width in net.hidden_dims:
        generator += [Dense(inputs, width, plain), *_activated(width, norm, 0.0)]
        inputs = width
    channels = dcgan.features(net.base_channels, count - 1)
    generator += [Dense(inputs, rows * columns * channels, plain), Reshape(rows, columns, channels)]
    generator += _activated(channels, norm, 0.0)
    for stage in reversed(range(count - 1)):
        inputs, channels = channels, dcgan.features(net.base_channels, stage)
        generator += [ConvTranspose(inputs, channels, 4, 2, plain), *_activated(channels, norm, 0.0)]
    generator += [ConvTranspose(channels, pixel_channels, 4, 2, True), Tanh()]

    net, channels = config.model.discriminator, pixel_channels
    discriminator = []
    for stage in range(count):
        norm = net.norm if stage else "none"
        inputs, channels = channels, dcgan.features(net.base_channels, stage)
        discriminator += [Conv(inputs, channels, 4, 2, norm == "none"), *_activated(channels, norm, net.negative_slope)]
    discriminator.append(Flatten())
    inputs = rows * columns * channels
    for width in net.hidden_dims:
        discriminator += [Dense(inputs, width, net.norm == "none"), *_activated(width, net.norm, net.negative_slope)]
        inputs = width
    return {"generator": generator, "discriminator": [*discriminator, Dense(inputs, 1, True)]}


def tf_dcgan_layers(config: ConfigDict) -> dict[str, list[Layer]]:
    """Those of `jaxgan.models.tf_dcgan`."""
    narrow, slope = config.model.generator.base_channels, tf_dcgan.LEAK
    height, width, pixel_channels = example_shape(config.data)
    rows, columns, channels = height // 4, width // 4, 4 * narrow
    units = rows * columns * channels
    generator = [Dense(config.latent_dim, units, False), *_activated(units, "batch", slope)]
    generator.append(Reshape(rows, columns, channels))
    for features, stride in ((2 * narrow, 1), (narrow, 2)):
        generator += [ConvTranspose(channels, features, 5, stride, False), *_activated(features, "batch", slope)]
        channels = features
    generator += [ConvTranspose(channels, pixel_channels, 5, 2, False), Tanh()]

    net, channels = config.model.discriminator, pixel_channels
    discriminator = []
    for features in (net.base_channels, 2 * net.base_channels):
        discriminator += [Conv(channels, features, 5, 2, True), LeakyReLU(net.negative_slope), Dropout(net.dropout)]
        channels = features
    discriminator += [Flatten(), Dense(rows * columns * channels, 1, True)]
    return {"generator": generator, "discriminator": discriminator}


def toy_mlp_layers(config: ConfigDict) -> dict[str, list[Layer]]:
    """Those of `jaxgan.models.toy_mlp`."""
    (dim,) = example_shape(config.data)
    net, inputs = config.model.generator, config.latent_dim
    generator = []
    for _ in range(net.depth):
        generator += [Dense(inputs, net.width, net.norm == "none"), *_activated(net.width, net.norm, 0.0)]
        inputs = net.width
    generator.append(Dense(inputs, dim, True))

    net, inputs = config.model.discriminator, dim
    discriminator = []
    for _ in range(net.depth):
        units = net.width * net.maxout
        discriminator += [Dense(inputs, units, net.norm == "none"), *_normalised(units, net.norm)]
        discriminator.append(Maxout(net.maxout) if net.maxout > 1 else LeakyReLU(net.negative_slope))
        inputs = net.width
    return {"generator": generator, "discriminator": [*discriminator, Dense(inputs, 1, True)]}


def cyclegan_layers(config: ConfigDict) -> dict[str, list[Layer]]:
    """Those of `jaxgan.models.cyclegan` and `jaxgan.models.patchgan`, with instance normalisation."""
    (shape,) = {field.shape for field in fields_of(config.data)}
    width = config.model.generator.base_channels

    def activated(features: int) -> list[Layer]:
        return [InstanceNorm(features), LeakyReLU(0.0)]

    generator = [Conv(shape[-1], width, 7, 1, True, reflect=True), *activated(width)]
    for inputs in (width, 2 * width):
        generator += [Conv(inputs, 2 * inputs, 3, 2, True), *activated(2 * inputs)]
    inner = Conv(4 * width, 4 * width, 3, 1, True, reflect=True)
    block = Residual((inner, *activated(4 * width), inner, InstanceNorm(4 * width)))
    generator += [block] * config.model.generator.blocks
    for inputs in (4 * width, 2 * width):
        generator += [ConvTranspose(inputs, inputs // 2, 3, 2, True), *activated(inputs // 2)]
    generator += [Conv(width, shape[-1], 7, 1, True, reflect=True), Tanh()]

    net, inputs = config.model.discriminator, shape[-1]
    discriminator = []
    for layer in range(net.depth + 1):
        features, stride = net.base_channels * min(2**layer, patchgan.MOST_WIDTHS), 2 if layer < net.depth else 1
        discriminator += [Conv(inputs, features, 4, stride, True), *[InstanceNorm(features)] * (layer > 0)]
        discriminator.append(LeakyReLU(net.negative_slope))
        inputs = features
    discriminator.append(Conv(inputs, 1, 4, 1, True))
    found = {"generator_ab": generator, "generator_ba": generator}
    return found | {"discriminator_a": discriminator, "discriminator_b": discriminator}


def r3gan_layers(config: ConfigDict) -> dict[str, list[Layer]]:
    """Those of `jaxgan.models.r3gan`, of one width and one cardinality."""
    height, width, pixel_channels = example_shape(config.data)
    rows, columns = pyramid.smallest_size((height, width))
    count = pyramid.halvings(height, width)

    def blocks(net: ConfigDict) -> list[Layer]:
        (features,), (groups,), (depth,) = net.widths, net.cardinality, net.blocks
        inner = features * net.expansion
        found = Conv(features, inner, 1, 1, True), LeakyReLU(r3gan.SLOPE)
        found += Conv(inner, inner, 3, 1, True, groups=groups), LeakyReLU(r3gan.SLOPE)
        return [Residual((*found, Conv(inner, features, 1, 1, False)))] * depth

    net, (features,) = config.model.generator, config.model.generator.widths
    generator = [Dense(config.latent_dim, features, False), Basis(rows, columns, features), *blocks(net)]
    generator += [Upsample(features), *blocks(net)] * count
    generator.append(Conv(features, pixel_channels, 1, 1, False))

    net, (features,) = config.model.discriminator, config.model.discriminator.widths
    discriminator = [Conv(pixel_channels, features, 1, 1, False), *blocks(net)]
    discriminator += [Downsample(features), *blocks(net)] * count
    discriminator += [BasisProduct(rows, columns, features), Dense(features, 1, False)]
    return {"generator": generator, "discriminator": discriminator}


FAMILIES = {
    "dcgan": dcgan_layers,
    "tf_dcgan": tf_dcgan_layers,
    "toy_mlp": toy_mlp_layers,
    "cyclegan": cyclegan_layers,
    "r3gan": r3gan_layers,
}


def _normalised(features: int, norm: str) -> list[Layer]:
    return [BatchNorm(features)] if norm == "batch" else []


def _activated(features: int, norm: str, slope: float) -> list[Layer]:
    return [*_normalised(features, norm), LeakyReLU(slope)]
