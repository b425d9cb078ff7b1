"""Flowers by label, 64x64: configs/flowers.py with conditional networks for the five kinds, and augmentation.

Command:  python train.py --config=configs/flowers_conditional.py --workdir=runs/flowers_conditional
          python sample.py --workdir=runs/flowers_conditional --labels=tulips,roses --out=flowers.png
Time:     for an accelerator: a step takes as long as one of configs/flowers.py, about 1 s on 2 CPU cores
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import flowers


def get_config() -> ConfigDict:
    config = flowers.get_config()
    config.conditioning.generator = "cbn"
    config.conditioning.discriminator = "projection"
    config.augment = (
        "colour",
        "translation",
        "cutout",
    )  # a few hundred photographs of each kind are soon known by heart
    config.sample_grid = 60
    return config
