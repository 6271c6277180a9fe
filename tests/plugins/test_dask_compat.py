"""Each door to what is private in `distributed`, against a live scheduler and worker.

A test that fails here says which name a release has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from distributed import Client, Future, Scheduler, Security, Worker
from distributed.diagnostics.plugin import WorkerPlugin

from ray_on_dask.plugins import (
    _dask_compat as dask,
    _dask_compat_size as dask_size,
    _dask_compat_tasks as dask_tasks,
)
from ray_on_dask.plugins.stored_handle import StoredHandle

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def cluster(resources: dict[str, float] | None = None) -> AsyncIterator[tuple[Any, Any]]:
    async with Scheduler(
        host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler, Worker(
        scheduler.address, nthreads=1, host="127.0.0.1", memory_limit="1GB", resources=resources,
        dashboard=False,
    ) as worker:  # fmt: skip
        yield scheduler, worker


def run(test: Callable[[Any, Any], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with cluster(**options) as (scheduler, worker):
            await asyncio.wait_for(test(scheduler, worker), 20)

    asyncio.run(main())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def handle(number: int) -> StoredHandle:
    return StoredHandle(bytes([number]), "node")


def test_a_scheduler_of_this_release_has_all_that_is_needed() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert dask.check(scheduler) == []

    run(test)


def test_one_plugin_of_a_name_is_the_first() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        first, second = object(), object()
        assert dask.claim(scheduler, "x", first)
        assert not dask.claim(scheduler, "x", second)
        assert dask.claimed(scheduler, "x") is first
        dask.disown(scheduler, "x")
        assert dask.claim(scheduler, "x", second)

    run(test)


def test_a_client_calls_an_rpc_handler() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        dask.on_rpc(scheduler, {"double": double})
        async with Client(scheduler.address, asynchronous=True) as client:
            assert await dask.ask_scheduler(client, "double", x=21) == 42

    def double(x: int) -> int:
        return 2 * x

    run(test)


def test_messages_go_over_the_workers_stream_both_ways_in_order() -> None:
    """`hurry_*` only change when they go, not that they do."""

    async def test(scheduler: Any, worker: Any) -> None:
        up: list[Any] = []
        down: list[Any] = []
        dask.on_stream(scheduler, {"t-up": lambda worker="", n=0: up.append((worker, n))})
        dask.on_stream(worker, {"t-down": lambda n=0: down.append(n)})
        dask.hurry_stream(scheduler, worker.address)
        dask.hurry_worker_stream(worker)
        for n in range(100):
            dask.send_to_scheduler(worker, {"op": "t-up", "n": n})
            assert dask.send_to_worker(scheduler, worker.address, {"op": "t-down", "n": n})
        await until(lambda: len(up) == 100 and len(down) == 100)
        assert up == [(worker.address, n) for n in range(100)]
        assert down == list(range(100))
        assert not dask.send_to_worker(scheduler, "tcp://127.0.0.1:1", {"op": "t-down"})

    run(test)


def test_a_message_after_off_stream_does_not_end_the_stream() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        dask.on_stream(worker, {"t-down": lambda n=0: None})
        dask.off_stream(worker, ["t-down"])
        dask.send_to_worker(scheduler, worker.address, {"op": "t-down", "n": 1})
        await asyncio.sleep(0.1)
        assert worker.address in scheduler.workers

    run(test)


class Failing(WorkerPlugin):
    name = "failing"

    def setup(self, worker: Any) -> None:
        raise OSError("no room")


def test_a_plugin_that_does_not_start_on_a_worker_is_reported() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        failures = await dask.add_worker_plugin(scheduler, Failing())
        assert list(failures) == [worker.address]
        assert "no room" in failures[worker.address]

    run(test)


def test_future_workers_get_a_plugin_that_present_ones_do_not() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        plugin = WorkerPlugin()
        plugin.name = "late"
        dask.give_to_future_workers(scheduler, plugin)
        async with Worker(scheduler.address, nthreads=1, host="127.0.0.1") as late:
            assert "late" in late.plugins
            assert "late" not in worker.plugins

    run(test)


def test_registered_objects_are_keys_until_they_are_released() -> None:
    """With bytes on the worker, a wanting client (else `Client.restart` fails), and no rest."""

    async def test(scheduler: Any, worker: Any) -> None:
        dask.add_data(worker, {"a-1": handle(1), "a-2": handle(2)})
        dask.register_objects(scheduler, worker.address, {"a-1": 100, "a-2": 200})
        assert {key: ts.nbytes for key, ts in scheduler.tasks.items()} == {"a-1": 100, "a-2": 200}
        assert all(ts.state == "memory" and ts.who_wants for ts in scheduler.tasks.values())
        dask.release_objects(scheduler, ["a-1", "unknown"])
        await until(lambda: list(worker.data) == ["a-2"])
        dask.release_objects(scheduler, ["a-2"])
        await until(lambda: not worker.data)
        assert not scheduler.tasks
        dask.register_objects(scheduler, "tcp://127.0.0.1:1", {"a-3": 1})
        assert not scheduler.tasks

    run(test)


def test_a_client_makes_a_future_of_a_key_and_a_task_loads_it() -> None:
    """The key outlives its release by us for as long as the client's future does."""

    async def test(scheduler: Any, worker: Any) -> None:
        dask.add_data(worker, {"a-1": handle(1)})
        dask.register_objects(scheduler, worker.address, {"a-1": 100})
        async with Client(scheduler.address, asynchronous=True) as client:
            future = dask_tasks.future_of_key(client, "a-1")
            assert isinstance(future, Future)
            dask_tasks.want_object(scheduler, "a-1", client.id)
            await until(lambda: future.status == "finished")
            dask.release_objects(scheduler, ["a-1"])
            assert await client.submit(lambda handle: handle.id, future) == b"\x01"
            future.release()
            await until(lambda: "a-1" not in scheduler.tasks)

    run(test)


