"""The variational autoencoder: closed forms, bounds of the likelihood, gradients, tasks, wrong settings."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from contracts import config_of
from experiments import assert_close, quick_jit, raises_user_error

from jaxgan import inference
from jaxgan.algorithms import vae
from jaxgan.cli import sample as sample_program
from jaxgan.cli import train as train_program
from jaxgan.config import build, default, example_batch
from jaxgan.core import population
from jaxgan.core.types import Field
from jaxgan.errors import UserError
from jaxgan.variational import densities, objectives, tasks
from jaxgan.variational.densities import Gaussian
from jaxgan.variational.objectives import OBJECTIVES, importance_weighted_bound
from jaxgan.viz import snapshot

RNG = np.random.default_rng(0)
IMAGES = {
    "algorithm": "vae",
    "data.source": "digits",
    "data.size": 8,
    "batch_size": 8,
    "latent_dim": 3,
    "model.family": "iwae_mlp",
    "model.encoder.hidden_dims": (4,),
    "model.decoder.hidden_dims": (4,),
}


def experiment_of(**more):
    """A VAE on tiny images, its state and a batch of them."""
    changes = {name.replace("__", "."): value for name, value in more.items()}
    exp = build(default(IMAGES | changes), classes=10)
    return exp, quick_jit(lambda: population.init_state(exp))(), example_batch(exp)


def run_step(exp, state, batch):
    return quick_jit(functools.partial(exp.algorithm.step, exp))(state, batch)


# Closed forms.


def test_the_kl_divergence_is_the_closed_form_and_the_monte_carlo_estimate():
    q = Gaussian(*(jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32) for _ in range(2)))
    found = q.kl_to_standard_normal().sum(-1)
    z = q.sample(jnp.asarray(RNG.normal(size=(100_000, 5, 3)), jnp.float32))
    log_ratio = np.asarray(q.log_density(z) - densities.normal_log_density(z, 0.0, 1.0, 1))
    assert (abs(log_ratio.mean(0) - found) < 5 * log_ratio.std(0) / len(z) ** 0.5).all()
    np.testing.assert_allclose(Gaussian(jnp.zeros((2, 4)), jnp.zeros((2, 4))).kl_to_standard_normal(), 0)
    # The integral over the line.
    grid = np.linspace(-12, 12, 20_001)
    mean, stddev = float(q.mean[0, 0]), math.exp(0.5 * float(q.log_variance[0, 0]))
    density = scipy.stats.norm.pdf(grid, mean, stddev)
    integral = np.trapezoid(
        density * (scipy.stats.norm.logpdf(grid, mean, stddev) - scipy.stats.norm.logpdf(grid)), grid
    )
    np.testing.assert_allclose(q.kl_to_standard_normal()[0, 0], integral, rtol=1e-4)


def test_the_densities_are_scipy_s():
    x, mean, stddev = RNG.normal(size=(4, 2, 3)), RNG.normal(size=(4, 2, 3)), 0.7
    expected = scipy.stats.norm.logpdf(x, mean, stddev)
    found = densities.normal_log_density(jnp.asarray(x), jnp.asarray(mean), stddev, 2)
    np.testing.assert_allclose(found, expected.sum((1, 2)), rtol=1e-5)
    q = Gaussian(jnp.asarray(mean), jnp.full(mean.shape, 2 * math.log(stddev)))
    np.testing.assert_allclose(q.log_density(jnp.asarray(x)), expected.sum(-1), rtol=1e-5)
    logits = RNG.normal(size=(1, 3))
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    found = densities.bernoulli_log_density(jnp.asarray(bits), jnp.asarray(logits), 1)
    p = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(found, np.log(np.where(bits == 1, p, 1 - p)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)


def test_bits_per_dimension():
    np.testing.assert_allclose(densities.bits_per_dim(jnp.float32(86.76), 784, False), 0.160, atol=5e-4)  # Burda et al.
    # A uniform density of dequantised pixels on all 256 levels, which are 256 / 127.5 wide: 8 bits each.
    uniform = 10 * math.log(256 / 127.5)
    np.testing.assert_allclose(densities.bits_per_dim(jnp.float32(uniform), 10, True), 8, rtol=1e-6)


def test_the_density_of_dequantised_pixels_bounds_the_probability_of_their_levels():
    """E log p(x + u) + log of the bin's width <= log P(level): by Jensen's inequality, and nearly equal for wide p."""
    exp, _, _ = experiment_of(likelihood="gaussian", dequantize=True)
    levels = np.array([0, 100, 128, 255])
    images = jnp.asarray(np.broadcast_to(levels[:, None, None, None] / 127.5 - 1, (4, 8, 8, 1)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 500)
    noisy = jnp.stack([vae.targets(exp, jax.random.split(key, 4), images) for key in keys])
    np.testing.assert_array_equal(jnp.round((noisy + 1) * 127.5), np.broadcast_to((images + 1) * 127.5, noisy.shape))
    spread = np.asarray(noisy - images)
    np.testing.assert_allclose([spread.min(), spread.max()], [-0.5 / 127.5, 0.5 / 127.5], rtol=1e-2)
    for stddev, near in ((0.004, False), (0.2, True)):
        p = scipy.stats.norm(0.0, stddev)
        x = levels / 127.5 - 1
        exact = np.log(np.maximum(p.cdf(x + 0.5 / 127.5) - p.cdf(x - 0.5 / 127.5), 1e-300))
        found = p.logpdf(np.asarray(noisy)).mean((0, 2, 3, 4)) + math.log(1 / 127.5)
        inside = exact > -600
        assert (found <= exact + 1e-2)[inside].all()
        assert not near or np.allclose(found, exact, atol=2e-2)


# Probabilistic PCA: x = W z + b + noise. Its log-likelihood is known, and so is its posterior, whose covariance is
# diagonal where the columns of W are orthogonal.
WEIGHTS = np.array([[1.5, -0.6], [0.4, 1.0]], np.float32)  # [latent, x]: rows are the columns of W
OFFSET, STDDEV = np.array([0.3, -0.2], np.float32), 0.5
LINEAR = {"model.encoder.depth": 0, "model.decoder.depth": 0, "likelihood_stddev": STDDEV}


def with_params(state, params):
    """The state with other parameters, given by network as nested lists or arrays."""
    networks = {}
    for name, own in state.networks.items():
        shaped = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype).reshape(old.shape), params[name], own.params)
        networks[name] = own.replace(params=shaped)
    return state.replace(networks=networks)


def dense(kernel, bias) -> dict:
    return {"kernel": kernel, "bias": bias}


def linear(optimal: bool, **more):
    """A VAE with linear networks as probabilistic PCA; its encoder is the posterior, or another one."""
    settings = {name.replace(".", "__"): value for name, value in LINEAR.items()}
    exp = build(config_of("vae", **settings, **more))
    state = quick_jit(lambda: population.init_state(exp))()
    variances = 1 / ((WEIGHTS**2).sum(1) / STDDEV**2 + 1)
    kernel = WEIGHTS.T * variances / STDDEV**2
    mean, log_variance = -OFFSET @ kernel, np.log(variances)
    if not optimal:
        mean, log_variance = mean + 0.3, log_variance + 0.8
    encoder = {"mean": dense(kernel, mean), "log_variance": dense(np.zeros((2, 2)), log_variance)}
    decoder = {"body": {"body": {"Dense_0": dense(WEIGHTS, OFFSET / 2)}}, "output_bias": OFFSET / 2}
    return exp, with_params(state, {"encoder": encoder, "decoder": decoder})


def exact(points: np.ndarray, covariance=None) -> np.ndarray:
    """log p(x) of probabilistic PCA."""
    covariance = WEIGHTS.T @ WEIGHTS + STDDEV**2 * np.eye(2) if covariance is None else covariance
    return np.atleast_1d(scipy.stats.multivariate_normal(OFFSET, covariance).logpdf(points))


def scores_of(exp, state, points, k) -> dict[str, np.ndarray]:
    """The outputs of the task `likelihood`."""
    count = len(points)
    inputs = inference.seed_inputs(1, count, points=np.float32(points), k=np.full(count, k, np.int32))
    return inference.run_task(exp, "likelihood", inference.variables_of(state, average=False), inputs)


@pytest.mark.parametrize("k", [1, 3, 50, 60, 101])
def test_at_the_optimum_the_estimate_is_the_log_likelihood(k):
    """For any k, below and beyond the size of a chunk: the posterior's weights are all p(x)."""
    exp, state = linear(optimal=True)
    points = RNG.normal(size=(6, 2))
    found = scores_of(exp, state, points, k)
    np.testing.assert_allclose(found["nll"], -exact(points), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["negative_elbo"], -exact(points), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["reconstruction"] + found["kl"], found["negative_elbo"], rtol=1e-5)
    np.testing.assert_allclose(found["bits_per_dim"], found["nll"] / 2 / math.log(2), rtol=1e-5)


