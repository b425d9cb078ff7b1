"""What steadies training, in the step: each piece by its closed form, or against a step written by hand."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import (
    POINTS,
    applied,
    assert_all_changed,
    assert_close,
    assert_same_bits,
    experiment,
    gradients,
    latents_of,
    leaves,
    params_of,
    quick_jit,
    same,
    with_params,
)
from jax.nn import softplus

from jaxgan.adversarial import forward
from jaxgan.adversarial.augment import augment
from jaxgan.core import rng

plain = functools.partial(experiment, recorded=True, classes=3, **POINTS)
IMAGES = {"data__size": 8, "model__generator__width": 2, "model__discriminator__width": 2}
IMAGES |= {"model__generator__norm": "none", "model__discriminator__norm": "none"}


def own_keys(use: str, count: int = 8, step: int = 0):
    """The keys of the examples for one use."""
    return rng.example_keys(rng.stream_key(0, step, use), jnp.arange(count))


def generated(tiny, use: str, params=None, latents=None):
    """Fakes, written with flax alone."""
    latents = latents_of(tiny, f"{use} latents") if latents is None else latents
    return applied(tiny, "generator", params_of(tiny, "generator") if params is None else params, latents)[0]


def logits(tiny, examples, params=None, told=None):
    """Theirs, written with flax alone."""
    params = params_of(tiny, "discriminator") if params is None else params
    return applied(tiny, "discriminator", params, examples, told)[0].logits


def take(tiny, name: str, step: int = 0, state=None):
    """One update of a network at some step: the state and the metrics."""
    state = state or tiny.state
    return getattr(tiny, f"{name}_step")(state.replace(step=jnp.int32(step)), tiny.one_batch())


def swept(tiny, **values):
    """The first state of a member with settings of its own."""
    return tiny.state.replace(sweep={name.replace("__", "."): jnp.float32(value) for name, value in values.items()})


def test_a_lazy_penalty_counts_as_often_as_it_is_left_out():
    always = plain(penalties__r1=2.0)
    lazy = plain(penalties__r1=2.0, penalty_every__r1=3)
    found = {}
    for name, tiny in (("none", plain()), ("always", always), ("lazy", lazy)):
        found[name] = [gradients(take(tiny, "discriminator", step)[0], "discriminator") for step in range(3)]
    due = jax.tree.map(lambda none, full: none + 3 * (full - none), found["none"][0], found["always"][0])
    assert_close(found["lazy"][0], due, atol=1e-5)
    for step in (1, 2):
        assert_close(found["lazy"][step], found["none"][step], rtol=1e-6, atol=1e-7)
    # r1 of the same examples and parameters: the same in each of the three steps.
    means = {name: jax.tree.map(lambda *parts: sum(parts) / 3, *parts) for name, parts in found.items()}
    assert_close(means["lazy"], means["always"], atol=1e-5)
    assert not np.allclose(*(jax.tree.leaves(means[name])[1] for name in ("none", "always")), rtol=1e-2)


def test_between_its_turns_a_lazy_penalty_s_metric_is_its_last_value():
    lazy, always = (plain(penalties__r1=2.0, **every) for every in ({"penalty_every__r1": 3}, {}))
    state, metrics = take(lazy, "discriminator", 3)
    np.testing.assert_allclose(metrics["r1"], take(always, "discriminator", 3)[1]["r1"], rtol=1e-5)
    for step in (4, 5):
        state, later = take(lazy, "discriminator", step, state)
        assert later["r1"] == metrics["r1"] > 0
    _, due = take(lazy, "discriminator", 6, state)  # of other parameters
    assert due["r1"] != metrics["r1"]


def constant(tiny, state, logit: float):
    """The state with a discriminator that says the same to everything."""
    params = jax.tree.map(jnp.zeros_like, params_of(tiny, "discriminator"))
    head = params["Dense_0"]
    return with_params(state, "discriminator", params | {"Dense_0": head | {"bias": head["bias"] + logit}})


def test_lecam_pulls_to_moving_averages():
    """Their beginning is 0: after logits of 2 and then 5 they are 0.9 * 0.1 * 2 + 0.1 * 5."""
    tiny = plain(penalties__lecam=1.0, penalty_settings__lecam_decay=0.9)
    state, metrics = take(tiny, "discriminator", state=constant(tiny, tiny.state, 2.0))
    np.testing.assert_allclose(metrics["lecam"], 2 * 2.0**2, rtol=1e-5)
    np.testing.assert_allclose([state.memory["lecam_real"], state.memory["lecam_fake"]], 0.2, rtol=1e-5)
    state, metrics = take(tiny, "discriminator", 1, constant(tiny, state, 5.0))
    np.testing.assert_allclose(metrics["lecam"], 2 * (5 - 0.2) ** 2, rtol=1e-5)
    np.testing.assert_allclose([state.memory["lecam_real"], state.memory["lecam_fake"]], 0.68, rtol=1e-5)
    # And of real and of fake apart.
    state, metrics = take(tiny, "discriminator")
    assert not np.isclose(metrics["d_real"], metrics["d_fake"])
    for kind in ("real", "fake"):
        np.testing.assert_allclose(state.memory[f"lecam_{kind}"], 0.1 * metrics[f"d_{kind}"], rtol=1e-5)
    after, _ = tiny.generator_step(state, tiny.one_batch())
    assert_same_bits(after.memory, state.memory)


def test_clipped_weights():
    """Of a population, whose member with a weight_clip of 0 is not clipped at all."""
    tiny = plain(sweep="weight_clip=0,0.3", population=2)
    expected, _ = take(plain(), "discriminator")
    state, _ = take(tiny, "discriminator", state=swept(tiny, weight_clip=0.0))
    assert_close(params_of(tiny, "discriminator", state), params_of(tiny, "discriminator", expected), rtol=1e-6)
    clipped, _ = take(tiny, "discriminator", state=swept(tiny, weight_clip=0.3))
    free, held = (leaves(params_of(tiny, "discriminator", one)) for one in (state, clipped))
    for path, array in held.items():
        assert abs(array).max() <= np.float32(0.3), path
        np.testing.assert_array_equal(array, np.clip(free[path], -np.float32(0.3), np.float32(0.3)))
    changed = np.concatenate([(held[path] != free[path]).ravel() for path in held])
    assert 3 < changed.sum() < changed.size
    assert_same_bits(clipped.networks["generator"], tiny.state.networks["generator"])


NOISE = {"instance_noise__stddev": 0.5, "instance_noise__decay_steps": 100}


def noise(count: int, step: int, kind: str = "real", use: str = "discriminator", repeat: int = 0):
    """What is added to so many examples."""
    tiny = plain(**NOISE)

    @quick_jit
    def seen(state, examples):
        drawn = forward.Draw(use, repeat, examples, None)
        return forward.see(tiny.exp, state, examples, kind, drawn).examples

    return np.asarray(seen(tiny.state.replace(step=jnp.int32(step)), jnp.zeros((count, 2))))


@pytest.mark.parametrize(("step", "stddev"), [(0, 0.5), (25, 0.375), (50, 0.25), (99, 0.005)])
def test_instance_noise_fades_in_a_straight_line(step, stddev):
    found = noise(10_000, step)
    np.testing.assert_allclose(found.std(), stddev, rtol=4 / (2 * found.size) ** 0.5)
    assert abs(found.mean()) < 4 * stddev / found.size**0.5


def test_instance_noise_ends():
    for step in (100, 101, 10_000):
        assert not noise(100, step).any()
    tiny = plain(**NOISE)
    for name in ("discriminator", "generator"):
        early, late = (take(tiny, name, step)[0] for step in (0, 100))
        assert_close(gradients(late, name), gradients(take(plain(), name, 100)[0], name), rtol=1e-5)
        assert not same(gradients(early, name), gradients(take(plain(), name)[0], name))


def test_an_example_keeps_its_noise_in_any_batch():
    whole = noise(16, 5)
    np.testing.assert_array_equal(noise(8, 5), whole[:8])
    others = [noise(8, 5, "fake"), noise(8, 6), noise(8, 5, use="generator"), noise(8, 5, repeat=1)]
    assert not any(np.isin(whole, other).any() for other in others)


def assert_gradients(tiny, d_loss, g_loss) -> None:
    """Both steps' gradients and metrics are those of losses written by hand: (params, batch) -> (loss, metrics)."""
    losses = {"discriminator": d_loss, "generator": g_loss}
    by_hand = quick_jit(
        lambda batch: {
            name: jax.grad(loss, has_aux=True)(params_of(tiny, name), batch) for name, loss in losses.items()
        }
    )
    for name, (slope, values) in by_hand(tiny.one_batch()).items():
        state, metrics = take(tiny, name)
        assert_close(gradients(state, name), slope, atol=1e-5)
        assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(slope)) > 1e-3
        assert_close({value: metrics[value] for value in values}, values)
        assert min(abs(value) for value in values.values()) > 1e-4
        reported = {f"{name[0]}_{what}" for what in ("loss", "grad_norm")}
        reported |= {"nonfinite"} | ({"d_real", "d_fake", "d_ahead", "g_spread"} if name == "discriminator" else set())
        assert metrics.keys() == reported | values.keys()  # no penalty of the other network


