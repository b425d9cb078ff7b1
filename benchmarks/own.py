"""The training step of jaxgan, by the program that `train.py` compiles."""

import dataclasses

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from benchmarks import flops, workloads
from benchmarks.peer_flax import device_peak, use_precision
from jaxgan import __version__
from jaxgan import config as configuration
from jaxgan.core import devices, population, program
from jaxgan.core.experiment import Experiment
from jaxgan.data import loader
from jaxgan.data.dataset import ArrayDataset

__all__ = ["Program", "device_peak"]


class Program:
    """The workload in training.

    Args:
        config: the workload.
        examples: its data set, all of it in memory.
        precision: "bfloat16" is the configuration's; "tf32" lets a GPU round the inputs of float32 products; None is
            what `train.py` does: the configuration's, with JAX's default for float32 products.
        members: of a population that is trained at once; 0: the configuration's.
    """

    def __init__(self, config: ConfigDict, examples: ArrayDataset, precision: str | None, members: int = 0):
        config = config.copy_and_resolve_references()
        config.population = members or config.population
        if precision is not None:
            use_precision(precision)
            config.precision = "bfloat16" if precision == "bfloat16" else "float32"
        devices.check_batch(config.batch_size)
        self.dispatch = workloads.period(config)
        self.own_dispatch = program.dispatch_size(config)
        if self.dispatch == 1:
            self.dispatch = self.own_dispatch
        else:  # a turn is one period of lazy penalties, or else it takes many times as long
            self.own_dispatch = max(size for size in range(1, self.own_dispatch + 1) if self.dispatch % size == 0)
        exp = configuration.build(config, len(examples.classes), devices.axis_name())
        count = exp.algorithm.batches_per_step(config)
        batches = loader.make_loader(config, examples, count, devices.resident_data_limit(), self.own_dispatch)
        self.program = program.Program(
            exp, batches, loader.make_batch_fn(config, batches, exp.axis_name), self.own_dispatch
        )
        self.state = devices.replicate(self.program.initial_state())
        self.step, self.inputs = 0, self.program.inputs_at(0, self.own_dispatch)
        count = jax.device_count()
        self.settings = f"jaxgan {__version__}, JAX {jax.__version__}, {self.own_dispatch} steps per dispatch"
        self.settings += f", {count} devices" * (count > 1)

    def run(self, count: int) -> None:
        """Makes `count` steps and waits for the last."""
        before, size = None, self.own_dispatch
        for _ in range(count // size):
            self.state, metrics = self.program(self.state, self.inputs, size)
            self.step += size
            self.inputs = self.program.inputs_at(self.step, size)  # while the device works
            jax.block_until_ready(before)  # two dispatches at most are under way, as in train.py
            before = metrics
        jax.block_until_ready((self.state, before))


def step_flops(config: ConfigDict) -> int:
    """The FLOPs of one training step, by count of jaxgan's with convolutions by their definition.

    A lazy penalty counts its share of the steps.
    """
    lazy = {name: every for name, every in workloads.intervals(config).items() if every > 1}

    def counted(*kept: str) -> int:
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({name: 0.0 for name in lazy if name not in kept})
        return dearest_step_flops(changed)

    without = counted()
    return without + round(sum((counted(name) - without) / every for name, every in lazy.items()))


def by_definition(exp: Experiment) -> Experiment:
    """The same experiment, whose convolutions are XLA's."""
    return dataclasses.replace(exp, networks={name: batch_first(network) for name, network in exp.networks.items()})


def batch_first(network: nn.Module) -> nn.Module:
    """The same network in the layout that XLA's convolutions take."""
    if hasattr(network, "body"):  # which a wrapper for conditions has
        return network.clone(body=batch_first(network.body))
    return network.clone(batch_last=False) if hasattr(network, "batch_last") else network


def dearest_step_flops(config: ConfigDict) -> int:
    """Those of a step in which all penalties are due."""
    exp = by_definition(configuration.build(config, workloads.CLASSES))
    state = jax.eval_shape(lambda: population.init_state(exp))
    batch = jax.eval_shape(lambda: configuration.example_batch(exp))
    return flops.count(lambda state, batch: exp.algorithm.step(exp, state, batch), state, batch)
