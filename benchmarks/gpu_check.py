"""GPUs as they are: allocation by ids, two half-GPU tasks side by side, memory freed.

    python -m benchmarks.gpu_check

prints a line for each check, and exits with 1 if one fails, with 2 if there is no GPU. It uses
CUDA's driver alone. ``GPU_CHECK_DRIVER=module:Class`` puts another class in place of
`cuda_driver.Cuda`; the tests do so.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import ray_on_dask as ray

MEGABYTES = 512
#: Seconds for everything that is waited for.
PATIENCE = 120.0


def driver() -> Any:
    """The GPU that this process sees, a context on it begun."""
    module, _, name = os.environ.get("GPU_CHECK_DRIVER", "benchmarks.cuda_driver:Cuda").partition(
        ":"
    )
    gpu = getattr(importlib.import_module(module), name)()
    gpu.begin()
    return gpu


@ray.remote(num_gpus=1, num_cpus=0)
def whole() -> tuple[list[Any], str, str]:
    """The ids of a task that takes memory on its GPU; the variable; the GPU's UUID."""
    gpu = driver()
    gpu.allocate(MEGABYTES << 20)
    return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"], gpu.uuid()


@ray.remote(num_cpus=0, num_gpus=0.25)
class Holder:
    """A process on a GPU, with memory there if it is told so."""

    def __init__(self, megabytes: int) -> None:
        self.gpu = driver()
        if megabytes:
            self.gpu.allocate(megabytes << 20)

    def uuid(self) -> str:
        """Which GPU it has."""
        return str(self.gpu.uuid())

    def free(self) -> int:
        """Bytes free there."""
        return int(self.gpu.free())


@ray.remote(num_cpus=0, num_gpus=0.5)
def side_by_side(begin: float) -> tuple[str, float, float]:
    """Which GPU, from when to when: it works until the other one should have begun."""
    gpu = driver()
    start = time.time()
    while time.time() < max(begin, start) + 1.0:
        gpu.allocate(1 << 20)
        time.sleep(0.05)
    return gpu.uuid(), start, time.time()


def until_all_are_free() -> None:
    """Wait for what earlier checks had: executors keep it for a moment after their last task."""
    deadline = time.monotonic() + PATIENCE
    while ray.available_resources().get("GPU", 0) < ray.cluster_resources()["GPU"]:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.05)


def check_ids() -> str:
    """Each id is one GPU, and each task sees its own alone."""
    count = int(ray.cluster_resources()["GPU"])
    found = ray.get([whole.remote() for _ in range(3 * count)], timeout=PATIENCE)
    by_id: dict[Any, set[str]] = {}
    for ids, visible, uuid in found:
        assert len(ids) == 1 and visible == str(ids[0]), (ids, visible)
        by_id.setdefault(ids[0], set()).add(uuid)
    assert all(len(uuids) == 1 for uuids in by_id.values()), by_id
    assert len({uuid for uuids in by_id.values() for uuid in uuids}) == len(by_id), by_id
    return f"{len(found)} tasks on {len(by_id)} of {count} GPUs, each with {MEGABYTES} MB"


def check_halves() -> str:
    """Two tasks with half a GPU run on one GPU at the same time."""
    begin = time.time() + 2.0
    (one, start1, end1), (two, start2, end2) = ray.get(
        [side_by_side.remote(begin) for _ in range(2)], timeout=PATIENCE
    )
    both = min(end1, end2) - max(start1, start2)
    assert one == two, "halves are put on one GPU, so that whole ones stay free"
    assert both > 0, (start1, end1, start2, end2)
    return f"both on {one[:8]} for {both:.1f} s"


def check_freed() -> str:
    """An actor's memory is free again when it has ended."""
    until_all_are_free()  # else two parts may be where they fit best, on one GPU each
    probe = Holder.remote(0)
    here, before = ray.get([probe.uuid.remote(), probe.free.remote()], timeout=PATIENCE)
    holder = Holder.remote(MEGABYTES)
    assert ray.get(holder.uuid.remote(), timeout=PATIENCE) == here, "parts are on one GPU"
    during = ray.get(probe.free.remote(), timeout=PATIENCE)
    assert before - during >= (MEGABYTES - 16) << 20, (before, during)
    ray.kill(holder)
    deadline = time.monotonic() + 30.0
    while (after := ray.get(probe.free.remote(), timeout=PATIENCE)) < before - (16 << 20):
        assert time.monotonic() < deadline, (before, during, after)
        time.sleep(0.05)
    return f"free: {before >> 20} MB, {during >> 20} while it lived, {after >> 20} after"


CHECKS: dict[str, Callable[[], str]] = {
    "ids": check_ids, "halves": check_halves, "freed": check_freed,
}  # fmt: skip


def main() -> int:
    """Run all checks."""
    ray.init(include_dashboard=False, log_to_driver=False)
    try:
        if not ray.cluster_resources().get("GPU"):
            print("no GPU is found through NVML here")
            return 2
        failed = 0
        for name, check in CHECKS.items():
            try:
                print(f"{name:8} ok      {check()}", flush=True)
            except Exception as error:
                failed += 1
                print(f"{name:8} FAILED  {type(error).__name__}: {error}", flush=True)
        return int(failed > 0)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
