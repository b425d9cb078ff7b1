"""Generative adversarial networks: a generator against a discriminator.

The update rules are pure: (experiment, state, batch) -> (state, metrics). Nothing is frozen; gradients are cut. Where
the batch is sharded over devices, the experiment's `axis_name` names the mapped axis: gradients and metrics are
averaged over it, and an example keeps the random numbers that belong to its index in the global batch.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import ada, adaptive, apa, augment, conditioning, losses, monitors, penalties
from jaxgan.adversarial.conditioning import DISCRIMINATOR_CONDITIONING, DiscriminatorOutput
from jaxgan.adversarial.forward import (
    DiscriminatorInput,
    Examples,
    FakeBatch,
    LatentBatch,
    data_field,
    discriminate,
    discriminate_fakes,
    generate,
    generate_with_vjp,
    preprocess,
    sample_latents,
)
from jaxgan.adversarial.fused_r1 import fused_penalties, loss_and_fused_penalties
from jaxgan.adversarial.objectives import (
    discriminator_loss,
    discriminator_penalties,
    diversity_ratio,
    generator_loss,
    generator_penalties,
    has_accuracy_gate,
)
from jaxgan.core import latents as core_latents
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import (
    EMA_SETTINGS,
    apply_gradients,
    apply_update,
    ema_conflict,
    finish_step,
    gradients,
    is_finite,
    tree_select,
)
from jaxgan.core.settings import (
    ABOVE_ZERO,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Choice,
    Range,
    Setting,
    Settings,
    split_names,
)
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task, example_fields
from jaxgan.models import standing_statistics
from jaxgan.models.ops import spectral_norm

PLAYERS = {"generator": Player(("generator",), ("generator",)), "discriminator": Player(("discriminator",))}
ROLES = {"generator": "generator", "discriminator": "discriminator"}


def discriminator_gradients(
    exp: Experiment, state: TrainState, batch: Batch, fake: Examples, latents: LatentBatch
) -> tuple[dict[str, PyTree], PyTree, Metrics, dict[str, PyTree]]:
    """The gradient of what the discriminator minimises, its new model state, the metrics, and what is carried on."""
    raw = apa.deceive(exp, state, batch[data_field(exp)], fake, latents.stream, latents.index), fake
    given = tuple(preprocess(exp, state, own, kind, latents) for own, kind in zip(raw, ("real", "fake"), strict=True))

    def loss(d_out: tuple[DiscriminatorOutput, DiscriminatorOutput]) -> tuple[Array, Metrics]:
        return discriminator_loss(exp, state, *d_out, latents.condition, latents.index)

    def objective(params: dict[str, PyTree]) -> tuple[Array, tuple[PyTree, Metrics, dict[str, PyTree]]]:
        variables = Variables(params["discriminator"], state.networks["discriminator"].model_state)
        *d_out, model_state = discriminate(exp, state, variables, *given, latents)
        d_out = tuple(d_out)
        (value, metrics), fused = loss(d_out), fused_penalties(exp)
        if fused:
            cotangents, _ = jax.grad(loss, has_aux=True)(d_out)
            value, penalty_metrics = loss_and_fused_penalties(
                exp, state, variables, raw, given, d_out, latents, cotangents
            )
            metrics |= penalty_metrics
        penalty, others, extra = discriminator_penalties(exp, state, variables, raw, given, d_out, latents, fused)
        adapted, moved = adaptive.adapt(exp, state, d_out[0].logits)
        return value + penalty, (model_state, metrics | others | adapted, extra | moved)

    grads, _, (model_state, metrics, extra) = gradients(exp, state, "discriminator", objective)
    return grads, model_state, metrics, extra


def discriminator_step(
    exp: Experiment, state: TrainState, batch: Batch, index: int | Array = 0, fakes: FakeBatch | None = None
) -> tuple[TrainState, Metrics]:
    """One update of the discriminator. The generator stays as it is, and no gradient reaches it.

    Args:
        exp: the experiment.
        state: before the update.
        batch: real examples.
        index: counts the updates within one training step.
        fakes: its own ones if None.

    Returns:
        The state with another discriminator, and the metrics of this update.
    """
    fakes = fakes or generate_with_vjp(exp, state, sample_latents(exp, state, batch, "discriminator", index))
    fake = lax.stop_gradient(fakes.fake)
    grads, model_state, metrics, extra = discriminator_gradients(exp, state, batch, fake, fakes.latents)
    metrics["diversity_ratio"] = diversity_ratio(exp, batch[data_field(exp)], fake)
    return update_discriminator(exp, state, grads, model_state, metrics, extra)


def update_discriminator(
    exp: Experiment,
    state: TrainState,
    grads: dict[str, PyTree],
    model_state: PyTree,
    metrics: Metrics,
    extra: dict[str, PyTree],
) -> tuple[TrainState, Metrics]:
    """The state after the discriminator's update, with its weights clipped if that is asked for.

    With an accuracy gate there is no update where the discriminator is right about more of the batch's logits.

    References:
        Wu et al., 3D-GAN, 2016, section 3.2 (80%). https://arxiv.org/abs/1610.07584
    """

    def clip_weights(params: PyTree) -> PyTree:
        limit = hparam(exp, state, "weight_clip")
        limit = jnp.where(limit > 0, limit, jnp.inf)  # of a population, some members may have none
        return jax.tree.map(lambda value: jnp.clip(value, -limit, limit), params)

    options = {"constrain": clip_weights} if exp.is_enabled("weight_clip") else {}
    if has_accuracy_gate(exp):
        options["when"] = exp.pmean(metrics["d_accuracy"]) <= hparam(exp, state, "accuracy_gate")
    new = {"discriminator": model_state}
    return apply_gradients(exp, state, "discriminator", grads, new, metrics, extra, **options)


def generator_step(
    exp: Experiment, state: TrainState, batch: Batch, fakes: FakeBatch | None = None
) -> tuple[TrainState, Metrics]:
    """One update of the generator; arguments as above.

    The discriminator stays as it is, but for the vectors of its spectral norm, which move in each of its passes.

    With unrolled steps the generator's loss comes from the discriminator after some updates on this batch. Gradients
    pass through those updates.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, 2017. https://arxiv.org/abs/1611.02163
    """
    latents, fake, model_state, vjp = fakes or generate_with_vjp(
        exp, state, sample_latents(exp, state, batch, "generator")
    )
    now = lax.stop_gradient(state)

    def objective(params: dict[str, PyTree], fake: Examples) -> tuple[Array, tuple[Metrics, dict[str, PyTree], PyTree]]:
        critic = unrolled_discriminator(exp, now, batch, fake, latents)
        given = preprocess(exp, state, fake, "fake", latents)
        if needs_reals(exp):
            real = preprocess(exp, state, batch[data_field(exp)], "real", latents)
            real_out, fake_out, critic_state = discriminate(exp, state, critic, real, given, latents)
        else:
            fake_out, critic_state = discriminate_fakes(exp, state, critic, given, latents)
            real_out = fake_out  # of which the loss makes no use
        value, metrics = generator_loss(exp, state, real_out, fake_out, latents.condition)
        penalty, others, extra = generator_penalties(exp, now, params["generator"], fake, latents)
        return value + penalty, (metrics | others, extra, critic_state)

    grads, (to_fakes,), (metrics, extra, critic_state) = gradients(exp, state, "generator", objective, (fake,))
    grads = {"generator": jax.tree.map(jnp.add, grads["generator"], *vjp(to_fakes))}
    state, metrics = apply_gradients(exp, state, "generator", grads, {"generator": model_state}, metrics, extra)
    critic = state.networks["discriminator"]
    moved = {name: own for name, own in critic_state.items() if name == spectral_norm.COLLECTION}
    critic = critic.replace(model_state=critic.model_state | moved)
    return state.replace(networks=state.networks | {"discriminator": critic}), metrics


def needs_reals(exp: Experiment) -> bool:
    """Whether the generator's loss depends on real examples, if only through statistics of a batch of both."""
    config, net = exp.config, exp.config.model.discriminator
    together = config.concat_real_fake and (net.get("norm") == "batch" or net.get("minibatch_stddev", 0) > 0)
    return losses.LOSSES[config.loss].compares or exp.is_enabled("feature_matching") or together


