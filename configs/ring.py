"""The ring of 8 Gaussians, by a GAN a fraction of the size of PacGAN's: all modes and no sample between them.

Command:  python train.py --config=configs/ring.py --workdir=runs/ring
          with --config.population=10 for ten seeds at once
Time:     a minute on 2 CPU cores, 3 to 10 for ten seeds
Expect:   all 8 modes in each of ten seeds, 97.5% of high quality (a perfect sampler: 98.9%), reverse KL .002
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "world:ring",
            "model.family": "toy_mlp",
            "model.initializer": "xavier",
            "loss": "relativistic",
            "optimizer.generator.schedule": "cosine",
            "optimizer.discriminator.schedule": "cosine",
        }
    )
    config.latent_dim = 2
    config.batch_size = 128

    config.model.generator.width = 64
    config.model.generator.depth = 3
    config.model.generator.norm = "none"
    config.model.discriminator.width = 64
    config.model.discriminator.depth = 3
    config.model.discriminator.norm = "none"

    config.penalties.r1 = 0.05  # points lie much nearer to each other than images do: less than usual
    config.penalties.r2 = 0.05
    config.ema_decay = 0.999

    config.steps = 10_000
    for network in config.optimizer.values():
        network.learning_rate = 5e-3  # a small one never makes a generator that leaps from mode to mode
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
    config.log_every = 500
    config.sample_every = 500
    config.checkpoint_every = 2000
    config.sample_grid = 2500
    config.steps_per_dispatch = 100
    return config
