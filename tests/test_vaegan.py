"""VAE/GAN: whose gradient is whose, the slow reference, the balance of the two adversaries, limits, wrong settings."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import config_of
from experiments import assert_close, assert_same_bits, quick_jit, raises_user_error, same
from experiments import gradients as recorded_gradients

from jaxgan import inference
from jaxgan.adversarial.forward import deinterleave, interleave
from jaxgan.algorithms import vaegan
from jaxgan.config import build, default, example_batch
from jaxgan.core import population, rng
from jaxgan.errors import UserError
from jaxgan.models import vaegan as networks

CLASSES = 3
NEVER = {"balance.margin": 1e9}  # the balance rule does not act
IMAGES = {
    "algorithm": "vaegan",
    "data.source": "digits",
    "data.size": 16,
    "batch_size": 4,
    "latent_dim": 3,
    "model.family": "vaegan",
    "model.initializer": "he",
    **{f"model.{network}.base_channels": 2 for network in vaegan.ROLES},
}
SETTINGS = {
    "plain": {},
    "samples alone": {"discriminate_reconstructions": False},
    "conditional": {"conditional": True},
    "batch norm": {"model.discriminator.norm": "batch", "beta": 0.3, "gamma": 0.7},
    "images": IMAGES,
}


@functools.cache
def experiment(name: str, *more: tuple[str, object]):
    """An experiment whose optimizers keep the gradients that they were given last, its state, its step and a batch."""
    changes = {"gamma": 0.4, **NEVER, **SETTINGS[name], **dict(more)}
    config = default(changes) if "algorithm" in changes else config_of("vaegan", **doubled(changes))
    exp = build(config, CLASSES)
    own = exp.config.copy_and_resolve_references()
    for player in own.optimizer.values():
        player.name = "recorder"
    stock = {name: stock_layout(network) for name, network in exp.networks.items()}
    exp = dataclasses.replace(exp, config=own, networks=stock)
    state = quick_jit(lambda: population.init_state(exp))()
    return exp, state, quick_jit(functools.partial(exp.algorithm.step, exp)), example_batch(exp)


def stock_layout(network):
    """The network with the convolutions that compile fast."""
    layout = {"batch_last": False} if hasattr(network.body, "batch_last") else {}
    return network.clone(body=network.body.clone(**layout))


def doubled(changes):
    return {name.replace(".", "__"): value for name, value in changes.items()}


def gradients(state) -> dict:
    """Each player's last gradients."""
    return {player: recorded_gradients(state, player) for player in vaegan.PLAYERS}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_gradient_is_that_of_its_loss_computed_apart(name):
    """Explicit passes with flax alone, one for each loss, cut by `stop_gradient` where the paper says so."""
    exp, state, step, batch = experiment(name)
    examples, config = batch[exp.fields[0].name][0], exp.config
    labels = jax.nn.one_hot(batch["labels"][0], CLASSES) if config.conditional else None
    keys = [
        jax.vmap(jax.random.fold_in, (None, 0))(rng.stream_key(0, 0, stream), jnp.arange(len(examples)))
        for stream in ("latents", "prior latents")
    ]
    noise, prior = (jax.vmap(lambda key: jax.random.normal(key, (config.latent_dim,)))(key) for key in keys)

    def run(params, network, inputs, condition=labels):
        """With all examples of a batch side by side: the order is nothing to BatchNorm."""
        variables = {"params": params[network], **state.networks[network].model_state}
        return exp.networks[network].apply(
            variables, inputs, condition, train=True, mutable=["batch_stats", "intermediates"]
        )

    def twice(condition, count):
        return None if condition is None else jnp.concatenate([condition] * count)

    def everything(params):
        q, _ = run(params, "encoder", examples)
        z = q.mean + jnp.exp(q.log_variance / 2) * noise
        fakes, _ = run(params, "decoder", jnp.concatenate([z, prior]), twice(labels, 2))
        out, kept = run(params, "discriminator", jnp.concatenate([examples, fakes]), twice(labels, 3))
        kl = (q.mean**2 + jnp.exp(q.log_variance) - 1 - q.log_variance).sum() / 2 / len(examples)
        features = [*jax.tree.leaves(kept.get("intermediates", {})), out.features][0]
        real, reconstructed, _ = jnp.split(features, 3)
        distance = ((real - reconstructed) ** 2).sum() / 2 / len(examples)
        probability = jnp.split(jax.nn.sigmoid(out.logits), 3)
        fake = jnp.concatenate(probability[1:] if config.discriminate_reconstructions else probability[2:])
        return kl, distance, -jnp.log(probability[0]).mean() - jnp.log(1 - fake).mean()

    def loss(own, player, params):
        kl, distance, adversarial = everything(jax.lax.stop_gradient(params) | {player: own})
        gamma = config.gamma
        return {
            "encoder": config.beta * kl + distance,
            "decoder": gamma * distance - (1 - gamma) * adversarial,
            "discriminator": adversarial,
        }[player]

    params = {network: state.networks[network].params for network in exp.networks}
    expected = quick_jit(lambda: {player: jax.grad(loss)(params[player], player, params) for player in params})()
    assert_close(gradients(step(state, batch)[0]), expected, rtol=2e-3, atol=2e-5)