def test_elsewhere_the_estimate_is_above_and_falls_with_k():
    exp, state = linear(optimal=False)
    point = np.array([[0.8, -0.5]])
    found = [scores_of(exp, state, np.repeat(point, 10_000, axis=0), k)["nll"] for k in (1, 4, 16, 64)]
    means, errors = [each.mean() for each in found], [each.std() / len(each) ** 0.5 for each in found]
    for (high, low), (one, other) in zip(itertools.pairwise(means), itertools.pairwise(errors), strict=True):
        assert high - low > 3 * (one + other)
    truth = -exact(point)[0]
    assert means[-1] > truth - 4 * errors[-1]
    assert means[-1] - truth < 0.1 * (means[0] - truth)


def test_latents_of_an_example_are_its_own_and_chunks_add_up():
    """The estimate for k is that of the weights in its chunks; an example's k does not depend on others'."""
    exp, state = linear(optimal=False)
    points, k = np.float32(RNG.normal(size=(4, 2))), np.array([1, 60, 7, 130], np.int32)
    variables = inference.variables_of(state, average=False)
    inputs = inference.seed_inputs(1, 4, points=points, k=k)
    found = inference.run_task(exp, "likelihood", variables, inputs)
    log_weights = []
    for chunk in range(3):
        key = vae.rng.stream_key(1, 0, "importance", chunk)
        keys = vae.rng.example_keys(key, jnp.arange(4))
        noise = vae.normal_noise(exp, keys, vae.CHUNK)
        evidence, _ = vae.evidence_of(exp, variables, jnp.asarray(points), None, noise, exp.config.__getitem__)
        log_weights.append(evidence.log_weights)
    log_weights = jnp.concatenate(log_weights)
    expected = [-importance_weighted_bound(log_weights[:count, i : i + 1])[0] for i, count in enumerate(k)]
    np.testing.assert_allclose(found["nll"], expected, rtol=1e-5)


