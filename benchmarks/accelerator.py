"""All that an accelerator should show, in one command of a few minutes, the most valuable first.

    python -m benchmarks.accelerator [--minutes 8] [--parts agreement,members,workloads,published]
                                     [--workloads dcgan64,toy] [--tiny]

    agreement   tiny experiments of every network family, algorithm and penalty, on the CPU and on the accelerator: the
                largest relative difference of forward passes, losses, penalties, gradients and parameters
    members     ten members of a population trained at once, beside one
    workloads   the training step beside PyTorch, eager and compiled with CUDA graphs, in TF32 and in bfloat16
    published   seconds for a thousand images of the published CIFAR-10 and FFHQ-256 settings

Each part has a share of the minutes, and a part gets what those before it leave. What is not reached is named. Each
table is appended to benchmarks/RESULTS.md as soon as there is one. The exit code is 1 if the accelerator differs from
the CPU by more than a bound, or if a part fails. --tiny makes the same with tiny networks; without an accelerator, the
CPU stands for one.
"""

import importlib
import itertools
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from benchmarks import agreement, report, train_step, turns, workloads
from benchmarks.train_step import System
from benchmarks.turns import Child, ChildError
from jaxgan.config import with_changes
from jaxgan.errors import Parser, UserError, choose
from jaxgan.models import MODELS

MARGIN = 0.05  # of the time, for processes to end
NOT_REACHED = "not reached"


