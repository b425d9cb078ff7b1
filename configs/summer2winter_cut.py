"""Photographs of Yosemite in summer made into winter, 64x64, without pairs: CUT.

The data set of CycleGAN is one folder with trainA, trainB, testA and testB:
https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/summer2winter_yosemite.zip

Command:  python train.py --config=configs/summer2winter_cut.py --config.data.source=unpaired:PATH \
          --workdir=runs/summer2winter_cut
Time:     to be measured
Expect:   to be measured
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default({"algorithm": "cut", "data.source": "unpaired:data/summer2winter_yosemite"})
    config.data.size = 64
    config.data.channels = 3
    config.data.load_size = 72
    config.data.crop = "random"
    config.data.flip = True
    config.data.fit = "stretch"

    config.model.generator.base_channels = 32
    config.model.generator.blocks = 6
    config.model.discriminator.base_channels = 32

    config.steps = 30_000
    config.batch_size = 4
    for player in config.optimizer.values():
        player.schedule = "linear"
    return config
