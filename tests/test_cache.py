"""Decoded images on disk: the bytes of decoding one by one, written once, whole or not at all, and mapped."""

import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from experiments import assert_same_bits, raises_user_error, squares, tiny_config
from PIL import Image
from programs import DEADLINE, ROOT

from jaxgan.data import cache, dataset
from jaxgan.data.cache import CHUNK, LazyDataset
from jaxgan.data.dataset import ArrayDataset, from_arrays, image_dataset, with_digest
from jaxgan.data.decode import Transform
from jaxgan.data.selection import Selection, select
from jaxgan.data.sources import folder as folders
from jaxgan.data.stored import Arrays
from jaxgan.errors import UserError, exit_code

SMALL = squares(6, 6, 3, upscale=True)
COUNT = 2 * CHUNK + 5


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """Where the caches of a test lie."""
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pictures(tmp_path) -> Path:
    """COUNT pictures of two classes and several sizes, in a folder."""
    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    for number in range(COUNT):
        path = folder / ("cats", "dogs")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8 + number % 3, 9, 3), np.uint8)).save(path)
    return folder


def of_folder(folder: Path, transform: Transform = SMALL, **settings) -> LazyDataset:
    """The pictures in a folder."""
    settings = {f"data__{name}": value for name, value in settings.items()}
    data = tiny_config(data__source=f"folder:{folder}", **settings).data
    return LazyDataset(select(data, folders.read(str(folder))), transform)


def of_arrays(count: int, content: str = "made up") -> LazyDataset:
    """Pictures in an array, of an odd size."""
    images = np.random.default_rng(1).integers(0, 256, (count, 7, 5, 3), np.uint8)
    arrays = Arrays(images, np.arange(count, dtype=np.int32) % 7)
    return LazyDataset(Selection("array:x.npz", ((arrays, 0, count),), (), None, content), SMALL)


def one_by_one(lazy: LazyDataset) -> tuple[bytes, bytes]:
    """Every image decoded alone, and its label."""
    items = [lazy.selection.read(np.array([i]))[0] for i in range(len(lazy))]
    images = np.stack([lazy.transform(item.image, item.name) for item in items])
    return images.tobytes(), np.int32([item.label for item in items]).tobytes()


def in_bytes(examples: ArrayDataset) -> tuple[bytes, bytes]:
    assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)
    assert examples.images.shape == (len(examples), *examples.shape)
    assert examples.labels.shape == (len(examples),)
    return examples.images.tobytes(), examples.labels.tobytes()


def names(place: Path) -> list[str]:
    """What lies in the folder of all caches, but for the locks, which stay."""
    return sorted(path.name for path in place.iterdir() if path.suffix != ".lock")


