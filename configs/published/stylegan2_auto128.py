"""StyleGAN2 on images of your own, 128x128 in colour: what the authors' code chooses for one GPU.

Command:  python train.py --config=configs/published/stylegan2_auto128.py --workdir=runs/stylegan2_auto128 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    The preset "auto" of https://github.com/NVlabs/stylegan2-ada-pytorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan2


def get_config() -> ConfigDict:
    return stylegan2.auto(128)
