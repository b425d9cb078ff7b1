"""What stabilises training, in the step: each piece by its closed form, or against a step written by hand."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import (
    POINTS,
    SMALL,
    Experiment,
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
    tiny_config,
    with_params,
)
from jax.nn import softplus

from jaxgan.adversarial import forward, penalties
from jaxgan.adversarial.augment import augment
from jaxgan.adversarial.penalties import Penalty
from jaxgan.algorithms import gan
from jaxgan.core import rng

plain = functools.partial(experiment, recorded=True, classes=3, **POINTS)
IMAGES = {"data__size": 8, "model__generator__width": 2, "model__discriminator__width": 2}  # of an mlp
IMAGES |= {"model__generator__norm": "none", "model__discriminator__norm": "none"}


def own_keys(stream: str, count: int = 8, step: int = 0):
    """The keys of the examples for one stream."""
    return rng.example_keys(rng.stream_key(0, step, stream), jnp.arange(count))


def generated(tiny, stream: str, params=None, latents=None):
    """Fakes, written with flax alone."""
    latents = latents_of(tiny, f"{stream} latents") if latents is None else latents
    return applied(tiny, "generator", params_of(tiny, "generator") if params is None else params, latents)[0]


def logits(tiny, examples, params=None, condition=None):
    """The logits of examples, written with flax alone."""
    params = params_of(tiny, "discriminator") if params is None else params
    return applied(tiny, "discriminator", params, examples, condition)[0].logits


def take(tiny, name: str, step: int = 0, state=None):
    """One update of a player at some step: the state and the metrics."""
    state = state or tiny.state
    return getattr(tiny, f"{name}_step")(state.replace(step=jnp.int32(step)), tiny.one_batch())


def member(tiny, **values):
    """The first state of a member of a population with settings of its own."""
    return tiny.state.replace(hparams={name.replace("__", "."): jnp.float32(value) for name, value in values.items()})


def test_a_lazy_penalty_counts_as_often_as_it_is_left_out():
    always = plain(penalties__r1=2.0)
    lazy = plain(penalties__r1=2.0, penalty_interval__r1=3)
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
    lazy, always = (plain(penalties__r1=2.0, **interval) for interval in ({"penalty_interval__r1": 3}, {}))
    state, metrics = take(lazy, "discriminator", 3)
    first = metrics["penalty/r1"]
    np.testing.assert_allclose(first, take(always, "discriminator", 3)[1]["penalty/r1"], rtol=1e-5)
    for step in (4, 5):
        state, later = take(lazy, "discriminator", step, state)
        assert later["penalty/r1"] == state.extra["penalties"]["r1"]["last"] == first > 0
    _, due = take(lazy, "discriminator", 6, state)  # of other parameters
    assert due["penalty/r1"] != first


def constant(tiny, state, logit: float):
    """The state with a discriminator that gives everything the same logit."""
    params = jax.tree.map(jnp.zeros_like, params_of(tiny, "discriminator"))
    head = params["Dense_0"]
    return with_params(state, "discriminator", params | {"Dense_0": head | {"bias": head["bias"] + logit}})


def test_lecam_pulls_to_moving_averages():
    """Their beginning is 0: after logits of 2 and then 5 they are 0.9 * 0.1 * 2 + 0.1 * 5."""
    tiny = plain(penalties__lecam=1.0, penalty_settings__lecam_decay=0.9)
    anchors = lambda state: state.extra["penalties"]["lecam"]  # noqa: E731
    state, metrics = take(tiny, "discriminator", state=constant(tiny, tiny.state, 2.0))
    np.testing.assert_allclose(metrics["penalty/lecam"], 2 * 2.0**2, rtol=1e-5)
    assert_close(anchors(state), {"real": 0.2, "fake": 0.2}, rtol=1e-5)
    state, metrics = take(tiny, "discriminator", 1, constant(tiny, state, 5.0))
    np.testing.assert_allclose(metrics["penalty/lecam"], 2 * (5 - 0.2) ** 2, rtol=1e-5)
    assert_close(anchors(state), {"real": 0.68, "fake": 0.68}, rtol=1e-5)
    # And of real and of fake apart.
    state, metrics = take(tiny, "discriminator")
    assert not np.isclose(metrics["logits/real"], metrics["logits/fake"])
    assert_close(anchors(state), {kind: 0.1 * metrics[f"logits/{kind}"] for kind in ("real", "fake")}, rtol=1e-5)
    after, _ = tiny.generator_step(state, tiny.one_batch())
    assert_same_bits(after.extra, state.extra)


# What a penalty carries from step to step


def stateful() -> Penalty:
    """A penalty whose numbers have the names of its own metric and of others."""
    return Penalty(
        lambda inputs: inputs.extra["value"] + 10.0,
        "a number that grows by 1 in each step",
        extra={"value": 0.0, "dragan": 5.0, "orthogonal": 5.0, "penalty/dragan": 6.0, "loss/discriminator": 7.0},
        update=lambda inputs, value, due: {
            "value": inputs.extra["value"] + 1,
            "dragan": inputs.extra["dragan"] + jnp.where(due, value, 0.0),
        },
    )


@pytest.mark.parametrize("update_rule", gan.UPDATE_RULES)
@pytest.mark.parametrize(
    ("group", "name", "metric"),
    [
        ("penalties", "dragan", "penalty/dragan"),
        ("generator_penalties", "orthogonal", "generator_penalty/orthogonal"),
    ],
)
def test_a_penalty_s_numbers_have_names_of_their_own(group, name, metric, update_rule, monkeypatch):
    """No metric of the same name overwrites them, and every step updates them, also where a lazy penalty is not due."""
    monkeypatch.setitem(penalties.TABLES[group], name, stateful())
    settings = {f"{group}__{name}": 0.5, f"{penalties.INTERVALS[group]}__{name}": 3, "penalties__lecam": 1.0}
    tiny = Experiment(tiny_config(**POINTS | settings, update_rule=update_rule))
    state, initial = tiny.state, stateful().extra
    assert_close(state.extra[group][name], initial | {"last": 0.0})
    total = 5.0
    for step, last in enumerate((10, 10, 10, 13)):
        state, metrics = tiny.train_step(state, tiny.batch(step))
        total += last if step % 3 == 0 else 0
        carried = state.extra[group][name]
        assert_close(carried, initial | {"value": step + 1.0, "dragan": total, "last": last}, rtol=1e-6)
        np.testing.assert_allclose(metrics[metric], last, rtol=1e-6)
    # Those of other penalties are left alone.
    assert state.extra["penalties"]["lecam"].keys() == {"real", "fake"}


def test_no_penalty_carries_a_number_that_lazy_ones_have():
    assert [name for table in penalties.TABLES.values() for name, entry in table.items() if "last" in entry.extra] == []


CARRYING = {"penalties__lecam": 1.0, "penalties__r1": 1.0, "penalty_interval__r1": 2}
CARRYING |= {"generator_penalties__orthogonal": 0.1, "generator_penalty_interval__orthogonal": 2}


@pytest.mark.parametrize("update_rule", gan.UPDATE_RULES)
@pytest.mark.parametrize("bad", ["discriminator", "generator"])
def test_after_an_update_that_is_not_finite_the_player_and_all_extra_arrays_are_as_before(bad, update_rule):
    """The other player's update is applied."""
    tiny = experiment(**SMALL, **CARRYING, update_rule=update_rule)
    before, batch = tiny.run(2)[0], tiny.batch(2)
    fine, _ = tiny.train_step(before, batch)
    if bad == "discriminator":  # the generator's loss does not depend on real examples
        after, metrics = tiny.train_step(before, batch | {"points": batch["points"].at[0, 3, 1].set(np.nan)})
    else:
        after, metrics = tiny.train_step(before.replace(hparams={"adversarial": jnp.float32(np.inf)}), batch)
    good = {"discriminator": "generator", "generator": "discriminator"}[bad]
    assert metrics["skipped_updates"] == 1
    assert after.extra["skipped_updates"] == {bad: 1, good: 0}
    for group in ("penalties", "generator_penalties"):
        assert_same_bits(after.extra[group], before.extra[group])
        assert_all_changed(fine.extra[group], before.extra[group])  # without the bad number
    assert_same_bits(after.networks[bad], before.networks[bad])
    assert_same_bits(after.opt_states[bad], before.opt_states[bad])
    assert_all_changed(after.networks[good], before.networks[good])
    if bad == "generator":
        assert_same_bits(after.ema, before.ema)
    else:
        assert_all_changed(after.ema, before.ema)
    assert int(after.step) == 3


