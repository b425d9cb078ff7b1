"""ADA: the augmentation pipe before a discriminator, with a probability p that is fixed, scheduled or adapted.

A discriminator that learns its real examples by heart finds nearly all of them real. p grows while it does, and falls
while it does not. What moves is kept in the state's `extra` under "ada".

References:
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, section 3 and appendix D.
    https://arxiv.org/abs/2006.06676
    The authors' code: https://github.com/NVlabs/stylegan2-ada-pytorch
"""

import math
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxgan.adversarial import augment_pipe
from jaxgan.adversarial.augment_pipe import COLOUR, OPERATIONS
from jaxgan.adversarial.losses import LOSSES
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import ABOVE_ZERO, FRACTION, Choice, Range, Setting, Settings, split_names
from jaxgan.core.state import TrainState
from jaxgan.core.types import Metrics

Examples = Float[Array, "batch *shape"]

INTERVAL = 4  # batches from one move of p to the next

BLIT, GEOM, COLOR = OPERATIONS[:3], OPERATIONS[3:7], tuple(COLOUR)
GROUPS: dict[str, tuple[str, ...]] = {
    "blit": BLIT,
    "geom": GEOM,
    "color": COLOR,
    "colour": COLOR,
    "filter": ("imgfilter",),
    "bg": BLIT + GEOM,
    "bgc": BLIT + GEOM + COLOR,
    "bgcf": BLIT + GEOM + COLOR + ("imgfilter",),
    "bgcfn": BLIT + GEOM + COLOR + ("imgfilter", "noise"),
    "bgcfnc": OPERATIONS,
}


def multipliers(entries: tuple) -> dict[str, float]:
    """Of the probability of operations, by name: of ("bgc", "color*0.5") 0.5 for those of colours, 1 for the others.

    Raises:
        ValueError: an entry is not the name of an operation or of a group, maybe with * and a finite number.
    """
    found = {}
    for entry in split_names(entries):
        name, times, factor = (part.strip() for part in entry.partition("*"))
        value = float(factor) if times else 1.0
        if (name not in GROUPS and name not in OPERATIONS) or not 0 <= value < math.inf:
            raise ValueError(entry)
        found |= dict.fromkeys(GROUPS.get(name, (name,)), value)
    return found


def are_operations(entries: tuple) -> bool:
    """Whether a setting names some, one of them at least with a multiplier above 0."""
    try:
        return any(multipliers(entries).values())
    except ValueError:
        return False


PIPE: Settings = {
    "operations": Setting(
        ("bgc",),
        "augmentations, those of a later name again; R3GAN has bgc, color*0.5 and cutout",
        Range(
            are_operations,
            f"names out of {', '.join(dict.fromkeys([*GROUPS, *OPERATIONS]))}, maybe with a multiplier of p such as "
            "color*0.5, and one above 0",
        ),
    )
}
MODES: dict[str, Settings] = {
    "off": {},
    "fixed": {"p": Setting(0.3, "probability of each augmentation", FRACTION, sweepable=True), **PIPE},
    "adaptive": {
        "target": Setting(
            0.6,
            "mean sign of the logits of real examples up to which p, 0 at first, grows",
            Range(lambda value: -1 < value < 1, "above -1 and below 1"),
            sweepable=True,
        ),
        "speed": Setting(500_000.0, "images in which p can move by 1", ABOVE_ZERO, sweepable=True),
        **PIPE,
    },
}
SETTINGS: Settings = {"ada": {"mode": Choice("off", "what gives the probability p of ADA's augmentations", MODES.copy)}}


def check(exp: Experiment) -> Iterator[str]:
    """Why settings of ADA do not go with other ones."""
    config, mode = exp.config, exp.config.ada.mode
    if mode == "off":
        return
    if not any(field.kind == "pixels" for field in exp.fields):
        yield f"config.ada.mode={mode} is for images, and config.data.source={config.data.source} has none"
    if mode == "fixed" and not exp.is_enabled("ada.p"):
        yield "config.ada.p=0 augments nothing: make it more, let a schedule do so, or make config.ada.mode=off"
    if mode == "adaptive" and LOSSES[config.loss].boundary is None:
        able = ", ".join(name for name, loss in LOSSES.items() if loss.boundary is not None)
        yield (
            f"config.ada.mode=adaptive counts real examples that are found real, and config.loss={config.loss} only "
            f"compares logits with each other: make config.ada.mode=fixed, or choose the loss from {able}"
        )


def probability(exp: Experiment, state: TrainState) -> float | Float[Array, ""]:
    """The p of this step."""
    return state.extra["ada"]["p"] if exp.config.ada.mode == "adaptive" else hparam(exp, state, "ada.p")


def augment(exp: Experiment, state: TrainState, examples: Examples, example_keys: Key[Array, " batch"]) -> Examples:
    """Images as a discriminator is given them; without ADA any examples as they are.

    Args:
        exp, state: the experiment and its state. Of several discriminators each has its own `extra`.
        examples: real or fake.
        example_keys: one for each.
    """
    if exp.config.ada.mode == "off":
        return examples
    own, p = multipliers(exp.config.ada.operations), probability(exp, state)
    # At 0 nothing happens to any image, so nothing is computed.
    return jax.lax.cond(p > 0, lambda: augment_pipe.augment(examples, example_keys, p, own), lambda: examples)


def initial_extra(exp: Experiment) -> dict[str, dict[str, Array]]:
    """What moves, at step 0: p, and the sum of mean signs since its last move over a number of batches."""
    if exp.config.ada.mode != "adaptive":
        return {}
    return {"ada": {name: jnp.zeros(()) for name in ("p", "signs", "batches")}}


def adapt(exp: Experiment, state: TrainState, real_logits: PyTree) -> tuple[Metrics, dict[str, dict[str, Array]]]:
    """The metrics of ADA, and what the state's `extra` is after an update of the discriminator.

    Every fourth batch p moves up or down by the images since its last move over `speed`, but not below 0.

    Args:
        exp, state: the experiment and its state.
        real_logits: the discriminator's, of augmented real examples: an array or several, such as one for each scale.
    """
    if exp.config.ada.mode == "off":
        return {}, {}
    p = jnp.asarray(probability(exp, state), jnp.float32)
    if (boundary := LOSSES[exp.config.loss].boundary) is None:
        return {"ada/p": p}, {}
    logits = jnp.concatenate([array.reshape(-1) for array in jax.tree.leaves(real_logits)])
    sign = exp.pmean(jnp.sign(jax.lax.stop_gradient(logits) - boundary).mean())
    metrics = {"ada/p": p, "ada/sign": sign}
    if exp.config.ada.mode == "fixed":
        return metrics, {}
    target, speed = (hparam(exp, state, f"ada.{name}") for name in ("target", "speed"))
    return metrics, {"ada": moved(state.extra["ada"], sign, target, exp.config.batch_size / speed)}


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
