"""Runs on mixtures of Gaussians: what they print, plot and sample, and that both networks find what theory says."""

import functools
import re
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, quick_jit, tiny_config, with_params
from PIL import Image
from programs import ROOT, contents, grids, records, train_tiny

from jaxgan.algorithms import gan
from jaxgan.cli import sample, train
from jaxgan.config import build, load
from jaxgan.core import experiment
from jaxgan.core import settings as declarations
from jaxgan.core.state import apply
from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.metrics import mixtures
from jaxgan.viz import mixture

RING = {
    "data.source": "world:ring",
    "model.family": "toy_mlp",
    "model.initializer": "he",
    "model.generator.norm": "none",
    "model.generator.width": 4,
    "model.discriminator.norm": "none",
    "model.discriminator.width": 4,
    "sample_grid": 60,
}
SCORES = {"ring": ("modes", "high_quality", "reverse_kl"), "line": ("wasserstein",)}
SIZES = {"ring": (mixture.SIDE, mixture.SIDE + mixture.LEGEND), "line": (mixture.WIDTH, mixture.HEIGHT)}


def given(settings: dict) -> list[str]:
    return [f"--config.{name}={value}" for name, value in settings.items()]


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A few steps on the ring; nothing may change it."""
    workdir = tmp_path_factory.mktemp("ring") / "run"
    assert train_tiny(workdir, *given(RING)) == 0
    before = contents(workdir)
    yield workdir
    assert contents(workdir) == before


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """The shipped one-dimensional experiment for 400 steps; nothing may change the folder."""
    workdir = tmp_path_factory.mktemp("line") / "run"
    command = [f"--config={ROOT / 'configs/gaussian1d.py'}", f"--workdir={workdir}", "--config.sample_every=200"]
    assert train.main([*command, "--config.steps=400", "--config.checkpoint_every=200"]) == 0
    before = contents(workdir)
    yield workdir
    assert contents(workdir) == before


@pytest.fixture
def run(request):
    """The run of that name."""
    return request.getfixturevalue(request.param)


BOTH = pytest.mark.parametrize(("name", "run"), [("ring", "ring"), ("line", "line")], indirect=["run"])


def known_of(config):
    """The mixture that a run is trained on."""
    return MIXTURES[config.data.source.partition(":")[2]]


@BOTH
def test_scores_are_logged_where_samples_are_drawn(name, run):
    config = load(run / "config.json")
    known = known_of(config)
    names = {f"{score}{end}" for score in SCORES[name] for end in ("", "_ideal")}
    lines = records(run)
    assert len(lines) == config.steps // config.log_every
    for values in lines:
        has = values.keys() & {"modes", "wasserstein", *names}
        assert has == (names if values["step"] % config.sample_every == 0 else set())
    last = lines[-1]
    if name == "line":
        ideal = {"wasserstein": mixtures.perfect_wasserstein(known.quantiles(config.sample_grid))}
    else:
        ideal = mixtures.perfect_scores(known.modes, known.dim, config.sample_grid)
    assert {score: last[f"{score}_ideal"] for score in SCORES[name]} == pytest.approx(ideal)


@BOTH
def test_scores_are_those_of_the_points_that_sample_py_draws(name, run, tmp_path):
    config = load(run / "config.json")
    known, last = known_of(config), records(run)[-1]
    points = sampled(run, tmp_path, f"--num={config.sample_grid}")
    if name == "line":
        found = {"wasserstein": np.abs(np.sort(points[:, 0]) - known.quantiles(len(points))).mean()}
    else:
        found = mixtures.mode_scores(points, known.means, known.stddev)
    assert {score: last[score] for score in SCORES[name]} == pytest.approx(
        {k: float(v) for k, v in found.items()}, 1e-4
    )


@BOTH
def test_pictures_of_a_run_are_of_one_size(name, run):
    config = load(run / "config.json")
    expected = [f"step_{step:06d}.png" for step in range(0, config.steps + 1, config.sample_every)]
    assert list(grids(run)) == expected
    for path in [*(run / "samples").iterdir(), run / "progress.gif", run / "real.png"]:
        with Image.open(path) as picture:
            assert picture.size == SIZES[name], path
    with Image.open(run / "progress.gif") as animation:
        assert animation.n_frames == len(expected)
    assert len(set(grids(run).values())) == len(expected)


def test_the_last_line_of_a_run_has_its_scores(ring, tmp_path, capsys):
    assert train_tiny(tmp_path / "run", *given(RING)) == 0
    lines, last = capsys.readouterr().out.splitlines(), records(ring)[-1]
    parts = ", ".join(f"{name} {last[name]:.4g} (ideal {last[f'{name}_ideal']:.4g})" for name in SCORES["ring"])
    assert lines[-1] == f"finished step 12: {parts}; look into {tmp_path / 'run'}"
    assert f"step 12: {parts}" in lines
    assert [line.partition(":")[0] for line in lines if re.match(r"step \d+: ", line)] == [
        f"step {step}" for step in (0, 4, 8, 12)
    ]
    assert "100,000 points (2), 8 classes (0, 1, 2, 3, 4, 5, 6, 7); resident" in lines
    assert contents(tmp_path / "run" / "samples") == contents(ring / "samples")


@pytest.mark.parametrize("name", ["size", "channels", "load_size", "crop", "flip", "upscale", "cache", "on_bad_image"])
def test_settings_of_images_are_an_error(name, tmp_path, capsys):
    value = {"crop": "random", "on_bad_image": "skip"}.get(name, 1)
    assert train_tiny(tmp_path / "run", *given(RING | {f"data.{name}": value})) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: config.data.{name} has no effect here: data.source=digits or ")
    assert not (tmp_path / "run").exists()


# sample.py


def sampled(workdir, tmp_path, *more: str) -> np.ndarray:
    out = tmp_path / "points.npz"
    assert sample.main([f"--workdir={workdir}", f"--out={out}", *more]) == 0
    with np.load(out) as file:
        assert file.files == ["points"]
        return file["points"]


@BOTH
def test_sample_py_draws_points_and_a_picture_of_them(name, run, tmp_path, capsys):
    points = sampled(run, tmp_path, "--num=70")
    assert (points.dtype, points.shape) == (np.float32, (70, 2 if name == "ring" else 1))
    np.testing.assert_array_equal(sampled(run, tmp_path, "--num=5"), points[:5])
    assert not np.isin(sampled(run, tmp_path, "--num=5", "--seed=1"), points).any()
    assert sample.main([f"--workdir={run}", f"--out={tmp_path / 'deep/x.png'}", "--num=70"]) == 0
    assert capsys.readouterr().out.endswith(f"70 points: {tmp_path / 'deep/x.png'}\n")
    config = load(run / "config.json")
    known, title = known_of(config), f"{config.data.source}, 70 samples"
    picture = mixture.scatter(known, points, title) if name == "ring" else mixture.densities(known, points, None, title)
    with Image.open(tmp_path / "deep/x.png") as image:
        assert image.size == SIZES[name]
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_points_are_no_folder_of_pictures(ring, tmp_path, capsys):
    assert sample.main([f"--workdir={ring}", f"--out={tmp_path / 'folder'}/", "--num=3"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error == f"error: --out={tmp_path / 'folder'}/ must end in .png or .npz, since world:ring has no images"
    assert list(tmp_path.iterdir()) == []


# What theory says


def test_a_generator_moves_to_the_target(line):
    """Half of the way at least, in a tenth of the shipped steps."""
    known, last = MIXTURES["gaussian1d"], records(line)[-1]
    exp = build(load(line / "config.json"))
    state = quick_jit(lambda: experiment.initial_state(exp))()
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(2500, 1)), jnp.float32)
    at_first, _ = apply(exp.networks["generator"], state.ema["generator"], latents, None, train=False)
    before = float(mixtures.wasserstein(at_first[:, 0], known.quantiles(2500)))
    assert before > 0.5
    assert last["wasserstein"] < before / 2


(CENTRE,), STDDEV = MIXTURES["gaussian1d"].means[0], MIXTURES["gaussian1d"].stddev


@functools.cache
def discriminator_training():
    """An experiment on a line, and a program that trains its discriminator on a generator a z + b for 1,000 steps."""
    config = tiny_config(
        **POINTS
        | {
            "data__source": "world:gaussian1d",
            "latent_dim": 1,
            "batch_size": 256,
            "model__generator__width": 2,
            "model__discriminator__width": 32,
            "model__discriminator__depth": 2,
            "optimizer__generator__learning_rate": 0.0,
            "optimizer__discriminator__learning_rate": 1e-2,
            "optimizer__discriminator__b2": 0.99,
            "optimizer__discriminator__schedule": "cosine",
            "optimizer__discriminator__decay_steps": 1000,
        }
    )
    exp = build(config)
    real, _ = MIXTURES["gaussian1d"].sample(1, 1000 * 256)

    @quick_jit
    def train_against(scale, shift):
        state = experiment.initial_state(exp)
        body = {  # relu(z) - relu(-z) = z
            "Dense_0": {"kernel": jnp.asarray([[1.0, -1.0]]), "bias": jnp.zeros(2)},
            "Dense_1": {"kernel": scale * jnp.asarray([[1.0], [-1.0]]), "bias": shift[None]},
        }
        params = state.networks["generator"].params
        assert jax.tree.structure(params) == jax.tree.structure({"body": body})
        state = with_params(state, "generator", {"body": body})

        def step(state, points):
            state, metrics = gan.alternating_step(exp, state, {"points": points[None]})
            return state, metrics["loss/discriminator"]

        return jax.lax.scan(step, state, real.reshape(1000, 256, 1))

    return exp, train_against


def trained_discriminator(scale: float, shift: float):
    """sigmoid(D(x)) along the line, beside both densities, after training against N(shift, scale^2); the losses."""
    exp, train_against = discriminator_training()
    state, losses = train_against(jnp.float32(scale), jnp.float32(shift))
    place = np.linspace(CENTRE - 6, CENTRE + 5, 1101)
    latents = jnp.asarray([[-1.0], [0.0], [2.0]])
    made, _ = apply(exp.networks["generator"], state.networks["generator"], latents, None, train=True)
    np.testing.assert_allclose(made[:, 0], [shift - scale, shift, shift + 2 * scale], rtol=1e-5)  # it never moved
    points = jnp.asarray(place, jnp.float32)[:, None]
    d_out, _ = apply(exp.networks["discriminator"], state.networks["discriminator"], points, None, train=False)

    def normal(mean, stddev):
        return np.exp(-(((place - mean) / stddev) ** 2) / 2) / (stddev * np.sqrt(2 * np.pi))

    outputs = np.asarray(jax.nn.sigmoid(d_out.logits))
    return outputs, normal(CENTRE, STDDEV), normal(shift, scale), np.asarray(losses)


def test_the_best_discriminator_is_the_real_share_of_the_density():
    """Goodfellow et al., 2014, proposition 1; and the loss is that of the best answer."""
    outputs, real, generated, losses = trained_discriminator(0.8, CENTRE - 0.8)  # the two overlap
    best = real / (real + generated)
    weights = (real + generated) / (real + generated).sum()
    assert (weights * abs(outputs - best)).sum() < 0.05
    assert (weights * abs(0.5 - best)).sum() > 0.2  # so that there is something to find
    cross = -2 * (weights * (best * np.log(best) + (1 - best) * np.log1p(-best))).sum()
    assert losses[-200:].mean() == pytest.approx(cross, abs=0.04)


def test_a_discriminator_cannot_tell_a_distribution_from_itself():
    outputs, real, generated, losses = trained_discriminator(STDDEV, CENTRE)
    np.testing.assert_allclose(real, generated)
    assert abs(outputs - 0.5)[real > 0.05].max() < 0.05
    assert losses[-200:].mean() == pytest.approx(2 * np.log(2), abs=0.02)


# The shipped experiments


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_a_shipped_experiment_says_how_to_run_it_how_long_and_what_to_expect(path):
    module = runpy.run_path(str(path))
    found = re.findall(r"^(Command|Time|Expect): +(?=\S)", module["__doc__"], re.MULTILINE)
    assert found == ["Command", "Time", "Expect"]
    for name in re.findall(r"--config\.([\w.]+)=", module["__doc__"]):
        assert name in declarations.flatten(module["get_config"]())