def test_all_extra_arrays_are_as_before_a_step_of_which_one_update_is_not_finite():
    """The discriminator's other update counts for its parameters, and not for what penalties carry."""
    tiny = experiment(**POINTS, penalties__lecam=1.0, discriminator_steps=2)
    before, _ = tiny.run(1)
    for index in range(2):
        batch = tiny.batch(1)
        after, _ = tiny.train_step(before, batch | {"points": batch["points"].at[index, 0, 0].set(np.nan)})
        assert after.extra["skipped_updates"] == {"discriminator": 1, "generator": 0}
        assert_same_bits(after.extra["penalties"], before.extra["penalties"])
        assert_all_changed(after.networks, before.networks)


def test_clipped_weights():
    """Of a population, whose member with a weight_clip of 0 is not clipped at all."""
    tiny = plain(weight_clip=0.3)
    expected, _ = take(plain(), "discriminator")
    state, _ = take(tiny, "discriminator", state=member(tiny, weight_clip=0.0))
    assert_close(params_of(tiny, "discriminator", state), params_of(tiny, "discriminator", expected), rtol=1e-6)
    clipped, _ = take(tiny, "discriminator", state=member(tiny, weight_clip=0.3))
    free, held = (leaves(params_of(tiny, "discriminator", one)) for one in (state, clipped))
    for path, array in held.items():
        assert abs(array).max() <= np.float32(0.3), path
        np.testing.assert_array_equal(array, np.clip(free[path], -np.float32(0.3), np.float32(0.3)))
    changed = np.concatenate([(held[path] != free[path]).ravel() for path in held])
    assert 3 < changed.sum() < changed.size
    assert_same_bits(clipped.networks["generator"], tiny.state.networks["generator"])


