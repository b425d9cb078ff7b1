"""The convolution whose kernel is scaled by each example's styles, without a kernel for each example.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, section 2.2.
    https://arxiv.org/abs/1912.04958
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgan.models.ops import convolutions, resampling
from jaxgan.models.ops.convolutions import Features, Kernel
from jaxgan.models.ops.equalized import over_places


def modulated_conv(
    features: Features,
    kernel: Kernel,
    styles: Float[Array, "batch in"],
    batch_last: bool,
    demodulate: bool = True,
    doubles: bool = False,
    padding: int | None = None,
) -> Features:
    """A convolution between zeros of a kernel whose input channels are multiplied by an example's styles.

    Scaling the features in the place of the kernel is the same, since both are linear, and so is scaling the output in
    the place of the demodulated kernel.

    Args:
        features: in either layout.
        kernel: [size, size, in, out], of an odd size; 3 where rows and columns are doubled.
        styles: a number for each example and input channel.
        batch_last: the layout of the features.
        demodulate: whether an example's scaled kernel is divided by its length, for each output channel.
        doubles: whether rows and columns are doubled: zeros between, the convolution, and a blur.
        padding: zeros on each side; None: as many as keep the number of rows and columns.

    Returns:
        Features in float32: the products are those of the features' type, the scales behind them are not.
    """
    out = (features * over_places(styles, batch_last)).astype(features.dtype)
    if doubles:
        out = _doubled(out, kernel, batch_last)
    else:
        convolve = convolutions.conv if batch_last else convolutions.stock_conv
        margin = len(kernel) // 2 if padding is None else padding
        out = convolve(out, kernel, 1, (margin, margin))
    if not demodulate:
        return out.astype(jnp.float32)
    lengths = jnp.square(styles) @ jnp.square(kernel).sum((0, 1))
    return out * over_places(lax.rsqrt(lengths + 1e-8), batch_last)


def _doubled(features: Features, kernel: Kernel, batch_last: bool) -> Features:
    """Zeros between rows and columns, the convolution of all places that it reaches, and a blur of four times that.

    Behind the last row and column come zeros, since the convolution reaches one place beyond twice their number.
    """
    transpose = convolutions.conv_transpose if batch_last else convolutions.stock_conv_transpose
    grown = jnp.pad(features, ((0, 0), (0, 1), (0, 1), (0, 0)))
    return resampling.blur(transpose(grown, 4 * kernel, 2, 0), (1, 0))
