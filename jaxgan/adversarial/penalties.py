"""Penalties: pure functions with one value per example, and the tables that give them names.

An example is an image [height, width, channel] or a point [dimension]; a critic maps a batch of them to their logits.
Random numbers come from keys, one for each example, so that an example's penalty does not depend on its company.
Weights, means over the batch, and how often a penalty is applied belong to the step.
"""

import functools
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree
from ml_collections import ConfigDict

from jaxgan.adversarial.augment import AUGMENTATION_NAMES
from jaxgan.core.experiment import Experiment, hparam
from jaxgan.core.settings import FRACTION, NOT_NEGATIVE, POSITIVE, Setting, Settings
from jaxgan.core.state import TrainState

Examples = Float[Array, "batch *shape"]
Images = Float[Array, "batch height width channel"]
Values = Float[Array, " batch"]
Scalar = Float[Array, ""]
Keys = Key[Array, " batch"]
Critic = Callable[[Examples], Values]


def squared_gradient_norm(critic: Critic, examples: Examples) -> Float[Array, " packs"]:
    """The squared L2 norm of each logit's gradient with respect to its example, or to the examples of its pack."""
    logits, pull = jax.vjp(critic, examples)
    (gradients,) = pull(jnp.ones_like(logits))
    return (gradients**2).sum(axis=range(1, gradients.ndim)).reshape(len(logits), -1).sum(axis=1)


def gradient_norm(critic: Critic, examples: Examples) -> Values:
    """The L2 norm of each logit's gradient with respect to its example; where it is 0, so is its derivative."""
    squared = squared_gradient_norm(critic, examples)
    positive = squared > 0
    # Both branches of a `where` are differentiated, and the root's derivative at 0 is infinite.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)


def r1(critic: Critic, real: Examples) -> Float[Array, " packs"]:
    """|grad D(x)|^2 / 2 at real examples.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, equation 9.
        https://arxiv.org/abs/1801.04406
    """
    return 0.5 * squared_gradient_norm(critic, real)


def r2(critic: Critic, fake: Examples) -> Float[Array, " packs"]:
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


def wgan_lp(critic: Critic, real: Examples, fake: Examples, keys: Keys) -> Values:
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


def max_gp(
    critic: Critic,
    real: Examples,
    fake: Examples,
    keys: Keys,
    pmean: Callable[[Scalar], Scalar] = lambda value: value,
    pmax: Callable[[Scalar], Scalar] = lambda value: value,
) -> Values:
    """(max |grad D|)^2 over `interpolate`d examples, called MaxGP, as values whose mean over the global batch it is.

    All values are 0 but that of the steepest example, through which alone a gradient flows; ties share the gradient.

    Args:
        critic: examples -> logits.
        real, fake: examples.
        keys: one for each pair.
        pmean: the mean over devices, if the batch is sharded over several.
        pmax: the maximum over devices. It gets no gradient to pass on.

    References:
        Zhou et al., Lipschitz Generative Adversarial Nets, 2019. https://arxiv.org/abs/1902.05687
    """
    squared = squared_gradient_norm(critic, interpolate(real, fake, keys))
    fixed = jax.lax.stop_gradient(squared)
    # A compiler may compute a number twice and round it differently, so that the largest need not equal itself.
    steepest = (fixed >= (1 - 1e-5) * pmax(fixed.max())).astype(squared.dtype)
    return steepest * squared / pmean(steepest.mean())


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


def latent_diversity(fake: Examples, perturbed: Examples) -> Values:
    """Minus the mean over each example's numbers of (G(z) - G(z + dz))^2: what should matter to the generator.

    Args:
        fake: G(z).
        perturbed: G(z + dz), the fakes of slightly moved latents.

    References:
        Zhao et al., Improved Consistency Regularization for GANs, 2020 (zCR). https://arxiv.org/abs/2002.04724
    """
    return -((fake - perturbed) ** 2).mean(axis=range(1, fake.ndim))


def path_lengths(
    synthesize: Callable[[Float[Array, "batch *styles"]], Images], styles: Float[Array, "batch *styles"], keys: Keys
) -> Values:
    """|J^T y| of each image: J is its derivative by its styles, and y ~ N(0, 1) / sqrt(height x width).

    The length is of each style's vector, and the root mean square over several of them.

    Args:
        synthesize: styles -> images.
        styles: [batch, dim], or [batch, count, dim].
        keys: one for each example.

    References:
        Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, section 3.2.
        https://arxiv.org/abs/1912.04958
    """
    images, vjp = jax.vjp(synthesize, styles)
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
    (slopes,) = vjp(noise / math.sqrt(images.shape[1] * images.shape[2]))
    return jnp.sqrt((slopes**2).sum(-1).mean(axis=range(1, slopes.ndim - 1)))


