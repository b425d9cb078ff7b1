"""What a run shows of its generator while it trains: a grid of images or, of a toy world, a plot and exact scores."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgan import images, plots, population, sampling
from jaxgan.data.sources import world_of
from jaxgan.data.worlds import World
from jaxgan.experiment import GAN
from jaxgan.metrics import mixtures
from jaxgan.state import GANState, apply

PROBABILITIES = ("minimax", "non_saturating")  # losses of which sigmoid(D) is the probability of being real
MOST_COLUMNS = 16  # classes that have a column each in a grid


def draw(gan: GAN, state: GANState, step: int) -> tuple[UInt8[np.ndarray, "height width 3"], dict[str, float]]:
    """A picture of what the generator's average makes of the same latents each time, and its scores in a toy world.

    Of a population each member has a row of the grid, or a panel of the plot, and the scores are means with standard
    errors.
    """
    config, world = gan.config, world_of(gan.config.data)
    states = population.members(gan, state)
    # A population shares the grid; of a world each member is scored by all of the samples.
    count = config.sample_grid if world or len(states) == 1 else max(config.sample_grid // len(states), 1)
    labels = sampling.mixed_labels(gan, count)
    pairs = zip(states, population.seeds(config), strict=True)
    drawn = [sampling.draw(gan, own.ema["generator"], seed, count, labels) for own, seed in pairs]
    if world:
        return plot(gan, states[0], world, np.stack(drawn), step), scores(world, np.stack(drawn))
    columns = count if len(states) > 1 else None
    if labels is not None and sampling.choices(gan) <= min(MOST_COLUMNS, count) and len(states) == 1:
        columns = sampling.choices(gan)
    return images.grid(np.concatenate(drawn), columns), {}


def score_names(gan: GAN) -> list[str]:
    """The names of the scores that `draw` returns."""
    world = world_of(gan.config.data)
    return [*scores(world, np.zeros((gan.config.population, 2, world.dim), np.float32))] if world else []


def of_examples(gan: GAN, examples: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """A picture of real examples."""
    world = world_of(gan.config.data)
    if not world:
        return images.grid(examples)
    return plots.scatter(world, examples, "real") if world.dim == 2 else plots.densities(world, examples, None, "real")


def plot(
    gan: GAN, state: GANState, world: World, samples: np.ndarray, step: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The samples [members, n, dim] of a world after some step."""
    title = f"{gan.config.data.source.partition(':')[2]}, step {step:,}"
    if len(samples) > 1:
        return plots.population(world, samples, title)
    if world.dim == 2:
        return plots.scatter(world, samples[0], title)
    return plots.densities(world, samples[0], discriminator_outputs(gan, state, world), title)


def discriminator_outputs(gan: GAN, state: GANState, world: World) -> np.ndarray | None:
    """sigmoid(D(x)) along a line, None where that is no probability of single points."""
    together = gan.config.packing > 1 or gan.config.model.discriminator.minibatch_stddev
    if gan.config.loss not in PROBABILITIES or together or gan.condition_size:
        return None
    variables = state.networks["discriminator"].variables
    judgement, _ = apply(gan.networks["discriminator"], variables, jnp.asarray(plots.grid(world)), None, train=False)
    return np.asarray(jax.nn.sigmoid(judgement.logits))


def scores(world: World, samples: np.ndarray) -> dict[str, float]:
    """The exact scores of samples [members, n, dim], each beside that of a perfect sampler: NAME and NAME_perfect.

    Of several members they are means, with their standard errors as NAME_se.
    """
    count = samples.shape[1]
    if world.dim == 1:
        quantiles = world.quantiles(count)
        values = {"wasserstein": np.float32([mixtures.wasserstein(own[:, 0], quantiles) for own in samples])}
        perfect = {"wasserstein": mixtures.perfect_wasserstein(quantiles)}
    else:
        values, perfect = {}, {}
    if world.modes > 1:
        found = [mixtures.mode_scores(own, world.means, world.stddev) for own in samples]
        values |= {name: np.float32([own[name] for own in found]) for name in found[0]}
        perfect |= mixtures.perfect_scores(world.modes, world.dim, count)
    if len(samples) > 1:
        means = {name: float(value) for name, value in population.summary(jax.tree.map(jnp.asarray, values)).items()}
    else:
        means = {name: float(value[0]) for name, value in values.items()}
    if not all(map(math.isfinite, means.values())):  # a sample is not finite: there is nothing to tell of it
        return {}
    return means | {f"{name}_perfect": float(value) for name, value in perfect.items()}


def told(values: dict[str, float]) -> str:
    """Scores as a line of text: each with its standard error, if it has one, and what a perfect sampler has."""
    names = [name.removesuffix("_perfect") for name in values if name.endswith("_perfect")]
    parts = []
    for name in names:
        error = f" ± {values[f'{name}_se']:.2g}" if f"{name}_se" in values else ""
        parts.append(f"{name} {values[name]:.4g}{error} (perfect {values[f'{name}_perfect']:.4g})")
    return ", ".join(parts)
