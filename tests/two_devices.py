"""Runs small experiments on one device and on all: python two_devices.py OUT.npz, for test_parallel.py."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from experiments import leaves, tiny_config

from jaxgan import keys, parallel, steps
from jaxgan.data import pipeline
from jaxgan.data.cache import Examples
from jaxgan.errors import UserError

STEPS = 3


def made_up_feed(kind: type, config, side: int):
    """A feed over made-up images of `side` pixels; image i has the label i."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (30, side, side, 1), np.uint8), np.arange(30, dtype=np.int32)
    return kind(Examples(*data, ()), pipeline.Order(0, config.batch_size, config.discriminator_steps, 30))


def outcomes(updates: str, kind: type = pipeline.ResidentFeed) -> dict:
    """The state and every step's metrics, from one device and from all of them."""
    config = tiny_config(updates=updates, targets__real=(0.7, 1.0))
    feed = made_up_feed(kind, config, config.data.size)
    inputs = feed.take(0, STEPS)
    found = {}
    for devices, axis_name in (("one", None), ("all", parallel.axis_name())):
        gan, load = steps.build(config, axis_name), pipeline.loader(config, feed, axis_name)
        run = functools.partial(steps.train_steps, functools.partial(steps.UPDATES[updates], gan), load)
        state = jax.jit(lambda gan=gan: steps.initial_state(config, gan))()
        if axis_name is None:
            found[devices] = jax.jit(run)(state, dict(feed.data), inputs)
        else:
            data, shares = parallel.replicate(dict(feed.data)), parallel.put(parallel.split_batch(inputs))
            compiled = parallel.compile_steps(run, state, data, parallel.split_batch(feed.like(STEPS)))
            found[devices] = compiled(parallel.replicate(state), data, shares)
    feed.close()
    return found


def batches(kind: type) -> dict:
    """The batches of one step, cropped and flipped, from one device and from all of them."""
    config = tiny_config(discriminator_steps=2, data__load_size=11, data__crop="random", data__flip=True)
    feed = made_up_feed(kind, config, side=11)
    inputs = feed.take(5, 1)
    feed.close()

    def load(data, inputs, axis_name=None):
        one = jax.tree.map(lambda array: array[0], inputs)
        return pipeline.loader(config, feed, axis_name)(data, one, jnp.uint32(0), jnp.int32(5))

    mapped = jax.pmap(functools.partial(load, axis_name=parallel.AXIS), axis_name=parallel.AXIS)
    everywhere = mapped(parallel.replicate(dict(feed.data)), parallel.put(parallel.split_batch(inputs)))
    return {"one": jax.jit(load)(dict(feed.data), inputs), "all": everywhere}


def draws() -> dict:
    """What the examples of one step are given on each device."""

    def draw(positions, axis_name=None):
        positions = positions[0, 0]
        gan = steps.build(tiny_config(targets__real=(0.7, 1.0)), axis_name)
        state = steps.initial_state(tiny_config(), gan)
        examples = keys.global_examples(positions.shape[-1], axis_name)
        latents = keys.draw_latents(keys.use_key(0, 0, "latents"), examples, 4)
        return {"positions": positions, "latents": latents, "targets": steps.draw_targets(gan, state, len(positions))}

    positions = jnp.arange(100, 108).reshape(1, 1, 8)
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


def shares() -> dict:
    """Two steps' batches of four, as they come, as they are split, and what of them lies on which device."""
    inputs = np.arange(2 * 1 * 4 * 3, dtype=np.int32).reshape(2, 1, 4, 3)
    split = parallel.split_batch(inputs)
    lying = {str(shard.device.id): shard.data for shard in parallel.put(split).addressable_shards}
    return {"inputs": inputs, "split": split, "lying": lying}


def main(out: str) -> None:
    found = {updates: outcomes(updates) for updates in steps.UPDATES} | {"draws": draws(), "copies": copies()}
    found["shares"] = shares()
    for name, kind in (("resident", pipeline.ResidentFeed), ("streaming", pipeline.StreamingFeed)):
        found[f"{name} batches"] = batches(kind)
    found["streaming"] = outcomes("alternating", pipeline.StreamingFeed)
    np.savez(out, refusal=refusal(), devices=jax.local_device_count(), **leaves(found))


if __name__ == "__main__":
    main(sys.argv[1])
