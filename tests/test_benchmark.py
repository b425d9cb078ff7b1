"""The benchmark of the training step: its peers train the same networks, its arithmetic is right, and it measures."""

import importlib
import json
import math
import re
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import POINTS, experiment, quick_jit
from jax import lax
from PIL import Image

from benchmarks import (
    conditional,
    data,
    digits,
    experiments,
    flops,
    own,
    peer_flax,
    report,
    scores,
    toys,
    train_step,
    turns,
    workloads,
)
from benchmarks.turns import Child, ChildError, Ready
from jaxgan import inference
from jaxgan.adversarial import forward
from jaxgan.algorithms import ALGORITHMS, gan, stylegan2
from jaxgan.config import build, default, save
from jaxgan.core import latents, population, rng
from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.io import run_folder
from jaxgan.metrics import mixtures

NAMES = workloads.GANS
RECTANGLES = {"dcgan, a rectangle": ("dcgan64", "32x48"), "tf_dcgan, a rectangle": ("tutorial28", "28x20")}


def tiny(name):
    name, size = RECTANGLES.get(name, (name, None))
    config = workloads.tiny(workloads.WORKLOADS[name]())
    if size:
        config.data.size = size
    return config


def size(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def own_sizes(config) -> dict[str, int]:
    """The parameters of jaxgan's networks."""
    state = jax.eval_shape(lambda: population.init_state(build(config, workloads.CLASSES)))
    return {name: size(network.params) for name, network in state.networks.items()}


# The same networks


def torch_peer(config):
    """The module that trains a workload in PyTorch."""
    module = train_step.systems("cpu", peer=workloads.peer(config))["torch"].module
    return importlib.import_module(f"benchmarks.{module}")


@pytest.mark.parametrize("name", [*NAMES, *RECTANGLES])
def test_plain_flax_has_as_many_parameters(name):
    state, _ = peer_flax.step_shapes(peer_flax.Trainer(tiny(name)))
    assert {network: size(params) for network, params in state.params.items()} == own_sizes(tiny(name))


@pytest.mark.parametrize("name", [*workloads.WORKLOADS, *RECTANGLES])
def test_pytorch_has_as_many_parameters(name):
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra bench")
    peer = torch_peer(tiny(name))
    with torch.device("meta"):
        networks = peer.networks(tiny(name))
    sizes = {key: sum(map(torch.numel, network.parameters())) for key, network in networks.items()}
    assert sizes == own_sizes(tiny(name))


@pytest.mark.parametrize("name", [*NAMES, *RECTANGLES])
def test_tensorflow_has_as_many_parameters(name):
    pytest.importorskip("tensorflow", reason="TensorFlow is in the extra bench")
    from benchmarks import peer_tensorflow  # noqa: PLC0415

    networks = peer_tensorflow.networks(tiny(name))
    sizes = {key: size(network.trainable_variables) for key, network in networks.items()}
    assert sizes == own_sizes(tiny(name))


@pytest.mark.parametrize("name", NAMES)
def test_peers_get_batches_that_their_networks_take(name):
    config = tiny(name)
    batches = workloads.batches(config, workloads.examples(config))
    _, real = peer_flax.step_shapes(peer_flax.Trainer(config))
    assert (batches.shape[1:], batches.dtype) == (real.shape, real.dtype)
    if batches.ndim == 5:
        assert (batches.min(), batches.max()) == (-1, 1)


# The same losses


@pytest.fixture(scope="module", params=["stylegan2", "r3gan", "biggan"])
def pair(request):
    """An experiment of small images, its state with parameters that are nowhere 0, and PyTorch's with the same ones.

    The strength of StyleGAN2's noise stays 0, since each system draws its own noise.
    """
    pytest.importorskip("torch", reason="PyTorch is in the extra bench")
    config = tiny(request.param)
    config.data.size = 16
    if request.param == "stylegan2":
        config.style_mixing = 0.0
    if request.param == "biggan":
        config.latent_dim, config.model.discriminator.downsamples = 6, 2
        for network, multipliers in {"generator": (4, 2, 1), "discriminator": (1, 2, 4)}.items():
            config.model[network].update(multipliers=multipliers, attention=(8,))
    exp = own.by_definition(build(config, workloads.CLASSES))  # which compiles sooner
    state = quick_jit(lambda: moved(population.init_state(exp)))()
    peer = torch_peer(config)
    real = workloads.batches(config, workloads.examples(config))
    program = peer.Program(config, real, "float32", compiled=False, channels_last=False)
    return request.param, exp, state, program, jnp.asarray(real[0])


def moved(state):
    """The state with random numbers added to all parameters but the strengths of noise."""

    def leaf_moved(path, leaf):
        name = jax.tree_util.keystr(path)
        noise = jax.random.normal(jax.random.key(zlib.crc32(name.encode())), leaf.shape)
        return leaf if "noise_strength" in name else leaf + 0.1 * noise

    networks = {
        name: own.replace(params=jax.tree.map_with_path(leaf_moved, own.params)) for name, own in state.networks.items()
    }
    return state.replace(networks=networks)


def arrays(params) -> dict[str, np.ndarray]:
    """Parameters by path."""
    leaves = jax.tree.leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def torch_axes(array: np.ndarray) -> np.ndarray:
    """[rows, columns, in, out] as [out, in, rows, columns], [rows, columns, features] as [features, rows, columns]."""
    return array.transpose({4: (3, 2, 0, 1), 3: (2, 0, 1)}.get(array.ndim, range(array.ndim)[::-1]))


def r3gan_arrays(name: str, params) -> list[np.ndarray]:
    """Those of a network in the order in which they are used."""
    found = arrays(params)
    layers = "Conv_0/kernel", "Conv_0/bias", "Conv_1/kernel", "Conv_1/bias", "Conv_2/kernel"
    count = sum(path.endswith("Conv_2/kernel") for path in found)
    blocks = [f"body/Block_{number}/{layer}" for number in range(count) for layer in layers]
    order = {
        "generator": ["body/Dense_0/kernel", "body/Basis_0/basis", *blocks, "body/Conv_0/kernel"],
        "discriminator": ["body/Conv_0/kernel", *blocks, "body/Basis_0/basis", "Dense_0/kernel"],
    }[name]
    assert sorted(order) == sorted(found)
    return [torch_axes(found[path]) for path in order]


def stylegan2_array(network: str, name: str, found) -> np.ndarray:
    """The array of PyTorch's name; kernels that double are mirrored, and pixels follow channels."""
    path = name.replace("blocks.", "").replace(".affine", "_affine").replace("weight", "kernel").replace(".", "/")
    array = found.get(path, found.get(f"{path}/{path}"))
    if network == "synthesis" and path.endswith("conv0/kernel"):
        array = array[::-1, ::-1]
    if network == "discriminator" and path == "dense/kernel":
        array = array.reshape(4, 4, -1, array.shape[1]).transpose(2, 0, 1, 3).reshape(array.shape)
    return torch_axes(array)


def biggan_array(network, name: str, found) -> np.ndarray:
    """The array of PyTorch's name; pixels follow channels."""
    name, vector = re.subn(r"\.parametrizations\.weight\.0\.u$", ".weight", name)
    name = name.replace(".parametrizations.weight.original", ".weight")
    stage = getattr(network, "attends", 0) - 1  # of the generator's attention
    for pattern, ours in (
        (r"^blocks\.(?:stage)?(\d+)", r"body/stage\1_block0"),
        (r"^blocks\.attention(\d+)", r"body/stage\1_attention"),
        (r"^attention\.", f"body/stage{stage}_attention."),
        (r"^norm\.weight", "body/norm/BatchNorm_0/scale"),
        (r"^norm\.bias", "body/norm/BatchNorm_0/bias"),
        (r"^(to_image|embedding|dense)\.", r"body/\1." if stage >= 0 else r"\1."),
        (r"\.scale\.weight", ".gain.weight"),
        (r"\.shift\.weight", ".bias.weight"),
        (r"\.weight$", "/kernel"),
        (r"^dense", "Dense_0"),
        (r"^embedding", "Dense_1"),
    ):
        name = re.sub(pattern, ours, name)
    path = name.replace(".", "/")
    array = found[path.replace("/kernel", "_spectral/u") if vector else path]
    if path.startswith("body/dense"):
        array = array.reshape(*array.shape[:-1], 16, -1).swapaxes(-2, -1).reshape(array.shape)
    return array if path == "Dense_1/kernel" else torch_axes(array)


def copy(values: list[np.ndarray], parameters) -> None:
    """Puts arrays in the places of PyTorch's parameters."""
    for value, parameter in zip(values, parameters, strict=True):
        assert value.shape == tuple(parameter.shape)
        parameter.data.copy_(parameter.new_tensor(value.copy()))


def gradient_norm(loss, parameters) -> float:
    """The L2 norm of PyTorch's gradient of a loss."""
    from torch import autograd  # noqa: PLC0415

    found = autograd.grad(loss, list(parameters), allow_unused=True)
    return math.sqrt(sum(float(array.square().sum()) for array in found if array is not None))


def test_pytorch_has_the_same_losses_with_the_same_parameters(pair):
    """And the discriminator's gradients have the same norms."""
    name, exp, state, program, real = pair
    of_name = {"r3gan": r3gan_losses, "stylegan2": stylegan2_losses, "biggan": biggan_losses}
    expected, found = of_name[name](exp, state, program, real)
    assert found == {key: pytest.approx(float(expected[key]), rel=1e-4) for key in found}


def r3gan_losses(exp, state, program, real):
    """jaxgan's metrics of each update of the first state, and PyTorch's for the same latents."""
    import torch  # noqa: PLC0415

    batch = {"images": real}

    @quick_jit
    def losses(state):
        _, d_metrics = gan.discriminator_step(exp, state, batch)
        _, g_metrics = gan.generator_step(exp, state, batch)
        drawn = [forward.sample_latents(exp, state, batch, player).latents for player in program.parameters]
        return d_metrics | g_metrics, dict(zip(program.parameters, drawn, strict=True))

    expected, drawn = losses(state)
    for name, parameters in program.parameters.items():
        copy(r3gan_arrays(name, state.networks[name].params), parameters)
    fakes = {name: program.generator(torch.tensor(np.asarray(z))) for name, z in drawn.items()}
    images = next(program.batches)
    (real_logits, r1), (fake_logits, r2) = (
        program.discriminate(own, program.penalties[0]) for own in (images, fakes["discriminator"])
    )
    d_loss = program.d_loss(real_logits, fake_logits)
    g_loss = program.g_loss(program.discriminator(images), program.discriminator(fakes["generator"]))
    found = {"loss/discriminator": d_loss, "loss/generator": g_loss}
    found |= {"penalty/r1": r1 / program.penalties[0], "penalty/r2": r2 / program.penalties[1]}
    found = {key: float(value.detach()) for key, value in found.items()}
    found["grad_norm/discriminator"] = gradient_norm(d_loss + r1 + r2, program.parameters["discriminator"])
    found["grad_norm/generator"] = gradient_norm(g_loss, program.parameters["generator"])
    return expected, found


def biggan_losses(exp, state, program, real):
    """The same by classes; each update begins with the first vectors of spectral norm, which move in each pass."""
    import torch  # noqa: PLC0415

    labels = jnp.arange(len(real)) % workloads.CLASSES
    batch = {"images": real, "labels": labels}

    @quick_jit
    def losses(state):
        _, d_metrics = gan.discriminator_step(exp, state, batch)
        _, g_metrics = gan.generator_step(exp, state, batch)
        drawn = [forward.sample_latents(exp, state, batch, player).latents for player in program.own]
        return d_metrics | g_metrics, dict(zip(program.own, drawn, strict=True))

    def reset() -> None:
        for name, network in program.own.items():
            every = arrays(state.networks[name].params) | arrays(state.networks[name].model_state["spectral"])
            owned = [*network.named_parameters(), *(b for b in network.named_buffers() if b[0].endswith(".u"))]
            copy([biggan_array(network, own, every) for own, _ in owned], [array for _, array in owned])

    expected, drawn = losses(state)
    drawn = {name: torch.tensor(np.asarray(z)) for name, z in drawn.items()}
    one_hot = torch.eye(workloads.CLASSES)[torch.tensor(np.asarray(labels))]
    reset()
    d_loss = program.discriminator_loss(next(program.batches), drawn["discriminator"], one_hot)
    found = {"loss/discriminator": float(d_loss.detach())}
    found["grad_norm/discriminator"] = gradient_norm(d_loss, program.own["discriminator"].parameters())
    reset()
    g_loss = program.generator_loss(drawn["generator"], one_hot)
    found["loss/generator"] = float(g_loss.detach())
    found["grad_norm/generator"] = gradient_norm(g_loss, program.own["generator"].parameters())
    return expected, found


def stylegan2_losses(exp, state, program, real):
    """The same; path lengths are of every second example."""
    import torch  # noqa: PLC0415

    count = len(real)
    every = jnp.arange(count)

    @quick_jit
    def losses(state):
        _, metrics = stylegan2.generator_step(exp, state, real, None)
        metrics |= stylegan2.generator_penalty_step(exp, state, None, count)[1]
        metrics |= stylegan2.discriminator_step(exp, state, real, None)[1]
        penalty = stylegan2.discriminator_penalty_step(exp, state, real, None)[1]
        metrics["penalty/r1"], metrics["r1's norm"] = penalty["penalty/r1"], penalty["grad_norm/discriminator"]
        streams = [f"{stream} latents" for stream in ("generator", "generator penalties", "discriminator")]
        keys = [rng.stream_key(state.seed, state.step, stream) for stream in streams]
        drawn = [latents.sample_latents(key, every, exp.config.latent_dim) for key in keys]
        keys = exp.example_keys(state, count, "generator penalties")[::2]
        return metrics, drawn, jax.vmap(lambda key: jax.random.normal(key, real.shape[1:]))(keys)

    expected, drawn, noise = losses(state)
    first, second, third = (torch.tensor(np.asarray(z)) for z in drawn)
    noise = torch.tensor(np.asarray(noise)).movedim(-1, 1)
    for name, network in program.own.items():
        found = arrays(state.networks[name].params)
        values = [stylegan2_array(name, own, found) for own, _ in network.named_parameters()]
        copy(values, network.parameters())
    images, parameters = next(program.batches), list(program.own["discriminator"].parameters())
    d_loss, r1 = program.discriminator_loss(images, [third]), program.r1(images)
    found = {"loss/generator": program.generator_loss([first]), "loss/discriminator": d_loss, "penalty/r1": r1}
    found["generator_penalty/path_length"], _ = program.path_length([second[::2]], noise)
    found = {key: float(value.detach()) for key, value in found.items()}
    found["grad_norm/discriminator"] = gradient_norm(d_loss, parameters)
    found["r1's norm"] = gradient_norm(program.weight("penalties", "r1") * r1, parameters)
    return expected, found


@pytest.mark.parametrize("pair", ["stylegan2"], indirect=True)
def test_pytorch_takes_lazy_penalties_when_they_are_due(pair):
    *_, program, _ = pair
    images = next(program.batches)
    losses = [program.step(images) for _ in range(program.dispatch)]
    assert [step for step, own in enumerate(losses) if "path_length" in own] == [0, 4, 8, 12]
    assert [step for step, own in enumerate(losses) if "r1" in own] == [0]
    assert all(value.isfinite() for own in losses for value in own.values())


# FLOPs


@pytest.mark.parametrize("name", [*NAMES, *RECTANGLES])
def test_count_is_that_of_xla(name):
    trainer = peer_flax.Trainer(tiny(name))
    by_xla = jax.jit(trainer.step).lower(*peer_flax.step_shapes(trainer)).cost_analysis()["flops"]
    assert peer_flax.step_flops(tiny(name)) == pytest.approx(by_xla, rel=0.1)


def test_joined_batches_leave_the_count_as_it_is():
    """Dropout keeps fakes and identities apart, and its masks are a small share of the arithmetic."""
    config = tiny("cyclegan")
    separate = config.copy_and_resolve_references()
    separate.model.generator.dropout = 1e-9
    assert own.step_flops(config) == pytest.approx(own.step_flops(separate), rel=0.1)


def test_a_lazy_penalty_counts_its_share_of_the_steps():
    def count(weight: float, every: int = 1) -> int:
        changes = {"penalties.r1": weight, "penalty_interval.r1": every}
        return own.step_flops(default({"algorithm": "stylegan2", **ALGORITHMS["stylegan2"].smallest, **changes}))

    without, always = count(0.0), count(1.0)
    assert always > 1.1 * without
    assert count(1.0, every=4) == pytest.approx(without + (always - without) / 4, rel=1e-3)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("holes", [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2), (4, 4)])
