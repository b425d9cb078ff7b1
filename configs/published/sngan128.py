"""SNGAN at 128x128 in colour, without labels, as mimicry trains it on CelebA.

Command:  python train.py --config=configs/published/sngan128.py --workdir=runs/sngan128 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   a Frechet distance of 12.93 for CelebA by mimicry, of 50,000 samples; not trained to the end yet by those who
          wrote it

References:
    Miyato et al., Spectral Normalization for GANs, 2018. https://arxiv.org/abs/1802.05957
    Lee and Town, Mimicry: Towards the Reproducibility of GAN Research, 2020, whose generators double by bilinear
    interpolation, and whose discriminators have rectified shortcuts. https://github.com/kwotsin/mimicry
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import sngan32


def get_config() -> ConfigDict:
    config = sngan32.preset("folder:celeba", 128)
    sngan32.set_widths(config, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5)
    sngan32.set_steps(config, 100_000)
    config.model.generator.upsampling = "bilinear"
    config.model.discriminator.rectified_shortcuts = True
    return config
