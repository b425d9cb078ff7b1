"""Your own images by a small StyleGAN2-ADA, 64x64: a template for CPUs and small GPUs.

Command:  python train.py --config=configs/folder_stylegan2.py --config.data.source=folder:PATH --workdir=runs/mine
          configs/mnist_stylegan2.py is the same for grey images of 32x32
Time:     27 minutes of one CPU core for 3,000 of the 4,000 steps
Expect:   of drawn faces, faces that differ in colour after 2,000 steps; of flowers, patches of colour after 3,000
          (docs/stylegan.md); not trained to its end yet by those who wrote it

References:
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020. https://arxiv.org/abs/2006.06676
"""

from ml_collections import ConfigDict

from jaxgan.configs.published import stylegan2


def get_config() -> ConfigDict:
    return small(64)


def small(size: int) -> ConfigDict:
    """The experiment for images of `size` pixels."""
    batch_size, steps = 16, 4_000
    gamma = 0.0002 * size**2 / batch_size  # as the authors' code chooses it
    config = stylegan2.preset(size, batch_size, gamma, 0.004, half_life=5_000.0, images=float(steps * batch_size))
    config.data.source = "folder:images"
    config.data.flip = True  # not for writing, nor for anything else whose mirror image is wrong
    config.precision = "float32"
    # A sixteenth of the channels that the authors' code chooses at the largest size, a quarter at the smallest.
    config.latent_dim = config.model.mapping.w_dim = 128
    config.model.mapping.depth = 2
    for name in ("synthesis", "discriminator"):
        config.model[name].channel_base = 1024
        config.model[name].channel_max = 128
    config.model.synthesis.noise = False  # whose strengths learn faster in a short run than all else, and make spots
    config.ada.speed = 1e5  # images, a fifth of the authors': the run is short
    config.schedules = f"ema_half_life=linear({config.ema_half_life}, {round(20 * config.ema_half_life / batch_size)})"
    config.ema_half_life = 0.0
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return config
