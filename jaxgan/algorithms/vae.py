"""Variational autoencoders: an encoder and a decoder that maximise a lower bound of the data's log-likelihood.

References:
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014. https://arxiv.org/abs/1312.6114
    Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
    Sohn et al., Learning Structured Output Representation using Deep Conditional Generative Models, 2015 (labels).
    https://papers.nips.cc/paper/5775
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial.conditioning import Generator, append_condition
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import DIMENSIONS, POSITIVE, Choice, Setting, Settings
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task, example_fields
from jaxgan.models import iwae_mlp
from jaxgan.variational import tasks
from jaxgan.variational.densities import (
    GREY_LEVEL,
    LIKELIHOODS,
    Examples,
    Gaussian,
    Latents,
    bits_per_dim,
    normal_log_density,
)
from jaxgan.variational.objectives import OBJECTIVES, Evidence, scale_gradient
from jaxgan.variational.tasks import Condition, Networks, check_labels, condition_of, data_field

ROLES = {"encoder": "encoder", "decoder": "decoder"}
UPPER = (
    "upper_encoder",
    "upper_decoder",
)  # of two stochastic layers: between the latents of the prior and the lower ones
CHUNK = 50  # latents of each example at a time where the likelihood is estimated

Noise = Mapping[str, Float[Array, "k batch latent"]]  # by encoder


class Encoder(nn.Module):
    """A network with the mean and the log-variance of normal latents behind it.

    Attributes:
        body: called with (examples, train), makes features.
        latent_dim: numbers of a latent vector.
        kernel_init: the initialiser of both kernels here.
    """

    body: nn.Module
    latent_dim: int
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, examples: Array, condition: Condition, train: bool) -> Gaussian:
        given = examples if condition is None else append_condition(examples, condition)
        features = self.body(given, train)
        return Gaussian(
            *(nn.Dense(self.latent_dim, kernel_init=self.kernel_init, name=name)(features) for name in Gaussian._fields)
        )


class Decoder(nn.Module):
    """A family's decoder with a bias for each number of an example, which starts at the mean of the first batch.

    Attributes:
        body: called with (latents, condition, train), makes outputs of the shape of an example.
    """

    body: nn.Module

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"], condition: Condition, train: bool) -> Array:
        outputs = self.body(latents, condition, train)
        return outputs + self.param("output_bias", nn.initializers.zeros, outputs.shape[1:])


def example_field(exp: Experiment) -> Field:
    """The field of a batch that is encoded and decoded."""
    (field,) = example_fields(exp.fields)
    return field


def two_layers(exp: Experiment) -> bool:
    """Whether there are lower latents between those of the prior and the example."""
    return exp.config.stochastic_layers == "two"


def targets(exp: Experiment, keys: Key[Array, " batch"], examples: Examples) -> Examples:
    """What the likelihood is of: examples as they are, bits of them, or with noise of one grey level."""
    config, given = exp.config, as_input(exp, examples)
    if not (config.get("binarize") or config.get("dequantize")):
        return given
    uniform = jax.vmap(lambda key: jax.random.uniform(key, examples.shape[1:]))(keys)
    if config.likelihood == "bernoulli":
        return (uniform < given).astype(given.dtype)
    return given + (uniform - 0.5) * GREY_LEVEL


def as_input(exp: Experiment, examples: Examples) -> Examples:
    """What the encoder is given of examples in [-1, 1]: for bits, numbers in [0, 1], most of which are 0."""
    return (examples + 1) / 2 if exp.config.likelihood == "bernoulli" else examples


def normal_noise(exp: Experiment, keys: Key[Array, " batch"], k: int) -> dict[str, Array]:
    """Standard normal numbers for k latents of each example, by encoder."""
    config = exp.config
    sizes = {"encoder": config.latent_dim}
    if two_layers(exp):
        sizes = {"encoder": config.lower_latent_dim, "upper_encoder": config.latent_dim}
    keys = {name: jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys) for i, name in enumerate(sizes)}
    return {name: jnp.moveaxis(rng.normal(keys[name], (k, size)), 1, 0) for name, size in sizes.items()}


def apply_to_samples(
    exp: Experiment, networks: Networks, name: str, z: Float[Array, "k batch latent"], condition: Condition, train: bool
) -> tuple[Any, PyTree]:
    """A network's outputs for k latents of each example, [k, batch, ...], and its new model state."""
    flat = z.reshape(-1, z.shape[-1])
    if condition is not None:
        condition = jnp.broadcast_to(condition, (len(z), *condition.shape)).reshape(len(flat), -1)
    out, model_state = apply(exp.networks[name], networks[name], flat, condition, train=train)
    return jax.tree.map(lambda x: x.reshape(*z.shape[:2], *x.shape[1:]), out), model_state


