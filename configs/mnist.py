"""MNIST: 60,000 handwritten digits, 28x28, from TensorFlow Datasets.

Command:  python train.py --config=configs/mnist.py --workdir=runs/mnist
Time:     10 minutes on 2 CPU cores of an AMD EPYC
Expect:   digits that are easy to read, of all ten kinds (docs/mnist.png)
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "tfds:mnist",
            "model.initializer": "he",
            "loss": "relativistic",
            "optimizer.generator.schedule": "cosine",
            "optimizer.discriminator.schedule": "cosine",
        }
    )
    config.data.size = 28
    config.data.channels = 1
    config.data.upscale = False

    config.latent_dim = 64
    # Dense layers see a digit as a whole; convolutions alone take far longer to learn which strokes go together.
    config.model.generator.base_channels = 16
    config.model.generator.hidden_dims = (256, 512)
    config.model.discriminator.base_channels = 16
    config.model.discriminator.hidden_dims = (256,)
    config.model.discriminator.norm = "none"

    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.ema_decay = 0.998
    config.ema_warmup = True

    config.steps = 20_000
    for network in config.optimizer.values():
        network.learning_rate = 1e-3
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
        network.final_fraction = 0.02
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 2000
    return config