def test_one_importance_sample_is_the_negative_loss_on_average():
    """E[bound of k = 1] = log p(x | z) - KL, which is minus what training minimises at beta 1."""
    exp, state = linear(optimal=False)
    point = np.repeat([[0.8, -0.5]], 10_000, axis=0)
    q = vae.encode(exp, state.networks, jnp.float32(point[:1]), None)
    # Of a linear decoder the expected log-likelihood is known.
    residual = point[0] - (np.asarray(q.mean[0]) @ WEIGHTS + OFFSET)
    spread = (np.exp(np.asarray(q.log_variance[0])) * (WEIGHTS**2).sum(1)).sum()
    likelihood = -0.5 * (residual @ residual + spread) / STDDEV**2 - 2 * np.log(STDDEV * np.sqrt(2 * np.pi))
    expected = likelihood - float(q.kl_to_standard_normal()[0].sum())
    found = scores_of(exp, state, point, 1)
    for name in ("nll", "negative_elbo"):
        assert abs(-found[name].mean() - expected) < 5 * found[name].std() / len(point) ** 0.5


def test_two_linear_layers_have_the_likelihood_of_their_normal_distribution():
    """z2 ~ N(0, 1), z1 = A z2 + c + noise, x = W z1 + b + noise: x is normal, whatever the encoders are."""
    exp = build(config_of("vae", **{name.replace(".", "__"): value for name, value in LINEAR.items()},
                          stochastic_layers="two", lower_latent_dim=2, upper_hidden_dims=()))  # fmt: skip
    state = quick_jit(lambda: population.init_state(exp))()
    upper, noise = np.array([[0.8, 0.3], [-0.2, 0.5]], np.float32), 0.6
    zeros, flat = np.zeros((2, 2)), np.zeros(2)
    params = {
        "encoder": {"mean": dense(0.4 * np.eye(2), flat), "log_variance": dense(zeros, flat)},
        "upper_encoder": {"mean": dense(0.5 * np.eye(2), flat), "log_variance": dense(zeros, flat - 0.3)},
        "upper_decoder": {"mean": dense(upper, flat), "log_variance": dense(zeros, flat + 2 * math.log(noise))},
        "decoder": {"body": {"body": {"Dense_0": dense(WEIGHTS, flat)}}, "output_bias": OFFSET},
    }
    state = with_params(state, params)
    covariance = WEIGHTS.T @ (upper.T @ upper + noise**2 * np.eye(2)) @ WEIGHTS + STDDEV**2 * np.eye(2)
    points = np.float32([[0.5, 0.1], [1.0, -1.0], [-0.3, 0.4]])
    found = scores_of(exp, state, np.repeat(points, 20, axis=0), 2000)["nll"].reshape(3, 20)
    error = found.std(1) / 20**0.5
    np.testing.assert_array_less(abs(found.mean(1) + exact(points, covariance)), 5 * error + 5e-3)
    assert (error < 0.05).all()
    drawn = inference.sample(exp, inference.variables_of(state, average=False), 0, 20_000, None)
    np.testing.assert_allclose(np.cov(drawn.T) + STDDEV**2 * np.eye(2), covariance, atol=0.08)


# Objectives and their gradients.


def evidence_of(exp, state, params, points, noise, weights=None):
    networks = {name: state.networks[name].replace(params=own) for name, own in params.items()}
    return vae.evidence_of(exp, networks, points, None, noise, exp.config.__getitem__, weights=weights)[0]


