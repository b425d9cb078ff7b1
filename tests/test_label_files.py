"""Labels in a file: dataset.json of StyleGAN and labels.csv, in folders and archives; errors name what is wrong."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from experiments import raises_user_error
from PIL import Image
from programs import train_tiny

from jaxgan.cli import sample
from jaxgan.data.sources import folder
from jaxgan.errors import UserError
from jaxgan.io import run_folder

CONDITIONAL = ["--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection"]


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, format="png")
    return file.getvalue()


def contents_of(names: str, label_files: Mapping[str, object]) -> dict[str, bytes]:
    """Pictures, and label files: text, or what becomes JSON."""
    files = {name: value if isinstance(value, str) else json.dumps(value) for name, value in label_files.items()}
    return dict.fromkeys(names.split(), picture()) | {name: text.encode() for name, text in files.items()}


def write(root: Path, names: str, **label_files: object) -> Path:
    """A folder; `labels_csv` stands for `labels.csv`, `train__labels_csv` for `train/labels.csv`."""
    own = {name.replace("__", "/").replace("_", "."): value for name, value in label_files.items()}
    for name, content in contents_of(names, own).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def labelled(place: Path, split: str = "train") -> dict[str, str | None]:
    """{path: class} of a split; None where the class is unknown, "" where there are no classes."""
    stored = folder.read(str(place))
    known = dict(enumerate(stored.classes)) | {-1: None} if stored.classes else {0: ""}
    items = stored.splits[split].read(range(len(stored.splits[split])))
    return {Path(item.name).relative_to(place).as_posix(): known[item.label] for item in items}


STYLEGAN = {"labels": [["00000/img00000000.png", 6], ["00000/img00000001.png", 10], ["00001/img00000002.png", 6]]}
NAMES = " ".join(name for name, _ in STYLEGAN["labels"])


def test_labels_of_stylegan(tmp_path):
    """The classes are those that occur, in the order of numbers; folders are no classes."""
    root = write(tmp_path, NAMES, dataset_json=STYLEGAN)
    assert folder.read(str(root)).classes == ("6", "10")
    assert labelled(root) == dict(zip(NAMES.split(), ("6", "10", "6"), strict=True))


def test_a_data_set_of_stylegan_without_labels_has_no_classes(tmp_path):
    root = write(tmp_path, NAMES, dataset_json={"labels": None})
    assert labelled(root) == dict.fromkeys(NAMES.split(), "")


@pytest.mark.parametrize("top", ["", "ffhq/"])
def test_an_archive_has_its_label_file_beside_its_images(top, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in contents_of(NAMES, {"dataset.json": STYLEGAN}).items():
            archive.writestr(top + name, content)
    assert set(labelled(tmp_path / "x.zip").values()) == {"6", "10"}
    found = folder.read(str(tmp_path / "x.zip")).splits["train"].read([0])[0].name
    assert found.startswith(f"{tmp_path}/x.zip/{top}0000")


CSV = {
    "a header": "file,label\na.png,cat\nb/c.png,dog\n",
    "another header": "filename, breed\na.png, cat\nb/c.png, dog",
    "no header": "b/c.png,dog\r\na.png,cat\r\n",
    "quotes and blank lines": '\n"a.png","cat"\n\n"b/c.png","dog"\n,\n',
    "a mark of the order of bytes": "\ufeffa.png,cat\nb/c.png,dog\n",
    "other ways to write a path": "./a.png,cat\nb\\c.png,dog\n",
}


@pytest.mark.parametrize("case", CSV)
def test_labels_in_a_table(case, tmp_path, capsys):
    root = write(tmp_path, "a.png b/c.png", labels_csv=CSV[case])
    assert labelled(root) == {"a.png": "cat", "b/c.png": "dog"}
    assert folder.read(str(root)).classes == ("cat", "dog")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "9"], ("9", "10")),
        (["10", "9", "nine"], ("10", "9", "nine")),
        (["a, b", "c,d", "e"], ("a, b", "c,d", "e")),
        (["9" * 5000, "1", "2"], ("1", "2", "9" * 5000)),
        (["é", "z", "a"], ("a", "z", "é")),
        (["a\x07", "b", "c"], ("a\\x07", "b", "c")),
    ],
)
def test_labels_are_ordered_as_numbers_if_they_are_numbers(labels, classes, tmp_path):
    rows = "".join(f'{name}.png,"{label}"\n' for name, label in zip("abc", labels, strict=True))
    root = write(tmp_path, "a.png b.png c.png", labels_csv=rows)
    assert folder.read(str(root)).classes == classes
    shown = [label.replace("\x07", "\\x07") for label in labels]
    assert labelled(root) == {f"{name}.png": label for name, label in zip("abc", shown, strict=True)}


def test_splits_have_labels_in_one_file_or_in_their_own(tmp_path):
    names = "train/a/0.png train/b/0.png test/0.png"
    whole = write(tmp_path / "whole", names, labels_csv="train/a/0.png,x\ntrain/b/0.png,y\ntest/0.png,y\n")
    assert labelled(whole) == {"train/a/0.png": "x", "train/b/0.png": "y"}
    assert labelled(whole, "test") == {"test/0.png": "y"}
    own = write(tmp_path / "own", names, train__labels_csv="a/0.png,x\nb/0.png,y\n", test__dataset_json=None)
    (own / "test/dataset.json").write_text(json.dumps({"labels": [["0.png", "z"]]}))
    assert labelled(own) == labelled(whole)
    assert labelled(own, "test") == {"test/0.png": "z"}
    some = write(tmp_path / "some", names, train__labels_csv="a/0.png,x\nb/0.png,y\n")
    assert labelled(some, "test") == {"test/0.png": None}


def test_rows_without_an_image_are_named_and_left_out(tmp_path, capsys):
    """Those of pictures that cannot be decoded are named by the warning about these."""
    root = write(tmp_path, "a.png", labels_csv="a.png,0\nb.png,1\nc.heic,1\nnotes.txt,2\n/x.png,3\n")
    for name in ("c.heic", "notes.txt"):
        (root / name).touch()
    assert labelled(root) == {"a.png": "0"}
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"warning: left out of {root}: 1 HEIC file, such as {root}/c.heic")
    assert second == (
        f"warning: {root}/labels.csv names 3 files that are no images here, such as b.png: they are left out"
    )


def test_a_change_of_labels_is_other_content(tmp_path):
    root = write(tmp_path, "a.png", labels_csv="a.png,0\n")
    before = folder.read(str(root)).content
    assert folder.read(str(root)).content == before
    write(tmp_path, "", labels_csv="a.png,1\n")
    assert folder.read(str(root)).content != before


WRONG = {
    "an image without a row": (
        {"labels_csv": "b.png,1\n"},
        "labels.csv has no label for 1 of 2 images, such as a.png",
    ),
    "an image twice": ({"labels_csv": "a.png,1\nb.png,1\n./a.png,2\n"}, r"has ./a.png twice, as 1 and as 2: keep one"),
    "a column": (
        {"labels_csv": "a.png\n"},
        r"labels.csv cannot be read \(line 1 must be file,label, .* and is 'a.png'\)",
    ),
    "three columns": (
        {"labels_csv": "a.png,1\nb.png,1,2\n"},
        r"\(line 2 must be file,label, .* and is 'b.png,1,2'\)",
    ),
    "semicolons": (
        {"labels_csv": "a.png;1\n"},
        r"\(line 1 must be file,label, .* and is 'a.png;1'\)",
    ),
    "no label": ({"labels_csv": "a.png,\n"}, r"\(line 1 must be file,label, .* and is 'a.png,'\)"),
    "an open quote": ({"labels_csv": '"a.png,1\n'}, "labels.csv cannot be read"),
    "nothing": ({"labels_csv": ""}, "labels.csv has no label for 2 of 2 images"),
    "two files": ({"labels_csv": "", "dataset_json": STYLEGAN}, "holds dataset.json and labels.csv: keep one of them"),
    "no JSON": ({"dataset_json": "{"}, r"dataset.json cannot be read \(Expecting property name"),
    "deep JSON": ({"dataset_json": "[" * 99_999}, "dataset.json cannot be read"),
    "other JSON": ({"dataset_json": {"images": []}}, r'must hold {"labels": \[\["image.png", 0\], ...\]}, or'),
    "a list": ({"dataset_json": [["a.png", 0]]}, r'must hold {"labels": \[\["image.png", 0\], ...\]}, or'),
    "a vector": (
        {"dataset_json": {"labels": [["a.png", [0.5, 1.0]]]}},
        "label of a.png is a vector: labels must be",
    ),
    "a negative label": (
        {"dataset_json": {"labels": [["a.png", -1]]}},
        r'\["a.png", -1\] must be a file and a label',
    ),
    "a fraction": ({"dataset_json": {"labels": [["a.png", 0.5]]}}, r'\["a.png", 0.5\] must be a file and a label of'),
    "yes": (
        {"dataset_json": {"labels": [["a.png", True]]}},
        r'\["a.png", true\] must be a file and a label',
    ),
    "an object": (
        {"dataset_json": {"labels": [{"a.png": 0}]}},
        r'{"a.png": 0} must be a file and a label',
    ),
    "huge": ({"dataset_json": '{"labels": [["a.png", ' + "9" * 5000 + "]]}"}, "dataset.json cannot be read .*integer"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_label_file_is_one_line(case, tmp_path):
    label_files, message = WRONG[case]
    root = write(tmp_path, "a.png b.png", **label_files)
    with raises_user_error(UserError, match=message):
        folder.read(str(root))


def test_a_label_file_that_is_no_text(tmp_path):
    write(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_bytes(b"a.png,\xff\n")
    with raises_user_error(UserError, match=r"labels.csv cannot be read \(.*utf-8"):
        folder.read(str(tmp_path))


def test_a_run_on_labels_of_stylegan_draws_by_their_names(tmp_path, capsys):
    """Labels 3 and 11 are two classes, not twelve."""
    names = [f"00000/img{number:08d}.png" for number in range(16)]
    labels = {"labels": [[name, 3 + 8 * (number % 2)] for number, name in enumerate(names)]}
    root = write(tmp_path / "data", " ".join(names), dataset_json=labels)
    run = tmp_path / "run"
    assert train_tiny(run, f"--config.data.source=folder:{root}", *CONDITIONAL, "--config.steps=2") == 0
    assert "16 images (8x8x1), 2 classes (3, 11); resident" in capsys.readouterr().out
    assert run_folder.read_classes(run) == ["3", "11"]
    assert sample.main([f"--workdir={run}", f"--out={tmp_path}/x.npz", "--labels=11,3", "--num=4"]) == 0
    with np.load(tmp_path / "x.npz") as file:
        assert file["labels"].tolist() == [1, 1, 0, 0]
    assert sample.main([f"--workdir={run}", f"--out={tmp_path}/x.npz", "--labels=12", "--num=4"]) == 2
