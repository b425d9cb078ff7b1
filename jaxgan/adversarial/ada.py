"""ADA: the augmentation pipe before a discriminator, with a probability p that is fixed, scheduled or adapted.

References:
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, appendix B.
    https://arxiv.org/abs/2006.06676
"""

import math
from collections.abc import Iterator

import jax
from jaxtyping import Array, Float, Key

from jaxgan.adversarial import adaptive, augment_pipe
from jaxgan.adversarial.augment_pipe import COLOUR, OPERATIONS
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import Range, Setting, Settings, split_names
from jaxgan.core.state import TrainState

Examples = Float[Array, "batch *shape"]

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
SETTINGS: Settings = adaptive.settings(
    "ada", "what gives the probability p of ADA's augmentations", "probability of each augmentation", PIPE
)


def check(exp: Experiment) -> Iterator[str]:
    """Why settings of ADA do not go with other ones."""
    config, mode = exp.config, exp.config.ada.mode
    if mode == "off":
        return
    if not any(field.kind == "pixels" for field in exp.fields):
        yield f"config.ada.mode={mode} is for images, and config.data.source={config.data.source} has none"
    yield from adaptive.check(exp, "ada", "augments nothing")


def augment(exp: Experiment, state: TrainState, examples: Examples, example_keys: Key[Array, " batch"]) -> Examples:
    """Images as a discriminator is given them; without ADA any examples as they are.

    Args:
        exp, state: the experiment and its state. Of several discriminators each has its own `extra`.
        examples: real or fake.
        example_keys: one for each.
    """
    if exp.config.ada.mode == "off":
        return examples
    own, p = multipliers(exp.config.ada.operations), adaptive.probability(exp, state, "ada")
    # At 0 nothing happens to any image, so nothing is computed.
    return jax.lax.cond(p > 0, lambda: augment_pipe.augment(examples, example_keys, p, own), lambda: examples)
