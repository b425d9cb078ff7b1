from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default()
    config.data.source = "world:ring"
    config.latent_dim = 2
    config.batch_size = 128
    config.model.family = "points"
    config.model.initializer = "he"
    config.model.generator.width = 64
    config.model.generator.depth = 3
    config.model.generator.norm = "none"
    config.model.discriminator.width = 64
    config.model.discriminator.norm = "none"
    config.loss = "relativistic"
    config.penalties.r1 = 0.03
    config.penalties.r2 = 0.03
    config.steps = 10_000
    for network in config.optimizer.values():
        network.learning_rate = 6e-3
        network.b1 = 0.0
        network.b2 = 0.99
        network.schedule = "cosine"
        network.decay_steps = config.steps
    config.sample_every = 1000
    config.sample_grid = 2500
    config.steps_per_dispatch = 100
    return config
