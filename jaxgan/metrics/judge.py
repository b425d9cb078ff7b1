"""Scores while a run trains: those of evaluate.py, from fewer samples."""

from pathlib import Path

import numpy as np

from jaxgan import population, sampling
from jaxgan.data import cache
from jaxgan.data.cache import Examples, Undecoded
from jaxgan.data.sources import world_of
from jaxgan.errors import UserError
from jaxgan.experiment import GAN
from jaxgan.metrics import features, scores
from jaxgan.metrics.scores import Samples
from jaxgan.state import GANState


class Judge:
    """Compares what a run draws with its real examples.

    Args:
        gan: the experiment.
        examples: its data set.

    Attributes:
        floor: what real images score, by the names of the scores.

    Raises:
        UserError: the examples are no images, or are not at hand, or there are too few of them.
    """

    def __init__(self, gan: GAN, examples: Examples | Undecoded):
        self.gan, settings = gan, gan.config.eval
        if world_of(gan.config.data):
            raise UserError("config.eval.every should be 0: a toy world has exact scores wherever samples are drawn")
        if isinstance(examples, Undecoded):
            raise UserError("config.eval.every needs config.data.cache=True, or real images would be decoded each time")
        if settings.weights and settings.features != "inception":
            raise UserError(f"config.eval.weights={settings.weights} is for config.eval.features=inception")
        examples, weights = cache.digested(examples), Path(settings.weights) if settings.weights else None
        self.extract = features.extractor(settings.features, examples, weights)
        both = Samples(*features.of_examples(self.extract, examples, 2 * settings.num))
        self.floor = values(scores.of_halves(both, self.extract.name))
        self.whole = features.statistics_of(self.extract, examples)
        self.reals = Samples(*features.of_examples(self.extract, examples, settings.num))

    def __call__(self, state: GANState) -> dict[str, float]:
        """The scores of the generator's average; of a population, their means over its members."""
        config = self.gan.config
        count, labels = config.eval.num, sampling.mixed_labels(self.gan, config.eval.num)
        found = []
        for own, seed in zip(population.members(self.gan, state), population.seeds(config), strict=True):
            drawn = sampling.draw(self.gan, own.ema["generator"], seed, count, labels)
            fakes = Samples(self.extract(drawn), labels if self.gan.classes else None)
            found.append(values(scores.score(fakes, self.reals, self.extract.name, self.whole)))
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def told(found: dict[str, float]) -> str:
    """Scores as a line of text."""
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


def values(found: dict[str, scores.Score]) -> dict[str, float]:
    """The scores without their intervals."""
    return {name: score.estimate.value for name, score in found.items()}
