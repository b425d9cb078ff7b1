"""Penalties on the discriminator: a critic and both batches of images in, one value per example out."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channel"]
Critic = Callable[[Images], Float[Array, " batch"]]


def squared_gradient_norm(critic: Critic, images: Images) -> Float[Array, " batch"]:
    """The squared L2 norm of each logit's gradient with respect to its image."""
    gradients = jax.grad(lambda x: critic(x).sum())(images)
    return (gradients**2).sum(axis=range(1, gradients.ndim))


def r1(critic: Critic, real: Images, fake: Images) -> Float[Array, " batch"]:
    """Half the squared gradient norm on real images.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, equation 9.
        https://arxiv.org/abs/1801.04406
    """
    del fake
    return 0.5 * squared_gradient_norm(critic, real)


def r2(critic: Critic, real: Images, fake: Images) -> Float[Array, " batch"]:
    """Half the squared gradient norm on fake images.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, equation 10.
        https://arxiv.org/abs/1801.04406
    """
    del real
    return 0.5 * squared_gradient_norm(critic, fake)


PENALTIES = {"r1": r1, "r2": r2}
