"""Two sets of images that evaluate.py compares: read as training reads them, and brought to one shape."""

import json
import re
import shutil

import numpy as np
import pytest
from experiments import raises_user_error
from PIL import Image
from programs import train_tiny
from sklearn.datasets import load_digits

from jaxgan.cli import eval_task, evaluate
from jaxgan.data.dataset import from_arrays
from jaxgan.data.decode import Transform
from jaxgan.data.image_sets import open_image_sets
from jaxgan.errors import UserError

DIGITS = load_digits()
IMAGES, LABELS = np.uint8(DIGITS.images * 15), np.int32(DIGITS.target)
SKIP = {"on_bad_image": "skip"}


def pictures(folder, images, change=lambda index, image: image) -> dict[str, Image.Image]:
    """A folder of images, changed before they are saved; and what was saved, by path."""
    folder.mkdir()
    saved = {str(folder / f"{index}.png"): change(index, Image.fromarray(x)) for index, x in enumerate(images)}
    for path, image in saved.items():
        image.save(path)
    return saved


def one(place, size=None, **settings):
    """The only set, which an option names."""
    (found,) = open_image_sets({"--fakes": str(place)}, settings, size)
    return found


def scored(tmp_path, *argv: object) -> dict:
    """What evaluate.py writes."""
    files = (f"--out={tmp_path}/scores.json", f"--neighbours={tmp_path}/neighbours.png")
    assert evaluate.main([*map(str, argv), "--features=pixels", *files]) == 0
    return json.loads((tmp_path / "scores.json").read_text())


# Bad images


