"""BigGAN-deep on ImageNet, 128x128 in colour, by classes: bottlenecks, and all latents for every norm.

Command:  python train.py --config=configs/published/biggan_deep128.py --workdir=runs/biggan_deep128
Time:     not measured yet
Expect:   a Frechet distance of 5.7 and an Inception Score of 124.5 in the paper; not trained to the end yet by those
          who wrote it

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019, appendix B.
    https://arxiv.org/abs/1809.11096
    The networks BigGANdeep of https://github.com/ajbrock/BigGAN-PyTorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import biggan128


def set_deep(config: ConfigDict) -> None:
    """Sets two bottlenecks for each stage, and latents that are not split."""
    for network in ("generator", "discriminator"):
        config.model[network].block = "bottleneck"
        config.model[network].depth = 2
    config.model.generator.skip_z = "full"


def get_config() -> ConfigDict:
    config = biggan128.imagenet(128, 128)
    biggan128.set_networks(config, 128, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), (64,))
    set_deep(config)
    return config
