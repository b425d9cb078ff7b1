"""Work done ahead of its use, in the order of its use: Grain's threads and processes."""

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

AHEAD = 8  # results that wait for their use, of each process or of all threads
ENDLESS = 2**62  # the end of a range that nobody reaches
THREADS = max(2, min(os.cpu_count() or 1, 16))


def in_order(function: Callable[[int], Result], start: int, stop: int, processes: int = 0) -> Iterator[Result]:
    """function(start), function(start + 1), ... up to `stop`, each computed before it is asked for.

    Close the iterator to end its threads and processes; an error of the function is raised in its place.

    Args:
        function: pure; for processes one that can be pickled, as its results.
        start, stop: the range of its argument.
        processes: how many compute it; 0 for threads of this process.
    """
    numbers = grain.MapDataset.range(start, stop).map(function)
    if not processes:
        results = iter(numbers.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)))
    else:
        if not flags.FLAGS.is_parsed():  # Grain asks for its flags, of which this program has none
            flags.FLAGS.mark_as_parsed()
        each = numbers.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
        # Through pipes, not shared memory: a container has little of it, and what is on its way at the end stays there.
        through_pipes = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        each = grain.experimental.WithOptionsIterDataset(each, through_pipes)
        options = grain.MultiprocessingOptions(num_workers=processes, per_worker_buffer_size=AHEAD)
        results = iter(each.mp_prefetch(options, worker_init_fn=_start_worker))
    try:
        # Processes are started by the first use, and inherit what is blocked then: Ctrl-C and SIGTERM, which often go
        # to all processes at once, are for this one alone. Python's own helper comes first: its start unblocks them.
        multiprocessing.resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            first = list(itertools.islice(results, 1))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield from first
        yield from results
    finally:
        results.close()


def _start_worker(index: int, count: int) -> None:
    """Ends a process with the one that started it, however that ended."""
    del index, count

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
