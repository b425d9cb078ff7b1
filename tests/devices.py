"""Runs small experiments on one device and on all: python devices.py OUT.npz, for test_parallel.py.

For test_processes.py: python devices.py OUT.npz COORDINATOR INDEX, two processes that leave what their devices draw,
say so and wait for their end.
"""

import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from experiments import leaves, tiny_config

from jaxgan import experiment, keys, objectives, parallel, processes, steps
from jaxgan.data import pipeline
from jaxgan.data.cache import Examples
from jaxgan.errors import UserError
from jaxgan.metrics import features, kid, manifold

STEPS = 3


def made_up_feed(kind: type, config, side: int):
    """A feed over made-up images of `side` pixels; image i has the label i."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (30, side, side, 1), np.uint8), np.arange(30, dtype=np.int32)
    mine = {"process": jax.process_index(), "processes": jax.process_count()}
    return kind(Examples(*data, ()), pipeline.Order(0, config.batch_size, config.discriminator_steps, 30, **mine))


# What looks beyond an example: at the mean of a batch, its largest or best, its deviation, or at its neighbours.
SHALLOW = {"model__family": "dcgan", "data__size": 8}  # one hidden layer in each network
COMBINATIONS = {
    "one by one": {
        "model__family": "mlp",
        "data__size": 8,
        "conditioning__generator": "cbn",
        "conditioning__discriminator": "projection",
        "loss": "relativistic_average",
        "penalties__r1": 0.1,
        "penalties__max_gradient": 0.1,
        "penalties__dragan": 0.1,
        "penalties__lecam": 0.1,
        "penalty_every__dragan": 2,
        "feature_matching": 1.0,
        "top_k__share": 0.4,
        "top_k__decay_steps": 2,
        "augment": ("colour", "translation"),
        "model__discriminator__norm": "none",
    },
    "in groups": SHALLOW
    | {
        "updates": "simultaneous",
        "conditioning__generator": "concat",
        "conditioning__discriminator": "concat",
        "packing": 2,
        "joined_batches": True,
        "model__discriminator__dropout": 0.3,
        "model__discriminator__minibatch_stddev": 2,
        "instance_noise__stddev": 0.1,
        "penalties__r1": 0.1,
        "weight_clip": 0.2,
        "ema_half_life": 20.0,
    },
}


def everywhere(function, **specs):
    """The function on every device, of which each has its share."""
    return jax.jit(jax.shard_map(function, mesh=parallel.spread().mesh, check_vma=False, **specs))


def by_device(tree):
    """What lies on each device, in a new leading dimension."""
    return jax.tree.map(lambda array: np.stack([shard.data for shard in array.addressable_shards]), tree)


def outcomes(classes: int = 0, **settings) -> dict:
    """The state and every step's metrics, from one device and from all of them."""
    config = tiny_config(**settings)
    feed = made_up_feed(pipeline.ResidentFeed, config, config.data.size)
    inputs = feed.take(0, STEPS)
    found = {}
    for devices, axis_name in (("one", None), ("all", parallel.axis_name())):
        gan, load = experiment.build(config, classes, axis_name), pipeline.loader(config, feed, axis_name)
        run = functools.partial(steps.train_steps, functools.partial(steps.UPDATES[config.updates], gan), load)
        state = jax.jit(lambda gan=gan: experiment.initial_state(gan))()
        if axis_name is None:
            found[devices] = jax.jit(run)(state, dict(feed.data), inputs)
        else:
            data, axis = parallel.replicate(dict(feed.data)), feed.order.batch_axis
            compiled = parallel.compile_steps(run, state, data, parallel.put(feed.like(STEPS), axis), axis)
            state, metrics = compiled(parallel.replicate(state), data, parallel.put(inputs, axis))
            found[devices] = by_device(state), metrics
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

    specs = {"in_specs": (parallel.spread().spec, parallel.spread(2).spec), "out_specs": parallel.spread(1).spec}
    mapped = everywhere(functools.partial(load, axis_name=parallel.AXIS), **specs)
    found = {"all": by_device(mapped(parallel.replicate(dict(feed.data)), parallel.put(inputs, 2)))}
    return found if processes.several() else found | {"one": jax.jit(load)(dict(feed.data), inputs)}


def draws() -> dict:
    """What the examples of one step are given on each device."""

    def draw(positions, axis_name=None):
        positions = positions[0, 0]
        gan = experiment.build(tiny_config(targets__real=(0.7, 1.0)), axis_name=axis_name)
        state = experiment.initial_state(gan)
        examples = keys.global_examples(positions.shape[-1], axis_name)
        latents = keys.draw_latents(keys.use_key(0, 0, "latents"), examples, 4)
        return {
            "positions": positions,
            "latents": latents,
            "targets": objectives.draw_targets(gan, state, len(positions)),
        }

    positions = np.arange(100, 108).reshape(1, 1, 8)
    mine = np.split(positions, jax.process_count(), axis=2)[jax.process_index()]
    specs = {"in_specs": parallel.spread(2).spec, "out_specs": parallel.spread(0).spec}
    mapped = everywhere(functools.partial(draw, axis_name=parallel.AXIS), **specs)
    return {"one": jax.jit(draw)(positions), "all": by_device(mapped(parallel.put(mine, 2)))}


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
    return {"tree": tree, "replicated": by_device(replicated), "back": parallel.unreplicate(replicated)}


def shares() -> dict:
    """Two steps' batches of four, as they come, and what of them lies on which device."""
    inputs = np.arange(2 * 1 * 4 * 3, dtype=np.int32).reshape(2, 1, 4, 3)
    lying = {str(shard.device.id): shard.data for shard in parallel.put(inputs, 2).addressable_shards}
    return {"inputs": inputs, "lying": lying}


def scores() -> dict:
    """Of features and of images, of which there is one more than two devices divide."""
    generator = np.random.default_rng(0)
    fakes, reals = np.float32(generator.normal(0.5, 1, (2, 301, 4)))
    images = generator.integers(0, 256, (301, 8, 8, 1), np.uint8)
    extract = features.extractor("random", Examples(images, np.zeros(301, np.int32), ()))
    return {
        "neighbours": manifold.nearest(fakes, reals, 3),
        "manifold": manifold.manifold_scores(fakes, reals),
        "kernel": kid.kernel_distance(fakes, reals),
        "features": extract(images).values,
        "statistics": extract.statistics(images),
    }


KINDS = {"resident": pipeline.ResidentFeed, "streaming": pipeline.StreamingFeed}


def given() -> dict:
    """What the examples of a step are: latents, targets, images, labels."""
    return {"draws": draws()} | {f"{name} batches": batches(kind) for name, kind in KINDS.items()}


def main(out: str, *group: str) -> None:
    if group:
        coordinator, index = group
        processes.join(processes.Group(coordinator=coordinator, count=2, index=int(index)))
        np.savez(out, **leaves(given()))
        print("drawn", flush=True)
        time.sleep(600)
    smooth = {"targets__real": (0.7, 1.0)}
    found = {"alternating": outcomes(**smooth)}
    found |= {name: outcomes(classes=30, **settings) for name, settings in COMBINATIONS.items()}
    found |= {"copies": copies(), "shares": shares(), "scores": scores()} | given()
    np.savez(out, refusal=refusal(), devices=jax.local_device_count(), **leaves(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
