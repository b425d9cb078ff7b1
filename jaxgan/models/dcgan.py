"""DCGAN: transposed convolutions up, stride-2 convolutions down.

References:
    Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, 2016.
    https://arxiv.org/abs/1511.06434
"""

import flax.linen as nn
from jaxtyping import Array, Float

from jaxgan.models import layers

MOST_WIDTHS = 8  # channels stop growing at 8 widths, as in the paper's 64x64 networks


def stages(size: int) -> int:
    """How often `size` can be halved before it is 4 or 7; 0 if no number of halvings leads there."""
    count = 0
    while size > 7 and size % 2 == 0:
        size, count = size // 2, count + 1
    return count if size in (4, 7) else 0


def check_size(size: int) -> str | None:
    """What would be right, if the size cannot be made."""
    return None if stages(size) else "a dcgan makes 8, 14, 16, 28, 32, 56, 64, ...: 4 or 7 times a power of two"


def features(width: int, stage: int) -> int:
    """Channels after `stage` + 1 halvings."""
    return width * min(2**stage, MOST_WIDTHS)


class Generator(nn.Module):
    """Latents to a small square of many channels, doubled up to the image; BatchNorm and ReLU between, tanh at the end.

    Attributes:
        size, channels: of the images.
        width: channels at half the image's size; they double with every halving, up to 8 widths.
        dense: features of fully connected layers in front of the convolutions; the paper has none, yet convolutions
            alone have to spread a normal distribution over shapes that look nothing alike.
        norm: a name of `layers.NORMS`.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is spread.
    """

    size: int
    channels: int
    width: int = 64
    dense: tuple[int, ...] = ()
    norm: str = "batch"
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], train: bool) -> layers.Images:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        use_bias = self.norm == "none"
        count = stages(self.size)
        base, deepest = self.size // 2**count, features(self.width, count - 1)

        def activate(hidden: Array) -> Array:
            return nn.relu(layers.NORMS[self.norm](hidden, train, self.axis_name))

        hidden = latents
        for width in self.dense:
            hidden = activate(nn.Dense(width, use_bias=use_bias, kernel_init=kernel_init)(hidden))
        hidden = nn.Dense(base * base * deepest, use_bias=use_bias, kernel_init=kernel_init)(hidden)
        hidden = activate(hidden.reshape(-1, base, base, deepest))
        for stage in reversed(range(count - 1)):
            options = {"use_bias": use_bias, "kernel_init": kernel_init}
            hidden = activate(layers.ConvTranspose(features(self.width, stage), **options)(hidden))
        return nn.tanh(layers.ConvTranspose(self.channels, kernel_init=kernel_init)(hidden))


class Discriminator(nn.Module):
    """The image halved down to a small square, LeakyReLU after each halving, then one logit.

    Attributes:
        width: channels after the first halving; they double with every further one, up to 8 widths.
        dense: features of fully connected layers behind the convolutions; the paper has none.
        norm: a name of `layers.NORMS`, before every activation but the first.
        leak: the slope of LeakyReLU for negative numbers.
        downsampling: a name of `layers.DOWNSAMPLINGS`.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is spread.
    """

    width: int = 64
    dense: tuple[int, ...] = ()
    norm: str = "batch"
    leak: float = 0.2
    downsampling: str = "stride"
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: layers.Images, train: bool) -> Float[Array, " batch"]:
        kernel_init = layers.INITIALIZERS[self.initializer](self.init_stddev)
        downsample = layers.DOWNSAMPLINGS[self.downsampling]

        def activate(hidden: Array, norm: str) -> Array:
            return nn.leaky_relu(layers.NORMS[norm](hidden, train, self.axis_name), self.leak)

        hidden = images
        for stage in range(stages(images.shape[1])):
            norm = self.norm if stage else "none"
            options = {"use_bias": norm == "none", "kernel_init": kernel_init}
            hidden = activate(downsample(hidden, features(self.width, stage), **options), norm)
        hidden = hidden.reshape(hidden.shape[0], -1)
        for width in self.dense:
            hidden = activate(nn.Dense(width, use_bias=self.norm == "none", kernel_init=kernel_init)(hidden), self.norm)
        return nn.Dense(1, kernel_init=kernel_init)(hidden)[:, 0]
