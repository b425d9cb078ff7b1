"""The two programs as a person meets them: mistakes that they explain, and the images that sample.py makes."""

import os
import re
import shutil
import socket
import stat
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from programs import DEADLINE, contents, options, saved_steps, started, train_tiny

from jaxgan.cli import evaluate, sample, train
from jaxgan.data import sources
from jaxgan.viz import grid


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The tiny experiment, trained; nothing may change it."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    assert train_tiny(workdir) == 0
    before = contents(workdir)
    yield workdir
    assert contents(workdir) == before


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Relative paths, the default --workdir among them, lead here."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def the_error(capsys) -> str:
    """The only line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


# Mistakes with train.py

WRONG_SETTINGS = {
    "--config.modle.family=mlp": "modle.*model",
    "--config.stepz=3": "stepz.*steps",
    "--config.penalties.r3=1": "r3.*(r1|r2)",
    "--config.loss=hing": r"unknown config.loss 'hing': did you mean hinge or rahinge\?",
    "--config.model.family=dcgam": r"config.model.family 'dcgam': did you mean dcgan or tf_dcgan\?",
    "--config.model.initializer=gaus": r"config.model.initializer 'gaus': did you mean gaussian\?",
    "--config.model.generator.norm=bach": r"config.model.generator.norm 'bach': did you mean batch\?.*none",
    "--config.model.discriminator.norm=bach": r"config.model.discriminator.norm 'bach': did you mean batch\?.*none",
    "--config.model.discriminator.downsampling=strid": "config.model.discriminator.downsampling 'strid'.*mean stride",
    "--config.data.source=digit": r"config.data.source 'digit': did you mean digits\?",
    "--config.update_rule=both": "unknown config.update_rule 'both': choose from alternating, simultaneous",
    "--config.algorithm=gna": r"unknown config.algorithm 'gna': did you mean gan\?",
    "--config.optimizer.generator.name=adm": r"config.optimizer.generator.name 'adm': did you mean adam\?",
    "--config.optimizer.discriminator.schedule=lin": r"discriminator.schedule 'lin': did you mean linear\?.*cosine",
    "--config.checkpoint.best=d_los": r"config.checkpoint.best 'd_los': choose from .*loss/discriminator",
    "--config.checkpoint.best_mode=least": "config.checkpoint.best_mode=least must be min or max",
    "--config.steps=many": "config.steps=many must be a whole number",
    "--config.steps=1.5": "config.steps=1.5 must be a whole number",
    "--config.steps=0": "config.steps=0 must be at least 1",
    "--config.seed=-1": "config.seed=-1 must be from 0 to 4294967295",
    "--config.ema_decay=nan": "config.ema_decay=nan must be from 0 to 1",
    "--config.concat_real_fake=maybe": "config.concat_real_fake=maybe must be True or False",
    "--config.targets.real=(0.9,'a')": r"config.targets.real=\(0.9, 'a'\) must be two numbers from 0 to 1",
    "--config.data.size=9": "config.data.size=9 does not fit config.model.family=dcgan: .*; near ones: 8, 10",
    "--config.data.channels=2": "it has 1 channels, not config.data.channels=2",
    "--config.data.placement=residant": "config.data.placement=residant must be auto, resident or streaming",
    "--config.data.crop=middle": "config.data.crop=middle must be centre, center or random",
    "--config.data.on_bad_image=skipp": "config.data.on_bad_image=skipp must be error or skip",
    "--config.on_nonfinite=skipp": "config.on_nonfinite=skipp must be stop, skip or rollback",
    "--config.data.load_size=7": "config.data.load_size=7 must be at least 8",
    "--config.data.crop=random": "config.data.load_size=0 must be at least 9",
    "--config.data.workers=-2": "config.data.workers=-2 must be -1 or more",
    "--config.data.split=test": "split 'test': choose from train",
    "--config.data.classes=ten": "config.data.classes 'ten': .*0, 1, 2",
    "--config.steps_per_dispatch=3": "config.steps_per_dispatch=3 must divide log_every=2",
    "--bogus=1": "bogus",
    "--dry_run=maybe": "dry_run.*maybe",
    "stray": "'stray' is not an option: write --config.name=value",
}


@pytest.mark.parametrize("wrong", WRONG_SETTINGS)
def test_a_wrong_setting_is_named_and_put_right_in_one_line(trained, capsys, wrong):
    """The folder does not appear; one that holds a run stays as it is."""
    assert train_tiny(Path("new"), wrong) == 2
    assert re.search(WRONG_SETTINGS[wrong], the_error(capsys))
    assert contents(Path()) == {}
    before = contents(trained)
    assert train_tiny(trained, wrong) == 2
    assert the_error(capsys)
    assert contents(trained) == before


WORLD = "--config.data.source=world:ring --config.model.family=toy_mlp"
PLAIN = "--config.model.discriminator.norm=none"
# Settings that are wrong only together, or are found wrong only after others.
WRONG_TOGETHER = {
    "--config.population=0": "config.population=0 must be at least 1",
    "--config.population=2 --config.seed=4294967295": "config.seed=4294967295 must be from 0 to 4294967294",
    "--config.population=2 --config.sweep=ema_decay=0.9,0.99,0.999": "ema_decay has 3 values, and .*=2",
    "--config.sweep=ema_decay=0.9,0.99": "is for a population: config.population=1 must be larger",
    "--config.population=2 --config.sweep=ema_deacy=0.9,0.99": r"'ema_deacy': did you mean ema_decay",
    "--config.population=2 --config.sweep=batch_size=8,16": "unknown setting in config.sweep 'batch_size'",
    "--config.population=2 --config.sweep=penalties.r1=1,many": "penalties.r1 must be followed by = and numbers",
    "--config.population=2 --config.sweep=penalties.r1": "penalties.r1 must be followed by = and numbers",
    "--config.population=2 --config.sweep=ema_decay=0.9,1.1": "config.ema_decay=1.1 must be from 0 to 1",
    "--config.packing=3": "config.(packing=3 must divide .*|batch_size=8 does not divide .* of 3: .*)",
    "--config.packing=0": "config.packing=0 must be at least 1",
    "--config.data.size=16 --config.penalties.wgan_gp=10": "penalties.wgan_gp needs .*discriminator.norm=none",
    "--config.conditioning.discriminator=projection": "needs a conditional generator: choose .* from concat, cbn",
    "--config.conditioning.generator=cbn": "generator=cbn needs a discriminator that uses the label: .*projection",
    "--config.conditioning.generator=cnb": r"config.conditioning.generator 'cnb': did you mean cbn\?",
    "--config.conditioning.generator=cbn --config.conditioning.discriminator=acgan --config.packing=2": (
        "config.packing=2 must be 1 with config.conditioning.discriminator=acgan"
    ),
    f"{WORLD} {PLAIN} --config.augment=flip": "config.augment is for images and shapes, and .*=world:ring has none",
    f"{WORLD} {PLAIN} --config.penalties.cr=1": "config.penalties.cr is for images",
    "--config.data.source=world:rign --config.model.family=toy_mlp": r"'rign': did you mean ring\?.*grid",
    "--config.data.source=world:ring": "config.data.source=world:ring does not fit config.model.family=dcgan",
    "--config.model.family=toy_mlp": "config.data.size=8 does not fit config.model.family=toy_mlp",
    "--config.augment=flip,cuotut": "config.augment=.*cuotut.* must be names out of colour, .*cutout",
    "--config.penalties.rr1=1": r"unknown setting 'config.penalties.rr1': did you mean .*config.penalties.r1",
    "--config.penalty_settings.transform=flop": "config.penalty_settings.transform=.*flop.* must be names out of ",
    "--config.margin=1": "config.margin has no effect here: loss=logistic or hinge or relativistic or rpgan has it",
    "--config.loss=hinge --config.margin=-2": "config.margin=-2.0 must be at least 0",
    "--config.loss=hinge --config.targets.flip=0.1": "config.targets.flip has no effect here: loss=minimax or",
    "--config.unrolled_steps=2 --config.update_rule=simultaneous": (
        "config.unrolled_steps has no effect here: update_rule=alternating has it"
    ),
    "--config.model.discriminator.minibatch_stddev=3": "(minibatch_stddev|groups of) ?=?3",
}


@pytest.mark.parametrize("wrong", WRONG_TOGETHER)
def test_settings_that_do_not_go_together_are_named_in_one_line(capsys, wrong):
    assert train_tiny(Path("new"), *wrong.split(" ")) == 2
    captured = capsys.readouterr()
    assert all(line.endswith(": dropped") for line in captured.out.splitlines())  # so nothing was compiled
    (error,) = captured.err.splitlines()
    assert re.search(f"^error: .*{WRONG_TOGETHER[wrong]}", error), error
    assert contents(Path()) == {}


@pytest.mark.parametrize(("batch", "advice"), [(7, "6 or 9"), (1, "make it 3"), (8, "6 or 9")])
def test_a_batch_that_the_devices_do_not_divide(monkeypatch, capsys, batch, advice):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    assert train_tiny(Path("new"), f"--config.batch_size={batch}") == 2
    error = the_error(capsys)
    assert f"config.batch_size={batch} does not divide over 3 devices" in error
    assert advice in error
    assert not Path("new").exists()


DEFAULT = "from jaxgan.config import default\ndef get_config():\n    config = default()\n"
CONFIG_FILES = {
    "nowhere": (None, "nowhere.py"),
    "syntax": ("def get_config(:\n", r"syntax\.py, line 1"),
    "without": ("config = 1\n", r"without\.py.*get_config"),
    "raising": ("def get_config():\n    return {}['key']\n", r"raising\.py.*key"),
    "nothing": ("def get_config():\n    return None\n", r"nothing\.py.*get_config"),
    "partial": (
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'steps': 3})\n",
        r"partial\.py.*jaxgan\.config\.default",
    ),
    "unknown": (
        f"{DEFAULT}    config.unlock()\n    config.stepz = 3\n    return config\n",
        r"unknown\.py: unknown setting 'config\.stepz': did you mean config\.steps",
    ),
    "none": (
        f"{DEFAULT}    config.steps = None\n    return config\n",
        r"none\.py: config\.steps=None must be like 10000",
    ),
    "range": (f"{DEFAULT}    config.steps = 0\n    return config\n", r"range\.py: config\.steps=0 must be at least 1"),
    "choice": (
        f"{DEFAULT}    config.loss = 'hinge'\n    return config\n",
        r"choice\.py: config\.targets\.\w+ has no effect here: loss=minimax or .* has it",
    ),
    "incomplete": (
        f"{DEFAULT}    config.optimizer.generator.schedule = 'cosine'\n    return config\n",
        r"incomplete\.py: config\.optimizer\.generator\.constant_steps is missing",
    ),
    "digit": (None, r"unknown configuration 'digit': did you mean digits"),
}


@pytest.mark.parametrize("name", CONFIG_FILES)
def test_a_wrong_configuration_file_is_named(capsys, name):
    text, advice = CONFIG_FILES[name]
    if text is not None:
        Path(f"{name}.py").write_text(text)
    before = contents(Path())
    place = name if name == "digit" else f"{name}.py"  # one that jaxgan would bring
    assert train.main([f"--config={place}", "--workdir=new", "--dry_run"]) == 2
    assert re.search(advice, the_error(capsys))
    assert {path for path in contents(Path()) if "__pycache__" not in path.parts} == set(before)


WRONG_FOLDERS = {
    "a file": (lambda path: path.write_text("mine"), "run is a file: --workdir must be a folder"),
    "other files": (lambda path: (path.mkdir(), (path / "a").write_text("mine")), "run is not empty and holds no run"),
    "half a configuration": (lambda path: with_config(path, '{"steps": 1'), "config.json is not valid JSON"),
    "an empty configuration": (lambda path: with_config(path, ""), "config.json is not valid JSON"),
    "a list": (lambda path: with_config(path, "[]"), r"config.json.*object in braces, not \[\]"),
    "an unknown setting": (
        lambda path: with_config(path, '{"stepz": 1}'),
        r"config.json: unknown setting 'config.stepz': did you mean config.steps",
    ),
    "a wrong type": (
        lambda path: with_config(path, '{"steps": "x"}'),
        "config.json: config.steps='x' must be like 10000",
    ),
    "a number for a group": (
        lambda path: with_config(path, '{"model": 3}'),
        "config.json: config.model must be an object in braces, not 3",
    ),
}


def with_config(path: Path, text: str) -> None:
    path.mkdir()
    (path / "config.json").write_text(text)


@pytest.mark.parametrize("kind", WRONG_FOLDERS)
def test_a_wrong_folder_is_named_and_left_alone(capsys, kind):
    make, advice = WRONG_FOLDERS[kind]
    make(Path("run"))
    before = contents(Path())
    assert train_tiny(Path("run")) == 2
    assert re.search(advice, the_error(capsys))
    assert contents(Path()) == before


def test_a_folder_below_a_file(capsys):
    Path("file").write_text("mine")
    assert train_tiny(Path("file/run")) == 2
    assert "file/run" in the_error(capsys)
    assert Path("file").read_text() == "mine"


def test_a_different_config_is_listed_setting_by_setting_and_the_folder_left_alone(trained, capsys):
    assert train_tiny(trained, "--config.loss=wgan", "--config.latent_dim=5", "--config.steps=99") == 2
    error = the_error(capsys)
    assert (
        f"{trained} was started with a different config (latent_dim 4 -> 5; loss 'non_saturating' -> 'wgan'; "
        "targets.fake (0.0, 0.0) -> None; targets.flip 0.0 -> None; targets.real (1.0, 1.0) -> None)"
    ) in error
    assert "choose a new --workdir" in error


def test_the_same_folder_may_be_written_in_another_way(capsys, monkeypatch):
    """A run resumes; another folder is another experiment."""
    monkeypatch.setenv("HOME", str(Path.cwd()))
    for name in ("pictures", "others"):
        Path(name).mkdir()
        for number in range(8):
            Image.new("L", (8, 8), number).save(f"{name}/{number}.png")
    for step, source in enumerate(["folder:pictures", "folder:~/others/../pictures//"], start=1):
        assert train_tiny(Path("run"), f"--config.data.source={source}", f"--config.steps={step}") == 0
        assert saved_steps(Path("run"))[-1] == step
    capsys.readouterr()
    assert train_tiny(Path("run"), "--config.data.source=folder:others", "--config.steps=9") == 2
    assert "(data.source 'folder:~/others/../pictures//' -> 'folder:others')" in the_error(capsys)


@pytest.mark.parametrize(
    "source", ["array:{}x.npz", "folder:{}x", "side_by_side:{}x", "stacked:folder:{}x", "edited:inverted:array:{}x.npy"]
)
def test_a_source_has_one_text_for_all_ways_to_write_its_path(source, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    ways = {sources.canonical(source.format(start)) for start in ("", "./", "~/", "y/../", f"{Path.cwd()}/")}
    assert ways == {source.format(f"{Path.cwd()}/")}


def test_other_sources_are_their_own_text():
    for source in (
        "digits",
        "tfds:mnist",
        "tfds:mnist/x:1.0.0",
        "world:ring",
        "stacked:tfds:mnist",
        "folder:",
        "x:./y",
    ):
        assert sources.canonical(source) == source


@pytest.mark.parametrize("setting", ["JAX_COMPILATION_CACHE_DIR", "HOME"])
def test_compiled_programs_that_cannot_be_kept_end_nothing(setting):
    """One warning says how they can."""
    Path("file").touch()
    environment = {"JAX_COMPILATION_CACHE_DIR": "", setting: str(Path("file").absolute())}
    code = "from jaxgan.core import devices; import jax; devices.enable_compilation_cache(); "
    code += "devices.enable_compilation_cache(); print(jax.jit(lambda x: 2 * x)(21))"
    with started("-c", code, **environment) as program:
        out, err = program.communicate()
    assert (program.returncode, out) == (0, "42\n")
    (line,) = err.splitlines()
    assert line.startswith(f"warning: {Path('file').absolute()}")
    assert line.endswith("): set JAX_COMPILATION_CACHE_DIR, or every start compiles anew")


# Options


@pytest.mark.parametrize("program", [train, sample, evaluate], ids=lambda program: program.__name__)
@pytest.mark.parametrize("option", ["--workdri=run", "--work=run", "-workdir=run", "--workDir"])
def test_an_option_has_one_name_and_the_nearest_is_named(program, option, capsys):
    assert program.main([option, "--out=x.png"][: 1 if program is train else 2]) == 2
    assert f"unknown option {option.partition('=')[0]!r}: did you mean --workdir" in the_error(capsys)
    assert contents(Path()) == {}


# Mistakes with sample.py


def sampled(workdir: Path, *more: str) -> int:
    return sample.main([f"--workdir={workdir}", "--out=out.npz", *more])


WRONG_OPTIONS = {
    "--num=0": "--num=0 must be at least 1",
    "--num=many": "--num.*'many'",
    "--interpolate=2 --num=10": "--num=10 must be a multiple of --columns=8",
    "--interpolate=2 --columns=1": "--columns=1, and that at least 2",
    "--columns=-1": "--columns=-1 must be at least 1",
    "--seed=-1": "--seed=-1 must be from 0 to 4294967295",
    "--seed=4294967296": "--seed=4294967296 must be from 0 to 4294967295",
    "--interpolate=-2": "--interpolate=-2 must be from 0 to 4294967295",
    "--truncation=0": "--truncation=0.0 must be above 0",
    "--truncation=nan": "--truncation=nan must be above 0",
    "--truncation=low": "--truncation.*'low'",
    "--out=images.jpg": r"--out=images.jpg must end in \.png, in \.npz, or in /",
    "--step=5": "no checkpoint of step 5: there are 4, 8, 12",
    "--labels=3": "--labels=3: this run is unconditional, .*: leave --labels out",
    "--labels=all": "--labels=all: this run is unconditional",
    "--member=1": "--member=1 must be from 0 to 0",
    "--member=-1": "--member=-1 must be from 0 to 0",
    "--bogus=1": "unknown option '--bogus'",
    "stray": "stray",
}


@pytest.mark.parametrize("wrong", WRONG_OPTIONS)
def test_a_wrong_option_is_named_and_put_right_in_one_line(trained, capsys, wrong):
    assert sampled(trained, *wrong.split()) == 2
    assert re.search(WRONG_OPTIONS[wrong], the_error(capsys))
    assert contents(Path()) == {}


@pytest.mark.parametrize("missing", ["--workdir", "--out"])
def test_what_is_required_is_named(trained, capsys, missing):
    command = {"--workdir": f"--workdir={trained}", "--out": "--out=out.npz"}
    del command[missing]
    assert sample.main(list(command.values())) == 2
    assert missing in the_error(capsys)


@pytest.mark.parametrize("kind", ["nowhere", "empty", "no checkpoints", "no checkpoint"])
def test_a_folder_without_a_run_or_a_checkpoint(trained, capsys, kind):
    run = Path("run")
    if kind != "nowhere":
        run.mkdir()
    if kind.startswith("no checkpoint"):
        shutil.copy(trained / "config.json", run)
    if kind == "no checkpoint":
        (run / "checkpoints").mkdir()
    before = contents(Path())
    assert sampled(run) == 2
    assert ("no checkpoint yet" if kind.startswith("no checkpoint") else "no config.json") in the_error(capsys)
    assert contents(Path()) == before


@pytest.mark.parametrize("out", ["file/out.png", "file/out.npz", "file/out/", "file/"])
def test_a_place_where_nothing_can_be_written(trained, capsys, out):
    Path("file").write_text("mine")
    assert sampled(trained, f"--out={out}", "--num=1") == 2
    assert "file" in the_error(capsys)
    assert contents(Path()) == {Path("file"): b"mine"}


# Images


def sampled_images(workdir: Path, *more: str) -> np.ndarray:
    """The images of sample.py."""
    assert sampled(workdir, *more) == 0
    with np.load("out.npz") as file:
        assert file.files == ["images"]
        return file["images"]


def test_images_are_pixels_and_the_seed_gives_them(trained):
    first = sampled_images(trained, "--num=6", "--seed=3")
    kept = Path("out.npz").read_bytes()
    assert (first.dtype, first.shape) == (np.uint8, (6, 8, 8, 1))
    assert len({image.tobytes() for image in first}) == 6
    assert (sampled_images(trained, "--num=6", "--seed=3") == first).all()
    assert Path("out.npz").read_bytes() == kept
    other = sampled_images(trained, "--num=6", "--seed=4")
    assert not {image.tobytes() for image in first} & {image.tobytes() for image in other}


def test_an_image_depends_on_the_seed_and_its_place_alone(trained):
    most = sampled_images(trained, "--num=9")
    for num in (1, 4, 7):
        np.testing.assert_array_equal(sampled_images(trained, f"--num={num}"), most[:num])


def test_every_form_holds_the_same_images(trained, capsys):
    array = sampled_images(trained, "--num=5")
    assert sampled(trained, "--num=5", "--out=folder/") == 0
    assert sampled(trained, "--num=5", "--out=deep/er/grid.png", "--columns=2") == 0
    assert "5 images: deep/er/grid.png" in capsys.readouterr().out
    assert sorted(os.listdir("folder")) == [f"{index:06d}.png" for index in range(5)]
    for index, image in enumerate(array):
        with Image.open(f"folder/{index:06d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), np.repeat(image, 3, axis=-1))
    with Image.open("deep/er/grid.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid.image_grid(array, 2))
    assert {path.name for path in Path().iterdir()} == {"out.npz", "folder", "deep"}
    modes = {stat.S_IMODE(Path(path).stat().st_mode) for path in ("out.npz", "folder/000000.png", "deep/er/grid.png")}
    assert len(modes) == 1  # what the umask says


def test_the_moving_average_the_generator_and_older_steps_differ(trained):
    kinds = [["--step=12"], ["--step=8"], ["--raw", "--step=12"], ["--raw", "--step=8"], ["--truncation=0.1"]]
    pictures = [sampled_images(trained, "--num=4", *kind) for kind in kinds]
    np.testing.assert_array_equal(sampled_images(trained, "--num=4"), pictures[0])
    np.testing.assert_array_equal(sampled_images(trained, "--num=4", "--raw"), pictures[2])
    assert len({picture.tobytes() for picture in pictures}) == len(kinds)


def test_the_grid_of_the_training_is_that_of_its_seed(trained):
    """What train.py saves at step 12 is what sample.py makes with the same seed: seed 0, the moving average."""
    assert sampled(trained, "--num=4", "--out=grid.png") == 0
    assert Path("grid.png").read_bytes() == (trained / "samples" / "step_000012.png").read_bytes()


def test_a_row_interpolates_from_one_seed_to_the_other(trained):
    start, end = (sampled_images(trained, "--num=3", f"--seed={seed}") for seed in (5, 6))
    walk = sampled_images(trained, "--num=15", "--seed=5", "--interpolate=6", "--columns=5").reshape(
        3, 5, *start.shape[1:]
    )
    np.testing.assert_array_equal(walk[:, 0], start)
    np.testing.assert_array_equal(walk[:, -1], end)
    for row in walk.astype(int):
        steps = np.abs(np.diff(row, axis=0)).mean(axis=(1, 2, 3))
        assert (steps < np.abs(row[-1] - row[0]).mean()).all()


def test_no_data_set_is_needed(trained, monkeypatch):
    expected = sampled_images(trained, "--num=2")
    nowhere = {name: source._replace(open=None, read=None) for name, source in sources.SOURCES.items()}
    monkeypatch.setattr(sources, "SOURCES", nowhere)
    monkeypatch.setattr(sources, "open_dataset", None)
    np.testing.assert_array_equal(sampled_images(trained, "--num=2"), expected)


def test_a_damaged_checkpoint_is_passed_over_and_nothing_is_moved(trained, capsys):
    run = shutil.copytree(trained, "run")
    (Path(run) / "checkpoints" / "12" / "state" / "_METADATA").write_text("{")
    before = contents(Path(run))
    expected = sampled_images(trained, "--num=2", "--step=8")
    capsys.readouterr()
    np.testing.assert_array_equal(sampled_images(Path(run), "--num=2"), expected)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the checkpoint of step 12 is damaged, and is passed over")
    assert sampled(Path(run), "--step=12") == 2
    assert "no whole checkpoint of step 12:" in capsys.readouterr().err.splitlines()[-1]
    assert contents(Path(run)) == before


# As programs


@pytest.mark.parametrize(("program", "option"), [(train, "--dry_run"), (sample, "--interpolate")])
def test_help_tells_the_usage(program, option, capsys):
    with pytest.raises(SystemExit) as ended:
        sys.exit(program.main(["--help"]))
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    assert f"python {Path(program.__file__).name} --" in out
    assert option in out


def test_a_mistake_ends_a_program_with_code_2_and_without_a_traceback(trained):
    for command in (["train.py", *options(trained, "--config.loss=nonsense")], ["sample.py", f"--workdir={trained}"]):
        with started(*command) as process:
            out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out) == (2, "")
        assert re.fullmatch(r"error: [^\n]+\n", err)


def test_the_command_line_is_read_before_the_processes_of_a_cluster_meet(tmp_path):
    """They could not meet after a computation, be it the question which process may print."""
    meets = """
