"""`timeline`: what ran when, and when it was blocked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any


def test_tasks_and_the_time_in_which_they_were_blocked(
    ray_session: Callable[..., Any], tmp_path: Path
) -> None:
    ray = ray_session(num_cpus=1)
    assert ray.timeline() == []

    @ray.remote
    def inner() -> None:
        sleep(0.2)

    @ray.remote
    def outer() -> None:
        ray.get(inner.remote())

    ray.get(outer.remote())
    end = monotonic() + 20
    while len(events := ray.timeline()) < 3:
        assert monotonic() < end, events
        sleep(0.05)
    found = {event["name"]: event for event in events}
    task, blocked = found["outer"], found["blocked: CPU lent"]
    assert (task["cat"], blocked["cat"]) == ("task", "blocked")
    assert (task["pid"], task["tid"]) == (blocked["pid"], blocked["tid"])
    assert found["inner"]["tid"] != task["tid"]
    assert task["ts"] - 5e4 < blocked["ts"]
    assert blocked["ts"] + blocked["dur"] < task["ts"] + task["dur"] + 5e4
    assert blocked["dur"] > 1e5
    assert ray.timeline(str(tmp_path / "trace.json")) is None
    assert json.loads((tmp_path / "trace.json").read_text()) == events
