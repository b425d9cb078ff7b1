"""R3GAN on ImageNet, 64x64 in colour, by classes: the authors' networks, loss and schedules.

The images are those of https://patrykchrabaszcz.github.io/Imagenet32/, by TensorFlow Datasets.

Command:  python train.py --config=configs/published/r3gan_imagenet64.py --workdir=runs/r3gan_imagenet64
Time:     not measured yet; a generator's pass takes 226 GFLOP an image
Expect:   a Frechet distance of 2.09 in the paper; not trained to the end
          yet by those who wrote it. The authors name no last step: here it is twice that at which the schedules end

References:
    Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024. https://arxiv.org/abs/2501.05441
    The preset ImageNet-64 of https://github.com/brownvc/R3GAN.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import r3gan_cifar10


def get_config() -> ConfigDict:
    config = r3gan_cifar10.preset("tfds:imagenet_resized/64x64", 64, by_classes=True)
    r3gan_cifar10.set_networks(config, (1536,), (96,), 4)
    r3gan_cifar10.set_schedules(config, batch=4096, gamma=1.0, half_life=5e7, augment=0.4, images=2e8)
    config.steps = round(4e8 / config.batch_size)
    return config
