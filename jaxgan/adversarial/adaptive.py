"""A probability that is fixed, scheduled, or adapted to how far a discriminator overfits.

A discriminator that learns its real examples by heart finds nearly all of them real. p grows while it does, and falls
while it does not. ADA and APA have one each, which a group of settings of that name describes. What moves is kept in
the state's `extra` under the same name.

References:
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, section 3.
    https://arxiv.org/abs/2006.06676
    The authors' code: https://github.com/NVlabs/stylegan2-ada-pytorch
"""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxgan.adversarial.losses import LOSSES
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import ABOVE_ZERO, FRACTION, Choice, Range, Setting, Settings
from jaxgan.core.state import TrainState
from jaxgan.core.types import Metrics

NAMES = ("ada", "apa")  # groups of settings, of which an algorithm may have one, both or none
INTERVAL = 4  # batches from one move of p to the next

TARGET = Range(lambda value: -1 < value < 1, "above -1 and below 1")


def settings(name: str, help: str, fixed: str, own: Settings) -> Settings:
    """The group of settings of a probability.

    Args:
        name: of the group.
        help: what the mode decides.
        fixed: what a fixed p is.
        own: further settings, which every mode but "off" has.
    """
    adaptive = {
        "target": Setting(
            0.6, "mean sign of the logits of real examples up to which p, 0 at first, grows", TARGET, sweepable=True
        ),
        "speed": Setting(500_000.0, "images in which p can move by 1", ABOVE_ZERO, sweepable=True),
    }
    modes: dict[str, Settings] = {
        "off": {},
        "fixed": {"p": Setting(0.3, fixed, FRACTION, sweepable=True), **own},
        "adaptive": adaptive | dict(own),
    }
    return {name: {"mode": Choice("off", help, modes.copy)}}


def check(exp: Experiment, name: str, nothing: str) -> Iterator[str]:
    """Why the settings of a probability do not go with other ones; `nothing` says what a p of 0 is good for."""
    config, mode = exp.config, exp.config[name].mode
    if mode == "fixed" and not exp.is_enabled(f"{name}.p"):
        yield f"config.{name}.p=0 {nothing}: make it more, let a schedule do so, or make config.{name}.mode=off"
    if mode == "adaptive" and LOSSES[config.loss].boundary is None:
        able = ", ".join(loss for loss, entry in LOSSES.items() if entry.boundary is not None)
        yield (
            f"config.{name}.mode=adaptive counts real examples that are found real, and config.loss={config.loss} only "
            f"compares logits with each other: make config.{name}.mode=fixed, or choose the loss from {able}"
        )


def probability(exp: Experiment, state: TrainState, name: str) -> float | Float[Array, ""]:
    """The p of this step."""
    return state.extra[name]["p"] if exp.config[name].mode == "adaptive" else hparam(exp, state, f"{name}.p")


def initial_extra(exp: Experiment) -> dict[str, dict[str, Array]]:
    """What moves, at step 0: each adaptive p, and the sum of mean signs over the batches since its last move."""
    adaptive = [name for name in NAMES if name in exp.config and exp.config[name].mode == "adaptive"]
    return {name: {own: jnp.zeros(()) for own in ("p", "signs", "batches")} for name in adaptive}


def adapt(exp: Experiment, state: TrainState, real_logits: PyTree) -> tuple[Metrics, dict[str, dict[str, Array]]]:
    """The metrics of all probabilities, and what the state's `extra` is after an update of the discriminator.

    Every fourth batch p moves up or down by the images since its last move over `speed`, but not below 0.

    Args:
        exp, state: the experiment and its state.
        real_logits: the discriminator's, of real examples as it is given them: an array or several, such as one for
            each scale.
    """
    metrics, extra, boundary = {}, {}, LOSSES[exp.config.loss].boundary
    for name in NAMES:
        if name not in exp.config or exp.config[name].mode == "off":
            continue
        metrics[f"{name}/p"] = jnp.asarray(probability(exp, state, name), jnp.float32)
        if boundary is None:
            continue
        logits = jnp.concatenate([array.reshape(-1) for array in jax.tree.leaves(real_logits)])
        metrics[f"{name}/sign"] = sign = exp.pmean(jnp.sign(jax.lax.stop_gradient(logits) - boundary).mean())
        if exp.config[name].mode == "adaptive":
            target, speed = (hparam(exp, state, f"{name}.{own}") for own in ("target", "speed"))
            extra[name] = moved(state.extra[name], sign, target, exp.config.batch_size / speed)
    return metrics, extra


def moved(
    before: Mapping[str, Array], sign: Float[Array, ""], target: float | Array, share: float | Array
) -> dict[str, Array]:
    """What `initial_extra` makes, after one batch more.

    Args:
        before: the same.
        sign: the mean sign of this batch's logits.
        target: to which the mean over `INTERVAL` batches is compared.
        share: of 1 by which p moves for each batch.
    """
    signs, batches = before["signs"] + sign, before["batches"] + 1
    due = batches == INTERVAL
    step = jnp.where(due, jnp.sign(signs / INTERVAL - target) * INTERVAL * share, 0)
    return {
        "p": jnp.maximum(before["p"] + step, 0).astype(jnp.float32),
        "signs": jnp.where(due, 0, signs),
        "batches": jnp.where(due, 0, batches),
    }
