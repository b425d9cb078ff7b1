"""The Inception network: its outputs are those of torch-fidelity, its resize is that of TensorFlow 1."""

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import assert_same_bits, quick_jit, raises_user_error
from flax import traverse_util
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from random_inception import IMAGES, random_images, random_state
from torch_files import dictionary, tensor, zipped

from jaxgan.data import cache
from jaxgan.errors import UserError
from jaxgan.metrics import features, inception, inception_weights
from jaxgan.metrics.inception import SIZE, TAPS

TOLERANCE = 1e-5  # of the root mean square of a tap; torch-fidelity itself is 2e-6 away from double precision
GOLDEN = json.loads((Path(__file__).parent / "golden_inception.json").read_text())


@functools.cache
def state() -> dict[str, np.ndarray]:
    return random_state(inception_weights.torch_shapes())


@functools.cache
def params():
    return traverse_util.unflatten_dict(inception_weights.converted(state(), "random"), sep="/")


@pytest.mark.parametrize("channels", [2, 5])
def test_images_of_other_channels_are_answered(channels):
    examples = cache.from_arrays(np.zeros((2, 8, 8, channels), np.uint8), np.zeros(2, np.int32), ())
    with raises_user_error(UserError, match=f"takes images of 1, 3 or 4 channels, and not of {channels}"):
        features.extractor("inception", examples, Path("weights.pth"))


def test_images_with_an_alpha_lie_on_white():
    """As Pillow lays them, but for what it rounds."""
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 4), np.uint8)
    images[0, ..., 3] = 255
    white = Image.new("RGBA", (16, 16), "white")
    expected = [np.asarray(Image.alpha_composite(white, Image.fromarray(image)))[..., :3] for image in images]
    found = np.asarray(features.opaque(images))
    np.testing.assert_allclose(found.astype(int), np.stack(expected).astype(int), atol=1)
    np.testing.assert_array_equal(found[0], images[0, ..., :3])


# The resize


def by_loops(image: np.ndarray) -> np.ndarray:
    """[height, width, channel] as TensorFlow 1 resizes it, in double precision; its places are in single precision."""
    for _ in range(2):  # rows, and after the turn columns
        rows = []
        for i in range(SIZE):
            place = np.float32(i) * np.float32(len(image) / SIZE)
            above = int(place)
            below = min(above + 1, len(image) - 1)
            share = float(place) - above
            rows.append((1 - share) * np.float64(image[above]) + share * np.float64(image[below]))
        image = np.stack(rows).transpose(1, 0, 2)
    return image


@settings(max_examples=15)
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 3]))
@example(1, 1, 3)
@example(SIZE, 2 * SIZE, 1)
def test_the_resize_is_tensorflow_1_s(height, width, channels):
    image = np.random.default_rng(height * width).integers(0, 256, (1, height, width, channels), np.uint8)
    out = np.asarray(inception.resized(image))
    assert (out.shape, out.dtype) == ((1, SIZE, SIZE, 3), np.float32)
    np.testing.assert_allclose(out, np.broadcast_to((by_loops(image[0])[None] - 128) / 128, out.shape), atol=1e-6)


def test_at_its_own_size_an_image_only_changes_its_range():
    image = random_images("exact")
    np.testing.assert_array_equal(inception.resized(image), (np.float32(image) - 128) / 128)


def test_there_are_no_half_pixels_and_no_antialiasing():
    """Of an image twice as large every second pixel is taken; the first pixel stays in the corner of a smaller one."""
    large = np.random.default_rng(0).integers(0, 256, (1, 2 * SIZE, 2 * SIZE, 3), np.uint8)
    np.testing.assert_array_equal(inception.resized(large), inception.resized(large[:, ::2, ::2]))
    small = random_images("small")
    np.testing.assert_array_equal(inception.resized(small)[:, 0, 0], (np.float32(small[:, 0, 0]) - 128) / 128)


@pytest.mark.parametrize("images", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 4), np.uint8)])
def test_other_images_are_refused(images):
    with pytest.raises((ValueError, TypeError), match=r"images are uint8 of 1 or 3 channels|UInt8"):  # of jaxtyping
        inception.resized(images)


# The network