def test_the_gradient_of_the_bound_is_the_weighted_sum_over_latents():
    """Burda et al., equation 13, one latent at a time; and Tucker et al., equation 8, with explicit Jacobians."""
    exp, state = linear(optimal=False, objective="iwae")
    params = {name: own.params for name, own in state.networks.items()}
    points, k = jnp.asarray(RNG.normal(size=(1, 2)), jnp.float32), 4
    noise = {"encoder": jnp.asarray(RNG.normal(size=(k, 1, 2)), jnp.float32)}
    evidence = evidence_of(exp, state, params, points, noise)
    weights = jax.nn.softmax(evidence.log_weights, axis=0)

    def loss(params, weights=None):
        return OBJECTIVES["iwae"].loss(evidence_of(exp, state, params, points, noise, weights), None).sum()

    def log_weight(params, index):
        own = {"encoder": noise["encoder"][index : index + 1]}
        return evidence_of(exp, state, params, points, own).log_weights[0, 0]

    each = [jax.grad(log_weight)(params, index) for index in range(k)]
    expected = jax.tree.map(lambda *own: -sum(weights[i, 0] * one for i, one in enumerate(own)), *each)
    assert_close(jax.grad(loss)(params), expected, rtol=1e-4, atol=1e-5)

    # Doubly reparameterised: log w as a function of z alone, by numerical differences, times dz / d(encoder).
    q = vae.encode(exp, state.networks, points, None)

    def log_w_of_z(z):
        outputs, _ = vae.apply(exp.networks["decoder"], state.networks["decoder"], z[None], None, train=False)
        log_p = densities.normal_log_density(points, outputs, STDDEV, 1)[0]
        return float(log_p + densities.normal_log_density(z, 0.0, 1.0, 1) - q.log_density(z[None])[0])

    def latent(encoder, index, i):
        return vae.encode(exp, {"encoder": state.networks["encoder"].replace(params=encoder)}, points, None).sample(
            noise["encoder"][index]
        )[0, i]

    total = jax.tree.map(jnp.zeros_like, params["encoder"])
    for index in range(k):
        z = np.asarray(q.sample(noise["encoder"][index])[0], np.float64)
        for i in range(2):
            delta = 1e-2 * np.eye(2)[i]
            slope = (log_w_of_z(jnp.float32(z + delta)) - log_w_of_z(jnp.float32(z - delta))) / 2e-2
            jacobian = jax.grad(latent)(params["encoder"], index, i)
            scale = -(float(weights[index, 0]) ** 2) * slope
            total = jax.tree.map(lambda t, j, scale=scale: t + scale * j, total, jacobian)
    found = jax.grad(loss)(params, weights)
    assert_close(found["encoder"], total, rtol=1e-2, atol=1e-3)
    assert_close(found["decoder"], expected["decoder"], rtol=1e-4, atol=1e-5)


def test_both_gradients_of_the_encoder_have_one_mean_and_the_doubly_reparameterised_one_varies_less():
    exp, state = linear(optimal=False, objective="iwae")
    params = {name: own.params for name, own in state.networks.items()}
    points = jnp.float32([[0.8, -0.5]])

    @quick_jit
    @jax.vmap
    def both(noise):
        def loss(params, weights=None):
            return OBJECTIVES["iwae"].loss(evidence_of(exp, state, params, points, {"encoder": noise}, weights), None)[
                0
            ]

        weights = jax.nn.softmax(evidence_of(exp, state, params, points, {"encoder": noise}).log_weights, axis=0)
        plain, doubly = jax.grad(loss)(params), jax.grad(loss)(params, weights)
        return [own["encoder"]["mean"]["bias"] for own in (plain, doubly)]

    plain, doubly = map(np.asarray, both(jnp.asarray(RNG.normal(size=(20_000, 8, 1, 2)), jnp.float32)))
    error = (plain.std(0) + doubly.std(0)) / len(plain) ** 0.5
    assert (abs(plain.mean(0) - doubly.mean(0)) < 5 * error).all()
    assert (doubly.std(0) < plain.std(0)).all()


