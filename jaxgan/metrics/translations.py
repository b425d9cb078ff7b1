"""Scores of translations: images of a target field that networks made from those of a source field.

Translations of held-out images stand beside held-out images of the target. Beside each score is that of the sources
themselves, as if they were translations ("unchanged"), and that of real training images of the target ("real images").
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from jaxgan import inference
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.core.types import Field
from jaxgan.data.dataset import ArrayDataset, central_crop, from_arrays, image_dataset
from jaxgan.data.sources.domains import same_originals
from jaxgan.errors import warn
from jaxgan.metrics import domains, examples, features, frechet, held_out, image_quality, scores
from jaxgan.metrics.domains import DomainClassifier
from jaxgan.metrics.features import Extractor, Features
from jaxgan.metrics.image_quality import UNIFORM
from jaxgan.metrics.intervals import wilson
from jaxgan.metrics.report import Result, merged
from jaxgan.metrics.scores import Samples, Score, Scored

MOST_TAUGHT = 10_000  # training images of each domain from which a classifier of domains learns
MAX_PSNR = 10 * np.log10(12 * image_quality.WHITE**2)  # in a mean: that of rounding, whose variance is 1/12

Images = UInt8[np.ndarray, "_ height width channel"]


class Direction(NamedTuple):
    """A task that makes images of one field from those of another one.

    Attributes:
        task: its name.
        source, target: the fields.
    """

    task: str
    source: Field
    target: Field

    @property
    def name(self) -> str:
        """Both fields, such as "ab": the names of scores end in it."""
        return self.source.name + self.target.name


class Domains(NamedTuple):
    """Real images by field, as networks see them.

    Attributes:
        train: those of training.
        test: those that are translated, and that translations stand beside; training images where none are held out.
        held_out: whether some are.
        paired: whether training knew the right translations.
        aligned: whether they are known: they have the places of the images that they are translations of.
    """

    train: Mapping[str, ArrayDataset]
    test: Mapping[str, ArrayDataset]
    held_out: bool
    paired: bool
    aligned: bool


class Reference(NamedTuple):
    """What translations in one direction are set beside, by the features of one extractor.

    Attributes:
        way: the direction.
        extract: the extractor.
        classifier: takes an image for one of the source (first) or of the target; None if it cannot tell them apart.
        reals: features of test images of the target.
        unchanged: scores of the sources.
        floor: scores of training images of the target.
    """

    way: Direction
    extract: Extractor
    classifier: DomainClassifier | None
    reals: Features
    unchanged: Scored
    floor: Scored


def directions(exp: Experiment) -> list[Direction]:
    """The directions in which an experiment translates: tasks that need one field of images and return another one."""
    pixels, found = {field.name: field for field in exp.fields if field.kind == "pixels"}, []
    for name, task in exp.algorithm.tasks.items():
        needs, outputs = task.needs(exp), tuple(task.outputs(exp))
        if len(needs) == len(outputs) == 1 and needs != outputs and pixels.keys() >= {*needs, *outputs}:
            found.append(Direction(name, pixels[needs[0]], pixels[outputs[0]]))
    return found


def domains_of(exp: Experiment, train: ArrayDataset, test: ArrayDataset | None) -> Domains:
    """The domains of an experiment, from its data set and from the held-out one."""
    sides = [images_of(exp, dataset) for dataset in (train, test or train)]
    paired = len({field.group for field in exp.fields if field.kind == "pixels"}) == 1
    known = len({len(images) for images in sides[1].values()}) == 1 and same_originals(exp.config.data.source)
    return Domains(*sides, test is not None, paired, paired or known)


def images_of(exp: Experiment, dataset: ArrayDataset) -> dict[str, ArrayDataset]:
    """The images of each field as a data set, cropped to the middle where a run crops at random."""
    found = {}
    for field in exp.fields:
        if field.kind == "pixels":
            images = central_crop(dataset.array(field.name), field.shape[:2])
            found[field.name] = unlabelled(images, dataset.digest, field.name, field.shape)
    return found


def unlabelled(images: Images, *described: object) -> ArrayDataset:
    """Images as a data set, whose digest is made of what describes them."""
    digest = hashlib.blake2b(repr(described).encode(), digest_size=16).hexdigest()
    return image_dataset(images, np.zeros(len(images), np.int32), (), digest)


def translate(
    exp: Experiment,
    variables: Mapping[str, Variables],
    way: Direction,
    found: Domains,
    seed: int,
    rows: Int[np.ndarray, " n"],
) -> Images:
    """Translations of some of the test images."""
    source = ArrayDataset({way.source.name: found.test[way.source.name].images}, (way.source,))
    outputs = held_out.outputs_of(exp, way.task, variables, source, inference.seed_inputs(seed, len(rows)), rows)
    return outputs[way.target.name]


def rows_of(way: Direction, found: Domains, count: int) -> Int[np.ndarray, " n"]:
    """Which of the test images are translated, at most `count`: always the same choice."""
    return features.rows_of(found.test[way.source.name], count)


# By images


def by_images(way: Direction, found: Domains, rows: Int[np.ndarray, " n"], translated: Images) -> Result:
    """How far translations are from the right ones, where those are known; how much of the sources' structure stays.

    Without pairs the structural similarity of source and translation, both grey, is a score. Its reference is that of
    real images of both domains that do not belong together.
    """
    inputs, targets = (found.test[field.name].images for field in (way.source, way.target))
    inputs, own, unchanged, floor = inputs[rows], [], Scored(), Scored()
    if found.aligned:
        own, unchanged = [beside_truth(translated, targets[rows])], beside_truth(inputs, targets[rows])
    if not found.paired:
        count = min(len(inputs), len(targets))
        own.append(structure_kept(translated, inputs))
        floor = structure_kept(np.roll(targets[:count], 1, axis=0), inputs[:count])
    scored = Scored(merged(own, "found"), merged(own, "missing"), len(inputs), len(targets))
    return Result(of_direction(scored, way), of_direction(floor, way), unchanged=of_direction(unchanged, way))


def beside_truth(images: Images, truth: Images) -> Scored:
    """The means of L1, PSNR and SSIM of images beside the right ones."""
    errors = {"L1": image_quality.l1(images, truth), "PSNR": np.minimum(image_quality.psnr(images, truth), MAX_PSNR)}
    return means_of(errors, "SSIM", image_quality.ssim, images, truth)


def structure_kept(images: Images, inputs: Images) -> Scored:
    """The mean SSIM of images beside what they were made from, all of them grey."""
    return means_of({}, "source_SSIM", image_quality.grey_ssim, images, inputs)


def means_of(
    numbers: Mapping[str, np.ndarray], name: str, similarity: Callable, images: Images, others: Images
) -> Scored:
    """The means of numbers of single images and of a structural similarity, which needs images as large as a window."""
    missing = {name: {"pixels of height and width": len(UNIFORM)}}
    if min(images.shape[1:3]) >= len(UNIFORM):
        numbers, missing = {**numbers, name: similarity(images, others)}, {}
    return Scored(
        {key: Score(examples.mean(key, own)) for key, own in numbers.items()}, missing, len(images), len(others)
    )


def of_direction(scored: Scored, way: Direction) -> Scored:
    """Scores under the names that say in which direction."""
    found, missing = ({f"{name}-{way.name}": own for name, own in part.items()} for part in scored[:2])
    return scored._replace(found=found, missing=missing)


# By features


def taught_by(name: str, found: Domains) -> ArrayDataset:
    """The examples of an extractor: "lenet" learns to tell the domains apart."""
    if name != "lenet":
        return next(iter(found.train.values()))
    parts = [own.images[features.rows_of(own, MOST_TAUGHT)] for own in found.train.values()]
    labels = np.repeat(np.arange(len(parts), dtype=np.int32), [*map(len, parts)])
    return from_arrays(np.concatenate(parts), labels, tuple(found.train))


def classifier_of(extract: Extractor, first: ArrayDataset, second: ArrayDataset) -> DomainClassifier:
    """A classifier of two domains, which learns from their images and from the mirrored ones."""
    both = []
    for own in (first, second):
        mirrored = unlabelled(own.images[:, :, ::-1], own.digest, "mirrored")
        both.append(
            np.concatenate([features.features_of(extract, side, MOST_TAUGHT)[0].values for side in (own, mirrored)])
        )
    return domains.fit(*both)


def reference(way: Direction, found: Domains, extract: Extractor, count: int) -> Reference:
    """What translations of at most `count` images stand beside; warns if a classifier does not separate the domains."""
    source, target = way.source.name, way.target.name
    classifier = classifier_of(extract, found.train[source], found.train[target])
    inputs, reals = (features.features_of(extract, found.test[name], count)[0] for name in (source, target))
    decide = classifier.is_second
    wrong, right = (wilson(int(decide(side.values).sum()), len(side.values)) for side in (inputs, reals))
    if wrong.high >= right.low:
        warn(
            f"{extract.name} features do not tell {source} from {target}: {right.value:.0%} of the real images of "
            f"{target} and {wrong.value:.0%} of those of {source} are taken for {target}, so target_domain is left out"
        )
        classifier = None
    unchanged = by_features(inputs, reals, extract.name, classifier)
    if found.held_out:
        others, _ = features.features_of(extract, found.train[target], len(inputs.values))
        floor = by_features(others, reals, extract.name, classifier)
    else:
        order = np.random.default_rng(1).permutation(len(reals.values))
        halves = (reals[rows] for rows in np.array_split(order, 2))
        floor = by_features(*halves, extract.name, classifier)
    if classifier is not None:
        correct = int(decide(reals.values).sum() + (~decide(inputs.values)).sum())
        extra = {
            f"target_domain-{extract.name}": Score(right),
            f"domain_accuracy-{extract.name}": Score(wilson(correct, len(reals.values) + len(inputs.values))),
        }
        floor = floor._replace(found={**floor.found, **extra})
    return Reference(way, extract, classifier, reals, of_direction(unchanged, way), of_direction(floor, way))


def by_features(fakes: Features, reals: Features, name: str, classifier: DomainClassifier | None) -> Scored:
    """Scores of images beside real ones of the target, by the features of one extractor.

    Where there are too few images for a Fréchet distance without bias, the raw one is given, under a name of its own.
    """
    fakes, reals = (Samples(Features(side.values, None)) for side in (fakes, reals))
    scored = scores.score(fakes, reals, name)
    found = dict(scored.found)
    del found[scores.full_name("authenticity", name)]  # copies of test images say nothing of what was learnt by heart
    distance = scores.full_name("FD", name)
    if distance in scored.missing:
        raw = frechet.raw_score(fakes.features.values, reals.features.values)
        found = {f"raw_{distance}": Score(raw)} | found
    if classifier is not None:
        taken = classifier.is_second(fakes.features.values)
        found[f"target_domain-{name}"] = Score(wilson(int(taken.sum()), len(taken)))
    return scored._replace(found=found)


def compare(beside: Reference, translated: Images) -> Result:
    """All scores of translations by the features of one extractor."""
    found = by_features(beside.extract(translated), beside.reals, beside.extract.name, beside.classifier)
    return Result(of_direction(found, beside.way), beside.floor, unchanged=beside.unchanged)
