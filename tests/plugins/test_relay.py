"""Relays of two nodes, with Dask comms in memory between them and Unix sockets at both ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from distributed.comm import connect, listen

from ray_on_dask.core.link import WINDOW
from ray_on_dask.plugins import relay as relay_module
from ray_on_dask.plugins.line_end import LineEnd
from ray_on_dask.plugins.relay import Relay
from ray_on_dask.wire.relay_messages import Relay as Wanted

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["raw", "messages"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the comm's socket, and by messages, as where a comm has none."""
    if request.param == "messages":
        monkeypatch.setattr(relay_module, "can_be_raw", lambda comm: False)
    yield
    gc.collect()  # the loop has ended, and its sockets hang on cycles


class TwoNodes:
    """Relays "a" and "b"; executors of "b" are servers of the test's."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.relays = {x: Relay(x, self.dial, self.join, monotonic, self.on_lost) for x in "ab"}
        self.reachable = True
        self.comms: list[Any] = []
        self.lost: list[tuple[str, str]] = []

    async def start(self) -> None:
        self.listener = await listen("tcp://127.0.0.1:0", self.on_comm)
        self.ticking = asyncio.ensure_future(self.tick())

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for relay in self.relays.values():
                relay.tick(monotonic())

    async def dial(self, node: str) -> Any:
        if not self.reachable:
            raise OSError("the way is closed")
        return await connect(self.listener.contact_address)

    async def on_comm(self, comm: Any) -> None:
        self.comms.append(comm)
        message = await comm.read()
        del message["op"], message["reply"]
        await self.relays["b"].on_link(comm, **message)

    def on_lost(self, executor: str, owner: str) -> None:
        self.lost.append((executor, owner))

    async def join(self, end: LineEnd) -> None:
        path = str(self.directory / end.executor)
        await asyncio.get_running_loop().create_unix_connection(lambda: end, path)

    async def serve(self, name: str, serve: Callable[..., Any]) -> None:
        """An executor of b's, with a program of the test's; it ends with the loop."""

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await serve(reader, writer)
            finally:
                writer.transport.abort()

        await asyncio.start_unix_server(served, str(self.directory / name))

    async def owner(self, executor: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A process at a, with a line to an executor of b's."""
        path = self.directory / f"hub-{executor}"
        if not path.exists():
            await asyncio.get_running_loop().create_unix_server(
                lambda: self.relays["a"].line(Wanted(executor, "b", "o")), str(path)
            )
        return await asyncio.open_unix_connection(str(path))

    def break_comms(self) -> None:
        while self.comms:
            self.comms.pop().abort()

    def close(self) -> None:
        self.ticking.cancel()
        for relay in self.relays.values():
            relay.close()
        self.listener.stop()


@contextlib.asynccontextmanager
async def two_nodes(directory: Path) -> AsyncIterator[TwoNodes]:
    nodes = TwoNodes(directory)
    await nodes.start()
    try:
        yield nodes
        for relay in nodes.relays.values():
            for link in relay.links.values():
                link.link.validate()
    finally:
        nodes.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(3600)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_lines_share_one_comm_and_end_at_both_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            await nodes.serve("x", echo)
            lines = [await nodes.owner("x") for _ in range(20)]
            for number, (_, writer) in enumerate(lines):
                writer.write(b"%d;" % number * 1000)
            for number, (reader, _) in enumerate(lines):
                text = b"%d;" % number * 1000
                assert await reader.readexactly(len(text)) == text
            assert len(nodes.comms) == 1
            for _, writer in lines:
                writer.close()
            for relay in nodes.relays.values():
                await until(lambda relay=relay: not any(x.ends for x in relay.links.values()))

    asyncio.run(story())


def test_a_line_to_nobody_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            reader, _ = await nodes.owner("nobody")
            assert await reader.read() == b""

    asyncio.run(story())


def test_what_a_dying_executor_has_said_comes_before_its_end(tmp_path: Path) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words" * 50_000)
        await writer.drain()
        writer.close()

    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            await nodes.serve("x", speak)
            reader, _ = await nodes.owner("x")
            assert await reader.read() == b"last words" * 50_000

    asyncio.run(story())


