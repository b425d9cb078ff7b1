"""Digits into inverted digits and back, 16x16, without pairs: CycleGAN on data whose right answers are known.

Command:  python train.py --config=configs/digits_translation.py --workdir=runs/digits_translation
          python evaluate.py --workdir=runs/digits_translation --split='train[80%:]'
Time:     a minute on 2 CPU cores, a third of it to compile
Expect:   trained on four fifths of the digits: on the last fifth, translations differ from the right ones by .034 one
          way and .033 the other on average, for pixels from 0 to 1; the unchanged digits differ by .75
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "cyclegan",
            "data.source": "unpaired:digits|edited:inverted:digits",
            "data.split": "train[:80%]",
            **{f"optimizer.{player}.schedule": "linear" for player in ("generator", "discriminator")},
        }
    )
    config.data.size = 16
    config.data.channels = 1

    config.model.generator.base_channels = 16
    config.model.generator.blocks = 2
    config.model.discriminator.base_channels = 16
    config.model.discriminator.depth = 2
    config.identity = 0.0  # a digit is no inverted digit
    config.ema_decay = 0.99

    config.steps = 1000
    config.batch_size = 16
    for network in config.optimizer.values():
        network.learning_rate = 5e-4
        network.constant_steps = network.decay_steps = config.steps // 2
    config.log_every = 50
    config.sample_every = 100
    config.checkpoint_every = 500
    return config
