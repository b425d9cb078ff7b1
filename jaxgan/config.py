"""The settings of an experiment: defaults, validation, and the way to JSON and back."""

import json
import math
from pathlib import Path

from ml_collections import ConfigDict

from jaxgan.errors import UserError, choose
from jaxgan.files import replacing

# What a finished or interrupted run may change when it goes on: nothing here touches what a step computes.
HARMLESS = ("steps", "log_every", "sample_every", "checkpoint_every", "steps_per_dispatch")
HARMLESS += ("checkpoint.keep", "checkpoint.best", "checkpoint.best_mode", "data.cache", "data.feed", "data.workers")
HARMLESS += ("data.on_bad_image",)  # if it leaves images out, the run folder's data.json tells


def default() -> ConfigDict:
    """A plain DCGAN; the files in `configs/` start from it. Every setting is explained here."""
    config = ConfigDict()
    config.seed = 0
    config.steps = 10_000  # training steps: one generator update each
    config.batch_size = 64  # examples in the global batch, over all devices
    config.latent_dim = 100

    config.data = ConfigDict()
    config.data.source = "digits"  # or tfds:NAME, folder:PATH, array:PATH; see data/sources.py
    config.data.split = "train"  # or "test", "train+test", "train[:10%]", ...
    config.data.classes = ()  # names of the only classes to keep; all of them if empty
    config.data.size = 32  # pixels, height and width
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
    config.model.init_stddev = 0.02  # of "gaussian"; "he" takes its width from the layer
    config.model.generator = ConfigDict()
    config.model.generator.width = 64  # channels next to the image, or units of the narrowest layer of an mlp
    config.model.generator.dense = ()  # features of fully connected layers before the convolutions
    config.model.generator.norm = "batch"  # layers.NORMS
    config.model.discriminator = ConfigDict()
    config.model.discriminator.width = 64
    config.model.discriminator.dense = ()  # features of fully connected layers after the convolutions
    config.model.discriminator.norm = "batch"
    config.model.discriminator.leak = 0.2  # LeakyReLU's slope for negative numbers
    config.model.discriminator.downsampling = "stride"  # layers.DOWNSAMPLINGS

    config.loss = "non_saturating"  # losses.LOSSES
    config.penalties = ConfigDict({"r1": 0.0, "r2": 0.0})  # weights of regularizers.PENALTIES, 0 for none
    config.targets = ConfigDict()
    config.targets.real = (1.0, 1.0)  # range from which the target of each real example is drawn; (0.8, 1.0) smooths
    config.targets.fake = (0.0, 0.0)
    config.targets.flip = 0.0  # share of the examples whose real and fake targets are exchanged
    config.joined_batches = False  # the discriminator sees real and fake in one batch, which BatchNorm notices

    config.updates = "alternating"  # steps.UPDATES; "simultaneous" updates both networks from one forward pass
    config.discriminator_steps = 1  # updates of the discriminator for one of the generator
    config.ema_decay = 0.999  # of the generator's moving average, per step
    config.ema_warmup = False  # a shorter memory at first, (1 + step) / (10 + step), which forgets the initial noise
    config.optimizer = ConfigDict()
    for network in ("generator", "discriminator"):
        config.optimizer[network] = ConfigDict()
        config.optimizer[network].name = "adam"  # optimizers.OPTIMIZERS
        config.optimizer[network].learning_rate = 2e-4
        config.optimizer[network].b1 = 0.5
        config.optimizer[network].b2 = 0.999
        config.optimizer[network].schedule = "constant"  # optimizers.SCHEDULES
        config.optimizer[network].decay_steps = 10_000  # training steps until "linear" and "cosine" end
        config.optimizer[network].final_share = 0.0  # of the learning rate, where they end

    config.log_every = 100
    config.sample_every = 500
    config.checkpoint_every = 1000
    config.checkpoint = ConfigDict()
    config.checkpoint.keep = 3  # newest checkpoints that stay
    config.checkpoint.best = ""  # a logged metric; the checkpoint with its best value stays as well
    config.checkpoint.best_mode = "min"
    config.sample_grid = 64  # images in the grids drawn while training
    config.steps_per_dispatch = 0  # training steps that the device runs at one command; 0: what suits the platform
    return config.lock()


