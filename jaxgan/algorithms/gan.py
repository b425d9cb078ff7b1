"""The pure steps: (state, batch) to (state, metrics). Nothing is frozen; gradients are cut.

A batch is a dictionary with `images` [batch, height, width, channel] in [-1, 1], or points [batch, dim], and `labels`
[batch]. Where it is spread over devices, the experiment's `axis_name` names the mapped axis: gradients and metrics are
averaged over it, and an example keeps the random numbers that belong to its index in the global batch.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from jaxgan.adversarial.augment import augment
from jaxgan.adversarial.conditioning import Condition, Judgement
from jaxgan.adversarial.forward import (
    Batch,
    Draw,
    Examples,
    Made,
    Seen,
    discriminate,
    draw,
    dropout_keys,
    generate,
    make,
    see,
)
from jaxgan.adversarial.fused_r1 import loss_and_penalty
from jaxgan.adversarial.objectives import Metrics, discriminator_loss, generator_loss, spread
from jaxgan.adversarial.penalties import GENERATOR_PENALTIES, PENALTIES, Context, GeneratorContext
from jaxgan.core import population
from jaxgan.core import settings as configuration
from jaxgan.core.experiment import GAN
from jaxgan.core.state import NetworkState, TrainState, Variables, apply, update


def penalize(
    exp: GAN,
    state: TrainState,
    variables: Variables,
    seen: tuple[Seen, Seen],
    judged: tuple[Judgement, Judgement],
    drawn: Draw,
    shared: Sequence[str] = (),
) -> tuple[Float[Array, ""], Metrics]:
    """The weighted sum of the discriminator's penalties but the shared ones, and each without its weight.

    A lazy one counts as many times as there are steps between two of its turns. In between it counts nothing, takes
    nearly no time, and the metrics repeat its last value.

    References:
        Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, appendix B (lazy regularisation).
        https://arxiv.org/abs/1912.04958
    """
    real, fake = seen
    transforms = configuration.listed(exp.config.penalty_settings.transform)
    params = lax.stop_gradient(state.networks["generator"].variables.params)
    network, (key, _) = exp.networks["discriminator"], dropout_keys(exp, state, drawn)
    context = Context(
        critic=lambda x: apply(network, variables, x, real.condition, train=True, key=key)[0].logits,
        real=real.examples,
        fake=fake.examples,
        real_logits=judged[0].logits,
        fake_logits=judged[1].logits,
        keys=exp.example_keys(state, len(real.examples), f"{drawn.use} penalties", drawn.repeat),
        transform=lambda examples, own: augment(examples, own, transforms),
        nearby=lambda: see(exp, state, generate(exp, state, params, drawn, nearby=True)[0], "fake", drawn).examples,
        params=variables.params,
        memory=state.memory,
        average=exp.average,
        largest=exp.largest,
    )
    total, metrics = jnp.zeros(()), {}
    for name, penalty in PENALTIES.items():
        if name in shared or not exp.active(f"penalties.{name}"):
            continue
        every = exp.config.penalty_every[name]
        if every == 1:
            metrics[name] = value = penalty(context).mean()
        else:
            due = state.step % every == 0
            value = lax.cond(due, lambda penalty=penalty: penalty(context).mean(), lambda: jnp.zeros(()))
            metrics[name] = jnp.where(due, value, state.memory[name])
        total += exp.setting(state, f"penalties.{name}") * every * value
    return total, metrics


def shared_penalties(exp: GAN) -> list[str]:
    """The penalties that come with the loss's own backward pass: R1, R2, both or none."""
    # Unrolled updates are differentiated once more, by what is a constant there.
    if not exp.homogeneous or exp.config.joined_batches or exp.config.unrolled_steps:
        return []
    return [name for name in ("r1", "r2") if exp.active(f"penalties.{name}") and exp.config.penalty_every[name] == 1]


def loss_and_shared_penalties(
    exp: GAN,
    state: TrainState,
    variables: Variables,
    seen: tuple[Seen, Seen],
    judged: tuple[Judgement, Judgement],
    cotangents: tuple[Judgement, Judgement],
) -> tuple[Float[Array, ""], Metrics]:
    """What stands for the loss, of which cotangents of the logits are given, and for the `shared_penalties`.

    Its gradient by the discriminator's parameters is theirs; as a number it means nothing. The metrics are these
    penalties, each without its weight. The pass forward is the one that was judged by, and XLA makes one of the two.
    """
    network, shared = exp.networks["discriminator"], shared_penalties(exp)
    total, metrics = jnp.zeros(()), {}
    for name, one, judgement, cotangent in zip(("r1", "r2"), seen, judged, cotangents, strict=True):
        if name not in shared:
            total += (lax.stop_gradient(cotangent.logits) * judgement.logits).sum()
            continue

        def critic(params: PyTree, examples: Examples, condition: Condition = one.condition) -> Array:
            own = Variables(params, variables.stats)
            return apply(network, own, examples, condition, train=True)[0].logits

        weight = exp.setting(state, f"penalties.{name}")
        part, values = loss_and_penalty(critic, variables.params, one.examples, cotangent.logits, weight)
        total, metrics[name] = total + part, values.mean()
    return total, metrics


