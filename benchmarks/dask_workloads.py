"""The workloads that plain `distributed.Client` can express, for a second comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import bare_writers, processes, sessions
from benchmarks.meter import Meter
from benchmarks.registry import on_dask
from benchmarks.workloads_lifecycle import MEGABYTE
from benchmarks.workloads_objects import HUGE, MEDIUM, memory_copy
from benchmarks.workloads_patterns import LEAVES
from benchmarks.workloads_tasks import BATCH, CHAIN


def small() -> bytes:
    """Do next to nothing: the task of most rows."""
    return b"ok"


class Server:
    """The actor that answers with two bytes."""

    def small(self) -> bytes:
        """Answer."""
        return b"ok"


def _batch(client: Any, n: int) -> None:
    client.gather([client.submit(small, pure=False) for _ in range(n)])


@on_dask("tasks_sync")
def tasks_one_at_a_time(client: Any, meter: Meter) -> float:
    """Submit a task and await it before the next."""
    return meter.rate(lambda: client.submit(small, pure=False).result())


@on_dask("tasks_batch")
def tasks_in_batches(client: Any, meter: Meter) -> float:
    """Submit 1,000 tasks, then gather them."""
    return meter.rate(lambda: _batch(client, BATCH), BATCH)


@on_dask("tasks_chain")
def tasks_in_a_chain(client: Any, meter: Meter) -> float:
    """Give each task the future of the one before."""

    def step() -> None:
        value: Any = 0
        for _ in range(CHAIN):
            value = client.submit(lambda x: x + 1, value, pure=False)
        assert value.result() == CHAIN

    return meter.rate(step, CHAIN)


@on_dask("actor_sync")
def actor_one_at_a_time(client: Any, meter: Meter) -> float:
    """Call a Dask actor and await the result before the next call."""
    actor = client.submit(Server, actor=True).result()
    return meter.rate(lambda: actor.small().result())


@on_dask("actor_batch")
def actor_in_batches(client: Any, meter: Meter) -> float:
    """Call a Dask actor 1,000 times, then await all results."""
    actor = client.submit(Server, actor=True).result()

    def step() -> None:
        for call in [actor.small() for _ in range(BATCH)]:
            call.result()

    return meter.rate(step, BATCH)


@on_dask("get_small")
def get_small(client: Any, meter: Meter) -> float:
    """Gather the same scattered number again and again."""
    future = client.scatter(0)
    return meter.rate(future.result)


@on_dask("put_small")
def put_small(client: Any, meter: Meter) -> float:
    """Scatter a number again and again."""
    return meter.rate(lambda: client.scatter(0, hash=False))


@on_dask("put_800mb")
def put_800mb(client: Any, meter: Meter) -> tuple[float, float, float]:
    """Scatter an array of 800 MB and drop it."""
    array = np.arange(HUGE, dtype=np.int64)

    def step() -> None:
        client.scatter(array, hash=False)

    put = meter.rate(step, array.nbytes / 1e9, warm_up=step)
    copy = memory_copy(meter, array)
    return put, put / copy, copy


@on_dask("get_8mb")
def get_8mb(client: Any, meter: Meter) -> float:
    """Gather the same scattered array again and again."""
    future = client.scatter(np.zeros(MEDIUM, dtype=np.int64))
    return meter.rate(future.result)


@on_dask("shared_8mb")
def tasks_sharing_an_array(client: Any, meter: Meter) -> float:
    """Give one scattered array to 500 tasks."""
    future = client.scatter(np.zeros(MEDIUM, dtype=np.int64), broadcast=True)

    def step() -> None:
        tasks = [client.submit(lambda a: a.nbytes, future, pure=False) for _ in range(500)]
        client.gather(tasks)

    return meter.rate(step, 500)


@on_dask("return_8mb")
def tasks_returning_arrays(_client: Any, meter: Meter) -> tuple[float, float, float]:
    """Gather the arrays of 8 MB that 100 tasks return; first, then again; then `bare_writers`."""
    with sessions.dask_cluster(None) as client:

        def step() -> None:
            client.gather([client.submit(np.ones, MEDIUM, pure=False) for _ in range(100)])

        first, again = meter.once(step), meter.duration(step)
    return first, again, bare_writers.seconds(100, MEDIUM)


@on_dask("tree_reduce")
def tree_reduce(client: Any, meter: Meter) -> float:
    """Make 500 arrays in tasks and add them pairwise in 499 more."""

    def step() -> None:
        level = [client.submit(np.full, 1000, i, pure=False) for i in range(LEAVES)]
        while len(level) > 1:
            first, second = level.pop(0), level.pop(0)
            level.append(client.submit(np.add, first, second, pure=False))
        assert level[0].result()[0] == LEAVES * (LEAVES - 1) // 2

    return meter.duration(step, warm_up=step)


@on_dask("init")
def init_and_shutdown(_client: Any, meter: Meter) -> tuple[float, float]:
    """Start a local cluster of processes, run one task, close it."""
    clients: list[Any] = []
    started = meter.once(lambda: clients.append(sessions.start_dask()))
    clients[0].submit(small).result()
    return started, meter.once(lambda: sessions.stop_dask(clients[0]))


@on_dask("memory_idle")
def memory(_client: Any, _meter: Meter) -> tuple[float, float]:
    """Weigh the worker processes of an idle local cluster (its scheduler is in the driver)."""
    before = processes.all_pids()
    with sessions.dask_cluster(None):
        idle = processes.settled_family(before)
        return processes.pss(idle) / MEGABYTE, float(len(idle))
