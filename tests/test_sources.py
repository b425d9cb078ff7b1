"""Images in folders and arrays: which ones count, their order, their labels, and what is refused."""

import functools
import os
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from experiments import raises_user_error, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.data import formats, loader, selection
from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.data.labels import classes_of
from jaxgan.data.selection import Selection
from jaxgan.data.sources import array, example_shape, folder, mixture, open_dataset, source_of, stacked
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.data.stored import Arrays, Item, StoredImages, fingerprint
from jaxgan.errors import UserError

law = settings(deadline=None, max_examples=60, derandomize=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
LABELS = np.arange(12) % 6


def fill(root: Path, *names: str, colour: object = 0) -> None:
    """Writes small pictures, or texts where the name is none of a picture."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if formats.is_picture(name):
            Image.new("RGB", (8, 8), colour).save(path)
        else:
            path.write_text("no picture")


def contents(place: Path, split: str = "train") -> dict[str, str]:
    """{name of a picture: its class}, in the order of the examples."""
    stored = folder.read(str(place))
    items = stored.splits[split].read(range(len(stored.splits[split])))
    np.testing.assert_array_equal(stored.splits[split].labels(), [item.label for item in items])
    assert all(item.image == item.name for item in items)
    names = {0: ""} if not stored.classes else {-1: None} | dict(enumerate(stored.classes))
    return {Path(item.name).relative_to(place).as_posix(): names[item.label] for item in items}


def select(source: str, split: str = "train", classes: tuple = ()) -> Selection:
    data = tiny_config(data__source=source, data__split=split, data__classes=classes).data
    return selection.select(data, source_of(data).read(source.partition(":")[2]))


def read_all(chosen: Selection) -> list[Item]:
    return chosen.read(np.arange(len(chosen)))


# Folders.


def test_a_flat_folder_has_no_classes(tmp_path):
    fill(tmp_path, "a.png", "b.JPG", "c.jpeg", "d.webp", "e.bmp", "f.tif", "g.Tiff")
    fill(tmp_path, ".hidden.png", "notes.txt", "a.gif.txt", ".git/x.png")
    (tmp_path / "folder.jpg").mkdir()
    assert contents(tmp_path) == dict.fromkeys(["a.png", "b.JPG", "c.jpeg", "d.webp", "e.bmp", "f.tif", "g.Tiff"], "")
    assert folder.read(str(tmp_path)).classes == ()


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path):
    fill(tmp_path, "b/0.png", "B/0.png", "a b/deep/er/1.PNG", "a b/2.png", "10/0.png", "9/0.jpg", "readme.md")
    fill(tmp_path, "b/.thumbnail.png", "b/.cache/0.png", "b/list.csv", ".trash/0.png")
    (tmp_path / "b" / "0.jpg").mkdir()
    expected = {"b/0.png": "b", "B/0.png": "B", "a b/deep/er/1.PNG": "a b", "a b/2.png": "a b", "10/0.png": "10"}
    assert contents(tmp_path) == expected | {"9/0.jpg": "9"}
    assert folder.read(str(tmp_path)).classes == ("10", "9", "B", "a b", "b")


def test_links_are_followed(tmp_path):
    fill(tmp_path, "data/a/0.png", "elsewhere/1.png", "2.png")
    (tmp_path / "data/a/deep").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/2.png").symlink_to(tmp_path / "2.png")
    expected = {"a/0.png": "a", "a/deep/1.png": "a", "a/2.png": "a", "b/1.png": "b"}
    assert contents(tmp_path / "data") == expected


def test_folders_named_like_splits_are_splits(tmp_path):
    fill(tmp_path, "train/b/0.png", "train/a/0.png", "test/b/1.png", "test/c/1.png", "val/c/2.png")
    assert folder.read(str(tmp_path)).classes == ("a", "b", "c")
    assert contents(tmp_path) == {"train/b/0.png": "b", "train/a/0.png": "a"}
    assert contents(tmp_path, "test") == {"test/b/1.png": "b", "test/c/1.png": "c"}
    names = [Path(item.name).name for item in read_all(select(f"folder:{tmp_path}", "val+train"))]
    assert names == ["2.png", "0.png", "0.png"]
    with raises_user_error(UserError, match="unknown split 'valid': did you mean val"):
        select(f"folder:{tmp_path}", "valid")


def test_splits_without_classes(tmp_path):
    fill(tmp_path, "train/0.png", "test/1.png", "test/2.png")
    assert contents(tmp_path, "test") == {"test/1.png": "", "test/2.png": ""}
    fill(tmp_path / "mixed", "train/a/0.png", "train/b/0.png", "test/1.png")
    assert contents(tmp_path / "mixed", "test") == {"test/1.png": None}  # not "a"
    items = read_all(select(f"folder:{tmp_path / 'mixed'}", "train+test", ("a",)))
    assert [Path(item.name).name for item in items] == ["0.png"]


def test_a_folder_beside_those_of_splits_makes_all_of_them_classes(tmp_path):
    fill(tmp_path, "train/0.png", "test/0.png", "plane/0.png")
    assert contents(tmp_path) == {"train/0.png": "train", "test/0.png": "test", "plane/0.png": "plane"}


def test_relative_folders_and_those_of_the_user(tmp_path, monkeypatch):
    fill(tmp_path, "home/data/a/0.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for place in ("home/data", "./home/../home/data", "~/data"):
        (item,) = read_all(select(f"folder:{place}"))
        assert os.path.samefile(item.name, tmp_path / "home/data/a/0.png")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"/root holds no images \(JPEG, "),
        (("notes.txt",), r"/root holds no images \(JPEG, "),
        (
            ("a/0.png", "b/notes.txt", "c/0.png"),
            "/root/b holds no images that can be read: every folder is a class, so remove or",
        ),
        (("train/a/0.png", "test/notes.txt"), "/root/test holds no images"),
        (("a/0.png", "x.png"), r"/root holds images \(x.png\) beside folders of images: move them into a folder"),
        (("train/a/0.png", "train/x.png"), r"/root/train holds images \(x.png\) beside"),
    ],
)
def test_folders_that_are_not_understood(names, message, tmp_path):
    (tmp_path / "root").mkdir()
    fill(tmp_path / "root", *names)
    with raises_user_error(UserError, match=message):
        folder.read(str(tmp_path / "root"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", ": there is no such folder"),
        ("missing", ": there is no such folder"),
        ("missing.zip", ": there is no such folder"),
        ("a.png/b", ": there is no such folder"),
        ("a.png", " must be a folder, or an archive that ends in .zip, .tar, "),
        ("x.npz", " must be array:x.npz"),
    ],
)
def test_missing_folders(place, message, tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "x.npz")
    monkeypatch.chdir(tmp_path)
    with raises_user_error(UserError, match=f"config.data.source=folder:{place}{message}"):
        select(f"folder:{place}")


def test_an_archive_in_a_folder_without_images_is_named(tmp_path):
    fill(tmp_path, "photos.zip", "readme.txt")
    with raises_user_error(UserError, match="holds no images, but photos.zip: write folder:/.*/photos.zip"):
        select(f"folder:{tmp_path}")


NAMES = [f"{name}/{i}.png" for name in ("a", "b", "c", "d") for i in range(12)]


def test_examples_come_in_the_order_of_a_hash_of_their_names(tmp_path):
    fill(tmp_path / "one", *NAMES)
    fill(tmp_path / "two", *reversed(NAMES))
    order = list(contents(tmp_path / "one"))
    assert order == list(contents(tmp_path / "two"))
    assert sorted(order) == sorted(NAMES)
    # By `printf b/2.png | b2sum` of each, sorted.
    assert order[:6] == ["b/2.png", "b/10.png", "b/1.png", "a/3.png", "d/11.png", "d/10.png"]
    (tmp_path / "two" / order[7]).unlink()
    assert list(contents(tmp_path / "two")) == order[:7] + order[8:]


def test_slices_of_folders_tile_them_and_hold_every_class(tmp_path):
    fill(tmp_path, *NAMES)
    parts = [[item.name for item in read_all(select(f"folder:{tmp_path}", f"train{p}"))] for p in ("[:10%]", "[10%:]")]
    assert list(map(len, parts)) == [5, 43]  # 4.8 of 48
    assert len({*parts[0], *parts[1]}) == 48
    for half in ("[:50%]", "[50%:]"):
        assert {item.label for item in read_all(select(f"folder:{tmp_path}", "train" + half))} == {0, 1, 2, 3}


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(("channels", "red"), [(1, [76]), (3, [255, 0, 0])])
def test_a_folder_reaches_the_device(channels, red, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    fill(tmp_path / "data", "black/0.png", "black/1.jpg")
    fill(tmp_path / "data", "red/0.png", "red/1.bmp", "red/2.tif", colour="red")
    config = tiny_config(data__source=f"folder:{tmp_path / 'data'}", data__channels=channels, data__cache=cache)
    dataset = open_dataset(config)
    made = loader.make_loader(config, dataset, 1, room=2**20)
    assert (len(dataset), dataset.shape, dataset.classes) == (5, (8, 8, channels), ("black", "red"))
    assert sorted(made.data["labels"]) == [0, 0, 1, 1, 1]
    for image, label in zip(made.data["images"], made.data["labels"], strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(red if label else 0, (8, 8, channels)))
    assert (tmp_path / "cache").exists() == cache


# Arrays.


def save(path: Path, **arrays) -> str:
    (np.savez if path.suffix == ".npz" else functools.partial(np.save, arr=arrays.pop("images")))(path, **arrays)
    return f"array:{path}"


def test_arrays_with_and_without_labels(tmp_path):
    labelled = array.read(save(tmp_path / "x.npz", images=IMAGES, labels=LABELS)[6:])
    assert labelled.classes == ("0", "1", "2", "3", "4", "5")
    plain = array.read(save(tmp_path / "y.npz", images=IMAGES)[6:])
    mapped = array.read(save(tmp_path / "z.npy", images=IMAGES)[6:])
    assert plain.classes == mapped.classes == ()
    for stored, labels in [(labelled, LABELS), (plain, 0 * LABELS), (mapped, 0 * LABELS)]:
        split = stored.splits["train"]
        items = split.read(range(12))
        np.testing.assert_array_equal([item.image for item in items], IMAGES)
        np.testing.assert_array_equal([item.label for item in items], labels)
        np.testing.assert_array_equal(split.labels(), labels)
        assert split.labels().dtype == np.int32
        assert items[3].name == "image 3"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (LABELS + 1, ("1", "2", "3", "4", "5", "6")),
        (np.uint8([200, 7, 200] * 4), ("7", "200")),  # in the order of numbers, not of texts
        (np.float32(LABELS), ("0", "1", "2", "3", "4", "5")),
        (LABELS[:, None] > 2, ("False", "True")),
        (np.uint64([2**64 - 1, 3] * 6), ("3", "18446744073709551615")),
        (np.array(["dog", "cat", "a, b"] * 4), ("a, b", "cat", "dog")),
        (np.array(["é".encode(), b"a"] * 6), ("a", "é")),
        (np.array(["a\nb", "c"] * 6), ("a\\nb", "c")),
    ],
)
def test_classes_are_the_labels_that_occur(labels, classes, tmp_path):
    """Each keeps its name."""
    chosen = select(save(tmp_path / "x.npz", images=IMAGES, labels=labels))
    assert chosen.classes == classes
    names = [name.decode() if isinstance(name, bytes) else name for name in labels.ravel().tolist()]
    names = [name.replace("\n", "\\n") if isinstance(name, str) else name for name in names]
    assert [chosen.classes[item.label] for item in read_all(chosen)] == [
        str(int(name)) if isinstance(name, float) else str(name) for name in names
    ]


def test_labels_of_too_many_kinds_are_refused():
    with pytest.raises(ValueError, match="labels hold 100,001 different values: 100,000 classes are the most"):
        classes_of(np.arange(100_001), 100_001)
    assert len(classes_of(np.arange(100_000), 100_000)[0]) == 100_000


def test_npy_files_are_mapped_not_read(tmp_path):
    source = save(tmp_path / "x.npy", images=IMAGES[..., None])
    assert isinstance(array.read(source[6:]).splits["train"].images.array, np.memmap)
    dataset = open_dataset(tiny_config(data__source=source, data__split="train[2:]", data__size=4))
    assert isinstance(dataset.images, np.memmap)
    np.testing.assert_array_equal(dataset.images, IMAGES[2:, ..., None])
    received = pickle.loads(pickle.dumps(dataset))  # of which another process opens the file
    assert isinstance(received.images, np.memmap)
    np.testing.assert_array_equal(received.images, dataset.images)


@pytest.mark.parametrize("source", ["folder:{}", "stacked:array:{}/x.npy"])
def test_only_arrays_themselves_are_mapped(source, tmp_path, monkeypatch):
    """Of a folder, or of stacks of images, the name may end in .npy all the same."""
    monkeypatch.setattr(stacked, "STACKS", 10)
    place = tmp_path / "a.npy"
    fill(place, "a.png", colour="red")
    save(place / "x.npy", images=IMAGES)
    dataset = open_dataset(tiny_config(data__source=source.format(place), data__channels=3, data__size=4))
    batch = dataset.take(np.arange(len(dataset)))["images"]
    if source.startswith("folder"):
        np.testing.assert_array_equal(batch, np.broadcast_to(np.uint8([255, 0, 0]), (1, 4, 4, 3)))
    else:
        chosen = stacked.read(f"array:{place}/x.npy", {"array": array.read}).splits["train"].chosen
        np.testing.assert_array_equal(batch, np.moveaxis(IMAGES[chosen], 1, 3))


IMAGES_MUST = r"must be uint8, \[N, H, W\] or \[N, H, W, C\]"
LABELS_MUST = "must be 12 whole numbers or names, one for each image"


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("x.npz", {"images": IMAGES / 255}, f"images of type float64 and shape .* {IMAGES_MUST}"),
        ("x.npy", {"images": IMAGES.astype(np.int64)}, f"images of type int64 .* {IMAGES_MUST}"),
        ("x.npy", {"images": IMAGES[0]}, rf"shape \(4, 4\) {IMAGES_MUST}"),
        ("x.npz", {"images": IMAGES[None, None]}, IMAGES_MUST),
        ("x.npz", {"images": IMAGES[:0]}, rf"shape \(0, 4, 4\) {IMAGES_MUST}"),
        ("x.npz", {"image": IMAGES, "y": LABELS}, r"must hold an array 'images', not image \(uint8, .*\), y \("),
        ("x.npz", {}, "must hold an array 'images', not nothing"),
        ("x.npz", {"images": IMAGES, "labels": LABELS - 1}, r"labels hold -1 \(2 of 12 are negative\): .* 0 or more"),
        ("x.npz", {"images": IMAGES, "labels": LABELS / 2}, "labels hold 0.5: labels must be whole numbers"),
        ("x.npz", {"images": IMAGES, "labels": LABELS * np.nan}, "labels hold nan: labels must be whole numbers"),
        ("x.npz", {"images": IMAGES, "labels": LABELS * 1e300}, r"labels hold 1e\+300: labels must be whole numbers"),
        ("x.npz", {"images": IMAGES, "labels": LABELS[1:]}, rf"shape \(11,\) {LABELS_MUST}"),
        ("x.npz", {"images": IMAGES, "labels": LABELS * 1j}, f"labels of type complex128 .* {LABELS_MUST}"),
        ("x.npz", {"images": IMAGES, "labels": np.int64(3)}, rf"shape \(\) {LABELS_MUST}"),
        ("x.npz", {"images": IMAGES, "labels": np.eye(12)}, r"shape \(12, 12\) look like .*: save labels.argmax\(1\)"),
        ("x.npz", {"images": IMAGES, "labels": np.array(["cat"] * 9 + ["", "", ""])}, "an empty name: label 9"),
        ("x.npz", {"images": IMAGES, "labels": np.array([b"\xff"] * 12)}, r"labels hold b'\\xff': names must be UTF-8"),
    ],
)
def test_wrong_arrays_are_described(name, arrays, message, tmp_path):
    with raises_user_error(UserError, match=message):
        select(save(tmp_path / name, **arrays))


COLOURS = np.random.default_rng(1).integers(0, 256, (5, 9, 8, 3), np.uint8)
FIRST = COLOURS.transpose(0, 3, 1, 2)
STORED_OTHERWISE = {
    "channels first": (FIRST, COLOURS),
    "one channel first": (IMAGES[:, None].repeat(2, 2).repeat(2, 3), IMAGES[..., None].repeat(2, 1).repeat(2, 2)),
    "from 0 to 1": (COLOURS / np.float32(255), COLOURS),
    "from -1 to 1": (COLOURS / 127.5 - 1, COLOURS),
    "both": (FIRST / np.float32(127.5) - 1, COLOURS),
    "floats to 255": (IMAGES.astype(np.float64), IMAGES),
    "whole numbers": (FIRST.astype(np.int64), COLOURS),
    "16 bits": (COLOURS * np.uint16(257), COLOURS),
    "yes or no": (COLOURS > 99, (COLOURS > 99) * np.uint8(255)),
}


@pytest.mark.parametrize("case", STORED_OTHERWISE)
def test_images_stored_otherwise_are_answered_with_what_mends_them(case, tmp_path):
    """What the advice gives is accepted, and is what the images were made of."""
    images, expected = STORED_OTHERWISE[case]
    with raises_user_error(UserError) as refused:
        array.read(save(tmp_path / "x.npz", images=images)[6:])
    advice = str(refused.value).rpartition(", so save ")[2]
    mended = eval(advice, {"np": np, "images": images})
    np.testing.assert_array_equal(mended, expected)
    array.read(save(tmp_path / "x.npz", images=mended)[6:])


@pytest.mark.parametrize("shape", [(9, 4, 4, 5), (9, 3, 3, 3), (9, 8, 8, 5), (9, 32, 4, 4), (9, 5, 32, 32)])
def test_channels_that_come_last_are_no_channels_that_come_first(shape, tmp_path):
    stored = array.read(save(tmp_path / "x.npy", images=np.zeros(shape, np.uint8))[6:])
    assert stored.splits["train"].images.shape == shape


def test_the_arrays_of_another_file_are_listed_with_what_mends_it(tmp_path):
    source = save(tmp_path / "x.npz", about=np.array("faces"), x_train=COLOURS, y_train=np.arange(5)[:, None])
    with raises_user_error(UserError) as refused:
        array.read(source[6:])
    message = str(refused.value)
    listed = "about (<U5, ()), x_train (uint8, (5, 9, 8, 3)), y_train (int64, (5, 1))"
    assert message.startswith(f"{tmp_path}/x.npz must hold an array 'images', not {listed}: save it anew, by ")
    first, second = message.rpartition(", by ")[2].split(" and ")
    names = {"np": np, "path": tmp_path / "x.npz"}
    exec(first, names)
    exec(second, names)
    names["arrays"].close()
    stored = array.read(str(tmp_path / "x.npz"))
    assert stored.classes == tuple("01234")
    np.testing.assert_array_equal(stored.splits["train"].images.array, COLOURS)


def test_other_files_are_no_arrays(tmp_path):
    fill(tmp_path, "x.txt", "x.npz", "x.npy")
    Path(tmp_path / "y.npy").write_bytes(b"")
    (tmp_path / "z.npz").mkdir()
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("images.npy", "no array")
    cannot = r"cannot be read \(.+\): it must hold arrays of numbers"
    for name in ("x.txt", "x.npz", "x.npy", "y.npy", "z.npz", "zip.npz"):
        message = "must end in .npz or .npy" if name == "x.txt" else cannot
        with raises_user_error(UserError, match=message):
            select(f"array:{tmp_path / name}")
    with pytest.raises(FileNotFoundError):  # which a program reports like any other file that it cannot open
        select(f"array:{tmp_path / 'y.npz'}")


@pytest.mark.parametrize("name", ["plain.npz", "compressed.npz", "x.npy"])
def test_damaged_arrays_are_read_or_refused_but_nothing_else(name, tmp_path):
    path, rng = tmp_path / name, np.random.default_rng(0)
    smooth = np.zeros_like(IMAGES) + np.arange(4, dtype=np.uint8)
    if name == "compressed.npz":
        np.savez_compressed(path, images=smooth)
    else:
        save(path, images=smooth)
    whole, refused = path.read_bytes(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= rng.integers(1, 256)
        path.write_bytes(damaged if rng.random() < 0.8 else whole[: rng.integers(len(whole))])
        try:
            array.read(str(path)).splits["train"].read([0, 1])
        except UserError as error:
            refused += 1
            message = str(error)
            if "\n" in message or not message.startswith(str(path)):
                raise
    assert refused > 50


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_pickled_objects_are_never_loaded(name, tmp_path):
    mark = tmp_path / "mark"
    source = save(tmp_path / name, images=np.array([Evil(mark)], dtype=object))
    with raises_user_error(UserError, match="pickled objects, which are never loaded"):
        select(source)
    assert not mark.exists()
    with open(tmp_path / name, "rb") as file:
        loaded = np.load(file, allow_pickle=True)
        len(loaded["images"] if name == "x.npz" else loaded)
    assert mark.exists()  # so loading the objects would have shown


# Either, and what is taken of them.


def test_unknown_sources_are_answered(tmp_path):
    with raises_user_error(UserError, match="unknown config.data.source 'foldr': did you mean folder"):
        select(f"foldr:{tmp_path}")
    with raises_user_error(
        UserError, match="unknown config.data.source '': choose from array, cartoon_heads, clips, digits"
    ):
        select("")
    with raises_user_error(UserError, match="config.data.source=digits:mnist must be digits alone"):
        select("digits:mnist")


ASK = {
    "read": lambda config: mixture.read(config.data.source.partition(":")[2]),
    "open": open_dataset,
    "mixture": lambda config: mixture_of(config.data),
    "shape": lambda config: example_shape(config.data),
}


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize(("place", "advice"), [("rnig", "did you mean ring"), ("", "choose from gaussian1d, grid")])
def test_an_unknown_mixture_is_answered_with_the_nearest(place, advice, ask):
    with raises_user_error(UserError, match=f"unknown config.data.source world '{place}': {advice}"):
        ASK[ask](tiny_config(data__source=f"world:{place}"))


def test_a_source_knows_the_shape_of_an_example_before_it_is_opened():
    shape = lambda source, **settings: example_shape(tiny_config(data__source=source, **settings).data)  # noqa: E731
    assert shape("digits", data__channels=3) == shape("folder:ring", data__channels=3) == (8, 8, 3)
    assert {name: shape(f"world:{name}") for name in MIXTURES} == {name: (own.dim,) for name, own in MIXTURES.items()}
    assert mixture_of(tiny_config().data) is None
    assert mixture_of(tiny_config(data__source="world:grid").data) is MIXTURES["grid"]


def test_a_mixture_is_a_source_of_points_labelled_by_mode():
    chosen = select("world:grid", "train[:20]")
    assert (chosen.name, chosen.classes, len(chosen)) == ("world:grid", MIXTURES["grid"].names, 20)
    assert chosen.in_arrays
    points = np.stack([item.image for item in read_all(chosen)])
    assert points.dtype == np.float32
    centres = MIXTURES["grid"].means[[item.label for item in read_all(chosen)]]
    assert (np.abs(points - centres) < 6 * MIXTURES["grid"].stddev).all()
    assert len({select(f"world:{name}").content for name in MIXTURES}) == len(MIXTURES)


def test_the_modes_of_a_mixture_are_chosen_by_name():
    chosen = select("world:grid", "train[:2%]", ("4 4,-4 -4",))
    assert chosen.classes == ("-4 -4", "4 4")
    for item in read_all(chosen):
        np.testing.assert_allclose(item.image, [8 * item.label - 4] * 2, atol=0.4)
    assert {item.label for item in read_all(chosen)} == {0, 1}
    with raises_user_error(UserError, match="unknown config.data.classes '9'"):
        select("world:ring", classes=("9",))


def overwrite(path: Path) -> None:
    """Other bytes, but as many, and both times of the file set back."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


CHANGES = {
    "written": lambda root: overwrite(root / "a/0.png"),
    "added": lambda root: fill(root, "b/1.png"),
    "removed": lambda root: (root / "a/0.png").unlink(),
    "renamed": lambda root: (root / "a/0.png").rename(root / "a/1.png"),
    "exchanged": lambda root: (root / "other").rename(root / "a/0.png"),
    "moved to another class": lambda root: (root / "a/0.png").rename(root / "b/1.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_shows_every_change(change, tmp_path):
    fill(tmp_path, "a/0.png", "a/5.png", "b/0.png")
    (tmp_path / "other").write_bytes((tmp_path / "a/0.png").read_bytes())
    before = folder.read(str(tmp_path)).content
    assert folder.read(str(tmp_path)).content == before
    time.sleep(0.03)  # the clock of change times has ticks of up to 10 ms
    assert fingerprint(tmp_path, ["other", "a"]) == fingerprint(tmp_path, ["a", "other"])
    CHANGES[change](tmp_path)
    assert folder.read(str(tmp_path)).content != before


def test_the_fingerprint_of_an_array_and_of_what_is_taken_of_it(tmp_path):
    source = save(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    choices = [("train", ()), ("train[:50%]", ()), ("train[:5]+train[5:]", ()), ("train", (1,)), ("train", (2,))]
    contents = {select(source, *choice).content for choice in choices}
    assert len(contents) == len(choices)
    assert select(source).content in contents
    time.sleep(0.03)
    overwrite(path := tmp_path / "x.npz")
    assert fingerprint(tmp_path, [path.name]) != fingerprint(tmp_path, [])
    save(path, images=IMAGES, labels=LABELS)
    assert select(source).content not in contents


NAMED = tuple("abcdef")


def taken(classes: tuple, parts: list[tuple[int, int]]) -> Selection:
    """Of two splits of six examples; image i has the label i % 6."""
    halves = [Arrays(IMAGES[start : start + 6], np.int32(LABELS[start : start + 6])) for start in (0, 6)]
    relabel = np.int32([classes.index(name) if name in classes else -1 for name in NAMED]) if classes else None
    chosen = tuple((split, start, stop) for split, (start, stop) in zip(halves, parts, strict=True))
    return Selection("array:x", chosen, classes or NAMED, relabel, "")


BOUNDS = st.tuples(st.integers(0, 2), st.integers(4, 6))


@law
@given(data=st.data(), classes=st.sampled_from([(), ("c",), ("b", "d"), NAMED]), parts=st.tuples(BOUNDS, BOUNDS))
def test_reading_many_is_reading_each(data, classes, parts):
    chosen = taken(classes, parts)
    expected = [i for i in range(12) if parts[i // 6][0] <= i % 6 < parts[i // 6][1]]
    expected = [i for i in expected if not classes or NAMED[LABELS[i]] in classes]
    if not expected:
        with raises_user_error(UserError, match="array:x has no images of .* in config.data.split"):
            len(chosen)
        return
    assert len(chosen) == len(expected)
    indices = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=9))
    items = chosen.read(np.array(indices, int))
    assert [(item.label, item.name) for item in items] == [
        (chosen.classes.index(NAMED[LABELS[expected[i]]]), f"image {expected[i] % 6}") for i in indices
    ]
    for i, item in zip(indices, items, strict=True):
        assert item.image.tobytes() == chosen.read(np.array([i]))[0].image.tobytes() == IMAGES[expected[i]].tobytes()


@pytest.mark.parametrize("classes", [("c", "a"), ("c,a",), ("a, c",), ("a", "c", "a")])
def test_classes_are_chosen_by_name(classes, tmp_path):
    fill(tmp_path, "a/0.png", "b/0.png", "c/0.png", "c/1.png")
    chosen = select(f"folder:{tmp_path}", classes=classes)
    assert chosen.classes == ("a", "c")
    found = {(chosen.classes[item.label], Path(item.name).parent.name) for item in read_all(chosen)}
    assert (len(chosen), found) == (3, {("a", "a"), ("c", "c")})


@pytest.mark.parametrize("classes", [(3, 5), ("3", "5"), ("3,5",), ("5,3",)])
def test_classes_are_chosen_by_number(classes, tmp_path):
    chosen = select(save(tmp_path / "x.npz", images=IMAGES, labels=LABELS), classes=classes)
    assert chosen.classes == ("3", "5")
    assert [(item.name, item.label) for item in read_all(chosen)] == [
        ("image 3", 0),
        ("image 5", 1),
        ("image 9", 0),
        ("image 11", 1),
    ]


def test_wrong_classes_are_answered(tmp_path):
    fill(tmp_path, "airplane/0.png", "boat/0.png")
    with raises_user_error(UserError, match="unknown config.data.classes 'aeroplane': did you mean airplane"):
        select(f"folder:{tmp_path}", classes=("boat", "aeroplane"))
    fill(tmp_path / "plain", "0.png")
    with raises_user_error(UserError, match="config.data.classes must be empty for folder:.*, whose images have no"):
        select(f"folder:{tmp_path / 'plain'}", classes=("boat",))
    source = save(tmp_path / "x.npz", images=IMAGES, labels=np.sort(LABELS))
    with raises_user_error(UserError, match="x.npz has no images of 5 in config.data.split"):
        len(select(source, "train[:50%]", (5,)))


SPLITS = ("train/a/0.png", "train/b/0.png", "test/b/1.png", "test/c/1.png", "val/2.png")


@pytest.mark.parametrize(
    ("split", "classes", "found", "warning"),
    [
        ("train", (), {"train/a/0.png": "a", "train/b/0.png": "b"}, "no images of c in {split}: the classes are a, b"),
        ("test", (), {"test/b/1.png": "b", "test/c/1.png": "c"}, "no images of a in {split}: the classes are b, c"),
        ("train+test", (), {name: name.split("/")[1] for name in SPLITS[:4]}, None),
        (
            "val+test",
            (),
            {"val/2.png": None, "test/b/1.png": "b", "test/c/1.png": "c"},
            "of a in {split}: the classes are b",
        ),
        ("val", (), {"val/2.png": 0}, "no images of a, b, c in {split}: this run has no classes"),
        ("train", ("c", "a"), {"train/a/0.png": "a"}, "no images of c in {split}: the classes are a"),
        ("train", ("b",), {"train/b/0.png": "b"}, None),
        ("val+train", ("b", "a"), {"train/a/0.png": "a", "train/b/0.png": "b"}, None),
    ],
)
def test_a_class_without_examples_is_no_class_of_a_run(split, classes, found, warning, tmp_path, capsys):
    """A warning names it; images of unknown label stay unless classes are chosen."""
    fill(tmp_path, *SPLITS)
    chosen = select(f"folder:{tmp_path}", split, classes)
    names = {Path(item.name).relative_to(tmp_path).as_posix(): item.label for item in read_all(chosen)}
    known = {-1: None} | dict(enumerate(chosen.classes)) if chosen.classes else {0: 0}
    assert {name: known[label] for name, label in names.items()} == found
    assert set(chosen.classes) == {*found.values()} - {None, 0}
    err = capsys.readouterr().err
    assert err.count("\n") == (warning is not None)
    assert (warning or "").format(split=f"config.data.split={split}") in err


def test_classes_that_come_with_a_data_set_stay_whatever_occurs(capsys):
    listed = StoredImages({"train": Arrays(IMAGES, np.int32(LABELS))}, NAMED, "")
    assert selection.select(tiny_config(data__split="train[:2]").data, listed).classes == NAMED
    assert capsys.readouterr().err == ""
    chosen = selection.select(tiny_config(data__split="train[:2]", data__classes=("b", "f")).data, listed)
    assert ([item.label for item in read_all(chosen)], chosen.classes) == ([0], ("b", "f"))
    assert capsys.readouterr().err == (
        "warning: digits has no images of f in config.data.split, although config.data.classes names them\n"
    )


def test_the_choice_of_all_classes_is_another_one_where_some_images_have_none(tmp_path):
    fill(tmp_path, *SPLITS[:2], "val/2.png")
    whole, known = (select(f"folder:{tmp_path}", "train+val", classes) for classes in ((), ("a", "b")))
    assert (len(whole), len(known)) == (3, 2)
    assert whole.content != known.content


def test_examples_of_unknown_label_belong_to_no_class():
    split = Arrays(IMAGES[:4], np.int32([-1, 0, 1, -1]))
    chosen = Selection("x", ((split, 0, 4),), ("b",), np.int32([-1, 0]), "")
    assert [(item.name, item.label) for item in read_all(chosen)] == [("image 2", 0)]
