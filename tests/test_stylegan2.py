"""StyleGAN2's networks beside those of their authors with the same weights; noise, devices, precision, sizes."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error
from flax.traverse_util import flatten_dict, unflatten_dict
from made_up import numbers

from jaxgan import models
from jaxgan.core import settings as declarations
from jaxgan.core.state import Variables, apply
from jaxgan.errors import UserError
from jaxgan.models import stylegan2, summary

GOLDEN = np.load(Path(__file__).parent / "golden" / "stylegan2.npz")
SIDE, BATCH, LATENT, W_DIM, CLASSES, GROUP = 16, 4, 6, 8, 3, 2
WIDTH = {"channel_base": 64, "channel_max": 8}
MAPPING_SCALE = 100
RELATIVE = 1e-4
# Examples that follow each other make a group here; the authors' groups are every other one.
ORDER = np.arange(BATCH).reshape(GROUP, -1).T.ravel()
RENAMED = (
    *[(r"^constant\.constant$", "b4.const"), (r"^from_rgb", f"b{SIDE}.fromrgb"), (r"^(conv|dense|out)\.", r"b4.\1.")],
    *[("block", "b"), ("to_rgb", "torgb"), ("shortcut", "skip"), ("_affine", ".affine"), ("dense", "fc")],
    *[("kernel", "weight"), ("fixed", "noise_const")],
)
in_both_layouts = pytest.mark.parametrize("batch_last", [False, True])


def torch_name(path: tuple[str, ...]) -> str:
    """The authors' name of a parameter or of fixed noise."""
    name = ".".join(path)
    for ours, theirs in RENAMED:
        name = re.sub(ours, theirs, name)
    return name


def to_torch(name: str, array: np.ndarray, mirrored: bool) -> np.ndarray:
    """A parameter in the axes of PyTorch's.

    Args:
        name: the authors'.
        array: ours.
        mirrored: whether the kernels of doubling convolutions are, as those of transposed convolutions.
    """
    if name == "b4.const":
        return array.transpose(2, 0, 1)
    if name == "b4.fc.weight":  # rows, columns and channels became one axis
        array = array.reshape(4, 4, -1, array.shape[1]).transpose(3, 2, 0, 1)
        return array.reshape(len(array), -1)
    if array.ndim == 4:
        doubles = mirrored and "conv0" in name
        return (array[::-1, ::-1] if doubles else array).transpose(3, 2, 0, 1)
    return array if "noise" in name else array.T


def made_up(network, *inputs) -> dict:
    """Its variables, with the parameters and the fixed noise of the golden network."""
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs, train=True))
    mirrored = isinstance(network, stylegan2.Synthesis)

    def filled(path: tuple[str, ...], shape: tuple[int, ...]):
        name, size = torch_name(path), int(np.prod(shape, dtype=int))
        places = to_torch(name, np.arange(size).reshape(shape), mirrored)
        array = np.empty(size, np.float32)
        array[places] = numbers(name, places.shape) * (MAPPING_SCALE if "fc" in name and "b4" not in name else 1)
        return jnp.asarray(array.reshape(shape))

    def tree(collection: dict) -> dict:
        return unflatten_dict({path: filled(path, leaf.shape) for path, leaf in flatten_dict(collection).items()})

    zeros = {"w_avg": {"mean": jnp.zeros(W_DIM)}} if "w_avg" in shapes else {}
    return {name: tree(own) for name, own in shapes.items() if name != "w_avg"} | zeros


def assert_near(actual, expected, scale=None) -> None:
    """Within a share of the largest number."""
    expected = np.asarray(expected)
    scale = np.abs(expected).max() if scale is None else scale
    np.testing.assert_allclose(actual, expected, rtol=0, atol=RELATIVE * scale)


def assert_gradients_near(network, gradients, prefix: str) -> None:
    """Each within a share of its largest number, or of a thousandth of the largest of all, whose rounding it has."""
    names = [name for name in GOLDEN.files if name.startswith(f"{prefix}/")]
    flat = {torch_name(path): np.asarray(array) for path, array in flatten_dict(gradients).items()}
    most = max(np.abs(GOLDEN[name]).max() for name in names)
    for name in names:
        own = name.removeprefix(f"{prefix}/")
        expected, mirrored = GOLDEN[name], isinstance(network, stylegan2.Synthesis)
        assert_near(to_torch(own, flat.pop(own), mirrored), expected, max(np.abs(expected).max(), most / 1000))
    assert all(np.abs(left).max() == 0 for left in flat.values())


def channels_last(images):
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def one_hot(classes):
    return jax.nn.one_hot(jnp.arange(BATCH) % classes, classes) if classes else None


