"""Objects read from another node's store over a Dask comm, and what becomes of it on the way."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from distributed.comm import connect, listen

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.objectstore.store import Store
from ray_on_dask.plugins import lanes, transfer
from ray_on_dask.plugins.serving import Serving
from ray_on_dask.plugins.transfer import Reading

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["raw", "messages"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the comm's socket, and by messages, as where a comm has none."""
    if request.param == "messages":
        monkeypatch.setattr(lanes, "can_be_raw", lambda comm: False)


class Node:
    """A node with a store, which others read from."""

    def __init__(self, directory: Path, name: str):
        path = directory / name
        path.mkdir()
        self.name = name
        self.store = Store(str(path), name, name, 1 << 30)
        self.objects: dict[bytes, Stored] = {}
        self.open: list[tuple[str, bytes]] = []
        self.served = 0

    def put(self, id: bytes, data: bytes) -> None:
        self.objects[id] = Stored(id, self.store.write([data], len(data)), "key", self.name)

    def open_for(self, reader: str, id: bytes) -> Stored | None:
        if id in self.objects:
            self.open.append((reader, id))
            self.served += 1
        return self.objects.get(id)

    def close_for(self, reader: str, id: bytes) -> None:
        self.open.remove((reader, id))


class Net:
    """Nodes "a" and "b" with objects, and a reader "r"."""

    def __init__(self, directory: Path):
        self.nodes = {x: Node(directory, x) for x in "abr"}
        self.listeners: dict[str, Any] = {}
        self.comms: list[Any] = []
        store = self.nodes["r"].store
        self.reading = Reading("r", self.dial, store.reserve, store.free)

    async def dial(self, node: str) -> Any:
        if node == "out of reach":
            raise ConnectionRefusedError(node)
        if node not in self.listeners:
            raise LookupError(f"node {node} is dead")
        comm = await connect(self.listeners[node].contact_address)
        self.comms.append(comm)
        return comm

    async def start(self, node: str) -> None:
        async def on_comm(comm: Any) -> None:
            message = await comm.read()
            assert message.pop("op") == "rod-read"
            await Serving(comm, self.nodes[node], message["reader"], message["raw"]).run()

        self.listeners[node] = await listen("tcp://127.0.0.1:0", on_comm)

    def text(self, brought: Any) -> bytes:
        return bytes(self.nodes["r"].store.open(brought.at).memory)


@asynccontextmanager
async def net(directory: Path) -> AsyncIterator[Net]:
    net = Net(directory)
    for node in "ab":
        await net.start(node)
    try:
        yield net
    finally:
        net.reading.close()
        for listener in net.listeners.values():
            listener.stop()
        for node in net.nodes.values():
            node.store.close(unlink=True)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 1000, 5 << 20, 33_333_333])
def test_an_object_comes_as_it_is(tmp_path: Path, size: int) -> None:
    async def story() -> None:
        async with net(tmp_path) as network:
            data = os.urandom(size)
            network.nodes["a"].put(b"x", data)
            brought = await network.reading.read(b"x", ["a"])
            assert (brought.key, brought.source) == ("key", "a")
            assert network.text(brought) == data
            await until(lambda: not network.nodes["a"].open)

    asyncio.run(story())


def test_comms_are_used_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with net(tmp_path) as network:
            for number in range(50):
                network.nodes["a"].put(b"%d" % number, b"%d" % number * 100)
            for number in range(50):
                brought = await network.reading.read(b"%d" % number, ["a"])
                assert network.text(brought) == b"%d" % number * 100
            assert len(network.comms) == 1
            many = [network.reading.read(b"%d" % number, ["a"]) for number in range(50)]
            await asyncio.gather(*many)
            assert len(network.comms) <= transfer.AT_ONCE + 1
            network.reading.trim(monotonic())
            assert network.reading._idle
            network.reading.trim(monotonic() + 2 * transfer.UNUSED)
            assert not network.reading._idle
            assert all(comm.closed() for comm in network.comms)

    asyncio.run(story())


def test_another_copy_is_read_when_one_is_gone(tmp_path: Path) -> None:
    """Of a node that is dead, one that has it no more, one that dies in the middle of it."""

    async def story() -> None:
        async with net(tmp_path) as network:
            data = os.urandom(20 << 20)
            network.nodes["b"].put(b"x", data)
            brought = await network.reading.read(b"x", ["dead", "a", "b"])
            assert brought.source == "b"
            network.nodes["a"].put(b"x", data)

            def cut(reader: str, id: bytes) -> Any:
                path = network.nodes["a"].objects[id].at.segment
                os.truncate(path, 6 << 20)
                return network.nodes["a"].objects[id]

            network.nodes["a"].open_for = cut  # type: ignore[method-assign]
            network.nodes["a"].close_for = lambda *_: None  # type: ignore[method-assign]
            used = network.nodes["r"].store.used
            brought = await network.reading.read(b"x", ["a", "b"])
            assert brought.source == "b"
            assert network.text(brought) == data
            assert network.nodes["r"].store.used == used + (20 << 20)

    asyncio.run(story())


def test_without_any_copy_there_is_an_error_and_no_room_is_taken(tmp_path: Path) -> None:
    async def story() -> None:
        async with net(tmp_path) as network:
            for nodes in (["a", "b"], ["dead"], []):
                with pytest.raises(transfer.NotThere):
                    await network.reading.read(b"x", nodes)
            with pytest.raises(OSError):
                await network.reading.read(b"y", ["out of reach", "b"])
            assert network.nodes["r"].store.used == 0

    asyncio.run(story())


def test_a_silent_node_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SILENCE", 0.2)

    async def story() -> None:
        async with net(tmp_path) as network:
            network.nodes["b"].put(b"x", b"data")

            async def silent(comm: Any) -> None:
                await asyncio.sleep(60)

            network.listeners["a"].stop()
            network.listeners["a"] = await listen("tcp://127.0.0.1:0", silent)
            assert (await network.reading.read(b"x", ["a", "b"])).source == "b"

    asyncio.run(story())


def test_a_reader_that_is_cancelled_while_it_gets_room_gives_it_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with net(tmp_path) as network:
            store, go_on, began = network.nodes["r"].store, threading.Event(), threading.Event()

            def late(size: int) -> Any:
                began.set()
                go_on.wait(30)
                return store.reserve(size)

            network.reading = Reading("r", network.dial, late, store.free)
            network.nodes["a"].put(b"x", bytes(200_000))
            reading = asyncio.ensure_future(network.reading.read(b"x", ["a"]))
            await until(began.is_set)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            go_on.set()
            await until(lambda: not network.nodes["a"].open)
            await asyncio.sleep(0.2)  # for the thread
            assert store.used == 0

    asyncio.run(story())


def test_a_reader_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with net(tmp_path) as network:
            network.nodes["a"].put(b"x", bytes(200 << 20))
            reading = asyncio.ensure_future(network.reading.read(b"x", ["a"]))
            await until(lambda: network.nodes["a"].open)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await until(lambda: not network.nodes["a"].open)
            await until(lambda: network.nodes["r"].store.used == 0)

    asyncio.run(story())
