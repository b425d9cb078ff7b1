"""Summer to winter and back, 64x64 in colour: CycleGAN on photographs of Yosemite, without pairs.

The data are photographs of CycleGAN's authors, in the folders trainA, trainB, testA and testB:
http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/summer2winter_yosemite.zip

Command:  python train.py --config=configs/summer2winter.py --workdir=runs/summer2winter \\
              --config.data.source=unpaired:summer2winter_yosemite
          python sample.py --workdir=runs/summer2winter --input=photo.jpg --direction=ab --out=winter.png
Time:     2 hours on two CPU cores, beside other work
Expect:   a classifier of the seasons takes .70 of translated test summers for winter, .74 of real winters, .15 of the
          summers as they are; the other way .55, .85, .26. SSIM of the grey translations to their sources .84 and .83
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "cyclegan",
            "data.source": "unpaired:summer2winter_yosemite",
            **{f"optimizer.{player}.schedule": "linear" for player in ("generator", "discriminator")},
        }
    )
    config.data.size = 64
    config.data.channels = 3
    config.data.load_size = 72
    config.data.fit = "stretch"
    config.data.crop = "random"
    config.data.flip = True

    config.model.generator.base_channels = 32
    config.model.generator.blocks = 6
    config.model.discriminator.base_channels = 32
    config.ema_decay = 0.999

    config.batch_size = 4
    config.steps = 6000
    for network in config.optimizer.values():
        network.learning_rate = 4e-4  # twice that of the paper, which has one image in a batch
        network.constant_steps = config.steps // 2
        network.decay_steps = config.steps // 2
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
