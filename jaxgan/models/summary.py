"""A table of a network's layers."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import PyTree

from jaxgan.core.experiment import Experiment, initial_state


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


def layer_rows(network: nn.Module, variables: PyTree, inputs: tuple) -> list[Row]:
    """The layers that hold parameters, in the order in which they run.

    Args:
        network: a module called with (*inputs, train).
        variables: its variables, or their shapes.
        inputs: its arguments but for `train`, with a batch dimension, or their shapes; None for one that it lacks.
    """
    rows = []

    def record(call, args, kwargs, context):
        out = call(*args, **kwargs)
        module = context.module
        params = module.variables.get("params", {})
        if (
            context.method_name == "__call__"
            and params
            and not any(isinstance(value, dict) for value in params.values())
        ):
            kernel = math.prod(params["kernel"].shape) if "kernel" in params else 0
            # A convolution uses its kernel once per output pixel, a transposed one once per input pixel: the fewer.
            pixels = min(math.prod(args[0].shape[1:-1]), math.prod(out.shape[1:-1]))
            count = sum(math.prod(value.shape) for value in params.values())
            batch_last = getattr(module, "batch_last", False) or getattr(module, "axis", -1) == 0
            shape = (*out.shape[1:-1], out.shape[0]) if batch_last else out.shape[1:]
            rows.append(Row("/".join(module.path), type(module).__name__, shape, count, 2 * kernel * pixels))
        return out

    def run(variables: PyTree, inputs: tuple) -> Any:
        with nn.intercept_methods(record):
            return network.apply(variables, *inputs, train=False)

    jax.eval_shape(run, variables, inputs)
    return rows


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
    inputs, state = exp.algorithm.inputs(exp), jax.eval_shape(lambda: initial_state(exp))
    return "\n\n".join(
        table(name, layer_rows(network, state.networks[name].collections(), inputs[name]))
        for name, network in exp.networks.items()
    )
