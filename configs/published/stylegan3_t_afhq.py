"""StyleGAN3-T on AFHQv2 at 512x512, with ADA.

Command:  python train.py --config=configs/published/stylegan3_t_afhq.py --workdir=runs/stylegan3_t_afhq \\
              --config.data.source=folder:PATH
Time:     not measured yet; 12 s for 1,000 images on 8 A100 by the authors' code
Expect:   a Frechet distance of 4.04 in the paper; not trained to the end yet by those who wrote it

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021. https://arxiv.org/abs/2106.12423
    docs/configs.md of https://github.com/NVlabs/stylegan3
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan3_t_ffhq


def get_config() -> ConfigDict:
    return stylegan3_t_ffhq.preset("translation", 512, 8.2)
