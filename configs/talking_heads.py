"""Portraits that talk, 64x64 in colour: the First Order Motion Model on a few clips.

The data are a folder for each clip, clip00 to clip14; clip11 to clip14 are held out. Folders that follow, such as still
portraits, belong to neither split.

Command:  python train.py --config=configs/talking_heads.py --workdir=runs/talking_heads \\
              --config.data.source=clips:talking_heads
          python evaluate.py --workdir=runs/talking_heads --split='train[11:15]'
          python sample.py --workdir=runs/talking_heads --source=portrait.png --driving=talking_heads/clip00 \\
              --out=moving.webp
Time:     made for less than two and a half hours on 2 CPU cores
Expect:   not measured yet
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "motion",
            "data.source": "clips:talking_heads",
            **{f"optimizer.{player}.schedule": "linear" for player in ("generator", "discriminator")},
        }
    )
    config.data.size = 64
    config.data.channels = 3
    config.data.split = "train[:11]"
    config.data.flip = True

    config.model.keypoints.base_channels = 16
    config.model.keypoints.max_channels = 128
    config.model.keypoints.blocks = 4
    config.model.keypoints.shrink = 1
    config.model.motion.base_channels = 16
    config.model.motion.max_channels = 128
    config.model.motion.blocks = 4
    config.model.motion.shrink = 2
    config.model.generator.base_channels = 32
    config.model.generator.max_channels = 128
    config.model.generator.halvings = 1
    config.model.generator.blocks = 4
    config.model.discriminator.base_channels = 16
    config.model.discriminator.max_channels = 128

    config.batch_size = 8
    config.steps = 10_000
    for network in config.optimizer.values():
        network.constant_steps = network.decay_steps = config.steps // 2
    config.log_every = 50
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
