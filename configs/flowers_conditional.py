"""Flowers by label, 64x64: configs/flowers.py with networks that are given the kind of flower.

Command:  pip install -e '.[efficientnet]'
          python train.py --config=configs/flowers_conditional.py --workdir=runs/flowers_conditional
          python sample.py --workdir=runs/flowers_conditional --labels=tulips,roses --out=flowers.png
          Photographs in a folder for each kind: --config.data.source=folder:PATH
Time:     a step a second on one CPU core
Expect:   single blossoms with petals after 2,500 steps, 46 minutes on one core (docs/gallery.md); not trained to its
          end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import flowers


def get_config() -> ConfigDict:
    config = flowers.get_config()
    config.conditional = True
    config.sample_grid = 60
    return config
