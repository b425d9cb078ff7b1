"""Your own images by a small R3GAN, 64x64: a template for CPUs and small GPUs.

Command:  python train.py --config=configs/folder_r3gan.py --config.data.source=folder:PATH --workdir=runs/mine
          configs/mnist_r3gan.py is the same for grey images of 32x32
Time:     66 minutes on one CPU core
Expect:   of 4,064 photographs of flowers, blossoms with some petals, one image of five with stripes (docs/stylegan.md)

References:
    Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024. https://arxiv.org/abs/2501.05441
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import r3gan_cifar10


def get_config() -> ConfigDict:
    return small(64, (128, 128, 96, 48, 16))


def small(size: int, widths: tuple[int, ...]) -> ConfigDict:
    """The experiment for images of `size` pixels, with the widths from 4x4 on."""
    batch_size, steps = 16, 3_000
    config = r3gan_cifar10.preset("folder:images", size, by_classes=False)  # mirrors half of the images
    r3gan_cifar10.set_networks(config, widths, tuple(width // 8 for width in widths), half=0)
    for name in ("generator", "discriminator"):
        config.model[name].blocks = (1,)  # of two
    images = float(batch_size * steps)
    r3gan_cifar10.set_schedules(config, batch_size, gamma=2.0, half_life=5_000.0, augment=0.3, images=images)
    config.steps = steps
    for network in config.optimizer.values():
        network.learning_rate = 5e-4  # the networks are small, and the run is short
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return config
