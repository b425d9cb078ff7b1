"""From settings to one optax transformation for each player, and its learning rate over the steps.

The transformations' updates are for a learning rate of one, and the caller multiplies them by it. Together with
hyperparameters that are looked up inside the step, one program trains many members by `jax.vmap`, and any of them may
follow a schedule.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from jaxgan.core.settings import (
    ABOVE_ZERO,
    BELOW_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Choice,
    Setting,
    Settings,
    names_of,
)

Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""] | float]
Hyperparameter = Callable[[str], Any]

EPS_ROOT = 1e-16  # below the root, what the optimizers' 1e-8 is beside it

B1 = Setting(0.5, "decay of the average of gradients", BELOW_ONE)
B2 = Setting(0.999, "decay of the average of squared gradients", BELOW_ONE, sweepable=True)
MOMENTUM = Setting(0.5, "classical momentum; 0: none", BELOW_ONE)
MOMENTS: Settings = {"b1": B1, "b2": B2}
EPS: Settings = {"eps": Setting(1e-8, "added to the root of the average of squared gradients", ABOVE_ZERO)}


class Optimizer(NamedTuple):
    """An entry of `OPTIMIZERS`.

    Attributes:
        make: (hyperparameter, eps_root) -> transformation for a learning rate of 1, whose updates are linear in it.
            Where the root of an average of squares divides, `eps` (RMSprop: 1e-8) is added to that root, and eps_root
            below it.
        settings: its hyperparameters but the learning rate and the weight decay.
        decouples: whether it has its own weight decay, in the place of an L2 term.
    """

    make: Callable[[Hyperparameter, float], optax.GradientTransformation]
    settings: Settings = MOMENTS
    decouples: bool = False


OPTIMIZERS: dict[str, Optimizer] = {
    # Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1.
    "adam": Optimizer(
        lambda hp, eps_root: optax.adam(1.0, hp("b1"), hp("b2"), hp("eps"), eps_root), settings=MOMENTS | EPS
    ),
    # Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2; the decay is times the learning rate.
    "adamw": Optimizer(
        lambda hp, eps_root: optax.adamw(
            1.0, hp("b1"), hp("b2"), hp("eps"), eps_root, weight_decay=hp("weight_decay"), mask=decayed
        ),
        settings=MOMENTS | EPS,
        decouples=True,
    ),
    # Hinton 2012, lecture 6e of his course. optax has one eps only, so eps_root, where given, is all of it.
    "rmsprop": Optimizer(
        lambda hp, eps_root: optax.rmsprop(
            1.0, hp("b2"), eps=eps_root or 1e-8, eps_in_sqrt=eps_root > 0, momentum=hp("b1") or None
        ),
        {"b1": MOMENTUM, "b2": B2},
    ),
    # Polyak 1964, as in Sutskever et al. 2013, but with the learning rate outside the sum, as in PyTorch.
    "sgd": Optimizer(lambda hp, eps_root: optax.sgd(1.0, momentum=hp("b1") or None), {"b1": MOMENTUM}),
    # Chen et al. 2023, https://arxiv.org/abs/2302.06675, algorithm 2.
    "lion": Optimizer(
        lambda hp, eps_root: optax.lion(1.0, hp("b1"), hp("b2"), weight_decay=hp("weight_decay"), mask=decayed),
        {"b1": B1, "b2": B2._replace(help="decay of the momentum")},
        decouples=True,
    ),
    # Daskalakis et al. 2018, https://arxiv.org/abs/1711.00141, algorithm 1: 2 r_t - r_{t-1} for Adam's r_t. Nesterov's
    # momentum, optax's default, is no part of it. The first update takes r_0 = r_1, as nothing was predicted before.
    "optimistic_adam": Optimizer(
        lambda hp, eps_root: optax.optimistic_adam_v2(
            1.0, alpha=1.0, beta=1.0, b1=hp("b1"), b2=hp("b2"), eps=hp("eps"), eps_root=eps_root, nesterov=False
        ),
        settings=MOMENTS | EPS,
    ),
}

# (decay_steps, final_fraction) -> share of the peak at a training step, 1 at first.
SCHEDULES: dict[str, Callable[[int, float], Schedule]] = {
    "constant": lambda steps, fraction: optax.constant_schedule(1.0),
    "linear": lambda steps, fraction: optax.linear_schedule(1.0, fraction, steps),
    "cosine": lambda steps, fraction: optax.cosine_decay_schedule(1.0, steps, fraction),
}
DECAY = {
    "constant_steps": Setting(0, "training steps at the peak before the schedule begins", NOT_NEGATIVE),
    "decay_steps": Setting(10_000, "training steps from then until the schedule ends", POSITIVE),
    "final_fraction": Setting(0.0, "of the learning rate, at the end of the schedule", FRACTION),
}
SETTINGS: Settings = {
    "name": Choice("adam", "the optimizer", lambda: {name: entry.settings for name, entry in OPTIMIZERS.items()}),
    "learning_rate": Setting(2e-4, "the peak, before the schedule", NOT_NEGATIVE, sweepable=True),
    "weight_decay": Setting(
        0.0, "of leaves of 2 dimensions and more: decoupled for adamw and lion, else an L2 term", NOT_NEGATIVE
    ),
    "clip": Setting(0.0, "largest global norm of a player's gradients; 0: any", NOT_NEGATIVE),
    "schedule": Choice(
        "constant", "of the learning rate", lambda: names_of(SCHEDULES)() | {"linear": DECAY, "cosine": DECAY}
    ),
    "warmup_steps": Setting(0, "training steps in which the learning rate rises from 0", NOT_NEGATIVE),
}


def settings(*players: str) -> Settings:
    """The group `optimizer` of an algorithm with these players."""
    return {"optimizer": dict.fromkeys(players, SETTINGS)}


def schedule(settings: ConfigDict) -> Schedule:
    """The share of the peak learning rate at a training step, for one player's `config.optimizer`.

    The schedule begins after `constant_steps` and is multiplied by min(1, (step + 1) / warmup_steps): a warm-up does
    not put off the steps at which the schedule proper falls.
    """
    decay = SCHEDULES[settings.schedule](settings.get("decay_steps", 1), settings.get("final_fraction", 1.0))
    begin = settings.get("constant_steps", 0)

    def share(step: Int[Array, ""] | int) -> Float[Array, ""] | float:
        return decay(jnp.maximum(step - begin, 0)) if begin else decay(step)

    if not settings.warmup_steps:
        return share
    return lambda step: share(step) * jnp.minimum(1.0, (step + 1) / settings.warmup_steps)


def transformation(
    settings: ConfigDict, hparam: Hyperparameter | None = None, differentiable: bool = False
) -> optax.GradientTransformation:
    """The transformation of one network, for a learning rate of one: the caller multiplies updates by the rate.

    Under `jax.vmap` over members both its `init` and its `update` belong inside, since the leaves to decay are those of
    one member.

    Args:
        settings: one player's `config.optimizer`.
        hparam: name -> value, which may be traced; the settings' own values if None.
        differentiable: makes the derivative of updates by gradients finite also where gradients are 0, for GANs that
            are unrolled: 1e-16 is added below each root (and 1e-8 beside it as ever, but for "rmsprop").
    """
    hparam = hparam or settings.__getitem__
    parts = []
    make, _, decouples = OPTIMIZERS[settings.name]
    if settings.weight_decay and not decouples:
        parts.append(optax.add_decayed_weights(settings.weight_decay, decayed))
    parts.append(make(hparam, EPS_ROOT if differentiable else 0.0))
    return optax.chain(*parts)


def decayed(params: PyTree) -> PyTree:
    """Whether weight decay touches each leaf: biases and the gains of norms do not decay."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def clip_by_global_norm(gradients: PyTree, max_norm: float) -> PyTree:
    """Gradients whose global norm is above `max_norm` scaled to that norm; others as they are.

    Unlike optax's, its derivative is finite where all gradients are 0. Pascanu et al. 2013,
    https://arxiv.org/abs/1211.5063, algorithm 1.
    """
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradients))
    above = squares > max_norm**2
    # The root is taken of 1 where it is not used, since infinity, its derivative at 0, times 0 would be no number.
    scale = jnp.where(above, max_norm / jnp.sqrt(jnp.where(above, squares, 1.0)), 1.0)
    return jax.tree.map(lambda leaf: scale * leaf, gradients)
