"""Penalties: pure functions with one value per example, and the tables that give them names.

An example is an image [height, width, channel] or a point [dimension]; a critic maps a batch of them to their logits.
Random numbers come from keys, one for each example, so that an example's penalty does not depend on its company.
Weights, means over the batch, and how often a penalty is applied belong to the step.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

Examples = Float[Array, "batch *shape"]
Values = Float[Array, " batch"]
Scalar = Float[Array, ""]
Keys = Key[Array, " batch"]
Critic = Callable[[Examples], Values]

# These bind each logit's gradient with respect to its own example, in a batch of mixtures of real and fake. BatchNorm
# makes a logit depend on the whole batch: that gradient is no longer the slope of a function of one example, and the
# batch is none that the critic is asked to judge. So layer normalisation, or none, belongs in such a critic:
# Gulrajani et al., Improved Training of Wasserstein GANs, 2017, section 4. https://arxiv.org/abs/1704.00028
BATCH_NORM_FORBIDDEN = ("wgan_gp", "lipschitz", "zero_gp", "max_gradient")


def squared_gradient_norm(critic: Critic, examples: Examples) -> Values:
    """The squared L2 norm of each logit's gradient with respect to its example."""
    gradients = jax.grad(lambda x: critic(x).sum())(examples)
    return (gradients**2).sum(axis=range(1, gradients.ndim))


def gradient_norm(critic: Critic, examples: Examples) -> Values:
    """The L2 norm of each logit's gradient with respect to its example; where it is 0, so is its derivative."""
    squared = squared_gradient_norm(critic, examples)
    positive = squared > 0
    # Both branches of a `where` are differentiated, and the root's derivative at 0 is infinite.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)


def r1(critic: Critic, real: Examples) -> Values:
    """|grad D(x)|^2 / 2 at real examples.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, equation 9.
        https://arxiv.org/abs/1801.04406
    """
    return 0.5 * squared_gradient_norm(critic, real)


def r2(critic: Critic, fake: Examples) -> Values:
    """|grad D(G(z))|^2 / 2 at fake examples.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, equation 10.
        https://arxiv.org/abs/1801.04406
    """
    return 0.5 * squared_gradient_norm(critic, fake)


def interpolate(real: Examples, fake: Examples, keys: Keys) -> Examples:
    """u x + (1 - u) G(z): a point between each real example and its fake, with one u ~ U(0, 1) for each pair.

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs, 2017, algorithm 1. https://arxiv.org/abs/1704.00028
    """
    share = jax.vmap(jax.random.uniform)(keys).reshape(-1, *[1] * (real.ndim - 1))
    return share * real + (1 - share) * fake


def wgan_gp(critic: Critic, real: Examples, fake: Examples, keys: Keys) -> Values:
    """(|grad D| - 1)^2 at `interpolate`d examples: slopes of 1 everywhere.

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs, 2017, equation 3. https://arxiv.org/abs/1704.00028
    """
    return (gradient_norm(critic, interpolate(real, fake, keys)) - 1) ** 2


def lipschitz(critic: Critic, real: Examples, fake: Examples, keys: Keys) -> Values:
    """max(0, |grad D| - 1)^2 at `interpolate`d examples: slopes of at most 1, called WGAN-LP.

    References:
        Petzka et al., On the regularization of Wasserstein GANs, 2018. https://arxiv.org/abs/1709.08894
    """
    return jax.nn.relu(gradient_norm(critic, interpolate(real, fake, keys)) - 1) ** 2


def zero_gp(critic: Critic, real: Examples, fake: Examples, keys: Keys) -> Values:
    """|grad D|^2 at `interpolate`d examples, called 0-GP.

    References:
        Thanh-Tung et al., Improving Generalization and Stability of Generative Adversarial Networks, 2019.
        https://arxiv.org/abs/1902.03984
    """
    return squared_gradient_norm(critic, interpolate(real, fake, keys))