def penalize_generator(
    exp: GAN, state: TrainState, params: PyTree, fake: Examples, drawn: Draw
) -> tuple[Float[Array, ""], Metrics]:
    """The weighted sum of the generator's penalties, and each without its weight."""
    context = GeneratorContext(fake, lambda: generate(exp, state, params, drawn, nearby=True)[0], params)
    total, metrics = jnp.zeros(()), {}
    for name, penalty in GENERATOR_PENALTIES.items():
        if exp.active(f"generator_penalties.{name}"):
            metrics[f"g_{name}"] = value = penalty(context).mean()
            total += exp.setting(state, f"generator_penalties.{name}") * value
    return total, metrics


def discriminator_gradients(
    exp: GAN, state: TrainState, batch: Batch, fake: Examples, drawn: Draw
) -> tuple[PyTree, tuple[PyTree, Metrics]]:
    """The gradient of all that the discriminator minimises, its new stats, and the metrics."""
    seen = see(exp, state, batch["images"], "real", drawn), see(exp, state, fake, "fake", drawn)
    network = state.networks["discriminator"]

    def loss(judged: tuple[Judgement, Judgement]) -> tuple[Array, Metrics]:
        return discriminator_loss(exp, state, *judged, drawn.condition, drawn.repeat)

    def objective(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
        variables = Variables(params, network.variables.stats)
        *judged, stats = discriminate(exp, state, variables, *seen, drawn)
        judged, shared = tuple(judged), shared_penalties(exp)
        (value, metrics), cotangents = jax.value_and_grad(loss, has_aux=True)(judged)
        if shared:
            value, penalties = loss_and_shared_penalties(exp, state, variables, seen, judged, cotangents)
            metrics |= penalties
        penalty, penalties = penalize(exp, state, variables, seen, judged, drawn, shared)
        return value + penalty, (stats, metrics | penalties)

    return jax.grad(objective, has_aux=True)(network.variables.params)


def discriminator_step(
    exp: GAN, state: TrainState, batch: Batch, repeat: int | Array = 0, made: Made | None = None
) -> tuple[TrainState, Metrics]:
    """One update of the discriminator. The generator stays as it is, and no gradient reaches it.

    Args:
        exp: the experiment.
        state: before the update.
        batch: real examples.
        repeat: counts the updates within one training step.
        made: the fakes; its own ones if None.

    Returns:
        The state with another discriminator, and the metrics of this update.
    """
    made = made or make(exp, state, draw(exp, state, batch, "discriminator", repeat))
    fake = lax.stop_gradient(made.fake)
    gradients, (stats, metrics) = discriminator_gradients(exp, state, batch, fake, made.drawn)
    metrics["g_spread"] = spread(exp, batch["images"], fake)
    return _updated(exp, state, "discriminator", gradients, stats, metrics)


def generator_step(exp: GAN, state: TrainState, batch: Batch, made: Made | None = None) -> tuple[TrainState, Metrics]:
    """One update of the generator and its moving average. The discriminator stays as it is; arguments as above.

    With unrolled steps the generator is judged by the discriminator that some updates on this batch would make, and
    gradients pass through those updates.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, 2017. https://arxiv.org/abs/1611.02163
    """
    drawn, made_fake, stats, pull = made or make(exp, state, draw(exp, state, batch, "generator"))
    now = lax.stop_gradient(state)

    def objective(params: PyTree, fake: Examples) -> tuple[Array, Metrics]:
        critic = unrolled(exp, now, batch, fake, drawn).variables
        seen = see(exp, state, batch["images"], "real", drawn), see(exp, state, fake, "fake", drawn)
        real_judgement, fake_judgement, _ = discriminate(exp, state, critic, *seen, drawn)
        value, metrics = generator_loss(exp, state, real_judgement, fake_judgement, drawn.condition)
        penalty, penalties = penalize_generator(exp, now, params, fake, drawn)
        return value + penalty, metrics | penalties

    params = state.networks["generator"].variables.params
    (gradients, to_fakes), metrics = jax.grad(objective, argnums=(0, 1), has_aux=True)(params, made_fake)
    gradients = jax.tree.map(jnp.add, gradients, *pull(to_fakes))
    return _updated(exp, state, "generator", gradients, stats, metrics)


def unrolled(exp: GAN, state: TrainState, batch: Batch, fake: Examples, drawn: Draw) -> NetworkState:
    """The discriminator after `unrolled_steps` updates on one batch, as a function of the fakes in it."""

    def body(state: TrainState, _: None) -> tuple[TrainState, None]:
        gradients, (stats, metrics) = discriminator_gradients(exp, state, batch, fake, drawn)
        return _updated(exp, state, "discriminator", gradients, stats, metrics)[0], None

    if exp.config.unrolled_steps:  # a loop of no turns would be compiled nevertheless
        state, _ = lax.scan(body, state, length=exp.config.unrolled_steps)
    return state.networks["discriminator"]


def alternating_step(exp: GAN, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """`discriminator_steps` updates of the discriminator, each on its own real examples, then one of the generator.

    With `reuse_fakes` the generator learns from the fakes of the discriminator's last update, which saves a pass.

    Args:
        exp: the experiment.
        state: before the step.
        batch: arrays with a leading dimension of `discriminator_steps`.
    """
    for repeat in range(exp.config.discriminator_steps):
        part = {name: array[repeat] for name, array in batch.items()}
        made = make(exp, state, draw(exp, state, part, "discriminator", repeat))
        state, latest = discriminator_step(exp, state, part, repeat, made)
        # What was not finite is told, though a later update may be fine.
        d_metrics = jax.tree.map(partial(jnp.where, _finite(d_metrics)), latest, d_metrics) if repeat else latest
    state, g_metrics = generator_step(exp, state, part, made if exp.config.reuse_fakes else None)
    return _finished(exp, state, d_metrics | g_metrics)


def simultaneous_step(exp: GAN, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Both updates from one forward pass: two losses of the same judgements, pulled back to one network each.

    Arguments as in `alternating_step`, with one discriminator update.
    """
    batch = {name: array[0] for name, array in batch.items()}
    generator, discriminator = (state.networks[name].variables for name in ("generator", "discriminator"))
    drawn = draw(exp, state, batch, "generator")
    real = see(exp, state, batch["images"], "real", drawn)

    def forward_generator(params: PyTree) -> tuple[tuple[Examples, Seen], PyTree]:
        fake, stats = generate(exp, state, params, drawn)
        return (fake, see(exp, state, fake, "fake", drawn)), stats

    def forward_discriminator(params: PyTree, fake: Seen) -> tuple[tuple[Judgement, Judgement], PyTree]:
        *judged, stats = discriminate(exp, state, Variables(params, discriminator.stats), real, fake, drawn)
        return tuple(judged), stats

    (fake, seen), pull_generator, g_stats = jax.vjp(forward_generator, generator.params, has_aux=True)
    judged, pull_discriminator, d_stats = jax.vjp(forward_discriminator, discriminator.params, seen, has_aux=True)
    d_loss = jax.grad(lambda pair: discriminator_loss(exp, state, *pair, drawn.condition), has_aux=True)
    g_loss = jax.grad(lambda pair: generator_loss(exp, state, *pair, drawn.condition), has_aux=True)
    (d_cotangent, d_metrics), (g_cotangent, g_metrics) = d_loss(judged), g_loss(judged)
    d_metrics["g_spread"] = spread(exp, batch["images"], fake)

    def d_penalty(params: PyTree) -> tuple[Array, Metrics]:
        variables, cut = Variables(params, discriminator.stats), lax.stop_gradient((real, seen))
        return penalize(exp, state, variables, cut, discriminate(exp, state, variables, *cut, drawn)[:2], drawn)

    def g_penalty(params: PyTree) -> tuple[Array, Metrics]:
        return penalize_generator(exp, state, params, generate(exp, state, params, drawn)[0], drawn)

    # Each pull-back gives both gradients; the one that belongs to the other player is dropped, and XLA drops its work.
    # It drops as well what is computed for penalties that do not exist.
    d_gradients, _ = pull_discriminator(d_cotangent)
    _, to_fakes = pull_discriminator(g_cotangent)
    (g_gradients,) = pull_generator((jnp.zeros_like(fake), to_fakes))
    d_slopes, d_penalties = jax.grad(d_penalty, has_aux=True)(discriminator.params)
    g_slopes, g_penalties = jax.grad(g_penalty, has_aux=True)(generator.params)
    d_gradients, g_gradients = jax.tree.map(jnp.add, (d_gradients, g_gradients), (d_slopes, g_slopes))

    state, d_metrics = _updated(exp, state, "discriminator", d_gradients, d_stats, d_metrics | d_penalties)
    state, g_metrics = _updated(exp, state, "generator", g_gradients, g_stats, g_metrics | g_penalties)
    return _finished(exp, state, d_metrics | g_metrics)


UPDATES = {"alternating": alternating_step, "simultaneous": simultaneous_step}


def train_steps(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    load: Callable[[PyTree, PyTree, Array, Array], Batch],
    state: TrainState,
    data: PyTree,
    inputs: PyTree,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """K training steps in one dispatch.

    Args:
        train_step: of the experiment.
        load: (data, one step's inputs, seed, step) -> that step's batch.
        state: before the first step.
        data: what stays the same over the steps.
        inputs: a tree of arrays whose leading dimension is K; a population's have one of its members after that.

    Returns:
        The state after K steps and every step's metrics.
    """

    def step(state: TrainState, one: PyTree) -> tuple[TrainState, Metrics]:
        return train_step(state, load(data, one, state.seed, state.step))

    return lax.scan(population.vmap_members(step) if state.seed.ndim else step, state, inputs)


def learning_rate(exp: GAN, state: TrainState, name: str) -> Float[Array, ""]:
    """A network's learning rate at this step."""
    return jnp.asarray(exp.setting(state, f"optimizer.{name}.learning_rate") * exp.schedules[name](state.step))


def _updated(
    exp: GAN, state: TrainState, name: str, gradients: PyTree, stats: PyTree, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    """The state with one network's update, its moving average and what it remembers, and the metrics of all devices.

    Unless the norm of its gradients and all its metrics are finite, they stay as they were, and the update is counted.
    """
    gradients, metrics = exp.average((gradients, metrics))
    metrics[f"{name[0]}_grad_norm"] = _norm(gradients)
    before = state.networks[name], {own: state.ema[own] for own in state.ema.keys() & {name}}, dict(state.memory)

    def after() -> tuple[NetworkState, dict[str, Variables], dict[str, Array]]:
        peak = exp.setting(state, f"optimizer.{name}.learning_rate")
        network = update(state.networks[name], gradients, stats, exp.optimizers[name], peak)
        memory = dict(state.memory)
        if name == "discriminator":
            memory |= {lazy: metrics[lazy] for lazy in memory.keys() & metrics.keys()}
            if exp.active("penalties.lecam"):
                share = 1 - exp.config.penalty_settings.lecam_decay
                for kind in ("real", "fake"):
                    memory[f"lecam_{kind}"] += share * (metrics[f"d_{kind}"] - memory[f"lecam_{kind}"])
            if exp.active("weight_clip"):
                most = exp.setting(state, "weight_clip")
                most = jnp.where(most > 0, most, jnp.inf)  # of a population, some members may have none
                params = jax.tree.map(lambda value: jnp.clip(value, -most, most), network.variables.params)
                network = network.replace(variables=network.variables.replace(params=params))
        return network, {own: _averaged(exp, state, network.variables, old) for own, old in before[1].items()}, memory

    finite = _finite(metrics)
    # Only what changes is chosen: a population's step, for one, is to stay one number for all members.
    network, ema, memory = _chosen(finite, after, before)
    metrics["nonfinite"] = memory["nonfinite"] = memory["nonfinite"] + ~finite
    networks = state.networks | {name: network}
    return state.replace(networks=networks, ema=state.ema | ema, memory=memory), metrics


def _finite(metrics: Metrics) -> Bool[Array, ""]:
    """Whether all are: neither infinities nor what is no number ever add up to a number."""
    return jnp.isfinite(sum(metrics.values()))


def _chosen(new: Bool[Array, ""], after: Callable[[], PyTree], before: PyTree) -> PyTree:
    """What `after` makes, or what was before."""
    if jax.default_backend() == "cpu":  # where a selection would copy both, and a GPU's branch would wait for the host
        return lax.cond(new, after, lambda: before)
    return jax.tree.map(lambda changed, kept: jnp.where(new, changed, kept), after(), before)


def _norm(tree: PyTree) -> Float[Array, ""]:
    """The L2 norm of all numbers, added up column by column, which takes a CPU a fraction of the time."""
    return jnp.sqrt(sum(jnp.sum(jnp.sum(leaf**2, axis=0)) for leaf in jax.tree.leaves(tree)))


def _averaged(exp: GAN, state: TrainState, new: Variables, average: Variables) -> Variables:
    half_life = exp.config.ema_half_life
    decay = 0.5 ** (exp.config.batch_size / half_life) if half_life else exp.setting(state, "ema_decay")
    if exp.config.ema_warmup:
        decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return optax.incremental_update(new, average, 1 - decay)


def _finished(exp: GAN, state: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
    rates = {f"{name[0]}_learning_rate": learning_rate(exp, state, name) for name in exp.networks}
    return state.replace(step=state.step + 1), metrics | rates
