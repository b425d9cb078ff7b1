"""The story of a run: open the data, build the experiment, compile its steps, restore its state, loop."""

import contextlib
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configuration
from jaxgan.callbacks import Evaluation, Profiler, Snapshots, run_due
from jaxgan.core import devices, multihost, population
from jaxgan.core.program import Program, dispatch_size
from jaxgan.core.signals import StopSignal
from jaxgan.data import loader, sources
from jaxgan.errors import INTERRUPTED, UserError, warn
from jaxgan.io import checkpoint, logging, pretrained, run_folder
from jaxgan.metrics import exact
from jaxgan.models import summary


class Options(NamedTuple):
    """What the command asks for besides the configuration, and notes on it, which the main process prints."""

    workdir: Path
    dry_run: bool = False
    profile: bool = False
    allow_config_change: str = ""
    init_from: str = ""
    cluster: multihost.ClusterSpec = multihost.ClusterSpec()
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
                before, attempt = newest, attempt + 1 if newest == before else 1
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
        self.pretrained = pretrained.load(options.init_from, options.workdir)
        dataset = sources.open_dataset(config)
        run_folder.check_data(options.workdir, dataset)
        self.exp = exp = configuration.build(config, len(dataset.classes), devices.axis_name())
        batches, room = exp.algorithm.batches_per_step(config), devices.resident_data_limit()
        self.loader = loader.make_loader(config, dataset, batches, room, size)
        multihost.print_once(f"{summary.tables(exp)}\n\n{loader.summary(self.loader)}")
        pretrained.check(self.pretrained, exp)
        batch_fn = loader.make_batch_fn(config, self.loader, exp.axis_name)
        self.program = Program(exp, self.loader, batch_fn, size, options.profile)
        self.snapshots = Snapshots(exp, options.workdir, self.loader.dataset)
        self.callbacks = [self.snapshots, *([Evaluation(exp, dataset)] if config.eval.every else [])]
        scores = [name for callback in self.callbacks for name in callback.score_names]
        checkpoint.check_best(config, [*self.program.metric_names(), *scores])
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
            folder, constants = workdir / "checkpoints", program.data[1]
            checkpoints = stack.enter_context(checkpoint.Checkpoints(folder, constants=constants, **config.checkpoint))
            step, state = checkpoints.restore(program.shapes) or (0, pretrained.init_from(self.pretrained, program))
            if multihost.is_main():
                run_folder.begin(workdir, config, step, self.changes, self.loader.dataset, self.pretrained)
                if not step:
                    self.snapshots.draw_real()
            if attempt:
                state = population.fork_seed(state, attempt)
            self.loader.reseed(int(np.ravel(state.seed)[0]))
            state = devices.replicate(state)
            algorithm, is_main = self.exp.algorithm, multihost.is_main()
            logger = stack.enter_context(logging.MetricLogger(config, algorithm, workdir, step, is_main))
            profiler = Profiler(workdir / "profile" if self.profile else None)
            stack.callback(profiler.close)
            stack.callback(self.loader.close)
            if step:
                multihost.print_once(f"resuming {workdir} from step {step}")
            scores = run_due([self.snapshots], step, state) or {}  # of step 0, or of a finished run
            unread = None
            stop.install()  # and not before there is something to save
            dispatches = program.run(state, step, lambda: stop.signal is not None, profiler.before_dispatch)
            for first, step, state, metrics, done in dispatches:
                if unread:  # the metrics of the dispatch before
                    logger.write(*unread)
                unread = first, metrics
                saves = done or step % config.checkpoint_every == 0
                found = run_due(self.callbacks, step, state)
                if saves or found is not None:
                    scores = found or {}
                    logger.write(*unread, scores)  # what is kept was seen to be finite
                    unread = None
                if saves:
                    checkpoints.save(step, devices.unreplicate(state), logger.record)
                    logger.refresh_curves()
            if step == config.steps and multihost.is_main():
                self.snapshots.animate()

        if step < config.steps:
            why = stop.signal.name if stop.signal else "another process"
            multihost.print_once(f"stopped by {why}; step {step} is saved: the same command resumes from there")
            return INTERRUPTED if stop.signal == signal.SIGINT else 0
        multihost.print_once(f"finished step {step}{exact.format_scores(scores, ': ')}; look into {workdir}")
        return 0
