"""The steps of `gan`: which player each updates, where gradients are cut, and what gives the same bits."""

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
    params_of,
    quick_jit,
    same,
    tiny_config,
    with_params,
)

from benchmarks import flops
from jaxgan.adversarial import forward
from jaxgan.adversarial.losses import LOSSES
from jaxgan.algorithms import gan
from jaxgan.core.program import train_steps
from jaxgan.data import loader
from jaxgan.data.dataset import image_dataset

FAMILIES = pytest.mark.parametrize("settings", [SMALL, DCGAN], ids=["points", "dcgan"])
UPDATE_RULES = pytest.mark.parametrize("update_rule", gan.UPDATE_RULES)


def recorded(**settings) -> Experiment:
    """The small experiment with some settings changed, whose optimizers keep the gradients."""
    return experiment(recorded=True, **SMALL | settings)


@FAMILIES
def test_a_discriminator_step_leaves_the_generator_alone(settings):
    tiny = experiment(recorded=True, **settings)
    old = tiny.state
    new, _ = tiny.discriminator_step(old, tiny.one_batch())
    assert_same_bits(new.networks["generator"], old.networks["generator"])
    assert_same_bits(new.opt_states["generator"], old.opt_states["generator"])
    assert_same_bits((new.ema, new.step, new.seed, new.extra), (old.ema, old.step, old.seed, old.extra))
    assert_all_changed(new.networks["discriminator"], old.networks["discriminator"])


@FAMILIES
def test_a_generator_step_leaves_the_discriminator_alone(settings):
    tiny = experiment(recorded=True, **settings)
    old = tiny.state
    new, _ = tiny.generator_step(old, tiny.one_batch())
    assert_same_bits(new.networks["discriminator"], old.networks["discriminator"])
    assert_same_bits(new.opt_states["discriminator"], old.opt_states["discriminator"])
    # The moving average moves once a training step, after its updates.
    assert_same_bits((new.ema, new.step, new.seed, new.extra), (old.ema, old.step, old.seed, old.extra))
    assert_all_changed(new.networks["generator"], old.networks["generator"])


@pytest.mark.parametrize(
    ("step", "other", "metrics"),
    [
        ("discriminator", "generator", ("loss/discriminator", "logits/fake", "penalty/r2")),
        ("generator", "discriminator", ("loss/generator",)),
    ],
)
def test_no_gradient_reaches_the_other_network(step, other, metrics):
    """The losses of a step depend on the other network, yet their derivatives by its parameters are exactly zero."""
    tiny = recorded(penalties__r2=1.0, model__discriminator__norm="none")
    take = getattr(gan, f"{step}_step")

    def outcome(params):
        state, values = take(tiny.exp, with_params(tiny.state, other, params), tiny.one_batch())
        recorded = sum(leaf.sum() for leaf in jax.tree.leaves(gradients(state, step)))
        return jnp.stack([values[name] for name in metrics] + [recorded])

    params = params_of(tiny, other)
    both = quick_jit(lambda params: (outcome(params), jax.jacrev(lambda p: outcome(p)[: len(metrics)])(params)))
    value, jacobian = both(params)
    moved, _ = both(jax.tree.map(lambda p: 1.5 * p + 0.1, params))
    assert not np.isclose(value, moved, rtol=1e-4).any()
    assert [float(abs(leaf).max()) for leaf in jax.tree.leaves(jacobian)] == [0.0] * len(jax.tree.leaves(params))


def test_the_same_seed_gives_the_same_bits_and_another_seed_gives_others():
    tiny = recorded()
    assert_same_bits(tiny.run(3), tiny.run(3))
    # The same first parameters: only the random numbers of the steps differ.
    reseeded = tiny.state.replace(seed=jnp.uint32(1))
    one, other = tiny.run(3)[0], tiny.run(3, reseeded)[0]
    assert_all_changed(params_of(tiny, "generator", other), params_of(tiny, "generator", one))