def orthogonality(params: PyTree) -> Scalar:
    """The sum over all kernels W, as matrices [-1, out], of the squares of W^T W off its diagonal.

    Args:
        params: a network's. Its kernels are the leaves of that name with two or more dimensions, the last one `out`. A
            layer called "embedding" is left out, as in the authors' PyTorch code.

    References:
        Brock et al., Large Scale GAN Training, 2019, equation 3. https://arxiv.org/abs/1809.11096
    """
    total = jnp.zeros(())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *_, layer, name = ("", *(jax.tree_util.keystr((key,), simple=True) for key in path))
        if name == "kernel" and layer != "embedding" and leaf.ndim >= 2:
            matrix = leaf.reshape(-1, leaf.shape[-1])
            gram = matrix.T @ matrix
            total += (jnp.where(jnp.eye(len(gram), dtype=bool), 0, gram) ** 2).sum()
    return total


class PenaltyInputs(NamedTuple):
    """Everything that a penalty on the discriminator may look at.

    Attributes:
        critic: what the discriminator is given -> logits: a gradient by its input is one at the network's own inputs.
        augmented_critic: (raw examples, "real" or "fake") -> logits, through this step's augmentation of that kind.
        real, fake: what the discriminator is given; no gradient reaches the generator.
        raw_real, raw_fake: the same examples before they were augmented and packed.
        real_logits, fake_logits: theirs, [batch].
        keys: [batch], one for each example. Every penalty derives its own from them, so that no two share numbers.
        transform: (examples, keys) -> examples, a random augmentation.
        perturbed: () -> fakes of slightly moved latents, as the discriminator is given them.
        params: the discriminator's.
        extra: the arrays that this penalty carries from step to step, by name.
        hparam: name -> value of a setting of the penalties.
        pmean, pmax: the mean and the maximum over devices.
    """

    critic: Critic
    augmented_critic: Callable[[Examples, str], Values]
    real: Examples
    fake: Examples
    raw_real: Examples
    raw_fake: Examples
    real_logits: Values
    fake_logits: Values
    keys: Keys
    transform: Callable[[Examples, Keys], Examples]
    perturbed: Callable[[], Examples]
    params: PyTree
    extra: Mapping[str, Array]
    hparam: Callable[[str], Any]
    pmean: Callable[[PyTree], PyTree]
    pmax: Callable[[Scalar], Scalar]


class GeneratorPenaltyInputs(NamedTuple):
    """Everything that a penalty on the generator may look at.

    Attributes:
        fake: G(z).
        perturbed: () -> G(z + dz), fakes of slightly moved latents.
        styles: what fakes are made of last: the latents, or what a mapping network makes of them.
        synthesize: (styles of some examples, their rows in the batch) -> fakes.
        keys: [batch], one for each example.
        params: the generator's.
        extra, hparam, pmean: as in `PenaltyInputs`.
    """

    fake: Examples
    perturbed: Callable[[], Examples]
    styles: Float[Array, "batch *styles"]
    synthesize: Callable[[Array, Int[Array, " rows"]], Examples]
    keys: Keys
    params: PyTree
    extra: Mapping[str, Array]
    hparam: Callable[[str], Any]
    pmean: Callable[[PyTree], PyTree]


class Penalty(NamedTuple):
    """A penalty on a network.

    Attributes:
        value: inputs -> values [batch], or a scalar where it is not the examples that are penalised; or a pair of these
            and of `aux`, arrays for `update`; without it, `aux` is the mean value.
        help: one line.
        settings: of its own, in `config.penalty_settings`.
        extra: arrays that it carries from step to step, and their initial values. The name "last" is a lazy penalty's.
        update: (inputs, aux, due) -> their new values, by the same names, of which the mean over devices is kept. It is
            called in every step. Where a lazy penalty is not due, `due` is False and `aux` is zeros.
        needs_independent_logits: whether it binds the gradient of each logit by its own example at mixtures of real and
            fake. With BatchNorm a logit depends on the whole batch: the gradient is no longer the slope of a function
            of one example. Gulrajani et al., Improved Training of Wasserstein GANs, 2017, section 4.
        images_only: whether examples have to be images.
        shown: names of `extra` that are metrics as well.
        needs_latents: whether it moves the latents of fakes.
    """

    value: Callable[[Any], Values | Scalar | tuple[Values | Scalar, Any]]
    help: str
    settings: Settings = {}  # noqa: RUF012
    extra: Mapping[str, float] = {}
    update: Callable[[Any, Any, Any], Mapping[str, Array]] = lambda inputs, aux, due: {}
    needs_independent_logits: bool = False
    images_only: bool = False
    shown: tuple[str, ...] = ()
    needs_latents: bool = False


