"""CIFAR-10, 32x32 in colour: 50,000 photographs of ten kinds of things, from TensorFlow Datasets.

Command:  python train.py --config=configs/cifar10.py --workdir=runs/cifar10
Time:     for an accelerator: a step takes 48 GFLOP, about 1 s on 2 CPU cores
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder


def get_config() -> ConfigDict:
    config = folder.get_config()
    config.data.source = "tfds:cifar10"
    config.data.size = 32
    config.data.load_size = 0
    config.data.crop = "centre"  # 50,000 images are enough without crops

    config.latent_dim = 128
    config.model.generator.base_channels = 64
    config.model.discriminator.base_channels = 64
    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.ema_decay = 0.999

    config.steps = 100_000
    for network in config.optimizer.values():
        network.decay_steps = config.steps
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config
