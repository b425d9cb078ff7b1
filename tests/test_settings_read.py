"""Every setting does something: another value of it is refused, or changes what is computed."""

import functools
import math

import jax
import pytest
from contracts import ALGORITHM_NAMES, config_of

from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import build, default, example_batch, validate
from jaxgan.core import population
from jaxgan.core import settings as declarations
from jaxgan.core.settings import Choice, Setting
from jaxgan.errors import UserError

pytestmark = pytest.mark.slow

# Settings that no step depends on, and where a test changes them.
ELSEWHERE = {
    "data.split": "test_splits.py",
    "data.classes": "test_labels.py",
    "data.load_size": "test_loader.py",
    "data.crop": "test_loader.py",
    "data.flip": "test_loader.py",
    "data.upscale": "test_decode.py",
    "sample_grid": "test_snapshot.py",
    "data.count": "the probe's own",
    "data.other_count": "the probe's own",
}
# What has to be switched on for a setting to matter.
CONTEXT = {
    "instance_noise.decay_steps": {"instance_noise.stddev": 0.1},
    "top_k.decay_steps": {"top_k.fraction": 0.5},
    "latent_optimisation.damping": {"latent_optimisation.rate": 0.1},
    "penalty_settings.lecam_decay": {"penalties.lecam": 1.0},
    "penalty_settings.perturbation_stddev": {"penalties.zcr": 1.0},
    "penalty_settings.transform": {"penalties.cr": 1.0},
    "feature_matching": {},
    "conditioning.embedding": {"conditioning.discriminator": "concat"},
    "penalty_interval": {"penalties": 1.0},
    "generator_penalty_interval": {"generator_penalties": 1.0},
    "conditioning.generator": {"conditioning.discriminator": "projection"},
    "conditioning.discriminator": {"conditioning.generator": "concat"},
    "ema_decay": {"ema_warmup": False},
}
IMAGES = {  # the same on images, for what is about them
    "data.source": "digits",
    "data.size": 8,
    "model.family": "dcgan",
}


def others(entry: Setting | Choice, value: object) -> list:
    """Other values of a setting, as far as its range goes."""
    if isinstance(entry, Choice):
        return [name for name, own in entry.table().items() if name != value and not isinstance(own, str)]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        near = [value + 1, 2 * value + 2, value - 1]
    elif isinstance(value, float):
        near = [value / 2 + 0.1, value + 1, 0.37]
    elif isinstance(value, tuple):
        near = [("cutout",), (3,), (0.25, 0.75)]
    else:
        near = []
    return [other for other in near if entry.range.valid(other) and other != value]


def context_of(name: str) -> dict:
    group, _, last = name.partition(".")
    if group in ("penalty_interval", "generator_penalty_interval"):
        return {f"{'penalties' if group[0] == 'p' else 'generator_penalties'}.{last}": 1.0}
    return CONTEXT.get(name, {})


@functools.cache
def base_of(name: str, images: bool):
    """The smallest configuration of an algorithm, on points or on images."""
    entry = ALGORITHMS[name]
    if not images:
        return {"algorithm": name, **entry.smallest}
    smallest = {key: value for key, value in entry.smallest.items() if not key.startswith(("model", "data"))}
    roles = [group for group in config_of(name).model if group not in ("family", "initializer", "init_stddev")]
    return {"algorithm": name, **smallest, **IMAGES, **{f"model.{role}.base_channels": 2 for role in roles}}


def computed(settings: dict) -> str:
    """What a configuration makes: its state's and its step's program, as text."""
    exp = build(default(settings), classes=3)
    state, batch = jax.eval_shape(lambda: population.init_state(exp)), jax.eval_shape(lambda: example_batch(exp))

    def run(state, batch):
        return exp.algorithm.step(exp, state, batch)

    if exp.config.population > 1:
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((exp.config.population, *x.shape), x.dtype), batch)
        run = population.vmap_members(run)
    start = jax.jit(lambda: population.init_state(exp)).lower().as_text()
    return start + jax.jit(run).lower(state, batch).as_text() + repr(exp.algorithm.examples_together(exp.config))


SETTINGS = [
    (name, images, setting)
    for name in ALGORITHM_NAMES
    for images in ([False, True] if "model.family" in ALGORITHMS[name].smallest else [False])
    for setting, entry in validate(default(base_of(name, images))).items()
    if not entry.resumable and setting not in ELSEWHERE
    if not images
    or setting.startswith(("data.", "model.", "augment", "penalties.cr", "penalties.bcr", "penalty_settings"))
]


@pytest.mark.parametrize(("name", "images", "setting"), SETTINGS, ids=lambda value: str(value))
def test_another_value_changes_what_is_computed_or_is_refused(name, images, setting):
    base = base_of(name, images)
    special = {
        "sweep": {"population": 2, "sweep": f"optimizer.{next(iter(ALGORITHMS[name].players(None)))}.learning_rate=1,2"}
    }
    special |= {
        "schedules": {"schedules": f"optimizer.{next(iter(ALGORITHMS[name].players(None)))}.learning_rate=linear(1, 9)"}
    }
    if setting in special:
        assert computed(base | special[setting]) != computed(
            base | {"population": special[setting].get("population", 1)}
        )
        return
    base |= context_of(setting)
    if setting == "penalty_settings.transform" and not images:
        pytest.skip("it is about images")
    flat = declarations.flatten(default(base))
    entry = validate(default(base))[setting]
    before = computed(base)
    tried = others(entry, flat[setting])
    assert tried, f"no other value of {setting} is known to this test"
    for other in tried:
        try:
            if computed(base | {setting: other}) != before:
                return
        except UserError:
            continue
    raise AssertionError(f"no other value of {setting} out of {tried} changes anything")


def test_the_exceptions_exist():
    known = {
        name
        for algorithm in ALGORITHM_NAMES
        for images in (False, True)
        if images is False or algorithm != "probe"
        for name in validate(default(base_of(algorithm, images)))
    }
    assert ELSEWHERE.keys() <= known | {"data.load_size"}
    assert math.isfinite(len(known))
