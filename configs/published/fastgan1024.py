"""FastGAN at 1024x1024 in colour; the other presets of FastGAN begin here.

Command:  python train.py --config=configs/published/fastgan1024.py --workdir=runs/fastgan1024 \\
              --config.data.source=folder:PATH
          With the weights of '.[efficientnet]': --config.reconstruction.distance=efficientnet, which is nearer to the
          authors' LPIPS than pixels are
Time:     not measured yet; a pass takes 32 GFLOP an image in the generator, 4 in the discriminator
Expect:   not trained to the end yet by those who wrote it

References:
    Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021.
    https://arxiv.org/abs/2101.04775
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def preset(size: int) -> ConfigDict:
    """What all presets share, for images of a height and width."""
    config = default({"algorithm": "fastgan", "data.source": "folder:images"})
    config.data.size = size
    config.data.channels = 3
    config.data.flip = True
    config.batch_size = 8
    config.steps = 50_000
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config


def get_config() -> ConfigDict:
    return preset(1024)