import sys, jax
from jaxgan.cli.train import parse
from jaxgan.core import multihost
config, own = parse(sys.argv[1:])
multihost.initialize(own.cluster)
print(jax.process_count(), config.loss, *own.notes)
sys.exit(multihost.shutdown(0))
"""
    with socket.socket() as place:
        place.bind(("localhost", 0))
        port = place.getsockname()[1]
    cluster = [f"--coordinator=localhost:{port}", "--num_processes=1", "--process_id=0"]
    changes = ["--config.model.family=mlp", "--config.loss=hinge"]
    with started("-c", meets, *options(tmp_path, *changes, *cluster)) as process:
        out, err = process.communicate(timeout=DEADLINE)
    dropped = "config.model.discriminator.base_channels=4, config.model.generator.base_channels=4: dropped"
    assert out.splitlines() == [f"1 hinge config.model.family=mlp has no {dropped}"], err
    assert process.returncode == 0


def test_another_process_makes_the_same_images(trained, tmp_path):
    """sample.py in its own process makes what it makes in this one."""
    expected = sampled_images(trained, "--num=3", "--seed=1")
    with started("sample.py", f"--workdir={trained}", f"--out={tmp_path}/own.npz", "--num=3", "--seed=1") as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (0, "")
    with np.load(tmp_path / "own.npz") as file:
        np.testing.assert_array_equal(file["images"], expected)
    assert saved_steps(trained) == [4, 8, 12]
