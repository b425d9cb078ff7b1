"""SNGAN with a projection discriminator on CIFAR-10, 32x32 in colour, by classes.

Command:  python train.py --config=configs/published/sngan_projection32.py --workdir=runs/sngan_projection32
Time:     not measured yet; a generator's pass takes 2.3 GFLOP an image
Expect:   a Frechet distance of 17.5 in the paper, of 5,000 samples; not trained to the end yet by those who wrote it

References:
    Miyato and Koyama, cGANs with Projection Discriminator, 2018. https://arxiv.org/abs/1802.05637
    The preset sn_cifar10_conditional of https://github.com/pfnet-research/sngan_projection.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import sngan32


def get_config() -> ConfigDict:
    return sngan32.cifar10(by_classes=True)
