"""SNGAN on CIFAR-10, 32x32 in colour, without labels; the other presets of SNGAN begin here.

Command:  python train.py --config=configs/published/sngan32.py --workdir=runs/sngan32
Time:     not measured yet; a generator's pass takes 2.3 GFLOP an image
Expect:   a Frechet distance of 21.7 in the paper, of 5,000 samples, or about 15 of 50,000; not trained to the end yet
          by those who wrote it

References:
    Miyato et al., Spectral Normalization for GANs, 2018. https://arxiv.org/abs/1802.05957
    The authors' code, https://github.com/pfnet-research/sngan_projection, whose generator learns from batches twice as
    large, and which adds noise of less than a grey level to images.
"""

import math

from ml_collections import ConfigDict

from jaxgan.config import default


def preset(source: str, size: int, by_classes: bool = False) -> ConfigDict:
    """What all presets share; the learning rate falls to 0 in the end."""
    labels = {"conditioning.generator": "cbn", "conditioning.discriminator": "projection"}
    schedules = {f"optimizer.{player}.schedule": "linear" for player in ("generator", "discriminator")}
    choices = {"model.family": "resnet", "model.initializer": "xavier", "loss": "hinge"}
    config = default({"data.source": source, **choices, **schedules, **(labels if by_classes else {})})
    config.data.size = size
    config.data.channels = 3
    config.latent_dim = 128
    config.batch_size = 64
    config.discriminator_steps = 5
    config.ema_decay = 0.0
    config.model.discriminator.wide = False
    for network in ("generator", "discriminator"):
        config.model[network].block_gain = math.sqrt(2)
        config.optimizer[network].learning_rate = 2e-4
        config.optimizer[network].b1 = 0.0
        config.optimizer[network].b2 = 0.9
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config


def set_widths(
    config: ConfigDict, generator: tuple[int, ...], discriminator: tuple[int, ...], downsamples: int, base: int = 64
) -> None:
    """Sets the channels of both networks, as multiples of `base`, and how many of the discriminator's blocks halve."""
    config.model.generator.base_channels = base
    config.model.generator.multipliers = generator
    config.model.discriminator.base_channels = base
    config.model.discriminator.multipliers = discriminator
    config.model.discriminator.downsamples = downsamples


def set_steps(config: ConfigDict, steps: int, constant: int = 0) -> None:
    """Sets the training steps, and after how many of them the learning rate falls."""
    config.steps = steps
    for player in config.optimizer.values():
        player.constant_steps = constant
        player.decay_steps = steps - constant


def cifar10(by_classes: bool) -> ConfigDict:
    """The networks and schedules for CIFAR-10."""
    config = preset("tfds:cifar10", 32, by_classes)
    set_widths(config, (2,), (1, 1, 1, 1), 2, base=128)
    set_steps(config, 50_000)
    return config


def get_config() -> ConfigDict:
    return cifar10(by_classes=False)
