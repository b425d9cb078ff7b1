"""Flowers, 64x64 in colour: 3,670 photographs of five kinds, from TensorFlow Datasets.

Command:  python train.py --config=configs/flowers.py --workdir=runs/flowers
          (a folder of one's own, one sub-folder a kind: --config.data.source=folder:PATH)
Time:     TODO
Expect:   TODO
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default()
    config.data.source = "tfds:tf_flowers"
    config.data.size = 64
    config.data.channels = 3
    config.data.load_size = (
        72  # random crops and mirror images, since a discriminator soon knows 3,670 pictures by heart
    )
    config.data.crop = "random"
    config.data.flip = True
    config.data.upscale = False

    config.latent_dim = 64
    config.model.initializer = "he"
    config.model.generator.width = 32
    config.model.generator.dense = (512,)
    config.model.discriminator.width = 32
    config.model.discriminator.norm = "none"

    config.loss = "relativistic"
    config.penalties.r1 = 2.0
    config.penalties.r2 = 2.0
    config.ema_decay = 0.998
    config.ema_warmup = True

    config.steps = 50_000
    for network in config.optimizer.values():
        network.learning_rate = 4e-4
        network.b1 = 0.0
        network.b2 = 0.99
        network.schedule = "cosine"
        network.decay_steps = config.steps
        network.final_share = 0.05
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
