"""Flowers, 128x128 in colour: configs/folder.py at twice the size, for an accelerator.

Command:  python train.py --config=configs/flowers128.py --workdir=runs/flowers128
Time:     for an accelerator: a step takes 322 GFLOP
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder


def get_config() -> ConfigDict:
    config = folder.get_config()
    config.data.source = "tfds:tf_flowers"
    config.data.size = 128
    config.data.load_size = 144
    config.data.upscale = True  # the smallest photographs have fewer pixels
    config.penalties.r1 = 8.0  # in proportion to the number of pixels
    config.penalties.r2 = 8.0
    return config
