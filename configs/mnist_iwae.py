"""MNIST by an importance weighted autoencoder with k = 50: configs/mnist_vae.py with a tighter bound.

Command:  python train.py --config=configs/mnist_iwae.py --workdir=runs/mnist_iwae
          python evaluate.py --workdir=runs/mnist_iwae --features=none
Time:     IWAETIME
Expect:   a negative log-likelihood of IWAENLL nats on the test set by k = 5,000 (Burda et al. 2016, table 1: 84.78);
          IWAEACT of 50 latents in use (docs/vae.md)
"""

from ml_collections import ConfigDict

from jaxgan.config import with_changes
from jaxgan.configs import mnist_vae


def get_config() -> ConfigDict:
    config, _ = with_changes(mnist_vae.get_config(), {"objective": "iwae"})
    config.k = 50
    config.gradient = "doubly_reparameterized"
    config.batch_size = 20
    config.ema_decay = 0.9998
    config.steps = 180_000
    config.optimizer.vae.decay_steps = config.steps
    return config