@pytest.mark.parametrize("gradient", ["plain", "doubly_reparameterized"])
@pytest.mark.parametrize("layers", ["one", "two"])
def test_the_step_says_the_same_numbers_whatever_the_gradient(gradient, layers):
    exp, state, batch = experiment_of(objective="iwae", k=3, gradient=gradient, stochastic_layers=layers)
    _, metrics = run_step(exp, state, batch)
    plain, _, _ = experiment_of(objective="iwae", k=3, stochastic_layers=layers)
    _, expected = run_step(plain, state, batch)
    for name in ("loss/vae", "loss/kl", "loss/reconstruction"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-6)
    assert gradient == "plain" or abs(metrics["grad_norm/vae"] - expected["grad_norm/vae"]) > 1e-4


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({}, lambda reconstruction, kl: reconstruction + kl),
        ({"likelihood": "gaussian", "k": 2}, lambda reconstruction, kl: reconstruction + kl),
        ({"binarize": False, "beta": 3.0}, lambda reconstruction, kl: reconstruction + 3 * kl),
        ({"schedules": "beta=linear(1, 2)", "beta": 0.0}, None),
        ({"stochastic_layers": "two", "k": 2}, lambda reconstruction, kl: reconstruction + kl),
        ({"conditional": True}, lambda reconstruction, kl: reconstruction + kl),
    ],
)
def test_the_loss_is_its_parts_and_training_lowers_it(settings, loss):
    exp, state, batch = experiment_of(**settings, optimizer__vae__learning_rate=1e-2)
    batch |= {"images": jnp.sign(batch["images"])}  # bits that are the same at each visit
    encoder = state.networks["encoder"]
    far = jax.tree.map_with_path(lambda path, x: x + 2 if path[0].key == "mean" else x, encoder.params)
    state = state.replace(networks=state.networks | {"encoder": encoder.replace(params=far)})  # a KL above zero
    step, found, betas = quick_jit(functools.partial(exp.algorithm.step, exp)), [], []
    for _ in range(100):
        state, metrics = step(state, batch)
        parts = [float(metrics[f"loss/{name}"]) for name in ("reconstruction", "kl")]
        if loss is not None:
            np.testing.assert_allclose(metrics["loss/vae"], loss(*parts), rtol=1e-5)
        betas.append((float(metrics["loss/vae"]) - parts[0]) / parts[1])
        found.append(float(metrics["loss/vae"]) if loss else parts[0])
    assert np.mean(found[-5:]) < np.mean(found[:5]) - 1
    if loss is None:  # a warm-up of the KL: 0 at the first step, half-way at the second, then 1
        np.testing.assert_allclose(betas[:4], [0, 0.5, 1, 1], atol=1e-4)


def test_the_capacity_draws_the_kl_to_it_example_by_example():
    kl, log_likelihood = jnp.float32([1.0, 4.0]), jnp.float32([[-3.0, -2.0], [-5.0, -2.0]])
    evidence = objectives.Evidence(log_likelihood, jnp.zeros((2, 2)), kl)
    found = OBJECTIVES["capacity"].loss(evidence, {"gamma": 10.0, "capacity": 3.0}.__getitem__)
    np.testing.assert_allclose(found, [4 + 20, 2 + 10])
    exp, state = linear(optimal=True, objective="capacity", capacity=4.0, gamma=20.0)
    state = state.replace(step=jnp.int32(1))
    points = jnp.asarray(RNG.normal(size=(64, 2)), jnp.float32)
    params, noise = {n: own.params for n, own in state.networks.items()}, {"encoder": jnp.zeros((1, 64, 2))}
    before = evidence_of(exp, state, params, points, noise).kl.mean()

    @quick_jit
    def descend(params):
        loss = OBJECTIVES["capacity"].loss
        grads = jax.grad(lambda p: loss(evidence_of(exp, state, p, points, noise), exp.config.__getitem__).mean())(
            params
        )
        return jax.tree.map(lambda value, slope: value - 1e-3 * slope, params, grads)

    for _ in range(300):
        params = descend(params)
    after = evidence_of(exp, state, params, points, noise).kl.mean()
    assert abs(after - 4) < 0.5 * abs(before - 4)


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_a_decoder_that_ignores_its_latents_has_no_kl_at_the_optimum(objective):
    """Posterior collapse: then nothing pays for the KL, and the encoder learns to say nothing."""
    exp, state = linear(optimal=False, objective=objective)
    decoder = jax.tree.map(jnp.zeros_like, state.networks["decoder"].params)
    points = jnp.asarray(RNG.normal(size=(16, 2)), jnp.float32)
    encoder = state.networks["encoder"].params
    key = jax.random.key(0)

    @quick_jit
    def descend(encoder, index):
        noise = {"encoder": jax.random.normal(jax.random.fold_in(key, index), (8, 16, 2))}

        def loss(encoder):
            params = {"encoder": encoder, "decoder": decoder}
            evidence = evidence_of(exp, state, params, points, noise)
            if objective == "iwae":  # by the gradient that does not vary at the optimum
                weights = jax.lax.stop_gradient(jax.nn.softmax(evidence.log_weights, axis=0))
                evidence = evidence_of(exp, state, params, points, noise, weights)
                kl = vae.encode(exp, {"encoder": state.networks["encoder"].replace(params=encoder)}, points, None)
                evidence = evidence._replace(kl=kl.kl_to_standard_normal().sum(-1))
            return OBJECTIVES[objective].loss(evidence, {"beta": 1.0}.__getitem__).mean(), evidence.kl.mean()

        grads, kl = jax.grad(loss, has_aux=True)(encoder)
        return jax.tree.map(lambda value, slope: value - 0.3 * slope, encoder, grads), kl

    found = []
    for index in range(400):
        encoder, kl = descend(encoder, index)
        found.append(float(kl))
    assert found[0] > 0.3
    assert found[-1] < 1e-3


