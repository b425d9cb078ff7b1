"""The steps: who is updated by what, where gradients are cut, and what stays the same bits."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import (
    DCGAN,
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
    quick_jit,
    same,
    tiny_config,
    with_params,
)

from benchmarks import flops
from jaxgan.adversarial import forward
from jaxgan.algorithms import gan
from jaxgan.data import loader
from jaxgan.data.cache import ArrayDataset

FAMILIES = pytest.mark.parametrize("settings", [SMALL, DCGAN], ids=["points", "dcgan"])


def recorded(**settings) -> Experiment:
    """The small experiment with some settings changed, whose optimizers keep the gradients."""
    return experiment(recorded=True, **SMALL | settings)


@FAMILIES
def test_a_discriminator_step_leaves_the_generator_alone(settings):
    tiny = experiment(recorded=True, **settings)
    state, _ = tiny.discriminator_step(tiny.state, tiny.one_batch())
    assert_same_bits(state.networks["generator"], tiny.state.networks["generator"])
    assert_same_bits((state.ema, state.step, state.seed), (tiny.state.ema, tiny.state.step, tiny.state.seed))
    assert_all_changed(state.networks["discriminator"].variables, tiny.state.networks["discriminator"].variables)


@FAMILIES
def test_a_generator_step_leaves_the_discriminator_alone(settings):
    tiny = experiment(recorded=True, **settings)
    state, _ = tiny.generator_step(tiny.state, tiny.one_batch())
    assert_same_bits(state.networks["discriminator"], tiny.state.networks["discriminator"])
    assert_same_bits((state.step, state.seed), (tiny.state.step, tiny.state.seed))
    assert_all_changed(state.networks["generator"].variables, tiny.state.networks["generator"].variables)
    assert_all_changed(state.ema, tiny.state.ema)


@pytest.mark.parametrize(
    ("step", "other", "metrics"),
    [("discriminator", "generator", ("d_loss", "d_fake", "r2")), ("generator", "discriminator", ("g_loss",))],
)
def test_no_gradient_reaches_the_other_network(step, other, metrics):
    """The losses of a step depend on the other network, yet their derivatives by its parameters are exactly zero."""
    tiny = recorded(penalties__r2=1.0, model__discriminator__norm="none")
    take = getattr(gan, f"{step}_step")

    def outcome(params):
        state, values = take(tiny.exp, with_params(tiny.state, other, params), tiny.one_batch())
        recorded = sum(leaf.sum() for leaf in jax.tree.leaves(gradients(state, step)))
        return jnp.stack([values[name] for name in metrics] + [recorded])

    params = tiny.state.networks[other].variables.params
    both = quick_jit(lambda params: (outcome(params), jax.jacrev(lambda p: outcome(p)[: len(metrics)])(params)))
    value, jacobian = both(params)
    moved, _ = both(jax.tree.map(lambda p: 1.5 * p + 0.1, params))
    assert not np.isclose(value, moved, rtol=1e-4).any()
    assert [float(abs(leaf).max()) for leaf in jax.tree.leaves(jacobian)] == [0.0] * len(jax.tree.leaves(params))


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    tiny = recorded()
    assert_same_bits(tiny.run(3), tiny.run(3))
    # The same first parameters: only the numbers drawn in the steps differ.
    reseeded = tiny.state.replace(seed=jnp.uint32(1))
    one, other = tiny.run(3)[0], tiny.run(3, reseeded)[0]
    assert_all_changed(other.networks["generator"].variables.params, one.networks["generator"].variables.params)


def test_each_step_and_each_repeat_draws_its_own_latents():
    tiny = recorded(discriminator_steps=2)
    first, _ = tiny.discriminator_step(tiny.state, tiny.one_batch())
    repeated, _ = tiny.discriminator_step(tiny.state, tiny.one_batch(), 1)
    later, _ = tiny.discriminator_step(tiny.state.replace(step=jnp.int32(1)), tiny.one_batch())
    found = [gradients(state, "discriminator") for state in (first, repeated, later)]
    assert not any(same(one, other) for one, other in itertools.combinations(found, 2))


def test_an_alternating_step_is_its_parts():
    tiny = recorded(discriminator_steps=2)
    state, metrics = tiny.train_step(tiny.state, tiny.batch())
    expected = tiny.state
    for repeat in range(2):
        expected, d_metrics = tiny.discriminator_step(expected, tiny.one_batch(repeat=repeat), repeat)
    expected, g_metrics = tiny.generator_step(expected, tiny.one_batch(repeat=1))
    assert_close(state, expected.replace(step=expected.step + 1))
    assert_close({name: metrics[name] for name in d_metrics | g_metrics}, d_metrics | g_metrics)


def logits_of(tiny: Experiment, params, real, fake):
    """Logits of real and then fake, whose passes change the stats one after the other."""
    if tiny.config.joined_batches:
        both, stats = applied(tiny, "discriminator", params, jnp.concatenate([real, fake]))
        return both.logits[: len(real)], both.logits[len(real) :], stats
    first, stats = applied(tiny, "discriminator", params, real)
    second, stats = applied(tiny, "discriminator", params, fake, stats=stats)
    return first.logits, second.logits, stats


def squared_slopes(tiny: Experiment, params, points):
    """Half the squared gradient norm, with one gradient for each logit."""
    logit = lambda point: applied(tiny, "discriminator", params, point[None])[0].logits[0]  # noqa: E731
    return 0.5 * (jax.vmap(jax.grad(logit))(points) ** 2).sum(1).mean()


@functools.partial(quick_jit, static_argnums=0)
def both_gradients(tiny: Experiment, real):
    """The two gradients of a simultaneous step, each by `jax.grad` of its own loss, and the discriminator's stats."""
    generator, discriminator = (tiny.state.networks[name].variables.params for name in ("generator", "discriminator"))
    z = latents_of(tiny, "generator latents")

    def d_loss(params):
        fake = applied(tiny, "generator", generator, z)[0]
        real_logits, fake_logits, stats = logits_of(tiny, params, real, fake)
        value = tiny.exp.loss.discriminator(real_logits, fake_logits).mean()
        return value, stats

    def g_loss(params):
        fake = applied(tiny, "generator", params, z)[0]
        return tiny.exp.loss.generator(*logits_of(tiny, discriminator, real, fake)[:2]).mean()

    d_gradients, stats = jax.grad(d_loss, has_aux=True)(discriminator)
    return {"discriminator": d_gradients, "generator": jax.grad(g_loss)(generator)}, stats


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "relativistic", "joined_batches": True},
    ],
    ids=["apart", "joined"],
)
def test_a_simultaneous_step_is_two_gradients_at_one_point(settings):
    tiny = recorded(updates="simultaneous", **settings)
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    expected, stats = both_gradients(tiny, tiny.images()[0])
    for name in ("discriminator", "generator"):
        assert_close(gradients(state, name), expected[name], atol=1e-5)
        assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(expected[name])) > 1e-3
    assert_close(state.networks["discriminator"].variables.stats, stats)


