"""Handwritten digits, 16x16, from the 1,797 real ones inside scikit-learn.

Command:  python train.py --config=configs/digits.py --workdir=runs/digits
"""

from jaxgan.config import default


def get_config():
    config = default()
    config.data.source = "digits"
    config.data.size = 16
    config.loss = "relativistic"
    config.penalties.r1 = 1.0
    config.penalties.r2 = 1.0
    config.model.generator.width = 32
    config.model.discriminator.width = 32
    config.model.discriminator.norm = "none"
    for network in config.optimizer.values():
        network.learning_rate = 4e-4
        network.b1 = 0.0
        network.b2 = 0.99
    config.steps = 300
    config.log_every = 50
    config.sample_every = 100
    return config