def with_head(state):
    """The state with another last layer of the discriminator, which logits alone depend on."""
    params = state.networks["discriminator"].params
    head = jax.tree.map(lambda x: 2 * x + 0.3, params["Dense_0"])
    changed = state.networks["discriminator"].replace(params=params | {"Dense_0": head})
    return state.replace(networks=state.networks | {"discriminator": changed})


@pytest.mark.parametrize("name", ["plain", "images"])
def test_the_adversarial_loss_does_not_reach_the_encoder(name):
    """To the bit: neither its weight nor another last layer of the discriminator changes the encoder's gradient."""
    _, state, step, batch = experiment(name)
    states = [state.replace(hparams={"gamma": jnp.float32(gamma)}) for gamma in (0.1, 0.9)]
    before, gamma, head = (gradients(step(own, batch)[0]) for own in (*states, with_head(states[0])))
    for changed in (gamma, head):
        assert_same_bits(changed["encoder"], before["encoder"])
        assert not same(changed["decoder"], before["decoder"])
    assert_same_bits(gamma["discriminator"], before["discriminator"])
    assert not same(head["discriminator"], before["discriminator"])


def test_one_pass_serves_three_players():
    """The three gradients of a step cost two forward passes less than computed apart."""
    exp, state, _, batch = experiment("plain", ("model.discriminator.width", 32), ("model.decoder.width", 32))

    def flops(read) -> float:
        compiled = jax.jit(lambda: read(*exp.algorithm.step(exp, state, batch))).lower().compile()
        return compiled.cost_analysis()["flops"]

    one = flops(lambda after, metrics: [metrics[name] for name in ("loss/encoder", "loss/decoder")])
    apart = [flops(lambda after, _, player=player: recorded_gradients(after, player)) for player in exp.players]
    assert flops(lambda after, _: gradients(after)) < sum(apart) - 2 * one


BALANCE = [  # costs of real and fake, who is updated; the equilibrium is .68, the margin .35
    (0.68, 0.68, {"decoder", "discriminator"}),
    (0.34, 1.02, {"decoder", "discriminator"}),  # on neither side beyond the margin
    (0.32, 0.68, {"decoder"}),
    (0.68, 0.32, {"decoder"}),
    (1.04, 0.68, {"discriminator"}),
    (0.68, 1.04, {"discriminator"}),
    (0.1, 0.1, {"decoder"}),
    (2.0, 2.0, {"discriminator"}),
    (0.1, 2.0, {"decoder", "discriminator"}),  # neither would be, so both are
    (2.0, 0.1, {"decoder", "discriminator"}),
    (np.nan, 0.68, {"decoder", "discriminator"}),  # and left out as not finite
]


@pytest.mark.parametrize(("real", "fake", "updated"), BALANCE)
def test_the_balance_is_that_of_the_authors(real, fake, updated):
    found = vaegan.balance(jnp.float32(real), jnp.float32(fake), 0.68, 0.35)
    assert {player for player, own in found.items() if own} == updated


def of_player(state, player: str):
    """All that an update of a player changes."""
    return state.networks[player], state.opt_states[player]


@pytest.mark.parametrize("updated", [("decoder",), ("discriminator",), ("decoder", "discriminator")], ids="+".join)
def test_a_player_that_waits_stays_as_it_is(updated):
    """To the bit: parameters, BatchNorm's moments and optimizer state."""
    _, state, step, batch = experiment("batch norm")
    _, metrics = step(state, batch)
    costs = [float(metrics[f"cost/{kind}"]) for kind in ("real", "fake")]
    assert abs(costs[0] - costs[1]) > 0.001
    # Both costs above, both below, or one on each side of the equilibrium.
    equilibrium = {("decoder",): 2 * max(costs), ("discriminator",): min(costs) / 2}.get(updated, np.mean(costs))
    hparams = {"balance.equilibrium": jnp.float32(equilibrium), "balance.margin": jnp.float32(0)}
    after, metrics = step(state.replace(hparams=hparams), batch)
    for player in vaegan.PLAYERS:
        if player in (*updated, "encoder"):
            assert not same(of_player(after, player)[0].params, of_player(state, player)[0].params)
        else:
            assert_same_bits(of_player(after, player), of_player(state, player))
    reported = {player for player in ("decoder", "discriminator") if metrics[f"updated/{player}"]}
    assert reported == set(updated)
    assert metrics["skipped_updates"] == 0


