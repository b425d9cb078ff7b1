"""How different images look: differences at several sizes, of a classifier's features or of pixels and their slopes.

References:
    Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, 2016.
    https://arxiv.org/abs/1603.08155
    Siarohin et al., First Order Motion Model for Image Animation, 2019, section 3.4 (sizes).
    https://arxiv.org/abs/2003.00196
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from jaxgan.core.settings import POSITIVE, Setting, Settings, one_of
from jaxgan.models import efficientnet
from jaxgan.models.ops.antialias import gaussian_downsample

TAPS = ("stem", "stage1", "stage2", "stage3", "stage5")  # of EfficientNet-Lite0, at 1/2, 1/4, ..., 1/32 of the size

Images = Float[Array, "batch height width channel"]

SETTINGS: Settings = {
    "perceptual_features": Setting(
        "auto",
        "what images are compared by: efficientnet (an extra), pixels; auto: efficientnet where it is installed",
        one_of("auto", "efficientnet", "pixels"),
    ),
    "perceptual_scales": Setting(4, "sizes at which images are compared, each half of the one before", POSITIVE),
}


def uses_efficientnet(features: str) -> bool:
    """Whether images are compared by EfficientNet's features; `features` is `config.perceptual_features`."""
    return features == "efficientnet" or (features == "auto" and efficientnet.find_file() is not None)


def constants(features: str) -> PyTree:
    """The parameters of what compares images; none for pixels.

    Raises:
        UserError: the extra is not installed.
    """
    return efficientnet.load() if uses_efficientnet(features) else ()


def distance(params: PyTree, real: Images, fake: Images, scales: int) -> Float[Array, ""]:
    """The sum over sizes and features of mean absolute differences; no gradient reaches the real images.

    Args:
        params: of `constants`.
        real, fake: images from 0 to 1.
        scales: sizes.
    """
    total = jnp.zeros(())
    for scale in range(scales):
        both = (gaussian_downsample(images, 1 << scale) for images in (lax.stop_gradient(real), fake))
        pairs = zip(*(features_of(params, images) for images in both), strict=True)
        total += sum(jnp.abs(own - other).mean() for own, other in pairs)
    return total


def features_of(params: PyTree, images: Images) -> list[Array]:
    """What two images are compared by, a list of arrays [batch, ...]."""
    if not params:
        return [images, jnp.diff(images, axis=1), jnp.diff(images, axis=2)]
    pixels = (255 * images - efficientnet.MEAN) / efficientnet.DEVIATION
    found = efficientnet.EfficientNet().apply({"params": params}, jnp.broadcast_to(pixels, (*pixels.shape[:3], 3)))
    return [found[name] for name in TAPS]
