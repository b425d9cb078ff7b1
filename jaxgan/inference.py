"""What trained networks are asked for: tasks, run batch by batch, so that output i depends on input i alone."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jaxgan.algorithms import ALGORITHMS
from jaxgan.core import device_memory, devices
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import TrainState, Variables
from jaxgan.core.types import Arrays, Task
from jaxgan.data.bits import to_occupancy
from jaxgan.data.loader import to_pixels
from jaxgan.errors import UserError
from jaxgan.models.standing_statistics import has_moments

BATCH = 64
BATCH_PIXELS = BATCH * 64 * 64  # of the examples that are given to a task
MAX_INDEX = 2**31 - 1
TO_OUTPUTS = {"pixels": to_pixels, "bits": to_occupancy}  # of what networks make, by kind


def task_of(exp: Experiment, name: str) -> Task:
    """A task of an experiment's algorithm.

    Raises:
        UserError: the algorithm does not have it, or these networks cannot do it.
    """
    tasks = exp.algorithm.tasks
    if name not in tasks:
        able = " or ".join(other for other, entry in ALGORITHMS.items() if name in entry.tasks)
        raise UserError(
            f"--task={name} is not what algorithm={exp.config.algorithm} can do{able and f' (algorithm={able} can)'}: "
            f"choose from {', '.join(tasks)}"
        )
    if (reason := tasks[name].unavailable(exp)) is not None:
        raise UserError(f"--task={name}: {reason}")
    return tasks[name]


def variables_of(state: TrainState, average: bool = True) -> dict[str, Variables]:
    """The variables of all networks, moving averages in the place of those that have one."""
    return dict(state.networks) | (dict(state.ema) if average else {})


def check_count(exp: Experiment, count: int) -> None:
    """Raises a `UserError` if `count` examples, as floats, do not fit into memory."""
    each = 4 * sum(math.prod(field.shape) + 64 for field in exp.fields)
    most = min(devices.device_memory() // each, MAX_INDEX)
    if count > most:
        raise UserError(f"--num={count} must be at most {most}, which memory could hold")


def mixed_labels(exp: Experiment, count: int) -> np.ndarray | None:
    """Labels for `count` examples when none are asked for: 0, 1, 2, ..., and again; None where there are none."""
    choices = exp.algorithm.choices(exp)
    return np.arange(count, dtype=np.int32) % choices if choices else None


def seed_inputs(seed: int, count: int, labels: np.ndarray | None = None, **more: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of a task for indices 0 to `count` - 1 of a seed; `more` are options or fields, [count, ...]."""
    found = {"seed": np.full(count, seed, np.uint32), "index": np.arange(count, dtype=np.int32)}
    return found | ({} if labels is None else {"labels": np.asarray(labels, np.int32)}) | more


def batch_of(exp: Experiment) -> int:
    """How many given examples a device computes together: fewer large images than small ones."""
    pixels = max(math.prod(field.shape[:-1]) for field in exp.fields)
    return max(1, min(BATCH, BATCH_PIXELS // pixels))


@functools.lru_cache(maxsize=64)
def _compiled(exp: Experiment, name: str) -> Callable[[Mapping[str, Variables], Arrays], dict[str, Array]]:
    """A task of variables and inputs, as many of these on each of this process's devices."""
    task = exp.algorithm.tasks[name]
    kinds = task.outputs(exp)

    def run(variables: Mapping[str, Variables], inputs: Arrays) -> dict[str, Array]:
        found = task.run(exp, variables, inputs)
        return {key: TO_OUTPUTS.get(kinds[key], lambda array: array)(array) for key, array in found.items()}

    return devices.local_shard_map(run, (None, 0), 0)


def run_task(
    exp: Experiment, name: str, variables: Mapping[str, Variables], inputs: Mapping[str, Any], batch: int = BATCH
) -> dict[str, np.ndarray]:
    """The outputs of a task, [n, ...] by name; pixels are uint8, bits probabilities.

    They are made by all of this process's devices, `batch` at a time on each, the last batch filled up, always the same
    batch: another shape may be computed in another order, and output i would depend on n by a bit.

    Args:
        exp: the experiment.
        name: of the task.
        variables: by network.
        inputs: arrays [n, ...] by name, such as `seed_inputs` makes; pixels are floats in [-1, 1].
        batch: examples that each device computes together.
    """
    networks = [network for network in task_of(exp, name).networks if network in exp.networks]
    own = devices.replicate_locally({network: variables[network] for network in networks})
    count, size = len(inputs["index"]), batch * jax.local_device_count()
    run, batches = _compiled(exp, name), []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        batches.append(run(own, jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], dict(inputs))))
    return {
        key: np.concatenate([np.asarray(batch[key]) for batch in batches])[:count]
        for key in (batches[0] if batches else ())
    }


def task_memory(exp: Experiment, name: str, variables: Mapping[str, Variables], inputs: Arrays) -> int:
    """Bytes of each device's memory that a task takes for one batch; `inputs` are those of all devices, or shapes."""
    return device_memory.program_memory(_compiled(exp, name).lower(variables, inputs).compile())


def with_standing_statistics(
    exp: Experiment,
    name: str,
    variables: Mapping[str, Variables],
    seed: int,
    batches: int,
    truncation: float | None = None,
) -> dict[str, Variables]:
    """The variables with mean moments of whole batches in the place of BatchNorm's running averages.

    Args:
        exp: the experiment.
        name: of a task that can have them.
        variables: by network.
        seed: of the latents; all labels take turns.
        batches: of `BATCH` latents each.
        truncation: of the latents, as the task will have it.

    Raises:
        UserError: the task cannot have them, or the networks have no BatchNorm.
    """
    task = task_of(exp, name)
    if task.batch_moments is None or not any(has_moments(variables[own].model_state) for own in task.networks):
        raise UserError(f"--standing_statistics has no effect with --task={name} of this run, which has no BatchNorm")
    moments = jax.jit(functools.partial(task.batch_moments, exp))
    for batch in range(batches):
        indices = np.arange(batch * BATCH, (batch + 1) * BATCH, dtype=np.int32)
        choices = exp.algorithm.choices(exp)
        inputs = seed_inputs(seed, BATCH, indices % choices if choices else None) | {"index": indices}
        if truncation is not None:
            inputs["truncation"] = np.full(BATCH, truncation, np.float32)
        own = moments(variables, inputs)
        # What does not differ between batches, such as parameters, stays as it is to the bit.
        found = jax.tree.map(lambda mean, own, n=batch + 1: mean + (own - mean) / n, found, own) if batch else own
    return found


def sample(
    exp: Experiment, variables: Mapping[str, Variables], seed: int, count: int, labels: np.ndarray | None
) -> np.ndarray:
    """The first `count` examples of a seed: images uint8 [n, H, W, C], or others float32 [n, ...]."""
    (found,) = run_task(exp, "sample", variables, seed_inputs(seed, count, labels)).values()
    return found
