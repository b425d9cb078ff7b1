"""The training step of jaxgan, put together as `train.py` does it."""

import functools

import jax
from ml_collections import ConfigDict

from benchmarks.peer_flax import device_peak, use_precision
from jaxgan import __version__
from jaxgan.algorithms import gan
from jaxgan.core import devices, experiment, population
from jaxgan.data import loader
from jaxgan.data.cache import ArrayDataset
from train import dispatch_size

__all__ = ["Program", "device_peak"]


class Program:
    """The workload in training.

    Args:
        config: the workload.
        examples: its data set, all of it in memory.
        precision: "bfloat16" is the configuration's; "tf32" lets a GPU round the inputs of float32 products.
    """

    def __init__(self, config: ConfigDict, examples: ArrayDataset, precision: str):
        use_precision(precision)
        config = config.copy_and_resolve_references()
        config.precision = "bfloat16" if precision == "bfloat16" else "float32"
        experiment.check(config)
        devices.check_batch(config.batch_size)
        self.dispatch = dispatch_size(config)
        exp = experiment.build(config, len(examples.classes), devices.axis_name())
        self.feed = loader.make_loader(config, examples, devices.resident_data_limit(), self.dispatch)
        self.data = devices.replicate(dict(self.feed.data))
        load = loader.make_batch_fn(config, self.feed, exp.axis_name)
        run = functools.partial(gan.train_steps, functools.partial(gan.UPDATES[config.updates], exp), load)
        shapes = jax.eval_shape(lambda: population.create(exp))
        self.axis = self.feed.order.batch_axis
        like = devices.shard_batch(self.feed.input_spec(self.dispatch), self.axis)
        self.compiled = devices.compile_steps(run, shapes, self.data, like, self.axis)
        self.state = devices.replicate(devices.compile_and_run(population.create, exp))
        self.step, self.inputs = 0, self.taken(0)
        count = jax.device_count()
        self.settings = f"jaxgan {__version__}, JAX {jax.__version__}, {self.dispatch} steps per dispatch"
        self.settings += f", {count} count" * (count > 1)

    def taken(self, step: int) -> jax.Array:
        """What the dispatch at this step needs besides the data, on its way to the device."""
        return devices.shard_batch(self.feed.inputs_at(step, self.dispatch), self.axis)

    def run(self, count: int) -> None:
        """Makes so many steps and waits for the last."""
        before = None
        for _ in range(count // self.dispatch):
            self.state, metrics = self.compiled(self.state, self.data, self.inputs)
            self.step += self.dispatch
            self.inputs = self.taken(self.step)  # while the device works
            jax.block_until_ready(before)  # two dispatches at most are under way, as in train.py
            before = metrics
        jax.block_until_ready((self.state, before))
