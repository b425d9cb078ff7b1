"""StyleGAN2: a mapping network makes styles of latents, and the styles modulate a synthesis network.

Both are one player, the generator. Each training step updates the generator, then the discriminator, each with fakes
of its own. Penalties are updates of their own, in the steps in which they are due, with the optimizer state of their
player.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020. https://arxiv.org/abs/1912.04958
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020 (the order of updates, presets).
    https://arxiv.org/abs/2006.06676
"""

import math
from collections.abc import Callable, Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import ada, adaptive, apa, augment, blur, conditioning, losses, monitors, penalties
from jaxgan.adversarial.conditioning import Condition
from jaxgan.adversarial.forward import data_field
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.objectives import adversarial_values, diversity_ratio, global_means
from jaxgan.adversarial.penalties import GeneratorPenaltyInputs, PenaltyInputs
from jaxgan.core import latents as core_latents
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import FRACTION, POSITIVE, Setting, Settings, split_names
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task, example_fields
from jaxgan.models.stylegan2 import truncated

PLAYERS = {
    "generator": Player(("mapping", "synthesis"), ("mapping", "synthesis")),
    "discriminator": Player(("discriminator",)),
}
ROLES = {"mapping": "mapping", "synthesis": "synthesis", "discriminator": "style_discriminator"}

Images = Float[Array, "batch height width channel"]
Styles = Float[Array, "batch num_ws w_dim"]
Params = Mapping[str, PyTree]


def draw_styles(
    exp: Experiment, state: TrainState, params: PyTree, labels: Condition, count: int, stream: str
) -> tuple[Styles, PyTree]:
    """The styles of `count` fakes, and the mapping network's new model state.

    With style mixing the layers of all fakes from a random one on have the styles of other latents.
    """
    variables = state.networks["mapping"].replace(params=params)

    def of_latents(purpose: str) -> tuple[Float[Array, "batch w_dim"], PyTree]:
        key = rng.stream_key(state.seed, state.step, f"{stream} {purpose}")
        latents = core_latents.sample_latents(key, exp.global_indices(count), exp.config.latent_dim)
        return apply(exp.networks["mapping"], variables, latents, labels, train=True)

    w, model_state = of_latents("latents")
    styles = for_layers(exp, w)
    if exp.is_enabled("style_mixing"):
        others, _ = of_latents("mixed latents")
        coin, place = jax.random.split(rng.stream_key(state.seed, state.step, f"{stream} style mixing"))
        mixes = jax.random.bernoulli(coin, hparam(exp, state, "style_mixing"))
        first = jnp.where(mixes, jax.random.randint(place, (), 1, styles.shape[1]), styles.shape[1])
        kept = jnp.arange(styles.shape[1]) < first
        styles = jnp.where(kept[:, None], styles, others[:, None])
    return styles, model_state


def for_layers(exp: Experiment, w: Float[Array, "batch w_dim"]) -> Styles:
    """The same styles for all layers."""
    count = exp.networks["synthesis"].num_ws
    return jnp.broadcast_to(w[:, None], (len(w), count, w.shape[-1]))


def synthesize(
    exp: Experiment, state: TrainState, params: PyTree, styles: Styles, stream: str
) -> tuple[Images, PyTree]:
    """Fakes of styles, with noise of their own, and the synthesis network's new model state."""
    variables = state.networks["synthesis"].replace(params=params)
    key = rng.stream_key(state.seed, state.step, f"{stream} noise")
    return apply(exp.networks["synthesis"], variables, styles, train=True, key=key)


def generate(
    exp: Experiment, state: TrainState, params: Params, labels: Condition, count: int, stream: str
) -> tuple[Images, dict[str, PyTree]]:
    """Fakes, and both networks' new model states."""
    styles, mapping = draw_styles(exp, state, params["mapping"], labels, count, stream)
    images, synthesis = synthesize(exp, state, params["synthesis"], styles, stream)
    return images, {"mapping": mapping, "synthesis": synthesis}


