"""An experiment small enough to train many times: what the tests of both programs hand to train.py."""

from ml_collections import ConfigDict

from jaxgan.core.settings import default

TINY = {
    "steps": 12,
    "batch_size": 8,
    "latent_dim": 4,
    "data.size": 8,
    "model.generator.width": 4,
    "model.discriminator.width": 4,
    "optimizer.generator.learning_rate": 0.01,
    "optimizer.discriminator.learning_rate": 0.01,
    "log_every": 2,
    "sample_every": 4,
    "checkpoint_every": 4,
    "sample_grid": 4,
}


def get_config() -> ConfigDict:
    config = default()
    config.update_from_flattened_dict(TINY)
    return config