def test_a_generator_step_s_gradient_is_that_of_a_simultaneous_one():
    """Before its first update the discriminator is the same in both orders."""
    tiny, together = recorded(), recorded(updates="simultaneous")
    state, _ = tiny.generator_step(tiny.state, tiny.one_batch())
    other, _ = together.train_step(together.state, together.batch())
    assert_close(gradients(state, "generator"), gradients(other, "generator"), atol=1e-5)
    assert_close(state.ema, other.ema)


@pytest.mark.parametrize(("norm", "settings"), [("none", SMALL), ("batch", DCGAN)])
def test_only_batch_norm_notices_whether_batches_are_joined(norm, settings):
    outcomes = []
    for joined in (False, True):
        tiny = experiment(recorded=True, joined_batches=joined, **settings | {"model__discriminator__norm": norm})
        state, metrics = tiny.discriminator_step(tiny.state, tiny.one_batch())
        outcomes.append((gradients(state, "discriminator"), metrics["d_real"], metrics["d_fake"]))
    if norm == "none":
        assert_close(*outcomes, atol=1e-5)
    else:
        assert not any(np.isclose(outcomes[0][i], outcomes[1][i], rtol=1e-2) for i in (1, 2))


def test_the_moving_average():
    tiny = recorded()
    state, _ = tiny.generator_step(tiny.state, tiny.one_batch())
    expected = jax.tree.map(
        lambda old, new: 0.9 * old + 0.1 * new, tiny.state.ema["generator"], state.networks["generator"].variables
    )
    assert_close(state.ema["generator"], expected)


