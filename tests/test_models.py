"""The model families: shapes, ranges, the order of their layers, their settings; the layer table against XLA."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import leaves, quick_jit, raises_user_error, tiny_config

from jaxgan import experiment, models
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError
from jaxgan.models import layers, summary

DCGAN_SIZES = (8, 14, 16, 28, 32, 56, 64)
RING = {"model__family": "points", "data__source": "world:ring"}
FAMILIES = {"mlp": {"model__family": "mlp"}, "dcgan": {"model__family": "dcgan", "data__size": 16}, "points": RING}
LAYERS = (nn.Dense, layers.Conv, layers.ConvTranspose)


def built(**settings):
    """The networks of a tiny experiment that knows no labels."""
    config = tiny_config(**settings)
    return models.build(config, example_shape(config.data))


def inputs_of(network, count=2, **settings):
    """What a network of a tiny experiment without conditions may be given."""
    config = tiny_config(**settings)
    shape = {"generator": (config.latent_dim,), "discriminator": example_shape(config.data)}[network]
    return jax.random.normal(jax.random.key(1), (count, *shape)), None


def initialised(network, inputs, seed=0):
    return quick_jit(lambda x: network.init(jax.random.key(seed), *x, train=True))(inputs)


def shapes_of(network, inputs):
    return jax.eval_shape(lambda x: network.init(jax.random.key(0), *x, train=True), inputs)


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
    ("family", "size"), [("dcgan", size) for size in DCGAN_SIZES] + [("mlp", size) for size in (1, 5, 8, 24)]
)
def test_shapes(family, size, channels):
    networks = built(model__family=family, data__size=size, data__channels=channels)
    latents = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    run = lambda network: lambda x: network.init_with_output(jax.random.key(0), x, None, train=True)[0]  # noqa: E731
    images = jax.eval_shape(run(networks["generator"]), latents)
    assert (images.shape, images.dtype) == ((3, size, size, channels), jnp.float32)
    judgement = jax.eval_shape(run(networks["discriminator"]), images)
    assert (judgement.logits.shape, judgement.logits.dtype) == ((3,), jnp.float32)
    assert (len(judgement.features), judgement.features.ndim, judgement.recovered) == (3, 2, None)


@pytest.mark.parametrize("family", ["dcgan", "mlp"])
def test_images_fill_the_range_of_tanh_and_do_not_leave_it(family):
    generator = built(model__family=family, model__init_stddev=1.0, model__initializer="gaussian")["generator"]
    latents = 10 * jax.random.normal(jax.random.key(1), (8, 4))
    images, _ = quick_jit(lambda x: generator.init_with_output(jax.random.key(0), x, None, train=True))(latents)
    assert np.abs(images).max() <= 1
    assert images.min() < -0.9
    assert images.max() > 0.9


@pytest.mark.parametrize("size", [6, 10, 24, 48, 7, 4, 1, 9])
def test_a_size_that_dcgan_cannot_make_is_named(size):
    with raises_user_error(UserError, match=rf"config\.data\.size={size} .*dcgan.*8, 14, 16, 28, 32"):
        experiment.build(tiny_config(model__family="dcgan", data__size=size))


def test_a_setting_that_a_family_lacks_is_named():
    with raises_user_error(UserError, match=r"config\.model\.discriminator\.downsampling='max_pool' .*mlp.*'stride'"):
        experiment.build(tiny_config(model__family="mlp", model__discriminator__downsampling="max_pool"))


@pytest.mark.parametrize(
    "setting",
    [
        "model__initializer",
        "model__generator__norm",
        "model__discriminator__norm",
        "model__discriminator__downsampling",
    ],
)
def test_an_unknown_name_in_the_model_is_a_user_error(setting):
    name = setting.replace("__", ".")
    with raises_user_error(UserError, match=rf"{name}.*'nonsense'"):
        experiment.build(tiny_config(**{"model__family": "dcgan", setting: "nonsense"}))


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


@pytest.mark.parametrize(("leak", "settings"), [(0.2, {}), (0.05, {"model__discriminator__leak": 0.05})])
@pytest.mark.parametrize(("family", "depth"), [("mlp", 3), ("dcgan", 1), ("points", 3)])
def test_the_leak_is_the_slope_below_zero(family, depth, leak, settings):
    """With constant layers the logit of anything is the slope to the power of the depth, times -1."""
    settings = FAMILIES[family] | {"data__size": 8} | settings
    network = built(**settings, model__discriminator__norm="none")["discriminator"]
    inputs = inputs_of("discriminator", **settings)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes_of(network, inputs)["params"])
    body = params["body"]
    first, *others = sorted(body, key=lambda name: (name.startswith("Dense"), name))
    body[first]["bias"] -= 1
    for layer in (params["Dense_0"], *(body[name] for name in others)):
        layer["kernel"] = np.full_like(layer["kernel"], 1 / layer["kernel"].shape[0])
    judgement = network.apply({"params": jax.device_put(params)}, *inputs, train=True)
    np.testing.assert_allclose(judgement.logits, [-(leak**depth)] * 2, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_bias_stands_exactly_where_no_norm_follows(family, network):
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


NORMS = {"generator": {"mlp": 4, "dcgan": 2, "points": 4}, "discriminator": {"mlp": 3, "dcgan": 1, "points": 3}}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_norm_stands_between_a_layer_and_its_activation(family, network):
    inputs = inputs_of(network, 8, **FAMILIES[family])
    module = built(**FAMILIES[family])[network]
    record = calls(module, initialised(module, inputs), inputs, run_compiled)
    leak = tiny_config().model.discriminator.leak
    activation = nn.relu if network == "generator" else lambda x: nn.leaky_relu(x, leak)
    norms = [index for index, (layer, *_) in enumerate(record) if isinstance(layer, nn.BatchNorm)]
    assert len(norms) == NORMS[network][family]
    for index in norms:
        (before, _, made, _), (_, normed, out, _), (_, taken, *_) = record[index - 1 : index + 2]
        assert isinstance(before, LAYERS)
        np.testing.assert_array_equal(np.ravel(normed), np.ravel(made))
        np.testing.assert_array_equal(np.ravel(taken), np.ravel(activation(out)))
        assert out.min() < 0
    assert not isinstance(record[-1][0], nn.BatchNorm)


def test_the_paper_s_network():
    """Radford et al., 2016, figure 1: 100 -> 4x4x1024 -> 512 -> 256 -> 128 -> 64x64x3, with width 128."""
    settings = {"data__size": 64, "data__channels": 3, "model__generator__width": 128}
    generator = built(model__family="dcgan", **settings)["generator"]
    inputs = jax.ShapeDtypeStruct((1, 100), jnp.float32), None
    variables = shapes_of(generator, inputs)
    rows = [row for row in summary.layer_rows(generator, variables, inputs) if row.kind != "BatchNorm"]
    assert [row.shape for row in rows] == [(4 * 4 * 1024,), (8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]


WAYS = {  # of labels and codes into the networks, and what else has parameters or wraps those that have
    "none": {},
    "cbn and projection": {"conditioning__generator": "cbn", "conditioning__discriminator": "projection"},
    "concat": dict.fromkeys(("conditioning__generator", "conditioning__discriminator"), "concat"),
    "embedded": dict.fromkeys(("conditioning__generator", "conditioning__discriminator"), "concat")
    | {"conditioning__embedding": 3},
    "infogan": {"conditioning__generator": "concat", "conditioning__discriminator": "infogan"},
    "spectral_norm": dict.fromkeys(("model__generator__spectral_norm", "model__discriminator__spectral_norm"), True),
    "minibatch_stddev": {"model__discriminator__minibatch_stddev": 4},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_the_table_counts_every_parameter(family, network, way):
    gan = experiment.build(tiny_config(**FAMILIES[family], **WAYS[way]), classes=5)
    module, inputs = gan.networks[network], experiment.example_inputs(gan)[network]
    variables = shapes_of(module, inputs)
    rows = summary.layer_rows(module, variables, inputs)
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
    (row,) = summary.layer_rows(Layer(layer), shapes_of(Layer(layer), (inputs,)), (inputs,))
    assert row.flops == flops
    assert row.kind == type(layer).__name__


@pytest.mark.parametrize(
    ("family", "network"), [("dcgan", "generator"), ("dcgan", "discriminator"), ("mlp", "generator")]
)
def test_flops_are_near_those_that_xla_counts(family, network, monkeypatch):
    monkeypatch.setattr(layers, "conv", layers.stock_conv)
    monkeypatch.setattr(layers, "conv_transpose", layers.stock_conv_transpose)
    settings = {f"model__{network}__width": 32, "model__family": family, "data__size": 64, "latent_dim": 100}
    gan = experiment.build(tiny_config(**settings, data__channels=3))
    module, inputs = gan.networks[network], experiment.example_inputs(gan)[network]
    variables = shapes_of(module, inputs)
    lowered = jax.jit(lambda v, x: module.apply(v, *x, train=False)).lower(variables, inputs)
    count = sum(row.flops for row in summary.layer_rows(module, variables, inputs))
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
