"""Files of SNGAN and BigGAN become runs that compute and learn what the authors' code does; wrong ones are refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from flax import traverse_util
from made_up import array_of, numbers
from torch_files import dictionary, number, pickled, tensor, text, zipped

from jaxgan import convert
from jaxgan.adversarial.losses import LOSSES
from jaxgan.cli import sample
from jaxgan.converters import resnet
from jaxgan.core.state import apply
from jaxgan.errors import UserError
from jaxgan.io import run_folder

GOLDEN = np.load(Path(__file__).parent / "golden" / "resnet.npz")
CASES = ("biggan", "flat", "deep", "sngan", "projection", "nearest")
BATCH, CLASSES, LATENTS = 3, 4, 6  # as in make_golden_resnet.py
each = pytest.mark.parametrize("case", CASES)


def arrays_of(case: str, network: str) -> dict[str, np.ndarray]:
    """The arrays of a golden network by the names of its authors."""
    shapes = json.loads(str(GOLDEN[f"{case}/{network}/shapes"]))
    return {name: array_of(name, tuple(shape)) for name, shape in shapes.items()}


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Their descriptions in a pickle."""
    strides = {name: tuple(np.array(a.strides, int) // a.itemsize) for name, a in arrays.items()}
    return {
        name: tensor(shape=a.shape, strides=map(int, strides[name]), count=a.size, key=str(i))
        for i, (name, a) in enumerate(arrays.items())
    }


def stored(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {f"data_{i}": array.tobytes() for i, array in enumerate(arrays.values())}


def save_pth(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A state dict, as BigGAN-PyTorch saves it."""
    path.write_bytes(zipped(dictionary(**tensors(arrays)), **stored(arrays)))
    return path


def save_checkpoint(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A state dict in a dictionary, as mimicry saves it."""
    inner = b"}(" + b"".join(text(name) + about for name, about in tensors(arrays).items()) + b"u"
    items = text("model_state_dict") + inner + text("optimizer_state_dict") + b"N" + text("global_step") + number(7)
    path.write_bytes(zipped(pickled(b"}(" + items + b"u"), **stored(arrays)))
    return path


def save_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """The arrays as Chainer names them; the last layer of its discriminators for 32x32 has no bias."""
    names = {"weight_orig": "W", "weight": "W", "bias": "b", "weight_u": "u", "sn_u": "u"}
    norms = {"weight": "gamma", "bias": "beta", "running_mean": "avg_mean", "running_var": "avg_var"}
    found = {}
    for name, array in arrays.items():
        *layer, last = name.split(".")
        layer = [part for part in layer if part != "bn"]
        place = "/".join(layer)
        if last in ("weight_v", "sn_sigma"):
            continue
        if layer[-1] == "embed":
            place = "/".join(layer[:-1])
            gains, biases = np.split(array, 2, axis=1)
            found |= {f"{place}/gammas/W": gains, f"{place}/betas/W": biases}
        elif layer[-1].startswith("b"):
            found[f"{place}/{norms[last]}"] = array
            found[f"{place}/N"] = np.zeros((), int)
        elif name != "l5.bias":
            found[f"{place}/{names[last]}"] = array.reshape(1, -1) if names[last] == "u" else array
    np.savez(path, **found)
    return path


WRITERS = {"sngan": save_checkpoint, "projection": save_pth, "nearest": save_npz}
SUFFIXES = {"nearest": ".npz"}


def save(folder: Path, case: str, network: str, arrays: dict[str, np.ndarray] | None = None) -> Path:
    path = folder / f"{network}{SUFFIXES.get(case, '.pth')}"
    return WRITERS.get(case, save_pth)(path, arrays_of(case, network) if arrays is None else arrays)


@pytest.fixture
def files(case, tmp_path) -> list[Path]:
    """The generator's and the discriminator's."""
    return [save(tmp_path, case, network) for network in ("G", "D")]


def flax_tree(file: resnet.File, arrays: dict[str, np.ndarray], collection: str, linear: bool = False) -> dict:
    """Arrays by their names in a file as one of our collections; `linear`: of gradients, which no constant changes."""
    layout, found = resnet.layout_of(file), {}
    for path, name in file.paths.items():
        own, *place = path.split("/")
        if own == collection and name in arrays:
            offset = layout.to_flax(name, np.zeros_like(arrays[name])) if linear else 0
            found[tuple(place)] = layout.to_flax(name, arrays[name]) - offset
    return traverse_util.unflatten_dict(found)


def golden_gradients(case: str, network: str, file: resnet.File) -> dict:
    shapes, every = json.loads(str(GOLDEN[f"{case}/{network}/shapes"])), GOLDEN[f"{case}/{network}/gradients"]
    after = f"{case}/{network}/after/"
    names = [name for name in shapes if f"{after}{name}" not in GOLDEN.files]
    ends = np.cumsum([int(np.prod(shapes[name])) for name in names])
    assert ends[-1] == len(every)
    parts = dict(zip(names, np.split(every, ends[:-1]), strict=True))
    return flax_tree(file, resnet.renamed({n: a.reshape(shapes[n]) for n, a in parts.items()}), "params", linear=True)


def close(found, expected, what: str) -> None:
    """Every array within 1e-4 of its largest number, or of a thousandth of the largest of all."""
    found, expected = traverse_util.flatten_dict(dict(found)), traverse_util.flatten_dict(dict(expected))
    largest = max(np.abs(array).max() for array in expected.values())
    assert expected.keys() <= found.keys()
    for path, array in expected.items():
        atol = 1e-4 * max(np.abs(array).max(), 1e-3 * largest)
        np.testing.assert_allclose(found[path], array, rtol=0, atol=atol, err_msg=f"{what} {path}")


@each
def test_networks_and_their_gradients_are_those_of_the_authors(case, files):
    made = resnet.convert(files, "folder:images")
    networks, variables = made.exp.networks, made.networks
    golden = {name: GOLDEN[f"{case}/{name}"] for name in ("fake", "logits", "losses", "sample")}
    side = golden["fake"].shape[-1]
    latents = jnp.asarray(numbers("z", (BATCH, LATENTS)))
    real = jnp.asarray(numbers("real", (BATCH, 3, side, side)).transpose(0, 2, 3, 1) / 2)
    labels = None if case == "sngan" else jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)
    loss = LOSSES["hinge"]

    def run(name, params, *inputs):
        return apply(networks[name], variables[name].replace(params=params), *inputs, train=True)

    def d_objective(params, fake):
        both = None if labels is None else jnp.concatenate([labels, labels])
        out, state = run("discriminator", params, jnp.concatenate([fake, real]), both)
        return loss.discriminator(out.logits[BATCH:], out.logits[:BATCH]).mean(), (out.logits, state)

    def g_objective(params):
        fake, _ = run("generator", params, latents, labels)
        out, _ = run("discriminator", variables["discriminator"].params, fake, labels)
        return loss.generator(out.logits, out.logits).mean()

    @quick_jit
    def everything(params):
        fake, g_state = run("generator", params["generator"], latents, labels)
        d_grad = jax.value_and_grad(d_objective, has_aux=True)(params["discriminator"], fake)
        sampled, _ = apply(networks["generator"], variables["generator"], latents, labels, train=False)
        return fake, g_state, sampled, d_grad, jax.value_and_grad(g_objective)(params["generator"])

    found = everything({name: own.params for name, own in variables.items()})
    fake, g_state, sampled, ((d_loss, (logits, d_state)), d_grads), (g_loss, g_grads) = found
    images = {name: golden[name].transpose(0, 2, 3, 1) for name in ("fake", "sample")}
    expected = images | {"logits": golden["logits"][:, 0], "losses": golden["losses"]}
    close({"fake": fake, "sample": sampled, "logits": logits, "losses": [d_loss, g_loss]}, expected, case)
    assert images["fake"].std() > 0.05
    for path, network, grads, state in zip(files, "GD", (g_grads, d_grads), (g_state, d_state), strict=True):
        file, prefix = resnet.read(path), f"{case}/{network}/after/"
        close(grads, golden_gradients(case, network, file), network)
        after = {name.removeprefix(prefix): GOLDEN[name] for name in GOLDEN.files if name.startswith(prefix)}
        after = resnet.renamed(after)
        close(state.get("spectral", {}) or {"": 0}, flax_tree(file, after, "spectral") or {"": np.zeros(())}, network)
        # PyTorch's running variances are unbiased ones, unlike what batches are normalised by.
        means = {name: array for name, array in after.items() if name.endswith("mean")}
        if means:
            close(state["batch_stats"], flax_tree(file, means, "batch_stats"), network)


SETTINGS = {
    "biggan": ({"skip_z": "split", "embedding": 3, "attention": (8,), "spectral_norm": True}, {"wide": True}),
    "flat": ({"skip_z": "none", "embedding": 0, "attention": (8,), "spectral_norm": True}, {"downsamples": 2}),
    "deep": ({"skip_z": "full", "block": "bottleneck", "depth": 2}, {"multipliers": (2, 2, 3), "downsamples": 2}),
    "sngan": ({"upsampling": "bilinear", "norm_epsilon": 1e-5, "spectral_norm": False}, {"downsamples": 2}),
    "projection": ({"upsampling": "bilinear", "multipliers": (1, 1, 1, 1)}, {"rectified_shortcuts": True}),
    "nearest": ({"upsampling": "nearest", "norm_epsilon": 2e-5}, {"rectified_shortcuts": False, "attention": ()}),
}


@each
def test_settings_are_read_off_the_files(case, files):
    made = resnet.convert(files, "folder:images")
    for network, expected in zip(("generator", "discriminator"), SETTINGS[case], strict=True):
        settings = made.exp.config.model[network].to_dict()
        assert {name: settings[name] for name in expected} == expected, network
    assert made.exp.config.latent_dim == LATENTS
    assert made.classes == (0 if case == "sngan" else CLASSES)


def test_a_moving_average_is_known_by_its_name(tmp_path):
    arrays = arrays_of("biggan", "G")
    moved = {name: array + 1 if name.endswith("bias") else array for name, array in arrays.items()}
    paths = [save_pth(tmp_path / "G_ema_best0.pth", moved), save_pth(tmp_path / "G_best0.pth", arrays)]
    made = resnet.convert(paths, "folder:images")
    raw, average = (own["generator"].params["body"]["to_image"]["bias"] for own in (made.networks, made.ema))
    np.testing.assert_allclose(average - raw, 1, rtol=1e-5)
    assert "the file has no D, so the discriminator is untrained" in made.about


def without(name: str):
    return lambda arrays: arrays.pop(name)


def other(name: str, *shape: int):
    return lambda arrays: arrays.update({name: np.zeros(shape, np.float32)})


WRONG = {
    "no array": ("biggan", without("blocks.0.0.conv1.u0"), "G.pth has no spectral/body/stage0_block0/conv1_spectral/u"),
    "an array of another shape": (
        "biggan",
        other("blocks.1.0.conv2.bias", 9),
        r"G.pth: blocks.1.0.conv2.bias is \[9\], and must be \[8\]",
    ),
    "an array more": ("flat", other("blocks.0.0.extra.weight", 2), r"has blocks.0.0.extra.weight \[2\], which such a"),
    "a dense convolution": ("sngan", other("block2.c1.weight", 6, 6), "no residual blocks whose sizes can be read"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_does_not_fit_is_refused_by_the_name_of_its_array(what, tmp_path):
    case, change, message = WRONG[what]
    arrays = arrays_of(case, "G")
    change(arrays)
    with raises_user_error(UserError, match=message):
        resnet.convert([save_pth(tmp_path / "G.pth", arrays)], "folder:images")


def test_files_that_do_not_go_together_are_refused(tmp_path):
    generator, discriminator = (save_pth(tmp_path / f"{n}.pth", arrays_of("biggan", n)) for n in ("G", "D"))
    with raises_user_error(UserError, match="D.pth holds a discriminator alone: give its generator's file as well"):
        resnet.convert([discriminator], "folder:images")
    with raises_user_error(UserError, match="G.pth and .*G.pth hold networks of one kind, G: give one of them"):
        resnet.convert([generator, generator], "folder:images")
    arrays = arrays_of("biggan", "D")
    few = arrays | {"embed.weight": arrays["embed.weight"][:3], "embed.u0": arrays["embed.u0"][:, :3]}
    save_pth(tmp_path / "few.pth", few)
    message = "few.pth is for 16x16x3 images of 3 classes, and the generator makes 16x16x3 images of 4 classes"
    with raises_user_error(UserError, match=message):
        resnet.convert([generator, tmp_path / "few.pth"], "folder:images")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with raises_user_error(UserError, match=r"broken\.npz cannot be read as arrays by name"):
        resnet.holds_resnet(tmp_path / "broken.npz")


def test_a_converted_run_draws_what_is_asked_for(tmp_path, capsys):
    run, paths = tmp_path / "run", [str(save(tmp_path, "nearest", network)) for network in ("G", "D")]
    assert convert.main([*paths, f"--workdir={run}"]) == 0
    assert f"resnet (32x32x3 images of 4 classes) of G, D: {run}" in capsys.readouterr().out
    assert run_folder.restore(run).classes == ["0", "1", "2", "3"]
    out = tmp_path / "out.npz"
    assert sample.main([f"--workdir={run}", f"--out={out}", "--labels=2", "--num=2", "--truncation=0.5"]) == 0
    with np.load(out) as drawn:
        assert drawn["images"].shape == (2, 32, 32, 3)
    assert convert.main([*paths, f"--workdir={tmp_path / 'other'}", "--data=digits"]) == 2
    assert "--data=digits has 10 classes, and the networks know 4" in capsys.readouterr().err
    assert convert.main([*paths, f"--workdir={tmp_path / 'other'}", "--dropout=0.5"]) == 2
    assert "--dropout=0.5 has no effect with" in capsys.readouterr().err
