"""An experiment small enough to train many times: what the tests of both programs hand to train.py."""

from ml_collections import ConfigDict

from jaxgan.config import default

TINY = {
    "steps": 12,
    "batch_size": 8,
    "latent_dim": 4,
    "data.size": 8,
    "model.generator.base_channels": 4,
    "model.discriminator.base_channels": 4,
    "optimizer.generator.learning_rate": 0.01,
    "optimizer.discriminator.learning_rate": 0.01,
    "log_every": 2,
    "sample_every": 4,
    "checkpoint_every": 4,
    "sample_grid": 4,
}


def get_config() -> ConfigDict:
    return default(TINY)