def test_bits_are_drawn_anew_for_each_example_and_step():
    exp, state, _ = experiment_of()
    grey = jnp.full((4000, 8, 8, 1), -0.5)  # a quarter of ink
    keys = exp.example_keys(state, 4000, "targets")
    bits = vae.targets(exp, keys, grey)
    assert set(np.unique(bits)) == {0, 1}
    assert abs(float(bits.mean()) - 0.25) < 4 * 0.5 / bits.size**0.5
    assert not np.array_equal(bits[0], bits[1])
    later = vae.targets(exp, exp.example_keys(state.replace(step=jnp.int32(1)), 4000, "targets"), grey)
    assert not np.array_equal(bits, later)
    # An example's bits do not depend on the batch.
    np.testing.assert_array_equal(vae.targets(exp, keys[:3], grey[:3]), bits[:3])


def test_the_outputs_start_at_the_mean_of_the_first_batch_and_only_there():
    exp, state, batch = experiment_of(optimizer__vae__learning_rate=0.0)
    target = vae.targets(exp, exp.example_keys(state, 8, "targets"), batch["images"][0])
    after, _ = run_step(exp, state, batch)
    bias = np.asarray(after.networks["decoder"].params["output_bias"])
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), (8 * target.mean(0) + 0.5) / 9, rtol=1e-5)
    assert_close(after.ema["decoder"].params["output_bias"], bias, rtol=1e-6)
    later, _ = run_step(exp, after, jax.tree.map(lambda x: x * 0, batch))
    np.testing.assert_array_equal(later.networks["decoder"].params["output_bias"], bias)


# Tasks.


def no_run(name, inputs):
    raise AssertionError("no task is needed")


def given_images(exp, batch, **more):
    images = np.asarray(batch["images"][0])
    return inference.seed_inputs(0, len(images), images=images, **more)


def test_samples_are_in_the_range_of_images_and_reconstructions_have_their_shape():
    exp, state, batch = experiment_of()
    variables = inference.variables_of(state)
    made = inference.run_task(exp, "reconstruct", variables, given_images(exp, batch))
    assert made["reconstructions"].shape == batch["images"][0].shape
    assert made["reconstructions"].dtype == np.uint8
    drawn = inference.sample(exp, variables, 0, 5, None)
    assert (drawn.shape, drawn.dtype) == ((5, 8, 8, 1), np.uint8)
    walk = {"end_seed": np.full(5, 7, np.uint32), "fraction": np.zeros(5, np.float32)}
    start = inference.run_task(exp, "sample", variables, inference.seed_inputs(0, 5) | walk)["images"]
    np.testing.assert_array_equal(start, drawn)


@pytest.mark.parametrize("layers", ["one", "two"])
def test_a_walk_between_images_begins_and_ends_at_their_reconstructions(layers):
    exp, state, batch = experiment_of(stochastic_layers=layers, conditional=True)
    variables = inference.variables_of(state)
    inputs = given_images(exp, batch, labels=np.asarray(batch["labels"][0]))
    run = functools.partial(inference.run_task, exp, variables=variables)
    made = run("reconstruct", inputs=inputs)["reconstructions"]
    layout = tasks.interpolation_layout(exp, no_run, inputs, 3, 5)
    walks = run("interpolate", inputs=layout.inputs)["images"].reshape(3, 5, 8, 8, 1)
    np.testing.assert_array_equal(walks[:, 0], made[0:6:2])
    np.testing.assert_array_equal(walks[:, -1], made[1:6:2])
    with raises_user_error(UserError, match="5 rows need 10 examples, and there are 8"):
        tasks.interpolation_layout(exp, no_run, inputs, 5, 2)


