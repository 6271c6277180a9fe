"""Tasks: one at a time, in batches, from several callers, queued, chained."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.meter import Meter
from benchmarks.registry import Suite, cost, rate, workload

BATCH = 1_000
CALLERS = 4
TASKS_PER_CALLER = 10_000
QUEUED = 20_000
CHAIN = 1_000


def small_task(ray: Any) -> Any:
    """Define the task that does next to nothing and returns two bytes."""

    @ray.remote
    def small() -> bytes:
        return b"ok"

    return small


def caller_class(ray: Any) -> Any:
    """Define the actor that submits tasks and gets them."""
    small = small_task(ray)

    @ray.remote(num_cpus=0)
    class Caller:
        def submit(self, n: int) -> None:
            ray.get([small.remote() for _ in range(n)])

    return Caller


@workload(
    rate("tasks_sync", "tasks, one at a time", goal=15, published=961),
    suite=Suite.QUICK,
)
def tasks_one_at_a_time(ray: Any, meter: Meter) -> float:
    """Submit a task and get its result before the next."""
    small = small_task(ray)
    return meter.rate(lambda: ray.get(small.remote()))


@workload(
    rate("tasks_batch", "tasks, batch of 1,000, then get", goal=20, published=7972),
    suite=Suite.QUICK,
)
def tasks_in_batches(ray: Any, meter: Meter) -> float:
    """Submit 1,000 tasks, then get all results."""
    small = small_task(ray)
    return meter.rate(lambda: ray.get([small.remote() for _ in range(BATCH)]), BATCH)


@workload(
    rate("tasks_multi_caller", "tasks from 4 actors at once, 10,000 each", goal=8),
    timeout=240,
)
def tasks_from_actors(ray: Any, meter: Meter) -> float:
    """Let four actors submit 10,000 tasks each at the same time."""
    caller = caller_class(ray)
    callers = [caller.remote() for _ in range(CALLERS)]

    def step(n: int = TASKS_PER_CALLER) -> None:
        ray.get([each.submit.remote(n) for each in callers])

    return meter.rate(step, CALLERS * TASKS_PER_CALLER, warm_up=lambda: step(100))


@workload(
    rate("tasks_queued_submit", "20,000 tasks queued: submit", goal=5),
    rate("tasks_queued_total", "20,000 tasks queued: submit and get", goal=20),
)
def tasks_queued(ray: Any, _meter: Meter) -> tuple[float, float]:
    """Submit 20,000 tasks in one go and get them; both parts are timed."""
    small = small_task(ray)
    ray.get([small.remote() for _ in range(100)])
    start = time.perf_counter()
    refs = [small.remote() for _ in range(QUEUED)]
    submitted = time.perf_counter()
    ray.get(refs)
    return QUEUED / (submitted - start), QUEUED / (time.perf_counter() - start)


@workload(rate("tasks_chain", "chain of 1,000 dependent tasks", goal=10))
def tasks_in_a_chain(ray: Any, meter: Meter) -> float:
    """Give each task the result of the one before, and get the last."""

    @ray.remote
    def increment(value: int) -> int:
        return value + 1

    def step() -> None:
        value: Any = 0
        for _ in range(CHAIN):
            value = increment.remote(value)
        assert ray.get(value) == CHAIN

    return meter.rate(step, CHAIN)


@workload(cost("task_2000_refs", "a task with 2,000 ref arguments", goal=1 / 8))
def task_with_many_refs(ray: Any, meter: Meter) -> float:
    """Put 2,000 small values and call one task with all the refs."""

    @ray.remote
    def count(*values: int) -> int:
        return len(values)

    def step() -> None:
        refs = [ray.put(i) for i in range(2_000)]
        assert ray.get(count.remote(*refs)) == len(refs)

    return meter.duration(step, warm_up=step)
