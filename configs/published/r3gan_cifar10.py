"""R3GAN on CIFAR-10, 32x32 in colour, by classes: the authors' networks, loss and schedules.

Command:  python train.py --config=configs/published/r3gan_cifar10.py --workdir=runs/r3gan_cifar10
Time:     4 days on 8 L40 by the authors' code (issue 19 there); a generator's pass takes 14 GFLOP an image
Expect:   a Frechet distance of 1.96 in the paper; not trained to the end
          yet by those who wrote it

References:
    Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024. https://arxiv.org/abs/2501.05441
    The preset CIFAR10 of https://github.com/brownvc/R3GAN, whose schedules count images.
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def preset(source: str, size: int, by_classes: bool) -> ConfigDict:
    """What all presets share."""
    labels = {"generator": "concat", "discriminator": "inner_product", "embedding": 64}
    config = default(
        {
            "data.source": source,
            "model.family": "r3gan",
            "loss": "relativistic",
            "ada.mode": "fixed",
            **({f"conditioning.{name}": value for name, value in labels.items()} if by_classes else {}),
        }
    )
    config.data.size = size
    config.data.channels = 3
    config.data.flip = True
    config.latent_dim = 64
    config.fresh_reals = True
    for network in config.optimizer.values():
        network.learning_rate = 2e-4
        network.b1 = 0.0
        network.b2 = 0.9
    config.ada.p = 0.0
    config.ada.operations = ("bgc", "color*0.5", "cutout")
    config.penalty_settings.through_augmentation = True
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 2000
    return config


def set_networks(config: ConfigDict, widths: tuple[int, ...], cardinality: tuple[int, ...], half: int) -> None:
    """Sets what both networks have from 4x4 on, and how many of the largest sizes are computed in bfloat16."""
    for name in ("generator", "discriminator"):
        network = config.model[name]
        network.widths = widths
        network.cardinality = cardinality
        network.bfloat16_stages = half


def set_schedules(
    config: ConfigDict, batch: int, gamma: float, half_life: float, augment: float, images: float
) -> None:
    """Sets the batch, and the schedules of the first `images` images.

    Args:
        config: that is changed.
        batch: examples in a batch.
        gamma: the weight of R1 and R2 at first; a tenth of it in the end.
        half_life: of the average in the end, in images; 0 at first.
        augment: the probability of ADA's augmentations in the end; 0 at first.
        images: after which nothing moves any more.
    """
    steps = round(images / batch)
    final = {f"optimizer.{player}.learning_rate": 5e-5 for player in config.optimizer}
    final |= {f"optimizer.{player}.b2": 0.99 for player in config.optimizer}
    final |= {"penalties.r1": gamma / 10, "penalties.r2": gamma / 10, "ema_half_life": half_life, "ada.p": augment}
    config.batch_size = batch
    config.penalties.r1 = gamma
    config.penalties.r2 = gamma
    config.schedules = "; ".join(f"{name}=cosine({value}, {steps})" for name, value in final.items())


def get_config() -> ConfigDict:
    config = preset("tfds:cifar10", 32, by_classes=True)
    set_networks(config, (768,), (96,), 3)
    set_schedules(config, batch=512, gamma=0.05, half_life=5e6, augment=0.55, images=2e7)
    config.steps = round(2.5e8 / config.batch_size)
    return config