def test_a_restart_finds_no_key_of_ours_that_nobody_wants() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        dask.add_data(worker, {"a-1": handle(1)})
        dask.register_objects(scheduler, worker.address, {"a-1": 100})
        await scheduler.restart(wait_for_workers=False, stimulus_id="test")
        assert not scheduler.tasks

    run(test)


def test_running_dask_tasks_are_counted() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert dask.running_tasks(scheduler, worker.address) == 0
        async with Client(scheduler.address, asynchronous=True) as client:
            from time import sleep

            futures = client.map(sleep, [0.2, 0.21])
            await until(lambda: dask.running_tasks(scheduler, worker.address) == 1)
            await client.gather(futures)
        assert dask.running_tasks(scheduler, "tcp://127.0.0.1:1") == 0

    run(test)


def test_a_scheduler_that_is_kept_awake_is_not_idle() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        scheduler.idle_since = 1.0
        dask.keep_awake(scheduler)
        assert scheduler.idle_since is None

    run(test)


def test_task_runs_show_on_the_task_stream_once_somebody_looks() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        dask.show_runs(scheduler, worker.address, 7, [("f-" + "0" * 32, 1.0, 2.0, True)])
        assert "task-stream" not in scheduler.plugins
        dask.start_task_stream(scheduler)
        dask.start_task_stream(scheduler)
        dask.show_runs(scheduler, worker.address, 7, [("f-" + "0" * 32, 1.0, 2.0, True)])
        from distributed.diagnostics.task_stream import rectangles

        drawn = rectangles(scheduler.plugins["task-stream"].collect())
        assert drawn["name"] == ["f"]
        assert drawn["duration"] == [1000.0]
        assert drawn["worker_thread"] == [f"{worker.address}-7"]

    run(test)


def test_counts_show_on_the_progress_page() -> None:
    bokeh = pytest.importorskip("distributed.dashboard.components.scheduler")

    async def test(scheduler: Any, worker: Any) -> None:
        dask.show_counts(scheduler, {"f": (3, 1)})
        dask.show_counts(scheduler, {"f": (2, 0)})
        page = bokeh.TaskProgress(scheduler, height=100)
        page.update()
        assert page.source.data["name"] == ["f"]
        assert page.source.data["all"] == [6]
        assert page.source.data["erred"] == [1]

    run(test)


def test_a_workers_resources_memory_and_scheduler_are_read() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert dask.worker_resources(worker) == {"disk": 2.0}
        assert dask.worker_memory(worker) == 10**9
        assert dask.scheduler_address(worker) == scheduler.address

    run(test, resources={"disk": 2.0})


def test_routes_and_applications_answer_on_the_http_port() -> None:
    from tornado import web
    from tornado.httpclient import AsyncHTTPClient

    class Hello(web.RequestHandler):
        def get(self) -> None:
            self.write("hello")

    async def test(scheduler: Any, worker: Any) -> None:
        dask.add_routes(scheduler, [("/route", Hello, {})])
        dask.add_application(scheduler, web.Application([("/elsewhere", Hello)]))
        url = dask.dashboard_url(scheduler).removesuffix("/status")
        for path in ("/route", "/elsewhere"):
            assert (await AsyncHTTPClient().fetch(url + path)).body == b"hello"

    run(test)


