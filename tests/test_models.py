"""The model families: shapes, ranges, the order of their layers, their settings; layouts; the layer table."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import WIDTHS, leaves, quick_jit, raises_user_error, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from jaxgan import models
from jaxgan.config import build, default
from jaxgan.data.sizes import height_width
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError
from jaxgan.models import dcgan, summary
from jaxgan.models.ops import layers

DCGAN_SIZES = (8, 14, 16, 28, 32, 48, 56, 64, 96, 100, "8x12", "96x64", "112x40", "8x256")
RING = {"model__family": "toy_mlp", "data__source": "world:ring"}
FAMILIES = {"mlp": {"model__family": "mlp"}, "dcgan": {"model__family": "dcgan", "data__size": 16}, "toy_mlp": RING}
TF_DCGAN = {"model__family": "tf_dcgan", "data__size": 8}
LAYERS = (nn.Dense, layers.Dense, layers.Conv, layers.ConvTranspose)


def built(**settings):
    """The networks of a tiny experiment without labels."""
    return build(tiny_config(**settings)).networks


def inputs_of(network, count=2, **settings):
    """Inputs of a network of a tiny experiment without conditions."""
    config = tiny_config(**settings)
    shape = {"generator": (config.latent_dim,), "discriminator": example_shape(config.data)}[network]
    return jax.random.normal(jax.random.key(1), (count, *shape)), None


def initialised(network, inputs, seed=0):
    return quick_jit(lambda x: network.init(jax.random.key(seed), *x, train=True))(inputs)


def shapes_of(network, inputs):
    return jax.eval_shape(lambda x: network.init(jax.random.key(0), *x, train=True), inputs)


def laid_out(network, batch_last):
    """The same network in one of the two layouts."""
    return network.clone(body=network.body.clone(batch_last=batch_last))


def calls(network, variables, inputs, transform):
    """[(module, its input, its output, the names of its parameters)] of every layer, in the order in which they run.

    Args:
        transform: `jax.eval_shape` where shapes are enough, `run_compiled` for numbers.
    """
    modules = []

    def run(variables, inputs):
        arrays = []

        def intercept(call, args, kwargs, context):
            out = call(*args, **kwargs)
            if context.method_name == "__call__" and isinstance(context.module, (*LAYERS, nn.BatchNorm)):
                modules.append((context.module, set(context.module.variables.get("params", {}))))
                arrays.append((args[0], out))
            return out

        with nn.intercept_methods(intercept):
            network.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        return arrays

    pairs = transform(run, variables, inputs)
    return [(module, *pair, names) for (module, names), pair in zip(modules, pairs, strict=True)]


def run_compiled(function, *args):
    return quick_jit(function)(*args)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("family", "size"),
    [("dcgan", size) for size in DCGAN_SIZES]
    + [("mlp", size) for size in (1, 5, 8, "24x1")]
    + [("tf_dcgan", size) for size in (4, 8, 20, 28, "32x8")],
)
def test_shapes(family, size, channels):
    networks = built(model__family=family, data__size=size, data__channels=channels)
    latents = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    run = lambda network: lambda x: network.init_with_output(jax.random.key(0), x, None, train=True)[0]  # noqa: E731
    images = jax.eval_shape(run(networks["generator"]), latents)
    assert (images.shape, images.dtype) == ((3, *height_width(size), channels), jnp.float32)
    d_out = jax.eval_shape(run(networks["discriminator"]), images)
    assert (d_out.logits.shape, d_out.logits.dtype) == ((3,), jnp.float32)
    assert (len(d_out.features), d_out.features.ndim, d_out.aux_logits) == (3, 2, None)


@pytest.mark.parametrize("family", ["dcgan", "mlp"])
def test_images_fill_the_range_of_tanh_and_stay_in_it(family):
    generator = built(model__family=family, model__init_stddev=1.0, model__initializer="gaussian")["generator"]
    latents = 10 * jax.random.normal(jax.random.key(1), (8, 4))
    images, _ = quick_jit(lambda x: generator.init_with_output(jax.random.key(0), x, None, train=True))(latents)
    assert np.abs(images).max() <= 1
    assert images.min() < -0.9
    assert images.max() > 0.9


@pytest.mark.parametrize(
    ("family", "size", "near"),
    [
        *[("dcgan", 1, "8"), ("dcgan", 7, "8"), ("dcgan", 9, "8, 10"), ("dcgan", 18, "16, 20")],
        *[("dcgan", 50, "48, 52"), ("dcgan", 101, "100, 104"), ("dcgan", 212, "208, 216")],
        ("dcgan", "90x160", "88x160, 92x160"),
        *[("dcgan", "7x8", "8"), ("dcgan", "50x70", "48x68, 52x72"), ("dcgan", "8x259", "8x258, 8x260")],
        *[("tf_dcgan", 1, "4"), ("tf_dcgan", 30, "28, 32"), ("tf_dcgan", "8x9", "8, 8x12")],
        *[("vaegan", 8, "16"), ("vaegan", 20, "16, 24"), ("vaegan", "16x8", "16"), ("vaegan", "33x17", "32x16, 40x24")],
    ],
)
def test_a_size_that_a_family_cannot_make_is_an_error_that_names_near_ones(family, size, near):
    message = rf"config.data.size={size} does not fit config.model.family={family}: a {family} .*; near ones: {near}$"
    with raises_user_error(UserError, match=message):
        build(tiny_config(model__family=family, data__size=size))


@pytest.mark.parametrize("base", [4, 7])
@pytest.mark.parametrize("count", range(1, 7))
def test_dcgan_halves_a_power_of_two_times_4_or_7_down_to_that(base, count):
    assert dcgan.stages(base << count, base << count) == count


@given(st.integers(1, 600), st.integers(1, 600))
def test_dcgan_halves_both_sides_exactly(height, width):
    count = dcgan.stages(height, width)
    assert count == dcgan.stages(width, height)
    if count:
        rows, columns = height >> count, width >> count
        assert (rows << count, columns << count) == (height, width)
        assert min(rows, columns) >= dcgan.LEAST
        assert rows * columns <= dcgan.MOST_PIXELS


@pytest.mark.parametrize("family", ["dcgan", "tf_dcgan", "vaegan", "stylegan2"])
@given(size=st.integers(1, 300))
def test_no_square_lies_nearer_than_those_that_are_named(family, size):
    entry = models.MODELS[family]
    makes = [side for side in range(1, size + models.MOST_CHANGE + 1) if not entry.check_shape((side, side, 1))]
    below, above = [side for side in makes if side < size], [side for side in makes if side > size]
    assert models.near_sizes(entry, (size, size, 1)) == [str(side) for side in (*below[-1:], *above[:1])]


@pytest.mark.parametrize("family", ["dcgan", "mlp", "tf_dcgan"])
def test_families_of_images_make_no_points(family):
    message = rf"config\.data\.source=world:ring does not fit .*={family}: (an? )?{family} makes images; toy_mlp makes"
    with raises_user_error(UserError, match=message):
        build(tiny_config(**RING | {"model__family": family}))


def test_toy_mlp_makes_no_images():
    message = r"config\.data\.size=8 does not fit config\.model\.family=toy_mlp: .*; dcgan and mlp make images"
    with raises_user_error(UserError, match=message):
        build(tiny_config(model__family="toy_mlp"))


@pytest.mark.parametrize(
    ("setting", "family", "able"),
    [
        ("discriminator.downsampling", "mlp", "dcgan"),
        ("generator.hidden_dims", "toy_mlp", "dcgan"),
        ("discriminator.hidden_dims", "toy_mlp", "dcgan"),
        ("generator.depth", "mlp", "toy_mlp or resnet"),
        ("discriminator.maxout", "mlp", "toy_mlp"),
    ],
)
def test_a_setting_of_another_family_is_an_error_with_that_family(setting, family, able):
    """The value does not matter: a configuration has the settings of its own family alone."""
    message = rf"config\.model\.{setting} has no effect here: model\.family={able} has it"
    with raises_user_error(UserError, match=message):
        tiny_config(model__family=family, **{f"model.{setting}": 2})


@pytest.mark.parametrize(
    "name", ["family", "initializer", "generator.norm", "discriminator.norm", "discriminator.downsampling"]
)
def test_an_unknown_name_in_the_model_is_a_user_error(name):
    with raises_user_error(UserError, match=rf"unknown config\.model\.{name} 'nonsense'"):
        default({"model.family": "dcgan", f"model.{name}": "nonsense"})


def test_strided_convolutions_downsample_unless_pooling_is_asked_for():
    def convolutions(**settings):
        network = built(model__family="dcgan", data__size=16, **settings)["discriminator"]
        inputs = jnp.zeros((2, 16, 16, 1)), None
        return [
            (before.shape[1], after.shape[1])
            for module, before, after, _ in calls(network, shapes_of(network, inputs), inputs, jax.eval_shape)
            if isinstance(module, layers.Conv)
        ]

    assert convolutions() == [(16, 8), (8, 4)]
    assert convolutions(model__discriminator__downsampling="average_pool") == [(16, 16), (8, 8)]
    assert convolutions(model__discriminator__downsampling="max_pool") == [(16, 16), (8, 8)]


@pytest.mark.parametrize(("slope", "settings"), [(0.2, {}), (0.05, {"model__discriminator__negative_slope": 0.05})])
@pytest.mark.parametrize(("family", "depth"), [("mlp", 3), ("dcgan", 1), ("toy_mlp", 3)])
def test_the_slope_below_zero_is_a_setting(family, depth, slope, settings):
    """With constant layers the logit of any example is the slope to the power of the depth, times -1."""
    settings = (RING if family == "toy_mlp" else {"model__family": family, "data__size": 8}) | settings
    network = built(**settings, model__discriminator__norm="none")["discriminator"]
    inputs = inputs_of("discriminator", **settings)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes_of(network, inputs)["params"])
    body = params["body"]
    first, *others = sorted(body, key=lambda name: (name.startswith("Dense"), name))
    body[first]["bias"] -= 1
    for layer in (params["Dense_0"], *(body[name] for name in others)):
        layer["kernel"] = np.full_like(layer["kernel"], 1 / layer["kernel"].shape[0])
    d_out = network.apply({"params": jax.device_put(params)}, *inputs, train=True)
    np.testing.assert_allclose(d_out.logits, [-(slope**depth)] * 2, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_layer_has_a_bias_exactly_where_no_norm_follows(family, network):
    settings = FAMILIES[family]
    inputs = inputs_of(network, **settings)
    plain = built(**settings, **{f"model__{network}__norm": "none"})[network]
    variables = shapes_of(plain, inputs)
    assert set(variables) == {"params"}
    assert all("bias" in names for *_, names in calls(plain, variables, inputs, jax.eval_shape))
    normed = built(**settings, **{f"model__{network}__norm": "batch"})[network]
    variables = shapes_of(normed, inputs)
    assert set(variables) == {"params", "batch_stats"}
    order = calls(normed, variables, inputs, jax.eval_shape)
    for (module, _, _, params), (following, *_) in zip(order, [*order[1:], (None,)], strict=True):
        if isinstance(module, LAYERS):
            assert ("bias" in params) != isinstance(following, nn.BatchNorm)


NORMS = {"generator": {"mlp": 4, "dcgan": 2, "toy_mlp": 4}, "discriminator": {"mlp": 3, "dcgan": 1, "toy_mlp": 3}}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_norm_follows_a_layer_and_precedes_its_activation(family, network):
    inputs = inputs_of(network, 8, **FAMILIES[family])
    module = built(**FAMILIES[family])[network]
    record = calls(module, initialised(module, inputs), inputs, run_compiled)
    slope = tiny_config().model.discriminator.negative_slope
    activation = nn.relu if network == "generator" else lambda x: nn.leaky_relu(x, slope)
    norms = [index for index, (layer, *_) in enumerate(record) if isinstance(layer, nn.BatchNorm)]
    assert len(norms) == NORMS[network][family]
    for index in norms:
        (before, _, made, _), (_, normed, out, _), (_, taken, *_) = record[index - 1 : index + 2]
        assert isinstance(before, LAYERS)
        # Sorted, since the order of numbers is that of a layout.
        np.testing.assert_array_equal(np.sort(normed, axis=None), np.sort(made, axis=None))
        np.testing.assert_array_equal(np.sort(taken, axis=None), np.sort(activation(out), axis=None))
        assert out.min() < 0
    assert not isinstance(record[-1][0], nn.BatchNorm)


def test_the_generator_of_the_dcgan_paper():
    """Radford et al., 2016, figure 1: 100 -> 4x4x1024 -> 512 -> 256 -> 128 -> 64x64x3, with 128 base channels."""
    settings = {"data__size": 64, "data__channels": 3, "model__generator__base_channels": 128}
    generator = built(model__family="dcgan", **settings)["generator"]
    inputs = jax.ShapeDtypeStruct((1, 100), jnp.float32), None
    rows = [row for row in summary.layer_rows(generator, inputs) if row.kind != "BatchNorm"]
    assert [row.shape for row in rows] == [(4 * 4 * 1024,), (8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]


def test_the_networks_of_the_tutorial_of_tensorflow():
    """TensorFlow's tutorial on 28x28x1: its layers, and the parameters that Keras counts in them, moments left out."""
    settings = {"data__size": 28, "latent_dim": 100}
    settings |= {f"model__{network}__base_channels": 64 for network in ("generator", "discriminator")}
    networks = built(model__family="tf_dcgan", model__discriminator__norm="none", **settings)
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
        for name, shapes in (
            ("generator", shapes_of(networks["generator"], (jnp.zeros((1, 100)), None))),
            ("discriminator", shapes_of(networks["discriminator"], (jnp.zeros((1, 28, 28, 1)), None))),
        )
    }
    kernels = 5 * 5 * 256 * 128 + 5 * 5 * 128 * 64 + 5 * 5 * 64 * 1
    assert sizes["generator"] == 100 * 12_544 + kernels + 2 * (12_544 + 128 + 64) == 2_305_472
    assert sizes["discriminator"] == 5 * 5 * 64 + 64 + 5 * 5 * 64 * 128 + 128 + 7 * 7 * 128 + 1 == 212_865


