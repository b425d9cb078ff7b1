"""MNIST on demand, 28x28: configs/mnist.py told which digit to draw.

Command:  python train.py --config=configs/mnist_conditional.py --workdir=runs/mnist_conditional
          python sample.py --workdir=runs/mnist_conditional --labels=all --out=mnist.png
Time:     as configs/mnist.py, with which it shares all but the labels
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.conditioning.generator = "cbn"
    config.conditioning.discriminator = "projection"
    config.sample_grid = 80
    return config