def test_convolutions_are_counted_tap_by_tap(stride, holes, padding):
    def convolution(images, kernel):
        return lax.conv_general_dilated(images, kernel, (stride,), (padding,), holes[:1], holes[1:])

    # Of ones the convolution itself counts the pairs that meet.
    pairs = convolution(jnp.ones((1, 1, 9)), jnp.ones((1, 1, 4))).sum()
    assert flops.count(convolution, jnp.ones((2, 3, 9)), jnp.ones((5, 3, 4))) == 2 * 2 * 3 * 5 * int(pairs)


def test_products_are_counted():
    assert flops.count(jnp.matmul, jnp.ones((7, 2, 3)), jnp.ones((7, 3, 5))) == 2 * 7 * 2 * 3 * 5


def test_a_loop_counts_as_often_as_it_runs():
    matrix = jnp.ones((4, 4))
    once = flops.count(lambda x: x @ x, matrix)
    assert flops.count(lambda x: lax.scan(lambda x, _: (x @ x, None), x, length=9)[0], matrix) == 9 * once


def test_of_branches_the_dearest_counts():
    matrix = jnp.ones((4, 4))
    branches = [lambda x: x, lambda x: x @ x @ x, lambda x: x @ x]
    dearest = flops.count(branches[1], matrix)
    choice = flops.count(lambda x: lax.switch(jnp.int32(0), branches, x), matrix)
    assert dearest <= choice <= dearest + 4  # the choice itself