# Both layouts

LAYOUTS = {
    "dcgan": FAMILIES["dcgan"]
    | {"model__generator__hidden_dims": (6,), "model__discriminator__hidden_dims": (6,)}
    | {"model__discriminator__downsampling": "max_pool", "model__discriminator__minibatch_stddev": 2}
    | {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"},
    "dcgan, wide": {"model__family": "dcgan", "data__size": 8}
    | dict.fromkeys(("model__generator__base_channels", "model__discriminator__base_channels"), 16),
    "dcgan, large kernels": FAMILIES["dcgan"]
    | dict.fromkeys(("model__generator__kernel_size", "model__discriminator__kernel_size"), 5)
    | {"model__generator__unit_norm": True},
    "tf_dcgan": TF_DCGAN,
    "dcgan, a rectangle": {"model__family": "dcgan", "data__size": "16x24"}
    | dict.fromkeys(("model__generator__base_channels", "model__discriminator__base_channels"), 8),
    "tf_dcgan, a rectangle": TF_DCGAN | {"data__size": "12x8"},
}


def made_up(network, inputs):
    """Variables with biases and scales of their own; made here, since initialisers take long to compile."""
    rng = np.random.default_rng(0)

    def numbers(leaf):
        matrix = rng.normal(size=leaf.shape) / np.sqrt(math.prod(leaf.shape[:-1]))
        return jnp.asarray(matrix if leaf.ndim > 1 else rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)

    return jax.tree.map(numbers, shapes_of(network, inputs))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_both_layouts_are_the_same_network(network, name):
    """Of the same parameters they have the same outputs, gradients and new statistics."""
    settings = LAYOUTS[name]
    exp = build(tiny_config(**settings), classes=3)
    layouts = [laid_out(exp.networks[network], batch_last) for batch_last in (False, True)]
    first, condition = (
        None if part is None else jax.random.normal(jax.random.key(1), (4, *part.shape[1:]))
        for part in exp.algorithm.inputs(exp)[network]
    )
    trees = [shapes_of(layout, (first, condition)) for layout in layouts]
    assert trees[0] == trees[1]

    def outcome(layout, variables):
        fixed = {collection: value for collection, value in variables.items() if collection != "params"}

        def loss(params, first):
            state = {"params": params, **fixed}
            out, new = layout.apply(state, first, condition, train=True, mutable=list(fixed))
            return sum(jnp.sin(3 * leaf).sum() for leaf in jax.tree.leaves(out)), (out, new)

        slopes, aux = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], first)
        return slopes, aux, layout.apply(variables, first, condition, train=False)

    variables = made_up(layouts[0], (first, condition))
    stock, other = quick_jit(lambda variables: [outcome(layout, variables) for layout in layouts])(variables)
    # A change of the weights in their last bit moves gradients by up to 5e-5 of the largest in an array.
    other, stock = leaves(other), leaves(stock)
    assert other.keys() == stock.keys()
    for path, array in stock.items():
        np.testing.assert_allclose(other[path], array, rtol=0, atol=2e-4 * np.abs(array).max(), err_msg=path)
    assert all(np.abs(slope).max() > 1e-3 for path, slope in stock.items() if "kernel" in path)


