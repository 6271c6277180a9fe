"""A benchmark process that fails or hangs costs its own workload, not the rest of the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import child, registry
from benchmarks.child import Module
from benchmarks.results import Results

#: Stands in for the interpreter: it is called with the arguments of `benchmarks.run_one`.
SCRIPT = """#!{python}
import json, sys, time
names = sys.argv[sys.argv.index("--workload") + 1:]
say = lambda event, **more: print(json.dumps(dict(more, event=event)), flush=True)
{before}
for name in names:
    say("start", workload=name)
    {during}
    say("result", workload=name, row=name, value=1.0, unit="/s")
say("end")
{after}
"""
NAMES = ("tasks_sync", "tasks_batch", "actor_sync")


def run(tmp_path: Path, before: str = "", during: str = "", after: str = "") -> dict[str, str]:
    """Run the script in place of a module; give the event that settled each workload."""
    script = tmp_path / "python"
    script.write_text(
        SCRIPT.format(python=sys.executable, before=before, during=during, after=after)
    )
    script.chmod(0o755)
    events: list[dict[str, Any]] = []
    workloads = [registry.load()[name] for name in NAMES]
    child.run_batch(Module("ray", str(script)), workloads, 1.0, events.append)
    settled = [e for e in events if e["event"] in ("result", "error")]
    assert len(settled) == len({e["workload"] for e in settled})
    return {e["workload"]: e.get("error", "result") for e in settled}


def test_all_workloads_give_results_when_nothing_fails(tmp_path: Path) -> None:
    assert run(tmp_path) == dict.fromkeys(NAMES, "result")


def test_the_rest_goes_on_in_a_new_process_when_one_workload_kills_its_own(tmp_path: Path) -> None:
    seen = run(tmp_path, during="if name == 'tasks_batch': sys.exit('blown up')")
    assert "blown up" in seen["tasks_batch"]
    assert [seen["tasks_sync"], seen["actor_sync"]] == ["result", "result"]


def test_a_workload_that_hangs_is_killed_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process cannot be trusted to watch the time: here it never looks at it."""
    monkeypatch.setattr(child, "GRACE", -119.5)
    seen = run(tmp_path, during="if name == 'tasks_batch': time.sleep(600)")
    assert "TimeoutError" in seen["tasks_batch"]
    assert [seen["tasks_sync"], seen["actor_sync"]] == ["result", "result"]


def test_a_process_that_cannot_start_is_an_error_for_all_workloads(tmp_path: Path) -> None:
    seen = run(tmp_path, before="sys.exit('no such module')")
    assert set(seen) == set(NAMES)
    assert all("no such module" in error for error in seen.values())


def test_a_process_that_hangs_at_its_end_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 0.5)
    seen = run(tmp_path, after="time.sleep(600)")
    assert "TimeoutError" in seen["(end of the process)"]
    assert {seen[name] for name in NAMES} == {"result"}


def test_medians_and_verdicts_come_from_all_rounds() -> None:
    workload = registry.load()["tasks_sync"]
    run = Results([workload], ["ray", "ray_on_dask"], {})
    for module, value in [("ray", 1), ("ray", 10), ("ray", 11), ("ray_on_dask", 160)]:
        run.take(module, {"event": "result", "row": "tasks_sync", "value": float(value)})
    (line,) = run.lines()
    assert line["median"] == {"ray": 10, "ray_on_dask": 160}
    assert (line["ratio"], line["met"], line["beats_published"]) == (16, True, False)