def fold_in_name(keys: Keys, name: str) -> Keys:
    """Other keys for each name, from the same ones."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, zlib.crc32(name.encode()))


def global_deviation(examples: Examples, pmean: Callable[[PyTree], PyTree]) -> Scalar:
    """The standard deviation of all numbers in the global batch."""
    centre = pmean(examples.mean())
    return jnp.sqrt(pmean(((examples - centre) ** 2).mean()))


def seen(inputs: PenaltyInputs, kind: str) -> tuple[Critic, Examples]:
    """A critic and the examples by which its gradients are taken: what it is given, or what that is made of."""
    if inputs.hparam("through_augmentation"):
        raw = {"real": inputs.raw_real, "fake": inputs.raw_fake}[kind]
        return lambda examples: inputs.augmented_critic(examples, kind), raw
    return inputs.critic, {"real": inputs.real, "fake": inputs.fake}[kind]


def transform_consistency(inputs: PenaltyInputs, examples: Examples, name: str) -> Values:
    """The `consistency` of examples under the augmentation of the inputs."""
    return consistency(inputs.critic, examples, inputs.transform(examples, fold_in_name(inputs.keys, name)))


def lecam_anchors(inputs: PenaltyInputs, aux: Scalar, due: Any) -> dict[str, Scalar]:
    """The moving averages of the logits after this step, whether or not the penalty is due."""
    del aux, due
    share = 1 - inputs.hparam("lecam_decay")
    means = {"real": inputs.real_logits.mean(), "fake": inputs.fake_logits.mean()}
    return {name: inputs.extra[name] + share * (mean - inputs.extra[name]) for name, mean in means.items()}


def path_length(inputs: GeneratorPenaltyInputs) -> tuple[Values, Scalar]:
    """(length - a)^2 of every second example's path, where a is the moving average of lengths, and the new a.

    The average takes this step's lengths in first, and gradients pass through them. Half a batch is every second
    example, so that devices change nothing.
    """
    rows = jnp.arange(0, len(inputs.styles), 2)
    lengths = path_lengths(lambda styles: inputs.synthesize(styles, rows), inputs.styles[rows], inputs.keys[rows])
    old = inputs.extra["mean"]
    mean = old + inputs.hparam("path_length_rate") * (inputs.pmean(lengths.mean()) - old)
    return (lengths - mean) ** 2, mean


PERTURBATION: Settings = {
    "perturbation_stddev": Setting(
        0.07, "standard deviation of the steps between latents, of zcr", NOT_NEGATIVE, sweepable=True
    )
}
THROUGH: Settings = {
    "through_augmentation": Setting(
        False, "r1 and r2 bind gradients by examples before their augmentation, as in StyleGAN2-ADA and R3GAN"
    )
}
TRANSFORM: Settings = {"transform": Setting(("flip", "translation"), "augmentations of cr and bcr", AUGMENTATION_NAMES)}

PENALTIES: dict[str, Penalty] = {
    "r1": Penalty(lambda i: r1(*seen(i, "real")), "squared gradients at real examples", THROUGH),
    "r2": Penalty(lambda i: r2(*seen(i, "fake")), "squared gradients at fakes", THROUGH),
    "wgan_gp": Penalty(
        lambda i: wgan_gp(i.critic, i.real, i.fake, fold_in_name(i.keys, "wgan_gp")),
        "gradient norms between real and fake are to be 1",
        needs_independent_logits=True,
    ),
    "wgan_lp": Penalty(
        lambda i: wgan_lp(i.critic, i.real, i.fake, fold_in_name(i.keys, "lipschitz")),
        "gradient norms between real and fake are to be at most 1",
        needs_independent_logits=True,
    ),
    "zero_gp": Penalty(
        lambda i: zero_gp(i.critic, i.real, i.fake, fold_in_name(i.keys, "zero_gp")),
        "gradient norms between real and fake are to be 0",
        needs_independent_logits=True,
    ),
    "max_gp": Penalty(
        lambda i: max_gp(i.critic, i.real, i.fake, fold_in_name(i.keys, "max_gradient"), i.pmean, i.pmax),
        "the largest gradient norm between real and fake is to be 0",
        needs_independent_logits=True,
    ),
    "dragan": Penalty(
        lambda i: dragan(i.critic, i.real, fold_in_name(i.keys, "dragan"), global_deviation(i.real, i.pmean)),
        "gradient norms around real examples are to be 1",
    ),
    "lecam": Penalty(
        lambda i: lecam(i.real_logits, i.fake_logits, i.extra["real"], i.extra["fake"]),
        "logits stay near the other side's moving average",
        {"lecam_decay": Setting(0.99, "of the moving averages of the logits, of lecam", FRACTION)},
        {"real": 0.0, "fake": 0.0},
        lecam_anchors,
    ),
    "cr": Penalty(
        lambda i: transform_consistency(i, i.real, "cr"),
        "a real example and its augmentation have the same logit",
        TRANSFORM,
        images_only=True,
    ),
    "bcr": Penalty(
        lambda i: transform_consistency(i, i.real, "bcr real") + transform_consistency(i, i.fake, "bcr fake"),
        "real examples and fakes have the logits of their augmentations",
        TRANSFORM,
        images_only=True,
    ),
    "zcr": Penalty(
        lambda i: consistency(i.critic, i.fake, i.perturbed()),
        "fakes of slightly moved latents have the same logit",
        PERTURBATION,
        needs_latents=True,
    ),
    "orthogonal": Penalty(lambda i: orthogonality(i.params), "the columns of kernels stay orthogonal"),
}

GENERATOR_PENALTIES: dict[str, Penalty] = {
    "zcr": Penalty(
        lambda i: latent_diversity(i.fake, i.perturbed()),
        "slightly moved latents give different examples",
        PERTURBATION,
        needs_latents=True,
    ),
    "path_length": Penalty(
        path_length,
        "images change as much with any step of their styles; takes half a batch",
        {"path_length_rate": Setting(0.01, "of the moving average of path lengths", FRACTION)},
        {"mean": 0.0},
        lambda inputs, mean, due: {"mean": jnp.where(due, mean, inputs.extra["mean"])},
        images_only=True,
        shown=("mean",),
    ),
    "orthogonal": Penalty(lambda i: orthogonality(i.params), "the columns of kernels stay orthogonal"),
}
TABLES = {"penalties": PENALTIES, "generator_penalties": GENERATOR_PENALTIES}
INTERVALS = {"penalties": "penalty_interval", "generator_penalties": "generator_penalty_interval"}


def settings(*groups: str, latents: bool = True) -> Settings:
    """The weights of groups of penalties, how often these are taken, and what single ones read besides.

    Args:
        groups: "penalties", "generator_penalties".
        latents: whether examples are made of latents; without, penalties that move those have no settings.
    """

    def entries(group: str) -> dict[str, Penalty]:
        return {name: entry for name, entry in TABLES[group].items() if latents or not entry.needs_latents}

    def weights(group: str) -> Settings:
        return {name: Setting(0.0, entry.help, NOT_NEGATIVE, sweepable=True) for name, entry in entries(group).items()}

    def intervals(group: str) -> Settings:
        text = "training steps from one time to the next; at 16 the penalty counts 16 times"
        return {name: Setting(1, text, POSITIVE) for name in entries(group)}

    def own() -> Settings:
        every = [entry for group in groups for entry in entries(group).values()]
        return {name: found for entry in every for name, found in entry.settings.items()}

    found: Settings = {}
    for group in groups:
        found |= {group: functools.partial(weights, group), INTERVALS[group]: functools.partial(intervals, group)}
    return found | {"penalty_settings": own}


def enabled(exp: Experiment, group: str) -> list[str]:
    """The penalties of a group, "penalties" or "generator_penalties", that have a weight; none of a group without."""
    own = exp.config.get(group, {})
    return [name for name in TABLES[group] if name in own and exp.is_enabled(f"{group}.{name}")]


def initial_extra(exp: Experiment) -> dict[str, dict[str, dict[str, Array]]]:
    """What the enabled penalties carry from step to step: {group: {penalty: {name: initial value}}}.

    A lazy one carries its last value under the name "last".
    """
    found = {}
    for group, table in TABLES.items():
        carried = {}
        for name in enabled(exp, group):
            lazy = {"last": 0.0} if exp.config[INTERVALS[group]][name] > 1 else {}
            if lazy or table[name].extra:
                carried[name] = {
                    key: jnp.asarray(value, jnp.float32) for key, value in (table[name].extra | lazy).items()
                }
        if carried:
            found[group] = carried
    return found


def due(exp: Experiment, state: TrainState, group: str) -> bool | Bool[Array, ""]:
    """Whether one of a group's enabled penalties is taken in this step."""
    every = [exp.config[INTERVALS[group]][name] for name in enabled(exp, group)]
    return True if 1 in every else jnp.any(state.step % jnp.asarray(every, jnp.int32) == 0)