def forbid_decoding(monkeypatch) -> None:
    def decode(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(Transform, "__call__", decode)


def spoil(folder: Path) -> list[str]:
    """Makes three pictures bad, each in its own way, and returns their paths in the order of the data set."""
    order = folders.read(str(folder)).splits["train"].paths
    bad = [order[0], order[CHUNK + 3], order[-1]]
    Path(bad[0]).write_text("no picture")
    Path(bad[1]).write_bytes(Path(bad[1]).read_bytes()[:60])
    Image.new("F", (8, 8)).save(bad[2], format="TIFF")
    return bad


# The same bytes


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_both_ways_give_the_bytes_of_decoding_one_by_one(count):
    lazy = of_arrays(count)
    expected = one_by_one(lazy)
    stored, own = cache.cached(lazy, skip_bad=False), cache.in_memory(lazy, skip_bad=False)
    assert in_bytes(stored) == in_bytes(own) == expected
    assert stored.digest == own.digest
    assert len(stored) == len(own) == len(lazy) == count
    assert stored.shape == own.shape == lazy.shape == (6, 6, 3)


def test_a_folder_of_pictures_keeps_its_labels_and_classes(pictures):
    lazy = of_folder(pictures)
    stored, own = cache.cached(lazy, skip_bad=False), cache.in_memory(lazy, skip_bad=False)
    assert in_bytes(stored) == in_bytes(own) == one_by_one(lazy)
    assert stored.classes == own.classes == ("cats", "dogs")
    assert np.bincount(stored.labels).tolist() == [COUNT - COUNT // 2, COUNT // 2]


def test_images_and_labels_both_change_the_digest(tmp_path):
    lazy = of_arrays(9)
    ((arrays, start, stop),) = lazy.selection.parts

    def digest(**changes) -> str:
        parts = ((dataclasses.replace(arrays, **changes), start, stop),)
        selection = dataclasses.replace(lazy.selection, parts=parts)
        return cache.in_memory(dataclasses.replace(lazy, selection=selection), skip_bad=False).digest

    other_images, other_labels = arrays.images.copy(), arrays.targets.copy()
    other_images[8] = 255 - other_images[8]
    other_labels[8] += 1
    assert len({digest(), digest(images=other_images), digest(targets=other_labels)}) == 3
    assert digest() == digest()


def test_a_batch_is_that_of_examples_that_are_decoded_anew(pictures):
    """By indices, and by the rows of each field as loaders ask for them."""
    lazy = of_folder(pictures)
    stored, indices = cache.cached(lazy, skip_bad=False), np.array([5, 0, COUNT - 1, 5])
    rows = {"images": indices, "labels": indices}
    assert (stored.fields, stored.groups) == (lazy.fields, lazy.groups)
    assert_same_bits(stored.take(indices), lazy.take(indices))
    assert_same_bits(stored.batch(rows), lazy.batch(rows))
    assert_same_bits(stored.batch(rows), stored.take(indices))


def test_rectangles_are_stored_as_such(pictures):
    lazy = of_folder(pictures, Transform((6, 8), (5, 7), 4, True))
    stored = cache.cached(lazy, skip_bad=False)
    assert stored.shape == lazy.shape == (5, 7, 4)
    assert in_bytes(stored) == in_bytes(cache.cached(lazy, skip_bad=False)) == one_by_one(lazy)


# Once


def test_what_was_decoded_once_is_not_decoded_again(pictures, monkeypatch):
    first = in_bytes(cache.cached(of_folder(pictures), skip_bad=False))
    forbid_decoding(monkeypatch)
    assert in_bytes(cache.cached(of_folder(pictures), skip_bad=False)) == first
    with pytest.raises(AssertionError, match="decoded again"):
        cache.cached(of_folder(pictures, dataclasses.replace(SMALL, upscale=False)), skip_bad=False)


CHANGES = {
    "load_size": lambda folder: of_folder(folder, dataclasses.replace(SMALL, load_size=(7, 7))),
    "size": lambda folder: of_folder(folder, squares(6, 4, 3, upscale=True)),
    "channels": lambda folder: of_folder(folder, dataclasses.replace(SMALL, channels=1)),
    "upscale": lambda folder: of_folder(folder, dataclasses.replace(SMALL, upscale=False)),
    "white": lambda folder: of_folder(folder, dataclasses.replace(SMALL, white=4095.0)),
    "max_pixels": lambda folder: of_folder(folder, dataclasses.replace(SMALL, max_pixels=99)),
    "height": lambda folder: of_folder(folder, dataclasses.replace(SMALL, load_size=(7, 6))),
    "split": lambda folder: of_folder(folder, split="train[1:]"),
    "classes": lambda folder: of_folder(folder, classes=("dogs",)),
    "another folder": lambda folder: of_folder(Path(shutil.copytree(folder, folder.parent / "copy"))),
    "removed": lambda folder: (folder / "cats" / "0.png").unlink() or of_folder(folder),
    "renamed": lambda folder: (folder / "cats" / "0.png").rename(folder / "cats" / "a.png") and of_folder(folder),
    "new": lambda folder: shutil.copy(folder / "cats" / "0.png", folder / "dogs" / "0.png") and of_folder(folder),
    "other pixels": lambda folder: Image.new("L", (9, 9)).save(folder / "cats" / "0.png") or of_folder(folder),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_choice_of_examples_has_its_own_folder(pictures, place, change):
    before = in_bytes(cache.cached(of_folder(pictures), skip_bad=False))
    (old,) = names(place)
    changed = CHANGES[change](pictures)
    after = in_bytes(cache.cached(changed, skip_bad=False))
    assert len(names(place)) == 2
    assert old in names(place)
    assert after == one_by_one(changed)
    assert (after == before) == (change in ("upscale", "white", "max_pixels", "another folder"))


def test_after_a_change_of_the_decoder_all_is_decoded_anew(pictures, place, monkeypatch):
    cache.cached(of_folder(pictures), skip_bad=False)
    monkeypatch.setattr(cache, "REVISION", cache.REVISION + 1)
    cache.cached(of_folder(pictures), skip_bad=False)
    assert len(names(place)) == 2


def test_pixels_that_change_behind_the_time_of_modification_are_seen(pictures):
    """A file of the same size and time, as some tools write it."""
    path = pictures / "cats" / "0.png"
    Image.new("RGB", (8, 8), "#010203").save(path, compress_level=0)
    before, status = in_bytes(cache.cached(of_folder(pictures), skip_bad=False)), path.stat()
    Image.new("RGB", (8, 8), "#030201").save(path, compress_level=0)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert in_bytes(cache.cached(of_folder(pictures), skip_bad=False)) != before


def test_the_cache_lies_in_the_home_of_the_user_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXGAN_DATA_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache.cached(of_arrays(2), skip_bad=False)
    assert len(names(tmp_path / "home" / ".cache" / "jaxgan" / "data")) == 1


# Mapped


def test_opening_maps_the_images_and_reads_none(place):
    cache.cached(of_arrays(3), skip_bad=False)
    (name,) = names(place)
    about = json.loads((place / name / "about.json").read_text())
    count = 2**26  # 128 GiB of images in a file that takes no room
    (place / name / "about.json").write_text(json.dumps(about | {"shape": [count, 32, 64, 1]}))
    for file, size in (("images", count * 2048), ("labels", count * 4)):
        os.truncate(place / name / file, size)
    examples = cache.load(place / name)
    assert len(examples) == count
    assert not examples.images.flags.writeable
    assert examples.take(np.array([count - 1, 0]))["images"].tobytes()[:2048] == bytes(2048)


def test_another_process_is_sent_the_place_of_the_images(pictures):
    stored = cache.cached(of_folder(pictures), skip_bad=False)
    sent = pickle.dumps(stored)
    assert len(sent) < 1000 < stored.images.nbytes
    received = pickle.loads(sent)
    assert in_bytes(received) == in_bytes(stored)
    assert (received.classes, received.digest) == (stored.classes, stored.digest)
    assert isinstance(received.images, np.memmap)


def test_another_process_is_sent_what_is_in_memory():
    own = cache.in_memory(of_arrays(9), skip_bad=False)
    received = pickle.loads(pickle.dumps(own))
    assert in_bytes(received) == in_bytes(own)
    assert (received.classes, received.digest) == (own.classes, own.digest)


def test_a_digest_is_that_of_the_numbers_whatever_their_order_in_memory():
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), np.uint8)
    labels = np.zeros(7, np.int32)
    digest = from_arrays(images, labels, ()).digest
    assert from_arrays(np.asfortranarray(images), np.broadcast_to(np.int32(0), 7), ()).digest == digest
    assert from_arrays(images[::-1], labels, ()).digest != digest != from_arrays(images, labels + 1, ()).digest


def test_a_digest_is_computed_once(monkeypatch):
    images, labels = np.zeros((7, 5, 4, 3), np.uint8), np.zeros(7, np.int32)
    whole = from_arrays(images, labels, ())
    assert with_digest(image_dataset(images, labels)).digest == whole.digest
    monkeypatch.setattr(dataset, "digest_of", None)
    assert with_digest(whole) is whole


# Whole or not at all

# Opens the pictures in argv[1] when a line arrives on stdin; prints how many of them it decoded, and the digest.
OPEN = """
import os, sys, time
from jaxgan.config import default
from jaxgan.data import cache
from jaxgan.data.decode import Transform
from jaxgan.data.selection import select
from jaxgan.data.sources import folder

decoded, decode = [], Transform.__call__
def counting(self, stored, name):
    decoded.append(name)
    {extra}
    return decode(self, stored, name)
Transform.__call__ = counting

config = default({{"data.source": "folder:" + sys.argv[1]}})
lazy = cache.LazyDataset(select(config.data, folder.read(sys.argv[1])), Transform((6, 6), (6, 6), 3, True))
print("ready", flush=True)
sys.stdin.readline()
examples = cache.cached(lazy, False)
print(len(decoded), examples.digest, examples.images.sum(), flush=True)
"""


def opening(folder: Path, extra: str) -> subprocess.Popen:
    """A process that opens the pictures in a folder when a line arrives."""
    return subprocess.Popen(
        [sys.executable, "-c", OPEN.format(extra=extra), str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_at_once_decode_once(pictures, place):
    processes = [opening(pictures, "time.sleep(0.01)") for _ in range(2)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        for process in processes:
            print(file=process.stdin, flush=True)
        results = [process.communicate(timeout=DEADLINE)[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert sorted(int(decoded) for decoded, _, _ in results) == [0, COUNT]
    expected = cache.in_memory(of_folder(pictures), skip_bad=False)
    assert {(digest, int(total)) for _, digest, total in results} == {(expected.digest, int(expected.images.sum()))}
    (name,) = names(place)
    assert (place / name).is_dir()
    assert "." not in name


def test_what_a_killed_process_left_is_replaced_by_the_next_one(pictures, place):
    process = opening(pictures, f"if len(decoded) == {CHUNK + 5}: os.kill(os.getpid(), {signal.SIGKILL})")
    process.communicate("\n", timeout=DEADLINE)
    assert process.returncode == -signal.SIGKILL
    (left,) = names(place)
    assert left.endswith(".partial")
    lazy = of_folder(pictures)
    assert in_bytes(cache.cached(lazy, skip_bad=False)) == one_by_one(lazy)
    assert names(place) == [left.removesuffix(".partial")]


FULL = """
import resource, sys
from jaxgan.cli import train
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(train.main(sys.argv[1:]))
"""


def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_cache(pictures, place, tmp_path):
    """A limit on the size of files stands for the end of the disk."""
    options = [f"--config.data.source=folder:{pictures}", "--config.data.size=16", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {place} cannot hold 3.17e-05 GiB of decoded images (File too large): make room, ")
    assert names(place) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), ValueError("a bug")])
def test_what_ends_the_writing_leaves_nothing(place, monkeypatch, error):
    chunks = LazyDataset.chunks

    def ending(self, skip_bad):
        yield next(chunks(self, skip_bad))
        assert [path.suffix for path in place.iterdir() if path.is_dir()] == [".partial"]
        raise error

    monkeypatch.setattr(LazyDataset, "chunks", ending)
    with pytest.raises(UserError if isinstance(error, OSError) else error if isinstance(error, type) else type(error)):
        cache.cached(of_arrays(COUNT), skip_bad=False)
    assert names(place) == []
    monkeypatch.undo()


DAMAGES = {
    "short images": lambda folder: os.truncate(folder / "images", 99),
    "short labels": lambda folder: os.truncate(folder / "labels", 9),
    "no images": lambda folder: (folder / "images").unlink(),
    "no labels": lambda folder: (folder / "labels").unlink(),
    "no description": lambda folder: (folder / "about.json").unlink(),
    "no list of bad images": lambda folder: (folder / "bad.json").unlink(),
    "half a description": lambda folder: os.truncate(folder / "about.json", 99),
    "an empty description": lambda folder: os.truncate(folder / "about.json", 0),
    "another description": lambda folder: (folder / "about.json").write_text("[1]"),
    "a description that lacks something": lambda folder: (folder / "about.json").write_text("{}"),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_named(place, capsys, damage):
    cache.cached(of_arrays(9), skip_bad=False)
    (name,) = names(place)
    DAMAGES[damage](place / name)
    assert exit_code(lambda: cache.cached(of_arrays(9), skip_bad=False)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"error: {place / name} is damaged (")
    assert line.endswith("): remove it, and the images are decoded again")
    shutil.rmtree(place / name)
    assert in_bytes(cache.cached(of_arrays(9), skip_bad=False)) == one_by_one(of_arrays(9))


# Bad images


def test_bad_images_are_left_out_and_reported_each_time(pictures, monkeypatch, capsys):
    bad = spoil(pictures)
    lazy = of_folder(pictures)
    good = [i for i in range(COUNT) if i not in (0, CHUNK + 3, COUNT - 1)]
    expected = lazy.take(np.array(good))
    first = cache.cached(lazy, skip_bad=True)
    np.testing.assert_array_equal(first.images, expected["images"])
    np.testing.assert_array_equal(first.labels, expected["labels"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"warning: 3 of {COUNT} images are left out: {bad[0]} is a bad image (its format is unknown)"
    )
    assert all(f"; {path} is a bad image (" in line for path in bad[1:])

    own = cache.in_memory(lazy, skip_bad=True)
    assert in_bytes(own) == in_bytes(first)
    assert own.digest == first.digest
    assert capsys.readouterr().err == line + "\n"

    forbid_decoding(monkeypatch)
    assert in_bytes(cache.cached(lazy, skip_bad=True)) == in_bytes(first)
    assert capsys.readouterr().err == line + "\n"


def test_of_many_bad_images_three_are_named(pictures, capsys):
    for number in range(0, 10, 2):
        (pictures / "cats" / f"{number}.png").write_text("no picture")
    assert len(cache.cached(of_folder(pictures), skip_bad=True)) == COUNT - 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: 5 of {COUNT} images are left out: ")
    assert line.count("is a bad image") == 3
    assert line.endswith(", and so on; the others: 2")


@pytest.mark.parametrize("skipped_before", [False, True])
@pytest.mark.parametrize("use", [cache.cached, cache.in_memory])
def test_bad_images_are_refused_unless_they_are_to_be_skipped(pictures, place, use, skipped_before):
    bad = spoil(pictures)
    lazy = of_folder(pictures)
    if skipped_before:
        cache.cached(lazy, skip_bad=True)
    with raises_user_error(UserError) as raised:
        use(lazy, skip_bad=False)
    assert str(raised.value) == (
        f"{bad[0]} is a bad image (its format is unknown): repair it, remove it, or set config.data.on_bad_image=skip"
    )
    assert len(names(place) if place.exists() else []) == skipped_before


@pytest.mark.parametrize("count", [1, CHUNK, COUNT])
@pytest.mark.parametrize("use", [cache.cached, cache.in_memory])
def test_at_least_one_image_has_to_be_good(tmp_path, place, use, count):
    (tmp_path / "bad").mkdir()
    for number in range(count):
        (tmp_path / "bad" / f"{number}.png").write_text("no picture")
    with raises_user_error(UserError, match=rf"^none of {count} images can be used; the last: .* is a bad image \("):
        use(of_folder(tmp_path / "bad"), skip_bad=True)
    assert not place.exists() or names(place) == []


# A cache that cannot be written


def test_arrays_are_made_all_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert cache.cached_arrays("kind", ["a"], lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path}/file/kind cannot be written (Not a directory): set JAXGAN_DATA_CACHE")


def test_a_finished_cache_is_read_where_nothing_can_be_written(pictures, place, monkeypatch):
    expected = in_bytes(cache.cached(of_folder(pictures), skip_bad=False))

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(cache, "make_folder", refuse)
    assert in_bytes(cache.cached(of_folder(pictures), skip_bad=False)) == expected
    with raises_user_error(UserError, match=r"cannot be written \(Permission denied\): set JAXGAN_DATA_CACHE"):
        cache.cached(of_arrays(2), skip_bad=False)
