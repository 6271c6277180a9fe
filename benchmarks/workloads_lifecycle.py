"""Starting and ending a cluster, and the memory it takes: each in a process of its own."""

from __future__ import annotations

import os
from typing import Any

from benchmarks import processes, sessions
from benchmarks.meter import Meter
from benchmarks.registry import Better, Suite, cost, limit, workload
from benchmarks.workloads_actors import server_class
from benchmarks.workloads_tasks import small_task

MEGABYTE = 1e6
KILOBYTE = 1024
#: Actors that are there before counting begins: they take what the cluster had in reserve.
FIRST_ACTORS = 4
FURTHER_ACTORS = 10
QUEUED = 20_000


@workload(
    cost("init", "init()", goal=1 / 4),
    cost("shutdown", "shutdown()", goal=1 / 4),
    suite=Suite.QUICK,
    own_process=True,
)
def init_and_shutdown(ray: Any, meter: Meter) -> tuple[float, float]:
    """Start a cluster, run one task on it, end it; the task is not counted."""
    started = meter.once(lambda: sessions.start(ray))
    ray.get(small_task(ray).remote())
    return started, meter.once(ray.shutdown)


def _called(ray: Any, count: int) -> list[Any]:
    """Create actors and call each once."""
    server = server_class(ray)
    actors = [server.remote() for _ in range(count)]
    ray.get([actor.small.remote() for actor in actors])
    return actors


@workload(
    cost("memory_idle", "memory of the idle cluster (PSS)", goal=1 / 4, unit="MB"),
    cost("processes_idle", "processes of the idle cluster", goal=None, unit="processes"),
    cost("memory_per_actor", "memory per further actor (PSS)", goal=1 / 10, unit="MB"),
    own_process=True,
)
def memory(ray: Any, _meter: Meter) -> tuple[float, float, float]:
    """Weigh all processes of a cluster when idle, and again with ten actors more."""
    before = processes.all_pids()
    with sessions.ray_cluster(ray):
        idle = processes.settled_family(before)
        idle_bytes = processes.pss(idle)
        first = _called(ray, FIRST_ACTORS)
        few = processes.pss(processes.settled_family(before))
        further = _called(ray, FURTHER_ACTORS)
        many = processes.pss(processes.settled_family(before))
        per_actor = (many - few) / len(further)
        del first, further
    return idle_bytes / MEGABYTE, float(len(idle)), per_actor / MEGABYTE


@workload(
    limit(
        "memory_per_queued_task",
        "memory of a queued task at its owner",
        goal=1.0,
        unit="kB",
        better=Better.LOWER,
    ),
    own_process=True,
)
def memory_of_queued_tasks(ray: Any, _meter: Meter) -> float:
    """Queue 20,000 tasks behind one that does not end, and weigh the driver."""

    @ray.remote
    def wait_for(path: str) -> bytes:
        with open(path, "rb") as pipe:
            return pipe.read()

    @ray.remote
    def small(_gate: bytes) -> bytes:
        return b"ok"

    path = f"/tmp/benchmark-gate-{os.getpid()}"
    os.mkfifo(path)
    try:
        with sessions.ray_cluster(ray):
            gate = wait_for.remote(path)
            warm = [small.remote(gate) for _ in range(100)]
            empty = processes.unique_bytes(os.getpid())
            queued = [small.remote(gate) for _ in range(QUEUED)]
            full = processes.unique_bytes(os.getpid())
            del warm, queued
    finally:
        os.unlink(path)
    return (full - empty) / QUEUED / KILOBYTE
