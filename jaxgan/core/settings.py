"""The settings of an experiment: defaults, validation, and the way to JSON and back."""

import json
import math
import reprlib
from pathlib import Path

from ml_collections import ConfigDict

from jaxgan.errors import UserError, choose
from jaxgan.io.files import atomic_write

# What a finished or interrupted run may change when it goes on: nothing here touches what a step computes.
HARMLESS = ("steps", "log_every", "sample_every", "checkpoint_every", "steps_per_dispatch")
HARMLESS += ("checkpoint.keep", "checkpoint.best", "checkpoint.best_mode", "data.cache", "data.feed", "data.workers")
HARMLESS += ("eval.every", "eval.num", "eval.features", "eval.weights")
HARMLESS += ("on_nonfinite", "nonfinite_limit")  # no step with finite numbers knows of them
HARMLESS += ("data.on_bad_image",)  # if it leaves images out, the run folder's data.json tells


def default() -> ConfigDict:
    """A plain DCGAN; the files in `configs/` start from it. Every setting is explained here."""
    config = ConfigDict()
    config.seed = 0
    config.population = 1  # copies trained at once, each with the next seed and its own order of the data
    config.sweep = ""  # their values of some settings: "penalties.r1=0.1,1,10; ema_decay=0.9,0.99,0.999"
    config.steps = 10_000  # training steps: one generator update each
    config.batch_size = 64  # examples in the global batch, over all devices
    config.latent_dim = 100
    config.precision = "float32"  # or "bfloat16": what networks compute in; parameters and losses stay float32

    config.data = ConfigDict()
    config.data.source = "digits"  # or tfds:, folder:, array:, stacked:, world:...; see data/sources.py
    config.data.split = "train"  # or "test", "train+test", "train[:10%]", ...
    config.data.classes = ()  # names of the only classes to keep; all of them if empty
    config.data.size = 32  # pixels, height and width; this and all that follows is about images, not about worlds
    config.data.channels = 1  # 1 makes colours grey, 3 makes grey images coloured
    config.data.load_size = 0  # pixels before cropping, at least data.size, which is taken for 0
    config.data.crop = "centre"  # or "random": which part of load_size is kept, drawn anew whenever an image is used
    config.data.flip = False  # half of the images, drawn anew whenever they are used, are mirrored left to right
    config.data.upscale = True  # enlarges images that are too small, instead of calling them bad
    config.data.on_bad_image = "error"  # or "skip": train without the images that cannot be used, and report them
    config.data.cache = True  # keeps decoded images on disk
    config.data.feed = "auto"  # or "resident", all in device memory, or "streaming"; both give the same bytes
    config.data.workers = -1  # processes that read for "streaming"; 0: threads; -1: some if images are decoded anew

    config.model = ConfigDict()
    config.model.family = "dcgan"  # models.MODELS
    config.model.initializer = "gaussian"  # layers.INITIALIZERS
    config.model.init_stddev = 0.02  # of "gaussian"; the others take their widths from the layer
    config.model.generator = ConfigDict()
    config.model.generator.width = 64  # channels next to the image, or units of the narrowest layer of an mlp
    config.model.generator.depth = 4  # hidden layers of "points"
    config.model.generator.dense = ()  # features of fully connected layers before the convolutions
    config.model.generator.norm = "batch"  # layers.NORMS
    config.model.generator.spectral_norm = False
    config.model.discriminator = ConfigDict()
    config.model.discriminator.width = 64
    config.model.discriminator.depth = 3
    config.model.discriminator.dense = ()  # features of fully connected layers after the convolutions
    config.model.discriminator.norm = "batch"
    config.model.discriminator.spectral_norm = False
    config.model.discriminator.minibatch_stddev = 0  # examples in a group whose spread each of them is told; 0: none
    config.model.discriminator.dropout = 0.0  # share of the features that are dropped behind each halving
    config.model.discriminator.leak = 0.2  # LeakyReLU's slope for negative numbers
    config.model.discriminator.maxout = 1  # pieces of each unit of "points", the largest of which counts; 1: LeakyReLU
    config.model.discriminator.downsampling = "stride"  # layers.DOWNSAMPLINGS

    config.conditioning = ConfigDict()
    config.conditioning.generator = "none"  # conditioning.GENERATOR_SIDES: where the label enters
    config.conditioning.discriminator = "none"  # conditioning.DISCRIMINATOR_SIDES: how it is judged
    config.conditioning.embedding = 0  # features that labels are turned into before they are joined; 0: one-hot
    config.conditioning.weight = 1.0  # of the loss of "acgan" and "infogan"
    config.conditioning.categories = 10  # of the latent code that "infogan" recovers; 0: none
    config.conditioning.continuous = 2  # and how many numbers it has besides
    config.packing = 1  # examples that the discriminator judges together

    config.loss = "non_saturating"  # losses.LOSSES
    config.margin = -1.0  # of a loss that has one; -1: as published
    config.targets = ConfigDict()
    config.targets.real = (1.0, 1.0)  # range from which the target of each real example is drawn; (0.8, 1.0) smooths
    config.targets.fake = (0.0, 0.0)
    config.targets.flip = 0.0  # share of the examples whose real and fake targets are exchanged
    config.joined_batches = False  # the discriminator sees real and fake in one batch, which BatchNorm notices
    config.adversarial = 1.0  # weight of the loss for the generator; 0 leaves it feature matching alone
    config.feature_matching = 0.0  # weight
    config.top_k = ConfigDict()
    config.top_k.share = 1.0  # of the fakes from which the generator learns, those that look most real, in the end
    config.top_k.decay_steps = 10_000  # training steps until then, from a share of 1
    config.unrolled_steps = 0  # updates of the discriminator that the generator foresees

    config.penalties = ConfigDict()  # weights of regularizers.PENALTIES, 0 for none
    config.penalties.r1 = 0.0  # squared gradients at real examples
    config.penalties.r2 = 0.0  # and at fakes
    config.penalties.wgan_gp = 0.0  # gradient norms between real and fake are to be 1
    config.penalties.lipschitz = 0.0  # or at most 1
    config.penalties.zero_gp = 0.0  # or 0
    config.penalties.max_gradient = 0.0  # the largest of them is to be 0
    config.penalties.dragan = 0.0  # gradient norms around real examples are to be 1
    config.penalties.lecam = 0.0  # logits stay near the other side's moving average
    config.penalties.cr = 0.0  # a real example and its augmentation are judged alike
    config.penalties.bcr = 0.0  # so are fakes
    config.penalties.zcr = 0.0  # fakes of nearby latents are judged alike
    config.penalties.orthogonal = 0.0  # the columns of the weights stay orthogonal
    config.penalty_every = ConfigDict()  # training steps from one time to the next; 16: and then it counts 16 times
    for name in config.penalties:
        config.penalty_every[name] = 1
    config.generator_penalties = ConfigDict()  # weights of regularizers.GENERATOR_PENALTIES
    config.generator_penalties.zcr = 0.0  # nearby latents give different images
    config.generator_penalties.orthogonal = 0.0
    config.penalty_settings = ConfigDict()
    config.penalty_settings.transform = ("flip", "translation")  # augment.AUGMENTATIONS, of "cr" and "bcr"
    config.penalty_settings.nearby = 0.07  # standard deviation of the steps between latents, of "zcr"
    config.penalty_settings.lecam_decay = 0.99  # of the moving averages that "lecam" pulls to
    config.weight_clip = 0.0  # the discriminator's parameters stay within +-this; 0: anywhere

    config.augment = ()  # augment.AUGMENTATIONS of all that the discriminator sees
    config.instance_noise = ConfigDict()
    config.instance_noise.stddev = 0.0  # of normal noise on all that the discriminator sees, at the first step
    config.instance_noise.decay_steps = 10_000  # training steps until it is gone
    config.latent_optimisation = ConfigDict()
    config.latent_optimisation.rate = 0.0  # of the step that latents take towards a better judgement; 0: none
    config.latent_optimisation.damping = 5.0

    config.updates = "alternating"  # steps.UPDATES; "simultaneous" updates both networks from one forward pass
    config.reuse_fakes = False  # an alternating generator learns from the fakes of the discriminator's last update
    config.discriminator_steps = 1  # updates of the discriminator for one of the generator
    config.ema_decay = 0.999  # of the generator's moving average, per step
    config.ema_half_life = 0.0  # of it in images, in the place of the decay; 0: as ema_decay says
    config.ema_warmup = False  # a shorter memory at first, (1 + step) / (10 + step), which forgets the initial noise
    config.optimizer = ConfigDict()
    for network in ("generator", "discriminator"):
        config.optimizer[network] = ConfigDict()
        config.optimizer[network].name = "adam"  # optimizers.OPTIMIZERS
        config.optimizer[network].learning_rate = 2e-4
        config.optimizer[network].b1 = 0.5  # decay of the gradients' moving average
        config.optimizer[network].b2 = 0.999  # and of their squares'; "sgd" has none
        config.optimizer[network].weight_decay = 0.0
        config.optimizer[network].clip = 0.0  # largest global norm of the gradients; 0: any
        config.optimizer[network].schedule = "constant"  # optimizers.SCHEDULES
        config.optimizer[network].warmup_steps = 0  # training steps in which the learning rate rises from 0
        config.optimizer[network].decay_steps = 10_000  # training steps until "linear" and "cosine" end
        config.optimizer[network].final_share = 0.0  # of the learning rate, where they end

    config.log_every = 100
    config.sample_every = 500
    config.checkpoint_every = 1000
    config.checkpoint = ConfigDict()
    config.checkpoint.keep = 3  # newest checkpoints that stay
    config.checkpoint.best = ""  # a logged metric or score; the checkpoint with its best value stays as well
    config.checkpoint.best_mode = "min"
    config.sample_grid = 64  # images in the grids drawn while training
    config.eval = ConfigDict()
    config.eval.every = 0  # training steps between scores; 0: none
    config.eval.num = 1000  # samples, and real images, that they are made of
    config.eval.features = "lenet"  # metrics.features.EXTRACTORS
    config.eval.weights = ""  # a file of PyTorch, for "inception"
    config.on_nonfinite = "stop"  # or "skip" the update, or "rollback" to a checkpoint, when numbers are not finite
    config.nonfinite_limit = 10  # rollbacks to one checkpoint, or such steps in a row, after which training stops
    config.steps_per_dispatch = 0  # training steps that the device runs at one command; 0: what suits the platform
    return config.lock()


