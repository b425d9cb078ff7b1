"""Conditional samples: sample.py --labels, by number and name, of classes and of a latent code's categories."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from experiments import quick_jit
from PIL import Image
from programs import contents, train_tiny

from jaxgan import config as configuration
from jaxgan.cli import sample
from jaxgan.core import experiment
from jaxgan.data.sources import array
from jaxgan.errors import UserError
from jaxgan.io.checkpoint import Checkpoints
from jaxgan.viz import grid, output

NAMES = ["daisy", "red rose", "sweet, pea", "tulip"]
CONDITIONAL = ["--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection"]
CONDITIONAL += ["--config.model.initializer=he", "--config.optimizer.generator.learning_rate=0.1"]  # labels soon matter
SHORT = ["--config.steps=2", "--config.sample_grid=8"]
INFOGAN = {
    "model.initializer": "he",
    "conditioning.generator": "concat",
    "conditioning.discriminator": "infogan",
    "conditioning.categories": 5,
    "conditioning.continuous": 1,
}


def untouched(workdir: Path):
    before = contents(workdir)
    yield workdir
    assert contents(workdir) == before


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A short conditional run on a folder of four classes; nothing may change it."""
    folder = tmp_path_factory.mktemp("flowers")
    for label, name in enumerate(NAMES):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(3 * label + number).integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{number}.png")
    assert train_tiny(folder / "run", f"--config.data.source=folder:{folder / 'data'}", *CONDITIONAL, *SHORT) == 0
    assert json.loads((folder / "run/data.json").read_text())["classes"] == NAMES
    yield from untouched(folder / "run")


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """An InfoGAN with 5 categories and a number as it is before training; nothing may change it."""
    workdir, config = tmp_path_factory.mktemp("codes"), configuration.default(tiny.TINY | INFOGAN)
    configuration.save(config, workdir / "config.json")
    exp = configuration.build(config)
    with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(1, quick_jit(lambda: experiment.initial_state(exp))(), {})
    yield from untouched(workdir)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def sampled(workdir: Path, *more: str, out: str = "out.npz") -> int:
    return sample.main([f"--workdir={workdir}", f"--out={out}", "--raw", *more])


def samples(workdir: Path, *more: str) -> tuple[np.ndarray, list[int]]:
    """The images of sample.py and their labels."""
    assert sampled(workdir, *more) == 0
    with np.load("out.npz") as file:
        assert file.files[:2] == ["images", "labels"]
        assert file["labels"].dtype == np.int32
        return file["images"], file["labels"].tolist()


def the_error(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        ("3", [3] * 64),
        ("0,1,2", [0] * 8 + [1] * 8 + [2] * 8),
        ("2, 0", [2] * 8 + [0] * 8),
        ("all", [label for label in range(4) for _ in range(8)]),
        ("tulip", [3] * 64),
        ("red rose,daisy", [1] * 8 + [0] * 8),
        ("sweet, pea", [2] * 64),  # the whole name, though there is a comma in it
        ("1,1", [1] * 16),
    ],
)
def test_labels_by_number_and_by_name(flowers, asked, labels):
    pictures, found = samples(flowers, f"--labels={asked}")
    assert found == labels
    assert (pictures.dtype, pictures.shape) == (np.uint8, (len(labels), 8, 8, 1))