def with_params(state, **params):
    """The state with other parameters, by network."""
    networks = {name: state.networks[name].replace(params=own) for name, own in params.items()}
    return state.replace(networks=state.networks | networks)


def test_at_a_perfect_reconstruction_and_at_the_prior_there_is_nothing_to_lose():
    linear = {f"model.{network}.depth": 0 for network in ("encoder", "decoder")}
    _, state, step, batch = experiment("plain", ("beta", 0.0), *linear.items())
    kernel, zeros = jnp.asarray([[2.0, 0.0], [0.0, -4.0]]), jnp.zeros((2, 2))
    encoder = {
        "mean": {"kernel": kernel, "bias": jnp.zeros(2)},
        "log_variance": {"kernel": zeros, "bias": jnp.full(2, -150.0)},  # noise that float32 rounds away
    }
    decoder = {"body": {"Dense_0": {"kernel": jnp.linalg.inv(kernel), "bias": jnp.zeros(2)}}}
    after, metrics = step(with_params(state, encoder=encoder, decoder=decoder), batch)
    assert metrics["loss/similarity"] == metrics["loss/encoder"] == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradients(after)["encoder"]))
    assert metrics["loss/kl"] > 100
    prior = jax.tree.map(jnp.zeros_like, encoder)
    _, metrics = step(with_params(state, encoder=prior, decoder=decoder), batch)
    assert metrics["loss/kl"] == 0
    assert metrics["loss/similarity"] > 0


def test_a_discriminator_without_an_opinion_has_the_cost_of_a_coin():
    _, state, step, batch = experiment("plain")
    params = state.networks["discriminator"].params
    _, metrics = step(with_params(state, discriminator=jax.tree.map(jnp.zeros_like, params)), batch)
    for cost in ("cost/real", "cost/fake"):
        np.testing.assert_allclose(metrics[cost], np.log(2), rtol=1e-6)


@pytest.mark.parametrize("group", [1, 2])
def test_batches_are_joined_alike_on_any_number_of_devices(group):
    batches = [jnp.arange(100 * i, 100 * i + 24).reshape(8, 3) for i in range(3)]
    joined = interleave(batches, group)
    np.testing.assert_array_equal(deinterleave(joined, 3, group), batches)
    parts = [interleave([batch[first : first + 4] for batch in batches], group) for first in (0, 4)]
    np.testing.assert_array_equal(jnp.concatenate(parts), joined)


def test_labels_matter_to_every_network():
    exp, state, _, batch = experiment("conditional")
    points, z = batch["points"][0], jnp.ones((8, 2))
    for network, given in (("encoder", points), ("decoder", z), ("discriminator", points)):
        outs = [
            vaegan.apply(
                exp.networks[network], state.networks[network], given, jax.nn.one_hot(labels, CLASSES), train=False
            )
            for labels in (jnp.zeros(8, int), jnp.ones(8, int))
        ]
        assert not same(outs[0][0], outs[1][0]), network
    labels = np.zeros(5, np.int32), np.ones(5, np.int32)
    one, other = (inference.sample(exp, inference.variables_of(state), 0, 5, own) for own in labels)
    assert not np.array_equal(one, other)


# The family


def shapes_of(network: str, size: int, channels: int, **settings):
    """Parameter shapes, layer by layer, of a network of the family."""
    changes = {name: value for name, value in IMAGES.items() if "base_channels" not in name} | settings
    exp = build(default(changes | {"data.size": size, "data.channels": channels}))
    module = exp.networks[network].body
    (inputs, _) = exp.algorithm.inputs(exp)[network]
    inputs = (inputs, None) if network == "decoder" else (inputs,)
    tree = jax.eval_shape(lambda x: module.init(jax.random.key(0), *x, train=True), inputs)["params"]
    return {f"{layer}/{name}": leaf.shape for layer, own in tree.items() for name, leaf in own.items()}


def test_the_networks_are_those_of_the_authors():
    """Their `architectures.py`, `img64x64`, with latents of 128: every kernel, and no bias where BatchNorm follows."""
    kernels = {
        "encoder": [(5, 5, 3, 64), (5, 5, 64, 128), (5, 5, 128, 256), (8 * 8 * 256, 1024)],
        "decoder": [(128, 8 * 8 * 256), (5, 5, 256, 256), (5, 5, 256, 128), (5, 5, 128, 32), (5, 5, 32, 3)],
        "discriminator": [
            *[(5, 5, 3, 32), (5, 5, 32, 128), (5, 5, 128, 256), (5, 5, 256, 256)],
            (8 * 8 * 256, 512),
        ],
    }
    unnormalised = {"encoder": [], "decoder": [(3,)], "discriminator": [(32,)]}
    for network, expected in kernels.items():
        shapes = shapes_of(network, 64, 3, latent_dim=128)
        assert sorted(s for name, s in shapes.items() if "kernel" in name) == sorted(expected)
        biases = [s for name, s in shapes.items() if "bias" in name and "BatchNorm" not in name]
        assert biases == unnormalised[network]
        scales = [s for name, s in shapes.items() if "scale" in name]
        assert len(scales) == len(expected) - len(biases)


