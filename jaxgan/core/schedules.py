"""Settings that move while training: `config.schedules`."""

import re
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgan.core.settings import MAX_COUNT, Declarations, Setting
from jaxgan.errors import UserError, choose

RAMP = re.compile(r"\s*([\w.]+)\s*=\s*(\w+)\(([^,()]+),([^,()]+)\)\s*")

# Progress from 0 to 1, as a function of the share of the steps that is done.
KINDS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda done: done,
    "cosine": lambda done: 0.5 - 0.5 * jnp.cos(jnp.pi * done),
    "step": jnp.floor,
}


class Ramp(NamedTuple):
    """The way of a setting from its own value to another one.

    Attributes:
        kind: a name of `KINDS`.
        final: the value that it has in the end.
        steps: training steps until then.
    """

    kind: str
    final: float
    steps: int

    def __call__(self, value: float | Array, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at a step."""
        progress = KINDS[self.kind](jnp.clip(step / self.steps, 0.0, 1.0))
        return value + (self.final - value) * progress


def parse(text: str, declared: Declarations) -> dict[str, Ramp]:
    """The schedules in a text such as "ema_decay=cosine(0.999, 5000); penalties.r1=linear(0.1, 5000)".

    Raises:
        UserError: the text is not of that form, or a setting cannot move.
    """
    found = {}
    able = [name for name, entry in declared.items() if isinstance(entry, Setting) and entry.sweepable]
    for part in filter(None, map(str.strip, text.split(";"))):
        match = RAMP.fullmatch(part)
        try:
            name, kind, final, steps = match.groups()
            ramp = Ramp(choose("schedule in config.schedules", kind, KINDS), float(final), int(steps))
        except (AttributeError, ValueError):
            raise UserError(f"config.schedules={text!r} must be like 'penalties.r1=linear(0.1, 5000)'") from None
        choose("setting in config.schedules", name, able)
        if name in found:
            raise UserError(f"config.schedules={text!r} must have {name} once")
        if not declared[name].range.valid(ramp.final):
            raise UserError(f"config.schedules={text!r}: {name}={ramp.final} must be {declared[name].range.expected}")
        if not 1 <= ramp.steps <= MAX_COUNT:
            raise UserError(f"config.schedules={text!r}: {name} must end after 1 to {MAX_COUNT} steps")
        found[name] = ramp
    return found