@functools.cache
def outputs() -> dict[str, dict[str, np.ndarray]]:
    """The taps of the golden images under random weights, by the images' names."""
    images = jnp.concatenate([inception.resized(random_images(name)) for name in GOLDEN])
    apply = quick_jit(lambda params, images: inception.Inception().apply({"params": params}, images))
    taps = jax.device_get(apply(params(), images))
    return {name: {tap: values[place] for tap, values in taps.items()} for place, name in enumerate(GOLDEN)}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("tap", TAPS)
def test_every_tap_is_torch_fidelity_s(name, tap):
    golden, values = GOLDEN[name][tap], outputs()[name][tap]
    np.testing.assert_allclose(np.sqrt(np.mean(values**2)), golden["rms"], rtol=TOLERANCE)
    few = values[np.linspace(0, len(values) - 1, len(golden["entries"])).astype(int)]
    np.testing.assert_allclose(few, golden["entries"], rtol=0, atol=TOLERANCE * golden["rms"])


@pytest.mark.parametrize("tap", TAPS)
def test_the_golden_numbers_tell_images_apart(tap):
    """Or they would say nothing of what the network does with an image."""
    one, other = (np.array(GOLDEN[name][tap]["entries"]) for name in GOLDEN)
    assert np.abs(one - other).max() > 0.01 * GOLDEN["small"][tap]["rms"]
    assert 0.01 < GOLDEN["small"][tap]["rms"] < 100


def test_everything_is_multiplied_in_full_precision():
    """Which a CPU does anyhow, and GPUs and TPUs do only if asked."""
    steps = jax.make_jaxpr(inception.taps)(params(), random_images("grey")).eqns
    products = [step for step in steps if step.primitive.name in ("conv_general_dilated", "dot_general")]
    assert len(products) == len(inception_weights.convolutions()) + 1 == 95
    assert {step.params["precision"] for step in products} == {(jax.lax.Precision.HIGHEST,) * 2}


def test_taps_have_their_sizes_and_the_logits_differ_by_the_bias():
    images = jax.ShapeDtypeStruct((5, 16, 24, 1), jnp.uint8)
    shapes = {tap: value.shape for tap, value in jax.eval_shape(inception.taps, params(), images).items()}
    assert shapes == {tap: (5, inception.CLASSES if tap.startswith("logits") else int(tap)) for tap in TAPS}
    for taps in outputs().values():
        np.testing.assert_allclose(taps["logits"] - taps["logits_unbiased"], state()["fc.bias"], atol=1e-5)


# Weights


