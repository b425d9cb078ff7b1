"""The pure steps: (state, batch) to (state, metrics). Nothing is frozen; gradients are cut.

A batch is a dictionary with `images` [batch, height, width, channel] in [-1, 1]. Where it is spread over devices,
`axis_name` names the mapped axis: gradients and metrics are averaged over it, and an example keeps the random numbers
that belong to its index in the global batch.
"""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan import keys, models, optimizers
from jaxgan.errors import UserError, choose
from jaxgan.losses import LOSSES, Loss
from jaxgan.regularizers import PENALTIES
from jaxgan.state import GANState, Variables, apply, create_state, update

Batch = Mapping[str, Array]
Metrics = dict[str, Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class GAN:
    """What an experiment is besides its arrays: the networks, what they minimise, and how they are updated.

    Attributes:
        networks: "generator" and "discriminator".
        optimizers: one for each network.
        learning_rates: training step -> learning rate, for each network; reported, the optimizers have their own.
        loss: the adversarial pair.
        penalties: weights of `regularizers.PENALTIES`, by name; those of weight 0 are absent.
        latent_dim: of the generator's input.
        real_targets, fake_targets: ranges of the discriminator's targets; each example draws its own.
        flip: the share of examples whose two targets are exchanged.
        joined_batches: whether real and fake go through the discriminator as one batch.
        discriminator_steps: discriminator updates for each generator update.
        ema_decay: of the generator's moving average.
        ema_warmup: whether the decay is at most (1 + step) / (10 + step), so that the initial noise is soon forgotten.
        axis_name: the axis over whose devices the batch is spread.
    """

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, optax.GradientTransformation]
    learning_rates: Mapping[str, optimizers.Schedule]
    loss: Loss
    penalties: Mapping[str, float]
    latent_dim: int
    real_targets: tuple[float, float] = (1.0, 1.0)
    fake_targets: tuple[float, float] = (0.0, 0.0)
    flip: float = 0.0
    joined_batches: bool = False
    discriminator_steps: int = 1
    ema_decay: float = 0.999
    ema_warmup: bool = False
    axis_name: str | None = None

    def average(self, tree: PyTree) -> PyTree:
        """The mean over devices."""
        return tree if self.axis_name is None else lax.pmean(tree, self.axis_name)


def build(config: ConfigDict, axis_name: str | None = None) -> GAN:
    """The experiment that a configuration describes.

    Raises:
        UserError: an unknown name, or settings that do not go together.
    """
    choose("config.model.family", config.model.family, models.MODELS)
    networks = models.build(config, axis_name)
    loss = LOSSES[choose("config.loss", config.loss, LOSSES)]
    plain = (tuple(config.targets.real), tuple(config.targets.fake), config.targets.flip) == ((1, 1), (0, 0), 0)
    if not (plain or loss.takes_targets):
        able = ", ".join(name for name, entry in LOSSES.items() if entry.takes_targets)
        raise UserError(
            f"config.loss={config.loss} has no targets to smooth or flip: choose from {able}, or leave config.targets"
        )
    choose("config.updates", config.updates, UPDATES)
    if config.updates == "simultaneous" and config.discriminator_steps != 1:
        raise UserError(
            f"config.discriminator_steps={config.discriminator_steps} should be 1 with config.updates=simultaneous"
        )
    repeats = {"generator": 1, "discriminator": config.discriminator_steps}
    for name in repeats:
        choose(f"config.optimizer.{name}.name", config.optimizer[name].name, optimizers.OPTIMIZERS)
        choose(f"config.optimizer.{name}.schedule", config.optimizer[name].schedule, optimizers.SCHEDULES)
    return GAN(
        networks=networks,
        optimizers={name: optimizers.optimizer(config.optimizer[name], count) for name, count in repeats.items()},
        learning_rates={name: optimizers.learning_rate(config.optimizer[name]) for name in repeats},
        loss=loss,
        penalties={name: weight for name, weight in config.penalties.items() if weight},
        latent_dim=config.latent_dim,
        real_targets=tuple(config.targets.real),
        fake_targets=tuple(config.targets.fake),
        flip=config.targets.flip,
        joined_batches=config.joined_batches,
        discriminator_steps=config.discriminator_steps,
        ema_decay=config.ema_decay,
        ema_warmup=config.ema_warmup,
        axis_name=axis_name,
    )


def example_inputs(config: ConfigDict) -> dict[str, Array]:
    """One input of each network, with a batch dimension."""
    return {
        "generator": jnp.zeros((1, config.latent_dim)),
        "discriminator": jnp.zeros((1, config.data.size, config.data.size, config.data.channels)),
    }


def initial_state(config: ConfigDict, gan: GAN) -> GANState:
    """The state of an experiment at step 0."""
    return create_state(config.seed, gan.networks, gan.optimizers, example_inputs(config))


