"""Scores while a run trains: those of evaluate.py, from fewer samples."""

from pathlib import Path

import numpy as np

from jaxgan import sampling
from jaxgan.core import population
from jaxgan.core.experiment import GAN
from jaxgan.core.state import TrainState
from jaxgan.data import cache
from jaxgan.data.cache import ArrayDataset, LazyDataset
from jaxgan.data.sources import world_of
from jaxgan.errors import UserError
from jaxgan.metrics import features, scores
from jaxgan.metrics.scores import Samples


class Evaluator:
    """Compares what a run draws with its real examples.

    Args:
        exp: the experiment.
        examples: its data set.

    Attributes:
        floor: what real images score, by the names of the scores.

    Raises:
        UserError: the examples are no images, or are not at hand, or there are too few of them.
    """

    def __init__(self, exp: GAN, examples: ArrayDataset | LazyDataset):
        self.exp, settings = exp, exp.config.eval
        if world_of(exp.config.data):
            raise UserError("config.eval.every should be 0: a toy world has exact scores wherever samples are drawn")
        if isinstance(examples, LazyDataset):
            raise UserError("config.eval.every needs config.data.cache=True, or real images would be decoded each time")
        if settings.weights and settings.features != "inception":
            raise UserError(f"config.eval.weights={settings.weights} is for config.eval.features=inception")
        examples, weights = cache.with_digest(examples), Path(settings.weights) if settings.weights else None
        self.extract = features.extractor(settings.features, examples, weights)
        both = Samples(*features.features_of(self.extract, examples, 2 * settings.num))
        self.floor = point_estimates(scores.real_vs_real(both, self.extract.name))
        self.whole = features.statistics_of(self.extract, examples)
        self.reals = Samples(*features.features_of(self.extract, examples, settings.num))

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The scores of the generator's average; of a population, their means over its members."""
        config = self.exp.config
        count, labels = config.eval.num, sampling.mixed_labels(self.exp, config.eval.num)
        found = []
        for own, seed in zip(population.members(self.exp, state), population.seeds(config), strict=True):
            drawn = sampling.draw(self.exp, own.ema["generator"], seed, count, labels)
            fakes = Samples(self.extract(drawn), labels if self.exp.classes else None)
            found.append(point_estimates(scores.score(fakes, self.reals, self.extract.name, self.whole)))
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def format_scores(found: dict[str, float]) -> str:
    """Scores as a line of text."""
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


def point_estimates(found: dict[str, scores.Score]) -> dict[str, float]:
    """The scores without their intervals."""
    return {name: score.estimate.value for name, score in found.items()}
