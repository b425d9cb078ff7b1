"""Ways of learning: one file and one entry each."""

from jaxgan.algorithms.gan import GAN
from jaxgan.algorithms.vae import VAE
from jaxgan.algorithms.vaegan import VAEGAN
from jaxgan.core.types import Algorithm

ALGORITHMS: dict[str, Algorithm] = {"gan": GAN, "vae": VAE, "vaegan": VAEGAN}