def unrolled_discriminator(
    exp: Experiment, state: TrainState, batch: Batch, fake: Examples, latents: LatentBatch
) -> Variables:
    """The discriminator after `unrolled_steps` updates on one batch, as a function of the fakes in it."""

    def body(state: TrainState, _: None) -> tuple[TrainState, None]:
        grads, model_state, metrics, extra = discriminator_gradients(exp, state, batch, fake, latents)
        grads, metrics = exp.pmean((grads, metrics))

        def after() -> TrainState:
            networks, opt_states = apply_update(exp, state, "discriminator", grads, differentiable=True)
            networks = {"discriminator": networks["discriminator"].replace(model_state=model_state)}
            new = {"networks": state.networks | networks, "extra": state.extra | extra}
            return state.replace(**new, opt_states=state.opt_states | {"discriminator": opt_states})

        return tree_select(is_finite(metrics), after, state), None

    if exp.config.get("unrolled_steps", 0):  # a loop of no turns would be compiled nevertheless
        state, _ = lax.scan(body, state, length=exp.config.unrolled_steps)
    return state.networks["discriminator"]


def alternating_step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """`discriminator_steps` updates of the discriminator, each on its own real examples, then one of the generator.

    With `reuse_fakes` the generator learns from the fakes of the discriminator's last update, which saves a pass. With
    `fresh_reals` its loss, where that compares fakes with real examples, has real examples of its own.

    Args:
        exp: the experiment.
        state: before the step.
        batch: arrays with a leading dimension of `batches_per_step`.
    """
    before, count = state, batches_per_step(exp.config)
    parts = [{name: array[index] for name, array in batch.items()} for index in range(count)]
    for index, part in enumerate(parts[: exp.config.discriminator_steps]):
        fakes = generate_with_vjp(exp, state, sample_latents(exp, state, part, "discriminator", index))
        state, latest = discriminator_step(exp, state, part, index, fakes)
        # A number that is not finite is reported, though a later update may be fine.
        d_metrics = jax.tree.map(partial(jnp.where, is_finite(d_metrics)), latest, d_metrics) if index else latest
    state, g_metrics = generator_step(exp, state, parts[-1], fakes if exp.config.reuse_fakes else None)
    return finish_step(exp, before, state, d_metrics | g_metrics)


