"""Variational autoencoders: an encoder and a decoder that maximise a lower bound of the data's log-likelihood.

References:
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014. https://arxiv.org/abs/1312.6114
    Higgins et al., beta-VAE, 2017. https://openreview.net/forum?id=Sy2fzU9gl
    Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.core import latents, optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import ABOVE_ZERO, NOT_NEGATIVE, POSITIVE, Choice, Setting, Settings
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task, example_fields

Values = Float[Array, "..."]  # [*batch]
Latents = Float[Array, "..."]  # [*batch, latent]
Examples = Float[Array, "..."]  # [*batch, *shape]; of two that meet in a density, one may be broadcast

PLAYERS = {"vae": Player(("encoder", "decoder"), ("encoder", "decoder"))}
ROLES = {"encoder": "encoder", "decoder": "decoder"}


class Encoder(nn.Module):
    """A family's encoder with the mean and the log-variance of q(z | x) behind it.

    Attributes:
        body: called with (examples, train), makes features.
        latent_dim: numbers of a latent vector.
    """

    body: nn.Module
    latent_dim: int

    @nn.compact
    def __call__(self, examples: Array, train: bool) -> tuple[Latents, Latents]:
        features = self.body(examples, train)
        return nn.Dense(self.latent_dim, name="mean")(features), nn.Dense(self.latent_dim, name="log_variance")(
            features
        )


class Decoder(nn.Module):
    """A family's decoder: the parameters of p(x | z), logits or means, of the shape of an example."""

    body: nn.Module

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], train: bool) -> Array:
        return self.body(latents, None, train)


class Likelihood(NamedTuple):
    """The distribution of an example given its latents.

    Attributes:
        log_density: (examples, decoder's outputs, settings) -> log p(x | z), summed over an example's numbers.
        mean: decoder's outputs -> the expected example, in the range of the data.
        settings: of its own.
        unfit: field -> why the likelihood does not fit such examples, or None if it does.
    """

    log_density: Callable[[Examples, Examples, Callable[[str], Any]], Values]
    mean: Callable[[Examples], Examples]
    settings: Settings
    unfit: Callable[[Field], str | None]


def bernoulli_log_density(bits: Examples, logits: Examples, dims: int) -> Values:
    """log p(x) of bits, 0 or 1 (or numbers between them), summed over the last `dims` axes."""
    values = bits * jax.nn.log_sigmoid(logits) + (1 - bits) * jax.nn.log_sigmoid(-logits)
    return values.sum(axis=range(values.ndim - dims, values.ndim))


def normal_log_density(numbers: Examples, mean: Examples | float, stddev: Any, dims: int) -> Values:
    """log p(x) of independent normal numbers, summed over the last `dims` axes."""
    values = -0.5 * ((numbers - mean) / stddev) ** 2 - jnp.log(stddev) - 0.5 * math.log(2 * math.pi)
    return values.sum(axis=range(values.ndim - dims, values.ndim))


def kl_to_standard_normal(mean: Latents, log_variance: Latents) -> Values:
    """KL(N(mean, variance) || N(0, 1)), summed over the latent dimensions."""
    return 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1)


def importance_log_weights(
    noise: Float[Array, "k batch latent"],
    mean: Latents,
    log_variance: Latents,
    log_likelihood: Callable[[Latents], Values],
) -> Float[Array, "k batch"]:
    """log w = log p(x, z) - log q(z | x) of k latents for each example, z = mean + stddev * noise.

    Args:
        noise: standard normal.
        mean, log_variance: of q(z | x), [batch, latent].
        log_likelihood: latents [k, batch, latent] -> log p(x | z) [k, batch].
    """
    z = mean + jnp.exp(0.5 * log_variance) * noise
    log_prior = normal_log_density(z, 0.0, 1.0, 1)
    log_posterior = normal_log_density(z, mean, jnp.exp(0.5 * log_variance), 1)
    return log_likelihood(z) + log_prior - log_posterior


def importance_weighted_bound(log_weights: Float[Array, "k batch"]) -> Float[Array, " batch"]:
    """log (1/k sum w): its expectation bounds log p(x) from below and rises with k; k = 1 is the ELBO.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016, equation 8. https://arxiv.org/abs/1509.00519
    """
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))


