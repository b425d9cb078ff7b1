"""Summer to winter, 64x64 in colour: CUT on photographs of Yosemite, without pairs and in one direction.

The data are those of summer2winter.py. FastCUT is the same with --config.nce.weight=10 --config.nce.identity=0
--config.nce.flip=True.

Command:  python train.py --config=configs/summer2winter_cut.py --workdir=runs/summer2winter_cut \\
              --config.data.source=unpaired:summer2winter_yosemite
          python sample.py --workdir=runs/summer2winter_cut --input=photo.jpg --out=winter.png
Time:     43 minutes on one CPU core
Expect:   a classifier of the seasons takes .63 of translated test summers for winter, .74 of real winters, .15 of the
          summers as they are; SSIM of the grey translations to their sources .76
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "cut",
            "data.source": "unpaired:summer2winter_yosemite",
            **{f"optimizer.{player}.schedule": "linear" for player in ("generator", "heads", "discriminator")},
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

    config.batch_size = 1  # as in the paper
    config.steps = 10_000
    for network in config.optimizer.values():
        network.constant_steps = config.steps // 2
        network.decay_steps = config.steps // 2
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
