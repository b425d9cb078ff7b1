"""Files of StyleGAN2-ADA, StyleGAN3 and R3GAN become runs that compute the same; wrong files are refused."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from made_up import numbers
from network_files import Name, module, network_pickle, persistent, plain
from PIL import Image

from jaxgan import convert, inference
from jaxgan.cli import sample
from jaxgan.converters import holds_networks, of_networks
from jaxgan.core import latents
from jaxgan.core.state import apply
from jaxgan.errors import UserError
from jaxgan.io import run_folder
from jaxgan.models import stylegan3
from jaxgan.models.stylegan2 import truncated

FOLDER = Path(__file__).parent / "golden"
GOLDEN = {name: np.load(FOLDER / f"{name}.npz") for name in ("stylegan2", "stylegan3", "r3gan")}
SMOOTH = np.float32(np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64)
BATCH, CLASSES = 4, 3


def near(actual, expected) -> None:
    """Within 1e-4 of the largest number."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def channels_last(images):
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def one_hot(classes: int):
    return jax.nn.one_hot(jnp.arange(BATCH) % classes, classes) if classes else None


# Files, as the authors' code has them


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def conv(name: str, outputs: int, inputs: int, size: int) -> dict[str, tuple]:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def mapping(latents: int, classes: int, w_dim: int, depth: int) -> dict[str, tuple]:
    embedding = linear("embed", w_dim, classes) if classes else {}
    widths = [latents + (w_dim if classes else 0), *[w_dim] * depth]
    layers = [linear(f"fc{i}", w_dim, widths[i]) for i in range(depth)]
    return {name: shape for each in (embedding, *layers) for name, shape in each.items()}