def simultaneous_step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Both updates from one forward pass: two losses of the same outputs, pulled back to one network each.

    Arguments as in `alternating_step`, with one discriminator update.
    """
    before, batch = state, {name: array[0] for name, array in batch.items()}
    examples = batch[data_field(exp)]
    generator, discriminator = (state.networks[name] for name in ("generator", "discriminator"))
    latents = sample_latents(exp, state, batch, "generator")

    def forward_generator(params: PyTree) -> tuple[tuple[Examples, DiscriminatorInput], PyTree]:
        fake, model_state = generate(exp, state, params, latents)
        return (fake, preprocess(exp, state, fake, "fake", latents)), model_state

    def forward_discriminator(
        params: PyTree, fake: DiscriminatorInput
    ) -> tuple[tuple[DiscriminatorOutput, DiscriminatorOutput], PyTree]:
        variables = Variables(params, discriminator.model_state)
        *d_out, model_state = discriminate(exp, state, variables, real, fake, latents)
        return tuple(d_out), model_state

    (fake, given), generator_vjp, g_model_state = jax.vjp(forward_generator, generator.params, has_aux=True)
    given_as_real = apa.deceive(exp, state, examples, fake, latents.stream)
    real = preprocess(exp, state, given_as_real, "real", latents)
    d_out, discriminator_vjp, d_model_state = jax.vjp(forward_discriminator, discriminator.params, given, has_aux=True)
    d_loss_grad = jax.grad(lambda pair: discriminator_loss(exp, state, *pair, latents.condition), has_aux=True)
    g_loss_grad = jax.grad(lambda pair: generator_loss(exp, state, *pair, latents.condition), has_aux=True)
    (d_cotangent, d_metrics), (g_cotangent, g_metrics) = d_loss_grad(d_out), g_loss_grad(d_out)
    d_metrics["diversity_ratio"] = diversity_ratio(exp, examples, fake)
    adapted, moved = adaptive.adapt(exp, state, d_out[0].logits)

    def d_objective(params: dict[str, PyTree]) -> tuple[Array, tuple[Metrics, dict[str, PyTree]]]:
        variables = Variables(params["discriminator"], discriminator.model_state)
        cut = lax.stop_gradient((real, given))
        d_out = discriminate(exp, state, variables, *cut, latents)[:2]
        raw = lax.stop_gradient((given_as_real, fake))
        value, metrics, extra = discriminator_penalties(exp, state, variables, raw, cut, d_out, latents)
        return value, (metrics, extra)

    def g_objective(params: dict[str, PyTree]) -> tuple[Array, tuple[Metrics, dict[str, PyTree]]]:
        own = generate(exp, state, params["generator"], latents)[0]
        value, metrics, extra = generator_penalties(exp, state, params["generator"], own, latents)
        return value, (metrics, extra)

    # Each pull-back gives both gradients; the one that belongs to the other player is dropped, and XLA drops its work.
    # It drops as well what is computed for penalties that do not exist.
    d_grads, _ = discriminator_vjp(d_cotangent)
    _, to_fakes = discriminator_vjp(g_cotangent)
    (g_grads,) = generator_vjp((jnp.zeros_like(fake), to_fakes))
    d_slopes, _, (d_penalties, d_extra) = gradients(exp, state, "discriminator", d_objective)
    g_slopes, _, (g_penalties, g_extra) = gradients(exp, state, "generator", g_objective)
    d_grads, g_grads = jax.tree.map(jnp.add, ({"discriminator": d_grads}, {"generator": g_grads}), (d_slopes, g_slopes))

    state, d_metrics = update_discriminator(
        exp, state, d_grads, d_model_state, d_metrics | d_penalties | adapted, d_extra | moved
    )
    state, g_metrics = apply_gradients(
        exp, state, "generator", g_grads, {"generator": g_model_state}, g_metrics | g_penalties, g_extra
    )
    return finish_step(exp, before, state, d_metrics | g_metrics)


UPDATE_RULES = {"alternating": alternating_step, "simultaneous": simultaneous_step}
ALTERNATING: Settings = {
    "discriminator_steps": Setting(1, "updates of the discriminator for one of the generator", POSITIVE),
    "reuse_fakes": Setting(False, "the generator learns from the fakes of the discriminator's last update"),
    "fresh_reals": Setting(
        False, "the generator's loss compares fakes with other real examples than the discriminator's"
    ),
    "unrolled_steps": Setting(0, "updates of the discriminator that the generator foresees", NOT_NEGATIVE),
}

SETTINGS: Settings = {
    "latent_dim": Setting(100, "numbers of a latent vector", POSITIVE),
    **models.settings(ROLES),
    **conditioning.SETTINGS,
    "packing": Setting(1, "examples that share one logit, as in PacGAN", POSITIVE),
    **losses.SETTINGS,
    "concat_real_fake": Setting(False, "real and fake in one discriminator batch, which BatchNorm notices"),
    "adversarial": Setting(
        1.0, "weight of the loss for the generator; 0 leaves feature matching alone", NOT_NEGATIVE, sweepable=True
    ),
    "feature_matching": Setting(0.0, "weight of the distance of mean features", NOT_NEGATIVE, sweepable=True),
    "top_k": {
        "fraction": Setting(
            1.0,
            "of the fakes that the generator learns from, the most real ones, in the end",
            Range(lambda value: 0 < value <= 1, "above 0 and at most 1"),
        ),
        "decay_steps": Setting(10_000, "training steps until then, from a fraction of 1", POSITIVE),
    },
    **penalties.settings("penalties", "generator_penalties"),
    "weight_clip": Setting(
        0.0, "the discriminator's parameters stay within +-this; 0: anywhere", NOT_NEGATIVE, sweepable=True
    ),
    "accuracy_gate": Setting(
        1.0,
        "no update of the discriminator on a batch of which it tells more than this share apart, of pairs if the loss "
        "only compares logits; 1: always",
        FRACTION,
        sweepable=True,
    ),
    **augment.SETTINGS,
    **ada.SETTINGS,
    **apa.SETTINGS,
    "instance_noise": {
        "stddev": Setting(
            0.0, "of noise on all that the discriminator is given, at the first step", NOT_NEGATIVE, sweepable=True
        ),
        "decay_steps": Setting(10_000, "training steps until it is gone", POSITIVE),
    },
    "latent_optimisation": {
        "rate": Setting(0.0, "of the step of latents towards a larger logit; 0: none", NOT_NEGATIVE, sweepable=True),
        "damping": Setting(5.0, "of that step", ABOVE_ZERO, sweepable=True),
    },
    "update_rule": Choice(
        "alternating",
        "simultaneous updates both networks from one forward pass",
        lambda: {"alternating": ALTERNATING, "simultaneous": {}},
    ),
    **EMA_SETTINGS,
    **optimizers.settings("generator", "discriminator"),
}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together, and what would be right."""
    config, examples = exp.config, example_fields(exp.fields)
    if len(examples) != 1:
        names = ", ".join(field.name for field in examples)
        source = config.data.source
        yield f"config.algorithm=gan learns to make one kind of example, and config.data.source={source} has {names}"
        return
    yield from conditioning.check(config)
    yield from penalties.check(exp)
    yield from ada.check(exp)
    yield from apa.check(exp)
    if (reason := ema_conflict(exp)) is not None:
        yield reason
    if not learns(exp):
        yield "config.adversarial=0 leaves the generator nothing to learn: config.feature_matching must be above 0"
    if config.get("fresh_reals", False) and config.reuse_fakes:
        yield "config.fresh_reals must be False with config.reuse_fakes, whose fakes have the labels of former examples"
    if exp.is_enabled("generator_penalties.path_length") and exp.is_enabled("latent_optimisation.rate"):
        yield "config.generator_penalties.path_length must be 0 with config.latent_optimisation, which moves latents"
    if config.get("unrolled_steps", 0) and has_accuracy_gate(exp):
        yield "config.accuracy_gate must be 1 with config.unrolled_steps, which foresees every update"
    if config.get("unrolled_steps", 0) and exp.is_enabled("weight_clip"):
        yield "config.weight_clip must be 0 with config.unrolled_steps: no gradient passes where it clips"
    side = DISCRIMINATOR_CONDITIONING[config.conditioning.discriminator]
    if config.packing > 1 and side.is_single:
        yield (
            f"config.packing={config.packing} must be 1 with config.conditioning.discriminator="
            f"{config.conditioning.discriminator}: the examples of a pack have different labels"
        )
    if config.batch_size % config.packing:
        yield f"config.packing={config.packing} must divide config.batch_size={config.batch_size}"
    group = config.model.discriminator.get("minibatch_stddev", 0)
    if group and config.batch_size % (config.packing * group):
        packed = f", which packing makes {config.batch_size // config.packing} packs" * (config.packing > 1)
        yield (
            f"config.model.discriminator.minibatch_stddev={group} must divide config.batch_size="
            f"{config.batch_size}{packed}"
        )
    names, able = split_names(config.augment), augment.BY_KIND.get(examples[0].kind, {})
    if names and not able:
        yield f"config.augment is for images and shapes, and config.data.source={config.data.source} has none"
    elif wrong := [name for name in names if name not in able]:
        source = config.data.source
        yield f"config.augment={wrong[0]} is not for the data of config.data.source={source}: take {', '.join(able)}"