def test_augmented_images_and_consistencies():
    """The discriminator sees augmented images alone, also where its penalties augment them once more.

    The generator learns through them, but its own penalties are about images as it makes them.
    """
    weights = {"cr": 2.0, "bcr": 3.0, "zcr": 4.0}
    settings = {f"penalties__{name}": weight for name, weight in weights.items()}
    settings |= {"augment": ("flip",), "penalty_settings__transform": ("translation",)}
    settings |= {
        "penalty_settings__nearby": 0.3,
        "generator_penalties__zcr": 5.0,
        "generator_penalties__orthogonal": 6.0,
    }
    tiny = experiment(recorded=True, **IMAGES, **settings)

    def seen(examples, use: str):
        return augment(examples, own_keys(f"{use} augment"), ("flip",))

    def transformed(examples, name: str):
        own = jax.vmap(lambda key: jax.random.fold_in(key, zlib.crc32(name.encode())))
        return augment(examples, own(own_keys("discriminator penalties")), ("translation",))

    def moved(use: str, params=None):
        steps_apart = jax.vmap(lambda key: jax.random.normal(key, (4,)))(own_keys(f"{use} nearby"))
        return generated(tiny, use, params, latents_of(tiny, f"{use} latents") + 0.3 * steps_apart)

    def d_loss(params, batch):
        real = seen(batch["images"], "discriminator real")
        fake, nearby = (
            seen(x, "discriminator fake") for x in (generated(tiny, "discriminator"), moved("discriminator"))
        )
        apart = lambda one, other: ((logits(tiny, one, params) - logits(tiny, other, params)) ** 2).mean()  # noqa: E731
        values = {
            "cr": apart(real, transformed(real, "cr")),
            "bcr": apart(real, transformed(real, "bcr real")) + apart(fake, transformed(fake, "bcr fake")),
            "zcr": apart(fake, nearby),
        }
        total = (softplus(-logits(tiny, real, params)) + softplus(logits(tiny, fake, params))).mean()
        return total + sum(weights[name] * value for name, value in values.items()), values

    def g_loss(params, batch):
        fake = generated(tiny, "generator", params)
        kernels = [kernel for path, kernel in jax.tree_util.tree_leaves_with_path(params) if "kernel" in str(path[-1])]
        grams = [kernel.T @ kernel for kernel in kernels]
        values = {
            "g_zcr": -((fake - moved("generator", params)) ** 2).mean(),
            "g_orthogonal": sum(((gram - jnp.diag(jnp.diag(gram))) ** 2).sum() for gram in grams),
        }
        total = softplus(-logits(tiny, seen(fake, "generator fake"))).mean()
        return total + 5 * values["g_zcr"] + 6 * values["g_orthogonal"], values

    assert_gradients(tiny, d_loss, g_loss)


