"""Runs small experiments on one device and on all: python two_devices.py OUT.npz, for test_parallel.py."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from experiments import leaves, tiny_config

from jaxgan import keys, parallel, steps
from jaxgan.data import pipeline
from jaxgan.errors import UserError

STEPS = 3


def outcomes(updates: str) -> dict:
    """The state and every step's metrics, from one device and from all of them."""
    config = tiny_config(updates=updates, targets__real=(0.7, 1.0))
    rng = np.random.default_rng(0)
    data = {"images": rng.integers(0, 256, (30, 8, 8, 1), np.uint8), "labels": np.arange(30, dtype=np.int32)}
    feed = pipeline.ResidentFeed(data, 0, config.batch_size)
    positions = feed.positions(0, STEPS)
    found = {}
    for devices, axis_name in (("one", None), ("all", parallel.axis_name())):
        gan = steps.build(config, axis_name)
        run = functools.partial(steps.train_steps, functools.partial(steps.UPDATES[updates], gan), feed.load)
        state = jax.jit(lambda gan=gan: steps.initial_state(config, gan))()
        if axis_name is None:
            found[devices] = jax.jit(run)(state, feed.data, positions)
        else:
            inputs = parallel.replicate(feed.data), parallel.split_batch(positions)
            found[devices] = parallel.compile_steps(run, state, *inputs)(parallel.replicate(state), *inputs)
    return found


def draws() -> dict:
    """What the examples of one step are given on each device."""

    def draw(positions, axis_name=None):
        gan = steps.build(tiny_config(targets__real=(0.7, 1.0)), axis_name)
        state = steps.initial_state(tiny_config(), gan)
        examples = keys.global_examples(positions.shape[-1], axis_name)
        latents = keys.draw_latents(keys.use_key(0, 0, "latents"), examples, 4)
        return {"positions": positions, "latents": latents, "targets": steps.draw_targets(gan, state, len(positions))}

    positions = jnp.arange(100, 108)
    mapped = jax.pmap(functools.partial(draw, axis_name=parallel.AXIS), axis_name=parallel.AXIS)
    return {"one": jax.jit(draw)(positions), "all": mapped(parallel.split_batch(positions))}


def refusal() -> str:
    """What a batch that the devices do not divide is answered with."""
    try:
        parallel.check_batch(7)
    except UserError as error:
        return str(error)
    return "accepted"


def copies() -> dict:
    """A tree, on every device, and back."""
    tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int32(5)}
    replicated = parallel.replicate(tree)
    return {"tree": tree, "replicated": replicated, "back": parallel.unreplicate(replicated)}


def main(out: str) -> None:
    found = {updates: outcomes(updates) for updates in steps.UPDATES} | {"draws": draws(), "copies": copies()}
    np.savez(out, refusal=refusal(), devices=jax.local_device_count(), **leaves(found))


if __name__ == "__main__":
    main(sys.argv[1])