NOISE = {"instance_noise__stddev": 0.5, "instance_noise__decay_steps": 100}


def noise(count: int, step: int, kind: str = "real", stream: str = "discriminator", index: int = 0):
    """What is added to so many examples."""
    tiny = plain(**NOISE)

    @quick_jit
    def given(state, examples):
        latents = forward.LatentBatch(stream, index, examples, None)
        return forward.preprocess(tiny.exp, state, examples, kind, latents).examples

    return np.asarray(given(tiny.state.replace(step=jnp.int32(step)), jnp.zeros((count, 2))))


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
    others = [noise(8, 5, "fake"), noise(8, 6), noise(8, 5, stream="generator"), noise(8, 5, index=1)]
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
        reported = {f"loss/{name}", f"grad_norm/{name}", "skipped_updates"}
        if name == "discriminator":
            reported |= {"logits/real", "logits/fake", "d_pairwise_accuracy", "diversity_ratio"}
        assert metrics.keys() == reported | values.keys()  # no penalty of the other network


def test_augmented_images_and_consistencies():
    """The discriminator is given augmented images alone, also where its penalties augment them once more.

    The generator learns through them, but its own penalties are about images as it makes them.
    """
    weights = {"cr": 2.0, "bcr": 3.0, "zcr": 4.0}
    settings = {f"penalties__{name}": weight for name, weight in weights.items()}
    settings |= {"augment": ("flip",), "penalty_settings__transform": ("translation",)}
    settings |= {
        "penalty_settings__perturbation_stddev": 0.3,
        "generator_penalties__zcr": 5.0,
        "generator_penalties__orthogonal": 6.0,
    }
    tiny = experiment(recorded=True, **IMAGES, **settings)

    def augmented(examples, stream: str):
        return augment(examples, own_keys(f"{stream} augment"), ("flip",))

    def transformed(examples, name: str):
        own = jax.vmap(lambda key: jax.random.fold_in(key, zlib.crc32(name.encode())))
        return augment(examples, own(own_keys("discriminator penalties")), ("translation",))

    def perturbed(stream: str, params=None):
        steps_apart = jax.vmap(lambda key: jax.random.normal(key, (4,)))(own_keys(f"{stream} nearby"))
        return generated(tiny, stream, params, latents_of(tiny, f"{stream} latents") + 0.3 * steps_apart)

    def d_loss(params, batch):
        real = augmented(batch["images"], "discriminator real")
        fake, nearby = (
            augmented(x, "discriminator fake") for x in (generated(tiny, "discriminator"), perturbed("discriminator"))
        )
        apart = lambda one, other: ((logits(tiny, one, params) - logits(tiny, other, params)) ** 2).mean()  # noqa: E731
        values = {
            "cr": apart(real, transformed(real, "cr")),
            "bcr": apart(real, transformed(real, "bcr real")) + apart(fake, transformed(fake, "bcr fake")),
            "zcr": apart(fake, nearby),
        }
        total = (softplus(-logits(tiny, real, params)) + softplus(logits(tiny, fake, params))).mean()
        total += sum(weights[name] * value for name, value in values.items())
        return total, {f"penalty/{name}": value for name, value in values.items()}

    def g_loss(params, batch):
        fake = generated(tiny, "generator", params)
        kernels = [kernel for path, kernel in jax.tree_util.tree_leaves_with_path(params) if "kernel" in str(path[-1])]
        grams = [kernel.T @ kernel for kernel in kernels]
        zcr = -((fake - perturbed("generator", params)) ** 2).mean()
        orthogonal = sum(((gram - jnp.diag(jnp.diag(gram))) ** 2).sum() for gram in grams)
        total = softplus(-logits(tiny, augmented(fake, "generator fake"))).mean() + 5 * zcr + 6 * orthogonal
        return total, {"generator_penalty/zcr": zcr, "generator_penalty/orthogonal": orthogonal}

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


