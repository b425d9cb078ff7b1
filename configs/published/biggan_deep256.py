"""BigGAN-deep on ImageNet, 256x256 in colour, by classes: bottlenecks, and all latents for every norm.

Command:  python train.py --config=configs/published/biggan_deep256.py --workdir=runs/biggan_deep256
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019, appendix B.
    https://arxiv.org/abs/1809.11096
    The networks BigGANdeep of https://github.com/ajbrock/BigGAN-PyTorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import biggan128, biggan_deep128


def get_config() -> ConfigDict:
    config = biggan128.imagenet(256, 128)
    biggan128.set_networks(config, 128, (16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), (64,))
    biggan_deep128.set_deep(config)
    return config