def test_without_labels_all_of_them_come_in_turn(flowers, codes):
    assert samples(flowers, "--num=10")[1] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert samples(codes, "--num=7")[1] == [0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("run", ["flowers", "codes"])
def test_an_image_depends_on_its_seed_place_and_label_alone(run, request):
    """Whatever the other labels are, and how many there are."""
    workdir = request.getfixturevalue(run)
    in_turn, labels = samples(workdir, "--num=12")
    own = {label: samples(workdir, f"--labels={label}", "--num=12")[0] for label in set(labels)}
    for index, label in enumerate(labels):
        np.testing.assert_array_equal(in_turn[index], own[label][index])
    assert len({picture.tobytes() for pictures in own.values() for picture in pictures}) == 12 * len(own)
    both, labels = samples(workdir, "--labels=2,0", "--num=6")
    assert labels == [2, 2, 2, 0, 0, 0]
    np.testing.assert_array_equal(both, np.concatenate([own[2][:3], own[0][3:6]]))
    other, _ = samples(workdir, "--labels=2,0", "--num=6", "--seed=1")
    assert not {picture.tobytes() for picture in other} & {picture.tobytes() for picture in both}


def test_a_row_walks_from_one_seed_to_the_other_within_its_label(flowers):
    walk, labels = samples(flowers, "--labels=3,1", "--num=12", "--columns=3", "--interpolate=1")
    assert labels == [3] * 6 + [1] * 6
    for seed, column in ((0, 0), (1, 2)):
        for row, label in enumerate((3, 3, 1, 1)):
            ends, _ = samples(flowers, f"--labels={label}", f"--num={row + 1}", f"--seed={seed}")
            np.testing.assert_array_equal(walk[3 * row + column], ends[row])


@pytest.mark.parametrize("run", ["flowers", "codes"])
def test_a_row_keeps_its_label_where_none_is_asked_for(run, request):
    """It begins and ends with images of the two seeds; a code's numbers change on the way."""
    workdir = request.getfixturevalue(run)
    walk, labels = samples(workdir, "--num=12", "--columns=3", "--interpolate=1")
    assert labels == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for seed, column in ((0, 0), (1, 2)):
        ends, _ = samples(workdir, "--num=4", f"--seed={seed}")
        np.testing.assert_array_equal(walk[column::3], ends)


def test_a_grid_has_a_row_for_each_label_and_its_name(flowers):
    pictures, _ = samples(flowers, "--labels=1,3", "--num=6")
    assert sampled(flowers, "--labels=1,3", "--num=6", out="grid.png") == 0
    with Image.open("grid.png") as image:
        named = np.asarray(image)
    plain = grid.image_grid(pictures, 3)
    np.testing.assert_array_equal(named, grid.image_grid(pictures, 3, ["red rose", "tulip"]))
    np.testing.assert_array_equal(named[:, -plain.shape[1] :], plain)
    strip = named[:, : -plain.shape[1]]
    half = len(strip) // 2
    assert (strip[:half] < 128).any() and (strip[half:] < 128).any()  # noqa: PT018
    first_ink = [np.flatnonzero((part < 128).any((0, 2)))[0] for part in (strip[:half], strip[half:])]
    assert first_ink[0] < first_ink[1]  # "red rose" is the longer of the two, and both end beside their rows


def test_every_row_of_a_walk_has_the_name_of_its_label(flowers):
    walk = ["--labels=1,3", "--num=12", "--columns=3", "--interpolate=1"]
    pictures, _ = samples(flowers, *walk)
    assert sampled(flowers, *walk, out="walk.png") == 0
    with Image.open("walk.png") as image:
        names = ["red rose", "red rose", "tulip", "tulip"]
        np.testing.assert_array_equal(np.asarray(image), grid.image_grid(pictures, 3, names))


def test_one_label_needs_no_names(flowers):
    pictures, _ = samples(flowers, "--labels=1", "--num=4")
    assert sampled(flowers, "--labels=1", "--num=4", out="plain.png") == 0
    with Image.open("plain.png") as image:
        np.testing.assert_array_equal(np.asarray(image), grid.image_grid(pictures))


def test_a_folder_has_a_folder_for_each_label(flowers):
    pictures, _ = samples(flowers, "--labels=sweet%2C pea".replace("%2C", ","), "--num=2")
    assert sampled(flowers, "--labels=sweet, pea", "--num=2", out="one/") == 0
    assert {str(path) for path in contents(Path("one"))} == {
        "sweet, pea",
        "sweet, pea/000000.png",
        "sweet, pea/000001.png",
    }
    both, _ = samples(flowers, "--labels=1,0", "--num=4")
    assert sampled(flowers, "--labels=red rose,0", "--num=4", out="two/") == 0
    files = {0: "red rose/000000.png", 1: "red rose/000001.png", 2: "daisy/000002.png", 3: "daisy/000003.png"}
    assert sorted(str(path) for path in Path("two").rglob("*.png")) == sorted(f"two/{path}" for path in files.values())
    for index, path in files.items():
        with Image.open(Path("two") / path) as image:
            np.testing.assert_array_equal(np.asarray(image), np.repeat(both[index], 3, axis=-1))
    assert sampled(flowers, "--num=2", out="flat/") == 0
    assert sorted(os.listdir("flat")) == ["000000.png", "000001.png"]
    with Image.open("one/sweet, pea/000001.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.repeat(pictures[1], 3, axis=-1))


def test_a_folder_holds_the_pictures_of_one_command(flowers, capsys):
    """A command that replaces all of a folder's pictures may run; one that would leave some is refused."""
    for more in (["--num=4"], ["--num=4"], ["--num=4", "--seed=1"]):
        assert sampled(flowers, "--labels=1,0", *more, out="out/") == 0
    for more in (["--num=2"], ["--num=3"]):
        assert sampled(flowers, *more, out="flat/") == 0
    before = contents(Path())
    capsys.readouterr()
    for more in (["--labels=1,0", "--num=2"], ["--labels=0,1", "--num=4"], ["--labels=1"], []):
        assert sampled(flowers, *more, out="out/") == 2
        assert re.match(
            r"--out=out/ holds [1-4] other pictures, such as (daisy|red rose)/00000\d\.png, ", the_error(capsys)
        )
        assert contents(Path()) == before
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    assert sampled(flowers, "--num=1", out="mine/") == 0
    Path("mine/holiday.JPG").touch()
    assert sampled(flowers, "--num=1", out="mine/") == 2
    assert the_error(capsys).startswith("--out=mine/ holds 1 other pictures, such as holiday.JPG, ")


def test_categories_of_a_code_are_asked_for_by_number(codes, capsys):
    assert samples(codes, "--labels=4,1", "--num=4")[1] == [4, 4, 1, 1]
    assert samples(codes, "--labels=all", "--num=5")[1] == [0, 1, 2, 3, 4]
    assert sampled(codes, "--labels=5") == 2
    assert the_error(capsys).endswith("unknown class '5': choose from 0, 1, 2, 3, 4")


WRONG = {
    "--labels=4": r"--labels=4: 4 must be from 0 to 3",
    "--labels=0,-1": r"--labels=0,-1: -1 must be from 0 to 3",
    "--labels=tuilp": r"unknown class 'tuilp': did you mean tulip\? choose from daisy, red rose, .*",
    "--labels=daisy,rose": r"unknown class 'rose': did you mean red rose\? .*",
    "--labels=": r"unknown class '': choose from .*",
    "--labels=1,": r"unknown class '': choose from .*",
    "--labels=0,1,2 --num=8": r"--num=8 must be a multiple of the 3 labels",
    "--labels=0,1 --num=8 --columns=2": r"--columns=2 must be 4, the images of a label, or absent",
    "--labels=0,1,2 --interpolate=1": r"--labels has 3 labels and --num=64 with --columns=8 makes 8 rows: .*",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_label_is_named_and_put_right_in_one_line(flowers, capsys, wrong):
    assert sampled(flowers, *wrong.split()) == 2
    error = the_error(capsys)
    assert re.fullmatch(WRONG[wrong], error), error
    assert contents(Path()) == {}


def renamed(flowers: Path, text: str) -> Path:
    """A copy of the run with another record of its data."""
    workdir = Path(shutil.copytree(flowers, "run"))
    (workdir / "data.json").write_text(text)
    return workdir


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"classes": 4}'])
def test_a_damaged_record_of_the_names_is_named(flowers, capsys, text):
    workdir = renamed(flowers, text)
    assert sampled(workdir, "--labels=1") == 2
    error = the_error(capsys)
    assert re.fullmatch(r"run/data.json is damaged \(.*\): restore it, or start train.py again", error), error
    assert not Path("out.npz").exists()


def test_a_class_whose_name_is_a_number_goes_by_its_name(flowers, capsys):
    """As after training on the digits 3 and 7 alone."""
    workdir = renamed(flowers, json.dumps({"classes": ["7", "3", "1", "9"]}))
    assert samples(workdir, "--labels=3,1,7,9", "--num=4")[1] == [1, 2, 0, 3]
    capsys.readouterr()
    for wrong in ("0", "4"):  # which are places, and not names
        assert sampled(workdir, f"--labels={wrong}") == 2
        assert the_error(capsys).endswith(f"unknown class '{wrong}': choose from 1, 3, 7, 9")


# Files that go on


@pytest.mark.parametrize("names", [("1", "2", "3"), ("daisy", "red rose", "é"), ("0", "1", "2")])
def test_a_file_of_samples_has_the_classes_that_its_run_has(names, tmp_path):
    """Labels count the names; who reads the file gets the names back, whatever they are."""
    labels = np.int32([2, 0, 2, 1])
    images = np.zeros((4, 8, 8, 1), np.uint8)
    output.write_images(str(tmp_path / "drawn.npz"), images, None, labels, [], classes=names)
    stored = array.read(str(tmp_path / "drawn.npz"))
    found = stored.splits["train"].labels()
    assert [stored.classes[label] for label in found] == [names[label] for label in labels]


def test_labels_that_count_no_names_are_refused(tmp_path):
    for labels, classes in (([0, 3], ["a", "b"]), ([-1, 0], ["a", "b"]), ([0.0, 1.0], ["a", "b"]), ([0, 1], [5, 6])):
        np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8), np.uint8), labels=labels, classes=classes)
        with pytest.raises(UserError, match="classes"):
            array.read(str(tmp_path / "x.npz"))
