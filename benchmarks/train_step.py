"""Times the training step beside PyTorch's, TensorFlow's and plain Flax's, in turns.

    python -m benchmarks.train_step [--workloads dcgan64,toy] [--systems jaxgan,torch-compile] [--rounds 10] [--tiny]
    python -m benchmarks.train_step --scaling [--rounds 10] [--tiny]
    python -m benchmarks.train_step --devices [--rounds 10] [--tiny]

Every system trains the same networks in a process of its own; benchmarks/workloads.py has the experiments. In each
round all of them make some steps, one system after the other, and a ratio is the median over the rounds. What fails is
in the table with its reason. --scaling times jaxgan alone on growing batches and images, --devices on two virtual CPU
devices beside one. The result is appended to benchmarks/RESULTS.md; the peers come with `pip install -e '.[bench]'`.
"""

import contextlib
import importlib.util
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import own, peer_flax, report, turns, workloads
from benchmarks.turns import Child, ChildError, Ready
from jaxgan.errors import Parser, UserError, choose


class System(NamedTuple):
    """One row of a table.

    Attributes:
        title: what the table calls it.
        module: of this folder, in whose process it runs.
        precision: "float32", "tf32", "bfloat16", or None for what the configuration says.
        options: what the module's program takes besides.
        variables: of its environment.
    """

    title: str
    module: str
    precision: str | None
    options: Mapping[str, object] = MappingProxyType({})
    variables: Mapping[str, str] = MappingProxyType({})

    @property
    def own(self) -> bool:
        return self.module == "own"


class Measured(NamedTuple):
    """A system that kept up to the end.

    Attributes:
        ready: what it said when it was ready.
        times: seconds of a step in each round.
        memory: bytes at most.
    """

    ready: Ready
    times: list[float]
    memory: int

    @property
    def seconds(self) -> float:
        return statistics.median(self.times)


PACKAGES = {  # that they need
    "peer_torch": "torch",
    "peer_torch_cyclegan": "torch",
    "peer_torch_biggan": "torch",
    "peer_torch_stylegan2": "torch",
    "peer_torch_fastgan": "torch",
    "peer_torch_voxel": "torch",
    "peer_tensorflow": "tensorflow",
}
PRECISIONS = {"cpu": ("float32", "bfloat16"), "gpu": ("float32", "tf32", "bfloat16")}
SUFFIXES = {"float32": "", "tf32": "-tf32", "bfloat16": "-bf16"}


def systems(platform: str, images: bool = True, peer: str = "gan") -> dict[str, System]:
    """All that a platform can compare, by name: jaxgan first, every precision of a system behind the other.

    Args:
        platform: "cpu" or "gpu".
        images: whether there are any, whose channels may lie last in memory.
        peer: as `workloads.peer` calls it.
    """
    found = {}
    torch = "peer_torch" if peer == "gan" else f"peer_torch_{peer}"

    def add(name: str, title: str, module: str, precisions: Iterable[str], **options: object) -> None:
        for precision in precisions:
            found[name + SUFFIXES[precision]] = System(f"{title}, {precision}", module, precision, options)

    everything = PRECISIONS[platform]
    # On a CPU some ways take very long: bfloat16 convolutions of plain Flax and those of PyTorch in NCHW.
    most = everything if platform == "gpu" else ("float32",)
    add("jaxgan", "jaxgan", "own", everything)
    for compiled in (False, True):
        name, title = ("torch-compile", "PyTorch, compiled") if compiled else ("torch", "PyTorch, eager")
        options = {"compiled": compiled, "channels_last": False}
        add(name, title, torch, most if images else everything, **options)
        if images:
            options["channels_last"] = True
            add(f"{name}-channels-last", f"{title}, channels last", torch, everything, **options)
    if peer != "gan":
        return found
    singles = [precision for precision in most if precision != "bfloat16"]
    add("tensorflow", "TensorFlow", "peer_tensorflow", singles, xla=False)
    add("tensorflow-xla", "TensorFlow, XLA", "peer_tensorflow", singles, xla=True)
    add("flax", "plain Flax", "peer_flax", most)
    return found


def installed(module: str) -> bool:
    """Whether the package is there without which a module cannot be imported."""
    return importlib.util.find_spec(PACKAGES.get(module, "jax")) is not None


# One workload


