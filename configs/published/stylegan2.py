"""StyleGAN2 at 1024x1024, called config F in the paper; the other presets of StyleGAN2 begin here.

Command:  python train.py --config=configs/published/stylegan2.py --workdir=runs/stylegan2 \\
              --config.data.source=folder:PATH
Time:     not measured yet
Expect:   a Frechet distance of 2.84 for FFHQ in the paper; not trained to the end yet by those who wrote it

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020. https://arxiv.org/abs/1912.04958
    Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, whose code has these presets.
    https://arxiv.org/abs/2006.06676
"""

from ml_collections import ConfigDict

from jaxgan.config import default

INTERVALS = {"generator": 4, "discriminator": 16}  # steps from one penalty to the next


def preset(
    size: int, batch: int, gamma: float, learning_rate: float, half_life: float, images: float, ada: str = "adaptive"
) -> ConfigDict:
    """What all presets share.

    Args:
        size: height and width of images.
        batch: images in a batch.
        gamma: the weight of R1.
        learning_rate: of both players, before the correction for their penalties.
        half_life: of the moving average, in images.
        images: to train on.
        ada: a mode of ADA.
    """
    config = default({"algorithm": "stylegan2", "data.source": "folder:images", "ada.mode": ada})
    config.data.size = size
    config.data.channels = 3
    config.precision = "bfloat16"
    config.batch_size = batch
    config.steps = round(images / batch)
    config.ema_half_life = half_life
    config.penalties.r1 = gamma
    config.penalty_settings.through_augmentation = True
    config.penalty_interval.r1 = INTERVALS["discriminator"]
    config.generator_penalties.path_length = 2.0
    config.generator_penalty_interval.path_length = INTERVALS["generator"]
    for player, interval in INTERVALS.items():
        share = interval / (interval + 1)  # updates by penalties make that many more, with the same optimizer state
        config.optimizer[player].learning_rate = learning_rate * share
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = 0.99**share
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config


def set_channels(config: ConfigDict, base: int) -> None:
    """Sets the channels at one row of features."""
    for name in ("synthesis", "discriminator"):
        config.model[name].channel_base = base


def auto(size: int, devices: int = 1) -> ConfigDict:
    """The preset that the authors' code chooses by the size of the images and the number of GPUs."""
    batch = max(min(devices * min(4096 // size, 32), 64), devices)
    learning_rate = 0.002 if size >= 1024 else 0.0025
    config = preset(size, batch, 0.0002 * size**2 / batch, learning_rate, batch * 10_000 / 32, 2.5e7)
    set_channels(config, 32768 if size >= 512 else 16384)
    config.model.mapping.depth = 2
    config.model.discriminator.minibatch_stddev = min(batch // devices, 4)
    steps = round(config.ema_half_life / 0.05 / batch)
    config.schedules = f"ema_half_life=linear({config.ema_half_life}, {steps})"
    config.ema_half_life = 0.0
    return config


def get_config() -> ConfigDict:
    return preset(1024, 32, 10.0, 0.002, 1e4, 2.5e7, ada="off")