NETWORKS = ("generator", "discriminator")
ON_NONFINITE = ("stop", "skip", "rollback")


def _of_both(*names: str) -> tuple[str, ...]:
    return tuple(f"optimizer.{network}.{name}" for network in NETWORKS for name in names)


PENALTIES = tuple(default().penalties)
POSITIVE = ("steps", "batch_size", "latent_dim", "population", "data.size", "data.channels", "discriminator_steps")
POSITIVE += ("log_every", "sample_every", "checkpoint_every", "checkpoint.keep", "sample_grid", "packing")
POSITIVE += ("model.generator.width", "model.generator.depth", "model.discriminator.width", "model.discriminator.depth")
POSITIVE += ("nonfinite_limit", "model.discriminator.maxout", "top_k.decay_steps", "instance_noise.decay_steps")
POSITIVE += (*_of_both("decay_steps"), *(f"penalty_every.{name}" for name in PENALTIES))
NOT_NEGATIVE = ("steps_per_dispatch", "data.load_size", "model.init_stddev", "model.discriminator.leak")
NOT_NEGATIVE += ("eval.every",)
POSITIVE += ("eval.num",)
NOT_NEGATIVE += ("model.discriminator.minibatch_stddev", "conditioning.embedding", "conditioning.weight")
NOT_NEGATIVE += ("conditioning.categories", "conditioning.continuous", "adversarial", "feature_matching")
NOT_NEGATIVE += ("unrolled_steps", "penalty_settings.nearby", "weight_clip", "instance_noise.stddev", "ema_half_life")
NOT_NEGATIVE += ("latent_optimisation.rate", *_of_both("learning_rate", "weight_decay", "clip", "warmup_steps"))
NOT_NEGATIVE += ("generator_penalties.zcr", "generator_penalties.orthogonal")
NOT_NEGATIVE += tuple(f"penalties.{name}" for name in PENALTIES)
SHARES = ("targets.flip", "ema_decay", "penalty_settings.lecam_decay", *_of_both("final_share"))
MOMENTS = _of_both("b1", "b2")
# Numbers by which something is multiplied, and nothing else: one program serves them all.
SWEEPABLE = ("ema_decay", "margin", "adversarial", "feature_matching", "conditioning.weight", "weight_clip")
SWEEPABLE += ("instance_noise.stddev", "latent_optimisation.rate", "latent_optimisation.damping")
SWEEPABLE += ("penalty_settings.nearby", *_of_both("learning_rate"))
SWEEPABLE += ("generator_penalties.zcr", "generator_penalties.orthogonal")
SWEEPABLE += tuple(f"penalties.{name}" for name in PENALTIES)
MOST_SEED = 2**32 - 1
MOST_COUNT = 2**31 - 1  # what an int32 holds, as steps are counted and arrays are shaped


