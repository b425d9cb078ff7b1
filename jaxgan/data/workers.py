"""Work done ahead of its use, in the order of its use: Grain's threads and processes."""

import contextlib
import itertools
import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import grain
from absl import flags

Result = TypeVar("Result")

ENDLESS = 2**62  # the end of a range that nobody reaches
MOST_THREADS = 16


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[int], Result], start: int, stop: int, processes: int = 0, ahead: int = 4
) -> Iterator[Result]:
    """function(start), function(start + 1), ... up to `stop`, each computed before it is asked for.

    Close the iterator to end its threads and processes; an error of the function is raised in its place.

    Args:
        function: pure; for processes one that can be pickled, as its results.
        start, stop: the range of its argument.
        processes: how many compute it; 0 for threads of this process.
        ahead: how many results wait for their use, at least; more where that keeps all threads or processes busy.
    """
    numbers = grain.MapDataset.range(start, stop).map(function)
    results = _in_processes(numbers, processes, ahead) if processes else _in_threads(numbers, ahead)
    try:
        # Processes are started by the first use, and inherit what is blocked then.
        with _blocked_signals() if processes else contextlib.nullcontext():
            first = list(itertools.islice(results, 1))
        yield from first
        yield from results
    finally:
        results.close()


def _in_threads(numbers: grain.MapDataset, ahead: int) -> grain.DatasetIterator:
    threads = max(2, min(cores(), MOST_THREADS))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead, 2 * threads))
    return iter(numbers.to_iter_dataset(options))


def _in_processes(numbers: grain.MapDataset, count: int, ahead: int) -> grain.DatasetIterator:
    if not flags.FLAGS.is_parsed():  # Grain asks for its flags, of which this program has none
        flags.FLAGS.mark_as_parsed()
    each = numbers.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    # Through pipes, not shared memory: a container has little of it, and what is on its way at the end stays there.
    through_pipes = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
    each = grain.experimental.WithOptionsIterDataset(each, through_pipes)
    options = grain.MultiprocessingOptions(num_workers=count, per_worker_buffer_size=max(2, -(-ahead // count)))
    return iter(each.mp_prefetch(options, worker_init_fn=_start_worker))


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Keeps Ctrl-C and SIGTERM, which often go to all processes at once, for this one alone."""
    multiprocessing.resource_tracker.ensure_running()  # first, since its start unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(index: int, count: int) -> None:
    """Ends a process with the one that started it, however that ended."""
    del index, count

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
