"""BigGAN on CIFAR-10, 32x32 in colour, by classes: flat latents, a scale of each class, no attention.

Command:  python train.py --config=configs/published/biggan_cifar10.py --workdir=runs/biggan_cifar10
Time:     not measured yet; a generator's pass takes 2.3 GFLOP an image
Expect:   a Frechet distance of about 9 by others; not trained to the end yet by those who wrote it

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.
    https://arxiv.org/abs/1809.11096
    The script launch_cifar_ema.sh of https://github.com/ajbrock/BigGAN-PyTorch: 500 epochs of 250 steps.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import biggan128


def get_config() -> ConfigDict:
    config = biggan128.preset("tfds:cifar10", 32, 128, "gaussian")
    biggan128.set_networks(config, 64, (4,), (4, 4, 4, 4))
    config.model.discriminator.downsamples = 2
    biggan128.set_steps(config, 50, 4, (2e-4, 2e-4), 125_000, average_from=1000)
    return config
