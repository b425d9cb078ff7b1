"""Several processes that train one experiment together: how they meet, agree, and notice that one of them is gone."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax._src import distributed  # its store of keys is public nowhere, and Orbax takes it from there as well
from jax.experimental import multihost_utils

from jaxgan.errors import INTERRUPTED, UserError

HEARTBEAT_TIMEOUT = 15  # seconds without a sign of life, after which a process counts as gone
LIMITS = {"heartbeat_timeout_seconds": 40, "shutdown_timeout_seconds": 20, "initialization_timeout": 120}


class ClusterSpec(NamedTuple):
    """How the processes find each other.

    Attributes:
        distributed: whether JAX finds out from SLURM, Open MPI, Kubernetes or a TPU pod.
        coordinator: HOST:PORT of process 0, if it does not.
        count, index: of the processes, and of this one.
    """

    distributed: bool = False
    coordinator: str | None = None
    count: int | None = None
    index: int | None = None


def initialize(group: ClusterSpec) -> None:
    """Waits for the other processes of the group; a process of no group is alone.

    Raises:
        UserError: the group is not described in full, or the processes do not meet.
    """
    given = (group.coordinator, group.count, group.index)
    if given == (None, None, None) and not group.distributed:
        return
    if not group.distributed and None in given:
        raise UserError("--coordinator, --num_processes and --process_id belong together, or give --distributed alone")
    if not group.distributed and not (group.count > 0 and 0 <= group.index < group.count):
        raise UserError(f"--process_id={group.index} must be from 0 to --num_processes={group.count} less one")
    # CPUs would run a step beside the collectives of a checkpoint, and take the messages of one for those of the other.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(*given, **LIMITS)
    except (RuntimeError, ValueError) as error:  # what JAX answers is long, and its first line says it
        reason = str(error).strip().splitlines()[0][:300]
        raise UserError(f"the processes did not meet ({reason}): start all of them, with one coordinator") from error
    if is_multihost():
        threading.Thread(target=_watch, name="watch", daemon=True).start()


def is_multihost() -> bool:
    """Whether other processes train the same experiment."""
    return jax.process_count() > 1


def is_main() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def barrier(place: str) -> None:
    """Returns once all processes have come to this place."""
    if is_multihost():
        multihost_utils.sync_global_devices(place)


def print_once(text: str) -> None:
    """Prints it, once for all processes."""
    if is_main():
        print(text.encode(errors="backslashreplace").decode(), flush=True)  # a folder's name need not be text


@contextlib.contextmanager
def defer_to_heartbeat() -> Iterator[None]:
    """Leaves it to the watch to say which process is gone, if that is what went wrong on a device."""
    try:
        yield
    except Exception:  # a collective that fails raises one thing or another
        if jax.distributed.is_initialized():
            time.sleep(HEARTBEAT_TIMEOUT + 5)
        raise


def shutdown(code: int) -> int:
    """The exit code of a process; where there are several, a failed one does not wait for the others."""
    if jax.distributed.is_initialized():
        if code not in (0, INTERRUPTED):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        jax.distributed.shutdown()
    return code


def _watch() -> None:
    """Gives signs of life, and ends this process if another one gives none: training would wait for it forever."""
    client, me, total = distributed.global_state.client, jax.process_index(), jax.process_count()
    seen = {index: ("", time.monotonic()) for index in range(total) if index != me}
    count = 0
    while jax.distributed.is_initialized():
        count += 1
        try:
            client.key_value_set(f"jaxgan/alive/{me}", str(count), allow_overwrite=True)
            for index, (sign, since) in seen.items():
                new = _value(client, f"jaxgan/alive/{index}")
                if new != sign:
                    seen[index] = new, time.monotonic()
                elif time.monotonic() - since > HEARTBEAT_TIMEOUT:
                    _end(index, total)
        except jax.errors.JaxRuntimeError:  # process 0 keeps the store
            if jax.distributed.is_initialized():
                _end(0, total)
        time.sleep(1)


def _value(client: object, key: str) -> str:
    try:
        return client.key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return ""
        raise


def _end(gone: int, total: int) -> None:
    who = f"process {gone} of {total} is gone"
    print(f"error: {who}: start all of them again, they resume from the last checkpoint", file=sys.stderr, flush=True)
    os._exit(2)
