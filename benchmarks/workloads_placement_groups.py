"""Placement groups: making and removing them."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.meter import Meter
from benchmarks.registry import Suite, rate, workload

GROUPS = 100


@workload(
    rate("placement_groups", "placement groups of one bundle, made and removed", goal=4,
         published=765),
    suite=Suite.STANDARD,
)
def placement_groups(ray: Any, meter: Meter) -> float:
    """Make 100 groups of one bundle, wait for each, remove them."""
    groups = importlib.import_module(f"{ray.__name__}.util.placement_group")

    def step() -> None:
        made = [groups.placement_group([{"CPU": 0.001}]) for _ in range(GROUPS)]
        assert all(group.wait(timeout_seconds=30) for group in made)
        for group in made:
            groups.remove_placement_group(group)

    return meter.rate(step, count=GROUPS)
