"""Maps of facades to photographs, 64x64 in colour: pix2pix, on pairs.

The data are the 400 pairs of the CMP Facade Database as pix2pix's authors prepared them, each side in a folder of its
own: facades/train/label and facades/train/photo, with equal names, and the same in val and test.

Command:  python train.py --config=configs/facades.py --workdir=runs/facades \\
              --config.data.source=paired:facades
          python sample.py --workdir=runs/facades --input=drawing.png --out=photo.png
Time:     24 minutes on one CPU core
Expect:   L1 .155, PSNR 14.2 and SSIM .320 on the 106 test pairs; the unchanged map has .376, 7.1 and -.03
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "pix2pix",
            "data.source": "paired:facades",
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
    config.model.discriminator.base_channels = 32
    config.model.discriminator.depth = 1  # patches of 16 pixels, as large a share of 64 as the paper's 70 are of 256

    config.batch_size = 4
    config.steps = 10_000
    for network in config.optimizer.values():
        network.learning_rate = 4e-4  # twice that of the paper, which has one image in a batch
        network.constant_steps = config.steps // 2
        network.decay_steps = config.steps // 2
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