def test_each_step_and_each_update_of_a_step_has_its_own_latents():
    tiny = recorded(discriminator_steps=2)
    first, _ = tiny.discriminator_step(tiny.state, tiny.one_batch())
    second, _ = tiny.discriminator_step(tiny.state, tiny.one_batch(), 1)
    later, _ = tiny.discriminator_step(tiny.state.replace(step=jnp.int32(1)), tiny.one_batch())
    found = [gradients(state, "discriminator") for state in (first, second, later)]
    assert not any(same(one, other) for one, other in itertools.combinations(found, 2))


def moved_average(old, state, decay: float):
    """What the moving averages are after a step that led to some networks."""
    return {
        name: jax.tree.map(lambda one, new: decay * one + (1 - decay) * new, average, state.networks[name])
        for name, average in old.ema.items()
    }


def test_an_alternating_step_is_its_parts():
    tiny = recorded(discriminator_steps=2)
    state, metrics = tiny.train_step(tiny.state, tiny.batch())
    expected = tiny.state
    for index in range(2):
        expected, d_metrics = tiny.discriminator_step(expected, tiny.one_batch(index=index), index)
    expected, g_metrics = tiny.generator_step(expected, tiny.one_batch(index=1))
    assert_close(state, expected.replace(step=expected.step + 1, ema=moved_average(tiny.state, expected, 0.9)))
    assert_close({name: metrics[name] for name in d_metrics | g_metrics}, d_metrics | g_metrics)


def test_a_generator_with_real_examples_of_its_own():
    """A relative loss has those of the batch behind the discriminator's."""
    tiny = recorded(discriminator_steps=2, fresh_reals=True, loss="relativistic")
    assert len(tiny.images()) == 3
    state, metrics = tiny.train_step(tiny.state, tiny.batch())
    expected = tiny.state
    for index in range(2):
        expected, _ = tiny.discriminator_step(expected, tiny.one_batch(index=index), index)
    other, _ = tiny.generator_step(expected, tiny.one_batch(index=1))
    expected, g_metrics = tiny.generator_step(expected, tiny.one_batch(index=2))
    assert_close(state.networks, expected.networks)
    assert_close({name: metrics[name] for name in g_metrics}, g_metrics)
    assert not same(params_of(tiny, "generator", other), params_of(tiny, "generator", state))


def logits_of(tiny: Experiment, params, real, fake):
    """Logits of real and then fake, whose passes change the model state one after the other."""
    if tiny.config.concat_real_fake:
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
    """The two gradients of a simultaneous step, each by `jax.grad` of its own loss, and the model states."""
    generator, discriminator = (params_of(tiny, name) for name in ("generator", "discriminator"))
    z, loss = latents_of(tiny, "generator latents"), LOSSES[tiny.config.loss]

    def d_loss(params):
        fake = applied(tiny, "generator", generator, z)[0]
        real_logits, fake_logits, stats = logits_of(tiny, params, real, fake)
        return loss.discriminator(real_logits, fake_logits).mean(), stats

    def g_loss(params):
        fake, stats = applied(tiny, "generator", params, z)
        return loss.generator(*logits_of(tiny, discriminator, real, fake)[:2]).mean(), stats

    found = {
        "discriminator": jax.grad(d_loss, has_aux=True)(discriminator),
        "generator": jax.grad(g_loss, has_aux=True)(generator),
    }
    return [{name: pair[index] for name, pair in found.items()} for index in range(2)]


@pytest.mark.parametrize(
    "settings", [{}, {"loss": "relativistic", "concat_real_fake": True}], ids=["apart", "concatenated"]
)
def test_a_simultaneous_step_is_two_gradients_at_one_point(settings):
    tiny = recorded(update_rule="simultaneous", **settings)
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    expected, stats = both_gradients(tiny, tiny.images()[0])
    for name in ("discriminator", "generator"):
        assert_close(gradients(state, name), expected[name], atol=1e-5)
        assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(expected[name])) > 1e-3
        assert_close(state.networks[name].model_state, stats[name])


