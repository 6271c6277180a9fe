"""Dask futures where refs are expected, and refs in Dask graphs; nothing of either is left over."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

import ray_on_dask as ray
from ray_on_dask.exceptions import (
    ObjectLostError,
    ObjectReconstructionFailedError,
    RayTaskError,
    TaskCancelledError,
)
from ray_on_dask.runtime import current

pytestmark = pytest.mark.timeout(90)
SIZES = pytest.mark.parametrize("size", [10, 200_000], ids=["small", "stored"])


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client in a session; afterwards neither side has anything of the test's."""
    with Client(cluster, set_as_default=False) as client:
        ray.init(client, log_to_driver=False, driver_mode=ray.SILENT_MODE)
        yield client
        nothing_is_left(cluster)
        ray.shutdown()
        gc.collect()


def nothing_is_left(cluster: LocalCluster) -> None:
    def left() -> dict[str, Any]:
        gc.collect()
        store = cluster.scheduler.extensions["ray_on_dask"].store
        stats = store.directory.stats()
        return {"keys": sorted(map(str, cluster.scheduler.tasks)),
                **({"objects": store.directory.entries()} if stats["entries"] else {}),
                **{k: v for k, v in stats.items() if v}}  # fmt: skip

    end = time.monotonic() + 15
    while left() != {"keys": []}:
        assert time.monotonic() < end, left()
        time.sleep(0.05)


@ray.remote
def total(array: Any) -> int:
    return int(np.sum(array))


@ray.remote
def later(seconds: float, size: int) -> Any:
    time.sleep(seconds)
    return np.ones(size)


@ray.remote
def fails() -> None:
    raise KeyError("of Ray")


def fail() -> None:
    raise KeyError("of Dask")


def addresses() -> dict[str, str]:
    """{node: address of its Dask worker}."""
    return {x["name"]: x["address"] for x in current.require().asking.ask("nodes")}


# -- a Dask future as a ref --------------------------------------------------------------


@SIZES
def test_a_dask_future_is_an_argument_and_something_to_get_and_wait_for(
    client: Client, size: int
) -> None:
    future = client.submit(np.ones, size)
    assert ray.get(total.remote(future), timeout=30) == size
    assert ray.get(future, timeout=30).shape == (size,)
    assert [x.shape for x in ray.get([future, ray.put(future.result())], timeout=30)] == [
        (size,)
    ] * 2
    (ready,), rest = ray.wait([future], timeout=20.0)
    assert ray.get(ready).shape == (size,) and rest == []


def test_a_dask_value_is_stored_on_the_node_that_has_it_and_not_carried_here(
    client: Client, cluster: LocalCluster
) -> None:
    workers = list(cluster.scheduler.workers)
    futures = [client.submit(np.full, 300_000, i, workers=[w]) for i, w in enumerate(workers)]
    refs = [current.require().as_ref(future) for future in futures]
    assert ray.get([total.remote(ref) for ref in refs], timeout=30) == [0, 300_000]
    there = addresses()
    assert [there[ref._entry.data.node] for ref in refs] == workers
    assert not ray.get(refs[0]).flags.writeable


def test_a_task_goes_where_its_dask_value_was_stored(client: Client, cluster: LocalCluster) -> None:
    @ray.remote
    def where(array: Any) -> tuple[str, int]:
        return ray.get_runtime_context().get_node_id(), len(array)

    there = addresses()
    for worker in cluster.scheduler.workers:
        future = client.submit(np.ones, 3_000_000, workers=[worker], pure=False)
        node, _ = ray.get(where.remote(future), timeout=30)
        (name,) = [x for x in there if node.startswith(x) or x.startswith(node)]
        assert there[name] == worker


def test_a_future_given_many_times_is_written_once(client: Client) -> None:
    future = client.submit(np.ones, 200_000)
    refs = [total.remote(future) for _ in range(20)]
    assert ray.get(refs, timeout=30) == [200_000] * 20
    process = current.require()
    assert process.as_ref(future) is process.as_ref(future)


def test_a_future_that_is_not_ready_is_waited_for(client: Client) -> None:
    future = client.submit(lambda: time.sleep(0.5) or np.ones(200_000), pure=False)
    start = time.monotonic()
    ref = total.remote(future)
    assert ray.wait([ref], timeout=0.0) == ([], [ref])
    assert time.monotonic() - start < 0.45
    assert ray.get(ref, timeout=30) == 200_000


def test_a_failed_future_is_a_failed_ref(client: Client) -> None:
    future = client.submit(fail, pure=False)
    with pytest.raises(KeyError, match="of Dask"):
        ray.get(future, timeout=30)
    with pytest.raises(RayTaskError) as raised:
        ray.get(total.remote(future), timeout=30)
    assert isinstance(raised.value, KeyError)


