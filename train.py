"""Trains a GAN.

    python train.py --config=configs/digits.py --workdir=runs/digits [--config.key=value ...] [--dry_run] [--profile]
                    [--allow_drift=key,key] [--distributed | --coordinator=... --num_processes=... --process_id=...]

--config       the experiment: a Python file with get_config(); configs/digits.py if not given
--config.key   changes one setting; jaxgan/core/settings.py lists and explains them all
--workdir      the run folder; runs/ and the name of the configuration if not given
--dry_run      builds everything, compiles a step, tells what it costs, and writes no run folder
--profile      traces a few dispatches into WORKDIR/profile, for TensorBoard and ui.perfetto.dev
--allow_drift  settings that may differ from those that the run folder began with, although steps depend on them
--distributed  several processes train together, which find each other by SLURM, Open MPI, Kubernetes or a TPU pod
--coordinator, --num_processes, --process_id
               the same by hand: HOST:PORT of process 0, how many there are, and which one this is

The same command goes on with a run that was stopped; a larger --config.steps continues a finished one.
"""

import contextlib
import functools
import math
import runpy
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags
from jaxtyping import PyTree
from ml_collections import ConfigDict, config_flags

from jaxgan.algorithms import gan
from jaxgan.core import devices, experiment, multihost, population
from jaxgan.core import settings as configuration
from jaxgan.core.experiment import GAN
from jaxgan.core.multihost import ClusterSpec
from jaxgan.core.state import TrainState
from jaxgan.data import loader
from jaxgan.data.order import batch_indices
from jaxgan.errors import INTERRUPTED, Parser, UserError, choose, exit_code, warn
from jaxgan.io import files, logging, run_folder
from jaxgan.io.checkpoint import Checkpoints
from jaxgan.metrics import evaluator
from jaxgan.models import summary
from jaxgan.viz import grid, snapshot

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "digits.py"


def load_config(path: str) -> ConfigDict:
    """What the file's get_config() returns; a configuration is a Python file, so anything can go wrong in it."""
    try:
        config = runpy.run_path(path)["get_config"]()
    except Exception as error:
        raise UserError(f"--config={path} cannot be read ({type(error).__name__}: {str(error)[:300]})") from error
    known = configuration.flatten(configuration.default()).keys()
    if not isinstance(config, ConfigDict) or configuration.flatten(config).keys() != known:
        raise UserError(f"--config={path}: get_config() should return jaxgan.core.settings.default() with other values")
    return config


class Options(NamedTuple):
    """What the command asks for besides the configuration."""

    workdir: Path
    dry_run: bool = False
    profile: bool = False
    allow_drift: str = ""
    group: ClusterSpec = ClusterSpec()


def parse(argv: list[str]) -> tuple[ConfigDict, Options]:
    """The configuration and the options."""
    parser = Parser("train.py", usage=__doc__, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default=str(DEFAULT_CONFIG))
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--allow_drift", default="")
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    options, overrides = parser.parse_known_args(argv)
    loaded = load_config(options.config)
    known = [f"--config.{name}" for name in configuration.flatten(loaded)]
    for argument in overrides:
        if not argument.startswith("--config."):
            raise UserError(f"{argument!r} is not an option: write --config.name=value (see train.py --help)")
        choose("option", argument.split("=")[0], known)
    values = flags.FlagValues()
    argv = ["train.py", *overrides]
    config = config_flags.DEFINE_config_dict("config", loaded, flag_values=values, sys_argv=argv)
    try:
        values(argv)
    except flags.Error as error:
        raise UserError(str(error)) from error
    workdir = options.workdir or Path("runs") / Path(options.config).stem
    group = ClusterSpec(options.distributed, options.coordinator, options.num_processes, options.process_id)
    return config.value, Options(workdir, options.dry_run, options.profile, options.allow_drift, group)


def dispatch_size(config: ConfigDict) -> int:
    """Training steps per dispatch: it divides every interval, so every run dispatches the same steps together."""
    common = math.gcd(config.log_every, config.sample_every, config.checkpoint_every, config.eval.every)
    asked = config.steps_per_dispatch
    if asked and common % asked:
        raise UserError(
            f"config.steps_per_dispatch={asked} should divide log_every={config.log_every}, "
            f"sample_every={config.sample_every}, checkpoint_every={config.checkpoint_every} and "
            f"eval.every={config.eval.every}"
        )
    if asked:
        return asked
    most = min(devices.default_steps_per_dispatch(), common)
    return max(size for size in range(1, most + 1) if common % size == 0)