def generate(
    gan: GAN, state: GANState, params: PyTree, batch_size: int, use: str, repeat: int = 0
) -> tuple[Array, PyTree]:
    """Fakes of the latents that belong to this step, use and batch, and the generator's new stats."""
    examples = keys.global_examples(batch_size, gan.axis_name)
    latents = keys.draw_latents(keys.use_key(state.seed, state.step, use, repeat), examples, gan.latent_dim)
    stats = state.networks["generator"].variables.stats
    return apply(gan.networks["generator"], Variables(params, stats), latents, train=True)


def discriminate(gan: GAN, variables: Variables, real: Array, fake: Array) -> tuple[Array, Array, PyTree]:
    """The logits of both batches and the discriminator's new stats."""
    network = gan.networks["discriminator"]
    if gan.joined_batches:
        logits, stats = apply(network, variables, jnp.concatenate([real, fake]), train=True)
        return *jnp.split(logits, [len(real)]), stats
    real_logits, stats = apply(network, variables, real, train=True)
    fake_logits, stats = apply(network, Variables(variables.params, stats), fake, train=True)
    return real_logits, fake_logits, stats


def draw_targets(gan: GAN, state: GANState, batch_size: int, repeat: int = 0) -> tuple[Array, ...]:
    """The real and fake targets of each example, or nothing for a loss without targets."""
    if not gan.loss.takes_targets:
        return ()
    key = keys.use_key(state.seed, state.step, "targets", repeat)
    examples = keys.global_examples(batch_size, gan.axis_name)
    uniform = jax.vmap(lambda k: jax.random.uniform(k, (3,)))(keys.example_keys(key, examples))
    real, fake = (
        low + (high - low) * uniform[:, i] for i, (low, high) in enumerate([gan.real_targets, gan.fake_targets])
    )
    flipped = uniform[:, 2] < gan.flip
    return jnp.where(flipped, fake, real), jnp.where(flipped, real, fake)


def penalize(gan: GAN, variables: Variables, real: Array, fake: Array) -> tuple[Array, Metrics]:
    """The weighted sum of the penalties, and each without its weight."""
    critic = lambda images: apply(gan.networks["discriminator"], variables, images, train=True)[0]  # noqa: E731
    values = {name: PENALTIES[name](critic, real, fake).mean() for name in gan.penalties}
    return sum((gan.penalties[name] * value for name, value in values.items()), jnp.zeros(())), values


