"""Labels and codes in the networks: where they enter, what the outputs depend on, and how codes are sampled."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error, tiny_config

from jaxgan.adversarial.conditioning import (
    DISCRIMINATOR_CONDITIONING,
    Discriminator,
    Generator,
    condition_size,
    latent_code,
)
from jaxgan.config import build
from jaxgan.errors import UserError

CLASSES, BATCH, FEATURES, PROXY = 5, 6, 4, 3
ONE_HOT = jax.nn.one_hot(jnp.asarray([0, 3, 1, 1, 4, 2]), CLASSES)
UNKNOWN = jax.nn.one_hot(jnp.full(BATCH, -1), CLASSES)


class Body(nn.Module):
    """A network that hands out what it was given."""

    @nn.compact
    def __call__(self, inputs, *more):
        self.sow("intermediates", "given", (inputs, *more[:-1]))
        return inputs.reshape(len(inputs), -1)[:, :FEATURES]


def given(network, inputs, condition, variables=None):
    """(the variables of a network around `Body`, what that was given)."""
    variables = variables or {"params": network.init(jax.random.key(0), inputs, condition, True).get("params", {})}
    _, kept = network.apply(variables, inputs, condition, True, mutable=["intermediates"])
    return variables["params"], kept["intermediates"]["body"]["given"][0]


@functools.cache
def discriminator(conditioning: str = "none", predicted: int = 0):
    """(examples, parameters, the compiled discriminator): features are examples, weights all different."""
    sizes = {"predicted": predicted, "proxy_dim": PROXY}
    network = Discriminator(Body(), conditioning, **sizes, kernel_init=nn.initializers.normal(1.0))
    examples = jax.random.normal(jax.random.key(1), (BATCH, FEATURES))
    params = network.init(jax.random.key(0), examples, ONE_HOT, True)["params"]
    for layer in params.values():
        if "bias" in layer:
            layer["bias"] += 0.7
    return examples, params, quick_jit(lambda params, *args: network.apply({"params": params}, *args, True))


# Concatenated


@pytest.mark.parametrize("embedding", [0, 3])
def test_a_concatenated_condition_follows_the_latents(embedding):
    latents = jax.random.normal(jax.random.key(1), (BATCH, 2))
    params, (joined, modulation) = given(Generator(Body(), "concat", embedding), latents, ONE_HOT)
    embedded = ONE_HOT @ params["embedding"]["kernel"] if embedding else ONE_HOT
    assert set(params) == ({"embedding"} if embedding else set())
    np.testing.assert_array_equal(joined[:, :2], latents)
    np.testing.assert_allclose(joined[:, 2:], embedded, rtol=1e-6)
    assert modulation is None


@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize("shape", [(BATCH, 2), (BATCH, 4, 3, 2)])
def test_a_concatenated_condition_is_the_same_at_every_pixel(shape, embedding):
    examples = jax.random.normal(jax.random.key(1), shape)
    params, (joined,) = given(Discriminator(Body(), "concat", embedding), examples, ONE_HOT)
    embedded = ONE_HOT @ params["embedding"]["kernel"] if embedding else ONE_HOT
    assert joined.shape == (*shape[:-1], 2 + (embedding or CLASSES))
    np.testing.assert_array_equal(joined[..., :2], examples)
    for place in np.ndindex(shape[1:-1]):
        np.testing.assert_allclose(joined[(slice(None), *place)][:, 2:], embedded, rtol=1e-6)


def test_a_modulation_is_the_condition_and_nothing_is_concatenated():
    latents = jax.random.normal(jax.random.key(1), (BATCH, 2))
    for conditioning, expected in (("none", None), ("cbn", ONE_HOT)):
        params, (joined, modulation) = given(Generator(Body(), conditioning), latents, ONE_HOT)
        assert params == {}
        np.testing.assert_array_equal(joined, latents)
        np.testing.assert_array_equal(modulation, expected)


def shapes(family: str, network: str, **settings) -> dict[str, tuple[int, ...]]:
    """{path: the shape of a parameter} of a network of a tiny experiment."""
    source = "world:ring" if family == "toy_mlp" else "digits"
    exp = build(tiny_config(model__family=family, data__source=source, **settings), CLASSES)
    inputs = exp.algorithm.inputs(exp)[network]
    tree = jax.eval_shape(lambda: exp.networks[network].init(jax.random.key(0), *inputs, True))["params"]
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
@pytest.mark.parametrize("family", ["mlp", "dcgan", "tf_dcgan", "toy_mlp"])
def test_the_first_layer_grows_by_what_is_concatenated_and_no_other_layer_does(family, network, embedding):
    both = dict.fromkeys(("conditioning__generator", "conditioning__discriminator"), "concat")
    plain, grown = shapes(family, network), shapes(family, network, **both, conditioning__embedding=embedding)
    convolutional = "dcgan" in family and network == "discriminator"
    first = f"['body']['{'Conv_0' if convolutional else 'Dense_0'}']['kernel']"
    changed = {path for path in plain | grown if plain.get(path) != grown.get(path)}
    assert changed == {first} | ({"['embedding']['kernel']"} if embedding else set())
    *window, inputs, features = plain[first]
    places = 8 * 8 if (family, network) == ("mlp", "discriminator") else 1  # whose dense layer meets every pixel
    assert grown[first] == (*window, inputs + places * (embedding or CLASSES), features)
    assert grown.get("['embedding']['kernel']") == ((CLASSES, embedding) if embedding else None)


# Outputs of the discriminator


def test_an_unconditional_logit_is_linear_in_the_features():
    examples, params, run = discriminator()
    d_out = run(params, examples, None)
    expected = np.float64(examples) @ params["Dense_0"]["kernel"][:, 0] + params["Dense_0"]["bias"]
    np.testing.assert_allclose(d_out.logits, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(d_out.features, examples)
    assert d_out.aux_logits is None


def test_a_projection_is_the_product_of_the_features_and_the_label_s_row():
    """Miyato and Koyama, 2018, equation 3: y^T V f + psi(f)."""
    examples, params, run = discriminator("projection")
    assert {name: set(layer) for name, layer in params.items()} == {
        "Dense_0": {"kernel", "bias"},
        "Dense_1": {"kernel"},
    }
    rows = np.float64(params["Dense_1"]["kernel"])
    assert rows.shape == (CLASSES, FEATURES)
    alone = np.float64(examples) @ params["Dense_0"]["kernel"][:, 0] + params["Dense_0"]["bias"]
    labels = ONE_HOT.argmax(1)
    expected = [alone[i] + rows[labels[i]] @ np.float64(examples[i]) for i in range(BATCH)]
    d_out = run(params, examples, ONE_HOT)
    np.testing.assert_allclose(d_out.logits, expected, rtol=1e-5, atol=1e-5)
    assert d_out.aux_logits is None


def test_a_projection_is_linear_in_features_and_in_conditions():
    examples, params, run = discriminator("projection")
    bare = params | {"Dense_0": jax.tree.map(jnp.zeros_like, params["Dense_0"])}
    logits = lambda examples, condition: run(bare, examples, condition).logits  # noqa: E731
    other, labels = examples[::-1] + 1, jnp.roll(ONE_HOT, 2, axis=0)
    parts = [logits(examples, ONE_HOT), logits(other, ONE_HOT), logits(examples, labels)]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(logits(2 * examples - 3 * other, ONE_HOT), 2 * parts[0] - 3 * parts[1])
    close(logits(examples, 2 * ONE_HOT - 3 * labels), 2 * parts[0] - 3 * parts[2])


def test_an_inner_product_is_all_of_the_logit():
    """(W f) . (V y), so that a label without a row has a logit of 0."""
    examples, params, run = discriminator("inner_product")
    assert {name: set(layer) for name, layer in params.items()} == {"Dense_0": {"kernel"}, "embedding": {"kernel"}}
    rows, mixed = np.float64(params["embedding"]["kernel"]), np.float64(examples) @ params["Dense_0"]["kernel"]
    expected = [mixed[i] @ rows[label] for i, label in enumerate(ONE_HOT.argmax(1))]
    d_out = run(params, examples, ONE_HOT)
    np.testing.assert_allclose(d_out.logits, expected, rtol=1e-5, atol=1e-5)
    assert d_out.aux_logits is None
    np.testing.assert_array_equal(run(params, examples, UNKNOWN).logits, np.zeros(BATCH))


def test_the_rows_of_an_inner_product_begin_as_the_authors_have_them():
    """Normal, with a variance of 1 over classes and features."""
    network = Discriminator(Body(), "inner_product")
    classes, wide = 50, jnp.ones((1, FEATURES))
    params = [network.init(jax.random.key(seed), wide, jnp.zeros((1, classes)), True)["params"] for seed in range(8)]
    rows = np.stack([each["embedding"]["kernel"] for each in params])
    np.testing.assert_allclose(rows.std(), (classes * FEATURES) ** -0.5, rtol=0.1)


def test_an_unknown_label_leaves_the_unconditional_logit():
    np.testing.assert_array_equal(UNKNOWN, np.zeros((BATCH, CLASSES)))
    examples, params, run = discriminator("projection")
    _, _, unconditional = discriminator()
    np.testing.assert_array_equal(run(params, examples, UNKNOWN).logits, unconditional(params, examples, None).logits)


@pytest.mark.parametrize("conditioning", DISCRIMINATOR_CONDITIONING)
def test_a_predicted_condition_is_linear_in_the_features(conditioning):
    examples, params, run = discriminator(conditioning, 7)
    d_out = run(params, examples, ONE_HOT)
    assert d_out.logits.shape == (BATCH,)
    if not DISCRIMINATOR_CONDITIONING[conditioning].predicts:
        assert d_out.aux_logits is None
        return
    layer = params["Dense_1" if DISCRIMINATOR_CONDITIONING[conditioning].adversarial is None else "Dense_0"]
    expected = np.float64(d_out.features) @ layer["kernel"] + layer["bias"]
    assert d_out.aux_logits.shape == (BATCH, 7)
    np.testing.assert_allclose(d_out.aux_logits, expected, rtol=1e-5, atol=1e-5)
    # The condition that is predicted is no input.
    np.testing.assert_array_equal(run(params, examples, jnp.roll(ONE_HOT, 1, axis=0)).aux_logits, d_out.aux_logits)


def test_the_logit_of_a_multi_hinge_is_that_of_the_likeliest_label_over_that_of_fakes():
    examples, params, run = discriminator("mhgan", CLASSES + 1)
    d_out = run(params, examples, None)
    assert set(params) == {"Dense_0"}
    expected = np.asarray(d_out.aux_logits)[:, :CLASSES].max(1) - np.asarray(d_out.aux_logits)[:, CLASSES]
    np.testing.assert_allclose(d_out.logits, expected, rtol=1e-6)


@pytest.mark.parametrize("conditioning", ["contragan", "reacgan"])
def test_an_embedding_is_linear_in_the_features_and_a_proxy_is_the_label_s_row(conditioning):
    examples, params, run = discriminator(conditioning)
    d_out = run(params, examples, ONE_HOT)
    expected = np.float64(examples) @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(d_out.embedding, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(d_out.proxy, params["proxy"]["kernel"][ONE_HOT.argmax(1)])
    assert d_out.embedding.shape == d_out.proxy.shape == (BATCH, PROXY)
    other = run(params, examples, jnp.roll(ONE_HOT, 1, axis=0))  # the label is no part of anything else
    np.testing.assert_array_equal(other.logits, d_out.logits)
    np.testing.assert_array_equal(other.embedding, d_out.embedding)
    _, _, unconditional = discriminator()
    np.testing.assert_array_equal(unconditional({"Dense_0": params["Dense_0"]}, examples, None).logits, d_out.logits)


def test_spectral_norm_is_for_the_last_layers_too():
    network = Discriminator(Body(), "projection", spectral_norm=True)
    examples, params, _ = discriminator("projection")
    variables = network.init(jax.random.key(0), examples, ONE_HOT, True)
    step = quick_jit(lambda v: network.apply(v, examples, ONE_HOT, True, mutable=["spectral"]))
    variables = {**variables, "params": params}
    for _ in range(100):
        d_out, stats = step(variables)
        variables |= stats
    largest = {name: np.linalg.svd(layer["kernel"], compute_uv=False)[0] for name, layer in params.items()}
    expected = examples @ params["Dense_0"]["kernel"][:, 0] / largest["Dense_0"] + params["Dense_0"]["bias"]
    expected += ((ONE_HOT @ params["Dense_1"]["kernel"] / largest["Dense_1"]) * examples).sum(1)
    np.testing.assert_allclose(d_out.logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("generator", "discriminator", "size", "predicted"),
    [
        ("none", "none", 0, None),
        ("concat", "concat", CLASSES, None),
        ("cbn", "projection", CLASSES, None),
        ("cbn", "acgan", CLASSES, CLASSES),
        ("cbn", "tacgan", CLASSES, 2 * CLASSES),
        ("cbn", "adcgan", CLASSES, 2 * CLASSES),
        ("cbn", "mhgan", CLASSES, CLASSES + 1),
        ("cbn", "reacgan", CLASSES, None),
        ("concat", "infogan", 9, 9),
    ],
)
def test_an_experiment_s_networks_take_and_predict_as_many_numbers(generator, discriminator, size, predicted):
    settings = {"conditioning__generator": generator, "conditioning__discriminator": discriminator}
    if discriminator == "mhgan":
        settings["loss"] = "hinge"
    if discriminator == "infogan":
        settings |= {"conditioning__categories": 6, "conditioning__continuous": 3}
    exp = build(tiny_config(**settings), CLASSES)
    inputs = exp.algorithm.inputs(exp)
    assert condition_size(exp.config, exp.classes) == size
    assert (inputs["generator"][1] is None) == (size == 0)
    run = lambda name: exp.networks[name].init_with_output(jax.random.key(0), *inputs[name], True)[0]  # noqa: E731
    assert jax.eval_shape(lambda: run("generator")).shape == (1, 8, 8, 1)
    found = jax.eval_shape(lambda: run("discriminator")).aux_logits
    assert (found.shape[1] if found else None) == predicted


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_an_unknown_conditioning_is_answered_with_the_nearest(network):
    with raises_user_error(UserError, match=rf"unknown config\.conditioning\.{network} 'conat': did you mean concat\?"):
        tiny_config(**{f"conditioning__{network}": "conat"})


# Codes

sample = jax.jit(
    lambda keys, categories, continuous: jax.vmap(lambda key: latent_code(key, categories, continuous))(keys),
    static_argnums=(1, 2),
)
MANY = 6000


def chi_squared(counts) -> float:
    """Of counts that should be equal; its mean is one less than there are of them."""
    return float(((counts - np.mean(counts)) ** 2 / np.mean(counts)).sum())


@functools.cache
def codes(categories: int, continuous: int):
    return np.asarray(sample(jax.random.split(jax.random.key(0), MANY), categories, continuous))


def test_every_category_is_as_likely():
    parts = codes(6, 2)[:, :6]
    np.testing.assert_array_equal(np.sort(parts, axis=1), np.broadcast_to([0, 0, 0, 0, 0, 1], parts.shape))
    assert chi_squared(parts.sum(0)) < 20.5  # the 0.999 quantile for 5 degrees of freedom


def test_the_numbers_of_a_code_are_uniform_between_minus_1_and_1_and_independent():
    rows = codes(6, 2)
    numbers = rows[:, 6:]
    assert (np.abs(numbers) <= 1).all()
    for column in numbers.T:
        assert chi_squared(np.histogram(column, 10, (-1, 1))[0]) < 27.9  # 9 degrees of freedom
    together = np.corrcoef(np.column_stack([rows[:, :5], numbers]).T)[:, 5:]
    others = together[~np.eye(7, dtype=bool)[:, 5:]]
    assert np.abs(others).max() < 4.5 / math.sqrt(MANY)
    assert len(np.unique(numbers)) > 0.99 * numbers.size  # each key its own


@pytest.mark.parametrize(("categories", "continuous"), [(0, 3), (4, 0), (1, 0), (6, 2)])
def test_a_code_has_as_many_numbers_as_are_asked_for(categories, continuous):
    rows = codes(categories, continuous)
    assert rows.shape == (MANY, categories + continuous)
    np.testing.assert_array_equal(rows[:, :categories].sum(1), np.full(MANY, categories > 0))


def test_a_category_that_is_given_is_taken_and_changes_no_number():
    keys = jax.random.split(jax.random.key(1), 4)
    free = sample(keys, 4, 2)
    given = quick_jit(jax.vmap(lambda key, category: latent_code(key, 4, 2, category)))(keys, jnp.asarray([3, 0, 1, 1]))
    np.testing.assert_array_equal(given[:, :4], np.eye(4)[[3, 0, 1, 1]])
    np.testing.assert_array_equal(given[:, 4:], free[:, 4:])
