"""What the dashboard's pages show, as rows: from a control store, without Bokeh or Dask."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.core.control import ControlStore, NodeFacts
from ray_on_dask.dashboard.rows import BARS_MAX, Rows, last_line
from ray_on_dask.wire import messages as m


def plugin(nodes: int = 1, figures: dict[str, Any] | None = None) -> Any:
    """What stands for the scheduler's plugin."""
    store = ControlStore(lambda kind, facts: b"error")
    for number in range(nodes):
        units = {"CPU": 40_000, "memory": 10_000 << 30, "node:x": 10_000}
        name = f"{number:06d}"
        store.node_up(
            NodeFacts(name, f"tcp://{name}", "10.0.0.1", "h", "h", "hub", "shm", "d", 1, units), 0.0
        )
    records = SimpleNamespace(errors=deque(maxlen=10))
    return SimpleNamespace(
        store=store, figures=lambda: figures or {}, now=lambda: 5.0, records=records
    )


def test_resources_are_bars_with_words_beside() -> None:
    found = plugin()
    store = found.store
    store.joined("000000", m.Hello("d" * 16, "driver", 7, m.JobConfig()), 0.0)
    want = m.Demand(1, 2, m.SchedulingClass({"CPU": 10_000}))
    leases = [x.message.lease for x in store.handle("d" * 16, want, 0.0)]
    rows = {row["bar"]: row for row in Rows(found).resources()}
    assert list(rows) == ["10.0.0.1 000000  CPU", "10.0.0.1 000000  memory"]
    cpu = rows["10.0.0.1 000000  CPU"]
    assert (cpu["used"], cpu["lent"], cpu["text"]) == (0.5, 0.0, "2 of 4 in use")
    assert rows["10.0.0.1 000000  memory"]["text"] == "0 B of 1 GiB in use"
    store.handle("x" * 16, m.Blocked(leases[0]), 0.0)
    (cpu,) = (row for row in Rows(found).resources() if row["bar"].endswith("CPU"))
    assert (cpu["used"], cpu["lent"]) == (0.25, 0.25)
    assert cpu["text"] == "1 of 4 in use, 1 lent by blocked tasks"


def test_of_several_nodes_there_is_a_sum_and_of_very_many_the_sum_alone() -> None:
    rows = Rows(plugin(3)).resources()
    assert [row["bar"] for row in rows][:3] == [
        "cluster  CPU",
        "cluster  memory",
        "10.0.0.1 000000  CPU",
    ]
    assert rows[0]["text"] == "0 of 12 in use"
    many = Rows(plugin(BARS_MAX)).resources()
    assert [row["bar"] for row in many] == ["cluster  CPU", "cluster  memory"]


@pytest.mark.parametrize(
    ("store", "text"),
    [
        ({}, "0 B of 0 B, 0 objects"),
        ({"capacity": 2048, "used": 1024, "objects": 1}, "1 kiB of 2 kiB, 1 objects"),
        (
            {"capacity": 2048, "used": 0, "objects": 3, "spilled": 512, "mapped": 5},
            "0 B of 2 kiB, 3 objects, 512 B spilled, 5 B mapped",
        ),
    ],
)
def test_stores_are_shown_as_far_as_they_are_measured(store: dict[str, int], text: str) -> None:
    (row,) = Rows(plugin(1, {"000000": {"store": store}})).stores()
    assert row["text"] == text


def test_errors_are_shown_without_colours_newest_first() -> None:
    found = plugin()
    for number in range(2):
        found.records.errors.append(
            {
                "timestamp": 0.0, "type": "task", "job_id": "1", "node": "000000",
                "data": "{'function_name': 'f'}",
                "message": f"\x1b[31mf\x1b[39m failed:\n\nValueError: {number}\n\n",
            }
        )  # fmt: skip
    rows = Rows(found).errors()
    assert [row["error"] for row in rows] == ["ValueError: 1", "ValueError: 0"]
    assert rows[0]["function"] == "f" and rows[0]["message"].startswith("f failed")
    assert last_line("") == ""
