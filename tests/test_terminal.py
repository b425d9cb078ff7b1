"""Names that a terminal, a locale or a font cannot show are escaped, and are the same names everywhere."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import DEADLINE, contents, options, started

from jaxgan.cli import evaluate, sample, train
from jaxgan.data.sources import folder
from jaxgan.io.files import name_as_text
from jaxgan.viz import grid

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TERMINALS = (ASCII, {"PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii"})
TEXTS = {
    b"rose": "rose",
    b"caf\xc3\xa9": "caf\u00e9",
    b"caf\xe9": r"caf\xe9",
    b"\xe7\x8c\xab": "\u732b",
    b"two\nlines\x1b[2J\x7f": r"two\nlines\x1b[2J\x7f",
    b"\xc3\xa9\xe9\xc3\xa9": "\u00e9\\xe9\u00e9",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of three classes."""
    root = tmp_path_factory.mktemp("pictures")
    for label, name in enumerate([b"caf\xc3\xa9", b"caf\xe9", b"\xe7\x8c\xab"]):
        place = root / os.fsdecode(name)
        place.mkdir()
        for number in range(3):
            pixels = np.random.default_rng(3 * label + number).integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
    return root


def finished(*command: str, **environment: str) -> str:
    """The output of a program that ended well."""
    with started(*command, **environment) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (0, "")
    return out


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_s_name_is_text_in_every_locale(name):
    for encoding in ("utf-8", "ascii"):
        text = name_as_text(name.decode(encoding, errors="surrogateescape"))
        assert text == TEXTS[name] == name_as_text(text)
        text.encode()


def test_classes_are_in_the_order_of_their_text(pictures):
    assert folder.read(str(pictures)).classes == (r"caf\xe9", "caf\u00e9", "\u732b")


@pytest.mark.parametrize("terminal", [TERMINALS[0], pytest.param(TERMINALS[1], marks=pytest.mark.slow)], ids=str)
def test_names_are_escaped_trained_and_asked_for(pictures, tmp_path, terminal):
    conditional = ["--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection"]
    short = ["--config.steps=2", "--config.sample_grid=8", f"--config.data.source=folder:{pictures}"]
    out = finished("train.py", *options(tmp_path / "run", *short, *conditional), **terminal)
    assert r"3 classes (caf\xe9, caf\xe9, \u732b); resident" in out
    classes = json.loads((tmp_path / "run/data.json").read_text())["classes"]
    assert classes == [r"caf\xe9", "caf\u00e9", "\u732b"]
    draw = ("sample.py", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out'}/", "--num=2")
    finished(*draw, "--labels=caf\u00e9,\u732b", **terminal)
    assert set(contents(tmp_path / "out")) == set(
        map(Path, ("caf\u00e9", "caf\u00e9/000000.png", "\u732b", "\u732b/000001.png"))
    )


def test_a_grid_escapes_what_its_font_lacks():
    images = np.zeros((2, 8, 8, 1), np.uint8)
    for name, shown in {"\u732b": r"\u732b", "\udce9": r"\udce9", "\u00e9\U0001f408": "\u00e9\\U0001f408"}.items():
        lines = [grid.image_grid(images, 1, [text, "\u00e9"]) for text in (name, shown)]
        np.testing.assert_array_equal(*lines)
    drawn = [grid.image_grid(images, 1, [name, "\u00e9"]) for name in ("\u00e9", "\u00e8", "e")]
    assert len({image.tobytes() for image in drawn}) == 3


@pytest.mark.parametrize("option", ["workdir", "out"])
@pytest.mark.parametrize("program", [train, sample, evaluate], ids=lambda program: program.__name__)
def test_a_path_that_is_not_utf_8_is_refused(tmp_path, monkeypatch, capsys, program, option):
    if (program, option) == (train, "out"):
        pytest.skip("train.py has no --out")
    monkeypatch.chdir(tmp_path)
    paths = {"workdir": "run", "out": "x.png"} | {option: "caf\udce9.png"}
    if program is train:
        del paths["out"]
    assert program.main([f"--{name}={path}" for name, path in paths.items()]) == 2
    expected = f"error: --{option}=caf\\xe9.png: its full path is not valid utf-8: choose another one\n"
    assert capsys.readouterr() == ("", expected)
    assert contents(tmp_path) == {}


def test_a_path_that_the_locale_cannot_read_is_refused(tmp_path):
    with started("train.py", f"--workdir={tmp_path}/caf\u00e9", **ASCII) as process:
        out, err = process.communicate(timeout=DEADLINE)
    reason = "its full path is not valid ascii: choose another one, or set PYTHONUTF8=1"
    assert (process.returncode, out, err) == (2, "", f"error: --workdir={tmp_path}/caf\\xc3\\xa9: {reason}\n")