def test_what_is_not_used_counts_nothing():
    matrix = jnp.ones((4, 4))

    def wasteful(x):
        used, _ = jax.vjp(lambda x: x @ x, x)
        return used

    assert flops.count(wasteful, matrix) == flops.count(lambda x: x @ x, matrix)


def test_reductions_count_what_they_take_away():
    assert flops.count(lambda x: x.sum(), jnp.ones((6, 5))) == 29


# Turns


class Scripted:
    """A child whose turns take given seconds for each step; None stands for its death."""

    def __init__(self, *seconds):
        self.seconds = list(seconds)

    def ask(self, request, steps):
        assert request == "turn"
        seconds = self.seconds.pop(0)
        if seconds is None:
            raise ChildError("died")
        return seconds * steps


def ready(step_seconds: float, dispatch: int = 1) -> Ready:
    return Ready(0.0, step_seconds, dispatch, "")


def test_the_first_round_does_not_count_and_who_fails_does_not_stop_the_others():
    children = {"one": Scripted(9.0, 1.0, 2.0, 3.0), "two": Scripted(9.0, 1.0, None)}
    found = turns.take_turns(children, {"one": ready(0.1), "two": ready(0.1)}, 3)
    assert found == {"one": pytest.approx([1.0, 2.0, 3.0]), "two": "died"}