def _no_bits(field: Field) -> str | None:
    if field.kind != "pixels" or field.shape[-1] != 1:
        return "is for grey images, whose pixels are probabilities of ink"
    return None


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(
        lambda x, outputs, setting: bernoulli_log_density(x, outputs, x.ndim - 1),
        lambda outputs: 2 * jax.nn.sigmoid(outputs) - 1,
        {"binarize": Setting(True, "draw each pixel as a bit, anew at each visit, with its grey level as probability")},
        _no_bits,
    ),
    "gaussian": Likelihood(
        lambda x, outputs, setting: normal_log_density(x, outputs, setting("likelihood_stddev"), x.ndim - 1),
        lambda outputs: outputs,
        {"likelihood_stddev": Setting(0.3, "of p(x | z), for data in [-1, 1]", ABOVE_ZERO, sweepable=True)},
        lambda field: None,
    ),
}


def example_field(exp: Experiment) -> Field:
    """The field of a batch that is encoded and decoded."""
    (field,) = example_fields(exp.fields)
    return field


def targets(exp: Experiment, state: TrainState, examples: Examples) -> Examples:
    """What the likelihood is of: examples as they are, or bits of them."""
    if exp.config.likelihood != "bernoulli":
        return examples
    probabilities = (examples + 1) / 2
    if not exp.config.binarize:
        return probabilities
    keys = exp.example_keys(state, len(examples), "binarize")
    uniform = jax.vmap(lambda key: jax.random.uniform(key, examples.shape[1:]))(keys)
    return (uniform < probabilities).astype(examples.dtype)


def as_input(exp: Experiment, target: Examples) -> Examples:
    """What the encoder is given of a target: numbers in [-1, 1]."""
    return 2 * target - 1 if exp.config.likelihood == "bernoulli" else target


def log_likelihood(exp: Experiment, state: TrainState, target: Examples, outputs: Examples) -> Values:
    """log p(x | z) of each example."""
    return LIKELIHOODS[exp.config.likelihood].log_density(target, outputs, lambda name: hparam(exp, state, name))


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of encoder and decoder: -log p(x | z) + beta KL, summed over dimensions, averaged over examples."""
    target = targets(exp, state, batch[example_field(exp).name][0])
    noise = rng.normal(exp.example_keys(state, len(target), "latents"), (exp.config.latent_dim,))
    key = rng.stream_key(state.seed, state.step, "dropout")

    def objective(params: dict[str, PyTree]) -> tuple[Array, tuple[dict[str, PyTree], Metrics]]:
        variables = {name: state.networks[name].replace(params=own) for name, own in params.items()}
        inputs = as_input(exp, target)
        (mean, log_variance), encoder_state = apply(
            exp.networks["encoder"], variables["encoder"], inputs, train=True, key=key
        )
        z = mean + jnp.exp(0.5 * log_variance) * noise
        outputs, decoder_state = apply(exp.networks["decoder"], variables["decoder"], z, train=True)
        reconstruction = -log_likelihood(exp, state, target, outputs).mean()
        kl = kl_to_standard_normal(mean, log_variance).mean()
        loss = reconstruction + hparam(exp, state, "beta") * kl
        metrics = {"loss/vae": loss, "loss/reconstruction": reconstruction, "loss/kl": kl}
        return loss, ({"encoder": encoder_state, "decoder": decoder_state}, metrics)

    grads, _, (model_state, metrics) = gradients(exp, state, "vae", objective)
    after, metrics = apply_gradients(exp, state, "vae", grads, model_state, metrics)
    return finish_step(exp, state, after, metrics)


def bound(
    exp: Experiment, variables: Mapping[str, Variables], state: TrainState, examples: Examples, k: int
) -> Float[Array, " batch"]:
    """The importance-weighted bound of log p(x) of each example, in nats, from k latents each.

    Args:
        exp: the experiment.
        variables: of encoder and decoder.
        state: whose seed, step and hyperparameters are used.
        examples: as a batch has them.
        k: latents of each example; 1 is the ELBO.
    """
    target = targets(exp, state, examples)
    mean, log_variance = apply(exp.networks["encoder"], variables["encoder"], as_input(exp, target), train=False)[0]
    keys = exp.example_keys(state, len(examples), "importance")
    noise = jnp.moveaxis(rng.normal(keys, (k, exp.config.latent_dim)), 1, 0)

    def likelihood(z: Float[Array, "k batch latent"]) -> Float[Array, "k batch"]:
        def of_one(z: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
            outputs, _ = apply(exp.networks["decoder"], variables["decoder"], z, train=False)
            return log_likelihood(exp, state, target, outputs)

        return jax.lax.map(of_one, z)

    return importance_weighted_bound(importance_log_weights(noise, mean, log_variance, likelihood))


def decode(exp: Experiment, variables: Mapping[str, Variables], z: Float[Array, "batch latent"]) -> Examples:
    """The expected examples of latents: means, not samples, of p(x | z)."""
    outputs, _ = apply(exp.networks["decoder"], variables["decoder"], z, train=False)
    return LIKELIHOODS[exp.config.likelihood].mean(outputs)


def sample(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Expected examples of latents from the prior; between two seeds, a walk on the great circle."""

    def of(seed: Array) -> Array:
        return latents.latents_of(seed, inputs["index"], exp.config.latent_dim, inputs.get("truncation"))

    z = of(inputs["seed"])
    if "end_seed" in inputs:
        z = latents.slerp(z, of(inputs["end_seed"]), inputs["fraction"])
    return {example_field(exp).name: decode(exp, variables, z)}