def synthesis(**options):
    return stylegan2.Synthesis((SIDE, SIDE, 3), **WIDTH, **options)


LATENTS = jnp.asarray(numbers("latents", (BATCH, LATENT)))
WS = jnp.asarray(numbers("ws", (2, 6, W_DIM)))
IMAGES = channels_last(numbers("images", (BATCH, 3, SIDE, SIDE)))


@pytest.mark.parametrize(("name", "classes"), [("mapping", 0), ("mapping of labels", CLASSES)])
def test_the_mapping_network_equals_that_of_its_authors(name, classes):
    """Its mean moves while training, and not otherwise."""
    network, inputs = stylegan2.Mapping(W_DIM, depth=3), (LATENTS, one_hot(classes))
    own = made_up(network, *inputs)
    w, state = apply(network, Variables(own["params"], {"w_avg": own["w_avg"]}), *inputs, train=True)
    assert_near(w, GOLDEN[f"{name}/w"])
    assert_near(state["w_avg"]["mean"], GOLDEN[f"{name}/w_avg"])
    np.testing.assert_array_equal(network.apply(own, *inputs, train=False), w)


@in_both_layouts
def test_the_synthesis_network_equals_that_of_its_authors(batch_last):
    """With fixed noise, and without any and its features cut off."""
    network = synthesis(clamp=0.0, batch_last=batch_last)
    own = made_up(network, WS)
    assert network.num_ws == WS.shape[1]
    assert_near(
        quick_jit(lambda own: network.apply(own, WS, train=True))(own), channels_last(GOLDEN["synthesis/const"])
    )
    quiet = {path: 0 * leaf if "strength" in path[-1] else leaf for path, leaf in flatten_dict(own).items()}
    clamped = quick_jit(lambda own: network.clone(clamp=1.0).apply(own, WS, train=False))(unflatten_dict(quiet))
    assert_near(clamped, channels_last(GOLDEN["synthesis/none"]))


@in_both_layouts
def test_path_lengths_and_their_gradients_equal_those_of_the_authors(batch_last):
    network = synthesis(clamp=0.0, batch_last=batch_last)
    own, noise = made_up(network, WS), channels_last(numbers("path noise", (2, 3, SIDE, SIDE))) / SIDE

    def penalty(params):
        slopes = jax.grad(lambda ws: (network.apply(own | {"params": params}, ws, train=True) * noise).sum())(WS)
        lengths = jnp.sqrt(jnp.square(slopes).sum(2).mean(1))
        return jnp.square(lengths - lengths.mean() / 100).mean(), lengths

    gradients, lengths = quick_jit(jax.grad(penalty, has_aux=True))(own["params"])
    assert_near(lengths, GOLDEN["synthesis/lengths"])
    assert_gradients_near(network, gradients, "synthesis/path")


def discriminator(**options):
    return stylegan2.Discriminator(**WIDTH, minibatch_stddev=GROUP, mapping_depth=2, **options)


@in_both_layouts
@pytest.mark.parametrize(
    ("name", "classes", "architecture"), [("resnet of labels", CLASSES, "resnet"), ("orig", 0, "orig")]
)
def test_the_discriminator_equals_that_of_its_authors(name, classes, architecture, batch_last):
    """With its features cut off."""
    network = discriminator(architecture=architecture, clamp=1.0, batch_last=batch_last)
    inputs = jax.tree.map(lambda array: array[ORDER], (IMAGES, one_hot(classes)))
    logits = quick_jit(lambda own: network.apply(own, *inputs, train=True))(made_up(network, *inputs))
    assert_near(logits, GOLDEN[f"{name}/logits"][ORDER])


@in_both_layouts
def test_r1_and_its_gradients_equal_those_of_the_authors(batch_last):
    network, images = discriminator(clamp=0.0, batch_last=batch_last), IMAGES[ORDER]
    own = made_up(network, images, None)

    def penalty(params):
        def total(images):
            logits = network.apply({"params": params}, images, None, train=True)
            return logits.sum(), logits

        slopes, logits = jax.grad(total, has_aux=True)(images)
        return jnp.square(slopes).sum((1, 2, 3)).mean(), (slopes, logits)

    gradients, (slopes, logits) = quick_jit(jax.grad(penalty, has_aux=True))(own["params"])
    assert_near(logits, GOLDEN["resnet/logits"][ORDER])
    assert_near(slopes, channels_last(GOLDEN["resnet/slopes"])[ORDER])
    assert_gradients_near(network, gradients, "resnet/r1")


