"""`init` with cluster objects of several kinds: one program, the same results."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.deploy.subprocess import SubprocessCluster

import ray_on_dask as ray
from ray_on_dask.runtime.directories import sweep

# It lasts as long as this process: it is to be there before leaks are looked for.
resource_tracker.ensure_running()

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

QUIET = {"dashboard_address": "127.0.0.1:0"}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """A session's memory hangs on cycles."""
    yield
    gc.collect()


@contextmanager
def local(**options: Any) -> Iterator[LocalCluster]:
    with LocalCluster(**{"threads_per_worker": 1, **QUIET, **options}) as cluster:
        yield cluster


@contextmanager
def subprocesses() -> Iterator[Any]:
    with SubprocessCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        yield cluster


KINDS: dict[str, Callable[[], Any]] = {
    "processes with nannies": lambda: local(n_workers=2, host="127.0.0.1"),
    "one process": lambda: local(n_workers=2, processes=False),
    "subprocesses": subprocesses,
}


def program() -> tuple[list[int], int, float, list[int]]:
    """Tasks that launch tasks, an actor, stored arrays, an error: what comes out is the same."""

    @ray.remote
    def square(x: int) -> int:
        return x * x

    @ray.remote
    def squares(n: int) -> int:
        return sum(ray.get([square.remote(i) for i in range(n)]))

    @ray.remote
    class Counter:
        def __init__(self) -> None:
            self.value = 0

        def add(self, array: Any) -> int:
            self.value += int(array.sum())
            return self.value

    @ray.remote
    def fails() -> None:
        raise KeyError("as it should")

    with pytest.raises(KeyError):
        ray.get(fails.remote(), timeout=60)
    counter = Counter.remote()
    data = ray.put(np.ones(200_000, np.int64))
    added = ray.get([counter.add.remote(data) for _ in range(3)], timeout=60)
    total = float(ray.get(data).mean())
    return ray.get([square.remote(i) for i in range(20)]), ray.get(squares.remote(6)), total, added


@pytest.mark.parametrize("kind", KINDS)
def test_one_program_gives_the_same_on_clusters_of_all_kinds(kind: str) -> None:
    with KINDS[kind]() as cluster:
        ray.init(cluster, log_to_driver=False, driver_mode=ray.SILENT_MODE)
        try:
            end = time.monotonic() + 60
            while sum(node["Alive"] for node in ray.nodes()) < 2:
                assert time.monotonic() < end, "the second worker is no node"
                time.sleep(0.05)
            assert program() == (
                [i * i for i in range(20)], 55, 1.0, [200_000, 400_000, 600_000],
            )  # fmt: skip
        finally:
            ray.shutdown()
        with Client(cluster, set_as_default=False) as client:  # it was left running
            assert client.submit(abs, -1).result(timeout=30) == 1
    gc.collect()
    # A `SubprocessCluster` kills all that its workers have started: the next session would do this.
    sweep(grace=0.0)


def test_workers_that_come_late_are_used_and_those_that_are_retired_get_no_more() -> None:
    with local(n_workers=1, host="127.0.0.1") as cluster, Client(cluster) as client:
        ray.init(cluster, log_to_driver=False)

        @ray.remote
        def where(seconds: float) -> str:
            time.sleep(seconds)
            return ray.get_runtime_context().get_node_id()

        (first,) = {ray.get(where.remote(0.0), timeout=30)}
        cluster.scale(2)
        end = time.monotonic() + 60
        seen: set[str] = set()
        while len(seen) < 2:
            assert time.monotonic() < end, "the new worker gets no work"
            seen |= set(ray.get([where.remote(0.2) for _ in range(4)], timeout=60))
        (other,) = seen - {first}
        address = next(x["address"] for x in ask("nodes") if x["name"].startswith(other[:32]))
        client.retire_workers([address])
        assert set(ray.get([where.remote(0.05) for _ in range(10)], timeout=60)) == {first}
        ray.shutdown()
    gc.collect()


def ask(what: str) -> Any:
    from ray_on_dask.runtime import current

    return current.require().asking.ask(what)
