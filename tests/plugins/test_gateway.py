"""A gateway, a scheduler and a node in one loop: a driver is taken in, its objects handed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from distributed import Scheduler, Security, Worker

from ray_on_dask.ids import new_process_name
from ray_on_dask.objectstore.store import Store
from ray_on_dask.plugins.gateway import Gateway
from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
from ray_on_dask.plugins.worker_plugin import NodePlugin
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.frames import FrameReader, pack

pytestmark = pytest.mark.timeout(60)


class Driver:
    """A driver as a gateway sees it."""

    def __init__(self) -> None:
        self.name = new_process_name()
        self._frames = FrameReader()
        self._come: list[Any] = []

    async def join(self, hub: str) -> m.Welcome:
        self._reader, self._writer = await asyncio.open_unix_connection(hub)
        self.say(m.Hello(self.name, "driver", 0, m.JobConfig()))
        welcome: m.Welcome = await self.hear(m.Welcome)
        return welcome

    def say(self, message: object) -> None:
        self._writer.write(pack(message))

    async def hear(self, kind: type) -> Any:
        while True:
            for message in self._come:
                if type(message) is kind:
                    self._come.remove(message)
                    return message
            data = await self._reader.read(1 << 16)
            assert data, "the gateway has hung up"
            self._come += self._frames.feed(data)

    def leave(self) -> None:
        self._writer.close()


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def session() -> AsyncIterator[tuple[Any, NodePlugin, Gateway]]:
    node = NodePlugin(object_store_memory=1 << 28)
    async with Scheduler(
        host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler, Worker(
        scheduler.address, nthreads=1, host="127.0.0.1", dashboard=False
    ) as worker:  # fmt: skip
        control = ControlPlugin()
        await scheduler.register_scheduler_plugin(control, idempotent=True)
        await worker.plugin_add(node, name=node.name)
        gateway = Gateway(scheduler.address, Security(), {"object_store_memory": 1 << 28})
        await gateway.start()
        ticking = asyncio.ensure_future(gateway.tick())
        try:
            yield control, node, gateway
        finally:
            ticking.cancel()
            await gateway.close()


def run(story: Callable[[Any, NodePlugin, Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with session() as parts:
            await asyncio.wait_for(story(*parts), 30)

    asyncio.run(main())


def test_a_driver_is_taken_in_and_its_questions_are_answered() -> None:
    async def story(control: Any, node: NodePlugin, gateway: Gateway) -> None:
        driver = Driver()
        welcome = await driver.join(gateway.node.hub_path)
        assert (welcome.job, welcome.node) == (1, gateway.node.name)
        driver.say(m.Ask(7, "nodes"))
        answer = await driver.hear(m.Answer)
        assert [x["name"] for x in answer.value] == [node.node.name]  # a gateway is no node
        driver.leave()
        await until(lambda: driver.name not in control.store.members)
        assert control.store.jobs[1].ended

    run(story)


def test_what_a_driver_stores_is_handed_over_to_a_node_and_freed_there() -> None:
    async def story(control: Any, node: NodePlugin, gateway: Gateway) -> None:
        driver = Driver()
        await driver.join(gateway.node.hub_path)
        directory = gateway.node.directories.shm_dir
        store = Store(directory, driver.name, gateway.node.name, 1 << 28)
        id, data = bytes.fromhex(driver.name) + bytes(16), bytes(range(256)) * 40_000
        driver.say(m.Sealed(id, store.write([data], len(data)), f"put-{id.hex()}"))
        await until(lambda: control.store.copies.of(id))
        there = node.node.store.objects.objects[id].at
        assert control.store.copies.of(id) == {node.node.name: there}
        with open(there.segment, "rb") as file:
            file.seek(there.offset)
            assert file.read(there.size) == data
        driver.say(m.FreeObjects([id]))
        await until(lambda: id not in node.node.store.objects.objects)
        assert not control.store.copies.of(id)
        store.close(unlink=True)
        driver.leave()

    run(story)


def test_a_gateway_that_ends_takes_its_driver_with_it() -> None:
    async def story(control: Any, node: NodePlugin, gateway: Gateway) -> None:
        driver = Driver()
        await driver.join(gateway.node.hub_path)
        await gateway.close()
        await until(lambda: driver.name not in control.store.members)
        assert not control.gateways.lines and not control.store.gateways.facts
        driver.leave()

    run(story)


def test_what_is_no_gateway_is_not_let_in(caplog: pytest.LogCaptureFixture) -> None:
    async def story(control: Any, node: NodePlugin, gateway: Gateway) -> None:
        from ray_on_dask.wire.relay_messages import Relay

        line = gateway.control.line(Relay("no facts at all", "", "x"))
        await until(lambda: line.closed)
        assert len(control.gateways.lines) == 1

    run(story)
    assert "a gateway is not let in" in caplog.text
