"""BigGAN at 64x64 in colour, by classes, with 64 base channels.

Command:  python train.py --config=configs/published/biggan64.py --workdir=runs/biggan64
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.
    https://arxiv.org/abs/1809.11096
    The networks for 64x64 of https://github.com/ajbrock/BigGAN-PyTorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import biggan128


def get_config() -> ConfigDict:
    config = biggan128.imagenet(64, 100)
    config.data.source = "tfds:imagenet_resized/64x64"
    biggan128.set_networks(config, 64, (16, 16, 8, 4, 2), (1, 2, 4, 8, 16), (32,))
    config.model.discriminator.downsamples = 4
    return config
