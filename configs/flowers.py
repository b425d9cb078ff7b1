"""Flowers, 64x64 in colour: 3,670 photographs of five kinds, from TensorFlow Datasets.

Command:  python train.py --config=configs/flowers.py --workdir=runs/flowers
Time:     FTIME
Expect:   FEXPECT
"""

from ml_collections import ConfigDict

from configs import folder


def get_config() -> ConfigDict:
    config = folder.get_config()
    config.data.source = "tfds:tf_flowers"
    return config