@pytest.mark.parametrize(
    ("seconds", "dispatch", "steps"), [(5.0, 1, 1), (0.1, 1, 10), (0.04, 5, 25), (0.7, 5, 5), (1e-3, 100, 1000)]
)
def test_a_turn_is_about_a_second_of_whole_dispatches(seconds, dispatch, steps):
    child = Ready(compile_seconds=1.0, step_seconds=seconds, dispatch=dispatch, settings="")
    assert turns.steps_in_turn(child) == steps


def test_ratios_are_medians_of_rounds():
    assert turns.quartiles([2.0, 8.0, 6.0], [1.0, 2.0, 2.0]) == (2.0, 3.0, 4.0)
    assert turns.ratio([2.0, 8.0, 6.0], [1.0, 2.0, 2.0]) == "3.00 (2.00 to 4.00)"


def test_exponent_is_that_of_a_power():
    counts = [1, 2, 4, 8]
    assert train_step.exponent([3 * count**0.5 for count in counts], counts) == pytest.approx((0.5, 0.5**0.5))
    assert train_step.exponent([1, 2, 12, 24], counts)[1] == pytest.approx(3)


def test_a_child_reports_its_errors_and_its_death():
    with Child("turns") as child:
        assert child.ask("call", "ratio", [2.0, 2.0], [1.0, 1.0]) == "2.00 (2.00 to 2.00)"
        with pytest.raises(ChildError, match=r"^ZeroDivisionError: .*division by zero$"):
            child.ask("call", "ratio", [2.0, 2.0], [0.0, 1.0])
        assert child.ask("call", "ratio", [3.0, 3.0], [1.0, 1.0]) == "3.00 (3.00 to 3.00)"
        child.process.kill()
        with pytest.raises(ChildError, match=r"^died with exit code -9$"):
            child.ask("call", "ratio", [2.0, 2.0], [1.0, 1.0])


