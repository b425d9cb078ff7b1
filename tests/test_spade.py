"""SPADE's translator beside the authors' PyTorch network with the same weights."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import spade

GOLDEN = json.loads((Path(__file__).parent / "golden" / "spade.json").read_text())
BLOCKS = (32, 32, 32, 16, 8, 4, 2)  # channels out, at a width of 2
HIDDEN = 128


def shapes():
    """The shapes of all weights in PyTorch's order: [out, in, rows, columns] of kernels, [out] of biases."""

    def conv(features, channels, size=3):
        return [(features, channels, size, size), (features,)]

    def modulated(count):
        return conv(HIDDEN, 3) + 2 * conv(count, HIDDEN)

    found, count = conv(32, 3), 32
    for features in BLOCKS:
        inner, changes = min(count, features), count != features
        found += conv(inner, count) + conv(features, inner) + conv(features, count, 1)[: int(changes)]
        found += modulated(count) + modulated(inner) + (modulated(count) if changes else [])
        count = features
    return found + conv(3, 2)


def weights():
    """Numbers by a formula, in the order and the axes of Flax."""
    for i, shape in enumerate(shapes()):
        size = int(np.prod(shape))
        scale = 0.5 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        numbers = (np.sin(np.arange(size) * 0.7 + i) * scale).astype(np.float32).reshape(shape)
        yield jnp.asarray(numbers.transpose(2, 3, 1, 0) if len(shape) > 1 else numbers)


def parameters():
    numbers = weights()

    def conv(use_bias=True):
        return {name: next(numbers) for name in ("kernel", "bias")[: 1 + use_bias]}

    def modulated():
        shared, scales, shifts = conv(), conv(), conv()
        both = {name: jnp.concatenate([scales[name], shifts[name]], axis=-1) for name in scales}
        return {"Conv_0": shared, "Conv_1": both}

    found, count = {"Conv_0": conv()}, 32
    for i, features in enumerate(BLOCKS):
        changes = count != features
        own = {"Conv_0": conv(), "Conv_1": conv()} | ({"Conv_2": conv(use_bias=False)} if changes else {})
        found[f"Block_{i}"] = own | {f"Modulated_{j}": modulated() for j in range(2 + changes)}
        count = features
    return found | {"Conv_1": conv()}


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_network_equals_that_of_its_authors(norm, batch_last):
    """Of width 2 and without spectral norm, at 64x64, in training: every 16th pixel."""
    numbers = np.cos(np.arange(2 * 3 * 64 * 64) * 0.37).reshape(2, 3, 64, 64)
    labels = jnp.asarray(numbers.transpose(0, 2, 3, 1), jnp.float32)
    network = spade.Translator((64, 64, 3), base_channels=2, norm=norm, spectral_norm=False, batch_last=batch_last)
    own, expected = parameters(), np.asarray(GOLDEN[norm])
    shapes_of = jax.eval_shape(lambda: network.init(jax.random.key(0), labels, train=True))["params"]
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, shapes_of)
    images, _ = jax.jit(lambda params: network.apply({"params": params}, labels, train=True, mutable=True))(own)
    np.testing.assert_allclose(images[:, ::16, ::16].transpose(0, 3, 1, 2), expected, atol=1e-5)
