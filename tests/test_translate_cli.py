"""sample.py translates pictures of any size: whole or in tiles, many at once, under their names; what it refuses."""

import shutil
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import raises_user_error
from PIL import Image

from jaxgan import config as configuration
from jaxgan import convert, inference, translation
from jaxgan.cli import sample
from jaxgan.core import device_memory
from jaxgan.core.state import Variables, apply
from jaxgan.errors import UserError
from jaxgan.io import run_folder
from jaxgan.viz import grid, snapshot

ALGORITHMS = {
    "cyclegan": {"data.source": "unpaired:digits|edited:inverted:digits", "model.generator.blocks": 0},
    "pix2pix": {"data.source": "paired:edited:left_half:digits|digits", "direction": "ba"},
    "gan": {"data.source": "digits"},
}


def config_of(algorithm: str, **more):
    small = {f"model.{network}.base_channels": 2 for network in ("generator", "discriminator")}
    patches = {} if algorithm == "gan" else {"model.discriminator.depth": 1}
    values = {"algorithm": algorithm, "data.size": 8, "data.channels": 3 if algorithm == "cyclegan" else 1}
    return configuration.default(values | small | patches | ALGORITHMS[algorithm] | more)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Run folders of untrained networks, whose kernels are large enough for images that differ."""
    found = {}
    for algorithm in ALGORITHMS:
        found[algorithm] = tmp_path_factory.mktemp(algorithm) / "run"
        exp = configuration.build(config_of(algorithm))
        state = convert.devices.compile_and_run(convert.population.init_state, exp)
        larger = {name: wide(own) for name, own in state.networks.items() if name.startswith("generator")}
        convert.write(found[algorithm], exp, larger, "nothing")
    return found


def wide(variables: Variables) -> Variables:
    return variables.replace(params=jax.tree.map(lambda array: 15 * array, variables.params))


def photo(path: Path, *shape: int, seed: int = 0) -> np.ndarray:
    """Writes random pixels, uint8 [H, W, C] or [H, W], and returns them."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def expected(run: Path, pixels: np.ndarray, name: str = "generator_ab") -> np.ndarray:
    """What Flax alone makes of an image whose sides fit: float [H, W, C]."""
    exp, variables, *_ = run_folder.restore(run)
    inputs = jnp.float32(pixels[None]) / 127.5 - 1
    return 127.5 * (
        np.asarray(apply(exp.networks[name], jax.device_put(variables[name]), inputs, train=False)[0][0]) + 1
    )


def translate(run: Path, *arguments: object) -> int:
    return sample.main([f"--workdir={run}", *map(str, arguments)])


