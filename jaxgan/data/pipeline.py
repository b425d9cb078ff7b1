"""How the examples reach the device."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict
from PIL import Image

from jaxgan.data import order
from jaxgan.data.sources import SOURCES, Examples
from jaxgan.errors import UserError, choose


@dataclasses.dataclass(frozen=True)
class ResidentFeed:
    """The whole data set lies in device memory; what reaches a step is the indices of its batch.

    Attributes:
        data: the arrays of the data set, N examples each.
        seed: of the order.
        batch_size: examples in a global batch.
        repeats: batches in a training step.
    """

    data: Mapping[str, np.ndarray]
    seed: int
    batch_size: int
    repeats: int = 1

    def positions(self, step: int, count: int) -> np.ndarray:
        """What `load` needs for `count` steps from `step` on: int32 [count, repeats, batch_size]."""
        size = len(self.data["images"])
        first = step * self.repeats
        batches = [
            order.batch_indices(self.seed, batch, self.batch_size, size)
            for batch in range(first, first + count * self.repeats)
        ]
        return np.stack(batches).reshape(count, self.repeats, self.batch_size)

    @staticmethod
    def load(data: Mapping[str, Array], positions: Int[Array, "repeats batch"]) -> dict[str, Array]:
        """One step's batches, on the device: images in [-1, 1] [repeats, batch, H, W, C], labels [repeats, batch]."""
        batch = jax.tree.map(lambda array: array[positions], dict(data))
        return batch | {"images": to_float(batch["images"])}


def to_float(images: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pixels 0 to 255 as -1 to 1, the range of tanh."""
    return images.astype(jnp.float32) / 127.5 - 1


def to_pixels(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """The inverse of `to_float`, rounded to the nearest pixel value and clipped."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, W, C] to [N, size, size, C], by Lanczos with antialiasing."""
    if images.shape[1:3] == (size, size):
        return images

    def resized(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.LANCZOS))

    return np.stack([np.stack([resized(c) for c in np.moveaxis(image, -1, 0)], axis=-1) for image in images])


def open_source(config: ConfigDict) -> Examples:
    """The data set of an experiment, at the size and with the channels that the configuration asks for.

    Raises:
        UserError: there is no such source, or it has other channels.
    """
    examples = SOURCES[choose("config.data.source", config.data.source, SOURCES)]()
    channels = examples.images.shape[-1]
    if channels != config.data.channels:
        raise UserError(f"config.data.channels={config.data.channels} should be {channels} for {config.data.source}")
    return examples._replace(images=resize(examples.images, config.data.size))


def feed(config: ConfigDict, examples: Examples) -> ResidentFeed:
    """The batches of an experiment."""
    data = {"images": examples.images, "labels": examples.labels}
    return ResidentFeed(data, config.seed, config.batch_size, config.discriminator_steps)
