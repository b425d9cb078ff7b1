"""Devices: how work is spread over them. Everywhere else they are no more than the name of an axis."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxgan.errors import UserError

AXIS = "devices"


def axis_name() -> str | None:
    """The name of the mapped axis, or None where one device does all the work."""
    return AXIS if jax.local_device_count() > 1 else None


def check_batch(batch_size: int, group: int = 1) -> None:
    """Raises a `UserError` if the devices do not divide the global batch into whole groups of examples."""
    count = jax.local_device_count()
    unit = count * group
    if batch_size % unit:
        lower, upper = batch_size // unit * unit, -(-batch_size // unit) * unit
        near = f"{lower} or {upper}" if lower else f"{upper}"
        groups = f" in groups of {group}" if group > 1 else ""
        raise UserError(f"config.batch_size={batch_size} does not divide over {count} devices{groups}: make it {near}")


def default_steps_per_dispatch() -> int:
    """Accelerators lose time between dispatches. A CPU has to ask for its memory anew, and is quick to interrupt."""
    return 5 if jax.default_backend() == "cpu" else 50


def cache_compilations() -> None:
    """Keeps compiled programs on disk, in JAX_COMPILATION_CACHE_DIR if set: a second start compiles nothing."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jaxgan"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def replicate(tree: PyTree) -> PyTree:
    """The tree on every local device; with several devices each array gains a leading dimension."""
    if axis_name() is None:
        return jax.device_put(tree)
    return jax.pmap(lambda copy, device: copy, in_axes=(None, 0))(tree, np.arange(jax.local_device_count()))


def unreplicate(tree: PyTree) -> PyTree:
    """One device's copy of what `replicate` or a mapped function made."""
    return tree if axis_name() is None else jax.tree.map(lambda array: array[0], tree)


def split_batch(inputs: PyTree, axis: int = 2) -> PyTree:
    """Each device's share of the batch: [K, repeats, B, ...] to [devices, K, repeats, B / devices, ...]."""
    if axis_name() is None:
        return inputs
    count = jax.local_device_count()
    return jax.tree.map(lambda array: np.stack(np.split(array, count, axis=axis)), inputs)


def put(inputs: PyTree) -> PyTree:
    """Starts to move what `split_batch` made to the devices, and does not wait for it."""
    if axis_name() is None:
        return jax.device_put(inputs)
    return jax.device_put(inputs, NamedSharding(Mesh(jax.local_devices(), (AXIS,)), PartitionSpec(AXIS)))


def room_for_data() -> int:
    """Bytes of each device's memory that a data set may fill: a quarter of it."""
    return memory() // 4


def memory() -> int:
    """Bytes of each device's memory; of the CPU's devices each has its share."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    container = Path("/sys/fs/cgroup/memory.max")
    if container.exists() and (limit := container.read_text().strip()).isdigit():
        host = min(host, int(limit))
    return statistics.get("bytes_limit", host // jax.local_device_count())


def run_once(function: Callable[..., PyTree], *arguments: object) -> PyTree:
    """The function's result, compiled as a whole; on a CPU without optimisation, which costs more than it saves."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(lambda: function(*arguments)).lower().compile(compiler_options=options)()


def compile_steps(
    function: Callable, state: PyTree, data: PyTree, inputs: PyTree, profile: bool = False
) -> jax.stages.Compiled:
    """Compiles (state, data, inputs) -> (state, metrics) for all local devices; the state's memory is reused.

    Args:
        function: for one device, with collectives over `axis_name()` where there are several.
        state: one device's state, or its shapes.
        data, inputs: as `replicate` and `split_batch` make them.
        profile: whether traces are to show each operation, which a CPU's program does only if told so.

    Returns:
        The compiled function of a replicated state, data and inputs. Its metrics are those of the global batch.
    """
    options = {}
    if jax.default_backend() == "cpu":
        options["xla_disable_hlo_passes"] = "cse_barrier_expander"  # or barriers are gone before loops are fused
        options["xla_cpu_enable_xprof_traceme"] = profile
    if axis_name() is None:
        return jax.jit(function, donate_argnums=0).lower(state, data, inputs).compile(compiler_options=options)
    count = jax.local_device_count()
    copies = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), state)
    mapped = jax.pmap(function, axis_name=AXIS, donate_argnums=0, out_axes=(0, None))
    return mapped.lower(copies, data, inputs).compile(compiler_options=options)