def test_without_decay_the_average_is_the_generator_itself():
    tiny = recorded(ema_decay=0.0)
    state, _ = tiny.generator_step(tiny.state, tiny.one_batch())
    assert_same_bits(state.ema["generator"], state.networks["generator"].variables)


def test_with_full_decay_the_average_never_changes():
    tiny = recorded(ema_decay=1.0)
    state, _ = tiny.generator_step(tiny.state, tiny.one_batch())
    assert_same_bits(state.ema, tiny.state.ema)


@functools.cache
def scan(repeats: int):
    """An experiment, a feed for it, what makes batches of that, and the compiled scan over training steps."""
    tiny = experiment(recorded=True, discriminator_steps=repeats, **DCGAN | {"data__size": 8})
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 1), np.uint8)
    examples = ArrayDataset(images, np.arange(20, dtype=np.int32), ())
    feed = loader.DeviceLoader(examples, loader.BatchSampler(0, 8, repeats, 20))
    drawn = {"data__load_size": 9, "data__crop": "random", "data__flip": True}  # anew in each step
    load = loader.make_batch_fn(tiny_config(discriminator_steps=repeats, **drawn), feed)
    take = functools.partial(gan.alternating_step, tiny.exp)
    return tiny, feed, quick_jit(load), quick_jit(functools.partial(gan.train_steps, take, load))


@pytest.mark.parametrize("repeats", [1, 2])
def test_scanned_steps_are_single_steps(repeats):
    """Each on the batch that its own seed and step make of the data."""
    tiny, feed, load, run = scan(repeats)
    start = tiny.state.replace(seed=jnp.uint32(6), step=jnp.int32(3))
    state, metrics = run(start, feed.data, feed.inputs_at(3, 2))
    expected = start
    for index, step in enumerate((3, 4)):
        batch = load(feed.data, feed.inputs_at(step, 1)[0], jnp.uint32(6), jnp.int32(step))
        expected, last = tiny.train_step(expected, batch)
        assert_close({name: values[index] for name, values in metrics.items()}, last)
    assert_close(state, expected, atol=1e-5)
    assert all(values.shape == (2,) for values in metrics.values())


def test_the_cuts_between_dispatches_do_not_matter():
    """To the last bit, as long as it is the compiled scan that takes every step."""
    tiny, feed, _, run = scan(1)
    whole, _ = run(tiny.state, feed.data, feed.inputs_at(0, 4))
    first, _ = run(tiny.state, feed.data, feed.inputs_at(0, 2))
    second, _ = run(first, feed.data, feed.inputs_at(2, 2))
    assert_same_bits(second, whole)


@pytest.mark.parametrize("settings", [{}, {"updates": "simultaneous"}])
def test_many_steps_compile_once(settings):
    tiny = recorded(**settings)
    tiny.run(5)
    assert tiny.train_step._cache_size() == 1


@pytest.mark.parametrize("updates", gan.UPDATES)
def test_penalties_add_their_weights_times_their_gradients(updates):
    weights = {"r1": 3.0, "r2": 2.0}
    norm = {"updates": updates, "model__discriminator__norm": "none"}
    plain = recorded(**norm)
    tiny = recorded(**norm, **{f"penalties__{name}": weight for name, weight in weights.items()})
    if updates == "alternating":
        take, use = lambda tiny: tiny.discriminator_step(tiny.state, tiny.one_batch()), "discriminator latents"
    else:
        take, use = lambda tiny: tiny.train_step(tiny.state, tiny.batch()), "generator latents"
    generator, discriminator = (tiny.state.networks[name].variables.params for name in ("generator", "discriminator"))

    @quick_jit
    def by_hand(real):
        fake, _ = applied(tiny, "generator", generator, latents_of(tiny, use))
        value = lambda params: {"r1": squared_slopes(tiny, params, real), "r2": squared_slopes(tiny, params, fake)}  # noqa: E731
        total = lambda params: sum(weights[name] * penalty for name, penalty in value(params).items())  # noqa: E731
        return value(discriminator), jax.grad(total)(discriminator)

    values, slope = by_hand(tiny.images()[0])
    (state, metrics), (plain_state, plain_metrics) = take(tiny), take(plain)
    added = jax.tree.map(jnp.subtract, gradients(state, "discriminator"), gradients(plain_state, "discriminator"))
    assert_close(added, slope, atol=1e-5)
    assert_close({name: metrics[name] for name in weights}, values)
    np.testing.assert_allclose(metrics["d_loss"], plain_metrics["d_loss"], rtol=1e-5)
    assert metrics.keys() - plain_metrics.keys() == weights.keys()


