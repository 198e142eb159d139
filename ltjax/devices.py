"""Which devices a run uses, and how a batch lies on them: one mesh axis, "data"."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = "data"
MAX_CPU_DEVICES = 8
HEARTBEAT_SECONDS = 30
"""After so long without a sign of life from one process the others stop."""


def join_processes(coordinator: str = "", num_processes: int = -1, process_id: int = -1) -> None:
    """Makes this process one of several that train together (jax.distributed). Call it before
    anything else of JAX.

    Args:
      coordinator: host:port of process 0; "" has jax.distributed find it, in the environment of
        Slurm, MPI, Kubernetes or a TPU pod.
      num_processes, process_id: -1 has it find them too.

    Raises:
      ValueError: nothing found, or the others did not come within five minutes. One line.
    """
    # A lost process ends the others by an abort: JAX's message says so, a dump of every thread
    # would bury it.
    faulthandler.disable()
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator or None,
            num_processes=None if num_processes < 0 else num_processes,
            process_id=None if process_id < 0 else process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:  # of many kinds, from several layers
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the processes could not join ({reason});"
            " start each with --coordinator=HOST:PORT --num_processes=N --process_id=I,"
            " or with --distributed alone under Slurm, MPI, Kubernetes or on a TPU pod"
        ) from None


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX was told of another: the same
    run starts faster the next time.

    A folder a kind of CPU, since XLA compiles for the one it runs on.
    JAX_ENABLE_COMPILATION_CACHE=false turns it off.
    """
    chosen = jax.config.values
    if chosen["jax_compilation_cache_dir"] or not chosen["jax_enable_compilation_cache"]:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        flags = next(
            line
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith(("flags", "Features"))
        )
    except (OSError, StopIteration):
        flags = platform.processor()
    folder = base / "ltjax" / f"compiled-{hashlib.sha256(flags.encode()).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # no home, or a full or read-only disk: compile each time
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update(
            "jax_persistent_cache_min_compile_time_secs", 0.05
        )  # JAX's own second leaves two dozen small programs out


def use_devices(batch_size: int, cpu_devices: int = 0) -> list[jax.Device]:
    """All accelerators, or a CPU's cores as several devices (two devices train 1.4 times as fast as
    two threads on one).

    Must run before anything else touches JAX's backend to have an effect on the number of CPU
    devices.

    Args:
      batch_size: global batch; every device takes an equal share.
      cpu_devices: how many on a CPU, in each process; 0 chooses, at most one a core and 8, a
        divisor of the batch size.

    Raises:
      ValueError: a batch that does not divide over the accelerators.
    """
    wanted = cpu_devices or _cpu_devices(batch_size)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # With the backend up already (ltjax used as a library), take the devices it has.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", wanted)
    devices = jax.devices()
    if devices[0].platform == "cpu" and jax.process_count() == 1:
        devices = devices[:wanted]
    if batch_size % len(devices):
        raise ValueError(
            f"config.training.batch_size is {batch_size};"
            f" expected a multiple of the {len(devices)} {devices[0].platform} devices in use"
        )
    return devices


CPU_OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


@functools.cache
def compiler_options() -> dict[str, str]:
    """What programs that train are compiled with beyond XLA's defaults.

    On a CPU the scheduler that keeps few buffers alive, and not the one that starts early what
    could run side by side: with one core a device nothing can (docs/performance.md). Results are
    the same to the bit. Nothing where XLA has no such option.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:  # a newer XLA without it
        return {}
    return CPU_OPTIONS


def batch_sharding(devices: list[jax.Device]) -> NamedSharding | None:
    """A batch split over the devices along its first axis; None on one device."""
    if len(devices) == 1:
        return None
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(devices: list[jax.Device]) -> jax.sharding.Sharding:
    """The same on every device: parameters, state, and the data set, which every device picks its
    share from.
    """
    sharding = batch_sharding(devices)
    if sharding is None:
        return jax.sharding.SingleDeviceSharding(devices[0])
    return NamedSharding(sharding.mesh, PartitionSpec())


def put(tree: Any, place: jax.sharding.Sharding) -> Any:
    """The tree's leaves on the devices of `place`, which may belong to several processes; each has
    the same whole values.
    """
    if place.is_fully_addressable:
        return jax.device_put(tree, place)

    def one(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(leaf)))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, place, lambda index: whole[index])

    return jax.tree.map(one, tree)


def local_rows(sharding: jax.sharding.NamedSharding | None, size: int) -> np.ndarray:
    """Which rows of a batch this process holds: its devices' shares, or all where the batch does
    not divide over the devices.
    """
    if sharding is None or size % sharding.num_devices:
        return np.arange(size)
    shares = sharding.addressable_devices_indices_map((size,)).values()
    return np.sort(np.concatenate([np.arange(size)[index] for index in shares]))


def put_batch(
    local: Any, size: int, sharding: jax.sharding.NamedSharding | None, used: list[jax.Device]
) -> Any:
    """A batch of `size` rows on the devices, from the `local_rows` of each process."""
    if sharding is None or size % sharding.num_devices:
        return put(local, replicated(used))
    if sharding.is_fully_addressable:
        return jax.device_put(local, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(
            sharding, leaf, (size, *leaf.shape[1:])
        ),
        local,
    )


def peak_memory(used: list[jax.Device]) -> dict[str, int]:
    """Most memory held so far, in MiB: of this process, and of its first device where
    that tells.
    """
    found = {}
    with contextlib.suppress(ImportError):  # there is none on Windows
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["peak_host_mib"] = peak // (2**20 if sys.platform == "darwin" else 2**10)
    local = next(device for device in used if device.process_index == jax.process_index())
    stats = local.memory_stats() if local.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        found["peak_device_mib"] = stats["peak_bytes_in_use"] // 2**20
    return found


def any_process(flag: bool) -> bool:
    """Whether the flag is set in some process; every process must ask."""
    return any_processes(flag)[0]


def any_processes(*flags: bool) -> list[bool]:
    """Of each flag whether it is set in some process; every process must ask."""
    if jax.process_count() == 1:
        return list(flags)
    gathered = multihost_utils.process_allgather(np.asarray(flags))
    return gathered.reshape(-1, len(flags)).any(axis=0).tolist()


def together(seconds: int = 10) -> bool:
    """Whether the other processes come here too, within so many seconds: all ends alike then, and
    none waits for one that is gone.

    They ask each other and not their devices: of those each may have another number when an error
    came before they were chosen, and a collective has no limit of time.
    """
    from orbax.checkpoint import multihost as orbax_multihost

    try:
        wait = orbax_multihost.get_barrier_sync_fn()
        wait(key="ltjax: the end", timeout_ms=1000 * seconds)
    except Exception:  # of many kinds, from several layers
        return False
    return True


def several_processes() -> bool:
    """Whether this process trains together with others."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_lead() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def _cpu_devices(batch_size: int) -> int:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(n for n in range(1, min(cores, MAX_CPU_DEVICES) + 1) if batch_size % n == 0)
