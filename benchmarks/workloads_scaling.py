"""How costs grow: queued tasks as a curve, and the limits Ray publishes for one node."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.meter import Meter
from benchmarks.registry import Better, Suite, cost, limit, workload
from benchmarks.workloads_tasks import small_task

MICRO = 1e6
#: Sizes of the curve that every run but the quick one measures.
SIZES = (100, 1_000, 10_000, 100_000)
MILLION = 1_000_000
ARGUMENTS = 10_000
RETURNS = 3_000
OBJECTS = 10_000
LENGTH = 10_000


def drain_seconds(ray: Any, meter: Meter, tasks: int) -> float:
    """Give the seconds from the first of `tasks` submitted to the last result."""
    small = small_task(ray)
    ray.get([small.remote() for _ in range(100)])
    repeats = max(1, 1_000 // tasks)

    def step() -> None:
        for _ in range(repeats):
            ray.get([small.remote() for _ in range(tasks)])

    return meter.once(step) / repeats


@workload(
    *(
        cost(f"queued_{size}", f"cost of a task, {size:,} queued", goal=None, unit="µs")
        for size in SIZES
    ),
    limit(
        "queued_growth",
        "cost at 100,000 queued ÷ least",
        goal=1.5,
        unit="times",
        better=Better.LOWER,
    ),
    timeout=600,
)
def queued_curve(ray: Any, meter: Meter) -> tuple[float, ...]:
    """Submit and get ever more tasks at once; the cost of each should stay the same."""
    costs = [drain_seconds(ray, meter, size) * MICRO / size for size in SIZES]
    return (*costs, costs[-1] / min(costs))


@workload(
    cost("queued_1m", "1,000,000 tasks queued on one node", goal=1.0, published=200),
    cost("queued_1000000", "cost of a task, 1,000,000 queued", goal=None, unit="µs"),
    suite=Suite.FULL,
    timeout=1800,
)
def queued_million(ray: Any, meter: Meter) -> tuple[float, float]:
    """Submit a million tasks and get them all."""
    seconds = drain_seconds(ray, meter, MILLION)
    return seconds, seconds * MICRO / MILLION


@workload(
    cost("envelope_args", "10,000 object arguments to one task", goal=1.0, published=18.8),
)
def envelope_arguments(ray: Any, meter: Meter) -> float:
    """Give one task 10,000 lists of 10,000 numbers as arguments."""

    @ray.remote
    def total(*lists: list[int]) -> int:
        return sum(map(sum, lists))

    def step() -> None:
        lists = [[1] * LENGTH for _ in range(ARGUMENTS)]
        assert ray.get(total.remote(*lists)) == ARGUMENTS * LENGTH

    return meter.once(step)


@workload(cost("envelope_returns", "3,000 returns from one task", goal=1.0, published=5.7))
def envelope_returns(ray: Any, meter: Meter) -> float:
    """Get 3,000 lists of 10,000 numbers, all returned by one task, one after the other."""

    @ray.remote(num_returns=RETURNS)
    def make() -> tuple[list[int], ...]:
        return tuple(list(range(LENGTH)) for _ in range(RETURNS))

    def step() -> None:
        expected = list(range(LENGTH))
        assert all(ray.get(ref) == expected for ref in make.remote())

    return meter.once(step)


@workload(cost("envelope_get", "10,000 stored objects in one get", goal=1.0, published=23.0))
def envelope_get(ray: Any, meter: Meter) -> float:
    """Put 10,000 lists and get them at once, then the same with arrays."""
    numbers = list(range(LENGTH))
    array = np.arange(LENGTH)

    def step() -> None:
        lists = ray.get([ray.put(list(numbers)) for _ in range(OBJECTS)])
        assert all(value == numbers for value in lists)
        arrays = ray.get([ray.put(array.copy()) for _ in range(OBJECTS)])
        assert all((value == array).all() for value in arrays)

    return meter.once(step)