def test_a_generator_step_s_gradient_is_that_of_a_simultaneous_one():
    """Before its first update the discriminator is the same in both orders."""
    tiny, together = recorded(), recorded(update_rule="simultaneous")
    state, _ = tiny.generator_step(tiny.state, tiny.one_batch())
    other, _ = together.train_step(together.state, together.batch())
    assert_close(gradients(state, "generator"), gradients(other, "generator"), atol=1e-5)
    assert_close(state.networks["generator"], other.networks["generator"])


@pytest.mark.parametrize(("norm", "settings"), [("none", SMALL), ("batch", DCGAN)])
def test_batch_norm_alone_makes_a_difference_between_one_batch_and_two(norm, settings):
    outcomes = []
    for together in (False, True):
        tiny = experiment(recorded=True, concat_real_fake=together, **settings | {"model__discriminator__norm": norm})
        state, metrics = tiny.discriminator_step(tiny.state, tiny.one_batch())
        outcomes.append((gradients(state, "discriminator"), metrics["logits/real"], metrics["logits/fake"]))
    if norm == "none":
        assert_close(*outcomes, atol=1e-5)
    else:
        assert not any(np.isclose(outcomes[0][i], outcomes[1][i], rtol=1e-2) for i in (1, 2))


# Moving averages


@UPDATE_RULES
def test_the_moving_average_moves_once_a_step_towards_the_new_generator(update_rule):
    tiny = recorded(update_rule=update_rule)
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    assert state.ema.keys() == {"generator"}
    assert_close(state.ema, moved_average(tiny.state, state, 0.9))
    assert_all_changed(state.ema, tiny.state.ema)


def test_without_decay_the_average_is_the_generator_itself():
    tiny = recorded(ema_decay=0.0)
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    assert_same_bits(state.ema["generator"], state.networks["generator"])


def test_with_full_decay_the_average_never_changes():
    tiny = recorded(ema_decay=1.0)
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    assert_same_bits(state.ema, tiny.state.ema)


def test_a_warm_average_forgets_the_beginning():
    """Its decay is (1 + step) / (10 + step) until that reaches the configured one."""
    tiny = recorded(ema_warmup=True, ema_decay=0.5)
    for step, decay in ((0, 0.1), (2, 0.25), (8, 0.5), (1000, 0.5)):
        state, _ = tiny.train_step(tiny.state.replace(step=jnp.int32(step)), tiny.batch())
        assert_close(state.ema, moved_average(tiny.state, state, decay))


# Several steps in one program


@functools.cache
def scan(updates: int):
    """An experiment, a loader for it, what makes its batches, and the compiled scan over training steps."""
    # The random crops and flips belong to each step.
    random = {"data__load_size": 9, "data__crop": "random", "data__flip": True}
    tiny = experiment(recorded=True, discriminator_steps=updates, **DCGAN | {"data__size": 8})
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 1), np.uint8)
    dataset = image_dataset(images, np.arange(20, dtype=np.int32), shape=(8, 8, 1))
    resident = loader.DeviceLoader(dataset, loader.BatchSampler(0, 8, updates, {"": 20}))
    batch_fn = loader.make_batch_fn(tiny_config(discriminator_steps=updates, **random), resident)
    return tiny, resident, quick_jit(batch_fn), quick_jit(functools.partial(train_steps, tiny.exp, batch_fn))


@pytest.mark.parametrize("updates", [1, 2])
def test_scanned_steps_are_single_steps(updates):
    """Each on the batch that its own seed and step make of the data."""
    tiny, resident, batch_fn, run = scan(updates)
    start = tiny.state.replace(seed=jnp.uint32(6), step=jnp.int32(3))
    state, metrics = run(start, (resident.data, ()), resident.inputs_at(3, 2))
    expected = start
    for index, step in enumerate((3, 4)):
        (inputs,) = resident.inputs_at(step, 1)[""]
        batch = batch_fn(resident.data, {"": inputs}, jnp.uint32(6), jnp.int32(step))
        expected, last = tiny.train_step(expected, batch)
        assert_close({name: values[index] for name, values in metrics.items()}, last)
    assert_close(state, expected, atol=1e-5)
    assert all(values.shape == (2,) for values in metrics.values())


