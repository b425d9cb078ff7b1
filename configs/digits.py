"""Handwritten digits, 16x16, from the 1,797 real ones inside scikit-learn: a small DCGAN with dense layers.

Command:  python train.py --config=configs/digits.py --workdir=runs/digits
Time:     2 minutes on 2 CPU cores, with the first grid of digits after half a minute
Expect:   of 1,000 samples a classifier of real digits is sure of about 85% (of held-out real digits: 93%), and each
          digit makes up 8% to 12% of them (sample.py --num=1000, then python -m benchmarks.digits)
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "digits",
            "model.initializer": "he",
            "loss": "relativistic",
            "optimizer.generator.schedule": "cosine",
            "optimizer.discriminator.schedule": "cosine",
        }
    )
    config.data.size = 16
    config.data.channels = 1

    config.latent_dim = 16
    # Convolutions alone were at 58% after two minutes: what tells digits apart is global, and dense layers see it all.
    config.model.generator.base_channels = 16
    config.model.generator.hidden_dims = (64, 128, 256, 512)
    config.model.discriminator.base_channels = 16
    config.model.discriminator.hidden_dims = (256, 128)
    config.model.discriminator.norm = "none"

    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.ema_decay = 0.995
    config.ema_warmup = True

    config.steps = 8_000
    for network in config.optimizer.values():
        network.learning_rate = 2e-3
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
        network.final_fraction = 0.02  # so that a larger --config.steps has something to learn with
    config.log_every = 100
    config.sample_every = 250
    config.checkpoint_every = 2000
    return config