def test_a_cancelled_future_is_a_cancelled_ref(client: Client) -> None:
    future = client.submit(time.sleep, 2, pure=False)
    ref = total.remote(future)
    future.cancel()
    with pytest.raises((TaskCancelledError, RayTaskError), match="cancelled"):
        ray.get(ref, timeout=30)


def test_a_future_whose_client_closes_is_a_cancelled_ref(
    client: Client, cluster: LocalCluster
) -> None:
    with Client(cluster, set_as_default=False) as other:
        ref = current.require().as_ref(other.submit(time.sleep, 1.5, pure=False))
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=30)


def test_a_future_that_arrives_in_a_task_is_used_there(client: Client) -> None:
    """Inside a value it stays a future, and what it stands for is kept meanwhile."""

    @ray.remote
    def use(given: dict[str, Any]) -> tuple[str, int, int]:
        future = given["futures"][0]
        inner = total.remote(future)  # the executor owns this one
        return type(future).__module__, int(ray.get(future).sum()), ray.get(inner)

    ref = use.remote({"futures": [client.submit(np.ones, 200_000)]})
    assert ray.get(ref, timeout=40) == ("distributed.client", 200_000, 200_000)


def test_a_future_inside_a_stored_value_keeps_its_key(client: Client) -> None:
    ref = ray.put([client.submit(np.ones, 30, pure=False)])
    gc.collect()
    (future,) = ray.get(ref)
    assert int(future.result(timeout=20).sum()) == 30

    @ray.remote
    class Keeper:
        def keep(self, futures: Any) -> None:
            self.futures = futures

        def use(self) -> int:
            return int(ray.get(self.futures[0]).sum())

    keeper = Keeper.remote()
    ray.get(keeper.keep.remote([client.submit(np.ones, 31, pure=False)]), timeout=30)
    gc.collect()
    time.sleep(0.3)
    assert ray.get(keeper.use.remote(), timeout=30) == 31


def test_an_asynchronous_clients_future_is_an_argument_and_never_blocks_its_own_loop(
    client: Client, cluster: LocalCluster
) -> None:
    async def main() -> int:
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as c:
            future = c.submit(np.ones, 200_000, pure=False)
            with pytest.raises(RuntimeError, match="await"):
                ray.get(future)
            return int(await total.remote(future))

    assert asyncio.run(main()) == 200_000


# -- a ref as a Dask future ---------------------------------------------------------------


@SIZES
def test_a_ref_is_a_dask_future_that_outlives_it(client: Client, size: int) -> None:
    """Its space is not used again while a Dask worker has a view of it."""
    ref = ray.put(np.ones(size))
    future = ref.dask_future()
    assert client.submit(np.sum, future).result(timeout=20) == size
    del ref
    others = [ray.put(np.zeros(size)) for _ in range(5)]
    assert client.submit(np.sum, future, pure=False).result(timeout=20) == size
    del others


def test_arrays_in_a_worker_are_views_of_shared_memory(client: Client) -> None:
    """Not a copy: the worker's memory grows by what it touches, and that goes with the value."""

    def look(array: Any) -> tuple[bool, bool]:
        address = array.__array_interface__["data"][0]
        with open("/proc/self/maps") as maps:
            for line in maps:
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                if start <= address < end:
                    return array.flags.writeable, "/dev/shm/" in line
        raise AssertionError("not mapped")

    future = ray.put(np.ones(2_000_000)).dask_future()
    while not future.done():
        time.sleep(0.01)
    # Not on the other worker: it would have a copy of its own.
    (holder,) = client.who_has([future])[future.key]
    assert client.submit(look, future, workers=[holder]).result(timeout=20) == (False, True)


def test_a_pending_ref_is_a_dask_future_at_once(client: Client) -> None:
    start = time.monotonic()
    future = later.remote(0.7, 200_000).dask_future()
    summed = client.submit(np.sum, future)
    assert time.monotonic() - start < 0.6 and future.status == "pending"
    assert summed.result(timeout=30) == 200_000


def test_waiting_for_refs_takes_no_thread_of_the_workers(client: Client) -> None:
    """Else these would fill all threads of the cluster, which the tasks need for themselves."""
    refs = [later.remote(0.2, 10) for _ in range(24)]
    futures = [ref.dask_future() for ref in refs]
    assert client.submit(abs, -1, pure=False).result(timeout=5) == 1
    assert [int(x.sum()) for x in client.gather(futures)] == [10] * 24


