"""Held-out examples: which they are, and the scores that a run's own tasks make of them."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxgan import inference
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.data import sources, splits
from jaxgan.data.dataset import ArrayDataset
from jaxgan.errors import UserError, warn
from jaxgan.metrics import examples
from jaxgan.metrics.scores import Score
from jaxgan.viz import snapshot

HELD_OUT = ("test", "validation", "val")  # splits that are held out unless a run was trained on them; the first counts


def split_of(config: ConfigDict, asked: str | None) -> str | None:
    """The split that is held out: the one asked for or else one of `HELD_OUT`; None if there is none.

    Args:
        config: of the run.
        asked: a split as `config.data.split` has it. One with training examples in it is taken, with a warning.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    domains, trained_on = sources.split_counts(config.data), config.data.split
    if asked is None:
        there = set(domains[0]).intersection(*domains) if domains else ()
        return next((name for name in HELD_OUT if name in there and name not in trained_on), None)
    if not domains:
        raise UserError(f"--split={asked}: config.data.source={config.data.source} has no splits")
    if any(overlap(splits.parse(asked, own, "--split"), splits.parse(trained_on, own)) for own in domains):
        warn(f"--split={asked} has examples that the run was trained on: config.data.split={trained_on}")
    return asked


def overlap(one: Sequence[splits.Part], two: Sequence[splits.Part]) -> bool:
    """Whether an example lies in parts of both splits."""
    return any(
        name == other and max(start, first) < min(stop, last) for name, start, stop in one for other, first, last in two
    )


def scored_tasks(exp: Experiment, options: Mapping[str, int | None]) -> list[str]:
    """The tasks that make scores of examples; those that these networks cannot do are left out, with a warning.

    Args:
        exp: the experiment.
        options: `k` and `num_held_out` as the user gives them; None if not given.

    Raises:
        UserError: a given option has no effect on this algorithm.
    """
    algorithm, tasks = f"algorithm={exp.config.algorithm}", exp.algorithm.tasks
    scored = exp.algorithm.scored
    if options["k"] is not None and not any("k" in tasks[name].options for name in scored):
        raise UserError(f"--k is about likelihoods: {algorithm} has none")
    if options["num_held_out"] is not None and not scored:
        raise UserError(f"--num_held_out is about encoded examples: {algorithm} has no encoder")
    found = []
    for name in scored:
        reason = tasks[name].unavailable(exp)
        if reason is None:
            found.append(name)
        else:
            warn(f"scores of {name} are left out: {reason}")
    return found


def usable_rows(
    exp: Experiment, tasks: Sequence[str], dataset: ArrayDataset, count: int | None
) -> Int[np.ndarray, " n"]:
    """The rows of a data set that tasks can be given, at most `count` of them, always the same random choice.

    Where a task needs labels, examples of unknown label (-1) are left out, with a warning.

    Raises:
        UserError: no example is left.
    """
    rows = np.arange(len(dataset))
    if any("labels" in exp.algorithm.tasks[name].needs(exp) for name in tasks):
        rows = np.flatnonzero((dataset.labels >= 0) & (dataset.labels < exp.classes))
        if not len(rows):
            raise UserError(f"none of {len(dataset):,} held-out examples has a label, and this run is conditional")
        if len(rows) < len(dataset):
            warn(f"{len(dataset) - len(rows):,} of {len(dataset):,} held-out examples have no label: they are left out")
    return np.sort(np.random.default_rng(0).permutation(rows)[:count])


def outputs_of(
    exp: Experiment,
    name: str,
    variables: Mapping[str, Variables],
    dataset: ArrayDataset,
    inputs: Mapping[str, np.ndarray],
    rows: Int[np.ndarray, " n"],
) -> dict[str, np.ndarray]:
    """A task's outputs for some rows of a data set, [n, ...] by name, with a progress bar if that takes long.

    Args:
        exp: the experiment.
        name: of the task.
        variables: by network.
        dataset: with the fields that the task needs.
        inputs: besides fields, [n] by name, of which the task is given those that it has.
        rows: of the data set.
    """
    task = exp.algorithm.tasks[name]
    own = {key: array for key, array in inputs.items() if key in ("seed", "index", *task.options)}
    size, parts = inference.BATCH * jax.local_device_count(), []
    with tqdm(total=len(rows), desc=name, unit=" examples", delay=1, leave=False, disable=None) as bar:
        for start in range(0, len(rows), size):
            here = slice(start, start + size)
            batch = dataset.take(rows[here])
            given = snapshot.as_inputs(exp, {field: batch[field] for field in task.needs(exp)})
            parts.append(
                inference.run_task(exp, name, variables, {key: array[here] for key, array in own.items()} | given)
            )
            bar.update(len(rows[here]))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def score(
    exp: Experiment,
    variables: Mapping[str, Variables],
    tasks: Sequence[str],
    dataset: ArrayDataset,
    inputs: Mapping[str, np.ndarray],
    rows: Int[np.ndarray, " n"],
) -> dict[str, Score]:
    """The scores of all tasks, by the names of their outputs; arguments and errors as of the functions above."""
    found = {}
    for name in tasks:
        outputs = outputs_of(exp, name, variables, dataset, inputs, rows)
        found |= examples.of_outputs(exp.algorithm.tasks[name].outputs(exp), outputs)
    return found