def test_the_layout_of_packs():
    tiny = plain(packing=2, conditioning__generator="concat", conditioning__discriminator="concat")
    images = jnp.arange(8 * 3 * 4 * 5.0).reshape(8, 3, 4, 5)
    packs = forward.pack(tiny.exp, images)
    assert packs.shape == (4, 3, 4, 10)
    np.testing.assert_array_equal(packs[..., :5], images[0::2])
    np.testing.assert_array_equal(packs[..., 5:], images[1::2])
    np.testing.assert_array_equal(forward.pack(tiny.exp, images[:, 0, 0]), images[:, 0, 0].reshape(4, 10))
    np.testing.assert_array_equal(forward.pack(plain().exp, images), images)


def test_packs_are_judged_together_with_all_their_labels():
    tiny = plain(packing=2, conditioning__generator="concat", conditioning__discriminator="concat")

    def fakes(use, batch, params=None):
        params = params_of(tiny, "generator") if params is None else params
        return applied(tiny, "generator", params, latents_of(tiny, f"{use} latents"), jnp.eye(3)[batch["labels"]])[0]

    def judged(examples, batch, params=None):
        found = logits(tiny, examples.reshape(4, 4), params, jnp.eye(3)[batch["labels"]].reshape(4, 6))
        assert found.shape == (4,)
        return found

    def d_loss(params, batch):
        real, fake = judged(batch["images"], batch, params), judged(fakes("discriminator", batch), batch, params)
        return (softplus(-real) + softplus(fake)).mean(), {"d_real": real.mean(), "d_fake": fake.mean()}

    def g_loss(params, batch):
        value = softplus(-judged(fakes("generator", batch, params), batch)).mean()
        return value, {"g_loss": value}

    assert_gradients(tiny, d_loss, g_loss)


