"""Your own few images by a small FastGAN, 64x64: a template for CPUs and small GPUs.

Command:  python train.py --config=configs/folder_fastgan.py --config.data.source=folder:PATH --workdir=runs/mine
          Grey images: --config.data.channels=1. Larger ones: --config.data.size=128
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it

References:
    Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021.
    https://arxiv.org/abs/2101.04775
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import fastgan1024


def get_config() -> ConfigDict:
    config = fastgan1024.preset(64)  # whose data.flip is not for writing, nor for what has a wrong mirror image
    config.latent_dim = 64
    # A quarter of the authors' channels.
    config.model.generator.base_channels = 16
    config.model.discriminator.base_channels = 16
    config.model.decoders.base_channels = 8
    config.steps = 20_000
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return config
