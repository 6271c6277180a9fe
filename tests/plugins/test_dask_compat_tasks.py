"""The doors to what is private of Dask's tasks and graphs, against a live scheduler and worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from distributed import Client, Scheduler, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from ray_on_dask.plugins import _dask_compat as dask, _dask_compat_tasks as tasks

pytestmark = pytest.mark.timeout(60)


def run(test: Callable[[Any, Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with (
            Scheduler(
                host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
            ) as scheduler,
            Worker(
                scheduler.address, nthreads=1, host="127.0.0.1", memory_limit="1GB", dashboard=False
            ) as worker,
        ):
            await asyncio.wait_for(test(scheduler, worker), 20)

    asyncio.run(main())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def seceding(key: str) -> bool:
    """A task that counts no more, until a file tells it to go on or nobody wants it any more."""
    worker = get_worker()
    tasks.secede(worker, key)
    while tasks.is_wanted(worker, key) and "go on" not in worker.data:
        await asyncio.sleep(0.005)
    return tasks.is_wanted(worker, key)


def test_a_coroutine_that_secedes_leaves_its_place_to_others() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        async with Client(scheduler.address, asynchronous=True) as client:
            waiting = client.submit(seceding, "waits", key="waits")
            await until(lambda: scheduler.workers[worker.address].long_running)
            assert dask.running_tasks(scheduler, worker.address) == 0
            assert await client.submit(abs, -1) == 1  # on the only thread
            dask.add_data(worker, {"go on": 1})
            assert await waiting

    run(test)


def test_a_coroutine_learns_that_nobody_wants_its_outcome_any_more() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        async with Client(scheduler.address, asynchronous=True) as client:
            waiting = client.submit(seceding, "waits", key="waits")
            await until(lambda: scheduler.workers[worker.address].long_running)
            assert tasks.is_wanted(worker, "waits")
            waiting.release()
            await until(lambda: not tasks.is_wanted(worker, "waits"))
            await until(lambda: "waits" not in worker.state.tasks)

    run(test)


def test_a_workers_plugin_is_found_by_its_name() -> None:
    class Named(WorkerPlugin):
        name = "named"

    async def test(scheduler: Any, worker: Any) -> None:
        plugin = Named()
        await worker.plugin_add(plugin)
        assert tasks.worker_plugin(worker, "named") is plugin
        assert tasks.worker_plugin(worker, "other") is None

    run(test)


def test_graphs_of_all_forms_have_tasks_data_and_aliases() -> None:
    from dask import delayed

    nodes = tasks.graph_nodes({"a": -1, "b": "a", "c": (abs, "a")})
    assert {key: type(node).__name__ for key, node in nodes.items()} == {
        "a": "DataNode", "b": "Alias", "c": "Task",
    }  # fmt: skip
    assert nodes["a"].value == -1 and nodes["b"].target == "a"
    assert nodes["c"].dependencies == {"a"} and nodes["c"]({"a": -1}) == 1
    value = delayed(abs)(-1)
    (task,) = tasks.graph_nodes(tasks.graph_of(value)).values()
    assert task({}) == 1


def test_a_guard_hangs_up_on_whoever_may_not_connect() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        asked: list[Any] = []

        def may(peer: Any, own: Any) -> bool:
            asked.append((peer, own))
            return len(asked) > 1

        tasks.guard_listeners(scheduler, may)
        port = int(scheduler.address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read(1) == b""
        assert asked == [(writer.get_extra_info("sockname"), ("127.0.0.1", port))]
        writer.close()
        async with Client(scheduler.address, asynchronous=True) as client:
            assert await client.submit(abs, -1) == 1
        assert len(asked) > 1

    run(test)


def test_a_future_of_a_key_is_had_again_for_as_long_as_the_client_has_one() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        async with Client(scheduler.address, asynchronous=True) as client:
            future = client.submit(abs, -1)
            again = tasks.future_in_use(client, future.key)
            key = future.key
            del future
            assert await again == 1
            del again
            await until(lambda: tasks.future_in_use(client, key) is None)

    run(test)
