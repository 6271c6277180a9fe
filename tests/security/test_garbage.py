"""Garbage on any socket closes that connection, and nothing else notices."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, Scheduler, Worker

from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.frames import FIRST_MAX, FrameReader, pack

from .conftest import listening

pytestmark = pytest.mark.timeout(90)

HELLO = pack(m.Hello("0123456789abcdef", "owner", os.getpid()))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def nested_without_end() -> bytes:
    body = m.encode(m.Ask(1, "x", {"a": 1}))
    at = body.index(b"\xa1a\x01")
    return framed(body[:at] + b"\xa1a" + b"\x91" * 100_000)


GARBAGE = {
    "noise": random.Random(0).randbytes(5000),
    "a frame of noise": framed(random.Random(1).randbytes(500)),
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "text": framed(b'{"op": "identity"}'),
    "an unknown tag": framed(b"\x92\xcd\x03\xe7\x01"),
    "wrong types": framed(b"\x93\x01\x05\x05"),
    "too few fields": framed(b"\x91\x01"),
    "an empty frame": framed(b""),
    "more than a frame may be": (0xFFFFFFFF).to_bytes(4, "little") + b"x",
    "a list of four thousand million": framed(b"\x92\x2b\xdd\xff\xff\xff\xff"),
    "nested without end": nested_without_end(),
    "sense, then noise": HELLO + framed(b"\xc1\xc1"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_reader_calls_it_a_value_error_and_nothing_worse(name: str) -> None:
    with pytest.raises(ValueError):
        FrameReader(FIRST_MAX).feed(GARBAGE[name])


@pytest.fixture(scope="module")
def busy(ray: Any) -> Iterator[Any]:
    """A function that asserts that all goes on: a task, an actor, its driver."""

    @ray.remote
    class Counter:
        value = 0

        def add(self) -> int:
            self.value += 1
            return self.value

    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    counter, calls = Counter.remote(), 0

    def check() -> None:
        nonlocal calls
        calls += 1
        assert ray.get(counter.add.remote(), timeout=20) == calls
        assert ray.get([double.remote(i) for i in range(4)], timeout=20) == [0, 2, 4, 6]

    check()
    yield check
    check()


@pytest.fixture(params=["hub", "executor"])
def line(request: Any, busy: Any) -> Iterator[list[socket.socket]]:
    """A connection to each socket of the kind."""
    lines = []
    for path, kind in listening().items():
        if kind == request.param:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(20)
            sock.connect(path)
            lines.append(sock)
    assert lines
    yield lines
    for sock in lines:
        sock.close()


def is_closed(sock: socket.socket) -> bool:
    """Whether the other end hangs up (what it says before is of no interest)."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    return True  # a `TimeoutError` fails the test


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_closes_its_line_alone(line: list[socket.socket], busy: Any, name: str) -> None:
    for sock in line:
        sock.sendall(GARBAGE[name])
        assert is_closed(sock)
    busy()


