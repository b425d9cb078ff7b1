"""Every setting does something: another value changes what a run computes, or is refused.

A run computes its data set, its initial state and its steps. Initial state and steps are compared as programs, without
operations that no result depends on. The cases come from the tables, so that the law holds for new settings as well. A
setting that is parsed and then ignored breaks the law.
"""

import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxtyping
import numpy as np
import pytest
from contracts import ALGORITHM_NAMES
from jax.interpreters import partial_eval

from jaxgan.adversarial.conditioning import DISCRIMINATOR_CONDITIONING
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.penalties import INTERVALS, TABLES
from jaxgan.algorithms import ALGORITHMS
from jaxgan.algorithms.motion import ANIMATORS
from jaxgan.config import SETTINGS, build, default, with_changes
from jaxgan.core import population, program
from jaxgan.core import settings as declarations
from jaxgan.core.settings import Choice, Setting
from jaxgan.data import loader
from jaxgan.data.sources import SOURCES, open_dataset
from jaxgan.errors import UserError
from jaxgan.models import MODELS

pytestmark = pytest.mark.slow

# Settings that neither data nor steps depend on, and the test that changes them.
ELSEWHERE = {
    "sample_grid": ("test_snapshot.py", "test_a_grid_has_the_first_samples_of_the_seed"),
    "data.up": ("test_voxels.py", "test_the_axis_that_points_up_becomes_the_last_one"),
    "data.white": ("test_decode.py", "test_white_is_a_number_of_files_that_are_deeper_than_8_bits_alone"),
}
# Settings whose other values are all refused.
REFUSALS = {("data.upscale", source) for source in ("digits", "stacked", "edited", "unpaired", "paired")}
REFUSALS |= {("data.channels", "stacked"), ("data.classes", "unpaired"), ("data.classes", "paired")}

