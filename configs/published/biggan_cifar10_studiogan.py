"""BigGAN on CIFAR-10, 32x32 in colour, by classes, as StudioGAN trains it: wider, with split latents and attention.

Command:  python train.py --config=configs/published/biggan_cifar10_studiogan.py --workdir=runs/biggan_cifar10_studiogan
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.
    https://arxiv.org/abs/1809.11096
    The preset CIFAR10/BigGAN of https://github.com/POSTECH-CVLab/PyTorch-StudioGAN.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import biggan128


def get_config() -> ConfigDict:
    config = biggan128.preset("tfds:cifar10", 32, 80)
    config.data.flip = True
    biggan128.set_networks(config, 96, (4,), (2, 2, 2, 2), (16,))
    config.model.discriminator.downsamples = 2
    config.model.generator.embedding = 128
    config.model.generator.skip_z = "split"
    config.model.generator.norm_epsilon = 1e-4
    for player in config.optimizer.values():
        player.b1 = 0.5
        player.eps = 1e-6
    biggan128.set_steps(config, 64, 5, (2e-4, 2e-4), 100_000, average_from=1000)
    return config
