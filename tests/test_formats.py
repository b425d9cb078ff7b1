"""Formats of pictures: whatever Pillow decodes is read, and other pictures are left out with a warning."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from experiments import raises_user_error, tiny_config
from PIL import Image, features
from programs import train_tiny

from jaxgan.data import formats
from jaxgan.data.sources import folder, open_dataset
from jaxgan.errors import UserError, warn_once

WIDE = np.kron(np.uint8([[0, 255], [255, 0]]), np.ones((8, 8), np.uint8))  # that no lossy format changes much
# Suffixes, and what Pillow calls the format of such files.
WRITABLE = {
    "jpg": "JPEG",
    "JPEG": "JPEG",
    "jpe": "JPEG",
    "jfif": "JPEG",
    "mpo": "MPO",
    "png": "PNG",
    "apng": "PNG",
    "gif": "GIF",
    "GIF": "GIF",
    "webp": "WEBP",
    "avif": "AVIF",
    "tif": "TIFF",
    "tiff": "TIFF",
    "bmp": "BMP",
    "dib": "DIB",
    "ppm": "PPM",
    "pgm": "PPM",
    "pnm": "PPM",
    "jp2": "JPEG2000",
    "j2k": "JPEG2000",
    "ico": "ICO",
    "tga": "TGA",
    "pcx": "PCX",
    "sgi": "SGI",
    "qoi": "QOI",
}


@pytest.mark.parametrize("suffix", WRITABLE)
def test_every_format_that_pillow_decodes_is_read(suffix, tmp_path):
    feature = formats.OPTIONAL.get(WRITABLE[suffix])
    if feature and not features.check(feature):
        pytest.skip(f"this build of Pillow lacks {feature}")
    Image.fromarray(WIDE).convert("RGB").save(tmp_path / f"x.{suffix}", format=WRITABLE[suffix])
    dataset = open_dataset(tiny_config(data__source=f"folder:{tmp_path}", data__size=16, data__cache=False))
    found = dataset.take(np.arange(len(dataset)))["images"]
    np.testing.assert_allclose(found[..., 0], WIDE[None], atol=40)
    assert found.shape == (1, 16, 16, 1)


def test_the_first_frame_of_a_moving_picture_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for suffix in ("gif", "webp", "png", "tiff"):
        frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    dataset = open_dataset(tiny_config(data__source=f"folder:{tmp_path}", data__channels=3, data__cache=False))
    images = dataset.take(np.arange(len(dataset)))["images"].astype(int)
    assert len(images) == 4
    np.testing.assert_allclose(images, np.broadcast_to([255, 0, 0], images.shape), atol=3)


def test_the_suffixes_are_those_of_pillow_without_what_is_no_picture():
    known = Image.registered_extensions()
    assert {".jpg", ".png", ".gif", ".tif", ".psd", ".dds", ".xbm"} <= formats.suffixes()
    assert not {".pdf", ".eps", ".ps", ".mpg", ".wmf", ".h5", ".txt", ".zip", ".npy", ""} & formats.suffixes()
    assert formats.suffixes() <= known.keys()
    assert {known[suffix] for suffix in formats.suffixes()} >= {"JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM", "PSD"}


def test_a_build_of_pillow_that_lacks_a_format_leaves_such_files_out(monkeypatch):
    monkeypatch.setattr(features, "check", lambda feature: feature not in formats.OPTIONAL.values())
    for function in (formats.names, formats.suffixes):
        function.cache_clear()
    try:
        for name in ("x.avif", "x.webp", "x.jp2"):
            assert (formats.is_picture(name), formats.is_foreign(name)) == (False, True)
        assert formats.is_picture("x.jpg")
    finally:
        for function in (formats.names, formats.suffixes):
            function.cache_clear()


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("b.heic",), "1 HEIC file, such as {root}/b.heic: .* magick mogrify -format png '\\*.heic'"),
        (("b.HEIC", "c.heif"), "2 HEIC files, such as {root}/b.HEIC: .* magick mogrify -format png '\\*.HEIC'"),
        (
            ("b.svg", "c.nef", "d.CR2"),
            "2 camera raw files, 1 SVG file, such as {root}/b.svg: convert to PNG or JPEG, .*",
        ),
        (("x/b.jxl", "c.exr"), "1 OpenEXR file, 1 JPEG XL file, such as {root}/c.exr: .*"),
    ],
)
def test_pictures_that_cannot_be_read_are_named_with_advice(names, advice, tmp_path, capsys):
    """In one warning, however often the folder is opened; in an error where nothing else is there."""
    advice = advice.format(root=re.escape(str(tmp_path)))
    touch(tmp_path, *names, "notes.txt", "__MACOSX/b.heic", ".b.heic")
    with raises_user_error(
        UserError, match=f"{re.escape(str(tmp_path))} holds no images that can be read, but {advice}$"
    ):
        folder.read(str(tmp_path))
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for _ in range(2):
        assert len(folder.read(str(tmp_path)).splits["train"]) == 1
    assert re.fullmatch(f"warning: left out of {re.escape(str(tmp_path))}: {advice}\n", capsys.readouterr().err)


def test_other_files_are_left_out_silently(tmp_path, capsys):
    touch(
        tmp_path, "notes.txt", "list.csv", "x.pdf", "film.mp4", "Thumbs.db", ".DS_Store", "__MACOSX/._a.png", "._a.png"
    )
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert len(folder.read(str(tmp_path)).splits["train"]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("target", ["nowhere.png", "x.png"])  # the second leads to itself
def test_a_link_that_leads_nowhere_is_a_bad_image(target, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    for number in range(8):
        Image.new("L", (8, 8)).save(root / f"{number}.png")
    (root / "x.png").symlink_to(root / target)
    source = f"--config.data.source=folder:{root}"
    assert train_tiny(tmp_path / "run", source) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {root}/x.png is a bad image (it cannot be decoded: ")
    assert error.endswith("repair it, remove it, or set config.data.on_bad_image=skip")
    assert train_tiny(tmp_path / "run", source, "--config.data.on_bad_image=skip") == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: 1 of 9 images are left out: {root}/x.png is a bad image")


def test_a_folder_behind_a_link_that_leads_nowhere_is_named(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a/0.png")
    (tmp_path / "b").symlink_to(tmp_path / "moved")
    assert folder.read(str(tmp_path)).classes == ("a",)
    assert capsys.readouterr().err == f"warning: {tmp_path}/b is a link that leads nowhere: it is left out\n"


def test_what_is_no_file_is_not_read(tmp_path):
    """A pipe has no end."""
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert len(folder.read(str(tmp_path)).splits["train"]) == 1


def test_a_warning_is_printed_once(capsys):
    for message in ("one of its kind", "one of its kind", "another of its kind"):
        warn_once(message)
    assert capsys.readouterr().err == "warning: one of its kind\nwarning: another of its kind\n"
