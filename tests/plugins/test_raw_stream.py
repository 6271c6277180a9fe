"""Bytes below the messages of a comm, plain and encrypted, and the door to the stream of a comm."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed.comm import connect, listen
from distributed.security import Security

from ray_on_dask.plugins import _dask_compat_streams as streams
from ray_on_dask.plugins.raw_stream import RawStream, can_be_raw

pytestmark = pytest.mark.timeout(60)


class End:
    """One end, and what it has read."""

    def __init__(self, comm: Any):
        self.read = bytearray()
        self.room = 0
        self.stream = RawStream(comm, self.read.extend, self.on_room)

    def on_room(self) -> None:
        self.room += 1


@pytest.fixture(params=["tcp", "tls"], scope="module")
def security(request: pytest.FixtureRequest) -> Any:
    if request.param == "tcp":
        return None
    pytest.importorskip("cryptography")
    return Security.temporary()


@asynccontextmanager
async def two_comms(security: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Comms that have exchanged a message each way already."""
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def on_comm(comm: Any) -> None:
        assert await comm.read() == "hello"
        await comm.write("hello too")
        accepted.set_result(comm)

    listening, connecting = (
        (security.get_listen_args("worker"), security.get_connection_args("worker"))
        if security
        else ({}, {})
    )
    kind = "tls" if security else "tcp"
    async with listen(f"{kind}://127.0.0.1:0", on_comm, **listening) as listener:
        comm = await connect(listener.contact_address, **connecting)
        await comm.write("hello")
        assert await comm.read() == "hello too"
        other = await accepted
        try:
            yield comm, other
        finally:
            comm.abort()
            other.abort()


@asynccontextmanager
async def two_ends(security: Any) -> AsyncIterator[tuple[End, End]]:
    async with two_comms(security) as comms:
        a, b = map(End, comms)
        await a.stream.start()
        await b.stream.start()
        yield a, b


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_what_was_sent_before_the_other_end_took_over_is_not_lost(security: Any) -> None:
    async def story() -> None:
        async with two_comms(security) as comms:
            a, b = map(End, comms)
            await a.stream.start()
            a.stream.write(b"early")
            await asyncio.sleep(0.05)  # Dask's side of b reads it meanwhile
            await b.stream.start()
            a.stream.write(b", late")
            await until(lambda: b.read == b"early, late")
            b.stream.write(b"answer")
            await until(lambda: a.read == b"answer")

    asyncio.run(story())


def test_more_than_the_socket_takes_waits_and_then_there_is_room(security: Any) -> None:
    async def story() -> None:
        async with two_ends(security) as (a, b):
            data = os.urandom(1 << 20)
            for _ in range(20):
                a.stream.write(data)
            assert a.stream.full
            b.stream.write(b"meanwhile")
            await until(lambda: len(b.read) == 20 << 20)
            assert b.read == data * 20
            await until(lambda: a.room == 1)
            assert not a.stream.full
            assert a.read == b"meanwhile"

    asyncio.run(story())


def test_a_part_of_a_file_comes_after_what_was_written_before(
    security: Any, tmp_path: Path
) -> None:
    async def story() -> None:
        data = os.urandom(9_999_999)
        path = tmp_path / "file"
        path.write_bytes(data)
        file = os.open(path, os.O_RDONLY)
        async with two_ends(security) as (a, b):
            for _ in range(2):
                a.stream.write(b"first")
                a.stream.write_file(file, 7, 9_000_000)
                with pytest.raises(ValueError, match="one file"):
                    a.stream.write_file(file, 0, 1)
                await until(lambda: len(b.read) >= 9_000_005)
                assert b.read == b"first" + data[7:9_000_007]
                b.read.clear()
                await until(lambda: not a.stream.sends_file)
            a.stream.write_file(file, 9_000_000, 5_000_000)  # more than there is
            with pytest.raises(OSError, match="gone"):
                await asyncio.wait_for(a.stream.ended(), 10)
            with pytest.raises(OSError, match=r"hung up|reset"):
                await asyncio.wait_for(b.stream.ended(), 10)
        os.close(file)

    asyncio.run(story())


@pytest.mark.parametrize("how", ["close", "comm", "garbage"])
def test_the_end_is_noticed_at_both_ends(security: Any, how: str) -> None:
    async def story() -> None:
        async with two_ends(security) as (a, b):
            if how == "garbage":

                def refuse(view: memoryview) -> None:
                    raise ValueError("garbage")

                a.stream._on_bytes = refuse
                b.stream.write(b"?")
            else:
                (a.stream.close if how == "close" else a.stream.comm.abort)()
            with pytest.raises(ValueError if how == "garbage" else OSError):
                await asyncio.wait_for(a.stream.ended(), 10)
            with pytest.raises(OSError):
                await asyncio.wait_for(b.stream.ended(), 10)
            for end in (a, b):
                assert end.stream.closed and end.stream.comm.closed()
                end.stream.write(b"nobody reads this")

    asyncio.run(story())


def test_other_comms_are_left_to_their_messages() -> None:
    async def story() -> None:
        async with listen("inproc://", lambda comm: comm.close()) as listener:
            comm = await connect(listener.contact_address)
            assert not can_be_raw(comm)
            comm.abort()

    asyncio.run(story())


def test_closing_a_stream_that_was_taken_over_leaves_no_handler_behind(security: Any) -> None:
    """Its descriptor's number is given to others next."""

    async def story() -> None:
        async with two_ends(security) as (a, _):
            stream = streams.stream_of(a.stream.comm)
            assert streams.is_plain(stream) == (security is None)
            number = stream.socket.fileno()
            assert number in stream.io_loop.handlers
            a.stream.comm.abort()
            assert number not in stream.io_loop.handlers

    asyncio.run(story())
