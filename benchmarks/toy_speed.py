"""Times training steps of PacGAN's 2-D networks beside PyTorch's eager loop, in turns.

    python -m benchmarks.toy_speed [--rounds 10] [--members 10]

Both sides make a full step: an update of the discriminator and one of the generator by Adam, batch 100, latents and
examples of the ring included. A second row is a population of so many members against one member: on a CPU it is to be
about as many times slower, on a GPU hardly slower at all. The result is appended to benchmarks/RESULTS.md; PyTorch
comes with `pip install -e '.[bench]'`.
"""

import argparse
import functools
import itertools
import statistics
import sys
import time
from collections.abc import Callable

import jax

from benchmarks import report
from configs import pacgan
from jaxgan import experiment, parallel, population, steps
from jaxgan.data import pipeline

STEPS = 100  # in a turn, and in a dispatch, as the configuration has it


def torch_steps() -> Callable[[], None]:
    """Makes STEPS steps by PyTorch, as its tutorials write a GAN."""
    import torch  # noqa: PLC0415  (an extra)
    from torch import nn  # noqa: PLC0415

    class Maxout(nn.Module):
        def __init__(self, inputs: int, outputs: int, pieces: int):
            super().__init__()
            self.linear, self.shape = nn.Linear(inputs, outputs * pieces), (outputs, pieces)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x).unflatten(1, self.shape).amax(2)

    widths = [2, 400, 400, 400, 400]
    hidden = [[nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()] for a, b in itertools.pairwise(widths)]
    generator = nn.Sequential(*itertools.chain(*hidden), nn.Linear(400, 2))
    discriminator = nn.Sequential(Maxout(2, 200, 5), Maxout(200, 200, 5), Maxout(200, 200, 5), nn.Linear(200, 1))
    optimizers = [torch.optim.Adam(net.parameters(), 1e-4, (0.8, 0.999)) for net in (generator, discriminator)]
    loss, ones, zeros = nn.BCEWithLogitsLoss(), torch.ones(100, 1), torch.zeros(100, 1)
    points = torch.from_numpy(pipeline.open_examples(pacgan.get_config()).images)

    def run() -> None:
        for _ in range(STEPS):
            real = points[torch.randint(len(points), (100,))]
            fake = generator(torch.randn(100, 2))
            optimizers[1].zero_grad()
            (loss(discriminator(real), ones) + loss(discriminator(fake.detach()), zeros)).backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            loss(discriminator(generator(torch.randn(100, 2))), ones).backward()
            optimizers[0].step()

    return run


def jaxgan_steps(members: int) -> Callable[[], None]:
    """Makes STEPS steps of a population."""
    config = pacgan.get_config()
    config.population = members
    examples = pipeline.open_examples(config)
    gan = experiment.build(config, len(examples.classes))
    feed = pipeline.feed(config, examples, parallel.memory())
    run = functools.partial(
        steps.train_steps, functools.partial(steps.alternating_step, gan), pipeline.loader(config, feed)
    )
    data = jax.device_put(dict(feed.data))
    state = jax.jit(lambda: population.create(gan))()
    compiled = jax.jit(run, donate_argnums=0).lower(state, data, feed.like(STEPS)).compile()
    place = [0, state]

    def turn() -> None:
        place[1], metrics = compiled(place[1], data, feed.take(place[0], STEPS))
        place[0] += STEPS
        jax.block_until_ready(metrics)

    return turn


def ratios(slow: Callable[[], None], fast: Callable[[], None], rounds: int) -> tuple[float, float, str]:
    """Seconds a step of both, and how many times faster the second is: the median over turns, with its quartiles."""
    pairs = []
    for turn in range(rounds + 1):
        times = []
        for run in (slow, fast):
            started = time.perf_counter()
            run()
            times.append((time.perf_counter() - started) / STEPS)
        if turn:  # the first one warms up
            pairs.append(times)
    found = [one / other for one, other in pairs]
    low, middle, high = statistics.quantiles(found, n=4)
    seconds = [statistics.median(times) for times in zip(*pairs, strict=True)]
    return *seconds, f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--members", type=int, default=10)
    options = parser.parse_args()
    parallel.cache_compilations()
    one, many = jaxgan_steps(1), jaxgan_steps(options.members)
    rows = []
    for name, slow, fast in (
        ("PyTorch eager / jaxgan", torch_steps(), one),
        (f"{options.members} members / one", many, one),
    ):
        first, second, ratio = ratios(slow, fast, options.rounds)
        rows.append([name, f"{1 / first:,.0f}", f"{1 / second:,.0f}", ratio])
    head = ["", "steps/s of the first", "of the second", "ratio of times (quartiles)"]
    text = f"{report.table(head, rows)}\n\n{report.machine('jax', 'flax', 'torch')}"
    report.append("PacGAN's 2-D networks", " ".join(["python -m benchmarks.toy_speed", *sys.argv[1:]]), text)


if __name__ == "__main__":
    main()
