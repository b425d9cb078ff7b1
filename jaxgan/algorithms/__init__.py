"""Ways of learning: one file and one entry each."""

from jaxgan.algorithms.cut import CUT
from jaxgan.algorithms.cyclegan import CYCLEGAN
from jaxgan.algorithms.fastgan import FASTGAN
from jaxgan.algorithms.gan import GAN
from jaxgan.algorithms.motion import MOTION
from jaxgan.algorithms.pix2pix import PIX2PIX
from jaxgan.algorithms.projected_gan import PROJECTED_GAN
from jaxgan.algorithms.stylegan2 import STYLEGAN2
from jaxgan.algorithms.vae import VAE
from jaxgan.algorithms.vaegan import VAEGAN
from jaxgan.core.types import Algorithm

ALGORITHMS: dict[str, Algorithm] = {
    "gan": GAN,
    "stylegan2": STYLEGAN2,
    "fastgan": FASTGAN,
    "projected_gan": PROJECTED_GAN,
    "vae": VAE,
    "vaegan": VAEGAN,
    "cyclegan": CYCLEGAN,
    "cut": CUT,
    "pix2pix": PIX2PIX,
    "motion": MOTION,
}
