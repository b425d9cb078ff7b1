"""The weights of the Inception network: PyTorch's file of them as parameters, with the hash that names them.

A score is comparable with others only if its features come from the same weights. So whoever prints a score prints
`Weights.name` beside it.
"""

import functools
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, PyTree

from jaxgan.data import cache
from jaxgan.errors import UserError
from jaxgan.io import torch_weights
from jaxgan.io.torch_weights import BATCH_NORM, fold_batch_norm
from jaxgan.metrics import inception

# pt_inception-2015-12-05-6726825d.pth of pytorch-fid, which is weights-inception-2015-12-05-6726825d.pth of
# torch-fidelity as well.
PUBLIC = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
REVISION = 1  # of what `converted` makes of a file; after a change of that every file is converted anew
MOST_NAMED = 3  # tensors in one line

Arrays = dict[str, Float[np.ndarray, "..."]]


class Weights(NamedTuple):
    """What `inception.taps` takes, and the SHA-256 of the file that it comes from."""

    params: PyTree
    sha256: str

    @property
    def public(self) -> bool:
        """Whether they are those of all published scores."""
        return self.sha256 == PUBLIC

    @property
    def name(self) -> str:
        """What stands beside a score."""
        return f"{'public' if self.public else 'other'} Inception weights {self.sha256[:8]}"


def load(path: Path) -> Weights:
    """The weights in a file of PyTorch, as pytorch-fid and torch-fidelity offer it; it is converted only once.

    Raises:
        UserError: it is not such a file.
        OSError: it cannot be read, or what it becomes cannot be kept.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    arrays = cache.cached_arrays(
        "inception", [digest, REVISION], lambda: converted(torch_weights.read(path), str(path))
    )
    if {name: array.shape for name, array in arrays.items()} != shapes():
        raise UserError(
            f"{cache.folder()}/inception is damaged (it holds other arrays): remove it, and it is made again"
        )
    return Weights(traverse_util.unflatten_dict(arrays, sep="/"), digest)


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Those of the network's parameters, by their paths."""
    images = jax.ShapeDtypeStruct((1, inception.SIZE, inception.SIZE, 3), jnp.float32)
    params = jax.eval_shape(inception.Inception().init, jax.random.key(0), images)["params"]
    return {name: leaf.shape for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}


@functools.cache
def convolutions() -> dict[str, tuple[int, ...]]:
    """The shape of every convolution's kernel, [rows, columns, in, out], by its name."""
    return {name.removesuffix("/kernel"): shape for name, shape in shapes().items() if len(shape) == 4}


@functools.cache
def torch_shapes() -> dict[str, tuple[int, ...]]:
    """Those of PyTorch's tensors, by their names."""
    found = {"fc.weight": shapes()["fc/kernel"][::-1], "fc.bias": shapes()["bias"]}
    for name, (rows, columns, inputs, outputs) in convolutions().items():
        found[f"{name}.conv.weight"] = (outputs, inputs, rows, columns)
        found |= {f"{name}.bn.{part}": (outputs,) for part in BATCH_NORM}
    return found


def converted(state: dict[str, np.ndarray], source: str) -> Arrays:
    """The network's parameters, by their paths, that do what PyTorch's convolutions and BatchNorms do.

    Args:
        state: PyTorch's tensors; how many batches BatchNorm has averaged does not matter.
        source: whose tensors they are, for errors.

    Raises:
        UserError: some are missing, unknown, of another shape or not finite.
    """
    state = {name: array for name, array in state.items() if not name.endswith(".num_batches_tracked")}
    wanted, given = torch_shapes(), {name: array.shape for name, array in state.items()}
    both = wanted.keys() & given.keys()
    other = [f"{name} {given[name]} (not {wanted[name]})" for name in both if given[name] != wanted[name]]
    faults = {
        "missing": wanted.keys() - given.keys(),
        "unknown": given.keys() - wanted.keys(),
        "of another shape": other,
    }
    refuse(source, faults)
    arrays = {"fc/kernel": state["fc.weight"].T, "bias": state["fc.bias"]}
    with np.errstate(over="ignore", invalid="ignore"):  # of what is refused below
        for name in convolutions():
            folded = fold_batch_norm(state, f"{name}.conv.weight", f"{name}.bn")
            arrays[f"{name}/kernel"], arrays[f"{name}/bias"] = folded
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    refuse(source, {"not finite": [name for name, array in arrays.items() if not np.isfinite(array).all()]})
    return arrays


def refuse(source: str, faults: dict[str, Collection[str]]) -> None:
    """Raises a `UserError` that names a few of the tensors of each fault, if there are any."""
    found = []
    for fault, names in faults.items():
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            found.append(f"{fault}: {', '.join(sorted(names)[:MOST_NAMED])}{more}")
    if found:
        raise UserError(f"{source} does not hold the weights of the Inception network ({'; '.join(found)})")