# What has to be enabled for a setting to matter.
CONDITIONAL = {"conditioning.generator": "concat", "conditioning.discriminator": "projection"}
CONTEXT: dict[str, dict[str, Any]] = {
    "instance_noise.decay_steps": {"instance_noise.stddev": 0.1},
    "top_k.decay_steps": {"top_k.fraction": 0.5},
    "latent_optimisation.damping": {"latent_optimisation.rate": 0.1},
    "penalty_settings.lecam_decay": {"penalties.lecam": 1.0},
    "penalty_settings.perturbation_stddev": {"penalties.zcr": 1.0},
    "penalty_settings.transform": {"penalties.cr": 1.0},
    "penalty_settings.through_augmentation": {"penalties.r1": 1.0, "augment": ("colour",)},
    "penalty_settings.path_length_rate": {"generator_penalties.path_length": 1.0},
    "model.generator.unit_norm": {"model.generator.norm": "batch"},
    "model.decoder.unit_norm": {"model.decoder.norm": "batch"},
    "model.discriminator.mapping_depth": {"conditional": True},
    "conditioning.generator": CONDITIONAL | {"model.generator.norm": "batch"},
    "conditioning.discriminator": CONDITIONAL,
    "model.synthesis.half_precision": {"precision": "bfloat16", "model.synthesis.half_precision": 0},
    "model.discriminator.half_precision": {"precision": "bfloat16", "model.discriminator.half_precision": 0},
    "model.generator.embedding": {
        "conditioning.generator": "cbn",
        "conditioning.discriminator": "projection",
        "model.generator.norm": "batch",
    },
    "model.generator.norm_epsilon": {"model.generator.norm": "batch"},
    "model.discriminator.wide": {"model.discriminator.multipliers": (1, 2)},
    "sweep": {"population": 2},
    "data.crop": {"data.load_size": 72},
    "data.fit": {"data.size": "16x32"},
}
CONTEXT_OF: dict[tuple[str, str], dict[str, Any]] = {  # the same for one algorithm
    ("projected_gan", "conditional"): {"model.generator.norm": "batch"},
    ("projected_gan", "model.generator.embedding"): {"conditional": True, "model.generator.norm": "batch"},
}
# Conditioning is chosen on both sides.
COMPANIONS = {
    ("conditioning.generator", "concat"): {"conditioning.discriminator": "projection"},
    **{
        ("conditioning.discriminator", name): {"conditioning.generator": "concat"}
        for name in DISCRIMINATOR_CONDITIONING
    },
    ("conditioning.discriminator", "mhgan"): {"conditioning.generator": "concat", "loss": "hinge"},
    ("optimizer.critics.name", "sgd"): {"schedules": ""},  # of b2, which it does not have
}
IMAGES = (
    "augment",
    "penalty_settings.transform",
    "penalty_settings.through_augmentation",
    "penalty_settings.path_length_rate",
    "model.family",
    "likelihood",
    "binarize",
    "dequantize",
)  # need some
# Other values where a text or a tuple says little about what is allowed; PLAYER is one of the algorithm's.
VALUES: dict[str, Any] = {
    "ada.operations": [("blit",)],
    "augment": [("flip",)],
    "checkpoint.best": ["loss/generator"],
    "data.classes": [("1", "2"), ("362", "883"), ("table", "chair")],
    "data.channels": [1, 3],
    "data.crop": ["random"],
    "data.load_size": [72],
    "data.size": [24, 32, 128],
    "data.source": ["world:grid"],
    "data.split": ["train[:50]"],
    "eval.weights": ["a file"],
    "model.generator.attention": [(8,)],
    "model.generator.smallest": [2],
    "model.discriminator.smallest": [2],
    "model.discriminator.attention": [(8,)],
    "model.synthesis.channel_base": [64],
    "model.synthesis.channel_max": [1],
    "model.discriminator.channel_base": [64],
    "model.discriminator.channel_max": [1],
    **{f"model.{name}.max_channels": [1] for name in (*ANIMATORS, "discriminator")},
    "loss": list({id(entry): name for name, entry in reversed(LOSSES.items())}.values()),  # no two names of one loss
    "penalty_settings.transform": [("cutout",)],
    "projection.size": [160],
    "schedules": ["optimizer.PLAYER.learning_rate=linear(1, 9)"],
    "sweep": ["optimizer.PLAYER.learning_rate=1,2"],
}


class Case(NamedTuple):
    """A setting of an algorithm, and the choices under which it exists."""

    algorithm: str
    setting: str
    chosen: tuple[tuple[str, str], ...] = ()


NO_POINTS = ("stylegan2", "fastgan", "projected_gan")  # algorithms of images alone


def cases(algorithm: str) -> list[Case]:
    """Of an algorithm: every setting that no run may change when it goes on.

    All players have the same optimizers. Those that are nobody's default are tried with the first player alone.
    """
    first, *_ = ALGORITHMS[algorithm].settings["optimizer"]
    own_source = kind_of(ALGORITHMS[algorithm].smallest["data.source"])
    found = []
    for setting, entry, above in declarations.walk(SETTINGS):
        chosen = {"algorithm": algorithm} | dict(above)
        smallest = SOURCES[chosen.get("data.source", own_source)].smallest
        if entry.resumable or setting in ELSEWHERE or chosen.pop("algorithm") != algorithm or smallest is None:
            continue
        if algorithm in NO_POINTS and chosen.get("data.source") == "world":
            continue
        if isinstance(entry, Choice) and sum(not isinstance(brought, str) for brought in entry.table().values()) == 1:
            continue  # there is no other one
        if smallest.get("model.family") == "voxel" and algorithm != "gan":
            continue  # which alone makes shapes
        if any(key.endswith(".name") and first not in key and chosen[key] != "adam" for key in chosen):
            continue
        if smallest.get("algorithm") == SOURCES[own_source].smallest.get("algorithm"):
            found.append(Case(algorithm, setting, tuple(chosen.items())))
    return found