SMALL, LARGE = {"channel_base": 16384}, {"channel_base": 32768}
PRESETS = [  # side, classes, layers of the mapping, width, architecture, parameters of generator and discriminator
    *[(32, 0, 2, LARGE, "orig", 19_947_539, 20_720_641), (32, 10, 2, LARGE, "orig", 20_215_315, 23_089_664)],
    *[(64, 0, 2, SMALL, "resnet", 22_243_608, 23_407_361), (128, 0, 2, SMALL, "resnet", 22_949_277, 23_882_369)],
    *[(256, 0, 2, SMALL, "resnet", 23_191_522, 24_001_089), (256, 0, 8, SMALL, "resnet", 24_767_458, 24_001_089)],
    *[(512, 0, 8, LARGE, "resnet", 30_276_583, 28_982_849), (1024, 0, 8, LARGE, "resnet", 30_370_060, 29_012_513)],
]


def shapes_of(network, *inputs):
    return jax.eval_shape(lambda *inputs: network.init(jax.random.key(0), *inputs, train=True), *inputs)


@pytest.mark.parametrize(("side", "classes", "depth", "width", "architecture", "generator", "judge"), PRESETS)
def test_parameters_of_published_networks(side, classes, depth, width, architecture, generator, judge):
    """Counted in the authors' code: of CIFAR-10, of the automatic choice, and of the paper."""

    def count(network, *inputs):
        return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(network, *inputs)["params"]))

    labels = jnp.zeros((4, classes)) if classes else None
    synthesised = stylegan2.Synthesis((side, side, 3), **width)
    found = count(stylegan2.Mapping(512, depth), jnp.zeros((4, 512)), labels)
    found += count(synthesised, jnp.zeros((4, synthesised.num_ws, 512)))
    assert found == generator
    images = jax.ShapeDtypeStruct((4, side, side, 3), jnp.float32)
    assert count(stylegan2.Discriminator(architecture, **width), images, labels) == judge


def test_without_noise_images_are_those_of_strengths_of_0():
    network = synthesis().clone(shape=(8, 8, 3))
    without, ws = network.clone(noise=False), WS[:2, :4]
    own = made_up(network, ws)
    params = {
        path: 0 * value if path[-1] == "noise_strength" else value
        for path, value in flatten_dict(own["params"]).items()
    }
    silent = {path: value for path, value in params.items() if path[-1] != "noise_strength"}
    assert len(silent) == len(params) - 3
    assert flatten_dict(without.init(jax.random.key(0), ws, train=True)["params"]).keys() == silent.keys()
    np.testing.assert_array_equal(
        without.apply({"params": unflatten_dict(silent)}, ws, train=False),
        network.apply(own | {"params": unflatten_dict(params)}, ws, train=False),
    )