def augmented(exp: Experiment, state: TrainState, images: Images, stream: str) -> Images:
    """Images as the discriminator is given them."""
    if exp.is_enabled("blur_sigma"):
        images = blur.blur(images, hparam(exp, state, "blur_sigma"), max(exp.values("blur_sigma")))
    names = split_names(exp.config.augment)
    keys, ada_keys = (exp.example_keys(state, len(images), f"{stream} {what}") for what in ("augment", "ada"))
    return ada.augment(exp, state, augment.augment(images, keys, names), ada_keys)


def logits_of(exp: Experiment, variables: Variables, images: Images, labels: Condition) -> Float[Array, " batch"]:
    """The discriminator's logits of images as it is given them."""
    return apply(exp.networks["discriminator"], variables, images, labels, train=True)[0]


def params_of(state: TrainState) -> dict[str, PyTree]:
    """The generator's parameters by network."""
    return {name: state.networks[name].params for name in PLAYERS["generator"].networks}


def generator_step(exp: Experiment, state: TrainState, images: Images, labels: Condition) -> tuple[TrainState, Metrics]:
    """One update of both networks of the generator by their adversarial loss."""
    critic = state.networks["discriminator"]

    def objective(params: Params) -> tuple[Array, tuple[dict[str, PyTree], Metrics]]:
        fake, model_state = generate(exp, state, params, labels, len(images), "generator")
        pair = augmented(exp, state, images, "generator real"), augmented(exp, state, fake, "generator fake")
        logits = [logits_of(exp, critic, own, labels) for own in pair]
        loss = LOSSES[exp.config.loss].generator(*logits, **global_means(exp, *logits)).mean()
        return loss, (model_state, {"loss/generator": loss})

    grads, _, (model_state, metrics) = gradients(exp, state, "generator", objective)
    return apply_gradients(exp, state, "generator", grads, model_state, metrics)


def discriminator_step(
    exp: Experiment, state: TrainState, images: Images, labels: Condition
) -> tuple[TrainState, Metrics]:
    """One update of the discriminator by its adversarial loss."""
    fake, _ = generate(exp, state, params_of(state), labels, len(images), "discriminator")
    real = apa.deceive(exp, state, images, fake, "discriminator")

    def objective(params: Params) -> tuple[Array, tuple[Metrics, dict[str, PyTree]]]:
        variables = state.networks["discriminator"].replace(params=params["discriminator"])
        pair = augmented(exp, state, real, "discriminator real"), augmented(exp, state, fake, "discriminator fake")
        real_logits, fake_logits = (logits_of(exp, variables, own, labels) for own in pair)
        loss = adversarial_values(exp, state, real_logits, fake_logits).mean()
        metrics = {"loss/discriminator": loss, "logits/real": real_logits.mean(), "logits/fake": fake_logits.mean()}
        metrics["d_pairwise_accuracy"] = 0.5 + 0.5 * jnp.sign(real_logits - fake_logits).mean()  # a tie is half of one
        adapted, moved = adaptive.adapt(exp, state, real_logits)
        return loss, (metrics | adapted, moved)

    grads, _, (metrics, moved) = gradients(exp, state, "discriminator", objective)
    metrics["diversity_ratio"] = diversity_ratio(exp, images, fake)
    return apply_gradients(exp, state, "discriminator", grads, metrics=metrics, extra=moved)


def penalty_step(
    exp: Experiment, state: TrainState, player: str, group: str, objective: Callable
) -> tuple[TrainState, Metrics]:
    """One more update of a player by its penalties, in steps in which one of them is due.

    Args:
        exp, state: the experiment and its state.
        player: that is updated.
        group: of its penalties.
        objective: (parameters by network) -> (value, (metrics, what penalties carry on)).
    """
    if not penalties.enabled(exp, group):
        return state, {}
    due = penalties.due(exp, state, group)

    def take() -> tuple[dict[str, PyTree], tuple[Metrics, dict[str, PyTree]]]:
        grads, _, (metrics, extra) = gradients(exp, state, player, objective)
        return grads, (metrics, extra)

    def skip() -> tuple[dict[str, PyTree], tuple[Metrics, dict[str, PyTree]]]:
        zeros = {name: jax.tree.map(jnp.zeros_like, state.networks[name].params) for name in PLAYERS[player].networks}
        return zeros, (penalties.last_values(state, group), {group: state.extra[group]})

    grads, (metrics, extra) = take() if due is True else lax.cond(due, take, skip)
    return apply_gradients(exp, state, player, grads, {}, metrics, extra, when=due)