# The program


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workloads", "dcgan46"], "error: unknown workload 'dcgan46': did you mean dcgan64?"),
        (["--systems", "jaxgna"], "error: unknown system 'jaxgna': did you mean jaxgan?"),
        (["--rounds", "1"], "error: --rounds=1 must be at least 2"),
        (["--fast"], "error: unknown option '--fast': choose from --devices"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert train_step.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_a_peer_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(train_step, "installed", lambda module: module != "peer_torch")
    chosen = train_step.selected(["jaxgan", "torch"], train_step.systems("cpu"))
    assert list(chosen) == ["jaxgan"]
    assert "torch is left out" in capsys.readouterr().err


def test_a_failed_system_is_in_the_table_with_its_reason():
    chosen = {name: train_step.systems("cpu")[name] for name in ("jaxgan", "flax", "torch")}
    found = {
        "jaxgan": train_step.Measured(Ready(1.0, 0.5, 1, ""), [0.5, 0.5, 0.5], 2**20),
        "flax": train_step.Measured(Ready(2.0, 1.0, 1, ""), [1.0, 1.5, 2.0], 2**21),
    }
    rows = train_step.rows(chosen, found, {"torch": "died"}, 64, 10**9, {"float32": 4e9})
    assert rows == [
        ["jaxgan, float32", "128", "", "1.0", "1", "2", "50%"],
        ["plain Flax, float32", "42.7", "3.00 (2.00 to 4.00)", "2.0", "2", "0.667", "17%"],
        ["PyTorch, eager, float32", "failed: died", *[""] * 5],
    ]
    best = "jaxgan, float32: 3.00 (2.00 to 4.00) times plain Flax, float32, the best peer"
    assert train_step.verdicts(chosen, found) == [f"{best} in float32.", f"{best} of all."]


def test_the_program_appends_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(turns, "TURN", 0.01)
    monkeypatch.setattr(train_step, "peaks", lambda *arguments: {"float32": 1e9})
    arguments = ["--tiny", "--workloads", "toy", "--systems", "jaxgan,flax", "--rounds", "2"]
    assert train_step.main(arguments) == 0, capsys.readouterr().err
    text = (tmp_path / "RESULTS.md").read_text()
    assert f"python -m benchmarks.train_step {' '.join(arguments)}" in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert cells[0] == train_step.HEAD
    assert [row[0] for row in cells[2:]] == ["jaxgan, float32", "plain Flax, float32"]
    assert all(float(row[1].replace(",", "")) > 0 for row in cells[2:])
    assert "times plain Flax, float32, the best peer of all." in text


def test_a_cell_of_the_scores_has_all_that_belongs_to_a_score():
    """Its interval, what others print, real images', an ideal sampler's; nothing where there is no such score."""
    shares = {"scores": {"modes-stacked": {"value": 998.0, "low": 996.0, "high": 999.5, "ideal": 1000.0}}}
    shares["scores"]["KL-stacked"] = {"value": 0.0213, "low": 0.02, "high": 0.0226, "raw": 0.04071, "ideal": 0.0193}
    shares["real_images"] = {"KL-stacked": {"value": 0.004, "low": 0.0, "high": 0.008, "raw": 0.0236}}
    found = scores.cell(shares, "KL").split("<br>")
    assert found == ["0.0213 (0.02 to 0.0226)", "raw 0.0407", "real 0.004, raw 0.0236", "ideal 0.0193"]
    assert scores.cell(shares, "modes") == "998 (996 to 1000)<br>ideal 1000"
    assert scores.cell(shares, "GAN-test") == ""


def test_training_time_is_that_of_all_logged_steps(tmp_path):
    lines = [{"step": 100, "steps_per_second": 10.0}, {"step": 150}, {"step": 200, "steps_per_second": 20.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert experiments.seconds(tmp_path) == 15


# The other programs


@pytest.mark.parametrize("name", ["conditional", "data", "digits", "scores", "toy_speed", "toys", "train_step"])
def test_every_program_prints_its_usage(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    try:
        code = importlib.import_module(f"benchmarks.{name}").main()
    except SystemExit as ended:
        code = ended.code
    assert code == 0
    out, err = capsys.readouterr()
    assert f"python -m benchmarks.{name}" in out
    assert err == ""


@pytest.mark.parametrize("program", [conditional, scores, toys], ids=lambda program: program.__name__)
def test_the_page_of_a_table_has_a_place_for_it(program):
    text = program.PAGE.read_text()
    _, first, rest = text.partition(f"<!-- {program.SECTION} -->")
    assert first
    assert f"<!-- end of {program.SECTION} -->" in rest
    assert f"`python -m {program.__name__}" in rest.partition("<!-- end")[0]


def test_a_section_of_a_page_is_replaced_and_nothing_else(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- x -->\nold\n<!-- end of x -->\n\nafter\n")
    report.replace(page, "x", "`command`", "new")
    report.replace(page, "x", "`command`", "newer")
    before, _, rest = page.read_text().partition("<!-- x -->")
    inside, _, after = rest.partition("<!-- end of x -->")
    assert (before, after) == ("before\n\n", "\n\nafter\n")
    assert inside.startswith("\n\n`command`, 20")
    assert inside.endswith("\n\nnewer\n\n")
    assert "old" not in inside


def test_digits_are_classified(tmp_path, capsys):
    """Real digits as they are, and the same digit again and again."""
    _, images, labels = digits.train_classifier()
    np.savez(tmp_path / "samples.npz", images=np.repeat(images[labels == 7][:1], 20, axis=0).repeat(2, 1).repeat(2, 2))
    digits.main([str(tmp_path / "samples.npz")])
    first, samples, held_out, everything = capsys.readouterr().out.splitlines()
    assert first.startswith("the classifier names 99.")
    assert ": 20 images, sure of 100.0%, " in samples
    assert "7:100.0%" in samples
    assert held_out.startswith("held-out real digits: 450 images, sure of 9")
    assert everything.startswith("all real digits: 1797 images, sure of 9")


@pytest.fixture
def restored(monkeypatch):
    """A function that puts a new population in the place of what `run_folder.restore` finds."""

    def put(classes=0, **settings):
        tiny = experiment(classes=classes, **POINTS, **settings)
        own = [member.ema for member in population.members(tiny.exp, tiny.state)]
        monkeypatch.setattr(run_folder, "restore", lambda workdir, member=0: (tiny.exp, own[member], (), 0))
        return tiny, own

    return put


def test_scores_of_members_are_those_of_their_samples(restored, tmp_path, monkeypatch):
    tiny, own = restored(population=2, seed=3)
    save(tiny.config, tmp_path / "config.json")
    monkeypatch.setattr(toys, "SAMPLES", 100)
    found = toys.member_scores(tmp_path)
    ring = MIXTURES["ring"]
    for member, seed in enumerate((3, 4)):
        samples = inference.sample(tiny.exp, own[member], seed, 100, None)
        expected = mixtures.mode_scores(samples, ring.means, ring.stddev)
        assert {name: values[member] for name, values in found.items()} == {k: float(v) for k, v in expected.items()}


def test_a_cell_of_the_toys_has_the_mean_the_error_and_the_worst():
    two = {"modes": np.float64([8, 7]), "high_quality": np.float64([1, 0.5]), "reverse_kl": np.float64([0, 1])}
    assert toys.cells(two) == ["7.5 ± 0.5 (7.0)", "75.00 ± 25.00 (50.00)", "0.5000 ± 0.5000 (1.0000)"]
    assert toys.cells({name: values[:1] for name, values in two.items()}) == [
        "8.0 (8.0)",
        "100.00 (100.00)",
        "0.0000 (0.0000)",
    ]


def test_conditional_samples_are_as_many_of_each_digit(restored, tmp_path):
    restored(10, conditioning__generator="concat", conditioning__discriminator="concat")
    samples, labels = conditional.sample(tmp_path)
    assert len(samples) == len(labels) == conditional.SAMPLES
    np.testing.assert_array_equal(np.bincount(labels), conditional.SAMPLES // 10)


@pytest.mark.parametrize("loads", [False, True])
def test_steps_are_timed_with_and_without_the_loader(loads):
    several = data.stepper(tiny("toy"), loads)
    assert [several(2), several(1)] == [2, 3]


def test_opening_and_streaming_are_measured(tmp_path, monkeypatch, capsys):
    """By programs in processes of their own, here in this one."""
    for index in range(3):
        Image.fromarray(np.full((28, 28), index, np.uint8)).save(tmp_path / f"{index}.png")
    np.save(tmp_path / "images.npy", np.zeros((70, 32, 32, 3), np.uint8))
    for code, place in ((data.OPEN, tmp_path), (data.STREAM, tmp_path / "images.npy")):
        monkeypatch.setattr(sys, "argv", ["-c", str(place)])
        exec(code, {})
        assert float(capsys.readouterr().out) > 0


def test_streamed_batches_are_of_one_size(tmp_path):
    for index in range(data.BATCH + 1):
        Image.fromarray(np.full((70, 70, 3), index, np.uint8)).save(tmp_path / f"{index:03}.png")
    batches = data.jaxgan_batches(data.folder_config(tmp_path, cache=False, workers=0))
    assert next(batches)["images"].shape == (1, 1, data.BATCH, data.SIZE, data.SIZE, 3)
    batches.close()
