"""CIFAR-10, 32x32 in colour: 50,000 photographs of ten kinds of things, from TensorFlow Datasets.

Command:  python train.py --config=configs/cifar10.py --workdir=runs/cifar10
Time:     for an accelerator: a step takes 48 GFLOP, about 1 s on 2 CPU cores
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default()
    config.data.source = "tfds:cifar10"
    config.data.size = 32
    config.data.channels = 3
    config.data.flip = True
    config.data.upscale = False

    config.latent_dim = 128
    config.model.initializer = "he"
    config.model.generator.width = 64
    config.model.generator.dense = (512,)
    config.model.discriminator.width = 64
    config.model.discriminator.norm = "none"

    config.loss = "relativistic"
    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.ema_decay = 0.999
    config.ema_warmup = True

    config.steps = 100_000
    for network in config.optimizer.values():
        network.learning_rate = 4e-4
        network.b1 = 0.0
        network.b2 = 0.99
        network.schedule = "cosine"
        network.decay_steps = config.steps
        network.final_share = 0.05
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config
