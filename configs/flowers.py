"""Flowers, 64x64 in colour: 3,670 photographs of five kinds, from TensorFlow Datasets.

Command:  python train.py --config=configs/flowers.py --workdir=runs/flowers
Time:     for an accelerator: a step takes 72 GFLOP, about 1 s on 2 CPU cores
Expect:   not trained to the end yet by those who wrote it; half its width and half its batch for 8,876 steps,
          65 minutes on 2 busy CPU cores, gave the colours and places of blossoms, but no petals (docs/flowers.png)
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder


def get_config() -> ConfigDict:
    config = folder.get_config()
    config.data.source = "tfds:tf_flowers"
    return config
