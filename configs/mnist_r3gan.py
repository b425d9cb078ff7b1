"""MNIST at 32x32 by the small R3GAN of configs/folder_r3gan.py.

Command:  python train.py --config=configs/mnist_r3gan.py --workdir=runs/mnist_r3gan
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder_r3gan


def get_config() -> ConfigDict:
    config = folder_r3gan.small(32, (128, 96, 48, 16))
    config.data.source = "tfds:mnist"
    config.data.channels = 1
    config.data.flip = False  # the mirror image of a 3 is no digit
    return config
