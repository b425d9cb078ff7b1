"""Runs small experiments on one device and on all: python devices.py OUT.npz, for test_devices.py.

For test_multihost.py: python devices.py OUT.npz COORDINATOR INDEX, two processes that save the random numbers and the
batches of their devices, print "saved" and wait for their end.
"""

import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from experiments import leaves, tiny_config
from jax import lax

from jaxgan.adversarial import objectives
from jaxgan.config import build
from jaxgan.core import devices, experiment, latents, multihost, population, rng
from jaxgan.core.program import Program, train_steps
from jaxgan.data import loader
from jaxgan.data.dataset import image_dataset
from jaxgan.data.sources import example_shape
from jaxgan.errors import UserError
from jaxgan.metrics import features, kid, prdc

STEPS = 3


def made_up_loader(kind: type, config, margin: int = 0):
    """A loader of made-up images, higher and wider than a batch's by some pixels; image i has the label i."""
    height, width, channels = example_shape(config.data)
    rng, labels = np.random.default_rng(0), np.arange(30, dtype=np.int32)
    images = rng.integers(0, 256, (30, height + margin, width + margin, channels), np.uint8)
    dataset = image_dataset(images, labels, shape=(height, width, channels))
    mine = {"process": jax.process_index(), "processes": jax.process_count()}
    batches = config.get("discriminator_steps", 1)
    return kind(dataset, loader.BatchSampler(0, config.batch_size, batches, dataset.groups, **mine))


# What looks beyond an example: at the mean of a batch, its largest or best, its deviation, or at its neighbours.
SHALLOW = {"model__family": "dcgan", "data__size": "8x12"}  # one hidden layer in each network
COMBINATIONS = {
    "alternating": {"targets__real": (0.7, 1.0), "ada__mode": "adaptive", "ada__speed": 100.0},
    "one by one": {
        "model__family": "mlp",
        "data__size": 8,
        "conditioning__generator": "cbn",
        "conditioning__discriminator": "projection",
        "loss": "relativistic_average",
        "penalties__r1": 0.1,
        "penalties__max_gp": 0.1,
        "penalties__dragan": 0.1,
        "penalties__lecam": 0.1,
        "penalty_interval__dragan": 2,
        "feature_matching": 1.0,
        "top_k__fraction": 0.4,
        "top_k__decay_steps": 2,
        "augment": ("colour", "translation"),
        "ada__mode": "fixed",
        "ada__operations": ("bgcfnc",),
        "model__discriminator__norm": "none",
    },
    "in groups": SHALLOW
    | {
        "update_rule": "simultaneous",
        "conditioning__generator": "concat",
        "conditioning__discriminator": "concat",
        "packing": 2,
        "concat_real_fake": True,
        "model__discriminator__dropout": 0.3,
        "model__discriminator__minibatch_stddev": 2,
        "instance_noise__stddev": 0.1,
        "penalties__r1": 0.1,
        "weight_clip": 0.2,
        "ema_half_life": 20.0,
    },
    "with each other": {
        "model__family": "mlp",
        "data__size": 8,
        "conditioning__generator": "concat",
        "conditioning__discriminator": "reacgan",
        "conditioning__proxy_dim": 4,
        "loss": "hinge",
    },
}
CLASSES = {"alternating": 0, "one by one": 30, "in groups": 30, "with each other": 30}
BY_PMAP = ("alternating", "in groups")  # one for each update rule


def everywhere(function, **specs):
    """The function on every device, of which each has its share."""
    return jax.jit(jax.shard_map(function, mesh=devices.batch_sharding().mesh, check_vma=False, **specs))


def by_device(tree):
    """What lies on each device, in a new leading dimension."""
    return jax.tree.map(lambda array: np.stack([shard.data for shard in array.addressable_shards]), tree)


def outcomes(name: str) -> dict:
    """The state and every step's metrics, from one device, from the program of all of them, and from `jax.pmap`."""
    config = tiny_config(**COMBINATIONS[name])
    batches = made_up_loader(loader.DeviceLoader, config)
    inputs = batches.inputs_at(0, STEPS)
    alone = build(config, CLASSES[name])
    load = loader.make_batch_fn(config, batches)
    first = jax.jit(lambda: population.init_state(alone))()
    data = dict(batches.data), ()
    found = {"one": jax.jit(functools.partial(train_steps, alone, load))(first, data, inputs)}

    exp = build(config, CLASSES[name], devices.axis_name())
    program = Program(exp, batches, loader.make_batch_fn(config, batches, exp.axis_name), STEPS)
    state, metrics = program(devices.replicate(program.initial_state()), program.inputs_at(0, STEPS), STEPS)
    found["all"] = by_device(state), metrics
    if name not in BY_PMAP:
        return found

    step = jax.pmap(functools.partial(exp.algorithm.step, exp), axis_name=exp.axis_name)
    count = jax.local_device_count()
    state, each = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), first), []
    for number in range(STEPS):
        batch = load(data[0], jax.tree.map(lambda array, i=number: array[i], inputs), first.seed, jnp.int32(number))
        state, metrics = step(state, jax.tree.map(lambda array: jnp.stack(jnp.split(array, count, axis=1)), batch))
        each.append(metrics)
    found["pmap"] = state, jax.tree.map(lambda *values: np.stack([value[0] for value in values]), *each)
    return found