def generator_penalty_step(
    exp: Experiment, state: TrainState, labels: Condition, count: int
) -> tuple[TrainState, Metrics]:
    """One update of the generator by its penalties, with fakes of their own."""
    stream = "generator penalties"

    def objective(params: Params) -> tuple[Array, tuple[Metrics, dict[str, PyTree]]]:
        styles, _ = draw_styles(exp, state, params["mapping"], labels, count, stream)

        def fakes(styles: Styles, rows: Array | None = None) -> Images:
            del rows  # labels are part of styles
            return synthesize(exp, state, params["synthesis"], styles, stream)[0]

        inputs = GeneratorPenaltyInputs(
            fake=fakes(styles),
            perturbed=None,  # has no setting
            styles=styles,
            synthesize=fakes,
            keys=exp.example_keys(state, count, stream),
            params=params,
            extra={},
            hparam=lambda name: hparam(exp, state, f"penalty_settings.{name}"),
            pmean=exp.pmean,
        )
        value, metrics, carried = penalties.weighted_sum(exp, state, "generator_penalties", inputs)
        return value, (metrics, carried)

    return penalty_step(exp, state, "generator", "generator_penalties", objective)


def discriminator_penalty_step(
    exp: Experiment, state: TrainState, images: Images, labels: Condition
) -> tuple[TrainState, Metrics]:
    """One update of the discriminator by its penalties, with fakes of their own."""
    stream = "discriminator penalties"
    transforms = split_names(exp.config.penalty_settings.transform)

    def objective(params: Params) -> tuple[Array, tuple[Metrics, dict[str, PyTree]]]:
        variables = state.networks["discriminator"].replace(params=params["discriminator"])
        fake = generate(exp, state, params_of(state), labels, len(images), stream)[0]
        real = apa.deceive(exp, state, images, fake, stream)
        given = [augmented(exp, state, own, f"{stream} {kind}") for kind, own in (("real", real), ("fake", fake))]

        def critic(examples: Images) -> Float[Array, " batch"]:
            return logits_of(exp, variables, examples, labels)

        inputs = PenaltyInputs(
            critic=critic,
            augmented_critic=lambda raw, kind: critic(augmented(exp, state, raw, f"{stream} {kind}")),
            real=given[0],
            fake=given[1],
            raw_real=real,
            raw_fake=fake,
            real_logits=critic(given[0]),
            fake_logits=critic(given[1]),
            keys=exp.example_keys(state, len(images), stream),
            transform=lambda examples, own: augment.augment(examples, own, transforms),
            perturbed=None,  # has no setting
            params=variables.params,
            extra={},
            hparam=lambda name: hparam(exp, state, f"penalty_settings.{name}"),
            pmean=exp.pmean,
            pmax=exp.pmax,
        )
        value, metrics, carried = penalties.weighted_sum(exp, state, "penalties", inputs)
        return value, (metrics, carried)

    return penalty_step(exp, state, "discriminator", "penalties", objective)


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """An update of the generator, one by its penalties, and the same for the discriminator."""
    before, batch = state, {name: array[0] for name, array in batch.items()}
    images, labels = batch[data_field(exp)], conditioning.one_hot_labels(exp, batch)
    state, metrics = generator_step(exp, state, images, labels)
    state, own = generator_penalty_step(exp, state, labels, len(images))
    metrics = own | metrics
    state, others = discriminator_step(exp, state, images, labels)
    state, own = discriminator_penalty_step(exp, state, images, labels)
    return finish_step(exp, before, state, own | others | metrics)