def last_values(state: TrainState, group: str) -> dict[str, Scalar]:
    """The metrics of a group in a step in which none of its penalties is due."""
    found = {}
    for name, own in state.extra[group].items():
        found |= {metric(group, name): own["last"]} | shown_values(group, name, own)
    return found


def shown_values(group: str, name: str, extra: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The metrics of a penalty besides its mean value, out of what it carries."""
    return {f"{metric(group, name)}_{key}": extra[key] for key in TABLES[group][name].shown}


def metric(group: str, name: str) -> str:
    """The name of a penalty's mean value among metrics."""
    return f"{group.replace('penalties', 'penalty')}/{name}"


def mean_value(entry: Penalty, inputs: PenaltyInputs | GeneratorPenaltyInputs) -> tuple[Scalar, PyTree]:
    """A penalty's mean value, and what its `update` gets."""
    found = entry.value(inputs)
    values, aux = found if isinstance(found, tuple) else (found, found.mean())
    return values.mean(), aux


def weighted_sum(
    exp: Experiment,
    state: TrainState,
    group: str,
    inputs: PenaltyInputs | GeneratorPenaltyInputs,
    skip: Collection[str] = (),
) -> tuple[Scalar, dict[str, Scalar], dict[str, PyTree]]:
    """The weighted sum of a group's enabled penalties, each mean value without its weight, and what they carry on.

    A lazy penalty counts as many times as there are steps between two of its turns. In between it counts nothing, takes
    nearly no time, and the metrics repeat its last value.

    Args:
        exp, state: the experiment and its state.
        group: "penalties" or "generator_penalties".
        inputs: but `extra`, which is each penalty's own.
        skip: names of penalties that are computed elsewhere.

    References:
        Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, appendix B (lazy regularisation).
        https://arxiv.org/abs/1912.04958
    """
    total, metrics, carried = jnp.zeros(()), {}, dict(state.extra.get(group, {}))
    for name in enabled(exp, group):
        if name in skip:
            continue
        entry, every, extra = TABLES[group][name], exp.config[INTERVALS[group]][name], carried.get(name, {})
        own = inputs._replace(extra=extra)
        take = functools.partial(mean_value, entry, own)
        if every == 1:
            due, (value, aux) = True, take()
            shown = value
        else:
            due = state.step % every == 0
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(take))
            value, aux = jax.lax.cond(due, take, lambda zeros=zeros: zeros)
            shown = jnp.where(due, value, extra["last"])
        metrics[metric(group, name)] = shown
        total += hparam(exp, state, f"{group}.{name}") * every * value
        if extra:
            new = dict(entry.update(own, aux, due)) | ({"last": shown} if every > 1 else {})
            carried[name] = exp.pmean(jax.lax.stop_gradient(extra | new))
            metrics |= shown_values(group, name, carried[name])
    return total, metrics, {group: carried} if carried else {}


def check(exp: Experiment) -> Iterator[str]:
    """Why penalties do not go with other settings."""
    config, used = exp.config, enabled(exp, "penalties")
    bound = [name for name in used if PENALTIES[name].needs_independent_logits]
    if bound and config.model.discriminator.get("norm") == "batch":
        yield (
            f"config.penalties.{bound[0]} needs config.model.discriminator.norm=none: with BatchNorm a logit depends "
            "on the whole batch, and its gradient by its own example is not defined"
        )
    of_images = [
        f"{group}.{name}" for group in TABLES for name in enabled(exp, group) if TABLES[group][name].images_only
    ]
    if of_images and not any(field.kind == "pixels" for field in exp.fields):
        yield f"config.{of_images[0]} is for images, and config.data.source={config.data.source} has none"


def examples_together(config: ConfigDict) -> int:
    """Examples that have to be on one device: path lengths are of every second one."""
    texts = [config.get(name, "") for name in ("schedules", "sweep")]
    return 2 if config.generator_penalties.path_length or any("path_length" in text for text in texts) else 1