def damaged(tmp_path):
    """A folder of 60 digits, and the same with bad images between them."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    pictures(good, IMAGES[:60])
    pictures(bad, IMAGES[:60])
    (bad / "empty.png").touch()
    (bad / "text.png").write_text("no picture")
    (bad / "cut.png").write_bytes((good / "7.png").read_bytes()[:-30])
    Image.new("1", (20_000, 20_000)).save(bad / "bomb.png")
    return good, bad


def test_bad_images_are_left_out_if_that_is_asked_for(tmp_path, capsys):
    """The others are read as if there were no bad ones, in the same order."""
    good, bad = damaged(tmp_path)
    found, expected = one(bad, **SKIP), one(good)
    assert "4 of 64 images are left out" in capsys.readouterr().err
    assert sorted(map(bytes, found.images)) == sorted(map(bytes, expected.images))
    argv = (f"--fakes={bad}", f"--reals={good}", "--on_bad_image=skip")
    assert scored(tmp_path, *argv)["about"]["samples"] == 60


REASONS = {
    "empty.png": "its format is unknown",
    "text.png": "its format is unknown",
    "cut.png": "it cannot be decoded: .*truncated.*",
    "bomb.png": "it claims to have more pixels than --max_pixels=89478485",
}


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("option", ["fakes", "reals"])
def test_a_bad_image_is_named_with_the_option_and_with_advice(tmp_path, capsys, name, option):
    good, bad = damaged(tmp_path)
    for other in REASONS.keys() - {name}:
        (bad / other).unlink()
    sides = {"fakes": good, "reals": good} | {option: bad}
    assert evaluate.main([*(f"--{key}={place}" for key, place in sides.items()), "--features=pixels"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    reason = rf"error: --{option}={bad}: {bad}/{name} is a bad image \({REASONS[name]}\): "
    assert re.fullmatch(reason + "repair it, remove it, or set --on_bad_image=skip", line)


def test_a_set_without_any_good_image_is_an_error(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_text("no picture")
    with raises_user_error(UserError, match=r"--fakes=.*: none of 1 images can be used; the last: .*a.png"):
        one(tmp_path / "set", **SKIP)


def test_how_files_are_read_may_be_chosen(tmp_path):
    """Of 12 bits in 16: 4095 is white. And a large picture is no bad one where more pixels are allowed."""
    (tmp_path / "set").mkdir()
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "set" / "a.png")
    assert (one(tmp_path / "set", white=4095.0).images == 255).all()
    assert (one(tmp_path / "set").images == 16).all()  # 4095 / 257 = 15.9
    with raises_user_error(UserError, match="more pixels than --max_pixels=15"):
        one(tmp_path / "set", max_pixels=15)


def test_a_bad_image_of_the_test_split_of_a_run_may_be_left_out(tmp_path, capsys):
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for split, rows in {"train": slice(100), "test": slice(100, 200)}.items():
        pictures(data / split, IMAGES[rows])
    assert train_tiny(run, f"--config.data.source=folder:{data}") == 0
    (data / "test" / "x.png").touch()
    # The run's data lie in the same folder, but its own split has not changed.
    capsys.readouterr()
    assert evaluate.main([f"--workdir={run}", "--num=50", "--features=pixels"]) == 2
    assert re.match(
        f"error: --workdir={run}: {data}/test/x.png is a bad .* or set --on_bad_image=skip", capsys.readouterr().err
    )
    found = scored(tmp_path, f"--workdir={run}", "--num=50", "--on_bad_image=skip")
    assert found["about"]["real_images"] == "the test split"


# Sizes


def resized(index: int, image: Image.Image) -> Image.Image:
    return image.resize((8 + index % 3, 8 + index % 2))


@pytest.mark.parametrize("size", [8, 5, 12, "8x12"])
def test_images_of_any_sizes_are_brought_to_one_as_in_training(tmp_path, size):
    saved = pictures(tmp_path / "set", IMAGES[:40], resized)
    sides = (size, size) if isinstance(size, int) else (8, 12)
    transform = Transform(sides, sides, 1, True)
    expected = {bytes(transform(path, path)) for path in saved}
    assert {bytes(image) for image in one(tmp_path / "set", size).images} == expected


def test_a_size_is_that_of_both_sets(tmp_path):
    """And stands beside the scores."""
    pictures(tmp_path / "set", IMAGES[:40], resized)
    np.savez(tmp_path / "reals.npz", images=IMAGES[:60])
    found = scored(tmp_path, f"--fakes={tmp_path}/set", f"--reals={tmp_path}/reals.npz", "--size=6")
    transform = Transform((6, 6), (6, 6), 1, True)
    expected = from_arrays(np.stack([transform(image, "it") for image in IMAGES[:60]]), np.zeros(60, np.int32), ())
    about = found["about"]
    assert (about["size"], about["images"], about["digest"]) == (6, "6x6x1", expected.digest)


@pytest.mark.parametrize(
    ("fakes", "reals", "advice"),
    [
        ([(8, 8), (8, 9)], [(8, 8)], "8"),
        ([(8, 8)], [(16, 16)], "8"),
        ([(64, 96)], [(32, 48)], "32x48"),
        ([(30, 20), (20, 30)], [(20, 30)], "20"),
    ],
)
def test_images_of_several_sizes_are_refused_with_advice_that_helps(tmp_path, capsys, fakes, reals, advice):
    for name, shapes in {"fakes": fakes, "reals": reals}.items():
        pictures(tmp_path / name, [np.full(shapes[index % len(shapes)], index, np.uint8) for index in range(10)])
    argv = [f"--fakes={tmp_path}/fakes", f"--reals={tmp_path}/reals"]
    assert evaluate.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"error: --fakes=.*\d+x\d+ and --\w+=.*\d+x\d+ pixels.*: --size={advice} brings all", line)
    assert scored(tmp_path, *argv, f"--size={advice}")["scores"].keys() >= {"KD-pixels"}


@pytest.mark.parametrize("size", ["0", "-3", "8x", "x8", "8x0", "a", "8.5", "8x8x3", ""])
def test_what_is_no_size_is_an_error(tmp_path, capsys, size):
    assert evaluate.main([f"--fakes={tmp_path}", f"--reals={tmp_path}", f"--size={size}"]) == 2
    assert f"--size={size} must be a number of at least 1, or height and width such as 64x96" in capsys.readouterr().err


def test_the_images_of_a_run_have_its_size(capsys):
    assert evaluate.main(["--workdir=run", "--size=8"]) == 2
    assert "--size is about --fakes and --reals" in capsys.readouterr().err


# Channels


def test_grey_images_become_coloured_beside_coloured_ones(tmp_path):
    """In one set or in two; and an alpha of 255 is added beside images with one."""
    pictures(tmp_path / "grey", IMAGES[:20])
    pictures(tmp_path / "some", IMAGES[:20], lambda index, image: image.convert("RGB") if index == 7 else image)
    np.savez(tmp_path / "alpha.npz", images=np.zeros((20, 8, 8, 4), np.uint8))
    grey, some = (one(tmp_path / name) for name in ("grey", "some"))
    assert (grey.shape, some.shape) == ((8, 8, 1), (8, 8, 3))
    np.testing.assert_array_equal(some.images, np.repeat(grey.images, 3, axis=3))
    places = {"--fakes": str(tmp_path / "grey"), "--reals": str(tmp_path / "alpha.npz")}
    with_alpha, _ = open_image_sets(places, {})
    np.testing.assert_array_equal(with_alpha.images[..., :3], some.images)
    assert (with_alpha.images[..., 3] == 255).all()


def test_transparent_pictures_lie_on_white(tmp_path):
    rgba = np.zeros((4, 8, 8, 4), np.uint8)
    rgba[..., :3], rgba[:, :4, :, 3] = 100, 255
    pictures(tmp_path / "set", rgba)
    found = one(tmp_path / "set").images
    assert found.shape == (4, 8, 8, 3)
    assert (found[:, :4] == 100).all()
    assert (found[:, 4:] == 255).all()


def test_other_channels_are_compared_with_as_many_alone(tmp_path):
    for channels in (2, 3):
        np.savez(tmp_path / f"{channels}.npz", images=np.zeros((20, 8, 8, channels), np.uint8))
    assert one(tmp_path / "2.npz").shape == (8, 8, 2)
    with raises_user_error(UserError, match=r"2.npz has 2 and --reals=.*3.npz has 3 channels: both must have as many"):
        open_image_sets({"--fakes": f"{tmp_path}/2.npz", "--reals": f"{tmp_path}/3.npz"}, {})


# Labels


def test_labels_are_those_of_classes_of_the_same_name(tmp_path, capsys):
    """Samples of some of the classes alone keep their labels, and classes that real images lack count as unknown."""
    np.savez(tmp_path / "reals.npz", images=IMAGES, labels=LABELS)
    some = np.flatnonzero((LABELS == 3) | (LABELS == 7))
    options = evaluate.parse([f"--fakes={tmp_path}/fakes.npz", f"--reals={tmp_path}/reals.npz"])
    np.savez(tmp_path / "fakes.npz", images=IMAGES[some], labels=LABELS[some])
    np.testing.assert_array_equal(eval_task.of_two_sets(options).fakes.labels, LABELS[some])
    assert capsys.readouterr().err == ""
    np.savez(tmp_path / "fakes.npz", images=IMAGES[some], labels=np.where(LABELS[some] == 3, 3, 12))
    expected = np.where(LABELS[some] == 3, 3, -1)
    np.testing.assert_array_equal(eval_task.of_two_sets(options).fakes.labels, expected)
    assert "warning: --reals has no class 12" in capsys.readouterr().err
    np.savez(tmp_path / "fakes.npz", images=IMAGES[some], labels=np.full(len(some), 12))
    assert eval_task.of_two_sets(options).fakes.labels is None


# Places


WRONG = {
    "nowhere": "--fakes=nowhere must be a folder or archive of images, an .npz file, or tfds:NAME: nothing is there",
    "": "--fakes=",
    "~nobody-here/x": "--fakes=~nobody-here/x: ",
    "note.txt": "--fakes=note.txt must be a folder, or an archive",
    "damaged.zip": "--fakes=damaged.zip: .*damaged.zip is a damaged archive",
    "empty": "--fakes=.*empty: .*empty holds no images",
    "digits:x": "--fakes=digits:x must be digits alone",
    "tfds:nope": "--fakes=tfds:nope: unknown data set",
    "world:ring": "--fakes=world:ring holds no images",
    "unpaired:digits|x": "--fakes=unpaired:digits.x must be one set of images",
}


@pytest.mark.parametrize("place", WRONG)
def test_a_place_without_images_is_named_with_its_option(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("note.txt", "damaged.zip"):
        (tmp_path / name).write_text("no archive")
    with raises_user_error(UserError, match=WRONG[place]):
        one(place)


def test_an_archive_is_read_as_the_folder_in_it(tmp_path):
    pictures(tmp_path / "set", IMAGES[:20])
    place = shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "set")
    found, expected = one(place), one(tmp_path / "set")
    assert sorted(map(bytes, found.images)) == sorted(map(bytes, expected.images))


def test_a_picture_of_neighbours_is_not_put_among_the_images(tmp_path, capsys, monkeypatch):
    pictures(tmp_path / "set", IMAGES[:20])
    monkeypatch.chdir(tmp_path / "set")
    assert evaluate.main(["--fakes=.", "--reals=.", "--features=pixels"]) == 2
    assert "--neighbours=neighbours.png would lie among the images of --fakes" in capsys.readouterr().err
    assert len(list((tmp_path / "set").iterdir())) == 20


def test_the_same_images_on_both_sides_are_pointed_out(tmp_path, capsys):
    pictures(tmp_path / "set", IMAGES[:20])
    scored(tmp_path, f"--fakes={tmp_path}/set", f"--reals={tmp_path}/set")
    assert "warning: --fakes and --reals hold the same images" in capsys.readouterr().err
