"""From configuration to one optax transformation per network.

The transformations' updates are for a peak learning rate of one, and the caller multiplies them by the peak. Thus the
peak may be a traced number, of which a sweep trains many at once by `jax.vmap`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""] | float]

# (share of the learning rate at an update, settings, eps_root) -> transformation. Where the root of an average of
# squares divides, 1e-8 is added to that root, and eps_root below it. Each update is linear in the learning rate.
OPTIMIZERS = {
    # Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1.
    "adam": lambda rate, settings, eps_root: optax.adam(rate, settings.b1, settings.b2, eps_root=eps_root),
    # Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2; the decay is times the learning rate.
    "adamw": lambda rate, settings, eps_root: optax.adamw(
        rate, settings.b1, settings.b2, eps_root=eps_root, weight_decay=settings.weight_decay, mask=decayed
    ),
    # Hinton 2012, lecture 6e of his course. optax has one eps only, so eps_root, where given, is all of it.
    "rmsprop": lambda rate, settings, eps_root: optax.rmsprop(
        rate, settings.b2, eps=eps_root or 1e-8, eps_in_sqrt=eps_root > 0, momentum=settings.b1 or None
    ),
    # Polyak 1964, as in Sutskever et al. 2013, but with the learning rate outside the sum, as in PyTorch.
    "sgd": lambda rate, settings, eps_root: optax.sgd(rate, momentum=settings.b1 or None),
    # Chen et al. 2023, https://arxiv.org/abs/2302.06675, algorithm 2.
    "lion": lambda rate, settings, eps_root: optax.lion(
        rate, settings.b1, settings.b2, weight_decay=settings.weight_decay, mask=decayed
    ),
    # Daskalakis et al. 2018, https://arxiv.org/abs/1711.00141, algorithm 1: 2 r_t - r_{t-1} for Adam's r_t. Nesterov's
    # momentum, optax's default, is no part of it. The first update takes r_0 = r_1, as nothing was predicted before.
    "optimistic_adam": lambda rate, settings, eps_root: optax.optimistic_adam_v2(
        rate, alpha=1.0, beta=1.0, b1=settings.b1, b2=settings.b2, eps_root=eps_root, nesterov=False
    ),
}
DECOUPLED = ("adamw", "lion")  # have their own weight decay
EPS_ROOT = 1e-16  # below the root, what the optimizers' 1e-8 is beside it

# (decay_steps, final_share) -> share of the peak at a training step, 1 at first.
SCHEDULES = {
    "constant": lambda steps, share: optax.constant_schedule(1.0),
    "linear": lambda steps, share: optax.linear_schedule(1.0, share, steps),
    "cosine": lambda steps, share: optax.cosine_decay_schedule(1.0, steps, share),
}


def schedule(settings: ConfigDict) -> Schedule:
    """The share of the peak learning rate at a training step, for one network's `config.optimizer.generator`, say.

    The schedule counts from step 0 and is multiplied by min(1, (step + 1) / warmup_steps): a warm-up does not put off
    the steps at which the schedule proper falls.

    Args:
        settings: `schedule`, `decay_steps`, `final_share`, and `warmup_steps`, 0 for none; both in training steps.

    Returns:
        Training step -> share, from 0 to 1.
    """
    share = SCHEDULES[settings.schedule](settings.decay_steps, settings.final_share)
    if not settings.warmup_steps:
        return share
    return lambda step: share(step) * jnp.minimum(1.0, (step + 1) / settings.warmup_steps)


def optimizer(
    settings: ConfigDict, updates_per_step: int = 1, differentiable: bool = False
) -> optax.GradientTransformation:
    """The transformation of one network, for a peak learning rate of one: the caller multiplies updates by the peak.

    Gradients are clipped, then an L2 term is added, then comes the optimizer. Under `jax.vmap` over members both its
    `init` and its `update` belong inside, since norms and the leaves to decay are those of one member.

    Args:
        settings: those of `schedule`, and
            `name`: one of OPTIMIZERS;
            `b1`: decay of the average of gradients; of "sgd" and "rmsprop" the classical momentum, 0 for none;
            `b2`: decay of the average of squares, of "lion" that of its momentum; "sgd" has no use for it;
            `weight_decay`: decoupled from the gradients for "adamw" and "lion": the peak times the schedule's share
                times it is what a step takes off a weight. For the others the classic L2 term: weight_decay times the
                parameters joins the gradients. Either way only leaves of two dimensions and more decay, so biases and
                the gains of norms do not;
            `clip`: the largest global norm of the gradients, larger ones are scaled to it; 0 for no clipping.
        updates_per_step: how often the network is updated in a training step; schedules count training steps.
        differentiable: makes the derivative of updates by gradients finite also where gradients are 0, for GANs that
            are unrolled: 1e-16 is added below each root (and 1e-8 beside it as ever, but for "rmsprop").
    """
    share = schedule(settings)
    parts = []
    if settings.clip:
        parts.append(clip_by_global_norm(settings.clip))
    if settings.weight_decay and settings.name not in DECOUPLED:
        parts.append(optax.add_decayed_weights(settings.weight_decay, decayed))
    rate = lambda count: share(count // updates_per_step)  # noqa: E731
    parts.append(OPTIMIZERS[settings.name](rate, settings, EPS_ROOT if differentiable else 0.0))
    return optax.chain(*parts)


def decayed(params: PyTree) -> PyTree:
    """Whether weight decay touches each leaf."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def clip_by_global_norm(most: float) -> optax.GradientTransformation:
    """Scales gradients whose global norm is above `most` to that norm, and leaves others as they are.

    Unlike optax's, its derivative is finite where all gradients are 0. Pascanu et al. 2013,
    https://arxiv.org/abs/1211.5063, algorithm 1.
    """

    def clipped(gradients: PyTree, params: PyTree | None) -> PyTree:
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradients))
        above = squares > most**2
        # The root is taken of 1 where it is not used, since infinity, its derivative at 0, times 0 would be no number.
        scale = jnp.where(above, most / jnp.sqrt(jnp.where(above, squares, 1.0)), 1.0)
        return jax.tree.map(lambda leaf: scale * leaf, gradients)

    return optax.stateless(clipped)
