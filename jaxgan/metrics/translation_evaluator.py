"""Scores while a run trains that translates: those of evaluate.py, by one extractor and from fewer images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgan import inference
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import TrainState
from jaxgan.data import sources
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset, with_digest
from jaxgan.errors import UserError, warn
from jaxgan.metrics import features, held_out, report, translations
from jaxgan.metrics.evaluator import check_decoded, point_estimates
from jaxgan.metrics.report import Result
from jaxgan.metrics.scores import LEAST, Scored


class TranslationEvaluator:
    """Compares translations of held-out images with real ones, in all directions of a run.

    Args:
        exp: the experiment.
        examples: its data set.

    Attributes:
        reference: what real images score, by the names of the scores.
        score_names: of the scores that are given.

    Raises:
        UserError: the examples are not at hand, or there are too few of them, or the best checkpoint is to be known by
            a score that cannot be given.
    """

    def __init__(self, exp: Experiment, examples: ArrayDataset | LazyDataset):
        self.exp, settings = exp, exp.config.eval
        check_decoded(examples)
        self.domains = translations.domains_of(exp, with_digest(examples), self.held_out())
        least = min(settings.num, *map(len, self.domains.test.values()))
        if least < LEAST:
            raise UserError(f"scores need {LEAST} translated and {LEAST} real images: there are {least}")
        weights = Path(settings.weights) if settings.get("weights") else None
        taught = translations.taught_by(settings.features, self.domains)
        extract = features.extractor(settings.features, taught, weights)
        self.beside = [
            translations.reference(way, self.domains, extract, settings.num) for way in translations.directions(exp)
        ]
        self.rows = [translations.rows_of(beside.way, self.domains, settings.num) for beside in self.beside]
        inputs = [
            self.domains.test[beside.way.source.name].images[rows]
            for beside, rows in zip(self.beside, self.rows, strict=True)
        ]
        unchanged = self.compare(inputs)
        self.reference = point_estimates(report.merged([result.floor for result in unchanged], "found"))
        self.score_names = [
            *dict.fromkeys([*report.merged([own.scores for own in unchanged], "found"), *self.reference])
        ]
        self.check_given([own.scores for own in unchanged])

    def held_out(self) -> ArrayDataset | None:
        """The held-out examples; None where there are none, with a warning."""
        config = self.exp.config.copy_and_resolve_references()
        split = held_out.split_of(config, None)
        if split is None:
            warn(f"config.eval.every: scores are of training examples, for {config.data.source} has no test split")
            return None
        config.data.split = split
        return with_digest(sources.open_dataset(config))

    def check_given(self, sides: Sequence[Scored]) -> None:
        """Warns about scores that are not given; a `UserError` if the best checkpoint is to be known by one of them."""
        best, num = self.exp.config.checkpoint.best, self.exp.config.eval.num
        for side in sides:
            if side.missing:
                line = report.missing_line("", [side])
                if best in side.missing:
                    raise UserError(f"config.checkpoint.best={best}: {line}")
                warn(f"config.eval.num={num}: {line}")

    def compare(self, images: Sequence[np.ndarray]) -> list[Result]:
        """All scores of images in the place of translations, for each direction."""
        found = []
        for beside, rows, own in zip(self.beside, self.rows, images, strict=True):
            found += [translations.by_images(beside.way, self.domains, rows, own), translations.compare(beside, own)]
        return found

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The scores of the generators' averages; of a population, their means over its members."""
        found = []
        for own, seed in zip(population.members(self.exp, state), population.seeds(self.exp.config), strict=True):
            variables = inference.variables_of(own)
            images = [
                translations.translate(self.exp, variables, beside.way, self.domains, seed, rows)
                for beside, rows in zip(self.beside, self.rows, strict=True)
            ]
            scored = report.merged([result.scores for result in self.compare(images)], "found")
            found.append(point_estimates(scored))
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}
