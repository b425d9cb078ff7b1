"""What evaluate.py scores beside what: opened and checked, so that nothing is refused after a network has run."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxgan import inference
from jaxgan.core.types import example_fields
from jaxgan.data.dataset import ArrayDataset, as_networks_see, with_classes
from jaxgan.data.image_sets import decoded, errors_of_options, format_shape, open_image_sets, open_pairs
from jaxgan.errors import UserError, format_names, warn
from jaxgan.io import run_folder
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import features, held_out, lenet
from jaxgan.metrics.scores import LEAST
from jaxgan.models import efficientnet

USUAL = "lenet"  # features where the examples have labels
OF_COLOUR = "efficientnet"  # features of images in colour, where the weights are installed
NO_FEATURES = "none"
OF_SETS = ("white", "max_pixels")  # settings of `config.data` for images in two sets


class Fakes(NamedTuple):
    """What is scored.

    Attributes:
        count: how many there are.
        labels: int32 [N], -1 where unknown; None where there are none.
        draw: gives the images, uint8 [N, H, W, C].
    """

    count: int
    labels: np.ndarray | None
    draw: Callable[[], np.ndarray]


class EvalTask(NamedTuple):
    """What is scored beside what.

    Attributes:
        fakes: to be scored; None where no features are asked for.
        reals: training examples, or the other set.
        held_out: examples that nothing was trained on; None where there are none.
        split: their name in the data set.
        about: what decides the scores besides features, for scores.json.
        features: that they are scored by.
        weights: of Inception.
        pairs: images of both sets that belong together, fields a and b; None unless these are asked for.
    """

    fakes: Fakes | None
    reals: ArrayDataset
    held_out: ArrayDataset | None
    split: str | None
    about: dict[str, object]
    features: list[str]
    weights: Path | None
    pairs: ArrayDataset | None = None


class Encoded(NamedTuple):
    """The held-out examples that a run's own tasks score.

    Attributes:
        tasks: their names.
        dataset: with the examples.
        split: the dataset's name.
        rows: of the dataset, int32 [N].
    """

    tasks: list[str]
    dataset: ArrayDataset
    split: str
    rows: np.ndarray


def about_run(options: argparse.Namespace, step: int) -> dict[str, object]:
    """What decides which networks are scored, and what they draw."""
    return {
        "step": step,
        "average": not options.raw,
        "member": options.member,
        "seed": options.seed,
        "standing_statistics": options.standing_statistics,
    }


def samples_of(options: argparse.Namespace, restored: RestoredRun) -> Fakes:
    """Samples of a run, which are not drawn yet, and the labels that they are asked to have."""
    exp = restored.exp
    inference.task_of(exp, "sample")
    inference.check_count(exp, options.num)
    asked = inference.mixed_labels(exp, options.num)
    labels = asked if exp.algorithm.draws_classes(exp) and restored.classes else None
    return Fakes(
        options.num, labels, lambda: inference.sample(exp, restored.variables, options.seed, options.num, asked)
    )


def of_run(options: argparse.Namespace, restored: RestoredRun) -> EvalTask:
    """Samples of a run beside its data; no samples where no features are asked for."""
    config, fakes, about = restored.exp.config, None, about_run(options, restored.step)
    names, weights = None, None
    if options.features != NO_FEATURES:
        fakes, about = samples_of(options, restored), about | {"samples": options.num}
        usual = config.eval.features if config.eval.features != USUAL or config.eval.every else None
        names = feature_names(options, usual)
        weights = inception_file(options, names, config.eval.get("weights"))
    split = held_out.split_of(config, options.split)
    reals = decoded_by(options, config)
    run_folder.check_data(options.workdir, reals)
    (field,) = example_fields(restored.exp.fields)
    about |= {"source": config.data.source, "split": config.data.get("split"), "digest": reals.digest}
    others = None
    if split is not None:
        other = config.copy_and_resolve_references()
        other.data.split = split
        others = as_networks_see(with_classes(decoded_by(options, other), reals.classes), field.shape)
    reals = as_networks_see(reals, field.shape)
    task = EvalTask(fakes, reals, others, split, about, names or usual_features(reals), weights)
    if fakes:
        check_task(task, options)
    return task


def decoded_by(options: argparse.Namespace, config: ConfigDict) -> ArrayDataset:
    """The examples of a configuration; errors as of `open_image_sets`."""
    config = config.copy_and_resolve_references()
    config.data.update(on_bad_image(options))
    with errors_of_options(f"--workdir={options.workdir}"):
        return decoded(config)


def on_bad_image(options: argparse.Namespace) -> dict[str, str]:
    """The setting of that name, if it is given."""
    return {"on_bad_image": options.on_bad_image} if options.on_bad_image else {}


def usual_features(reals: ArrayDataset) -> list[str]:
    """Those that need nothing but the examples, and what is installed."""
    if reals.shape[-1] in (3, 4) and efficientnet.find_file():
        return [OF_COLOUR]
    return [USUAL if lenet.can_learn(reals) else "random"]


def of_two_sets(options: argparse.Namespace) -> EvalTask:
    """One set of images beside another one."""
    names, pairs = feature_names(options, None) if options.features != NO_FEATURES else [], None
    weights = inception_file(options, names, None)
    settings = {name: value for name in OF_SETS if (value := getattr(options, name)) is not None}
    places = {"--fakes": options.fakes, "--reals": options.reals}
    settings |= on_bad_image(options)
    fakes, reals = open_image_sets(places, settings, options.size)
    if options.paired:
        pairs = open_pairs(places, settings, fakes.shape)
    count, unknown = min(len(fakes), options.num), [name for name in fakes.classes if name not in reals.classes]
    labels = with_classes(fakes, reals.classes).labels[:count] if len(unknown) < len(fakes.classes) else None
    about = {"fakes": options.fakes, "reals": options.reals, "samples": count, "digest": reals.digest}
    about |= {"size": options.size, "images": format_shape(reals.shape)}
    scored = Fakes(count, labels, lambda: fakes.images[:count]) if options.features != NO_FEATURES else None
    names = usual_features(reals) if names is None else names
    task = EvalTask(scored, reals, None, None, about, names, weights, pairs)
    if scored:
        check_task(task, options)
    if fakes.digest == reals.digest:
        warn("--fakes and --reals hold the same images: the scores tell nothing of other ones")
    if unknown and reals.classes:
        warn(f"--reals has no class {format_names(unknown)}: labels of these samples are not used")
    return task


def split_names(text: str) -> list[str]:
    """The extractors that --features names, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def feature_names(options: argparse.Namespace, usual: str | None) -> list[str] | None:
    """The extractors that are asked for, or the usual one; None if the data decide."""
    text = options.features or usual
    return split_names(text) if text else None