@pytest.mark.parametrize("updates", gan.UPDATES)
def test_the_counter_and_the_reported_rates(updates):
    tiny = recorded(updates=updates)
    state = tiny.state
    for step in range(3):
        state, metrics = tiny.train_step(state, tiny.batch())
        assert int(state.step) == step + 1
        np.testing.assert_allclose(metrics["g_learning_rate"], 2e-4 * (1 - step / 100), rtol=1e-5)
        np.testing.assert_allclose(metrics["d_learning_rate"], 2e-4, rtol=1e-5)


@pytest.mark.parametrize("updates", gan.UPDATES)
def test_the_reported_gradient_norms(updates):
    tiny = recorded(updates=updates)
    state, metrics = tiny.train_step(tiny.state, tiny.batch())
    for name in ("discriminator", "generator"):
        squares = sum(float((np.float64(leaf) ** 2).sum()) for leaf in jax.tree.leaves(gradients(state, name)))
        np.testing.assert_allclose(metrics[f"{name[0]}_grad_norm"], np.sqrt(squares), rtol=1e-5)


def test_the_configured_optimizer_makes_the_update():
    """Adam's first update is as long as the learning rate wherever there is a gradient."""
    tiny = experiment(**SMALL, optimizer__discriminator__learning_rate=0.03)
    state, _ = tiny.discriminator_step(tiny.state, tiny.one_batch())
    old, new = (s.networks["discriminator"].variables.params["body"]["Dense_0"]["kernel"] for s in (tiny.state, state))
    sizes = np.abs(new - old)
    np.testing.assert_allclose(np.median(sizes), 0.03, rtol=1e-2)
    assert sizes.max() < 0.0301


def test_a_warm_average_forgets_the_beginning():
    """Its decay is (1 + step) / (10 + step) until that reaches the configured one."""
    tiny = recorded(ema_warmup=True, ema_decay=0.5)
    for step, decay in ((0, 0.1), (2, 0.25), (8, 0.5), (1000, 0.5)):
        state, _ = tiny.generator_step(tiny.state.replace(step=jnp.int32(step)), tiny.one_batch())
        expected = jax.tree.map(
            lambda old, new, decay=decay: decay * old + (1 - decay) * new,
            tiny.state.ema["generator"],
            state.networks["generator"].variables,
        )
        assert_close(state.ema["generator"], expected)


# Fakes that serve both updates

REUSE = {"discriminator_steps": 2, "optimizer__discriminator__learning_rate": 0.0}  # which stays as it is


def test_a_generator_that_reuses_fakes_learns_from_those_of_the_last_update():
    tiny = recorded(reuse_fakes=True, **REUSE)
    batch = tiny.one_batch(repeat=1)
    generator, discriminator = (tiny.state.networks[name].variables.params for name in ("generator", "discriminator"))

    def gradient(use, repeat):
        drawn = forward.draw(tiny.exp, tiny.state, batch, use, repeat)

        def loss(params):
            fake, stats = forward.generate(tiny.exp, tiny.state, params, drawn)
            return tiny.exp.loss.generator(*logits_of(tiny, discriminator, batch["images"], fake)[:2]).mean(), stats

        return jax.grad(loss, has_aux=True)(generator)

    (expected, stats), *others = quick_jit(
        lambda: [gradient("discriminator", 1), gradient("discriminator", 0), gradient("generator", 0)]
    )()
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    assert_same_bits(
        state.networks["discriminator"].variables.params, tiny.state.networks["discriminator"].variables.params
    )
    assert_close(gradients(state, "generator"), expected, atol=1e-5)
    assert_close(state.networks["generator"].variables.stats, stats)
    kernel = lambda tree: tree["body"]["Dense_0"]["kernel"]  # noqa: E731
    for other, _ in others:
        assert np.abs(kernel(other) - kernel(expected)).max() > 0.1 * np.abs(kernel(expected)).max()


