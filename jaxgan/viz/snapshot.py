"""What a run shows of its networks while it trains: a picture of a task's outputs and, where they are known, scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxgan import inference
from jaxgan.core import population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import TrainState
from jaxgan.data import bits
from jaxgan.data.dataset import central_crop
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.metrics.exact import mixture_scores
from jaxgan.viz import grid, mixture, shapes

Picture = UInt8[np.ndarray, "height width 3"]
Images = UInt8[np.ndarray, "batch _ _ _"]
MAX_COLUMNS = 16  # classes that have a column each in a grid, or examples side by side
MIN_COLUMNS = 4
WIDE = 1024  # pixels of a row of examples, about
TRUE = "true "  # before the name of an output, for the right one
ROWS = 8  # of examples and what is made of them, in a picture drawn while training


def draw(
    exp: Experiment,
    state: TrainState,
    step: int,
    task: str = "sample",
    examples: Mapping[str, np.ndarray] | None = None,
) -> tuple[Picture, dict[str, float]]:
    """A picture of what moving averages make of the same inputs each time, and its scores if exact ones are known.

    Of a population each member has a row of the grid, or a panel of the plot, and the scores are means with standard
    errors.

    Args:
        exp, state: the experiment and its state.
        step: for the title.
        task: whose outputs are drawn.
        examples: real ones by field, [n, ...] as they lie in the data set, for a task that needs some.
    """
    config, known = exp.config, mixture_of(exp.config.data)
    states, needs = population.members(exp, state), exp.algorithm.tasks[task].needs(exp)
    # A population shares the grid; of a mixture each member is scored by all of the samples.
    count = config.sample_grid if known or len(states) == 1 else max(config.sample_grid // len(states), 1)
    if needs:
        count = min(count, most_shown(exp, task, len(states)))
    given = {name: examples[name][:count] for name in needs}
    given |= {shown: examples[name][:count] for shown, name in truths(exp, task).items()}
    count = min([count, *map(len, given.values())])
    labels = inference.mixed_labels(exp, count)
    drawn = []
    for own, seed in zip(states, population.seeds(config), strict=True):
        inputs = inference.seed_inputs(seed, count, labels) | as_inputs(exp, given)
        batch = inference.batch_of(exp) if needs else inference.BATCH
        drawn.append(inference.run_task(exp, task, inference.variables_of(own), inputs, batch))
    kinds = exp.algorithm.tasks[task].outputs(exp)
    (kind,) = set(kinds.values())
    picture = VIEWS[kind](exp, states, given, drawn, step)
    if known and task == "sample":
        (name,) = kinds
        return picture, mixture_scores(known, np.stack([own[name] for own in drawn]))
    return picture, {}


def truths(exp: Experiment, task: str) -> dict[str, str]:
    """The outputs of a task of which the data have the right ones: other images of pairs, by how a grid names them."""
    entry, fields = exp.algorithm.tasks[task], {field.name: field for field in exp.fields if field.kind == "pixels"}
    needs = entry.needs(exp)
    groups = {fields[name].group for name in needs if name in fields}
    found = [name for name in entry.outputs(exp) if name in fields and name not in needs]
    return {f"{TRUE}{name}": name for name in found if groups == {fields[name].group}}


def most_shown(exp: Experiment, task: str, members: int = 1) -> int:
    """How many examples with what a task makes of them fill `ROWS`."""
    entry = exp.algorithm.tasks[task]
    rows = len(entry.needs(exp)) + members * len(entry.outputs(exp)) + len(truths(exp, task))
    width = max(field.shape[1] if len(field.shape) == 3 else 1 for field in exp.fields)
    return columns_of(width) * max(ROWS // rows, 1)


def columns_of(width: int) -> int:
    """How many images of that width are laid side by side."""
    return max(MIN_COLUMNS, min(MAX_COLUMNS, WIDE // max(width, grid.CELL)))


def as_inputs(exp: Experiment, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Fields as tasks take them: pixels in [-1, 1], and cropped to the size of the networks."""
    found = {}
    for field in exp.fields:
        if field.name in given:
            array = np.asarray(given[field.name])
            if field.kind == "pixels":
                array = central_crop(array, field.shape[:2]).astype(np.float32) / 127.5 - 1
            elif field.kind == "bits":
                array = 2 * bits.unpack(array, field.shape).astype(np.float32) - 1
            found[field.name] = array
    return found


def score_names(exp: Experiment) -> list[str]:
    """The names of the scores that `draw` returns."""
    known = mixture_of(exp.config.data)
    if not known or "sample" not in exp.algorithm.tasks:
        return []
    return [*mixture_scores(known, np.zeros((exp.config.population, 2, known.dim), np.float32))]