class StopRequest:
    """Makes of the first Ctrl-C or SIGTERM a wish that the loop grants between steps; a second Ctrl-C ends at once."""

    def __init__(self):
        self.signal: signal.Signals | None = None

    def receive(self, number: int, frame: object) -> None:
        self.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def __enter__(self) -> "StopRequest":
        self.before = {number: signal.signal(number, self.receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Profile:
    """A trace of a few dispatches after the first, which warms up; nothing without a folder."""

    DISPATCHES = 3

    def __init__(self, folder: Path | None):
        self.folder, self.seen = folder, 0

    def next(self, metrics: PyTree) -> None:
        """Is called before each dispatch, with the metrics of the one before."""
        if self.folder and self.seen == 1:
            jax.block_until_ready(metrics)
            jax.profiler.start_trace(self.folder, create_perfetto_trace=True)
        if self.seen == 1 + self.DISPATCHES:
            jax.block_until_ready(metrics)
            self.end()
        self.seen += 1

    def end(self) -> None:
        """Writes what was traced until now; later calls do nothing."""
        if self.folder and self.seen > 1:
            jax.profiler.stop_trace()
            print(f"a profile is in {self.folder}: tensorboard --logdir, or its perfetto_trace.json.gz", flush=True)
            self.folder = None


def tables(exp: GAN) -> str:
    """Both networks' layers, as text."""
    inputs, state = experiment.example_inputs(exp), jax.eval_shape(lambda: experiment.initial_state(exp))
    rows = {
        name: summary.layer_rows(network, state.networks[name].variables.collections(), inputs[name])
        for name, network in exp.networks.items()
    }
    return "\n\n".join(summary.table(name, rows) for name, rows in rows.items())


def memory(step: jax.stages.Compiled) -> int:
    """Bytes of each device's memory that compiled steps take by XLA's account."""
    use = step.memory_analysis()
    held = use.argument_size_in_bytes + use.output_size_in_bytes - use.alias_size_in_bytes
    return held + use.temp_size_in_bytes


def cost(step: jax.stages.Compiled, count: int) -> str:
    """What one training step takes by XLA's account, compiled `count` to a dispatch, as text."""
    flops = step.cost_analysis().get("flops", 0)  # XLA counts the body of a loop once, however often it runs
    size = f"{memory(step) / 2**20:.0f} MiB of its memory"
    return f"a training step: {flops / 1e9:.3g} GFLOP on each device, {size}; {count} per dispatch"


class Run:
    """An experiment put together: what stays the same while it trains, also when it goes back to a checkpoint.

    Args:
        config: of the experiment.
        options: of the command.
    """

    def __init__(self, config: ConfigDict, options: Options):
        started = time.perf_counter()
        self.config, self.workdir = config, options.workdir
        configuration.validate(config)
        take_step = gan.UPDATES[choose("config.updates", config.updates, gan.UPDATES)]
        experiment.check(config)
        devices.check_batch(config.batch_size, config.packing * (config.model.discriminator.minibatch_stddev or 1))
        self.size = dispatch_size(config)
        allowed = run_folder.allowed_drift(options.allow_drift, config)
        self.changes = run_folder.check_folder(options.workdir, config, allowed)
        devices.enable_compilation_cache()
        examples = loader.open_dataset(config)
        run_folder.check_data(options.workdir, examples)
        self.exp = exp = experiment.build(config, len(examples.classes), devices.axis_name())
        self.shapes = jax.eval_shape(lambda: population.create(exp))
        held = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.shapes))
        population.check_memory(config, held)
        self.feed = loader.make_loader(config, examples, devices.resident_data_limit(), self.size)
        multihost.print_once(tables(exp))
        multihost.print_once(f"\n{loader.summary(self.feed)}")

        self.data = devices.replicate(dict(self.feed.data))
        load = loader.make_batch_fn(config, self.feed, exp.axis_name)
        self.steps = functools.partial(gan.train_steps, functools.partial(take_step, exp), load)
        self.profile, self.programs = options.profile, {}
        program = self.compiled(self.size)
        population.check_memory(config, memory(program))
        self.judge = evaluator.Evaluator(exp, examples) if config.eval.every else None
        if self.judge:
            multihost.print_once(f"real images score {evaluator.format_scores(self.judge.floor)}")
        if config.checkpoint.best:
            scored = [*snapshot.score_names(exp), *(self.judge.floor if self.judge else ())]
            choose("config.checkpoint.best", config.checkpoint.best, [*program.out_info[1].keys() - {WISH}, *scored])
        multihost.print_once(f"{cost(program, self.size)}; ready after {time.perf_counter() - started:.0f} s")

    def compiled(self, count: int) -> jax.stages.Compiled:
        """The program that makes so many steps."""
        if count not in self.programs:
            run, axis = self.steps, self.feed.order.batch_axis
            like = devices.shard_batch(self.with_wish(self.feed.input_spec(count), False), axis)
            if multihost.is_multihost():

                def run(state: TrainState, data: PyTree, inputs: tuple) -> tuple[TrainState, dict]:
                    batches, wish = inputs
                    state, metrics = self.steps(state, data, batches)
                    # After the steps, or a CPU would have its messages among theirs.
                    metrics, wish = jax.lax.optimization_barrier((metrics, wish))
                    return state, metrics | {WISH: jax.lax.pmax(wish.max(), devices.AXIS)}

            self.programs[count] = devices.compile_steps(run, self.shapes, self.data, like, axis, self.profile)
        return self.programs[count]

    def with_wish(self, batches: PyTree, wish: bool) -> PyTree:
        """The inputs of a dispatch. Where there are several processes, this one's wish to stop goes with them."""
        if not multihost.is_multihost():
            return batches
        shape = [1] * self.feed.order.batch_axis + [jax.local_device_count()]
        return batches, np.full(shape, wish, np.int32)

    def draw(self, step: int, state: TrainState) -> dict[str, float]:
        """Draws samples into the run folder; returns their scores, if they have any."""
        picture, scores = snapshot.draw(self.exp, devices.unreplicate(state), step)
        if multihost.is_main():
            path = self.workdir / "samples" / f"step_{step:06d}.png"
            with files.warn_on_oserror(str(path)):
                grid.save_png(path, picture)
            if scores:
                print(f"step {step}: {snapshot.format_scores(scores)}", flush=True)
        return scores

    def begin(self) -> None:
        """Makes the folder whole before its first step."""
        config, workdir = self.config, self.workdir
        real = self.feed.examples.batch(batch_indices(config.seed, 0, config.sample_grid, len(self.feed.examples)))
        run_folder.save_data(workdir, self.feed.examples)
        grid.save_png(workdir / "real.png", snapshot.of_examples(self.exp, real["images"]))

    def fit(self, stop: StopRequest, attempt: int) -> int:
        """Trains to `config.steps` from the newest checkpoint or the beginning; returns the exit code.

        Args:
            stop: the wish to stop.
            attempt: how often a run went back to that checkpoint; each time it draws other random numbers.

        Raises:
            NotFinite: the metrics of a step are not finite, and the configuration does not say to skip them.
        """
        config, workdir, feed, size = self.config, self.workdir, self.feed, self.size
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", **config.checkpoint))
            step, state = checkpoints.restore(self.shapes) or (0, devices.compile_and_run(population.create, self.exp))
            if step > config.steps:
                raise UserError(f"{workdir} is at step {step}, beyond config.steps={config.steps}: ask for more")
            if multihost.is_main():
                configuration.save(config, workdir / "config.json")
                (workdir / "samples").mkdir(exist_ok=True)
                if not step:
                    self.begin()
                run_folder.record_launch(workdir, step, self.changes)
            if attempt:
                state = reseeded(state, attempt)
            feed.reseed(int(np.ravel(state.seed)[0]))
            saved, state = step, devices.replicate(state)
            log = stack.enter_context(logging.MetricLogger(config, workdir, step, writes=multihost.is_main()))
            stack.callback(feed.close)
            if step:
                multihost.print_once(f"{workdir} goes on from step {step}")
            draws = step == config.steps or step % config.sample_every == 0
            scores = self.draw(step, state) if draws else {}  # what a crash after the checkpoint left undrawn

            def dispatch_at(step: int) -> tuple[int, PyTree]:
                count = min(size - step % size, config.steps - step)
                if not count:
                    return count, None
                inputs = self.with_wish(feed.inputs_at(step, count), stop.signal is not None)
                return count, devices.shard_batch(inputs, feed.order.batch_axis)

            profile = Profile(workdir / "profile" if self.profile else None)
            stack.callback(profile.end)
            unread, failure, metrics, ends = None, None, None, step == config.steps
            wish, (count, inputs) = None, dispatch_at(step)
            while not ends:
                profile.next(metrics)
                state, metrics = self.compiled(count)(state, self.data, inputs)
                wish, before = metrics.pop(WISH, None), wish
                last, step = step, step + count
                try:
                    count, inputs = dispatch_at(step)  # on their way to the device while it works
                except UserError as error:  # an image cannot be read: what was trained so far is saved
                    if (
                        multihost.is_multihost()
                    ):  # the others know nothing of it and would not save: they see this one gone
                        raise
                    failure = error
                if unread:  # the metrics of the dispatch before
                    log.write(*unread)
                unread = last, metrics
                # One look a round at the wish to stop: what it sees is saved. What one of several processes wishes, all
                # learn from the dispatch that it went into, once that is over.
                stops = bool(before) if multihost.is_multihost() else stop.signal is not None
                ends = step == config.steps or failure is not None or stops
                saves = ends or step % config.checkpoint_every == 0
                draws = step == config.steps or step % config.sample_every == 0
                judges = self.judge and (step == config.steps or step % config.eval.every == 0)
                if saves or draws or judges:
                    scores = self.draw(step, state) if draws else {}
                    if judges:
                        judged = self.judge(devices.unreplicate(state))
                        multihost.print_once(f"step {step}: {evaluator.format_scores(judged)}")
                        scores |= judged
                    log.write(*unread, scores)  # what is kept was seen to be finite
                    unread = None
                if saves:
                    checkpoints.save(step, devices.unreplicate(state), log.record)
                    log.refresh_curves()
                    saved = step
            if failure:
                raise failure
            if step == config.steps and multihost.is_main():
                grids = [path for path in (workdir / "samples").glob("step_*.png") if path.stem[5:].isdecimal()]
                grids.sort(key=lambda path: int(path.stem[5:]))
                with files.warn_on_oserror("progress.gif"):
                    grid.save_gif(workdir / "progress.gif", grids)

        if step < config.steps:
            why = stop.signal.name if stop.signal else "another process"
            multihost.print_once(f"stopped by {why}; step {saved} is saved: the same command goes on from there")
            return INTERRUPTED if stop.signal == signal.SIGINT else 0
        reached = snapshot.format_scores(scores)
        multihost.print_once(f"finished step {step}{reached and f': {reached}'}; look into {workdir}")
        return 0


