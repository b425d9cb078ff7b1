"""MNIST as TensorFlow's tutorial on DCGAN trains it: 5x5 kernels, dropout, both updates from one forward pass.

Command:  python train.py --config=configs/tutorial.py --workdir=runs/tutorial
          with --config.precision=bfloat16 where the CPU is fast at that
Time:     for an accelerator: the tutorial's 50 epochs are 11,700 steps, about an hour on 2 CPU cores in bfloat16
Expect:   digits, many of them clear, and some strokes that are none (one run in bfloat16)

References:
    TensorFlow, Deep Convolutional Generative Adversarial Network. https://www.tensorflow.org/tutorials/generative/dcgan
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "tfds:mnist",
            "model.family": "tf_dcgan",
            "model.initializer": "xavier",
            "update_rule": "simultaneous",
        }
    )
    config.data.size = 28
    config.data.channels = 1
    config.data.upscale = False
    config.batch_size = 256

    config.model.discriminator.norm = "none"
    config.model.discriminator.negative_slope = 0.3
    config.model.discriminator.dropout = 0.3

    config.ema_decay = 0.0  # the tutorial draws from the generator itself
    for network in config.optimizer.values():
        network.learning_rate = 1e-4
        network.b1 = 0.9

    config.steps = 11_700
    config.sample_every = 1170  # five epochs
    config.checkpoint_every = 1170
    config.log_every = 90
    return config