def batches(kind: type) -> dict:
    """The batches of one step, cropped and flipped, from one device and from all of them."""
    config = tiny_config(discriminator_steps=2, data__load_size=11, data__crop="random", data__flip=True)
    reader = made_up_loader(kind, config, margin=3)
    inputs = reader.inputs_at(5, 1)
    reader.close()

    def load(data, inputs, axis_name=None):
        one = jax.tree.map(lambda array: array[0], inputs)
        return loader.make_batch_fn(config, reader, axis_name)(data, one, jnp.uint32(0), jnp.int32(5))

    specs = {
        "in_specs": (devices.batch_sharding().spec, devices.batch_sharding(2).spec),
        "out_specs": devices.batch_sharding(1).spec,
    }
    mapped = everywhere(functools.partial(load, axis_name=devices.AXIS), **specs)
    found = {"all": by_device(mapped(devices.replicate(dict(reader.data)), devices.shard_batch(inputs, 2)))}
    return found if multihost.is_multihost() else found | {"one": jax.jit(load)(dict(reader.data), inputs)}


def samples() -> dict:
    """The random numbers of the examples of one step on each device."""

    def sample(positions, axis_name=None):
        positions = positions[0, 0]
        exp = build(tiny_config(targets__real=(0.7, 1.0)), axis_name=axis_name)
        state = experiment.initial_state(exp)
        examples = rng.global_indices(positions.shape[-1], axis_name)
        return {
            "positions": positions,
            "latents": latents.sample_latents(rng.stream_key(0, 0, "latents"), examples, 4),
            "targets": objectives.sample_targets(exp, state, len(positions)),
        }

    positions = np.arange(100, 108).reshape(1, 1, 8)
    mine = np.split(positions, jax.process_count(), axis=2)[jax.process_index()]
    specs = {"in_specs": devices.batch_sharding(2).spec, "out_specs": devices.batch_sharding(0).spec}
    mapped = everywhere(functools.partial(sample, axis_name=devices.AXIS), **specs)
    return {"one": jax.jit(sample)(positions), "all": by_device(mapped(devices.shard_batch(mine, 2)))}


def collectives() -> dict:
    """What the helpers of an experiment make of an array [batch], from one device and from all of them."""

    def reduce(values, axis_name=None):
        exp = build(tiny_config(), axis_name=axis_name)
        return {
            "pmean": exp.pmean(values.mean()),
            "pmax": exp.pmax(values.max()),
            "all_gather": exp.all_gather(values),
            "indices": lax.psum(exp.global_indices(len(values)).sum(), axis_name or ()),
        }

    values = np.float32([3, 1, 4, 1, 5, 9, 2, 6])
    spec = devices.batch_sharding(0).spec
    mapped = everywhere(functools.partial(reduce, axis_name=devices.AXIS), in_specs=spec, out_specs=type(spec)())
    return {"one": jax.jit(reduce)(values), "all": by_device(mapped(devices.shard_batch(values, 0)))}


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
    extract = features.extractor("random", image_dataset(images, np.zeros(301, np.int32)))
    return {
        "neighbours": prdc.nearest(fakes, reals, 3),
        "manifold": prdc.manifold_scores(fakes, reals),
        "kernel": kid.kernel_distance(fakes, reals),
        "features": extract(images).values,
        "statistics": extract.statistics(images),
    }


KINDS = {"resident": loader.DeviceLoader, "streaming": loader.PrefetchLoader}


def given() -> dict:
    """What belongs to the examples of a step: latents, targets, images, labels."""
    return {"samples": samples()} | {f"{name} batches": batches(kind) for name, kind in KINDS.items()}


def main(out: str, *group: str) -> None:
    if group:
        coordinator, index = group
        multihost.initialize(multihost.ClusterSpec(coordinator=coordinator, count=2, index=int(index)))
        np.savez(out, **leaves(given()))
        print("saved", flush=True)
        time.sleep(600)
    found = {name: outcomes(name) for name in COMBINATIONS}
    found |= {"copies": copies(), "shares": shares(), "scores": scores(), "collectives": collectives()} | given()
    np.savez(out, refusal=refusal(), devices=jax.local_device_count(), **leaves(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
