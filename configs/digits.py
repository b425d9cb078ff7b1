"""Handwritten digits, 16x16, from the 1,797 real ones inside scikit-learn.

Command:  python train.py --config=configs/digits.py --workdir=runs/digits
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default()
    config.data.source = "digits"
    config.data.size = 16
    config.data.channels = 1

    config.latent_dim = 16
    config.model.initializer = "he"
    config.model.generator.width = 16
    config.model.generator.dense = (64, 128, 256, 512)
    config.model.discriminator.width = 16
    config.model.discriminator.dense = (256, 128)
    config.model.discriminator.norm = "none"

    config.loss = "relativistic"
    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.ema_decay = 0.995
    config.ema_warmup = True

    config.steps = 12_000
    for network in config.optimizer.values():
        network.learning_rate = 2e-3
        network.b1 = 0.0
        network.b2 = 0.99
        network.schedule = "cosine"
        network.decay_steps = config.steps
    config.log_every = 100
    config.sample_every = 250
    config.checkpoint_every = 2000
    return config
