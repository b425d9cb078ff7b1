"""Fashion-MNIST, 28x28: 60,000 pieces of clothing of ten kinds, from TensorFlow Datasets.

Command:  python train.py --config=configs/fashion_mnist.py --workdir=runs/fashion_mnist
Time:     as configs/mnist.py, with which it shares everything but the images
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.data.source = "tfds:fashion_mnist"
    return config
