"""Your own images: copy this file, name your folder in it, and change what you like.

Command:  python train.py --config=configs/folder.py --config.data.source=folder:PATH --workdir=runs/mine
          The folder holds pictures (JPEG, PNG, WebP, ...), or one sub-folder of them for each class.
Time:     for an accelerator: a step takes 72 GFLOP, about 1 s on 2 CPU cores, whatever the number of images
Expect:   runs/mine/real.png shows what is trained on: look at it first. A few thousand images of one kind of thing, all
          taken in the same way, are learnt best.
"""

from ml_collections import ConfigDict

from jaxgan.config import default


def get_config() -> ConfigDict:
    config = default(
        {
            "data.source": "folder:images",
            "model.initializer": "he",
            "loss": "relativistic",
            "optimizer.generator.schedule": "cosine",
            "optimizer.discriminator.schedule": "cosine",
        }
    )
    config.data.size = 64  # or "64x96", height x width
    config.data.channels = 3  # 1 for grey
    # Random crops and mirror images: of few photographs a discriminator soon knows each by heart.
    config.data.load_size = 72
    config.data.crop = "random"
    config.data.flip = True  # not for writing, nor for anything else whose mirror image is wrong
    config.data.upscale = False  # an image smaller than load_size ends the run
    config.data.on_bad_image = "error"  # "skip" trains without what cannot be read

    config.latent_dim = 64
    config.model.generator.base_channels = 32
    config.model.generator.hidden_dims = (512,)
    config.model.discriminator.base_channels = 32
    config.model.discriminator.norm = "none"

    config.penalties.r1 = 2.0  # more if the samples get worse again after a while
    config.penalties.r2 = 2.0
    config.ema_decay = 0.998
    config.ema_warmup = True

    config.steps = 50_000
    for network in config.optimizer.values():
        network.learning_rate = 4e-4
        network.b1 = 0.0
        network.b2 = 0.99
        network.decay_steps = config.steps
        network.final_fraction = 0.05
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
