"""MNIST by an importance weighted autoencoder with k = 50, which goes on from configs/mnist_vae.py.

Command:  cp -r runs/mnist_vae runs/mnist_iwae
          python train.py --config=configs/mnist_iwae.py --workdir=runs/mnist_iwae \\
              --allow_config_change=objective,beta,gradient,k,optimizer
          python evaluate.py --workdir=runs/mnist_iwae --features=none
Time:     36 minutes of processor time, 18 minutes on 2 CPU cores
Expect:   a negative log-likelihood of 86.1 nats on the test set by k = 5,000 (Burda et al. 2016, table 1: 84.78);
          25 of 50 latents in use (docs/vae.md)
"""

from ml_collections import ConfigDict

from jaxgan.config import with_changes
from jaxgan.configs import mnist_vae


def get_config() -> ConfigDict:
    choices = {"objective": "iwae", "optimizer.vae.schedule": "constant"}
    config, _ = with_changes(mnist_vae.get_config(), choices)
    config.k = 50
    config.gradient = "doubly_reparameterized"
    config.optimizer.vae.learning_rate = 3e-4
    config.steps += 15_000
    config.log_every = 100
    config.sample_every = config.checkpoint_every = 5000
    return config
