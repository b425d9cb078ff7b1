"""What an algorithm consists of, as plain tuples of data and functions."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan.core.settings import Settings
from jaxgan.core.state import TrainState

if TYPE_CHECKING:
    from jaxgan.core.experiment import Experiment

Batch = Mapping[str, Array]
Metrics = dict[str, Float[Array, ""]]
Arrays = Mapping[str, Any]  # arrays by name, each with a leading dimension of examples


class Field(NamedTuple):
    """One array of a batch, [batches, batch, *shape] where the data arrive and [batch, *shape] in an update.

    Attributes:
        name: "images", "labels", "source", ...
        shape: of one example.
        kind: "pixels" (uint8 outside, float32 in [-1, 1] inside), "bits" (packed into bytes outside, -1 or 1 inside;
            of a task's outputs, probabilities that a bit is set, float32), "floats", "points" (floats that are
            coordinates) or "labels" (int32).
        group: the fields of a group share the order of their examples, crops and flips; groups are independent.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    group: str = ""


def example_fields(fields: Iterable[Field]) -> list[Field]:
    """The fields that are no labels."""
    return [field for field in fields if field.kind != "labels"]


class Player(NamedTuple):
    """Networks that one objective updates together.

    Attributes:
        networks: their names; gradients are clipped by their common norm.
        averaged: those of which an exponential moving average is kept.
    """

    networks: tuple[str, ...]
    averaged: tuple[str, ...] = ()


# (name of a task, its inputs) -> its outputs, of the variables at hand.
RunTask = Callable[[str, Arrays], Mapping[str, Any]]


class Layout(NamedTuple):
    """A grid of a task's outputs.

    Attributes:
        inputs: of the task, row by row.
        names: of the rows, if they have any.
    """

    inputs: Arrays
    names: tuple[str, ...] = ()


class Sides(NamedTuple):
    """The heights and widths of images that a network takes: multiples of a number, from a least one on."""

    multiple: int
    least: int

    def fitting(self, side: int) -> int:
        """The smallest of them that is not below `side`."""
        return max(-(-side // self.multiple) * self.multiple, self.least)


class Task(NamedTuple):
    """What trained networks can be asked for.

    Attributes:
        networks: that are restored for it, moving averages first; those that an experiment lacks are left out.
        run: (experiment, variables by network, inputs) -> arrays. Inputs and outputs have a leading dimension of
            examples; output i depends on input i alone. The inputs hold `seed` uint32 [n] and `index` int32 [n], which
            give all randomness, the fields that the task needs, and of the options those that are given.
        outputs: experiment -> {name of an output: its kind}, a kind of `Field`, or "curve", "latents" (the mean latents
            of an encoded example) or "score" (a number whose mean over held-out examples is a score).
        needs: experiment -> fields that a user has to give; none means seeds and labels alone.
        options: names of inputs that a user may give: "labels", "truncation", "truncation_psi", "truncation_cutoff",
            "fraction", "end_seed", "plus", "minus" and "k".
        layout: (experiment, run, inputs of all given examples, rows, columns) -> a grid of outputs, for a task that
            makes other outputs than one of each given example.
        unavailable: experiment -> why its networks cannot do this, or None if they can.
        sides: experiment -> the sides of images that the task takes, for a task that makes an image of another one, of
            any height and width.
        batch_moments: (experiment, variables by network, inputs of a batch) -> the variables with the moments of that
            batch in BatchNorm, for a task that can have standing statistics.
    """

    networks: tuple[str, ...]
    run: Callable[["Experiment", Mapping[str, Any], Arrays], Arrays]
    outputs: Callable[["Experiment"], Mapping[str, str]]
    needs: Callable[["Experiment"], tuple[str, ...]] = lambda exp: ()
    options: tuple[str, ...] = ()
    layout: Callable[["Experiment", RunTask, Arrays, int, int], Layout] | None = None
    unavailable: Callable[["Experiment"], str | None] = lambda exp: None
    sides: Callable[["Experiment"], Sides] | None = None
    batch_moments: Callable[["Experiment", Mapping[str, Any], Arrays], Mapping[str, Any]] | None = None


class Monitor(NamedTuple):
    """A metric that shows failing training while all numbers are finite; each onset is reported once.

    Attributes:
        metric: its name.
        bad: a value of the metric -> whether it is a bad sign.
        patience: steps. With `always`, the metric must be bad in `patience` consecutive steps. Otherwise its mean over
            at least `patience` steps is tested, from a new run's first log step on.
        message: what is printed, with {value} and {steps}.
        always: as above.
    """

    metric: str
    bad: Callable[[Any], Any]
    patience: int
    message: str
    always: bool = False


class Algorithm(NamedTuple):
    """A way of learning: one file in `algorithms/`, one entry of `ALGORITHMS`.

    Attributes:
        settings: that a configuration has with this algorithm.
        players: configuration -> players by name; each has its settings in `config.optimizer`.
        networks: (configuration, fields, classes, axis_name) -> networks by name.
        inputs: experiment -> an example of each network's arguments but `train`, with a batch dimension.
        step: (experiment, state, batch) -> (state, metrics): pure, and mapped over the experiment's axis.
        tasks: by name; the first is what sample.py does unless asked for another.
        smallest: settings of the smallest experiment, {dotted name: value}, for the tests of its contracts.
        batches_per_step: configuration -> batches of examples in a training step.
        examples_together: configuration -> examples in a group that has to be on one device.
        check: experiment, without networks yet -> reasons why settings do not go together.
        extra: experiment -> arrays carried from step to step.
        constants: experiment -> arrays that are neither trained nor saved, such as pretrained weights.
        choices: experiment -> how many labels a user can ask for, 0 for none.
        draws_classes: experiment -> whether what a user can ask for are the labels of the data set.
        drawn: tasks whose outputs are drawn while training; what they need are training examples.
        scored: tasks whose outputs of held-out examples evaluate.py makes scores of.
        headlines: metrics that the terminal shows.
        curves: groups of metrics (what stands before the slash) that have a panel each in `curves.png`.
        monitors: signs of failing training.
    """

    settings: Settings
    players: Callable[[ConfigDict], Mapping[str, Player]]
    networks: Callable[[ConfigDict, tuple[Field, ...], int, str | None], Mapping[str, nn.Module]]
    inputs: Callable[["Experiment"], Mapping[str, tuple]]
    step: Callable[["Experiment", TrainState, Batch], tuple[TrainState, Metrics]]
    tasks: Mapping[str, Task]
    smallest: Mapping[str, Any]
    batches_per_step: Callable[[ConfigDict], int] = lambda config: 1
    examples_together: Callable[[ConfigDict], int] = lambda config: 1
    check: Callable[["Experiment"], Iterable[str]] = lambda exp: ()
    extra: Callable[["Experiment"], Mapping[str, PyTree]] = lambda exp: MappingProxyType({})
    constants: Callable[["Experiment"], PyTree] = lambda exp: ()
    choices: Callable[["Experiment"], int] = lambda exp: 0
    draws_classes: Callable[["Experiment"], bool] = lambda exp: False
    drawn: tuple[str, ...] = ("sample",)
    scored: tuple[str, ...] = ()
    headlines: tuple[str, ...] = ()
    curves: tuple[str, ...] = ("loss", "learning_rate")
    monitors: tuple[Monitor, ...] = ()
