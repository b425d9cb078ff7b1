"""The networks and losses of image translation: parity with the authors' PyTorch code, and published sizes."""

from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit
from make_golden_translation import CASES, KEPT, WIDTH, feature_maps, images, numbers
from translators import filled

from jaxgan.adversarial.losses import LOSSES
from jaxgan.algorithms import pix2pix as pix2pix_algorithm
from jaxgan.core.state import apply
from jaxgan.models import cyclegan, patchgan, pix2pix
from jaxgan.models.ops import antialias, layers
from jaxgan.models.patchgan import PatchOutput

GOLDEN = np.load(Path(__file__).parent / "golden_translation.npz")
SLOW = ("resnet_9", "unet_256")
cases = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES]


def network_of(name: str, batch_last: bool):
    """The network of a golden answer."""
    kind, size, options = CASES[name]
    own = {"norm": options.get("norm", "instance"), "batch_last": batch_last}
    if kind == "unet":
        return pix2pix.Translator((*size, 3), base_channels=WIDTH // 2, dropout=0.0, **own)
    own["antialias"] = options.get("antialias", False)
    if kind == "resnet":
        return cyclegan.Translator((*size, 3), base_channels=WIDTH, blocks=options["n_blocks"], **own)
    return patchgan.Discriminator(base_channels=WIDTH, depth=options["n_layers"], **own)


def output_of(network, given):
    """What it makes of images in training."""
    given = jnp.float32(given)
    variables = filled(network, given)
    return quick_jit(lambda variables, given: apply(network, variables, given, train=True)[0])(variables, given)


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("name", cases)
def test_networks_are_those_of_the_authors(name, batch_last):
    found = output_of(network_of(name, batch_last), images(0, CASES[name][1]))
    step = KEPT.get(name, 1)
    found = found.logits[0][..., None] if isinstance(found, PatchOutput) else found[:, ::step, ::step]
    assert np.abs(GOLDEN[name]).max() > 0.05
    np.testing.assert_allclose(found, GOLDEN[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_last", [False, True])
def test_features_are_those_of_the_authors(batch_last):
    network = network_of("resnet_antialias", batch_last).clone(encode_only=True)
    found = output_of(network, images(0, CASES["resnet_antialias"][1]))
    assert len(found) == 5
    for index, own in enumerate(found):
        expected = GOLDEN[f"features_{index}"]
        np.testing.assert_allclose(layers.to_layout(own, batch_last)[:, ::2, ::2], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("blocks", "count"), [(0, 3), (1, 4), (2, 5), (5, 5), (9, 5)])
def test_few_blocks_give_features_of_the_first_and_the_last(blocks, count):
    """And what comes after the features takes no part: there are no parameters of it."""
    network = cyclegan.Translator((16, 16, 3), base_channels=2, blocks=blocks, encode_only=True)
    given = jnp.zeros((1, 16, 16, 3))
    found, variables = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), given, train=True))
    assert len(found) == count
    assert [own.shape[-1] for own in found] == [3, 4, *[8] * (count - 2)]
    assert len(variables["params"]) == 3 + min(blocks, 5)


