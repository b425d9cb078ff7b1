"""Weights and images for tests of the Inception network, which two programs make alike from a seed."""

import math

import numpy as np

IMAGES = {
    "small": (32, 32, 3),
    "grey": (28, 28, 1),
    "wide": (200, 331, 3),
    "exact": (299, 299, 3),
    "large": (480, 640, 3),
}


def random_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """PyTorch's tensors under which activations neither die nor explode, and depend on the image.

    References:
        He et al., Delving Deep into Rectifiers, 2015, section 2.2. https://arxiv.org/abs/1502.01852
    """
    rng, state = np.random.default_rng(seed), {}
    for name in sorted(shapes):
        shape = shapes[name]
        if len(shape) > 1:
            state[name] = rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        elif name.endswith(("bn.weight", "running_var")):
            state[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            state[name] = 0.3 * rng.standard_normal(shape, np.float32)
    return state


def random_images(name: str, count: int = 1) -> np.ndarray:
    """Pictures of coloured clouds with grain, uint8 [count, height, width, channel]."""
    height, width, channels = IMAGES[name]
    rng = np.random.default_rng(height * width)
    rows, columns = np.arange(height)[:, None, None] / height, np.arange(width)[:, None] / width
    waves = rng.uniform(-20, 20, (8, 2, count, 1, 1, channels)), rng.uniform(0, 7, (8, count, 1, 1, channels))
    clouds = sum(np.sin(high * rows + wide * columns + phase) for (high, wide), phase in zip(*waves, strict=True))
    return np.clip(128 + 30 * clouds + rng.normal(0, 20, clouds.shape), 0, 255).astype(np.uint8)