def evidence_of(
    exp: Experiment,
    networks: Networks,
    target: Examples,
    condition: Condition,
    noise: Noise,
    parameter: Callable[[str], Any],
    train: bool = False,
    key: Key[Array, ""] | None = None,
    weights: Float[Array, "k batch"] | None = None,
) -> tuple[Evidence, dict[str, PyTree]]:
    """What latents from q(z | x) tell about the likelihood of examples, and new model states by network.

    Args:
        exp: the experiment.
        networks: variables by network.
        target: of the likelihood.
        condition: of the examples.
        noise: of the latents.
        parameter: name of a setting -> its value.
        train, key: as of `apply`.
        weights: of the gradient that passes through latents. Then log q is a function of the latents alone, as in the
            doubly reparameterised gradient; values are the same.
    """
    states: dict[str, PyTree] = {}

    def run(name: str, z: Latents, condition: Condition = None, own: Networks = networks) -> Any:
        out, states[name] = apply_to_samples(exp, own, name, z, condition, train)
        return out

    two = two_layers(exp)
    q, states["encoder"] = apply(exp.networks["encoder"], networks["encoder"], target, condition, train=train, key=key)
    z, upper, top = q.sample(noise["encoder"]), None, None
    if two:
        upper = run("upper_encoder", z)
        top = upper.sample(noise["upper_encoder"])
    if weights is not None:
        q, z = lax.stop_gradient(q), scale_gradient(z, weights[..., None])
        if two:
            top = scale_gradient(top, weights[..., None])
            upper = run("upper_encoder", z, own=lax.stop_gradient(dict(networks)))
    log_ratio = -q.log_density(z)
    if two:
        log_ratio += run("upper_decoder", top).log_density(z) - upper.log_density(top)
    log_ratio += normal_log_density(top if two else z, 0.0, 1.0, 1)
    kl = -log_ratio.mean(0) if two else q.kl_to_standard_normal().sum(-1)
    density = LIKELIHOODS[exp.config.likelihood].log_density
    log_likelihood = density(target, run("decoder", z, condition), target.ndim - 1, parameter)
    return Evidence(log_likelihood, log_ratio, kl), states


def with_output_bias(exp: Experiment, state: TrainState, target: Examples) -> TrainState:
    """The state, at the first step with the decoder's bias for which the expected example is the mean of the batch.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016, the authors' code (from all examples, and not smoothed).
    """
    mean = exp.pmean(target.mean(0))
    if exp.config.likelihood == "bernoulli":
        count = exp.config.batch_size
        mean = jax.scipy.special.logit((count * mean + 0.5) / (count + 1))  # finite where all bits are equal

    def changed(own: Variables) -> Variables:
        bias = jnp.where(state.step == 0, mean, own.params["output_bias"])
        return own.replace(params=own.params | {"output_bias": bias})

    networks, ema = (own | {"decoder": changed(own["decoder"])} for own in (state.networks, state.ema))
    return state.replace(networks=networks, ema=ema)


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of all networks: the mean over examples of what the objective says."""
    examples = batch[data_field(exp)][0]
    condition = condition_of(exp, batch["labels"][0]) if exp.config.conditional else None
    target = targets(exp, exp.example_keys(state, len(examples), "targets"), examples)
    noise = normal_noise(exp, exp.example_keys(state, len(examples), "latents"), exp.config.k)
    key = rng.stream_key(state.seed, state.step, "dropout")
    state = with_output_bias(exp, state, target)
    doubly = exp.config.get("gradient") == "doubly_reparameterized"

    def parameter(name: str) -> Any:
        return hparam(exp, state, name)

    def objective(params: dict[str, PyTree]) -> tuple[Array, tuple[dict[str, PyTree], Metrics]]:
        networks = {name: state.networks[name].replace(params=own) for name, own in params.items()}
        evidence, states = evidence_of(exp, networks, target, condition, noise, parameter, True, key)
        if doubly:
            weights = lax.stop_gradient(jax.nn.softmax(evidence.log_weights, axis=0))
            evidence, _ = evidence_of(exp, networks, target, condition, noise, parameter, True, key, weights)
        loss = OBJECTIVES[exp.config.objective].loss(evidence, parameter).mean()
        reconstruction = -evidence.log_likelihood.mean()
        metrics = {"loss/vae": loss, "loss/reconstruction": reconstruction, "loss/kl": evidence.kl.mean()}
        return loss, (states, metrics)

    grads, _, (model_state, metrics) = gradients(exp, state, "vae", objective)
    after, metrics = apply_gradients(exp, state, "vae", grads, model_state, metrics)
    return finish_step(exp, state, after, metrics)


def encode(exp: Experiment, networks: Networks, examples: Examples, condition: Condition) -> Gaussian:
    """q(z | x) of the prior's latents; with two layers, given the mean of the lower latents."""
    q, _ = apply(exp.networks["encoder"], networks["encoder"], as_input(exp, examples), condition, train=False)
    if two_layers(exp):
        q, _ = apply(exp.networks["upper_encoder"], networks["upper_encoder"], q.mean, None, train=False)
    return q


