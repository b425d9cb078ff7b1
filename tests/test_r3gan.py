"""R3GAN's networks beside the authors' PyTorch code with the same weights; their sizes, layouts and first values."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error

from jaxgan.adversarial import conditioning, losses, penalties
from jaxgan.config import build, default
from jaxgan.errors import UserError
from jaxgan.models import r3gan, summary

# As in make_golden_r3gan.py.
BATCH, LATENTS, CLASSES, EMBEDDING, GAMMA = 2, 5, 4, 2, 0.7
WIDTHS, CARDINALITY, BLOCKS, EXPANSION = (4, 4, 6), (2, 4, 3), (2, 1, 1), 2
CHANNELS, SIZE = 3, 16
GOLDEN = ("fake", "logits", "by_image", "penalty_by_params", "losses")


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
    return [*found, ("Dense_0/kernel", (width, width)), ("embedding/kernel", (width, CLASSES))]


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


PRESETS = {  # widths and groups by size, classes, parameters of both networks by the authors' code
    "cifar10": (32, (768,), (96,), 10, 20_781_952, 21_280_512),
    "cifar10 without classes": (32, (768,), (96,), 0, 20_732_160, 20_683_776),
    "ffhq64": (64, (768,) * 4 + (384,), (96,) * 4 + (48,), 0, 22_429_824, 22_381_440),
    "ffhq256": (256, (768,) * 4 + (384, 192, 96), (96,) * 4 + (48, 24, 12), 0, 23_057_952, 23_009_568),
    "imagenet32": (32, (1536,), (96,), 1000, 82_914_304, 86_548_992),
    "imagenet64": (64, (1536,), (96,), 1000, 103_570_432, 107_205_120),
}
WITH_CLASSES = {"generator": "concat", "discriminator": "inner_product", "embedding": 64}


def built(size=8, classes=0, **settings):
    """The experiment of small networks, or of others."""
    labels = {f"conditioning.{name}": value for name, value in WITH_CLASSES.items()} if classes else {}
    own = {"widths": (6,), "cardinality": (2,), "blocks": (1,)} | settings
    sizes = {f"model.{network}.{name}": own[name] for network in ("generator", "discriminator") for name in own}
    channels = {"data.size": size, "data.channels": 3, "latent_dim": 64}
    return build(default({"data.source": "digits", "model.family": "r3gan", **channels, **labels, **sizes}), classes)


def shapes_of(exp, name):
    network, inputs = exp.networks[name], exp.algorithm.inputs(exp)[name]
    return jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=True))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_as_many_parameters_as_the_authors_network(name):
    size, widths, cardinality, classes, *counts = PRESETS[name]
    exp = built(size, classes, widths=widths, cardinality=cardinality, blocks=(2,))
    for network, count in zip(("generator", "discriminator"), counts, strict=True):
        leaves = jax.tree.leaves(shapes_of(exp, network))
        assert sum(math.prod(leaf.shape) for leaf in leaves) == count


def test_the_generator_of_cifar10_takes_as_many_operations_as_the_authors():
    exp = built(32, 10, widths=(768,), cardinality=(96,), blocks=(2,))
    inputs = exp.algorithm.inputs(exp)["generator"]
    rows = summary.layer_rows(exp.networks["generator"], inputs)
    np.testing.assert_allclose(sum(row.flops for row in rows), 14.1e9, rtol=0.01)


# Before training


def test_blocks_begin_as_the_identity():
    """Their last kernels are 0, so a network of more blocks begins as the one with the same other layers."""
    one, two = built(blocks=(1,)), built(blocks=(2, 3))
    latents = jax.random.normal(jax.random.key(1), (2, 64))
    inputs = {"generator": latents, "discriminator": latents.reshape(2, 8, 8, 1).repeat(3, axis=3) / 2}
    for name, given in inputs.items():
        few, many = one.networks[name], two.networks[name]
        init = quick_jit(lambda x, few=few, many=many: [n.init(jax.random.key(0), x, None, True) for n in (few, many)])
        params, deep = (variables["params"] for variables in init(given))
        kept = {key: value for key, value in params["body"].items() if not key.startswith("Block")}
        deep = deep | params | {"body": deep["body"] | kept}
        run = quick_jit(
            lambda *p, x=given, few=few, many=many: [
                n.apply({"params": own}, x, None, True) for n, own in zip((few, many), p, strict=True)
            ]
        )
        outs = run(params, deep)
        for a, b in zip(*map(jax.tree.leaves, outs), strict=True):
            np.testing.assert_array_equal(a, b)


def test_kernels_begin_with_the_published_deviations():
    exp = built(16, classes=10, widths=(64, 32), cardinality=(4,), blocks=(2,))
    gain = math.sqrt(2 / 1.04) * 6 ** (-1 / 4)  # of six blocks
    for name, network in exp.networks.items():
        inputs = exp.algorithm.inputs(exp)[name]
        params = quick_jit(lambda n=network, x=inputs: n.init(jax.random.key(0), *x, train=True))()["params"]
        body = params["body"]
        width = body["Block_0"]["Conv_0"]["kernel"].shape[2]
        expected = {
            ("Block_0", "Conv_0", "kernel"): gain / width**0.5,
            ("Block_0", "Conv_1", "kernel"): gain / (9 * 2 * width / 4) ** 0.5,
            ("Block_0", "Conv_2", "kernel"): 0.0,
            ("Block_0", "Conv_0", "bias"): 0.0,
            ("Basis_0", "basis"): 1.0 if name == "generator" else 1 / 4,
        }
        for path, deviation in expected.items():
            array = body
            for key in path:
                array = array[key]
            np.testing.assert_allclose(np.std(array), deviation, rtol=0.1, err_msg=f"{name} {path}")
        rows = params["embedding"]["kernel"]  # [classes, 64] in both
        np.testing.assert_allclose(rows.std(), 10**-0.5 if name == "generator" else 640**-0.5, rtol=0.1)
        assert not {"Dense_1"} & set(params)


# Shapes and settings


@pytest.mark.parametrize("size", [4, 7, 8, 28, 48, "4x12", "24x16"])
def test_shapes(size):
    exp = built(size)
    rows, columns = (int(side) for side in str(size).split("x")) if isinstance(size, str) else (size, size)
    inputs = exp.algorithm.inputs(exp)
    run = lambda network, given: jax.eval_shape(  # noqa: E731
        lambda x: network.init_with_output(jax.random.key(0), x, None, train=True)[0], given
    )
    images = run(exp.networks["generator"], inputs["generator"][0])
    assert (images.shape, images.dtype) == ((1, rows, columns, 3), jnp.float32)
    d_out = run(exp.networks["discriminator"], images)
    assert (d_out.logits.shape, d_out.features.shape, d_out.features.dtype) == ((1,), (1, 6), jnp.float32)


@pytest.mark.parametrize(("size", "near"), [(3, "4"), (9, "8, 10"), (36, "32, 40"), ("9x12", "8x12, 10x12")])
def test_a_size_that_cannot_be_made_is_an_error_that_names_near_ones(size, near):
    with raises_user_error(
        UserError, match=rf"size={size} does not fit .*r3gan: an r3gan makes .*; near ones: {near}$"
    ):
        built(size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (6, 6, 6)}, r"widths=\(6, 6, 6\) must have at most 2 numbers, one for each of 4x4, 8x8"),
        ({"blocks": (1, 1, 1)}, r"blocks=\(1, 1, 1\) must have at most 2 numbers"),
        ({"bfloat16_stages": 3}, "bfloat16_stages=3 must be at most 2, for 4x4, 8x8"),
        ({"cardinality": (2, 5)}, r"cardinality=\(2, 5\) must divide width x expansion: 5 and 6 x 2"),
        ({"widths": ()}, r"widths=\(\) must be whole numbers of at least 1, one or more"),
    ],
)
def test_settings_that_do_not_go_together_are_an_error(settings, message):
    with raises_user_error(UserError, match=rf"config\.model\.generator\.{message}"):
        built(8, **settings)


def test_the_initializer_cannot_be_chosen():
    with raises_user_error(UserError, match=r"config\.model\.initializer has no effect here: model\.family=dcgan"):
        default({"model.family": "r3gan", "model.initializer": "he"})


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_half_precision_of_some_sizes_is_near_and_ends_in_float32(network):
    """Of more sizes it is another number each time, and of all of them that of the other setting."""
    exps = [built(16, bfloat16_stages=count) for count in range(4)]
    exps.append(build_with_precision(exps[0]))
    params = made_up(shapes_of(exps[0], network))
    given = jax.random.normal(jax.random.key(1), exps[0].algorithm.inputs(exps[0])[network][0].shape)
    run = quick_jit(lambda params: [exp.networks[network].apply(params, given, None, True) for exp in exps])
    outs = [np.asarray(out if network == "generator" else out.features) for out in run(params)]
    assert {out.dtype for out in outs} == {np.dtype(np.float32)}
    for out in outs[1:]:
        assert 0 < np.linalg.norm(out - outs[0]) / np.linalg.norm(outs[0]) < 12 * 2**-8
    assert len({out.tobytes() for out in outs}) == 4
    np.testing.assert_array_equal(outs[3], outs[4])


def build_with_precision(exp):
    config = exp.config.copy_and_resolve_references()
    config.precision = "bfloat16"
    return build(config)


def made_up(shapes):
    """Random parameters, those that begin at 0 among them."""
    rng = np.random.default_rng(0)

    def numbers(leaf):
        scale = math.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.1
        return jnp.asarray(rng.normal(size=leaf.shape) * scale, leaf.dtype)

    return jax.tree.map(numbers, shapes)
