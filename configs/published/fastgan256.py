"""FastGAN at 256x256 in colour.

Command:  python train.py --config=configs/published/fastgan256.py --workdir=runs/fastgan256 \\
              --config.data.source=folder:PATH
          With the weights of '.[efficientnet]': --config.reconstruction.distance=efficientnet, which is nearer to the
          authors' LPIPS than pixels are
Time:     not measured yet; a pass takes 19 GFLOP an image in the generator, 3 in the discriminator
Expect:   a Frechet distance of 41.05 for 100 photographs of Obama, 10.03 of pandas, 26.65 of grumpy cats in the
          paper; not trained to the end yet by those who wrote it

References:
    Liu et al., Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis, 2021.
    https://arxiv.org/abs/2101.04775
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import fastgan1024


def get_config() -> ConfigDict:
    config = fastgan1024.preset(256)
    config.model.generator.activation = "linear"  # in the authors' code images of 1024x1024 alone end in tanh
    return config
