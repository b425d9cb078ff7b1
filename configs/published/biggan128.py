"""BigGAN on ImageNet, 128x128 in colour, by classes; the other presets of BigGAN begin here.

Command:  python train.py --config=configs/published/biggan128.py --workdir=runs/biggan128
Time:     not measured yet
Expect:   a Frechet distance of 8.7 and an Inception Score of 98.8 in the paper; not trained to the end yet by those who
          wrote it. Training collapses late: keep the best checkpoint by --config.checkpoint.best

References:
    Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019.
    https://arxiv.org/abs/1809.11096
    The authors' PyTorch code, https://github.com/ajbrock/BigGAN-PyTorch, from which details are that the paper leaves
    out. It trains without the orthogonal penalty.
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def preset(source: str, size: int, latent_dim: int, initializer: str = "orthogonal") -> ConfigDict:
    """What all presets share: labels, spectral norm in both networks, the loss, and an average that begins late."""
    choices = {"model.family": "resnet", "model.initializer": initializer, "loss": "hinge"}
    labels = {"conditioning.generator": "cbn", "conditioning.discriminator": "projection"}
    config = default({"data.source": source, **choices, **labels})
    config.data.size = size
    config.data.channels = 3
    config.latent_dim = latent_dim
    config.concat_real_fake = True
    for network in ("generator", "discriminator"):
        config.model[network].spectral_norm = True
        config.optimizer[network].b1 = 0.0
    config.log_every = 100
    config.sample_every = 2000
    config.checkpoint_every = 1000
    return config


def set_networks(
    config: ConfigDict,
    base: int,
    generator: tuple[int, ...],
    discriminator: tuple[int, ...],
    attention: tuple[int, ...] = (),
) -> None:
    """Sets the channels of both networks, as multiples of `base`, and the sides at which attention stands."""
    for name, multipliers in {"generator": generator, "discriminator": discriminator}.items():
        config.model[name].base_channels = base
        config.model[name].multipliers = multipliers
        config.model[name].attention = attention


def set_steps(
    config: ConfigDict, batch: int, discriminator_steps: int, rates: tuple[float, float], steps: int, average_from: int
) -> None:
    """Sets the batch, the updates of the discriminator for one of the generator, the learning rates of generator and
    discriminator, the training steps, and the step from which the moving average is one."""
    config.batch_size = batch
    config.discriminator_steps = discriminator_steps
    for player, rate in zip(("generator", "discriminator"), rates, strict=True):
        config.optimizer[player].learning_rate = rate
    config.steps = steps
    config.ema_decay = 0.0
    config.schedules = f"ema_decay=step(0.9999, {average_from})"


def imagenet(size: int, latent_dim: int) -> ConfigDict:
    """The paper's settings for ImageNet, but for the networks; the authors stop when training collapses."""
    config = preset("tfds:imagenet2012", size, latent_dim)
    config.model.generator.embedding = 128
    config.model.generator.skip_z = "split"
    config.generator_penalties.orthogonal = 1e-4
    for player in config.optimizer.values():
        player.eps = 1e-6
    set_steps(config, 2048, 2, (5e-5, 2e-4), 150_000, average_from=20_000)
    return config


def get_config() -> ConfigDict:
    config = imagenet(128, 120)
    set_networks(config, 96, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), (64,))
    return config
