"""Times training steps of PacGAN's 2-D networks beside PyTorch's eager loop, in turns.

    python -m benchmarks.toy_speed [--rounds 10] [--members 10]

Both sides make a full step: an update of the discriminator and one of the generator by Adam, batch 100, latents
included; jaxgan's gathers its examples of the ring as well. A second row is a population of so many members against one
member: on a CPU it is to be about as many times slower, on a GPU hardly slower at all. The result is appended to
benchmarks/RESULTS.md; PyTorch comes with `pip install -e '.[bench]'`.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

from benchmarks import own, report, workloads
from configs import pacgan
from jaxgan.core import devices

STEPS = 100  # in a turn, and in a dispatch, as the configuration has it


def torch_steps() -> Callable[[], None]:
    """Makes STEPS steps by PyTorch, as its tutorials write a GAN."""
    from benchmarks import peer_torch  # noqa: PLC0415  (an extra)

    config = pacgan.get_config()
    batches = workloads.batches(config, workloads.examples(config))
    program = peer_torch.Program(config, batches, "float32", compiled=False, channels_last=False)
    return functools.partial(program.run, STEPS)


def jaxgan_steps(members: int) -> Callable[[], None]:
    """Makes STEPS steps of a population."""
    config = pacgan.get_config()
    config.population = members
    return functools.partial(own.Program(config, workloads.examples(config), "float32").run, STEPS)


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
    devices.enable_compilation_cache()
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