def test_a_pack_has_one_logit_which_depends_on_all_its_labels():
    tiny = plain(packing=2, conditioning__generator="concat", conditioning__discriminator="concat")

    def fakes(stream, batch, params=None):
        params = params_of(tiny, "generator") if params is None else params
        labels = jnp.eye(3)[batch["labels"]]
        return applied(tiny, "generator", params, latents_of(tiny, f"{stream} latents"), labels)[0]

    def packed(examples, batch, params=None):
        found = logits(tiny, examples.reshape(4, 4), params, jnp.eye(3)[batch["labels"]].reshape(4, 6))
        assert found.shape == (4,)
        return found

    def d_loss(params, batch):
        real, fake = packed(batch["points"], batch, params), packed(fakes("discriminator", batch), batch, params)
        return (softplus(-real) + softplus(fake)).mean(), {"logits/real": real.mean(), "logits/fake": fake.mean()}

    def g_loss(params, batch):
        value = softplus(-packed(fakes("generator", batch, params), batch)).mean()
        return value, {"loss/generator": value}

    assert_gradients(tiny, d_loss, g_loss)


@pytest.mark.parametrize("count", [0, 2])
def test_the_generator_foresees_updates_of_the_discriminator(count):
    """RECORDER, as gradient descent at this rate, takes the whole gradient off: the derivative passes through that."""
    tiny = plain(unrolled_steps=count, optimizer__discriminator__learning_rate=2e-3) if count else plain()
    real = tiny.one_batch()["points"]

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
    np.testing.assert_allclose(metrics["loss/generator"], value, rtol=1e-5)
    assert_close(gradients(state, "generator"), slope, atol=1e-6)
    assert_same_bits(state.networks["discriminator"], tiny.state.networks["discriminator"])
    if count:
        assert abs(metrics["loss/generator"] - take(plain(), "generator")[1]["loss/generator"]) > 1e-4


def test_a_foreseen_adam_with_a_gradient_of_zero_gives_finite_gradients():
    tiny = experiment(**POINTS, unrolled_steps=3, model__discriminator__negative_slope=0.0)
    params = params_of(tiny, "discriminator")
    body = params["body"]["Dense_0"]
    dead = params | {"body": {"Dense_0": body | {"bias": body["bias"].at[0].set(-100.0)}}}  # a unit that is never on
    state, metrics = take(tiny, "generator", state=with_params(tiny.state, "discriminator", dead))
    assert [path for path, leaf in leaves((state, metrics)).items() if not np.isfinite(leaf).all()] == []
    assert metrics["grad_norm/generator"] > 1e-4


def optimised(tiny):
    return member(tiny, latent_optimisation__rate=0.5), member(tiny, latent_optimisation__rate=0.0)


def test_latents_take_a_step_towards_larger_logits():
    tiny = plain(latent_optimisation__rate=0.5, latent_optimisation__damping=2.0)

    def moved(stream: str, rate: float, params=None):
        z = latents_of(tiny, f"{stream} latents")
        logit = lambda one: logits(tiny, generated(tiny, stream, params, one[None]))[0]  # noqa: E731
        slope = jax.vmap(jax.grad(logit))(z)
        return generated(tiny, stream, params, z + rate * slope / (2.0 + (slope**2).sum(1, keepdims=True)))

    @functools.partial(quick_jit, static_argnums=1)
    def by_hand(real, rate):
        def d_loss(params):
            fake = moved("discriminator", rate)
            return (softplus(-logits(tiny, real, params)) + softplus(logits(tiny, fake, params))).mean()

        g_loss = lambda params: softplus(-logits(tiny, moved("generator", rate, params))).mean()  # noqa: E731
        losses = {"discriminator": d_loss, "generator": g_loss}
        return {name: jax.grad(loss)(params_of(tiny, name)) for name, loss in losses.items()}

    some, none = optimised(tiny)
    expected = by_hand(tiny.one_batch()["points"], 0.5)
    for name in ("discriminator", "generator"):
        assert_close(gradients(take(tiny, name, state=some)[0], name), expected[name], atol=1e-5)
        without, same_metrics = take(tiny, name, state=none)
        off, metrics = take(plain(), name)
        assert_close(gradients(without, name), gradients(off, name), rtol=1e-5)
        assert_close(same_metrics, metrics, rtol=1e-5)


