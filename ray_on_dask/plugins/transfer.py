"""Objects from other hosts: read from the node that has them into the own store, bit by bit.

What is in memory on the way is bounded, whatever the object's size. Whoever wants an object that is
on its way already waits for the same transfer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ray_on_dask.objectstore.store import Allocation
from ray_on_dask.plugins.lanes import Lane, lane_on
from ray_on_dask.wire.messages import Located

#: Objects that one node reads at a time, and comms to one node that it keeps for the next ones.
AT_ONCE = KEPT = 8
#: Seconds without a byte after which another copy is tried, and without use until a comm is closed.
SILENCE, UNUSED = 15.0, 30.0


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
        self._idle: dict[str, list[tuple[Lane, float]]] = {}
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
        lane = await self._lane(node)
        try:
            about = await lane.open(id)
            if about is None:
                self._keep(node, lane)
                raise NotThere("it is not in that node's store")
            room = await reserved(self._reserve, self._free, about["size"])
            try:
                await lane.fill(room)
            except BaseException:
                lane.abort()  # before anybody else gets the room
                self._free(room.located)
                raise
        except NotThere:
            raise
        except BaseException:
            lane.abort()
            raise
        self._keep(node, lane)
        return Brought(room.located, about["key"], node)

    # -- comms -----------------------------------------------------------------------------

    async def _lane(self, node: str) -> Lane:
        idle = self._idle.get(node, [])
        while idle:
            lane, _ = idle.pop()
            if not lane.closed():
                return lane
        comm = await self._dial(node)
        try:
            return await lane_on(comm, self.name, SILENCE)
        except BaseException:
            comm.abort()
            raise

    def _keep(self, node: str, lane: Lane) -> None:
        idle = self._idle.setdefault(node, [])
        if len(idle) < KEPT and not lane.closed():
            idle.append((lane, monotonic()))
        else:
            lane.abort()

    def trim(self, now: float) -> None:
        """Hang up where nobody has read for a while."""
        for node, idle in list(self._idle.items()):
            for lane, since in list(idle):
                if lane.closed() or now - since > UNUSED:
                    idle.remove((lane, since))
                    lane.abort()
            if not idle:
                del self._idle[node]

    def forget(self, node: str) -> None:
        """Hang up on a node."""
        for lane, _ in self._idle.pop(node, ()):
            lane.abort()

    def close(self) -> None:
        """Hang up everywhere."""
        for node in list(self._idle):
            self.forget(node)


async def reserved(
    reserve: Callable[[int], Allocation], free: Callable[[Located], None], size: int
) -> Allocation:
    """Room for an object, reserved by a thread; it is given back if nobody waits for it any more.

    Raises
    ------
    ObjectStoreFullError
        If there is none.
    """

    def give_back(reserving: asyncio.Future[Allocation]) -> None:
        if not reserving.cancelled() and reserving.exception() is None:
            free(reserving.result().located)

    reserving = asyncio.get_running_loop().run_in_executor(None, reserve, size)
    try:
        return await asyncio.shield(reserving)
    except asyncio.CancelledError:
        reserving.add_done_callback(give_back)
        raise
