"""Files of DCGAN's Theano code become runs that compute the same; wrong files are refused."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from PIL import Image

from jaxgan import convert, inference
from jaxgan.cli import sample
from jaxgan.converters import theano_dcgan
from jaxgan.core import latents
from jaxgan.core.state import apply
from jaxgan.errors import UserError
from jaxgan.io import run_folder

SHARED = Path(__file__).parents[2] / "shared" / "data" / "weights_dcgan_svhn"
LATENTS, WIDTH, BATCH = 5, 3, 6

# By hand, as Theano computes: features first, kernels mirrored, the moments of the batch.


def normalized(features, scale, bias):
    """BatchNorm of [batch, features, ...] by the moments of the batch."""
    axes = (0, *range(2, features.ndim))
    wide = (1, -1, *[1] * (features.ndim - 2))
    centred = features - features.mean(axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axes, keepdims=True) + 1e-8)
    return centred / deviation * scale.reshape(wide) + bias.reshape(wide)


def conv(images, kernel):
    """Theano's convolution of [batch, in, rows, columns] with a stride and a padding of 2."""
    size, padded = kernel.shape[2], np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    rows, columns = (side // 2 for side in images.shape[2:])
    out = np.zeros((len(images), len(kernel), rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, :, 2 * i : 2 * i + size, 2 * j : 2 * j + size]
            out[:, :, i, j] = np.einsum("ncab,ocab->no", window, kernel[:, :, ::-1, ::-1])
    return out


def deconv(features, kernel):
    """The transpose of that convolution: what each place adds to the window that it would have been made of."""
    rows, columns = features.shape[2:]
    size = kernel.shape[2]
    out = np.zeros((len(features), kernel.shape[1], 2 * rows + 4, 2 * columns + 4))
    for i in range(rows):
        for j in range(columns):
            added = np.einsum("no,ocab->ncab", features[:, :, i, j], kernel[:, :, ::-1, ::-1])
            out[:, :, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += added
    return out[:, :, 2 : 2 + 2 * rows, 2 : 2 + 2 * columns]


def generated(arrays, points):
    """Images [batch, rows, columns, channels]."""
    hidden = np.maximum(normalized(np.float64(points) @ arrays["gw"], arrays["gg"], arrays["gb"]), 0)
    hidden = hidden.reshape(len(points), -1, 4, 4)
    for number in range(2, 2 + sum(name.startswith("gg") for name in arrays) - 1):
        own = (arrays[f"g{part}{number}"] for part in "wgb")
        hidden = np.maximum(normalized(deconv(hidden, next(own)), *own), 0)
    return np.tanh(deconv(hidden, arrays["gwx"])).transpose(0, 2, 3, 1)


def logits_of(arrays, images):
    """The logits of images."""
    leaky = lambda x: np.where(x > 0, x, 0.2 * x)  # noqa: E731
    hidden = leaky(conv(np.float64(images).transpose(0, 3, 1, 2), arrays["w"]))
    for number in range(2, 2 + sum(name.startswith("g") for name in arrays)):
        own = (arrays[f"{part}{number}"] for part in "wgb")
        hidden = leaky(normalized(conv(hidden, next(own)), *own))
    return (hidden.reshape(len(images), -1) @ arrays["wy"])[:, 0]


def numbers(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Made-up arrays: kernels around 0, scales around 1."""
    rng = np.random.default_rng(seed)
    return {
        name: np.float32(rng.normal(size=shape) * 0.5 / np.sqrt(shape[0] if len(shape) > 1 else 4))
        + np.float32(bool(re.fullmatch(r"g+\d*", name)))
        for name, shape in shapes.items()
    }


GENERATOR = numbers(
    0,
    {"gw": (LATENTS, 2 * WIDTH * 16), "gg": (2 * WIDTH * 16,), "gb": (2 * WIDTH * 16,)}
    | {"gw2": (2 * WIDTH, WIDTH, 5, 5), "gg2": (WIDTH,), "gb2": (WIDTH,), "gwx": (WIDTH, 1, 5, 5)},
)
DISCRIMINATOR = numbers(
    1,
    {"w": (WIDTH, 1, 5, 5), "w2": (2 * WIDTH, WIDTH, 5, 5), "g2": (2 * WIDTH,), "b2": (2 * WIDTH,)}
    | {"wy": (2 * WIDTH * 16, 1)},
)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Those two networks, which make images of 16x16."""
    found = [tmp_path / "generator.npz", tmp_path / "discriminator.npz"]
    for path, arrays in zip(found, (GENERATOR, DISCRIMINATOR), strict=True):
        np.savez(path, **arrays)
    return found


def points_of(count: int, dim: int = LATENTS):
    index = jnp.arange(count)
    return latents.latents_of(jnp.zeros(count, jnp.uint32), index, dim)


@pytest.mark.parametrize("order", [1, -1])
def test_a_converted_network_computes_what_theano_does(files, order):
    """A training pass, whose moments are those of its batch."""
    made = theano_dcgan.convert(files[::order], "folder:images")
    points = points_of(BATCH)
    images, _ = apply(made.exp.networks["generator"], made.networks["generator"], points, None, train=True)
    expected = generated(GENERATOR, points)
    assert images.shape == expected.shape == (BATCH, 16, 16, 1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(images, expected, atol=2e-4)
    out, _ = apply(made.exp.networks["discriminator"], made.networks["discriminator"], images, None, train=True)
    logits = logits_of(DISCRIMINATOR, np.asarray(images))
    assert logits.std() > 0.05
    np.testing.assert_allclose(out.logits, logits, rtol=1e-3, atol=1e-3)


def test_the_moments_are_averages_over_batches_of_samples(files):
    made = theano_dcgan.convert(files, "folder:images")
    own = made.networks["generator"].model_state["batch_stats"]["body"]["BatchNorm_0"]
    batches = np.float64(points_of(theano_dcgan.BATCHES * theano_dcgan.BATCH)).reshape(
        theano_dcgan.BATCHES, -1, LATENTS
    )
    hidden = batches @ theano_dcgan.to_flax("gw", GENERATOR["gw"])
    np.testing.assert_allclose(own["mean"], hidden.mean(1).mean(0), atol=1e-4)
    np.testing.assert_allclose(own["var"], hidden.var(1).mean(0), rtol=1e-3)
    assert made.ema["generator"] is made.networks["generator"]


def test_the_architecture_is_read_off_the_files(files):
    config = theano_dcgan.convert(files, "folder:images").exp.config
    assert (config.data.size, config.data.channels, config.latent_dim) == (16, 1, LATENTS)
    for network in (config.model.generator, config.model.discriminator):
        assert (network.kernel_size, network.base_channels) == (5, WIDTH)
    assert config.model.generator.unit_norm


def test_the_files_become_a_run_that_draws(files, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "out.png"
    assert convert.main([*map(str, files), f"--workdir={run}"]) == 0
    assert "dcgan (16x16x1 images of no classes) of G, D" in capsys.readouterr().out
    assert sample.main([f"--workdir={run}", f"--out={out}", "--num=4", "--columns=2"]) == 0
    with Image.open(out) as image:
        assert np.ptp(np.asarray(image)) > 30
    assert convert.main([str(files[0]), f"--workdir={tmp_path / 'alone'}"]) == 0
    assert "the file has no D, so the discriminator is untrained" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gb2": None}, "generator.npz has no gb2"),
        ({"gg2": np.ones(4)}, r"generator.npz: gg2 is \[4\], and must be \[3\]"),
        ({"gw": np.ones((5, 90))}, r"gw is \[5, 90\], which has too few or too many axes"),
        ({"gwx": np.ones((3, 1, 5))}, r"gwx is \[3, 1, 5\], which has too few"),
        ({"gw2": np.ones((6, 3, 5, 4))}, r"gw2 is \[6, 3, 5, 4\], here \[5, 4, 6, 3\], and must be \[5, 5, 6, 3\]"),
        ({"extra": np.ones(2)}, r"has extra \[2\], which such a network of jaxgan lacks"),
        ({"gwx": None}, "holds no network of DCGAN's first code: it must have gwx or wy"),
    ],
)
def test_a_file_whose_arrays_make_no_generator_is_refused(files, change, message):
    np.savez(files[0], **{name: array for name, array in (GENERATOR | change).items() if array is not None})
    with raises_user_error(UserError, match=message):
        theano_dcgan.convert(files[:1], "folder:images")


def test_files_that_do_not_go_together_and_wrong_options_are_refused(files, tmp_path, capsys):
    def refused(*arguments) -> str:
        assert convert.main([*map(str, arguments), f"--workdir={tmp_path / 'run'}"]) == 2
        return capsys.readouterr().err

    assert "holds a discriminator alone" in refused(files[1])
    assert "hold the same kind of network" in refused(files[0], files[0])
    assert "3 files" in refused(*files, files[0])
    assert "--direction=ab has no effect" in refused(files[0], "--direction=ab")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(files[0].read_bytes()[:1000])
    assert "cannot be read as arrays by name (.npz)" in refused(damaged)
    np.save(tmp_path / "one.npy", np.ones(3))
    assert "cannot be read as arrays by name (.npz)" in refused((tmp_path / "one.npy").rename(tmp_path / "one.npz"))
    assert "No such file" in refused(tmp_path / "none.npz")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the networks of DCGAN's authors are not in ../shared")
def test_the_published_networks_draw_what_they_drew_and_tell_it_from_noise(tmp_path):
    paths = [SHARED / "generator.npz", SHARED / "discriminator.npz"]
    assert convert.main([*map(str, paths), f"--workdir={tmp_path / 'run'}"]) == 0
    exp, variables, _, _ = run_folder.restore(tmp_path / "run")
    count = theano_dcgan.BATCH
    images = inference.run_task(exp, "sample", variables, inference.seed_inputs(0, count))["images"]
    with np.load(paths[0]) as file:
        expected = generated(dict(file), points_of(count, 100))
    found = np.asarray(images, np.float32) / 127.5 - 1
    assert expected.std() > 0.2
    assert np.abs(found - expected).mean() < 0.05  # moments are those of many batches, and not of this one
    # The discriminator has learned from batches of one kind, each by its own moments.
    critic = quick_jit(lambda variables, x: apply(exp.networks["discriminator"], variables, x, None, train=True))
    noise = np.random.default_rng(0).uniform(-1, 1, found.shape).astype(np.float32)
    of_samples, of_noise = (np.asarray(critic(variables["discriminator"], x)[0].logits) for x in (found, noise))
    assert (of_samples[:, None] > of_noise).mean() > 0.95
