"""Mistakes with data as a person at train.py meets them: one line that names the place, and nothing left behind."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import contents, records, saved, saved_steps, train_tiny

from jaxgan.data import order
from jaxgan.data.sources import folder as folders

COUNT = 20


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch) -> Path:
    """Relative paths lead here; decoded images and data sets lie elsewhere."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


def draw(folder: str, count: int = COUNT, size: int = 8) -> Path:
    """Writes some pictures into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (count, size, size), np.uint8)):
        Image.fromarray(pixels).save(Path(folder) / f"{number}.png")
    return Path(folder)


def pack(**arrays: np.ndarray) -> None:
    np.savez("x.npz", **arrays)


def train(source: str, **settings) -> int:
    """Trains the tiny experiment on a source, into the folder `run`; `data__size` stands for `data.size`."""
    given = [f"--config.{name.replace('__', '.')}={value}" for name, value in settings.items()]
    return train_tiny(Path("run"), f"--config.data.source={source}", *given)


def the_error(capsys) -> str:
    """What follows "error: " on the only line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    start, _, message = line.partition(" ")
    assert start == "error:"
    return message


IMAGES = np.zeros((9, 8, 8, 1), np.uint8)
NONE = np.zeros((0, 8, 8, 1), np.uint8)
OBJECTS = np.array([{}] * 9)

