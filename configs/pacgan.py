"""The ring of 8 Gaussians as in PacGAN's experiments: its networks, its optimizer and its 400 epochs.

Command:  python train.py --config=configs/pacgan.py --workdir=runs/gan
          with --config.packing=2 --config.batch_size=200 for PacGAN2, 100 packs of two
          with --config.data.source=world:grid for the grid of 25
Time:     for an accelerator: 400,000 steps of 1.5 GFLOP
Expect:   the paper, over ten runs: 6.3 of 8 modes and 98.2% of high quality for the GAN, 7.9 and 95.6% for PacGAN2;
          17.3 of 25 and 94.8%, 23.8 and 91.3% on the grid. docs/mixtures.md has what shorter runs gave here

References:
    Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018, section 4.1.
    https://arxiv.org/abs/1712.04086
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "world:ring",
            "model.family": "toy_mlp",
            "model.initializer": "xavier",
            "loss": "non_saturating",
        }
    )
    config.latent_dim = 2
    config.batch_size = 100

    config.model.generator.width = 400
    config.model.generator.depth = 4
    config.model.discriminator.width = 200
    config.model.discriminator.depth = 3
    config.model.discriminator.maxout = 5
    config.model.discriminator.norm = "none"

    config.ema_decay = 0.0  # the paper draws from the generator itself
    for network in config.optimizer.values():
        network.learning_rate = 1e-4
        network.b1 = 0.8

    config.steps = 400_000
    config.log_every = 1000
    config.sample_every = 10_000
    config.checkpoint_every = 10_000
    config.sample_grid = 2500
    config.steps_per_dispatch = 100
    return config
