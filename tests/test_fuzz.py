"""Nothing executes from data, and damage ends in one clear line.

JAXGAN_FUZZ=2000 asks for so many cases instead of 200; JAXGAN_FUZZ_CASE=137 for that one alone. With -rP each case is
listed with its kind and how it ended.
"""

import ast
import contextlib
import functools
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import damage
import numpy as np
import pytest
import tiny
from damage import WORDS, ending, pick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from programs import ROOT, bits, contents, saved, train_tiny

from jaxgan.cli import sample
from jaxgan.config import SETTINGS, default
from jaxgan.core import devices
from jaxgan.core.settings import Choice, every_name, flatten, resolve
from jaxgan.data import sources
from jaxgan.errors import exit_code
from jaxgan.viz import snapshot

COUNT = int(os.environ.get("JAXGAN_FUZZ", "200"))
CHUNK = 20
STEPS = (12, 8, 4)  # of the run's checkpoints
LABELS = {"conditioning.generator": "concat", "conditioning.discriminator": "concat"}
OPTIONS = [*(f"--config.{name}={value}" for name, value in LABELS.items()), "--config.data.classes=0,1,2"]
KNOWN = flatten(tiny.get_config())
ALL = sorted(every_name(SETTINGS))  # of other choices as well
TABLES = {name: tuple(entry.table()) for name, entry in resolve(SETTINGS, {}).items() if isinstance(entry, Choice)}
DECODED = ("data.size", "data.load_size", "data.channels", "data.source")


# No source can execute what it reads

SOURCES = sorted([*ROOT.glob("jaxgan/**/*.py"), *ROOT.glob("*.py")])
EXECUTING = {"pickle", "dill", "marshal", "shelve", "cloudpickle", "joblib", "runpy", "code", "codeop"}
CALLS = {"eval", "exec", "compile", "__import__"}
PROGRAM = ROOT / "jaxgan/cli/train.py"


