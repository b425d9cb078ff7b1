"""Handwritten digits, 16x16, by a VAE/GAN."""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "vaegan",
            "data.source": "digits",
            "model.family": "dcgan",
            "model.initializer": "he",
            **{f"optimizer.{player}.schedule": "cosine" for player in ("encoder", "decoder", "discriminator")},
        }
    )
    config.data.size = 16
    config.data.channels = 1

    config.latent_dim = 16
    config.model.encoder.base_channels = 16
    config.model.encoder.hidden_dims = (128,)
    config.model.decoder.base_channels = 16
    config.model.decoder.hidden_dims = (64, 128, 256, 512)
    config.model.discriminator.base_channels = 16
    config.model.discriminator.hidden_dims = (256, 128)
    config.model.discriminator.norm = "none"

    config.gamma = 0.01
    config.ema_decay = 0.995
    config.ema_warmup = True

    config.steps = 4_000
    for network in config.optimizer.values():
        network.learning_rate = 1e-3
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
        network.final_fraction = 0.02
    config.log_every = 100
    config.sample_every = 500
    config.checkpoint_every = 2000
    return config