def kind_of(source: str) -> str:
    return source.partition(":")[0]


def on(algorithm: str, family: str) -> dict[str, Any]:
    """The smallest networks of a family, and data that they are made for."""
    entry, source = MODELS[family], ALGORITHMS[algorithm].smallest["data.source"]
    images = {"data.source": "digits" if kind_of(source) == "world" else source}
    images["data.size"] = max(16, entry.shape[0])  # with which all networks have hidden layers
    shapes = {"data.source": "world:solids", "data.size": 16, "data.split": "train[:20]"}
    data = {1: {"data.source": "world:ring"}, 3: images, 4: shapes}[len(entry.shape)]
    brought = ALGORITHMS[algorithm].settings["model"]["family"].table()[family]
    own = entry.smallest | {"norm": "none"}  # which makes the shortest programs
    sizes = {f"model.{role}.{key}": own[key] for role in brought for key in own if key in brought[role]}
    return {"model.family": family, **data, **sizes}


def family_of_images(algorithm: str) -> str:
    """The family with the shortest programs, unless the algorithm cannot use that."""
    families = ALGORITHMS[algorithm].settings["model"]["family"]
    return families.default if isinstance(families.table()["mlp"], str) else "mlp"  # a text says why it cannot


def changes_of(case: Case) -> dict[str, Any]:
    """What the smallest configuration needs so that a setting exists and matters."""
    chosen, smallest = dict(case.chosen), ALGORITHMS[case.algorithm].smallest
    group, _, last = case.setting.partition(".")
    of_penalty = {name: table for table, every in INTERVALS.items() for name in (table, every)}
    penalty = TABLES[of_penalty[group]].get(last) if group in of_penalty else None
    source = SOURCES[chosen.pop("data.source", kind_of(smallest["data.source"]))].smallest
    images = case.setting in IMAGES or group == "ada" or (penalty and penalty.images_only) or "data.size" in source
    usual = family_of_images(case.algorithm) if images else smallest.get("model.family")
    family = chosen.pop("model.family", source.get("model.family", usual))
    found = on(case.algorithm, family) if family else {}
    if "data.source" in dict(case.chosen):
        found |= {name: value for name, value in source.items() if name != "data.size"}
    for choice, entry in chosen.items():
        found |= COMPANIONS.get((choice, entry), {}) | {choice: entry}
    if group.endswith("penalty_interval"):
        found[f"{group.removesuffix('penalty_interval')}penalties.{last}"] = 1.0
    if group == "optimizer" and last.endswith(".name"):
        found[f"{case.setting.removesuffix('name')}weight_decay"] = 0.1  # adamw is adam without one
    return found | CONTEXT_OF.get((case.algorithm, case.setting), CONTEXT.get(case.setting, {}))


def config_of(case: Case):
    """The configuration of which one setting is changed."""
    smallest = {"algorithm": case.algorithm, **ALGORITHMS[case.algorithm].smallest}
    return with_changes(default(smallest), changes_of(case))[0]


def others(config, name: str, entry: Setting | Choice) -> list:
    """Other values of a setting."""
    value = declarations.flatten(config)[name]
    if isinstance(entry, Choice) and name not in VALUES:
        return [key for key, brought in entry.table().items() if key != value and not isinstance(brought, str)]
    if name in VALUES:
        player, *_ = config.optimizer
        near = [each.replace("PLAYER", player) if isinstance(each, str) else each for each in VALUES[name]]
    elif isinstance(value, bool):
        near = [not value]
    elif isinstance(value, int):
        near = [value + 1, 2 * value + 2, value - 1]
    elif isinstance(value, float):
        near = [value / 2 + 0.1, value + 1]
    elif isinstance(value, tuple):
        near = [(0.25, 0.75), (3,)]
    else:  # `one_of` lists its names
        near = re.split(", | or ", entry.range.expected)
    valid = (lambda other: True) if isinstance(entry, Choice) else entry.range.valid
    return [other for other in near if other != value and valid(other)]