def test_reused_fakes_save_one_forward_pass():
    """All its arithmetic, and nothing else."""
    tiny, other = (recorded(reuse_fakes=reuse, **REUSE) for reuse in (True, False))
    batch = tiny.batch()

    def forward(state, batch):
        part = {name: array[1] for name, array in batch.items()}
        params = state.networks["generator"].variables.params
        return forward.generate(tiny.exp, state, params, forward.draw(tiny.exp, state, part, "generator"))[0]

    reused, anew = (
        flops.count(functools.partial(gan.alternating_step, at.exp), at.state, batch) for at in (tiny, other)
    )
    assert anew - reused == flops.count(forward, tiny.state, batch)


# Dropout and half precision

DROPOUT = DCGAN | {"data__size": 8, "model__discriminator__dropout": 0.5, "model__discriminator__norm": "none"}


def test_real_and_fake_examples_each_use_repeat_and_step_have_masks_of_their_own():
    tiny = experiment(**DROPOUT)
    images = tiny.images()[0]
    variables, seen = tiny.state.networks["discriminator"].variables, forward.Seen(images, None)

    @functools.partial(quick_jit, static_argnums=1)
    def logits(step, use, repeat):
        drawn = forward.Draw(use, repeat, jnp.zeros((len(images), 4)), None)
        state = tiny.state.replace(step=step)
        return [half.logits for half in forward.discriminate(tiny.exp, state, variables, seen, seen, drawn)[:2]]

    draws = [(0, "discriminator", 0), (1, "discriminator", 0), (0, "discriminator", 1), (0, "generator", 0)]
    found = [logits(jnp.int32(step), use, repeat) for step, use, repeat in draws]
    every = np.concatenate(found)
    assert len(np.unique(every)) == every.size
    np.testing.assert_array_equal(logits(jnp.int32(0), "discriminator", 0), found[0])


def test_a_step_with_dropout_is_deterministic_and_drops():
    tiny, plain = (
        experiment(recorded=True, updates="simultaneous", **DROPOUT | {"model__discriminator__dropout": rate})
        for rate in (0.5, 0.0)
    )
    assert_same_bits(tiny.state, plain.state)
    one, again, other = (at.train_step(at.state, at.batch())[0] for at in (tiny, tiny, plain))
    assert_same_bits(one, again)
    for name in ("generator", "discriminator"):
        assert not same(gradients(one, name), gradients(other, name))


def test_half_precision_stays_in_the_features():
    """Parameters, statistics, moments and metrics are float32 before a step and after it."""
    tiny = recorded(precision="bfloat16")
    assert_same_bits(tiny.state, recorded().state)
    state, metrics = tiny.train_step(tiny.state, tiny.batch())
    kinds = lambda tree: {path: (leaf.shape, leaf.dtype) for path, leaf in leaves(tree).items()}  # noqa: E731
    assert kinds(state) == kinds(tiny.state)
    assert {value.dtype for value in metrics.values()} == {np.dtype(np.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.networks)} == {np.dtype(np.float32)}


def test_half_precision_gives_nearly_the_same_gradient():
    """Weights moved by a bfloat16's last bit change it by 2% at most; BatchNorm over 8 examples would change more."""
    long, short = (
        recorded(precision=precision, model__discriminator__norm="none") for precision in ("float32", "bfloat16")
    )
    expected, actual = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradients(state, "discriminator"))])
        for state, _ in (tiny.discriminator_step(tiny.state, tiny.one_batch()) for tiny in (long, short))
    )
    assert 1e-4 < np.linalg.norm(actual - expected) / np.linalg.norm(expected) < 0.03