POSITIVE = ("steps", "batch_size", "latent_dim", "data.size", "data.channels", "discriminator_steps", "log_every")
POSITIVE += ("sample_every", "checkpoint_every", "checkpoint.keep", "sample_grid", "model.generator.width")
POSITIVE += ("model.discriminator.width", "optimizer.generator.decay_steps", "optimizer.discriminator.decay_steps")
NOT_NEGATIVE = (
    "steps_per_dispatch",
    "data.load_size",
    "model.init_stddev",
    "model.discriminator.leak",
    "penalties.r1",
    "penalties.r2",
)
NOT_NEGATIVE += ("optimizer.generator.learning_rate", "optimizer.discriminator.learning_rate")
SHARES = ("targets.flip", "ema_decay", "optimizer.generator.final_share", "optimizer.discriminator.final_share")
MOMENTS = tuple(f"optimizer.{network}.{name}" for network in ("generator", "discriminator") for name in ("b1", "b2"))
MOST_SEED = 2**32 - 1


def validate(config: ConfigDict) -> None:
    """Checks every number that can be judged by itself; names are checked where their tables are.

    Raises:
        UserError: the first setting that is out of range, with its value and the range.
    """
    flat = flatten(config)
    ranges = [
        (POSITIVE, "at least 1", lambda v: v >= 1),
        (NOT_NEGATIVE, "at least 0", lambda v: 0 <= v < math.inf),
        (SHARES, "from 0 to 1", lambda v: 0 <= v <= 1),
        (MOMENTS, "at least 0 and below 1", lambda v: 0 <= v < 1),
        (("data.workers",), "-1 or more", lambda v: v >= -1),
        (("seed",), f"from 0 to {MOST_SEED}", lambda v: 0 <= v <= MOST_SEED),
        (("checkpoint.best_mode",), "min or max", lambda v: v in ("min", "max")),
        (
            ("model.generator.dense", "model.discriminator.dense"),
            "whole numbers of at least 1",
            lambda v: all(isinstance(x, int) and x >= 1 for x in v),
        ),
        (
            ("targets.real", "targets.fake"),
            "two numbers from 0 to 1, the smaller first",
            lambda v: len(v) == 2 and all(isinstance(x, int | float) for x in v) and 0 <= v[0] <= v[1] <= 1,
        ),
    ]
    for names, advice, right in ranges:
        for name in names:
            if not right(flat[name]):
                raise UserError(f"config.{name}={flat[name]} should be {advice}")


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
    with replacing(path) as partial:
        partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def load(path: Path) -> ConfigDict:
    """Reads what `save` wrote; a setting that the file lacks, since an older version wrote it, takes its default.

    Raises:
        UserError: the file is not JSON, or holds an unknown setting or a value of the wrong type.
    """
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): restore it, or train into a new folder") from error
    config = default()
    _fill(config, values, path)
    return config


def _fill(config: ConfigDict, values: object, path: Path, prefix: str = "") -> None:
    if not isinstance(values, dict):
        raise UserError(f"{path}: {prefix or 'the whole file'} should be an object in braces, not {values!r}")
    for name, value in values.items():
        choose(f"setting in {path}", prefix + name, [prefix + key for key in config])
        if isinstance(config[name], ConfigDict):
            _fill(config[name], value, path, f"{prefix}{name}.")
            continue
        try:
            if value is None:  # which a ConfigDict would take for any setting
                raise TypeError
            config[name] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            raise UserError(f"{path}: {prefix}{name}={value!r} should be like {config[name]!r}") from error