def sample(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Images from seeds and labels, with fixed noise; between two seeds, a straight walk of the styles.

    `truncation_psi` moves the styles of the first `truncation_cutoff` layers towards their mean, those of all layers
    without a cut-off.
    """
    styles = sampled_styles(exp, variables, inputs, inputs["seed"])
    if "end_seed" in inputs:
        end = sampled_styles(exp, variables, inputs, inputs["end_seed"])
        styles += inputs["fraction"][:, None, None] * (end - styles)
    return {data_field(exp): apply(exp.networks["synthesis"], variables["synthesis"], styles, train=False)[0]}


def sampled_styles(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays, seed: Array) -> Styles:
    """The styles of some seeds and indices, truncated."""
    points = core_latents.latents_of(seed, inputs["index"], exp.config.latent_dim)
    labels = conditioning.one_hot_labels(exp, inputs)
    styles = for_layers(exp, apply(exp.networks["mapping"], variables["mapping"], points, labels, train=False)[0])
    if "truncation_psi" not in inputs:
        return styles
    psi = inputs["truncation_psi"][:, None, None]
    layer = jnp.arange(styles.shape[1])[None, :, None]
    if "truncation_cutoff" in inputs:
        psi = jnp.where(layer < inputs["truncation_cutoff"][:, None, None], psi, 1.0)
    return truncated(styles, variables["mapping"].model_state["w_avg"]["mean"], psi)


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """The three networks of a family."""
    del classes
    (shape,) = (field.shape for field in example_fields(fields))
    return {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    (shape,) = (field.shape for field in example_fields(exp.fields))
    count = exp.config.model.discriminator.minibatch_stddev or 1
    labels = jnp.zeros((count, exp.classes)) if exp.config.conditional else None
    styles = for_layers(exp, jnp.zeros((1, exp.config.model.mapping.w_dim)))
    one = None if labels is None else labels[:1]
    return {
        "mapping": (jnp.zeros((1, exp.config.latent_dim)), one),
        "synthesis": (styles,),
        "discriminator": (jnp.zeros((count, *shape)), labels),
    }


def examples_together(config: ConfigDict) -> int:
    """Examples that have to be on one device: those of a group, and those that path lengths take half of."""
    return math.lcm(config.model.discriminator.minibatch_stddev or 1, penalties.examples_together(config))


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    config, examples = exp.config, example_fields(exp.fields)
    if len(examples) != 1 or examples[0].kind != "pixels":
        yield f"config.algorithm=stylegan2 makes images, and config.data.source={config.data.source} has none"
        return
    yield from penalties.check(exp)
    yield from ada.check(exp)
    yield from apa.check(exp)
    if (reason := ema_conflict(exp)) is not None:
        yield reason
    yield from conditioning.check_labels(exp)
    together = examples_together(config)
    if config.batch_size % together:
        yield f"config.batch_size={config.batch_size} must be a multiple of {together}, which examples are grouped by"


SETTINGS: Settings = {
    "latent_dim": Setting(512, "numbers of a latent vector", POSITIVE),
    **conditioning.CONDITIONAL,
    **models.settings(ROLES, family="stylegan2"),
    **losses.SETTINGS | {"loss": losses.SETTINGS["loss"]._replace(default="logistic")},
    "style_mixing": Setting(0.9, "probability that fakes have two styles each", FRACTION, sweepable=True),
    **penalties.settings("penalties", "generator_penalties", latents=False),
    **blur.SETTINGS,
    **augment.SETTINGS,
    **ada.SETTINGS,
    **apa.SETTINGS,
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

ADVICE = "a larger config.penalties.r1, or config.ada.mode=adaptive"

STYLEGAN2 = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "sample": Task(
            PLAYERS["generator"].networks,
            sample,
            lambda exp: {data_field(exp): "pixels"},
            options=("labels", "truncation_psi", "truncation_cutoff", "fraction", "end_seed"),
        ),
    },
    smallest={
        "data.source": "digits",
        "data.size": 8,
        "batch_size": 4,
        "latent_dim": 4,
        "model.mapping.w_dim": 4,
        "model.mapping.depth": 1,
        "model.synthesis.channel_base": 16,
        "model.discriminator.channel_base": 16,
        "model.discriminator.minibatch_stddev": 2,
    },
    examples_together=examples_together,
    check=check,
    extra=lambda exp: penalties.initial_extra(exp) | adaptive.initial_extra(exp),
    choices=lambda exp: exp.classes if exp.config.conditional else 0,
    draws_classes=lambda exp: exp.config.conditional,
    headlines=("loss/discriminator", "loss/generator"),
    curves=("loss", "logits", "ada", "apa", "penalty", "generator_penalty", "learning_rate"),
    monitors=(monitors.mode_collapse("generator", ADVICE), monitors.perfect_discriminator(ADVICE)),
)