def dragan(critic: Critic, real: Examples, keys: Keys, deviation: Scalar) -> Values:
    """(|grad D| - 1)^2 around real examples: at x + 0.5 deviation u, with u ~ U(0, 1) for each number of x.

    Args:
        critic: examples -> logits.
        real: examples.
        keys: one for each example.
        deviation: the standard deviation of all numbers in the global batch of real examples.

    References:
        Kodali et al., On Convergence and Stability of GANs, 2017; the perturbation is that of the authors' code,
        https://github.com/kodalinaveen3/DRAGAN. https://arxiv.org/abs/1705.07215
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, real.shape[1:]))(keys)
    return (gradient_norm(critic, real + 0.5 * deviation * noise) - 1) ** 2


def max_gradient(
    critic: Critic,
    real: Examples,
    fake: Examples,
    keys: Keys,
    average: Callable[[Scalar], Scalar] = lambda value: value,
    largest: Callable[[Scalar], Scalar] = lambda value: value,
) -> Values:
    """(max |grad D|)^2 over `interpolate`d examples, called MaxGP, as values whose mean over the global batch it is.

    All values are 0 but that of the steepest example, through which alone a gradient flows; equals share it.

    Args:
        critic: examples -> logits.
        real, fake: examples.
        keys: one for each pair.
        average: the mean over devices, if the batch is spread over several.
        largest: the maximum over devices. It gets no gradient to pass on.

    References:
        Zhou et al., Lipschitz Generative Adversarial Nets, 2019. https://arxiv.org/abs/1902.05687
    """
    squared = squared_gradient_norm(critic, interpolate(real, fake, keys))
    fixed = jax.lax.stop_gradient(squared)
    # A compiler may compute a number twice and round it differently, so that the largest need not equal itself.
    steepest = (fixed >= (1 - 1e-5) * largest(fixed.max())).astype(squared.dtype)
    return steepest * squared / average(steepest.mean())


def lecam(real_logits: Values, fake_logits: Values, real_anchor: Scalar, fake_anchor: Scalar) -> Values:
    """(D(x) - fake_anchor)^2 + (D(G(z)) - real_anchor)^2: each kind is drawn to where the other has been.

    This is the paper's formula. The authors' code, https://github.com/google/lecam-exp, leaves out examples beyond the
    other kind's anchor: relu(D(x) - fake_anchor)^2 + relu(real_anchor - D(G(z)))^2.

    Args:
        real_logits, fake_logits: of this step.
        real_anchor, fake_anchor: moving averages of the logits of past steps.

    References:
        Tseng et al., Regularizing Generative Adversarial Networks under Limited Data, 2021.
        https://arxiv.org/abs/2104.03310
    """
    return (real_logits - fake_anchor) ** 2 + (fake_logits - real_anchor) ** 2


def consistency(critic: Critic, examples: Examples, changed: Examples) -> Values:
    """(D(T(x)) - D(x))^2: what should not matter to the critic.

    Args:
        critic: examples -> logits.
        examples: real or fake.
        changed: the same examples in another guise, such as augmented ones, or fakes of slightly moved latents.

    References:
        Zhang et al., Consistency Regularization for Generative Adversarial Networks, 2020 (CR).
        https://arxiv.org/abs/1910.12027
        Zhao et al., Improved Consistency Regularization for GANs, 2020 (bCR, zCR). https://arxiv.org/abs/2002.04724
    """
    return (critic(changed) - critic(examples)) ** 2


def latent_diversity(fake: Examples, nearby: Examples) -> Values:
    """Minus the mean over each example's numbers of (G(z) - G(z + dz))^2: what should matter to the generator.

    Args:
        fake: G(z).
        nearby: G(z + dz), the fakes of slightly moved latents.

    References:
        Zhao et al., Improved Consistency Regularization for GANs, 2020 (zCR). https://arxiv.org/abs/2002.04724
    """
    return -((fake - nearby) ** 2).mean(axis=range(1, fake.ndim))


def orthogonality(params: PyTree) -> Scalar:
    """The sum over all kernels W, as matrices [-1, out], of the squares of W^T W off its diagonal.

    Args:
        params: a network's. Its kernels are the leaves of that name with two or more dimensions, the last one `out`.

    References:
        Brock et al., Large Scale GAN Training, 2019, equation 3. https://arxiv.org/abs/1809.11096
    """
    total = jnp.zeros(())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jax.tree_util.keystr(path[-1:], simple=True) == "kernel" and leaf.ndim >= 2:
            matrix = leaf.reshape(-1, leaf.shape[-1])
            gram = matrix.T @ matrix
            total += (jnp.where(jnp.eye(len(gram), dtype=bool), 0, gram) ** 2).sum()
    return total


class Context(NamedTuple):
    """Everything that a penalty on the discriminator may look at.

    Attributes:
        critic: examples -> logits.
        real, fake: examples; no gradient reaches the generator.
        real_logits, fake_logits: theirs, [batch].
        keys: [batch], one for each example. Every penalty derives its own from them, so that no two share draws.
        transform: (examples, keys) -> examples, a random augmentation.
        nearby: () -> fakes of slightly moved latents.
        params: the discriminator's.
        memory: moving averages from past steps, by name: "lecam_real" and "lecam_fake", of the logits.
        average: tree -> its mean over devices.
        largest: scalar -> its maximum over devices.
    """

    critic: Critic
    real: Examples
    fake: Examples
    real_logits: Values
    fake_logits: Values
    keys: Keys
    transform: Callable[[Examples, Keys], Examples]
    nearby: Callable[[], Examples]
    params: PyTree
    memory: Mapping[str, Scalar]
    average: Callable[[PyTree], PyTree]
    largest: Callable[[Scalar], Scalar]


class GeneratorContext(NamedTuple):
    """Everything that a penalty on the generator may look at.

    Attributes:
        fake: G(z).
        nearby: () -> G(z + dz), fakes of slightly moved latents.
        params: the generator's.
    """

    fake: Examples
    nearby: Callable[[], Examples]
    params: PyTree


def keys_for(keys: Keys, use: str) -> Keys:
    """Other keys for each use of the same ones."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, zlib.crc32(use.encode()))


