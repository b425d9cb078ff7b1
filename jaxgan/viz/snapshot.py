"""What a run shows of its generator while it trains: a grid of images or, of a toy world, a plot and exact scores."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgan import sampling
from jaxgan.core import population
from jaxgan.core.experiment import GAN
from jaxgan.core.state import TrainState, apply
from jaxgan.data.gaussian_mixtures import GaussianMixture
from jaxgan.data.sources import world_of
from jaxgan.metrics import mixtures
from jaxgan.viz import grid, mixture

PROBABILITIES = ("minimax", "non_saturating")  # losses of which sigmoid(D) is the probability of being real
MOST_COLUMNS = 16  # classes that have a column each in a grid


def draw(exp: GAN, state: TrainState, step: int) -> tuple[UInt8[np.ndarray, "height width 3"], dict[str, float]]:
    """A picture of what the generator's average makes of the same latents each time, and its scores in a toy world.

    Of a population each member has a row of the grid, or a panel of the plot, and the scores are means with standard
    errors.
    """
    config, world = exp.config, world_of(exp.config.data)
    states = population.members(exp, state)
    # A population shares the grid; of a world each member is scored by all of the samples.
    count = config.sample_grid if world or len(states) == 1 else max(config.sample_grid // len(states), 1)
    labels = sampling.mixed_labels(exp, count)
    pairs = zip(states, population.seeds(config), strict=True)
    drawn = [sampling.draw(exp, own.ema["generator"], seed, count, labels) for own, seed in pairs]
    if world:
        return plot(exp, states[0], world, np.stack(drawn), step), scores(world, np.stack(drawn))
    columns = count if len(states) > 1 else None
    if labels is not None and sampling.choices(exp) <= min(MOST_COLUMNS, count) and len(states) == 1:
        columns = sampling.choices(exp)
    return grid.image_grid(np.concatenate(drawn), columns), {}


def score_names(exp: GAN) -> list[str]:
    """The names of the scores that `draw` returns."""
    world = world_of(exp.config.data)
    return [*scores(world, np.zeros((exp.config.population, 2, world.dim), np.float32))] if world else []


def of_examples(exp: GAN, examples: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """A picture of real examples."""
    world = world_of(exp.config.data)
    if not world:
        return grid.image_grid(examples)
    return (
        mixture.scatter(world, examples, "real") if world.dim == 2 else mixture.densities(world, examples, None, "real")
    )


def plot(
    exp: GAN, state: TrainState, world: GaussianMixture, samples: np.ndarray, step: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The samples [members, n, dim] of a world after some step."""
    title = f"{exp.config.data.source.partition(':')[2]}, step {step:,}"
    if len(samples) > 1:
        return mixture.population(world, samples, title)
    if world.dim == 2:
        return mixture.scatter(world, samples[0], title)
    return mixture.densities(world, samples[0], discriminator_outputs(exp, state, world), title)


def discriminator_outputs(exp: GAN, state: TrainState, world: GaussianMixture) -> np.ndarray | None:
    """sigmoid(D(x)) along a line, None where that is no probability of single points."""
    together = exp.config.packing > 1 or exp.config.model.discriminator.minibatch_stddev
    if exp.config.loss not in PROBABILITIES or together or exp.condition_size:
        return None
    variables = state.networks["discriminator"].variables
    judgement, _ = apply(exp.networks["discriminator"], variables, jnp.asarray(mixture.grid(world)), None, train=False)
    return np.asarray(jax.nn.sigmoid(judgement.logits))


def scores(world: GaussianMixture, samples: np.ndarray) -> dict[str, float]:
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
        means = {
            name: float(value) for name, value in population.mean_stderr(jax.tree.map(jnp.asarray, values)).items()
        }
    else:
        means = {name: float(value[0]) for name, value in values.items()}
    if not all(map(math.isfinite, means.values())):  # a sample is not finite: there is nothing to tell of it
        return {}
    return means | {f"{name}_perfect": float(value) for name, value in perfect.items()}


def format_scores(values: dict[str, float]) -> str:
    """Scores as a line of text: each with its standard error, if it has one, and what a perfect sampler has."""
    names = [name.removesuffix("_perfect") for name in values if name.endswith("_perfect")]
    parts = []
    for name in names:
        error = f" ± {values[f'{name}_se']:.2g}" if f"{name}_se" in values else ""
        parts.append(f"{name} {values[name]:.4g}{error} (perfect {values[f'{name}_perfect']:.4g})")
    return ", ".join(parts)