def test_a_process_that_reads_nothing_stops_its_own_line_alone(tmp_path: Path) -> None:
    """What the nodes keep for it is bounded, and others go on."""

    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            await nodes.serve("x", echo)
            await nodes.serve("slow", never_reads)
            _, flood = await nodes.owner("slow")
            reader, writer = await nodes.owner("x")
            flood.write(bytes(50 << 20))
            for _ in range(50):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                await asyncio.sleep(0.01)
            link = next(iter(nodes.relays["a"].links.values()))
            assert link.link.held_bytes <= 2 * WINDOW
            assert flood.transport.get_write_buffer_size() > 40 << 20  # it is the sender who waits

    asyncio.run(story())


def test_no_byte_is_lost_or_doubled_when_the_comm_breaks(tmp_path: Path) -> None:
    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            await nodes.serve("x", echo)
            reader, writer = await nodes.owner("x")
            sent = b"".join(b"%08d" % number for number in range(500_000))

            async def send() -> None:
                for at in range(0, len(sent), 100_000):
                    writer.write(sent[at : at + 100_000])
                    await writer.drain()

            async def disturb() -> None:
                while True:
                    await until(lambda: bool(nodes.comms))
                    await asyncio.sleep(0.02)
                    nodes.reachable = False
                    nodes.break_comms()
                    await asyncio.sleep(0.05)
                    nodes.reachable = True

            sending, disturbing = asyncio.ensure_future(send()), asyncio.ensure_future(disturb())
            assert await reader.readexactly(len(sent)) == sent
            disturbing.cancel()
            await sending

    asyncio.run(story())


def test_a_link_that_stays_down_is_given_up_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "GIVE_UP", 0.5)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await reader.read()
        ended.set()
        writer.close()

    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            await nodes.serve("x", wait)
            reader, _ = await nodes.owner("x")
            await asyncio.wait_for(begun.wait(), 10)
            nodes.reachable = False
            nodes.break_comms()
            assert await asyncio.wait_for(reader.read(), 10) == b""
            await asyncio.wait_for(ended.wait(), 10)
            assert not nodes.relays["a"].links
            await until(lambda: not nodes.relays["b"].links)
            assert nodes.lost == [("x", "o")]

    asyncio.run(story())


def test_a_comm_without_a_sign_of_life_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes any more, and nothing tells so: packets are dropped on the way."""
    monkeypatch.setattr(relay_module, "SILENCE", 0.3)

    async def story() -> None:
        async with two_nodes(tmp_path) as nodes:
            await nodes.serve("x", echo)
            reader, writer = await nodes.owner("x")
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            answering = next(iter(nodes.relays["b"].links.values()))
            assert answering.wire is not None
            answering.wire.wake = lambda: None  # type: ignore[method-assign]
            writer.write(b"two")
            assert await asyncio.wait_for(reader.readexactly(3), 10) == b"two"
            assert len(nodes.comms) == 2

    asyncio.run(story())


class HeldUp:
    """A comm on which the other side's greeting is answered, not at once; then nothing comes."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.aborted = asyncio.Event()

    async def write(self, message: Any) -> None:
        self.answered.set()
        await self.go_on.wait()

    async def read(self) -> Any:
        await self.aborted.wait()
        raise OSError("it is closed")

    def abort(self) -> None:
        self.aborted.set()


async def no_way(node: Any) -> Any:
    raise OSError


def alone() -> Relay:
    return Relay("b", no_way, no_way, monotonic, lambda *_: None)


def test_a_link_that_is_given_up_during_the_greeting_is_not_served() -> None:
    """The other side would go on to send on it, and nobody would be there."""

    async def story() -> None:
        relay, comm = alone(), HeldUp()
        serving = asyncio.ensure_future(relay.on_link(comm, "link", "a", True, 0))
        await comm.answered.wait()
        relay.tick(monotonic())  # no line yet, and no wire: it is given up
        assert not relay.links
        comm.go_on.set()
        await comm.aborted.wait()
        await serving

    asyncio.run(asyncio.wait_for(story(), 10))


def test_the_comm_that_was_made_last_is_served() -> None:
    async def story() -> None:
        relay, first, second = alone(), HeldUp(), HeldUp()
        stale = asyncio.ensure_future(relay.on_link(first, "link", "a", True, 0))
        await first.answered.wait()
        second.go_on.set()
        serving = asyncio.ensure_future(relay.on_link(second, "link", "a", False, 0))
        link = relay.links["link"]
        await until(lambda: link.wire is not None)
        wire = link.wire
        first.go_on.set()
        await stale
        assert link.wire is wire and not second.aborted.is_set()
        relay.close()
        await serving

    asyncio.run(asyncio.wait_for(story(), 10))