def reconstruct(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Expected examples of the mean latents of given ones."""
    (mean, _), _ = apply(exp.networks["encoder"], variables["encoder"], inputs[example_field(exp).name], train=False)
    return {"reconstructions": decode(exp, variables, mean)}


SETTINGS: Settings = {
    "latent_dim": Setting(20, "numbers of a latent vector", POSITIVE),
    "beta": Setting(1.0, "weight of the KL; 1: the bound of the log-likelihood", NOT_NEGATIVE, sweepable=True),
    "likelihood": Choice(
        "bernoulli", "p(x | z)", lambda: {name: entry.settings for name, entry in LIKELIHOODS.items()}
    ),
    **models.settings(ROLES, family="mlp"),
    **EMA_SETTINGS,
    **optimizers.settings("vae"),
}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    config, examples = exp.config, example_fields(exp.fields)
    if len(examples) != 1:
        names = ", ".join(field.name for field in examples)
        yield f"config.algorithm=vae encodes one field, and config.data.source={config.data.source} has {names}"
        return
    if (reason := LIKELIHOODS[config.likelihood].unfit(examples[0])) is not None:
        able = ", ".join(name for name, entry in LIKELIHOODS.items() if entry.unfit(examples[0]) is None)
        shape = "x".join(map(str, examples[0].shape))
        yield f"config.likelihood={config.likelihood} {reason}, and the {examples[0].name} are {shape}: choose {able}"
    if (reason := ema_conflict(exp)) is not None:
        yield reason


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """Encoder and decoder of a family."""
    del classes
    (shape,) = (field.shape for field in example_fields(fields))
    bodies = {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}
    return {"encoder": Encoder(bodies["encoder"], config.latent_dim), "decoder": Decoder(bodies["decoder"])}


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last."""
    count = exp.config.model.encoder.get("minibatch_stddev", 0) or 1
    return {
        "encoder": (jnp.zeros((count, *example_field(exp).shape)),),
        "decoder": (jnp.zeros((1, exp.config.latent_dim)),),
    }


VAE = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "sample": Task(
            ("decoder",),
            sample,
            lambda exp: {example_field(exp).name: example_field(exp).kind},
            options=("truncation", "fraction", "end_seed"),
        ),
        "reconstruct": Task(
            ("encoder", "decoder"),
            reconstruct,
            lambda exp: {"reconstructions": example_field(exp).kind},
            needs=lambda exp: (example_field(exp).name,),
        ),
    },
    smallest={
        "data.source": "world:ring",
        "batch_size": 8,
        "latent_dim": 2,
        "likelihood": "gaussian",
        "model.family": "toy_mlp",
        "model.encoder.width": 4,
        "model.encoder.depth": 1,
        "model.decoder.width": 4,
        "model.decoder.depth": 1,
    },
    examples_together=lambda config: config.model.encoder.get("minibatch_stddev", 0) or 1,
    check=check,
    drawn=("sample", "reconstruct"),
    headlines=("loss/vae", "loss/kl"),
)