@pytest.mark.parametrize("size", [(16, 16), (24, 24), (16, 40)])
@pytest.mark.parametrize("batch_last", [False, True])
def test_a_size_is_halved_and_doubled_exactly(size, batch_last):
    options = {"base_channels": 2, "batch_last": batch_last}
    decoder = networks.Generator(shape=(*size, 1), **options)
    made, _ = jax.eval_shape(lambda: decoder.init_with_output(jax.random.key(0), jnp.zeros((2, 3)), None, True))
    assert made.shape == (2, *size, 1)
    judge = networks.Discriminator(**options)
    variables = jax.eval_shape(lambda: judge.init(jax.random.key(0), jnp.zeros(made.shape), True))
    _, kept = jax.eval_shape(
        lambda v: judge.apply(v, jnp.zeros(made.shape), True, mutable=["intermediates", "batch_stats"]), variables
    )
    assert kept["intermediates"]["similarity"][0].shape == (2, size[0] // 8, size[1] // 8, 8)


@pytest.mark.parametrize("kind", ["Encoder", "Generator", "Discriminator"])
def test_both_layouts_are_the_same_network(kind):
    """Outputs, what is kept, statistics and gradients."""
    made = {"shape": (16, 24, 2)} if kind == "Generator" else {}
    stock, fast = (
        getattr(networks, kind)(base_channels=4, initializer="he", batch_last=x, **made) for x in (False, True)
    )
    numbers = np.random.default_rng(0).normal(size=(4, 6) if made else (4, 16, 24, 2))
    given = (jnp.asarray(numbers, jnp.float32), *([None] if made else []))

    @quick_jit
    def outcomes():
        variables = stock.init(jax.random.key(0), *given, train=True)
        params, moments = variables["params"], variables["batch_stats"]

        def loss(params, network):
            collections = {"params": params, "batch_stats": moments}
            out, new = network.apply(collections, *given, train=True, mutable=["batch_stats", "intermediates"])
            return jnp.sin(3 * out).sum(), (out, new)

        return [jax.grad(loss, has_aux=True)(params, network) for network in (stock, fast)]

    one, other = outcomes()
    assert_close(other, one, rtol=1e-3, atol=1e-3)


def test_images_are_compared_before_the_last_norm_of_the_convolutions():
    judge = networks.Discriminator(base_channels=4, initializer="he")
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16, 16, 1)), jnp.float32)

    @quick_jit
    def run():
        variables = judge.init(jax.random.key(0), images, train=True)
        return judge.apply(
            variables, images, train=True, mutable=["intermediates", "batch_stats"], capture_intermediates=True
        )

    kept = run()[1]["intermediates"]
    (similarity,), (fourth,) = kept["similarity"], kept["Conv_3"]["__call__"]
    np.testing.assert_array_equal(similarity, fourth)
    assert similarity.min() < 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.source": "probe"}, "config.algorithm=vaegan encodes one field, .* has a, b, source, driving"),
        (
            {"model.family": "iwae_mlp"},
            "config.model.family=iwae_mlp has no generator, .* choose from dcgan, mlp, .*vaegan",
        ),
        ({"model.family": "tf_dcgan"}, "config.model.family=tf_dcgan has no encoder, which this algorithm needs"),
        ({"gamma": 1.5}, "config.gamma=1.5 must be from 0 to 1"),
        ({"gamma": -0.1}, "config.gamma=-0.1 must be from 0 to 1"),
        ({"balance.margin": -1.0}, "config.balance.margin=-1.0 must be at least 0"),
        ({"balance.equilibrium": 0.0}, "config.balance.equilibrium=0.0 must be above 0"),
        ({"conditional": True}, "config.conditional needs labels, and config.data.source=digits has none"),
        (
            {"data.size": 20},
            "config.data.size=20 does not fit config.model.family=vaegan: .* multiples of 8 .*; near ones: 16, 24$",
        ),
        ({"data.size": 8}, "config.data.size=8 does not fit config.model.family=vaegan: .* from 16 on"),
        (
            {"data.source": "world:ring"},
            "does not fit config.model.family=vaegan: a vaegan makes images; toy_mlp makes",
        ),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(settings, message):
    lacking = {"model.family": "base_channels", "data.source": "data.size"}  # that such others do not have
    without = [part for name, part in lacking.items() if name in settings]
    base = {name: value for name, value in IMAGES.items() if not any(part in name for part in without)}
    with raises_user_error(UserError, match=message):
        build(default(base | settings))
