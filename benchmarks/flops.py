"""Counts the arithmetic of a traced function, equation by equation.

Products and convolutions are counted exactly: a multiplication and an addition for every pair of numbers that meet,
none for taps of a kernel that fall on padding or into the holes of a dilated input. Everything elementwise counts one
per element of its result and a reduction one per element that it takes away; what only moves data is free. These are
the rules by which XLA counts a program before it is optimised, so the two agree, but for loops: XLA counts the body of
one once, however often it runs.
"""

import math
from collections.abc import Callable

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jaxtyping import PyTree

MOVES = {
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "copy_p", "dynamic_slice",
    "dynamic_update_slice", "gather", "iota", "pad", "reshape", "rev", "scatter", "slice", "split", "squeeze",
    "transpose",
}  # fmt: skip
# Keys and bits are no arithmetic of a network. That of making normal numbers out of bits is counted.
RANDOM = {"random_bits", "random_fold_in", "random_seed", "random_split", "random_unwrap", "random_wrap"}
# XLA has an account of its own for these.
TRANSCENDENTAL = {"cos", "erf", "erf_inv", "exp", "expm1", "log", "log1p", "logistic", "pow", "rsqrt", "sin", "sqrt"}
TRANSCENDENTAL |= {"tan", "tanh"}
FREE = MOVES | RANDOM | TRANSCENDENTAL


def count(function: Callable, *arguments: PyTree) -> int:
    """The FLOPs of one call, with arguments or their shapes; what no result depends on counts nothing."""
    return of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def of_jaxpr(jaxpr: Jaxpr) -> int:
    """The FLOPs of the equations on which an output depends."""
    needed = {id(var) for var in jaxpr.outvars}
    total = 0
    for equation in reversed(jaxpr.eqns):
        if equation.effects or any(id(var) in needed for var in equation.outvars):
            needed |= {id(var) for var in equation.invars if not isinstance(var, Literal)}
            total += of_equation(equation)
    return total


def of_equation(equation: JaxprEqn) -> int:
    """The FLOPs of one equation and of the functions that it calls."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return params["length"] * of_jaxpr(params["jaxpr"].jaxpr)
    if name == "cond":
        return max(of_jaxpr(branch.jaxpr) for branch in params["branches"])
    if name == "dot_general":
        return of_product(equation)
    if name == "conv_general_dilated":
        return of_convolution(equation)
    if name in FREE:
        return 0
    called = [inner for value in params.values() if (inner := _called(value))]
    if called:
        return sum(map(of_jaxpr, called))
    read, written = (sum(math.prod(var.aval.shape) for var in side) for side in (equation.invars, equation.outvars))
    return read - written if name.startswith("reduce_") else written


def of_product(equation: JaxprEqn) -> int:
    """Two for each number of the result and each place along which it sums."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def of_convolution(equation: JaxprEqn) -> int:
    """Two for each pair of an input number and a kernel number that meet, for each output channel and example."""
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel, result = (var.aval.shape for var in (*equation.invars, *equation.outvars))
    batch, inputs, *places = (image[axis] for axis in numbers.lhs_spec)
    outputs, _, *sizes = (kernel[axis] for axis in numbers.rhs_spec)
    _, _, *results = (result[axis] for axis in numbers.out_spec)
    settings = (params[name] for name in ("window_strides", "padding", "lhs_dilation", "rhs_dilation"))
    meetings = math.prod(map(_meetings, places, sizes, results, *settings))
    groups = params["feature_group_count"] * params["batch_group_count"]
    return 2 * meetings * batch * inputs * outputs // groups


def _meetings(
    size: int, kernel: int, outputs: int, stride: int, padding: tuple[int, int], holes: int, kernel_holes: int
) -> int:
    """How often a kernel number meets an input number along one dimension."""
    place = np.arange(outputs)[:, None] * stride + np.arange(kernel) * kernel_holes - padding[0]
    return int(((place >= 0) & (place % holes == 0) & (place // holes < size)).sum())


def _called(value: object) -> Jaxpr | None:
    return value.jaxpr if isinstance(value, ClosedJaxpr) else value if isinstance(value, Jaxpr) else None