@pytest.mark.parametrize("settings", [FAMILIES["dcgan"], TF_DCGAN], ids=["dcgan", "tf_dcgan"])
def test_dropout_depends_on_training_and_on_its_key(settings):
    inputs = inputs_of("discriminator", 4, **settings)
    settings |= {"model__discriminator__norm": "none"}
    plain, network = (built(**settings, model__discriminator__dropout=rate)["discriminator"] for rate in (0.0, 0.5))
    assert shapes_of(network, inputs) == shapes_of(plain, inputs)

    @quick_jit
    def run(variables):
        rngs = [{"dropout": jax.random.key(seed)} for seed in (1, 1, 2)]
        trained = [network.apply(variables, *inputs, train=True, rngs=one) for one in rngs]
        still = [module.apply(variables, *inputs, train=False) for module in (plain, network)]
        return trained, still, plain.apply(variables, *inputs, train=True)  # which needs no key

    (one, again, other), still, without = run(made_up(plain, inputs))
    np.testing.assert_array_equal(one.logits, again.logits)
    np.testing.assert_array_equal(still[0].logits, still[1].logits)
    np.testing.assert_array_equal(without.logits, still[0].logits)
    assert (np.stack([other.logits, without.logits]) != np.asarray(one.logits)).all()


@pytest.mark.parametrize("settings", [*FAMILIES.values(), TF_DCGAN], ids=[*FAMILIES, "tf_dcgan"])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_half_precision_is_near_and_ends_in_float32(network, settings):
    """Each of a few layers rounds to 8 bits."""
    inputs = inputs_of(network, 8, **settings)
    long, short = (built(**settings, precision=precision)[network] for precision in ("float32", "bfloat16"))
    assert shapes_of(short, inputs) == shapes_of(long, inputs)

    @quick_jit
    def run(variables):
        return [module.apply(variables, *inputs, train=True, mutable=["batch_stats"]) for module in (long, short)]

    expected, actual = (leaves(tree) for tree in run(made_up(long, inputs)))
    assert {array.dtype for array in actual.values()} == {np.dtype(np.float32)}
    for path, array in actual.items():
        error = np.linalg.norm(array - expected[path]) / np.linalg.norm(expected[path])
        assert error < 8 * 2**-8, path
    assert not all(np.array_equal(array, expected[path]) for path, array in actual.items())


