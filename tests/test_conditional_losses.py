"""Conditional losses by their papers' formulas, summed up term by term, and what they do not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.adversarial import conditional_losses as losses
from jaxgan.adversarial.losses import hinge_discriminator

BATCH, CLASSES, DIM = 6, 3, 4
LABELS = np.asarray([0, 1, 1, 2, 0, 1])
ONE_HOT = jnp.eye(CLASSES)[LABELS]
close = np.testing.assert_allclose


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def probability(logits, place: int) -> float:
    """Softmax of one row, written out."""
    logits = np.float64(logits)
    return float(np.exp(logits[place]) / np.exp(logits).sum())


def test_the_twins_are_classifiers_of_real_examples_and_of_fakes():
    """Twin Auxiliary Classifiers GAN: the generator is rewarded where the twin does not know its fakes."""
    real, fake = normal(0, BATCH, 2 * CLASSES), normal(1, BATCH, 2 * CLASSES)
    own, twin = slice(None, CLASSES), slice(CLASSES, None)
    d_values, g_values = losses.twin_discriminator(real, fake, ONE_HOT), losses.twin_generator(fake, ONE_HOT)
    for i, label in enumerate(LABELS):
        expected = -np.log(probability(real[i, own], label)) - np.log(probability(fake[i, twin], label))
        close(d_values[i], expected, rtol=1e-5)
        expected = np.log(probability(fake[i, twin], label)) - np.log(probability(fake[i, own], label))
        close(g_values[i], expected, rtol=1e-4, atol=1e-6)


def test_a_discriminative_classifier_knows_real_from_fake_by_class():
    """ADC-GAN: 2 K classes, of which the generator wants its fakes to be of the real one of their label."""
    real, fake = normal(2, BATCH, 2 * CLASSES), normal(3, BATCH, 2 * CLASSES)
    d_values = losses.real_or_fake_discriminator(real, fake, ONE_HOT)
    g_values = losses.real_or_fake_generator(fake, ONE_HOT)
    for i, label in enumerate(LABELS):
        as_real, as_fake = (probability(fake[i], label + place) for place in (0, CLASSES))
        close(d_values[i], -np.log(probability(real[i], label)) - np.log(as_fake), rtol=1e-5)
        close(g_values[i], np.log(as_fake) - np.log(as_real), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_a_multi_hinge_is_by_the_likeliest_wrong_class(margin):
    """MHGAN: K + 1 classes, the last one of which is that of fakes."""
    real, fake = normal(4, BATCH, CLASSES + 1), normal(5, BATCH, CLASSES + 1)

    def hinge(logits, place):
        return max(0.0, margin + max(np.delete(np.asarray(logits), place)) - float(logits[place]))

    d_values = losses.multi_hinge_discriminator(real, fake, ONE_HOT, margin)
    g_values = losses.multi_hinge_generator(fake, ONE_HOT, margin)
    for i, label in enumerate(LABELS):
        close(d_values[i], hinge(real[i], label) + hinge(fake[i], CLASSES), rtol=1e-5, atol=1e-6)
        close(g_values[i], hinge(fake[i], label), rtol=1e-5, atol=1e-6)


def test_of_one_class_a_multi_hinge_is_the_hinge_loss():
    real, fake = normal(6, BATCH, 2), normal(7, BATCH, 2)
    values = losses.multi_hinge_discriminator(real, fake, jnp.ones((BATCH, 1)))
    close(values, hinge_discriminator(real[:, 0] - real[:, 1], fake[:, 0] - fake[:, 1]), rtol=1e-5, atol=1e-6)


def found(embedding, proxy, condition=ONE_HOT) -> losses.Similarities:
    return losses.similarities(embedding, proxy, condition, jnp.arange(len(condition)))


def cosine(one, other) -> float:
    one, other = np.float64(one), np.float64(other)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_2c_compares_with_a_proxy_and_with_all_other_examples(temperature):
    """ContraGAN, equation 8."""
    x, v = normal(8, BATCH, DIM), normal(9, CLASSES, DIM)
    values = losses.contrastive(found(x, v[LABELS]), temperature)
    for i, label in enumerate(LABELS):
        near = np.exp(cosine(x[i], v[label]) / temperature)
        others = [k for k in range(BATCH) if k != i]
        alike = sum(np.exp(cosine(x[i], x[k]) / temperature) for k in others if LABELS[k] == label)
        every = sum(np.exp(cosine(x[i], x[k]) / temperature) for k in others)
        close(values[i], -np.log((near + alike) / (near + every)), rtol=1e-4)


@pytest.mark.parametrize(("temperature", "positive", "negative"), [(0.5, 0.98, 0.02), (0.1, 0.5, 0.3)])
def test_d2d_ce_is_pulled_by_a_proxy_and_pushed_by_other_classes(temperature, positive, negative):
    """ReACGAN: easy positives and negatives, beyond the margins, count as if they were at them."""
    x, v = normal(10, BATCH, DIM), normal(11, CLASSES, DIM)
    values = losses.data_to_data(found(x, v[LABELS]), temperature, positive, negative)
    for i, label in enumerate(LABELS):
        pull = np.exp(min(cosine(x[i], v[label]) - positive, 0) / temperature)
        others = [k for k in range(BATCH) if LABELS[k] != label]
        push = sum(np.exp(max(cosine(x[i], x[k]) - negative, 0) / temperature) for k in others)
        close(values[i], -np.log(pull / (pull + push)), rtol=1e-4)


def test_d2d_ce_has_no_slope_beyond_its_margins():
    """Embeddings at their proxies, which are at right angles."""
    x, v = jnp.eye(CLASSES, DIM)[LABELS], jnp.eye(CLASSES, DIM)[LABELS]
    mean = lambda x: losses.data_to_data(found(x, v), 0.5, 0.98, 0.02).mean()  # noqa: E731
    np.testing.assert_array_equal(jax.grad(mean)(x), jnp.zeros_like(x))
    assert float(abs(jax.grad(mean)(x + 0.5)).max()) > 1e-3


COMPARED = {
    "2C": lambda s: losses.contrastive(s, 0.5),
    "D2D-CE": lambda s: losses.data_to_data(s, 0.5, 0.98, 0.02),
}
every_comparison = pytest.mark.parametrize("loss", COMPARED.values(), ids=COMPARED)


@every_comparison
def test_where_all_have_one_label_there_is_nothing_to_tell_apart(loss):
    values = loss(found(normal(12, BATCH, DIM), normal(13, BATCH, DIM), jnp.ones((BATCH, 1))))
    close(values, np.zeros(BATCH), atol=1e-6)


@every_comparison
def test_lengths_do_not_matter_and_0_is_no_trouble(loss):
    x, v = normal(14, BATCH, DIM), normal(15, BATCH, DIM)
    close(loss(found(x, v)), loss(found(7 * x, 0.1 * v)), rtol=1e-4, atol=1e-6)
    slopes = jax.grad(lambda x, v: loss(found(x, v)).mean(), (0, 1))(x.at[0].set(0), v.at[1].set(0))
    assert all(np.isfinite(slope).all() for slope in slopes)


@every_comparison
def test_the_order_of_a_batch_does_not_matter(loss):
    x, v, order = normal(16, BATCH, DIM), normal(17, BATCH, DIM), np.asarray([3, 5, 0, 1, 4, 2])
    close(loss(found(x[order], v[order], ONE_HOT[order])), loss(found(x, v))[order], rtol=1e-4, atol=1e-6)


@every_comparison
def test_each_example_is_compared_with_those_of_all_devices(loss):
    """Values, and slopes through the examples of other devices as well."""
    x, v = normal(18, BATCH, DIM), normal(19, BATCH, DIM)

    def of_a_share(x, v, condition):
        index = len(x) * jax.lax.axis_index("devices") + jnp.arange(len(x))
        gather = lambda own: jax.lax.all_gather(own, "devices", tiled=True)  # noqa: E731
        return loss(losses.similarities(x, v, condition, index, gather))

    def split(x, v):
        shares = [array.reshape(2, BATCH // 2, -1) for array in (x, v, ONE_HOT)]
        return jax.vmap(of_a_share, axis_name="devices")(*shares).reshape(-1)

    close(split(x, v), loss(found(x, v)), rtol=1e-4, atol=1e-6)
    expected = jax.grad(lambda x, v: loss(found(x, v)).mean(), (0, 1))(x, v)
    for slope, whole in zip(jax.grad(lambda x, v: split(x, v).mean(), (0, 1))(x, v), expected, strict=True):
        close(slope, whole, rtol=1e-3, atol=1e-6)