def test_noise_is_each_examples_own_and_no_number_of_devices_changes_it():
    """Without a key there is fixed noise, the same for all examples, as there is outside training."""
    network, ws = synthesis().clone(shape=(8, 8, 3)), jnp.tile(WS[:1, :4], (4, 1, 1))
    own = made_up(network, ws)
    variables = Variables(own["params"], {"noise": own["noise"]})

    def run(key, ws=ws, network=network):
        return apply(network, variables, ws, train=True, key=key)[0]

    one, other, fixed, still, parts = quick_jit(
        lambda: (
            *[run(key) for key in (jax.random.key(1), jax.random.key(2), None)],
            apply(network, variables, ws, train=False)[0],
            jax.vmap(lambda ws: run(jax.random.key(1), ws, network.clone(axis_name="devices")), axis_name="devices")(
                ws.reshape(2, 2, *ws.shape[1:])
            ),
        )
    )()
    np.testing.assert_allclose(parts.reshape(one.shape), one, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(fixed, still)
    np.testing.assert_allclose(fixed[1:], jnp.broadcast_to(fixed[:1], fixed[1:].shape), rtol=1e-4, atol=1e-4)
    differences = [jnp.abs(a - b).max() for a, b in ((one[0], one[1]), (one[0], other[0]), (one[0], fixed[0]))]
    assert min(differences) > 0.1


def test_the_mean_of_intermediate_latents_is_that_of_all_devices():
    network = stylegan2.Mapping(W_DIM, depth=2, axis_name="devices")
    own = made_up(network.clone(axis_name=None), LATENTS, None)
    variables = Variables(own["params"], {"w_avg": own["w_avg"]})
    _, together = apply(network.clone(axis_name=None), variables, LATENTS, None, train=True)
    halves = LATENTS.reshape(2, -1, LATENT)
    _, apart = jax.vmap(lambda z: apply(network, variables, z, None, train=True), axis_name="devices")(halves)
    for mean in apart["w_avg"]["mean"]:
        np.testing.assert_allclose(mean, together["w_avg"]["mean"], rtol=1e-5, atol=1e-7)


def test_the_mean_approaches_a_constant_at_its_rate():
    """Of equal latents, after n batches, (1 - .995^n) times theirs; truncation ends there."""
    network, latents = stylegan2.Mapping(W_DIM, depth=2), jnp.tile(LATENTS[:1], (3, 1))
    own = made_up(network, latents, None)
    state = {"w_avg": own["w_avg"]}
    for _ in range(4):
        w, state = apply(network, Variables(own["params"], state), latents, None, train=True)
    mean = state["w_avg"]["mean"]
    np.testing.assert_allclose(mean, (1 - 0.995**4) * w[0], rtol=1e-4)
    np.testing.assert_allclose(stylegan2.truncated(w, mean, 1.0), w, rtol=1e-6)
    np.testing.assert_array_equal(stylegan2.truncated(w, mean, 0.0), jnp.broadcast_to(mean, w.shape))


@pytest.mark.parametrize("count", range(6))
def test_half_precision_is_that_of_the_largest_blocks(count):
    types = [stylegan2.dtype_at(size, 32, count, jnp.bfloat16) for size in stylegan2.sizes(32)]
    half = min(count, 3)  # of 8, 16 and 32 rows
    assert types == (4 - half) * [jnp.float32] + half * [jnp.bfloat16]


@in_both_layouts
@pytest.mark.parametrize("kind", ["synthesis", "discriminator"])
def test_half_precision_is_near_and_ends_in_float32(kind, batch_last):
    if kind == "synthesis":
        network, inputs = synthesis(batch_last=batch_last, half_precision=1), (WS,)
    else:
        network, inputs = discriminator(batch_last=batch_last, half_precision=1), (IMAGES, one_hot(CLASSES))
    own = made_up(network, *inputs)
    half = network.clone(dtype=jnp.bfloat16)
    networks = [network, half, half.clone(half_precision=0)]
    long, short, none = quick_jit(lambda own: [each.apply(own, *inputs, train=True) for each in networks])(own)
    assert short.dtype == jnp.float32
    np.testing.assert_array_equal(none, long)
    assert 1e-5 < np.linalg.norm(short - long) / np.linalg.norm(long) < 0.03


ROLES = {"mapping": "mapping", "synthesis": "synthesis", "discriminator": "style_discriminator"}


@pytest.mark.parametrize(("family", "classes"), [("stylegan2", 0), ("stylegan2", CLASSES), ("stylegan3", 0)])
def test_the_table_counts_every_parameter(family, classes):
    """Of the smallest networks, as the table of families makes them."""
    entry = models.MODELS[family]
    declared = models.settings(ROLES, family=family)
    known = declarations.resolve(declared, {})
    values = {f"model.{name}.{key}": value for name in ROLES for key, value in entry.smallest.items()}
    config = declarations.default(declared, {name: value for name, value in values.items() if name in known})
    labels = jnp.zeros((4, classes)) if classes else None
    for name, role in ROLES.items():
        network = models.make(config, name, role, entry.shape)
        inputs = {
            "mapping": lambda: (jnp.zeros((4, 3)), labels),
            "synthesis": lambda network=network: (jnp.zeros((4, network.num_ws, 4)),),
            "discriminator": lambda: (jnp.zeros((4, *entry.shape)), labels),
        }[name]()
        variables = shapes_of(network, *inputs)
        rows = summary.layer_rows(network, inputs)
        assert sum(row.params for row in rows) == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        assert len({row.path for row in rows}) == len(rows)


def test_a_family_with_an_initialiser_of_its_own_has_no_setting_for_another():
    declared = models.settings({}, family="stylegan2")
    assert "model.initializer" not in declarations.resolve(declared, {})
    assert "model.initializer" in declarations.resolve(declared, {"model.family": "dcgan"})
    with raises_user_error(UserError, match=r"config\.model\.initializer has no effect here: model\.family=dcgan or "):
        declarations.default(declared, {"model.initializer": "he"})


@pytest.mark.parametrize("shape", [(4, 4, 3), (24, 24, 3), (9, 8, 3), (32, 68, 3), (2,)])
def test_images_that_halving_does_not_lead_to_are_refused(shape):
    assert stylegan2.check_shape(shape)


@pytest.mark.parametrize("shape", [(8, 8, 1), (1024, 1024, 3), (16, 8, 3), (32, 72, 3)])
def test_images_that_halving_leads_to_are_made(shape):
    assert stylegan2.check_shape(shape) is None
    network = stylegan2.Synthesis(shape, channel_base=16)
    ws = jnp.zeros((2, network.num_ws, 4))
    made, _ = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), ws, train=True))
    assert made.shape == (2, *shape)


def test_groups_that_do_not_divide_a_batch_are_an_error():
    with pytest.raises(TypeError, match="reshape"):
        shapes_of(discriminator(), IMAGES[:3], None)
