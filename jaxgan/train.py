"""The story of a run: open the data, build the experiment, compile its steps, restore its state, loop."""

import contextlib
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from jaxgan import config as configuration
from jaxgan.callbacks import Evaluation, Profiler, Snapshots, run_due
from jaxgan.core import devices, multihost, population
from jaxgan.core.multihost import ClusterSpec
from jaxgan.core.program import STOP_FLAG, Program, dispatch_size
from jaxgan.core.signals import StopSignal
from jaxgan.data import loader, sources
from jaxgan.data.order import batch_indices
from jaxgan.errors import INTERRUPTED, UserError, choose, warn
from jaxgan.io import logging, run_folder
from jaxgan.io.checkpoint import Checkpoints
from jaxgan.metrics import exact
from jaxgan.metrics.evaluator import Evaluator, format_scores
from jaxgan.models import summary
from jaxgan.viz import grid, snapshot


class Options(NamedTuple):
    """What the command asks for besides the configuration, and notes on it, which the main process prints."""

    workdir: Path
    dry_run: bool = False
    profile: bool = False
    allow_config_change: str = ""
    cluster: ClusterSpec = ClusterSpec()
    notes: tuple[str, ...] = ()


def train(config: ConfigDict, options: Options) -> int:
    """Trains, goes back to a checkpoint where numbers went bad if that is asked for, and returns the exit code."""
    multihost.initialize(options.cluster)
    for note in options.notes:
        multihost.print_once(note)
    if multihost.is_main() and not options.dry_run:
        run_folder.check_unlocked(options.workdir)
    trainer = Trainer(config, options)
    if options.dry_run:
        return 0
    with contextlib.ExitStack() as stack:
        if multihost.is_main():
            stack.enter_context(run_folder.lock_workdir(options.workdir))
            run_folder.save_config(options.workdir, config, overwrite=False)
        multihost.barrier("the folder is this run's")
        stop = stack.enter_context(StopSignal())
        before, attempt = None, 0
        while True:
            try:
                return trainer.fit(stop, attempt)
            except logging.NonFiniteError as bad:
                newest = run_folder.newest_checkpoint(options.workdir)
                attempt = attempt + 1 if newest == before else 1
                before = newest
                if config.on_nonfinite != "rollback":
                    raise
                if attempt > config.nonfinite_limit:
                    raise UserError(f"{bad} ({attempt - 1} rollbacks to step {newest} did not help)") from bad
                warn(f"{bad.name} is not finite at step {bad.step}: back to step {newest}, with other random numbers")


