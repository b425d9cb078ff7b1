"""FastGAN: a GAN for a few hundred images, whose discriminator learns to describe real images as well.

Decoders draw real images again from the discriminator's features, and both minimise the distance. Otherwise a
discriminator of few images soon looks at a few spots alone. Each training step updates the discriminator and the
decoders, then the generator, which learns from the same fakes.

References:
    Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021.
    https://arxiv.org/abs/2101.04775
"""

from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from jaxgan import models
from jaxgan.adversarial import augment, monitors, reconstruction
from jaxgan.adversarial.forward import data_field
from jaxgan.adversarial.losses import hinge_discriminator
from jaxgan.adversarial.objectives import diversity_ratio
from jaxgan.core import latents as core_latents
from jaxgan.core import optimizers, rng
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, ema_conflict, finish_step, gradients
from jaxgan.core.settings import INTERVAL, NOT_NEGATIVE, POSITIVE, Setting, Settings, split_names
from jaxgan.core.state import TrainState, apply
from jaxgan.core.types import Algorithm, Arrays, Batch, Field, Metrics, Player, Task, example_fields
from jaxgan.models import fastgan

PLAYERS = {
    "generator": Player(("generator",), ("generator",)),
    "discriminator": Player(("discriminator", "decoders")),
}
ROLES = {
    "generator": "two_scale_generator",
    "discriminator": "two_scale_discriminator",
    "decoders": "decoders",
}

Images = Float[Array, "batch height width channel"]
Pair = tuple[Images, Float[Array, "batch rows columns channel"]]  # images, and the same images smaller
Params = Mapping[str, PyTree]


def generate(exp: Experiment, state: TrainState, params: PyTree, count: int) -> tuple[Pair, PyTree]:
    """So many fakes in two sizes, and the generator's new model state."""
    key, noise = (rng.stream_key(state.seed, state.step, stream) for stream in ("latents", "generator noise"))
    latents = core_latents.sample_latents(key, exp.global_indices(count), exp.config.latent_dim)
    variables = state.networks["generator"].replace(params=params)
    return apply(exp.networks["generator"], variables, latents, train=True, key=noise)


def augmented(exp: Experiment, state: TrainState, images: Images, stream: str) -> Images:
    """Images as the discriminator is given them."""
    keys = exp.example_keys(state, len(images), f"{stream} augment")
    return augment.augment(images, keys, split_names(exp.config.augment))


def augmented_fakes(exp: Experiment, state: TrainState, fakes: Pair) -> Pair:
    """Fakes as the discriminator is given them; each size is augmented by itself."""
    large, small = fakes
    return augmented(exp, state, large, "fake"), augmented(exp, state, small, "small fake")


def subsampled(images: Images, side: int) -> Float[Array, "batch side side channel"]:
    """Every second, fourth, ... pixel of squares, so that `side` rows and columns are left."""
    step = images.shape[1] // side
    return images[:, ::step, ::step]


