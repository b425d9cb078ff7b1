"""A pool of former fakes, which a discriminator is given in the place of some new ones.

References:
    Shrivastava et al., Learning from Simulated and Unsupervised Images through Adversarial Training, 2017, section 2.3.
    https://arxiv.org/abs/1612.07828
    The rule is that of CycleGAN's code: https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

Pool = dict[str, Array]  # images [size, ...] and count [], of which the first are filled


def empty(size: int, shape: tuple[int, ...]) -> Pool:
    """A pool that holds nothing yet."""
    return {"images": jnp.zeros((size, *shape)), "count": jnp.zeros((), jnp.int32)}


def query(
    pool: Pool, fakes: Float[Array, "batch *shape"], keys: Key[Array, " batch"]
) -> tuple[Pool, Float[Array, "batch *shape"]]:
    """The pool after some new fakes, and what is shown in the place of each.

    One fake after the other: a pool that is not full stores the fake and shows it. A full one shows the fake with a
    probability of 1/2, and else a random one of its images, which the fake then replaces.

    Args:
        pool: before.
        fakes: of the global batch, in its order.
        keys: one for each fake.
    """
    size = len(pool["images"])
    if not size:
        return pool, fakes

    def one(pool: Pool, new: tuple[Array, Array]) -> tuple[Pool, Array]:
        fake, key = new
        coin, place = jax.random.split(key)
        filled = pool["count"] >= size
        swaps = filled & jax.random.bernoulli(coin)
        index = jnp.where(filled, jax.random.randint(place, (), 0, size), pool["count"])
        shown = jnp.where(swaps, pool["images"][index], fake)
        stored = jnp.where(filled & ~swaps, pool["images"][index], fake)
        return {"images": pool["images"].at[index].set(stored), "count": jnp.minimum(pool["count"] + 1, size)}, shown

    return lax.scan(one, pool, (fakes, keys))
