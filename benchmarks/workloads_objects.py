"""Objects: `put`, `get` and `wait`, small and large."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import bare_writers, sessions
from benchmarks.meter import Meter
from benchmarks.registry import Better, Suite, cost, limit, rate, workload

#: Numbers of eight bytes: 800 MB, 80 MB and 8 MB, in powers of two as in Ray's own suite.
HUGE = 100 * 1024 * 1024
LARGE = 10 * 1024 * 1024
MEDIUM = 1024 * 1024
WAITED = 1_000
CONTAINED = 10_000


@workload(rate("get_small", "get of a stored small value", goal=30), suite=Suite.QUICK)
def get_small(ray: Any, meter: Meter) -> float:
    """Get the same stored number again and again."""
    ref = ray.put(0)
    return meter.rate(lambda: ray.get(ref))


@workload(
    rate("put_small", "put of a small value", goal=50, published=5110),
    suite=Suite.QUICK,
)
def put_small(ray: Any, meter: Meter) -> float:
    """Put a number again and again and drop it at once."""
    return meter.rate(lambda: ray.put(0))


def memory_copy(meter: Meter, source: np.ndarray[Any, Any]) -> float:
    """Give the GB/s of a plain copy of `source` into memory that is warm."""
    target = np.ones_like(source)
    return meter.rate(lambda: np.copyto(target, source), source.nbytes / 1e9)


@workload(
    rate("put_800mb", "put of 800 MB", goal=5, unit="GB/s"),
    limit(
        "put_800mb_of_memcpy",
        "put of 800 MB ÷ plain copy",
        goal=0.7,
        unit="of a copy",
        better=Better.HIGHER,
    ),
    rate("memcpy_800mb", "plain copy of 800 MB, same process", goal=None, unit="GB/s"),
    suite=Suite.QUICK,
)
def put_800mb(ray: Any, meter: Meter) -> tuple[float, float, float]:
    """Put an array of 800 MB and drop it; hold it against a copy in memory, both warm."""
    array = np.arange(HUGE, dtype=np.int64)  # zeros would all be one page
    put = meter.rate(lambda: ray.put(array), array.nbytes / 1e9)
    copy = memory_copy(meter, array)
    return put, put / copy, copy


@workload(rate("put_in_tasks", "10 tasks that each put 10 arrays of 80 MB", goal=1.5, unit="GB/s"))
def put_in_tasks(ray: Any, meter: Meter) -> float:
    """Let ten tasks put ten arrays of 80 MB each and drop them."""

    @ray.remote
    def put_ten() -> None:
        for _ in range(10):
            ray.put(np.zeros(LARGE, dtype=np.int64))

    return meter.rate(lambda: ray.get([put_ten.remote() for _ in range(10)]), 100 * LARGE * 8 / 1e9)


@workload(rate("get_8mb", "get of a stored 8 MB array", goal=3))
def get_8mb(ray: Any, meter: Meter) -> float:
    """Get the same stored array again and again."""
    ref = ray.put(np.zeros(MEDIUM, dtype=np.int64))
    return meter.rate(lambda: ray.get(ref))


@workload(rate("shared_8mb", "500 tasks sharing one 8 MB argument", goal=8))
def tasks_sharing_an_array(ray: Any, meter: Meter) -> float:
    """Give one stored array to 500 tasks."""

    @ray.remote
    def size(array: np.ndarray[Any, Any]) -> int:
        return array.nbytes

    ref = ray.put(np.zeros(MEDIUM, dtype=np.int64))
    return meter.rate(lambda: ray.get([size.remote(ref) for _ in range(500)]), 500)


@workload(
    cost("return_8mb", "100 tasks that each return 8 MB, new cluster", goal=1 / 4),
    cost("return_8mb_warm", "100 tasks that each return 8 MB, repeated", goal=None),
    cost("bare_8mb", "100 arrays of 8 MB, bare processes, new memory", goal=None),
    own_process=True,
)
def tasks_returning_arrays(ray: Any, meter: Meter) -> tuple[float, float, float]:
    """Get the arrays of 8 MB that 100 tasks return, and drop them; first, and then again.

    The machine itself sets a floor under the first: see `bare_writers`.
    """

    @ray.remote
    def make() -> np.ndarray[Any, Any]:
        return np.ones(MEDIUM, dtype=np.int64)

    def step() -> None:
        ray.get([make.remote() for _ in range(100)])

    with sessions.ray_cluster(ray):
        first, again = meter.once(step), meter.duration(step)
    return first, again, bare_writers.seconds(100, MEDIUM)


@workload(
    rate("get_10k_refs", "get of an object with 10,000 refs", goal=3, published=12.7),
)
def get_containing_refs(ray: Any, meter: Meter) -> float:
    """Get a task's result that is a list of 10,000 refs."""

    @ray.remote
    def make() -> list[Any]:
        return [ray.put(1) for _ in range(CONTAINED)]

    ref = make.remote()
    return meter.rate(lambda: ray.get(ref))


@workload(
    rate("wait_1k", "wait 1,000 times on 1,000 refs", goal=10, unit="rounds/s", published=4.9),
)
def wait_repeatedly(ray: Any, meter: Meter) -> float:
    """Submit 1,000 tasks and take them one by one as they are ready."""

    @ray.remote
    def small() -> bytes:
        return b"ok"

    def step() -> None:
        pending = [small.remote() for _ in range(WAITED)]
        for turn in range(WAITED):
            _, pending = ray.wait(pending, fetch_local=turn == 0)

    return meter.rate(step)
