"""Devices: how work is divided among them. Everywhere else they are no more than the name of an axis."""

import functools
import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxgan.errors import UserError, warn_once
from jaxgan.io.files import make_folder

AXIS = "devices"


def axis_name() -> str | None:
    """The name of the mapped axis, or None where one device does all the work."""
    return AXIS if jax.device_count() > 1 else None


def check_batch(batch_size: int, group: int = 1) -> None:
    """Raises a `UserError` if the devices do not divide the global batch into whole groups of examples."""
    count = jax.device_count()
    unit = count * group
    if batch_size % unit:
        lower, upper = batch_size // unit * unit, -(-batch_size // unit) * unit
        near = f"{lower} or {upper}" if lower else f"{upper}"
        groups = f" in groups of {group}" if group > 1 else ""
        raise UserError(f"config.batch_size={batch_size} does not divide over {count} devices{groups}: make it {near}")


def default_steps_per_dispatch() -> int:
    """Accelerators lose time between dispatches. A CPU has to ask for its memory anew, and is quick to interrupt."""
    return 5 if jax.default_backend() == "cpu" else 50


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, in JAX_COMPILATION_CACHE_DIR if set: a second start compiles nothing.

    Where that folder cannot be written it warns, and every start compiles.
    """
    place = jax.config.jax_compilation_cache_dir or "~/.cache/jaxgan"
    try:
        if "://" not in place:  # of a bucket JAX knows more
            place = str(Path(place).expanduser())
            make_folder(Path(place))
    except (OSError, RuntimeError) as error:  # the latter of a user without a home
        reason = getattr(error, "strerror", None) or error
        warn_once(f"{place} cannot be written ({reason}): set JAX_COMPILATION_CACHE_DIR, or every start compiles anew")
        place = None
    jax.config.update("jax_compilation_cache_dir", place)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def replicate(tree: PyTree) -> PyTree:
    """The tree on every device of every process, each of which has the same one at hand."""
    if axis_name() is None:
        return jax.device_put(tree)
    arrays = jax.tree.map(np.asarray, tree)
    return jax.tree.map(
        lambda array: jax.make_array_from_callback(array.shape, batch_sharding(), lambda part: array[part]), arrays
    )


def unreplicate(tree: PyTree) -> PyTree:
    """One device's copy of what `replicate` or compiled steps made."""
    return tree if axis_name() is None else jax.tree.map(lambda array: array.addressable_data(0), tree)


def shard_batch(inputs: PyTree, axis: int) -> PyTree:
    """Starts to move a process's inputs to its devices, sharded along an axis, and does not wait for it."""
    if axis_name() is None:
        return jax.device_put(inputs)
    shares = batch_sharding(axis)
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(shares, array), inputs)


def batch_spec(inputs: PyTree, axis: int) -> PyTree:
    """The shapes of what `shard_batch` makes of a process's inputs, given theirs."""
    if axis_name() is None:
        return inputs
    count = jax.process_count()

    def spec(local: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        whole = tuple(size * count if place == axis else size for place, size in enumerate(local.shape))
        return jax.ShapeDtypeStruct(whole, local.dtype, sharding=batch_sharding(axis))

    return jax.tree.map(spec, inputs)


def batch_sharding(axis: int | None = None) -> NamedSharding:
    """An array's division among all devices along one of its axes; None for the whole of it on each."""
    # Process by process, since a process reads the examples of a batch that follow each other.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), _spec(axis))


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)


@functools.lru_cache(maxsize=64)
def local_shard_map(function: Callable, axes: tuple[int | None, ...], out_axis: int | None) -> Callable:
    """The function, jitted, with some arguments sharded over this process's devices, whatever other processes do.

    Args:
        function: for one device, with collectives over `AXIS` where there are several. The same object every time, or
            it is compiled anew.
        axes: of each argument, along which it is sharded; None if every device has all of it.
        out_axis: likewise of all results.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.jit(function)
    specs = {"in_specs": tuple(map(_spec, axes)), "out_specs": _spec(out_axis), "check_vma": False}
    return jax.jit(jax.shard_map(function, mesh=Mesh(np.array(devices), (AXIS,)), **specs))


def replicate_locally(tree: PyTree) -> PyTree:
    """The tree on each of this process's devices."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec()))


