"""Objects from other hosts: read from the node that has them, in ranges, into the own store.

The reader asks for a range, and for the next one while that comes, so what is in memory is bounded
by the ranges and not by the object. Whoever wants an object that is on its way already
waits for the same transfer.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.objectstore.store import Allocation
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.wire.messages import Located

logger = logging.getLogger("ray_on_dask")

#: Bytes of one range, and ranges asked for ahead of the one that comes.
RANGE, AHEAD = 4 << 20, 2
#: Objects that one node reads at a time, and comms to one node that it keeps for the next ones.
AT_ONCE = KEPT = 8
#: Seconds without a byte after which another copy is tried, and without use until a comm is closed.
SILENCE, UNUSED = 15.0, 30.0


class Source(Protocol):
    """A node's store, as those who read from it see it."""

    def open_for(self, reader: str, id: bytes) -> Stored | None:
        """Keep an object in place for a reader; None if it is not here."""

    def close_for(self, reader: str, id: bytes) -> None:
        """It is not read any more."""


class Serving:
    """Hands objects to one reader on one comm, until that hangs up.

    ``{"id"}`` opens one and is answered by its size and key, ``{"start", "size"}`` by bytes of
    it, ``{"done"}`` closes it and is not answered.
    """

    def __init__(self, comm: Any, source: Source, reader: str):
        self.comm = comm
        self.source = source
        self.reader = reader
        self._stored: Stored | None = None
        self._file = -1

    async def run(self) -> None:
        """Serve until the end."""
        try:
            while True:
                request = await self.comm.read()
                if "id" in request:
                    await self.comm.write(self._open(request["id"]))
                elif "done" in request:
                    self._close()
                else:
                    data = await self._bytes(request["start"], request["size"])
                    await self.comm.write({"data": dask.as_frame(data)})
        except OSError:
            pass  # it has hung up, or the bytes are gone: to the reader that is the same
        finally:
            self._close()
            self.comm.abort()

    def _open(self, id: bytes) -> dict[str, Any]:
        self._close()
        stored = self.source.open_for(self.reader, id)
        if stored is None:
            return {"about": None}
        self._stored = stored
        self._file = os.open(stored.at.segment, os.O_RDONLY | os.O_CLOEXEC)
        return {"about": {"size": stored.at.size, "key": stored.key}}

    async def _bytes(self, start: int, size: int) -> bytes:
        if self._stored is None:
            raise ConnectionError("nothing is open")
        at = self._stored.at
        size = max(0, min(size, at.size - start))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, os.pread, self._file, size, at.offset + start)

    def _close(self) -> None:
        if self._stored is not None:
            self.source.close_for(self.reader, self._stored.id)
            self._stored = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(frozen=True, slots=True)
class Brought:
    """An object that is here now: where, its Dask key, the node it was read from."""

    at: Located
    key: str
    source: str


class NotThere(LookupError):
    """The object is not in the store of any of the nodes asked, all of which have answered."""


class Reading:
    """Reads objects of other nodes.

    Parameters
    ----------
    dial : callable
        ``await dial(node)`` gives a comm to a node whose other end is to be told
        ``{"op": "rod-read"}``.
    reserve : callable
        ``reserve(size)`` gives room in the own store; called in a thread.
    free : callable
        Takes back room of which nothing came.
    name : str
        This node's.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[str], Any],
        reserve: Callable[[int], Allocation],
        free: Callable[[Located], None],
    ):
        self.name = name
        self._dial = dial
        self._reserve = reserve
        self._free = free
        #: {node: comms to it that are not in use, with when they were}.
        self._idle: dict[str, list[tuple[Any, float]]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(self, id: bytes, nodes: list[str]) -> Brought:
        """Bring an object here from the first of these nodes that gives it.

        Raises
        ------
        NotThere
            If none of them has it.
        OSError
            If one of them could not be asked, and no other gives it.
        ObjectStoreFullError
            If there is no room for it here.
        """
        async with self._turns:
            error: Exception = NotThere("it is in no node's store")
            for node in nodes:
                try:
                    return await self._read_from(node, id)
                except NotThere:
                    continue
                except LookupError as found:  # that node is dead
                    error = NotThere(str(found.args[0]))
                except OSError as found:
                    error = found
            raise error

    async def _read_from(self, node: str, id: bytes) -> Brought:
        comm = await self._comm(node)
        try:
            about = await self._ask(comm, {"id": id}, "about")
            if about is None:
                self._keep(node, comm)
                raise NotThere("it is not in that node's store")
            loop = asyncio.get_running_loop()
            room = await loop.run_in_executor(None, self._reserve, about["size"])
            try:
                await self._fill(comm, room)
                await comm.write({"done": True})
            except BaseException:
                self._free(room.located)
                raise
        except NotThere:
            raise
        except BaseException:
            comm.abort()
            raise
        self._keep(node, comm)
        return Brought(room.located, about["key"], node)

    async def _fill(self, comm: Any, room: Allocation) -> None:
        loop, size = asyncio.get_running_loop(), room.located.size
        asked = 0
        writing: asyncio.Future[None] | None = None
        try:
            for start in range(0, size, RANGE):
                while asked < size and asked <= start + (AHEAD - 1) * RANGE:
                    await comm.write({"start": asked, "size": RANGE})
                    asked += RANGE
                data = await self._answer(comm, "data")
                if len(data) != min(RANGE, size - start):
                    raise ConnectionError("part of it is missing there")
                if writing is not None:
                    await writing
                writing = loop.run_in_executor(None, room.write_at, start, data)
        finally:
            if writing is not None:
                await asyncio.shield(writing)

    async def _ask(self, comm: Any, request: dict[str, Any], what: str) -> Any:
        await comm.write(request)
        return await self._answer(comm, what)

    @staticmethod
    async def _answer(comm: Any, what: str) -> Any:
        try:
            answer = await asyncio.wait_for(comm.read(), SILENCE)
        except asyncio.TimeoutError:
            raise ConnectionError(f"nothing came for {SILENCE:g} s") from None
        if not isinstance(answer, dict) or what not in answer:
            raise ConnectionError("that node does not hand objects out")
        return answer[what]

    # -- comms -----------------------------------------------------------------------------

    async def _comm(self, node: str) -> Any:
        idle = self._idle.get(node, [])
        while idle:
            comm, _ = idle.pop()
            if not comm.closed():
                return comm
        comm = await self._dial(node)
        await comm.write({"op": "rod-read", "reader": self.name, "reply": False})
        return comm

    def _keep(self, node: str, comm: Any) -> None:
        idle = self._idle.setdefault(node, [])
        if len(idle) < KEPT and not comm.closed():
            idle.append((comm, monotonic()))
        else:
            comm.abort()

    def trim(self, now: float) -> None:
        """Hang up where nobody has read for a while."""
        for node, idle in list(self._idle.items()):
            for comm, since in list(idle):
                if comm.closed() or now - since > UNUSED:
                    idle.remove((comm, since))
                    comm.abort()
            if not idle:
                del self._idle[node]

    def forget(self, node: str) -> None:
        """Hang up on a node."""
        for comm, _ in self._idle.pop(node, ()):
            comm.abort()

    def close(self) -> None:
        """Hang up everywhere."""
        for node in list(self._idle):
            self.forget(node)
