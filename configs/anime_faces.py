"""A thousand drawn faces, 64x64 in colour, by a small FastGAN.

Command:  python train.py --config=configs/anime_faces.py --workdir=runs/anime_faces \\
              --config.data.source=folder:anime_faces_64
Time:     not measured yet
Expect:   not trained to the end yet by those who wrote it
"""

from ml_collections import ConfigDict

from jaxgan.configs import folder_fastgan


def get_config() -> ConfigDict:
    config = folder_fastgan.get_config()
    config.data.source = "folder:anime_faces_64"
    config.steps = 10_000
    return config
