"""The smallest experiments of algorithms on one device and on two: python contract_devices.py OUT.npz ALGORITHM..."""

import sys

import jax
import numpy as np
from contracts import STEPS, program_of
from experiments import leaves

from jaxgan.core import devices


def main(out: str, *names: str) -> None:
    found = {}
    for name in names:
        for where, axis_name in (("one", None), ("two", devices.axis_name())):
            # One device's program is made of the same pieces, without an axis.
            program = program_of(name, axis_name)
            if axis_name is None:
                state, metrics = jax.jit(program.steps)(
                    program.initial_state(), jax.device_get(program.data), program.loader.inputs_at(0, STEPS)
                )
            else:
                state = devices.replicate(program.initial_state())
                state, metrics = program(state, program.inputs_at(0, STEPS), STEPS)
            found[name, where] = jax.device_get((state, metrics))
    np.savez(
        out,
        **{
            f"{name}|{where}|{path}": array
            for (name, where), tree in found.items()
            for path, array in leaves(tree).items()
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
