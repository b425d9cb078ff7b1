"""StyleGAN2 on CIFAR-10, 32x32 in colour: small, with a plain discriminator and without path lengths.

Networks that are given the labels are the same with --config.conditional=True.

Command:  python train.py --config=configs/published/stylegan2_cifar.py --workdir=runs/stylegan2_cifar
Time:     not measured yet
Expect:   Frechet distances of 2.92 without labels and 2.42 with them in the paper, with augmentation; not trained to
          the end yet by those who wrote it

References:
    The preset "cifar" of https://github.com/NVlabs/stylegan2-ada-pytorch. Its generator keeps the learning rate that is
    corrected for a penalty which it does not have.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan2


def get_config() -> ConfigDict:
    config = stylegan2.preset(32, 64, 0.01, 0.0025, 5e5, 1e8)
    config.data.source = "tfds:cifar10"
    config.style_mixing = 0.0
    config.generator_penalties.path_length = 0.0
    config.model.mapping.depth = 2
    config.model.discriminator.architecture = "orig"
    config.model.discriminator.minibatch_stddev = 32
    config.schedules = f"ema_half_life=linear({config.ema_half_life}, {round(500_000 / 0.05 / 64)})"
    config.ema_half_life = 0.0
    return config