WAYS = {  # that labels and codes enter the networks, and other modules with parameters
    "none": {},
    "cbn and projection": {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"},
    "concat": dict.fromkeys(("conditioning__generator", "conditioning__discriminator"), "concat"),
    "embedded": dict.fromkeys(("conditioning__generator", "conditioning__discriminator"), "concat")
    | {"conditioning__embedding": 3},
    "infogan": {"conditioning__generator": "concat", "conditioning__discriminator": "infogan"},
    "mhgan": {"conditioning__generator": "concat", "conditioning__discriminator": "mhgan", "loss": "hinge"},
    "reacgan": {"conditioning__generator": "concat", "conditioning__discriminator": "reacgan"},
    "spectral_norm": dict.fromkeys(("model__generator__spectral_norm", "model__discriminator__spectral_norm"), True),
    "minibatch_stddev": {"model__discriminator__minibatch_stddev": 4},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_the_table_counts_every_parameter(family, network, way):
    exp = build(tiny_config(**FAMILIES[family], **WAYS[way]), classes=5)
    module, inputs = exp.networks[network], exp.algorithm.inputs(exp)[network]
    variables = shapes_of(module, inputs)
    rows = summary.layer_rows(module, inputs)
    assert len({row.path for row in rows}) == len(rows)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    assert sum(row.params for row in rows) == count
    last = summary.table(network, rows).splitlines()[-1]
    assert last.split() == ["total", f"{count:,}", f"{sum(row.flops for row in rows):,}"]


class Layer(nn.Module):
    layer: nn.Module

    def __call__(self, inputs, train):
        return self.layer(inputs)


@pytest.mark.parametrize(
    ("layer", "shape", "flops"),
    [
        (nn.Dense(7), (1, 5), 2 * 5 * 7),
        (layers.Conv(7), (1, 8, 8, 3), 2 * 4 * 4 * 3 * 7 * 4 * 4),
        (layers.Conv(7, size=3, stride=1), (1, 8, 8, 3), 2 * 3 * 3 * 3 * 7 * 8 * 8),
        (layers.ConvTranspose(7), (1, 8, 8, 3), 2 * 4 * 4 * 3 * 7 * 8 * 8),
    ],
    ids=["dense", "conv", "conv of stride 1", "conv_transpose"],
)
def test_flops_of_one_layer(layer, shape, flops):
    inputs = jnp.zeros(shape)
    (row,) = summary.layer_rows(Layer(layer), (inputs,))
    assert row.flops == flops
    assert row.kind == type(layer).__name__


@pytest.mark.parametrize(
    ("family", "network"), [("dcgan", "generator"), ("dcgan", "discriminator"), ("mlp", "generator")]
)
def test_flops_are_near_those_that_xla_counts(family, network):
    settings = {f"model__{network}__{WIDTHS[family]}": 32, "model__family": family, "latent_dim": 100}
    exp = build(tiny_config(**settings, data__size="64x48", data__channels=3))
    module, inputs = exp.networks[network], exp.algorithm.inputs(exp)[network]
    if family == "dcgan":
        module = laid_out(module, batch_last=False)  # whose convolutions XLA counts as such
    variables = shapes_of(module, inputs)
    lowered = jax.jit(lambda v, x: module.apply(v, *x, train=False)).lower(variables, inputs)
    count = sum(row.flops for row in summary.layer_rows(module, inputs))
    np.testing.assert_allclose(count, lowered.cost_analysis()["flops"], rtol=0.15)


def test_a_network_starts_with_the_named_initializer():
    inputs = jnp.zeros((1, 100)), None
    for stddev in (0.02, 0.1):
        settings = {"model__initializer": "gaussian", "model__init_stddev": stddev, "model__generator__width": 64}
        generator = built(**settings)["generator"]
        kernels = [array for path, array in leaves(initialised(generator, inputs)).items() if "kernel" in path]
        assert len(kernels) == 5
        for kernel in kernels:
            np.testing.assert_allclose(kernel.std(), stddev, rtol=0.05)


WITH_BOTH = [name for name, entry in models.MODELS.items() if {"generator", "decoder"} <= entry.roles.keys()]


@pytest.mark.parametrize("family", WITH_BOTH)
def test_a_decoder_is_a_generator_without_a_bound(family):
    """Same parameters; where the generator ends in tanh, the decoder does not."""
    own = FAMILIES.get(family, {"model__family": family, "data__size": 16})
    config = tiny_config(**own, model__initializer="he")
    shape = example_shape(config.data)
    generator, decoder = (models.make(config, "generator", role, shape) for role in ("generator", "decoder"))
    latents = jax.random.normal(jax.random.key(1), (3, 4))

    @quick_jit
    def run():
        variables = generator.init(jax.random.key(0), latents, None, train=False)
        return [network.apply(variables, latents, None, train=False) for network in (generator, decoder)]

    bounded, free = run()
    np.testing.assert_allclose(bounded, free if family == "toy_mlp" else np.tanh(free), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", [name for name in FAMILIES if "encoder" in models.MODELS[name].roles])
def test_an_encoder_gives_the_features_of_a_discriminator(family):
    config = tiny_config(**FAMILIES[family])
    shape = example_shape(config.data)
    encoder, body = (models.make(config, "discriminator", role, shape) for role in ("encoder", "discriminator"))
    assert encoder == body