def test_a_traversal_varies_one_latent_in_the_order_of_the_kl():
    exp, state, batch = experiment_of()
    # A latent that says much, one that says less, one that says nothing: and its row does not change.
    encoder, decoder = (state.networks[name].params for name in ("encoder", "decoder"))
    scale = jnp.float32([1.0, 0.0, 5.0])
    encoder = encoder | {"mean": {"kernel": encoder["mean"]["kernel"] * scale, "bias": jnp.float32([0.1, 0, 0.1])}}
    encoder |= {"log_variance": dense(encoder["log_variance"]["kernel"] * 0, encoder["log_variance"]["bias"])}
    first = decoder["body"]["body"]["hidden"]["Dense_0"]
    hidden = {"Dense_0": first | {"kernel": first["kernel"] * jnp.float32([[3.0], [0.0], [3.0]])}}
    decoder = decoder | {"body": {"body": decoder["body"]["body"] | {"hidden": hidden}}}
    networks = {"encoder": encoder, "decoder": decoder}
    variables = {name: own.replace(params=networks[name]) for name, own in state.networks.items()}

    def run(name, inputs):
        return inference.run_task(exp, name, variables, inputs)

    inputs = given_images(exp, batch)
    layout = tasks.traversal_layout(exp, run, inputs, 3, 7)
    assert [name.partition(":")[0] for name in layout.names] == ["z2", "z0", "z1"]
    rows = run("traverse", layout.inputs)["images"].reshape(3, 7, 8, 8, 1)
    assert all((row[1:] != row[:-1]).any() for row in rows[:2])
    assert (rows[2] == rows[2][0]).all()
    # At its own mean a latent changes nothing.
    own = run("encode", inputs)["mean"][0, 2]
    at_mean = inference.seed_inputs(0, 1, images=inputs["images"][:1], dimension=np.int32([2]), value=np.float32([own]))
    np.testing.assert_array_equal(
        run("traverse", at_mean)["images"][0], run("reconstruct", inputs)["reconstructions"][0]
    )
    with raises_user_error(UserError, match="4 rows are more than the 3 latents"):
        tasks.traversal_layout(exp, run, inputs, 4, 7)


def test_labels_reach_encoder_and_decoder():
    exp, state, batch = experiment_of(conditional=True)
    variables = inference.variables_of(state)
    same = inference.seed_inputs(0, 10) | {"index": np.zeros(10, np.int32)}
    drawn = inference.run_task(exp, "sample", variables, same | {"labels": np.arange(10, dtype=np.int32)})["images"]
    assert len(np.unique(drawn.reshape(10, -1), axis=0)) == 10
    images = np.repeat(np.asarray(batch["images"][0])[:1], 10, axis=0)
    means = inference.run_task(exp, "encode", variables, same | {"images": images, "labels": np.arange(10)})["mean"]
    assert len(np.unique(means, axis=0)) == 10
    assert exp.algorithm.tasks["reconstruct"].needs(exp) == ("images", "labels")
    assert exp.algorithm.choices(exp) == 10


def test_pictures_of_a_conditional_run_show_reconstructions_by_their_own_labels():
    exp, state, batch = experiment_of(conditional=True, sample_grid=8)
    images = np.asarray((batch["images"][0] + 1) * 127.5).round().astype(np.uint8)
    labels = np.asarray(batch["labels"][0])
    found, others = (
        snapshot.draw(exp, state, 0, "reconstruct", {"images": images, "labels": own})[0]
        for own in (labels, (labels + 1) % 10)
    )
    assert (found != others).any()


