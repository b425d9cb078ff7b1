"""MNIST at 32x32 by the small R3GAN of configs/folder_r3gan.py.

Command:  python train.py --config=configs/mnist_r3gan.py --workdir=runs/mnist_r3gan
Time:     11 minutes of one CPU core
Expect:   zeros, ones, sevens and nines, and strokes without a name; FD-lenet 165 (docs/stylegan.md)
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder_r3gan


def get_config() -> ConfigDict:
    config = folder_r3gan.small(32, (128, 96, 48, 16))
    config.data.source = "tfds:mnist"
    config.data.channels = 1
    config.data.flip = False  # the mirror image of a 3 is no digit
    return config