class Trainer:
    """An experiment put together: what stays the same while it trains, also when it goes back to a checkpoint."""

    def __init__(self, config: ConfigDict, options: Options):
        started = time.perf_counter()
        self.config, self.workdir, self.profile = config, options.workdir, options.profile
        lone = configuration.build(config, classes=1)  # what is wrong with the settings, before any data are opened
        devices.check_batch(config.batch_size, lone.algorithm.examples_together(config))
        size = dispatch_size(config)
        allowed = run_folder.allowed_changes(options.allow_config_change)
        self.changes = run_folder.check_folder(options.workdir, config, allowed)
        devices.enable_compilation_cache()

        dataset = sources.open_dataset(config)
        run_folder.check_data(options.workdir, dataset)
        self.exp = exp = configuration.build(config, len(dataset.classes), devices.axis_name())
        batches = exp.algorithm.batches_per_step(config)
        self.loader = loader.make_loader(config, dataset, batches, devices.resident_data_limit(), size)
        multihost.print_once(f"{summary.tables(exp)}\n\n{loader.summary(self.loader)}")

        batch_fn = loader.make_batch_fn(config, self.loader, exp.axis_name)
        self.program = Program(exp, self.loader, batch_fn, size, options.profile)
        evaluator = Evaluator(exp, dataset) if config.eval.every else None
        if evaluator:
            multihost.print_once(f"real images score {format_scores(evaluator.reference)}")
        if config.checkpoint.best:
            scored = [*snapshot.score_names(exp), *(evaluator.reference if evaluator else ())]
            choose("config.checkpoint.best", config.checkpoint.best, [*self.program.metric_names(), *scored])
        rows = batch_indices(config.seed, 0, config.sample_grid, min(self.loader.dataset.groups.values()))
        self.real = self.loader.dataset.take(rows)
        self.snapshots = Snapshots(exp, options.workdir, self.real)
        self.callbacks = [self.snapshots, *([Evaluation(config, evaluator)] if evaluator else [])]
        multihost.print_once(f"{self.program.cost()}; ready after {time.perf_counter() - started:.0f} s")

    def fit(self, stop: StopSignal, attempt: int) -> int:
        """Trains to `config.steps` from the newest checkpoint or the beginning; returns the exit code.

        Args:
            stop: whether to stop.
            attempt: how often a run went back to that checkpoint; each time it draws other random numbers.

        Raises:
            NonFiniteError: the metrics of a step are not finite, and the configuration does not say to skip them.
        """
        config, workdir, program = self.config, self.workdir, self.program
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", **config.checkpoint))
            step, state = checkpoints.restore(program.shapes) or (0, program.initial_state())
            if step > config.steps:
                raise UserError(f"{workdir} is at step {step}, beyond config.steps={config.steps}: ask for more")
            if multihost.is_main():
                run_folder.begin(workdir, config, step, self.changes, self.loader.dataset)
                if not step:
                    grid.save_png(workdir / "real.png", snapshot.of_examples(self.exp, self.real))
            if attempt:
                state = population.fork_seed(state, attempt)
            self.loader.reseed(int(np.ravel(state.seed)[0]))
            saved, state = step, devices.replicate(state)
            logger = stack.enter_context(
                logging.MetricLogger(config, self.exp.algorithm, workdir, step, writes=multihost.is_main())
            )
            profiler = Profiler(workdir / "profile" if self.profile else None)
            stack.callback(profiler.close)
            stack.callback(self.loader.close)
            if step:
                multihost.print_once(f"resuming {workdir} from step {step}")
            # What a crash after the checkpoint left undrawn.
            scores = run_due([self.snapshots], step, state) or {}

            def dispatch_at(step: int) -> tuple[int, PyTree]:
                count = min(program.size - step % program.size, config.steps - step)
                return count, program.inputs_at(step, count, stop.signal is not None) if count else None

            unread, failure, metrics, flag, done = None, None, None, None, step == config.steps
            count, inputs = dispatch_at(step)
            while not done:
                profiler.before_dispatch(metrics)
                state, metrics = program(state, inputs, count)
                flag, flag_before = metrics.pop(STOP_FLAG, None), flag
                last, step = step, step + count
                try:
                    count, inputs = dispatch_at(step)  # on their way to the device while it works
                except UserError as error:  # an image cannot be read: what was trained so far is saved
                    if multihost.is_multihost():  # the others know nothing of it: they see this process gone
                        raise
                    failure = error
                if unread:  # the metrics of the dispatch before
                    logger.write(*unread)
                unread = last, metrics
                # Polled once a round, so what it decides is saved. Several processes learn of each other's stop from
                # the dispatch that it went into, once that is over.
                stops = bool(flag_before) if multihost.is_multihost() else stop.signal is not None
                done = step == config.steps or failure is not None or stops
                saves = done or step % config.checkpoint_every == 0
                found = run_due(self.callbacks, step, state)
                if saves or found is not None:
                    scores = found or {}
                    logger.write(*unread, scores)  # what is kept was seen to be finite
                    unread = None
                if saves:
                    checkpoints.save(step, devices.unreplicate(state), logger.record)
                    logger.refresh_curves()
                    saved = step
            if failure:
                raise failure
            if step == config.steps and multihost.is_main():
                self.snapshots.animate()

        if step < config.steps:
            why = stop.signal.name if stop.signal else "another process"
            multihost.print_once(f"stopped by {why}; step {saved} is saved: the same command resumes from there")
            return INTERRUPTED if stop.signal == signal.SIGINT else 0
        reached = exact.format_scores(scores)
        multihost.print_once(f"finished step {step}{reached and f': {reached}'}; look into {workdir}")
        return 0
