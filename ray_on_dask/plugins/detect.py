"""What a node has: CPUs, GPUs, memory, labels, as detected or as given."""

from __future__ import annotations

import shutil
from typing import Any

from ray_on_dask.config import nbytes, setting
from ray_on_dask.core.resources import to_units
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins.gpus import claim
from ray_on_dask.plugins.node import NodeOptions

#: Share of a machine's memory that the object store may use, unless told otherwise.
STORE_SHARE = 0.3


def memory_limit() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's."""
    import psutil

    total: int = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def store_capacity(given: int | None, directory: str | None, available: int = 0) -> int:
    """Bytes for the object store: as given, or a share of the memory that is available."""
    if given:
        return int(given)
    room = shutil.disk_usage(directory or "/dev/shm").free
    return min(int((available or memory_limit()) * STORE_SHARE), int(room * 0.9))


def node_ip() -> str:
    """This machine's address, as others see it; loopback without a network."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("10.255.255.255", 1))
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def given_name(worker: Any) -> str:
    """What ``dask worker --name`` was given, "" for a name that is only an address or a number."""
    return worker.name if isinstance(worker.name, str) and "://" not in worker.name else ""


def node_options(
    worker: Any,
    *,
    resources: dict[str, float] | None = None,
    num_cpus: float | None = None,
    num_gpus: int | None = None,
    memory: int | None = None,
    object_store_memory: int | None = None,
    plasma_directory: str | None = None,
    spill_directory: str | None = None,
    temp_dir: str | None = None,
    ip: str = "",
    labels: dict[str, str] | None = None,
    spares: int | None = None,
    head: bool = False,
    node_name: str = "",
) -> NodeOptions:
    """How to set a node up on a Dask worker: its threads are CPUs, its resources resources."""
    given = {**dask.worker_resources(worker), **(setting("resources") or {}), **(resources or {})}
    num_cpus = setting("num-cpus") if num_cpus is None else num_cpus
    cpus = worker.state.nthreads if num_cpus is None else num_cpus
    temp_dir = temp_dir or setting("temp-dir")
    plasma_directory = plasma_directory or setting("plasma-directory")
    object_store_memory = object_store_memory or nbytes(setting("object-store-memory"))
    memory = memory or nbytes(setting("memory"))
    num_gpus = setting("num-gpus") if num_gpus is None else num_gpus
    declared = given.pop("GPU", None)
    wanted = declared if num_gpus is None else num_gpus
    cluster = dask.scheduler_address(worker)
    claimed = claim(cluster, None if wanted is None else int(wanted))
    types = claimed.kinds
    # Several workers on one host have a share of its memory each.
    available = dask.worker_memory(worker) or memory_limit()
    capacity = store_capacity(object_store_memory, plasma_directory, available)
    address = ip or dask.worker_host(worker) or node_ip()
    total = {
        "CPU": float(cpus), "GPU": float(len(claimed.ids)),
        "memory": float(memory or max(0, available - capacity)),
        "object_store_memory": float(capacity), f"node:{address}": 1.0,
        **{f"accelerator_type:{kind}": 1.0 for kind in types}, **given,
    }  # fmt: skip
    if head:
        total["node:__internal_head__"] = 1.0
    units = {name: to_units(quantity) for name, quantity in total.items() if quantity > 0}
    if spares is None:
        spares = min(int(cpus) or 1, 4)
    known = {"ray.io/accelerator-type": next(iter(types))} if len(types) == 1 else {}
    labels = {**known, **(setting("labels") or {}), **(labels or {})}
    return NodeOptions(
        units, labels, claimed, capacity, plasma_directory, temp_dir,
        spill_directory or setting("spill-directory") or worker.local_directory,
        address, spares, head, node_name or ("" if head else given_name(worker)),
    )  # fmt: skip
