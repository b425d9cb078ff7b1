"""R3GAN's networks beside the authors' PyTorch code with the same weights; their sizes, layouts and first values."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit

from jaxgan.adversarial import conditioning, losses, penalties
from jaxgan.models import r3gan

# As in make_golden_r3gan.py.
BATCH, LATENTS, CLASSES, EMBEDDING, GAMMA = 2, 5, 4, 2, 0.7
WIDTHS, CARDINALITY, BLOCKS, EXPANSION = (4, 4, 6), (2, 4, 3), (2, 1, 1), 2
CHANNELS, SIZE = 3, 16


def numbers(shape, start):
    """The formula of make_golden_r3gan.py, in PyTorch's order of axes."""
    scale = 1.5 / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.5
    return (np.sin(np.arange(np.prod(shape)) * 0.7 + start) * scale).astype(np.float32).reshape(shape)


def block(number, width, groups):
    """(path, shape in PyTorch) of a block's parameters, in PyTorch's order."""
    inner, path = width * EXPANSION, f"body/Block_{number}/Conv_"
    kernels = [(inner, width, 1, 1), (inner, inner // groups, 3, 3), (width, inner, 1, 1)]
    found = [(f"{path}{layer}/kernel", shape) for layer, shape in enumerate(kernels)]
    return found + [(f"{path}{layer}/bias", (inner,)) for layer in range(2)]


def generator_parameters(classes):
    given = LATENTS + (EMBEDDING if classes else 0)
    found = [("body/Basis_0/basis", (WIDTHS[0], 4, 4)), ("body/Dense_0/kernel", (WIDTHS[0], given))]
    number = 0
    for stage, width in enumerate(WIDTHS):
        if width != WIDTHS[max(stage - 1, 0)]:
            found.append(("body/Conv_0/kernel", (width, WIDTHS[stage - 1], 1, 1)))
        for _ in range(BLOCKS[stage]):
            found += block(number, width, CARDINALITY[stage])
            number += 1
    found.append(("body/Conv_1/kernel", (CHANNELS, WIDTHS[-1], 1, 1)))
    return found + [("embedding/kernel", (EMBEDDING, CLASSES))] * bool(classes)


def discriminator_parameters(classes):
    found, number = [("body/Conv_0/kernel", (WIDTHS[-1], CHANNELS, 1, 1))], 0
    for stage in (2, 1, 0):
        for _ in range(BLOCKS[stage]):
            found += block(number, WIDTHS[stage], CARDINALITY[stage])
            number += 1
        if stage and WIDTHS[stage - 1] != WIDTHS[stage]:
            found.append(("body/Conv_1/kernel", (WIDTHS[stage - 1], WIDTHS[stage], 1, 1)))
    width = WIDTHS[0]
    found.append(("body/Basis_0/basis", (width, 1, 4, 4)))
    if not classes:
        return [*found, ("Dense_0/kernel", (1, width))]
    return [*found, ("Dense_1/kernel", (width, width)), ("Dense_0/kernel", (width, CLASSES))]


def to_flax(path, array):
    """A parameter as our networks have it: [rows, columns, in, out], [in, out], or [rows, columns, channels]."""
    if path.endswith("basis"):
        return array.reshape(len(array), *array.shape[-2:]).transpose(1, 2, 0)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def tree(listed, arrays):
    """Parameters by path as the tree that a network takes."""
    found = {}
    for (path, _), array in zip(listed, arrays, strict=True):
        *groups, last = path.split("/")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = jnp.asarray(to_flax(path, array))
    return found


def networks(batch_last, classes):
    sizes = {"widths": WIDTHS, "cardinality": CARDINALITY, "blocks": BLOCKS, "expansion": EXPANSION}
    sizes |= {"batch_last": batch_last}
    sides = ("concat", "inner_product") if classes else ("none", "none")
    generator = r3gan.Generator((SIZE, SIZE, CHANNELS), **sizes)
    return (
        conditioning.Generator(generator, sides[0], EMBEDDING),
        conditioning.Discriminator(r3gan.Discriminator(**sizes), sides[1], use_bias=False),
    )


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("classes", [0, CLASSES], ids=["plain", "classes"])
def test_the_networks_and_their_losses_are_those_of_the_authors(classes, batch_last):
    with np.load(Path(__file__).parent / "golden" / "r3gan.npz") as arrays:
        golden = {name: arrays[f"{'classes' if classes else 'plain'}/{name}"] for name in GOLDEN}
    listed = generator_parameters(classes), discriminator_parameters(classes)
    params = [tree(own, [numbers(shape, i) for i, (_, shape) in enumerate(own)]) for own in listed]
    latents = jnp.asarray(numbers((BATCH, LATENTS), 1))
    real = jnp.asarray(numbers((BATCH, CHANNELS, SIZE, SIZE), 2).transpose(0, 2, 3, 1))
    condition = jax.nn.one_hot(jnp.arange(BATCH) + 1, classes) if classes else None
    generator, discriminator = networks(batch_last, classes)

    @quick_jit
    def run(g_params, d_params):
        def critic(params, images):
            return discriminator.apply({"params": params}, images, condition, train=True).logits

        def penalty(params):
            return 2 * penalties.r1(lambda images: critic(params, images), real).mean()

        fake = generator.apply({"params": g_params}, latents, condition, train=True)
        pair = critic(d_params, real), critic(d_params, fake)
        loss = losses.LOSSES["relativistic"]
        both = [penalties.r1(lambda images: critic(d_params, images), images) for images in (real, fake)]
        return {
            "fake": fake,
            "logits": pair[0],
            "by_image": jax.grad(lambda images: critic(d_params, images).sum())(real),
            "penalty_by_params": jax.grad(penalty)(d_params),
            "losses": [(loss.discriminator(*pair) + GAMMA * sum(both)).mean(), loss.generator(*pair).mean()],
        }

    found = run(*params)
    ends = np.cumsum([math.prod(shape) for _, shape in listed[1]])
    slopes = np.split(golden["penalty_by_params"], ends[:-1])
    slopes = [slope.reshape(shape) for slope, (_, shape) in zip(slopes, listed[1], strict=True)]
    expected = golden | {name: golden[name].transpose(0, 2, 3, 1) for name in ("fake", "by_image")}
    expected |= {"penalty_by_params": tree(listed[1], slopes), "losses": list(golden["losses"])}
    for name in GOLDEN:
        assert jax.tree.structure(found[name]) == jax.tree.structure(expected[name]), name
        for own, theirs in zip(*map(jax.tree.leaves, (found[name], expected[name])), strict=True):
            np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-4 * max(np.abs(theirs).max(), 1e-9), err_msg=name)


GOLDEN = ("fake", "logits", "by_image", "penalty_by_params", "losses")
