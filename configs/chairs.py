"""Chairs of 32x32x32 voxels, 888 of ModelNet's, by 3D-GAN's networks without BatchNorm in the discriminator.

Command:  python train.py --config=configs/chairs.py --workdir=runs/chairs --config.data.source=voxels:chairs
          where chairs is a folder with train.npz and test.npz
Time:     a step takes 106 GFLOP, about 1 s on 2 CPU cores
Expect:   not trained yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "voxels:chairs",
            "model.family": "voxel",
            "model.initializer": "he",
            "loss": "relativistic",
            "optimizer.generator.schedule": "cosine",
            "optimizer.discriminator.schedule": "cosine",
        }
    )
    config.data.size = 32

    config.latent_dim = 64
    config.batch_size = 32
    config.model.generator.base_channels = 32
    config.model.discriminator.base_channels = 32
    config.model.discriminator.norm = "none"
    config.augment = ("mirror",)  # chairs all face the same way, and their mirror images are chairs

    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.ema_decay = 0.998
    config.ema_warmup = True

    config.steps = 10_000
    for network in config.optimizer.values():
        network.learning_rate = 1e-3
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
        network.final_fraction = 0.02
    config.log_every = 100
    config.sample_every = 500
    config.checkpoint_every = 1000
    config.sample_grid = 16
    return config
