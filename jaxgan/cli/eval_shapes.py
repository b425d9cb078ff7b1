"""What evaluate.py scores of a run that makes shapes."""

import argparse

import numpy as np

from jaxgan.cli import eval_task
from jaxgan.core.types import example_fields
from jaxgan.data import bits, solids
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.sources import open_dataset
from jaxgan.errors import UserError, warn
from jaxgan.io import run_folder
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import held_out, shapes
from jaxgan.metrics.report import Result
from jaxgan.metrics.scores import LEAST, Scored
from jaxgan.viz.shapes import LEVEL

MOST = 1000  # samples and real shapes in scores of pairs, whose number is the square


def score(options: argparse.Namespace, restored: RestoredRun) -> tuple[dict[str, object], dict[str, Result]]:
    """Scores of samples beside held-out shapes, and of training shapes in the samples' place.

    Without held-out shapes both are compared with one half of the training shapes; the other half is the floor.

    Returns:
        What decides the scores, and the scores.
    """
    exp = restored.exp
    config = exp.config
    train = open_dataset(config)
    run_folder.check_data(options.workdir, train)
    split = held_out.split_of(config, options.split)
    rng = np.random.default_rng(0)  # examples may be sorted
    own = grids(train, rng.permutation(len(train))[: 2 * MOST])
    if split is None:
        warn(f"config.data.source={config.data.source} has no held-out split: samples are beside training shapes")
        own, references = np.array_split(own, 2)
    else:
        other = config.copy_and_resolve_references()
        other.data.split = split
        unseen = open_dataset(other)
        references = grids(unseen, rng.permutation(len(unseen))[:MOST])
    count = min(options.num, MOST, len(own), len(references))
    if count < LEAST:
        raise UserError(f"--workdir={options.workdir}: scores of shapes need {LEAST} real ones, and there are {count}")
    of_solids = config.data.source == solids.SOURCE
    options.num = options.num if of_solids else count
    drawn = eval_task.samples_of(options, restored).draw()[..., 0] >= LEVEL
    own, references = own[:count], references[:count]
    found, floor = shapes.score(drawn[:count], references), shapes.score(own, references)
    if of_solids:
        found, floor = found | shapes.of_solids(drawn), floor | shapes.of_solids(own)
    about = eval_task.about_run(options, restored.step) | {"samples": options.num, "samples_in_pairs": count}
    about |= {"source": config.data.source, "split": config.data.split, "digest": train.digest}
    about |= {"references": split or "half of the training shapes", "level": LEVEL}
    return about, {"shapes": Result(Scored(found), Scored(floor))}


def grids(dataset: ArrayDataset, rows: np.ndarray) -> shapes.Grids:
    """Some of its examples."""
    (field,) = example_fields(dataset.fields)
    return bits.unpack(dataset.array(field.name)[rows], field.shape)[..., 0]
