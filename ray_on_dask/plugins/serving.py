"""Objects of a node's store, handed out to another node that reads them."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Protocol

import msgspec

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins.raw_stream import RawStream, can_be_raw
from ray_on_dask.wire.chunks import Chunks, chunk

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Source(Protocol):
    """A node's store, as those who read from it see it."""

    def open_for(self, reader: str, id: bytes) -> Stored | None:
        """Keep an object in place for a reader; None if it is not here."""

    def close_for(self, reader: str, id: bytes) -> None:
        """It is not read any more."""


class Serving:
    """Hands objects to one reader on one comm, until that hangs up.

    ``{"id"}`` opens one and is answered by its size and key, ``{"start", "size"}`` by bytes of
    it, ``{"done"}`` closes it and is not answered. `raw` tells whether the reader can do without
    Dask's messages: if this end can too, the same requests are chunks on the socket, and the
    bytes come after them from the file to the socket.
    """

    def __init__(self, comm: Any, source: Source, reader: str, raw: bool = False):
        self.comm = comm
        self.source = source
        self.reader = reader
        self.raw = raw and can_be_raw(comm)
        self._stored: Stored | None = None
        self._file = -1
        self._chunks = Chunks()

    async def run(self) -> None:
        """Serve until the end."""
        try:
            await self.comm.write({"raw": self.raw})
            await (self._stream() if self.raw else self._answer())
        except (OSError, ValueError):
            pass  # it has hung up, or the bytes are gone: to the reader that is the same
        finally:
            self._close()
            self.comm.abort()

    # -- by messages -------------------------------------------------------------------

    async def _answer(self) -> None:
        while True:
            request = await self.comm.read()
            if "id" in request:
                await self.comm.write(self._open(request["id"]))
            elif "done" in request:
                self._close()
            else:
                data = await self._bytes(request["start"], request["size"])
                await self.comm.write({"data": dask.as_frame(data)})

    async def _bytes(self, start: int, size: int) -> bytes:
        offset, size = self._part(start, size)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, os.pread, self._file, size, offset)

    # -- on the socket -----------------------------------------------------------------

    async def _stream(self) -> None:
        stream = self._socket = RawStream(self.comm, self._take_in, lambda: None)
        try:
            await stream.start()
            stream.drop_when_closed()
            await stream.ended()
        finally:
            stream.close()

    def _take_in(self, view: memoryview) -> None:
        for body in self._chunks.feed(view):
            request = _decode(body)
            if self._socket.sends_file:
                raise ValueError("the reader does not wait for what it has asked for")
            if "id" in request:
                self._socket.write(chunk(_encode(self._open(request["id"]))))
            elif "done" in request:
                self._close()
            else:
                offset, size = self._part(request["start"], request["size"])
                self._socket.write_file(self._file, offset, size)

    # -- what is open ------------------------------------------------------------------

    def _open(self, id: bytes) -> dict[str, Any]:
        self._close()
        stored = self.source.open_for(self.reader, id)
        if stored is None:
            return {"about": None}
        self._stored = stored
        self._file = os.open(stored.at.segment, os.O_RDONLY | os.O_CLOEXEC)
        return {"about": {"size": stored.at.size, "key": stored.key}}

    def _part(self, start: int, size: int) -> tuple[int, int]:
        """Where in the file these bytes of the object are, and how many."""
        if self._stored is None or start < 0:
            raise ConnectionError("nothing is open")
        at = self._stored.at
        return at.offset + start, max(0, min(size, at.size - start))

    def _close(self) -> None:
        if self._stored is not None:
            self.source.close_for(self.reader, self._stored.id)
            self._stored = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
