"""Networks of image translation with the weights of the golden answers."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
from make_golden_translation import weight

from jaxgan.core.state import Variables

AXES = {"Conv": (3, 2, 0, 1), "ConvTranspose": (2, 3, 0, 1), "Dense": (1, 0)}  # of a kernel, as PyTorch has them


def filled(network, *inputs, first: int = 0) -> Variables:
    """A network's variables: its parameters by the formula, in the order in which they are made."""
    made = []

    def init():
        variables = network.init(jax.random.key(0), *inputs, train=True)
        made.extend(flax.traverse_util.flatten_dict(variables["params"]).items())
        return {name: value for name, value in variables.items() if name != "params"}

    model_state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(init))
    params = {path: parameter(first + index, path, own.shape) for index, (path, own) in enumerate(made)}
    return Variables(flax.traverse_util.unflatten_dict(params), model_state)


def parameter(index: int, path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
    """One parameter; the kernels of transposed convolutions are mirrored."""
    if path[-1] != "kernel":
        return jnp.float32(weight(index, shape, path[-1] == "scale"))
    kind = path[-2].rsplit("_", 1)[0]
    there = weight(index, tuple(shape[axis] for axis in AXES[kind]), False)
    here = there.transpose(np.argsort(AXES[kind]))
    return jnp.float32(here[::-1, ::-1] if kind == "ConvTranspose" else here)
