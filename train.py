"""Trains a GAN.

    python train.py --config=configs/digits.py --workdir=runs/digits [--config.key=value ...] [--dry_run] [--profile]

--config       the experiment: a Python file with get_config(); configs/digits.py if not given
--config.key   changes one setting; jaxgan/config.py lists and explains them all
--workdir      the run folder; runs/ and the name of the configuration if not given
--dry_run      builds everything, compiles a step, tells what it costs, and writes no run folder
--profile      traces a few dispatches into WORKDIR/profile, for TensorBoard and ui.perfetto.dev

The same command goes on with a run that was stopped; a larger --config.steps continues a finished one.
"""

import contextlib
import functools
import json
import math
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags
from jaxtyping import PyTree
from ml_collections import ConfigDict, config_flags

from jaxgan import config as configuration
from jaxgan import experiment, images, parallel, pictures, population, steps, writers
from jaxgan.checkpoint import Checkpoints
from jaxgan.data import pipeline
from jaxgan.data.cache import Examples, Undecoded
from jaxgan.data.order import batch_indices
from jaxgan.errors import INTERRUPTED, Parser, UserError, choose, exit_code
from jaxgan.experiment import GAN
from jaxgan.files import replacing
from jaxgan.models import summary
from jaxgan.state import GANState

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "digits.py"


def load_config(path: str) -> ConfigDict:
    """What the file's get_config() returns; a configuration is a Python file, so anything can go wrong in it."""
    try:
        config = runpy.run_path(path)["get_config"]()
    except Exception as error:
        raise UserError(f"--config={path} cannot be read ({type(error).__name__}: {str(error)[:300]})") from error
    known = configuration.flatten(configuration.default()).keys()
    if not isinstance(config, ConfigDict) or configuration.flatten(config).keys() != known:
        raise UserError(f"--config={path}: get_config() should return jaxgan.config.default() with other values")
    return config


class Options(NamedTuple):
    """What the command asks for besides the configuration."""

    workdir: Path
    dry_run: bool = False
    profile: bool = False


def parse(argv: list[str]) -> tuple[ConfigDict, Options]:
    """The configuration and the options."""
    parser = Parser("train.py", usage=__doc__, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default=str(DEFAULT_CONFIG))
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--profile", action="store_true")
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
    return config.value, Options(workdir, options.dry_run, options.profile)