def map_rows(function: Callable, rows: Sequence[np.ndarray], *others: np.ndarray) -> PyTree:
    """A function's results for each row, each from that row and all of the others, worked out by all local devices.

    Args:
        function: (*rows, *others) -> arrays with as many rows, each of which depends on no other row.
        rows: arrays of equally many, at least one.
        others: arrays.
    """
    count, devices = len(rows[0]), jax.local_device_count()
    filled = np.minimum(np.arange(-(-count // devices) * devices), count - 1)
    parts = rows if len(filled) == count else [array[filled] for array in rows]
    mapped = local_shard_map(function, (0,) * len(rows) + (None,) * len(others), 0)
    return jax.tree.map(lambda array: np.asarray(array)[:count], mapped(*parts, *others))


def resident_data_limit() -> int:
    """Bytes of each device's memory that a data set may fill: a quarter of it."""
    return device_memory() // 4


def device_memory() -> int:
    """Bytes of each device's memory; of the CPU's devices each has its share."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit", host_memory() // jax.local_device_count())


def host_memory() -> int:
    """Bytes of memory that this machine has, or its container or this process may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min([physical, *([] if own == resource.RLIM_INFINITY else [own]), *cgroup_limits()])


def cgroup_limits(mounted: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """The limits on memory, in bytes, of this process's control groups and of those around them.

    Args:
        mounted: where the kernel shows control groups: those of version 2, and in `memory` those of version 1.
        own: where it names this process's: lines "ID:CONTROLLERS:/PATH", version 2 without controllers. A container
            may show its own group as the outermost, whatever the name.
    """
    found = []
    for line in own.read_text().splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (mounted / "memory", "memory.limit_in_bytes") if controllers else (mounted, "memory.max")
        group = PurePosixPath(path).relative_to("/")
        for folder in (group, *group.parents):
            limit = root / folder / name
            if limit.is_file() and (text := limit.read_text().strip()).isdigit():  # and not "max"
                found.append(int(text))
    return found


def compile_and_run(function: Callable[..., PyTree], *arguments: object) -> PyTree:
    """The function's result, compiled as a whole; on a CPU without optimisation, which costs more than it saves."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(lambda: function(*arguments)).lower().compile(compiler_options=options)()


def compile_steps(
    function: Callable, state: PyTree, data: PyTree, inputs: PyTree, axis: int, profile: bool = False
) -> jax.stages.Compiled:
    """Compiles (state, data, inputs) -> (state, metrics) for all devices; the state's memory is reused.

    Args:
        function: for one device, with collectives over `axis_name()` where there are several.
        state: what is to be replicated, or its shapes.
        data: as `replicate` makes them.
        inputs: as `shard_batch` makes them, or their shapes.
        axis: of the inputs, along which they are sharded.
        profile: whether traces are to show each operation, which a CPU's program does not by default.

    Returns:
        The compiled function of a replicated state, data and inputs. Its metrics are those of the global batch.
    """
    options = {}
    if jax.default_backend() == "cpu":
        options["xla_disable_hlo_passes"] = "cse_barrier_expander"  # or barriers are gone before loops are fused
        options["xla_cpu_enable_xprof_traceme"] = profile
        if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):  # what a user asks for stands
            options["xla_backend_optimization_level"] = 2  # a convolution's gradients: .64 s, at 3 1.4 s, as fast
    if axis_name() is not None:
        whole = batch_sharding()
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), state)
        # Not `jax.pmap`, which is made of this and cannot be compiled ahead for several processes.
        specs = {"in_specs": (_spec(None), _spec(None), _spec(axis)), "out_specs": _spec(None), "check_vma": False}
        function = jax.shard_map(function, mesh=whole.mesh, **specs)
    return jax.jit(function, donate_argnums=0).lower(state, data, inputs).compile(compiler_options=options)