def measure(
    config: ConfigDict, chosen: Mapping[str, System], rounds: int, deadline: float = math.inf, at_once: int = 1
) -> tuple[dict[str, Measured], dict[str, str]]:
    """What was measured of each system, and the reason of each that failed.

    Args:
        config: the workload.
        chosen: systems by name.
        rounds: of turns.
        deadline: by `time.monotonic`; what is not ready by then has failed.
        at_once: systems that compile at the same time.
    """
    examples = workloads.examples(config)
    peers = not all(system.own for system in chosen.values())
    inputs = {True: examples, False: workloads.batches(config, examples) if peers else None}
    children, ready, failed, found = {}, {}, {}, {}
    with contextlib.ExitStack() as stack:

        def start(name: str) -> None:
            system, limit = chosen[name], min(turns.LIMIT, max(deadline - time.monotonic(), 0))
            children[name] = stack.enter_context(Child(system.module, system.variables, limit))
            print(f"{name} starts", flush=True)
            try:
                ready[name] = children[name].ask(
                    "start", config, inputs[system.own], system.precision, **system.options
                )
            except ChildError as failure:
                failed[name] = str(failure)

        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(start, chosen))
        ready = {name: ready[name] for name in chosen if name in ready}
        for name, times in turns.take_turns(children, ready, rounds).items():
            try:
                if isinstance(times, str):
                    raise ChildError(times)
                found[name] = Measured(ready[name], times, children[name].ask("peak_memory"))
            except ChildError as failure:
                failed[name] = str(failure)
    return found, failed


def measure_all(config: ConfigDict, chosen: Mapping[str, System], rounds: int) -> list[Measured]:
    """The same where none may fail."""
    found, failed = measure(config, chosen, rounds)
    for name, reason in failed.items():
        raise UserError(f"{name} fails: {reason}")
    return [found[name] for name in chosen]


def peaks(precisions: Iterable[str], modules: Iterable[str], size: int) -> dict[str, float]:
    """FLOP per second of the fastest product of two square matrices, for each precision."""
    found: dict[str, float] = {}
    for module in modules:
        with Child(module) as child:
            for precision in precisions:
                try:
                    seconds = child.ask("call", "product_seconds", size, precision)
                except ChildError as failure:
                    print(f"{module} gives no peak for {precision}: {failure}", file=sys.stderr)
                else:
                    found[precision] = max(found.get(precision, 0.0), 2 * size**3 / seconds)
    return found


HEAD = ["", "images/s", "jaxgan / it", "compiled in, s", "peak memory, MiB", "GFLOP/s", "of the peak"]


def significant(number: float) -> str:
    """With three digits, or all of those before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def rows(
    chosen: Mapping[str, System],
    found: Mapping[str, Measured],
    failed: Mapping[str, str],
    batch_size: int,
    flops: int,
    peak: Mapping[str, float],
) -> list[list[str]]:
    """A row for each system: those of one precision are compared with jaxgan in the same."""
    own = {system.precision: found[name] for name, system in chosen.items() if system.own and name in found}
    lines = []
    for name, system in chosen.items():
        if name in failed:
            lines.append([system.title, f"failed: {failed[name]}".replace("|", "/"), *[""] * 5])
            continue
        one = found[name]
        mine = own.get(system.precision)
        rate = flops / one.seconds
        share = f"{rate / peak[system.precision]:.0%}" if system.precision in peak else ""
        lines.append(
            [
                system.title,
                significant(batch_size / one.seconds),
                turns.ratio(one.times, mine.times) if mine and mine is not one else "",
                f"{one.ready.compile_seconds:.1f}",
                f"{one.memory / 2**20:,.0f}",
                significant(rate / 1e9),
                share,
            ]
        )
    return lines


def verdicts(chosen: Mapping[str, System], found: Mapping[str, Measured]) -> list[str]:
    """jaxgan beside the fastest peer of the same precision, and the fastest jaxgan beside the fastest peer of all."""
    lines = []

    def fastest(own: bool, precision: str | None) -> str | None:
        names = [n for n in found if chosen[n].own == own and precision in (None, chosen[n].precision)]
        return min(names, key=lambda name: found[name].seconds, default=None)

    for precision in [*dict.fromkeys(system.precision for system in chosen.values()), None]:
        mine, peer = fastest(True, precision), fastest(False, precision)
        if mine and peer:
            times = turns.ratio(found[peer].times, found[mine].times)
            best = f"the best peer in {precision}" if precision else "the best peer of all"
            lines.append(f"{chosen[mine].title}: {times} times {chosen[peer].title}, {best}.")
    return lines


def compare(
    name: str,
    config: ConfigDict,
    chosen: Mapping[str, System],
    rounds: int,
    peak: Mapping[str, float],
    deadline: float = math.inf,
    at_once: int = 1,
) -> str:
    """The section of one workload; arguments as of `measure`, and the FLOP per second that `peaks` found."""
    found, failed = measure(config, chosen, rounds, deadline, at_once)
    flops = peer_flax.step_flops(config) if workloads.peer(config) == "gan" else own.step_flops(config)
    lines = rows(chosen, found, failed, config.batch_size, flops, peak)
    powers = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {precision}" for precision, value in peak.items())
    notes = [
        *verdicts(chosen, found),
        f"{significant(flops / config.batch_size / 1e6)} MFLOP per image, by count of the plain step. "
        f"Matrix products on this machine: {powers}.",
        *(f"{chosen[name].title}: {one.ready.settings}." for name, one in found.items()),
    ]
    title = f"{name}, {config.batch_size} images a step; ratios are medians of {rounds} rounds, with quartiles:"
    return "\n\n".join([title, report.table(HEAD, lines), "\n".join(f"- {note}" for note in notes)])


# jaxgan alone

SCALES = {  # (images, pixels) of DCGAN
    "batch": [(batch, 32) for batch in (16, 32, 64, 128, 256, 512, 1024)],
    "size": [(16, size) for size in (32, 64, 128, 256)],
}


def scaling(rounds: int, tiny: bool) -> str:
    """How the time of a step grows with its FLOPs, as tables of growing batches and images."""
    parts = []
    for name, points in SCALES.items():
        if tiny:
            points = points[:3]  # noqa: PLW2901
        lines, times, counts = [], [], []
        for batch, size in points:
            config = workloads.resized(workloads.images(size, 1, 4 if tiny else 32), batch)
            own = System("jaxgan", "own", "float32")
            times.append(measure_all(config, {f"jaxgan, {batch} of {size}x{size},": own}, rounds)[0].seconds)
            counts.append(peer_flax.step_flops(config))
            rate = significant(counts[-1] / times[-1] / 1e9)
            lines.append([str(batch), f"{size}x{size}", f"{times[-1]:.4g}", f"{counts[-1] / 1e9:.4g}", rate])
        slope, growth = exponent(times, counts)
        head = ["images", "of", "seconds a step", "GFLOP a step", "GFLOP/s"]
        fit = f"Growing {name}: time ~ FLOPs^{slope:.2f}; from one row to the next, it grows at most {growth:.2f} times"
        parts += [report.table(head, lines), f"{fit} as much as the FLOPs."]
    return "\n\n".join(parts)


def exponent(times: list[float], counts: list[int]) -> tuple[float, float]:
    """The slope of log(time) by log(FLOPs), and the largest of the ratios of both's growth from point to point."""
    slope, _ = np.polyfit(np.log(counts), np.log(times), 1)
    growth = np.divide(times[1:], times[:-1]) / np.divide(counts[1:], counts[:-1])
    return float(slope), float(growth.max())