WISH = "wish"  # among the metrics of several processes: whether one of them was told to stop


def reseeded(state: TrainState, attempt: int) -> TrainState:
    """The state with other random numbers from here on, so that it does not run into the same trouble again.

    Members of a population have seeds that follow each other, as ever.
    """
    first = int(np.ravel(state.seed)[0])
    other = zlib.crc32(f"{first} again {attempt}".encode()) >> 1  # so that members' seeds do not go beyond 32 bits
    memory = dict(state.memory) | {"nonfinite": state.memory["nonfinite"] + np.float32(attempt)}
    return state.replace(seed=(state.seed - np.uint32(first) + np.uint32(other)).astype(np.uint32), memory=memory)


def train(config: ConfigDict, options: Options) -> int:
    """Trains, goes back to a checkpoint where numbers went bad if that is asked for, and returns the exit code."""
    multihost.initialize(options.group)
    if multihost.is_main() and not options.dry_run:
        run_folder.check_unlocked(options.workdir)
    run = Run(config, options)
    if options.dry_run:
        return 0
    with contextlib.ExitStack() as stack:
        if multihost.is_main():
            stack.enter_context(run_folder.lock_workdir(options.workdir))
            if not (options.workdir / "config.json").exists():
                configuration.save(config, options.workdir / "config.json")
        multihost.barrier("the folder is this run's")
        stop = stack.enter_context(StopRequest())
        before, attempt = None, 0
        while True:
            try:
                return run.fit(stop, attempt)
            except logging.NonFiniteError as bad:
                newest = run_folder.newest_checkpoint(options.workdir)
                attempt = attempt + 1 if newest == before else 1
                before = newest
                if config.on_nonfinite != "rollback":
                    raise
                if attempt > config.nonfinite_limit:
                    raise UserError(f"{bad} ({attempt - 1} rollbacks to step {newest} did not help)") from bad
                warn(f"{bad.name} is not finite at step {bad.step}: back to step {newest}, with other random numbers")


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(__doc__)
        return 0
    with multihost.defer_to_heartbeat():
        return multihost.shutdown(exit_code(lambda: train(*parse(argv))))


if __name__ == "__main__":
    sys.exit(main())
