"""MNIST by a variational autoencoder: the one-layer network of the IWAE paper, bits drawn anew at each visit.

Command:  python train.py --config=configs/mnist_vae.py --workdir=runs/mnist_vae
          python evaluate.py --workdir=runs/mnist_vae --features=none
Time:     31 minutes of processor time, 16 minutes on 2 CPU cores
Expect:   a negative log-likelihood of 87.3 nats on the test set by k = 5,000 (Burda et al. 2016, table 1: 86.76);
          21 of 50 latents in use (docs/vae.md)
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "algorithm": "vae",
            "data.source": "tfds:mnist",
            "likelihood": "bernoulli",
            "model.family": "iwae_mlp",
            "model.initializer": "xavier",
            "optimizer.vae.schedule": "cosine",
        }
    )
    config.data.size = 28
    config.data.channels = 1
    config.data.upscale = False

    config.latent_dim = 50
    config.batch_size = 100

    config.ema_decay = 0.9995
    config.ema_warmup = True

    config.steps = 300_000
    config.optimizer.vae.learning_rate = 1e-3
    config.optimizer.vae.b1 = 0.9
    config.optimizer.vae.decay_steps = config.steps
    config.log_every = 1000
    config.sample_every = 20_000
    config.checkpoint_every = 20_000
    return config
