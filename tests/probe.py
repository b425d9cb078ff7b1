"""An algorithm and a data source that need all that the core offers: the proof that a new one is a file and an entry.

Two players of two networks each translate between two unpaired groups of points and read clips, whose two frames are
drawn anew at each visit; with a pool, a lazy second update, a frozen projection that is not saved, a scheduled `b2`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.algorithms import ALGORITHMS
from jaxgan.core import optimizers
from jaxgan.core.gradients import EMA_SETTINGS, apply_gradients, finish_step, gradients
from jaxgan.core.settings import POSITIVE, Setting
from jaxgan.core.state import apply
from jaxgan.core.types import Algorithm, Field, Player, Task
from jaxgan.data.dataset import ArrayDataset, digest_of
from jaxgan.data.sources import SOURCES, Source

FRAMES, POOL = 5, 8  # frames of a clip; fakes in the pool
FIELDS = tuple(Field(name, (2,), "points", name) for name in "ab")
FIELDS += tuple(Field(name, (2,), "points", "clips") for name in ("source", "driving"))
PLAYERS = {"translators": Player(("ab", "ba"), ("ab", "ba")), "critics": Player(("critic_a", "critic_b"))}


def two_frames(seed, batch, examples):
    rng = np.random.default_rng([seed, batch])
    first, second = rng.integers(FRAMES, size=(2, len(examples["clips"]))).astype(np.int32)
    return {"source": examples["clips"] * FRAMES + first, "driving": examples["clips"] * FRAMES + second}


def open_points(config) -> ArrayDataset:
    rng, sizes = np.random.default_rng(0), {"a": config.data.count, "b": config.data.other_count, "clips": 7}
    lengths = {"a": sizes["a"], "b": sizes["b"], "frames": sizes["clips"] * FRAMES}
    arrays = {name: rng.normal(size=(length, 2)).astype(np.float32) for name, length in lengths.items()}
    names = {"source": "frames", "driving": "frames"}
    return ArrayDataset(arrays, FIELDS, (), digest_of(*arrays.values()), None, names, sizes, two_frames)


class Net(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, points, train):
        return nn.Dense(self.outputs)(nn.tanh(nn.Dense(4)(points)))


def step(exp, state, batch):
    batch, pool = {name: array[0] for name, array in batch.items()}, state.extra["pool"]
    critics = {name: state.networks[name].params for name in ("critic_a", "critic_b")}

    def run(params, name, points):
        return apply(exp.networks[name], state.networks[name].replace(params=params[name]), points, train=True)[0]

    def translate(params):
        fake_b, fake_a = run(params, "ab", batch["a"]), run(params, "ba", batch["b"])
        cycle = jnp.abs(run(params, "ba", fake_b) - batch["a"]).mean()
        motion = (((run(params, "ab", batch["source"]) - batch["driving"]) @ exp.constants) ** 2).mean()
        fools = sum(((run(critics, f"critic_{n}", x) - 1) ** 2).mean() for n, x in (("a", fake_a), ("b", fake_b)))
        loss = fools + exp.config.cycle * cycle + motion
        return loss, ({"loss/translators": loss, "loss/cycle": cycle}, fake_b)

    def critics_loss(params):
        loss = sum(((run(params, f"critic_{n}", batch[n]) - 1) ** 2).mean() for n in "ab")
        return loss + (run(params, "critic_b", pool) ** 2).mean(), {"loss/critics": loss}

    def smooth(params):
        slopes = jax.grad(lambda x: run(params, "critic_b", x).sum())(batch["b"])
        return (slopes**2).sum(-1).mean(), {"penalty/smooth": (slopes**2).sum(-1).mean()}

    grads, _, (metrics, fake_b) = gradients(exp, state, "translators", translate)
    after, metrics = apply_gradients(exp, state, "translators", grads, metrics=metrics)
    for objective, due in ((critics_loss, True), (smooth, state.step % 4 == 0)):
        grads, _, own = gradients(exp, after, "critics", objective)
        after, own = apply_gradients(exp, after, "critics", grads, metrics=own, when=due)
        metrics |= own
    fakes = exp.all_gather(jax.lax.stop_gradient(fake_b))  # one pool, whatever the number of devices
    return finish_step(exp, state, after, metrics, {"pool": jnp.concatenate([fakes, pool])[:POOL]})


def translate_a(exp, variables, inputs):
    return {"b": apply(exp.networks["ab"], variables["ab"], inputs["a"], train=False)[0]}


ALGORITHMS["probe"] = PROBE = Algorithm(
    settings={"cycle": Setting(10.0, "weight", POSITIVE), **EMA_SETTINGS, **optimizers.settings(*PLAYERS)},
    players=lambda config: PLAYERS,
    networks=lambda config, fields, classes, axis: {"ab": Net(2), "ba": Net(2), "critic_a": Net(1), "critic_b": Net(1)},
    inputs=lambda exp: dict.fromkeys(exp.networks, (jnp.zeros((1, 2)),)),
    step=step,
    tasks={"translate": Task(("ab",), translate_a, lambda exp: {"b": "points"}, needs=lambda exp: ("a",))},
    smallest={"data.source": "probe", "batch_size": 4, "schedules": "optimizer.critics.b2=linear(0.9, 10)"},
    extra=lambda exp: {"pool": jnp.zeros((POOL, 2))},
    constants=lambda exp: jnp.linspace(-1, 1, 6).reshape(2, 3),
    drawn=("translate",),
    headlines=("loss/translators", "loss/critics"),
)
COUNTS = {"count": Setting(12, "points of a", POSITIVE), "other_count": Setting(12, "points of b", POSITIVE)}
SOURCES["probe"] = Source(COUNTS, lambda data: FIELDS, open_points, {"data.source": "probe", "algorithm": "probe"})
