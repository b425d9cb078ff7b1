"""Real examples on the command line: any loader resumes where another one stopped, and other data are refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from programs import contents, grids, records, saved, saved_steps, train_tiny

EXAMPLES = 23  # so that step 6 of two batches of 8 lies in the middle of an epoch
PLACEMENTS = {
    "resident": ["--config.data.placement=resident"],
    "streaming": ["--config.data.placement=streaming"],
    "lazy": ["--config.data.placement=streaming", "--config.data.cache=False", "--config.data.workers=0"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[str]:
    """Options for made-up images, which are decoded, and cropped and flipped whenever they are used."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 13, 12), np.uint8)
    np.savez(path, images=pixels, labels=np.arange(EXAMPLES) % 3)
    settings = {"source": f"array:{path}", "load_size": 11, "crop": "random", "flip": True}
    return ["--config.discriminator_steps=2"] + [f"--config.data.{name}={settings[name]}" for name in settings]


@pytest.fixture(scope="module")
def resident(tmp_path_factory, images):
    """A run on those images, in one go and resident."""
    workdir = tmp_path_factory.mktemp("resident") / "run"
    assert train_tiny(workdir, *images, *PLACEMENTS["resident"]) == 0
    return workdir


@pytest.mark.parametrize(("first", "then"), [("streaming", "streaming"), ("resident", "lazy"), ("lazy", "resident")])
def test_a_run_resumes_within_an_epoch_with_any_loader(resident, images, tmp_path, capsys, first, then):
    """The same bits as those of the run that was never stopped, and had all images in the device's memory."""
    workdir = tmp_path / "run"
    assert train_tiny(workdir, *images, *PLACEMENTS[first], "--config.steps=6") == 0
    assert train_tiny(workdir, *images, *PLACEMENTS[then]) == 0
    out = capsys.readouterr().out
    found = re.findall(r"^23 images \(11x11x1\), 3 classes \(0, 1, 2\); (\w+)", out, re.MULTILINE)
    assert found == ["resident" if kind == "resident" else "streaming" for kind in (first, then)]
    assert saved_steps(workdir) == [6, 8, 12]
    assert saved(workdir) == saved(resident)
    assert records(workdir) == records(resident)
    assert {name: grid for name, grid in grids(workdir).items() if name != "step_000006.png"} == grids(resident)
    assert (workdir / "real.png").read_bytes() == (resident / "real.png").read_bytes()
    about, expected = (json.loads((folder / "data.json").read_text()) for folder in (workdir, resident))
    assert about == expected | {"digest": "" if first == "lazy" else expected["digest"]}


def rewritten(workdir: Path, **changes) -> None:
    """Changes the record of a run's data."""
    path = workdir / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": "0" * 32}, "digest 0{32} -> [0-9a-f]{32}"),
        ({"examples": 1796}, "examples 1796 -> 1797"),
        ({"examples": 1796, "digest": ""}, "examples 1796 -> 1797"),
        ({"classes": [], "digest": "1"}, r"classes \[\] -> \['0', .*; digest 1 -> \w{32}"),
    ],
)
def test_a_run_does_not_resume_with_other_data(workdir, capsys, changes, message):
    rewritten(workdir, **changes)
    before = contents(workdir)
    assert train_tiny(workdir, "--config.steps=16") == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"error: .*/run was trained on other data \({message}\): choose a new --workdir", error)
    assert contents(workdir) == before


@pytest.mark.parametrize("forget", [lambda run: rewritten(run, digest=""), lambda run: (run / "data.json").unlink()])
def test_a_run_without_a_whole_record_of_its_data_resumes(workdir, forget):
    """As a run on images that were decoded anew, or a run of an older version."""
    forget(workdir)
    assert train_tiny(workdir, "--config.steps=13") == 0
    assert saved_steps(workdir)[-1] == 13


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"examples": 1797}'])
def test_a_damaged_record_of_the_data_is_named(workdir, capsys, text):
    (workdir / "data.json").write_text(text)
    before = contents(workdir)
    assert train_tiny(workdir, "--config.steps=13") == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"error: .*/run/data.json is damaged \(.*\): restore it, or remove it to go on unchecked", error
    )
    assert contents(workdir) == before
