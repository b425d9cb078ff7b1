"""BigGAN on ImageNet, 256x256 in colour, by classes, with attention where the released networks have it.

Command:  python train.py --config=configs/published/biggan256.py --workdir=runs/biggan256
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.
    https://arxiv.org/abs/1809.11096
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import biggan128


def get_config() -> ConfigDict:
    config = biggan128.imagenet(256, 140)
    biggan128.set_networks(config, 96, (16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), (128,))
    return config
