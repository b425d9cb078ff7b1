"""Handwritten digits by label, 16x16: configs/digits.py with a conditional generator and discriminator.

Command:  python train.py --config=configs/digits_conditional.py --workdir=runs/digits_conditional
          python sample.py --workdir=runs/digits_conditional --labels=all --out=digits.png
Time:     5 minutes on 2 CPU cores that had other work to do as well
Expect:   of 1,000 samples a classifier of real digits finds 99% to have the given label, and is sure of 92%
          (docs/conditional.md)
"""

from ml_collections import ConfigDict

from jaxgan.configs import digits


def get_config() -> ConfigDict:
    config = digits.get_config()
    config.conditioning.generator = "cbn"
    config.conditioning.discriminator = "projection"
    config.sample_grid = 80
    return config
