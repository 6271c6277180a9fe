"""What a node has: CPUs, GPUs, memory, labels, as detected or as given."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ray_on_dask.config import setting
from ray_on_dask.core.resources import to_units
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins.node import NodeOptions

#: Share of a machine's memory that the object store may use, unless told otherwise.
STORE_SHARE = 0.3


def gpus() -> list[tuple[int, str]]:
    """(id, type) of each GPU that this process may use, [] without any or without `pynvml`.

    `CUDA_VISIBLE_DEVICES` restricts them; types are such as "A100", "V100".
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return []
    try:
        found = [(i, _gpu_type(pynvml, i)) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return [gpu for gpu in found if str(gpu[0]) in names]


def _gpu_type(pynvml: Any, index: int) -> str:
    """The model as Ray names it: "Tesla V100-SXM2-16GB" is "V100"."""
    name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index))
    if isinstance(name, bytes):
        name = name.decode()
    words = name.replace("NVIDIA", "").replace("Tesla", "").replace("GeForce", "").split()
    return words[0].partition("-")[0] if words else name


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


def node_options(
    worker: Any,
    *,
    resources: dict[str, float] | None = None,
    num_cpus: float | None = None,
    num_gpus: int | None = None,
    memory: int | None = None,
    object_store_memory: int | None = None,
    plasma_directory: str | None = None,
    temp_dir: str | None = None,
    ip: str = "",
    labels: dict[str, str] | None = None,
    spares: int | None = None,
    head: bool = False,
) -> NodeOptions:
    """How to set a node up on a Dask worker: its threads are CPUs, its resources resources."""
    declared = dask.worker_resources(worker)
    given = {**declared, **(resources or {})}
    cpus = worker.state.nthreads if num_cpus is None else num_cpus
    found = gpus() if num_gpus is None and "GPU" not in given else []
    count = given.pop("GPU", None) if num_gpus is None else num_gpus
    count = len(found) if count is None else int(count)
    types = {kind for _, kind in (found or gpus())} if count else set()
    ids = [id for id, _ in found][:count] or list(range(count))
    temp_dir = temp_dir or setting("temp-dir")
    # Several workers on one host have a share of its memory each.
    available = dask.worker_memory(worker) or memory_limit()
    capacity = store_capacity(object_store_memory, plasma_directory, available)
    address = ip or dask.worker_host(worker) or node_ip()
    total = {
        "CPU": float(cpus), "GPU": float(count),
        "memory": float(memory or max(0, available - capacity)),
        "object_store_memory": float(capacity), f"node:{address}": 1.0,
        **{f"accelerator_type:{kind}": 1.0 for kind in types}, **given,
    }  # fmt: skip
    if head:
        total["node:__internal_head__"] = 1.0
    units = {name: to_units(quantity) for name, quantity in total.items() if quantity > 0}
    if spares is None:
        spares = min(int(cpus) or 1, 4)
    if len(types) == 1:
        labels = {"ray.io/accelerator-type": next(iter(types)), **(labels or {})}
    return NodeOptions(
        units, labels or {}, ids, capacity, plasma_directory, temp_dir, address, spares, head
    )
