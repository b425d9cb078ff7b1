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
from jaxgan.adversarial import patch_nce, patches, penalties
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

Images = Float[Array, "batch height width channel"]
Params = Mapping[str, PyTree]


def domains(exp: Experiment) -> tuple[str, str]:
    """The fields that images are translated from and to."""
    source, target = exp.config.direction
    return source, target


def generate(
    exp: Experiment, state: TrainState, params: PyTree, real: Mapping[str, Images], flip: Bool[Array, ""]
) -> tuple[dict[str, Images], PyTree]:
    """The translation of each domain's images, flipped or not, and the generator's new model state."""
    translated, model_state = {}, state.networks["generator"].model_state
    for name, images in real.items():
        key = rng.stream_key(state.seed, state.step, f"generator {name} dropout")
        given, variables = flipped(images, flip), Variables(params, model_state)
        translated[name], model_state = apply(exp.networks["generator"], variables, given, train=True, key=key)
    return translated, model_state


def flipped(images: Features, flip: Bool[Array, ""]) -> Features:
    """Left and right exchanged, in either layout, or not."""
    return jnp.where(flip, images[:, :, ::-1], images)


def nce_loss(
    exp: Experiment, state: TrainState, params: Params, domain: str, pair: tuple[Images, Images], flip: Bool[Array, ""]
) -> Float[Array, ""]:
    """PatchNCE of images and their translations.

    Args:
        exp, state: the experiment and its state.
        params: of generator and heads.
        domain: of the images, each of which has its own random numbers.
        pair: images and translations.
        flip: whether the translations are flipped.
    """
    encoder = exp.networks["generator"].clone(encode_only=True)

    def encode(images: Images, purpose: str) -> tuple[Features, ...]:
        variables = state.networks["generator"].replace(params=params["generator"])
        key = rng.stream_key(state.seed, state.step, f"generator {domain} {purpose} dropout")
        return apply(encoder, variables, images, train=True, key=key)[0]

    keys, queries = encode(pair[0], "keys"), [flipped(own, flip) for own in encode(pair[1], "queries")]
    key = rng.stream_key(state.seed, state.step, f"nce places {domain}")
    places = patch_nce.draw_places(key, keys, exp.config.nce.patches)

    def vectors(features: tuple[Features, ...]) -> tuple[patch_nce.Vectors, ...]:
        variables = state.networks["heads"].replace(params=params["heads"])
        found = patch_nce.at_places(features, places, encoder.batch_last)
        return apply(exp.networks["heads"], variables, *found, train=True)[0]

    return patch_nce.patch_nce(vectors(tuple(queries)), vectors(keys), hparam(exp, state, "nce.temperature"))


def generator_objective(
    exp: Experiment,
    state: TrainState,
    params: Params,
    real: Mapping[str, Images],
    translated: Mapping[str, Images],
    flip: Bool[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """What generator and heads minimise.

    Args:
        exp, state: the experiment and its state.
        params: of generator and heads.
        real: images by domain.
        translated: what the generator makes of them; where the images are of the target, they are to stay.
        flip: whether those are flipped.
    """
    source, target = domains(exp)
    pair, variables = (real[target], translated[source]), state.networks["discriminator"]
    loss, _ = patches.generator_loss(exp, state, "discriminator", variables, pair)
    metrics = {"loss/generator": loss}
    for name, metric in ((source, "loss/nce"), (target, "loss/nce_identity")):
        if name in translated:
            metrics[metric] = nce_loss(exp, state, params, name, (real[name], translated[name]), flip)
    nce, share = metrics["loss/nce"], hparam(exp, state, "nce.identity")
    if target in translated:
        nce = (nce + share * metrics["loss/nce_identity"]) / (1 + share)
    return hparam(exp, state, "adversarial") * loss + hparam(exp, state, "nce.weight") * nce, metrics


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of the discriminator, then one of generator and heads, of the same translations."""
    source, target = domains(exp)
    real = {name: batch[name][0] for name in (source, target)}
    flip = jnp.asarray(False)
    if exp.config.nce.flip:
        flip = jax.random.bernoulli(rng.stream_key(state.seed, state.step, "nce flip"))
    given = real if exp.is_enabled("nce.identity") else {source: real[source]}
    translated, vjp, model_state = jax.vjp(
        lambda params: generate(exp, state, params, given, flip), state.networks["generator"].params, has_aux=True
    )
    pair = real[target], lax.stop_gradient(translated[source])

    def discriminator_objective(params: Params) -> tuple[Array, tuple]:
        variables = state.networks["discriminator"].replace(params=params["discriminator"])
        return patches.discriminator_objective(exp, state, "discriminator", variables, pair)

    grads, _, (new, metrics, carried) = gradients(exp, state, "discriminator", discriminator_objective)
    extra = {"discriminator": carried} if carried else {}
    after, metrics = apply_gradients(exp, state, "discriminator", grads, {"discriminator": new}, metrics, extra)

    def objective(params: Params, translated: Mapping[str, Images]) -> tuple[Array, Metrics]:
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
    """What penalties carry."""
    carried = penalties.initial_extra(exp)
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
        "data.size": 8,
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
    curves=("loss", "logits", "learning_rate"),
)
