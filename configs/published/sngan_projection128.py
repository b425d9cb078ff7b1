"""SNGAN with a projection discriminator on ImageNet, 128x128 in colour, by classes.

Command:  python train.py --config=configs/published/sngan_projection128.py --workdir=runs/sngan_projection128
Time:     not measured yet
Expect:   an Inception Score of 29.7, and of 36.8 after 850,000 steps, in the paper; not trained to the end yet by those
          who wrote it

References:
    Miyato and Koyama, cGANs with Projection Discriminator, 2018. https://arxiv.org/abs/1802.05637
    The preset sn_projection of https://github.com/pfnet-research/sngan_projection, on four GPUs.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import sngan32


def get_config() -> ConfigDict:
    config = sngan32.preset("tfds:imagenet2012", 128, by_classes=True)
    sngan32.set_widths(config, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5)
    sngan32.set_steps(config, 450_000, constant=400_000)
    return config
