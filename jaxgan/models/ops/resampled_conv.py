"""A convolution behind a doubling or before a halving, as one convolution of stride 2.

Behind a doubling that repeats pixels, and before a mean of 2 x 2 pixels, a kernel of 3 x 3 is one of 4 x 4 with a
stride of 2: of each output of full size 4 products are taken in the place of 9.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.models.ops import convolutions, layers
from jaxgan.models.ops.convolutions import Features, Kernel


class ResampledConv(nn.Module):
    """A convolution by 3 x 3, between zeros, of repeated pixels, or whose squares of 2 x 2 outputs are averaged.

    Attributes:
        features: channels out.
        doubles: whether pixels are repeated before it; else 2 x 2 pixels are averaged behind it.
        use_bias, constant_bias: as in `layers.Conv`.
        kernel_init: the kernel's initialiser.
        batch_last: the layout of what comes in and goes out, as in `layers`.
    """

    features: int
    doubles: bool
    use_bias: bool = True
    constant_bias: bool = False
    kernel_init: Callable = nn.initializers.lecun_normal()
    batch_last: bool = False
    taps = 16  # of the kernel that is multiplied

    @nn.compact
    def __call__(self, inputs: Features) -> Features:
        shape = (3, 3, inputs.shape[0 if self.batch_last else -1], self.features)
        kernel = smeared(self.param("kernel", self.kernel_init, shape))
        if self.doubles:
            convolve = convolutions.conv_transpose if self.batch_last else convolutions.stock_conv_transpose
            out = convolve(inputs, kernel, 2, 1)
        else:
            convolve = convolutions.conv if self.batch_last else convolutions.stock_conv
            out = convolve(inputs, kernel / 4, 2, (1, 1))
        return layers.add_bias(self, out, self.constant_bias)


def smeared(kernel: Kernel) -> Float[Array, "larger larger in out"]:
    """The kernel convolved with a square of 2 x 2 ones: a row and a column larger."""
    for axis in (0, 1):
        around = [[(before, 1 - before) if each == axis else (0, 0) for each in range(4)] for before in (0, 1)]
        kernel = sum(jnp.pad(kernel, padding) for padding in around)
    return kernel
