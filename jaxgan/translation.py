"""Images of any height and width through a task that translates them: padded, in tiles, images of one size together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxgan import inference
from jaxgan.core import device_memory, devices
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.core.types import Sides
from jaxgan.data.sizes import format_size
from jaxgan.errors import UserError, is_out_of_memory, warn_once
from jaxgan.tiling import Image, blend, cut, least_tile, tiling

MANY = 8  # sizes, each of which is compiled
TILE = 512  # pixels, what an error proposes


class Options(NamedTuple):
    """How images are translated.

    Attributes:
        seed: with the index of an image, decides its dropout.
        tile: height and width of tiles; None: each image as a whole.
        batch: images or tiles of one size that each device translates together.
    """

    seed: int = 0
    tile: int | None = None
    batch: int = 1


def least_side(sides: Sides) -> int:
    """The fewest pixels of which reflections make an image that a network takes."""
    return sides.least // 2 + 1


def pad(image: Image, sides: Sides) -> Image:
    """The image grown at the bottom and on the right by its mirror image, up to the next sides that a network takes."""
    more = [(0, sides.fitting(side) - side) for side in image.shape[:2]]
    return np.pad(image, [*more, (0, 0)], mode="reflect")


def translate(
    exp: Experiment,
    name: str,
    variables: Mapping[str, Variables],
    images: Iterable[tuple[int, Image]],
    options: Options,
) -> Iterator[tuple[int, Image]]:
    """The index and the translation of each image, which has the size of the image; in any order.

    Args:
        exp: the experiment.
        name: of a task with `sides`.
        variables: by network.
        images: each with an index of its own.
        options: as above.

    Raises:
        UserError: tiles are too small, or memory is too small for an image.
    """
    networks = [network for network in exp.algorithm.tasks[name].networks if network in exp.networks]
    own = ImageTranslator(exp, name, devices.replicate_locally({each: variables[each] for each in networks}), options)
    waiting: dict[tuple[int, ...], list[tuple[int, Image]]] = {}
    together = options.batch * jax.local_device_count()
    for index, image in images:
        if own.tiles(image):
            yield index, own.in_tiles(index, image)
            continue
        group = waiting.setdefault(image.shape, [])
        group.append((index, image))
        if len(group) == together:
            yield from own.whole(waiting.pop(image.shape))
    for group in waiting.values():
        yield from own.whole(group)


class ImageTranslator:
    """A task of an experiment, of variables and options; arguments as of `translate`."""

    def __init__(self, exp: Experiment, name: str, variables: Mapping[str, Variables], options: Options):
        self.exp, self.name, self.variables, self.options = exp, name, variables, options
        self.task, self.sizes = exp.algorithm.tasks[name], set()
        self.sides = self.task.sides(exp)
        least = least_tile(*self.sides)
        if options.tile is not None and options.tile < least:
            raise UserError(f"--tile={options.tile} must be at least {least}, since tiles overlap")
        self.tile = None if options.tile is None else self.sides.fitting(options.tile)
        (self.source,), (self.target,) = self.task.needs(exp), self.task.outputs(exp)

    def tiles(self, image: Image) -> bool:
        """Whether an image is larger than a tile."""
        return self.tile is not None and max(map(self.sides.fitting, image.shape[:2])) > self.tile

    def in_tiles(self, index: int, image: Image) -> Image:
        """The translation of one image by that of its tiles."""
        padded = pad(image, self.sides)
        own = tiling(padded.shape[:2], self.tile, self.sides.multiple)
        pieces = cut(padded, own)
        return blend(self.translated(pieces, [index] * len(pieces)), own)[: image.shape[0], : image.shape[1]]

    def whole(self, group: Sequence[tuple[int, Image]]) -> Iterator[tuple[int, Image]]:
        """The translations of images of one size."""
        indices, images = zip(*group, strict=True)
        height, width, _ = images[0].shape
        made = self.translated([pad(image, self.sides) for image in images], indices)
        yield from zip(indices, (image[:height, :width] for image in made), strict=True)

    def translated(self, images: Sequence[Image], indices: Sequence[int]) -> list[Image]:
        """The translations of images of one size that the networks take, a batch at a time."""
        found, together = [], self.options.batch * jax.local_device_count()
        for start in range(0, len(images), together):
            pixels = np.stack(images[start : start + together]).astype(np.float32) / 127.5 - 1
            inputs = inference.seed_inputs(self.options.seed, len(pixels), **{self.source: pixels})
            inputs["index"] = np.int32(indices[start : start + together])
            try:
                self.check(pixels.shape[1:])
                made = inference.run_task(self.exp, self.name, self.variables, inputs, self.options.batch)
            except Exception as error:
                if is_out_of_memory(error):
                    raise too_large(pixels.shape, "it takes more memory than there is") from error
                raise
            found += list(made[self.target])
        return found

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises a `UserError` if a batch of images of that shape does not fit into memory, once for each shape.

        A CPU's memory is promised before it is used: the system would kill the process.
        """
        if shape in self.sizes:
            return
        self.sizes.add(shape)
        if len(self.sizes) == MANY + 1:
            warn_once(f"images of more than {MANY} sizes: the program is compiled for each; --size or --tile is faster")
        batch = (self.options.batch * jax.local_device_count(), *shape)
        inputs = {self.source: jax.ShapeDtypeStruct(batch, np.float32)}
        inputs |= {name: jax.ShapeDtypeStruct(batch[:1], kind) for name, kind in SEEDS.items()}
        needed = inference.task_memory(self.exp, self.name, self.variables, inputs)
        if needed > (there := device_memory.available_memory(0)):
            raise too_large(batch, f"{needed / 2**30:.3g} GiB of memory are needed, and there are {there / 2**30:.3g}")


SEEDS = {name: array.dtype for name, array in inference.seed_inputs(0, 1).items()}


def too_large(shape: tuple[int, ...], reason: str) -> UserError:
    """What to do about a batch of images, [batch, height, width, channels], that does not fit into memory."""
    smaller = "a smaller --batch_size, or " if shape[0] > 1 else ""
    tile = max(64, min(TILE, max(shape[1:3]) // 2))
    count = f"{shape[0]} images" if shape[0] > 1 else "an image"
    return UserError(
        f"{count} of {format_size(*shape[1:3])} pixels: {reason}: choose {smaller}--tile={tile}, which translates "
        "tiles, or a smaller --size"
    )