def made_up(shapes: dict[str, tuple], beside: dict[str, str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of the golden networks; `beside` has the names that they have there."""
    found = {}
    for name, shape in shapes.items():
        scale = 100 if "fc" in name and "b4" not in name else 1  # weights of mapping networks are used at a hundredth
        found[name] = np.asarray(scale * numbers((beside or {}).get(name, name), shape), np.float32)
    return found


def under(prefix: str, items: dict) -> dict:
    return {f"{prefix}.{name}": value for name, value in items.items()}


def stylegan2_generator(classes: int) -> tuple[dict, dict]:
    """Arrays and attributes: 16x16 images, 8 channels at 4 and 8 rows and 4 at 16."""
    shapes, filters, before = {"b4.const": (8, 4, 4)}, {}, 8
    for size, features in ((4, 8), (8, 8), (16, 4)):
        for layer in ("conv0", "conv1")[size == 4 :]:
            inputs = before if layer == "conv0" else features
            name = f"b{size}.{layer}"
            shapes |= conv(name, features, inputs, 3) | linear(f"{name}.affine", inputs, 8)
            shapes |= {f"{name}.noise_strength": (), f"{name}.noise_const": (size, size)}
            filters[f"{name}.resample_filter"] = SMOOTH
        shapes |= conv(f"b{size}.torgb", 3, features, 1) | linear(f"b{size}.torgb.affine", features, 8)
        before = features
    averages = {"w_avg": GOLDEN["stylegan2"][f"mapping{' of labels' * (classes > 0)}/w_avg"]}
    arrays = under("mapping", made_up(mapping(6, classes, 8, 3)) | averages) | under("synthesis", made_up(shapes))
    attributes = {"synthesis.b4.conv1.conv_clamp": None, "synthesis.b16.use_fp16": True, "mapping.fc0.bias_gain": 0.01}
    return arrays | under("synthesis", filters), attributes | {"mapping.w_avg_beta": 0.995}


def stylegan2_discriminator(classes: int, architecture: str, clamp: float | None, side: int = 16) -> tuple[dict, dict]:
    shapes, filters, features = {}, {}, {4: 8, 8: 8, 16: 4}
    shapes |= conv(f"b{side}.fromrgb", features[side], 3, 1)
    for size in (16, 8):
        if size <= side:
            own, after = features[size], features[size // 2]
            shapes |= conv(f"b{size}.conv0", own, own, 3) | conv(f"b{size}.conv1", after, own, 3)
            shapes |= {f"b{size}.skip.weight": (after, own, 1, 1)} if architecture == "resnet" else {}
            filters[f"b{size}.conv1.resample_filter"] = SMOOTH
    shapes |= conv("b4.conv", 8, 9, 3) | linear("b4.fc", 8, 128) | linear("b4.out", 8 if classes else 1, 8)
    shapes |= under("mapping", mapping(0, classes, 8, 2)) if classes else {}
    return made_up(shapes) | filters, {f"b{side}.conv0.conv_clamp": clamp, "b4.mbstd.group_size": 2}


STYLEGAN3 = {  # sizes and channels of the layers: 32x32 images of one channel
    "translation": [(36, 4), (36, 4), (52, 2), (52, 1), (32, 1), (32, 1)],
    "rotation": [(36, 8), (36, 8), (52, 4), (52, 2), (32, 2), (32, 1)],
}


def stylegan3_generator(equivariance: str) -> tuple[dict, dict]:
    layers = STYLEGAN3[equivariance]
    before, kernel = layers[0][1], 3 if equivariance == "translation" else 1
    shapes = {"input.weight": (before, before), "input.freqs": (before, 2), "input.phases": (before,)}
    shapes |= linear("input.affine", 4, 8)
    beside, squares, clamp = {}, {}, {"translation": None, "rotation": 3.0}[equivariance]
    for i, (size, features) in enumerate(layers):
        name = f"L{i}_{size}_{features}"
        own = conv(name, features, before, kernel if i < 5 else 1) | linear(f"{name}.affine", before, 8)
        beside |= {each: each.replace(name, f"layer{i}") for each in own}
        squares[f"{name}.magnitude_ema"] = np.ones((), np.float32)
        shapes, before = shapes | own, features
    network = stylegan3.Synthesis((32, 32, 1), equivariance, 5, 32, 4)
    filters, made = {"input.transform": np.eye(3, dtype=np.float32)}, network.signals
    for i, (size, features) in enumerate(layers[:-1]):
        pair = stylegan3.filters(made[max(i - 1, 0)], made[i], equivariance == "rotation")
        filters |= {
            f"L{i}_{size}_{features}.{n}_filter": np.float32(f) for n, f in zip(("up", "down"), pair, strict=True)
        }
    arrays = under("mapping", made_up(mapping(6, 0, 8, 2)) | {"w_avg": np.zeros(8, np.float32)})
    arrays |= under("synthesis", made_up(shapes, beside) | squares | filters)
    clamps = {f"synthesis.L{i}_{size}_{features}.conv_clamp": clamp for i, (size, features) in enumerate(layers)}
    return arrays, clamps | {"synthesis.num_fp16_res": 4, "synthesis.output_scale": 0.25, "mapping.w_avg_beta": 0.998}


def r3gan_numbers(shapes: dict[str, tuple]) -> dict[str, np.ndarray]:
    """The arrays of the golden networks, by the formula of make_golden_r3gan.py in the order of parameters."""
    found = {}
    for start, (name, shape) in enumerate(shapes.items()):
        scale = 1.5 / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.5
        found[name] = np.float32(np.sin(np.arange(np.prod(shape)) * 0.7 + start) * scale).reshape(shape)
    return found


def r3gan_stage(number: int, first: int, blocks: int, width: int, groups: int) -> dict[str, tuple]:
    found, inner = {}, 2 * width
    for i in range(first, first + blocks):
        name = f"Model.MainLayers.{number}.Layers.{i}"
        kernels = [(inner, width, 1, 1), (inner, inner // groups, 3, 3), (width, inner, 1, 1)]
        found |= {f"{name}.LinearLayer{k + 1}.Layer.weight": shape for k, shape in enumerate(kernels)}
        found |= {f"{name}.NonLinearity{k + 1}.Bias": (inner,) for k in range(2)}
    return found


def r3gan_networks(classes: int) -> dict[str, tuple[dict, dict]]:
    """A generator and a discriminator: widths 4, 4, 6, groups 2, 4, 3, blocks 2, 1, 1 from 4x4 on."""
    embedding, place = 2 if classes else 0, "Model.MainLayers"
    shapes = {f"{place}.0.Layers.0.Basis": (4, 4, 4), f"{place}.0.Layers.0.LinearLayer.weight": (4, 5 + embedding)}
    shapes |= r3gan_stage(0, 1, 2, 4, 2) | r3gan_stage(1, 1, 1, 4, 4)
    shapes |= {f"{place}.2.Layers.0.LinearLayer.Layer.weight": (6, 4, 1, 1)} | r3gan_stage(2, 1, 1, 6, 3)
    shapes |= {"Model.AggregationLayer.Layer.weight": (3, 6, 1, 1)}
    shapes |= {"Model.EmbeddingLayer.weight": (2, classes)} if classes else {}
    kernels = {f"{place}.{i}.Layers.0.Resampler.Kernel": SMOOTH for i in (1, 2)}
    generator = r3gan_numbers(shapes) | kernels, {"Model.MainLayers.2.DataType": Name("torch", "float32")}
    shapes = {"Model.ExtractionLayer.Layer.weight": (6, 3, 1, 1)} | r3gan_stage(0, 0, 1, 6, 3)
    shapes |= {f"{place}.0.Layers.1.LinearLayer.Layer.weight": (4, 6, 1, 1)}
    shapes |= r3gan_stage(1, 0, 1, 4, 4) | r3gan_stage(2, 0, 2, 4, 2)
    shapes |= {f"{place}.2.Layers.2.Basis.weight": (4, 1, 4, 4)}
    shapes |= {f"{place}.2.Layers.2.LinearLayer.weight": (4 if classes else 1, 4)}
    shapes |= {"Model.EmbeddingLayer.weight": (4, classes)} if classes else {}
    kernels = {f"{place}.{i}.Layers.1.Resampler.Kernel": SMOOTH for i in (0, 1)}
    return {"G": generator, "D": (r3gan_numbers(shapes) | kernels, {}), "G_ema": generator}


def shifted(network: tuple[dict, dict]) -> tuple[dict, dict]:
    """The same network with other biases."""
    arrays = {name: array + np.float32(name.endswith("bias")) for name, array in network[0].items()}
    arrays = {name: np.asarray(array) for name, array in arrays.items()}  # not a number of no axes
    return arrays, network[1]


def stylegan2_networks(classes: int = 0, architecture: str = "resnet", clamp: float | None = None) -> dict:
    average = stylegan2_generator(classes)
    return {
        "G": shifted(average),
        "D": stylegan2_discriminator(classes, architecture, clamp),
        "G_ema": average,
    }


def save(path: Path, networks: dict[str, tuple[dict, dict]], class_name: str = "Generator") -> Path:
    """Writes a file as the authors' training programs do."""

    def made(state: dict):
        if any("Model." in name for arrays, _ in networks.values() for name in arrays):
            return plain("training.networks", class_name, state)
        return persistent(class_name, state)

    contents = {name: module(*network, made) for name, network in networks.items()}
    path.write_bytes(network_pickle(contents | {"augment_pipe": None, "training_set_kwargs": {"path": "x.zip"}}))
    return path


# What converted networks compute


@pytest.mark.parametrize(
    ("classes", "architecture", "clamp"), [(0, "resnet", None), (CLASSES, "resnet", 1.0), (0, "orig", 1.0)]
)
def test_networks_of_stylegan2_equal_those_of_the_authors(classes, architecture, clamp, tmp_path):
    golden, labels = GOLDEN["stylegan2"], one_hot(classes)
    made = of_networks(save(tmp_path / "a.pkl", stylegan2_networks(classes, architecture, clamp)), "folder:images")
    networks, ws = made.exp.networks, jnp.asarray(numbers("ws", (2, 6, 8)))
    latents, name = jnp.asarray(numbers("latents", (BATCH, 6))), "mapping" + " of labels" * (classes > 0)
    near(apply(networks["mapping"], made.ema["mapping"], latents, labels, train=False)[0], golden[f"{name}/w"])
    near(made.ema["mapping"].model_state["w_avg"]["mean"], golden[f"{name}/w_avg"])
    synthesize = quick_jit(lambda own: apply(networks["synthesis"], own, ws, train=False)[0])
    near(synthesize(made.ema["synthesis"]), channels_last(golden["synthesis/const"]))
    order = np.array([0, 2, 1, 3])  # the authors' groups are every other image
    images, given = channels_last(numbers("images", (BATCH, 3, 16, 16))), None if labels is None else labels[order]
    judge = quick_jit(lambda own, images: apply(networks["discriminator"], own, images, given, train=False)[0])
    expected = golden[f"{architecture}{' of labels' * (classes > 0)}/logits"]
    near(judge(made.networks["discriminator"], images[order]), expected[order])


def test_the_raw_generator_and_its_average_are_kept_apart(tmp_path):
    made = of_networks(save(tmp_path / "a.pkl", stylegan2_networks()), "folder:images")
    for network in ("mapping", "synthesis"):
        raw, average = (own[network].params for own in (made.networks, made.ema))
        for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(raw), jax.tree.leaves(average), strict=True):
            np.testing.assert_allclose(one - other, 1 if path[-1].key == "bias" else 0, atol=1e-4)


@pytest.mark.parametrize("equivariance", STYLEGAN3)
def test_networks_of_stylegan3_equal_those_of_the_authors(equivariance, tmp_path):
    """While training, which moves the tracked mean squares first."""
    made = of_networks(save(tmp_path / "a.pkl", {"G_ema": stylegan3_generator(equivariance)}), "folder:images")
    network = made.exp.networks["synthesis"].clone(half_life=20.0)
    run = quick_jit(lambda own, ws: apply(network, own, ws, train=True))
    images, state = run(made.ema["synthesis"], jnp.asarray(numbers("ws", (2, 7, 8))))
    near(images, channels_last(GOLDEN["stylegan3"][f"{equivariance}/images"]))
    squares = [state["magnitude"][f"layer{i}"]["mean_square"] for i in range(6)]
    np.testing.assert_allclose(squares, GOLDEN["stylegan3"][f"{equivariance}/squares"], rtol=1e-4)
    assert "the file has no D, so the discriminator is untrained" in made.about


@pytest.mark.parametrize("classes", [0, 4])
def test_networks_of_r3gan_equal_those_of_the_authors(classes, tmp_path):
    made = of_networks(save(tmp_path / "a.pkl", r3gan_networks(classes)), "folder:images")
    golden = {name: GOLDEN["r3gan"][f"{'classes' if classes else 'plain'}/{name}"] for name in ("fake", "logits")}
    given = r3gan_numbers({"": (0,), "latents": (2, 5), "images": (2, 3, 16, 16)})
    labels = jax.nn.one_hot(jnp.arange(2) + 1, classes) if classes else None
    networks = made.exp.networks

    @quick_jit
    def run(generator, discriminator):
        logits = apply(networks["discriminator"], discriminator, channels_last(given["images"]), labels, train=False)
        return apply(networks["generator"], generator, jnp.asarray(given["latents"]), labels, train=False)[0], logits[
            0
        ].logits

    for found, name in zip(run(made.ema["generator"], made.networks["discriminator"]), golden, strict=True):
        near(found, channels_last(golden[name]) if name == "fake" else golden[name])


# Settings


def test_settings_are_read_off_the_file(tmp_path):
    model = of_networks(save(tmp_path / "a.pkl", stylegan2_networks(0, "orig", 1.0)), "folder:images").exp.config.model
    assert model.mapping.to_dict() == {"w_dim": 8, "depth": 3, "lr_multiplier": 0.01, "decay": 0.995}
    channels = {"channel_base": 64, "channel_max": 8}
    assert model.synthesis.to_dict() == {**channels, "noise": True, "clamp": 0.0, "half_precision": 1}
    found = model.discriminator.to_dict()
    assert found == {
        **{"architecture": "orig", "minibatch_stddev": 2, "mapping_depth": 8, **channels},
        **{"clamp": 1.0, "half_precision": 0},
    }


def test_stages_of_half_precision_are_counted_from_the_largest_size(tmp_path):
    networks = r3gan_networks(0)
    networks["D"][1]["Model.MainLayers.0.DataType"] = Name("torch", "bfloat16")
    model = of_networks(save(tmp_path / "a.pkl", networks), "folder:images").exp.config.model
    assert (model.generator.bfloat16_stages, model.discriminator.bfloat16_stages) == (0, 1)


# Files that are refused


def arrays_of(networks, name="G_ema"):
    return networks[name][0]


def changed(name: str, array: np.ndarray | None, network: str = "G_ema"):
    """A change of one array, or its removal."""

    def change(networks) -> None:
        own = arrays_of(networks, network)
        own.pop(name, None)
        if array is not None:
            own[name] = np.float32(array)

    return change


def attribute(name: str, value, network: str = "G_ema"):
    return lambda networks: networks[network][1].update({name: value})


WRONG = {
    "a skip discriminator": (changed("b4.fromrgb.weight", np.zeros((8, 3, 1, 1)), "D"), "D has architecture=skip"),
    "another size": (
        lambda networks: networks.update(D=stylegan2_discriminator(0, "resnet", None, side=8)),
        "D is for 8x8x3 images of no classes, and the generator makes 16x16x3 images of no classes",
    ),
    "other classes": (
        lambda networks: networks.update(D=stylegan2_discriminator(2, "resnet", None)),
        "D is for 16x16x3 images of 2 classes, and the generator",
    ),
    "groups of a batch": (attribute("b4.mbstd.group_size", None, "D"), "mbstd_group_size=None"),
    "no array": (changed("synthesis.b8.conv0.weight", None), "G_ema has no synthesis.b8.conv0.weight"),
    "no array of G": (changed("mapping.fc2.weight", None, "G"), "G has no mapping.fc2.weight"),
    "an array of other axes": (
        changed("synthesis.b4.const", np.zeros((8, 16))),
        r"b4.const is \[8, 16\], which has too",
    ),
    "an array of another shape": (
        changed("synthesis.b8.conv0.bias", np.zeros(7)),
        r"synthesis.b8.conv0.bias is \[7\], and must be \[8\]",
    ),
    "a kernel of another shape": (
        changed("synthesis.b8.conv0.weight", np.zeros((8, 8, 1, 1))),
        r"conv0.weight is \[8, 8, 1, 1\], here \[1, 1, 8, 8\], and must be \[3, 3, 8, 8\]",
    ),
    "a residual generator": (
        changed("synthesis.b8.skip.weight", np.zeros((8, 8, 1, 1))),
        r"G_ema has synthesis.b8.skip.weight \[8, 8, 1, 1\], which such a network of jaxgan lacks",
    ),
    "another filter": (changed("synthesis.b8.conv0.resample_filter", SMOOTH.T[::-1] / 2), "is another filter"),
    "a size between": (
        changed("synthesis.b12.torgb.weight", np.zeros((3, 8, 1, 1))),
        r"blocks of \[4, 8, 12, 16\] rows",
    ),
    "odd widths": (changed("synthesis.b8.conv1.weight", np.zeros((5, 8, 3, 3))), "no channel_base and channel_max"),
    "no number": (attribute("synthesis.b4.conv1.conv_clamp", "much"), "conv_clamp='much': it must be a number"),
    "no generator": (lambda networks: [networks.pop("G"), networks.pop("G_ema")], "holds no generator"),
    "no arrays": (lambda networks: arrays_of(networks).clear(), "is a Generator, and no generator of StyleGAN2"),
}
L3 = "synthesis.L3_52_1"
WRONG3 = {
    "another filter": (changed(f"{L3}.up_filter", np.ones(12) / 12), f"{L3}.up_filter is another filter"),
    "longer filters": (changed(f"{L3}.down_filter", np.ones(24) / 24), f"{L3}.down_filter is another filter"),
    "a turned input": (changed("synthesis.input.transform", np.eye(3)[::-1]), "synthesis.input.transform is another"),
    "another scale": (attribute("synthesis.output_scale", 1.0), "output_scale=1.0: it must be 0.25"),
    "too few layers": (
        lambda networks: [arrays_of(networks).pop(n) for n in list(arrays_of(networks)) if re.search("L[245]_", n)],
        r"has layers \[0, 1, 3\]: they must be",
    ),
    "another margin": (
        lambda networks: networks.update(
            G_ema=({n.replace("L2_52", "L2_50"): a for n, a in arrays_of(networks).items()}, networks["G_ema"][1])
        ),
        "G_ema has no synthesis.L2_52_2.",
    ),
    "an image beyond all": (
        lambda networks: networks.update(
            G_ema=({n.replace("L5_32", "L5_65536"): a for n, a in arrays_of(networks).items()}, networks["G_ema"][1])
        ),
        "no channel_base|at most 16384",
    ),
}
PLACE = "Model.MainLayers.1.Layers"
WRONG_R3GAN = {
    "no blocks": (
        lambda networks: [arrays_of(networks).pop(n) for n in list(arrays_of(networks)) if f"{PLACE}.1" in n],
        "has no residual blocks in Model.MainLayers.1",
    ),
    "another filter": (changed(f"{PLACE}.0.Resampler.Kernel", np.eye(4)), "Resampler.Kernel is another filter"),
    "no channels": (
        changed(f"{PLACE}.1.LinearLayer2.Layer.weight", np.zeros((8, 0, 3, 3))),
        "no channels in Model.MainLayers.1",
    ),
    "another expansion": (
        changed(f"{PLACE}.1.LinearLayer1.Layer.weight", np.zeros((12, 4, 1, 1))),
        r"expands channels differently by size \(8 of 4, 12 of 4, 12 of 6\)",
    ),
    "a larger kernel": (
        changed(f"{PLACE}.1.LinearLayer2.Layer.weight", np.zeros((8, 2, 5, 5))),
        r"LinearLayer2.Layer.weight is \[8, 2, 5, 5\]",
    ),
}
BASES = {"stylegan2": (stylegan2_networks, WRONG), "r3gan": (lambda: r3gan_networks(0), WRONG_R3GAN)}
BASES["stylegan3"] = (lambda: {"G_ema": stylegan3_generator("translation")}, WRONG3)


@pytest.mark.parametrize(("kind", "what"), [(kind, what) for kind, (_, wrong) in BASES.items() for what in wrong])
def test_a_file_that_does_not_fit_is_refused_by_the_name_of_its_array(kind, what, tmp_path):
    networks, (change, message) = BASES[kind][0](), BASES[kind][1][what]
    change(networks)
    path = save(tmp_path / "a.pkl", networks)
    with raises_user_error(UserError, match=message):
        of_networks(path, "folder:images")


# The program


def test_a_file_is_known_by_its_first_bytes(tmp_path):
    translator = FOLDER / "translators"
    raw = save(tmp_path / "a.pkl", {"G": stylegan2_generator(0)}).read_bytes()
    (tmp_path / "a").write_bytes(raw)
    assert holds_networks(tmp_path / "a")
    assert [holds_networks(translator / f"{name}.pth") for name in ("resnet_zip", "resnet_old")] == [False, False]


def test_a_conditional_run_draws_the_classes_that_are_asked_for(tmp_path, capsys):
    run, path = tmp_path / "run", save(tmp_path / "a.pkl", stylegan2_networks(CLASSES))
    assert convert.main([str(path), f"--workdir={run}"]) == 0
    assert f"stylegan2 (16x16x3 images of 3 classes) of G, G_ema, D: {run}" in capsys.readouterr().out
    exp, stored, classes, step = run_folder.restore(run)
    variables = jax.tree.map(jnp.asarray, stored)
    assert (classes, step) == (["0", "1", "2"], 0)
    out, options = tmp_path / "out.npz", ["--labels=2", "--num=2", "--truncation_psi=0.5", "--truncation_cutoff=3"]
    assert sample.main([f"--workdir={run}", f"--out={out}", *options]) == 0
    with np.load(out) as drawn:
        images, labels = drawn["images"], drawn["labels"]
    np.testing.assert_array_equal(labels, [2, 2])
    w = sampled_w(exp, variables, inference.seed_inputs(0, 2), jax.nn.one_hot(labels, CLASSES))
    mean = variables["mapping"].model_state["w_avg"]["mean"]
    styles = jnp.where(jnp.arange(6)[:, None] < 3, truncated(w, mean, 0.5)[:, None], w[:, None])
    expected = apply(exp.networks["synthesis"], variables["synthesis"], styles, train=False)[0]
    np.testing.assert_allclose(images, np.clip((expected + 1) * 127.5, 0, 255), atol=1)
    assert sample.main([f"--workdir={run}", f"--out={out}", "--labels=3"]) == 2
    assert convert.main([str(path), f"--workdir={run}"]) == 2
    assert "holds a run" in capsys.readouterr().err


def sampled_w(exp, variables, inputs, labels):
    points = latents.latents_of(*(jnp.asarray(inputs[name]) for name in ("seed", "index")), exp.config.latent_dim)
    return apply(exp.networks["mapping"], variables["mapping"], points, labels, train=False)[0]


def class_folders(root: Path, *names: str) -> str:
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return f"folder:{root}"


def test_data_name_the_classes_of_a_run(tmp_path, capsys):
    path, run = save(tmp_path / "a.pkl", r3gan_networks(4)), tmp_path / "run"
    few, four = class_folders(tmp_path / "few", "a", "b"), class_folders(tmp_path / "four", "cat", "dog", "fox", "owl")
    assert convert.main([str(path), f"--workdir={run}", f"--data={few}"]) == 2
    assert f"--data={few} has 2 classes, and the networks know 4" in capsys.readouterr().err
    assert not run.exists()
    assert convert.main([str(path), f"--workdir={run}", f"--data={four}"]) == 0
    restored = run_folder.restore(run)
    assert restored.classes == ["cat", "dog", "fox", "owl"]
    assert restored.exp.config.data.source == four


def test_options_of_other_files_are_refused(tmp_path, capsys):
    def refused(*arguments: str) -> str:
        assert convert.main([*arguments, f"--workdir={tmp_path / 'run'}"]) == 2
        return capsys.readouterr().err

    path = str(save(tmp_path / "a.pkl", stylegan2_networks()))
    pth = str(FOLDER / "translators" / "unet.pth")
    assert f"--direction=ab has no effect with {path}" in refused(path, "--direction=ab")
    assert f"--dropout=0.5 has no effect with {path}" in refused(path, "--dropout=0.5")
    assert f"2 files: {path} holds all networks" in refused(path, path)
    assert f"--data=digits has no effect with {pth}" in refused(pth, "--data=digits")
    assert "No such file" in refused(str(tmp_path / "none.pkl"))
    (tmp_path / "b.pkl").write_bytes(Path(pth).read_bytes())
    assert "it is a .pth file of torch.save" in refused(str(tmp_path / "b.pkl"))
