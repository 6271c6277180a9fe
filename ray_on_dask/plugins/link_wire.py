"""Batches of a link on one comm: as frames on its socket where that can be, else as messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from ray_on_dask.plugins.raw_stream import RawStream, can_be_raw as can_be_raw
from ray_on_dask.wire.chunks import Chunks, chunk
from ray_on_dask.wire.relay_messages import Batch, decode_batch, encode_batch

#: Seconds between two things to send from which on they are no burst.
PAUSE = 0.0001

#: ``next()`` gives what is to be sent now, or None.
Next = Callable[[], Batch | None]
OnBatch = Callable[[Batch], None]


class Wire(Protocol):
    """One comm under a link."""

    async def run(self) -> None:
        """Carry batches until the comm breaks (`OSError`) or garbage comes (`ValueError`)."""

    def wake(self) -> None:
        """There is something to send, or may be."""

    def close(self) -> None:
        """Break the comm; nothing more is taken or handed over."""


def wire_on(comm: Any, raw: bool, next: Next, on_batch: OnBatch) -> Wire:
    """The wire of a comm; `raw` if both ends can do without messages."""
    kind: type[RawWire | MessageWire] = RawWire if raw else MessageWire
    return kind(comm, next, on_batch)


class RawWire:
    """Frames on the socket: sent and handled where the event is, so no task has to be woken."""

    def __init__(self, comm: Any, next: Next, on_batch: OnBatch):
        self._next = next
        self._on_batch = on_batch
        self._chunks = Chunks()
        self._stream = RawStream(comm, self._take_in, self._flush)
        self._started = self._soon = False
        self._sent = 0.0

    async def run(self) -> None:
        """See `Wire`."""
        try:
            await self._stream.start()
            self._started = True
            self._flush()
            await self._stream.ended()
        finally:
            self.close()

    def _take_in(self, view: memoryview) -> None:
        for body in self._chunks.feed(view):
            self._on_batch(decode_batch(body))

    def wake(self) -> None:
        """See `Wire`.

        What comes after a pause goes out at once, for somebody may wait for the answer; what
        comes closer together goes out together, at the end of a turn of the loop.
        """
        if self._soon:
            return
        if perf_counter() - self._sent > PAUSE:
            self._flush()
        else:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._soon = False
        if not self._started:
            return
        stream = self._stream
        while not (stream.full or stream.closed):
            batch = self._next()
            if batch is None:
                return
            stream.write(chunk(encode_batch(batch)))
            self._sent = perf_counter()

    def close(self) -> None:
        """See `Wire`."""
        self._stream.close()


class MessageWire:
    """One message of Dask's for each batch: for comms that have no socket of their own."""

    def __init__(self, comm: Any, next: Next, on_batch: OnBatch):
        self._comm = comm
        self._next = next
        self._on_batch = on_batch
        self._more = asyncio.Event()
        self._more.set()
        self._closed = False

    async def run(self) -> None:
        """See `Wire`."""
        writer = asyncio.ensure_future(self._write())
        try:
            while not self._closed:
                self._on_batch(decode_batch(await self._comm.read()))
        finally:
            writer.cancel()
            self.close()

    async def _write(self) -> None:
        """Send what there is to send; all that comes while one message goes out goes next."""
        try:
            while not self._closed:
                batch = self._next()
                if batch is None:
                    self._more.clear()
                    await self._more.wait()
                    continue
                await self._comm.write(encode_batch(batch))
        except OSError:
            self._comm.abort()  # the reader sees to the rest

    def wake(self) -> None:
        """See `Wire`."""
        self._more.set()

    def close(self) -> None:
        """See `Wire`."""
        self._closed = True
        self._more.set()
        self._comm.abort()