def quarter(array: Array, number: Int[Array, ""]) -> Array:
    """One of the four quarters of rows and columns, axes 1 and 2; numbered 0 to 3, row by row."""
    first, rows, columns, last = array.shape
    start = (0, number // 2 * (rows // 2), number % 2 * (columns // 2), 0)
    return lax.dynamic_slice(array, start, (first, rows // 2, columns // 2, last))


def hinge_loss(
    exp: Experiment, state: TrainState, real: Float[Array, "batch places"], fake: Float[Array, "batch places"]
) -> Float[Array, ""]:
    """The discriminator's hinge loss, with a margin drawn for each place; a fake has those of the real image."""
    low, high = exp.config.margins
    keys = exp.example_keys(state, len(real), "margins")
    margins = low + (high - low) * jax.vmap(lambda key: jax.random.uniform(key, real.shape[1:]))(keys)
    return hinge_discriminator(real.ravel(), fake.ravel(), margin=margins.ravel()).mean()


def discriminator_step(exp: Experiment, state: TrainState, real: Images, fakes: Pair) -> tuple[TrainState, Metrics]:
    """One update of the discriminator by its hinge loss, and of it and the decoders by their reconstructions."""
    side = fakes[1].shape[1]
    given, given_fakes = augmented(exp, state, real, "real"), augmented_fakes(exp, state, fakes)
    number = jax.random.randint(rng.stream_key(state.seed, state.step, "quarter"), (), 0, 4)
    whole = subsampled(given, side)
    targets = fastgan.Reconstructions(whole, subsampled(quarter(given, number), side), whole)

    def objective(params: Params) -> tuple[Array, tuple[dict[str, PyTree], Metrics]]:
        own = {name: state.networks[name].replace(params=params[name]) for name in params}
        network, variables = exp.networks["discriminator"], own["discriminator"]
        real_out, between = apply(network, variables, given, whole, train=True)
        fake_out, after = apply(network, variables.replace(model_state=between), *given_fakes, train=True)
        features = real_out.whole, quarter(real_out.detail, number), real_out.small
        found, decoders = apply(exp.networks["decoders"], own["decoders"], *features, train=True)
        loss = hinge_loss(exp, state, real_out.logits, fake_out.logits)
        distance = reconstruction.distance(exp, found, targets)
        pair = real_out.logits.mean(1), fake_out.logits.mean(1)
        metrics = {"loss/discriminator": loss, "loss/reconstruction": distance}
        metrics |= {"logits/real": pair[0].mean(), "logits/fake": pair[1].mean()}
        metrics["d_pairwise_accuracy"] = 0.5 + 0.5 * jnp.sign(pair[0] - pair[1]).mean()  # a tie is half of one
        total = loss + hparam(exp, state, "reconstruction.weight") * distance
        return total, ({"discriminator": after, "decoders": decoders}, metrics)

    grads, _, (model_state, metrics) = gradients(exp, state, "discriminator", objective)
    metrics["diversity_ratio"] = diversity_ratio(exp, real, fakes[0])
    return apply_gradients(exp, state, "discriminator", grads, model_state, metrics)


def generator_gradients(exp: Experiment, state: TrainState, fakes: Pair) -> tuple[Pair, Metrics]:
    """The gradients of the generator's loss by its fakes, and its metrics."""

    def objective(fakes: Pair) -> tuple[Array, Metrics]:
        given = augmented_fakes(exp, state, fakes)
        out, _ = apply(exp.networks["discriminator"], state.networks["discriminator"], *given, train=True)
        loss = -out.logits.mean()
        return loss, {"loss/generator": loss}

    return jax.grad(objective, has_aux=True)(fakes)


def step(exp: Experiment, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of discriminator and decoders, then one of the generator, of the same fakes."""
    before, real = state, batch[data_field(exp)][0]
    params = state.networks["generator"].params
    fakes, vjp, model_state = jax.vjp(lambda params: generate(exp, state, params, len(real)), params, has_aux=True)
    state, metrics = discriminator_step(exp, state, real, lax.stop_gradient(fakes))
    to_fakes, own = generator_gradients(exp, state, fakes)
    grads = {"generator": vjp(to_fakes)[0]}
    state, own = apply_gradients(exp, state, "generator", grads, {"generator": model_state}, own)
    return finish_step(exp, before, state, metrics | own)


def sample(exp: Experiment, variables: Mapping[str, PyTree], inputs: Arrays) -> dict[str, Array]:
    """Images from seeds, with fixed noise; between two seeds, a walk on the great circle."""
    latents = core_latents.latents_between(inputs["seed"], inputs["index"], exp.config.latent_dim, inputs)
    (images, _), _ = apply(exp.networks["generator"], variables["generator"], latents, train=False)
    return {data_field(exp): images}


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
    side, images = fastgan.small_side(shape[0]), jnp.zeros((1, *shape))
    pair = images, subsampled(images, side)
    discriminator = exp.networks["discriminator"]
    out, _ = jax.eval_shape(lambda: discriminator.init_with_output(jax.random.key(0), *pair, train=True))
    features = [jnp.zeros(own.shape, own.dtype) for own in (out.whole, out.detail, out.small)]
    features[1] = quarter(features[1], jnp.int32(0))
    return {"generator": (jnp.zeros((1, exp.config.latent_dim)),), "discriminator": pair, "decoders": tuple(features)}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings do not go together."""
    config, examples = exp.config, example_fields(exp.fields)
    if len(examples) != 1 or examples[0].kind != "pixels":
        yield f"config.algorithm=fastgan makes images, and config.data.source={config.data.source} has none"
        return
    yield from reconstruction.check(exp, examples[0].shape[2])
    if (reason := ema_conflict(exp)) is not None:
        yield reason


SETTINGS: Settings = {
    "latent_dim": Setting(256, "numbers of a latent vector", POSITIVE),
    **models.settings(ROLES, family="fastgan"),
    "margins": Setting((0.8, 1.0), "range that the margin of each logit is drawn from, in the hinge loss", INTERVAL),
    "reconstruction": {
        "weight": Setting(
            1.0, "of the distance between real images and what decoders make of them", NOT_NEGATIVE, sweepable=True
        ),
        "distance": reconstruction.SETTING,
    },
    "augment": augment.SETTINGS["augment"]._replace(default=("colour", "translation")),
    **EMA_SETTINGS,
    **optimizers.settings(*PLAYERS),
}

MONITORS = (
    monitors.mode_collapse("generator", "more images, config.data.flip=True, or a smaller learning rate"),
    monitors.perfect_discriminator("a larger config.reconstruction.weight, or another augmentation in config.augment"),
)

FASTGAN = Algorithm(
    settings=SETTINGS,
    players=lambda config: PLAYERS,
    networks=networks,
    inputs=inputs,
    step=step,
    tasks={
        "sample": Task(
            ("generator",),
            sample,
            lambda exp: {data_field(exp): "pixels"},
            options=("truncation", "fraction", "end_seed"),
        ),
    },
    smallest={
        "data.source": "digits",
        "data.size": 64,
        "batch_size": 4,
        "latent_dim": 4,
        "model.generator.base_channels": 1,
        "model.generator.spectral_norm": False,  # which takes long to compile
        "model.discriminator.base_channels": 1,
        "model.decoders.base_channels": 1,
        "model.decoders.spectral_norm": False,
    },
    check=check,
    constants=reconstruction.constants,
    headlines=("loss/discriminator", "loss/generator", "loss/reconstruction"),
    curves=("loss", "logits", "learning_rate"),
    monitors=MONITORS,
)
