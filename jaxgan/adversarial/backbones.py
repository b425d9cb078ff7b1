"""Frozen networks whose features discriminators are given: constants of a training step, neither trained nor saved."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Float, PyTree

from jaxgan.models import efficientnet
from jaxgan.models.efficientnet import Maps

Images = Float[Array, "batch height width channel"]

STEPS = (4, 2, 2, 2)  # by which the random network divides rows and columns
WIDTHS = tuple(efficientnet.PYRAMID.values())  # channels of a backbone's features


class Backbone(NamedTuple):
    """A frozen network.

    Attributes:
        pyramid: (its parameters, images from -1 to 1) -> features at a fourth, an eighth, a 16th and a 32nd of the
            images' size, [batch, rows, columns, channels].
        load: () -> its parameters.
        unavailable: (what asks for it, channels of images) -> why there are no features, or None if there are.
    """

    pyramid: Callable[[PyTree, Images], list[Maps]]
    load: Callable[[], PyTree]
    unavailable: Callable[[str, int], str | None] = lambda asked, channels: None


def random_pyramid(params: list[Float[Array | np.ndarray, "_ _"]], images: Images) -> list[Maps]:
    """Four convolutions of pixels that do not overlap, with random kernels and ReLU: features that nothing taught."""
    maps, found = jnp.broadcast_to(images, (*images.shape[:3], 3)), []
    for kernel, step in zip(params, STEPS, strict=True):
        batch, height, width, count = maps.shape
        blocks = maps.reshape(batch, height // step, step, width // step, step, count).swapaxes(2, 3)
        maps = nn.relu(blocks.reshape(*blocks.shape[:3], -1) @ kernel)
        found.append(maps)
    return found


def random_params() -> list[Float[np.ndarray, "in out"]]:
    """The kernels, always the same: normal with the variance that ReLU keeps."""
    rng, inputs, found = np.random.default_rng(0), 3, []
    for step, outputs in zip(STEPS, WIDTHS, strict=True):
        count = step**2 * inputs
        found.append(rng.normal(0, np.sqrt(2 / count), (count, outputs)).astype(np.float32))
        inputs = outputs
    return found


BACKBONES = {
    "efficientnet": Backbone(efficientnet.pyramid, efficientnet.load, efficientnet.unavailable),
    "random": Backbone(random_pyramid, random_params),
}
