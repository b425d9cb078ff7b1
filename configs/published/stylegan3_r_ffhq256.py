"""StyleGAN3-R at 256x256, as the authors compare it on FFHQ-U, with half the channels.

Command:  python train.py --config=configs/published/stylegan3_r_ffhq256.py --workdir=runs/stylegan3_r_ffhq256 \\
              --config.data.source=folder:PATH
Time:     not measured yet; 5 s for 1,000 images on 8 A100 by the authors' code
Expect:   not trained to the end yet by those who wrote it

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021. https://arxiv.org/abs/2106.12423
    docs/configs.md of https://github.com/NVlabs/stylegan3
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan3_t_ffhq


def get_config() -> ConfigDict:
    return stylegan3_t_ffhq.preset("rotation", 256, 1.0, ada="off", batch=64, base=16384, discriminator_rate=0.0025)
