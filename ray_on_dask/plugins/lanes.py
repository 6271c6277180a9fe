"""A comm on which this node reads objects of another, one at a time: by messages, or below them."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from ray_on_dask.objectstore.store import Allocation
from ray_on_dask.plugins.raw_stream import RawStream, can_be_raw
from ray_on_dask.runtime.within import within
from ray_on_dask.wire.chunks import Chunks, chunk

#: Bytes of one range, and ranges asked for ahead of the one that comes.
RANGE, AHEAD = 4 << 20, 2

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Lane(Protocol):
    """See the module. All methods raise `OSError` when the comm breaks, or falls silent."""

    async def open(self, id: bytes) -> dict[str, Any] | None:
        """Size and key of an object there, which stays in place; None if it is not there."""

    async def fill(self, room: Allocation) -> None:
        """Read all of it, and let it go."""

    def closed(self) -> bool:
        """Whether the comm is closed."""

    def abort(self) -> None:
        """Hang up."""


async def lane_on(comm: Any, reader: str, silence: float) -> Lane:
    """Greet the node at the other end of a new comm."""
    raw = can_be_raw(comm)
    await comm.write({"op": "rod-read", "reader": reader, "raw": raw, "reply": False})
    if not await _answer(comm, "raw", silence):
        return MessageLane(comm, silence)
    lane = RawLane(comm, silence)
    await lane.start()
    return lane


async def _answer(comm: Any, what: str, silence: float) -> Any:
    try:
        answer = await within(silence, comm.read())
    except asyncio.TimeoutError:
        raise ConnectionError(f"nothing came for {silence:g} s") from None
    if not isinstance(answer, dict) or what not in answer:
        raise ConnectionError("that node does not hand objects out")
    return answer[what]


class MessageLane:
    """Asks for a range, and for the next one while that comes: memory is bounded by the ranges."""

    def __init__(self, comm: Any, silence: float):
        self._comm = comm
        self._silence = silence

    async def open(self, id: bytes) -> dict[str, Any] | None:
        """See `Lane`."""
        await self._comm.write({"id": id})
        about: dict[str, Any] | None = await _answer(self._comm, "about", self._silence)
        return about

    async def fill(self, room: Allocation) -> None:
        """See `Lane`."""
        comm, loop, size = self._comm, asyncio.get_running_loop(), room.located.size
        asked = 0
        writing: asyncio.Future[None] | None = None
        try:
            for start in range(0, size, RANGE):
                while asked < size and asked <= start + (AHEAD - 1) * RANGE:
                    await comm.write({"start": asked, "size": RANGE})
                    asked += RANGE
                data = await _answer(comm, "data", self._silence)
                if len(data) != min(RANGE, size - start):
                    raise ConnectionError("part of it is missing there")
                if writing is not None:
                    await writing
                writing = loop.run_in_executor(None, room.write_at, start, data)
        finally:
            if writing is not None:
                await asyncio.shield(writing)
        await comm.write({"done": True})

    def closed(self) -> bool:
        """See `Lane`."""
        return bool(self._comm.closed())

    def abort(self) -> None:
        """See `Lane`."""
        self._comm.abort()


class RawLane:
    """Asks for the whole, and writes what comes where it belongs; the socket bounds the rest."""

    def __init__(self, comm: Any, silence: float):
        self._silence = silence
        self._stream = RawStream(comm, self._take_in, lambda: None)
        self._chunks = Chunks()
        #: Where the bytes that come now belong, how many have come, and how many are to come.
        self._room: Allocation | None = None
        self._came = self._size = 0
        self._awaited: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Take the comm over."""
        await self._stream.start()

    async def open(self, id: bytes) -> dict[str, Any] | None:
        """See `Lane`."""
        self._say({"id": id})
        about: dict[str, Any] | None = (await self._wait())["about"]
        return about

    async def fill(self, room: Allocation) -> None:
        """See `Lane`."""
        if room.located.size:
            self._room, self._came, self._size = room, 0, room.located.size
            self._say({"start": 0, "size": self._size})
            try:
                await self._wait()
            finally:
                self._room = None
        self._say({"done": True})

    def _say(self, request: dict[str, Any]) -> None:
        self._stream.write(chunk(_encode(request)))

    async def _wait(self) -> Any:
        """Wait for an answer, or for all bytes; not for longer than `silence` without any."""
        future = self._awaited = asyncio.get_running_loop().create_future()
        end = asyncio.ensure_future(self._stream.ended())
        try:
            while True:
                came = self._came
                await asyncio.wait(
                    {future, end}, timeout=self._silence, return_when="FIRST_COMPLETED"
                )
                if future.done():
                    return future.result()
                if end.done():
                    end.result()
                if came == self._came:
                    raise ConnectionError(f"nothing came for {self._silence:g} s")
        finally:
            self._awaited = None
            end.cancel()

    def _take_in(self, view: memoryview) -> None:
        if self._room is not None:
            part = view[: self._size - self._came]
            self._room.write_at(self._came, part)
            self._came += len(part)
            if self._came < self._size:
                return
            self._room = None
            self._arrived(None)
            view = view[len(part) :]
        for body in self._chunks.feed(view):
            self._arrived(_decode(body))

    def _arrived(self, what: Any) -> None:
        if self._awaited is None or self._awaited.done():
            raise ValueError("that node says what nobody has asked for")
        self._awaited.set_result(what)

    def closed(self) -> bool:
        """See `Lane`."""
        return self._stream.closed

    def abort(self) -> None:
        """See `Lane`."""
        self._stream.close()
