"""StyleGAN2 at 1024x1024, as the authors train it on MetFaces in their paper on limited data.

Command:  python train.py --config=configs/published/stylegan2_paper1024.py --workdir=runs/stylegan2_paper1024 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    The preset "paper1024" of https://github.com/NVlabs/stylegan2-ada-pytorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan2


def get_config() -> ConfigDict:
    return stylegan2.preset(1024, 32, 2.0, 0.002, 1e4, 2.5e7)
