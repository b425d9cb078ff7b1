"""Layers with equalised learning rates, and the modulated convolution beside one kernel for each example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit
from jax import lax
from made_up import numbers

from jaxgan.models.ops import equalized, layers
from jaxgan.models.ops.modulated_conv import modulated_conv


def made_up(name, *shape):
    return jnp.asarray(numbers(name, shape))


def test_leaky_relu_keeps_its_gain_and_is_cut_off():
    features = jnp.array([-10.0, -1.0, 0.0, 1.0, 10.0])
    root = np.sqrt(2)
    np.testing.assert_allclose(equalized.activate(features), [-2 * root, -0.2 * root, 0, root, 10 * root], rtol=1e-6)
    np.testing.assert_allclose(equalized.activate(features, 1.0, 0.5), [-0.5, -0.1 * root, 0, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_a_layer_starts_with_unit_variance_whatever_its_width_and_learning_rate(multiplier):
    """Of standard normal inputs, and its stored weights are those numbers over the multiplier."""
    for width in (8, 512):
        layer = equalized.Dense(4096, multiplier)
        inputs = jax.random.normal(jax.random.key(0), (16, width))
        outputs, variables = layer.init_with_output(jax.random.key(1), inputs)
        assert float(jnp.square(outputs).mean()) == pytest.approx(1, rel=0.2)
        assert float(variables["params"]["kernel"].std()) == pytest.approx(1 / multiplier, rel=0.05)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 64))
    outputs = equalized.Conv(64, activated=False).init_with_output(jax.random.key(1), images)[0]
    assert float(jnp.square(outputs[:, 1:-1, 1:-1]).mean()) == pytest.approx(1, rel=0.1)


def test_the_multiplier_divides_stored_weights_and_multiplies_gradients():
    inputs, params = made_up("inputs", 3, 5), {"kernel": made_up("kernel", 5, 4), "bias": made_up("bias", 4)}

    def outcome(multiplier, params):
        layer = equalized.Dense(4, multiplier, activated=True)
        return jax.value_and_grad(lambda params: jnp.sin(layer.apply({"params": params}, inputs)).sum())(params)

    value, slopes = outcome(1.0, params)
    slower, slower_slopes = outcome(0.1, jax.tree.map(lambda array: array / 0.1, params))
    np.testing.assert_allclose(slower, value, rtol=1e-5)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, 0.1 * other, rtol=1e-4), slower_slopes, slopes)


def by_example(features, kernel, styles, demodulate, doubles):
    """The definition: a kernel for each example, and in the place of phases a convolution with the blur."""
    numbers = ("NHWC", "HWIO", "NHWC")

    def convolved(image, style):
        own = kernel * style[:, None]
        own = own / jnp.sqrt(jnp.square(own).sum((0, 1, 2)) + 1e-8) if demodulate else own
        around = [(2, 2) if doubles else (1, 1)] * 2
        dilation = (2, 2) if doubles else (1, 1)
        return lax.conv_general_dilated(image[None], own, (1, 1), around, dilation, dimension_numbers=numbers)[0]

    out = jax.vmap(convolved)(features, styles)
    if not doubles:
        return out
    taps = jnp.array([1.0, 3.0, 3.0, 1.0]) / 4
    blur, count = jnp.outer(taps, taps)[..., None, None], out.shape[-1]
    options = {"dimension_numbers": numbers, "feature_group_count": count}
    return lax.conv_general_dilated(out, jnp.tile(blur, (1, 1, 1, count)), (1, 1), [(1, 1)] * 2, **options)


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize(("demodulate", "doubles"), [(True, False), (False, False), (True, True)])
def test_a_modulated_convolution_has_a_kernel_for_each_example(demodulate, doubles, batch_last):
    features, kernel, styles = made_up("x", 2, 5, 4, 6), made_up("w", 3, 3, 6, 7), made_up("s", 2, 6)

    @quick_jit
    def run(features):
        laid_out = layers.to_layout(features, batch_last)
        out = modulated_conv(laid_out, kernel, styles, batch_last, demodulate=demodulate, doubles=doubles)
        return layers.to_layout(out, batch_last), by_example(features, kernel, styles, demodulate, doubles)

    found, expected = run(features)
    assert found.shape == (2, 10, 8, 7) if doubles else (2, 5, 4, 7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_demodulation_takes_away_the_length_of_styles():
    features, kernel, styles = made_up("x", 2, 4, 4, 3), made_up("w", 3, 3, 3, 5), made_up("s", 2, 3)
    one, other = (modulated_conv(features, kernel, styles * scale, False) for scale in (1, 50))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