def check_folder(workdir: Path, config: ConfigDict) -> None:
    """Raises a `UserError` unless `workdir` is new, empty, or holds a run of this very experiment."""
    if (workdir / "config.json").exists():
        changes = configuration.differences(configuration.load(workdir / "config.json"), config)
        listed = [
            f"{name} {old!r} -> {new!r}" for name, (old, new) in changes.items() if name not in configuration.HARMLESS
        ]
        if listed:
            raise UserError(f"{workdir} holds another experiment ({'; '.join(listed)}): choose a new --workdir")
    elif workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file: --workdir should be a folder")
    elif workdir.exists() and any(workdir.iterdir()):
        raise UserError(f"{workdir} is not empty and holds no run (no config.json): choose a new --workdir")
    there = next(folder for folder in (workdir, *workdir.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise UserError(f"{there} cannot be written: choose another --workdir")


def about_data(examples: Examples | Undecoded) -> dict[str, object]:
    """What a run folder remembers of its data set: the names of its labels, and what tells it from another one."""
    return {"examples": len(examples), "classes": list(examples.classes), "digest": examples.digest}


def check_data(workdir: Path, examples: Examples | Undecoded) -> None:
    """Raises a `UserError` if the run in `workdir` began with other examples, so far as that is known."""
    path = workdir / "data.json"
    if not path.exists() or not any((workdir / "checkpoints").glob("*")):  # or nothing was trained yet
        return
    now = about_data(examples)
    try:
        text = json.loads(path.read_text())
        before = {name: text[name] for name in now}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or remove it to go on unchecked") from error
    if not (before["digest"] and now["digest"]):  # where images are decoded anew, nobody knows it
        before["digest"] = now["digest"]
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise UserError(f"{workdir} was trained on other data ({'; '.join(changed)}): choose a new --workdir")


def dispatch_size(config: ConfigDict) -> int:
    """Training steps per dispatch: it divides every interval, so every run dispatches the same steps together."""
    common = math.gcd(config.log_every, config.sample_every, config.checkpoint_every)
    asked = config.steps_per_dispatch
    if asked and common % asked:
        raise UserError(
            f"config.steps_per_dispatch={asked} should divide log_every={config.log_every}, "
            f"sample_every={config.sample_every} and checkpoint_every={config.checkpoint_every}"
        )
    most = asked or parallel.default_steps_per_dispatch()
    return max(size for size in range(1, min(most, common) + 1) if common % size == 0)


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


def tables(gan: GAN) -> str:
    """Both networks' layers, as text."""
    inputs, state = experiment.example_inputs(gan), jax.eval_shape(lambda: experiment.initial_state(gan))
    rows = {
        name: summary.layer_rows(network, state.networks[name].variables.collections(), inputs[name])
        for name, network in gan.networks.items()
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


def train(config: ConfigDict, options: Options) -> int:
    """Trains to `config.steps` from the newest checkpoint in the run folder or the beginning; returns the exit code."""
    started, workdir = time.perf_counter(), options.workdir
    configuration.validate(config)
    take_step = steps.UPDATES[choose("config.updates", config.updates, steps.UPDATES)]
    experiment.check(config)
    parallel.check_batch(config.batch_size, config.packing * (config.model.discriminator.minibatch_stddev or 1))
    size = dispatch_size(config)
    check_folder(workdir, config)
    parallel.cache_compilations()
    examples = pipeline.open_examples(config)
    check_data(workdir, examples)
    gan = experiment.build(config, len(examples.classes), parallel.axis_name())
    shapes = jax.eval_shape(lambda: population.create(gan))
    population.check_memory(config, sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes)))
    feed = pipeline.feed(config, examples, parallel.room_for_data(), size)
    print(tables(gan), flush=True)
    print(f"\n{pipeline.summary(feed)}", flush=True)

    data = parallel.replicate(dict(feed.data))
    load = pipeline.loader(config, feed, gan.axis_name)
    run = functools.partial(steps.train_steps, functools.partial(take_step, gan), load)
    axis = feed.order.batch_axis

    @functools.cache
    def compiled(count: int) -> jax.stages.Compiled:
        return parallel.compile_steps(run, shapes, data, parallel.split_batch(feed.like(count), axis), options.profile)

    population.check_memory(config, memory(compiled(size)))

    if config.checkpoint.best:
        choose("config.checkpoint.best", config.checkpoint.best, compiled(size).out_info[1])
    print(f"{cost(compiled(size), size)}; ready after {time.perf_counter() - started:.0f} s", flush=True)
    if options.dry_run:
        return 0

    real = feed.examples.batch(batch_indices(config.seed, 0, config.sample_grid, len(feed.examples)))
    workdir.mkdir(parents=True, exist_ok=True)
    if not (workdir / "config.json").exists():
        configuration.save(config, workdir / "config.json")
    (workdir / "samples").mkdir(exist_ok=True)

    def draw(step: int, state: GANState) -> dict[str, float]:
        picture, scores = pictures.draw(gan, parallel.unreplicate(state), step)
        images.save_png(workdir / "samples" / f"step_{step:06d}.png", picture)
        if scores:
            print(f"step {step}: {pictures.told(scores)}", flush=True)
        return scores

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", **config.checkpoint))
        step, state = checkpoints.restore(shapes) or (0, parallel.run_once(population.create, gan))
        if step > config.steps:
            raise UserError(f"{workdir} is at step {step}, beyond config.steps={config.steps}: ask for more")
        configuration.save(config, workdir / "config.json")
        if not step:
            with replacing(workdir / "data.json") as partial:
                partial.write_text(json.dumps(about_data(feed.examples)) + "\n")
            images.save_png(workdir / "real.png", pictures.of_examples(gan, real["images"]))
        saved, state = step, parallel.replicate(state)
        log = stack.enter_context(writers.Log(config, workdir, step))
        stack.callback(feed.close)
        if step:
            print(f"{workdir} goes on from step {step}", flush=True)
        scores = {}
        if (
            step % config.sample_every == 0 or step == config.steps
        ):  # also what a crash after the checkpoint left undrawn
            scores = draw(step, state)

        def dispatch_at(step: int) -> tuple[int, PyTree]:
            count = min(size - step % size, config.steps - step)
            return count, parallel.put(parallel.split_batch(feed.take(step, count), axis)) if count else None

        profile = Profile(workdir / "profile" if options.profile else None)
        stack.callback(profile.end)
        unread, failure, metrics, ends = None, None, None, step == config.steps
        count, inputs = dispatch_at(step)
        while not ends:
            profile.next(metrics)
            state, metrics = compiled(count)(state, data, inputs)
            last, step = step, step + count
            try:
                count, inputs = dispatch_at(step)  # on their way to the device while it works
            except UserError as error:  # an image cannot be read: what was trained so far is saved
                failure = error
            if unread:  # the metrics of the dispatch before
                log.write(*unread)
            unread = last, metrics
            # One look a round at the wish to stop: what it sees is saved.
            ends = step == config.steps or failure is not None or stop.signal is not None
            saves = ends or step % config.checkpoint_every == 0
            draws = step == config.steps or step % config.sample_every == 0
            if saves or draws:
                scores = draw(step, state) if draws else {}
                log.write(*unread, scores)  # what is kept was seen to be finite
                unread = None
            if saves:
                checkpoints.save(step, parallel.unreplicate(state), log.record)
                log.draw_curves()
                saved = step
        if failure:
            raise failure
        if step == config.steps:
            grids = sorted((workdir / "samples").glob("step_*.png"), key=lambda path: int(path.stem[5:]))
            images.save_gif(workdir / "progress.gif", grids)

    if stop.signal and step < config.steps:
        print(f"stopped by {stop.signal.name}; step {saved} is saved: the same command goes on from there", flush=True)
        return INTERRUPTED if stop.signal == signal.SIGINT else 0
    reached = f": {pictures.told(scores)}" if scores else ""
    print(f"finished step {step}{reached}; look into {workdir}", flush=True)
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(__doc__)
        return 0
    return exit_code(lambda: train(*parse(argv)))


if __name__ == "__main__":
    sys.exit(main())