@pytest.mark.parametrize("count", [0, 2])
def test_the_generator_foresees_updates_of_the_discriminator(count):
    """RECORDER, as gradient descent at this rate, takes the whole gradient off: the derivative passes through that."""
    tiny = plain(unrolled_steps=count, optimizer__discriminator__learning_rate=2e-3) if count else plain()
    real = tiny.one_batch()["images"]

    def d_loss(critic, fake):
        return (softplus(-logits(tiny, real, critic)) + softplus(logits(tiny, fake, critic))).mean()

    def g_loss(params):
        fake = generated(tiny, "generator", params)
        critic = params_of(tiny, "discriminator")
        for _ in range(count):
            critic = jax.tree.map(lambda value, slope: value - slope, critic, jax.grad(d_loss)(critic, fake))
        return softplus(-logits(tiny, fake, critic)).mean()

    value, slope = quick_jit(jax.value_and_grad(g_loss))(params_of(tiny, "generator"))
    state, metrics = take(tiny, "generator")
    np.testing.assert_allclose(metrics["g_loss"], value, rtol=1e-5)
    assert_close(gradients(state, "generator"), slope, atol=1e-6)
    assert_same_bits(state.networks["discriminator"], tiny.state.networks["discriminator"])
    if count:
        assert abs(metrics["g_loss"] - take(plain(), "generator")[1]["g_loss"]) > 1e-4


def test_a_foreseen_adam_with_a_gradient_of_zero_gives_finite_gradients():
    tiny = experiment(**POINTS, unrolled_steps=3, model__discriminator__leak=0.0)
    params = params_of(tiny, "discriminator")
    body = params["body"]["Dense_0"]
    dead = params | {"body": {"Dense_0": body | {"bias": body["bias"].at[0].set(-100.0)}}}  # a unit that is never on
    state, metrics = take(tiny, "generator", state=with_params(tiny.state, "discriminator", dead))
    assert [path for path, leaf in leaves((state, metrics)).items() if not np.isfinite(leaf).all()] == []
    assert metrics["g_grad_norm"] > 1e-4


def optimised(tiny):
    return swept(tiny, latent_optimisation__rate=0.5), swept(tiny, latent_optimisation__rate=0.0)


