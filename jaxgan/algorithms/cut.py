"""CUT and FastCUT: a generator translates one domain into another, patch by patch, without pairs and without cycles.

Patches of a translation are to resemble the patches of the image that they were made from more than its other patches.
The generator's own encoder gives the features by which they are compared, and small networks, the heads, make vectors
of those. The heads are a player of their own, with the loss of the generator. FastCUT is `nce.weight=10`,
`nce.identity=0`, `nce.flip=True`.

References:
    Park et al., Contrastive Learning for Unpaired Image-to-Image Translation, 2020. https://arxiv.org/abs/2007.15651
    The authors' code: https://github.com/taesungp/contrastive-unpaired-translation
"""

from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import patch_nce, patches
from jaxgan.adversarial.forward import deinterleave, interleave
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import ABOVE_ZERO, NOT_NEGATIVE, POSITIVE, Setting, Settings, one_of
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task
from jaxgan.models.ops.convolutions import Features

ROLES = {"generator": "feature_translator", "discriminator": "patch_discriminator"}
PLAYERS = {
    "discriminator": Player(("discriminator",)),
    "generator": Player(("generator",), ("generator",)),
    "heads": Player(("heads",)),
}

Images = Float[Array, "_ height width channel"]
Params = Mapping[str, PyTree]


def domains(exp: Experiment) -> tuple[str, str]:
    """The fields that images are translated from and to."""
    source, target = exp.config.direction
    return source, target


def generate(
    exp: Experiment, state: TrainState, params: PyTree, given: Images, flip: Bool[Array, ""]
) -> tuple[Images, PyTree]:
    """The translations of images, flipped or not, and the generator's new model state."""
    variables = state.networks["generator"].replace(params=params)
    key = rng.stream_key(state.seed, state.step, "generator dropout")
    return apply(exp.networks["generator"], variables, flipped(given, flip), train=True, key=key)


def flipped(images: Features, flip: Bool[Array, ""]) -> Features:
    """Left and right exchanged, in either layout, or not."""
    return jnp.where(flip, images[:, :, ::-1], images)


def nce_losses(
    exp: Experiment, state: TrainState, params: Params, given: Images, translated: Images, flip: Bool[Array, ""]
) -> Float[Array, " batch"]:
    """PatchNCE of each image and its translation, which is flipped or not.

    Args:
        exp, state: the experiment and its state.
        params: of generator and heads.
        given, translated: images and what the generator makes of them.
        flip: whether the translations are flipped.
    """
    encoder = exp.networks["generator"].clone(encode_only=True)

    def encode(images: Images, purpose: str) -> tuple[Features, ...]:
        variables = state.networks["generator"].replace(params=params["generator"])
        key = rng.stream_key(state.seed, state.step, f"{purpose} dropout")
        return apply(encoder, variables, images, train=True, key=key)[0]

    keys = encode(given, "keys")
    queries = tuple(flipped(own, flip) for own in encode(translated, "queries"))
    key = rng.stream_key(state.seed, state.step, "nce places")
    places = patch_nce.draw_places(key, keys, exp.config.nce.patches)

    def vectors(features: tuple[Features, ...]) -> tuple[patch_nce.Vectors, ...]:
        variables = state.networks["heads"].replace(params=params["heads"])
        found = patch_nce.at_places(features, places, encoder.batch_last)
        return apply(exp.networks["heads"], variables, *found, train=True)[0]

    return patch_nce.patch_nce(vectors(queries), vectors(keys), hparam(exp, state, "nce.temperature"))


