"""APA: generated examples among the real ones that a discriminator is given, with a probability p for each.

A discriminator that learns few real examples by heart is deceived: some of what it is to find real is generated. p is
fixed, scheduled or adapted, as `adaptive` says. The generator is given all real examples as they are.

References:
    Jiang et al., Deceive D: Adaptive Pseudo Augmentation for GAN Training with Limited Data, 2021.
    https://arxiv.org/abs/2111.06849
    The authors' code, https://github.com/EndlessSora/DeceiveD, takes fakes of the generator's last update. Here they
    are those of the same update of the discriminator, as in https://github.com/POSTECH-CVLab/PyTorch-StudioGAN, so that
    each has the label of the real example in whose place it stands.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgan.adversarial import adaptive
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import Settings
from jaxgan.core.state import TrainState

Examples = Float[Array, "batch *shape"]

SETTINGS: Settings = adaptive.settings(
    "apa",
    "what gives the probability p of a fake in the place of a real example",
    "probability that the discriminator is given a fake in the place of a real example",
    {},
)


def check(exp: Experiment) -> Iterator[str]:
    """Why settings of APA do not go with other ones."""
    yield from adaptive.check(exp, "apa", "replaces nothing")


def deceive(
    exp: Experiment,
    state: TrainState,
    real: Examples,
    fake: Examples,
    stream: str,
    index: int | Int[Array, ""] = 0,
) -> Examples:
    """The real examples, some of them replaced by the fakes in the same places; no gradient reaches the generator.

    Args:
        exp, state: the experiment and its state.
        real, fake: examples before they are augmented.
        stream, index: of random numbers, of which each pair has its own, as in `LatentBatch`.
    """
    if exp.config.apa.mode == "off":
        return real
    keys = exp.example_keys(state, len(real), f"{stream} apa", index)
    uniform = jax.vmap(jax.random.uniform)(keys)  # below 1, so that a p of 1 replaces all
    replaced = uniform < adaptive.probability(exp, state, "apa")
    return jnp.where(replaced.reshape(-1, *[1] * (real.ndim - 1)), jax.lax.stop_gradient(fake), real)
