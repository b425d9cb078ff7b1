"""3D-GAN: a DCGAN of grids of voxels, and its residual form.

References:
    Wu et al., Learning a Probabilistic Latent Space of Object Shapes via 3D Generative-Adversarial Modeling, 2016,
    section 3.1 and appendix A. https://arxiv.org/abs/1610.07584
    Smith and Meger, Improved Adversarial Systems for 3D Object Generation and Reconstruction, 2017, for 32 x 32 x 32
    voxels, where the smallest features have a side of 2. https://arxiv.org/abs/1707.09557
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.core.settings import Range, Setting, Settings
from jaxgan.models.ops import layers
from jaxgan.models.ops.conv3d import Conv3D, ConvTranspose3D, Grids, mean_pool, repeat

Voxels = Float[Array, "batch x y z channel"]

LEAST = 8  # voxels of the smallest side that can be made
SMALLEST = (2, 4)  # sides of the smallest features that there are


def halvings(side: int, smallest: int) -> int:
    """How often a side can be halved down to the smallest features; 0 if that is never their side."""
    count = 0
    while side > smallest and side % 2 == 0:
        side, count = side // 2, count + 1
    return count if side == smallest else 0


def check_shape(shape: tuple[int, ...]) -> str | None:
    """What would be right, if examples of that shape cannot be made."""
    if len(shape) != 4:
        return "voxel makes grids of voxels; dcgan makes images, and toy_mlp makes points"
    cube = len(set(shape[:3])) == 1
    if cube and shape[0] >= LEAST and halvings(shape[0], SMALLEST[0]):
        return None
    return "voxel makes cubes whose sides are 8, 16, 32, 64, ... voxels"


class Generator(nn.Module):
    """Latents to the smallest features by a dense layer, doubled up to the grid by transposed convolutions, then tanh.

    A dense layer to 4 x 4 x 4 features is the paper's first transposed convolution, from one voxel. The grid is in
    [-1, 1] and (1 + grid) / 2 is the paper's sigmoid of twice the argument.

    Attributes:
        shape: of a grid, (side, side, side, channels).
        base_channels: channels at half the side; they double with every halving.
        smallest: side of the smallest features.
        residual: whether each doubling is a residual block: beside the transposed convolution and a convolution by
            3 x 3 x 3 stand repeated voxels.
        norm: a name of `layers.NORMS`.
        spectral_norm: whether the kernels are divided by their largest singular value.
        initializer, init_stddev: a name of `layers.INITIALIZERS` and its argument.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: how features are laid out, as in `layers`.
        dtype: of the features; parameters, statistics and grids are float32.
    """

    shape: tuple[int, int, int, int]
    base_channels: int = 64
    smallest: int = 4
    residual: bool = False
    norm: str = "batch"
    spectral_norm: bool = False
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], modulation: layers.Modulation, train: bool) -> Voxels:
        apply_layer, options = _layers(self, train)

        def activate(hidden: Array) -> Array:
            normed = layers.NORMS[self.norm](hidden, modulation, train, self.axis_name, batch_last=self.batch_last)
            return nn.relu(normed)

        count = halvings(self.shape[0], self.smallest)
        widths = [self.base_channels * 2**stage for stage in reversed(range(count))]
        hidden = layers.to_layout(latents.astype(self.dtype), self.batch_last)
        hidden = apply_layer(layers.Dense(self.smallest**3 * widths[0], **options), hidden)
        hidden = layers.to_spatial(hidden, (self.smallest,) * 3, self.batch_last)
        # Residual blocks begin with a norm, and the others end with one.
        hidden = hidden if self.residual else activate(hidden)
        for width in widths[1:]:
            doubled = apply_layer(ConvTranspose3D(width, **options), activate(hidden) if self.residual else hidden)
            if self.residual:
                refined = apply_layer(Conv3D(width, 3, 1, **options), activate(doubled))
                hidden = refined + repeat(apply_layer(Conv3D(width, 1, 1, 0, **options), hidden))
            else:
                hidden = activate(doubled)
        hidden = activate(hidden) if self.residual else hidden
        grids = apply_layer(ConvTranspose3D(self.shape[-1], **options | {"use_bias": True}), hidden)
        return nn.tanh(layers.to_layout(grids, self.batch_last).astype(jnp.float32))


class Discriminator(nn.Module):
    """The grid halved down to the smallest features, LeakyReLU after each halving: the features of the last layer.

    Attributes:
        base_channels: channels after the first halving; they double with every further one.
        smallest, residual: as in `Generator`; shortcuts are means of 2 x 2 x 2 voxels.
        norm: a name of `layers.NORMS`, before every activation but the first.
        spectral_norm: whether the kernels are divided by their largest singular value.
        minibatch_stddev: size of the groups whose standard deviation is one more feature; 0 for none.
        negative_slope: the slope of LeakyReLU for negative numbers.
        initializer, init_stddev, axis_name, batch_last, dtype: as in `Generator`.
    """

    base_channels: int = 64
    smallest: int = 4
    residual: bool = False
    norm: str = "batch"
    spectral_norm: bool = False
    minibatch_stddev: int = 0
    negative_slope: float = 0.2
    initializer: str = "gaussian"
    init_stddev: float = 0.02
    axis_name: str | None = None
    batch_last: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def positively_homogeneous(self) -> bool:
        """Whether features are multiplied as an example and all biases are, and depend on their own example alone."""
        return self.norm == "none" and not (self.spectral_norm or self.minibatch_stddev)

    @nn.compact
    def __call__(self, grids: Voxels, train: bool) -> Float[Array, "batch features"]:
        apply_layer, options = _layers(self, train)

        def activate(hidden: Grids, norm: str) -> Grids:
            normed = layers.NORMS[norm](hidden, None, train, self.axis_name, batch_last=self.batch_last)
            return nn.leaky_relu(normed, self.negative_slope)

        hidden = layers.to_layout(grids.astype(self.dtype), self.batch_last)
        for stage in range(halvings(grids.shape[1], self.smallest)):
            width, norm = self.base_channels * 2**stage, self.norm if stage else "none"
            own = options | {"use_bias": norm == "none"}
            if self.residual and stage:
                before = Conv3D(hidden.shape[0 if self.batch_last else -1], 3, 1, **own)
                refined = activate(apply_layer(before, hidden), norm)
                shortcut = apply_layer(Conv3D(width, 1, 1, 0, **own), mean_pool(hidden))
                hidden = activate(apply_layer(Conv3D(width, **own), refined) + shortcut, norm)
            else:
                hidden = activate(apply_layer(Conv3D(width, **own), hidden), norm)
        if self.minibatch_stddev:
            hidden = layers.minibatch_stddev(layers.to_layout(hidden, self.batch_last), self.minibatch_stddev)
            hidden = layers.to_layout(hidden, self.batch_last)
        return layers.to_layout(layers.to_flat(hidden, self.batch_last), self.batch_last).astype(jnp.float32)


def _layers(network: Generator | Discriminator, train: bool) -> tuple[Callable[..., Array], dict[str, Any]]:
    """How a network's layers are applied, and the options that they share."""
    kernel_init = layers.INITIALIZERS[network.initializer](network.init_stddev)

    def apply_layer(layer: nn.Module, hidden: Array) -> Array:
        return layers.maybe_spectral_norm(layer, hidden, network.spectral_norm, train)

    use_bias = network.norm == "none"
    return apply_layer, {"use_bias": use_bias, "kernel_init": kernel_init, "batch_last": network.batch_last}


SETTINGS: Settings = {
    "base_channels": layers.width(64, "channels at half the grid's side; they double with every halving"),
    "smallest": Setting(4, "side of the smallest features", Range(lambda value: value in SMALLEST, "2 or 4")),
    "residual": Setting(False, "residual blocks in the place of single convolutions"),
    **layers.NORM_SETTINGS,
}
DISCRIMINATOR_SETTINGS: Settings = SETTINGS | layers.ACTIVATION_SETTINGS | layers.STDDEV_SETTINGS
