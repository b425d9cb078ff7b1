"""Archives in the place of folders: the same examples at random access, and every wrong archive is one line."""

import io
import json
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import damage
import numpy as np
import pytest
from experiments import assert_same_bits, raises_user_error, tiny_config
from PIL import Image
from programs import contents, saved, saved_steps, train_tiny

from jaxgan.cli import evaluate
from jaxgan.data import archives, cache, workers
from jaxgan.data.cache import LazyDataset
from jaxgan.data.sources import folder, open_dataset
from jaxgan.errors import UserError

TREES = {
    "flat": ["0.png", "1.jpg", "deep/er/notes.txt"],
    "classes": ["b/0.png", "B/0.png", "a b/deep/er/1.PNG", "10/0.png", "readme.md"],
    "splits": ["train/a/0.png", "train/b/0.png", "test/a/1.png", "test/c/1.png", "val/2.png"],
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """Where decoded images and unpacked archives lie."""
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(number: int, kind: str = "png") -> bytes:
    """A picture like no other one."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)).save(file, format=kind)
    return file.getvalue()


def files(names: list[str]) -> dict[str, bytes]:
    """{name: content}."""
    kinds = {".jpg": "jpeg", ".png": "png"}
    return {
        name: picture(number, kinds[Path(name).suffix.lower()]) if Path(name).suffix.lower() in kinds else b"no picture"
        for number, name in enumerate(names)
    }


def write_folder(root: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def patched(path: Path, signature: bytes, offset: int, layout: str, value: int) -> None:
    """Another number in every record of a .zip file with a signature."""
    raw = bytearray(path.read_bytes())
    for match in re.finditer(re.escape(signature), bytes(raw)):
        struct.pack_into(layout, raw, match.start() + offset, value)
    path.write_bytes(raw)


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    ".zip": write_zip,
    ".ZIP": lambda path, members: write_zip(path, members, zipfile.ZIP_STORED),
    "-lzma.zip": lambda path, members: write_zip(path, members, zipfile.ZIP_LZMA),
    ".tar": write_tar,
    ".tar.gz": lambda path, members: write_tar(path, members, "w:gz"),
    ".tgz": lambda path, members: write_tar(path, members, "w:gz"),
    ".tar.bz2": lambda path, members: write_tar(path, members, "w:bz2"),
    ".txz": lambda path, members: write_tar(path, members, "w:xz"),
}


def examples(source: Path, split: str = "train") -> dict[str, tuple[str, bytes]]:
    """{path from the source: (class, content)}, in the order of the examples."""
    stored = folder.read(str(source))
    known = dict(enumerate(stored.classes)) | {-1: None} if stored.classes else {0: ""}
    found = {}
    for item in stored.splits[split].read(range(len(stored.splits[split]))):
        content = item.image() if callable(item.image) else Path(item.image).read_bytes()
        found[Path(item.name).relative_to(source).as_posix()] = (known[item.label], content)
    return found


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("tree", TREES)
def test_an_archive_is_like_the_folder_that_it_was_made_of(tree, suffix, tmp_path):
    members = files(TREES[tree])
    root, archive = write_folder(tmp_path / "x", members), WRITERS[suffix](tmp_path / f"x{suffix}", members)
    first, second = folder.read(str(root)), folder.read(str(archive))
    assert (first.classes, [*first.splits]) == (second.classes, [*second.splits])
    for split in first.splits:
        found = examples(archive, split)
        assert found == examples(root, split)
        assert [*found] == [*examples(root, split)]
    assert isinstance(second.splits["train"].read([0])[0].name, str)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_an_archive_may_hold_one_folder_that_holds_all(suffix, tmp_path):
    names = ["photos/a/0.png", "photos/b/0.png", "__MACOSX/photos/a/._0.png", "photos/.DS_Store", "README.txt"]
    archive = WRITERS[suffix](tmp_path / f"x{suffix}", files(names))
    assert folder.read(str(archive)).classes == ("a", "b")
    assert {*examples(archive)} == {"photos/a/0.png", "photos/b/0.png"}


@pytest.mark.parametrize(
    ("names", "classes", "splits"),
    [
        (["x/train/a/0.png", "x/test/a/1.png"], ("a",), ["test", "train"]),
        (["test/a/0.png", "test/b/0.png"], ("a", "b"), ["test"]),  # a split is not what holds all
        (["x/y/0.png", "x/y/1.png"], ("y",), ["train"]),  # once
        (["x/0.png", "1.heic"], ("x",), ["train"]),  # not where another picture is outside
        (["x/0.png", "notes.txt"], (), ["train"]),
    ],
)
def test_which_folder_of_an_archive_is_the_root(names, classes, splits, tmp_path):
    stored = folder.read(str(write_zip(tmp_path / "x.zip", files(names))))
    assert (stored.classes, sorted(stored.splits)) == (classes, splits)


def lazy(path: Path, **settings) -> LazyDataset:
    """The decoded examples of an archive, each decoded anew."""
    dataset = open_dataset(tiny_config(data__source=f"folder:{path}", data__cache=False, **settings))
    assert isinstance(dataset, LazyDataset)
    return dataset


@pytest.mark.parametrize("suffix", [".zip", *(pytest.param(x, marks=pytest.mark.slow) for x in (".tar", "-lzma.zip"))])
def test_many_threads_and_processes_read_at_the_same_time(suffix, tmp_path):
    count = 6 * cache.CHUNK
    path = WRITERS[suffix](tmp_path / f"x{suffix}", files([f"{i % 3}/{i}.png" for i in range(count)]))
    dataset = lazy(path)
    expected = [dataset.chunk(number) for number in range(6)]
    assert sum(len(images) for images, _, _ in expected) == count
    for processes in (0, 2):
        found = list(workers.ordered_map(lazy(path).chunk, 0, 6, processes))
        assert_same_bits(found, expected)


def test_another_process_is_sent_the_place_of_a_zip_file(tmp_path):
    path = write_zip(tmp_path / "x.zip", {f"{i}.png": picture(i) for i in range(300)})
    archive = folder.read(str(path)).splits["train"].archive
    sent = pickle.dumps(archive)
    assert len(sent) < 500
    assert pickle.loads(sent).read("7.png") == picture(7)


def test_an_archive_that_changed_is_other_content(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"0.png": picture(0)})
    before = folder.read(str(path)).content
    assert folder.read(str(path)).content == before
    write_zip(path, {"0.png": picture(1), "1.png": picture(2)})
    assert folder.read(str(path)).content != before


# Compressed .tar files


def test_a_compressed_tar_is_unpacked_once(tmp_path, place, monkeypatch):
    path = write_tar(tmp_path / "x.tgz", {"0.png": picture(0)}, "w:gz")
    expected = examples(path)
    assert len([*place.rglob("*.tar")]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_unpack", None)
        assert examples(path) == expected
    write_tar(path, {"0.png": picture(1)}, "w:gz")
    assert examples(path) == {"0.png": ("", picture(1))}
    assert not [*place.rglob("*.partial")]


def test_a_compressed_tar_needs_a_cache(tmp_path, place):
    place.write_text("a file")
    path = write_tar(tmp_path / "x.tgz", {"0.png": picture(0)}, "w:gz")
    with raises_user_error(
        UserError,
        match=r"/archives cannot hold what is in .*x.tgz \(.*\): set JAXGAN_DATA_CACHE to another folder, or unpack",
    ):
        folder.read(str(path))


def test_a_compressed_tar_that_becomes_too_large_is_refused(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 10_000)
    path = write_tar(tmp_path / "x.tgz", {"0.png": bytes(3 * 10**6)}, "w:gz")
    with raises_user_error(UserError, match="x.tgz becomes more than 200 times its size: if that is right, unpack it"):
        folder.read(str(path))
    assert not [each for each in place.rglob("*") if each.is_file() and each.stat().st_size]


# Links and other members of .tar files


def test_links_in_a_tar_are_followed(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, target, kind in [
            ("a/1.png", "../b/0.png", tarfile.SYMTYPE),  # before its target
            ("./b/0.png", "", tarfile.REGTYPE),
            ("b/2.png", "b/0.png", tarfile.LNKTYPE),
            ("b/3.png", "gone.png", tarfile.SYMTYPE),
            ("b/4.png", "", tarfile.FIFOTYPE),
            ("b/5.png", "", tarfile.CHRTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(picture(0)) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(picture(0)))
    stored = folder.read(str(path)).splits["train"]
    whole = {item.name: item.image for item in stored.read(range(len(stored)))}
    assert {name.removeprefix(f"{path}/") for name in whole} == {"a/1.png", "b/0.png", "b/2.png", "b/3.png"}
    for name in ("a/1.png", "b/0.png", "b/2.png"):
        assert whole[f"{path}/{name}"]() == picture(0)
    _, _, (bad,) = lazy(path).decode(np.arange(4))
    assert bad == f"{path}/b/3.png is a bad image (it cannot be decoded: it is a link to b/gone.png)"


# Names


def test_names_are_read_as_a_program_meant_them(tmp_path):
    """In UTF-8 without the mark for it, as macOS writes them; with backslashes, as some programs on Windows do."""
    path = write_zip(tmp_path / "x.zip", files(["katze/\u00e4.png", "hund\\\u00f6.png"]))
    for signature, place in ((LOCAL, 6), (CENTRAL, 8)):
        patched(path, signature, place, "<H", 0)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] != "katze/\u00e4.png"
    assert {*examples(path)} == {"katze/\u00e4.png", "hund/\u00f6.png"}
    assert folder.read(str(path)).classes == ("hund", "katze")


EVIL = [(suffix, name) for suffix in (".zip", ".tar") for name in ("../x.png", "/x.png", "a/../../x.png", "..")]


@pytest.mark.parametrize(
    ("suffix", "name"), [*EVIL, (".zip", "C:\\x.png"), (".zip", "..\\x.png"), (".tar", "C:/x.png")]
)
def test_a_name_that_leads_out_of_an_archive_is_refused(name, suffix, tmp_path):
    path = WRITERS[suffix](tmp_path / f"x{suffix}", {"0.png": picture(0), name: picture(1)})
    before = contents(tmp_path)
    with raises_user_error(UserError, match=rf"x{suffix} holds '.*', which leads out of the archive: make the archive"):
        folder.read(str(path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_two_members_of_one_name_are_refused(suffix, tmp_path):
    with warnings.catch_warnings(action="ignore"):
        path = WRITERS[suffix](tmp_path / f"x{suffix}", {"0.png": picture(0), "./0.png": picture(1)})
    with raises_user_error(UserError, match=rf"x{suffix} holds '0.png' twice: make the archive anew"):
        folder.read(str(path))


# Damage


def test_an_encrypted_archive_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"0.png": picture(0)})
    patched(path, CENTRAL, 8, "<H", 1)
    with raises_user_error(UserError, match="x.zip is encrypted: unpack it, and name the folder"):
        folder.read(str(path))


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("content", [b"", b"no archive", bytes(5000), "half"])
def test_a_damaged_archive_is_refused(suffix, content, tmp_path):
    path = WRITERS[suffix](tmp_path / f"x{suffix}", {f"{i}.png": picture(i) for i in range(9)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    empty = content == bytes(5000) and suffix == ".tar"
    match = "holds no images" if empty else rf"x{suffix} is a damaged archive \(.*\): make it or download it anew"
    with raises_user_error(UserError, match=match):
        folder.read(str(path))


def test_a_tar_that_is_damaged_in_the_middle_is_not_taken_for_a_shorter_one(tmp_path):
    path = write_tar(tmp_path / "x.tar", {f"{i}.png": picture(i) for i in range(9)})
    raw = bytearray(path.read_bytes())
    raw[4 * 1024 + 10] ^= 1  # the header of the fifth, which with its picture takes 1,024 bytes like all others
    path.write_bytes(raw)
    with raises_user_error(UserError, match=r"x.tar is a damaged archive \(no end after 4 members\)"):
        folder.read(str(path))


def test_a_member_that_is_damaged_is_a_bad_image(tmp_path):
    path = write_zip(tmp_path / "x.zip", {f"{i}.png": picture(i) for i in range(9)}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(picture(3)) + 40] ^= 255
    path.write_bytes(raw)
    images, _, (bad,) = lazy(path).decode(np.arange(9))
    assert len(images) == 8
    assert bad == f"{path}/3.png is a bad image (it cannot be decoded: Bad CRC-32 for file '3.png')"


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_a_member_that_claims_to_be_huge_is_a_bad_image(suffix, tmp_path):
    members = {"0.png": picture(0), "1.png": picture(1)}
    path = WRITERS[suffix](tmp_path / f"x{suffix}", members)
    if suffix == ".zip":
        patched(path, CENTRAL, 24, "<I", 4_000_000_000)
        count, claimed = 2, 4_000_000_000
    else:
        info = tarfile.TarInfo("2.png")
        info.size = claimed = 10_000_000_000
        with path.open("r+b") as file:
            file.seek(2 * 1024)
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.truncate(2 * 1024 + 512 + (claimed + 511) // 512 * 512 + 1024)  # which takes no room
        count = 1
    _, _, bad = lazy(path).decode(np.arange(count + (suffix == ".tar") * 2))
    assert len(bad) == count
    for reason in bad:
        assert reason.endswith(
            f"(it cannot be decoded: it claims to have {claimed:,} bytes, and 1,073,741,824 are the most)"
        )


def test_a_member_becomes_no_larger_than_it_claims(tmp_path):
    """64 MiB of zeros behind a claim of 100 bytes."""
    path = write_zip(tmp_path / "x.zip", {"0.png": bytes(2**26)})
    patched(path, CENTRAL, 24, "<I", 100)
    archive = archives.open_archive(path)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        archive.read("0.png")


def outcomes(suffix: str, root: Path) -> Iterator[str]:
    """How archives end that are damaged at random: what the refusal says, or what was read."""
    rng = np.random.default_rng(0)
    path = WRITERS[suffix](root / f"x{suffix}", {f"{i % 2}/{i}.png": picture(i) for i in range(5)})
    whole = path.read_bytes()
    for _ in range(150):
        path.write_bytes(damage.harm_bytes(whole, rng))
        try:
            dataset = lazy(path, data__channels=1)
            images, _, bad = dataset.decode(np.arange(len(dataset)))
            yield f"{len(images)} of {len(images) + len(bad)}"
        except UserError as error:
            yield str(error)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_whatever_the_damage_it_is_a_bad_image_or_one_line(suffix, tmp_path, capsys):
    found = list(outcomes(suffix, tmp_path))
    assert not any("\n" in each for each in found)
    assert len(set(found)) > 5
    assert all(str(tmp_path) in each or " of " in each or each.startswith("none of") for each in found)


# Programs


def test_a_run_on_an_archive(tmp_path, capsys):
    """With a bad image, which is named or left out."""
    members = files([f"photos/{i % 2}/{i}.png" for i in range(20)])
    path = write_zip(tmp_path / "photos.zip", members | {"photos/0/x.png": b"no picture"})
    source = f"--config.data.source=folder:{path}"
    assert train_tiny(tmp_path / "run", source) == 2
    assert capsys.readouterr().err == (
        f"error: {path}/photos/0/x.png is a bad image (its format is unknown): repair it, remove it, or set "
        "config.data.on_bad_image=skip\n"
    )
    assert train_tiny(tmp_path / "run", source, "--config.data.on_bad_image=skip") == 0
    out, err = capsys.readouterr()
    assert "\n20 images (8x8x1), 2 classes (0, 1); resident\n" in out
    assert err.startswith("warning: 1 of 21 images are left out: ")
    assert saved_steps(tmp_path / "run")[-1] == 12


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_a_conditional_run_that_decodes_an_archive_in_processes_is_that_of_its_folder(suffix, tmp_path, monkeypatch):
    """And the archive is a set of images for evaluate.py."""
    members = files([f"{i % 2}/{i}.png" for i in range(140)])
    root, path = write_folder(tmp_path / "x", members), WRITERS[suffix](tmp_path / f"x{suffix}", members)
    options = ["--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection"]
    assert train_tiny(tmp_path / "first", f"--config.data.source=folder:{root}", *options) == 0
    options += ["--config.data.cache=False", "--config.data.placement=streaming", "--config.data.workers=2"]
    assert train_tiny(tmp_path / "second", f"--config.data.source=folder:{path}", *options) == 0
    classes = {"conditioning__generator": "cbn", "conditioning__discriminator": "projection", "classes": 2}
    assert saved(tmp_path / "first", **classes) == saved(tmp_path / "second", **classes)
    monkeypatch.chdir(tmp_path)
    sets = [f"--fakes={path}", f"--reals={root}"]
    assert evaluate.main([*sets, "--num=140", "--features=pixels", f"--out={tmp_path}/scores.json"]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert found["FD-pixels"]["raw"] == pytest.approx(0, abs=1e-3)
