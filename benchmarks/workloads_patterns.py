"""Shapes that programs have: trees, nesting, placement groups."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from benchmarks import sessions
from benchmarks.meter import Meter
from benchmarks.registry import Suite, cost, rate, workload

LEAVES = 500
GROUPS = 100


@workload(
    cost("tree_reduce", "tree reduce, 999 tasks on 8 kB arrays", goal=1 / 5),
    suite=Suite.QUICK,
)
def tree_reduce(ray: Any, meter: Meter) -> float:
    """Make 500 arrays in tasks and add them pairwise in 499 more."""

    @ray.remote
    def leaf(i: int) -> np.ndarray[Any, Any]:
        return np.full(1000, i, dtype=np.int64)

    @ray.remote
    def add(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Any:
        return np.add(a, b)

    def step() -> None:
        refs = deque(leaf.remote(i) for i in range(LEAVES))
        while len(refs) > 1:
            refs.append(add.remote(refs.popleft(), refs.popleft()))
        assert ray.get(refs[0])[0] == LEAVES * (LEAVES - 1) // 2

    return meter.duration(step, warm_up=step)


@workload(
    cost("nested_tasks", "50 tasks that each run 10 tasks, new cluster", goal=1 / 5),
    cost("nested_tasks_warm", "50 tasks that each run 10 tasks, repeated", goal=None),
    own_process=True,
)
def nested_tasks(ray: Any, meter: Meter) -> tuple[float, float]:
    """Let 50 tasks submit ten tasks each and get their results; first, and then again."""

    @ray.remote
    def inner(i: int) -> int:
        return i

    @ray.remote
    def outer() -> int:
        total: int = sum(ray.get([inner.remote(i) for i in range(10)]))
        return total

    def step() -> None:
        assert ray.get([outer.remote() for _ in range(50)]) == [45] * 50

    with sessions.ray_cluster(ray):
        return meter.once(step), meter.duration(step)


@workload(
    rate("placement_groups", "placement groups created and removed", goal=3, published=762),
)
def placement_groups(ray: Any, meter: Meter) -> float:
    """Create 100 groups of one tiny bundle, wait for each, remove them all."""

    def step() -> None:
        groups = [ray.util.placement_group([{"custom": 0.001}]) for _ in range(GROUPS)]
        for group in groups:
            assert group.wait(timeout_seconds=30.0)
        for group in groups:
            ray.util.remove_placement_group(group)

    return meter.rate(step, GROUPS)
