"""Gradient penalties from the loss's own backward pass, for critics that are homogeneous functions.

Without normalisation, layers and activations of ReLU's kind make a logit D a homogeneous function of an example x and
of all biases b: both doubled, it doubles. Then Euler's theorem says D = x . dD/dx + b . dD/db. Let a loss have the
slope s in the logit, and let the penalty |dD/dx|^2 / 2 have the weight c. The gradient of both by the parameters is
that of

    s dD/dx . (x + c/s dD/dx) + s dD/db . b

in which s and the bracket are constants. The loss's backward pass makes s dD/dx and s dD/db, and the derivative of
their products is a pass forward, of the bracket and b, and one lot of gradients by kernels. So loss and penalty take
four passes through the critic: forward, backward, forward, gradients. By themselves they take six.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

# A slope's least size. Where a loss is flat, what it adds to gradients of biases is nothing to an Adam whose averages
# have decayed to 0 (it adds 1e-8 to their root), and what is divided by it is far from float32's largest number.
TINY = 1e-16


def loss_and_penalty(
    critic: Callable[[PyTree, Float[Array, "batch *shape"]], Float[Array, " batch"]],
    params: PyTree,
    examples: Float[Array, "batch *shape"],
    slopes: Float[Array, " batch"],
    weight: float | Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    """What stands for a loss and its gradient penalty where gradients by the parameters are taken.

    Args:
        critic: (params, examples) -> logits. If an example and all leaves of the parameters that are called "bias" are
            multiplied by a positive number, so is that example's logit, and no other one minds.
        params: where the gradients are taken.
        examples: real or fake.
        slopes: the derivatives of the loss by the logits.
        weight: of the penalty's mean over the batch.

    Returns:
        A number whose value means nothing. Its gradient by the parameters is that of the loss, as far as it goes
        through these logits, and of the weighted mean penalty.
        The penalty of each example, half the squared gradient of its logit.
    """
    slopes = lax.stop_gradient(jnp.where(jnp.abs(slopes) < TINY, TINY, slopes))
    _, pull = jax.vjp(critic, params, examples)
    to_params, to_examples = pull(slopes)
    each = slopes.reshape(-1, *[1] * (examples.ndim - 1))
    gradients = to_examples / each
    total = (to_examples * lax.stop_gradient(examples + weight / len(examples) * gradients / each)).sum()
    for (path, leaf), to_leaf in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(to_params), strict=True):
        if jax.tree_util.keystr(path[-1:], simple=True) == "bias":
            total += (to_leaf * leaf).sum()
    return total, 0.5 * (gradients**2).sum(axis=range(1, examples.ndim))
