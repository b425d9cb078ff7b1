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

from jaxgan.adversarial import objectives
from jaxgan.algorithms import gan
from jaxgan.core import devices, experiment, multihost, rng
from jaxgan.data import loader
from jaxgan.data.cache import ArrayDataset
from jaxgan.errors import UserError
from jaxgan.metrics import features, kid, prdc

STEPS = 3


def made_up_feed(kind: type, config, side: int):
    """A feed over made-up images of `side` pixels; image i has the label i."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (30, side, side, 1), np.uint8), np.arange(30, dtype=np.int32)
    mine = {"process": jax.process_index(), "processes": jax.process_count()}
    return kind(
        ArrayDataset(*data, ()), loader.BatchSampler(0, config.batch_size, config.discriminator_steps, 30, **mine)
    )


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
    return jax.jit(jax.shard_map(function, mesh=devices.batch_sharding().mesh, check_vma=False, **specs))


def by_device(tree):
    """What lies on each device, in a new leading dimension."""
    return jax.tree.map(lambda array: np.stack([shard.data for shard in array.addressable_shards]), tree)


def outcomes(classes: int = 0, **settings) -> dict:
    """The state and every step's metrics, from one device and from all of them."""
    config = tiny_config(**settings)
    feed = made_up_feed(loader.DeviceLoader, config, config.data.size)
    inputs = feed.inputs_at(0, STEPS)
    found = {}
    for where, axis_name in (("one", None), ("all", devices.axis_name())):
        exp, load = experiment.build(config, classes, axis_name), loader.make_batch_fn(config, feed, axis_name)
        run = functools.partial(gan.train_steps, functools.partial(gan.UPDATES[config.updates], exp), load)
        state = jax.jit(lambda exp=exp: experiment.initial_state(exp))()
        if axis_name is None:
            found[where] = jax.jit(run)(state, dict(feed.data), inputs)
        else:
            data, axis = devices.replicate(dict(feed.data)), feed.order.batch_axis
            compiled = devices.compile_steps(run, state, data, devices.shard_batch(feed.input_spec(STEPS), axis), axis)
            state, metrics = compiled(devices.replicate(state), data, devices.shard_batch(inputs, axis))
            found[where] = by_device(state), metrics
    feed.close()
    return found


def batches(kind: type) -> dict:
    """The batches of one step, cropped and flipped, from one device and from all of them."""
    config = tiny_config(discriminator_steps=2, data__load_size=11, data__crop="random", data__flip=True)
    feed = made_up_feed(kind, config, side=11)
    inputs = feed.inputs_at(5, 1)
    feed.close()

    def load(data, inputs, axis_name=None):
        one = jax.tree.map(lambda array: array[0], inputs)
        return loader.make_batch_fn(config, feed, axis_name)(data, one, jnp.uint32(0), jnp.int32(5))

    specs = {
        "in_specs": (devices.batch_sharding().spec, devices.batch_sharding(2).spec),
        "out_specs": devices.batch_sharding(1).spec,
    }
    mapped = everywhere(functools.partial(load, axis_name=devices.AXIS), **specs)
    found = {"all": by_device(mapped(devices.replicate(dict(feed.data)), devices.shard_batch(inputs, 2)))}
    return found if multihost.is_multihost() else found | {"one": jax.jit(load)(dict(feed.data), inputs)}


def draws() -> dict:
    """What the examples of one step are given on each device."""

    def draw(positions, axis_name=None):
        positions = positions[0, 0]
        exp = experiment.build(tiny_config(targets__real=(0.7, 1.0)), axis_name=axis_name)
        state = experiment.initial_state(exp)
        examples = rng.global_indices(positions.shape[-1], axis_name)
        latents = rng.sample_latents(rng.stream_key(0, 0, "latents"), examples, 4)
        return {
            "positions": positions,
            "latents": latents,
            "targets": objectives.draw_targets(exp, state, len(positions)),
        }

    positions = np.arange(100, 108).reshape(1, 1, 8)
    mine = np.split(positions, jax.process_count(), axis=2)[jax.process_index()]
    specs = {"in_specs": devices.batch_sharding(2).spec, "out_specs": devices.batch_sharding(0).spec}
    mapped = everywhere(functools.partial(draw, axis_name=devices.AXIS), **specs)
    return {"one": jax.jit(draw)(positions), "all": by_device(mapped(devices.shard_batch(mine, 2)))}


def refusal() -> str:
    """What a batch that the devices do not divide is answered with."""
    try:
        devices.check_batch(7)
    except UserError as error:
        return str(error)
    return "accepted"


def copies() -> dict:
    """A tree, on every device, and back."""
    tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int32(5)}
    replicated = devices.replicate(tree)
    return {"tree": tree, "replicated": by_device(replicated), "back": devices.unreplicate(replicated)}


def shares() -> dict:
    """Two steps' batches of four, as they come, and what of them lies on which device."""
    inputs = np.arange(2 * 1 * 4 * 3, dtype=np.int32).reshape(2, 1, 4, 3)
    lying = {str(shard.device.id): shard.data for shard in devices.shard_batch(inputs, 2).addressable_shards}
    return {"inputs": inputs, "lying": lying}


def scores() -> dict:
    """Of features and of images, of which there is one more than two devices divide."""
    generator = np.random.default_rng(0)
    fakes, reals = np.float32(generator.normal(0.5, 1, (2, 301, 4)))
    images = generator.integers(0, 256, (301, 8, 8, 1), np.uint8)
    extract = features.extractor("random", ArrayDataset(images, np.zeros(301, np.int32), ()))
    return {
        "neighbours": prdc.nearest(fakes, reals, 3),
        "manifold": prdc.manifold_scores(fakes, reals),
        "kernel": kid.kernel_distance(fakes, reals),
        "features": extract(images).values,
        "statistics": extract.statistics(images),
    }


KINDS = {"resident": loader.DeviceLoader, "streaming": loader.PrefetchLoader}


def given() -> dict:
    """What the examples of a step are: latents, targets, images, labels."""
    return {"draws": draws()} | {f"{name} batches": batches(kind) for name, kind in KINDS.items()}


def main(out: str, *group: str) -> None:
    if group:
        coordinator, index = group
        multihost.initialize(multihost.ClusterSpec(coordinator=coordinator, count=2, index=int(index)))
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
