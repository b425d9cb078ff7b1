"""SAGAN on ImageNet, 128x128 in colour, by classes, with attention at 64x64.

--config.model.generator.attention=32, --config.model.discriminator.attention=32, is the default of the authors' code.

Command:  python train.py --config=configs/published/sagan128.py --workdir=runs/sagan128
Time:     not measured yet
Expect:   a Frechet distance of 18.65 and an Inception Score of 52.52 in the paper, which others have not reached; not
          trained to the end yet by those who wrote it

References:
    Zhang et al., Self-Attention Generative Adversarial Networks, 2019. https://arxiv.org/abs/1805.08318
    The authors' code, https://github.com/brain-research/self-attention-gan, whose optimizers have a b2 of 0.999, where
    the paper says 0.9.
"""

from ml_collections import ConfigDict

from jaxgan.config import default

ATTENTION = (64,)


def get_config() -> ConfigDict:
    choices = {"model.family": "resnet", "model.initializer": "xavier", "loss": "hinge"}
    labels = {"conditioning.generator": "cbn", "conditioning.discriminator": "projection"}
    config = default({"data.source": "tfds:imagenet2012", **choices, **labels})
    config.data.size = 128
    config.data.channels = 3
    config.latent_dim = 128
    config.batch_size = 256
    config.steps = 1_000_000
    config.ema_decay = 0.0
    config.model.generator.multipliers = (16, 16, 8, 4, 2, 1)
    config.model.discriminator.multipliers = (1, 2, 4, 8, 16, 16)
    for network, rate in {"generator": 1e-4, "discriminator": 4e-4}.items():
        config.model[network].spectral_norm = True
        config.model[network].attention = ATTENTION
        config.optimizer[network].learning_rate = rate
        config.optimizer[network].b1 = 0.0
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config
