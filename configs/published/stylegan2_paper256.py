"""StyleGAN2 at 256x256, as the authors compare it in their paper on limited data.

Command:  python train.py --config=configs/published/stylegan2_paper256.py --workdir=runs/stylegan2_paper256 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   Frechet distances of 3.81, 4.30 and 21.29 for 140,000, 70,000 and 1,000 images of FFHQ in the paper, with
          augmentation and images that a box filter made smaller; not trained to the end yet by those who wrote it

References:
    The preset "paper256" of https://github.com/NVlabs/stylegan2-ada-pytorch.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan2


def get_config() -> ConfigDict:
    config = stylegan2.preset(256, 64, 1.0, 0.0025, 2e4, 2.5e7)
    stylegan2.set_channels(config, 16384)
    config.model.discriminator.minibatch_stddev = 8
    return config