def test_a_worker_answers_our_calls_on_a_comm_that_the_handler_keeps() -> None:
    async def echo(comm: Any, word: str = "") -> None:
        await comm.write(word)
        await comm.write(bytes(await comm.read()) + b"!")

    async def test(scheduler: Any, worker: Any) -> None:
        assert dask.worker_host(worker) == "127.0.0.1"
        dask.on_calls(worker, {"rod-echo": echo})
        comm = await dask.connect_to(worker, worker.address, 5)
        await comm.write({"op": "rod-echo", "word": "hello", "reply": False})
        assert await comm.read() == "hello"
        await comm.write(b"there")
        assert await comm.read() == b"there!"
        await comm.close()
        arguments = dask.connection_arguments(Security())
        comm = await dask.connect_as(worker.address, 5, arguments)
        await comm.write({"op": "rod-echo", "word": dask.as_frame(b"a frame"), "reply": False})
        assert bytes(await comm.read()) == b"a frame"
        await comm.close()
        dask.off_calls(worker, ["rod-echo"])
        assert "rod-echo" not in worker.handlers

    run(test)


# -- size --------------------------------------------------------------------------------


def test_adapting_clusters_learn_of_more_workers() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        dask_size.extend_adaptive_target(scheduler, lambda: 7)
        async with Client(scheduler.address, asynchronous=True) as client:
            assert await client.scheduler.adaptive_target(target_duration=5) == 7
        assert scheduler.adaptive_target() == 7, "as Dask's HTTP API asks"

    run(test)


def test_whoever_retires_workers_waits_for_what_is_to_be_done_before() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        asked: list[list[str]] = []

        async def prepare(addresses: list[str]) -> None:
            asked.append(addresses)

        async def moved(keys: dict[str, list[str]]) -> None:
            raise AssertionError("it has no keys of ours")

        stay: list[tuple[str, str]] = []
        dask_size.around_retiring(scheduler, prepare, moved, lambda *worker: stay.append(worker))
        async with Client(scheduler.address, asynchronous=True) as client:
            await client.scheduler.retire_workers(names=[worker.name], close_workers=False,
                                                  remove=False)  # fmt: skip
            await client.scheduler.retire_workers(n=1, close_workers=False, remove=False)
            await scheduler.retire_workers([worker.address])  # as Dask's HTTP API does
        assert asked == [[worker.address]] * 3
        assert stay[:2] == [(worker.address, "closing_gracefully")] * 2
        await until(lambda: worker.address not in scheduler.workers)

    run(test)


def test_workers_that_are_retired_go_when_their_keys_are_elsewhere_and_that_is_known() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        steps: list[Any] = []

        async def prepare(addresses: list[str]) -> None:
            dask.add_data(worker, {"x-1": 5})
            dask.register_objects(scheduler, worker.address, {"x-1": 28})

        async def moved(keys: dict[str, list[str]]) -> None:
            steps.append((keys, other.data["x-1"], worker.address in scheduler.workers))

        dask_size.around_retiring(scheduler, prepare, moved, lambda *worker: steps.append(worker))
        async with Client(scheduler.address, asynchronous=True) as client:
            stayed = await client.scheduler.retire_workers(workers=[worker.address])
            assert not stayed, "there is nobody to move them to"
            assert steps.pop() == (worker.address, "closing_gracefully")
            await until(lambda: scheduler.workers[worker.address].status.name == "running")
            async with Worker(scheduler.address, host="127.0.0.1", dashboard=False) as other:
                gone = await client.scheduler.retire_workers(workers=[worker.address])
                assert list(gone) == [worker.address]
                assert steps == [({worker.address: ["x-1"]}, 5, True)]
                await until(lambda: worker.address not in scheduler.workers)

    run(test)


def test_a_worker_with_the_only_copy_of_an_object_of_ours_is_known() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert not dask_size.has_only_copies(scheduler, worker.address)
        dask.add_data(worker, {"x-1": handle(1)})
        dask.register_objects(scheduler, worker.address, {"x-1": 28})
        assert dask_size.has_only_copies(scheduler, worker.address)
        assert not dask_size.has_only_copies(scheduler, "tcp://gone:1")
        dask.release_objects(scheduler, ["x-1"])
        assert not dask_size.has_only_copies(scheduler, worker.address)


def test_a_dead_worker_is_removed_and_told_so() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert not dask.has_lost_scheduler(worker)
        await dask.remove_worker(scheduler, worker.address)
        assert worker.address not in scheduler.workers
        await dask.remove_worker(scheduler, worker.address)
        await asyncio.wait_for(worker.finished(), 10)
        assert dask.has_lost_scheduler(worker)

    run(test)