def test_the_cuts_between_dispatches_change_nothing():
    """To the last bit, as long as it is the compiled scan that takes every step."""
    tiny, resident, _, run = scan(1)
    data = (resident.data, ())
    whole, _ = run(tiny.state, data, resident.inputs_at(0, 4))
    first, _ = run(tiny.state, data, resident.inputs_at(0, 2))
    second, _ = run(first, data, resident.inputs_at(2, 2))
    assert_same_bits(second, whole)


@UPDATE_RULES
def test_many_steps_compile_once(update_rule):
    tiny = recorded(update_rule=update_rule)
    tiny.run(5)
    assert tiny.train_step._cache_size() == 1


# What is added to the loss, and what is reported


@UPDATE_RULES
def test_penalties_add_their_weights_times_their_gradients(update_rule):
    weights = {"r1": 3.0, "r2": 2.0}
    settings = {"update_rule": update_rule, "model__discriminator__norm": "none"}
    plain = recorded(**settings)
    tiny = recorded(**settings, **{f"penalties__{name}": weight for name, weight in weights.items()})
    if update_rule == "alternating":
        take, stream = lambda tiny: tiny.discriminator_step(tiny.state, tiny.one_batch()), "discriminator latents"
    else:
        take, stream = lambda tiny: tiny.train_step(tiny.state, tiny.batch()), "generator latents"

    @quick_jit
    def by_hand(real):
        fake, _ = applied(tiny, "generator", params_of(tiny, "generator"), latents_of(tiny, stream))
        value = lambda params: {"r1": squared_slopes(tiny, params, real), "r2": squared_slopes(tiny, params, fake)}  # noqa: E731
        total = lambda params: sum(weights[name] * penalty for name, penalty in value(params).items())  # noqa: E731
        params = params_of(tiny, "discriminator")
        return value(params), jax.grad(total)(params)

    values, slope = by_hand(tiny.images()[0])
    (state, metrics), (plain_state, plain_metrics) = take(tiny), take(plain)
    added = jax.tree.map(jnp.subtract, gradients(state, "discriminator"), gradients(plain_state, "discriminator"))
    assert_close(added, slope, atol=1e-5)
    assert_close({name: metrics[f"penalty/{name}"] for name in weights}, values)
    np.testing.assert_allclose(metrics["loss/discriminator"], plain_metrics["loss/discriminator"], rtol=1e-5)
    assert metrics.keys() - plain_metrics.keys() == {f"penalty/{name}" for name in weights}


@UPDATE_RULES
def test_the_counter_and_the_reported_rates(update_rule):
    tiny = recorded(update_rule=update_rule)
    state = tiny.state
    for step in range(3):
        state, metrics = tiny.train_step(state, tiny.batch())
        assert int(state.step) == step + 1
        np.testing.assert_allclose(metrics["learning_rate/generator"], 2e-4 * (1 - step / 100), rtol=1e-5)
        np.testing.assert_allclose(metrics["learning_rate/discriminator"], 2e-4, rtol=1e-5)


def test_schedules_of_a_discriminator_with_two_updates_count_training_steps():
    """RECORDER takes a tenth of the gradient off at the whole rate, and that share of a tenth later."""
    settings = {"optimizer__discriminator__schedule": "linear", "optimizer__discriminator__decay_steps": 2}
    tiny = recorded(discriminator_steps=2, **settings)
    for step, share in enumerate((1, 0.5, 0, 0)):
        state = tiny.state.replace(step=jnp.int32(step))
        for index in range(2):
            new, _ = tiny.discriminator_step(state, tiny.one_batch(step, index), index)
            taken = jax.tree.map(lambda g, share=share: -0.1 * share * g, gradients(new, "discriminator"))
            changes = jax.tree.map(jnp.subtract, *(params_of(tiny, "discriminator", one) for one in (new, state)))
            assert_close(changes, taken, rtol=1e-3)
            state = new
        _, metrics = tiny.train_step(tiny.state.replace(step=jnp.int32(step)), tiny.batch(step))
        np.testing.assert_allclose(metrics["learning_rate/discriminator"], share * 2e-4, rtol=1e-5)


