"""MNIST by label, 28x28: configs/mnist.py with a conditional generator and discriminator.

Command:  python train.py --config=configs/mnist_conditional.py --workdir=runs/mnist_conditional
          python sample.py --workdir=runs/mnist_conditional --labels=all --out=mnist.png
Time:     8 minutes on 2 CPU cores of an AMD EPYC
Expect:   99.1% of samples with the given label, by a classifier that is right about as many real digits; one that
          learned from samples alone is right about 98.7% of the test split (docs/evaluation.md)
"""

from ml_collections import ConfigDict

from jaxgan.configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.conditioning.generator = "cbn"
    config.conditioning.discriminator = "projection"
    # With penalties of 1 the discriminator may be flat for half of the training: steps 3,000 to 13,000 of one run.
    config.penalties.r1 = 0.3
    config.penalties.r2 = 0.3
    config.sample_grid = 80
    return config
