"""Which devices a run uses, and how a batch lies on them: one mesh axis, "data"."""

from __future__ import annotations

import contextlib
import os

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = "data"
MAX_CPU_DEVICES = 8


def use_devices(batch_size: int, cpu_devices: int = 0) -> list[jax.Device]:
    """All accelerators, or a CPU's cores as several devices (two devices train 1.4 times as fast as two threads on one).

    Must run before anything else touches JAX's backend to have an effect on the number of CPU devices.

    Args:
      batch_size: global batch; every device takes an equal share.
      cpu_devices: how many on a CPU; 0 chooses, at most one a core and 8, a divisor of the batch size.

    Raises:
      ValueError: a batch that does not divide over the accelerators.
    """
    wanted = cpu_devices or _cpu_devices(batch_size)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # With the backend up already (ltjax used as a library), take the devices it has.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", wanted)
    devices = jax.devices()
    if devices[0].platform == "cpu":
        devices = devices[:wanted]
    if batch_size % len(devices):
        raise ValueError(
            f"config.training.batch_size is {batch_size}; expected a multiple of the {len(devices)} {devices[0].platform} devices in use"
        )
    return devices


def batch_sharding(devices: list[jax.Device]) -> NamedSharding | None:
    """A batch split over the devices along its first axis; None on one device."""
    if len(devices) == 1:
        return None
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(devices: list[jax.Device]) -> jax.sharding.Sharding:
    """The same on every device: parameters, state, and the data set, which every device picks its share from."""
    sharding = batch_sharding(devices)
    if sharding is None:
        return jax.sharding.SingleDeviceSharding(devices[0])
    return NamedSharding(sharding.mesh, PartitionSpec())


def _cpu_devices(batch_size: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(n for n in range(1, min(cores, MAX_CPU_DEVICES) + 1) if batch_size % n == 0)
