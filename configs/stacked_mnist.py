"""Stacked MNIST: three random digits in the three channels of 28x28 pixels, so 1,000 modes, none of which should miss.

The data set, the counting and the number of samples are PacGAN's; the training is that of configs/mnist.py.

Command:  python train.py --config=configs/stacked_mnist.py --workdir=runs/stacked_mnist
          python evaluate.py --workdir=runs/stacked_mnist --num=26000
Time:     38 minutes on 2 CPU cores of an AMD EPYC that were busy with other work for a third of it
Expect:   all 1,000 modes and a divergence from even shares of .034, where real digits have .024; after 15,000 steps
          the divergence was .042 (docs/evaluation.md)

References:
    Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018, section 4.2.
    https://arxiv.org/abs/1712.04086
"""

from ml_collections import ConfigDict

from jaxgan.configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.data.source = "stacked:tfds:mnist"
    config.data.channels = 3
    config.eval.features = "stacked"

    config.steps = 50_000
    for network in config.optimizer.values():
        network.decay_steps = config.steps
    config.sample_every = 2500
    config.checkpoint_every = 5000
    return config