def reaches(tree: ast.AST, imports: set[str] = EXECUTING) -> list[str]:
    """What a module has that could execute data: such imports, such calls, and every `allow_pickle` but False."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in imports]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module for _ in (0,) if (node.module or "").partition(".")[0] in imports]
        elif isinstance(node, ast.Name) and node.id in CALLS:
            found.append(node.id)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found += [] if isinstance(node.value, ast.Constant) and node.value.value is False else ["allow_pickle"]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_execute_what_it_reads(path):
    """But for jaxgan/cli/train.py, which runs the configuration that its user names."""
    assert reaches(ast.parse(path.read_text())) == (["runpy"] if path == PROGRAM else [])


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "f = exec",
        "np.load(x, allow_pickle=y)",
        "def f():\n  import marshal",
        "from runpy import run_path",
    ],
)
def test_the_search_finds_each_way_to_execute(text):
    assert len(reaches(ast.parse(text))) == 1


def test_a_configuration_is_run_in_one_place_alone():
    text = PROGRAM.read_text()
    (function,) = [node for node in ast.parse(text).body if getattr(node, "name", "") == "load_config"]
    uses = [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and node.id == "runpy"]
    assert len(uses) == 1
    assert function.lineno < uses[0] <= function.end_lineno


# Objects that would execute


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def hostile(marker: Path) -> dict[str, bytes]:
    """Files that make another file where they are loaded with their objects: that they do is tested."""
    objects = np.array([Touch(marker)] * 9, object)
    found = {}
    for name, write in {"npy": np.save, "npz": lambda file, array: np.savez(file, images=array, labels=array)}.items():
        file = io.BytesIO()
        write(file, objects)
        found[name] = file.getvalue()
    loaded = np.load(io.BytesIO(found["npy"]), allow_pickle=True)
    assert len(loaded) == 9
    assert marker.exists()
    marker.unlink()
    np.savez(file := io.BytesIO(), images=np.zeros((9, 8, 8), np.uint8), labels=objects)
    return found | {"labels.npz": file.getvalue()}


@pytest.mark.parametrize("name", ["npy", "npz", "labels.npz"])
def test_objects_in_a_source_are_refused_and_never_made(tmp_path, capfd, name):
    marker, path = tmp_path / "executed", tmp_path / f"x.{name}"
    path.write_bytes(hostile(marker)[name])
    assert train_tiny(tmp_path / "run", f"--config.data.source=array:{path}") == 2
    assert "it holds pickled objects, which are never loaded" in capfd.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_objects_planted_in_a_run_folder_are_never_made(trained, tmp_path, capfd, kind):
    """In the place of each of its files, and beside them."""
    marker, raw = tmp_path / "executed", hostile(tmp_path / "executed")[kind]
    names = [path.relative_to(trained.folder) for path in trained.folder.rglob("*") if path.is_file()]
    places = [name for name in names if name.parts[0] in ("config.json", "data.json", "metrics.jsonl")]
    places += [name for name in names if name.parts[:2] == ("checkpoints", "12")]
    for number, name in enumerate(places):
        workdir = trained.copy(tmp_path / str(number))
        (workdir / name).unlink()
        (workdir / name).write_bytes(raw)
        for beside in ("state.npy", "checkpoints/12/state/x.pkl", "checkpoints/12/state/d/x", "checkpoints/13"):
            (workdir / beside).write_bytes(raw)
        ending(lambda workdir=workdir: sample.main([f"--workdir={workdir}", f"--out={workdir}/x.npz"]), capfd)
        assert not marker.exists(), name


# One run folder for all cases


class Trained(NamedTuple):
    """A small conditional run.

    Attributes:
        folder: of the run.
        images: what sample.py makes of each checkpoint.
        state: the bits of the newest.
    """

    folder: Path
    images: dict[int, np.ndarray]
    state: tuple[int, dict]

    def copy(self, target: Path) -> Path:
        """The folder anew; the copies share their files, of which none is ever written to."""
        return shutil.copytree(self.folder, target, copy_function=os.link)


def sampled_images(workdir: Path, *more: str) -> np.ndarray:
    out = workdir.parent / "sampled.npz"
    assert sample.main([f"--workdir={workdir}", f"--out={out}", "--num=4", *more]) == 0
    return np.load(out)["images"]


def state_of(workdir: Path) -> tuple[int, dict]:
    return saved(workdir, classes=3, **{name.replace(".", "__"): value for name, value in LABELS.items()})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train_tiny(folder, *OPTIONS) == 0
    made = Trained(folder, {step: sampled_images(folder, f"--step={step}") for step in STEPS}, state_of(folder))
    before = contents(folder)
    yield made
    assert contents(folder) == before  # no case has changed what the others share


# Kinds of cases. Each gives the program, and a check of what it left if it succeeded.


class Case(NamedTuple):
    """What a kind may use: random numbers of its own, an empty folder, the run, and a file that must never appear."""

    rng: np.random.Generator
    place: Path
    trained: Trained
    marker: Path
    patch: pytest.MonkeyPatch


class ReachedError(BaseException):
    """train.py has found nothing wrong, and begins to decode or to compile."""


def reached(*arguments: object, **options: object) -> None:
    raise ReachedError


def until_reached(argv: list[str]) -> int:
    with contextlib.suppress(ReachedError):
        return train_tiny(*argv)
    return 0


def sampled(case: Case, workdir: Path, check: Callable, *more: str) -> int:
    """Runs sample.py; its output is whole or absent."""
    out = case.place / "out.npz"
    code = sample.main([f"--workdir={workdir}", f"--out={out}", "--num=4", *more])
    assert out.exists() == (code == 0)
    assert [path.name for path in case.place.glob("out*")] == ["out.npz"] * (code == 0)
    if code == 0:
        assert check(np.load(out)["images"])
    return code


def config_bytes(case: Case) -> int:
    """config.json with damaged bytes, in sample.py."""
    workdir = case.trained.copy(case.place / "run")
    damage.harm_file(workdir / "config.json", case.rng)
    return sampled(case, workdir, lambda images: len(images) == 4)


def config_values(case: Case) -> int:
    """config.json with a wrong value, an unknown setting or a missing one, in sample.py or train.py."""
    workdir = case.trained.copy(case.place / "run")
    path = workdir / "config.json"
    text = damage.harm_value(json.loads(path.read_text()), case.rng, case.marker)
    path.unlink()
    path.write_bytes(text.encode("utf-8" if case.rng.random() < 0.95 else "utf-16"))
    if case.rng.random() < 0.2:
        case.patch.setattr(devices, "compile_steps", reached)
        return until_reached([workdir, *OPTIONS])
    return sampled(case, workdir, lambda images: len(images) == 4)


def command(case: Case) -> int:
    """train.py with settings of random values, up to where it would compile."""
    rng, argv = case.rng, []
    for _ in range(rng.integers(1, 4)):
        name = str(pick(rng, [*KNOWN, *TABLES, *ALL, "x", "data", "seed.x", "optimizer", "__class__", ""]))
        kinds = {int: damage.WHOLE, float: damage.NUMBERS, bool: ("True", "False", "0")}
        likely = TABLES.get(name, kinds.get(type(KNOWN.get(name)), WORDS))
        value = pick(rng, pick(rng, (*[likely] * 8, WORDS, (damage.payload(case.marker),))))
        argv.append(pick(rng, (f"--config.{name}={value}",) * 30 + (f"--config.{name}", f"--{name}={value}", value)))
    opened = sources.open_dataset

    def open_dataset(config):
        cheap = all(flatten(config).get(name) == KNOWN[name] for name in DECODED)
        return opened(config) if cheap or config.data.source[:5] in ("folde", "array") else reached()

    case.patch.setattr(sources, "open_dataset", open_dataset)
    case.patch.setattr(devices, "compile_steps", reached)
    code = until_reached([case.place / "new", "--dry_run", *argv])
    assert not (case.place / "new").exists()
    return code


NUMBERS = ("1", "2", "3", "4", "8", "16", "0", "-1", "10" * 6, "9" * 20)
SAMPLE_OPTIONS = dict.fromkeys(("num", "interpolate", "columns", "seed"), NUMBERS) | {
    "labels": ("all", "0", "1", "2", "0,1", "0,,1", "3", "-1", "9" * 30, "\u00b2", "1,1,1", "all,0", ""),
    "member": ("0", "0", "1", "-1", "9" * 20),
    "step": ("4", "8", "12", "5", "-1", "9" * 20),
    "truncation": ("1", "0.5", "1e-320", "1e308", "inf", "nan", "-1", "0"),
    "raw": ("",),
}


def sample_command(case: Case) -> int:
    """sample.py with random options."""
    rng, argv = case.rng, []
    for name in rng.choice(list(SAMPLE_OPTIONS), rng.integers(1, 4), replace=False):
        value = pick(rng, SAMPLE_OPTIONS[name] if rng.random() < 0.9 else WORDS)
        argv.append("--raw" if name == "raw" else f"--{name}={value}")
    endings = ("x.png", "x.npz", "x/", "x", "x.png", "x.npz", "x/", "x", "x.gif", "a" * 300 + ".png", "\udce9.png")
    out = case.place / "out" / pick(rng, endings)
    code = sample.main([f"--workdir={case.trained.folder}", f"--out={out}{'/' * (out.name == 'x')}", *argv])
    written = [path for path in (case.place / "out").rglob("*") if path.is_file()]
    assert bool(written) == (code == 0)
    for path in written:
        assert path.suffix in (".png", ".npz")
        assert np.load(path)["images"].size if path.suffix == ".npz" else Image.open(path).load()
    return code


def harmed_run(case: Case) -> tuple[Path, Path]:
    """A copy of the run with one file or folder damaged, and which."""
    workdir = case.trained.copy(case.place / "run")
    newest = workdir / "checkpoints" / "12"
    top = newest if case.rng.random() < 0.4 else pick(case.rng, sorted(workdir.iterdir()))
    target = pick(case.rng, [*([] if top == newest else [top]), *sorted(top.rglob("*"))])
    (damage.harm_folder if target.is_dir() else damage.harm_file)(target, case.rng)
    return workdir, target.relative_to(workdir)


def run_sampled(case: Case) -> int:
    """A damaged run folder in sample.py: the samples are those of one of its checkpoints."""
    workdir, harmed = harmed_run(case)

    def check(images: np.ndarray) -> bool:
        steps = STEPS if harmed.parts[0] == "checkpoints" else (12,)
        return any(np.array_equal(images, case.trained.images[step]) for step in steps)

    return sampled(case, workdir, check if harmed.name != "config.json" else lambda images: len(images) == 4)


def resumed(case: Case, workdir: Path) -> int:
    """Runs train.py, but for what takes long and reads nothing: grids of samples, rendering curves."""
    case.patch.setattr(snapshot, "draw", lambda *_: (np.zeros((9, 9, 3), np.uint8), {}))
    case.patch.setattr(FigureCanvasAgg, "print_png", lambda _, path: path.touch())
    code = train_tiny(workdir, *OPTIONS)
    if code == 0:
        assert bits(state_of(workdir)) == bits(case.trained.state)
    return code


def run_trained(case: Case) -> int:
    """A damaged run folder in train.py: the run ends in the very state of the whole one."""
    return resumed(case, harmed_run(case)[0])


def opened(case: Case, source: str, check: Callable, **settings: object) -> int:
    """Opens a data set as train.py does, all of it."""
    config = default(tiny.TINY | {"data.source": source} | settings)

    def program() -> None:
        examples = sources.open_dataset(config)
        check(examples.take(np.arange(len(examples))), examples.classes)

    case.patch.setenv("JAXGAN_DATA_CACHE", str(case.place / "cache"))
    return exit_code(program)


def image(case: Case) -> int:
    """A folder with a damaged picture among whole ones."""
    rng, folder = case.rng, case.place / "pictures"
    folder.mkdir()
    for number in range(3):
        raw, kind = damage.picture(rng)
        suffix = pick(rng, (kind,) * 4 + ("png", "jpg", "webp", "bmp", "tif"))
        if number == 0:
            raw = damage.claiming(raw, kind, rng) if rng.random() < 0.2 else damage.harm_bytes(raw, rng)
        (folder / f"{number}.{suffix}").write_bytes(raw)
    care = str(pick(rng, ("error", "skip")))

    def check(batch: dict, classes: tuple) -> None:
        images = batch["images"]
        assert images.shape[1:] == (8, 8, 3)
        assert images.dtype == np.uint8
        assert len(images) == 3 or (len(images) == 2 and care == "skip")

    settings = {"data.channels": 3, "data.on_bad_image": care, "data.cache": bool(rng.random() < 0.5)}
    if not settings["data.cache"]:
        settings["data.placement"] = "resident"
    return opened(case, f"folder:{folder}", check, **settings)


def array(case: Case) -> int:
    """A damaged .npz or .npy file. What is read of an .npz file is what was written, since it has check sums."""
    rng = case.rng
    images, labels = rng.integers(0, 256, (5, 8, 8), np.uint8), np.int64([0, 1, 2, 1, 0])
    kind = pick(rng, ("npz", "npz", "compressed.npz", "npy"))
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, images)
    else:
        (np.savez_compressed if "compressed" in kind else np.savez)(file, images=images, labels=labels)
    raw, claims = file.getvalue(), rng.random() < 0.3
    if claims and kind == "npy":
        raw = claim(raw, rng)
    elif claims:
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(whole := io.BytesIO(), "w") as new:
            chosen = pick(rng, old.namelist())
            for name in old.namelist():
                new.writestr(name, claim(old.read(name), rng) if name == chosen else old.read(name))
        raw = whole.getvalue()
    else:
        raw = damage.harm_bytes(raw, rng)
    path = case.place / f"x.{kind}"
    path.write_bytes(raw)

    def check(batch: dict, classes: tuple) -> None:
        assert batch["images"].dtype == np.uint8
        if not claims and kind != "npy":
            assert np.array_equal(batch["images"][..., 0], images)
            assert not classes or np.array_equal(batch["labels"], labels)

    return opened(
        case, f"array:{path}", check, **{"data.cache": bool(rng.random() < 0.5), "data.placement": "resident"}
    )


def claim(raw: bytes, rng: np.random.Generator) -> bytes:
    """An .npy file with another header."""
    shape = pick(
        rng, ("(5, 8, 8)", "(-5, 8, 8)", "(10**9,)", f"({10**13}, 8, 8)", f"({2**62}, {2**62}, 2)", "(5.0, 8, 8)")
    )
    kind = pick(rng, ("'|u1'", "'|O'", "'|V8'", "'<u8'", "'|S0'", "[('a', 'O')]", "'<U9999999'", "'x'", "'<M8[s]'"))
    kind = kind if rng.random() < 0.5 else "'|u1'"
    extra = pick(rng, ("", "", "'x': 1", "'shape': __import__('os')", "(" * 200, "\u00e9"))
    header = f"{{'descr': {kind}, 'fortran_order': {pick(rng, ('False', 'True', '0'))}, 'shape': {shape}, {extra}}}"
    version = pick(rng, ((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    text = (header + " " * int(pick(rng, (0, 0, 30_000))) + "\n").encode("utf-8")
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + raw[128:]


def text_file(case: Case) -> int:
    """data.json or metrics.jsonl with wrong values, in the program that reads it."""
    workdir = case.trained.copy(case.place / "run")
    name = pick(case.rng, ("data.json", "metrics.jsonl"))
    first, *rest = (workdir / name).read_text().splitlines(keepends=True)
    (workdir / name).unlink()
    text = damage.harm_value(json.loads(first), case.rng, case.marker)
    (workdir / name).write_text(text + "\n" + "".join(rest))
    if name == "data.json" and case.rng.random() < 0.5:
        return sampled(case, workdir, lambda images: np.array_equal(images, case.trained.images[12]))
    return resumed(case, workdir)


KINDS = (config_bytes, config_values, command, sample_command, run_sampled, image, array, run_trained)
KINDS += (config_values, command, sample_command, run_sampled, image, array, text_file, image, array, run_sampled)


def attempt(number: int, place: Path, trained: Trained, capfd) -> str:
    """Runs one case; how it ended, in a line."""
    place.mkdir()
    began, kind, marker = time.monotonic(), KINDS[number % len(KINDS)], place / "executed"
    with pytest.MonkeyPatch.context() as patch:
        case = Case(np.random.default_rng([7, number]), place, trained, marker, patch)
        code, lines = ending(functools.partial(kind, case), capfd)
    assert not marker.exists(), "data was executed"
    shutil.rmtree(place)
    took = f"{time.monotonic() - began:.2f} s"
    return f"{number} {kind.__name__} {code} {took}: {lines[-1][:150] if lines else ''}"


def chosen_cases() -> list[range]:
    if "JAXGAN_FUZZ_CASE" in os.environ:
        number = int(os.environ["JAXGAN_FUZZ_CASE"])
        return [range(number, number + 1)]
    return [range(start, min(start + CHUNK, COUNT)) for start in range(0, COUNT, CHUNK)]


@pytest.mark.parametrize("cases", chosen_cases(), ids=lambda cases: f"{cases.start} to {cases.stop - 1}")
def test_whatever_the_damage_a_program_succeeds_or_says_in_one_line_what_is_wrong(trained, tmp_path, capfd, cases):
    ended, failed = [], []
    for number in cases:
        try:
            ended.append(attempt(number, tmp_path / str(number), trained, capfd))
        except (Exception, damage.TooLongError) as error:
            again = f"JAXGAN_FUZZ_CASE={number} python -m pytest -n 0 tests/test_fuzz.py -k whatever"
            name = KINDS[number % len(KINDS)].__name__
            failed.append(f"case {number} ({name}): {type(error).__name__}: {str(error)[:600]}\n    again: {again}")
            if len(cases) == 1:
                raise
    capfd.readouterr()
    print("\n".join(ended))
    assert not failed, "\n" + "\n".join(failed)