def devices(rounds: int, tiny: bool) -> str:
    """Two virtual CPU devices beside one, at the same global batch."""
    config = workloads.WORKLOADS["dcgan32"]()
    config = workloads.tiny(config) if tiny else config
    chosen = {}
    for title, count in (("one device", 1), ("two devices", 2)):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        chosen[title] = System(title, "own", "float32", variables={"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"})
    found = measure_all(config, chosen, rounds)
    lines = [
        [title, significant(config.batch_size / one.seconds), one.ready.settings]
        for title, one in zip(chosen, found, strict=True)
    ]
    times = turns.ratio(*(one.times for one in found))
    return f"{report.table(['', 'images/s', ''], lines)}\n\nTwo devices are {times} times as fast as one."


# The program


def listed(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def selected(names: list[str], available: Mapping[str, System]) -> dict[str, System]:
    """Those of the systems that are named, or all; those that are not there, or miss a package, are named on stderr."""
    found = {name: available[name] for name in names or available if name in available}
    for name in names:
        if name not in available:
            print(f"{name} is left out: it is not for this workload", file=sys.stderr)
    for name, system in dict(found).items():
        if not installed(system.module):
            print(
                f"{name} is left out: {PACKAGES[system.module]} is missing, pip install -e '.[bench]'", file=sys.stderr
            )
            del found[name]
    return found


def benchmark(argv: list[str]) -> None:
    """The program."""
    parser = Parser("python -m benchmarks.train_step", usage=__doc__, add_help=False)
    parser.add_argument("--workloads", type=listed, default=[*workloads.WORKLOADS])
    parser.add_argument("--systems", type=listed, default=[])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--devices", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(argv)
    if options.rounds < 2:
        raise UserError(f"--rounds={options.rounds} must be at least 2, for the quartiles")
    platform = jax.default_backend()
    for name in options.workloads:
        choose("workload", name, workloads.WORKLOADS)
    for name in options.systems:
        choose("system", name, systems(platform) | systems(platform, images=False))
    command = " ".join(["python -m benchmarks.train_step", *argv])
    machine = report.machine("jax", "flax", "optax")
    if options.scaling:
        report.append("How a training step scales", command, f"{scaling(options.rounds, options.tiny)}\n\n{machine}")
    if options.devices:
        report.append("Virtual devices", command, f"{devices(options.rounds, options.tiny)}\n\n{machine}")
    if options.scaling or options.devices:
        return
    modules = [module for module in ("peer_torch", "peer_flax") if installed(module)]
    size = 256 if options.tiny else 2048 if platform == "cpu" else 8192
    peak = peaks(PRECISIONS[platform], modules, size)
    for name in options.workloads:
        for config in workloads.variants(name, platform):
            available = systems(platform, "world" not in config.data.source, workloads.peer(config))
            chosen = selected(options.systems, available)
            sized = workloads.tiny(config) if options.tiny else config
            report.append(
                "Training step", command, f"{compare(name, sized, chosen, options.rounds, peak)}\n\n{machine}"
            )


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return turns.main(benchmark, __doc__, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
