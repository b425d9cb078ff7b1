"""StyleGAN3-T on FFHQ at 1024x1024, equivariant to translation; the other presets of StyleGAN3 begin here.

Command:  python train.py --config=configs/published/stylegan3_t_ffhq.py --workdir=runs/stylegan3_t_ffhq \\
              --config.data.source=folder:PATH
Time:     not measured yet; 20 s for 1,000 images on 8 A100 by the authors' code
Expect:   a Frechet distance of 2.79 in the paper; not trained to the end yet by those who wrote it

References:
    Karras et al., Alias-Free Generative Adversarial Networks, 2021. https://arxiv.org/abs/2106.12423
    docs/configs.md of https://github.com/NVlabs/stylegan3. Its runs take 8 GPUs and a batch of 32.
"""

from ml_collections import ConfigDict

from jaxgan.config import default

INTERVAL = 16  # steps from one R1 to the next
BLUR_STEPS = 6250  # in which the blur of rotation's presets fades: 200,000 images in batches of 32


def preset(
    equivariance: str,
    size: int,
    gamma: float,
    ada: str = "adaptive",
    batch: int = 32,
    base: int = 32768,
    discriminator_rate: float = 0.002,
    finetune: bool = False,
) -> ConfigDict:
    """What all presets share.

    Args:
        equivariance: "translation" or "rotation".
        size: height and width of images.
        gamma: the weight of R1.
        ada: a mode of ADA.
        batch: images in a batch.
        base: channels at one row of features.
        discriminator_rate: its learning rate, before the correction for its penalty.
        finetune: whether the networks have been trained on other images before.
    """
    config = default(
        {"algorithm": "stylegan2", "model.family": "stylegan3", "data.source": "folder:images", "ada.mode": ada}
    )
    config.data.size = size
    config.data.channels = 3
    config.data.flip = True
    config.precision = "bfloat16"
    config.batch_size = batch
    config.steps = round((5e6 if finetune else 2.5e7) / batch)
    config.style_mixing = 0.0
    config.model.synthesis.equivariance = equivariance
    for name in ("synthesis", "discriminator"):
        config.model[name].channel_base = base
    config.penalties.r1 = gamma
    config.penalty_settings.through_augmentation = True
    config.penalty_interval.r1 = INTERVAL
    share = INTERVAL / (INTERVAL + 1)  # updates by penalties make that many more, with the same optimizer state
    for player, rate, b2 in (("generator", 0.0025, 0.99), ("discriminator", discriminator_rate * share, 0.99**share)):
        config.optimizer[player].learning_rate = rate
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = b2
    config.ema_half_life = batch * 10_000 / 32
    if finetune:
        config.ada.speed = 1e5
    else:
        set_beginning(config)
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config


def set_beginning(config: ConfigDict) -> None:
    """Sets what moves at first: the average, which begins as that of nothing, and rotation's blur, which fades."""
    moving = [f"ema_half_life=linear({config.ema_half_life}, {round(config.ema_half_life / 0.05 / config.batch_size)})"]
    config.ema_half_life = 0.0
    if config.model.synthesis.equivariance == "rotation":
        config.blur_sigma = 10.0
        moving.append(f"blur_sigma=linear(0, {BLUR_STEPS})")
    config.schedules = "; ".join(moving)


def get_config() -> ConfigDict:
    return preset("translation", 1024, 32.8, ada="off")