def test_latents_take_a_step_towards_a_better_judgement():
    tiny = plain(sweep="latent_optimisation.rate=0,0.5", population=2, latent_optimisation__damping=2.0)

    def moved(use: str, rate: float, params=None):
        z = latents_of(tiny, f"{use} latents")
        judged = lambda one: logits(tiny, generated(tiny, use, params, one[None]))[0]  # noqa: E731
        slope = jax.vmap(jax.grad(judged))(z)
        return generated(tiny, use, params, z + rate * slope / (2.0 + (slope**2).sum(1, keepdims=True)))

    @functools.partial(quick_jit, static_argnums=1)
    def by_hand(real, rate):
        def d_loss(params):
            fake = moved("discriminator", rate)
            return (softplus(-logits(tiny, real, params)) + softplus(logits(tiny, fake, params))).mean()

        g_loss = lambda params: softplus(-logits(tiny, moved("generator", rate, params))).mean()  # noqa: E731
        losses = {"discriminator": d_loss, "generator": g_loss}
        return {name: jax.grad(loss)(params_of(tiny, name)) for name, loss in losses.items()}

    some, none = optimised(tiny)
    expected = by_hand(tiny.one_batch()["images"], 0.5)
    for name in ("discriminator", "generator"):
        assert_close(gradients(take(tiny, name, state=some)[0], name), expected[name], atol=1e-5)
        without, same_metrics = take(tiny, name, state=none)
        off, metrics = take(plain(), name)
        assert_close(gradients(without, name), gradients(off, name), rtol=1e-5)
        assert_close(same_metrics, metrics, rtol=1e-5)


def test_a_small_step_of_the_latents_raises_the_logits_of_the_fakes():
    tiny = plain(sweep="latent_optimisation.rate=0,0.5", population=2, latent_optimisation__damping=2.0)
    judged = [
        take(tiny, "discriminator", state=swept(tiny, latent_optimisation__rate=rate))[1]["d_fake"]
        for rate in (0.0, 0.01, 0.05)
    ]
    assert judged[0] < judged[1] < judged[2]


def test_power_iteration_belongs_to_the_passes_of_the_discriminator_step():
    """One for the real batch and one for the fakes; none for the penalty, and none for a generator's step."""
    both = {"model__discriminator__spectral_norm": True, "model__generator__spectral_norm": True}
    tiny = plain(**both, penalties__r1=1.0)
    state, _ = take(tiny, "discriminator")
    stats = lambda state, name: state.networks[name].variables.stats  # noqa: E731
    real = tiny.one_batch()["images"]

    @quick_jit
    def by_hand(params):
        _, once = applied(tiny, "discriminator", params, real)
        return applied(tiny, "discriminator", params, generated(tiny, "discriminator"), stats=once)[1]

    assert_close(stats(state, "discriminator"), by_hand(params_of(tiny, "discriminator")), rtol=1e-5)
    assert len(leaves(stats(state, "discriminator"))) == 4  # a vector and a number for both layers
    vectors = {path: leaf for path, leaf in leaves(stats(state, "discriminator")).items() if leaf.size > 1}
    assert_all_changed(vectors, leaves(stats(tiny.state, "discriminator")))
    assert_same_bits(state.networks["generator"], tiny.state.networks["generator"])
    after, _ = take(tiny, "generator", state=state)
    assert_same_bits(after.networks["discriminator"], state.networks["discriminator"])
    assert not same(stats(after, "generator"), stats(state, "generator"))


HALF = {"ema_half_life": 16.0, "sweep": "optimizer.generator.learning_rate=0,1e-3", "population": 2}


def test_the_average_s_half_life_in_images():
    """Of a generator that stays as it is: two batches of 8 halve what is left of the average's beginning."""
    tiny = experiment(**POINTS, **HALF)
    state = swept(tiny, optimizer__generator__learning_rate=0.0)
    state = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    for images in (8, 16, 24, 32):
        state, _ = take(tiny, "generator", state=state)
        left = 0.5 ** (images / 16)
        expected = jax.tree.map(lambda value, left=left: (1 - left) * value, params_of(tiny, "generator"))
        assert_close(state.ema["generator"].params, expected, rtol=1e-5)
    assert_same_bits(params_of(tiny, "generator", state), params_of(tiny, "generator"))


def test_an_update_is_linear_in_the_learning_rate():
    tiny = experiment(**POINTS, **HALF)
    changes = []
    for rate in (0.1, 0.3):
        state, _ = take(tiny, "generator", state=swept(tiny, optimizer__generator__learning_rate=rate))
        changes.append(jax.tree.map(jnp.subtract, params_of(tiny, "generator", state), params_of(tiny, "generator")))
    assert_close(changes[1], jax.tree.map(lambda change: 3 * change, changes[0]), rtol=1e-4)
    assert_all_changed(changes[0], jax.tree.map(jnp.zeros_like, changes[0]))
