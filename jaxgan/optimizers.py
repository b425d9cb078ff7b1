"""From configuration to one optax transformation per network."""

from collections.abc import Callable

import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""] | float]

OPTIMIZERS = {"adam": optax.adam}

SCHEDULES = {
    "constant": lambda value, steps, share: optax.constant_schedule(value),
    "linear": lambda value, steps, share: optax.linear_schedule(value, share * value, steps),
    "cosine": optax.cosine_decay_schedule,
}


def learning_rate(config: ConfigDict) -> Schedule:
    """The learning rate at a training step, for one network's settings (`config.optimizer.generator`, say)."""
    return SCHEDULES[config.schedule](config.learning_rate, config.decay_steps, config.final_share)


def optimizer(config: ConfigDict, updates_per_step: int = 1) -> optax.GradientTransformation:
    """The transformation of one network.

    Args:
        config: `name`, `learning_rate`, `b1`, `b2`, `schedule`, `decay_steps`, `final_share`.
        updates_per_step: how often the network is updated in a training step; schedules count training steps.
    """
    schedule = learning_rate(config)
    return OPTIMIZERS[config.name](lambda count: schedule(count // updates_per_step), b1=config.b1, b2=config.b2)