def write_state(path: Path) -> None:
    """Writes the random weights as PyTorch would."""
    about, stored = {}, {}
    for name, array in state().items():
        strides = [int(np.prod(array.shape[axis + 1 :], dtype=int)) for axis in range(array.ndim)]
        about[name] = tensor(0, array.shape, strides, array.size, str(len(stored)))
        stored[f"data_{len(stored)}"] = array.tobytes()
    path.write_bytes(zipped(dictionary(**about), **stored))


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    write_state(path)
    yield path
    path.unlink()  # pytest keeps its folders, and this is 95 MB


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder of a cache of its own."""
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "inception"
    shutil.rmtree(tmp_path / "cache")


def test_a_file_is_converted_once_and_carries_its_hash(weights_file, cached, monkeypatch):
    first = inception_weights.load(weights_file)
    assert first.sha256 == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert_same_bits(first.params, params())
    monkeypatch.delattr(inception_weights.torch_weights, "read")
    again = inception_weights.load(weights_file)
    assert again.sha256 == first.sha256
    assert_same_bits(again.params, first.params)


def test_a_damaged_cache_is_an_error_of_one_line(weights_file, cached):
    inception_weights.load(weights_file)
    (place,) = cached.glob("*.npz")
    whole = place.read_bytes()
    for raw in (b"", whole[:1000], whole[:-1000], whole[:5000] + bytes(64) + whole[5064:], b"x" * 100):
        place.write_bytes(raw)
        with raises_user_error(UserError, match=r"is damaged \(.*\): remove it"):
            inception_weights.load(weights_file)


def test_a_cache_of_other_arrays_is_damaged_too(weights_file, cached):
    inception_weights.load(weights_file)
    (place,) = cached.glob("*.npz")
    np.savez(place, bias=np.zeros(3))
    with raises_user_error(UserError, match="it holds other arrays"):
        inception_weights.load(weights_file)


def test_what_is_refused_leaves_nothing_in_the_cache(tmp_path, cached):
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with raises_user_error(UserError, match="cannot be read as weights of PyTorch"):
        inception_weights.load(tmp_path / "weights.pth")
    assert list(cached.glob("*.npz*")) == []


def test_only_the_public_file_s_hash_makes_weights_public():
    public = inception_weights.Weights({}, inception_weights.PUBLIC)
    assert public.public
    assert public.name == "public Inception weights 6726825d"
    other = inception_weights.Weights({}, inception_weights.PUBLIC[:8] + "0" * 56)
    assert not other.public
    assert other.name == "other Inception weights 6726825d"


def changed(**arrays: np.ndarray | None) -> dict[str, np.ndarray]:
    """The random state dict with some tensors replaced or, where None, left out; `fc_bias` stands for `fc.bias`."""
    new = state() | {name.replace("__", "."): array for name, array in arrays.items()}
    return {name: array for name, array in new.items() if array is not None}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"fc__bias": None}, r"\(missing: fc\.bias\)"),
        ({"fc__extra": np.zeros(1)}, r"\(unknown: fc\.extra\)"),
        ({"fc__bias": np.zeros(1000)}, r"\(of another shape: fc\.bias \(1000,\) \(not \(1008,\)\)\)"),
        ({"fc__weight": np.zeros((2048, 1008))}, r"fc\.weight \(2048, 1008\) \(not \(1008, 2048\)\)"),
        ({"fc__bias": None, "fc__b": np.zeros(1)}, r"\(missing: fc\.bias; unknown: fc\.b\)"),
        (dict.fromkeys(list("abcde"), np.zeros(1)), r"\(unknown: a, b, c and 2 more\)"),
        ({"fc__bias": np.full(1008, np.nan)}, r"\(not finite: bias\)"),
        (
            {"Conv2d_1a_3x3__bn__running_var": np.full(32, -1.0)},
            r"\(not finite: Conv2d_1a_3x3/bias, Conv2d_1a_3x3/kernel",
        ),
    ],
)
def test_a_state_dict_of_another_network_is_refused(arrays, message):
    with raises_user_error(UserError, match="^x.pth does not hold the weights of the Inception network .*" + message):
        inception_weights.converted(changed(**arrays), "x.pth")


def test_how_many_batches_were_seen_does_not_matter():
    counted = changed(Conv2d_1a_3x3__bn__num_batches_tracked=np.int64(7))
    plain = traverse_util.flatten_dict(params(), sep="/")
    assert_same_bits(inception_weights.converted(counted, "x.pth"), plain)


# With torch-fidelity, where that is installed


@functools.cache
def reference():
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is in the extra scores_test")
    import make_golden_inception  # noqa: PLC0415

    network = make_golden_inception.network(state())
    return functools.partial(make_golden_inception.outputs, network)


@pytest.mark.parametrize("name", IMAGES)
def test_the_network_is_torch_fidelity_s(name):
    images = random_images(name, count=2)
    expected, taps = reference()(images), jax.device_get(jax.jit(inception.taps)(params(), images))
    for tap in TAPS:
        scale = np.sqrt(np.mean(expected[tap] ** 2))
        np.testing.assert_allclose(taps[tap], expected[tap], rtol=0, atol=TOLERANCE * scale, err_msg=tap)


@pytest.mark.parametrize("name", IMAGES)
def test_the_resize_is_torch_fidelity_s_to_the_last_bit(name):
    name_of_it = "torch_fidelity.interpolate_compat_tensorflow"
    fidelity = pytest.importorskip(name_of_it, reason="torch-fidelity is in the extra scores_test")
    torch = pytest.importorskip("torch", reason="PyTorch comes with torch-fidelity, in the extra scores_test")
    images = random_images(name)
    planes = torch.from_numpy(np.float32(images).transpose(0, 3, 1, 2).copy())
    out = fidelity.interpolate_bilinear_2d_like_tensorflow1x(planes, (SIZE, SIZE), align_corners=False)
    expected = np.broadcast_to(((out - 128) / 128).numpy().transpose(0, 2, 3, 1), (1, SIZE, SIZE, 3))
    np.testing.assert_array_equal(inception.resized(images), expected)