def generator_objective(
    exp: Experiment,
    state: TrainState,
    params: Params,
    real: tuple[Images, ...],
    translated: Images,
    flip: Bool[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """What generator and heads minimise.

    Args:
        exp, state: the experiment and its state.
        params: of generator and heads.
        real: images of the source and of the target.
        translated: what the generator makes of `translated_domains`, interleaved.
        flip: whether those are flipped.
    """
    given = translated_domains(exp, real)
    fake, *_ = deinterleave(translated, len(given))
    loss, _ = patches.generator_loss(exp, state, "discriminator", state.networks["discriminator"], (real[1], fake))
    losses = nce_losses(exp, state, params, interleave(given), translated, flip)
    nce, *identity = (own.mean() for own in deinterleave(losses, len(given)))
    metrics = {"loss/generator": loss, "loss/nce": nce}
    for own in identity:
        metrics["loss/nce_identity"], weight = own, hparam(exp, state, "nce.identity")
        nce = (nce + weight * own) / (1 + weight)
    return hparam(exp, state, "adversarial") * loss + hparam(exp, state, "nce.weight") * nce, metrics


def translated_domains(exp: Experiment, real: tuple[Images, ...]) -> tuple[Images, ...]:
    """Images of the source and, where those are to stay as they are, of the target."""
    return real if exp.is_enabled("nce.identity") else real[:1]


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of the discriminator, then one of generator and heads, of the same translations."""
    real = tuple(batch[name][0] for name in domains(exp))
    flip = jnp.asarray(False)
    if exp.config.nce.flip:
        flip = jax.random.bernoulli(rng.stream_key(state.seed, state.step, "nce flip"))
    given = translated_domains(exp, real)
    translated, vjp, model_state = jax.vjp(
        lambda params: generate(exp, state, params, interleave(given), flip),
        state.networks["generator"].params,
        has_aux=True,
    )
    pair = real[1], lax.stop_gradient(deinterleave(translated, len(given))[0])

    def discriminator_objective(params: Params) -> tuple[Array, tuple]:
        variables = state.networks["discriminator"].replace(params=params["discriminator"])
        return patches.discriminator_objective(exp, state, "discriminator", variables, pair)

    grads, _, (new, metrics, carried) = gradients(exp, state, "discriminator", discriminator_objective)
    extra = {"discriminator": carried} if carried else {}
    after, metrics = apply_gradients(exp, state, "discriminator", grads, {"discriminator": new}, metrics, extra)

    def objective(params: Params, translated: Images) -> tuple[Array, Metrics]:
        return generator_objective(exp, after, params, real, translated, flip)

    grads, (to_translated,), own = gradients(exp, after, ("generator", "heads"), objective, (translated,))
    grads["generator"] = jax.tree.map(jnp.add, grads["generator"], *vjp(to_translated))
    after, own = apply_gradients(exp, after, "generator", grads, {"generator": model_state}, own)
    after, others = apply_gradients(exp, after, "heads", grads)
    return finish_step(exp, state, after, metrics | own | others)


def translate(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Translations of the source's images."""
    source, target = domains(exp)
    return {target: apply(exp.networks["generator"], variables["generator"], inputs[source], train=False)[0]}


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """A generator and a discriminator of the target's shape, and the heads."""
    del classes
    shape = {field.name: field.shape for field in fields}[config.direction[1]]
    heads = patch_nce.Heads(config.nce.width, models.kernel_init(config), jnp.dtype(config.precision))
    return {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()} | {"heads": heads}


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    shapes = {field.name: field.shape for field in exp.fields}
    source, target = (jnp.zeros((1, *shapes[name])) for name in domains(exp))
    encoder = exp.networks["generator"].clone(encode_only=True)
    features, _ = jax.eval_shape(lambda: encoder.init_with_output(jax.random.key(0), source, train=True))
    channels = [own.shape[0 if encoder.batch_last else -1] for own in features]
    vectors = tuple(jnp.zeros((1, 1, count)) for count in channels)
    return {"generator": (source,), "discriminator": (target,), "heads": vectors}


def extra(exp: Experiment) -> dict[str, PyTree]:
    """What the discriminator carries."""
    carried = patches.initial_extra(exp)
    return {"discriminator": carried} if carried else {}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    shapes = {field.name: field.shape for field in exp.fields}
    if not shapes.keys() >= {"a", "b"}:
        source = exp.config.data.source
        yield (
            f"config.algorithm=cut translates one set of images into another, and config.data.source={source} is one: "
            "make it unpaired:A|B"
        )
        return
    yield from patches.check(exp, shapes["a"][:2])
    if (reason := ema_conflict(exp)) is not None:
        yield reason


SETTINGS: Settings = {
    "direction": Setting("ab", "ab translates field a into field b, ba the other way round", one_of("ab", "ba")),
    **models.settings(ROLES, family="cut", initializer="xavier_normal"),
    # With half the squares of least_squares, 2 is the weight of the authors' code.
    **patches.settings(loss="least_squares", weight=2.0),
    "nce": {
        "weight": Setting(1.0, "of the loss that compares patches", NOT_NEGATIVE, sweepable=True),
        "identity": Setting(
            1.0,
            "weight of that loss for images of the target and their translations, beside 1 for those of the source; "
            "the mean of both counts",
            NOT_NEGATIVE,
            sweepable=True,
        ),
        "temperature": Setting(0.07, "by which similarities are divided", ABOVE_ZERO, sweepable=True),
        "patches": Setting(256, "of each image and layer that are compared; all if there are fewer", POSITIVE),
        "width": Setting(256, "numbers of the vector that a head makes of a patch", POSITIVE),
        "flip": Setting(False, "translate flipped images in one step of two: their patches are to match nevertheless"),
    },
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

CUT = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "translate": Task(
            ("generator",),
            translate,
            lambda exp: {domains(exp)[1]: "pixels"},
            needs=lambda exp: (domains(exp)[0],),
            sides=lambda exp: exp.networks["generator"].sides,
        ),
    },
    smallest={
        "data.source": "unpaired:digits|edited:inverted:digits",
        "data.size": 16,  # maps of 2x2 numbers, as 8 pixels would give, are ill-conditioned once they are normalised
        "batch_size": 4,
        "model.generator.base_channels": 2,
        "model.generator.blocks": 1,
        "model.discriminator.base_channels": 2,
        "model.discriminator.depth": 1,
        "nce.patches": 16,
        "nce.width": 4,
    },
    check=check,
    extra=extra,
    drawn=("translate",),
    headlines=("loss/discriminator", "loss/generator", "loss/nce"),
    curves=("loss", "logits", "ada", "learning_rate"),
)