def of_examples(exp: Experiment, examples: Mapping[str, np.ndarray]) -> Picture:
    """A picture of real examples, by field."""
    known = mixture_of(exp.config.data)
    arrays = {field.name: examples[field.name] for field in exp.fields if field.kind in VIEWS}
    kinds = {field.kind for field in exp.fields if field.kind in VIEWS}
    if kinds == {"bits"}:
        ((name, packed),) = arrays.items()
        (shape,) = (field.shape for field in exp.fields if field.name == name)
        return grid.image_grid(shapes.pictures(bits.unpack(packed, shape)))
    if kinds == {"points"}:
        if not known:
            return mixture.clouds(arrays, "real")
        (points,) = arrays.values()
        return (
            mixture.scatter(known, points, "real") if known.dim == 2 else mixture.densities(known, points, None, "real")
        )
    return grid.image_grid(*arrays.values()) if len(arrays) == 1 else examples_grid([*arrays.items()])


def examples_grid(rows: Sequence[tuple[str, Images]]) -> Picture:
    """Examples side by side, of each a column of all its images; where they are many, the next ones follow below.

    Args:
        rows: name and images [n, H, W, C] of each row; rows are named where their names differ.
    """
    count, _, width, _ = rows[0][1].shape
    columns, images = min(count, columns_of(width)), [array for _, array in rows]
    if len({array.shape[-1] for array in images}) > 1:
        images = list(map(grid.as_rgb, images))
    bands = range(0, count, columns)
    missing = ((0, -count % columns), (0, 0), (0, 0), (0, 0))
    filled = [np.pad(array, missing, constant_values=255) for array in images]
    cells = np.concatenate([array[start : start + columns] for start in bands for array in filled])
    names = [name for name, _ in rows]
    return grid.image_grid(cells, columns, names * len(bands) if len(set(names)) > 1 else ())


def draw_images(exp: Experiment, states: list, given: Mapping, drawn: list[dict], step: int) -> Picture:
    """A grid; where inputs are given, each with its outputs in a column, and the right ones where they are given."""
    del step
    if given:
        sizes = {field.name: field.shape[:2] for field in exp.fields if field.kind == "pixels"}
        own = {name: name.removeprefix(TRUE) for name in given}
        real = {
            name: central_crop(np.asarray(given[name]), sizes[field]) for name, field in own.items() if field in sizes
        }
        rows = [(name, array) for name, array in real.items() if name == own[name]]
        made = {
            name: f"to {name}" if name in sizes and name not in real else name.replace("_", " ") for name in drawn[0]
        }
        rows += [(made[name], array) for outputs in drawn for name, array in outputs.items()]
        return examples_grid(rows + [(name, array) for name, array in real.items() if name != own[name]])
    (name,) = drawn[0]
    count, columns = len(drawn[0][name]), None
    choices = exp.algorithm.choices(exp)
    if len(states) > 1:
        columns = count
    elif choices and choices <= min(MAX_COLUMNS, count):
        columns = choices
    return grid.image_grid(np.concatenate([own[name] for own in drawn]), columns)


def draw_points(exp: Experiment, states: list, given: Mapping, drawn: list[dict], step: int) -> Picture:
    """A plot of points, beside the mixture that they come from if there is one."""
    source = exp.config.data.source
    known, title = mixture_of(exp.config.data), f"{source.partition(':')[2] or source}, step {step:,}"
    if not known or given:
        outputs = {
            f"{name} {index}" if index else name: a for index, own in enumerate(drawn) for name, a in own.items()
        }
        return mixture.clouds({**given, **outputs}, title)
    samples = np.stack([next(iter(own.values())) for own in drawn])
    if len(samples) > 1:
        return mixture.population(known, samples, title)
    if known.dim == 2:
        return mixture.scatter(known, samples[0], title)
    return mixture.densities(known, samples[0], probability_curve(exp, states[0]), title)


def probability_curve(exp: Experiment, state: TrainState) -> np.ndarray | None:
    """The probability of being real along a line; None where the algorithm knows none."""
    task = exp.algorithm.tasks.get("probability_real")
    if task is None or task.unavailable(exp) is not None:
        return None
    points = mixture.grid(mixture_of(exp.config.data))
    inputs = inference.seed_inputs(0, len(points), points=points)
    return inference.run_task(exp, "probability_real", inference.variables_of(state), inputs)["probability"]


def draw_shapes(exp: Experiment, states: list, given: Mapping, drawn: list[dict], step: int) -> Picture:
    """A grid of shaded surfaces."""
    rendered = [{name: shapes.pictures(array) for name, array in own.items()} for own in drawn]
    return draw_images(exp, states, {}, rendered, step)


# How arrays of each kind are shown: (experiment, members' states, inputs, outputs of each member, step) -> picture.
VIEWS: dict[str, Callable[[Experiment, Any, Mapping, Any, int], Picture]] = {
    "pixels": draw_images,
    "points": draw_points,
    "bits": draw_shapes,
}