@UPDATE_RULES
def test_the_reported_gradient_norms(update_rule):
    tiny = recorded(update_rule=update_rule)
    state, metrics = tiny.train_step(tiny.state, tiny.batch())
    for name in ("discriminator", "generator"):
        squares = sum(float((np.float64(leaf) ** 2).sum()) for leaf in jax.tree.leaves(gradients(state, name)))
        np.testing.assert_allclose(metrics[f"grad_norm/{name}"], np.sqrt(squares), rtol=1e-5)


def test_the_configured_optimizer_makes_the_update():
    """Adam's first update is as long as the learning rate wherever there is a gradient."""
    tiny = experiment(**SMALL, optimizer__discriminator__learning_rate=0.03)
    state, _ = tiny.discriminator_step(tiny.state, tiny.one_batch())
    old, new = (params_of(tiny, "discriminator", one)["body"]["Dense_0"]["kernel"] for one in (tiny.state, state))
    sizes = np.abs(new - old)
    np.testing.assert_allclose(np.median(sizes), 0.03, rtol=1e-2)
    assert sizes.max() < 0.0301


# Fakes that serve both updates

REUSE = {"discriminator_steps": 2, "optimizer__discriminator__learning_rate": 0.0}  # which stays as it is


def test_a_generator_that_reuses_fakes_learns_from_those_of_the_last_update():
    tiny = recorded(reuse_fakes=True, **REUSE)
    batch, loss = tiny.one_batch(index=1), LOSSES[tiny.config.loss]
    generator, discriminator = (params_of(tiny, name) for name in ("generator", "discriminator"))

    def gradient(stream, index):
        latents = forward.sample_latents(tiny.exp, tiny.state, batch, stream, index)

        def objective(params):
            fake, stats = forward.generate(tiny.exp, tiny.state, params, latents)
            return loss.generator(*logits_of(tiny, discriminator, batch["points"], fake)[:2]).mean(), stats

        return jax.grad(objective, has_aux=True)(generator)

    (expected, stats), *others = quick_jit(
        lambda: [gradient("discriminator", 1), gradient("discriminator", 0), gradient("generator", 0)]
    )()
    state, _ = tiny.train_step(tiny.state, tiny.batch())
    assert_same_bits(params_of(tiny, "discriminator", state), params_of(tiny, "discriminator"))
    assert_close(gradients(state, "generator"), expected, atol=1e-5)
    assert_close(state.networks["generator"].model_state, stats)
    kernel = lambda tree: tree["body"]["Dense_0"]["kernel"]  # noqa: E731
    for other, _ in others:
        assert np.abs(kernel(other) - kernel(expected)).max() > 0.1 * np.abs(kernel(expected)).max()


def test_reused_fakes_save_one_forward_pass():
    """All its arithmetic, and nothing else."""
    tiny, other = (recorded(reuse_fakes=reuse, **REUSE) for reuse in (True, False))
    batch = tiny.batch()

    def one_pass(state, batch):
        part = {name: array[1] for name, array in batch.items()}
        latents = forward.sample_latents(tiny.exp, state, part, "generator")
        return forward.generate(tiny.exp, state, state.networks["generator"].params, latents)[0]

    reused, anew = (
        flops.count(functools.partial(gan.alternating_step, at.exp), at.state, batch) for at in (tiny, other)
    )
    assert anew - reused == flops.count(one_pass, tiny.state, batch)


# Dropout and half precision

