"""Memory: how much a training step takes, how much there is, and what would fit."""

import math
import re
from pathlib import Path

import jax
from jaxtyping import PyTree

from jaxgan.core import devices
from jaxgan.core.experiment import Experiment
from jaxgan.errors import UserError

PYTHON = 2**29  # bytes that Python and JAX take before they train, where the system does not tell


def size_of(tree: PyTree) -> int:
    """Bytes of arrays, or of arrays of such shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def program_memory(program: jax.stages.Compiled) -> int:
    """Bytes of each device's memory that a compiled program takes by XLA's account, with its arguments and results."""
    use = program.memory_analysis()
    size = use.argument_size_in_bytes + use.output_size_in_bytes - use.alias_size_in_bytes
    return size + use.temp_size_in_bytes


def available_memory(data: int) -> int:
    """Bytes of each device's memory that training may take.

    On CPUs, what this process took up to now is not among them. Only the resident data, whose bytes are given, are:
    they need not be copied to the device.
    """
    if jax.local_devices()[0].memory_stats():
        return devices.device_memory()
    status = Path("/proc/self/status")  # of Linux; files that are only mapped into memory are not counted there
    found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text()) if status.exists() else None
    own = max(0, int(found[1]) * 1024 - data) if found else PYTHON
    return devices.device_memory() - own // jax.local_device_count()


class Needs:
    """What training needs of each device's memory, and whether there is as much.

    An error says what would fit: all but the data is taken to grow with the members of a population, and with the batch
    all but the data, the state and as much again, which gradients and updates may take.

    Args:
        exp: the experiment.
        state, data: bytes of the state, and of what stays on the devices.
    """

    def __init__(self, exp: Experiment, state: int, data: int):
        self.exp, self.config, self.state, self.data = exp, exp.config, state, data
        self.available = available_memory(data)

    def check_before_compiling(self, inputs: PyTree) -> None:
        """Raises a `UserError` if not even the state, the data, a dispatch's inputs and one batch's examples fit.

        A program that is far too large would take minutes to compile.

        Args:
            inputs: their shapes.
        """
        each = 4 * sum(math.prod(field.shape) for field in self.exp.fields if field.kind != "labels")
        batch = each * self.config.batch_size * self.config.population // jax.device_count()
        least = self.state + self.data + size_of(inputs) // jax.local_device_count() + batch
        self._check(least, self.data + self.state, "at least", "at most")

    def check(self, program: jax.stages.Compiled) -> None:
        """Raises a `UserError` if the compiled program does not fit."""
        self._check(program_memory(program), self.data + 2 * self.state, "about", "about")

    def _check(self, needed: int, fixed: int, needs: str, fits: str) -> None:
        if needed <= self.available:
            return
        config, unit = self.config, jax.device_count() * self.exp.algorithm.examples_together(self.config)
        fit, members = [], ""
        if config.population > 1:
            members = f"config.population={config.population} with "
            count = (self.available - self.data) * config.population // (needed - self.data)
            fit += [f"config.population {fits} {_round_down(count)}"] if count > 0 else []
        batch = (self.available - fixed) * config.batch_size // (needed - fixed) if needed > fixed else 0
        fit += [f"config.batch_size {fits} {max(_round_down(batch) // unit, 1) * unit}"] if batch >= unit else []
        advice = f"make {' or '.join(fit)}" if fit else "choose smaller networks"
        raise UserError(
            f"{members}config.batch_size={config.batch_size} needs {needs} {_in_gib(needed)} of memory on each device, "
            f"which has {_in_gib(self.available)} for it: {advice}"
        )


def _in_gib(count: int) -> str:
    return f"{count / 2**30:,.0f} GiB" if count >= 100 * 2**30 else f"{count / 2**30:.3g} GiB"


def _round_down(number: int) -> int:
    """The number with two significant digits, since an estimate has no more."""
    digits = 10 ** max(0, len(str(number)) - 2)
    return number // digits * digits
