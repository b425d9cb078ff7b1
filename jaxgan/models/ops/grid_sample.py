"""Images read at any places by bilinear interpolation, as PyTorch's `grid_sample` reads them, and grids of places.

A place is (x, y): columns first, both from -1 to 1. With `align_corners` -1 and 1 are the centres of the outermost
pixels, else their outer edges. PyTorch before 1.3 had the first convention alone, and since then the second by default.

References:
    Jaderberg et al., Spatial Transformer Networks, 2015. https://arxiv.org/abs/1506.02025
    https://pytorch.org/docs/stable/generated/torch.nn.functional.grid_sample.html
"""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

PADDINGS = ("zeros", "border", "reflection")

Images = Float[Array, "batch height width channel"]


def grid_sample(
    images: Images, grid: Float[Array, "batch rows columns 2"], padding: str = "zeros", align_corners: bool = False
) -> Float[Array, "batch rows columns channel"]:
    """The images at the places of a grid; differentiable in both.

    Args:
        images: that are read.
        grid: where each number that comes out is read.
        padding: what lies beyond an image: "zeros", "border" for the nearest pixel, "reflection" for the mirror image.
        align_corners: whether -1 and 1 are the centres of the outermost pixels.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} must be one of {', '.join(PADDINGS)}")
    sizes = images.shape[2], images.shape[1]
    pairs = zip(jnp.moveaxis(grid, -1, 0), sizes, strict=True)
    places = [_to_pixels(own, size, padding, align_corners) for own, size in pairs]
    lows = [jnp.floor(own) for own in places]
    flat, total = images.reshape(len(images), -1, images.shape[-1]), jnp.zeros((), images.dtype)
    for corner in itertools.product((0, 1), repeat=2):
        corners = [low + step for low, step in zip(lows, corner, strict=True)]
        weight = jnp.ones((), images.dtype)
        for place, own, size in zip(places, corners, sizes, strict=True):
            weight *= jnp.where((own >= 0) & (own < size), 1 - jnp.abs(place - own), 0)
        # Clipped while they are floats: a place may be too far out for an integer.
        column, row = (jnp.clip(own, 0, size - 1).astype(jnp.int32) for own, size in zip(corners, sizes, strict=True))
        index = (row * sizes[0] + column).reshape(len(images), -1, 1)
        found = jnp.take_along_axis(flat, index, axis=1)
        total += found.reshape(*grid.shape[:-1], -1) * weight[..., None]
    return total


def pixel_centres(size: tuple[int, int]) -> Float[Array, "rows columns 2"]:
    """The places of all pixels where -1 and 1 are the centres of the outermost ones."""
    y, x = (jnp.linspace(-1.0, 1.0, count) for count in size)
    return jnp.stack(jnp.meshgrid(x, y), axis=-1)


def _to_pixels(place: Float[Array, "*grid"], size: int, padding: str, align_corners: bool) -> Float[Array, "*grid"]:
    """Places along one axis as indices of pixels, brought inside the image unless zeros lie beyond it."""
    pixels = (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2
    if padding == "zeros":
        return pixels
    if padding == "reflection":
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        pixels = _reflected(pixels, low, span)
    return jnp.clip(pixels, 0, size - 1)


def _reflected(pixels: Float[Array, "*grid"], low: float, span: float) -> Float[Array, "*grid"]:
    """The places from `low` to `low + span` that others are mirror images of."""
    if not span:
        return jnp.zeros_like(pixels)
    distance = jnp.abs(pixels - low)
    turns = jnp.floor(distance / span)
    rest = distance - turns * span
    return low + jnp.where(turns % 2 == 0, rest, span - rest)
