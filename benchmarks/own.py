"""The training step of jaxgan, put together as `train.py` does it."""

import functools

import jax
from ml_collections import ConfigDict

from benchmarks.peer_flax import device_peak, use_precision
from jaxgan import __version__, experiment, parallel, population, steps
from jaxgan.data import pipeline
from jaxgan.data.cache import Examples
from train import dispatch_size

__all__ = ["Program", "device_peak"]


class Program:
    """The workload in training.

    Args:
        config: the workload.
        examples: its data set, all of it in memory.
        precision: "bfloat16" is the configuration's; "tf32" lets a GPU round the inputs of float32 products.
    """

    def __init__(self, config: ConfigDict, examples: Examples, precision: str):
        use_precision(precision)
        config = config.copy_and_resolve_references()
        config.precision = "bfloat16" if precision == "bfloat16" else "float32"
        experiment.check(config)
        parallel.check_batch(config.batch_size)
        self.dispatch = dispatch_size(config)
        gan = experiment.build(config, len(examples.classes), parallel.axis_name())
        self.feed = pipeline.feed(config, examples, parallel.room_for_data(), self.dispatch)
        self.data = parallel.replicate(dict(self.feed.data))
        load = pipeline.loader(config, self.feed, gan.axis_name)
        run = functools.partial(steps.train_steps, functools.partial(steps.UPDATES[config.updates], gan), load)
        shapes = jax.eval_shape(lambda: population.create(gan))
        self.axis = self.feed.order.batch_axis
        like = parallel.put(self.feed.like(self.dispatch), self.axis)
        self.compiled = parallel.compile_steps(run, shapes, self.data, like, self.axis)
        self.state = parallel.replicate(parallel.run_once(population.create, gan))
        self.step, self.inputs = 0, self.taken(0)
        devices = jax.device_count()
        self.settings = f"jaxgan {__version__}, JAX {jax.__version__}, {self.dispatch} steps per dispatch"
        self.settings += f", {devices} devices" * (devices > 1)

    def taken(self, step: int) -> jax.Array:
        """What the dispatch at this step needs besides the data, on its way to the device."""
        return parallel.put(self.feed.take(step, self.dispatch), self.axis)

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