def refused(capsys, run: Path, *arguments: object) -> str:
    assert translate(run, *arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


# One picture


def test_a_picture_becomes_one_of_its_own_size(runs, tmp_path):
    pixels = photo(tmp_path / "photo.png", 12, 20, 3)
    assert translate(runs["cyclegan"], f"--input={tmp_path / 'photo.png'}", f"--out={tmp_path / 'out.png'}") == 0
    made = read(tmp_path / "out.png")
    assert made.std() > 10
    np.testing.assert_allclose(made, expected(runs["cyclegan"], pixels), atol=0.51)


def test_other_sides_are_those_of_the_picture_beside_its_mirror_image(runs, tmp_path):
    pixels = photo(tmp_path / "photo.png", 10, 17, 3)
    assert translate(runs["cyclegan"], f"--input={tmp_path / 'photo.png'}", f"--out={tmp_path / 'out.png'}") == 0
    padded = pixels[np.r_[:10, 8:6:-1]][:, np.r_[:17, 15:12:-1]]
    np.testing.assert_allclose(read(tmp_path / "out.png"), expected(runs["cyclegan"], padded)[:10, :17], atol=0.51)


def test_direction_chooses_the_generator(runs, tmp_path):
    pixels = photo(tmp_path / "photo.png", 8, 8, 3)
    for way in ("ab", "ba"):
        where = [f"--input={tmp_path / 'photo.png'}", f"--out={tmp_path / way}.png", f"--direction={way}"]
        assert translate(runs["cyclegan"], *where) == 0
        wanted = expected(runs["cyclegan"], pixels, f"generator_{way}")
        np.testing.assert_allclose(read(tmp_path / f"{way}.png"), wanted, atol=0.51)
    assert (read(tmp_path / "ab.png") != read(tmp_path / "ba.png")).any()


def test_grey_turned_and_transparent_files_are_seen_as_a_viewer_shows_them(runs, tmp_path):
    grey = photo(tmp_path / "grey.png", 8, 12)
    turned = Image.fromarray(grey.T[:, ::-1]).convert("RGB")  # upright after a quarter turn to the left
    exif = turned.getexif()
    exif[0x0112] = 8
    turned.save(tmp_path / "turned.png", exif=exif)
    clear = np.dstack([np.repeat(grey[..., None], 3, 2), np.full(grey.shape, 255, np.uint8)])
    clear[:2, :, 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png")
    (tmp_path / "in").mkdir()
    for name in ("grey", "turned", "clear"):
        shutil.move(tmp_path / f"{name}.png", tmp_path / "in")
    assert translate(runs["cyclegan"], f"--input={tmp_path / 'in'}", f"--out={tmp_path / 'out'}/") == 0
    coloured = np.repeat(grey[..., None], 3, 2)
    on_white = np.where(np.arange(8)[:, None, None] < 2, 255, coloured).astype(np.uint8)
    for name, pixels in {"grey": coloured, "turned": coloured, "clear": on_white}.items():
        np.testing.assert_allclose(
            read(tmp_path / "out" / f"{name}.png"), expected(runs["cyclegan"], pixels), atol=0.51, err_msg=name
        )


def test_dropout_belongs_to_the_seed_and_the_index(runs, tmp_path):
    """pix2pix is random at test time as well; --batch_size changes nothing of it."""
    for name in ("one", "two"):
        photo(tmp_path / "in" / f"{name}.png", 64, 64)
    config = config_of("pix2pix", **{"data.size": 64})
    exp = configuration.build(config)
    run = tmp_path / "run"
    state = convert.devices.compile_and_run(convert.population.init_state, exp)
    convert.write(run, exp, {"generator": wide(state.networks["generator"])}, "nothing")

    def made(out: str, *more: str) -> list[np.ndarray]:
        assert translate(run, f"--input={tmp_path / 'in'}", f"--out={tmp_path / out}/", *more) == 0
        return [read(tmp_path / out / f"{name}.png") for name in ("one", "two")]

    first, again, together, other = made("a"), made("b"), made("c", "--batch_size=2"), made("d", "--seed=1")
    for one, two, three in zip(first, again, together, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one.astype(int), three.astype(int), atol=1)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()


# Many pictures


def test_names_and_folders_stay_in_folders_and_archives(runs, tmp_path):
    paths = ("a.jpg", "sub/b.png", "sub/deep/c.bmp", "same.png", "same.jpg")
    for index, path in enumerate(paths):
        photo(tmp_path / "in" / path, 8, 8 + 4 * (index % 2), 3, seed=index)
    (tmp_path / "in" / "note.txt").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in paths:
            archive.write(tmp_path / "in" / path, path)
    names = {"a.png", "sub/b.png", "sub/deep/c.png", "same.png.png", "same.jpg.png"}
    for place, more in (("in", ()), ("in.zip", ("--batch_size=2",))):
        out = tmp_path / f"out_{place}"
        assert translate(runs["cyclegan"], f"--input={tmp_path / place}", f"--out={out}/", *more) == 0
        assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == names
    for name in names:
        one, two = (read(tmp_path / out / name) for out in ("out_in", "out_in.zip"))
        np.testing.assert_allclose(one.astype(int), two.astype(int), atol=1)
    np.testing.assert_allclose(
        read(tmp_path / "out_in" / "sub" / "b.png"),
        expected(runs["cyclegan"], read(tmp_path / "in" / "sub" / "b.png")),
        atol=0.51,
    )


def test_a_size_is_reached_as_in_training(runs, tmp_path):
    photo(tmp_path / "photo.png", 30, 40, 3)
    where = [f"--input={tmp_path / 'photo.png'}", f"--out={tmp_path / 'out.png'}"]
    assert translate(runs["cyclegan"], *where, "--size=8x12") == 0
    transform = sample.translate.Transform((8, 12), (8, 12), 3, True)
    small = transform(str(tmp_path / "photo.png"), "photo")
    np.testing.assert_allclose(read(tmp_path / "out.png"), expected(runs["cyclegan"], small), atol=0.51)


def test_a_size_of_one_number_is_the_shorter_side(runs, tmp_path):
    """Nothing is cropped, and a picture keeps its shape."""
    photo(tmp_path / "photo.png", 30, 41, 3)
    where = [f"--input={tmp_path / 'photo.png'}", f"--out={tmp_path / 'out.png'}"]
    assert translate(runs["cyclegan"], *where, "--size=12") == 0
    transform = sample.translate.Transform((12, 16), (12, 16), 3, True, stretch=True)
    small = transform(str(tmp_path / "photo.png"), "photo")
    np.testing.assert_allclose(read(tmp_path / "out.png"), expected(runs["cyclegan"], small), atol=0.51)


def test_bad_files_stop_the_program_or_are_skipped(runs, tmp_path, capsys):
    photo(tmp_path / "in" / "good.png", 8, 8, 3)
    photo(tmp_path / "in" / "small.png", 8, 3, 3)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    where = [f"--input={tmp_path / 'in'}", f"--out={tmp_path / 'out'}/"]
    message = refused(capsys, runs["cyclegan"], *where)
    assert "bad.jpg is a bad image" in message
    assert "--on_bad_image=skip" in message
    assert translate(runs["cyclegan"], *where, "--on_bad_image=skip") == 0
    assert "2 of 3 images are left out" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    one = [f"--input={tmp_path / 'in' / 'small.png'}", f"--out={tmp_path / 'out.png'}"]
    assert "8x3 pixels, height and width, are too few: 5 on each side" in refused(capsys, runs["cyclegan"], *one)
    assert translate(runs["cyclegan"], *one, "--size=8") == 0


# Tiles


def local_run():
    """A translator without normalisation over the image: each pixel depends on its neighbourhood alone."""
    exp = configuration.build(config_of("cyclegan", **{"model.generator.norm": "none"}))
    state = convert.devices.compile_and_run(convert.population.init_state, exp)
    return exp, {name: wide(own) for name, own in state.networks.items()}


def test_tiles_of_a_local_network_make_the_translation_of_the_whole():
    exp, variables = local_run()
    image = np.random.default_rng(0).integers(0, 256, (141, 300, 3), np.uint8)

    def made(**options) -> np.ndarray:
        images = translation.translate(exp, "translate_ab", variables, [(0, image)], translation.Options(**options))
        ((index, found),) = images
        assert index == 0
        return found.astype(int)

    whole = made()
    assert (whole.shape, whole.std() > 10) == (image.shape, True)
    np.testing.assert_allclose(made(tile=256, batch=2), whole, atol=1)  # the unused strip of 16 pixels sees the border
    assert np.abs(made(tile=8) - whole).max() > 10  # a strip of none does not


def test_images_of_one_size_are_compiled_once_and_batches_change_no_image():
    exp, variables = local_run()
    shapes = [(8, 8, 3), (8, 12, 3), (8, 8, 3), (8, 8, 3), (8, 12, 3)]
    images = [np.random.default_rng(i).integers(0, 256, shape, np.uint8) for i, shape in enumerate(shapes)]
    found = {}
    for batch in (1, 2):
        options = translation.Options(batch=batch)
        found[batch] = dict(translation.translate(exp, "translate_ab", variables, enumerate(images), options))
        assert sorted(found[batch]) == list(range(len(images)))
    for index, image in enumerate(images):
        assert found[1][index].shape == image.shape
        np.testing.assert_allclose(found[1][index].astype(int), found[2][index].astype(int), atol=1)


def test_an_image_that_memory_cannot_hold_is_refused_with_advice(monkeypatch):
    exp, variables = local_run()
    image = np.zeros((64, 64, 3), np.uint8)
    monkeypatch.setattr(device_memory, "available_memory", lambda data: 2**16)
    with raises_user_error(UserError, match=r"an image of 64 pixels: .* GiB of memory are needed.*--tile=64"):
        list(translation.translate(exp, "translate_ab", variables, [(0, image)], translation.Options()))
    with raises_user_error(UserError, match="2 images of 64 pixels: .*a smaller --batch_size, or --tile"):
        list(translation.translate(exp, "translate_ab", variables, [(0, image)], translation.Options(batch=2)))


# The run's own images


def test_without_input_the_run_s_own_images_make_a_grid(runs, tmp_path):
    out = tmp_path / "grid.png"
    assert translate(runs["pix2pix"], f"--out={out}", "--num=3") == 0
    exp, variables, *_ = run_folder.restore(runs["pix2pix"])
    options = sample.parse([f"--workdir={runs['pix2pix']}", f"--out={out}"])
    given = sample.given_examples(options, exp, "translate", 3)
    assert list(given) == ["true a", "b"]
    inputs = inference.seed_inputs(0, 3) | snapshot.as_inputs(exp, given)
    made = inference.run_task(exp, "translate", variables, inputs)["a"]
    rows = [("b", given["b"]), ("to a", made), ("true a", given["true a"])]
    np.testing.assert_array_equal(read(out), snapshot.examples_grid(rows))


def test_a_folder_becomes_a_grid(runs, tmp_path, capsys):
    """Its pictures are brought to the size of training. Pictures beside folders of them are no data set."""
    for name in ("one", "two"):
        photo(tmp_path / "in" / f"{name}.png", 8, 8, 3)
    where = [f"--input={tmp_path / 'in'}", f"--out={tmp_path / 'out.png'}"]
    assert translate(runs["cyclegan"], *where) == 0
    exp, variables, *_ = run_folder.restore(runs["cyclegan"])
    options = sample.parse([f"--workdir={runs['cyclegan']}", *where])
    given = sample.given_examples(options, exp, "translate_ab", 9)
    assert given["a"].shape == (2, 8, 8, 3)
    inputs = inference.seed_inputs(0, 2) | snapshot.as_inputs(exp, given)
    made = inference.run_task(exp, "translate_ab", variables, inputs)["b"]
    rows = [("a", given["a"]), ("to b", made)]
    np.testing.assert_array_equal(read(tmp_path / "out.png"), snapshot.examples_grid(rows))
    (tmp_path / "in" / "sub").mkdir()
    photo(tmp_path / "in" / "sub" / "three.png", 8, 8, 3)
    assert "--out=FOLDER/ translates each picture on its own" in refused(capsys, runs["cyclegan"], *where)


def test_many_examples_wrap_and_colours_stand_beside_grey():
    rng = np.random.default_rng(0)
    grey, colour = (rng.integers(0, 256, (5, 300, 300, count), np.uint8) for count in (1, 3))
    assert snapshot.columns_of(300) == snapshot.MIN_COLUMNS == 4
    picture = snapshot.examples_grid([("a", grey), ("b", colour)])
    cells = [np.repeat(grey, 3, axis=-1), colour]
    white = np.full((3, 300, 300, 3), 255, np.uint8)
    ordered = [cells[0][:4], cells[1][:4], cells[0][4:], white, cells[1][4:], white]
    np.testing.assert_array_equal(picture, grid.image_grid(np.concatenate(ordered), 4, ["a", "b", "a", "b"]))


# What is refused


def test_wrong_places_and_options_are_refused(runs, tmp_path, capsys):
    photo(tmp_path / "in" / "photo.png", 8, 8, 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "raw.cr2").touch()
    one, folder = f"--input={tmp_path / 'in' / 'photo.png'}", f"--input={tmp_path / 'in'}"
    out = f"--out={tmp_path / 'out.png'}"
    cases = {
        (one, out, "--direction=xy"): "invalid choice: 'xy'",
        (one, out, "--direction=ab", "--task=translate_ab"): "chooses the task: leave --task=translate_ab out",
        (f"--input={tmp_path / 'none.png'}", out): "there is no such file or folder",
        (f"--input={tmp_path / 'empty'}", f"--out={tmp_path / 'new'}/"): "holds no images",
        (f"--input={tmp_path / 'raw.cr2'}", out): "camera raw file",
        (folder, f"--out={tmp_path / 'in'}/"): "over or among the pictures",
        (folder, f"--out={tmp_path / 'in' / 'out'}/"): "over or among the pictures",
        (one, f"--out={tmp_path / 'in' / 'photo.png'}"): "over or among the pictures",
        (one, f"--out={tmp_path / 'in'}/"): "over or among the pictures",
        (one, f"--out={tmp_path / 'out.npz'}"): "must be FILE.png or FOLDER/ for a picture",
        (one, out, "--tile=4"): "--tile=4 must be at least 8",
        (one, out, "--size=3"): "--size=3 must be at least 5 pixels",
        (one, out, "--size=3x"): "--size=3x must be",
        (one, out, "--batch_size=0"): "--batch_size=0 must be at least 1",
        (one, out, "--labels=3"): "--labels has no effect",
        (out, "--tile=64"): "--tile is about pictures that a run translates",
    }
    for arguments, message in cases.items():
        assert message in refused(capsys, runs["cyclegan"], *arguments), arguments
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["photo.png"]


def test_a_run_that_does_not_translate_that_way_says_so(runs, tmp_path, capsys):
    photo(tmp_path / "photo.png", 8, 8)
    one, out = f"--input={tmp_path / 'photo.png'}", f"--out={tmp_path / 'out.png'}"
    message = refused(capsys, runs["pix2pix"], one, out, "--direction=ab")
    assert "--direction=ab: this run was trained to translate ba alone" in message
    assert "--direction has no effect with algorithm=gan" in refused(capsys, runs["gan"], out, "--direction=ab")
    message = refused(capsys, runs["gan"], one, out)
    assert "--input has no effect with algorithm=gan and --task=sample, which needs" in message


def test_other_pictures_in_the_folder_are_not_mixed_with_these(runs, tmp_path, capsys):
    photo(tmp_path / "in" / "photo.png", 8, 8, 3)
    photo(tmp_path / "out" / "other.png", 8, 8, 3)
    where = [f"--input={tmp_path / 'in'}", f"--out={tmp_path / 'out'}/"]
    assert "holds 1 other pictures" in refused(capsys, runs["cyclegan"], *where)