def validate(config: ConfigDict) -> None:
    """Checks every setting that can be judged by itself; other names are checked where their tables are.

    Raises:
        UserError: the first setting that is out of range, with its value and the range.
    """
    choose("config.on_nonfinite", config.on_nonfinite, ON_NONFINITE)
    flat, swept = flatten(config), sweep(config)
    most_seed = MOST_SEED + 1 - config.population
    ranges = [
        (POSITIVE, "at least 1", lambda v: v >= 1),
        (NOT_NEGATIVE, "at least 0", lambda v: 0 <= v < math.inf),
        (SHARES, "from 0 to 1", lambda v: 0 <= v <= 1),
        (MOMENTS, "at least 0 and below 1", lambda v: 0 <= v < 1),
        (("data.workers",), "-1 or more", lambda v: v >= -1),
        (("margin",), "at least 0, or -1 for the published one", lambda v: v == -1 or 0 <= v < math.inf),
        (("top_k.share", "latent_optimisation.damping"), "above 0", lambda v: 0 < v < math.inf),
        (("top_k.share",), "at most 1", lambda v: v <= 1),
        (("model.discriminator.dropout",), "at least 0 and below 1", lambda v: 0 <= v < 1),
        (("precision",), "float32 or bfloat16", lambda v: v in ("float32", "bfloat16")),
        (("seed",), f"from 0 to {most_seed}", lambda v: 0 <= v <= most_seed),
        (("checkpoint.best_mode",), "min or max", lambda v: v in ("min", "max")),
        (
            ("model.generator.dense", "model.discriminator.dense"),
            "whole numbers of at least 1",
            lambda v: all(isinstance(x, int) and 1 <= x <= MOST_COUNT for x in v),
        ),
        (
            ("targets.real", "targets.fake"),
            "two numbers from 0 to 1, the smaller first",
            lambda v: len(v) == 2 and all(isinstance(x, int | float) for x in v) and 0 <= v[0] <= v[1] <= 1,
        ),
    ]
    for name, value in flat.items():
        if type(value) is int and name != "seed" and value > MOST_COUNT:
            raise UserError(f"config.{name}={value} should be at most {MOST_COUNT}")
    for names, advice, right in ranges:
        for name in names:
            for value in (flat[name], *swept.get(name, ())):
                if not right(value):
                    raise UserError(f"config.{name}={value} should be {advice}")


