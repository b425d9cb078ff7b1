"""The compiled program of an experiment: several training steps in one dispatch, on all devices."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from jaxgan.core import device_memory, devices, multihost, population
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import NOT_NEGATIVE, POSITIVE, Setting, Settings
from jaxgan.core.state import TrainState
from jaxgan.core.types import Metrics
from jaxgan.errors import UserError

SETTINGS: Settings = {
    "steps": Setting(10_000, "training steps", POSITIVE, resumable=True),
    "batch_size": Setting(64, "examples in the global batch, over all devices", POSITIVE),
    "steps_per_dispatch": Setting(
        0, "training steps that the device runs at one command; 0: what suits it", NOT_NEGATIVE, resumable=True
    ),
}

STOP_FLAG = "stop_flag"  # among the metrics of several processes: whether one of them is to stop


def train_steps(
    exp: Experiment, batch_fn: Any, state: TrainState, data: tuple[PyTree, PyTree], inputs: PyTree
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """K training steps in one dispatch.

    Args:
        exp: the experiment.
        batch_fn: (the loader's data, one step's inputs, seed, step) -> that step's batch.
        state: before the first step.
        data: what stays the same over the steps: the loader's data, and the experiment's constants.
        inputs: a tree of arrays whose leading dimension is K; a population's have one of its members after that.

    Returns:
        The state after K steps and every step's metrics.
    """
    examples, constants = data
    exp = dataclasses.replace(exp, constants=constants)

    def step(state: TrainState, one: PyTree) -> tuple[TrainState, Metrics]:
        return exp.algorithm.step(exp, state, batch_fn(examples, one, state.seed, state.step))

    return lax.scan(population.vmap_members(step) if state.seed.ndim else step, state, inputs)


def dispatch_size(config: ConfigDict) -> int:
    """Training steps per dispatch: it divides every interval, so every run dispatches the same steps together."""
    every = {"log_every": config.log_every, "sample_every": config.sample_every}
    every |= {"checkpoint_every": config.checkpoint_every, "eval.every": config.eval.every}
    common, asked = math.gcd(*every.values()), config.steps_per_dispatch
    if asked and common % asked:
        listed = ", ".join(f"{name}={value}" for name, value in every.items())
        raise UserError(f"config.steps_per_dispatch={asked} must divide {listed}")
    if asked:
        return asked
    most = min(devices.default_steps_per_dispatch(), common)
    return max(size for size in range(1, most + 1) if common % size == 0)


class Dispatch(NamedTuple):
    """Some training steps that were started together.

    Attributes:
        first_step, step: before and after them.
        state: after them.
        metrics: of each of them; they are not waited for.
        done: whether there is no further dispatch.
    """

    first_step: int
    step: int
    state: TrainState
    metrics: dict[str, Array]
    done: bool


class Program:
    """An experiment's steps, compiled as they are needed, with what stays on the devices.

    Args:
        exp: the experiment.
        loader: of its batches; a `data.loader.DeviceLoader` or `PrefetchLoader`.
        batch_fn: that makes batches of the loader's data and inputs.
        size: training steps in a dispatch.
        profile: whether traces are to show each operation.

    Attributes:
        shapes: of the state.
        data: what stays on the devices.
    """

    def __init__(self, exp: Experiment, loader: Any, batch_fn: Any, size: int, profile: bool = False):
        self.exp, self.loader, self.size, self.profile = exp, loader, size, profile
        self.shapes = jax.eval_shape(lambda: population.init_state(exp))
        data = dict(loader.data), exp.algorithm.constants(exp)
        needs = device_memory.Needs(exp, device_memory.size_of(self.shapes), device_memory.size_of(data))
        needs.check_before_compiling(loader.input_spec(size))
        self.data = devices.replicate(data)
        self.steps = functools.partial(train_steps, exp, batch_fn)
        self.programs: dict[int, jax.stages.Compiled] = {}
        needs.check(self.compiled(size))

    def initial_state(self) -> TrainState:
        """The state at step 0, on one device."""
        return devices.compile_and_run(population.init_state, self.exp)

    def compiled(self, count: int) -> jax.stages.Compiled:
        """The program that makes `count` steps: (state, data, inputs) -> (state, metrics)."""
        if count not in self.programs:
            run, axis = self.steps, self.loader.order.batch_axis
            like = devices.batch_spec(self._attach_stop_flag(self.loader.input_spec(count), None), axis)
            if multihost.is_multihost():

                def run(state: TrainState, data: PyTree, inputs: tuple) -> tuple[TrainState, dict]:
                    batches, flag = inputs
                    state, metrics = self.steps(state, data, batches)
                    # After the steps, or a CPU would have its messages among theirs.
                    metrics, flag = jax.lax.optimization_barrier((metrics, flag))
                    return state, metrics | {STOP_FLAG: jax.lax.pmax(flag.max(), devices.AXIS)}

            self.programs[count] = devices.compile_steps(run, self.shapes, self.data, like, axis, self.profile)
        return self.programs[count]

    def inputs_at(self, step: int, count: int, stop: bool = False) -> PyTree:
        """What `count` steps from `step` on need besides the data, on its way to the devices."""
        inputs = self._attach_stop_flag(self.loader.inputs_at(step, count), stop)
        return devices.shard_batch(inputs, self.loader.order.batch_axis)

    def __call__(self, state: TrainState, inputs: PyTree, count: int) -> tuple[TrainState, dict[str, Array]]:
        """The state after `count` steps and every step's metrics, which are not waited for."""
        return self.compiled(count)(state, self.data, inputs)

    def run(
        self, state: TrainState, step: int, stop: Callable[[], bool], before: Callable[[PyTree], None]
    ) -> Iterator[Dispatch]:
        """Trains from a step to `config.steps`; yields after each dispatch, with the next one's inputs on their way.

        Args:
            state: on all devices; each dispatch gives its memory to the next.
            step: that the state is at.
            stop: whether to stop; asked once a dispatch, so what it decides is yielded as done.
            before: is called before each dispatch, with the metrics of the one before.
        """
        flag, metrics, failure = None, None, None
        count, inputs = self._inputs_at(step, stop())
        while count:
            before(metrics)
            state, metrics = self(state, inputs, count)
            flag, flag_before = metrics.pop(STOP_FLAG, None), flag
            first, step = step, step + count
            try:
                count, inputs = self._inputs_at(step, stop())
            except UserError as error:  # an example cannot be read: what was trained so far is saved
                if multihost.is_multihost():  # the others know nothing of it: they see this process gone
                    raise
                count, failure = 0, error
            # Several processes learn of each other's stop from the dispatch that it went into, once that is over.
            stops = bool(flag_before) if multihost.is_multihost() else stop()
            yield Dispatch(first, step, state, metrics, done=stops or not count)
            if stops:
                break
        if failure:
            raise failure

    def _inputs_at(self, step: int, stop: bool) -> tuple[int, PyTree]:
        """How many steps the dispatch at a step makes, and its inputs; 0 at the end."""
        count = min(self.size - step % self.size, self.exp.config.steps - step)
        return count, self.inputs_at(step, count, stop) if count else None

    def _attach_stop_flag(self, batches: PyTree, stop: bool | None) -> PyTree:
        """The inputs of a dispatch. Where there are several processes, whether this one is to stop goes with them.

        Args:
            batches: the inputs without that, or their shapes.
            stop: whether to stop; None for its shape.
        """
        if not multihost.is_multihost():
            return batches
        shape = (1,) * self.loader.order.batch_axis + (jax.local_device_count(),)
        return batches, jax.ShapeDtypeStruct(shape, np.int32) if stop is None else np.full(shape, stop, np.int32)

    def metric_names(self) -> list[str]:
        """The metrics of a step."""
        return [name for name in self.compiled(self.size).out_info[1] if name != STOP_FLAG]

    def cost(self) -> str:
        """What one training step takes by XLA's account, as text."""
        program = self.compiled(self.size)
        flops = program.cost_analysis().get("flops", 0)  # XLA counts the body of a loop once, however often it runs
        size = f"{device_memory.program_memory(program) / 2**20:.0f} MiB of its memory"
        return f"a training step: {flops / 1e9:.3g} GFLOP on each device, {size}; {self.size} per dispatch"