def resident(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * 4096
    return total


def test_half_a_frame_waits_and_takes_no_more_than_what_came(
    line: list[socket.socket], busy: Any
) -> None:
    """A gigabyte that is only announced is not reserved, and whoever dawdles blocks nobody."""
    from ray_on_dask.runtime import process_tree

    pids = [x for x in process_tree.descendants(os.getpid()) if os.path.exists(f"/proc/{x}")]
    before = resident(pids)
    for sock in line:
        sock.sendall(HELLO + (1 << 30).to_bytes(4, "little")[:3])
    busy()
    for sock in line:
        sock.sendall(b"\x3f" + b"x" * 1000)
        sock.setblocking(False)
    busy()
    for sock in line:
        with pytest.raises(BlockingIOError):  # it is open, and there is no answer
            sock.recv(1)
    assert resident(pids) - before < 64 << 20


def test_a_line_that_ends_within_a_frame_is_no_more_than_that(
    line: list[socket.socket], busy: Any
) -> None:
    for sock in line:
        sock.sendall(HELLO[: len(HELLO) // 2])
        sock.close()
    busy()


def test_messages_that_make_no_sense_where_they_come_are_not_obeyed(
    line: list[socket.socket], busy: Any
) -> None:
    """Of types that are right, about things that are not there."""
    wrong: list[object] = [
        m.Sealed(b"x" * 20, m.Located("", "/nowhere", 0, 10), "key"),
        m.FreeObjects([b"x" * 20]), m.Results(99, []), m.ReturnLease(99), m.EndLease(99),
        m.Push(99, []), m.Cancel(b"x" * 16), m.Granted(99, 99, "nobody", "/nowhere", ""),
        m.Release([(b"x" * 20, 5)]), m.KillActor(b"x" * 18), m.Ask(1, "no such question", {"a": 1}),
        m.Ask(2, "nodes", {"surplus": 1}), m.ActorReady(b"x" * 18, 3), m.Serializer(b"no pickle"),
        m.Resolved(b"x" * 20, m.Value(m.INLINE, b"")), m.Closed([b"x" * 20]),
    ]  # fmt: skip
    for sock in line:
        sock.sendall(HELLO)
        for message in wrong:
            sock.sendall(pack(message))
    busy()


# -- messages on Dask's own streams ------------------------------------------------------

JUNK: list[dict[str, Any]] = [
    {}, {"frames": 5}, {"frames": [5]}, {"frames": [("x", b"\xc1")]}, {"frames": [("x", "text")]},
    {"facts": 5}, {"facts": {}}, {"facts": {"name": {}}}, {"sizes": 5}, {"sizes": {1: "x"}},
    {"gone": 5}, {"sizes": {"a": 1}, "gone": ["never"]}, {"why": 5}, {"node": {}}, {"number": []},
    {"surplus": 1}, {"op": "again"}, {"worker": None},
]  # fmt: skip


async def with_nodes(test: Any) -> None:
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
    from ray_on_dask.plugins.worker_plugin import NodePlugin

    async with Scheduler(
        host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler:
        plugin = ControlPlugin(node=NodePlugin(object_store_memory=64 << 20))
        await scheduler.register_scheduler_plugin(plugin, idempotent=True)
        async with Worker(
            scheduler.address, nthreads=1, host="127.0.0.1", memory_limit="1GB", dashboard=False
        ) as worker:
            while not plugin.store.nodes:
                await asyncio.sleep(0.01)
            await asyncio.wait_for(test(scheduler, worker), 30)


def test_no_handler_of_a_stream_raises_whatever_it_is_given() -> None:
    """One that did would end the stream: a worker would close, a client lose its futures."""

    async def test(scheduler: Any, worker: Any) -> None:
        for server in (scheduler, worker):
            handlers = {k: v for k, v in server.stream_handlers.items() if k.startswith("rod-")}
            assert handlers
            for handler in handlers.values():
                for junk in JUNK:
                    handler(**{**({"worker": worker.address} if server is scheduler else {}),
                               **junk})  # fmt: skip
        # And on the stream itself.
        for junk in JUNK:
            dask.send_to_scheduler(worker, {**junk, "op": "rod-objects"})
        async with Client(scheduler.address, asynchronous=True) as client:
            assert await client.submit(abs, -1) == 1
        assert list(scheduler.workers) == [worker.address]

    asyncio.run(with_nodes(test))


def test_a_call_with_bad_arguments_is_answered_with_an_error() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        async with Client(scheduler.address, asynchronous=True) as client:
            for call, arguments in (
                (client.scheduler.rod_want, {"key": {}, "wanter": "x"}),
                (client.scheduler.rod_want, {}),
                (client.scheduler.rod_keep, {"ids": 5, "keeper": "x"}),
                (client.scheduler.rod_info, {"surplus": 1}),
            ):
                with pytest.raises((TypeError, AttributeError, ValueError)):
                    await call(**arguments)
            assert (await client.scheduler.rod_info())["version"]
            assert await client.submit(abs, -2) == 2

    asyncio.run(with_nodes(test))
