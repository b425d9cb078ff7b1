"""Handwritten digits, 16x16, by a variational autoencoder: what configs/digits.py learns by a game, by a likelihood.

Command:  python train.py --config=configs/digits_vae.py --workdir=runs/digits_vae
          python sample.py --workdir=runs/digits_vae --task=reconstruct --out=reconstructions.png
Time:     15 seconds on 2 CPU cores, at 580 steps a second
Expect:   digits, blurrier than those of configs/digits.py. Trained on four fifths of them in a minute, 38,600 steps:
          a negative log-likelihood of 86 nats for each digit of the last fifth, and 70% of samples that a classifier of
          real digits is sure of (docs/vae.md)
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "vae",
            "data.source": "digits",
            "likelihood": "bernoulli",
            "model.family": "mlp",
            "model.initializer": "he",
            "optimizer.vae.schedule": "cosine",
        }
    )
    config.data.size = 16
    config.data.channels = 1

    config.latent_dim = 16
    config.model.encoder.width = 64
    config.model.encoder.norm = "none"
    config.model.decoder.width = 32
    config.model.decoder.norm = "none"

    config.ema_decay = 0.995
    config.ema_warmup = True

    config.steps = 8_000
    config.optimizer.vae.learning_rate = 1e-3
    config.optimizer.vae.b1 = 0.9
    config.optimizer.vae.decay_steps = config.steps
    config.optimizer.vae.final_fraction = 0.02
    config.log_every = 100
    config.sample_every = 500
    config.checkpoint_every = 2000
    return config
