"""Scores while a run trains: those of evaluate.py, from fewer samples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxgan import inference
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import NOT_NEGATIVE, POSITIVE, Choice, Setting, Settings, names_of
from jaxgan.core.state import TrainState
from jaxgan.core.types import example_fields
from jaxgan.data import dataset
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.errors import UserError, warn
from jaxgan.metrics import features, report, scores
from jaxgan.metrics.scores import Samples, Scored

SETTINGS: Settings = {
    "eval": {
        "every": Setting(0, "training steps between scores; 0: none", NOT_NEGATIVE, resumable=True),
        "num": Setting(1000, "samples, and real images, that scores are made of", POSITIVE, resumable=True),
        "features": Choice(
            "lenet",
            "extractor of the scores",
            lambda: names_of(features.EXTRACTORS)() | {"inception": INCEPTION},
            resumable=True,
        ),
    }
}
INCEPTION: Settings = {"weights": Setting("", "a PyTorch file with the weights of Inception", resumable=True)}


class Evaluator:
    """Compares what a run draws with its real examples.

    Args:
        exp: the experiment.
        examples: its data set.

    Attributes:
        reference: what real images score, by the names of the scores.
        score_names: of the scores that are given.

    Raises:
        UserError: the examples are no images, or are not at hand, or there are too few of them.
    """

    def __init__(self, exp: Experiment, examples: ArrayDataset | LazyDataset):
        self.exp, settings = exp, exp.config.eval
        if mixture_of(exp.config.data):
            raise UserError(
                "config.eval.every must be 0: a mixture of Gaussians has exact scores wherever samples are drawn"
            )
        if any(field.kind == "bits" for field in exp.fields):
            raise UserError("config.eval.every must be 0: evaluate.py scores shapes, by distances of pairs")
        check_decoded(examples)
        if "sample" not in exp.algorithm.tasks:
            raise UserError(f"config.eval.every must be 0: algorithm={exp.config.algorithm} draws no samples to score")
        weights = Path(settings.weights) if settings.get("weights") else None
        (field,) = example_fields(exp.fields)
        examples = dataset.as_networks_see(dataset.with_digest(examples), field.shape)
        if min(settings.num, len(examples)) < scores.LEAST:
            raise UserError(
                f"config.eval.num={settings.num} samples beside {len(examples)} real images are too few: scores need "
                f"{scores.LEAST} of each"
            )
        self.extract = features.extractor(settings.features, examples, weights)
        both = Samples(*features.features_of(self.extract, examples, 2 * settings.num))
        reference = scores.real_vs_real(both, self.extract.name)
        self.reference = point_estimates(reference.found)
        self.real_statistics = features.statistics_of(self.extract, examples)
        self.reals = Samples(*features.features_of(self.extract, examples, settings.num))
        self.score_names = self.given_names(reference)

    def given_names(self, reference: Scored) -> list[str]:
        """The scores that can be given with `eval.num` samples, with a warning about the others.

        Raises:
            UserError: the best checkpoint is to be known by one of the others.
        """
        count, name, values = self.exp.config.eval.num, self.extract.name, self.reals.features
        metrics, missing = scores.allowed(name, values, (count, len(values.values)), exact=True)
        sides = Scored({}, missing, count, len(values.values)), reference
        best = self.exp.config.checkpoint.best
        if best in missing:
            raise UserError(f"config.checkpoint.best={best}: {report.missing_line('', sides[:1])}")
        for start, side in zip(("", "of real images "), sides, strict=True):
            if side.missing:
                warn(f"config.eval.num={count}: {report.missing_line(start, [side])}")
        return [
            *dict.fromkeys([*(scores.full_name(kind, name) for own in metrics for kind in own.names), *reference.found])
        ]

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The scores of the generator's average; of a population, their means over its members."""
        config = self.exp.config
        count, labels = config.eval.num, inference.mixed_labels(self.exp, config.eval.num)
        found = []
        for own, seed in zip(population.members(self.exp, state), population.seeds(config), strict=True):
            drawn = inference.sample(self.exp, inference.variables_of(own), seed, count, labels)
            fakes = Samples(self.extract(drawn), labels if self.exp.algorithm.draws_classes(self.exp) else None)
            found.append(
                point_estimates(scores.score(fakes, self.reals, self.extract.name, self.real_statistics).found)
            )
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def check_decoded(examples: ArrayDataset | LazyDataset) -> None:
    """Raises a `UserError` if examples are not at hand."""
    if isinstance(examples, LazyDataset):
        raise UserError("config.eval.every needs config.data.cache=True, or real images would be decoded each time")


def format_scores(found: dict[str, float]) -> str:
    """Scores as a line of text."""
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


def point_estimates(found: Mapping[str, scores.Score]) -> dict[str, float]:
    """The scores without their intervals."""
    return {name: score.estimate.value for name, score in found.items()}
