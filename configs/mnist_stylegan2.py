"""MNIST at 32x32 by the small StyleGAN2-ADA of configs/folder_stylegan2.py.

Command:  python train.py --config=configs/mnist_stylegan2.py --workdir=runs/mnist_stylegan2
Time:     8 minutes of one CPU core for half of the steps
Expect:   not trained to the end yet by those who wrote it; after half of the steps, blurred and all alike
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder_stylegan2


def get_config() -> ConfigDict:
    config = folder_stylegan2.small(32)
    config.data.source = "tfds:mnist"
    config.data.channels = 1
    config.data.flip = False  # the mirror image of a 3 is no digit
    return config
