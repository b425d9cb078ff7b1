"""CycleGAN: two generators translate between two domains without pairs, and back to where an image came from.

Both generators are one player, and both discriminators are the other one. The discriminators learn from the fakes that
the generators made in the same step; a pool of former fakes replaces some of them.

References:
    Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017.
    https://arxiv.org/abs/1703.10593
    The authors' code: https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import patches, pool
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import NOT_NEGATIVE, Setting, Settings
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task

DIRECTIONS = {"ab": ("a", "b"), "ba": ("b", "a")}  # which domain an image comes from, and which it goes to
PLAYERS = {
    "generator": Player(("generator_ab", "generator_ba"), ("generator_ab", "generator_ba")),
    "discriminator": Player(("discriminator_a", "discriminator_b")),
}
ROLES = {"generator": "translator", "discriminator": "patch_discriminator"}

Images = Float[Array, "batch height width channel"]
Networks = Mapping[str, Variables]


class Translations(NamedTuple):
    """What the generators make of one batch; all but the states by the domain that an image belongs to.

    Attributes:
        fake: translations of the other domain's images.
        cycle: translations back of the translated images.
        identity: translations of images into their own domain; empty where that has no weight.
        model_state: the generators' new ones, by network.
    """

    fake: dict[str, Images]
    cycle: dict[str, Images]
    identity: dict[str, Images]
    model_state: dict[str, PyTree]


def translations(exp: Experiment, state: TrainState, networks: Networks, real: Mapping[str, Images]) -> Translations:
    """The forward pass of both generators.

    Args:
        exp, state: the experiment and its state.
        networks: variables by network.
        real: images by domain.
    """
    model_state = {name: networks[name].model_state for name in PLAYERS["generator"].networks}

    def translate(direction: str, images: Images, purpose: str) -> Images:
        name = f"generator_{direction}"
        variables = networks[name].replace(model_state=model_state[name])
        key = rng.stream_key(state.seed, state.step, f"{name} {purpose} dropout")
        out, model_state[name] = apply(exp.networks[name], variables, images, train=True, key=key)
        return out

    own = DIRECTIONS if exp.is_enabled("identity") else {}
    if own and independent(exp, networks):
        both = {
            to: translate(way, jnp.concatenate([real[start], real[to]]), "both") for way, (start, to) in own.items()
        }
        fake, identity = ({to: jnp.split(both[to], 2)[half] for to in both} for half in range(2))
    else:
        fake = {to: translate(way, real[start], "fake") for way, (start, to) in DIRECTIONS.items()}
        identity = {to: translate(way, real[to], "identity") for way, (_, to) in own.items()}
    cycle = {to: translate(way, fake[start], "cycle") for way, (start, to) in DIRECTIONS.items()}
    return Translations(fake, cycle, identity, model_state)


def independent(exp: Experiment, networks: Networks) -> bool:
    """Whether a generator's output for an image is the same in any batch, so that batches may be joined."""
    stateless = not any(networks[name].model_state for name in PLAYERS["generator"].networks)
    return stateless and not exp.config.model.generator.dropout


def generator_objective(
    exp: Experiment, state: TrainState, networks: Networks, real: Mapping[str, Images]
) -> tuple[Float[Array, ""], tuple[Translations, Metrics]]:
    """What the generators minimise: adversarial losses, cycles and identities, as mean absolute differences."""
    found, metrics = translations(exp, state, networks, real), {}
    total, weight = jnp.zeros(()), {name: hparam(exp, state, name) for name in ("adversarial", "cycle", "identity")}
    for way, (start, to) in DIRECTIONS.items():
        critic = f"discriminator_{to}"
        loss, _ = patches.generator_loss(exp, state, critic, networks[critic], (real[to], found.fake[to]))
        metrics[f"loss/generator_{way}"] = loss
        metrics[f"loss/cycle_{start}"] = jnp.abs(found.cycle[start] - real[start]).mean()
        total += weight["adversarial"] * loss
        total += weight["cycle"] * metrics[f"loss/cycle_{start}"]
        if found.identity:
            metrics[f"loss/identity_{to}"] = jnp.abs(found.identity[to] - real[to]).mean()
            total += weight["cycle"] * weight["identity"] * metrics[f"loss/identity_{to}"]
    return total, (found, metrics)


def discriminator_objective(
    exp: Experiment, state: TrainState, networks: Networks, real: Mapping[str, Images], fake: Mapping[str, Images]
) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics, dict[str, PyTree]]]:
    """What the discriminators minimise; with it their new model states, metrics, and what penalties carry on."""
    total, model_state, metrics, extra = jnp.zeros(()), {}, {}, {}
    for domain in "ab":
        name = f"discriminator_{domain}"
        images = (real[domain], fake[domain])
        value, aux = patches.discriminator_objective(exp, state, name, networks[name], images)
        model_state[name], own, carried = aux
        metrics |= {f"{key}_{domain}": number for key, number in own.items()}
        extra |= {name: carried} if carried else {}
        total += value
    return total, (model_state, metrics, extra)


