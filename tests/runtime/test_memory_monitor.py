"""Which executor goes when memory runs out, and what is counted as memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ray_on_dask.runtime import memory_monitor
from ray_on_dask.runtime.memory_monitor import (
    Candidate,
    MemoryMonitor,
    Usage,
    memory_of,
    memory_usage,
    pick_victim,
)

MB = 1 << 20
OLD = Candidate("old", 11, since=1, retriable=True, memory=300 * MB)
NEW = Candidate("new", 12, since=2, retriable=True, memory=200 * MB)
ONCE = Candidate("once", 13, since=3, retriable=False, memory=400 * MB)
TINY = Candidate("tiny", 14, since=4, retriable=True, memory=2 * MB)


def test_nobody_goes_below_the_threshold():
    assert pick_victim([OLD, NEW], used=94, limit=100) is None


def test_the_newest_that_can_be_run_again_goes_first():
    assert pick_victim([OLD, NEW, ONCE], used=95, limit=100) == "new"


def test_what_cannot_be_run_again_goes_when_nothing_else_is_there():
    assert pick_victim([ONCE], used=99, limit=100) == "once"


def test_one_that_holds_next_to_nothing_is_spared():
    assert pick_victim([OLD, TINY], used=99, limit=100) == "old"
    assert pick_victim([TINY], used=99, limit=100) == "tiny"


def test_without_executors_there_is_no_victim():
    assert pick_victim([], used=100, limit=100) is None


def test_the_threshold_is_a_share_of_the_limit():
    assert pick_victim([OLD], used=50, limit=100, threshold=0.5) == "old"


def test_the_usage_of_this_machine_is_plausible():
    usage = memory_usage()
    assert 0 < usage.used < usage.limit and usage.free == usage.limit - usage.used


def test_memory_of_what_an_executor_started_is_counted():
    code = "import sys; x = bytearray(b'x') * (50 << 20); print(1, flush=True); sys.stdin.read()"
    before = memory_of(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert memory_of(os.getpid()) - before > 45 * MB
        assert memory_of(child.pid) > 45 * MB
    assert memory_of(child.pid) == 0


def test_a_second_victim_is_named_only_when_the_first_is_gone(monkeypatch):
    """Its memory comes back only when it has ended; until then others would die for nothing."""
    monkeypatch.setattr(memory_monitor, "memory_usage", lambda: Usage(99, 100))
    monitor = MemoryMonitor()
    with subprocess.Popen(["sleep", "100"]) as first:
        candidate = Candidate("first", first.pid, since=9, retriable=True)
        assert monitor.victim([candidate]).name == "first"
        assert monitor.victim([candidate]) is None
        first.kill()
    assert monitor.victim([OLD]).name == "old"


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        (
            "0::/job\n",
            {
                "job/memory.max": "1000",
                "job/memory.current": "600",
                "job/memory.stat": "anon 5\ninactive_file 100",
            },
        ),
        (
            "4:cpu,memory:/job\n",
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "600",
                "memory/memory.stat": "total_inactive_file 100",
            },
        ),
        ("0::/job\n", {"job/memory.max": "max", "job/memory.current": "600"}),
    ],
)
def test_limits_of_control_groups_count_without_droppable_cache(tmp_path, membership, files):
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = list(memory_monitor._cgroup_usages(str(tmp_path / "membership"), str(tmp_path)))
    assert found == ([] if "max" in files.get("job/memory.max", "") else [Usage(500, 1000)])
