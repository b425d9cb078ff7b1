"""A table of a network's layers."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, PyTree

from jaxgan.core.experiment import Experiment


class Row(NamedTuple):
    """One layer: its path, its kind, the shape it makes of one example, its parameters, its FLOPs per example.

    FLOPs are those of matrix products and convolutions, a multiplication and an addition each; what is done once per
    number (biases, normalisation, activations) is left out.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    params: int
    flops: int


def layer_rows(network: nn.Module, inputs: tuple) -> list[Row]:
    """The layers that hold parameters, in the order in which they run.

    That is while variables are made, when no layers are joined in a loop.

    Args:
        network: a module called with (*inputs, train).
        inputs: its arguments but for `train`, with a batch dimension, or their shapes; None for one that it lacks.
    """
    rows: dict[str, Row] = {}  # by path, since a layer may be called twice while its variables are made

    def record(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if context.method_name != "__call__":
            return out
        module, params = context.module, context.module.variables.get("params", {})
        own = {name: value for name, value in params.items() if not isinstance(value, dict)}
        if len(own) < len(params):  # the others belong to layers in it
            found = [Row("/".join((*module.path, name)), "parameter", a.shape, a.size, 0) for name, a in own.items()]
        else:
            found = [layer_row(module, own, args[0], out)] if own else []
        rows.update({row.path: row for row in found})
        return out

    def run(inputs: tuple) -> PyTree:
        with nn.intercept_methods(record):
            return network.init(jax.random.key(0), *inputs, train=True)

    jax.eval_shape(run, inputs)
    return [*rows.values()]


def layer_row(module: nn.Module, params: Mapping[str, Array], inputs: Array, out: Array) -> Row:
    """The row of a layer that has parameters and no layers in it."""
    kernel = math.prod(params["kernel"].shape) if "kernel" in params else 0
    if taps := getattr(module, "taps", 0):  # of a kernel that is made of the parameter
        kernel = kernel // math.prod(params["kernel"].shape[:2]) * taps
    # A convolution uses its kernel once per output pixel, a transposed one once per input pixel: the fewer.
    pixels = min(math.prod(inputs.shape[1:-1]), math.prod(out.shape[1:-1]))
    count = sum(math.prod(value.shape) for value in params.values())
    batch_last = getattr(module, "batch_last", False) or getattr(module, "axis", -1) == 0
    shape = (*out.shape[1:-1], out.shape[0]) if batch_last else out.shape[1:]
    return Row("/".join(module.path), type(module).__name__, shape, count, 2 * kernel * pixels)


def table(name: str, rows: list[Row]) -> str:
    """The layers of one network as text, with their sum."""
    cells = [(name, "output", "parameters", "FLOPs")]
    cells += [(row.path, " x ".join(map(str, row.shape)), f"{row.params:,}", f"{row.flops:,}") for row in rows]
    cells.append(("total", "", f"{sum(r.params for r in rows):,}", f"{sum(r.flops for r in rows):,}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        f"{path:<{widths[0]}}  {shape:<{widths[1]}}  {params:>{widths[2]}}  {flops:>{widths[3]}}"
        for path, shape, params, flops in cells
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def tables(exp: Experiment) -> str:
    """The layers of all networks of an experiment, as text."""
    inputs = exp.algorithm.inputs(exp)
    return "\n\n".join(table(name, layer_rows(network, inputs[name])) for name, network in exp.networks.items())