DROPOUT = DCGAN | {"data__size": 8, "model__discriminator__dropout": 0.5, "model__discriminator__norm": "none"}


def test_real_and_fake_examples_each_stream_update_and_step_have_their_own_masks():
    tiny = experiment(**DROPOUT)
    images = tiny.images()[0]
    variables, given = tiny.state.networks["discriminator"], forward.DiscriminatorInput(images, None)

    @functools.partial(quick_jit, static_argnums=1)
    def logits(step, stream, index):
        latents = forward.LatentBatch(stream, index, jnp.zeros((len(images), 4)), None)
        state = tiny.state.replace(step=step)
        return [half.logits for half in forward.discriminate(tiny.exp, state, variables, given, given, latents)[:2]]

    cases = [(0, "discriminator", 0), (1, "discriminator", 0), (0, "discriminator", 1), (0, "generator", 0)]
    found = [logits(jnp.int32(step), stream, index) for step, stream, index in cases]
    every = np.concatenate(found)
    assert len(np.unique(every)) == every.size
    np.testing.assert_array_equal(logits(jnp.int32(0), "discriminator", 0), found[0])


def test_a_step_with_dropout_is_deterministic_and_drops():
    tiny, plain = (
        experiment(recorded=True, update_rule="simultaneous", **DROPOUT | {"model__discriminator__dropout": rate})
        for rate in (0.5, 0.0)
    )
    assert_same_bits(tiny.state, plain.state)
    one, again, other = (at.train_step(at.state, at.batch())[0] for at in (tiny, tiny, plain))
    assert_same_bits(one, again)
    for name in ("generator", "discriminator"):
        assert not same(gradients(one, name), gradients(other, name))


def test_half_precision_stays_in_the_features():
    """Parameters, model states, moments and metrics are float32 before a step and after it."""
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


# Spectral norm


def power_steps(matrix, vector, count: int):
    """The vector after some steps of power iteration, in float64."""
    matrix, vector = np.float64(matrix).reshape(-1, matrix.shape[-1]), np.float64(vector)
    for _ in range(count):
        left = matrix @ vector
        vector = matrix.T @ (left / np.linalg.norm(left))
        vector /= np.linalg.norm(vector)
    return vector


@pytest.mark.parametrize(("joint", "loss", "passes"), [(True, "hinge", 3), (False, "hinge", 5), (False, "rpgan", 6)])
def test_the_vectors_of_spectral_norm_move_in_each_pass_of_the_discriminator(joint, loss, passes):
    """Of two updates on real examples and fakes, together or one after the other, and of the generator's update, whose
    loss may have no use for real examples. The weights stay, since their learning rate is 0."""
    settings = {"model__discriminator__norm": "none", "model__discriminator__spectral_norm": True, "loss": loss}
    settings |= {"discriminator_steps": 2, "optimizer__discriminator__learning_rate": 0.0}
    tiny = experiment(**SMALL | settings, concat_real_fake=joint)
    after, _ = tiny.train_step(tiny.state, tiny.batch())
    before, after = tiny.state.networks["discriminator"], after.networks["discriminator"]
    assert_same_bits(after.params, before.params)
    kernels = {"body/Dense_0": before.params["body"]["Dense_0"], "Dense_0": before.params["Dense_0"]}
    for path, layer in kernels.items():
        *place, name = path.split("/")
        start, found = (own.model_state["spectral"] for own in (before, after))
        for part in (*place, f"{name}_spectral"):
            start, found = start[part], found[part]
        np.testing.assert_allclose(found["u"], power_steps(layer["kernel"], start["u"], passes), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", {id(entry): name for name, entry in LOSSES.items()}.values())
def test_a_loss_declares_whether_the_generator_s_part_compares(name):
    logits = jnp.asarray([0.3, -1.2]), jnp.asarray([0.7, -0.4])
    slopes = jax.grad(lambda real: LOSSES[name].generator(real, logits[1]).sum())(logits[0])
    assert LOSSES[name].compares == bool((slopes != 0).any())
