"""Many tasks, nested tasks, refs that outlive the executor that made them, busy drivers."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from chaos_processes import until

pytestmark = pytest.mark.chaos

QUEUED = 20_000


def resident():
    """Megabytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_time_and_memory_per_queued_task_are_flat(ray, tmp_path):
    """None of them can run before all are queued."""

    @ray.remote
    def task(path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return b""

    gate = str(tmp_path / "gate")
    before, refs, seconds, memory = resident(), [], [], []
    for _ in range(4):
        start = time.perf_counter()
        refs += [task.remote(gate) for _ in range(QUEUED // 4)]
        seconds.append(time.perf_counter() - start)
        memory.append(resident())
    open(gate, "w").close()
    assert ray.get(refs, timeout=60) == [b""] * QUEUED
    assert sum(seconds[2:]) < 3 * sum(seconds[:2]) + 0.2, seconds
    assert (memory[-1] - before) * 1e6 / QUEUED < 4000, "bytes a queued task"
    assert memory[3] - memory[2] < 2 * (memory[1] - memory[0]) + 5, memory


def test_memory_comes_back_when_refs_go(ray):
    @ray.remote
    def task():
        return b"x" * 1000

    def batch():
        ray.get([task.remote() for _ in range(2000)])

    batch()
    before = resident()
    for _ in range(5):
        batch()
    assert resident() - before < 5


def test_nested_tasks_run_in_a_few_executors(ray, session):
    """500 tasks that each launch ten, on two CPUs (Ray starts hundreds of processes)."""

    @ray.remote
    def child(number):
        return number

    @ray.remote
    def parent():
        return sum(ray.get([child.remote(number) for number in range(10)]))

    most = 0
    refs = [parent.remote() for _ in range(500)]
    while refs:
        done, refs = ray.wait(refs, num_returns=min(50, len(refs)), timeout=20.0)
        assert done and set(ray.get(done)) == {45}
        most = max(most, len(session.executors))
    assert most <= 12


def test_ten_levels_of_nesting_run_on_two_cpus(ray):
    @ray.remote
    def level(depth):
        if not depth:
            return 1
        return sum(ray.get([level.remote(depth - 1), level.remote(0)]))

    assert ray.get(level.remote(10), timeout=30) == 11


# -- refs that outlive their makers ----------------------------------------------------------


def test_pending_refs_that_a_task_returned_resolve_under_max_calls(ray, tmp_path):
    """The executor has had its one call, but owns the tasks that make them."""

    @ray.remote
    def inner(path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return "inner"

    @ray.remote(max_calls=1)
    def outer(path):
        return [inner.remote(path)], os.getpid()

    gate = str(tmp_path / "gate")
    refs, pid = ray.get(outer.remote(gate), timeout=20)
    _, other = ray.get(outer.remote(gate), timeout=20)
    assert pid != other, "one call is one process"
    open(gate, "w").close()
    assert ray.get(refs[0], timeout=20) == "inner"
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the retired executor's end")


def test_pending_refs_that_a_task_returned_resolve_under_idle_reaping(ray, session):
    """Executors beyond the number of CPUs end after three seconds without work."""

    @ray.remote
    def inner():
        time.sleep(4.5)
        return "inner"

    @ray.remote
    def outer():
        time.sleep(0.3)
        return [inner.options(num_cpus=0).remote()]

    refs = ray.get([outer.options(num_cpus=0.1).remote() for _ in range(6)], timeout=20)
    until(lambda: len(session.executors) < 12, "idle executors are ended", 8.0)
    assert ray.get([ref for (ref,) in refs], timeout=30) == ["inner"] * 6


# -- executors -----------------------------------------------------------------------------------


def test_random_numbers_differ_between_executors(ray):
    """They are forked from one process, in which both generators have a state."""

    @ray.remote
    def draw():
        import numpy as np

        time.sleep(0.1)
        return os.getpid(), random.random(), np.random.rand()

    drawn = ray.get([draw.remote() for _ in range(8)], timeout=20)
    assert len({pid for pid, _, _ in drawn}) > 1
    assert len({a for _, a, _ in drawn}) == len({b for _, _, b in drawn}) == 8


@pytest.mark.parametrize("cpus", [1, 2])
def test_numeric_libraries_use_as_many_threads_as_the_task_has_cpus(ray, cpus):
    @ray.remote
    def threads():
        import numpy  # noqa: F401
        import threadpoolctl

        return os.environ.get("OMP_NUM_THREADS"), [
            pool["num_threads"] for pool in threadpoolctl.threadpool_info()
        ]

    for _ in range(2):
        variable, pools = ray.get(threads.options(num_cpus=cpus).remote(), timeout=20)
        assert variable == str(cpus) and set(pools) == {cpus}


def test_a_driver_that_computes_does_not_slow_its_tasks(ray):
    """A loop in Python holds the interpreter; results must be read and tasks sent all the same."""

    @ray.remote
    def task():
        return time.time()

    ray.get([task.remote() for _ in range(100)])
    start = time.time()
    refs = [task.remote() for _ in range(3000)]
    count, end = 0, time.monotonic() + 1.5
    while time.monotonic() < end:
        count += 1
    assert max(ray.get(refs, timeout=20)) - start < 1.2
    assert count > 100_000
