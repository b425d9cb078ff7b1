"""The variational autoencoder: closed forms, the bound of the likelihood, binarisation, tasks, wrong settings."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from contracts import config_of
from experiments import quick_jit, raises_user_error

from jaxgan import inference
from jaxgan.algorithms import vae
from jaxgan.cli import sample as sample_program
from jaxgan.cli import train as train_program
from jaxgan.config import build, default, example_batch
from jaxgan.core import population
from jaxgan.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = {
    "algorithm": "vae",
    "data.source": "digits",
    "data.size": 8,
    "batch_size": 8,
    "latent_dim": 3,
    "model.encoder.width": 4,
    "model.decoder.width": 4,
}


def experiment_of(**more):
    """A VAE on tiny images, its state and a batch of them."""
    changes = {name.replace("__", "."): value for name, value in more.items()}
    exp = build(default(IMAGES | changes))
    return exp, quick_jit(lambda: population.init_state(exp))(), example_batch(exp)


def test_the_kl_divergence_is_the_closed_form_and_the_monte_carlo_estimate():
    mean, log_variance = (jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32) for _ in range(2))
    found = vae.kl_to_standard_normal(mean, log_variance)
    noise = jnp.asarray(RNG.normal(size=(100_000, 5, 3)), jnp.float32)
    log_weights = vae.importance_log_weights(noise, mean, log_variance, lambda z: jnp.zeros(z.shape[:2]))
    error = np.asarray(log_weights).std(0) / len(noise) ** 0.5
    assert (abs(-log_weights.mean(0) - found) < 5 * error).all()
    np.testing.assert_allclose(vae.kl_to_standard_normal(jnp.zeros((2, 4)), jnp.zeros((2, 4))), 0)
    # Of independent dimensions the divergences add up.
    parts = sum(vae.kl_to_standard_normal(mean[:, i : i + 1], log_variance[:, i : i + 1]) for i in range(3))
    np.testing.assert_allclose(found, parts, rtol=1e-5)


def test_the_densities_are_scipy_s():
    x, mean, stddev = RNG.normal(size=(4, 2, 3)), RNG.normal(size=(4, 2, 3)), 0.7
    expected = scipy.stats.norm.logpdf(x, mean, stddev).sum((1, 2))
    np.testing.assert_allclose(
        vae.normal_log_density(jnp.asarray(x), jnp.asarray(mean), stddev, 2), expected, rtol=1e-5
    )
    logits = RNG.normal(size=(1, 3))
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    found = vae.bernoulli_log_density(jnp.asarray(bits), jnp.asarray(logits), 1)
    p = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(found, np.log(np.where(bits == 1, p, 1 - p)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)


# Probabilistic PCA: x = W z + b + noise. Its log-likelihood is known, and so is its posterior, whose covariance is
# diagonal where the columns of W are orthogonal.
WEIGHTS = np.array([[1.5, -0.6], [0.4, 1.0]], np.float32)  # [latent, x]: rows are the columns of W
OFFSET, STDDEV = np.array([0.3, -0.2], np.float32), 0.5


def linear(optimal: bool):
    """A VAE with linear networks as probabilistic PCA; its encoder is the posterior, or another one."""
    linear = {"model.encoder.depth": 0, "model.decoder.depth": 0, "likelihood_stddev": STDDEV}
    exp = build(config_of("vae", **{name.replace(".", "__"): value for name, value in linear.items()}))
    state = quick_jit(lambda: population.init_state(exp))()
    variances = 1 / ((WEIGHTS**2).sum(1) / STDDEV**2 + 1)
    kernel = WEIGHTS.T * variances / STDDEV**2
    encoder = {
        "mean": {"kernel": kernel, "bias": -OFFSET @ kernel},
        "log_variance": {"kernel": np.zeros((2, 2)), "bias": np.log(variances)},
    }
    if not optimal:
        encoder["mean"]["bias"] = encoder["mean"]["bias"] + 0.3
        encoder["log_variance"]["bias"] = encoder["log_variance"]["bias"] + 0.8
    decoder = {"body": {"Dense_0": {"kernel": WEIGHTS, "bias": OFFSET}}}
    params = {"encoder": encoder, "decoder": decoder}
    networks = {}
    for name, own in state.networks.items():
        shaped = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype).reshape(old.shape), params[name], own.params)
        networks[name] = own.replace(params=shaped)
    return exp, state.replace(networks=networks)


def exact(points: np.ndarray) -> np.ndarray:
    """log p(x) of probabilistic PCA."""
    covariance = WEIGHTS.T @ WEIGHTS + STDDEV**2 * np.eye(2)
    return np.atleast_1d(scipy.stats.multivariate_normal(OFFSET, covariance).logpdf(points))


def bounds(exp, state, points, k):
    run = quick_jit(functools.partial(vae.bound, exp), static_argnums=3)
    return np.asarray(run(state.networks, state, jnp.asarray(points, jnp.float32), k))


@pytest.mark.parametrize("k", [1, 3, 50])
def test_at_the_optimum_the_bound_is_the_log_likelihood(k):
    exp, state = linear(optimal=True)
    points = RNG.normal(size=(6, 2))
    np.testing.assert_allclose(bounds(exp, state, points, k), exact(points), rtol=1e-4, atol=1e-4)


def test_elsewhere_the_bound_is_below_and_rises_with_k():
    exp, state = linear(optimal=False)
    point = np.array([[0.8, -0.5]])
    found = [bounds(exp, state, np.repeat(point, 20_000, axis=0), k) for k in (1, 4, 16, 64)]
    means, errors = [each.mean() for each in found], [each.std() / len(each) ** 0.5 for each in found]
    for (low, high), (one, other) in zip(itertools.pairwise(means), itertools.pairwise(errors), strict=True):
        assert high - low > 3 * (one + other)
    assert means[-1] < exact(point)[0] + 4 * errors[-1]
    assert exact(point)[0] - means[-1] < 0.1 * (exact(point)[0] - means[0])


def test_one_importance_sample_is_the_negative_loss_on_average():
    """E[bound of k = 1] = log p(x | z) - KL, which is minus what training minimises at beta 1."""
    exp, state = linear(optimal=False)
    point = np.repeat([[0.8, -0.5]], 20_000, axis=0)
    encoder = exp.networks["encoder"], state.networks["encoder"]
    (mean, log_variance), _ = vae.apply(*encoder, jnp.float32(point[:1]), train=False)
    # Of a linear decoder the expected log-likelihood is known.
    residual = point[0] - (np.asarray(mean[0]) @ WEIGHTS + OFFSET)
    spread = (np.exp(np.asarray(log_variance[0])) * (WEIGHTS**2).sum(1)).sum()
    likelihood = -0.5 * (residual @ residual + spread) / STDDEV**2 - 2 * np.log(STDDEV * np.sqrt(2 * np.pi))
    expected = likelihood - float(vae.kl_to_standard_normal(mean, log_variance)[0])
    found = bounds(exp, state, point, 1)
    assert abs(found.mean() - expected) < 5 * found.std() / len(found) ** 0.5


@pytest.mark.parametrize("settings", [{}, {"likelihood": "gaussian"}, {"binarize": False, "beta": 3.0}])
def test_the_loss_is_its_parts_and_training_lowers_it(settings):
    exp, state, batch = experiment_of(**settings)
    step = quick_jit(functools.partial(exp.algorithm.step, exp))
    found = []
    for _ in range(30):
        state, metrics = step(state, batch)
        total = metrics["loss/reconstruction"] + exp.config.beta * metrics["loss/kl"]
        np.testing.assert_allclose(metrics["loss/vae"], total, rtol=1e-5)
        found.append(float(metrics["loss/vae"]))
    assert np.mean(found[-5:]) < np.mean(found[:5])


def test_bits_are_drawn_anew_for_each_example_and_step():
    exp, state, _ = experiment_of()
    grey = jnp.full((4000, 8, 8, 1), -0.5)  # a quarter of ink
    bits = vae.targets(exp, state, grey)
    assert set(np.unique(bits)) == {0, 1}
    assert abs(float(bits.mean()) - 0.25) < 4 * 0.5 / bits.size**0.5
    assert not np.array_equal(bits[0], bits[1])
    later = vae.targets(exp, state.replace(step=jnp.int32(1)), grey)
    assert not np.array_equal(bits, later)
    # An example's bits do not depend on the batch.
    np.testing.assert_array_equal(vae.targets(exp, state, grey[:3]), bits[:3])


def test_samples_are_in_the_range_of_images_and_reconstructions_have_their_shape():
    exp, state, batch = experiment_of()
    images = np.asarray(batch["images"][0])
    variables = inference.variables_of(state)
    made = inference.run_task(exp, "reconstruct", variables, inference.seed_inputs(0, 8, images=images))
    assert made["reconstructions"].shape == images.shape
    assert made["reconstructions"].dtype == np.uint8
    drawn = inference.sample(exp, variables, 0, 5, None)
    assert (drawn.shape, drawn.dtype) == ((5, 8, 8, 1), np.uint8)
    walk = {"end_seed": np.full(5, 7, np.uint32), "fraction": np.zeros(5, np.float32)}
    start = inference.run_task(exp, "sample", variables, inference.seed_inputs(0, 5) | walk)["images"]
    np.testing.assert_array_equal(start, drawn)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.channels": 3}, "likelihood=bernoulli is for grey images.* 8x8x3: choose gaussian"),
        ({"model.family": "tf_dcgan"}, "model.family=tf_dcgan has no encoder, .* choose from dcgan, mlp, toy_mlp"),
        ({"beta": -1.0}, "config.beta=-1.0 must be at least 0"),
        ({"likelihood": "poisson"}, "unknown config.likelihood 'poisson'"),
        ({"likelihood_stddev": 0.1}, "config.likelihood_stddev has no effect here: likelihood=gaussian has it"),
        ({"penalties.r1": 1.0}, "config.penalties.r1 has no effect here: algorithm=gan has it"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(settings, message):
    base = {name: value for name, value in IMAGES.items() if "model.family" not in settings or "width" not in name}
    with raises_user_error(UserError, match=message):
        build(default(base | settings))


def test_the_program_says_what_a_vae_cannot_do(tmp_path, capsys):
    config = tmp_path / "config.py"
    few = IMAGES | {"steps": 2, "log_every": 2, "sample_every": 2, "checkpoint_every": 2, "sample_grid": 4}
    config.write_text(f"from jaxgan.config import default\n\n\ndef get_config():\n    return default({few!r})\n")
    run = tmp_path / "run"
    assert train_program.main([f"--config={config}", f"--workdir={run}"]) == 0
    assert (run / "samples" / "reconstruct_step_000002.png").exists()

    def draw(*more: str) -> int:
        return sample_program.main([f"--workdir={run}", f"--out={tmp_path / 'out.png'}", *more])

    assert draw("--task=reconstruct", "--num=4") == 0
    capsys.readouterr()
    for more, message in {
        "--task=animate": "--task=animate is not what algorithm=vae can do: choose from sample, reconstruct",
        "--labels=3": "--labels=3: this run is unconditional",
        "--input=somewhere": "--input has no effect with --task=sample",
    }.items():
        assert draw(more) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, images=np.zeros((3, 5, 5, 1), np.uint8))
    for place, message in {
        wrong: "images of type uint8 and shape (3, 5, 5, 1) must be",
        config: "must be an .npz file",
    }.items():
        assert draw("--task=reconstruct", f"--input={place}") == 2
        assert message in capsys.readouterr().err
