"""How far reconstructions are from the images that they are to be."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from jax import lax
from jaxtyping import Array, Float, PyTree

from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import Choice, names_of
from jaxgan.models import efficientnet

Images = Float[Array, "batch height width channel"]


class Distance(NamedTuple):
    """A distance of images.

    Attributes:
        value: (constants, images, other images) -> [batch].
        constants: () -> arrays that it takes, which are neither trained nor saved.
        unavailable: (what asks for it, channels of images) -> why there is no such distance, or None if there is.
    """

    value: Callable[[PyTree, Images, Images], Float[Array, " batch"]]
    constants: Callable[[], PyTree] = lambda: ()
    unavailable: Callable[[str, int], str | None] = lambda asked, channels: None


def pixel_distance(constants: PyTree, images: Images, others: Images) -> Float[Array, " batch"]:
    """The mean squared difference of pixels."""
    del constants
    return ((images - others) ** 2).mean((1, 2, 3))


def efficientnet_distance(params: PyTree, images: Images, others: Images) -> Float[Array, " batch"]:
    """The squared distance of EfficientNet-Lite0's features, each place's of length 1: a mean over places, four layers.

    This is LPIPS with another network and without learned weights of the channels.

    References:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018.
        https://arxiv.org/abs/1801.03924
    """

    def unit(maps: Array) -> Array:
        return maps * lax.rsqrt((maps**2).sum(-1, keepdims=True) + 1e-10)

    both = zip(efficientnet.pyramid(params, images), efficientnet.pyramid(params, others), strict=True)
    return sum(((unit(first) - unit(second)) ** 2).sum(-1).mean((1, 2)) for first, second in both)


DISTANCES = {
    "pixels": Distance(pixel_distance),
    "efficientnet": Distance(efficientnet_distance, efficientnet.load, efficientnet.unavailable),
}
SETTING = Choice(
    "pixels",
    "of reconstructions: pixels, or efficientnet, features that a classifier of ImageNet has",
    names_of(DISTANCES),
)


def distance(exp: Experiment, found: Sequence[Images], targets: Sequence[Images]) -> Float[Array, ""]:
    """The sum of the mean distances of several batches of images, by the distance that the configuration names."""
    value = DISTANCES[exp.config.reconstruction.distance].value
    return sum(value(exp.constants, *pair).mean() for pair in zip(found, targets, strict=True))


def constants(exp: Experiment) -> PyTree:
    """What the configuration's distance takes."""
    return DISTANCES[exp.config.reconstruction.distance].constants()


def check(exp: Experiment, channels: int) -> Iterator[str]:
    """Why images of `channels` channels have no such distance."""
    name = exp.config.reconstruction.distance
    reason = DISTANCES[name].unavailable(f"config.reconstruction.distance={name}", channels)
    if reason is not None:
        yield reason
