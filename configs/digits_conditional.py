"""Handwritten digits on demand, 16x16: configs/digits.py told which digit to draw.

Command:  python train.py --config=configs/digits_conditional.py --workdir=runs/digits_conditional
          python sample.py --workdir=runs/digits_conditional --labels=all --out=digits.png
Time:     TIME
Expect:   EXPECT
"""

from ml_collections import ConfigDict

from configs import digits


def get_config() -> ConfigDict:
    config = digits.get_config()
    config.conditioning.generator = "cbn"
    config.conditioning.discriminator = "projection"
    config.sample_grid = 80
    return config