def parameters(network, channels: int = 3) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Their shapes for 256x256 pixels; nothing is computed."""
    given = jnp.zeros((1, 256, 256, channels))
    made = jax.eval_shape(lambda: network.init(jax.random.key(0), given, train=True))["params"]
    return {path: own.shape for path, own in flax.traverse_util.flatten_dict(made).items()}


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (cyclegan.Translator((256, 256, 3)), 11_378_179),
        (cyclegan.Translator((256, 256, 3), antialias=True), 11_378_179),
        (pix2pix.Translator((256, 256, 3)), 54_413_955),
        (patchgan.Discriminator(), 2_764_737),
        (patchgan.Discriminator(antialias=True), 2_764_737),
    ],
)
def test_full_networks_have_the_published_number_of_parameters(network, count):
    assert sum(np.prod(shape, dtype=int) for shape in parameters(network).values()) == count


@pytest.mark.parametrize(("size", "widths"), [(256, [64, 128, 256, *[512] * 5]), (128, [64, 128, 256, *[512] * 4])])
def test_a_unet_halves_down_to_one_pixel(size, widths):
    network = pix2pix.Translator((size, size, 3))
    own = parameters(network)
    down = [own[f"Conv_{index}", "kernel"][-1] for index in range(len(widths))]
    up = [own[f"ConvTranspose_{index}", "kernel"][-2:] for index in range(len(widths))]
    assert down == widths
    assert up == list(zip([512, *[2 * width for width in widths[-2::-1]]], [*widths[-2::-1], 3], strict=True))
    assert (f"Conv_{len(widths)}", "kernel") not in own
    assert size >> len(widths) == 1


def test_a_patch_is_70_pixels_and_256_give_30_logits():
    network = patchgan.Discriminator(base_channels=2)
    for own in (network, network.clone(antialias=True)):
        made = jax.eval_shape(
            lambda own=own: own.init_with_output(jax.random.key(0), jnp.zeros((1, 256, 256, 3)), train=True)
        )
        assert made[0].logits[0].shape == (1, 30, 30)


def test_losses_on_patches_are_those_of_the_authors():
    """The authors halve neither square, and halve the discriminator's sum, but pix2pix's, whose pair is not halved."""
    maps = jnp.float32(numbers(1, (2, 5, 4, 1))).reshape(-1)
    expected = {name: float(GOLDEN[name]) for name in GOLDEN.files if GOLDEN[name].ndim == 0}
    squares, entropy = LOSSES["least_squares"], LOSSES["non_saturating"]
    real, fake = (expected[f"lsgan_{kind}"] for kind in ("real", "fake"))
    assert 2 * squares.generator(maps, maps).mean() == pytest.approx(real, rel=1e-5)
    assert squares.discriminator(maps, maps).mean() == pytest.approx((real + fake) / 2, rel=1e-5)
    real, fake = (expected[f"vanilla_{kind}"] for kind in ("real", "fake"))
    assert entropy.generator(maps, maps).mean() == pytest.approx(real, rel=1e-5)
    assert entropy.discriminator(maps, maps).mean() == pytest.approx(real + fake, rel=1e-5)
    distance = jnp.abs(jnp.float32(images(0, (8, 8))) - jnp.float32(images(1, (8, 8)))).mean()
    assert distance == pytest.approx(expected["l1"], rel=1e-5)


def test_feature_matching_is_that_of_the_authors():
    def output(seed: int) -> PatchOutput:
        scales = [[jnp.float32(own) for own in scale] for scale in feature_maps(seed)]
        return PatchOutput((), tuple(tuple(scale[:-1]) for scale in scales))

    found = pix2pix_algorithm.feature_distance(output(0), output(100))
    assert found == pytest.approx(float(GOLDEN["feature_matching"]), rel=1e-5)


def test_blurs_leave_constants_and_average_ramps():
    """In any layout, of even and odd sizes, and in numbers that can be worked out by hand."""
    for rows, columns in ((6, 5), (7, 4)):
        ones = jnp.full((2, rows, columns, 3), 0.7)
        np.testing.assert_allclose(antialias.blur_pool(ones), 0.7, rtol=1e-6)
        np.testing.assert_allclose(antialias.blur_upsample(ones), 0.7, rtol=1e-6)
        assert antialias.blur_pool(ones).shape == (2, (rows + 1) // 2, (columns + 1) // 2, 3)
        assert antialias.blur_upsample(ones).shape == (2, 2 * rows, 2 * columns, 3)
    ramp = jnp.broadcast_to(jnp.arange(5.0)[:, None], (5, 4)).reshape(1, 5, 4, 1)
    np.testing.assert_allclose(antialias.blur_pool(ramp)[0, :, 0, 0], [0.5, 2.0, 3.5])
    doubled = antialias.blur_upsample(ramp)[0, :, 0, 0]
    np.testing.assert_allclose(doubled, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4])
    features = jnp.float32(numbers(0, (2, 6, 5, 3)))
    for blur in (antialias.blur_pool, antialias.blur_upsample):
        other = layers.to_layout(blur(layers.to_layout(features, True)), True)
        np.testing.assert_allclose(other, blur(features), rtol=1e-6)


def test_xavier_normal_has_the_deviation_of_its_gain():
    kernel = layers.INITIALIZERS["xavier_normal"](0.5)(jax.random.key(0), (3, 3, 64, 128))
    assert float(kernel.std()) == pytest.approx(0.5 * np.sqrt(2 / (9 * (64 + 128))), rel=0.01)
    assert float(jnp.abs(kernel).max()) > 3.5 * float(kernel.std())  # not truncated


NETWORKS = {
    "cyclegan": cyclegan.Translator((16, 16, 3), base_channels=2, blocks=2),
    "cut": cyclegan.Translator((16, 16, 3), base_channels=2, blocks=2, antialias=True),
    "unet": pix2pix.Translator((16, 16, 3), base_channels=2, norm="instance", dropout=0.0),
    "patch": patchgan.Discriminator(base_channels=2, depth=2),
}
LEARNING = {  # the biases that no instance normalisation takes away
    "cyclegan": {"Conv_3"},
    "cut": {"Conv_5"},
    "unet": {"Conv_0", "Conv_3", "ConvTranspose_3"},
    "patch": {"Conv_0", "Conv_3"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bias_learns_unless_a_normalisation_takes_it_away(name):
    """Its gradient would be rounding errors, of which Adam makes steps of full length; here it is 0 to the bit."""
    network, given = NETWORKS[name], jnp.float32(images(0, (16, 16)))
    variables = filled(network, given)

    def value(params):
        out = apply(network, variables.replace(params=params), given, train=True)[0]
        return ((out.logits[0] if isinstance(out, PatchOutput) else out) ** 2).mean()

    slopes = flax.traverse_util.flatten_dict(quick_jit(jax.grad(value))(variables.params))
    found = {path[-2] for path, slope in slopes.items() if path[-1] == "bias" and jnp.abs(slope).max() > 0}
    assert found == LEARNING[name]
    assert all(jnp.abs(slope).max() > 0 for path, slope in slopes.items() if path[-1] == "kernel")


def test_biases_before_a_norm_learn_where_their_features_are_compared():
    """The halving convolutions of an encoder, whose features CUT takes before they are normalised."""
    network, given = NETWORKS["cut"].clone(encode_only=True), jnp.float32(images(0, (16, 16)))
    variables = filled(network, given)

    def value(params):
        features = apply(network, variables.replace(params=params), given, train=True)[0]
        return sum(own.mean() for own in features[1:3])

    slopes = quick_jit(jax.grad(value))(variables.params)
    assert [float(jnp.abs(slopes[f"Conv_{index}"]["bias"]).max()) > 0 for index in range(3)] == [False, True, True]
