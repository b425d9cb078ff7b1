"""One Gaussian moved onto another: the smallest GAN there is, with both densities and the discriminator in one picture.

Command:  python train.py --config=configs/gaussian1d.py --workdir=runs/gaussian1d
          with --config.data.source=world:mixture1d onto a mixture of two
Time:     half a minute on 2 CPU cores
Expect:   a Wasserstein distance of .014 (.05 onto the mixture), where a perfect sampler has .013 (.04), and a
          discriminator that says 1/2 wherever there are data (docs/mixtures.md)
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "world:gaussian1d",
            "model.family": "toy_mlp",
            "model.initializer": "he",
            "loss": "non_saturating",  # with which sigmoid(D) is the probability of being real
            "optimizer.generator.schedule": "cosine",
            "optimizer.discriminator.schedule": "cosine",
        }
    )
    config.latent_dim = 1
    config.batch_size = 256

    config.model.generator.width = 32
    config.model.generator.depth = 2
    config.model.generator.norm = "none"
    config.model.discriminator.width = 32
    config.model.discriminator.depth = 2
    config.model.discriminator.norm = "none"

    config.penalties.r1 = 0.003  # a stronger one would forbid the slopes of p / (p + q)
    config.penalties.r2 = 0.003
    config.ema_decay = 0.998
    config.ema_warmup = True

    config.steps = 4_000
    for network in config.optimizer.values():
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
    config.optimizer.generator.learning_rate = 2e-3
    config.optimizer.discriminator.learning_rate = 5e-3  # which soon answers whatever the generator does
    config.log_every = 100
    config.sample_every = 100
    config.checkpoint_every = 1000
    config.sample_grid = 2500
    config.steps_per_dispatch = 100
    return config
