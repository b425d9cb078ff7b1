"""Gradient penalties from the loss's own backward pass, for critics that are homogeneous functions.

Without normalisation, layers and activations of ReLU's kind make a logit D a homogeneous function of an example x and
of all biases b: both doubled, it doubles. Then Euler's theorem says D = x . dD/dx + b . dD/db. Let a loss have the
slope s in the logit, and let the penalty |dD/dx|^2 / 2 have the weight c. The gradient of both by the parameters is
that of

    s dD/dx . (x + c/s dD/dx) + s dD/db . b

in which s and the bracket are constants. Where x = A r + b is an augmented example and the penalty is by r, A A^T
dD/dx takes the place of dD/dx in the bracket. The loss's backward pass gives s dD/dx and s dD/db. Differentiating their
products with the bracket and with b costs one forward pass and one pass of kernel gradients. So loss and penalty take
four passes through the critic: forward, backward, forward, gradients. Computed apart they take six.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from jaxgan.adversarial import penalties
from jaxgan.adversarial.conditioning import Condition, DiscriminatorOutput
from jaxgan.adversarial.forward import DiscriminatorInput, Examples, LatentBatch, preprocess
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.state import TrainState, Variables, apply
from jaxgan.core.types import Metrics

# A slope's least size. Where a loss is flat, what it adds to gradients of biases is nothing to an Adam whose averages
# have decayed to 0 (it adds 1e-8 to their root), and what is divided by it is far from float32's largest number.
TINY = 1e-16


def loss_and_penalty(
    critic: Callable[[PyTree, Float[Array, "batch *shape"]], Float[Array, " batch"]],
    params: PyTree,
    examples: Float[Array, "batch *shape"],
    slopes: Float[Array, " batch"],
    weight: float | Float[Array, ""],
    augmentation: Callable[[Array], Float[Array, "batch *shape"]] | None = None,
    raw: Array | None = None,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    """What stands for a loss and its gradient penalty where gradients by the parameters are taken.

    Args:
        critic: (params, examples) -> logits. If an example and all leaves of the parameters that are called "bias" are
            multiplied by a positive number, so is that example's logit, and the other logits do not change.
        params: where the gradients are taken.
        examples: real or fake.
        slopes: the derivatives of the loss by the logits.
        weight: of the penalty's mean over the batch.
        augmentation: raw examples -> examples, an affine function; given if the penalty is by raw examples.
        raw: of which the examples are made.

    Returns:
        A number whose value is meaningless. Its gradient by the parameters is that of the loss, as far as it goes
        through these logits, and of the weighted mean penalty.
        The penalty of each example, half the squared gradient of its logit.
    """
    slopes = lax.stop_gradient(jnp.where(jnp.abs(slopes) < TINY, TINY, slopes))
    _, pull = jax.vjp(critic, params, examples)
    to_params, to_examples = pull(slopes)
    each = slopes.reshape(-1, *[1] * (examples.ndim - 1))
    gradients = bracket = to_examples / each
    if augmentation is not None:
        _, push = jax.linearize(augmentation, raw)
        (gradients,) = jax.linear_transpose(push, raw)(gradients)
        bracket = push(gradients)
    total = (to_examples * lax.stop_gradient(examples + weight / len(examples) * bracket / each)).sum()
    for (path, leaf), to_leaf in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(to_params), strict=True):
        if jax.tree_util.keystr(path[-1:], simple=True) == "bias":
            total += (to_leaf * leaf).sum()
    return total, 0.5 * (gradients**2).sum(axis=range(1, gradients.ndim)).reshape(len(slopes), -1).sum(axis=1)


def fused_penalties(exp: Experiment) -> list[str]:
    """The penalties that come with the loss's own backward pass: R1, R2, both or none.

    The discriminator declares that it is positively homogeneous; nothing is assumed of one that does not.
    """
    # Unrolling differentiates the update, and the surrogate treats the slopes as constants: its second derivative is
    # wrong.
    if not getattr(exp.networks["discriminator"], "positively_homogeneous", False):
        return []
    if exp.config.concat_real_fake or exp.config.get("unrolled_steps", 0):
        return []
    names = penalties.enabled(exp, "penalties")
    return [name for name in ("r1", "r2") if name in names and exp.config.penalty_interval[name] == 1]


def loss_and_fused_penalties(
    exp: Experiment,
    state: TrainState,
    variables: Variables,
    raw: tuple[Examples, Examples],
    given: tuple[DiscriminatorInput, DiscriminatorInput],
    d_out: tuple[DiscriminatorOutput, DiscriminatorOutput],
    latents: LatentBatch,
    cotangents: tuple[DiscriminatorOutput, DiscriminatorOutput],
) -> tuple[Float[Array, ""], Metrics]:
    """A surrogate of the loss, of which cotangents of the logits are given, and of the `fused_penalties`.

    Its gradient by the discriminator's parameters is theirs; its value is meaningless. The metrics are the penalties,
    each without its weight. The forward pass is that of the given outputs, and XLA makes one of the two.
    """
    network, fused = exp.networks["discriminator"], fused_penalties(exp)
    total, metrics = jnp.zeros(()), {}
    kinds = ("r1", "real"), ("r2", "fake")
    for (name, kind), before, one, out, cotangent in zip(kinds, raw, given, d_out, cotangents, strict=True):
        if name not in fused:
            total += (lax.stop_gradient(cotangent.logits) * out.logits).sum()
            continue

        def critic(params: PyTree, examples: Examples, condition: Condition = one.condition) -> Array:
            own = Variables(params, variables.model_state)
            return apply(network, own, examples, condition, train=True)[0].logits

        def augmentation(examples: Array, kind: str = kind) -> Array:
            return preprocess(exp, state, examples, kind, latents).examples

        weight = hparam(exp, state, f"penalties.{name}")
        augmenting = (augmentation, before) if exp.config.penalty_settings.through_augmentation else ()
        part, values = loss_and_penalty(critic, variables.params, one.examples, cotangent.logits, weight, *augmenting)
        total, metrics[f"penalty/{name}"] = total + part, values.mean()
    return total, metrics