class Computed:
    """What a run of a configuration computes. A `UserError` if the configuration is refused."""

    def __init__(self, config):
        self.config, self.dataset = config, dataset_of(config.data.to_json(sort_keys=True), config)
        self.exp = build(config, len(self.dataset.classes))

    def same_as(self, other: "Computed") -> bool:
        """Whether nothing is another one; what takes longest is compared last."""
        return self.data == other.data and self.start[0] == other.start[0] and self.step == other.step

    @property
    def data(self) -> tuple:
        """The examples."""
        return self.dataset.digest, self.dataset.classes, self.exp.fields

    @functools.cached_property
    def start(self) -> tuple[str, Any]:
        """The program that makes the initial state, and the shapes of that state."""
        return program_of(lambda: population.init_state(self.exp))

    @functools.cached_property
    def step(self) -> str:
        """The program of a dispatch of one step, from what the loader gives to state and metrics."""
        batches = self.exp.algorithm.batches_per_step(self.config)
        made = loader.make_loader(self.config, self.dataset, batches, room=2**40)
        steps = functools.partial(program.train_steps, self.exp, loader.make_batch_fn(self.config, made))
        return program_of(
            steps, self.start[1], (made.data, self.exp.algorithm.constants(self.exp)), made.input_spec(1)
        )[0]


def program_of(function, *arguments) -> tuple[str, Any]:
    """A function's program without what none of its results depends on, as a digest, and the shapes of the results."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    live, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    text = hashlib.blake2b(str(live).encode())
    for const in closed.consts:
        text.update(f"{np.shape(const)} {np.asarray(const).tobytes()!r}".encode())
    assert all(used)
    return text.hexdigest(), shapes


DATASETS: dict[str, Any] = {}
COMPUTED: dict[str, Computed] = {}


def dataset_of(key: str, config) -> Any:
    if key not in DATASETS:
        DATASETS[key] = open_dataset(config)
    return DATASETS[key]


def computed(config) -> Computed:
    """The same for equal configurations."""
    key = config.to_json(sort_keys=True)
    if key not in COMPUTED:
        COMPUTED[key] = Computed(config)
    return COMPUTED[key]


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """Shapes are checked by all other tests; here the checks would take half of the time."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    COMPUTED.clear()
    DATASETS.clear()


def check(case: Case) -> None:
    """The law, for one setting: every other value that is not refused makes another program, and there is such a value.

    All other entries of a choice may be refused, since an entry may need further choices. The settings that an entry
    brings are cases of their own.
    """
    config = config_of(case)
    entry = declarations.resolve(SETTINGS, declarations.flatten(config))[case.setting]
    before = computed(config)
    tried = others(config, case.setting, entry)
    assert tried, f"no other value of {case.setting} is known to this test: add one to VALUES"
    accepted = []
    for other in tried:
        try:
            after = computed(with_changes(config, {case.setting: other})[0])
        except UserError:
            continue
        assert not after.same_as(before), f"{case.setting}={other} changes nothing"
        accepted.append(other)
        if not isinstance(entry, Choice):
            break
    if not isinstance(entry, Choice):
        refused = (case.setting, dict(case.chosen).get("data.source")) in REFUSALS
        assert bool(accepted) != refused, f"{case.setting} as {tried}: accepted are {accepted}"


def name_of(value: object) -> str:
    if not isinstance(value, Case):
        return str(value)
    return "-".join([value.algorithm, value.setting, *(entry for _, entry in value.chosen)])


def distinct_cases() -> list[Case]:
    """All cases; but what the same code reads for every algorithm once: optimizers, and data of each kind of source."""
    found = {}
    for name in ALGORITHM_NAMES:
        source = kind_of(ALGORITHMS[name].smallest["data.source"])
        for case in cases(name):
            reader = {"optimizer": "optimizers", "data": source}.get(case.setting.partition(".")[0], name)
            found.setdefault((reader, case.setting, case.chosen), case)
    return list(found.values())