def learns(exp: Experiment) -> bool:
    """Whether the generator of every member has something to learn from, at one step at least."""
    weights = np.broadcast_arrays(
        *[
            np.asarray(exp.swept.get(name, (exp.flat[name],)))
            + (exp.scheduled[name].final if name in exp.scheduled else 0)
            for name in ("adversarial", "feature_matching")
        ]
    )
    return bool(np.any(weights, axis=0).all())


def networks(
    config: ConfigDict, fields: tuple[Field, ...], classes: int, axis_name: str | None
) -> dict[str, nn.Module]:
    """The generator and the discriminator of a family, wrapped for conditions."""
    (shape,) = (field.shape for field in example_fields(fields))
    sides, size = config.conditioning, conditioning.condition_size(config, classes)
    bodies = {name: models.make(config, name, role, shape, axis_name) for name, role in ROLES.items()}
    family = models.MODELS[config.model.family]
    return {
        "generator": conditioning.Generator(
            bodies["generator"],
            sides.generator,
            sides.get("embedding", 0),
            conditioning.EMBEDDING_INIT if family.initializable else models.kernel_init(config),
        ),
        "discriminator": conditioning.Discriminator(
            bodies["discriminator"],
            sides.discriminator,
            sides.get("embedding", 0),
            DISCRIMINATOR_CONDITIONING[sides.discriminator].outputs(size),
            sides.get("proxy_dim", 0),
            config.model.discriminator.get("spectral_norm", False),
            models.kernel_init(config),
            family.logit_bias,
        ),
    }