def decode(
    exp: Experiment, networks: Networks, z: Latents, condition: Condition, keys: Key[Array, " batch"] | None = None
) -> Examples:
    """The expected examples of latents of the prior: means, not samples, of p(x | z).

    With two layers, the lower latents are drawn where there are keys, and means else.
    """
    if two_layers(exp):
        lower, _ = apply(exp.networks["upper_decoder"], networks["upper_decoder"], z, None, train=False)
        z = lower.mean if keys is None else lower.sample(rng.normal(keys, lower.mean.shape[1:]))
    outputs, _ = apply(exp.networks["decoder"], networks["decoder"], z, condition, train=False)
    return LIKELIHOODS[exp.config.likelihood].mean(outputs)


def likelihood(exp: Experiment, networks: Networks, inputs: Arrays) -> dict[str, Array]:
    """The negative log-likelihood of examples, estimated by importance sampling, and the parts of the ELBO.

    The estimate is at least the true value in expectation, and falls to it as k grows. The k latents of an example are
    drawn in chunks; a chunk that is not needed as a whole is cut.

    Args:
        exp: the experiment.
        networks: variables by network.
        inputs: of the task; `k` int32 [n], latents of each example (1 if not given).

    Returns:
        In nats `nll`, and `negative_elbo` with its parts, `reconstruction` and `kl`, as means over the k latents; and
        `bits_per_dim` of the nll, where that can be compared.
    """
    field = example_field(exp)
    examples, condition = inputs[field.name], condition_of(exp, inputs.get("labels"))
    most = jnp.broadcast_to(inputs.get("k", 1), examples.shape[:1])

    def keys(stream: str, chunk: int | Array = 0) -> Key[Array, " batch"]:
        return jax.vmap(lambda seed, index: jax.random.fold_in(rng.stream_key(seed, 0, stream, chunk), index))(
            inputs["seed"], inputs["index"]
        )

    target = targets(exp, keys("targets"), examples)

    def body(carry: tuple) -> tuple:
        chunk, log_sum, sums = carry
        noise = normal_noise(exp, keys("importance", chunk), CHUNK)
        evidence, _ = evidence_of(exp, networks, target, condition, noise, exp.config.__getitem__)
        wanted = chunk * CHUNK + jnp.arange(CHUNK)[:, None] < most
        log_weights = jnp.where(wanted, evidence.log_weights, -jnp.inf)
        parts = (jnp.where(wanted, -own, 0).sum(0) for own in (evidence.log_likelihood, evidence.log_ratio))
        log_sum = jnp.logaddexp(log_sum, jax.nn.logsumexp(log_weights, axis=0))
        return chunk + 1, log_sum, jax.tree.map(jnp.add, sums, tuple(parts))

    zeros = jnp.zeros(len(examples))
    start = jnp.int32(0), jnp.full(len(examples), -jnp.inf), (zeros, zeros)
    _, log_sum, sums = lax.while_loop(lambda carry: (carry[0] * CHUNK < most).any(), body, start)
    nll, (reconstruction, kl) = jnp.log(most) - log_sum, (own / most for own in sums)
    found = {"nll": nll, "negative_elbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
    if has_bits(exp):
        found["bits_per_dim"] = bits_per_dim(nll, math.prod(field.shape), exp.config.get("dequantize", False))
    return found


def has_bits(exp: Experiment) -> bool:
    """Whether bits per dimension can be compared: pixels have to be bits, or dequantised."""
    return (
        example_field(exp).kind != "pixels" or exp.config.get("binarize", False) or exp.config.get("dequantize", False)
    )


def scores(exp: Experiment) -> dict[str, str]:
    """The outputs of `likelihood`."""
    names = ["nll", "negative_elbo", "reconstruction", "kl", *(["bits_per_dim"] if has_bits(exp) else [])]
    return dict.fromkeys(names, "score")


def no_likelihood(exp: Experiment) -> str | None:
    """Why the likelihood is not one of a distribution."""
    if not exp.config.get("binarize", True):
        return "with config.binarize=False pixels are no bits, and their Bernoulli density is no likelihood"
    if "likelihood_stddev" in exp.swept.keys() | exp.scheduled.keys():
        return "config.likelihood_stddev is no single number here, so there is no single likelihood"
    return None


TWO_LAYERS: Settings = {
    "lower_latent_dim": Setting(100, "numbers of the latent vector between the prior's and the example", POSITIVE),
    "upper_hidden_dims": Setting((100, 100), "units of the tanh layers between the two latent vectors", DIMENSIONS),
}
SETTINGS: Settings = {
    "latent_dim": Setting(20, "numbers of a latent vector", POSITIVE),
    "stochastic_layers": Choice("one", "vectors of latents that are drawn", lambda: {"one": {}, "two": TWO_LAYERS}),
    "conditional": Setting(False, "encoder and decoder are given the label of each example"),
    "k": Setting(1, "latents that are drawn for each example", POSITIVE),
    "objective": Choice(
        "elbo", "what is minimised", lambda: {name: entry.settings for name, entry in OBJECTIVES.items()}
    ),
    "likelihood": Choice(
        "bernoulli", "p(x | z)", lambda: {name: entry.settings for name, entry in LIKELIHOODS.items()}
    ),
    **models.settings(ROLES, family="mlp"),
    **EMA_SETTINGS,
    **optimizers.settings("vae"),
}


def players(config: ConfigDict) -> dict[str, Player]:
    """One, of all networks."""
    names = (*ROLES, *(UPPER if config.stochastic_layers == "two" else ()))
    return {"vae": Player(names, names)}


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
    if config.get("dequantize", False) and examples[0].kind != "pixels":
        yield f"config.dequantize is for 8-bit pixels, and config.data.source={config.data.source} has none"
    if (reason := ema_conflict(exp)) is not None:
        yield reason


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """Encoder and decoder of a family, and with two stochastic layers those of the upper latents."""
    check_labels(config, classes)
    (shape,) = (field.shape for field in example_fields(fields))
    bodies = {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}
    two, kernel_init = config.stochastic_layers == "two", models.kernel_init(config)
    found: dict[str, nn.Module] = {
        "encoder": Encoder(bodies["encoder"], config.lower_latent_dim if two else config.latent_dim, kernel_init),
        "decoder": Decoder(Generator(bodies["decoder"], "concat" if config.conditional else "none")),
    }
    if two:
        sizes = zip(UPPER, (config.latent_dim, config.lower_latent_dim), strict=True)
        body = iwae_mlp.Encoder(config.upper_hidden_dims, config.model.initializer, models.init_argument(config))
        found |= {name: Encoder(body.clone(), size, kernel_init) for name, size in sizes}
    return found


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last."""
    config, count = exp.config, exp.config.model.encoder.get("minibatch_stddev", 0) or 1
    lower = config.get("lower_latent_dim", config.latent_dim)

    def condition(count: int) -> Condition:
        return jnp.zeros((count, exp.classes)) if config.conditional else None

    found = {
        "encoder": (jnp.zeros((count, *example_field(exp).shape)), condition(count)),
        "decoder": (jnp.zeros((1, lower)), condition(1)),
        "upper_encoder": (jnp.zeros((1, lower)), None),
        "upper_decoder": (jnp.zeros((1, config.latent_dim)), None),
    }
    return {name: found[name] for name in exp.networks}


ENCODERS, DECODERS = ("encoder", "upper_encoder"), ("upper_decoder", "decoder")
VAE = Algorithm(
    settings=SETTINGS,
    players=players,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks=tasks.tasks(encode, decode, ENCODERS, DECODERS)
    | {
        "likelihood": Task(
            ENCODERS + DECODERS, likelihood, scores, needs=tasks.needs, options=("k",), unavailable=no_likelihood
        )
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
    choices=lambda exp: exp.classes if exp.config.conditional else 0,
    draws_classes=lambda exp: exp.config.conditional,
    drawn=("sample", "reconstruct"),
    scored=("likelihood", "reconstruction_error", "encode"),
    headlines=("loss/vae", "loss/kl"),
)
