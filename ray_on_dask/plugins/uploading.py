"""Objects of a gateway's driver, handed over to nodes: others can read them there alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins.lanes import AHEAD, RANGE
from ray_on_dask.plugins.transfer import Brought, reserved
from ray_on_dask.runtime.within import within

if TYPE_CHECKING:
    from ray_on_dask.plugins.copying import Copying
    from ray_on_dask.plugins.node import NodeManager

logger = logging.getLogger("ray_on_dask")

#: Objects on their way at a time.
AT_ONCE = 4
#: Seconds for an answer, and between two tries.
SILENCE, AGAIN = 15.0, 0.5


class Uploading:
    """Sends each object of a store to a node."""

    def __init__(self, node: NodeManager):
        self.node = node
        self._waiting: deque[Stored] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent = 0

    def changed(self, new: list[Stored], gone: list[bytes]) -> None:
        """Objects have come; those that have gone meanwhile are not found when it is their turn.

        What was brought here from a node is not sent back.
        """
        self._waiting.extend(x for x in new if x.writer != self.node.name)
        while self._waiting and len(self._tasks) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        while self._waiting:
            stored = self._waiting.popleft()
            while stored.id in self.node.store.objects.objects:
                try:
                    await self._send(stored)
                    break
                except (OSError, LookupError) as error:
                    logger.debug("object %s is not handed over yet: %s", stored.key, error)
                    await asyncio.sleep(AGAIN)
                except Exception:
                    logger.exception("could not hand over %s", stored.key)
                    break

    async def _send(self, stored: Stored) -> None:
        home = await self.node.dialer.ask("home")
        if not home:
            raise LookupError("there is no node to hand it over to")
        comm = await self.node.dialer.dial(home)
        self._sent += 1  # one that is made again may be sent once more meanwhile
        copying, reader = self.node.copying, f"to {home} {stored.id.hex()} {self._sent}"
        kept = copying.open_for(reader, stored.id)
        try:
            if kept is not None:
                await self._stream(comm, kept)
        finally:
            copying.close_for(reader, stored.id)
            comm.abort()

    async def _stream(self, comm: Any, stored: Stored) -> None:
        at, loop = stored.at, asyncio.get_running_loop()
        await comm.write(
            {
                "op": "rod-write", "id": stored.id, "size": at.size, "key": stored.key,
                "home": self.node.name, "reply": False,
            }
        )  # fmt: skip
        await _answered(comm)
        file = os.open(at.segment, os.O_RDONLY | os.O_CLOEXEC)
        try:
            under_way = 0
            for start in range(0, at.size, RANGE):
                size = min(RANGE, at.size - start)
                data = await loop.run_in_executor(None, os.pread, file, size, at.offset + start)
                await comm.write({"start": start, "data": dask.as_frame(data)})
                under_way += 1
                if under_way >= AHEAD:
                    await _answered(comm)
                    under_way -= 1
            for _ in range(under_way):
                await _answered(comm)
            await comm.write({"done": True})
            await _answered(comm)
        finally:
            os.close(file)

    def close(self) -> None:
        """Send nothing more."""
        for task in self._tasks:
            task.cancel()


async def _answered(comm: Any) -> None:
    try:
        answer = await within(SILENCE, comm.read())
    except asyncio.TimeoutError:
        raise ConnectionError("the node does not answer") from None
    if answer.get("error"):
        raise ConnectionError(answer["error"])


async def receive(
    copying: Copying, comm: Any, id: bytes, size: int, key: str, home: str
) -> None:  # fmt: skip
    """A gateway hands over an object: take it into this node's store."""
    loop = asyncio.get_running_loop()
    try:
        room = await reserved(copying.reserve, copying.give_back, size)
    except Exception as error:
        await comm.write({"error": str(error)})
        return
    taken = False
    try:
        await comm.write({})
        while "done" not in (request := await comm.read()):
            await loop.run_in_executor(None, room.write_at, request["start"], request["data"])
            await comm.write({})
        taken = True
        with contextlib.suppress(LookupError):  # it was freed meanwhile
            copying.take_in(id, Brought(room.located, key, home), home)
        await comm.write({})
    except OSError:
        pass  # the gateway is gone, or will try again
    finally:
        if not taken:
            copying.give_back(room.located)