def inputs(exp: Experiment) -> dict[str, tuple]:
    """The arguments of each network but the last, with a batch dimension as small as can be."""
    config, size = exp.config, conditioning.condition_size(exp.config, exp.classes)
    (shape,) = (field.shape for field in example_fields(exp.fields))
    side = DISCRIMINATOR_CONDITIONING[config.conditioning.discriminator]
    count = config.model.discriminator.get("minibatch_stddev", 0) or 1
    condition = jnp.zeros((count, size * config.packing)) if side.is_given else None
    return {
        "generator": (jnp.zeros((1, config.latent_dim)), jnp.zeros((1, size)) if size else None),
        "discriminator": (jnp.zeros((count, *shape[:-1], shape[-1] * config.packing)), condition),
    }


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One training step by the update rule of the configuration."""
    return UPDATE_RULES[exp.config.update_rule](exp, state, batch)


def sample(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """Examples from seeds and labels; between two seeds, a walk on the great circle.

    With `plus` and `minus`, other indices of the seed, the latents are z + fraction (z_plus - z_minus), brought to the
    length of z: of many normal numbers the length hardly differs.

    References:
        Radford et al., DCGAN, 2016, section 6.3.2, and Wu et al., 3D-GAN, 2016, section 4.3 (vector arithmetic).
    """
    latents, condition = sample_inputs(exp, inputs["seed"], inputs)
    if "plus" in inputs:
        plus, minus = (
            sample_inputs(exp, inputs["seed"], {**inputs, "index": inputs[side]})[0] for side in ("plus", "minus")
        )
        lengths = jnp.linalg.norm(latents, axis=1, keepdims=True)
        moved = latents + inputs["fraction"][:, None] * (plus - minus)
        latents = moved * (lengths / jnp.maximum(jnp.linalg.norm(moved, axis=1, keepdims=True), 1e-12))
    if "end_seed" in inputs:
        end, end_condition = sample_inputs(exp, inputs["end_seed"], inputs)
        fraction = inputs["fraction"]
        latents = core_latents.slerp(latents, end, fraction)
        condition = jax.tree.map(
            lambda one, other: (1 - fraction[:, None]) * one + fraction[:, None] * other, condition, end_condition
        )
    return {
        data_field(exp): apply(exp.networks["generator"], variables["generator"], latents, condition, train=False)[0]
    }


def sample_inputs(exp: Experiment, seed: Array, inputs: Arrays) -> tuple[Array, conditioning.Condition]:
    """The latents and conditions of some seeds and indices."""
    sides, classes = exp.config.conditioning, conditioning.label_classes(exp.config, exp.classes)

    def code(seed: Array, index: Array, label: Array) -> Array:
        key = jax.random.fold_in(rng.stream_key(seed, 0, "sample codes"), index)
        return conditioning.latent_code(key, sides.categories, sides.continuous, label)

    points = core_latents.latents_of(seed, inputs["index"], exp.config.latent_dim, inputs.get("truncation"))
    if classes:
        return points, jax.nn.one_hot(inputs["labels"], classes)
    if conditioning.condition_size(exp.config, exp.classes):
        labels = inputs.get("labels", jnp.zeros_like(inputs["index"]))
        return points, jax.vmap(code)(seed, inputs["index"], labels)
    return points, None


def batch_moments(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Variables]:
    """The variables with a generator whose BatchNorms have the moments of one batch of seeds and labels."""
    generator = variables["generator"]
    points = sample_inputs(exp, inputs["seed"], inputs)
    moments = standing_statistics.batch_moments(exp.networks["generator"], generator, *points)
    return dict(variables) | {"generator": generator.replace(model_state=moments)}


def probability_real(exp: Experiment, variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
    """sigmoid(D(x)) at given points."""
    points = inputs[data_field(exp)]
    out, _ = apply(exp.networks["discriminator"], variables["discriminator"], points, None, train=False)
    return {"probability": jax.nn.sigmoid(out.logits)}


def no_probability(exp: Experiment) -> str | None:
    """Why sigmoid(D(x)) is no probability of a single example."""
    config = exp.config
    together = config.packing > 1 or config.model.discriminator.get("minibatch_stddev", 0)
    if config.loss not in ("minimax", "non_saturating") or together or config.conditioning.generator != "none":
        return "the discriminator gives no probabilities of single examples"
    return None


def choices(exp: Experiment) -> int:
    """How many things the generator can be asked for: classes, or categories of a latent code."""
    if conditioning.uses_codes(exp.config):
        return exp.config.conditioning.categories
    return conditioning.label_classes(exp.config, exp.classes)


def batches_per_step(config: ConfigDict) -> int:
    """Batches of real examples in a training step."""
    return config.get("discriminator_steps", 1) + config.get("fresh_reals", False)


def examples_together(config: ConfigDict) -> int:
    """Examples that have to be on one device: those of a group of packs, and those that path lengths take half of."""
    packed = config.packing * (config.model.discriminator.get("minibatch_stddev", 0) or 1)
    return math.lcm(packed, penalties.examples_together(config))


def outputs(exp: Experiment) -> dict[str, str]:
    """The generator makes what the data set holds."""
    return {field.name: field.kind for field in example_fields(exp.fields)}


MONITORS = (
    monitors.mode_collapse("generator", "a smaller learning rate, or config.packing=2"),
    monitors.perfect_discriminator("a penalty such as r1, or config.augment"),
)

GAN = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "sample": Task(
            ("generator",),
            sample,
            outputs,
            options=("labels", "truncation", "fraction", "end_seed", "plus", "minus"),
            batch_moments=batch_moments,
        ),
        "probability_real": Task(
            ("discriminator",),
            probability_real,
            lambda exp: {"probability": "curve"},
            needs=lambda exp: (data_field(exp),),
            unavailable=no_probability,
        ),
    },
    smallest={
        "data.source": "world:ring",
        "batch_size": 8,
        "latent_dim": 2,
        "model.family": "toy_mlp",
        "model.generator.width": 4,
        "model.generator.depth": 1,
        "model.discriminator.width": 4,
        "model.discriminator.depth": 1,
    },
    batches_per_step=batches_per_step,
    examples_together=examples_together,
    check=check,
    extra=lambda exp: penalties.initial_extra(exp) | adaptive.initial_extra(exp),
    choices=choices,
    draws_classes=lambda exp: conditioning.label_classes(exp.config, exp.classes) > 0,
    headlines=("loss/discriminator", "loss/generator"),
    curves=("loss", "logits", "ada", "apa", "learning_rate"),
    monitors=MONITORS,
)
