"""R3GAN on FFHQ, 256x256 in colour: the authors' networks, loss and schedules.

The photographs are those of https://github.com/NVlabs/ffhq-dataset, in a folder.

Command:  python train.py --config=configs/published/r3gan_ffhq256.py --workdir=runs/r3gan_ffhq256 \\
              --config.data.source=folder:PATH
Time:     not measured yet; a generator's pass takes 58 GFLOP an image
Expect:   a Frechet distance of 2.75 in the paper; not trained to the end
          yet by those who wrote it. The authors name no last step: here it is twice that at which the schedules end

References:
    Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024. https://arxiv.org/abs/2501.05441
    The preset FFHQ-256 of https://github.com/brownvc/R3GAN.
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import r3gan_cifar10


def get_config() -> ConfigDict:
    config = r3gan_cifar10.preset("folder:ffhq256", 256, by_classes=False)
    r3gan_cifar10.set_networks(config, (768, 768, 768, 768, 384, 192, 96), (96, 96, 96, 96, 48, 24, 12), 4)
    r3gan_cifar10.set_schedules(config, batch=256, gamma=150.0, half_life=5e5, augment=0.3, images=2e7)
    config.steps = round(4e7 / config.batch_size)
    return config