def inception_file(options: argparse.Namespace, names: list[str] | None, usual: str | None) -> Path | None:
    """The file of Inception's weights, if those are asked for, after a look into it.

    Raises:
        UserError: there is no file, or one that holds other things, or one that has no effect.
    """
    given = options.inception_weights
    if "inception" not in (names or ()):
        if given:
            raise UserError(f"--inception_weights needs --features=inception, and not {','.join(names or [USUAL])}")
        return None
    path = given or (Path(usual) if usual else None)
    features.load_weights(path)
    return path


def check_counts(samples: int, reals: int) -> None:
    """Raises a `UserError` if there are too few samples or real images for any score."""
    if min(samples, reals) < LEAST:
        raise UserError(f"scores need {LEAST} samples and {LEAST} real images: there are {samples} and {reals}")


def check_task(task: EvalTask, options: argparse.Namespace) -> None:
    """Raises a `UserError` for all that cannot be done with these samples and real images, before a network runs."""
    check_counts(task.fakes.count, len(task.reals))
    for name in task.features:
        features.check(name, task.reals)
    if options.per_class and (task.fakes.labels is None or not task.reals.classes):
        raise UserError("--per_class needs samples and real images with labels of the same classes")
    if options.gan_train:
        if task.fakes.labels is None or task.held_out is None or not (task.held_out.labels >= 0).any():
            raise UserError("--gan_train needs samples with labels, and a data set with labels in a test split")
        if len(np.unique(task.fakes.labels)) < 2:
            raise UserError("--gan_train needs samples of two classes at least")
        lenet.check(task.reals)


def encoded_examples(
    task: EvalTask, options: argparse.Namespace, restored: RestoredRun, tasks: list[str]
) -> Encoded | None:
    """The examples that tasks encode; where there are too few, none beside samples, with a warning.

    Raises:
        UserError: there are too few, and no samples.
    """
    dataset, split = task.held_out, task.split
    if dataset is None:
        dataset, split = task.reals, restored.exp.config.data.split
        warn(f"{', '.join(tasks)}: these scores are of training examples ({split}); --split=SPLIT names other ones")
    try:
        rows = held_out.usable_rows(restored.exp, tasks, dataset, options.num_held_out)
        if len(rows) < LEAST:
            raise UserError(f"they need {LEAST} examples, and {split} has {len(rows)}")
    except UserError as error:
        reason = f"there are no scores of held-out examples: {error}"
        if task.fakes is None:
            raise UserError(reason) from error
        warn(reason)
        return None
    return Encoded(tasks, dataset, split, rows)
