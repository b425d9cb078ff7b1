"""Generators of the authors' PyTorch code: the same images, whatever a file's format; wrong files are refused."""

import functools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from experiments import raises_user_error
from torch_files import dictionary, tensor, zipped

from jaxgan import convert, inference
from jaxgan.cli import sample
from jaxgan.converters import translators
from jaxgan.core.state import apply
from jaxgan.errors import UserError
from jaxgan.io import run_folder
from jaxgan.viz import grid

GOLDEN = Path(__file__).parent / "golden" / "translators"
KINDS = {
    "resnet_zip": {"blocks": 6, "antialias": False, "base_channels": 2, "norm": "instance", "dropout": 0.0},
    "resnet_old": {"blocks": 2, "antialias": False, "base_channels": 2, "norm": "instance", "dropout": 0.5},
    "resnet_batch": {"blocks": 1, "antialias": False, "base_channels": 2, "norm": "batch", "dropout": 0.0},
    "resnet_antialias": {"blocks": 1, "antialias": True, "base_channels": 2, "norm": "instance", "dropout": 0.0},
    "unet": {"depth": 5, "base_channels": 2, "norm": "batch", "dropout": 0.5},
    "unet_instance": {"depth": 6, "base_channels": 1, "norm": "instance", "dropout": 0.5},
}
each = pytest.mark.parametrize("name", KINDS)


def path_of(name: str) -> Path:
    return GOLDEN / f"{name}.pth"


@functools.cache
def converted(name: str):
    """An experiment and its generator."""
    exp, generators = translators.converted([path_of(name)])
    return exp, generators["generator"]


@each
def test_a_converted_generator_makes_the_images_of_the_authors_network(name):
    """With the moments of the image itself and without dropout, as `make_golden_translators` has it."""
    exp, generator = converted(name)
    network = exp.networks["generator"].clone(dropout=0.0)
    with np.load(GOLDEN / f"{name}.npz") as golden:
        pixels, expected = jnp.float32(golden["pixels"][None]) / 127.5 - 1, golden["output"]
    found, _ = apply(network, generator, pixels, train=True)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@each
def test_the_network_is_read_off_the_file(name):
    model = converted(name)[0].config.model.generator
    assert {key: model[key] for key in KINDS[name]} == KINDS[name]


def test_a_mirrored_kernel_would_show():
    """The parity above does not hold by symmetry."""
    kernel = converted("unet")[1].params["ConvTranspose_0"]["kernel"]
    assert np.abs(kernel - kernel[::-1, ::-1]).max() > 0.1


def test_one_file_makes_a_run_that_translates_one_way(tmp_path, capsys):
    run, photo = tmp_path / "run", tmp_path / "photo.png"
    assert convert.main([str(path_of("resnet_zip")), f"--workdir={run}", "--direction=ba"]) == 0
    with np.load(GOLDEN / "resnet_zip.npz") as golden:
        grid.save_png(photo, golden["pixels"])
        expected = (golden["output"] + 1) * 127.5
    out = tmp_path / "out.png"
    assert sample.main([f"--workdir={run}", f"--input={photo}", f"--out={out}", "--direction=ba"]) == 0
    with grid.Image.open(out) as image:
        np.testing.assert_allclose(np.asarray(image), expected, atol=0.51)
    assert sample.main([f"--workdir={run}", f"--input={photo}", f"--out={out}", "--direction=ab"]) == 2
    assert "--direction=ab: this run was trained to translate ba alone" in capsys.readouterr().err
    assert convert.main([str(path_of("resnet_zip")), f"--workdir={run}"]) == 2
    assert "holds a run" in capsys.readouterr().err


def test_two_files_make_a_run_that_translates_both_ways(tmp_path):
    assert convert.main([str(path_of("resnet_zip")), str(path_of("resnet_zip")), f"--workdir={tmp_path}"]) == 0
    exp, variables, _, step = run_folder.restore(tmp_path)
    assert step == 0
    pixels = np.load(GOLDEN / "resnet_zip.npz")["pixels"][None].astype(np.float32) / 127.5 - 1
    made = [
        inference.run_task(exp, f"translate_{start}{to}", variables, inference.seed_inputs(0, 1, **{start: pixels}), 1)
        for start, to in ("ab", "ba")
    ]
    np.testing.assert_array_equal(made[0]["b"], made[1]["a"])


def answer(raw: bytes, folder: Path) -> str:
    path = folder / "some.pth"
    path.write_bytes(raw)
    with raises_user_error(UserError) as caught:
        translators.converted([path])
    return str(caught.value)


def test_wrong_files_are_refused_in_one_line(tmp_path):
    body = dictionary(**{"fc.weight": tensor()})
    stored = np.zeros(6, "<f4").tobytes()
    assert "cannot be read as weights of PyTorch" in answer(b"no torch", tmp_path)
    assert "holds a discriminator: choose the file of a generator" in answer(
        path_of("discriminator").read_bytes(), tmp_path
    )
    assert "no generator of CycleGAN, CUT or pix2pix" in answer(zipped(body, data_0=stored), tmp_path)
    assert "it has nothing" in answer(zipped(dictionary()), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.4.bias"), "model.4 has no bias and no BatchNorm behind it"),
        (lambda state: state.update({"model.4.bias": np.zeros(5)}), "params/Conv_1/bias is .5., and .4. in such"),
        (lambda state: state.update({"model.4.weight": np.zeros((4, 3, 3, 3))}), "Conv_1/kernel is .3, 3, 3, 4., and"),
        (lambda state: state.update({"model.2.extra": np.zeros(5)}), "it has model.2.extra .5."),
        (lambda state: state.update({"model.30.weight": np.zeros((3, 3, 1, 1))}), "no generator"),
        (lambda state: [state.pop(name) for name in list(state) if ".5." in name], "no generator|pad in another way"),
    ],
)
def test_a_file_whose_arrays_make_no_generator_is_refused(change, message, monkeypatch):
    state = dict(translators.torch_weights.read(path_of("resnet_zip")))
    change(state)
    monkeypatch.setattr(translators.torch_weights, "read", lambda path: state)
    with raises_user_error(UserError, match=message):
        translators.converted([Path("some.pth")])


def test_files_that_do_not_go_together_and_wrong_options_are_refused(tmp_path, capsys):
    def refused(*arguments: str) -> str:
        assert convert.main([*arguments, f"--workdir={tmp_path / 'run'}"]) == 2
        return capsys.readouterr().err

    one, unet = str(path_of("resnet_zip")), str(path_of("unet"))
    assert "hold networks of two kinds" in refused(one, str(path_of("resnet_old")))
    assert "takes 1 channels and gives 1: they must be equal" in refused(one, unet)
    assert "3 files" in refused(one, one, one)
    assert "--direction has no effect" in refused(one, one, "--direction=ab")
    assert "--dropout=0.2 is of a U-Net" in refused(one, "--dropout=0.2")
    assert "--dropout=1.0 must be from 0 to below 1" in refused(unet, "--dropout=1")
    assert "No such file" in refused(str(tmp_path / "none.pth"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "note.txt").touch()
    assert "is not empty and holds no run" in refused(one)