def test_a_small_step_of_the_latents_raises_the_logits_of_the_fakes():
    tiny = plain(latent_optimisation__rate=0.5, latent_optimisation__damping=2.0)
    found = [
        take(tiny, "discriminator", state=member(tiny, latent_optimisation__rate=rate))[1]["logits/fake"]
        for rate in (0.0, 0.01, 0.05)
    ]
    assert found[0] < found[1] < found[2]


def test_power_iteration_belongs_to_the_passes_of_the_discriminator():
    """One for the real batch and one for the fakes, none for the penalty; one for the fakes of a generator's step."""
    both = {"model__discriminator__spectral_norm": True, "model__generator__spectral_norm": True}
    tiny = plain(**both, penalties__r1=1.0)
    state, _ = take(tiny, "discriminator")
    stats = lambda state, name: state.networks[name].model_state  # noqa: E731
    real = tiny.one_batch()["points"]

    @quick_jit
    def by_hand(params):
        _, once = applied(tiny, "discriminator", params, real)
        return applied(tiny, "discriminator", params, generated(tiny, "discriminator"), stats=once)[1]

    assert_close(stats(state, "discriminator"), by_hand(params_of(tiny, "discriminator")), rtol=1e-5)
    vectors = {path: leaf for path, leaf in leaves(stats(state, "discriminator")).items() if leaf.size > 1}
    assert len(vectors) == 1  # of the first layer; the one of the last has a single number
    assert_all_changed(vectors, leaves(stats(tiny.state, "discriminator")))
    assert_same_bits(state.networks["generator"], tiny.state.networks["generator"])
    after, _ = take(tiny, "generator", state=state)
    assert_same_bits(after.networks["discriminator"].params, state.networks["discriminator"].params)
    once = quick_jit(lambda params, stats: applied(tiny, "discriminator", params, real, stats=stats)[1])
    expected = once(params_of(tiny, "discriminator", state), stats(state, "discriminator"))
    assert_close(stats(after, "discriminator"), expected, rtol=1e-5)
    assert not same(stats(after, "generator"), stats(state, "generator"))


HALF = {"ema_half_life": 16.0}


def test_the_average_s_half_life_in_examples():
    """Of a generator that stays as it is: two batches of 8 halve what is left of the average's beginning."""
    tiny = experiment(**POINTS, **HALF)
    state = member(tiny, optimizer__generator__learning_rate=0.0)
    state = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    for examples in (8, 16, 24, 32):
        state, _ = tiny.train_step(state, tiny.batch())
        left = 0.5 ** (examples / 16)
        expected = jax.tree.map(lambda value, left=left: (1 - left) * value, params_of(tiny, "generator"))
        assert_close(state.ema["generator"].params, expected, rtol=1e-5)
    assert_same_bits(params_of(tiny, "generator", state), params_of(tiny, "generator"))


def test_a_half_life_that_rises_from_0_begins_without_an_average():
    """R3GAN's: of a generator that stays as it is, the average is that generator after the first step."""
    tiny = experiment(**POINTS, schedules="ema_half_life=linear(32, 2)")
    state = member(tiny, optimizer__generator__learning_rate=0.0)
    still = params_of(tiny, "generator", state)
    state, _ = tiny.train_step(state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema)), tiny.batch())
    assert_same_bits(state.ema["generator"].params, still)
    state = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    left = 1.0
    for half_life in (16, 32, 32):
        state, _ = tiny.train_step(state, tiny.batch())
        left *= 0.5 ** (8 / half_life)
        expected = jax.tree.map(lambda value, left=left: (1 - left) * value, still)
        assert_close(state.ema["generator"].params, expected, rtol=1e-5)


def test_an_update_is_linear_in_the_learning_rate():
    tiny = experiment(**POINTS, **HALF)
    first, changes = params_of(tiny, "generator"), []
    for rate in (0.1, 0.3):
        state, _ = take(tiny, "generator", state=member(tiny, optimizer__generator__learning_rate=rate))
        changes.append(jax.tree.map(jnp.subtract, params_of(tiny, "generator", state), first))
    assert_close(changes[1], jax.tree.map(lambda change: 3 * change, changes[0]), rtol=1e-4)
    assert_all_changed(changes[0], jax.tree.map(jnp.zeros_like, changes[0]))
