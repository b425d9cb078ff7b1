"""StyleGAN3-T on MetFaces at 1024x1024, with ADA, from networks that have learned FFHQ.

Command:  python train.py --config=configs/published/stylegan3_t_metfaces.py --workdir=runs/stylegan3_t_metfaces \\
              --config.data.source=folder:PATH --init_from=runs/stylegan3_t_ffhq
Time:     not measured yet; 21 s for 1,000 images on 8 A100 by the authors' code
Expect:   not trained to the end yet by those who wrote it

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021. https://arxiv.org/abs/2106.12423
    docs/configs.md of https://github.com/NVlabs/stylegan3
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan3_t_ffhq


def get_config() -> ConfigDict:
    return stylegan3_t_ffhq.preset("translation", 1024, 6.6, finetune=True)
