"""Handwritten digits, 16x16, by a VAE/GAN: the encoder of configs/digits_vae.py, and samples sharper than a VAE's.

Command:  python train.py --config=configs/digits_vaegan.py --workdir=runs/digits_vaegan
          python sample.py --workdir=runs/digits_vaegan --task=reconstruct --out=reconstructions.png
Time:     a minute and a half on 2 CPU cores, at 47 steps a second
Expect:   trained on four fifths of the digits for 2,900 steps: of 1,000 samples a classifier of real digits is sure of
          77%, and each digit makes up 6% to 16% of them; reconstructions of the last fifth have a mean squared error of
          .029 for pixels in [0, 1]. A smaller gamma trades both for sharpness: with .01, sure of 80%, but the samples
          cover far less of the data (docs/vae.md)
"""

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
    # With BatchNorm here only reconstructions became digits, and most samples noise.
    config.model.discriminator.norm = "none"

    config.gamma = 0.03
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
