"""StyleGAN3's synthesis beside that of its authors with the same weights; its filters, devices, parameter counts."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit
from flax.traverse_util import flatten_dict, unflatten_dict
from made_up import numbers

from jaxgan.cli.train import load_config
from jaxgan.config import build
from jaxgan.core.state import Variables, apply
from jaxgan.models import stylegan3

GOLDEN = np.load(Path(__file__).parent / "golden" / "stylegan3.npz")
SIDE, W_DIM, COUNT = 32, 8, 5
HALF_LIFE = 20.0  # images: 2 of them leave 0.5^0.1 of a mean square
RENAMED = (
    *[(r"^waves\.motion_(kernel|bias)", r"input.affine.\1"), (r"^waves", "input"), ("_affine", ".affine")],
    *[("kernel", "weight"), ("frequencies", "freqs")],
)
WS = jnp.asarray(numbers("ws", (2, COUNT + 2, W_DIM)))


def torch_name(path):
    name = ".".join(path)
    for ours, theirs in RENAMED:
        name = re.sub(ours, theirs, name)
    return name


def synthesis(equivariance, **options):
    clamp = {"translation": 0.0, "rotation": 3.0}[equivariance]
    width = {"channel_base": 32, "channel_max": 4, "layers": COUNT}
    return stylegan3.Synthesis((SIDE, SIDE, 1), equivariance, **width, half_life=HALF_LIFE, clamp=clamp, **options)


def shapes_of(network, *inputs):
    return jax.eval_shape(lambda *inputs: network.init(jax.random.key(0), *inputs, train=True), *inputs)


def made_up(network):
    """The variables of the golden network."""

    def filled(path, shape):
        kernel = path[-1].endswith("kernel")
        array = numbers(torch_name(path), shape[::-1] if kernel else shape)
        if len(shape) == 4:  # [in, out, columns, rows] of [out, in, rows, columns]
            array = numbers(torch_name(path), (shape[3], shape[2], *shape[:2])).transpose(2, 3, 1, 0)
        elif kernel:
            array = array.T
        return jnp.asarray(array)

    shapes = shapes_of(network, WS)
    trees = {
        name: unflatten_dict({path: filled(path, leaf.shape) for path, leaf in flatten_dict(shapes[name]).items()})
        for name in ("params", "fourier")
    }
    state = {"fourier": trees["fourier"], "magnitude": jax.tree.map(lambda leaf: jnp.ones(()), shapes["magnitude"])}
    return Variables(trees["params"], state)


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("equivariance", ["translation", "rotation"])
def test_the_synthesis_network_equals_that_of_its_authors(equivariance, batch_last):
    """While training, which moves the tracked mean squares first."""
    network = synthesis(equivariance, batch_last=batch_last)
    variables = made_up(network)
    images, state = quick_jit(lambda variables: apply(network, variables, WS, train=True))(variables)
    expected = GOLDEN[f"{equivariance}/images"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    squares = [state["magnitude"][f"layer{i}"]["mean_square"] for i in range(COUNT + 1)]
    np.testing.assert_allclose(squares, GOLDEN[f"{equivariance}/squares"], rtol=1e-4)


PRESETS = {  # parameters of mapping and synthesis, counted in the authors' code
    **{"t_ffhq256": 23_320_443, "t_afhq": 24_873_519, "t_ffhq": 22_313_167},
    **{"r_ffhq256": 15_779_565, "r_afhq": 16_665_594, "r_ffhq": 15_093_151},
}


@pytest.mark.parametrize(("preset", "count"), PRESETS.items())
def test_parameters_of_published_networks(preset, count):
    exp = build(load_config(f"configs/published/stylegan3_{preset}.py"))
    inputs = exp.algorithm.inputs(exp)
    found = [shapes_of(exp.networks[name], *inputs[name])["params"] for name in ("mapping", "synthesis")]
    assert sum(leaf.size for leaf in jax.tree.leaves(found)) == count


def test_moving_the_waves_moves_the_image():
    """By a quarter of its width: inside, where no border reaches, up to what filters of few taps let through."""
    network = synthesis("translation")
    variables = made_up(network)

    def image(right):
        flat = flatten_dict(variables.params)
        flat["waves", "motion_kernel"] = jnp.zeros((W_DIM, 4))
        flat["waves", "motion_bias"] = jnp.array([1.0, 0.0, right, 0.0])
        return apply(network, Variables(unflatten_dict(flat), variables.model_state), WS, train=False)[0]

    still, moved = quick_jit(lambda: (image(0.0), image(0.25)))()
    inside, shifted = still[:, 8:24, 4:20], moved[:, 8:24, 12:28]
    change = jnp.square(inside - moved[:, 8:24, 4:20]).mean()
    assert jnp.square(inside - shifted).mean() < 0.02 * change


@pytest.mark.slow
def test_tracked_mean_squares_are_those_of_all_devices():
    network = synthesis("translation", axis_name="devices")
    alone, variables = network.clone(axis_name=None), made_up(network.clone(axis_name=None))

    @quick_jit
    def run():
        parts = WS[:, None]
        apart = jax.vmap(lambda ws: apply(network, variables, ws, train=True)[1], axis_name="devices")(parts)
        return apart["magnitude"], apply(alone, variables, WS, train=True)[1]["magnitude"]

    apart, together = run()
    for path, array in flatten_dict(apart).items():
        np.testing.assert_allclose(array, [flatten_dict(together)[path]] * 2, rtol=1e-4)


@pytest.mark.slow
def test_half_precision_is_near_and_ends_in_float32():
    network = synthesis("translation")
    variables, half = made_up(network), network.clone(dtype=jnp.bfloat16, half_precision=1)
    long, short = quick_jit(lambda: [apply(each, variables, WS, train=False)[0] for each in (network, half)])()
    assert short.dtype == jnp.float32
    assert 1e-5 < np.linalg.norm(short - long) / np.linalg.norm(long) < 0.03