class Plan(NamedTuple):
    """What a part gets.

    Attributes:
        platform: of the accelerator, "gpu", "tpu" or "cpu".
        deadline: by `time.monotonic`.
        command: that was typed.
        names: of workloads.
        tiny: whether networks are.
        at_once: programs that compile at the same time.
    """

    platform: str
    deadline: float
    command: str
    names: Sequence[str]
    tiny: bool
    at_once: int

    @property
    def rounds(self) -> int:
        """Of turns that programs take."""
        return 2 if self.tiny else 3

    @property
    def seconds(self) -> float:
        """What is left."""
        return max(self.deadline - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        return not self.seconds

    def append(self, title: str, text: str) -> None:
        """Adds a section to the results."""
        report.append(title, self.command, f"{text}\n\n{report.machine('jax', 'flax', 'optax')}")


# Agreement


HEAD = ["", *(f"{name}, at most {bound:.0e}" for name, bound in agreement.BOUNDS.items())]
UNBOUND = dict.fromkeys(agreement.BOUNDS, math.inf)
Differences = dict[str, float] | str  # of one case by name, or why there are none


def check_agreement(plan: Plan) -> bool:
    """Appends the tables of differences; whether all are within bounds, as far as they were reached."""
    titles = list(agreement.cases())
    found = compare_devices(titles, plan)
    bounded = {title: found[title, "highest"] for title in titles}
    penalties = bounded[agreement.PENALTIES]
    metrics = {} if isinstance(penalties, str) else {m: v for m, v in penalties.items() if m not in agreement.BOUNDS}
    parts = [
        f"{jax.devices()[-1].device_kind} beside convolutions by their definition on the CPU: the largest relative "
        "differences of float32, with products at the highest precision. What is beyond a bound is in bold type.",
        report.table(HEAD, [difference_row(title, each, agreement.BOUNDS) for title, each in bounded.items()]),
        f"Each penalty of the last row, at most {agreement.BOUNDS['penalties']:.0e}:",
        report.table(["", "difference"], [[m, cell(v, limit_of(m))] for m, v in metrics.items()]),
    ]
    if plan.platform != "cpu":
        parts += [
            "With products at JAX's default precision, by which GPUs round their inputs to TF32 (by up to 5e-4 of a "
            "number) and TPUs to bfloat16; there are no bounds:",
            report.table(["", *UNBOUND], [difference_row(title, found[title, "default"], UNBOUND) for title in titles]),
        ]
    plan.append("Agreement with the CPU", "\n\n".join(parts))
    return all(is_right(each) for each in bounded.values())


def compare_devices(titles: Sequence[str], plan: Plan) -> dict[tuple[str, str], Differences]:
    """The differences of every case at each precision, by several processes at a time."""
    precisions = ("highest",) if plan.platform == "cpu" else ("highest", "default")
    shares = [list(itertools.product(precisions, titles[first :: plan.at_once])) for first in range(plan.at_once)]
    with ThreadPoolExecutor(plan.at_once) as pool:
        parts = pool.map(lambda share: list(differences(share, plan)), shares)
        return dict(itertools.chain.from_iterable(parts))


def differences(pairs: Sequence[tuple[str, str]], plan: Plan) -> Iterator[tuple[tuple[str, str], Differences]]:
    """Pairs of a precision and a title, in one process, or in the next one if a case fails."""
    rest = list(pairs)
    while rest and not plan.over:
        with Child("agreement") as child:
            while rest and not plan.over:
                precision, title = rest.pop(0)
                child.limit = plan.seconds
                try:
                    found = child.ask("call", "differences", title, precision)
                except ChildError as failure:
                    found = NOT_REACHED if plan.over else f"failed: {failure}"
                print(f"{title}, {precision} precision: {found}", flush=True)
                yield (title, precision), found
                if isinstance(found, str):
                    break
    for precision, title in rest:
        yield (title, precision), NOT_REACHED


def difference_row(title: str, found: Differences, bounds: Mapping[str, float]) -> list[str]:
    """The case and its differences; empty cells where there is nothing to compare."""
    if isinstance(found, str):
        return [title, found.replace("|", "/"), *[""] * (len(bounds) - 1)]
    return [title, *(cell(found[name], bound) if name in found else "" for name, bound in bounds.items())]


def cell(value: float, bound: float) -> str:
    """A difference as text, in bold type if it is beyond its bound."""
    return f"{value:.1e}" if value <= bound else f"**{value:.1e}**"


def is_right(found: Differences) -> bool:
    """Whether a case ran and is within the bounds, or was not reached."""
    if isinstance(found, str):
        return found == NOT_REACHED
    return all(value <= limit_of(name) for name, value in found.items())


def limit_of(name: str) -> float:
    """The bound of a difference; that of all penalties for the metric of one."""
    return agreement.BOUNDS.get(name, agreement.BOUNDS["penalties"])


# Members


MEMBERS = 10
POPULATIONS = ("toy", "dcgan32")


def compare_members(plan: Plan) -> None:
    """Appends seconds of a step of one member, and of ten at once."""
    one, many = "one member", f"{MEMBERS} members"
    chosen = {
        title: System(title, "own", "float32", {"members": count}) for title, count in ((one, 1), (many, MEMBERS))
    }
    lines = []
    for name in POPULATIONS:
        config = workloads.variants(name, plan.platform)[0]
        if plan.over:
            lines.append([name, NOT_REACHED, *[""] * 4])
            continue
        sized = workloads.tiny(config) if plan.tiny else config
        found, failed = train_step.measure(sized, chosen, plan.rounds, plan.deadline, plan.at_once)
        if failed:
            reasons = "; ".join(f"{title} failed: {reason}" for title, reason in failed.items())
            lines.append([name, reasons.replace("|", "/"), *[""] * 4])
            continue
        seconds = [found[title].seconds for title in (one, many)]
        ratio = turns.ratio(found[many].times, found[one].times)
        each = f"{seconds[1] / seconds[0] / MEMBERS:.3g}"
        lines.append([name, str(sized.batch_size), *(f"{value:.4g}" for value in seconds), ratio, each])
    head = ["", "batch", f"s a step of {one}", f"of {many}", "ratio (quartiles)", "ratio per member"]
    plan.append("Ten seeds at once", report.table(head, lines))


# Workloads


FIRST = ("dcgan64", "stylegan2", "r3gan", "r1", "toy")  # the others follow as they are in the table


def compare_workloads(plan: Plan) -> None:
    """Appends a table for each workload, in its first batch size, then those in others; names what is not reached."""
    missing = missing_peer(plan)
    size = 256 if plan.tiny else 2048 if plan.platform == "cpu" else 8192
    peak = {} if plan.over else train_step.peaks(precisions(plan.platform), ["peer_flax"], size)
    rounds = itertools.zip_longest(*(workloads.variants(name, plan.platform) for name in plan.names))
    pairs = [(name, config) for each in rounds for name, config in zip(plan.names, each, strict=True) if config]
    late, longest = [], 0.0
    for name, config in pairs:
        started = time.monotonic()
        if plan.seconds <= longest / 2:
            late.append(f"{name} with {config.batch_size} images a step")
            continue
        chosen = best_systems(config, plan.platform, not missing)
        sized = workloads.tiny(config) if plan.tiny else config
        text = train_step.compare(name, sized, chosen, plan.rounds, peak, plan.deadline, plan.at_once)
        beside = f"Compiled {plan.at_once} at a time: longer for each, and those that try out kernels may be misled."
        notes = [note for note, holds in ((missing, missing), (beside, plan.at_once > 1)) if holds]
        plan.append("Training step on an accelerator", "\n".join([text, *(f"- {note}" for note in notes)]))
        longest = max(longest, time.monotonic() - started)
    if late:
        plan.append("Training step on an accelerator", f"Not reached: {', '.join(late)}.")


def missing_peer(plan: Plan) -> str:
    """Why PyTorch is left out, in a line; "" if it is not."""
    if plan.platform == "tpu":
        return "PyTorch is left out on a TPU."
    if not train_step.installed("peer_torch"):
        return "PyTorch is left out: torch is missing, pip install -e '.[bench]'."
    if plan.platform == "cpu":
        return ""
    with Child("peer_torch", limit=plan.seconds) as child:
        try:
            found = child.ask("call", "device_peak")
        except ChildError as failure:
            return f"PyTorch is left out: {failure}."
    return "PyTorch is left out: it finds no GPU." if found is None else ""


def precisions(platform: str) -> tuple[str, ...]:
    """Those of a platform; a TPU has no TF32 either."""
    return train_step.PRECISIONS["gpu" if platform == "gpu" else "cpu"]


def best_systems(config: ConfigDict, platform: str, peers: bool) -> dict[str, System]:
    """jaxgan and PyTorch in the fast precisions: on a GPU in TF32 in the place of float32.

    PyTorch is eager, and compiled, which on a GPU records CUDA graphs. Channels lie last where there are images.
    """
    images = "world" not in config.data.source
    available = train_step.systems("gpu" if platform == "gpu" else "cpu", images, workloads.peer(config))
    fast = [precision for precision in precisions(platform) if precision != "float32" or platform != "gpu"]

    def wanted(system: System) -> bool:
        peer = peers and "torch" in system.module and system.options.get("channels_last", images) == images
        return system.precision in fast and (system.own or peer)

    return {name: system for name, system in available.items() if wanted(system)}


# Published settings


PUBLISHED = ("stylegan2_cifar", "r3gan_cifar10", "stylegan2_paper256", "r3gan_ffhq256")
DEVICES = 8  # of the authors: where a batch is too large for one device, its share is tried


def time_published(plan: Plan) -> None:
    """Appends seconds for a thousand images of published settings."""
    lines = []
    for row in itertools.chain.from_iterable(published_rows(name, plan) for name in PUBLISHED):
        print(", ".join(filter(None, row)), flush=True)
        lines.append(row)
    head = ["", "batch", "s per 1,000 images", "compiled in, s", "peak memory, MiB"]
    note = (
        "Images are digits, enlarged. As `train.py` runs them: the largest stages in bfloat16 as published, all else "
        "in float32 by JAX's default products (on a GPU TF32, which the authors' code switches off)."
    )
    plan.append("Published settings", f"{report.table(head, lines)}\n\n{note}")


def published_rows(name: str, plan: Plan) -> Iterator[list[str]]:
    """The row of one setting; if memory is too small, one more with the batch of one of the authors' devices."""
    config = published(name)
    for size in (config.batch_size, config.batch_size // DEVICES):
        if plan.over:
            yield [name, str(size), NOT_REACHED, "", ""]
            return
        sized = smallest(config) if plan.tiny else workloads.resized(config, size)
        found, failed = train_step.measure(sized, {name: System(name, "own", None)}, 2, plan.deadline)
        if name in found:
            one = found[name]
            seconds = train_step.significant(1000 * one.seconds / sized.batch_size)
            memory = f"{one.memory / 2**20:,.0f}"
            yield [name, str(sized.batch_size), seconds, f"{one.ready.compile_seconds:.1f}", memory]
            return
        reason = NOT_REACHED if plan.over else f"failed: {failed[name]}".replace("|", "/")
        yield [name, str(sized.batch_size), reason, "", ""]
        if "memory" not in reason:
            return


def published(name: str) -> ConfigDict:
    """A published configuration on the digits, enlarged, that dispatches whole periods of its penalties."""
    own = importlib.import_module(f"configs.published.{name}").get_config()
    config, _ = with_changes(own, {"data.source": "digits"})
    config.data.split = workloads.IMAGES
    for interval in ("log_every", "sample_every", "checkpoint_every", "steps_per_dispatch"):
        config[interval] = workloads.period(config)
    return config


def smallest(config: ConfigDict) -> ConfigDict:
    """The same experiment with a small batch and its family's smallest networks."""
    config = workloads.resized(config, 8)
    family = MODELS[config.model.family]
    config.data.size = family.shape[0]
    for network in config.model.values():
        if isinstance(network, ConfigDict):
            network.update({name: value for name, value in family.smallest.items() if name in network})
            network.update({name: 2 for name in ("minibatch_stddev", "bfloat16_stages") if name in network})
    return config


# The program


class Part(NamedTuple):
    """A part of the program.

    Attributes:
        run: appends its tables; False if something is wrong.
        share: of the time.
    """

    run: Callable[[Plan], bool | None]
    share: float


PARTS = {
    "agreement": Part(check_agreement, 0.25),
    "members": Part(compare_members, 0.1),
    "workloads": Part(compare_workloads, 0.35),
    "published": Part(time_published, 0.3),
}


def in_order(names: Sequence[str]) -> list[str]:
    """Workloads, the most valuable first."""
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def check_cpu() -> None:
    """Raises a `UserError` if JAX has no CPU beside the accelerator."""
    try:
        jax.devices("cpu")
    except RuntimeError as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX_PLATFORMS={platforms} leaves out the CPU, which the accelerator is compared with: "
            f"make it {platforms},cpu"
        ) from error


def benchmark(argv: list[str]) -> int:
    """The program."""
    parser = Parser("python -m benchmarks.accelerator", usage=__doc__, add_help=False)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--parts", type=train_step.listed, default=[*PARTS])
    parser.add_argument("--workloads", type=train_step.listed, default=in_order([*workloads.WORKLOADS]))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(argv)
    if not 0 < options.minutes < math.inf:
        raise UserError(f"--minutes={options.minutes} must be finite and above 0")
    for name in options.parts:
        choose("part", name, PARTS)
    for name in options.workloads:
        choose("workload", name, workloads.WORKLOADS)
    check_cpu()
    chosen = {name: part for name, part in PARTS.items() if name in options.parts}
    whole, given, right = sum(part.share for part in chosen.values()), 0.0, True
    begin, seconds = time.monotonic(), 60 * options.minutes * (1 - MARGIN)
    for part in chosen.values():
        given += part.share / whole
        plan = Plan(
            jax.default_backend(),
            begin + given * seconds,
            " ".join(["python -m benchmarks.accelerator", *argv]),
            options.workloads,
            options.tiny,
            max(1, (os.cpu_count() or 1) // 4),
        )
        try:
            right &= part.run(plan) is not False
        except Exception:  # which should not cost the other parts
            traceback.print_exc()
            right = False
    return 0 if right else 1


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return turns.main(benchmark, __doc__, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