# What lies in the folder, the source, other settings, and what train.py says.
WRONG = {
    "no folder": (lambda: None, "folder:nowhere", {}, "config.data.source=folder:nowhere: there is no such folder"),
    "no name": (lambda: None, "folder:", {}, "config.data.source=folder:: there is no such folder"),
    "a file as a folder": (lambda: Path("x").touch(), "folder:x", {}, ".*folder:x must be a folder, or an archive .*"),
    "an empty folder": (
        lambda: Path("x").mkdir(),
        "folder:x",
        {},
        r"\S*/here/x holds no images \(JPEG, .* and others\)",
    ),
    "no images": (
        lambda: draw("x/a") and (draw("x/b", 0) / "notes.txt").touch(),
        "folder:x",
        {},
        r"\S*/here/x/b holds no images that can be read: every folder is a class, so remove or fill it",
    ),
    "images beside classes": (
        lambda: draw("x/a") and draw("x", 1),
        "folder:x",
        {},
        r"\S*/here/x holds images \(0.png\) beside folders of images: move them into a folder",
    ),
    "two channels": (
        lambda: draw("x"),
        "folder:x",
        {"data__channels": 2},
        r"config.data.channels=2 must be 1 \(grey\), 3 \(colour\) or 4 \(colour and alpha\) for folder:x",
    ),
    "no such split": (
        lambda: draw("x"),
        "folder:x",
        {"data__split": "tset"},
        "unknown split 'tset': choose from train",
    ),
    "near such a split": (
        lambda: draw("x/train/a") and draw("x/test/a"),
        "folder:x",
        {"data__split": "tset"},
        r"unknown split 'tset': did you mean test\? choose from test, train",
    ),
    "nothing of a split": (
        lambda: draw("x"),
        "folder:x",
        {"data__split": "train[20:]"},
        r"config.data.split='train\[20:\]': nothing lies in 'train\[20:\]' of 20 examples",
    ),
    "half a split": (
        lambda: draw("x"),
        "folder:x",
        {"data__split": "train[:"},
        r"config.data.split='train\[:' must be like 'train', 'train\+test' or 'train\[:10%\]'",
    ),
    "no such class": (
        lambda: draw("x/cat") and draw("x/dog"),
        "folder:x",
        {"data__classes": "cats,dog"},
        r"unknown config.data.classes 'cats': did you mean cat\? choose from cat, dog",
    ),
    "no such kind": (
        lambda: None,
        "foldr:x",
        {},
        r"unknown config.data.source 'foldr': did you mean folder\? choose from array, .*, world:solids",
    ),
    "digits elsewhere": (lambda: None, "digits:x", {}, "config.data.source=digits:x must be digits alone: .*"),
    "images too small": (
        lambda: draw("x", size=7),
        "folder:x",
        {"data__upscale": False},
        r"\S*/here/x/\d+.png is a bad image \(7x7 pixels, .*, are too few for 8x8: .*\): repair it, .*=skip",
    ),
    "no file": (lambda: None, "array:x.npz", {}, r"\S*x.npz: No such file or directory"),
    "another file": (lambda: None, "array:x.zip", {}, "config.data.source=array:x.zip must end in .npz or .npy"),
    "no array": (lambda: Path("x.npz").write_text("?"), "array:x.npz", {}, r"x.npz cannot be read \(.*\): .*numbers"),
    "half an array": (
        lambda: pack(images=IMAGES) or Path("x.npz").write_bytes(Path("x.npz").read_bytes()[:200]),
        "array:x.npz",
        {},
        r"x.npz cannot be read \(.*\): it must hold arrays of numbers",
    ),
    "another name": (
        lambda: pack(pictures=IMAGES),
        "array:x.npz",
        {},
        r"x.npz must hold an array 'images', not pictures \(uint8, .*\): save .*images=arrays\['pictures'\]\)",
    ),
    "floats": (
        lambda: pack(images=IMAGES / 2),
        "array:x.npz",
        {},
        r"x.npz: images of type float64 and shape \(9, 8, 8, 1\) must be uint8, .*: values from 0 to 1, so save .*",
    ),
    "one image": (
        lambda: pack(images=IMAGES[0, :, :, 0]),
        "array:x.npz",
        {},
        r"x.npz: images of type uint8 and shape \(8, 8\) must be .*",
    ),
    "no images in an array": (
        lambda: pack(images=NONE),
        "array:x.npz",
        {},
        r"x.npz: images of type uint8 and shape \(0, 8, 8, 1\) must be .*",
    ),
    "pickled images": (
        lambda: pack(images=OBJECTS),
        "array:x.npz",
        {},
        r"x.npz cannot be read \(it holds pickled objects, which are never loaded\): .*",
    ),
    "pickled images alone": (
        lambda: np.save("x.npy", OBJECTS),
        "array:x.npy",
        {},
        r"x.npy cannot be read \(it holds pickled objects, which are never loaded\): .*",
    ),
    "a label short": (
        lambda: pack(images=IMAGES, labels=np.arange(8)),
        "array:x.npz",
        {},
        r"x.npz: labels of type int64 and shape \(8,\) must be 9 whole numbers or names, one for each image",
    ),
    "labels below 0": (
        lambda: pack(images=IMAGES, labels=np.arange(9) - 1),
        "array:x.npz",
        {},
        r"x.npz: labels hold -1 \(1 of 9 are negative\): labels must be 0 or more, so leave out .*",
    ),
    "vectors as labels": (
        lambda: pack(images=IMAGES, labels=np.eye(9)),
        "array:x.npz",
        {},
        r"x.npz: labels of type float64 and shape \(9, 9\) look like a vector for each image: save .*",
    ),
    "classes of none": (
        lambda: pack(images=IMAGES),
        "array:x.npz",
        {"data__classes": "3,"},
        "config.data.classes must be empty for array:x.npz, whose images have no classes",
    ),
    "other channels": (
        lambda: pack(images=np.zeros((9, 8, 8, 5), np.uint8)),
        "array:x.npz",
        {},
        r"image \d is a bad image \(it has 5 channels, not config.data.channels=1\): .*",
    ),
    "nothing to crop": (
        lambda: draw("x"),
        "folder:x",
        {"data__crop": "random"},
        "config.data.load_size=0 must be at least 9, since the random crop cuts config.data.size=8 pixels out of it: "
        "make it 9, or set config.data.crop=centre",
    ),
    "less to crop": (
        lambda: draw("x"),
        "folder:x",
        {"data__load_size": 7},
        "config.data.load_size=7 must be at least 8, since the centre crop cuts config.data.size=8 pixels out of it: "
        "make it 9",
    ),
    "no such crop": (
        lambda: None,
        "digits",
        {"data__crop": "middle"},
        "config.data.crop=middle must be centre, center or random",
    ),
    "no such placement": (
        lambda: None,
        "digits",
        {"data__placement": "stream"},
        "config.data.placement=stream must be auto, resident or streaming",
    ),
    "no such answer to bad images": (
        lambda: None,
        "digits",
        {"data__on_bad_image": "ignore"},
        "config.data.on_bad_image=ignore must be error or skip",
    ),
    "fewer than no workers": (
        lambda: None,
        "digits",
        {"data__workers": -2},
        "config.data.workers=-2 must be -1 or more",
    ),
    "labels that are needed": (
        lambda: draw("x"),
        "folder:x",
        {"conditioning__generator": "concat", "conditioning__discriminator": "acgan"},
        "config.conditioning.generator=concat needs labels, and config.data.source=folder:x has none: .*",
    ),
    "labels that are needed of an array": (
        lambda: pack(images=IMAGES),
        "array:x.npz",
        {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"},
        "config.conditioning.generator=cbn needs labels, and config.data.source=array:x.npz has none: .*",
    ),
    "no such mixture": (
        lambda: None,
        "world:rign",
        {"model__family": "toy_mlp"},
        r"unknown config.data.source world 'rign': did you mean ring\? choose from gaussian1d, .*, ring, solids",
    ),
    "nothing looks for bad images": (
        lambda: draw("x"),
        "folder:x",
        {"data__on_bad_image": "skip", "data__cache": False, "data__placement": "streaming"},
        "config.data.on_bad_image=skip needs config.data.cache=True, which looks at every image first",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_leaves_nothing(in_an_empty_folder, capsys, name):
    prepare, source, settings, expected = WRONG[name]
    prepare()
    before = contents(in_an_empty_folder)
    assert train(source, **settings) == 2
    message = the_error(capsys)
    assert re.fullmatch(expected, message), message
    assert contents(in_an_empty_folder) == before


def test_none_of_the_chosen_classes_is_in_the_split(capsys):
    draw("x/train/cat")
    draw("x/test/dog")
    assert train("folder:x", data__classes="dog") == 2
    assert the_error(capsys) == "folder:x has no images of dog in config.data.split"
    assert not Path("run").exists()


def test_a_cache_that_cannot_be_written(tmp_path, capsys):
    """The advice helps."""
    (tmp_path / "cache").write_text("a file")
    draw("x")
    assert train("folder:x") == 2
    assert the_error(capsys) == (
        f"{tmp_path / 'cache'} cannot be written (File exists): set JAXGAN_DATA_CACHE to another folder, or "
        "config.data.cache=False, which decodes images anew whenever they are used"
    )
    assert not Path("run").exists()
    assert train("folder:x", data__cache=False) == 0


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch, capsys):
    monkeypatch.setenv("JAXGAN_DATA_CACHE", "~nobody-of-this-name/cache")
    draw("x")
    assert train("folder:x") == 2
    assert the_error(capsys).startswith("set JAXGAN_DATA_CACHE to a folder for decoded images: ")


# An image that cannot be decoded


@pytest.mark.parametrize("settings", [{}, {"data__cache": False, "data__placement": "resident"}])
@pytest.mark.parametrize("content", [b"no picture", b""])
def test_a_bad_image_is_named_before_training(capsys, settings, content):
    path = draw("x").absolute() / "7.png"
    path.write_bytes(content)
    assert train("folder:x", **settings) == 2
    assert the_error(capsys) == (
        f"{path} is a bad image (its format is unknown): repair it, remove it, or set config.data.on_bad_image=skip"
    )
    assert not Path("run").exists()


STREAMING = {"data__cache": False, "data__placement": "streaming", "data__workers": 0, "checkpoint_every": 100}


def stored() -> Sequence[str]:
    """The paths of the images in the folder x, in the order of the data set."""
    return folders.read("x").splits["train"].paths


def test_a_bad_image_found_while_training_stops_it_and_keeps_what_was_trained(capsys):
    """The run goes on, once the image is repaired, as if nothing had happened."""
    draw("x")
    path = Path(stored()[order.batch_indices(0, 2, 8, COUNT)[0]])
    assert str(path) not in np.array(stored())[[order.batch_indices(0, step, 8, COUNT) for step in (0, 1)]]
    whole = path.read_bytes()
    path.write_bytes(b"no picture")
    assert train("folder:x", **STREAMING) == 2
    assert the_error(capsys).startswith(f"{path} is a bad image (its format is unknown): repair it")
    assert saved_steps(Path("run")) == [2]

    path.write_bytes(whole)
    assert train("folder:x", **STREAMING) == 0
    stopped = saved(Path("run"))
    Path("run").rename("stopped")
    assert train("folder:x", **STREAMING) == 0
    assert saved(Path("run")) == stopped
    assert stopped[0] == 12
    assert records(Path("stopped")) == records(Path("run"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", [0, 7])  # the first is in the picture of real images, too
def test_a_bad_image_in_the_first_batch_leaves_no_checkpoint(capsys, place):
    draw("x")
    path = stored()[order.batch_indices(0, 0, 8, COUNT)[place]]
    Path(path).write_bytes(b"no picture")
    assert train("folder:x", **STREAMING) == 2
    assert the_error(capsys).startswith(f"{path} is a bad image (its format is unknown): repair it")
    assert list(Path().glob("run/checkpoints/*")) == []


@pytest.mark.parametrize("settings", [{}, {"data__cache": False, "data__placement": "resident"}])
def test_bad_images_are_left_out_and_counted_if_asked_so(capsys, settings):
    folder = draw("x")
    for number in range(3):
        (folder / f"{number}.png").write_text("no picture")
    assert train("folder:x", data__on_bad_image="skip", **settings) == 0
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith(f"warning: 3 of {COUNT} images are left out: ")
    assert line.count("is a bad image (its format is unknown)") == 3
    assert f"\n{COUNT - 3} images (8x8x1); resident\n" in out
    assert saved_steps(Path("run"))[-1] == 12


@pytest.mark.parametrize("settings", [{}, {"data__cache": False, "data__placement": "resident"}])
def test_a_class_of_bad_images_alone_is_named(capsys, settings):
    draw("x/cat")
    draw("x/cow")
    (draw("x/dog", 1) / "0.png").write_text("no picture")
    assert train("folder:x", data__on_bad_image="skip", **settings) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: 1 of 41 images are left out: ")
    assert error == (
        "error: folder:x: none of the images of dog can be used: repair one, or name the other classes in "
        "config.data.classes"
    )
    assert train("folder:x", data__on_bad_image="skip", data__classes="cat,cow", **settings) == 0


def test_only_bad_images_are_too_few(capsys):
    (draw("x", 1) / "0.png").write_text("no picture")
    assert train("folder:x", data__on_bad_image="skip") == 2
    assert re.fullmatch(r"none of 1 images can be used; the last: \S*/x/0.png is a bad image \(.*\)", the_error(capsys))
    assert not Path("run").exists()
