"""VAE/GAN: a variational autoencoder that compares images by the features of a discriminator.

The encoder minimises the KL and the distance of features between image and reconstruction. The decoder minimises that
distance and plays against the discriminator, which is given samples and reconstructions as fakes.

References:
    Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016. https://arxiv.org/abs/1512.09300
    The authors' code: https://github.com/andersbll/autoencoding_beyond_pixels
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import monitors
from jaxgan.adversarial.conditioning import Discriminator, Generator
from jaxgan.adversarial.forward import deinterleave, interleave
from jaxgan.adversarial.objectives import diversity_ratio
from jaxgan.algorithms.vae import Encoder
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import ABOVE_ZERO, FRACTION, NOT_NEGATIVE, POSITIVE, Setting, Settings
from jaxgan.core.state import TrainState, apply
from jaxgan.core.types import Algorithm, Batch, Field, Metrics, Monitor, Player, example_fields
from jaxgan.variational import tasks
from jaxgan.variational.densities import Examples, Gaussian, Latents
from jaxgan.variational.tasks import Condition, Networks, check_labels, condition_of, data_field

ROLES = {"encoder": "encoder", "decoder": "generator", "discriminator": "discriminator"}
PLAYERS = {
    "encoder": Player(("encoder",), ("encoder",)),
    "decoder": Player(("decoder",), ("decoder",)),
    "discriminator": Player(("discriminator",)),
}


class ForwardPass(NamedTuple):
    """One forward pass of all networks.

    Attributes:
        posterior: q(z | x).
        samples: decoded latents of the prior.
        real, reconstructed, generated: logits of the examples, of their reconstructions and of the samples.
        distance: 1/2 ||D_l(x) - D_l(x~)||^2 of examples and reconstructions, summed over features.
        model_state: new ones by network.
    """

    posterior: Gaussian
    samples: Examples
    real: Float[Array, " batch"]
    reconstructed: Float[Array, " batch"]
    generated: Float[Array, " batch"]
    distance: Float[Array, " batch"]
    model_state: dict[str, PyTree]


def forward(
    exp: Experiment, state: TrainState, networks: Networks, examples: Examples, condition: Condition
) -> ForwardPass:
    """Encodes, decodes and discriminates one batch.

    Reconstructions and samples are decoded in one batch. The discriminator is given both and the examples in one batch,
    as in the authors' code: BatchNorm gives all of them the same statistics.

    Args:
        exp: the experiment.
        state: whose seed and step give the random numbers.
        networks: variables by network.
        examples: real ones.
        condition: of the examples; a sample has that of the example in its place.
    """
    states: dict[str, PyTree] = {}

    def noise(stream: str) -> Latents:
        return rng.normal(exp.example_keys(state, len(examples), stream), (exp.config.latent_dim,))

    def repeated(count: int, group: int = 1) -> Condition:
        return None if condition is None else interleave([condition] * count, group)

    keys = {name: rng.stream_key(state.seed, state.step, f"{name} dropout") for name in ("encoder", "discriminator")}
    posterior, states["encoder"] = apply(
        exp.networks["encoder"], networks["encoder"], examples, condition, train=True, key=keys["encoder"]
    )
    z = interleave([posterior.sample(noise("latents")), noise("prior latents")])
    decoded, states["decoder"] = apply(exp.networks["decoder"], networks["decoder"], z, repeated(2), train=True)
    reconstructions, samples = deinterleave(decoded, 2)
    group = stddev_group(exp.config, "discriminator")
    given = interleave([examples, reconstructions, samples], group), repeated(3, group)
    logits, features, states["discriminator"] = discriminate(exp, networks, *given, keys["discriminator"])
    target, found, _ = deinterleave(features, 3, group)
    distance = 0.5 * ((target - found) ** 2).sum(axis=range(1, features.ndim))
    return ForwardPass(posterior, samples, *deinterleave(logits, 3, group), distance, states)


def discriminate(
    exp: Experiment, networks: Networks, examples: Examples, condition: Condition, key: Key[Array, ""]
) -> tuple[Float[Array, " batch"], Float[Array, "batch ..."], PyTree]:
    """Logits, the features D_l that images are compared by, and the discriminator's new model state.

    D_l is what the network keeps under the name `similarity`, or else its last features.
    """
    variables = networks["discriminator"]
    kept = variables.replace(model_state=variables.model_state | {"intermediates": {}})
    out, model_state = apply(exp.networks["discriminator"], kept, examples, condition, train=True, key=key)
    sown = jax.tree.leaves(model_state.pop("intermediates", {}))
    (features,) = sown or [out.features]
    return out.logits, features, model_state


def losses(
    exp: Experiment, state: TrainState, found: ForwardPass
) -> tuple[dict[str, Float[Array, ""]], dict[str, Metrics]]:
    """What each player minimises, and each player's metrics.

    The discriminator's loss is -log D(x) - log(1 - D(x')), the second a mean over reconstructions and samples. The
    authors' decoder takes their sum there, so that their gamma / (1 - gamma) is twice the one here.
    """
    gamma, beta = hparam(exp, state, "gamma"), hparam(exp, state, "beta")
    kl, similarity = found.posterior.kl_to_standard_normal().sum(-1).mean(), found.distance.mean()
    fakes = [found.generated, *([found.reconstructed] if exp.config.discriminate_reconstructions else [])]
    costs = {"cost/real": jax.nn.softplus(-found.real).mean(), "cost/fake": jax.nn.softplus(jnp.stack(fakes)).mean()}
    adversarial = costs["cost/real"] + costs["cost/fake"]
    values = {
        "encoder": beta * kl + similarity,
        "decoder": gamma * similarity - (1 - gamma) * adversarial,
        "discriminator": adversarial,
    }
    metrics: dict[str, Metrics] = {player: {f"loss/{player}": value} for player, value in values.items()}
    metrics["encoder"] |= {"loss/kl": kl, "loss/similarity": similarity}
    metrics["discriminator"] |= costs
    return values, metrics


def balance(
    real: Float[Array, ""], fake: Float[Array, ""], equilibrium: Array | float, margin: Array | float
) -> dict[str, Bool[Array, ""]]:
    """Which of the two adversaries is updated: not one that is ahead, by the discriminator's two costs; else both.

    Args:
        real: mean of -log D(x).
        fake: mean of -log(1 - D(x')).
        equilibrium: of both costs; log 2 where real and fake cannot be distinguished.
        margin: by which a cost may differ.
    """
    discriminator = jnp.minimum(real, fake) >= equilibrium - margin
    decoder = jnp.maximum(real, fake) <= equilibrium + margin
    neither = ~(decoder | discriminator)
    return {"decoder": decoder | neither, "discriminator": discriminator | neither}


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of the encoder, and of decoder and discriminator as the balance allows, from one forward pass."""
    examples = batch[data_field(exp)][0]
    condition = condition_of(exp, batch["labels"][0]) if exp.config.conditional else None

    def gradients_of(player: str) -> tuple[dict[str, PyTree], dict[str, PyTree], Metrics, Examples]:
        def objective(params: dict[str, PyTree]) -> tuple[Array, tuple]:
            own = {name: state.networks[name].replace(params=values) for name, values in params.items()}
            found = forward(exp, state, state.networks | own, examples, condition)
            values, metrics = losses(exp, state, found)
            return values[player], ({player: found.model_state[player]}, metrics[player], found.samples)

        grads, _, aux = gradients(exp, state, player, objective)
        return grads, *aux

    # Each objective runs the same pass of the old state, which is compiled once.
    found = {player: gradients_of(player) for player in exp.players}
    real, fake = exp.pmean([found["discriminator"][2][f"cost/{kind}"] for kind in ("real", "fake")])
    updated = balance(real, fake, *(hparam(exp, state, f"balance.{name}") for name in ("equilibrium", "margin")))
    metrics: Metrics = {f"updated/{player}": own.astype(jnp.float32) for player, own in updated.items()}
    metrics["diversity_ratio"] = diversity_ratio(exp, examples, found["decoder"][3])
    after = state
    for player, (grads, model_state, before, _) in found.items():
        when = updated.get(player, True)
        after, own = apply_gradients(exp, after, player, grads, model_state, before, when=when)
        metrics |= own
    return finish_step(exp, state, after, metrics)


def encode(exp: Experiment, networks: Networks, examples: Examples, condition: Condition) -> Gaussian:
    """q(z | x)."""
    return apply(exp.networks["encoder"], networks["encoder"], examples, condition, train=False)[0]


def decode(
    exp: Experiment, networks: Networks, z: Latents, condition: Condition, keys: Key[Array, " batch"] | None = None
) -> Examples:
    """The examples of latents."""
    del keys
    return apply(exp.networks["decoder"], networks["decoder"], z, condition, train=False)[0]


SETTINGS: Settings = {
    "latent_dim": Setting(128, "numbers of a latent vector", POSITIVE),
    "conditional": Setting(False, "all networks are given the label of each example"),
    "beta": Setting(1.0, "weight of the KL for the encoder", NOT_NEGATIVE, sweepable=True),
    "gamma": Setting(
        2.5e-5,
        "weight of the distance of features for the decoder, beside 1 - gamma of the adversarial loss",
        FRACTION,
        sweepable=True,
    ),
    "discriminate_reconstructions": Setting(True, "reconstructions are fakes for the discriminator, as samples are"),
    "balance": {
        "equilibrium": Setting(0.68, "of the discriminator's costs of real and of fake", ABOVE_ZERO, sweepable=True),
        "margin": Setting(
            0.35,
            "between a cost and the equilibrium, above which the decoder and below which the discriminator waits",
            NOT_NEGATIVE,
            sweepable=True,
        ),
    },
    **models.settings(ROLES, family="vaegan"),
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}


def stddev_group(config: ConfigDict, network: str) -> int:
    """Examples that a network needs together."""
    return config.model[network].get("minibatch_stddev", 0) or 1


def examples_together(config: ConfigDict) -> int:
    """The same for both networks that may need some."""
    return math.lcm(*(stddev_group(config, network) for network in ("encoder", "discriminator")))


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    config, examples = exp.config, example_fields(exp.fields)
    if len(examples) != 1:
        names, source = ", ".join(field.name for field in examples), config.data.source
        yield f"config.algorithm={config.algorithm} encodes one field, and config.data.source={source} has {names}"
        return
    for network in ("encoder", "discriminator"):
        if config.batch_size % (group := stddev_group(config, network)):
            yield f"config.model.{network}.minibatch_stddev={group} must divide config.batch_size={config.batch_size}"
    if (reason := ema_conflict(exp)) is not None:
        yield reason


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """Encoder, decoder and discriminator of a family, wrapped for labels."""
    check_labels(config, classes)
    (shape,) = (field.shape for field in example_fields(fields))
    bodies = {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}
    kernel_init, conditioning = models.kernel_init(config), "concat" if config.conditional else "none"
    return {
        "encoder": Encoder(bodies["encoder"], config.latent_dim, kernel_init),
        "decoder": Generator(bodies["decoder"], conditioning),
        "discriminator": Discriminator(
            bodies["discriminator"],
            conditioning,
            spectral_norm=config.model.discriminator.get("spectral_norm", False),
            kernel_init=kernel_init,
        ),
    }


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    (shape,) = (field.shape for field in example_fields(exp.fields))

    def of(count: int, *shape: int) -> tuple[Array, Condition]:
        return jnp.zeros((count, *shape)), jnp.zeros((count, exp.classes)) if exp.config.conditional else None

    encoded = {name: of(stddev_group(exp.config, name), *shape) for name in ("encoder", "discriminator")}
    return {"decoder": of(1, exp.config.latent_dim)} | encoded


def waiting(player: str, other: str) -> Monitor:
    """Says that the balance hardly ever lets a player learn."""
    return Monitor(
        f"updated/{player}",
        lambda value: value < 0.01,
        1000,
        f"the {player} was updated in {{value:.1%}} of the steps, since the {other} is behind; try a larger "
        f"config.balance.margin, or a smaller config.optimizer.{player}.learning_rate",
    )


MONITORS = (
    monitors.mode_collapse("decoder", "a larger config.gamma, or a smaller learning rate"),
    waiting("decoder", "discriminator"),
    waiting("discriminator", "decoder"),
)

VAEGAN = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks=tasks.tasks(encode, decode, ("encoder",), ("decoder",)),
    smallest={
        "data.source": "world:ring",
        "batch_size": 8,
        "latent_dim": 2,
        "model.family": "toy_mlp",
        **{f"model.{network}.{name}": value for network in ROLES for name, value in (("width", 4), ("depth", 1))},
    },
    examples_together=examples_together,
    check=check,
    choices=lambda exp: exp.classes if exp.config.conditional else 0,
    draws_classes=lambda exp: exp.config.conditional,
    drawn=("sample", "reconstruct"),
    scored=("reconstruction_error", "encode"),
    headlines=("loss/similarity", "cost/real", "cost/fake"),
    curves=("loss", "cost", "updated", "learning_rate"),
    monitors=MONITORS,
)