@pytest.mark.parametrize("case", distinct_cases(), ids=name_of)
def test_another_value_changes_what_is_computed_or_is_refused(case):
    check(case)


# The law would find them.


@pytest.mark.parametrize(
    "ignored",
    [Setting(1.0, "a number"), Setting((), "a tuple"), Choice("a", "a choice", lambda: {"a": {}, "b": {}})],
    ids=["number", "tuple", "choice"],
)
def test_a_setting_that_nothing_reads_is_found(ignored, monkeypatch):
    vae = ALGORITHMS["vae"]
    monkeypatch.setitem(ALGORITHMS, "vae", vae._replace(settings={**vae.settings, "ignored": ignored}))
    case = Case("vae", "ignored")
    assert case in cases("vae")
    with pytest.raises(AssertionError, match="changes nothing"):
        check(case)


def test_a_setting_whose_effect_is_thrown_away_is_found(monkeypatch):
    vae = ALGORITHMS["vae"]

    def step(exp, state, batch):
        jax.jit(lambda x: x * exp.config.unused)(batch["points"])
        return vae.step(exp, state, batch)

    settings = {**vae.settings, "unused": Setting(1.0, "a number")}
    monkeypatch.setitem(ALGORITHMS, "vae", vae._replace(settings=settings, step=step))
    with pytest.raises(AssertionError, match=r"unused=0\.6 changes nothing"):
        check(Case("vae", "unused"))


def test_a_setting_that_an_entry_brings_and_nothing_reads_is_found(monkeypatch):
    dcgan = MODELS["dcgan"]

    class Body(dcgan.roles["generator"].module):
        ignored: int = 1

    role = dcgan.roles["generator"]._replace(module=Body)
    role = role._replace(settings={**role.settings, "ignored": Setting(1, "a number")})
    monkeypatch.setitem(MODELS, "dcgan", dcgan._replace(roles={**dcgan.roles, "generator": role}))
    case = Case("gan", "model.generator.ignored", (("model.family", "dcgan"),))
    assert case in cases("gan")
    with pytest.raises(AssertionError, match=r"generator\.ignored=2 changes nothing"):
        check(case)


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_equal_configurations_have_equal_programs(name):
    """Or the law would say nothing."""
    config = config_of(cases(name)[-1])
    one, two = Computed(config), Computed(config)
    assert (one.data, one.start[0], one.step) == (two.data, two.start[0], two.step)


# Nothing is left out.


def test_every_setting_is_a_case():
    known = {setting for setting, entry, _ in declarations.walk(SETTINGS) if not entry.resumable}
    tested = {case.setting for name in ALGORITHM_NAMES for case in cases(name)}
    assert known - tested == ELSEWHERE.keys()
    for file, test in ELSEWHERE.values():
        assert f"def {test}(" in (Path(__file__).parent / file).read_text()


def test_sources_without_a_case_have_the_settings_of_one():
    tried = {name for source in SOURCES.values() if source.smallest for name in source.settings}
    for source in SOURCES.values():
        assert {f"data.{name}" for name in source.settings.keys() - tried} <= ELSEWHERE.keys()


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_what_a_resumed_run_may_change_changes_no_step(name):
    """All at once. That both ways of loading give the same bytes is a law of test_contracts.py."""
    config = config_of(Case(name, "seed"))
    resolved = declarations.resolve(SETTINGS, declarations.flatten(config))
    resumable = {
        setting: entry for setting, entry in resolved.items() if entry.resumable and setting != "data.placement"
    }
    changes = {setting: others(config, setting, entry)[0] for setting, entry in resumable.items()}
    assert "steps" in changes
    assert computed(with_changes(config, changes)[0]).same_as(computed(config))