def pooled(
    exp: Experiment, state: TrainState, fake: Mapping[str, Images]
) -> tuple[dict[str, pool.Pool], dict[str, Images]]:
    """The pools after this step, and what they show the discriminators on this device in the place of its fakes."""
    if not exp.config.pool_size:
        return {}, dict(fake)
    pools, shown = {}, {}
    for domain, images in fake.items():
        everywhere = exp.all_gather(lax.stop_gradient(images))  # one pool, whatever the number of devices
        key = rng.stream_key(state.seed, state.step, f"pool {domain}")
        keys = rng.example_keys(key, jnp.arange(len(everywhere)))
        pools[domain], found = pool.query(state.extra["pools"][domain], everywhere, keys)
        shown[domain] = found[exp.global_indices(len(images))]
    return pools, shown


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of both generators, then one of both discriminators."""
    real = {domain: batch[domain][0] for domain in "ab"}

    def with_params(params: Mapping[str, PyTree], state: TrainState) -> Networks:
        return state.networks | {name: state.networks[name].replace(params=own) for name, own in params.items()}

    grads, _, (found, metrics) = gradients(
        exp, state, "generator", lambda params: generator_objective(exp, state, with_params(params, state), real)
    )
    after, metrics = apply_gradients(exp, state, "generator", grads, found.model_state, metrics)
    pools, shown = pooled(exp, state, found.fake)
    grads, _, (model_state, own, carried) = gradients(
        exp,
        after,
        "discriminator",
        lambda params: discriminator_objective(exp, after, with_params(params, after), real, shown),
    )
    after, own = apply_gradients(exp, after, "discriminator", grads, model_state, own)
    return finish_step(exp, state, after, metrics | own, ({"pools": pools} if pools else {}) | carried)


def translate(direction: str, domain: str, to: str) -> Task:
    """The task that translates images into the other domain."""
    name = f"generator_{direction}"

    def run(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        return {to: apply(exp.networks[name], variables[name], inputs[domain], train=False)[0]}

    return Task(
        (name,),
        run,
        lambda exp: {to: "pixels"},
        needs=lambda exp: (domain,),
        sides=lambda exp: exp.networks[name].sides,
    )


def cycle(direction: str, domain: str, to: str) -> Task:
    """The task that translates images into the other domain and back."""
    there, back = f"generator_{direction}", f"generator_{direction[::-1]}"

    def run(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        fake = apply(exp.networks[there], variables[there], inputs[domain], train=False)[0]
        return {to: fake, f"cycle_{domain}": apply(exp.networks[back], variables[back], fake, train=False)[0]}

    outputs = dict.fromkeys((to, f"cycle_{domain}"), "pixels")
    return Task((there, back), run, lambda exp: outputs, needs=lambda exp: (domain,))


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """A generator for each direction, a discriminator for each domain."""
    del classes
    shapes = {field.name: field.shape for field in fields}
    generators = {
        f"generator_{way}": models.make(config, "generator", "translator", shapes[to], axis_name)
        for way, (_, to) in DIRECTIONS.items()
    }
    return generators | {
        f"discriminator_{name}": models.make(config, "discriminator", "patch_discriminator", shapes[name], axis_name)
        for name in "ab"
    }


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    zeros = {field.name: jnp.zeros((1, *field.shape)) for field in exp.fields}
    generators = {f"generator_{way}": (zeros[start],) for way, (start, _) in DIRECTIONS.items()}
    return generators | {f"discriminator_{name}": (zeros[name],) for name in "ab"}


def extra(exp: Experiment) -> dict[str, PyTree]:
    """The pools, and what discriminators carry."""
    shapes, carried = {field.name: field.shape for field in exp.fields}, patches.initial_extra(exp)
    found = {f"discriminator_{name}": carried for name in "ab" if carried}
    if exp.config.pool_size:  # checkpoints hold no empty arrays
        found["pools"] = {name: pool.empty(exp.config.pool_size, shapes[name]) for name in "ab"}
    return found


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    shapes = {field.name: field.shape for field in exp.fields}
    if not shapes.keys() >= {"a", "b"}:
        source = exp.config.data.source
        yield (
            f"config.algorithm=cyclegan translates between two sets of images, and config.data.source={source} is one: "
            "make it unpaired:A|B"
        )
        return
    yield from patches.check(exp, shapes["a"][:2])
    if (reason := ema_conflict(exp)) is not None:
        yield reason


SETTINGS: Settings = {
    **models.settings(ROLES, family="cyclegan"),
    # With half the squares of least_squares, 2 is the weight of the authors' code.
    **patches.settings(loss="least_squares", weight=2.0),
    "cycle": Setting(10.0, "weight of the distance of a cycle from its image", NOT_NEGATIVE, sweepable=True),
    "identity": Setting(
        0.5,
        "weight of the distance of an image from its translation into its own domain, times cycle",
        NOT_NEGATIVE,
        sweepable=True,
    ),
    "pool_size": Setting(50, "former fakes of each domain that are shown to the discriminators; 0: none", NOT_NEGATIVE),
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

CYCLEGAN = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        f"{name}_{way}": make(way, *domains)
        for name, make in {"translate": translate, "cycle": cycle}.items()
        for way, domains in DIRECTIONS.items()
    },
    smallest={
        "data.source": "unpaired:digits|edited:inverted:digits",
        "data.size": 16,  # maps of 2x2 numbers, as 8 pixels would give, are ill-conditioned once they are normalised
        "batch_size": 4,
        # With 2 channels an activation is 0 but for rounding, and gradients depend on its last bit, even on one device.
        "model.generator.base_channels": 4,
        "model.generator.blocks": 1,
        "model.discriminator.base_channels": 2,
        "model.discriminator.depth": 1,
    },
    check=check,
    extra=extra,
    drawn=("cycle_ab", "cycle_ba"),
    headlines=("loss/generator_ab", "loss/generator_ba", "loss/cycle_a", "loss/cycle_b"),
    curves=("loss", "logits", "ada", "learning_rate"),
)
