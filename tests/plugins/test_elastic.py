"""What the scheduler does about its own size and life, with a control store in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from distributed import Scheduler, Worker

from ray_on_dask.core.members import NodeFacts
from ray_on_dask.plugins import handing_over
from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
from ray_on_dask.wire import messages as m

pytestmark = pytest.mark.timeout(60)


def run(test: Callable[[Any, ControlPlugin], Awaitable[None]], **options: Any) -> None:
    """A scheduler with the plugin, in this process."""

    async def main() -> None:
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0", **options
        ) as scheduler:
            control = ControlPlugin()
            await scheduler.register_scheduler_plugin(control, idempotent=True)
            await asyncio.wait_for(test(scheduler, control), 30)

    asyncio.run(main())


def node_of(control: ControlPlugin, name: str, address: str) -> None:
    """Say that a Dask worker is a node, as it would itself."""
    facts = NodeFacts(name, address, "", "", "", "", "", "", 1, {"CPU": 10_000})
    assert control.store is not None
    control.addresses[name] = address
    control.dispatch(control.store.node_up(facts, control.now()))


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_scheduler_is_idle_only_when_no_driver_is_there_and_nothing_runs() -> None:
    async def test(scheduler: Any, control: ControlPlugin) -> None:
        assert control.store is not None
        control.store.joined("n", m.Hello("driver", "driver", 1), control.now())
        await asyncio.sleep(1.3)
        assert scheduler.status.name == "running"
        control.store.lost(m.Lost("driver", "left"), control.now())
        await until(lambda: scheduler.status.name == "closed")

    run(test, idle_timeout="400ms")


def test_a_worker_is_retired_when_its_tasks_are_done_or_have_had_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASK_RAY_ON_DASK__DRAIN_TIMEOUT", "0.3")
    monkeypatch.setattr(handing_over, "ANSWER", 0.1)  # as the nodes are none

    async def test(scheduler: Any, control: ControlPlugin) -> None:
        store = control.store
        assert store is not None
        monkeypatch.setattr(control, "_send", lambda to, message: None)  # they are plain workers
        async with (
            Worker(scheduler.address, host="127.0.0.1", dashboard=False) as first,
            Worker(scheduler.address, host="127.0.0.1", dashboard=False) as second,
        ):
            for name, worker in (("a", first), ("b", second)):
                node_of(control, name, worker.address)
            store.joined("a", m.Hello("driver", "driver", 1), control.now())
            control._handle("driver", m.Demand(1, 2, m.SchedulingClass({"CPU": 10_000})))
            assert len(store.leases.leases) == 2
            (lease,) = store.leases.nodes["b"].leases.values()
            retire = scheduler.handlers["retire_workers"]
            going = asyncio.create_task(retire(workers=[second.address]))
            await asyncio.sleep(0.1)
            assert not going.done() and store.leases.nodes["b"].draining
            assert lease.ending, "it was called back"
            assert list(await going) == [second.address]
            await until(lambda: second.address not in scheduler.workers)
            assert "b" not in store.leases.nodes

    run(test)


def test_workers_that_are_busy_are_not_offered_to_be_closed() -> None:
    async def test(scheduler: Any, control: ControlPlugin) -> None:
        store = control.store
        assert store is not None
        async with (
            Worker(scheduler.address, host="127.0.0.1", dashboard=False) as first,
            Worker(scheduler.address, host="127.0.0.1", dashboard=False) as second,
        ):
            for name, worker in (("a", first), ("b", second)):
                node_of(control, name, worker.address)
            assert len(scheduler.workers_to_close(target=0)) == 2
            store.joined("a", m.Hello("driver", "driver", 1), control.now())
            assert scheduler.workers_to_close(target=0) == [second.address]
            assert scheduler.handlers["adaptive_target"]() == 1

    run(test)