def discriminator_step(gan: GAN, state: GANState, batch: Batch, repeat: int = 0) -> tuple[GANState, Metrics]:
    """One update of the discriminator. The generator stays as it is, and no gradient reaches it.

    Args:
        gan: the experiment.
        state: before the update.
        batch: real examples.
        repeat: counts the updates within one training step.

    Returns:
        The state with another discriminator, and the metrics of this update.
    """
    real, network = batch["images"], state.networks["discriminator"]
    fake, _ = generate(
        gan, state, state.networks["generator"].variables.params, len(real), "discriminator latents", repeat
    )
    targets = draw_targets(gan, state, len(real), repeat)

    def loss(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
        variables, cut = Variables(params, network.variables.stats), lax.stop_gradient(fake)
        real_logits, fake_logits, stats = discriminate(gan, variables, real, cut)
        value = gan.loss.discriminator(real_logits, fake_logits, *targets).mean()
        penalty, penalties = penalize(gan, variables, real, cut)
        metrics = {"d_loss": value, "d_real": real_logits.mean(), "d_fake": fake_logits.mean(), **penalties}
        return value + penalty, (stats, metrics)

    gradients, (stats, metrics) = jax.grad(loss, has_aux=True)(network.variables.params)
    return _updated(gan, state, "discriminator", gradients, stats, metrics)


def generator_step(gan: GAN, state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
    """One update of the generator and its moving average. The discriminator stays as it is; arguments as above."""
    real, network = batch["images"], state.networks["generator"]
    critic = lax.stop_gradient(state.networks["discriminator"].variables)

    def loss(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
        fake, stats = generate(gan, state, params, len(real), "generator latents")
        real_logits, fake_logits, _ = discriminate(gan, critic, real, fake)
        value = gan.loss.generator(real_logits, fake_logits).mean()
        return value, (stats, {"g_loss": value})

    gradients, (stats, metrics) = jax.grad(loss, has_aux=True)(network.variables.params)
    state, metrics = _updated(gan, state, "generator", gradients, stats, metrics)
    return _averaged(gan, state), metrics


def alternating_step(gan: GAN, state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
    """`discriminator_steps` updates of the discriminator, each on its own real examples, then one of the generator.

    Args:
        gan: the experiment.
        state: before the step.
        batch: arrays with a leading dimension of `discriminator_steps`.
    """
    for repeat in range(gan.discriminator_steps):
        part = {name: array[repeat] for name, array in batch.items()}
        state, d_metrics = discriminator_step(gan, state, part, repeat)
    state, g_metrics = generator_step(gan, state, part)
    return _finished(gan, state, d_metrics | g_metrics)


def simultaneous_step(gan: GAN, state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
    """Both updates from one forward pass: two losses of the same logits, pulled back to one network each.

    Arguments as in `alternating_step`, with one discriminator update.
    """
    real = batch["images"][0]
    generator, discriminator = (state.networks[name].variables for name in ("generator", "discriminator"))
    targets = draw_targets(gan, state, len(real))

    def forward_generator(params: PyTree) -> tuple[Array, PyTree]:
        return generate(gan, state, params, len(real), "generator latents")

    def forward_discriminator(params: PyTree, fake: Array) -> tuple[tuple[Array, Array], PyTree]:
        *logits, stats = discriminate(gan, Variables(params, discriminator.stats), real, fake)
        return tuple(logits), stats

    fake, pull_generator, g_stats = jax.vjp(forward_generator, generator.params, has_aux=True)
    logits, pull_discriminator, d_stats = jax.vjp(forward_discriminator, discriminator.params, fake, has_aux=True)
    d_loss, d_cotangent = jax.value_and_grad(lambda pair: gan.loss.discriminator(*pair, *targets).mean())(logits)
    g_loss, g_cotangent = jax.value_and_grad(lambda pair: gan.loss.generator(*pair).mean())(logits)

    def penalty(params: PyTree) -> tuple[Array, Metrics]:
        return penalize(gan, Variables(params, discriminator.stats), real, lax.stop_gradient(fake))

    # Each pull-back gives both gradients; the one that belongs to the other player is dropped, and XLA drops its work.
    d_gradients, _ = pull_discriminator(d_cotangent)
    (g_gradients,) = pull_generator(pull_discriminator(g_cotangent)[1])
    d_penalty, penalties = jax.grad(penalty, has_aux=True)(discriminator.params)
    d_gradients = jax.tree.map(jnp.add, d_gradients, d_penalty)

    metrics = {"d_loss": d_loss, "d_real": logits[0].mean(), "d_fake": logits[1].mean(), **penalties}
    state, d_metrics = _updated(gan, state, "discriminator", d_gradients, d_stats, metrics)
    state, g_metrics = _updated(gan, state, "generator", g_gradients, g_stats, {"g_loss": g_loss})
    return _finished(gan, _averaged(gan, state), d_metrics | g_metrics)


UPDATES = {"alternating": alternating_step, "simultaneous": simultaneous_step}


def train_steps(
    train_step: Callable[[GANState, Batch], tuple[GANState, Metrics]],
    load: Callable[[PyTree, PyTree, Array, Array], Batch],
    state: GANState,
    data: PyTree,
    inputs: PyTree,
) -> tuple[GANState, dict[str, Float[Array, " steps"]]]:
    """K training steps in one dispatch.

    Args:
        train_step: of the experiment.
        load: (data, one step's inputs, seed, step) -> that step's batch.
        state: before the first step.
        data: what stays the same over the steps.
        inputs: a tree of arrays whose leading dimension is K.

    Returns:
        The state after K steps and every step's metrics.
    """

    def body(state: GANState, one: PyTree) -> tuple[GANState, Metrics]:
        return train_step(state, load(data, one, state.seed, state.step))

    return lax.scan(body, state, inputs)


def _updated(
    gan: GAN, state: GANState, name: str, gradients: PyTree, stats: PyTree, metrics: Metrics
) -> tuple[GANState, Metrics]:
    gradients, metrics = gan.average((gradients, metrics))
    network = update(state.networks[name], gradients, stats, gan.optimizers[name])
    metrics[f"{name[0]}_grad_norm"] = optax.tree.norm(gradients)
    return state.replace(networks=state.networks | {name: network}), metrics


def _averaged(gan: GAN, state: GANState) -> GANState:
    decay = jnp.minimum(gan.ema_decay, (1 + state.step) / (10 + state.step)) if gan.ema_warmup else gan.ema_decay
    ema = {
        name: optax.incremental_update(state.networks[name].variables, old, 1 - decay)
        for name, old in state.ema.items()
    }
    return state.replace(ema=ema)


def _finished(gan: GAN, state: GANState, metrics: Metrics) -> tuple[GANState, Metrics]:
    rates = {f"{name[0]}_learning_rate": jnp.asarray(rate(state.step)) for name, rate in gan.learning_rates.items()}
    return state.replace(step=state.step + 1), metrics | rates
