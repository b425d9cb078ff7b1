"""The smallest experiment of every entry of the tables, compiled once for all of its contracts."""

import functools

import jax
import probe  # an algorithm and a source more, which have to keep every contract as well
from experiments import quick_jit

from jaxgan import models
from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import build, default
from jaxgan.core import devices, population
from jaxgan.core.experiment import Experiment
from jaxgan.core.program import Program
from jaxgan.data import loader, sources

STEPS = 2
ALGORITHM_NAMES = [*ALGORITHMS]
assert probe.PROBE is ALGORITHMS["probe"]


def config_of(name: str, **more):
    """The smallest configuration of an algorithm, with some settings changed; `data__size` stands for `data.size`."""
    changes = {key.replace("__", "."): value for key, value in more.items()}
    return default({"algorithm": name, **ALGORITHMS[name].smallest, **changes})


def dataset_of(config):
    """Its data set, opened once for all algorithms with the same settings of data."""
    key = config.data.to_json()
    if key not in DATASETS:
        DATASETS[key] = sources.open_dataset(config)
    return DATASETS[key]


DATASETS: dict[str, object] = {}  # by settings


def experiment_of(name: str, axis_name: str | None = None, **more) -> Experiment:
    config = config_of(name, **more)
    return build(config, len(dataset_of(config).classes), axis_name)


def program_of(name: str, axis_name: str | None = None, **more) -> Program:
    """The program of the smallest experiment, as train.py puts it together."""
    exp = experiment_of(name, axis_name, **more)
    dataset = dataset_of(exp.config)
    feed = loader.make_loader(exp.config, dataset, exp.algorithm.batches_per_step(exp.config), 2**30, STEPS)
    return Program(exp, feed, loader.make_batch_fn(exp.config, feed, axis_name), STEPS)


@functools.cache
def programs(name: str) -> Program:
    """The same, made once."""
    return program_of(name, devices.axis_name())


def learning_rates(exp: Experiment, value: float | None = None) -> dict[str, jax.Array]:
    """Every player's learning rate, as a member of a population has it: its own, or another one."""
    names = [f"optimizer.{player}.learning_rate" for player in exp.players]
    return {name: jax.numpy.float32(exp.flat[name] if value is None else value) for name in names}


@functools.cache
def step_of(name: str):
    """The compiled step of the smallest experiment, whose learning rates are hyperparameters of the state."""
    program = programs(name)
    exp = program.exp
    data = program.data
    state = quick_jit(lambda: population.init_state(exp))().replace(hparams=learning_rates(exp))
    take = quick_jit(lambda state, inputs: program.steps(state, data, inputs))
    return exp, state, take, program.loader.inputs_at(0, STEPS)


FAMILIES = [*models.MODELS]