def test_a_failed_ref_is_a_failed_future(client: Client) -> None:
    future = fails.remote().dask_future()
    error = future.exception(timeout=30)
    assert isinstance(error, KeyError) and isinstance(error, RayTaskError)
    assert client.submit(np.sum, future).status != "finished"


def test_a_future_that_is_dropped_before_its_ref_is_ready_waits_no_more(
    client: Client, cluster: LocalCluster
) -> None:
    ref = later.remote(1.5, 10)
    future = ref.dask_future()
    key = future.key
    time.sleep(0.2)
    del future
    gc.collect()
    assert ray.get(ref, timeout=20).shape == (10,)
    assert key not in cluster.scheduler.tasks


def test_a_lost_ref_is_an_error_and_not_a_wait_for_ever(client: Client) -> None:
    """A worker may be told to read a ref again that has gone meanwhile."""
    from ray_on_dask.plugins.dask_tasks import read_ref

    future = client.submit(read_ref, bytes(20), "again", key="again")
    assert isinstance(future.exception(timeout=20), ObjectLostError)


def test_an_executor_makes_dask_futures_and_imports_dask_only_then(client: Client) -> None:
    @ray.remote
    def task() -> tuple[bool, int]:
        import sys

        early = "distributed" in sys.modules
        future = ray.put(np.ones(200_000)).dask_future()
        return early, int(future.result(timeout=20).sum())

    assert ray.get(task.remote(), timeout=40) == (False, 200_000)


def test_both_directions_with_all_in_one_process() -> None:
    """Driver, scheduler and nodes share a process, and each gets what it has dropped itself."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        ray.init(client, log_to_driver=False)
        assert ray.get(total.remote(client.submit(np.ones, 200_000)), timeout=30) == 200_000
        future = later.remote(0.2, 200_000).dask_future()
        assert client.submit(lambda x: int(x.sum()), future).result(timeout=30) == 200_000
        refs = [ray.put(np.ones(200_000)) for _ in range(3)]
        del future, refs
        nothing_is_left(cluster)
        ray.shutdown()
    gc.collect()


def test_the_value_of_a_future_whose_worker_dies_is_computed_again_by_dask() -> None:
    """It was written to that worker's node: Dask makes it anew, and it is written elsewhere."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        ray.init(client, log_to_driver=False, driver_mode=ray.SILENT_MODE)
        home = ray.get_runtime_context().get_node_id()
        control = cluster.scheduler.extensions["ray_on_dask"]
        away, address = next(x for x in control.addresses.items() if x[0] != home)
        options = {"workers": [address], "allow_other_workers": True, "pure": False}

        def written_there() -> tuple[Any, Any]:
            """A future and its ref; Dask may write it elsewhere if that worker is busy."""
            while True:
                future = client.submit(np.ones, 200_000, **options)
                ref = current.require().interop.ref_of_future(future)
                assert ray.wait([ref], timeout=30.0)[0] == [ref]
                if ref._entry.data.node == away:
                    return future, ref

        kept, made = written_there()
        gone = [written_there()[1]]
        os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)

        @ray.remote(max_retries=3)
        def total(array: Any) -> float:
            return float(array.sum())

        assert ray.get(total.remote(kept), timeout=60) == 200_000
        assert ray.get(total.remote(made), timeout=60) == 200_000
        assert ray.get(made, timeout=60).sum() == 200_000
        with pytest.raises(ObjectReconstructionFailedError, match="Dask future that was let go"):
            ray.get(gone[0], timeout=60)
        del made, gone, kept
        ray.shutdown()
    gc.collect()


def test_a_ref_that_is_read_leaves_the_workers_own_threads_to_the_node(client: Client) -> None:
    """What is read may have to come from another host first, for which the node needs a thread."""

    async def one_thread() -> None:
        import asyncio
        import threading
        from concurrent.futures import ThreadPoolExecutor

        from ray_on_dask.runtime.getting import Getting

        loop, value = asyncio.get_running_loop(), Getting.value
        loop.set_default_executor(ThreadPoolExecutor(1))

        def late(self: Any, *args: Any) -> Any:
            came = threading.Event()
            loop.call_soon_threadsafe(lambda: loop.run_in_executor(None, came.set))
            if not came.wait(5):
                raise TimeoutError("the node has no thread")
            return value(self, *args)

        late.as_it_was = value  # type: ignore[attr-defined]
        Getting.value = late  # type: ignore[method-assign]

    async def as_it_was() -> None:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        from ray_on_dask.runtime.getting import Getting

        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        Getting.value = Getting.value.as_it_was  # type: ignore[attr-defined,method-assign]

    client.run(one_thread)
    try:
        assert ray.put(np.ones(200_000)).dask_future().result(30).sum() == 200_000
    finally:
        client.run(as_it_was)