def listed(entries: tuple) -> tuple[str, ...]:
    """The names in a setting: ("a", "b") or, as the command line gives it, ("a,b",)."""
    return tuple(name.strip() for entry in entries for name in str(entry).split(",") if name.strip())


def members(config: ConfigDict) -> list[ConfigDict]:
    """The experiments that a population trains together, each as it would be trained alone.

    Raises:
        UserError: `config.sweep` is not a list of settings with a value for each member, or one of the values is wrong.
    """
    swept = sweep(config)
    found = []
    for index in range(config.population):
        changes = {name: values[index] for name, values in swept.items()}
        member = config.copy_and_resolve_references()
        member.update_from_flattened_dict(changes | {"seed": config.seed + index, "population": 1, "sweep": ""})
        found.append(member)
    return found


def sweep(config: ConfigDict) -> dict[str, tuple[float, ...]]:
    """The settings in which the members of a population differ: dotted name -> one value for each of them."""
    found = {}
    for part in filter(None, map(str.strip, config.sweep.split(";"))):
        name, _, text = (piece.strip() for piece in part.partition("="))
        choose("setting in config.sweep", name, SWEEPABLE)
        if config.population == 1:
            raise UserError(f"config.sweep={config.sweep!r} is for a population: config.population=1 should be larger")
        if name in found:
            raise UserError(f"config.sweep={config.sweep!r} should have {name} once")
        try:
            found[name] = tuple(float(value) for value in text.split(","))
        except ValueError:
            raise UserError(f"config.sweep={config.sweep!r}: {name} should be followed by = and numbers") from None
        if len(found[name]) != config.population:
            raise UserError(
                f"config.sweep={config.sweep!r}: {name} has {len(found[name])} values, and config.population="
                f"{config.population} members need as many"
            )
    return found


