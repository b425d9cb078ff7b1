"""Residual networks: published sizes, laws of their parts, layouts, and settings that do not go together."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import leaves, quick_jit, raises_user_error
from made_up import numbers

from jaxgan.adversarial.penalties import orthogonality
from jaxgan.cli.train import load_config
from jaxgan.config import build, default
from jaxgan.errors import UserError
from jaxgan.models import resnet
from jaxgan.models.ops import layers, resampling
from jaxgan.models.ops.attention import SelfAttention
from jaxgan.models.ops.modulated_norm import ModulatedNorm
from jaxgan.models.ops.resampled_conv import ResampledConv

PRESETS = {  # name -> classes, parameters of generator and discriminator by the authors' code
    "sngan32": (0, 4_276_739, 1_053_825),
    "sngan48": (0, 4_878_083, 10_141_441),
    "sngan64": (0, 12_220_675, 10_141_441),
    "sngan128": (0, 32_150_787, 29_017_857),
    "sngan_projection32": (10, 4_304_387, 1_055_105),
    "sagan128": (1000, 42_017_412, 39_448_258),
    "biggan_cifar10": (10, 4_304_387, 4_207_361),
    "biggan_cifar10_studiogan": (10, 9_416_196, 2_415_170),
    "biggan64": (1000, 31_866_116, 20_571_842),
    "biggan128": (1000, 70_433_988, 87_982_370),
    "biggan256": (1000, 82_097_604, 99_191_330),
    "biggan_deep128": (1000, 50_244_484, 34_590_210),
    "biggan_deep256": (1000, 55_736_708, 38_247_426),
}
BY_CLASSES = {"conditioning.generator": "cbn", "conditioning.discriminator": "projection"}
PUBLISHED = Path(__file__).parent.parent / "configs" / "published"


def shapes_of(exp, name):
    network, inputs = exp.networks[name], exp.algorithm.inputs(exp)[name]
    return jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=True))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_as_many_parameters_as_the_authors_networks(name):
    classes, *counts = PRESETS[name]
    exp = build(load_config(str(PUBLISHED / f"{name}.py")), classes)
    for network, count in zip(("generator", "discriminator"), counts, strict=True):
        assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes_of(exp, network)["params"])) == count


def built(classes=0, **settings):
    """The experiment of small networks of 16x16 images, with some settings changed."""
    own = {"data.source": "digits", "data.size": 16, "data.channels": 3, "model.family": "resnet", "latent_dim": 6}
    own |= {f"model.{network}.base_channels": 4 for network in ("generator", "discriminator")}
    own |= {f"model.{network}.multipliers": (2,) for network in ("generator", "discriminator")}
    own |= BY_CLASSES if classes else {}
    return build(default(own | {name.replace("__", "."): value for name, value in settings.items()}), classes)


def made_up(shapes, scale: float = 1.0):
    """Variables by a formula, of every array other numbers; variances are positive."""

    def array(path, leaf):
        name = jax.tree_util.keystr(path)
        own = numbers(name, leaf.shape) * np.float32(scale / math.prod(leaf.shape[:-1]) ** 0.5)
        return jnp.asarray(1 + own**2 if "'var'" in name else own)

    return jax.tree_util.tree_map_with_path(array, shapes)


# Parts


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("doubles", [True, False])
def test_a_resampled_convolution_is_a_convolution_beside_a_resampling(doubles, batch_last):
    images = layers.to_layout(jnp.asarray(numbers("images", (3, 8, 6, 5))), batch_last)
    params = {"kernel": jnp.asarray(numbers("kernel", (3, 3, 5, 7))), "bias": jnp.asarray(numbers("bias", (7,)))}
    fused = ResampledConv(7, doubles, batch_last=batch_last)
    plain = layers.Conv(7, 3, stride=1, padding=(1, 1), batch_last=batch_last)

    @quick_jit
    def run(params, images):
        by_parts = resampling.repeat(images) if doubles else images
        by_parts = plain.apply({"params": params}, by_parts)
        return fused.apply({"params": params}, images), by_parts if doubles else resampling.average_pool(by_parts)

    found, expected = run(params, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_squares_of_pixels_by_hand():
    features = jnp.asarray(numbers("features", (2, 5, 6, 3)))
    even = np.asarray(features[:, :4])
    corners = np.stack([even[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    np.testing.assert_allclose(resampling.average_pool(features[:, :4]), corners.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(resampling.max_pool(features), corners.max(0))
    np.testing.assert_array_equal(resampling.repeat(features), np.repeat(np.repeat(features, 2, 1), 2, 2))


def attention(batch_last=False):
    return SelfAttention(False, layers.nn.initializers.normal(1.0), batch_last)


def test_attention_of_gain_0_is_its_input():
    features = jnp.asarray(numbers("features", (2, 4, 6, 16)))
    out, variables = attention().init_with_output(jax.random.key(0), features, True)
    np.testing.assert_array_equal(out, features)
    gained = variables["params"] | {"gain": jnp.float32(1)}
    assert np.abs(attention().apply({"params": gained}, features, True) - features).max() > 0.1


@pytest.mark.parametrize("batch_last", [False, True])
def test_attention_by_hand(batch_last):
    """In float64, place by place."""
    features, rng = np.random.default_rng(0).normal(size=(2, 4, 6, 16)), np.random.default_rng(1)
    sizes = {"query": (16, 2), "key": (16, 2), "value": (16, 8), "out": (8, 16)}
    kernels = {name: rng.normal(size=shape) for name, shape in sizes.items()}
    params = {name: {"kernel": jnp.float32(kernel[None, None])} for name, kernel in kernels.items()}
    own = layers.to_layout(jnp.float32(features), batch_last)
    found = attention(batch_last).apply({"params": params | {"gain": jnp.float32(0.7)}}, own, True)
    pooled = {
        name: (features @ kernels[name]).reshape(2, 2, 2, 3, 2, -1).max((2, 4)).reshape(2, 6, -1)
        for name in ("key", "value")
    }
    for image in range(2):
        for row in range(4):
            for column in range(6):
                place = features[image, row, column]
                weights = np.exp(pooled["key"][image] @ (place @ kernels["query"]))
                gathered = (weights / weights.sum()) @ pooled["value"][image]
                expected = place + 0.7 * gathered @ kernels["out"]
                actual = layers.to_layout(found, batch_last)[image, row, column]
                np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def modulated_norm(norm="batch", batch_last=False):
    return ModulatedNorm(norm, 1e-5, False, layers.nn.initializers.zeros, batch_last=batch_last)


@pytest.mark.parametrize("batch_last", [False, True])
def test_norms_of_equal_classes_are_batch_norm(batch_last):
    """Where every class has the same scales and shifts, those of BatchNorm itself give the same."""
    features = layers.to_layout(jnp.asarray(numbers("features", (6, 3, 4, 5))), batch_last)
    labels = jax.nn.one_hot(jnp.asarray([0, 1, 2, 2, 0, 1]), 3)
    scale, bias = (jnp.asarray(numbers(name, (5,))) for name in ("scale", "bias"))
    same = {"gain": {"kernel": jnp.tile(scale - 1, (3, 1))}, "bias": {"kernel": jnp.tile(bias, (3, 1))}}
    norm = modulated_norm(batch_last=batch_last)
    stats = {"BatchNorm_0": {"mean": jnp.zeros(5), "var": jnp.ones(5)}}
    runs = [({"params": same}, labels), ({"params": {"BatchNorm_0": {"scale": scale, "bias": bias}}}, None)]
    one, other = (
        norm.apply(variables | {"batch_stats": stats}, features, given, True, mutable=["batch_stats"])
        for variables, given in runs
    )
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_each_class_has_its_own_scales_and_shifts():
    features, labels = jnp.asarray(numbers("features", (4, 3, 4, 5))), jax.nn.one_hot(jnp.arange(4), 4)
    gain, bias = numbers("gain", (4, 5)), numbers("shift", (4, 5))
    params = {"gain": {"kernel": jnp.asarray(gain)}, "bias": {"kernel": jnp.asarray(bias)}}
    found = modulated_norm("none").apply({"params": params}, features, labels, True)
    expected = np.asarray(features) * (1 + gain)[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Latents


def test_latents_and_labels_go_where_they_belong():
    latents, labels = jnp.arange(12.0).reshape(2, 6), jnp.asarray([[100.0], [200.0]])
    flat = resnet.modulation_inputs(latents, labels, "none", 2)
    np.testing.assert_array_equal(flat.first, latents)
    assert all(stage is labels for stage in flat.stages)
    split = resnet.modulation_inputs(latents, labels, "split", 2)
    np.testing.assert_array_equal(split.first, latents[:, :2])
    np.testing.assert_array_equal(split.stages[0], [[100, 2, 3], [200, 8, 9]])
    np.testing.assert_array_equal(split.stages[1], [[100, 4, 5], [200, 10, 11]])
    full = resnet.modulation_inputs(latents, labels, "full", 2)
    for given in (full.first, *full.stages):
        np.testing.assert_array_equal(given, jnp.concatenate([labels, latents], axis=1))


def test_latents_of_one_part_are_flat_ones():
    latents = jnp.arange(12.0).reshape(2, 6)
    one = resnet.modulation_inputs(latents, None, "split", 0)
    np.testing.assert_array_equal(one.first, resnet.modulation_inputs(latents, None, "none", 0).first)
    assert one.stages == []


def test_split_latents_that_modulate_nothing_are_flat_ones():
    """With kernels of 0 for the parts of the latents, a generator is the one whose first layer has the first part."""
    split = built(5, model__generator__skip_z="split", model__generator__embedding=3)
    flat = built(5, model__generator__embedding=3, latent_dim=2)
    latents, labels = jnp.asarray(numbers("latents", (5, 6))), jnp.eye(5)
    params = made_up(shapes_of(split, "generator")["params"])
    few = shapes_of(flat, "generator")["params"]
    shorter = jax.tree.map(lambda array, leaf: array[: leaf.shape[0]] if array.ndim == 2 else array, params, few)
    shapes = jax.tree.map(lambda leaf: leaf.shape, few)
    assert jax.tree.map(jnp.shape, shorter) == shapes
    zeroed = jax.tree.map(
        lambda array, own: jnp.concatenate([own, jnp.zeros_like(array[len(own) :])]) if array.ndim == 2 else array,
        params,
        shorter,
    )
    run = quick_jit(
        lambda zeroed, shorter: [
            exp.networks["generator"].apply({"params": own}, z, labels, True, mutable=["batch_stats"])[0]
            for exp, own, z in ((split, zeroed, latents), (flat, shorter, latents[:, :2]))
        ]
    )
    found, expected = run(zeroed, shorter)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected).max() > 0.01


# Networks

KINDS = {
    "sngan": {
        "model__discriminator__wide": False,
        "model__discriminator__rectified_shortcuts": True,
        "model__generator__upsampling": "bilinear",
    },
    "biggan": {
        "model__generator__multipliers": (4, 2, 1),
        "model__discriminator__multipliers": (1, 2, 2),
        "model__generator__embedding": 3,
        "model__generator__skip_z": "split",
        "model__generator__attention": (8,),
        "model__discriminator__attention": (8,),
    },
    "deep": {
        "model__generator__block": "bottleneck",
        "model__discriminator__block": "bottleneck",
        "model__generator__depth": 2,
        "model__discriminator__depth": 2,
        "model__generator__multipliers": (4, 2, 1),
        "model__discriminator__multipliers": (1, 2, 4),
        "model__generator__embedding": 3,
        "model__generator__skip_z": "full",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_both_layouts_are_the_same_network(network, kind):
    """Of the same variables they have the same outputs, gradients and new model states."""
    exp = built(3, **{f"model__{network}__spectral_norm": True}, **KINDS[kind])
    module = exp.networks[network]
    pair = [module.clone(body=module.body.clone(batch_last=batch_last)) for batch_last in (False, True)]
    first, condition = (
        jnp.asarray(numbers(f"{network} {i}", (4, *part.shape[1:])))
        for i, part in enumerate(exp.algorithm.inputs(exp)[network])
    )
    variables = made_up(shapes_of(exp, network))

    def outcome(module, variables):
        state = {name: value for name, value in variables.items() if name != "params"}

        def loss(params, first):
            out, new = module.apply({"params": params, **state}, first, condition, True, mutable=list(state))
            return sum(jnp.sin(3 * leaf).sum() for leaf in jax.tree.leaves(out)), (out, new)

        return jax.grad(loss, (0, 1), has_aux=True)(variables["params"], first)

    one, other = quick_jit(lambda variables: [outcome(module, variables) for module in pair])(variables)
    one, other = leaves(one), leaves(other)
    largest = max(np.abs(array).max() for path, array in one.items() if "kernel" in path)
    for path, array in one.items():
        atol = 2e-4 * max(np.abs(array).max(), 1e-3 * largest)
        np.testing.assert_allclose(other[path], array, rtol=0, atol=atol, err_msg=path)


@pytest.mark.parametrize("size", [8, 10, "12x8", 28])
@pytest.mark.parametrize("block", resnet.BLOCKS)
def test_shapes(size, block):
    exp = built(data__size=size, model__generator__block=block, model__discriminator__block=block)
    rows, columns = (int(side) for side in str(size).split("x")) if isinstance(size, str) else (size, size)
    run = lambda network, given: jax.eval_shape(  # noqa: E731
        lambda x: network.init_with_output(jax.random.key(0), x, None, train=True)[0], given
    )
    images = run(exp.networks["generator"], exp.algorithm.inputs(exp)["generator"][0])
    assert (images.shape, images.dtype) == ((1, rows, columns, 3), jnp.float32)
    d_out = run(exp.networks["discriminator"], images)
    assert (d_out.logits.shape, d_out.features.shape, d_out.features.dtype) == ((1,), (1, 8), jnp.float32)


def test_half_precision_stays_inside():
    exps = [built(3, precision=precision, **KINDS["biggan"]) for precision in ("float32", "bfloat16")]
    for network in ("generator", "discriminator"):
        one, other = (shapes_of(exp, network) for exp in exps)
        assert one == other
        inputs = exps[0].algorithm.inputs(exps[0])[network]
        for exp in exps:
            run = functools.partial(exp.networks[network].apply, train=False)
            outs = jax.eval_shape(run, one, *inputs)
            assert {leaf.dtype for leaf in jax.tree.leaves(outs)} == {np.dtype(np.float32)}


def test_blocks_begin_with_the_asked_gain():
    """Their kernels of 3 x 3 alone."""
    params = [
        quick_jit(functools.partial(exp.networks["generator"].init, jax.random.key(0), train=True))(
            *exp.algorithm.inputs(exp)["generator"]
        )["params"]["body"]
        for exp in (built(model__generator__block_gain=gain) for gain in (1.0, 3.0))
    ]
    one, other = map(leaves, params)
    for path, array in one.items():
        gain = 3 if "conv" in path and "kernel" in path else 1
        np.testing.assert_allclose(other[path], gain * array, rtol=1e-5, err_msg=path)


# Settings that do not go together


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model__generator__skip_z": "split", "latent_dim": 7},
            r"generator\.skip_z=split gives equal parts .* 2 stages: config\.latent_dim=7 must be a multiple of 3",
        ),
        (
            {"model__generator__multipliers": (2, 2, 2, 2)},
            r"generator\.multipliers=\(2, 2, 2, 2\) must have at most 3 numbers, one for each of the sides 4, 8, 16",
        ),
        ({"model__generator__attention": (4,)}, r"generator\.attention=\(4,\): 4 must be one of the sides 8, 16"),
        (
            {"model__discriminator__attention": (8, 16)},
            r"discriminator\.attention=\(8, 16\): 16 must be one of the sides 4, 8",
        ),
        (
            {"model__discriminator__downsamples": 5},
            r"discriminator\.downsamples=5 must be at most 4: 16x16 cannot be halved as often",
        ),
        (
            {"model__generator__block": "bottleneck", "model__generator__multipliers": (1, 2)},
            r"generator\.multipliers=\(1, 2\) must not grow with block=bottleneck",
        ),
        (
            {"model__discriminator__block": "bottleneck", "model__discriminator__multipliers": (2, 1)},
            r"discriminator\.multipliers=\(2, 1\) must not shrink with block=bottleneck",
        ),
        (
            {"model__generator__embedding": 8},
            r"config\.model\.generator\.embedding=8 has no effect with config\.conditioning\.generator=none",
        ),
        ({"data__size": 36}, r"size=36 does not fit .*resnet: a resnet makes images .*; near ones: 32, 40$"),
    ],
)
def test_settings_that_do_not_go_together_are_an_error(settings, message):
    with raises_user_error(UserError, match=message):
        built(**settings)


def test_the_orthogonal_penalty_leaves_embeddings_alone():
    """As BigGAN's: whatever the embedding is, its columns are free."""
    params = {"embedding": {"kernel": jnp.ones((4, 3))}, "dense": {"kernel": jnp.asarray(numbers("kernel", (5, 3)))}}
    alone = {"dense": params["dense"]}
    gram = np.float64(alone["dense"]["kernel"]).T @ alone["dense"]["kernel"]
    expected = (gram**2).sum() - (np.diag(gram) ** 2).sum()
    np.testing.assert_allclose(orthogonality(params), expected, rtol=1e-5)
    np.testing.assert_allclose(orthogonality(alone), expected, rtol=1e-5)
