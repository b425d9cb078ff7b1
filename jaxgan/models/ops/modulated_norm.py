"""BatchNorm whose scales and shifts depend on each example's modulation.

References:
    de Vries et al., Modulating early visual processing by language, 2017, equation 6. https://arxiv.org/abs/1707.00683
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019, appendix B.
    https://arxiv.org/abs/1809.11096
"""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array

from jaxgan.models.ops import layers
from jaxgan.models.ops.convolutions import Features


class ModulatedNorm(nn.Module):
    """Features normalised, and then times 1 + a linear function of the modulation, plus another linear function.

    Without a modulation BatchNorm has scales and shifts of its own. A one-hot modulation gives each class its own.

    Attributes:
        norm: a name of `layers.NORMS`; "none" leaves the features as they are before the modulation.
        epsilon: that is added to variances.
        spectral_norm: whether the kernels of the linear functions are divided by their largest singular value.
        kernel_init: their initialiser.
        axis_name: the axis over whose devices the batch is sharded.
        batch_last: the layout of what comes in and goes out, as in `layers`.
    """

    norm: str
    epsilon: float
    spectral_norm: bool
    kernel_init: Callable
    axis_name: str | None = None
    batch_last: bool = False

    @nn.compact
    def __call__(self, features: Features, modulation: layers.Modulation, train: bool) -> Features:
        if self.norm == "batch":
            own = modulation is None
            layout = (self.axis_name, self.batch_last)
            features = layers.plain_batch_norm(features, own, train, *layout, epsilon=self.epsilon)
        if modulation is None:
            return features
        count = features.shape[0 if self.batch_last else -1]

        def linear(name: str) -> Array:
            layer = nn.Dense(count, use_bias=False, kernel_init=self.kernel_init, name=name)
            numbers = layers.maybe_spectral_norm(layer, modulation, self.spectral_norm, train)
            return layers.to_layout(numbers[:, None, None], self.batch_last).astype(features.dtype)

        return features * (1 + linear("gain")) + linear("bias")