def test_a_conditional_run_encodes_given_examples_with_their_labels(tmp_path, capsys):
    few = {"steps": 2, "log_every": 2, "sample_every": 2, "checkpoint_every": 2, "sample_grid": 4, "conditional": True}
    config, run = tmp_path / "config.py", tmp_path / "run"
    settings = IMAGES | few
    config.write_text(f"from jaxgan.config import default\n\n\ndef get_config():\n    return default({settings!r})\n")
    assert train_program.main([f"--config={config}", f"--workdir={run}"]) == 0

    def draw(given: str, out: str) -> int:
        command = ["--task=reconstruct", *([f"--input={tmp_path / given}"] if given else [])]
        return sample_program.main([f"--workdir={run}", f"--out={tmp_path / out}", *command])

    assert draw("", "own.npz") == 0
    images = np.zeros((3, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "given.npz", images=images, labels=np.array([1, 2, 1]))
    assert draw("given.npz", "out.npz") == 0
    with np.load(tmp_path / "out.npz") as arrays:
        first, second, third = arrays["reconstructions"]
    assert (first == third).all()
    assert (first != second).any()
    capsys.readouterr()
    np.savez(tmp_path / "high.npz", images=images, labels=np.array([1, 2, 10]))
    np.savez(tmp_path / "none.npz", images=images)
    for given, message in {"high.npz": "labels must be from 0 to 9", "none.npz": "images, labels"}.items():
        assert draw(given, "out.npz") == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.channels": 3}, "likelihood=bernoulli is for grey images.* 8x8x3: choose gaussian"),
        ({"model.family": "tf_dcgan"}, "model.family=tf_dcgan has no encoder, .* choose from dcgan, mlp, "),
        ({"beta": -1.0}, "config.beta=-1.0 must be at least 0"),
        ({"k": 0}, "config.k=0 must be at least 1"),
        ({"objective": "iwae", "gradient": "double"}, "unknown config.gradient 'double': .*doubly_reparameterized"),
        ({"objective": "iwea"}, "unknown config.objective 'iwea'.*iwae"),
        ({"objective": "iwae", "beta": 2.0}, "config.beta has no effect here: .*objective=elbo.* has it"),
        ({"lower_latent_dim": 9}, "config.lower_latent_dim has no effect here: stochastic_layers=two has it"),
        ({"likelihood": "poisson"}, "unknown config.likelihood 'poisson'"),
        ({"likelihood_stddev": 0.1}, "config.likelihood_stddev has no effect here: likelihood=gaussian has it"),
        (
            {"penalties.r1": 1.0},
            "config.penalties.r1 has no effect here: algorithm=gan or stylegan2 or cyclegan or cut or pix2pix has it",
        ),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(settings, message):
    base = {name: value for name, value in IMAGES.items() if "model.family" not in settings or "hidden" not in name}
    with raises_user_error(UserError, match=message):
        build(default(base | settings))


def test_data_that_do_not_fit_are_refused_with_a_reason():
    points = {"algorithm": "vae", "data.source": "world:ring", "model.family": "toy_mlp", "likelihood": "gaussian"}
    with raises_user_error(UserError, match="config.dequantize is for 8-bit pixels, and config.data.source=world:ring"):
        build(default(points | {"dequantize": True}))
    with raises_user_error(UserError, match="config.conditional needs labels, and config.data.source=digits has none"):
        build(default(IMAGES | {"conditional": True}))
    exp, _, _ = experiment_of(binarize=False)
    with raises_user_error(UserError, match="--task=likelihood: with config.binarize=False pixels are no bits"):
        inference.task_of(exp, "likelihood")
    moving = build(default(points | {"schedules": "likelihood_stddev=linear(0.1, 9)"}))
    with raises_user_error(UserError, match="config.likelihood_stddev is no single number"):
        inference.task_of(moving, "likelihood")
    field = Field("images", (8, 8, 1), "floats")
    assert densities.LIKELIHOODS["bernoulli"].unfit(field)


def test_the_programs_draw_what_a_vae_can_and_say_what_it_cannot(tmp_path, capsys):
    config = tmp_path / "config.py"
    few = IMAGES | {"steps": 2, "log_every": 2, "sample_every": 2, "checkpoint_every": 2, "sample_grid": 4}
    config.write_text(f"from jaxgan.config import default\n\n\ndef get_config():\n    return default({few!r})\n")
    run = tmp_path / "run"
    assert train_program.main([f"--config={config}", f"--workdir={run}"]) == 0
    assert (run / "samples" / "reconstruct_step_000002.png").exists()

    def draw(*more: str, out: str = "out.png") -> int:
        return sample_program.main([f"--workdir={run}", f"--out={tmp_path}/{out}", *more])

    def shape(out: str, name: str) -> tuple[int, ...]:
        with np.load(tmp_path / out) as arrays:
            return arrays[name].shape

    assert draw("--task=reconstruct", "--num=4") == 0
    assert draw("--task=interpolate", "--num=12", "--columns=4") == 0
    assert draw("--task=interpolate", "--num=12", "--columns=4", out="walk.npz") == 0
    assert draw("--task=traverse", "--num=6", "--columns=2", out="pictures/") == 0
    assert len([*(tmp_path / "pictures").iterdir()]) == 6
    assert draw("--task=encode", "--num=9", out="codes.npz") == 0
    assert (shape("walk.npz", "images"), shape("codes.npz", "mean")) == ((12, 8, 8, 1), (9, 3))
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, images=np.zeros((3, 5, 5, 1), np.uint8))
    capsys.readouterr()
    for more, message in {
        ("--task=juggle",): "--task=juggle is not what algorithm=vae can do: choose from sample, reconstruct",
        ("--labels=3",): "--labels=3: this run is unconditional",
        ("--input=somewhere",): "--input has no effect with algorithm=vae and --task=sample",
        ("--task=encode",): "must end in .npz, since mean, log_variance, kl can only be written as arrays",
        ("--task=interpolate", "--num=9", "--columns=4"): "--num=9 must be a multiple of --columns=4",
        ("--task=traverse", "--num=80"): "10 rows are more than the 3 latents",
        ("--task=traverse", "--truncation=1"): "--truncation has no effect with --task=traverse",
        ("--task=reconstruct", f"--input={wrong}"): "images of type uint8 and shape (3, 5, 5, 1) must be",
        ("--task=interpolate", f"--input={wrong}"): "images of type uint8 and shape (3, 5, 5, 1) must be",
        ("--task=reconstruct", f"--input={config}"): "must be an .npz file",
    }.items():
        assert draw(*more) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
