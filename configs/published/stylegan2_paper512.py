"""StyleGAN2 at 512x512, as the authors train it on AFHQ in their paper on limited data.

Command:  python train.py --config=configs/published/stylegan2_paper512.py --workdir=runs/stylegan2_paper512 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   Frechet distances of 3.55, 7.40 and 3.05 for AFHQ's cats, dogs and wild animals in the paper, with
          augmentation; not trained to the end yet by those who wrote it

References:
    The preset "paper512" of https://github.com/NVlabs/stylegan2-ada-pytorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan2


def get_config() -> ConfigDict:
    config = stylegan2.preset(512, 64, 0.5, 0.0025, 2e4, 2.5e7)
    config.model.discriminator.minibatch_stddev = 8
    return config