def values(config: ConfigDict, name: str) -> tuple[float, ...]:
    """What a setting is for each member of a population, or for the only one."""
    return sweep(config).get(name, (flatten(config)[name],))


def differences(old: ConfigDict, new: ConfigDict) -> dict[str, tuple]:
    """The settings in which two configurations differ: dotted name -> (old value, new value), None where absent."""
    one, two = flatten(old), flatten(new)
    names = sorted(one.keys() | two.keys())
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def flatten(config: ConfigDict) -> dict:
    """{dotted name: value}."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{name}.{key}": leaf for key, leaf in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def save(config: ConfigDict, path: Path) -> None:
    """Writes the configuration as JSON, all of it or nothing."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def load(path: Path) -> ConfigDict:
    """Reads what `save` wrote; a setting that the file lacks, since an older version wrote it, takes its default.

    Raises:
        UserError: the file is not JSON, or holds an unknown setting or a value of the wrong type.
    """
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # the latter of lists in lists in lists
        raise UserError(f"{path} is not valid JSON ({error}): restore it, or train into a new folder") from error
    config = default()
    _fill(config, values, path)
    return config


def _fill(config: ConfigDict, values: object, path: Path, prefix: str = "") -> None:
    if not isinstance(values, dict):
        raise UserError(f"{path}: {prefix or 'the whole file'} should be an object in braces, not {_told(values)}")
    for name, value in values.items():
        choose(f"setting in {path}", prefix + name, [prefix + key for key in config])
        if isinstance(config[name], ConfigDict):
            _fill(config[name], value, path, f"{prefix}{name}.")
            continue
        try:
            if value is None:  # which a ConfigDict would take for any setting
                raise TypeError
            config[name] = tuple(value) if isinstance(value, list) else value
        except (TypeError, OverflowError) as error:  # the latter of a whole number that no float can be
            raise UserError(f"{path}: {prefix}{name}={_told(value)} should be like {config[name]!r}") from error


def _told(value: object) -> str:
    """A value from a file so that a person can read it: whatever stood there may be long and deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 80
    return short.repr(value)