def global_deviation(examples: Examples, average: Callable[[PyTree], PyTree]) -> Scalar:
    """The standard deviation of all numbers in the global batch."""
    centre = average(examples.mean())
    return jnp.sqrt(average(((examples - centre) ** 2).mean()))


def transformed(context: Context, examples: Examples, use: str) -> Values:
    """The `consistency` of examples under the context's augmentation."""
    return consistency(context.critic, examples, context.transform(examples, keys_for(context.keys, use)))


# Values of [batch], or a scalar where it is not the examples that are penalised.
PENALTIES: dict[str, Callable[[Context], Values | Scalar]] = {
    "r1": lambda c: r1(c.critic, c.real),
    "r2": lambda c: r2(c.critic, c.fake),
    "wgan_gp": lambda c: wgan_gp(c.critic, c.real, c.fake, keys_for(c.keys, "wgan_gp")),
    "lipschitz": lambda c: lipschitz(c.critic, c.real, c.fake, keys_for(c.keys, "lipschitz")),
    "zero_gp": lambda c: zero_gp(c.critic, c.real, c.fake, keys_for(c.keys, "zero_gp")),
    "dragan": lambda c: dragan(c.critic, c.real, keys_for(c.keys, "dragan"), global_deviation(c.real, c.average)),
    "max_gradient": lambda c: max_gradient(
        c.critic, c.real, c.fake, keys_for(c.keys, "max_gradient"), c.average, c.largest
    ),
    "lecam": lambda c: lecam(c.real_logits, c.fake_logits, c.memory["lecam_real"], c.memory["lecam_fake"]),
    "cr": lambda c: transformed(c, c.real, "cr"),
    "bcr": lambda c: transformed(c, c.real, "bcr real") + transformed(c, c.fake, "bcr fake"),
    "zcr": lambda c: consistency(c.critic, c.fake, c.nearby()),
    "orthogonal": lambda c: orthogonality(c.params),
}

GENERATOR_PENALTIES: dict[str, Callable[[GeneratorContext], Values | Scalar]] = {
    "zcr": lambda c: latent_diversity(c.fake, c.nearby()),
    "orthogonal": lambda c: orthogonality(c.params),
}
