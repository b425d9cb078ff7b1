"""Your own images by a small Projected GAN, 64x64: a template for CPUs and small GPUs.

Command:  pip install -e '.[efficientnet]'
          python train.py --config=configs/folder_projected.py --config.data.source=folder:PATH --workdir=runs/mine
          Larger images: --config.data.size=128
Time:     a step a second on one CPU core
Expect:   flowers with petals after 1,000 steps (docs/gallery.md); not trained to the end yet. Features of ImageNet
          taught the discriminator, so distances in such features flatter the samples

References:
    Sauer et al., Projected GANs Converge Faster, 2021. https://arxiv.org/abs/2111.01007
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import projected_gan256


def get_config() -> ConfigDict:
    config = projected_gan256.preset(64)  # whose data.flip is not for writing, nor for what has a wrong mirror image
    config.batch_size = 16
    config.latent_dim = 64
    # A quarter of the authors' channels, and a third of the pixels that their frozen network is given.
    config.model.generator.base_channels = 16
    config.model.generator.double_convs = "alternate"
    config.projection.size = 128
    config.projection.base_channels = 16
    config.schedules = ""
    config.ema_decay = 0.998
    config.ema_warmup = True
    config.steps = 20_000
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return config
