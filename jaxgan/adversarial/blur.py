"""A blur of what a discriminator is given, so that it learns coarse shapes first, as in StyleGAN3-R.

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021, appendix. https://arxiv.org/abs/2106.12423
    The authors' code: https://github.com/NVlabs/stylegan3
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgan.core.settings import Range, Setting, Settings

Images = Float[Array, "batch height width channel"]

REACH = 3  # how many sigmas the window spans to each side; where that is no whole pixel, nothing is blurred

SETTINGS: Settings = {
    "blur_sigma": Setting(
        0.0,
        "pixels by which what the discriminator is given is blurred first; in StyleGAN3-R a schedule from 10 to 0",
        Range(lambda value: 0 <= value <= 1000, "from 0 to 1000"),
        sweepable=True,
    )
}


def blur(images: Images, sigma: float | Float[Array, ""], most: float) -> Images:
    """Images under a window 2^-(distance / sigma)^2 of each axis, whose weights sum to 1; beyond the borders is 0.

    Args:
        images: real or fake.
        sigma: in pixels; below 1/3 images stay as they are, to the last bit.
        most: the largest that `sigma` can be.
    """

    def blurred() -> Images:
        rows, columns = (window(side, sigma, most) for side in images.shape[1:3])
        return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns, precision="highest")

    return lax.cond(jnp.floor(REACH * jnp.asarray(sigma)) > 0, blurred, lambda: images)


def window(side: int, sigma: float | Float[Array, ""], most: float) -> Float[Array, "side side"]:
    """The matrix that blurs a row of pixels; a product of matrices has derivatives of every order at little cost."""
    sigma = jnp.maximum(sigma, 1 / REACH)  # where both branches are computed, the one without effect stays finite
    reach = math.floor(REACH * most)

    def weight(offset: Int[np.ndarray, "..."]) -> Float[Array, "..."]:
        return jnp.where(abs(offset) <= jnp.floor(REACH * sigma), jnp.exp2(-((offset / sigma) ** 2)), 0)

    offsets = np.arange(side) - np.arange(side)[:, None]
    return weight(offsets) / weight(np.arange(-reach, reach + 1)).sum()
